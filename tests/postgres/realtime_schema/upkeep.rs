//! Partitions: made ahead, dropped after the retention, and repaired by whoever sends.

use std::time::Duration;

use rowcast::postgres::connect::Database;
use rowcast::postgres::maintenance::{self, Config, Report};
use rowcast::telemetry::code::Code;
use tokio::sync::mpsc;

use super::{Listener, list, message_count, prepared};
use crate::support::{TestDatabase, connect, majors};

const PARTITIONS: &str = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'realtime.messages'::regclass order by 1";

/// The names of the partitions of these days, counted from today.
async fn named(database: &TestDatabase, days: &[i32]) -> Vec<String> {
    let query = "select to_char(timezone('utc', now())::date + d, '\"messages_\"YYYY_MM_DD') from unnest($1::int[]) d";
    database.client.query(query, &[&days]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn drop_partitions(database: &TestDatabase) {
    for name in list(&database.client, PARTITIONS).await {
        database.execute(&format!("drop table realtime.{name}")).await;
    }
}

fn config(database: &TestDatabase) -> Config {
    let hours = |count: u64| Duration::from_secs(count * 3600);
    Config { database: Database::parse(&database.url).unwrap(), interval: hours(1), retention: hours(72) }
}

#[tokio::test]
async fn partitions_are_made_from_yesterday_to_three_days_on() {
    for major in majors() {
        let database = prepared(major).await;
        assert_eq!(list(&database.client, PARTITIONS).await, named(&database, &[-1, 0, 1, 2, 3]).await);
        assert!(list(&database.client, "select partition from rowcast.maintain_messages()").await.is_empty());
        database.execute(&format!("drop table realtime.{}", named(&database, &[2]).await[0])).await;
        let made =
            list(&database.client, "select action || ' ' || partition from rowcast.maintain_messages()")
                .await;
        assert_eq!(made, [format!("created {}", named(&database, &[2]).await[0])], "on {major}");
        // As closed as the table itself.
        let open = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = 'realtime.messages'::regclass
                and (not c.relrowsecurity or c.relacl is not null
                    or c.relowner <> (select relowner from pg_class where oid = i.inhparent))";
        assert!(list(&database.client, open).await.is_empty(), "on {major}");
    }
}

#[tokio::test]
async fn partitions_past_the_retention_are_dropped() {
    for major in majors() {
        let database = prepared(major).await;
        for day in [-5, -4, -3, -2] {
            let make =
                format!("select rowcast.create_messages_partition(timezone('utc', now())::date + {day})");
            database.execute(&make).await;
        }
        // Somebody's own partition and table stay, whatever their age.
        database
            .execute(
                "create table realtime.messages_archive partition of realtime.messages for values from ('2020-01-01') to ('2021-01-01');
                 create table realtime.messages_2020_01_01 ();",
            )
            .await;
        let dropped = list(&database.client, "select rowcast.drop_messages_partitions()").await;
        assert_eq!(dropped, named(&database, &[-5, -4]).await, "on {major}");
        let dropped = list(&database.client, "select rowcast.drop_messages_partitions('24 hours')").await;
        assert_eq!(dropped, named(&database, &[-3, -2]).await, "on {major}");
        let dropped = list(&database.client, "select rowcast.drop_messages_partitions('0')").await;
        assert_eq!(dropped, named(&database, &[-1]).await, "on {major}");
        let mut left = named(&database, &[0, 1, 2, 3]).await;
        left.push("messages_archive".to_owned());
        assert_eq!(list(&database.client, PARTITIONS).await, left, "on {major}");
        database.execute("table realtime.messages_2020_01_01").await;
        let session = Listener::connect(&database).await;
        for retention in ["'-1 day'", "null"] {
            let error = session.fail(&format!("select rowcast.drop_messages_partitions({retention})")).await;
            assert!(error.contains("must not be negative"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_sender_finds_a_missing_partition_made() {
    for major in majors() {
        let database = prepared(major).await;
        database
            .execute("create policy \"all\" on realtime.messages for insert to anon with check (true)")
            .await;
        drop_partitions(&database).await;
        let session = Listener::connect(&database).await;
        let warned = session
            .run(
                "set role anon; set timezone = 'Pacific/Kiritimati'; set default_tablespace = 'pg_global';
                 begin isolation level repeatable read; select 1;
                 select realtime.send('{}', 'e', 'room'); select realtime.send_binary('', 'e', 'room'); commit",
            )
            .await;
        assert!(warned.is_empty(), "on {major}: {warned:?}");
        assert_eq!(message_count(&database).await, 2, "on {major}");
        assert_eq!(list(&database.client, PARTITIONS).await, named(&database, &[0]).await, "on {major}");
    }
}

/// The second waits for the first to commit, and then finds the partition.
#[tokio::test]
async fn two_senders_repair_one_partition() {
    for major in majors() {
        for isolation in ["read committed", "repeatable read"] {
            let database = prepared(major).await;
            drop_partitions(&database).await;
            let (one, two) = (Listener::connect(&database).await, Listener::connect(&database).await);
            two.run(&format!("begin isolation level {isolation}; select 1")).await;
            one.run("begin; select realtime.send('{}', 'e', 'one')").await;
            let process = list(&two.client, "select pg_backend_pid()::text").await.remove(0);
            let second = two.run("select realtime.send('{}', 'e', 'two'); commit");
            let first = async {
                let waiting = format!(
                    "select wait_event_type from pg_stat_activity where pid = {process} and wait_event_type = 'Lock'"
                );
                while list(&database.client, &waiting).await.is_empty() {
                    tokio::task::yield_now().await;
                }
                one.run("commit").await
            };
            let (first, second) = tokio::join!(first, second);
            assert!(first.is_empty() && second.is_empty(), "{isolation} on {major}: {first:?} {second:?}");
            assert_eq!(message_count(&database).await, 2, "{isolation} on {major}");
            assert_eq!(list(&database.client, PARTITIONS).await.len(), 1, "{isolation} on {major}");
        }
    }
}

/// Attaching a partition waits for nobody who reads or writes, and nobody waits for it.
#[tokio::test]
async fn senders_go_on_while_a_partition_is_made() {
    for major in majors() {
        let database = prepared(major).await;
        let writer = connect(&database.url).await;
        writer.batch_execute("begin; select realtime.send('{}', 'e', 'one')").await.unwrap();
        database
            .execute("begin; select rowcast.create_messages_partition(timezone('utc', now())::date + 4)")
            .await;
        writer
            .batch_execute("set lock_timeout = '1s'; select realtime.send('{}', 'e', 'two'); commit")
            .await
            .unwrap();
        database.execute("commit").await;
        assert_eq!(message_count(&database).await, 2, "on {major}");
    }
}

#[tokio::test]
async fn clients_can_make_todays_partition_and_nothing_else() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        for role in ["anon", "authenticated", "service_role"] {
            session.run(&format!("set role {role}")).await;
            for call in [
                "select rowcast.create_messages_partition('2026-01-01')",
                "select rowcast.create_messages_partitions()",
                "select rowcast.drop_messages_partitions('0')",
                "select * from rowcast.maintain_messages('0')",
                "table rowcast.migrations",
                "create table realtime.mine ()",
                "create table rowcast.mine ()",
                "drop table realtime.messages",
                "alter table realtime.messages disable row level security",
            ] {
                let denied = session.client.batch_execute(call).await.expect_err(call);
                assert_eq!(denied.code().unwrap().code(), "42501", "{role}: {call} on {major}");
            }
            session.run("select rowcast.repair_messages()").await;
            let member = "select pg_has_role('supabase_realtime_admin', 'member')::text";
            assert_eq!(list(&session.client, member).await, ["false"], "{role} on {major}");
            session.run("reset role").await;
        }
        let runs_as_owner = list(
            &database.client,
            "select p.oid::regprocedure::text from pg_proc p
             where p.pronamespace in ('realtime'::regnamespace, 'rowcast'::regnamespace, 'auth'::regnamespace)
                 and p.prosecdef and has_function_privilege('anon', p.oid, 'execute')",
        )
        .await;
        assert_eq!(runs_as_owner, ["rowcast.repair_messages()"], "on {major}");
    }
}

/// A temporary type is found before a built-in one unless the path says otherwise; its checks are the caller's code.
#[tokio::test]
async fn temporary_objects_do_not_run_as_the_owner() {
    for major in majors() {
        let database = prepared(major).await;
        drop_partitions(&database).await;
        let session = Listener::connect(&database).await;
        session
            .run(&format!(
                "grant temporary on database {} to anon",
                list(&database.client, "select current_database()::text").await[0]
            ))
            .await;
        session
            .run(
                "set role anon;
                 create function pg_temp.trap() returns boolean language plpgsql as $$
                     begin raise exception 'ran as %', current_user; end $$;
                 create domain pg_temp.date as pg_catalog.date check (pg_temp.trap());
                 create domain pg_temp.text as pg_catalog.text check (pg_temp.trap());
                 create domain pg_temp.regclass as pg_catalog.regclass check (pg_temp.trap());
                 create table pg_temp.pg_class (oid oid, relowner oid, relkind \"char\");
                 select rowcast.repair_messages();",
            )
            .await;
        assert_eq!(list(&database.client, PARTITIONS).await, named(&database, &[0]).await, "on {major}");
    }
}

#[tokio::test]
async fn the_server_keeps_messages_up() {
    for major in majors() {
        let database = prepared(major).await;
        drop_partitions(&database).await;
        database.execute("select rowcast.create_messages_partition(timezone('utc', now())::date - 9)").await;
        let (created, dropped) = (named(&database, &[-1, 0, 1, 2, 3]).await, named(&database, &[-9]).await);
        assert_eq!(
            maintenance::run(&config(&database)).await.unwrap(),
            Report { created, dropped },
            "on {major}"
        );
        assert_eq!(maintenance::run(&config(&database)).await.unwrap(), Report::default(), "on {major}");
    }
}

/// Another role needs no rights on the table, only on the functions.
#[tokio::test]
async fn a_server_without_rights_says_which_it_needs() {
    for major in majors() {
        let database = prepared(major).await;
        database.execute(&format!("create role upkeep_{major} login")).await;
        let url = database.url.replace("postgres@", &format!("upkeep_{major}@"));
        let config = Config { database: Database::parse(&url).unwrap(), ..config(&database) };
        let error = maintenance::run(&config).await.unwrap_err();
        assert_eq!(error.code(), Code::PartitionCreationFailed, "on {major}");
        assert!(error.is_refusal() && error.remedy().contains("grant execute"), "on {major}");
        database
            .execute(&format!("grant execute on all functions in schema rowcast to upkeep_{major}"))
            .await;
        drop_partitions(&database).await;
        assert_eq!(maintenance::run(&config).await.unwrap().created.len(), 5, "on {major}");
        database.execute(&format!("drop owned by upkeep_{major}; drop role upkeep_{major}")).await;
    }
}

#[tokio::test]
async fn a_run_that_fails_names_its_code_and_remedy() {
    for major in majors() {
        let bare = TestDatabase::create(major).await;
        let error = maintenance::run(&config(&bare)).await.unwrap_err();
        assert_eq!((error.code(), error.remedy()), (Code::PartitionCreationFailed, "run `rowcast migrate`"));
        let database = prepared(major).await;
        database.execute("select rowcast.create_messages_partition(timezone('utc', now())::date - 9)").await;
        let reader = connect(&database.url).await;
        reader.batch_execute("begin; table realtime.messages").await.unwrap();
        let error = maintenance::run(&config(&database)).await.unwrap_err();
        assert_eq!(error.code(), Code::JanitorFailedToDeleteOldMessages, "on {major}");
        assert!(error.remedy().contains("long transaction"), "on {major}");
    }
}

/// Each run is heard of; one that does not reach Postgres is tried again soon, whatever the interval.
#[tokio::test]
async fn upkeep_goes_on_after_a_failure() {
    for major in majors() {
        let database = prepared(major).await;
        let often = Config { interval: Duration::from_millis(10), ..config(&database) };
        let (ran, mut runs) = mpsc::channel(64);
        let tell = move |result: &Result<Report, maintenance::Error>| {
            let told = match result {
                Ok(report) => Ok(report.clone()),
                Err(error) => Err(error.code()),
            };
            let _ = ran.try_send(told);
        };
        let task = tokio::spawn(maintenance::keep_up(often, tell));
        assert_eq!(runs.recv().await.unwrap(), Ok(Report::default()), "on {major}");
        database.execute("alter function rowcast.create_messages_partitions() rename to away").await;
        while runs.recv().await.unwrap() != Err(Code::PartitionCreationFailed) {}
        drop_partitions(&database).await;
        database.execute("alter function rowcast.away() rename to create_messages_partitions").await;
        while runs.recv().await.unwrap().is_err() {}
        assert_eq!(list(&database.client, PARTITIONS).await.len(), 5, "on {major}");
        task.abort();
    }
}

/// An old table without partitions takes every row; a table that is not there needs nothing.
#[tokio::test]
async fn a_table_without_partitions_is_left_alone() {
    for major in majors() {
        let database = prepared(major).await;
        let make = "create table realtime.messages (topic text, inserted_at timestamp)";
        for replacement in [make, "select 1"] {
            database.execute(&format!("drop table realtime.messages; {replacement}")).await;
            assert_eq!(maintenance::run(&config(&database)).await.unwrap(), Report::default(), "on {major}");
            assert_eq!(list(&database.client, "select rowcast.repair_messages()::text").await, ["false"]);
        }
    }
}
