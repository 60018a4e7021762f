//! What the tables beside the other tests have no row for: who is asked about, profiles, preferences and catching up.

use crate::messaging::{Case, cases};

const DENIED: &str = "42501";
/// What is not visible does not exist.
const MISSING: &str = "P0002";
/// A call for nobody.
const NOBODY: &str = "22023";

pub(super) fn asking() -> Vec<Case> {
    cases([
        // Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
        (
            "select rowcast.caller_user_id()",
            ["{ann}", "{bob}", "{carl}", "{dan}", "null", "null", "{sue}", DENIED, "null"],
        ),
        (
            "select rowcast.caller_customer_id()",
            ["null", "null", "null", "null", "{cus}", "{kim}", "null", DENIED, "null"],
        ),
        ("select rowcast.caller_is_staff()", ["f", "f", "f", "f", "f", "f", "t", DENIED, "f"]),
        ("select rowcast.caller_is_service()", ["f", "f", "f", "f", "f", "f", "f", DENIED, "t"]),
        (
            "select rowcast.staff_from() is not null and rowcast.staff_to() is not null",
            ["f", "f", "f", "f", "f", "f", "t", DENIED, "f"],
        ),
        ("select rowcast.takes_part('{group}')", ["t", "t", "f", "f", "f", "f", "f", DENIED, "f"]),
        ("select rowcast.takes_part('{support}')", ["f", "f", "f", "f", "t", "f", "f", DENIED, "f"]),
        (
            "select id from rowcast.own_conversation_ids() id order by id",
            ["{direct},{group}", "{direct},{group}", "", "{other}", "{support}", "", "", DENIED, ""],
        ),
        (
            "select rowcast.shares_conversation('{bob}', null)",
            ["t", "t", "f", "f", "f", "f", "f", DENIED, "f"],
        ),
        (
            "select rowcast.shares_conversation(null, '{cus}')",
            ["f", "f", "f", "f", "t", "f", "f", DENIED, "f"],
        ),
        (
            "select p.user_id from rowcast.person('{bob}', null) p",
            [DENIED, "{bob}", DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "{bob}"],
        ),
        (
            "select p.customer_id from rowcast.person(null, '{cus}') p",
            [DENIED, DENIED, DENIED, DENIED, "{cus}", DENIED, DENIED, DENIED, "{cus}"],
        ),
        ("select rowcast.may_see('{direct}')", ["t", "t", "f", "f", "f", "f", "t", DENIED, "t"]),
        ("select rowcast.may_see('{support}')", ["f", "f", "f", "f", "t", "f", "t", DENIED, "t"]),
        (
            "select 'seen' from rowcast.require_conversation('{direct}', false)",
            ["seen", "seen", MISSING, MISSING, MISSING, MISSING, "seen", DENIED, "seen"],
        ),
        (
            "select 'seen' from rowcast.require_conversation('{direct}', true)",
            ["seen", "seen", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "seen"],
        ),
        (
            "select 'seen' from rowcast.require_conversation('{support}', true)",
            [MISSING, MISSING, MISSING, MISSING, "seen", MISSING, "seen", DENIED, "seen"],
        ),
        (
            "select m.content from rowcast.own_message('{d1}') m",
            ["direct one", DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "direct one"],
        ),
        (
            "select m.content from rowcast.own_message('{s1}') m",
            [MISSING, MISSING, MISSING, MISSING, "support one", MISSING, DENIED, DENIED, "support one"],
        ),
        ("select rowcast.may_use_topic('chat:{group}')", ["t", "t", "f", "f", "f", "f", "t", DENIED, "f"]),
        (
            "select rowcast.may_use_topic('presence:{support}')",
            ["f", "f", "f", "f", "t", "f", "t", DENIED, "f"],
        ),
        (
            "select rowcast.may_hear_topic('customer:{cus}:messages')",
            ["f", "f", "f", "f", "t", "f", "t", DENIED, "f"],
        ),
        (
            "select rowcast.may_hear_topic('staff:{sue}:messages')",
            ["f", "f", "f", "f", "f", "f", "t", DENIED, "f"],
        ),
        (
            "select public.upsert_profile(username => 'x') ->> 'kind'",
            ["user", "user", "user", "user", "customer", "customer", "user", DENIED, NOBODY],
        ),
        (
            "select public.start_conversation('{{dan}}') ->> 'kind'",
            ["direct", "direct", "direct", "group", "support", "support", "direct", DENIED, "group"],
        ),
        (
            "select public.start_conversation('{}', '{cus}') ->> 'kind'",
            [DENIED, DENIED, DENIED, DENIED, "support", DENIED, "support", DENIED, "support"],
        ),
        (
            "select public.get_notification_preferences() ->> 'email'",
            ["false", "true", "true", "true", DENIED, DENIED, "true", DENIED, DENIED],
        ),
        (
            "select public.update_notification_preferences('{\"email\": false}') ->> 'email'",
            ["false", "false", "false", "false", DENIED, DENIED, "false", DENIED, DENIED],
        ),
        (
            "select coalesce(user_id, customer_id) from public.list_typing_indicators('{direct}')",
            ["{bob}", "{bob}", "", "", "", "", "{bob}", DENIED, "{bob}"],
        ),
        (
            "select coalesce(user_id, customer_id) from public.list_typing_indicators('{support}')",
            ["", "", "", "", "{cus}", "", "{cus}", DENIED, "{cus}"],
        ),
        (
            "select count(*) from unnest(rowcast.missed_since('2020-01-01', null, '{}', '{}'))",
            ["4", "4", "0", "1", "1", "0", "6", DENIED, "0"],
        ),
        (
            "select count(*) from unnest(rowcast.missed_since('2100-01-01', null, '{{g1},{s1}}', '{}'))",
            ["1", "1", "0", "0", "1", "0", "2", DENIED, "0"],
        ),
        (
            "select count(*) from unnest(rowcast.missed_since('2020-01-01', '1:1:', '{{g1},{s1}}', '{}'))",
            ["5", "5", "0", "1", "2", "0", "8", DENIED, "0"],
        ),
        (
            "select jsonb_array_length(rowcast.message_page('{{d1},{g1},{s1},{o1}}') -> 'messages')",
            ["2", "2", "0", "1", "1", "0", "4", DENIED, "4"],
        ),
        (
            "select cardinality(rowcast.not_yet_seen('{{d1},{g1},{s1},{o1}}'))",
            ["2", "2", "4", "3", "3", "4", "0", DENIED, "4"],
        ),
        (
            "select rowcast.store_catch_up(sha256('x'), pg_current_snapshot(), '{}', '{}', null) is not null",
            ["t", "t", "t", "t", "t", "t", "t", DENIED, DENIED],
        ),
        (
            "select jsonb_array_length(rowcast.catch_up(repeat('00', 32), '2020-01-01') -> 'messages')",
            ["4", "4", "0", "1", "1", "0", "6", DENIED, DENIED],
        ),
        (
            "select rowcast.resume_catch_up(repeat('00', 32), '2020-01-01') is null",
            ["f", "f", "t", "t", "f", "t", "t", DENIED, "t"],
        ),
        (
            "select rowcast.note_catch_up('2020-01-01', '{}')",
            ["t", "t", "f", "f", "t", "f", "f", DENIED, "f"],
        ),
        (
            "select count(*) from rowcast.find_catch_up('2020-01-01', null)",
            ["1", "1", "0", "0", "1", "0", "0", DENIED, "0"],
        ),
        (
            "select rowcast.update_catch_up(1, '{}', null, null)",
            ["t", "f", "f", "f", "f", "f", "f", DENIED, "f"],
        ),
        ("select rowcast.make_profile()", ["", "", "", "", "", "", "", DENIED, ""]),
        ("select rowcast.page_size(1)", ["1", "1", "1", "1", "1", "1", "1", DENIED, "1"]),
        ("select rowcast.are_attachments('[]')", ["t", "t", "t", "t", "t", "t", "t", DENIED, "t"]),
        ("select rowcast.staff_from() is not null", ["f", "f", "f", "f", "f", "f", "t", DENIED, "f"]),
        ("select rowcast.staff_to() is not null", ["f", "f", "f", "f", "f", "f", "t", DENIED, "f"]),
        (
            "select rowcast.shares_conversation(null, '{kim}')",
            ["f", "f", "f", "f", "f", "f", "f", DENIED, "f"],
        ),
        (
            "select jsonb_array_length(public.get_conversation('{group}') -> 'participants')",
            ["2", "2", MISSING, MISSING, MISSING, MISSING, "2", DENIED, "2"],
        ),
        (
            "select from public.send_message('{group}', 'x'); select count(*) from public.message_delivery_status where conversation_id = '{group}'",
            ["5", "5", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select (public.update_user_presence('{bob}', metadata => jsonb_build_object('i', i))).status from generate_series(1, 7) i",
            [
                DENIED,
                "PT429",
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                "online,online,online,online,online,online,online",
            ],
        ),
        (
            "insert into public.messages (conversation_id, sender_id, content, message_type) values ('{direct}', '{bob}', 'x', 'system') returning 1",
            [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "1"],
        ),
        (
            "select 1 from public.send_message('{group}', 'x', receiver_id => '{carl}')",
            [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select from public.start_conversation('{{bob}}', null, 'group', null, 'x', 'k'); select public.start_conversation('{{bob}}', null, 'group', null, 'x', 'k') ->> 'kind'",
            ["group", "group", "group", "group", DENIED, DENIED, "group", DENIED, NOBODY],
        ),
        (
            "select from public.start_conversation('{{bob}}', null, 'group', null, 'x', 'k'); select public.leave_conversation(m.conversation_id) from public.messages m where m.client_message_id = 'k'; select public.start_conversation('{{bob}}', null, 'group', null, 'x', 'k') ->> 'kind'",
            [MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "t,group", DENIED, NOBODY],
        ),
        (
            "select public.leave_conversation('{direct}'); select public.start_conversation('{{bob}}') ->> 'id' = '{direct}'",
            ["t,f", "t,f", MISSING, MISSING, MISSING, MISSING, "f,f", DENIED, "f,f"],
        ),
        (
            "select public.leave_conversation('{direct}'); select public.start_conversation('{{ann}}') ->> 'id' = '{direct}'",
            ["t,f", "t,f", MISSING, MISSING, MISSING, MISSING, "f,f", DENIED, "f,f"],
        ),
    ])
}
