//! The school app: every request and every frame, with its refusals.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use crate::app_socket::{Socket, is_presence};
use crate::requests::{CHAT, EVE as STRANGER, KARI, OLA, user};
use crate::support::majors;
use crate::table::Cell::{Beyond, Is, Never, To};
use crate::table::{About, Ask, Row, Table};
use crate::whole::{ANN, Answer, BOB, EVE, Stage, token_of};
use crate::writers::{send, user_session};

/// What Ann and Bob talk in.
const THREAD: &str = "d0000000-0000-4000-8000-000000000001";
/// The same.
const SECOND: &str = "d0000000-0000-4000-8000-000000000002";
/// What Bob and Eve talk in.
const OTHER: &str = "d0000000-0000-4000-8000-00000000000e";
/// No id of anything.
const NOTHING: &str = "00000000-0000-4000-8000-000000000000";
/// Before anything was sent.
const EVER: &str = "2024-01-01T00:00:00Z";

/// Everybody, and what they talk in, at any rate.
const PEOPLE: &str = "
    insert into public.users (id, full_name, role) values
        ('a0000000-0000-4000-8000-000000000001', 'Ann', 'teacher'),
        ('b0000000-0000-4000-8000-000000000001', 'Bob', 'pupil'),
        ('e0000000-0000-4000-8000-000000000001', 'Eve', 'pupil');
    insert into public.conversations (id, kind) values
        ('d0000000-0000-4000-8000-000000000001', 'group'), ('d0000000-0000-4000-8000-000000000002', 'group'),
        ('d0000000-0000-4000-8000-00000000000e', 'group');
    insert into public.conversation_participants (conversation_id, user_id) values
        ('d0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000002', 'a0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000002', 'b0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-00000000000e', 'b0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-00000000000e', 'e0000000-0000-4000-8000-000000000001');
    update rowcast.messaging_settings set value = 0;";

/// A server with these people.
struct School {
    stage: Stage,
    /// Bob in the database.
    bob: tokio_postgres::Client,
}

/// Runs a test on every major version, one after another.
async fn on_each_major(test: impl AsyncFn(School)) {
    for major in majors() {
        let stage = Stage::set(major).await;
        stage.database.execute(PEOPLE).await;
        let bob = user_session(&stage.database.url, BOB).await;
        test(School { stage, bob }).await;
    }
}

impl School {
    async fn socket(&self, token: &str) -> Socket {
        let mut socket = self.stage.socket(&format!("/?token={token}")).await;
        socket.expect("connection_established").await;
        socket
    }

    async fn ask(&self, method: &str, path: &str, token: &str) -> Answer {
        self.stage.ask(method, path, Some(token), None).await
    }

