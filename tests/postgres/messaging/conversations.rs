//! Starting, finding, leaving and joining conversations, and their shape.

use serde_json::Value;

use super::{Ann, Anon, Bob, Carl, Case, Cus, Dan, Kim, Service, Stage, Sue, cases, with_ids};
use crate::support::majors;

const DENIED: &str = "42501";
const MISSING: &str = "P0002";

#[tokio::test]
async fn people_start_what_they_may_start() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let start = |arguments: &str| format!("select public.start_conversation({arguments}) ->> 'kind'");
        for (caller, arguments, expected) in [
            (Ann, "'{{dan}}'", "direct"),
            (Ann, "'{{bob},{dan}}'", "group"),
            (Ann, "'{{ann},{ann},{dan}}'", "direct"),
            (Ann, "kind => 'group'", "group"),
            (Ann, "'{{dan}}', kind => 'support'", "support"),
            (Ann, "'{}', kind => 'direct'", "22023"),
            (Ann, "'{{bob},{dan}}', kind => 'direct'", "22023"),
            (Ann, "'{{dan}}', kind => 'channel'", "22023"),
            (Ann, "array[gen_random_uuid()]", MISSING),
            (Ann, "'{}', '{cus}'", DENIED),
            (Ann, "'{{dan}}', metadata => '[]'", "23514"),
            (Ann, "'{{dan}}', metadata => '{\"a\": [-7, 1.5, \"1e400\"]}'", "direct"),
            (Ann, "'{{dan}}', metadata => '{\"a\": [1e400]}'", "22023"),
            (Ann, "'{{dan}}', metadata => '{\"a\": {\"b\": -1e400}}'", "22023"),
            (
                Ann,
                "'{{dan}}', metadata => jsonb_build_object('a', (repeat('[', 30) || repeat(']', 30))::jsonb)",
                "direct",
            ),
            (
                Ann,
                "'{{dan}}', metadata => jsonb_build_object('a', (repeat('[', 40) || repeat(']', 40))::jsonb)",
                "22023",
            ),
            (Ann, "'{{dan}}', first_message => ''", "23514"),
            (Cus, "", "support"),
            (Cus, "'{{sue}}'", "support"),
            (Cus, "'{{sue}}', kind => 'direct'", "direct"),
            (Cus, "'{{sue}}', kind => 'group'", DENIED),
            (Cus, "'{}', '{cus}'", "support"),
            (Cus, "'{}', '{kim}'", DENIED),
            (Kim, "'{}', '{cus}'", DENIED),
            (Sue, "'{}', '{cus}'", "support"),
            (Sue, "'{}', gen_random_uuid()", MISSING),
            (Sue, "'{}', '{cus}', kind => 'direct'", "direct"),
            (Service, "'{{ann},{dan}}'", "direct"),
            (Service, "'{{ann},{dan}}', first_message => 'x'", "22023"),
            (Anon, "'{{dan}}'", DENIED),
        ] {
            assert_eq!(
                stage.probe(caller, &start(arguments)).await,
                expected,
                "{arguments} as {caller:?} on {major}"
            );
        }
    }
}

#[tokio::test]
async fn direct_conversation_is_found_again_by_both_until_one_leaves() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let start = |other: &str| format!("select public.start_conversation('{{{{{other}}}}}') ->> 'id'");
        assert_eq!(stage.call(Ann, &start("bob")).await, Ok(with_ids("{direct}")), "on {major}");
        assert_eq!(stage.call(Bob, &start("ann")).await, Ok(with_ids("{direct}")), "on {major}");
        let fresh = stage.call(Ann, &start("dan")).await.unwrap();
        assert_eq!(stage.call(Dan, &start("ann")).await, Ok(fresh.clone()), "on {major}");
        stage.call(Dan, &format!("select public.leave_conversation('{fresh}')")).await.unwrap();
        let another = stage.call(Ann, &start("dan")).await.unwrap();
        assert_ne!(another, fresh, "on {major}");
        // Staff and a customer alone find theirs, too.
        let with_customer = "select public.start_conversation('{}', '{cus}', 'direct') ->> 'id'";
        let found = stage.call(Sue, with_customer).await.unwrap();
        let with_staff = "select public.start_conversation('{{sue}}', kind => 'direct') ->> 'id'";
        assert_eq!(stage.call(Cus, with_staff).await, Ok(found), "on {major}");
        assert_ne!(stage.call(Kim, with_staff).await, stage.call(Cus, with_staff).await, "on {major}");
        // Groups of the same people are as many as are started.
        let group = "select public.start_conversation('{{bob},{dan}}') ->> 'id'";
        assert_ne!(stage.call(Ann, group).await, stage.call(Ann, group).await, "on {major}");
    }
}

