//! Every function on messages, as everybody.

use super::{Case, Stage, cases};
use crate::support::majors;

const DENIED: &str = "42501";
/// What is not visible does not exist.
const MISSING: &str = "PT404";
/// A call for nobody.
const NOBODY: &str = "22023";

#[tokio::test]
async fn those_who_take_part_send_edit_delete_and_react() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.check(&writing()).await;
    }
}

#[tokio::test]
async fn people_read_and_are_reached_as_themselves() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.check(&reading()).await;
    }
}

#[tokio::test]
async fn people_type_and_are_there_as_themselves() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.check(&being_there()).await;
    }
}

#[tokio::test]
async fn people_list_find_and_catch_up_with_what_they_see() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.check(&finding()).await;
    }
}

/// Helper functions of the schema `rowcast` that write or read for everybody are nobody's to call.
#[tokio::test]
async fn what_serves_the_server_is_for_nobodys_token() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let calls = [
            "select rowcast.expire_typing()",
            "select rowcast.next_typing_expiry()",
            "select rowcast.expire_presence(300)",
            "select rowcast.touch_presence('{}', '{}', '{}', 30)",
            "select rowcast.leave_presence('{}', '{}', 30)",
            "select rowcast.note_deliveries('{}', '{}', '{}')",
        ];
        for sql in calls {
            for caller in super::EVERYBODY {
                let found = stage.probe(caller, sql).await;
                assert_eq!(
                    found == DENIED,
                    caller != super::Service,
                    "{sql} as {caller:?} on {major}: {found}"
                );
            }
        }
        for sql in [
            "select rowcast.message_json(m, null, null) from public.messages m",
            "select rowcast.conversation_json(c, null, null) from public.conversations c",
            "select rowcast.unread_count(p) from public.conversation_participants p",
            "select rowcast.unread_counts('{bob}', null)",
            "select rowcast.support_reader(c) from public.conversations c",
            "select rowcast.spend('messages_per_minute', '{bob}', null, null)",
        ] {
            for caller in super::EVERYBODY {
                assert_eq!(stage.probe(caller, sql).await, DENIED, "{sql} as {caller:?} on {major}");
            }
        }
    }
}

/// The same for all but these.
fn but_for(mut all: [&'static str; 9], others: &[(usize, &'static str)]) -> [&'static str; 9] {
    for (place, answer) in others {
        all[*place] = answer;
    }
    all
}

