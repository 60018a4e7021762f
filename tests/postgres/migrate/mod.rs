//! The schema: from nothing, twice, beside Supabase's own objects, and as two accounts of one truth.

use std::path::PathBuf;

use crate::support::{TestDatabase, binaries, connect, majors, scratch};
use rowcast::postgres::cluster::Cluster;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::{MIGRATIONS, Set, migrate, pending};
use tokio_postgres::Client;

mod messaging;
mod supabase;

/// Everything the migrations could touch in these schemas, as sorted lines.
pub(crate) async fn catalog_of(client: &Client, schemas: &[&str]) -> Vec<String> {
    let rows = client.query(include_str!("catalog.sql"), &[&schemas]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Where the migrations make something.
const SCHEMAS: [&str; 4] = ["auth", "public", "realtime", "rowcast"];

/// What is migrated: the core, and the core with messaging.
const CHOICES: [&[Set]; 2] = [&[], &[Set::Messaging]];

/// Everything the migrations could touch, and which were applied.
async fn catalog(database: &TestDatabase) -> Vec<String> {
    let mut lines = catalog_of(&database.client, &SCHEMAS).await;
    let applied = "select 'applied ' || version || ' ' || name from rowcast.migrations order by 1";
    lines
        .extend(database.client.query(applied, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
    lines
}

fn target(database: &TestDatabase) -> Database {
    Database::parse(&database.url).unwrap()
}

/// The re-runnable files in `sql/`, in the order in which they build on each other.
fn files() -> Vec<String> {
    let folders = ["roles", "types", "functions", "tables", "publications", "grants", "triggers"];
    folders.iter().flat_map(|folder| files_in(folder)).collect()
}

/// As [`files`], for what is migrated.
fn files_of(sets: &[Set]) -> Vec<String> {
    let mut files = files();
    if sets.contains(&Set::Messaging) {
        // Catch-up indexes the messages.
        let mut tables = paths_in("messaging/tables");
        tables.sort_by_key(|file| file.ends_with("catch_ups.sql"));
        files.extend(tables.iter().map(|file| std::fs::read_to_string(file).unwrap()));
        let folders = ["functions", "triggers", "policies", "grants", "publications"];
        let folders = folders.map(|folder| files_in(&format!("messaging/{folder}")));
        files.extend(folders.into_iter().flatten());
    }
    files
}

/// How many migrations there are to apply.
fn count(sets: &[Set]) -> usize {
    MIGRATIONS.len() + sets.iter().map(|set| set.migrations().len()).sum::<usize>()
}

fn files_in(folder: &str) -> Vec<String> {
    paths_in(folder).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn paths_in(folder: &str) -> Vec<PathBuf> {
    let directory = format!("{}/sql/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Compares two catalogs, and says what only one of them has.
fn assert_same(found: &[String], expected: &[String], about: &str) {
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    let (more, less) = (only(found, expected), only(expected, found));
    assert!(more.is_empty() && less.is_empty(), "{about}: more {more:#?}, less {less:#?}");
}

#[tokio::test]
async fn migrated_schema_equals_the_one_in_sql() {
    for (major, sets) in majors().into_iter().flat_map(|major| CHOICES.map(|sets| (major, sets))) {
        let database = TestDatabase::create(major).await;
        assert_eq!(pending(&target(&database), sets).await.unwrap().len(), count(sets));
        let report = migrate(&target(&database), sets).await.unwrap();
        assert_eq!(report.applied.len(), count(sets));
        assert!(report.unknown.is_empty());
        let migrated = catalog(&database).await;
        for file in files_of(sets) {
            database.execute(&file).await;
        }
        assert_same(&catalog(&database).await, &migrated, &format!("{sets:?} on {major}"));
    }
}

/// What `sql/` makes of nothing is what the migrations make of nothing: neither leaves out what the other has.
#[tokio::test]
async fn files_in_sql_make_the_migrated_schema() {
    for (major, sets) in majors().into_iter().flat_map(|major| CHOICES.map(|sets| (major, sets))) {
        let migrated = TestDatabase::create(major).await;
        migrate(&target(&migrated), sets).await.unwrap();
        let made = TestDatabase::create(major).await;
        // Schemas and the roles of tokens have no file in sql/.
        for migration in &MIGRATIONS[..4] {
            made.execute(migration.sql).await;
        }
        for file in files_of(sets) {
            made.execute(&file).await;
        }
        let expected = catalog_of(&migrated.client, &SCHEMAS).await;
        let found = catalog_of(&made.client, &SCHEMAS).await;
        assert_same(&found, &expected, &format!("{sets:?} on {major}"));
    }
}

#[tokio::test]
async fn second_run_changes_nothing() {
    for (major, sets) in majors().into_iter().flat_map(|major| CHOICES.map(|sets| (major, sets))) {
        let database = TestDatabase::create(major).await;
        migrate(&target(&database), sets).await.unwrap();
        let first = catalog(&database).await;
        let report = migrate(&target(&database), sets).await.unwrap();
        assert!(report.applied.is_empty());
        assert!(pending(&target(&database), sets).await.unwrap().is_empty());
        assert_same(&catalog(&database).await, &first, &format!("{sets:?} on {major}"));
    }
}

#[tokio::test]
async fn servers_that_start_together_take_turns() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let target = target(&database);
        let sets = [Set::Messaging];
        let (one, two, three) =
            tokio::join!(migrate(&target, &sets), migrate(&target, &sets), migrate(&target, &sets));
        let applied: usize = [one, two, three].map(|report| report.unwrap().applied.len()).iter().sum();
        assert_eq!(applied, count(&sets), "on {major}");
    }
}

#[tokio::test]
async fn functions_of_somebody_else_stay() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let owner = format!("auth_admin_{major}");
        database
            .execute(&format!(
                "create role {owner}; create schema auth authorization {owner};
                 set role {owner};
                 create function auth.uid() returns uuid language sql stable
                     as $$ select '00000000-0000-0000-0000-00000000000a'::uuid $$;
                 comment on function auth.uid() is 'theirs';
                 reset role;"
            ))
            .await;
        migrate(&target(&database), &[]).await.unwrap();
        for file in files() {
            database.execute(&file).await;
        }
        let row = database
            .client
            .query_one(
                "select auth.uid()::text, proowner::regrole::text, obj_description(oid, 'pg_proc')
                 from pg_proc where oid = 'auth.uid()'::regprocedure",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), "00000000-0000-0000-0000-00000000000a", "on {major}");
        assert_eq!(row.get::<_, &str>(1), owner, "on {major}");
        assert_eq!(row.get::<_, &str>(2), "theirs", "on {major}");
        // The others were missing and are here now.
        database.execute("select auth.role(), auth.jwt()").await;
    }
}

#[tokio::test]
async fn claims_are_read_from_the_session() {
    const ID: &str = "00000000-0000-0000-0000-00000000000b";
    for major in majors() {
        let database = TestDatabase::create(major).await;
        migrate(&target(&database), &[]).await.unwrap();
        let claims = format!(r#"{{"sub":"{ID}","role":"authenticated","org":7}}"#);
        for (setting, value, expected) in [
            ("request.jwt.claims", "", [None, None, None]),
            ("request.jwt.claims", &*claims, [Some(ID), Some("authenticated"), Some("7")]),
            ("request.jwt.claim.sub", ID, [Some(ID), None, None]),
            ("request.jwt.claim.role", "anon", [None, Some("anon"), None]),
        ] {
            // A session each, as what one sets stays set.
            let client = connect(&database.url).await;
            client.execute("select set_config($1, $2, false)", &[&setting, &value]).await.unwrap();
            client.batch_execute("set role authenticated").await.unwrap();
            let query = "select auth.uid()::text, auth.role(), auth.jwt() ->> 'org'";
            let row = client.query_one(query, &[]).await.unwrap();
            let found: Vec<Option<&str>> = (0..3).map(|column| row.get(column)).collect();
            assert_eq!(found, expected, "{setting} on {major}");
        }
    }
}

#[tokio::test]
async fn owner_without_superuser_rights_migrates_and_is_told_what_is_missing() {
    for major in majors() {
        // Roles belong to a whole cluster, so this needs one where nobody has made them yet.
        let directory = scratch("roles");
        let cluster = Cluster::start(binaries(major), &directory, false).unwrap();
        let admin = connect(&cluster.url("postgres")).await;
        admin.batch_execute("create role owner login").await.unwrap();
        admin.batch_execute("create database app owner owner").await.unwrap();
        let url = cluster.url("app").replace("postgres@", "owner@");
        let report = migrate(&Database::parse(&url).unwrap(), &[]).await.unwrap();
        assert_eq!(report.applied.len(), MIGRATIONS.len(), "on {major}");
        for role in ["anon", "authenticated", "service_role"] {
            let told = report.notices.iter().any(|notice| notice.contains(&format!("create role {role} ")));
            assert!(told, "{role} on {major}: {:?}", report.notices);
        }
        // Without supabase_realtime_admin everything is the owner's, and works.
        let client = connect(&url).await;
        let row = client
            .query_one(
                "select realtime.send('{}', 'event', 'topic')::text,
                    (select relowner::regrole::text from pg_class where oid = 'realtime.messages'::regclass)",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(1), "owner", "on {major}");
        let sent: i64 = client.query_one("select count(*) from realtime.messages", &[]).await.unwrap().get(0);
        assert_eq!(sent, 1, "on {major}");
        let made = client.query("select * from rowcast.maintain_messages('0')", &[]).await.unwrap();
        assert_eq!(made.len(), 1, "yesterday's is dropped, on {major}");
        drop(cluster);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[tokio::test]
async fn newer_schema_is_noticed() {
    let database = TestDatabase::create(majors()[0]).await;
    migrate(&target(&database), &[]).await.unwrap();
    database
        .execute("insert into rowcast.migrations (version, name) values (99990101000000, 'travel_in_time')")
        .await;
    assert_eq!(migrate(&target(&database), &[]).await.unwrap().unknown, [99_990_101_000_000]);
}
