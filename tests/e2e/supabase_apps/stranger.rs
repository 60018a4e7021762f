//! What somebody who takes part in nothing of it is answered: every function, asked about what others talk in.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::people::People;
use super::{App, CUSTOMER, KARI};

/// What others talk in, one of their messages that is not deleted, and a word of it.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) conversation: &'a str,
    pub(super) message: &'a str,
    pub(super) word: &'a str,
}

/// Functions that are about the caller alone, or about nothing that is anybody's.
const ABOUT_ONESELF: [&str; 4] = [
    "upsert_profile",
    "get_notification_preferences",
    "update_notification_preferences",
    "cleanup_expired_typing_indicators",
];

/// Calls that are refused, as what they are about does not exist for the caller.
fn missing(about: About) -> Vec<(&'static str, Value)> {
    let conversation = |mut args: Value| {
        args["conversation_id"] = json!(about.conversation);
        args
    };
    let message = |mut args: Value| {
        args["message_id"] = json!(about.message);
        args
    };
    vec![
        ("get_conversation", conversation(json!({}))),
        ("list_messages", conversation(json!({}))),
        ("messages_since", conversation(json!({ "since": "-infinity" }))),
        ("search_messages", conversation(json!({ "query": about.word }))),
        ("send_message", conversation(json!({ "content": "I am here too" }))),
        ("update_typing_indicator", conversation(json!({}))),
        ("update_typing_indicator", conversation(json!({ "is_typing": false }))),
        ("mark_conversation_as_read", conversation(json!({}))),
        ("archive_conversation", conversation(json!({}))),
        ("add_participant", conversation(json!({ "user_id": KARI }))),
        ("leave_conversation", conversation(json!({}))),
        ("get_message", message(json!({}))),
        ("edit_message", message(json!({ "content": "mine" }))),
        ("delete_message", message(json!({}))),
        ("add_message_reaction", message(json!({ "emoji": "👀" }))),
        ("remove_message_reaction", message(json!({ "emoji": "👍" }))),
        ("mark_message_as_read", message(json!({}))),
    ]
}

/// Calls for somebody else, or with them.
fn denied(about: About) -> [(&'static str, Value); 4] {
    [
        ("get_unread_message_count", json!({ "user_id": KARI })),
        ("update_user_presence", json!({ "user_id": KARI, "status": "offline" })),
        ("update_typing_indicator", json!({ "conversation_id": about.conversation, "user_id": KARI })),
        ("start_conversation", json!({ "customer_id": CUSTOMER, "participant_ids": [KARI] })),
    ]
}

/// Calls that are answered, with nothing in the answer.
fn empty(about: About) -> [(&'static str, Value, Value); 4] {
    [
        ("mark_messages_as_read", json!({ "message_ids": [about.message] }), json!(0)),
        ("mark_messages_as_delivered", json!({ "message_ids": [about.message] }), json!(0)),
        ("list_typing_indicators", json!({ "conversation_id": about.conversation }), json!([])),
        ("search_messages", json!({ "query": about.word }), json!([])),
    ]
}

/// Calls that are answered with what is the caller's own.
fn own() -> [(&'static str, Value); 4] {
    [
        ("list_conversations", json!({ "include_archived": true })),
        ("messages_since", json!({ "since": "-infinity" })),
        ("get_unread_counts", json!({})),
        ("list_presence", json!({})),
    ]
}

/// Calls every function as a stranger about something that somebody else sees, who finds it as it was.
pub(super) async fn is_refused_everywhere(
    app: &App,
    people: &People,
    [stranger, witness]: [&str; 2],
    about: About<'_>,
) {
    let seen = async || {
        let conversation = json!({ "conversation_id": about.conversation });
        let mut seen = people.rpc(witness, "get_conversation", conversation.clone()).await;
        // The server goes on to note who is there.
        seen["participants"] = json!(seen["participants"].as_array().unwrap().len());
        json!([seen, people.rpc(witness, "list_messages", conversation).await])
    };
    let before = seen().await;
    assert!(before[1].to_string().contains(about.message), "{before}");
    let mut called: BTreeSet<&str> = ABOUT_ONESELF.into();
    for (name, args) in missing(about) {
        let answer = people.rpc_answer(stranger, name, args.clone()).await;
        assert_eq!(answer, Err("PT404".to_owned()), "{name} {args}");
        called.insert(name);
    }
    for (name, args) in denied(about) {
        let answer = people.rpc_answer(stranger, name, args.clone()).await;
        assert_eq!(answer, Err("42501".to_owned()), "{name} {args}");
        called.insert(name);
    }
    for (name, args, expected) in empty(about) {
        let answer = people.rpc_answer(stranger, name, args.clone()).await;
        assert_eq!(answer, Ok(expected), "{name} {args}");
        called.insert(name);
    }
    for (name, args) in own() {
        let answer = people.rpc_answer(stranger, name, args).await.unwrap().to_string();
        assert!(!answer.contains(about.conversation), "{name}: {answer}");
        called.insert(name);
    }
    assert_eq!(seen().await, before, "nothing of it has changed");
    let functions = "
        select distinct proname::text from pg_catalog.pg_proc
        where pronamespace = 'public'::regnamespace and obj_description(oid, 'pg_proc') like '%Made by Rowcast.'";
    let rows = app.database.client.query(functions, &[]).await.unwrap();
    let functions: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(functions, called.into_iter().map(str::to_owned).collect());
}