/// Sending, changing and reacting.
pub(super) fn writing() -> Vec<Case> {
    //   Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
    cases([
        (
            "select content from public.send_message('{direct}', 'x')",
            ["x", "x", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select sender_type from public.send_message('{support}', 'x')",
            [MISSING, MISSING, MISSING, MISSING, "customer", MISSING, "staff", DENIED, NOBODY],
        ),
        (
            "select content from public.send_message(gen_random_uuid(), 'x')",
            [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, DENIED, NOBODY],
        ),
        (
            "select content from public.send_message('{group}', 'x', reply_to_id => '{g1}')",
            ["x", "x", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        // A reply stays in its conversation, and so does its receiver.
        (
            "select content from public.send_message('{group}', 'x', reply_to_id => '{d1}')",
            [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select content from public.send_message('{direct}', 'x', receiver_id => '{bob}')",
            ["x", "x", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select content from public.send_message('{direct}', 'x', receiver_id => '{dan}')",
            [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select content || (edited_at is not null) from public.edit_message('{d1}', 'y')",
            ["ytrue", DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "ytrue"],
        ),
        (
            "select content from public.edit_message('{g2}', 'y')",
            [DENIED, DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "y"],
        ),
        (
            "select content from public.edit_message('{s1}', 'y')",
            [MISSING, MISSING, MISSING, MISSING, "y", MISSING, DENIED, DENIED, "y"],
        ),
        (
            "select content || (deleted_at is not null) from public.delete_message('{d1}')",
            ["true", DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "true"],
        ),
        (
            "select from public.delete_message('{d1}'); select content from public.edit_message('{d1}', 'y')",
            [NOBODY, DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        // Twice is once.
        (
            "select from public.delete_message('{d1}'); select content from public.delete_message('{d1}')",
            ["", DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, ""],
        ),
        (
            "select emoji from public.add_message_reaction('{g1}', '!')",
            ["!", "!", MISSING, MISSING, MISSING, MISSING, "!", DENIED, NOBODY],
        ),
        (
            "select emoji from public.add_message_reaction('{d1}', '+1')",
            ["+1", "+1", MISSING, MISSING, MISSING, MISSING, "+1", DENIED, NOBODY],
        ),
        (
            "select public.remove_message_reaction('{d1}', '+1')",
            ["f", "t", MISSING, MISSING, MISSING, MISSING, "f", DENIED, NOBODY],
        ),
    ])
}

/// Reading and being reached.
pub(super) fn reading() -> Vec<Case> {
    //   Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
    cases([
        (
            "select conversation_id from public.mark_message_as_read('{g2}')",
            ["{group}", "{group}", MISSING, MISSING, MISSING, MISSING, "{group}", DENIED, NOBODY],
        ),
        (
            "select conversation_id from public.mark_message_as_read('{g1}')",
            [DENIED, "{group}", MISSING, MISSING, MISSING, MISSING, "{group}", DENIED, NOBODY],
        ),
        (
            "select read_by_user_id from public.mark_message_as_read('{g1}', '{bob}')",
            [DENIED, "{bob}", DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "{bob}"],
        ),
        (
            "select read_by_customer_id from public.mark_message_as_read('{g1}', null, '{cus}')",
            [DENIED, DENIED, DENIED, DENIED, MISSING, DENIED, DENIED, DENIED, "{cus}"],
        ),
        (
            "select 1 from public.mark_message_as_read('{g1}', '{ann}', '{cus}')",
            [NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, DENIED, NOBODY],
        ),
        // Bob has read the first one already, Ann and Bob have sent one each, and the last is none of theirs.
        (
            "select public.mark_messages_as_read('{{d1},{d2},{g1},{g2},{o1}}')",
            ["2", "2", "0", "0", "0", "0", "5", DENIED, NOBODY],
        ),
        (
            "select public.mark_conversation_as_read('{group}')",
            ["1", "2", MISSING, MISSING, MISSING, MISSING, "2", DENIED, NOBODY],
        ),
        (
            "select public.mark_messages_as_delivered('{{d1},{d2},{g1},{g2},{o1}}')",
            ["2", "2", "0", "0", "0", "0", "0", DENIED, NOBODY],
        ),
        // Staff have what waits for them in support, without taking part, until they have read it or it is archived.
        ("select public.get_unread_message_count()", ["2", "2", "0", "0", "0", "0", "1", DENIED, NOBODY]),
        (
            "select public.mark_conversation_as_read('{support}'); select public.get_unread_message_count()",
            [MISSING, MISSING, MISSING, MISSING, "0,0", MISSING, "1,0", DENIED, NOBODY],
        ),
        (
            "do $$begin perform public.archive_conversation('{support}'); end$$; select public.get_unread_message_count()",
            [MISSING, MISSING, MISSING, MISSING, "0", MISSING, "0", DENIED, NOBODY],
        ),
        (
            "do $$begin perform public.add_participant('{support}', '{sue}'); perform public.leave_conversation('{support}');
             end$$; select public.get_unread_message_count()",
            [MISSING, MISSING, MISSING, MISSING, DENIED, MISSING, "1", DENIED, NOBODY],
        ),
        (
            "select public.get_conversation('{support}') ->> 'unread_count'",
            [MISSING, MISSING, MISSING, MISSING, "0", MISSING, "1", DENIED, "0"],
        ),
        (
            "select public.get_unread_message_count('{bob}')",
            [DENIED, "2", DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "2"],
        ),
        (
            "select public.get_unread_message_count(null, '{cus}')",
            [DENIED, DENIED, DENIED, DENIED, "0", DENIED, DENIED, DENIED, "0"],
        ),
        (
            "select conversation_id || ' ' || unread_count from public.get_unread_counts() order by 1",
            ["{direct} 1,{group} 1", "{group} 2", "", "", "", "", "{support} 1", DENIED, NOBODY],
        ),
    ])
}

/// Typing and presence.
pub(super) fn being_there() -> Vec<Case> {
    //   Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
    cases([
        (
            "select user_id from public.update_typing_indicator('{direct}')",
            ["{ann}", "{bob}", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select coalesce(user_id, customer_id) from public.update_typing_indicator('{support}')",
            [MISSING, MISSING, MISSING, MISSING, "{cus}", MISSING, "{sue}", DENIED, NOBODY],
        ),
        (
            "select user_id from public.update_typing_indicator('{direct}', '{bob}')",
            [DENIED, "{bob}", DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "{bob}"],
        ),
        (
            "select (public.update_typing_indicator('{direct}', is_typing => false)) is null",
            ["t", "t", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, NOBODY],
        ),
        (
            "select status || metadata from public.update_user_presence(status => 'busy', metadata => '{\"a\":1}')",
            but_for(["busy{\"a\": 1}"; 9], &[(7, DENIED), (8, NOBODY)]),
        ),
        (
            "select status from public.update_user_presence('{bob}', null, 'away')",
            [DENIED, "away", DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "away"],
        ),
        (
            "select name from public.update_user_presence(null, '{cus}')",
            [DENIED, DENIED, DENIED, DENIED, "Cus", DENIED, DENIED, DENIED, "Cus"],
        ),
        // Carl has left, whom Ann and Bob shared a conversation with.
        (
            "select coalesce(user_id, customer_id) from public.list_presence()",
            ["{bob}", "{ann}", "", "", "", "", "", DENIED, ""],
        ),
        ("select public.cleanup_expired_typing_indicators()", but_for(["0"; 9], &[(7, DENIED)])),
    ])
}

/// Lists, single ones, search and catching up.
pub(super) fn finding() -> Vec<Case> {
    //   Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
    cases([
        (
            "select c ->> 'id' from public.list_conversations() c",
            [
                "{group},{direct}",
                "{group},{direct}",
                "",
                "{other}",
                "{support}",
                "",
                "{other},{support},{group},{direct}",
                DENIED,
                "{other},{support},{group},{direct}",
            ],
        ),
        (
            "select c ->> 'kind' from public.get_conversation('{group}') c",
            ["group", "group", MISSING, MISSING, MISSING, MISSING, "group", DENIED, "group"],
        ),
        (
            "select m ->> 'content' from public.list_messages('{group}') m",
            [
                "group one,group two",
                "group one,group two",
                MISSING,
                MISSING,
                MISSING,
                MISSING,
                "group one,group two",
                DENIED,
                "group one,group two",
            ],
        ),
        (
            "select m ->> 'content' from public.get_message('{s1}') m",
            [
                MISSING,
                MISSING,
                MISSING,
                MISSING,
                "support one",
                MISSING,
                "support one",
                DENIED,
                "support one",
            ],
        ),
        (
            "select m ->> 'content' from public.search_messages('one') m",
            [
                "group one,direct one",
                "group one,direct one",
                "",
                "other one",
                "support one",
                "",
                "other one,support one,group one,direct one",
                DENIED,
                "other one,support one,group one,direct one",
            ],
        ),
        (
            "select m ->> 'content' from public.search_messages('one', '{group}') m",
            ["group one", "group one", MISSING, MISSING, MISSING, MISSING, "group one", DENIED, "group one"],
        ),
        (
            "select m ->> 'content' from public.messages_since('2020-01-01', 3) m",
            [
                "direct one,direct two,group one",
                "direct one,direct two,group one",
                "",
                "other one",
                "support one",
                "",
                "direct one,direct two,group one",
                DENIED,
                "direct one,direct two,group one",
            ],
        ),
        (
                    "select m ->> 'content' from public.messages_since('2020-01-01', conversation_id => '{group}') m",
                    [
                        "group one,group two",
                        "group one,group two",
                        MISSING,
                        MISSING,
                        MISSING,
                        MISSING,
                        "group one,group two",
                        DENIED,
                        "group one,group two",
                    ],
                ),
                // The page after the first message of somebody who asks for one at a time.
                (
                    "select m ->> 'content' from public.messages_since(
                         (select (m ->> 'created_at')::timestamptz from public.messages_since('-infinity', 1, '{direct}') m),
                         1, '{direct}') m",
                    [
                        "direct two",
                        "direct two",
                        MISSING,
                        MISSING,
                        MISSING,
                        MISSING,
                        "direct two",
                        DENIED,
                        "direct two",
                    ],
                ),
                (
                    "select m ->> 'content' from public.messages_since('-infinity', 3, '{support}') m",
                    [
                        MISSING,
                        MISSING,
                        MISSING,
                        MISSING,
                        "support one",
                        MISSING,
                        "support one",
                        DENIED,
                        "support one",
                    ],
                ),
                (
                    "select m ->> 'content' from public.messages_since('-infinity', 3, gen_random_uuid()) m",
                    but_for([MISSING; 9], &[(7, DENIED)]),
                ),
        (
            "select m ->> 'status' from public.get_message('{g1}') m",
            ["sent", "null", MISSING, MISSING, MISSING, MISSING, "null", DENIED, "null"],
        ),
        (
            "select m ->> 'status' from public.get_message('{d1}') m",
            ["read", "null", MISSING, MISSING, MISSING, MISSING, "null", DENIED, "null"],
        ),
    ])
}
