//! Writes without a function, as PostgREST makes them: what policies and column grants allow, and what triggers stamp.

use super::{Ann, Bob, Case, Cus, Stage, cases};
use crate::support::majors;

const DENIED: &str = "42501";
/// What is not visible does not exist.
const MISSING: &str = "P0002";

#[tokio::test]
async fn people_write_their_own_rows_where_they_take_part() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.check(&writing()).await;
    }
}

#[tokio::test]
async fn triggers_stamp_what_a_sender_may_not_say() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let own = "insert into public.messages (conversation_id, content, client_message_id)
                   values ('{direct}', 'x', 'k') returning concat_ws(' ', sender_id, sender_type, sender_name, sender_role,
                   created_at > now() - interval '1 minute', edited_at is null, deleted_at is null)";
        assert_eq!(stage.call(Ann, own).await, Ok(super::with_ids("{ann} staff Ann teacher t t t")));
        let customer = "insert into public.messages (conversation_id, content) values ('{support}', 'x')
                        returning concat_ws(' ', sender_customer_id, sender_type, sender_name, sender_role)";
        assert_eq!(stage.call(Cus, customer).await, Ok(super::with_ids("{cus} customer Cus customer")));
        for column in [
            "sender_type",
            "sender_name",
            "sender_role",
            "created_at",
            "edited_at",
            "inserted_in",
            "updated_at",
        ] {
            let sql = format!(
                "insert into public.messages (conversation_id, content, {column}) values ('{{direct}}', 'x', null)"
            );
            assert_eq!(stage.probe(Ann, &sql).await, DENIED, "{column} on {major}");
        }
        // A trusted server may write anything, and the stamps are the same.
        let stamped = stage
            .value(
                "insert into public.messages (conversation_id, sender_id, content, sender_name, created_at)
                 values ('{direct}', '{ann}', 'x', 'Mallory', '1999-01-01')
                 returning sender_name || (created_at > now() - interval '1 minute')",
            )
            .await;
        assert_eq!(stamped, "Anntrue", "on {major}");
    }
}

#[tokio::test]
async fn deleted_message_keeps_its_row_without_content_and_stays_deleted() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.call(Ann, "update public.messages set deleted_at = now() where id = '{d1}'").await.unwrap();
        let row = "select content || attachments || (deleted_at is not null) from public.messages where id = '{d1}'";
        assert_eq!(stage.probe(Bob, row).await, "[]true", "on {major}");
        let change =
            "update public.messages set content = 'back', deleted_at = null where id = '{d1}' returning 1";
        assert_eq!(stage.probe(Ann, change).await, "", "its policy leaves it out, on {major}");
        stage.execute(&change.replace(" returning 1", "")).await;
        assert_eq!(stage.probe(Bob, row).await, "[]true", "nor does anybody else bring it back, on {major}");
        let react = "insert into public.message_reactions (message_id, emoji) values ('{d1}', '!')";
        assert_eq!(stage.probe(Bob, react).await, "22023", "on {major}");
    }
}

#[tokio::test]
async fn message_ends_the_typing_of_its_sender_and_of_nobody_else() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("insert into public.message_typing_indicators (conversation_id, user_id) values ('{direct}', '{ann}')").await;
        stage
            .call(Ann, "insert into public.messages (conversation_id, content) values ('{direct}', 'x')")
            .await
            .unwrap();
        let typing =
            "select user_id from public.message_typing_indicators where conversation_id = '{direct}'";
        assert_eq!(stage.value(typing).await, super::with_ids("{bob}"), "on {major}");
    }
}

#[tokio::test]
async fn participants_column_follows_who_takes_part() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let ids = "select participants from public.conversations where id = '{group}'";
        assert_eq!(stage.value(ids).await, super::with_ids("{{ann},{bob}}"), "on {major}");
        stage.execute("insert into public.conversation_participants (conversation_id, customer_id) values ('{group}', '{cus}')").await;
        assert_eq!(stage.value(ids).await, super::with_ids("{{ann},{bob},{cus}}"), "on {major}");
        stage.execute("delete from public.conversation_participants where conversation_id = '{group}' and user_id = '{ann}'").await;
        assert_eq!(stage.value(ids).await, super::with_ids("{{bob},{cus}}"), "on {major}");
        stage
            .execute("update public.conversation_participants set left_at = null where user_id = '{carl}'")
            .await;
        assert_eq!(stage.value(ids).await, super::with_ids("{{bob},{carl},{cus}}"), "on {major}");
    }
}