    /// Asks what was missed; the contents, and the time of this check.
    async fn check(&self, token: &str, since: &str) -> (Vec<String>, String) {
        let answer = self.ask("GET", &format!("{OFFLINE}{since}"), token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let data = &answer.body["data"];
        let messages = data["messages"].as_array().unwrap();
        assert_eq!(data["count"], messages.len());
        let contents = messages.iter().map(|message| message["content"].as_str().unwrap().to_owned());
        (contents.collect(), data["last_check_time"].as_str().unwrap().to_owned())
    }

    /// Calls a function as Bob.
    async fn as_bob(&self, call: &str) {
        self.bob.batch_execute(&format!("select from public.{call}")).await.unwrap();
    }
}

/// A token that no other device has.
fn device(person: &str) -> String {
    static COUNT: AtomicI64 = AtomicI64::new(3600);
    token_of(&json!({ "sub": person }), COUNT.fetch_add(60, Ordering::Relaxed))
}

/// Expects a refusal, in the app's shape.
fn refused(answer: &Answer, status: u16, what: &str) {
    assert_eq!((answer.status, &answer.body["status"]), (status, &json!("error")), "{what} {answer:?}");
    assert!(answer.body["message"].as_str().is_some_and(|words| !words.is_empty()), "{what} {answer:?}");
}

const OFFLINE: &str = "/api/chat/offline-messages?last_check_time=";

fn table() -> Table {
    Table {
        app: "school",
        rows: rows(),
        stranger: || user(STRANGER),
        other: || user(OLA),
        before: "",
        words: "/message",
        refusal: |_, words, wait| match wait {
            Some(seconds) => json!({ "status": "error", "message": words, "retry_after": seconds }),
            None => json!({ "status": "error", "message": words }),
        },
    }
}

/// A row of what is about nobody else.
fn row(route: (&'static str, &'static str), ask: fn(&About) -> Ask, answer: Value) -> Row {
    Row {
        route,
        who: || user(KARI),
        ask,
        answer: (200, answer),
        stranger: Never("everybody asks for themselves"),
        unknown: Never("it names nothing"),
        not_own: Never("everybody asks for themselves"),
        wrong_field: Never("it has no fields"),
        not_json: Never("it has no body"),
        wrong_media: Never("it has no body"),
        too_large: Never("it has no body"),
        too_long: Never("it has no body"),
        too_often: Never("nothing is written that others see"),
    }
}

fn rows() -> Vec<Row> {
    let done = |words: &str| json!({ "status": "success", "message": words, "user_id": KARI });
    // The app's page reads it inside, its start-up beside.
    let both = |data: Value| {
        let mut answer = json!({ "status": "success", "data": data });
        answer.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
        answer
    };
    let message = json!({ "id": "<message>", "thread_id": CHAT, "sender_id": OLA, "content": "Hei",
        "message_type": "text", "created_at": "<time>Z",
        "sender": { "full_name": "Ola Nordmann", "role": "pupil" } });
    let missed = json!({ "messages": [message], "count": 1, "last_check_time": "<time>Z" });
    let mut read = done("Messages marked as read");
    read["thread_id"] = json!(CHAT);
    vec![
        row(
            ("POST", "/api/chat/subscribe"),
            |_| ("/api/chat/subscribe".to_owned(), Value::Null),
            done("Subscribed to real-time messages"),
        ),
        Row {
            wrong_field: To(400, |_| (format!("{OFFLINE}now"), Value::Null), "last_check_time"),
            ..row(
                ("GET", "/api/chat/offline-messages"),
                |_| (format!("{OFFLINE}{EVER}"), Value::Null),
                both(missed),
            )
        },
        row(
            ("GET", "/api/chat/unread-count"),
            |_| ("/api/chat/unread-count".to_owned(), Value::Null),
            both(json!({ "unread_count": 1 })),
        ),
        Row {
            stranger: Is(404),
            unknown: Is(404),
            wrong_field: To(400, |_| ("/api/chat/mark-read/7".to_owned(), Value::Null), "thread_id"),
            too_often: Beyond("receipts_per_minute"),
            ..row(
                ("POST", "/api/chat/mark-read/{thread_id}"),
                |about| (format!("/api/chat/mark-read/{}", about.chat), Value::Null),
                read,
            )
        },
        row(
            ("POST", "/api/chat/unsubscribe"),
            |_| ("/api/chat/unsubscribe".to_owned(), Value::Null),
            done("Unsubscribed from real-time messages"),
        ),
    ]
}

#[test]
fn every_route_has_a_row() {
    table().is_complete();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_as_the_app_expects() {
    table().is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_as_its_row_says() {
    table().is_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_unread_no_longer() {
    on_each_major(async |school| {
        let ann = device(ANN);
        send(&school.bob, THREAD, "Hello!").await;
        send(&school.bob, OTHER, "not for ann").await;
        let unread =
            async || school.ask("GET", "/api/chat/unread-count", &ann).await.body["unread_count"].clone();
        assert_eq!(unread().await, 1);
        assert_eq!(school.ask("POST", &format!("/api/chat/mark-read/{THREAD}"), &ann).await.status, 200);
        assert_eq!(unread().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_asked_for_and_understood_in_every_form() {
    on_each_major(async |school| {
        let ann = device(ANN);
        refused(&school.ask("GET", "/api/chat/offline-messages", &ann).await, 400, "no time");
        for time in ["", "now", "1704067200", "2024-01-01", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00"] {
            refused(&school.ask("GET", &format!("{OFFLINE}{time}"), &ann).await, 400, time);
        }
        let (_, time) = school.check(&ann, EVER).await;
        send(&school.bob, THREAD, "since").await;
        let seconds = time.strip_suffix('Z').unwrap();
        for form in [
            time.clone(),
            format!("{seconds}000Z"),
            format!("{seconds}-00:00"),
            format!("{seconds}%2B00:00"),
            // As clients write it that encode nothing.
            format!("{seconds}+00:00"),
        ] {
            assert_eq!(school.check(&ann, &form).await.0, ["since"], "{form}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_comes_in_pages_that_say_so() {
    on_each_major(async |school| {
        let ann = device(ANN);
        let backlog = format!("send_message('{THREAD}', 'message ' || n) from generate_series(1, 520) n");
        school.bob.batch_execute(&format!("select public.{backlog}")).await.unwrap();
        let first = school.ask("GET", &format!("{OFFLINE}{EVER}"), &ann).await;
        let data = &first.body["data"];
        assert_eq!((&data["count"], &data["has_more"]), (&json!(500), &json!(true)));
        // A client that does not ask on gets the rest on its socket.
        let mut socket = school.socket(&ann).await;
        for number in 501..=520 {
            let frame = socket.expect("new_message").await;
            assert_eq!(frame["data"]["content"], format!("message {number}"));
        }
        socket.until_pong().await;
        socket.close().await;
        let (rest, _) = school.check(&ann, data["last_check_time"].as_str().unwrap()).await;
        assert!(rest.is_empty(), "{rest:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_opened_by_a_token_in_the_query_or_the_header() {
    on_each_major(async |school| {
        let token = device(ANN);
        let bearer = format!("Bearer {token}");
        for (target, headers) in
            [(format!("/?token={token}"), vec![]), ("/".to_owned(), vec![("authorization", &*bearer)])]
        {
            let mut socket = Socket::ask(school.stage.address, &target, &headers).await.unwrap();
            let frame = socket.next().await;
            let time = frame["timestamp"].as_str().unwrap();
            assert!(time.len() == 24 && time.ends_with('Z'), "{frame}");
            let expected = json!({ "type": "connection_established", "user_id": ANN, "timestamp": time });
            assert_eq!(frame, expected);
        }
        let late = token_of(&json!({ "sub": ANN }), -10);
        let nobody = token_of(&json!({ "role": "service_role" }), 60);
        for (target, headers, status) in [
            ("/".to_owned(), "", 401),
            ("/".to_owned(), "authorization: Basic eDp5\r\n", 401),
            ("/?token=".to_owned(), "", 401),
            ("/?token=x".to_owned(), "", 401),
            (format!("/?token={late}"), "", 401),
            // The header counts, even if the query would do.
            (format!("/?token={token}"), "authorization: Bearer x\r\n", 401),
            (format!("/?token={nobody}"), "", 403),
            (format!("/?token={token}&last_check_time=then"), "", 400),
        ] {
            refused(&school.stage.refused_socket(&target, headers).await, status, &target);
        }
    })
    .await;
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// It does not say what it is about.
    Missing,
    Null,
    NoText,
    NoId,
    /// It is about what others have.
    Others,
    Unknown,
    /// It is about what only somebody else may change, or only somebody else may read.
    NotForThem,
    TooLarge,
    TooDeep,
    TooOften,
}

impl Wrong {
    const ALL: [Self; 10] = [
        Self::Missing,
        Self::Null,
        Self::NoText,
        Self::NoId,
        Self::Others,
        Self::Unknown,
        Self::NotForThem,
        Self::TooLarge,
        Self::TooDeep,
        Self::TooOften,
    ];
}

/// There is nothing of the kind in this frame.
const NOT: &str = "";
const NOT_FOUND: &str = "Not found";
const FORBIDDEN: &str = "You may not do this";
const LARGE: &str = "This must not exceed 65536 bytes";
const DEEP: &str = "The JSON is nested too deeply";
const OFTEN: &str = "Too many requests";
const NEEDS_THREAD: &str = "thread_id is required";
const NO_THREAD: &str = "thread_id is not valid";
const NEEDS_MESSAGE: &str = "message_id is required";
const NO_MESSAGE: &str = "message_id is not valid";

/// What frames of Ann's can be about.
struct Things {
    /// What she may do this with, twice where that is needed.
    good: [String; 2],
    /// What is of a conversation of others.
    others: String,
    /// What she sees, and may not do this with.
    not_for_them: String,
}

/// A frame: its type; the field that says what it is about; and the first words of each refusal.
struct Frame(&'static str, &'static str, [&'static str; Wrong::ALL.len()]);

impl Frame {
    /// The frame about this thing, and what is wrong with it.
    fn wrong(&self, wrong: Wrong, things: &Things) -> String {
        let Self(kind, field, _) = self;
        let mut frame = json!({ "type": kind });
        frame[field] = match wrong {
            Wrong::Null => Value::Null,
            Wrong::NoText => json!([7]),
            Wrong::NoId => json!("thread-uuid"),
            Wrong::Others => json!(things.others),
            Wrong::Unknown => json!(NOTHING),
            Wrong::NotForThem => json!(things.not_for_them),
            _ => json!(things.good[1]),
        };
        match wrong {
            Wrong::Missing => drop(frame.as_object_mut().unwrap().remove(*field)),
            Wrong::TooLarge => frame["more"] = json!("x".repeat(70_000)),
            Wrong::TooDeep => {
                let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
                frame["more"] = serde_json::from_str(&deep).unwrap();
            }
            _ => {}
        }
        frame.to_string()
    }

    /// The frame as it must be.
    fn right(&self, things: &Things) -> Value {
        json!({ "type": self.0, self.1: things.good[0] })
    }
}

/// Every frame of clients. A thread of others is as silent as it was before, so to silence it is no mistake.
#[rustfmt::skip]
const FRAMES: [Frame; 6] = [
    //                                        missing        null           no text     no id       others     unknown    not for    too    too   too
    //                                                                                                                    them       large  deep  often
    Frame("subscribe_thread",   "thread_id",  [NEEDS_THREAD,  NEEDS_THREAD,  NO_THREAD,  NO_THREAD,  NOT_FOUND, NOT_FOUND, NOT,       LARGE, DEEP, NOT]),
    Frame("unsubscribe_thread", "thread_id",  [NEEDS_THREAD,  NEEDS_THREAD,  NO_THREAD,  NO_THREAD,  NOT,       NOT,       NOT,       LARGE, DEEP, NOT]),
    Frame("typing_start",       "thread_id",  [NEEDS_THREAD,  NEEDS_THREAD,  NO_THREAD,  NO_THREAD,  NOT_FOUND, NOT_FOUND, NOT,       LARGE, DEEP, OFTEN]),
    Frame("typing_stop",        "thread_id",  [NEEDS_THREAD,  NEEDS_THREAD,  NO_THREAD,  NO_THREAD,  NOT_FOUND, NOT_FOUND, NOT,       LARGE, DEEP, NOT]),
    Frame("mark_read",          "message_id", [NEEDS_MESSAGE, NEEDS_MESSAGE, NO_MESSAGE, NO_MESSAGE, NOT_FOUND, NOT_FOUND, FORBIDDEN, LARGE, DEEP, OFTEN]),
    Frame("ping",               "nothing",    [NOT,           NOT,           NOT,        NOT,        NOT,       NOT,       NOT,       LARGE, DEEP, NOT]),
];

/// The types of clients' frames, and of the server's, that the page of the app knows.
fn documented() -> (BTreeSet<String>, BTreeSet<String>) {
    let page = include_str!("../../docs/messaging.md");
    let (_, chapter) = page.split_once("## School app").unwrap();
    let types = |text: &str| -> Vec<String> {
        let fieldless = text.split('{').next().unwrap_or_default();
        fieldless.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let (mut clients, mut server) = (BTreeSet::new(), BTreeSet::new());
    for line in chapter.lines() {
        if let Some(frames) = line.strip_prefix("| client | ") {
            let (sent, answer) = frames.split_once(';').unwrap_or((frames, ""));
            clients.extend(types(sent));
            server.extend(types(answer));
        } else if let Some(frames) = line.strip_prefix("| server | ") {
            server.extend(types(frames));
        }
    }
    (clients, server)
}

#[test]
fn every_frame_of_clients_has_a_row() {
    let rows: BTreeSet<_> = FRAMES.iter().map(|frame| frame.0.to_owned()).collect();
    assert_eq!(rows, documented().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_is_refused_what_it_must_be_and_the_socket_stays() {
    on_each_major(async |school| {
        let ann = user_session(&school.stage.database.url, ANN).await;
        let own = send(&ann, THREAD, "own").await;
        let secret = send(&school.bob, OTHER, "for eve").await;
        let good = [send(&school.bob, THREAD, "first").await, send(&school.bob, THREAD, "second").await];
        let things = |Frame(_, field, _): &Frame| match *field {
            "message_id" => Things { good: good.clone(), others: secret.clone(), not_for_them: own.clone() },
            _ => Things {
                good: [THREAD, THREAD].map(str::to_owned),
                others: OTHER.to_owned(),
                not_for_them: String::new(),
            },
        };
        let mut ann = school.socket(&device(ANN)).await;
        for (place, wrong) in Wrong::ALL.into_iter().enumerate() {
            for frame in FRAMES.iter().filter(|frame| frame.2[place] != NOT) {
                let things = things(frame);
                if wrong == Wrong::TooOften {
                    school.stage.database.execute("update rowcast.messaging_settings set value = 1").await;
                    ann.send(frame.right(&things)).await;
                    ann.until_pong().await;
                    school.stage.end_typing().await;
                }
                ann.text(&frame.wrong(wrong, &things)).await;
                let told = ann.next_of("error").await;
                let said = told["message"].as_str().unwrap();
                assert!(said.starts_with(frame.2[place]), "{wrong:?} {}: {told}", frame.0);
                let seconds = told["retry_after"].as_u64();
                let is_soon = seconds.is_some_and(|seconds| (1..=60).contains(&seconds));
                assert_eq!(is_soon, wrong == Wrong::TooOften, "{told}");
            }
        }
        assert!(ann.until_pong().await.iter().all(|frame| frame["type"] != "error"));
        // The twin: what is refused to Ann is granted to Eve.
        let mut eve = school.socket(&device(EVE)).await;
        eve.send(json!({ "type": "subscribe_thread", "thread_id": OTHER })).await;
        eve.next_of("thread_subscribed").await;
        eve.send(json!({ "type": "mark_read", "message_id": secret })).await;
        assert_eq!(eve.next_of("message_read").await["message_id"], json!(secret));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_is_answered_and_the_socket_stays() {
    on_each_major(async |school| {
        let mut ann = school.socket(&device(ANN)).await;
        for (text, words) in [
            ("", "This is not valid JSON"),
            ("ping", "This is not valid JSON"),
            ("[]", "This is not a JSON object of the expected shape"),
            ("{}", "This is not a JSON object of the expected shape"),
            (r#"{"type":7}"#, "This is not a JSON object of the expected shape"),
            (r#"{"type":"dance"}"#, "This type of frame is not known"),
        ] {
            ann.text(text).await;
            assert_eq!(ann.expect("error").await, json!({ "type": "error", "message": words }), "{text}");
        }
        ann.bytes(b"{}").await;
        assert_eq!(ann.expect("error").await["message"], "Send text frames");
        assert!(ann.until_pong().await.iter().all(is_presence));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_any_kind_are_too_many_at_some_rate() {
    on_each_major(async |school| {
        let mut ann = school.socket(&device(ANN)).await;
        for Frame(kind, field, _) in FRAMES.iter().cycle().take(300) {
            // What is nothing to anybody takes no time.
            ann.send(json!({ "type": kind, *field: null })).await;
        }
        let is_limit =
            |frame: &Value| frame["message"].as_str().is_some_and(|words| words.starts_with(OFTEN));
        assert_eq!(ann.next_where(is_limit).await["retry_after"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_of_the_server_is_told_to_those_who_take_part() {
    on_each_major(async |school| {
        let (mut ann, mut tablet) = (school.socket(&device(ANN)).await, school.socket(&device(ANN)).await);
        let mut eve = school.socket(&device(EVE)).await;
        let mut told = BTreeSet::from(["connection_established".to_owned()]);
        let id = send(&school.bob, THREAD, "first").await;
        let frame = ann.expect("new_message").await;
        let mut data = json!({ "id": id, "thread_id": THREAD, "sender_id": BOB, "content": "first",
            "message_type": "text", "created_at": frame["data"]["created_at"],
            "sender": { "full_name": "Bob", "role": "pupil" } });
        assert_eq!(frame, json!({ "type": "new_message", "data": data }));
        assert_eq!(tablet.expect("new_message").await, frame);
        told.insert("new_message".to_owned());
        let about = |kind: &str, more: Value| {
            let mut frame = json!({ "type": kind, "message_id": id, "thread_id": THREAD });
            frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            frame
        };
        let typing = |is_typing: bool| json!({ "type": "user_typing", "thread_id": THREAD, "user_id": BOB, "is_typing": is_typing });
        for (call, expected) in [
            (format!("edit_message('{id}', 'second')"), json!({ "type": "message_updated" })),
            (format!("add_message_reaction('{id}', '+')"), about("reaction_added", json!({ "user_id": BOB, "emoji": "+" }))),
            (format!("remove_message_reaction('{id}', '+')"), about("reaction_removed", json!({ "user_id": BOB, "emoji": "+" }))),
            (format!("update_typing_indicator('{THREAD}')"), typing(true)),
            (format!("update_typing_indicator('{THREAD}', is_typing => false)"), typing(false)),
            (format!("delete_message('{id}')"), json!({ "type": "message_deleted" })),
        ] {
            school.as_bob(&call).await;
            let frame = ann.expect(expected["type"].as_str().unwrap()).await;
            told.insert(frame["type"].as_str().unwrap().to_owned());
            if frame.get("data").is_none() {
                assert_eq!(frame, expected);
                continue;
            }
            for field in ["edited_at", "deleted_at"] {
                if let Some(time) = frame["data"].get(field) {
                    data[field] = time.clone();
                }
            }
            let content = if expected["type"] == "message_deleted" { "" } else { "second" };
            data["content"] = json!(content);
            assert_eq!(frame["data"], data);
        }
        assert!(data["edited_at"].is_string() && data["deleted_at"].is_string(), "{data}");

        let other = send(&school.bob, SECOND, "to be read").await;
        ann.expect("new_message").await;
        for (sent, expected) in [
            (json!({ "type": "mark_read", "message_id": other }),
                json!({ "type": "message_read", "message_id": other, "thread_id": SECOND, "user_id": ANN })),
            (json!({ "type": "unsubscribe_thread", "thread_id": THREAD }),
                json!({ "type": "thread_unsubscribed", "thread_id": THREAD })),
            (json!({ "type": "subscribe_thread", "thread_id": THREAD }),
                json!({ "type": "thread_subscribed", "thread_id": THREAD })),
            (json!({ "type": "ping" }), json!({ "type": "pong" })),
            (json!({ "type": "fly" }), json!({ "type": "error", "message": "This type of frame is not known" })),
        ] {
            ann.send(sent).await;
            let mut frame = ann.expect(expected["type"].as_str().unwrap()).await;
            told.insert(frame["type"].as_str().unwrap().to_owned());
            if let Some(read_at) = frame.as_object_mut().unwrap().remove("read_at") {
                assert!(read_at.as_str().is_some_and(|time| time.ends_with('Z')), "{read_at}");
            }
            assert_eq!(frame, expected);
        }
        school.as_bob("update_user_presence(status => 'busy')").await;
        let frame = ann.next_where(|frame| frame["type"] == "presence" && frame["user_id"] == BOB).await;
        let last_seen_at = &frame["last_seen_at"];
        assert!(last_seen_at.as_str().is_some_and(|time| time.ends_with('Z')), "{frame}");
        assert_eq!(
            frame,
            json!({ "type": "presence", "user_id": BOB, "status": "busy", "last_seen_at": last_seen_at })
        );
        told.insert("presence".to_owned());
        // Whoever opens a socket is told at once.
        let mut again = school.socket(&device(ANN)).await;
        let is_bobs = |frame: &Value| frame["type"] == "presence" && frame["user_id"] == BOB;
        assert_eq!(again.next_where(is_bobs).await["status"], "busy");
        assert_eq!(told, documented().1, "every frame there is");

        // What Eve hears first, but for Bob's presence, is hers.
        send(&school.bob, OTHER, "for eve").await;
        assert_eq!(eve.expect("new_message").await["data"]["content"], "for eve");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_types_over_the_socket_and_others_see_it() {
    on_each_major(async |school| {
        let (mut ann, mut bob) = (school.socket(&device(ANN)).await, school.socket(&device(BOB)).await);
        for (kind, is_typing) in [("typing_start", true), ("typing_stop", false)] {
            ann.send(json!({ "type": kind, "thread_id": THREAD })).await;
            let expected =
                json!({ "type": "user_typing", "thread_id": THREAD, "user_id": ANN, "is_typing": is_typing });
            assert_eq!(bob.expect("user_typing").await, expected);
        }
        // Not to oneself.
        let told = ann.until_pong().await;
        assert!(told.iter().all(is_presence), "{told:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_is_silent_while_it_is_unsubscribed() {
    on_each_major(async |school| {
        let token = device(ANN);
        let (_, time) = school.check(&token, EVER).await;
        let mut ann = school.socket(&token).await;
        ann.send(json!({ "type": "unsubscribe_thread", "thread_id": THREAD })).await;
        ann.expect("thread_unsubscribed").await;
        send(&school.bob, THREAD, "unheard").await;
        send(&school.bob, SECOND, "heard").await;
        assert_eq!(ann.expect("new_message").await["data"]["content"], "heard");
        ann.send(json!({ "type": "subscribe_thread", "thread_id": THREAD })).await;
        ann.expect("thread_subscribed").await;
        send(&school.bob, THREAD, "heard again").await;
        assert_eq!(ann.expect("new_message").await["data"]["content"], "heard again");
        ann.until_pong().await;
        ann.until_pong().await;
        ann.close().await;
        // What was not told is not lost.
        assert_eq!(school.check(&token, &time).await.0, ["unheard"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_silences_the_sockets_of_that_token() {
    on_each_major(async |school| {
        let token = device(ANN);
        let (mut ann, mut tablet) = (school.socket(&token).await, school.socket(&device(ANN)).await);
        assert_eq!(school.ask("POST", "/api/chat/unsubscribe", &token).await.status, 200);
        send(&school.bob, THREAD, "1").await;
        assert_eq!(tablet.expect("new_message").await["data"]["content"], "1");
        // The feed has told it to both by now, or in a moment: the next one is told after it.
        assert_eq!(school.ask("POST", "/api/chat/subscribe", &token).await.status, 200);
        let mut seen = Vec::new();
        for number in 2.. {
            send(&school.bob, THREAD, &number.to_string()).await;
            tablet.expect("new_message").await;
            seen.extend(ann.until_pong().await);
            if seen.iter().any(|frame| frame["type"] == "new_message") {
                break;
            }
        }
        assert!(seen.iter().all(|frame| frame["data"]["content"] != "1"), "{seen:?}");
    })
    .await;
}
