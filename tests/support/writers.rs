//! People who write messages all the time, in transactions of any length that commit in no order, and an account of
//! what somebody who came and went meanwhile has been shown of it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::support::{Dice, connect};

/// A session in the database of whoever these claims say.
pub(crate) async fn session(url: &str, claims: &Value) -> Client {
    let client = connect(url).await;
    let claims = claims.to_string();
    client.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).await.unwrap();
    client.batch_execute("set role authenticated").await.unwrap();
    client
}

/// A session of a user.
pub(crate) async fn user_session(url: &str, id: &str) -> Client {
    session(url, &json!({ "sub": id, "role": "authenticated" })).await
}

/// Sends a message, and answers its id.
pub(crate) async fn send(writer: &Client, conversation: &str, content: &str) -> String {
    let sql = format!("select id::text from public.send_message('{conversation}', '{content}')");
    writer.query_one(&sql, &[]).await.unwrap().get(0)
}

/// How many messages come at once where much does: more than any app shows first.
const BURST_MESSAGES: u64 = 60;

/// A writer for each conversation; its messages are called by the conversation's place and a growing number.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Writers {
    /// Has the sessions write, each into one conversation.
    pub(crate) fn start<'a>(writers: impl IntoIterator<Item = (Client, &'a str)>) -> Self {
        Self::begin(writers, false)
    }

    /// The same, and now and then very much in one transaction.
    pub(crate) fn start_with_bursts<'a>(writers: impl IntoIterator<Item = (Client, &'a str)>) -> Self {
        Self::begin(writers, true)
    }

    fn begin<'a>(writers: impl IntoIterator<Item = (Client, &'a str)>, has_bursts: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let begin = |(place, (client, conversation)): (usize, (Client, &str))| {
            tokio::spawn(write(client, conversation.to_owned(), place, has_bursts, Arc::clone(&stop)))
        };
        let tasks = writers.into_iter().enumerate().map(begin).collect();
        Self { stop, tasks }
    }

    /// Has them finish their transactions; the contents of what each has committed, in order.
    pub(crate) async fn end(self) -> Committed {
        self.stop.store(true, Ordering::Relaxed);
        let mut committed = Vec::new();
        for task in self.tasks {
            committed.push(task.await.unwrap());
        }
        Committed(committed)
    }
}

/// Writes in transactions of any length, some of which are given up.
async fn write(
    client: Client,
    conversation: String,
    place: usize,
    has_bursts: bool,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut dice = Dice(place as u64);
    let mut number = 0;
    let mut committed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        client.batch_execute("begin").await.unwrap();
        let mut pending = Vec::new();
        if has_bursts && dice.roll(20) == 0 {
            let contents = number + 1..=number + BURST_MESSAGES;
            number += BURST_MESSAGES;
            pending.extend(contents.map(|number| format!("{place} {number}")));
            send_all(&client, &conversation, &pending).await;
        }
        for _ in 0..=dice.roll(3) {
            number += 1;
            let content = format!("{place} {number}");
            send(&client, &conversation, &content).await;
            pending.push(content);
            // A transaction that takes its time; nothing waits for it.
            tokio::time::sleep(Duration::from_millis(dice.roll(40))).await;
        }
        if dice.roll(6) == 0 {
            client.batch_execute("rollback").await.unwrap();
        } else {
            client.batch_execute("commit").await.unwrap();
            committed.append(&mut pending);
        }
    }
    committed
}

/// Sends messages in their order.
async fn send_all(writer: &Client, conversation: &str, contents: &[String]) {
    let sql = format!(
        "select public.send_message('{conversation}', content) from unnest($1::text[]) with ordinality t (content, place)
         order by place"
    );
    writer.execute(&sql, &[&contents]).await.unwrap();
}

/// What has been committed, by writer.
pub(crate) struct Committed(Vec<Vec<String>>);

impl Committed {
    /// Expects that somebody was shown each message once, and nothing else.
    pub(crate) fn expect_shown_once(&self, shown: &[String]) {
        let all: HashSet<&String> = self.0.iter().flatten().collect();
        assert!(all.len() > 100, "the writers wrote {} only", all.len());
        let mut times: HashMap<&String, u32> = HashMap::new();
        shown.iter().for_each(|content| *times.entry(content).or_default() += 1);
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "twice: {twice:?}");
        let lost: Vec<_> = all.iter().filter(|content| !times.contains_key(**content)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let strange: Vec<_> = times.keys().filter(|content| !all.contains(**content)).collect();
        assert!(strange.is_empty(), "never committed: {strange:?}");
    }

    /// Expects the same, and those of each conversation in their order.
    pub(crate) fn expect_shown_once_and_in_order(&self, shown: &[String]) {
        self.expect_shown_once(shown);
        for (place, committed) in self.0.iter().enumerate() {
            let of_here: Vec<&String> =
                shown.iter().filter(|content| committed_at(content) == Some(place)).collect();
            assert!(of_here.iter().copied().eq(committed), "out of order: {of_here:?}");
        }
    }
}

/// Which writer has sent a message of this content.
fn committed_at(content: &str) -> Option<usize> {
    content.split_once(' ')?.0.parse().ok()
}