#[tokio::test]
async fn conversation_has_the_shape_that_is_promised() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let started = stage
            .call(
                Ann,
                "select public.start_conversation('{{dan}}', title => 'T', first_message => 'hello',
                     client_message_id => 'k', metadata => '{\"booking\": 7}')",
            )
            .await
            .unwrap();
        let conversation: Value = serde_json::from_str(&started).unwrap();
        let keys: Vec<&str> = conversation.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "created_at",
                "created_by",
                "customer_id",
                "id",
                "is_archived",
                "kind",
                "last_message",
                "last_message_at",
                "metadata",
                "participants",
                "title",
                "unread_count",
                "updated_at"
            ]
        );
        assert_eq!(conversation["unread_count"], 0);
        assert_eq!(conversation["metadata"]["booking"], 7);
        assert_eq!(conversation["created_by"], with_ids("{ann}"));
        assert_eq!(conversation["last_message_at"], conversation["last_message"]["created_at"]);
        let people = conversation["participants"].as_array().unwrap();
        let ann = people.iter().find(|person| person["user_id"] == with_ids("{ann}")).unwrap();
        let keys: Vec<&str> = ann.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["customer_id", "joined_at", "last_read_at", "last_seen_at", "name", "role", "status", "user_id"]
        );
        assert_eq!(
            (&ann["name"], &ann["status"], &ann["role"]),
            (&"Ann".into(), &"online".into(), &"member".into())
        );

        let message = conversation["last_message"].as_object().unwrap();
        let keys: Vec<&str> = message.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "attachments",
                "client_message_id",
                "content",
                "conversation_id",
                "created_at",
                "deleted_at",
                "edited_at",
                "id",
                "message_type",
                "reactions",
                "read_by",
                "receiver_id",
                "reply_to_id",
                "sender_customer_id",
                "sender_id",
                "sender_name",
                "sender_role",
                "sender_type",
                "status",
                "updated_at"
            ]
        );
        assert_eq!((&message["status"], &message["client_message_id"]), (&"sent".into(), &"k".into()));
        // The same call again finds the same conversation and says nothing twice.
        let again = "select public.start_conversation('{{dan}}', first_message => 'hello', client_message_id => 'k') ->> 'id'";
        assert_eq!(stage.call(Ann, again).await.unwrap(), conversation["id"].as_str().unwrap(), "on {major}");
        let said = "select count(*) from public.messages where client_message_id = 'k'";
        assert_eq!(stage.value(said).await, "1", "on {major}");
        let unread = format!(
            "select public.get_conversation('{}') ->> 'unread_count'",
            conversation["id"].as_str().unwrap()
        );
        assert_eq!(stage.call(Dan, &unread).await, Ok("1".to_owned()), "on {major}");
    }
}

#[tokio::test]
async fn those_who_leave_are_gone_and_those_who_are_added_are_there() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.check(&joining()).await;
        stage.call(Bob, "select public.leave_conversation('{direct}')").await.unwrap();
        for sql in [
            "select public.send_message('{direct}', 'x')",
            "select public.edit_message('{d2}', 'x')",
            "select public.delete_message('{d2}')",
            "select public.get_conversation('{direct}')",
            "select public.list_messages('{direct}')",
            "select public.get_message('{d2}')",
            "select public.mark_message_as_read('{d1}')",
            "select public.remove_message_reaction('{d1}', '+1')",
            "select public.update_typing_indicator('{direct}')",
        ] {
            assert_eq!(stage.probe(Bob, sql).await, MISSING, "{sql} on {major}");
        }
        let typing = "select count(*) from public.message_typing_indicators where user_id = '{bob}'";
        assert_eq!(stage.value(typing).await, "0", "on {major}");
    }
}

