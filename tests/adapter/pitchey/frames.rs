//! Pitchey's frames: what each is answered with, who hears of it, and how it is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::routes::{listed, message};
use crate::app_socket::Socket;
use crate::requests::{App, CHAT, EVE, KARI, NOTHING, OLA, on_each_major, user};
use crate::table::{About, about, everything, named};

/// How a frame is refused for what a column is about.
enum Cell {
    /// In these words, if it would be good but for that.
    Is(&'static str),
    /// This one, in these words.
    To(fn(&About) -> Value, &'static str),
    /// With a time to wait, what is done more often than this setting allows.
    Beyond(&'static str),
    /// Never, for this reason.
    Never(&'static str),
}

use Cell::{Beyond, Is, Never, To};

/// A frame of a client. Whatever the row, it is refused when it has too many bytes; who has no good token has no socket,
/// and what is no JSON object is no frame.
struct Row {
    kind: &'static str,
    /// Who sends it.
    who: &'static str,
    /// What they have done before, as SQL.
    before: fn(&About) -> String,
    /// Its fields.
    ask: fn(&About) -> Value,
    /// Who is told what of it.
    heard: Vec<(&'static str, Value)>,
    /// It is about somebody else's conversation.
    stranger: Cell,
    /// There is no such thing.
    unknown: Cell,
    /// The other one sends it, who sees it, and whose it is not.
    not_own: Cell,
    /// A field is missing, or of the wrong type.
    wrong_field: Cell,
    /// It is sent too often.
    too_often: Cell,
}

fn nothing(_: &About) -> String {
    "null::text".to_owned()
}

fn in_chat(about: &About) -> Value {
    json!({ "conversationId": about.chat })
}

fn of_message(about: &About) -> Value {
    json!({ "messageId": about.message })
}

fn reaction(about: &About) -> Value {
    json!({ "messageId": about.message, "emoji": "🎉" })
}

fn rows() -> Vec<Row> {
    let [first, second] = [talking(), changing()];
    first.into_iter().chain(second).collect()
}

fn talking() -> Vec<Row> {
    let typing = |is_typing: bool| {
        vec![(
            KARI,
            json!({ "type": "user_typing", "userId": OLA, "conversationId": CHAT, "isTyping": is_typing }),
        )]
    };
    let file =
        json!({ "url": "https://files.example/a.png", "name": "a.png", "size": 7, "mimeType": "image/png" });
    let mut new = message("Se");
    for (name, value) in [
        ("type", json!("new_message")),
        ("messageId", json!("<id>")),
        ("recipientId", json!(KARI)),
        ("messageType", json!("image")),
        ("replyToId", json!("<message>")),
        ("attachments", json!([file])),
        ("clientMessageId", json!("c1")),
    ] {
        new[name] = value;
    }
    let sent = json!({ "type": "message_sent", "messageId": "<id>", "conversationId": CHAT, "clientMessageId": "c1",
        "createdAt": "<time>" });
    let history = json!({ "type": "conversation_history", "conversationId": CHAT, "hasMore": false,
        "messages": [listed("Hei", &json!("sent"))] });
    let anybody = "it is everybody's who takes part";
    vec![
        Row {
            kind: "ping",
            who: OLA,
            before: nothing,
            ask: |_| json!({}),
            heard: vec![(OLA, json!({ "type": "pong" }))],
            stranger: Never("it names nothing"),
            unknown: Never("it names nothing"),
            not_own: Never("it names nothing"),
            wrong_field: Never("it has no fields"),
            too_often: Never("nothing is written; all frames have one rate"),
        },
        Row {
            kind: "send_message",
            who: OLA,
            before: nothing,
            ask: |about| {
                let file = json!({ "url": "https://files.example/a.png", "name": "a.png", "size": 7,
                    "mimeType": "image/png" });
                json!({ "conversationId": about.chat, "content": "Se", "recipientId": KARI, "messageType": "image",
                    "replyToId": about.message, "attachments": [file], "clientMessageId": "c1" })
            },
            heard: vec![(OLA, sent), (KARI, new)],
            stranger: Is("Not found"),
            unknown: Is("Not found"),
            not_own: Never("everybody sends what is their own"),
            wrong_field: To(
                |about| json!({ "conversationId": about.chat, "content": 7 }),
                "content is not valid",
            ),
            too_often: Beyond("messages_per_minute"),
        },
        Row {
            kind: "join_conversation",
            who: OLA,
            before: nothing,
            ask: in_chat,
            heard: vec![(OLA, history)],
            stranger: Is("Not found"),
            unknown: Is("Not found"),
            not_own: Never(anybody),
            wrong_field: To(|_| json!({ "conversationId": 7 }), "conversationId is not valid"),
            too_often: Never("nothing is written; all frames have one rate"),
        },
        Row {
            kind: "typing_start",
            who: OLA,
            before: nothing,
            ask: in_chat,
            heard: typing(true),
            stranger: Is("Not found"),
            unknown: Is("Not found"),
            not_own: Never("everybody types for themselves"),
            wrong_field: To(|_| json!({}), "conversationId is required"),
            too_often: Beyond("typing_per_minute"),
        },
        Row {
            kind: "typing_stop",
            who: OLA,
            before: |about| {
                format!("public.update_typing_indicator('{}', expires_in_seconds => 60)", about.chat)
            },
            ask: in_chat,
            heard: typing(false),
            stranger: Is("Not found"),
            unknown: Is("Not found"),
            not_own: Never("everybody types for themselves"),
            wrong_field: To(|_| json!({}), "conversationId is required"),
            too_often: Never("only starts count"),
        },
    ]
}

fn changing() -> Vec<Row> {
    let about = |kind: &str, fields: Value| {
        let mut frame = json!({ "type": kind, "messageId": "<message>", "conversationId": CHAT });
        frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        frame
    };
    let reacted = |kind: &str| vec![(KARI, about(kind, json!({ "userId": OLA, "emoji": "🎉" })))];
    let once = "each is taken away once, and adding has a limit";
    let row = |kind, ask, heard| Row {
        kind,
        who: OLA,
        before: nothing,
        ask,
        heard,
        stranger: Is("Not found"),
        unknown: Is("Not found"),
        not_own: Is("You may not do this"),
        wrong_field: To(|_| json!({ "messageId": "7" }), "messageId is not valid"),
        too_often: Never(once),
    };
    vec![
        Row {
            who: KARI,
            not_own: To(of_message, "You may not do this"),
            too_often: Beyond("receipts_per_minute"),
            ..row(
                "message_read",
                of_message,
                vec![(OLA, about("message_read", json!({ "readBy": KARI, "readAt": "<time>" })))],
            )
        },
        Row {
            wrong_field: To(of_message, "content is required"),
            too_often: Beyond("changes_per_minute"),
            ..row(
                "edit_message",
                |about| json!({ "messageId": about.message, "content": "Hei du" }),
                vec![(KARI, about("message_edited", json!({ "content": "Hei du", "editedAt": "<time>" })))],
            )
        },
        row("delete_message", of_message, vec![(KARI, about("message_deleted", json!({})))]),
        Row {
            not_own: Never("everybody reacts for themselves"),
            wrong_field: To(of_message, "emoji is required"),
            too_often: Beyond("changes_per_minute"),
            ..row("add_reaction", reaction, reacted("reaction_added"))
        },
        Row {
            before: |about| format!("public.add_message_reaction('{}', '🎉')", about.message),
            not_own: Never("everybody takes their own away"),
            wrong_field: To(of_message, "emoji is required"),
            ..row("remove_reaction", reaction, reacted("reaction_removed"))
        },
    ]
}

async fn connect(app: &App, who: &str) -> Socket {
    let mut socket = app.stage.socket(&format!("/api/messages/ws?token={}", user(who))).await;
    assert_eq!(socket.next().await, json!({ "type": "connected", "userId": who }));
    socket
}

fn frame(row: &Row, mut fields: Value) -> Value {
    fields["type"] = json!(row.kind);
    fields
}

/// The kinds of a table of the page.
fn page(chapter: &str) -> BTreeSet<&'static str> {
    let page = include_str!("../../../docs/messaging.md");
    let (_, chapter) = page.split_once(chapter).unwrap();
    let rows =
        chapter.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| !line.is_empty());
    let kinds = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(", "));
    kinds.map(|kind| kind.trim().trim_matches('`')).collect()
}

#[test]
fn every_frame_has_a_row() {
    let kinds: BTreeSet<_> = rows().iter().map(|row| row.kind).collect();
    assert_eq!(kinds, page("### Frames of Pitchey's clients\n"));
    let rows = rows();
    let heard =
        rows.iter().flat_map(|row| row.heard.iter().map(|(_, frame)| frame["type"].as_str().unwrap()));
    let untold = ["connected", "error", "message_delivered", "user_online", "user_offline"];
    assert_eq!(heard.chain(untold).collect::<BTreeSet<_>>(), page("### Frames of the server\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_is_answered_and_heard_of() {
    on_each_major(async |app| {
        for row in rows() {
            // Whatever the rows before have left.
            app.stage.database.execute("delete from public.messages").await;
            let about = about(&app).await;
            app.stage.call(row.who, &(row.before)(&about)).await;
            let (mut ola, mut kari) = (connect(&app, OLA).await, connect(&app, KARI).await);
            settle(&app, [&mut ola, &mut kari]).await;
            let sender = if row.who == OLA { &mut ola } else { &mut kari };
            sender.send(frame(&row, (row.ask)(&about))).await;
            for (who, expected) in row.heard {
                let socket = if who == OLA { &mut ola } else { &mut kari };
                let mut heard = socket.next_of(expected["type"].as_str().unwrap()).await;
                if let Some(status) = heard.pointer_mut("/messages/0/status") {
                    // Kari's socket may have been told of it already.
                    assert!(["sent", "delivered"].contains(&status.as_str().unwrap()), "{status}");
                    *status = json!("sent");
                }
                assert_eq!(named(heard, &about), expected, "{}", row.kind);
            }
        }
    })
    .await;
}

/// Waits until these sockets have heard of all that was done before.
async fn settle(app: &App, sockets: [&mut Socket; 2]) {
    const LAST: &str = "10000000-0000-4000-8000-000000000001";
    for sql in [
        format!(
            "insert into public.messages (id, conversation_id, sender_id, content) values ('{LAST}', '{CHAT}', '{KARI}', 'x')"
        ),
        format!("delete from public.messages where id = '{LAST}'"),
    ] {
        app.stage.database.execute(&sql).await;
    }
    for socket in sockets {
        socket.next_where(|frame| frame["type"] == "message_deleted" && frame["messageId"] == LAST).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_is_refused_as_its_row_says() {
    on_each_major(async |app| {
        let about = about(&app).await;
        let before = everything(&app).await;
        for row in rows() {
            refuse(&app, &row, &about).await;
        }
        assert_eq!(everything(&app).await, before, "a refusal changes nothing");
        for row in rows() {
            if let Beyond(setting) = row.too_often {
                refuse_haste(&app, &row, setting).await;
            }
        }
    })
    .await;
}

async fn refuse(app: &App, row: &Row, about: &About) {
    let nothing = About { chat: NOTHING, support: NOTHING, message: NOTHING.to_owned() };
    let other = if row.who == OLA { KARI } else { OLA };
    for (column, cell, who, about) in [
        ("stranger", &row.stranger, EVE, about),
        ("unknown", &row.unknown, row.who, &nothing),
        ("not one's own", &row.not_own, other, about),
        ("wrong field", &row.wrong_field, row.who, about),
    ] {
        let (fields, words) = match cell {
            Is(words) => ((row.ask)(about), words),
            To(fields, words) => (fields(about), words),
            Never(reason) => {
                assert!(!reason.is_empty(), "{}, {column}", row.kind);
                continue;
            }
            Beyond(_) => panic!("{}, {column} has no rate", row.kind),
        };
        let mut expected = json!({ "type": "error", "message": words, "request": row.kind });
        if let Some(id) = fields.get("clientMessageId") {
            expected["clientMessageId"] = id.clone();
        }
        let mut socket = connect(app, who).await;
        socket.send(frame(row, fields)).await;
        assert_eq!(socket.next_of("error").await, expected, "{}, {column}", row.kind);
    }
    let mut large = frame(row, (row.ask)(about));
    large["padding"] = json!("x".repeat(65_536));
    let mut socket = connect(app, row.who).await;
    socket.send(large).await;
    let expected = json!({ "type": "error", "message": "This must not exceed 65536 bytes" });
    assert_eq!(socket.next_of("error").await, expected, "{}", row.kind);
}

/// The second time at the latest, it is too often.
async fn refuse_haste(app: &App, row: &Row, setting: &str) {
    app.stage.database.execute("update rowcast.messaging_settings set value = 0").await;
    let (first, second) = (about(app).await, about(app).await);
    app.limit(setting, 1).await;
    let mut socket = connect(app, row.who).await;
    let mut fields = (row.ask)(&second);
    fields["clientMessageId"] = json!("c2");
    socket.send(frame(row, (row.ask)(&first))).await;
    socket.send(frame(row, fields)).await;
    let refused = socket.next_where(|frame| frame["clientMessageId"] == "c2").await;
    let seconds = refused["retryAfter"].as_u64().unwrap();
    assert!((1..=60).contains(&seconds), "{refused}");
    let expected = json!({ "type": "error", "request": row.kind, "clientMessageId": "c2", "retryAfter": seconds,
        "message": format!("Too many requests; retry after {seconds} seconds") });
    assert_eq!(refused, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_asked_for_is_told_whole() {
    on_each_major(async |app| {
        let mut ola = connect(&app, OLA).await;
        let mut kari = connect(&app, KARI).await;
        let about = about(&app).await;
        let delivered = named(ola.next_of("message_delivered").await, &about);
        assert_eq!(
            delivered,
            json!({ "type": "message_delivered", "messageId": "<message>", "conversationId": CHAT, "deliveredTo": KARI })
        );
        for (status, expected) in [
            ("online", json!({ "type": "user_online", "userId": OLA, "username": "ola" })),
            ("offline", json!({ "type": "user_offline", "userId": OLA, "username": "ola", "lastSeenAt": "<time>" })),
        ] {
            app.stage.call(OLA, &format!("public.update_user_presence(status => '{status}')")).await;
            let heard = kari.next_of(expected["type"].as_str().unwrap()).await;
            assert_eq!(named(heard, &about), expected);
        }
    })
    .await;
}
