//! The messaging set: for those who ask for it, and never over something of somebody else's.

use rowcast::postgres::cluster::Cluster;
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::{Error, MESSAGING, MIGRATIONS, Set, migrate, pending};

use super::{SCHEMAS, catalog_of, target};
use crate::support::{TestDatabase, binaries, connect, majors, scratch};

#[tokio::test]
async fn messaging_is_made_for_those_who_ask_and_kept_current_for_those_who_have_it() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let target = target(&database);
        migrate(&target, &[]).await.unwrap();
        assert!(pending(&target, &[]).await.unwrap().is_empty(), "on {major}");
        assert_eq!(pending(&target, &[Set::Messaging]).await.unwrap().len(), MESSAGING.len(), "on {major}");
        migrate(&target, &[Set::Messaging]).await.unwrap();
        let made = catalog_of(&database.client, &SCHEMAS).await;

        // The last one has not been here yet, as after an update of the program.
        let last = MESSAGING.last().unwrap();
        let forget = format!("delete from rowcast.migrations where version = {}", last.version);
        database.execute(&forget).await;
        assert_eq!(pending(&target, &[]).await.unwrap(), [last], "on {major}");
        assert_eq!(migrate(&target, &[]).await.unwrap().applied, [last], "on {major}");
        assert_eq!(catalog_of(&database.client, &SCHEMAS).await, made, "on {major}");
    }
}

#[tokio::test]
async fn table_or_function_of_somebody_else_stops_the_set_before_anything_is_made() {
    for (sql, name) in [
        ("create table public.messages (id int); comment on table public.messages is 'theirs'", "messages"),
        ("create view public.user_presence as select 1 as id", "user_presence"),
        (
            "create function public.send_message(text) returns int language sql as 'select 1'",
            "send_message()",
        ),
    ] {
        let database = TestDatabase::create(majors()[0]).await;
        database.execute(sql).await;
        let before = catalog_of(&database.client, &SCHEMAS).await;
        let error = migrate(&target(&database), &[Set::Messaging]).await.unwrap_err();
        assert!(matches!(&error, Error::Taken { name: found } if found == name), "{error:?}");
        assert!(error.to_string().contains(name) && error.remedy().contains("rename"), "{error}");
        assert!(matches!(pending(&target(&database), &[Set::Messaging]).await, Err(Error::Taken { .. })));
        assert_eq!(catalog_of(&database.client, &SCHEMAS).await, before);
        // What everybody needs is made all the same by those who ask for nothing else.
        assert_eq!(migrate(&target(&database), &[]).await.unwrap().applied.len(), MIGRATIONS.len());
    }
}

/// Databases often give clients all rights on whatever is new in the schema public.
#[tokio::test]
async fn default_privileges_of_the_schema_give_nobody_more() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        migrate(&target(&database), &[]).await.unwrap();
        let generous = "
            alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
            alter default privileges in schema public grant all on functions to anon, authenticated, service_role";
        database.execute(generous).await;
        migrate(&target(&database), &[Set::Messaging]).await.unwrap();
        let open = "select
                (select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
                    and has_table_privilege('anon', oid, 'select, insert, update, delete, truncate, references, trigger')),
                (select count(*) from pg_proc where pronamespace = 'public'::regnamespace
                    and has_function_privilege('anon', oid, 'execute')),
                (select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
                    and has_table_privilege('authenticated', oid, 'insert, update, truncate')),
                (select count(*) from pg_proc where pronamespace = 'public'::regnamespace
                    and has_function_privilege('authenticated', oid, 'execute'))";
        let row = database.client.query_one(open, &[]).await.unwrap();
        let found: Vec<i64> = (0..4).map(|column| row.get(column)).collect();
        assert_eq!(found[..3], [0, 0, 0], "on {major}");
        assert!(found[3] > 20, "on {major}: {found:?}");
    }
}

#[tokio::test]
async fn owner_without_superuser_rights_makes_it_once_the_roles_are_there() {
    for major in majors() {
        let directory = scratch("messaging-owner");
        let cluster = Cluster::start(binaries(major), &directory, false).unwrap();
        let admin = connect(&cluster.url("postgres")).await;
        admin.batch_execute("create role owner login").await.unwrap();
        admin.batch_execute("create database app owner owner").await.unwrap();
        let database = Database::parse(&cluster.url("app").replace("postgres@", "owner@")).unwrap();
        let error = migrate(&database, &[Set::Messaging]).await.unwrap_err();
        assert!(matches!(error, Error::NoRole), "{error:?} on {major}");
        admin.batch_execute(&error.remedy().replace("as a superuser: ", "")).await.unwrap();
        migrate(&database, &[Set::Messaging]).await.unwrap();

        // Functions that run as their owner read what the policies hide from callers.
        let client = connect(&cluster.url("app")).await;
        let steps = "
            set role authenticated;
            select set_config('request.jwt.claims', '{\"sub\":\"a0000000-0000-4000-8000-000000000001\"}', false);
            select public.upsert_profile('Ann');
            select public.send_message((public.start_conversation(kind => 'group') ->> 'id')::uuid, 'hello');";
        client.batch_execute(steps).await.unwrap();
        let sent = client.query_one("select count(*) from public.messages", &[]).await.unwrap();
        assert_eq!(sent.get::<_, i64>(0), 1, "on {major}");
        let own = "select set_config('request.jwt.claims', '{\"sub\":\"b0000000-0000-4000-8000-000000000001\"}', false)";
        client.batch_execute(own).await.unwrap();
        let seen = client.query_one("select count(*) from public.messages", &[]).await.unwrap();
        assert_eq!(seen.get::<_, i64>(0), 0, "on {major}");
        drop(cluster);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
