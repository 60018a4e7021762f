//! The schema: from nothing, twice, beside Supabase's own objects, and as two accounts of one truth.

use crate::support::{TestDatabase, binaries, connect, majors, scratch};
use rowcast::postgres::cluster::Cluster;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::{MIGRATIONS, migrate, pending};

/// Everything the migrations could touch, as sorted lines.
async fn catalog(database: &TestDatabase) -> Vec<String> {
    let rows = database
        .client
        .query(
            "select 'schema ' || nspname || ' ' || nspowner::regrole || ' ' || coalesce(nspacl::text, '')
             from pg_namespace where nspname in ('auth', 'realtime', 'rowcast')
             union all
             select 'function ' || pg_get_functiondef(p.oid) || p.proowner::regrole
                 || coalesce(p.proacl::text, '') || coalesce(obj_description(p.oid, 'pg_proc'), '')
             from pg_proc p join pg_namespace n on n.oid = p.pronamespace
             where n.nspname in ('auth', 'realtime', 'rowcast')
             union all
             select 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || c.relrowsecurity::text
                 || ' ' || coalesce(c.relacl::text, '') || coalesce(obj_description(c.oid, 'pg_class'), '')
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname in ('auth', 'realtime', 'rowcast')
             union all
             select 'publication ' || pubname from pg_publication
             union all
             select 'applied ' || version || ' ' || name from rowcast.migrations
             order by 1",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn target(database: &TestDatabase) -> Database {
    Database::parse(&database.url).unwrap()
}

/// The re-runnable files in `sql/functions`.
fn functions() -> Vec<String> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/functions");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

#[tokio::test]
async fn migrated_schema_equals_the_one_in_sql() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        assert_eq!(pending(&target(&database)).await.unwrap().len(), MIGRATIONS.len());
        let report = migrate(&target(&database)).await.unwrap();
        assert_eq!(report.applied.len(), MIGRATIONS.len());
        assert!(report.unknown.is_empty());
        let migrated = catalog(&database).await;
        for file in functions() {
            database.execute(&file).await;
        }
        assert_eq!(catalog(&database).await, migrated, "on {major}");
    }
}

#[tokio::test]
async fn second_run_changes_nothing() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        migrate(&target(&database)).await.unwrap();
        let first = catalog(&database).await;
        let report = migrate(&target(&database)).await.unwrap();
        assert!(report.applied.is_empty());
        assert!(pending(&target(&database)).await.unwrap().is_empty());
        assert_eq!(catalog(&database).await, first, "on {major}");
    }
}

#[tokio::test]
async fn servers_that_start_together_take_turns() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let target = target(&database);
        let (one, two, three) = tokio::join!(migrate(&target), migrate(&target), migrate(&target));
        let applied: usize = [one, two, three].map(|report| report.unwrap().applied.len()).iter().sum();
        assert_eq!(applied, MIGRATIONS.len(), "on {major}");
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
        migrate(&target(&database)).await.unwrap();
        for file in functions() {
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
        migrate(&target(&database)).await.unwrap();
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
        let report = migrate(&Database::parse(&url).unwrap()).await.unwrap();
        assert_eq!(report.applied.len(), MIGRATIONS.len(), "on {major}");
        for role in ["anon", "authenticated", "service_role"] {
            let told = report.notices.iter().any(|notice| notice.contains(&format!("create role {role} ")));
            assert!(told, "{role} on {major}: {:?}", report.notices);
        }
        drop(cluster);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[tokio::test]
async fn newer_schema_is_noticed() {
    let database = TestDatabase::create(majors()[0]).await;
    migrate(&target(&database)).await.unwrap();
    database
        .execute("insert into rowcast.migrations (version, name) values (99990101000000, 'travel_in_time')")
        .await;
    assert_eq!(migrate(&target(&database)).await.unwrap().unknown, [99_990_101_000_000]);
}