#[tokio::test]
async fn direct_conversation_is_archived_for_one_and_a_shared_one_for_all() {
    const LISTED: &str = "select c ->> 'id' from public.list_conversations() c";
    for major in majors() {
        let stage = Stage::create(major).await;
        for (archived, for_ann, for_bob) in [
            ("'{direct}'", "{group}", "{group},{direct}"),
            ("'{direct}', false", "{group},{direct}", "{group},{direct}"),
            ("'{group}'", "{direct}", "{direct}"),
        ] {
            stage.call(Ann, &format!("select public.archive_conversation({archived})")).await.unwrap();
            for (caller, expected) in [(Ann, for_ann), (Bob, for_bob)] {
                assert_eq!(
                    stage.probe(caller, LISTED).await,
                    with_ids(expected),
                    "{archived}, {caller:?} on {major}"
                );
            }
        }
        // For all who take part and for staff, what one of them has archived for themselves is as it was.
        stage.call(Ann, "select public.archive_conversation('{direct}')").await.unwrap();
        let shown = "select public.get_conversation('{direct}') ->> 'is_archived'";
        stage
            .check(&[(
                shown,
                ["true", "false", MISSING, MISSING, MISSING, MISSING, "false", DENIED, "false"],
            )])
            .await;
        let all = "select c ->> 'id' from public.list_conversations(include_archived => true) c";
        assert_eq!(stage.probe(Ann, all).await, with_ids("{group},{direct}"), "on {major}");
    }
}

#[tokio::test]
async fn lists_are_paged_without_gap_or_repetition() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage
            .execute(
                "insert into public.messages (conversation_id, sender_id, content)
                 select '{other}', '{eve}', 'm' || i from generate_series(1, 24) i",
            )
            .await;
        let mut before = "null".to_owned();
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = stage
                .call(
                    Dan,
                    &format!(
                        "select (m ->> 'content') || ' ' || (m ->> 'id') from public.list_messages('{{other}}', 7, {before}) m"
                    ),
                )
                .await
                .unwrap();
            let page: Vec<&str> = page.split(',').filter(|line| !line.is_empty()).collect();
            let Some(first) = page.first() else { break };
            before = format!("'{}'", first.rsplit(' ').next().unwrap());
            let contents = page.iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
            found.splice(0..0, contents);
        }
        let mut expected = vec!["other one".to_owned()];
        expected.extend((1..=24).map(|number| format!("m{number}")));
        assert_eq!(found, expected, "on {major}");
        let foreign = "select public.list_messages('{other}', 7, '{d1}')";
        assert_eq!(stage.probe(Dan, foreign).await, MISSING, "on {major}");

        let newest = "select c ->> 'id' from public.list_conversations(1) c";
        assert_eq!(stage.probe(Ann, newest).await, with_ids("{group}"), "on {major}");
        let older = "select c ->> 'id' from public.list_conversations(
                         5, (select last_message_at from public.conversations where id = '{group}')) c";
        assert_eq!(stage.probe(Ann, older).await, with_ids("{direct}"), "on {major}");
        stage.call(Ann, "select public.archive_conversation('{group}')").await.unwrap();
        assert_eq!(stage.probe(Ann, newest).await, with_ids("{direct}"), "on {major}");
        let all = "select count(*) from public.list_conversations(include_archived => true) c";
        assert_eq!(stage.probe(Ann, all).await, "2", "on {major}");
        assert_eq!(stage.probe(Carl, all).await, "0", "on {major}");
    }
}

/// Leaving, adding and archiving.
pub(super) fn joining() -> Vec<Case> {
    //   Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service
    cases([
        (
            "select public.leave_conversation('{group}')",
            ["t", "t", MISSING, MISSING, MISSING, MISSING, "f", DENIED, "f"],
        ),
        (
            "select jsonb_array_length(public.add_participant('{group}', '{dan}') -> 'participants')",
            ["3", "3", MISSING, MISSING, MISSING, MISSING, "3", DENIED, "3"],
        ),
        (
            "select jsonb_array_length(public.add_participant('{support}', '{bob}') -> 'participants')",
            [MISSING, MISSING, MISSING, MISSING, DENIED, MISSING, "2", DENIED, "2"],
        ),
        (
            "select public.add_participant('{direct}', '{dan}')",
            [DENIED, DENIED, MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, DENIED],
        ),
        (
            "select public.add_participant('{group}', gen_random_uuid())",
            [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, DENIED, MISSING],
        ),
        (
            "select public.archive_conversation('{direct}') ->> 'is_archived'",
            ["true", "true", MISSING, MISSING, MISSING, MISSING, DENIED, DENIED, "true"],
        ),
        (
            "select public.archive_conversation('{group}') ->> 'is_archived'",
            ["true", "true", MISSING, MISSING, MISSING, MISSING, "true", DENIED, "true"],
        ),
    ])
}
