//! Coming back, with a stock supabase-js as `docs/messaging.md` says, while others write and commit in no order: nothing
//! is lost, nothing is shown twice, and each conversation is shown in its order.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::people::People;
use super::{
    App, CHAT, CUSTOMER, KARI, OLA, OTHER_CHAT, OTHER_SUPPORT, SUPPORT, customer, ipec, staff_claims, user,
};
use super::{EVE, infrastructure, tutorconnect};
use crate::stage::{Proxy, Stock};
use crate::support::Dice;
use crate::writers::{Committed, Writers, session, user_session};

/// How often somebody leaves and comes back.
const ROUNDS: u64 = 100;

/// How many messages a fetch asks for: few, so that pages follow.
const PAGE: usize = 5;

/// What else Kari and Ola talk in, and the customer.
const MORE: &str = "
    update rowcast.messaging_settings set value = 0;
    insert into public.conversations (id, kind) values ('d0000000-0000-4000-8000-000000000005', 'group');
    insert into public.conversation_participants (conversation_id, user_id) values
        ('d0000000-0000-4000-8000-000000000005', 'a0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000005', 'b0000000-0000-4000-8000-000000000001');
    insert into public.conversations (id, kind, customer_id) values
        ('d0000000-0000-4000-8000-000000000007', 'support', 'c0000000-0000-4000-8000-000000000001');
    insert into public.conversation_participants (conversation_id, customer_id) values
        ('d0000000-0000-4000-8000-000000000007', 'c0000000-0000-4000-8000-000000000001');";
const CHATS: [&str; 2] = [CHAT, "d0000000-0000-4000-8000-000000000005"];
const SUPPORTS: [&str; 2] = [SUPPORT, "d0000000-0000-4000-8000-000000000007"];

/// Who leaves and comes back.
const WHO: &str = "absent";

/// What to join.
struct Channel {
    name: String,
    config: Value,
    changes: Value,
}

/// What an app has shown of what it was given.
#[derive(Default)]
struct Shown {
    contents: Vec<String>,
    /// When the last message was sent that was shown of each conversation.
    last: HashMap<String, String>,
    /// What fetches have brought and what has not come live since.
    fetched: HashSet<String>,
    /// Whatever has come live.
    heard: HashSet<String>,
}

impl Shown {
    /// A page, which holds nothing that was shown.
    fn fetch(&mut self, page: &[Value]) {
        for message in page {
            self.fetched.insert(text(message, "id"));
            self.show(message);
        }
    }

    /// What came live, of which nothing came live before. Unless it is to be shown it is forgotten.
    fn hear(&mut self, rows: &[Value], is_shown: bool) {
        for row in rows {
            let id = text(row, "id");
            assert!(self.heard.insert(id.clone()), "live twice: {row}");
            if is_shown && !self.fetched.remove(&id) {
                self.show(row);
            }
        }
    }

    fn show(&mut self, message: &Value) {
        let (conversation, time) = (text(message, "conversation_id"), text(message, "created_at"));
        let before = self.last.insert(conversation, time.clone());
        assert!(before.as_ref().is_none_or(|before| *before < time), "{message} is shown after {before:?}");
        self.contents.push(text(message, "content"));
    }
}

fn text(message: &Value, key: &str) -> String {
    message[key].as_str().unwrap_or_else(|| panic!("no {key} in {message}")).to_owned()
}

/// Somebody who leaves and comes back, by a wire that can be cut.
struct Absent {
    people: People,
    stock: Stock,
    wire: Proxy,
    token: String,
    channels: Vec<Channel>,
    shown: Shown,
}

impl Absent {
    async fn create(app: &App, stock: Stock, token: String, channels: Vec<Channel>) -> Self {
        let (people, wire) = (People::start(stock).await, Proxy::start(app.server.address).await);
        people.connect_to(WHO, &wire.url(), &token).await;
        Self { people, stock, wire, token, channels, shown: Shown::default() }
    }

