//! Every frame, and what is refused.

use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::writers::send;

#[tokio::test]
async fn a_socket_is_opened_by_a_token_in_the_query_or_the_header() {
    let school = School::open().await;
    let token = device(ANN);
    let bearer = format!("Bearer {token}");
    for (target, headers) in
        [(format!("/?token={token}"), vec![]), ("/".to_owned(), vec![("authorization", &*bearer)])]
    {
        let mut socket = Socket::ask(&school, &target, &headers).await.unwrap();
        let frame = socket.next().await;
        assert_eq!((&frame["type"], &frame["user_id"]), (&json!("connection_established"), &json!(ANN)));
        assert!(
            frame["timestamp"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')),
            "{frame}"
        );
    }
    let late = token_signed(SECRET, "authenticated", Some(ANN), -10);
    for (target, headers, status) in [
        ("/".to_owned(), vec![], 401),
        ("/?token=".to_owned(), vec![], 401),
        ("/?token=x".to_owned(), vec![], 401),
        (format!("/?token={late}"), vec![], 401),
        // The header counts, even if the query would do.
        (format!("/?token={token}"), vec![("authorization", "Bearer x")], 401),
        (format!("/?token={}", token_signed(SECRET, "authenticated", None, 3600)), vec![], 403),
        (format!("/?token={token}&last_check_time=then"), vec![], 400),
    ] {
        let (found, body) = Socket::ask(&school, &target, &headers).await.err().expect("a refusal");
        assert_eq!((found, &body["status"]), (status, &json!("error")), "{target}");
    }
}

#[tokio::test]
async fn messages_reach_those_who_take_part_and_nobody_else() {
    let school = School::open().await;
    let mut ann = Socket::open(&school, &device(ANN)).await;
    let mut tablet = Socket::open(&school, &device(ANN)).await;
    let mut eve = Socket::open(&school, &device(EVE)).await;
    let bob = school.writer(BOB).await;
    let id = send(&bob, THREADS[0], "Hello!").await;
    for socket in [&mut ann, &mut tablet] {
        let frame = socket.expect("new_message").await;
        let data = &frame["data"];
        let expected = json!({ "id": id, "thread_id": THREADS[0], "sender_id": BOB, "content": "Hello!",
            "message_type": "text", "created_at": data["created_at"],
            "sender": { "full_name": "Bob", "role": "teacher" } });
        assert_eq!(data, &expected);
    }
    // What one sends oneself reaches one's own devices, too.
    send(&school.writer(ANN).await, THREADS[1], "own").await;
    assert_eq!(tablet.expect("new_message").await["data"]["content"], "own");
    // Eve's first frame is what is hers.
    send(&bob, OTHER, "for eve").await;
    assert_eq!(eve.expect("new_message").await["data"]["content"], "for eve");
}

#[tokio::test]
async fn what_happens_to_messages_is_told() {
    let school = School::open().await;
    let mut ann = Socket::open(&school, &device(ANN)).await;
    let bob = school.writer(BOB).await;
    let id = send(&bob, THREADS[0], "first").await;
    ann.expect("new_message").await;
    let call = async |sql: String| {
        bob.batch_execute(&format!("select from {sql}")).await.unwrap();
    };
    call(format!("public.edit_message('{id}', 'second')")).await;
    let frame = ann.expect("message_updated").await;
    assert_eq!((&frame["data"]["id"], &frame["data"]["content"]), (&json!(id), &json!("second")));
    call(format!("public.add_message_reaction('{id}', '+')")).await;
    let reaction = json!({ "type": "reaction_added", "message_id": id, "thread_id": THREADS[0], "user_id": BOB, "emoji": "+" });
    assert_eq!(ann.expect("reaction_added").await, reaction);
    call(format!("public.remove_message_reaction('{id}', '+')")).await;
    assert_eq!(ann.expect("reaction_removed").await["emoji"], "+");
    ann.send(json!({ "type": "mark_read", "message_id": id })).await;
    let read = ann.expect("message_read").await;
    assert_eq!(
        (&read["message_id"], &read["user_id"], &read["thread_id"]),
        (&json!(id), &json!(ANN), &json!(THREADS[0]))
    );
    call(format!("public.update_typing_indicator('{}')", THREADS[0])).await;
    let typing = json!({ "type": "user_typing", "thread_id": THREADS[0], "user_id": BOB, "is_typing": true });
    assert_eq!(ann.expect("user_typing").await, typing);
    call(format!("public.update_typing_indicator('{}', is_typing => false)", THREADS[0])).await;
    assert_eq!(ann.expect("user_typing").await["is_typing"], false);
    call(format!("public.delete_message('{id}')")).await;
    let deleted = ann.expect("message_deleted").await;
    assert_eq!((&deleted["data"]["id"], &deleted["data"]["content"]), (&json!(id), &json!("")));
    call("public.update_user_presence(null, null, 'busy')".to_owned()).await;
    loop {
        let presence = ann.expect("presence").await;
        if presence["user_id"] == BOB && presence["status"] == "busy" {
            break;
        }
    }
}

#[tokio::test]
async fn one_types_over_the_socket_and_others_see_it() {
    let school = School::open().await;
    let (mut ann, mut bob) =
        (Socket::open(&school, &device(ANN)).await, Socket::open(&school, &device(BOB)).await);
    for (kind, is_typing) in [("typing_start", true), ("typing_stop", false)] {
        ann.send(json!({ "type": kind, "thread_id": THREADS[0] })).await;
        let expected =
            json!({ "type": "user_typing", "thread_id": THREADS[0], "user_id": ANN, "is_typing": is_typing });
        assert_eq!(bob.expect("user_typing").await, expected);
    }
    // Not to oneself.
    let told = ann.until_pong().await;
    assert!(told.iter().all(|frame| frame["type"] == "presence"), "{told:?}");
}

#[tokio::test]
async fn a_thread_is_silent_while_it_is_unsubscribed() {
    let school = School::open().await;
    let token = device(ANN);
    let (_, time) = school.check(&token, EVER);
    let mut ann = Socket::open(&school, &token).await;
    let bob = school.writer(BOB).await;
    ann.send(json!({ "type": "unsubscribe_thread", "thread_id": THREADS[0] })).await;
    let expected = json!({ "type": "thread_unsubscribed", "thread_id": THREADS[0] });
    assert_eq!(ann.expect("thread_unsubscribed").await, expected);
    send(&bob, THREADS[0], "unheard").await;
    send(&bob, THREADS[1], "heard").await;
    assert_eq!(ann.expect("new_message").await["data"]["content"], "heard");
    ann.send(json!({ "type": "subscribe_thread", "thread_id": THREADS[0] })).await;
    let expected = json!({ "type": "thread_subscribed", "thread_id": THREADS[0] });
    assert_eq!(ann.expect("thread_subscribed").await, expected);
    send(&bob, THREADS[0], "heard again").await;
    assert_eq!(ann.expect("new_message").await["data"]["content"], "heard again");
    ann.until_pong().await;
    ann.until_pong().await;
    ann.close().await;
    // What was not told is not lost.
    assert_eq!(school.check(&token, &time).0, ["unheard"]);
}

#[tokio::test]
async fn unsubscribing_silences_the_sockets_of_that_token() {
    let school = School::open().await;
    let (token, other) = (device(ANN), device(ANN));
    let (mut ann, mut tablet) = (Socket::open(&school, &token).await, Socket::open(&school, &other).await);
    let bob = school.writer(BOB).await;
    assert_eq!(school.ask("POST", "/api/chat/unsubscribe", Some(&token)).status, 200);
    send(&bob, THREADS[0], "1").await;
    assert_eq!(tablet.expect("new_message").await["data"]["content"], "1");
    // The feed has told it to both by now, or in a moment: the next one is told after it.
    assert_eq!(school.ask("POST", "/api/chat/subscribe", Some(&token)).status, 200);
    let mut seen = Vec::new();
    for number in 2.. {
        send(&bob, THREADS[0], &number.to_string()).await;
        tablet.expect("new_message").await;
        seen.extend(ann.until_pong().await);
        if seen.iter().any(|frame| frame["type"] == "new_message") {
            break;
        }
    }
    assert!(seen.iter().all(|frame| frame["data"]["content"] != "1"), "{seen:?}");
}

#[tokio::test]
async fn a_bad_frame_is_answered_and_the_socket_stays() {
    let school = School::open().await;
    let mut ann = Socket::open(&school, &device(ANN)).await;
    let nested = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    let large = format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(70_000));
    for text in [
        "",
        "ping",
        "[]",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"dance"}"#,
        r#"{"type":"subscribe_thread"}"#,
        r#"{"type":"subscribe_thread","thread_id":7}"#,
        r#"{"type":"unsubscribe_thread","thread_id":"thread-uuid"}"#,
        r#"{"type":"typing_start"}"#,
        r#"{"type":"typing_stop","thread_id":null}"#,
        r#"{"type":"mark_read","message_id":"x"}"#,
        &nested,
        &large,
    ] {
        ann.text(text).await;
        let frame = ann.expect("error").await;
        assert!(frame["message"].as_str().is_some_and(|words| !words.is_empty()), "{frame}");
    }
    ann.message(Message::binary(b"{}".to_vec())).await;
    ann.expect("error").await;
    assert!(ann.until_pong().await.iter().all(|frame| frame["type"] == "presence"));
}

