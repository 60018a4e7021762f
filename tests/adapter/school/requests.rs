//! Every request, and whom it refuses.

use super::*;
use crate::writers::send;

/// Every route, with a path that exists.
const ROUTES: [(&str, &str); 5] = [
    ("POST", "/api/chat/subscribe"),
    ("GET", "/api/chat/offline-messages?last_check_time=2024-01-01T00:00:00Z"),
    ("GET", "/api/chat/unread-count"),
    ("POST", "/api/chat/mark-read/d0000000-0000-4000-8000-000000000001"),
    ("POST", "/api/chat/unsubscribe"),
];

#[tokio::test]
async fn requests_are_answered_as_the_app_expects() {
    let school = School::open().await;
    let (ann, bob) = (device(ANN), school.writer(BOB).await);
    let message = send(&bob, THREADS[0], "Hello!").await;
    send(&bob, OTHER, "not for ann").await;

    let subscribed = school.ask("POST", "/api/chat/subscribe", Some(&ann));
    let expected =
        json!({ "status": "success", "message": "Subscribed to real-time messages", "user_id": ANN });
    assert_eq!((subscribed.status, &subscribed.body), (200, &expected));

    let unread = school.ask("GET", "/api/chat/unread-count", Some(&ann));
    let expected = json!({ "status": "success", "data": { "unread_count": 1 }, "unread_count": 1 });
    assert_eq!(unread.body, expected);

    let missed = school.ask("GET", &format!("/api/chat/offline-messages?last_check_time={EVER}"), Some(&ann));
    let data = &missed.body["data"];
    let created_at = data["messages"][0]["created_at"].as_str().unwrap();
    assert!(created_at.ends_with('Z'), "{created_at}");
    let shown = json!({ "id": message, "thread_id": THREADS[0], "sender_id": BOB, "content": "Hello!",
        "message_type": "text", "created_at": created_at, "sender": { "full_name": "Bob", "role": "teacher" } });
    assert_eq!(data["messages"], json!([shown]));
    assert_eq!((&data["count"], data.get("has_more")), (&json!(1), None));
    assert!(
        data["last_check_time"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')),
        "{data}"
    );

    let read = school.ask("POST", &format!("/api/chat/mark-read/{}", THREADS[0]), Some(&ann));
    let expected = json!({ "status": "success", "message": "Messages marked as read", "thread_id": THREADS[0],
        "user_id": ANN });
    assert_eq!(read.body, expected);
    let unread = school.ask("GET", "/api/chat/unread-count", Some(&ann));
    assert_eq!(unread.body["data"]["unread_count"], 0);

    let unsubscribed = school.ask("POST", "/api/chat/unsubscribe", Some(&ann));
    let expected =
        json!({ "status": "success", "message": "Unsubscribed from real-time messages", "user_id": ANN });
    assert_eq!(unsubscribed.body, expected);
}

#[tokio::test]
async fn who_has_no_good_token_is_refused() {
    let school = School::open().await;
    let late = token_signed(SECRET, "authenticated", Some(ANN), -10);
    let forged =
        token_signed("another secret of enough bytes to sign with", "authenticated", Some(ANN), 3600);
    let nobody = token_signed(SECRET, "authenticated", None, 3600);
    let anonymous = token_signed(SECRET, "anon", Some(ANN), 3600);
    for (method, path) in ROUTES {
        for token in [None, Some(&*late), Some(&*forged), Some("no token")] {
            school.ask(method, path, token).refused(401);
        }
        school.send(method, path, &[("authorization", "Basic eDp5")], b"").refused(401);
        school.ask(method, path, Some(&nobody)).refused(403);
        let wrong = if method == "GET" { "POST" } else { "GET" };
        school.ask(wrong, path, Some(&device(ANN))).refused(405);
        if !path.ends_with("subscribe") {
            let answer = school.ask(method, path, Some(&anonymous));
            assert!([401, 403, 404].contains(&answer.status), "{path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_time_is_asked_for_and_understood_in_every_form() {
    let school = School::open().await;
    let ann = device(ANN);
    school.ask("GET", "/api/chat/offline-messages", Some(&ann)).refused(400);
    for time in ["", "now", "1704067200", "2024-01-01", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00"] {
        school
            .ask("GET", &format!("/api/chat/offline-messages?last_check_time={time}"), Some(&ann))
            .refused(400);
    }
    let (_, time) = school.check(&ann, EVER);
    send(&school.writer(BOB).await, THREADS[0], "since").await;
    let seconds = time.strip_suffix('Z').unwrap();
    for form in [
        time.clone(),
        format!("{seconds}000Z"),
        format!("{seconds}-00:00"),
        format!("{seconds}%2B00:00"),
        // As clients write it that encode nothing.
        format!("{seconds}+00:00"),
    ] {
        assert_eq!(school.check(&ann, &form).0, ["since"], "{form}");
    }
}

#[tokio::test]
async fn threads_of_others_and_of_nobody_are_not_found() {
    let school = School::open().await;
    let ann = device(ANN);
    for thread in [OTHER, NOTHING] {
        school.ask("POST", &format!("/api/chat/mark-read/{thread}"), Some(&ann)).refused(404);
    }
    for thread in ["7", "thread-uuid", "d0000000000040008000000000000001"] {
        school.ask("POST", &format!("/api/chat/mark-read/{thread}"), Some(&ann)).refused(400);
    }
    // Whose thread it is may.
    let read = school.ask("POST", &format!("/api/chat/mark-read/{OTHER}"), Some(&device(EVE)));
    assert_eq!(read.status, 200, "{read:?}");
}

#[tokio::test]
async fn who_asks_too_often_is_told_how_long_to_wait() {
    let school = School::open_with(
        "update rowcast.messaging_settings set value = 1 where name = 'receipts_per_minute'",
    )
    .await;
    let (ann, bob) = (device(ANN), school.writer(BOB).await);
    let path = format!("/api/chat/mark-read/{}", THREADS[0]);
    send(&bob, THREADS[0], "1").await;
    assert_eq!(school.ask("POST", &path, Some(&ann)).status, 200);
    send(&bob, THREADS[0], "2").await;
    let refused = school.ask("POST", &path, Some(&ann));
    refused.refused(429);
    let seconds: u64 = refused.header("retry-after").expect("a header").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(refused.body["retry_after"], seconds);
}

#[tokio::test]
async fn a_backlog_comes_in_pages_that_say_so() {
    let school = School::open().await;
    let ann = device(ANN);
    let sql = "do $$ begin for n in 1..520 loop perform public.send_message('d0000000-0000-4000-8000-000000000001', \
        'message ' || n); end loop; end $$";
    school.writer(BOB).await.batch_execute(sql).await.unwrap();
    let path = |since: &str| format!("/api/chat/offline-messages?last_check_time={since}");
    let first = school.ask("GET", &path(EVER), Some(&ann));
    assert_eq!((&first.body["data"]["count"], &first.body["data"]["has_more"]), (&json!(500), &json!(true)));
    // A client that does not ask on gets the rest on its socket.
    let mut socket = Socket::open(&school, &ann).await;
    for number in 501..=520 {
        let frame = socket.expect("new_message").await;
        assert_eq!(frame["data"]["content"], format!("message {number}"));
    }
    socket.until_pong().await;
    socket.close().await;
    let (rest, _) = school.check(&ann, first.body["data"]["last_check_time"].as_str().unwrap());
    assert!(rest.is_empty(), "{rest:?}");
}
