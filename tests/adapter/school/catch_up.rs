//! From an absence to the socket, while others write and commit in no order: nothing lost, nothing twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::Mutex;

use super::*;

/// How often the app starts anew.
const ROUNDS: u64 = 100;

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

/// Numbers that are the same in each run.
fn roll(state: &mut u64, sides: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % sides
}

#[tokio::test]
async fn what_is_committed_between_the_check_and_the_socket_comes_once() {
    let school = School::open().await;
    let (token, bob) = (device(ANN), school.writer(BOB).await);
    let long = school.writer(BOB).await;
    long.batch_execute("begin").await.unwrap();
    send(&long, THREADS[0], "began before the check").await;
    send(&bob, THREADS[1], "before").await;
    let (contents, time) = school.check(&token, EVER);
    assert_eq!(contents, ["before"]);
    long.batch_execute("commit").await.unwrap();
    send(&bob, THREADS[1], "between").await;
    let mut socket = Socket::open(&school, &token).await;
    let mut told = [socket.expect("new_message").await, socket.expect("new_message").await];
    told.sort_by_key(|frame| frame["data"]["created_at"].as_str().unwrap().to_owned());
    let contents: Vec<_> = told.iter().map(|frame| frame["data"]["content"].clone()).collect();
    assert_eq!(contents, ["began before the check", "between"]);
    send(&bob, THREADS[1], "live").await;
    assert_eq!(socket.expect("new_message").await["data"]["content"], "live");
    socket.until_pong().await;
    socket.until_pong().await;
    socket.close().await;
    send(&bob, THREADS[1], "later").await;
    assert_eq!(school.check(&token, &time).0, ["later"]);
    // Another device of the same person has had none of it.
    assert_eq!(school.check(&device(ANN), EVER).0.len(), 5);
}

#[tokio::test]
async fn a_socket_after_a_socket_continues() {
    let school = School::open().await;
    let (token, bob) = (device(ANN), school.writer(BOB).await);
    let (_, time) = school.check(&token, EVER);
    let mut first = Socket::open(&school, &token).await;
    send(&bob, THREADS[0], "1").await;
    first.expect("new_message").await;
    first.until_pong().await;
    first.until_pong().await;
    first.cut().await;
    send(&bob, THREADS[0], "2").await;
    let mut second = Socket::open(&school, &token).await;
    assert_eq!(second.expect("new_message").await["data"]["content"], "2");
    assert!(second.until_pong().await.iter().all(|frame| frame["type"] != "new_message"));
    second.until_pong().await;
    second.close().await;
    assert!(school.check(&token, &time).0.is_empty());
    // A new token names the check that it continues.
    let (_, time) = school.check(&token, &time);
    send(&bob, THREADS[0], "3").await;
    let target = format!("/?token={}&last_check_time={time}", device(ANN));
    let mut third = Socket::ask(&school, &target, &[]).await.unwrap();
    third.expect("connection_established").await;
    assert_eq!(third.expect("new_message").await["data"]["content"], "3");
}

