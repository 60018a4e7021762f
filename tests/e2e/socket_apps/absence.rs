//! The school app, back from an absence: a check, the socket, and others who write all the while and commit in no order.
//! Nothing is lost, and nothing comes twice.

use std::collections::HashSet;
use std::time::Duration;

use super::school::connect;
use super::*;
use crate::support::Dice;
use crate::writers::send;

/// How often the app starts anew.
const ROUNDS: u64 = 100;

/// Before anything was sent.
const EVER: &str = "2024-01-01T00:00:00Z";

async fn open() -> App {
    App::open("school", &[]).await
}

/// Asks what was missed; the contents, and the time of this check.
async fn check(app: &App, token: &str, since: &str) -> (Vec<String>, String) {
    let answer = app.get(&format!("/api/chat/offline-messages?last_check_time={since}"), token).await;
    let data = &answer["data"];
    let messages = data["messages"].as_array().unwrap();
    assert_eq!(data["count"], messages.len());
    let contents = messages.iter().map(|message| message["content"].as_str().unwrap().to_owned());
    (contents.collect(), data["last_check_time"].as_str().unwrap().to_owned())
}

/// What a person has been shown, in order: a message, and whether it may come again.
#[derive(Default)]
struct Shown {
    contents: Vec<String>,
    /// Brought by a socket that had no time to say that it has them.
    unconfirmed: HashSet<String>,
}

impl Shown {
    fn take(&mut self, frames: &[Value], is_settled: bool) {
        for frame in frames.iter().filter(|frame| frame["type"] == "new_message") {
            self.show(frame["data"]["content"].as_str().unwrap().to_owned(), is_settled);
        }
    }

    fn show(&mut self, content: String, is_settled: bool) {
        if self.unconfirmed.remove(&content) {
            // Clients tell it by its id.
            return;
        }
        if !is_settled {
            self.unconfirmed.insert(content.clone());
        }
        self.contents.push(content);
    }
}

#[tokio::test]
async fn what_is_committed_between_the_check_and_the_socket_comes_once() {
    let school = open().await;
    let (token, bob) = (device(ANN), school.writer(BOB).await);
    let long = school.writer(BOB).await;
    long.batch_execute("begin").await.unwrap();
    send(&long, ROOMS[0], "began before the check").await;
    send(&bob, ROOMS[1], "before").await;
    let (contents, time) = check(&school, &token, EVER).await;
    assert_eq!(contents, ["before"]);
    long.batch_execute("commit").await.unwrap();
    send(&bob, ROOMS[1], "between").await;
    let mut socket = connect(&school, &token).await;
    let mut told = [socket.expect("new_message").await, socket.expect("new_message").await];
    told.sort_by_key(|frame| frame["data"]["created_at"].as_str().unwrap().to_owned());
    let contents: Vec<_> = told.iter().map(|frame| frame["data"]["content"].clone()).collect();
    assert_eq!(contents, ["began before the check", "between"]);
    send(&bob, ROOMS[1], "live").await;
    assert_eq!(socket.expect("new_message").await["data"]["content"], "live");
    socket.until_pong().await;
    socket.until_pong().await;
    socket.close().await;
    send(&bob, ROOMS[1], "later").await;
    assert_eq!(check(&school, &token, &time).await.0, ["later"]);
    // Another device of the same person has had none of it.
    assert_eq!(check(&school, &device(ANN), EVER).await.0.len(), 5);
}

#[tokio::test]
async fn a_socket_after_a_socket_continues() {
    let school = open().await;
    let (token, bob) = (device(ANN), school.writer(BOB).await);
    let (_, time) = check(&school, &token, EVER).await;
    let mut first = connect(&school, &token).await;
    send(&bob, ROOMS[0], "1").await;
    first.expect("new_message").await;
    first.until_pong().await;
    first.until_pong().await;
    first.cut().await;
    send(&bob, ROOMS[0], "2").await;
    let mut second = connect(&school, &token).await;
    assert_eq!(second.expect("new_message").await["data"]["content"], "2");
    assert!(second.until_pong().await.iter().all(|frame| frame["type"] != "new_message"));
    second.until_pong().await;
    second.close().await;
    assert!(check(&school, &token, &time).await.0.is_empty());
    // A new token names the check that it continues.
    let (_, time) = check(&school, &token, &time).await;
    send(&bob, ROOMS[0], "3").await;
    let target = format!("/?token={}&last_check_time={time}", device(ANN));
    let mut third = school.socket(&target).await;
    third.expect("connection_established").await;
    assert_eq!(third.expect("new_message").await["data"]["content"], "3");
}

/// An app that asks now and then although its socket is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_beside_an_open_socket_give_nothing_that_it_brings() {
    let school = open().await;
    let writers = school.write().await;
    let token = device(ANN);
    let mut shown = Shown::default();
    let (contents, mut time) = check(&school, &token, EVER).await;
    contents.into_iter().for_each(|content| shown.show(content, true));
    let mut socket = connect(&school, &token).await;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (contents, next) = check(&school, &token, &time).await;
        contents.into_iter().for_each(|content| shown.show(content, true));
        time = next;
    }
    let committed = writers.end().await;
    let (contents, _) = check(&school, &token, &time).await;
    contents.into_iter().for_each(|content| shown.show(content, true));
    shown.take(&socket.until_pong().await, true);
    committed.expect_shown_once(&shown.contents);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_starts_among_writers_lose_nothing_and_show_nothing_twice() {
    let school = open().await;
    let writers = school.write().await;
    let token = device(ANN);
    let (mut shown, mut time, mut dice) = (Shown::default(), EVER.to_owned(), Dice(7));
    for _ in 0..ROUNDS {
        if dice.roll(4) == 0 {
            // The answer is lost on its way.
            check(&school, &token, &time).await;
        }
        let (contents, next) = check(&school, &token, &time).await;
        contents.into_iter().for_each(|content| shown.show(content, true));
        time = next;
        if dice.roll(4) == 0 {
            continue;
        }
        let mut socket = connect(&school, &token).await;
        tokio::time::sleep(Duration::from_millis(dice.roll(60))).await;
        match dice.roll(3) {
            0 => shown.take(&socket.cut().await, false),
            1 => shown.take(&socket.close().await, false),
            _ => {
                // It ends in peace: all that was told is known to have come.
                school.ask("POST", "/api/chat/unsubscribe", &token, Value::Null).await;
                for _ in 0..3 {
                    shown.take(&socket.until_pong().await, true);
                }
                assert!(socket.close().await.iter().all(|frame| frame["type"] != "new_message"));
            }
        }
    }
    let committed = writers.end().await;
    for _ in 0..2 {
        let (contents, next) = check(&school, &token, &time).await;
        contents.into_iter().for_each(|content| shown.show(content, true));
        time = next;
    }
    committed.expect_shown_once_and_in_order(&shown.contents);
}