    /// Joins all there is to join.
    async fn join(&self) {
        self.forget_what_was_said();
        for Channel { name, config, changes } in &self.channels {
            self.people.ask_to_join(WHO, name, config.clone(), changes).await;
        }
        self.is_live().await;
    }

    /// What was said before has nothing to do with how it is.
    fn forget_what_was_said(&self) {
        self.people.take(&json!({ "kind": "done" }));
        for kind in ["status", "system", "presence"] {
            self.people.take(&json!({ "as": WHO, "kind": kind }));
        }
    }

    async fn is_live(&self) {
        for Channel { name, .. } in &self.channels {
            self.people.is_live(WHO, name).await;
        }
    }

    /// Fetches what was missed, page by page, and shows it; then what came live meanwhile.
    async fn catch_up(&mut self) {
        let list = self.people.rpc(WHO, "list_conversations", json!({})).await;
        for conversation in list.as_array().unwrap() {
            let id = text(conversation, "id");
            loop {
                let since = self.shown.last.get(&id).map_or("-infinity", String::as_str);
                let args = json!({ "since": since, "page_limit": PAGE, "conversation_id": id });
                let page = self.people.rpc(WHO, "messages_since", args).await;
                let page = page.as_array().unwrap();
                self.shown.fetch(page);
                if page.len() < PAGE {
                    break;
                }
            }
        }
        self.hear(true);
    }

    /// Takes what has come live.
    fn hear(&mut self, is_shown: bool) {
        let changes = self.people.take(&json!({ "as": WHO, "kind": "change" }));
        let messages = changes.iter().filter(|change| self.is_for_messages(change));
        let rows: Vec<Value> = messages.map(|change| change["new"].clone()).collect();
        self.shown.hear(&rows, is_shown);
    }

    /// Whether a change came to the handler for messages, and is one. A client whose channel was left and is not joined
    /// again yet gives what is still under way to every handler of `*`, as it knows channels by their names alone.
    fn is_for_messages(&self, change: &Value) -> bool {
        let channel = self.channels.iter().find(|channel| change["topic"] == channel.name);
        let binding = usize::try_from(change["binding"].as_u64().unwrap()).unwrap();
        let tables = [&channel.unwrap().changes[binding]["table"], &change["table"]];
        tables.iter().all(|table| **table == "messages") && change["type"] == "INSERT"
    }

    /// Is there for a while, or goes before the fetch is answered: then nothing is shown of what came.
    async fn stay(&mut self, dice: &mut Dice) -> bool {
        if dice.roll(6) == 0 {
            return false;
        }
        self.catch_up().await;
        tokio::time::sleep(Duration::from_millis(dice.roll(40))).await;
        self.hear(true);
        true
    }

    /// Goes in one of the ways in which people go, and is ready to join again.
    async fn leave(&mut self, dice: &mut Dice, is_shown: bool) {
        match dice.roll(4) {
            0 => self.people.close(WHO).await,
            1 => self.wire_is_cut().await,
            _ => {
                for Channel { name, .. } in &self.channels {
                    self.people.leave(WHO, name).await;
                }
                return self.hear(is_shown);
            }
        }
        self.hear(is_shown);
        self.people.connect_to(WHO, &self.wire.url(), &self.token).await;
    }

    /// The app gives the client up whose connection is gone.
    async fn wire_is_cut(&mut self) {
        self.wire.cut();
        self.notices().await;
        self.people.close(WHO).await;
    }

    async fn notices(&self) {
        for Channel { name, .. } in &self.channels {
            let lost = json!({ "as": WHO, "topic": name, "kind": "status", "status": "CHANNEL_ERROR" });
            self.people.sees(lost).await;
        }
        self.forget_what_was_said();
    }

    /// The wire is cut, and the client connects and joins again by itself, as all but 2.49 do.
    async fn comes_back_by_itself(&mut self) {
        self.wire.cut();
        self.notices().await;
        self.hear(true);
        self.is_live().await;
        self.catch_up().await;
    }

