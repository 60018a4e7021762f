//! Back from an absence, while others write all the time and commit in no order: nothing lost, nothing twice.
//!
//! The school app asks what it has missed, and opens its socket. Pitchey's opens its socket, joins its conversations,
//! pages back as far as it has to, and sends what it has queued.

use std::collections::{HashSet, VecDeque};
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
    let writers = Writers::start(school.writers().await);
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
    let writers = Writers::start(school.writers().await);
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

/// A client of Pitchey, which shows every room in its order: a history in place of what it shows, and each new message
/// behind that.
struct Phone<'a> {
    app: &'a App,
    token: String,
    /// By room: ids and contents.
    shown: [Vec<Line>; ROOMS.len()],
    /// What it has not been told to be sent, in order.
    queue: VecDeque<Queued>,
    queued: u64,
    /// How often a history did not reach what it showed.
    gaps: u32,
    dice: Dice,
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    id: String,
    content: String,
}

/// A message that is to be sent.
struct Queued {
    name: String,
    room: usize,
}

/// Where a message is shown.
fn room_of(message: &Value) -> usize {
    ROOMS.iter().position(|room| message["conversationId"] == *room).expect("a room of Ann's")
}

fn line(message: &Value) -> Line {
    let text = |field: &str| message[field].as_str().unwrap().to_owned();
    Line { id: text("messageId"), content: text("content") }
}

fn lines(page: &Value) -> Vec<Line> {
    page["messages"].as_array().unwrap().iter().map(line).collect()
}

impl<'a> Phone<'a> {
    fn new(app: &'a App) -> Self {
        let (shown, queue) = (Default::default(), VecDeque::new());
        Self { app, token: device(ANN), shown, queue, queued: 0, gaps: 0, dice: Dice(7) }
    }

    /// Does with frames what a client does.
    fn take(&mut self, frames: &[Value]) {
        for frame in frames {
            match frame["type"].as_str() {
                Some("new_message") => self.shown[room_of(frame)].push(line(frame)),
                Some("message_sent") => {
                    self.queue.retain(|queued| frame["clientMessageId"] != queued.name);
                }
                Some("error") => panic!("{frame}"),
                _ => {}
            }
        }
    }

    /// Comes back: what it shows from before goes on without a gap.
    async fn connect(&mut self) -> Socket {
        let mut socket = self.app.socket(&format!("/api/messages/ws?token={}", self.token)).await;
        assert_eq!(socket.next().await["type"], "connected");
        let before: Vec<usize> = self.shown.iter().map(Vec::len).collect();
        let first = usize::try_from(self.dice.roll(4)).unwrap();
        for room in (0..ROOMS.len()).map(|step| (first + step) % ROOMS.len()) {
            // What has been told since it is back stands behind a gap until the room is joined.
            self.join(&mut socket, room, Some(before[room])).await;
        }
        socket
    }

    /// Shows a room's history in place of what it shows of it, but of that so many at most.
    async fn join(&mut self, socket: &mut Socket, room: usize, of_before: Option<usize>) {
        socket.send(json!({ "type": "join_conversation", "conversationId": ROOMS[room] })).await;
        let frames = socket.all_until(|frame| frame["type"] == "conversation_history").await;
        let (history, live) = frames.split_last().unwrap();
        self.take(live);
        assert_eq!(room_of(history), room);
        let mut newest = lines(history);
        let mut has_more = history["hasMore"] == true;
        let shown = &mut self.shown[room];
        let behind_gap = shown.split_off(of_before.unwrap_or(shown.len()));
        let known = |newest: &[Line]| shown.iter().rposition(|line| Some(line) == newest.first());
        if has_more && !shown.is_empty() && known(&newest).is_none() {
            self.gaps += 1;
        }
        while has_more && known(&newest).is_none() {
            let target = format!("/api/messages/{}/messages?limit=100&before={}", ROOMS[room], newest[0].id);
            let page = self.app.get(&target, &self.token).await;
            has_more = page["hasMore"] == true;
            newest.splice(0..0, lines(&page));
        }
        let known = known(&newest).unwrap_or_default();
        let lacks = "the history lacks what was shown";
        assert!(newest.starts_with(&shown[known..]), "{lacks}: {:?}, {newest:?}", &shown[known..]);
        shown.truncate(known);
        shown.append(&mut newest);
        let lost: Vec<_> = behind_gap.iter().filter(|line| !shown.contains(line)).collect();
        assert!(lost.is_empty(), "{lacks}: {lost:?}");
    }

    /// Queues what its person writes while it is away.
    fn write(&mut self) {
        for _ in 0..self.dice.roll(4) {
            self.queued += 1;
            let room = usize::try_from(self.dice.roll(2)).unwrap();
            self.queue.push_back(Queued { name: format!("ann {}", self.queued), room });
        }
    }

    /// Sends what is queued, sometimes twice, and waits for nothing.
    async fn send(&mut self, socket: &Socket) {
        for queued in &self.queue {
            for _ in 0..=self.dice.roll(2) {
                let (room, name) = (ROOMS[queued.room], &queued.name);
                socket
                    .send(json!({ "type": "send_message", "conversationId": room, "content": name,
                        "clientMessageId": name }))
                    .await;
            }
        }
    }

    /// Waits until all that was queued is sent.
    async fn until_sent(&mut self, socket: &mut Socket) {
        while !self.queue.is_empty() {
            let frames = socket.all_until(|frame| frame["type"] == "message_sent").await;
            self.take(&frames);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitcheys_hundred_returns_among_writers_lose_nothing_and_show_nothing_twice() {
    let app = App::open("pitchey", &[]).await;
    let writers = Writers::start_with_bursts(app.writers().await);
    let mut phone = Phone::new(&app);
    for _ in 0..ROUNDS {
        let mut socket = phone.connect().await;
        phone.send(&socket).await;
        if phone.dice.roll(3) > 0 {
            phone.until_sent(&mut socket).await;
        }
        for _ in 0..phone.dice.roll(4) {
            let room = usize::try_from(phone.dice.roll(4)).unwrap();
            phone.join(&mut socket, room, None).await;
        }
        tokio::time::sleep(Duration::from_millis(phone.dice.roll(40))).await;
        let last = if phone.dice.roll(2) == 0 { socket.cut().await } else { socket.close().await };
        phone.take(&last);
        if phone.dice.roll(3) == 0 {
            phone.write();
        }
        if phone.dice.roll(10) == 0 {
            // Long enough for more to be missed than a history has.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    assert!(phone.gaps > 3, "histories had all that was missed but {} times", phone.gaps);
    let committed = writers.end().await;
    let mut socket = phone.connect().await;
    phone.send(&socket).await;
    phone.until_sent(&mut socket).await;
    for room in 0..ROOMS.len() {
        phone.join(&mut socket, room, None).await;
    }
    let shown = phone.shown.iter().flatten().map(|line| line.content.clone());
    let (own, others): (Vec<_>, Vec<_>) = shown.partition(|content| content.starts_with("ann "));
    committed.expect_shown_once_and_in_order(&others);
    let numbers = |room: usize| -> Vec<u64> {
        let own = phone.shown[room].iter().filter_map(|line| line.content.strip_prefix("ann "));
        own.map(|number| number.parse().unwrap()).collect()
    };
    let (first, second) = (numbers(0), numbers(1));
    assert!(first.is_sorted() && second.is_sorted(), "out of order: {first:?} {second:?}");
    let mut all = [first, second].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=phone.queued).collect::<Vec<_>>(), "each once");
    assert!(own.len() == all.len() && all.len() > 20, "{own:?}");
}
