//! Pitchey: every frame and every request, with its refusals.

mod frames;
mod routes;

use serde_json::{Value, json};

use crate::app_socket::Socket;
use crate::whole::{ANN, BOB, EVE, Stage, on_each_major, token, token_of};

const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";

async fn connect(stage: &Stage, sub: &str) -> Socket {
    let mut socket = stage.socket(&format!("/api/messages/ws?token={}", token(sub))).await;
    assert_eq!(socket.next().await, json!({ "type": "connected", "userId": sub }));
    socket
}

/// Three people, a conversation of the first two, and one of the first and the last.
async fn cast(stage: &Stage) -> (String, String) {
    stage.enrol(&[ANN, BOB, EVE]).await;
    (stage.conversation(ANN, BOB).await, stage.conversation(ANN, EVE).await)
}

async fn send(socket: &mut Socket, conversation_id: &str, content: &str) -> Value {
    socket
        .send(json!({ "type": "send_message", "conversationId": conversation_id, "content": content,
            "clientMessageId": format!("client-{content}") }))
        .await;
    socket.next_of("message_sent").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk_and_a_stranger_hears_nothing() {
    on_each_major(async |stage| {
        let (private, other) = cast(&stage).await;
        let (mut ann, mut bob, mut eve) =
            (connect(&stage, ANN).await, connect(&stage, BOB).await, connect(&stage, EVE).await);

        ann.send(json!({ "type": "typing_start", "conversationId": private })).await;
        let typing = bob.next_of("user_typing").await;
        assert_eq!(
            typing,
            json!({ "type": "user_typing", "userId": ANN, "conversationId": private, "isTyping": true })
        );
        ann.send(json!({ "type": "typing_stop", "conversationId": private })).await;
        assert_eq!(bob.next_of("user_typing").await["isTyping"], false);

        let sent = send(&mut ann, &private, "hello").await;
        let id = sent["messageId"].as_str().unwrap().to_owned();
        assert_eq!(sent["clientMessageId"], "client-hello");
        let new = bob.next_of("new_message").await;
        assert_eq!(
            json!([new["messageId"], new["conversationId"], new["senderId"], new["content"]]),
            json!([id, private, ANN, "hello"])
        );
        assert_eq!(
            json!([new["senderName"], new["messageType"], new["attachments"]]),
            json!(["ann", "text", []])
        );

        bob.send(json!({ "type": "message_read", "messageId": id })).await;
        let read = ann.next_of("message_read").await;
        assert_eq!(json!([read["messageId"], read["readBy"]]), json!([id, BOB]));
        assert!(read["readAt"].as_str().is_some_and(|at| at.contains('T')), "{read}");

        bob.send(json!({ "type": "add_reaction", "messageId": id, "emoji": "🎉" })).await;
        let added = ann.next_of("reaction_added").await;
        assert_eq!(json!([added["messageId"], added["userId"], added["emoji"]]), json!([id, BOB, "🎉"]));
        bob.send(json!({ "type": "remove_reaction", "messageId": id, "emoji": "🎉" })).await;
        let removed = ann.next_of("reaction_removed").await;
        assert_eq!(
            json!([removed["messageId"], removed["userId"], removed["emoji"]]),
            json!([id, BOB, "🎉"])
        );

        ann.send(json!({ "type": "edit_message", "messageId": id, "content": "hello, Bob" })).await;
        let edited = bob.next_of("message_edited").await;
        assert_eq!(json!([edited["messageId"], edited["content"]]), json!([id, "hello, Bob"]));
        assert!(edited["editedAt"].is_string(), "{edited}");
        ann.send(json!({ "type": "delete_message", "messageId": id })).await;
        let deleted = bob.next_of("message_deleted").await;
        assert_eq!(deleted, json!({ "type": "message_deleted", "messageId": id, "conversationId": private }));

        // What was committed before this would have come before it.
        send(&mut ann, &other, "hello, Eve").await;
        let heard = eve.all_until(|frame| frame["type"] == "new_message").await;
        assert_eq!(heard.last().unwrap()["content"], "hello, Eve");
        let strange: Vec<_> = heard.iter().filter(|frame| frame.to_string().contains(&private)).collect();
        assert!(strange.is_empty(), "{strange:?}");
        // And the other way round.
        send(&mut eve, &other, "hello, Ann").await;
        send(&mut ann, &private, "last").await;
        let heard = bob.all_until(|frame| frame["content"] == "last").await;
        assert!(heard.iter().all(|frame| !frame.to_string().contains(&other)), "{heard:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_sql_writes_arrives() {
    on_each_major(async |stage| {
        let (private, _) = cast(&stage).await;
        let mut bob = connect(&stage, BOB).await;
        let sql = format!(
            "insert into public.messages (conversation_id, sender_id, content) values ('{private}', '{ANN}', 'by SQL')"
        );
        stage.database.execute(&sql).await;
        assert_eq!(bob.next_of("new_message").await["content"], "by SQL");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_told_when_it_changes() {
    on_each_major(async |stage| {
        let (private, _) = cast(&stage).await;
        let mut bob = connect(&stage, BOB).await;
        let set = async |status: &str| {
            stage.call(ANN, &format!("public.update_user_presence(status => '{status}')")).await;
        };
        set("online").await;
        let online = bob.next_of("user_online").await;
        assert_eq!(online, json!({ "type": "user_online", "userId": ANN, "username": "ann" }));
        // Still here.
        set("busy").await;
        set("offline").await;
        let heard = bob.all_until(|frame| frame["type"] == "user_offline").await;
        assert!(heard.iter().all(|frame| frame["type"] != "user_online"), "{heard:?}");
        assert_eq!(heard.last().unwrap()["userId"], ANN);
        // Who opens a socket is told who is there already, and nothing of those who are not.
        set("online").await;
        let mut again = connect(&stage, BOB).await;
        assert_eq!(again.next_of("user_online").await, online);
        // The twin: who shares no conversation with somebody is told nothing of them.
        let mut eve = connect(&stage, EVE).await;
        eve.send(json!({ "type": "ping" })).await;
        let heard = eve.all_until(|frame| frame["type"] == "pong").await;
        assert_eq!(heard.len(), 1, "{heard:?}");
        stage.call(EVE, "public.update_user_presence(status => 'online')").await;
        stage.call(ANN, &format!("public.send_message('{private}', 'fence')")).await;
        let heard = bob.all_until(|frame| frame["content"] == "fence").await;
        assert!(heard.iter().all(|frame| frame["userId"] != EVE), "{heard:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_and_live_events_have_each_message_once() {
    on_each_major(async |stage| {
        let (private, _) = cast(&stage).await;
        let mut bob = connect(&stage, BOB).await;
        stage.database.execute("update rowcast.messaging_settings set value = 0").await;
        let writer = crate::support::connect(&stage.database.url).await;
        let sql = format!(
            "insert into public.messages (conversation_id, sender_id, content) values ('{private}', '{ANN}', $1)"
        );
        let writing = tokio::spawn(async move {
            for number in 0..120 {
                writer.execute(&sql, &[&format!("m{number}")]).await.unwrap();
            }
        });
        // Joins while messages come; each history has all that was shown before.
        let mut shown: Vec<String> = Vec::new();
        for _ in 0..8 {
            bob.send(json!({ "type": "join_conversation", "conversationId": private })).await;
            let frames = bob.all_until(|frame| frame["type"] == "conversation_history").await;
            let (history, live) = frames.split_last().unwrap();
            show_live(&mut shown, live);
            let history: Vec<_> = history["messages"].as_array().unwrap().iter().map(content).collect();
            assert!(history.len() <= 50, "{history:?}");
            // It is the newest ones, in order, and shows nothing twice: what it has is in place of what was shown.
            let known = history.first().and_then(|first| shown.iter().position(|text| text == first));
            match known {
                Some(at) => {
                    assert_eq!(&history[..shown.len() - at], &shown[at..], "the history lacks what was shown");
                    shown.truncate(at);
                }
                None => assert!(history.iter().all(|text| !shown.contains(text)), "{history:?} {shown:?}"),
            }
            shown.extend(history);
        }
        writing.await.unwrap();
        stage.call(ANN, &format!("public.send_message('{private}', 'last')")).await;
        show_live(&mut shown, &bob.all_until(|frame| frame["content"] == "last").await);
        let expected: Vec<_> = (0..120).map(|number| format!("m{number}")).chain(["last".to_owned()]).collect();
        assert_eq!(shown, expected[expected.len() - shown.len()..], "each once, in order");
        assert!(shown.len() > 50, "{}", shown.len());
    })
    .await;
}

fn show_live(shown: &mut Vec<String>, frames: &[Value]) {
    shown.extend(frames.iter().filter(|frame| frame["type"] == "new_message").map(content));
}

fn content(message: &Value) -> String {
    message["content"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_sent_again_is_there_once() {
    on_each_major(async |stage| {
        let (private, _) = cast(&stage).await;
        let mut ann = connect(&stage, ANN).await;
        let first = send(&mut ann, &private, "once").await;
        let again = send(&mut ann, &private, "once").await;
        assert_eq!(first["messageId"], again["messageId"]);
        let target = format!("/api/messages/{private}/messages");
        let page = stage.get(&target, Some(&token(BOB))).await;
        assert_eq!(page.body["messages"].as_array().unwrap().len(), 1, "{page:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_answers_what_it_cannot_do_and_stays() {
    on_each_major(async |stage| {
        let (private, other) = cast(&stage).await;
        let secret = stage.call(ANN, &format!("public.send_message('{other}', 'for Eve')")).await;
        let secret = secret["id"].as_str().unwrap();
        let mut bob = connect(&stage, BOB).await;
        let large = "x".repeat(65 * 1024);
        let deep = format!("{{\"type\":\"ping\",\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
        for (text, words) in [
            ("{".to_owned(), "This is not valid JSON"),
            ("[1]".to_owned(), "This is not a JSON object of the expected shape"),
            (r#"{"kind":"ping"}"#.to_owned(), "This is not a JSON object of the expected shape"),
            (r#"{"type":7}"#.to_owned(), "This is not a JSON object of the expected shape"),
            (r#"{"type":"fly"}"#.to_owned(), "This type of frame is not known"),
            (deep, "The JSON is nested too deeply"),
            (
                json!({ "type": "send_message", "content": large }).to_string(),
                "This must not exceed 65536 bytes",
            ),
            (r#"{"type":"send_message","content":"x"}"#.to_owned(), "conversationId is required"),
            (format!(r#"{{"type":"send_message","conversationId":"{private}"}}"#), "content is required"),
            (
                r#"{"type":"join_conversation","conversationId":"x"}"#.to_owned(),
                "conversationId is not valid",
            ),
            (r#"{"type":"message_read"}"#.to_owned(), "messageId is required"),
            // Others' conversations and messages, and those that there are not, are not told apart.
            (format!(r#"{{"type":"join_conversation","conversationId":"{other}"}}"#), "Not found"),
            (format!(r#"{{"type":"join_conversation","conversationId":"{NOBODY}"}}"#), "Not found"),
            (format!(r#"{{"type":"send_message","conversationId":"{other}","content":"x"}}"#), "Not found"),
            (format!(r#"{{"type":"typing_start","conversationId":"{other}"}}"#), "Not found"),
            (format!(r#"{{"type":"message_read","messageId":"{secret}"}}"#), "Not found"),
            (format!(r#"{{"type":"message_read","messageId":"{NOBODY}"}}"#), "Not found"),
            (format!(r#"{{"type":"edit_message","messageId":"{secret}","content":"x"}}"#), "Not found"),
            (format!(r#"{{"type":"delete_message","messageId":"{secret}"}}"#), "Not found"),
            (format!(r#"{{"type":"add_reaction","messageId":"{secret}","emoji":"x"}}"#), "Not found"),
        ] {
            bob.text(&text).await;
            let refused = bob.next_of("error").await;
            assert_eq!(refused["message"], words, "{}", &text[..text.len().min(200)]);
        }
        bob.bytes(b"{}").await;
        assert_eq!(bob.next_of("error").await["message"], "Send text frames");
        // Somebody else's message may be seen and not edited.
        let theirs = stage.call(ANN, &format!("public.send_message('{private}', 'for Bob')")).await;
        bob.send(json!({ "type": "edit_message", "messageId": theirs["id"], "content": "x" })).await;
        let refused = bob.next_of("error").await;
        assert_eq!(
            json!([refused["message"], refused["request"]]),
            json!(["You may not do this", "edit_message"])
        );
        bob.send(json!({ "type": "ping" })).await;
        bob.next_of("pong").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_sends_too_much_is_told_to_wait() {
    on_each_major(async |stage| {
        let (private, _) = cast(&stage).await;
        let mut bob = connect(&stage, BOB).await;
        for _ in 0..200 {
            bob.send(json!({ "type": "ping" })).await;
        }
        let refused = bob.next_of("error").await;
        assert_eq!(refused["retryAfter"], 1, "{refused}");
        // The schema has limits of its own, and says how long they last.
        stage.database.execute("update rowcast.messaging_settings set value = 1").await;
        let mut ann = connect(&stage, ANN).await;
        send(&mut ann, &private, "first").await;
        ann.send(json!({ "type": "send_message", "conversationId": private, "content": "second",
            "clientMessageId": "c2" }))
            .await;
        let refused = ann.next_of("error").await;
        assert!(
            refused["retryAfter"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)),
            "{refused}"
        );
        assert_eq!(json!([refused["request"], refused["clientMessageId"]]), json!(["send_message", "c2"]));
        let body = json!({ "conversationId": private, "content": "third" });
        let answer = stage.post("/api/messages/send", &token(ANN), &body).await;
        assert_eq!(answer.status, 429, "{answer:?}");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_good_token_gets_no_socket() {
    on_each_major(async |stage| {
        let good = token(ANN);
        let ws = "/api/messages/ws";
        let refused = async |target: &str, headers: &str| {
            let answer = stage.refused_socket(target, headers).await;
            assert_eq!(answer.body["success"], false, "{answer:?}");
            answer.status
        };
        assert_eq!(refused(ws, "").await, 401);
        assert_eq!(refused(&format!("{ws}?token="), "").await, 401);
        assert_eq!(refused(&format!("{ws}?token=nonsense"), "").await, 401);
        assert_eq!(refused(&format!("{ws}?token={good}x"), "").await, 401);
        let expired = token_of(&json!({ "sub": ANN }), -5);
        assert_eq!(refused(&format!("{ws}?token={expired}"), "").await, 401);
        // The header wins, even over a good token.
        assert_eq!(refused(&format!("{ws}?token={good}"), "authorization: Bearer x\r\n").await, 401);
        // Nobody in particular.
        let server = token_of(&json!({ "role": "service_role" }), 60);
        assert_eq!(refused(&format!("{ws}?token={server}"), "").await, 403);
        let header = format!("authorization: Bearer {good}\r\n");
        assert_eq!(stage.refused_socket(ws, &header).await.status, 101, "the twin");
        let answer = stage.get(&format!("{ws}?token={good}"), None).await;
        assert_eq!(answer.status, 426, "{answer:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_token() {
    on_each_major(async |stage| {
        stage.enrol(&[ANN]).await;
        let short = token_of(&json!({ "sub": ANN }), 4);
        let mut ann = stage.socket(&format!("/api/messages/ws?token={short}")).await;
        ann.next_of("connected").await;
        assert_eq!(ann.closed().await, 4001);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_is_told_and_clients_come_back() {
    on_each_major(async |stage| {
        let (private, _) = cast(&stage).await;
        let mut bob = connect(&stage, BOB).await;
        let sql = "select pg_terminate_backend(pid) from pg_stat_replication \
            where pid in (select active_pid from pg_replication_slots where database = current_database())";
        stage.database.execute(sql).await;
        let told = bob.next_of("error").await;
        assert!(told["message"].as_str().unwrap().contains("interrupted"), "{told}");
        assert_eq!(bob.closed().await, 1012);
        stage.until_live().await;
        let mut bob = connect(&stage, BOB).await;
        stage.call(ANN, &format!("public.send_message('{private}', 'again')")).await;
        assert_eq!(bob.next_of("new_message").await["content"], "again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_closed_when_the_server_goes_down() {
    on_each_major(async |mut stage| {
        stage.enrol(&[ANN]).await;
        let mut ann = connect(&stage, ANN).await;
        let (closed, ()) = tokio::join!(ann.closed(), stage.stop());
        assert_eq!(closed, 1012);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_listed_and_paged() {
    on_each_major(async |stage| {
        let (private, other) = cast(&stage).await;
        stage.call(ANN, &format!("public.send_message('{private}', 'older')")).await;
        stage.call(EVE, &format!("public.send_message('{other}', 'newer')")).await;
        let path = "/api/messages/conversations";
        let listed = stage.get(path, Some(&token(ANN))).await;
        assert_eq!((listed.status, &listed.body["hasMore"]), (200, &json!(false)), "{listed:?}");
        let ids: Vec<_> = listed.body["conversations"].as_array().unwrap().iter().map(|c| &c["id"]).collect();
        assert_eq!(ids, [&json!(other), &json!(private)], "the newest first");
        let newest = &listed.body["conversations"][0];
        assert_eq!(json!([newest["unreadCount"], newest["lastMessage"]["content"]]), json!([1, "newer"]));
        let mut members: Vec<_> = newest["participants"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["userId"].as_str().unwrap())
            .collect();
        members.sort_unstable();
        assert_eq!(members, [ANN, EVE]);
        let first = stage.get(&format!("{path}?limit=1"), Some(&token(ANN))).await.body;
        assert_eq!(json!([first["hasMore"], first["conversations"][0]["id"]]), json!([true, other]));
        let next = first["nextBefore"].as_str().unwrap().replace('+', "%2B");
        let second = stage.get(&format!("{path}?limit=1&before={next}"), Some(&token(ANN))).await.body;
        assert_eq!(json!([second["hasMore"], second["conversations"][0]["id"]]), json!([false, private]));
        // The twin: others see their own.
        let bobs = stage.get(path, Some(&token(BOB))).await.body;
        let ids: Vec<_> = bobs["conversations"].as_array().unwrap().iter().map(|c| &c["id"]).collect();
        assert_eq!(ids, [&json!(private)]);
        for (target, status) in [
            (format!("{path}?limit=0"), 400),
            (format!("{path}?before=x"), 400),
            (format!("{path}?archived=1"), 400),
        ] {
            assert_eq!(stage.get(&target, Some(&token(ANN))).await.status, status, "{target}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_paged_for_those_who_take_part() {
    on_each_major(async |stage| {
        let (private, _) = cast(&stage).await;
        for number in 1..=5 {
            stage.call(ANN, &format!("public.send_message('{private}', 'm{number}')")).await;
        }
        let path = format!("/api/messages/{private}/messages");
        let contents = |body: &Value| -> Vec<String> {
            body["messages"].as_array().unwrap().iter().map(content).collect()
        };
        let page = stage.get(&format!("{path}?limit=2"), Some(&token(BOB))).await;
        assert_eq!((page.status, contents(&page.body)), (200, vec!["m4".to_owned(), "m5".to_owned()]));
        let before = page.body["nextBefore"].as_str().unwrap();
        let page = stage.get(&format!("{path}?limit=3&before={before}"), Some(&token(BOB))).await;
        assert_eq!(contents(&page.body), ["m1", "m2", "m3"]);
        assert_eq!(json!([page.body["hasMore"], page.body["nextBefore"]]), json!([false, null]));
        let own = stage.get(&path, Some(&token(ANN))).await.body;
        assert_eq!(own["messages"][0]["status"], "sent", "{own}");
        for (target, who, status) in [
            (path.clone(), Some(token(EVE)), 404),
            (path.clone(), None, 401),
            (format!("/api/messages/{NOBODY}/messages"), Some(token(BOB)), 404),
            ("/api/messages/nonsense/messages".to_owned(), Some(token(BOB)), 400),
            (format!("{path}?before={NOBODY}"), Some(token(BOB)), 404),
            (format!("{path}?before=x"), Some(token(BOB)), 400),
            (format!("{path}?limit=101"), Some(token(BOB)), 400),
        ] {
            let answer = stage.get(&target, who.as_deref()).await;
            assert_eq!(
                (answer.status, &answer.body["success"]),
                (status, &json!(false)),
                "{target} {answer:?}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_by_request() {
    on_each_major(async |stage| {
        let (private, other) = cast(&stage).await;
        let mut bob = connect(&stage, BOB).await;
        let path = "/api/messages/send";
        let file = json!({ "url": "https://files.example/a.png", "name": "a.png", "size": 7, "mimeType": "image/png" });
        let body = json!({ "conversationId": private, "content": "look", "messageType": "image",
            "attachments": [file], "clientMessageId": "c1" });
        let answer = stage.post(path, &token(ANN), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let message = &answer.body["message"];
        assert_eq!(json!([message["content"], message["senderId"]]), json!(["look", ANN]));
        let heard = bob.next_of("new_message").await;
        assert_eq!(json!([heard["messageId"], heard["attachments"]]), json!([message["messageId"], [file]]));
        let again = stage.post(path, &token(ANN), &body).await;
        assert_eq!(again.body["message"]["messageId"], message["messageId"], "it was sent before");
        // Without a conversation there is the direct one with the recipient.
        let answer = stage.post(path, &token(BOB), &json!({ "recipientId": ANN, "content": "hi" })).await;
        assert_eq!(answer.body["message"]["conversationId"], json!(private), "{answer:?}");
        let large = "x".repeat(70_000);
        for (body, status) in [
            (json!({ "conversationId": other, "content": "x" }), 404),
            (json!({ "conversationId": NOBODY, "content": "x" }), 404),
            (json!({ "content": "x" }), 400),
            (json!({ "conversationId": private }), 400),
            (json!({ "conversationId": private, "content": 7 }), 400),
            (json!({ "conversationId": private, "content": "" }), 400),
            (json!({ "conversationId": private, "content": "x", "messageType": "sonata" }), 400),
            (json!({ "conversationId": private, "content": "x", "attachments": "all" }), 400),
            (json!({ "conversationId": private, "content": "x", "replyToId": "x" }), 400),
            (json!({ "conversationId": private, "content": large }), 413),
            (json!([]), 400),
        ] {
            let answer = stage.post(path, &token(BOB), &body).await;
            let shown = body.to_string();
            assert_eq!(answer.status, status, "{} {answer:?}", &shown[..shown.len().min(200)]);
            assert!(answer.body["error"].is_string(), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_proper_request_is_refused() {
    on_each_major(async |stage| {
        let good = format!("authorization: Bearer {}\r\n", token(ANN));
        let json = "content-type: application/json\r\n";
        let path = "/api/messages/send";
        for (method, target, headers, body, status) in [
            ("POST", path, json.to_owned(), "{}", 401),
            ("POST", path, format!("{json}authorization: Basic eDp5\r\n"), "{}", 401),
            ("POST", path, format!("{json}{good}"), "{", 400),
            ("POST", path, format!("{json}{good}"), "\u{fffd}", 400),
            ("POST", path, format!("content-type: text/plain\r\n{good}"), "{}", 415),
            ("GET", path, good.clone(), "", 405),
            ("DELETE", "/api/messages/conversations", good.clone(), "", 405),
            ("GET", "/api/notifications/preferences", String::new(), "", 401),
            ("PUT", "/api/notifications/preferences", json.to_owned(), "{}", 401),
            ("GET", "/api/messages/conversations", String::new(), "", 401),
        ] {
            let answer = stage.ask_raw(method, target, &headers, body.as_bytes()).await;
            assert_eq!(answer.status, status, "{method} {target} {headers}{body} {answer:?}");
            assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        }
        let long = vec![b' '; 600 * 1024];
        let answer = stage.ask_raw("POST", path, &format!("{json}{good}"), &long).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        let server = token_of(&json!({ "role": "service_role" }), 60);
        assert_eq!(stage.get("/api/messages/conversations", Some(&server)).await.status, 403);
        // A page of another origin may ask.
        let preflight = "origin: https://app.example\r\naccess-control-request-method: PUT\r\n";
        let answer = stage.ask_raw("OPTIONS", "/api/notifications/preferences", preflight, b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("access-control-allow-methods").unwrap().contains("put"), "{answer:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_are_read_and_changed() {
    on_each_major(async |stage| {
        stage.enrol(&[ANN, BOB]).await;
        let path = "/api/notifications/preferences";
        let ann = token(ANN);
        let read = stage.get(path, Some(&ann)).await;
        let defaults = json!({ "email": true, "push": true, "inApp": true, "newMessage": true, "mentions": true,
            "quietHoursStart": null, "quietHoursEnd": null, "timeZone": "UTC" });
        assert_eq!((read.status, &read.body["preferences"]), (200, &defaults), "{read:?}");
        let changes = json!({ "inApp": false, "quietHoursStart": "22:00", "quietHoursEnd": "07:00",
            "timeZone": "Europe/Berlin" });
        let changed = stage.ask("PUT", path, Some(&ann), Some(&changes)).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let read = stage.get(path, Some(&ann)).await.body;
        let read = &read["preferences"];
        assert_eq!(
            json!([read["inApp"], read["push"], read["quietHoursStart"], read["timeZone"]]),
            json!([false, true, "22:00:00", "Europe/Berlin"])
        );
        // The twin: those of others are others'.
        assert_eq!(stage.get(path, Some(&token(BOB))).await.body["preferences"], defaults);
        for body in [
            json!({ "email": "often" }),
            json!({ "email": null }),
            json!({ "fax": true }),
            json!({ "user_id": BOB }),
            json!({ "timeZone": "Mars/Olympus" }),
            json!({ "quietHoursStart": "25:00" }),
        ] {
            let answer = stage.ask("PUT", path, Some(&ann), Some(&body)).await;
            assert_eq!(answer.status, 400, "{body} {answer:?}");
        }
        // Customers have none.
        let customer = token_of(&json!({ "customer_id": NOBODY }), 60);
        assert_eq!(stage.get(path, Some(&customer)).await.status, 403);
    })
    .await;
}