/// An app that asks now and then although its socket is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_beside_an_open_socket_give_nothing_that_it_brings() {
    let school = School::open().await;
    let stop = Arc::new(AtomicBool::new(false));
    let committed = Arc::new(Mutex::new(Vec::new()));
    let mut writers = Vec::new();
    for (index, thread) in THREADS.into_iter().enumerate() {
        let client = school.writer(BOB).await;
        writers.push(tokio::spawn(write(client, thread, index, Arc::clone(&stop), Arc::clone(&committed))));
    }
    let token = device(ANN);
    let mut shown = Shown::default();
    let (contents, mut time) = school.check(&token, EVER);
    contents.into_iter().for_each(|content| shown.show(content, true));
    let mut socket = Socket::open(&school, &token).await;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (contents, next) = tokio::task::block_in_place(|| school.check(&token, &time));
        contents.into_iter().for_each(|content| shown.show(content, true));
        time = next;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let (contents, _) = tokio::task::block_in_place(|| school.check(&token, &time));
    contents.into_iter().for_each(|content| shown.show(content, true));
    shown.take(&socket.until_pong().await, true);
    let committed = committed.lock().await;
    let all: HashSet<_> = shown.contents.iter().collect();
    assert_eq!(all.len(), shown.contents.len(), "something twice: {:?}", shown.contents);
    assert_eq!(all, committed.iter().collect::<HashSet<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_starts_among_writers_lose_nothing_and_show_nothing_twice() {
    let school = School::open().await;
    let stop = Arc::new(AtomicBool::new(false));
    let committed = Arc::new(Mutex::new(Vec::new()));
    let mut writers = Vec::new();
    for (index, thread) in THREADS.into_iter().enumerate() {
        let client = school.writer(BOB).await;
        writers.push(tokio::spawn(write(client, thread, index, Arc::clone(&stop), Arc::clone(&committed))));
    }
    let token = device(ANN);
    let (mut shown, mut time, mut state) = (Shown::default(), EVER.to_owned(), 7);
    for _ in 0..ROUNDS {
        if roll(&mut state, 4) == 0 {
            // The answer is lost on its way.
            school.check(&token, &time);
        }
        let (contents, next) = school.check(&token, &time);
        contents.into_iter().for_each(|content| shown.show(content, true));
        time = next;
        if roll(&mut state, 4) == 0 {
            continue;
        }
        let mut socket = Socket::open(&school, &token).await;
        tokio::time::sleep(Duration::from_millis(roll(&mut state, 60))).await;
        match roll(&mut state, 3) {
            0 => shown.take(&socket.cut().await, false),
            1 => shown.take(&socket.close().await, false),
            _ => {
                // It ends in peace: all that was told is known to have come.
                school.ask("POST", "/api/chat/unsubscribe", Some(&token));
                for _ in 0..3 {
                    shown.take(&socket.until_pong().await, true);
                }
                assert!(socket.close().await.iter().all(|frame| frame["type"] != "new_message"));
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    for _ in 0..2 {
        let (contents, next) = school.check(&token, &time);
        contents.into_iter().for_each(|content| shown.show(content, true));
        time = next;
    }
    let committed: HashSet<String> = committed.lock().await.iter().cloned().collect();
    let mut times: HashMap<&String, u32> = HashMap::new();
    shown.contents.iter().for_each(|content| *times.entry(content).or_default() += 1);
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    let lost: Vec<_> = committed.iter().filter(|content| !times.contains_key(content)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(times.len(), committed.len());
    // In each thread in the order of sending.
    for index in 0..THREADS.len() {
        let of = |content: &String| {
            let (thread, number) = content.split_once(' ')?;
            (thread == index.to_string()).then(|| number.parse::<u32>().ok())?
        };
        let numbers: Vec<_> = shown.contents.iter().filter_map(of).collect();
        assert!(numbers.is_sorted(), "thread {index}: {numbers:?}");
    }
    assert!(committed.len() > 100, "the writers wrote {}", committed.len());
}

/// Writes to one thread in transactions of any length, some of which are given up.
async fn write(
    client: tokio_postgres::Client,
    thread: &str,
    index: usize,
    stop: Arc<AtomicBool>,
    committed: Arc<Mutex<Vec<String>>>,
) {
    let mut state = index as u64;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        client.batch_execute("begin").await.unwrap();
        let mut pending = Vec::new();
        for _ in 0..=roll(&mut state, 3) {
            number += 1;
            let content = format!("{index} {number}");
            send(&client, thread, &content).await;
            pending.push(content);
            tokio::time::sleep(Duration::from_millis(roll(&mut state, 40))).await;
        }
        if roll(&mut state, 6) == 0 {
            client.batch_execute("rollback").await.unwrap();
        } else {
            client.batch_execute("commit").await.unwrap();
            committed.lock().await.extend(pending);
        }
    }
}
