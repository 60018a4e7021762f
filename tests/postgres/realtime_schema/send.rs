//! `realtime.send()`, `send_binary()` and `topic()`: who may, what arrives, and what is a warning.

use super::{Listener, message_count, prepared, value};
use crate::support::majors;

const DENIED: &str =
    "WarnSendingBroadcastMessage: new row violates row-level security policy for table \"messages\"";

#[tokio::test]
async fn policies_decide_who_may_send() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        for role in ["anon", "authenticated"] {
            session.run(&format!("set role {role}")).await;
            assert_eq!(session.run("select realtime.send('{}', 'e', 'room')").await, [DENIED], "{role}");
            assert_eq!(
                session.run("select realtime.send_binary('\\x00', 'e', 'room')").await,
                [DENIED],
                "{role}"
            );
        }
        assert_eq!(message_count(&database).await, 0, "on {major}");
        database
            .execute(
                "create policy \"anybody writes to the room\" on realtime.messages for insert to anon
                 with check (realtime.topic() = 'room' and topic = 'room' and extension = 'broadcast')",
            )
            .await;
        session.run("set role authenticated").await;
        assert_eq!(session.run("select realtime.send('{}', 'e', 'room')").await, [DENIED], "on {major}");
        session.run("set role anon").await;
        assert_eq!(session.run("select realtime.send('{}', 'e', 'other')").await, [DENIED], "on {major}");
        assert!(session.run("select realtime.send('{}', 'e', 'room')").await.is_empty(), "on {major}");
        assert!(
            session.run("select realtime.send_binary('\\x00', 'e', 'room')").await.is_empty(),
            "on {major}"
        );
        assert_eq!(message_count(&database).await, 2, "on {major}");
        // To write is not to read.
        assert_eq!(
            value(&session.client, "select count(*)::text from realtime.messages").await.unwrap(),
            "0"
        );
    }
}

#[tokio::test]
async fn bypassing_row_security_is_enough_to_send_and_read() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        assert!(
            session.run("set role service_role; select realtime.send('{}', 'e', 'room')").await.is_empty()
        );
        assert_eq!(
            value(&session.client, "select count(*)::text from realtime.messages").await.unwrap(),
            "1"
        );
        session.run("reset role; create role stranger; set role stranger").await;
        let denied = session.fail("select realtime.send('{}', 'e', 'room')").await;
        assert_eq!(denied, "permission denied for schema realtime", "on {major}");
        session.run("reset role; grant usage on schema realtime to stranger; set role stranger").await;
        let warned = session.run("select realtime.send('{}', 'e', 'room')").await;
        assert_eq!(
            warned,
            ["WarnSendingBroadcastMessage: permission denied for table messages"],
            "on {major}"
        );
        session.run("reset role; revoke usage on schema realtime from stranger; drop role stranger").await;
    }
}

#[tokio::test]
async fn what_is_sent_is_what_is_stored() {
    for major in majors() {
        let database = prepared(major).await;
        database.execute("set timezone = 'Pacific/Kiritimati'").await;
        for (call, expected) in [
            ("send('{\"a\":1}', 'e', 't')", "t broadcast e t {a,id} t -"),
            ("send('{\"a\":1}', 'e', 't', false)", "t broadcast e f {a,id} t -"),
            ("send('{\"id\":1}', 'e', 't', private => true)", "t broadcast e t {id} f -"),
            ("send('{}', 'e', 't', null)", "t broadcast e - {id} t -"),
            ("send_binary('\\x0102', 'e', 't')", "t broadcast e t - - \\x0102"),
            ("send_binary('', 'e', 't', false)", "t broadcast e f - - \\x"),
        ] {
            database.execute("truncate realtime.messages").await;
            database.execute(&format!("select realtime.{call}")).await;
            let query = "select concat_ws(
                    ' ', topic, extension, event, coalesce(private::text, '-'),
                    coalesce((select array_agg(key order by key)::text from jsonb_object_keys(payload) key), '-'),
                    coalesce((payload ->> 'id' = id::text)::text, '-'), coalesce(binary_payload::text, '-')
                ) from realtime.messages";
            let stored = value(&database.client, query).await.unwrap();
            let stored = stored.replace("true", "t").replace("false", "f");
            assert_eq!(stored, expected, "{call} on {major}");
            let query = "select (inserted_at = timezone('utc', inserted_at at time zone 'utc')
                and abs(extract(epoch from inserted_at - timezone('utc', now()))) < 60
                and updated_at = inserted_at)::text from realtime.messages";
            assert_eq!(value(&database.client, query).await.unwrap(), "true", "UTC, {call} on {major}");
        }
    }
}