/// Writes to each table.
pub(super) fn writing() -> Vec<Case> {
    //   Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
    cases([
        (
            "insert into public.messages (conversation_id, content) values ('{direct}', 'x') returning content",
            ["x", "x", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "22023"],
        ),
        (
            "insert into public.messages (conversation_id, content) values ('{group}', 'x') returning content",
            ["x", "x", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "22023"],
        ),
        (
            "insert into public.messages (conversation_id, content) values ('{support}', 'x')
                     returning sender_type",
            [MISSING, MISSING, MISSING, MISSING, "customer", MISSING, "staff", DENIED, "22023"],
        ),
        (
            "insert into public.messages (conversation_id, sender_id, content)
                     values ('{direct}', '{bob}', 'x') returning content",
            [DENIED, "x", DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "x"],
        ),
        (
            "insert into public.messages (conversation_id, sender_customer_id, content)
                     values ('{support}', '{cus}', 'x') returning content",
            [DENIED, DENIED, DENIED, DENIED, "x", DENIED, DENIED, DENIED, "x"],
        ),
        (
            "insert into public.messages (conversation_id, content, message_type)
                     values ('{support}', 'x', 'system') returning content",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "x", DENIED, "22023"],
        ),
        (
            "update public.messages set content = 'y' where id = '{d1}' returning content",
            ["y", "", "", "", "", "", "", DENIED, "y"],
        ),
        (
            "update public.messages set content = 'y' where id = '{g2}' returning content",
            ["", "", "", "", "", "", "", DENIED, "y"],
        ),
        (
            "update public.messages set sender_id = '{bob}' where id = '{d1}' returning content",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "direct one"],
        ),
        (
            "update public.messages set deleted_at = '1999-01-01', content = 'kept' where id = '{d1}'
                     returning content || (deleted_at > '2020-01-01')",
            ["true", "", "", "", "", "", "", DENIED, "true"],
        ),
        (
            "delete from public.messages where id = '{d1}' returning content",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "direct one"],
        ),
        (
            "insert into public.message_reactions (message_id, emoji) values ('{g1}', '!') returning emoji",
            ["!", "!", MISSING, MISSING, MISSING, MISSING, "!", DENIED, "23514"],
        ),
        (
            "insert into public.message_reactions (message_id, user_id, emoji) values ('{g1}', '{bob}', '!')
                     returning emoji",
            [DENIED, "!", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "!"],
        ),
        (
            "delete from public.message_reactions where message_id = '{d1}' returning emoji",
            ["", "+1", "", "", "", "", "", DENIED, "+1"],
        ),
        (
            "delete from public.message_reactions where message_id = '{g1}' returning emoji",
            ["", "", "", "", "", "", "", DENIED, "+1"],
        ),
        (
            "insert into public.message_read_receipts (message_id) values ('{g1}') returning conversation_id",
            [DENIED, "{group}", MISSING, MISSING, MISSING, MISSING, "{group}", DENIED, "23514"],
        ),
        (
            "insert into public.message_read_receipts (message_id, read_by_user_id) values ('{g1}', '{ann}')
                     returning conversation_id",
            [DENIED, DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, DENIED],
        ),
        (
            "delete from public.message_read_receipts returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1,1"],
        ),
        (
            "update public.conversations set title = 't' where id = '{group}' returning title",
            ["t", "t", "", "", "", "", "t", DENIED, "t"],
        ),
        // A direct conversation belongs to both, and its name to neither.
        (
            "update public.conversations set title = 't' where id = '{direct}' returning title",
            ["", "", "", "", "", "", "", DENIED, "t"],
        ),
        (
            "update public.conversations set is_archived = true where id = '{direct}' returning 1",
            ["", "", "", "", "", "", "", DENIED, "1"],
        ),
        (
            "update public.conversation_participants set archived_at = now() where conversation_id = '{direct}' returning user_id",
            ["{ann}", "{bob}", "", "", "", "", "", DENIED, "{ann},{bob}"],
        ),
        (
            "update public.conversations set participants = '{}' where id = '{group}' returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
        (
            "update public.conversations set kind = 'support' where id = '{group}' returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
        (
            "insert into public.conversations (kind) values ('group') returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
        (
            "insert into public.conversation_participants (conversation_id, user_id)
                     values ('{other}', '{ann}') returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
        (
            "update public.conversation_participants set muted_until = 'infinity' where true returning 1",
            ["1,1", "1,1", "", "1", "1", "", "", DENIED, "1,1,1,1,1,1,1,1"],
        ),
        (
            "update public.conversation_participants set left_at = null where true returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1,1,1,1,1,1,1,1"],
        ),
        (
            "update public.conversation_participants set last_read_at = now() where true returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1,1,1,1,1,1,1,1"],
        ),
        (
            "update public.message_delivery_status set status = 'read' where message_id = '{d2}' returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
        (
            "delete from public.message_typing_indicators returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1,1,1"],
        ),
        (
            "update public.user_presence set status = 'offline' returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1,1,1,1,1"],
        ),
        (
            "update public.users set avatar_url = 'https://example.org/a.png' returning id",
            [
                "{ann}",
                "{bob}",
                "{carl}",
                "{dan}",
                "",
                "",
                "{sue}",
                DENIED,
                "{ann},{bob},{carl},{dan},{eve},{sue}",
            ],
        ),
        (
            "update public.users set role = 'staff' returning id",
            [
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                "{ann},{bob},{carl},{dan},{eve},{sue}",
            ],
        ),
        (
            "insert into public.users (id) values (gen_random_uuid()) returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
        (
            "update public.customers set full_name = 'K' returning id",
            ["", "", "", "", "{cus}", "{kim}", "", DENIED, "{cus},{kim}"],
        ),
        (
            "update public.notification_preferences set push = false returning user_id",
            ["{ann}", "", "", "{dan}", "", "", "", DENIED, "{ann},{dan}"],
        ),
        (
            "insert into public.notification_preferences (user_id) values ('{bob}') returning user_id",
            [DENIED, "{bob}", DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "{bob}"],
        ),
        (
            "update rowcast.messaging_settings set value = 0 where name = 'typing_per_minute' returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
    ])
}
