//! Those who write: eight sessions that act as people through the schema's functions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout_at};
use tokio_postgres::Client;

use super::account::{Account, Deed, Done, Kind, News, Round};
use super::client::App;
use super::{Crowd, PEOPLE, PER_CONVERSATION, conversation_id, person_id};
use crate::support::connect;

/// Messages a second; as many begin to type, and as many are read.
const RATE: u32 = 100;
/// One in so many messages goes with a change of presence.
const PRESENCE_EVERY: usize = 5;
/// Sessions that write.
const WRITERS: usize = 8;
/// Between two people who lose their connection.
const RETURN_EVERY: Duration = Duration::from_millis(200);
/// How late the writers may be at the end of a round.
const LATE_MAX: Duration = Duration::from_millis(800);
/// A frame that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// The writers, and what they have done.
pub(super) struct Load {
    app: App,
    writers: Vec<Arc<Client>>,
    /// The number of the next message.
    next: usize,
    /// Who is the next to lose their connection.
    next_gone: usize,
    account: Account,
}

impl Load {
    pub(super) async fn start(app: App, url: &str) -> Self {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(Arc::new(connect(url).await));
        }
        Self { app, writers, next: 0, next_gone: 0, account: Account::default() }
    }

    /// Writes at the rate for as long, while people come and go if they `return`, and waits for all that is to be heard
    /// of it.
    pub(super) async fn run(&mut self, window: Duration, crowd: &mut Crowd, returns: bool) -> Round {
        let mut writing = self.write(window);
        let (mut news, mut gone) = (Vec::new(), 0);
        let mut returning = interval(RETURN_EVERY);
        returning.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !writing.is_empty() {
            tokio::select! {
                told = crowd.news.recv() => news.push(told.expect("an open socket")),
                Some(done) = writing.join_next() => {
                    done.expect("a writer").into_iter().for_each(|done| self.account.add(done));
                }
                _ = returning.tick(), if returns => {
                    crowd.leave[self.next_gone * 7_919 % PEOPLE].notify_one();
                    self.next_gone += 1;
                    gone += 1;
                }
            }
        }
        self.settle(news, gone, &mut crowd.news).await
    }

    /// Has all deeds of a round done; each writer gives its own.
    fn write(&mut self, window: Duration) -> JoinSet<Vec<Done>> {
        let count = usize::try_from(window.as_millis() * u128::from(RATE) / 1_000).expect("a number");
        let (app, first, start) = (self.app, self.next, tokio::time::Instant::now());
        self.next += count;
        let mut writing = JoinSet::new();
        for (writer, client) in self.writers.iter().enumerate() {
            let client = Arc::clone(client);
            writing.spawn(async move {
                let mut done = Vec::new();
                for place in (writer..count).step_by(WRITERS) {
                    let due = Duration::from_secs(1) / RATE * u32::try_from(place).expect("a small number");
                    tokio::time::sleep_until(start + due).await;
                    done.extend(act(app, &client, first + place).await);
                }
                let late = start.elapsed().saturating_sub(window);
                assert!(late < LATE_MAX, "this machine does not write {RATE} messages/s: {late:?} late");
                done
            });
        }
        writing
    }

    /// Enters everything in the account, and waits for what is missing.
    async fn settle(&mut self, news: Vec<News>, gone: usize, more: &mut Receiver<News>) -> Round {
        let mut round = Round::default();
        for news in news {
            self.account.note(news, &mut round);
        }
        let deadline = tokio::time::Instant::now() + LOST_AFTER;
        while self.account.missing > 0 || round.returns.len() < gone {
            let told = timeout_at(deadline, more.recv()).await;
            let told = told.unwrap_or_else(|_| {
                panic!("{} returns are missing, and {:#?}", gone - round.returns.len(), self.account.open())
            });
            self.account.note(told.expect("an open socket"), &mut round);
        }
        round
    }
}

/// One begins to type and sends the message, and another has read it; now and then a third comes back.
async fn act(app: App, client: &Client, number: usize) -> Vec<Done> {
    // Neighbours in time are of different conversations, and everybody has a turn.
    let writer = number * 7_919 % PEOPLE;
    let first = writer / PER_CONVERSATION * PER_CONVERSATION;
    let reader = first + (writer + 1) % PER_CONVERSATION;
    let (author, conversation, read) = (person_id(writer), conversation_id(writer), person_id(reader));
    let all: Vec<usize> = (first..first + PER_CONVERSATION).collect();
    let done = |kind, name: String, (at, by), hearers: &[usize]| Done {
        deed: Deed(kind, name),
        at,
        by,
        hearers: hearers.into(),
    };
    let typing =
        format!("select (public.update_typing_indicator('{conversation}', '{author}', null, true, 5)).id");
    let (indicator, at) = commit_as(client, &author, &typing).await;
    let mut deeds = vec![match app {
        App::Supabase => done(Kind::Typing, indicator, at, &all),
        // Apps tell the others alone, and without an id.
        App::Pitchey | App::School => {
            let others: Vec<usize> = all.iter().copied().filter(|person| *person != writer).collect();
            done(Kind::Typing, format!("{author} {}", number / PEOPLE + 1), at, &others)
        }
    }];
    let content = format!("message {number} of {writer}");
    let send = format!("select (public.send_message('{conversation}', '{content}')).id");
    let (message, at) = commit_as(client, &author, &send).await;
    deeds.push(done(Kind::Message, content, at, &all));
    let receipt = format!("select (public.mark_message_as_read('{message}', '{read}', null)).id");
    let (receipt, at) = commit_as(client, &read, &receipt).await;
    deeds.push(done(Kind::Receipt, receipt, at, &all));
    if number.is_multiple_of(PRESENCE_EVERY) {
        // Everybody in turn, so that nobody comes to the limit of a minute.
        let third = number / PRESENCE_EVERY * 7_919 % PEOPLE;
        let who = person_id(third);
        let presence = format!(
            r#"select public.update_user_presence('{who}', null, 'online', '{{"number": {number}}}')"#
        );
        let (_, at) = commit_as(client, &who, &presence).await;
        let first = third / PER_CONVERSATION * PER_CONVERSATION;
        let friends: Vec<usize> = (first..first + PER_CONVERSATION).collect();
        deeds.push(done(Kind::Presence, number.to_string(), at, &friends));
    }
    // Of receipts and presence apps are told in words of their own, which are not in the account.
    deeds.retain(|done| app == App::Supabase || matches!(done.deed.0, Kind::Message | Kind::Typing));
    deeds
}

/// Runs one statement as a person; gives its value, and when COMMIT was about to be sent and was answered.
async fn commit_as(client: &Client, who: &str, statement: &str) -> (String, (Instant, Instant)) {
    let begin = format!(
        "begin; select set_config('role', 'authenticated', true), \
         set_config('request.jwt.claims', '{{\"role\":\"authenticated\",\"sub\":\"{who}\"}}', true)"
    );
    client.batch_execute(&begin).await.expect("a transaction");
    let rows = client.simple_query(statement).await.expect("a statement");
    let value = rows.iter().find_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    let at = Instant::now();
    client.batch_execute("commit").await.expect("a commit");
    (value.unwrap_or_default(), (at, Instant::now()))
}
