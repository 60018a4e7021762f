//! A database that Supabase made: what is there stays as it is, and the server gets what it needs.

use rowcast::postgres::cluster::Cluster;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::{MIGRATIONS, Report, migrate};
use tokio_postgres::Client;

use super::{catalog_of, files};
use crate::support::{binaries, connect, majors, scratch};

/// Supabase's schemas, migrations and memberships, as they are now.
async fn theirs(client: &Client) -> Vec<String> {
    let mut lines = catalog_of(client, &["auth", "realtime"]).await;
    lines.retain(|line| !line.starts_with("publication rowcast "));
    for query in [
        "select 'recorded ' || version || ' ' || inserted_at from realtime.schema_migrations order by 1",
        "select concat_ws(' ', 'member', roleid::regrole, member::regrole) from pg_auth_members order by 1",
    ] {
        lines.extend(client.query(query, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
    }
    lines
}

/// The partitions and their owners, oldest first.
async fn partitions(client: &Client) -> Vec<String> {
    let query = "select c.relname || ' ' || c.relowner::regrole from pg_inherits i join pg_class c on c.oid = i.inhrelid
                 where i.inhparent = 'realtime.messages'::regclass order by 1";
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Migrates a copy of a Supabase database as `role`, twice, and by `sql/` once more.
async fn migrated(major: u32, role: &str, test: impl AsyncFnOnce(&Client, &Report)) {
    let directory = scratch("supabase");
    let cluster = Cluster::start(binaries(major), &directory, false).unwrap();
    let admin = connect(&cluster.url("postgres")).await;
    admin.batch_execute("create role app_owner login").await.unwrap();
    admin.batch_execute("create database app owner app_owner").await.unwrap();
    let admin = connect(&cluster.url("app")).await;
    admin.batch_execute(include_str!("supabase.sql")).await.unwrap();
    // What Supabase gives to the role that its users log in as.
    admin.batch_execute("grant usage on schema auth, realtime to app_owner").await.unwrap();
    let before = theirs(&admin).await;
    let url = cluster.url("app").replace("postgres@", &format!("{role}@"));
    let database = Database::parse(&url).unwrap();
    let report = migrate(&database, &[]).await.unwrap();
    assert_eq!(report.applied.len(), MIGRATIONS.len(), "as {role} on {major}");
    assert_eq!(theirs(&admin).await, before, "as {role} on {major}");
    assert!(migrate(&database, &[]).await.unwrap().applied.is_empty(), "as {role} on {major}");
    let client = connect(&url).await;
    for file in files() {
        client.batch_execute(&file).await.unwrap();
    }
    assert_eq!(theirs(&admin).await, before, "as {role} on {major}, after sql/");
    test(&client, &report).await;
    drop(cluster);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn what_supabase_made_stays_and_its_messages_are_kept_up() {
    for major in majors() {
        migrated(major, "supabase_admin", async |client, _| {
            let partitions_now = partitions(client).await;
            assert_eq!(partitions_now.len(), 6, "on {major}: {partitions_now:?}");
            let owned =
                partitions_now.iter().filter(|line| line.ends_with(" supabase_realtime_admin")).count();
            assert_eq!(owned, 5, "those made here are their table's owner's, on {major}");
            // Their functions write to what was made here.
            client.batch_execute("select realtime.send('{}', 'event', 'room')").await.unwrap();
            let done = client.query("select action from rowcast.maintain_messages()", &[]).await.unwrap();
            let done: Vec<&str> = done.iter().map(|row| row.get(0)).collect();
            assert_eq!(done, ["dropped"], "the one of five days ago, on {major}");
            // It may belong to whoever made it, so the upkeep is the superuser's, and for nobody else.
            let open = "select has_function_privilege('anon', 'rowcast.repair_messages()', 'execute')";
            assert!(!client.query_one(open, &[]).await.unwrap().get::<_, bool>(0), "on {major}");
            let functions = "select count(*) from pg_proc where pronamespace = 'realtime'::regnamespace";
            assert_eq!(client.query_one(functions, &[]).await.unwrap().get::<_, i64>(0), 2, "on {major}");
        })
        .await;
    }
}

#[tokio::test]
async fn owner_of_a_database_that_supabase_made_is_told_what_cannot_be_done() {
    for major in majors() {
        migrated(major, "app_owner", async |client, report| {
            let told = report.notices.iter().any(|notice| notice.contains("partitions of realtime.messages"));
            assert!(told, "on {major}: {:?}", report.notices);
            assert_eq!(partitions(client).await.len(), 1, "on {major}");
            let denied = client.query("select * from rowcast.maintain_messages()", &[]).await.unwrap_err();
            assert_eq!(denied.code().unwrap().code(), "42501", "on {major}");
        })
        .await;
    }
}