    /// Leaves and comes back, again and again; what was shown at the end.
    async fn come_and_go(mut self, writers: Writers) -> (Committed, Shown) {
        let mut dice = Dice(3);
        for round in 0..ROUNDS {
            self.join().await;
            let is_shown = self.stay(&mut dice).await;
            if is_shown && round % 25 == 0 && self.stock != Stock::Js49 {
                self.comes_back_by_itself().await;
            }
            self.leave(&mut dice, is_shown).await;
            tokio::time::sleep(Duration::from_millis(dice.roll(30))).await;
        }
        let committed = writers.end().await;
        self.join().await;
        self.catch_up().await;
        (committed, self.shown)
    }
}

/// Has others write in these conversations, two in the first, and in one that is none of the absent person's.
async fn write(
    writer: impl AsyncFn() -> Client,
    conversations: &[&str],
    other: (Client, &str),
) -> [Writers; 2] {
    let mut writers = Vec::new();
    for conversation in conversations.iter().chain(&conversations[..1]) {
        writers.push((writer().await, *conversation));
    }
    [Writers::start(writers), Writers::start([other])]
}

async fn everything_is_shown_once(absent: Absent, [writers, others]: [Writers; 2], conversations: &[&str]) {
    let (committed, shown) = absent.come_and_go(writers).await;
    others.end().await;
    let strange = shown.last.keys().find(|id| !conversations.contains(&id.as_str()));
    assert_eq!(strange, None, "nobody is shown what others talk in");
    assert!(shown.heard.len() > 100, "{} came live", shown.heard.len());
    committed.expect_shown_once_and_in_order(&shown.contents);
}

async fn ipec(stock: Stock) {
    let app = App::start(&["--messaging", "true"]).await;
    app.database.execute(MORE).await;
    let channel = |id: &&str| Channel {
        name: format!("conversation:{id}"),
        config: json!({}),
        changes: ipec::new_messages(id),
    };
    let absent = Absent::create(&app, stock, user(OLA), CHATS.iter().map(channel).collect()).await;
    let url = &app.database.url;
    let writers =
        write(async || user_session(url, KARI).await, &CHATS, (user_session(url, EVE).await, OTHER_CHAT));
    everything_is_shown_once(absent, writers.await, &CHATS).await;
}

async fn tutorconnect(stock: Stock) {
    let app = App::start(&["--adapters", "tutorconnect"]).await;
    app.database.execute(MORE).await;
    let channels = CHATS.iter().flat_map(|chat| tutorconnect::channels(&app, OLA, chat));
    let channel = |channel: Value| Channel {
        name: text(&channel, "name"),
        config: channel["config"].clone(),
        changes: channel["postgresChanges"].clone(),
    };
    let absent = Absent::create(&app, stock, user(OLA), channels.map(channel).collect()).await;
    let url = &app.database.url;
    let writers =
        write(async || user_session(url, KARI).await, &CHATS, (user_session(url, EVE).await, OTHER_CHAT));
    everything_is_shown_once(absent, writers.await, &CHATS).await;
}

async fn infrastructure(stock: Stock) {
    let app = App::start(&["--adapters", "infrastructure"]).await;
    app.database.execute(MORE).await;
    let channel = Channel {
        name: format!("customer:{CUSTOMER}:messages"),
        config: json!({ "private": true }),
        changes: infrastructure::everything(),
    };
    let absent = Absent::create(&app, stock, customer(CUSTOMER), vec![channel]).await;
    let staff = async || session(&app.database.url, &staff_claims(KARI)).await;
    let writers = write(staff, &SUPPORTS, (staff().await, OTHER_SUPPORT)).await;
    everything_is_shown_once(absent, writers, &SUPPORTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ipecs_people_with_an_older_client() {
    ipec(Stock::Js49).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ipecs_people_with_a_newer_client() {
    ipec(Stock::Js119).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_tutorconnects_people_with_an_older_client() {
    tutorconnect(Stock::Js49).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_tutorconnects_people_with_a_newer_client() {
    tutorconnect(Stock::Js119).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_portals_customers_with_an_older_client() {
    infrastructure(Stock::Js49).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_portals_customers_with_a_newer_client() {
    infrastructure(Stock::Js119).await;
}