#[tokio::test]
async fn a_payload_that_is_no_object_is_a_warning() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        for (call, count) in [
            ("send('1', 'e', 't')", 0),
            ("send('\"x\"', 'e', 't')", 0),
            ("send('[1]', 'e', 't')", 0),
            ("send('{}', 'e', null)", 0),
            ("send_binary('', 'e', null)", 0),
            // Nothing is a payload to the table; the stream does not deliver it.
            ("send(null, 'e', 't')", 1),
        ] {
            let warned = session.run(&format!("select realtime.{call}")).await;
            assert_eq!(warned.len(), 1 - count, "{call} on {major}: {warned:?}");
            assert!(
                warned.iter().all(|text| text.starts_with("WarnSendingBroadcastMessage: ")),
                "{warned:?}"
            );
        }
        assert_eq!(message_count(&database).await, 1, "on {major}");
    }
}

#[tokio::test]
async fn a_failed_send_leaves_its_transaction_alone() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        session.run("create table public.kept (id int); grant all on public.kept to anon").await;
        let warned = session
            .run(
                "set role anon; begin; insert into public.kept values (1);
                 select realtime.send('{}', 'e', 'room'); insert into public.kept values (2); commit",
            )
            .await;
        assert_eq!(warned, [DENIED], "on {major}");
        assert_eq!(value(&session.client, "select count(*)::text from public.kept").await.unwrap(), "2");
        // What was sent goes with a transaction that fails.
        session.run("reset role; begin; select realtime.send('{}', 'e', 'room'); rollback").await;
        assert_eq!(message_count(&database).await, 0, "on {major}");
    }
}

/// Constraints that a user adds are not taken for missing partitions.
#[tokio::test]
async fn a_broken_check_is_a_warning() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        session.run("alter table realtime.messages add constraint short check (length(topic) < 5)").await;
        let warned = session.run("select realtime.send('{}', 'e', 'long topic')").await;
        assert_eq!(warned.len(), 1, "on {major}: {warned:?}");
        assert!(warned[0].contains("violates check constraint \"short\""), "on {major}: {warned:?}");
        let denied = session
            .fail("insert into realtime.messages (topic, extension, payload, binary_payload) values ('t', 'broadcast', '{}', '')")
            .await;
        assert!(denied.contains("messages_payload_exclusive"), "on {major}: {denied}");
    }
}

/// Policies run inside `send`, and the functions they call find what they always find.
#[tokio::test]
async fn functions_in_policies_keep_the_callers_search_path() {
    for major in majors() {
        let database = prepared(major).await;
        database
            .execute(
                "create table public.rooms (name text); insert into public.rooms values ('room');
                 grant select on public.rooms to anon;
                 create function public.is_room(name text) returns boolean language plpgsql stable
                     as $$ begin return exists (select from rooms where rooms.name = is_room.name); end $$;
                 create policy \"rooms\" on realtime.messages for insert to anon
                     with check (public.is_room(realtime.topic()))",
            )
            .await;
        let session = Listener::connect(&database).await;
        let warned = session.run("set role anon; select realtime.send('{}', 'e', 'room')").await;
        assert!(warned.is_empty(), "on {major}: {warned:?}");
        assert_eq!(session.run("select realtime.send('{}', 'e', 'none')").await, [DENIED], "on {major}");
    }
}

#[tokio::test]
async fn topic_is_that_of_the_transaction() {
    for major in majors() {
        let database = prepared(major).await;
        let client = &database.client;
        assert_eq!(value(client, "select realtime.topic()").await, None, "on {major}");
        database.execute("begin; select realtime.send('{}', 'e', 'room')").await;
        assert_eq!(value(client, "select realtime.topic()").await.as_deref(), Some("room"), "on {major}");
        database.execute("commit").await;
        assert_eq!(value(client, "select realtime.topic()").await, None, "on {major}");
        database.execute("set role anon; select set_config('realtime.topic', '', false)").await;
        assert_eq!(value(client, "select realtime.topic()").await, None, "on {major}");
    }
}