#[tokio::test]
async fn threads_and_messages_of_others_are_refused() {
    let school = School::open().await;
    let id = send(&school.writer(BOB).await, OTHER, "for eve").await;
    let mut ann = Socket::open(&school, &device(ANN)).await;
    for frame in [
        json!({ "type": "subscribe_thread", "thread_id": OTHER }),
        json!({ "type": "subscribe_thread", "thread_id": NOTHING }),
        json!({ "type": "typing_start", "thread_id": OTHER }),
        json!({ "type": "mark_read", "message_id": id }),
        json!({ "type": "mark_read", "message_id": NOTHING }),
    ] {
        ann.send(frame.clone()).await;
        assert_eq!(ann.expect("error").await["message"], "Not found", "{frame}");
    }
    let mut eve = Socket::open(&school, &device(EVE)).await;
    eve.send(json!({ "type": "subscribe_thread", "thread_id": OTHER })).await;
    eve.expect("thread_subscribed").await;
}

#[tokio::test]
async fn who_sends_too_much_is_told_how_long_to_wait() {
    let school =
        School::open_with("update rowcast.messaging_settings set value = 2 where name = 'typing_per_minute'")
            .await;
    let mut ann = Socket::open(&school, &device(ANN)).await;
    for _ in 0..3 {
        ann.send(json!({ "type": "typing_start", "thread_id": THREADS[0] })).await;
        ann.send(json!({ "type": "typing_stop", "thread_id": THREADS[0] })).await;
    }
    let frame = ann.expect("error").await;
    assert!(frame["retry_after"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{frame}");
    // And of frames as such.
    for _ in 0..200 {
        ann.send(json!({ "type": "ping" })).await;
    }
    let mut errors = 0;
    for _ in 0..200 {
        let frame = ann.next().await;
        if frame["type"] == "error" {
            assert_eq!(frame["retry_after"], 1, "{frame}");
            errors += 1;
        }
    }
    assert!(errors > 0);
}
