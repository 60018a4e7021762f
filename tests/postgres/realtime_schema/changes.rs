//! `realtime.broadcast_changes()` in triggers, and what it refuses.

use super::{Listener, list, message_count, prepared};
use crate::support::majors;

const TRIGGER: &str = "
    create table public.notes (id int primary key, body text);
    create function public.tell() returns trigger language plpgsql security definer as $$
    begin
        perform realtime.broadcast_changes('notes', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
        return null;
    end $$;
    create trigger tell after insert or update or delete on public.notes for each row execute function public.tell();";

#[tokio::test]
async fn each_row_is_told_with_what_it_was_and_is() {
    for major in majors() {
        let database = prepared(major).await;
        database.execute(TRIGGER).await;
        database
            .execute(
                "insert into public.notes values (1, 'a'); update public.notes set body = 'b';
                 delete from public.notes;",
            )
            .await;
        let told = list(
            &database.client,
            "select topic || ' ' || event || ' ' || private || ' ' || (payload - 'id')
             from realtime.messages order by inserted_at, array_position('{INSERT,UPDATE,DELETE}', event)",
        )
        .await;
        let expected = [
            ("INSERT", r#"{"id": 1, "body": "a"}"#, "null"),
            ("UPDATE", r#"{"id": 1, "body": "b"}"#, r#"{"id": 1, "body": "a"}"#),
            ("DELETE", "null", r#"{"id": 1, "body": "b"}"#),
        ]
        .map(|(event, record, old)| {
            format!(
                r#"notes {event} true {{"table": "notes", "record": {record}, "schema": "public", "operation": "{event}", "old_record": {old}}}"#
            )
        });
        assert_eq!(told, expected, "on {major}");
    }
}

#[tokio::test]
async fn statements_and_other_operations_are_refused() {
    for major in majors() {
        let database = prepared(major).await;
        let session = Listener::connect(&database).await;
        let call = |operation: &str, level: &str| {
            format!(
                "select realtime.broadcast_changes('t', 'e', {operation}, 'notes', 'public', null::record, null::record, '{level}')"
            )
        };
        for (operation, level, expected) in [
            ("'INSERT'", "STATEMENT", "function can only be triggered for each row, not for each statement"),
            ("'TRUNCATE'", "ROW", "Unexpected operation type: TRUNCATE"),
            ("'insert'", "ROW", "Unexpected operation type: insert"),
            ("null", "ROW", "Unexpected operation type: <NULL>"),
        ] {
            let error = session.fail(&call(operation, level)).await;
            assert_eq!(error, format!("Failed to process the row: {expected}"), "on {major}");
        }
        assert_eq!(message_count(&database).await, 0, "on {major}");
        assert!(session.run(&call("'INSERT'", "ROW")).await.is_empty(), "on {major}");
        assert_eq!(message_count(&database).await, 1, "on {major}");
    }
}

#[tokio::test]
async fn a_row_that_may_not_be_told_is_written_all_the_same() {
    for major in majors() {
        let database = prepared(major).await;
        database.execute(&TRIGGER.replace("security definer", "")).await;
        let session = Listener::connect(&database).await;
        session.run("grant all on public.notes to anon; set role anon").await;
        let warned = session.run("insert into public.notes values (1, 'a')").await;
        assert_eq!(warned.len(), 1, "on {major}: {warned:?}");
        assert!(warned[0].starts_with("WarnSendingBroadcastMessage: "), "on {major}: {warned:?}");
        assert_eq!(list(&session.client, "select body from public.notes").await, ["a"], "on {major}");
        assert_eq!(message_count(&database).await, 0, "on {major}");
    }
}
