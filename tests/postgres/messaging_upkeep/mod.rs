//! The upkeep of the messaging schema by servers that run: typing, presence and deliveries, as time goes by.
//!
//! A [`Node`] is what one server does of it. Intervals are short here; what is asserted is what happens and in which
//! order, and never that it takes no longer than so many milliseconds.

mod deliveries;
mod nodes;
mod outage;
mod presence;
mod told;
mod typing;

use std::time::Duration;

use rowcast::postgres::connect::Database;
use rowcast::postgres::messaging::{Config, Messaging, Notes, Person, keep_up};
use rowcast::postgres::migrate::{Set, migrate};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::TestDatabase;

const ANN: &str = "a0000000-0000-4000-8000-000000000001";
const BOB: &str = "b0000000-0000-4000-8000-000000000001";
const KIM: &str = "c0000000-0000-4000-8000-000000000001";
const TALK: &str = "d0000000-0000-4000-8000-000000000001";

/// How long anything that must come may take.
const WITHIN: Duration = Duration::from_secs(20);

/// How long to wait before the database is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Ann, Bob and the customer Kim, in one conversation.
const PEOPLE: &str = "
    insert into public.users (id, full_name) values
        ('a0000000-0000-4000-8000-000000000001', 'Ann'), ('b0000000-0000-4000-8000-000000000001', 'Bob');
    insert into public.customers (id, full_name) values ('c0000000-0000-4000-8000-000000000001', 'Kim');
    insert into public.conversations (id, kind) values ('d0000000-0000-4000-8000-000000000001', 'group');
    insert into public.conversation_participants (conversation_id, user_id)
        select 'd0000000-0000-4000-8000-000000000001', id from public.users;
    insert into public.conversation_participants (conversation_id, customer_id)
        select 'd0000000-0000-4000-8000-000000000001', id from public.customers;
    -- What became of everybody's status, in order.
    create table public.statuses (id int generated always as identity, person uuid, status text);
    create function note_status() returns trigger language plpgsql as $$
        begin
            insert into public.statuses (person, status) values (coalesce(new.user_id, new.customer_id), new.status);
            return new;
        end $$;
    create trigger note_status after insert or update on public.user_presence
        for each row execute function note_status();";

fn user(id: &str) -> Person {
    Person::User(Uuid::try_parse(id).unwrap())
}

fn customer(id: &str) -> Person {
    Person::Customer(Uuid::try_parse(id).unwrap())
}

/// Gives the database the schema, and its people.
async fn populate(database: &TestDatabase) {
    migrate(&Database::parse(&database.url).unwrap(), &[Set::Core, Set::Messaging]).await.unwrap();
    database.execute(PEOPLE).await;
}

async fn create(major: u32) -> TestDatabase {
    let database = TestDatabase::create(major).await;
    populate(&database).await;
    database
}

/// Short intervals, but leases that a busy machine does not let run out.
fn config(database: &TestDatabase) -> Config {
    Config {
        grace: Duration::from_secs(20),
        lease: Duration::from_secs(60),
        touch_every: Duration::from_millis(100),
        typing_poll: Duration::from_millis(50),
        presence_poll: Duration::from_millis(100),
        lead_poll: Duration::from_millis(50),
        batch_wait: Duration::from_millis(10),
        operator_pause: Duration::from_millis(100),
        ..Config::new(Database::parse(&database.url).unwrap())
    }
}

/// One server's part.
struct Node {
    messaging: Messaging,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    fn start(config: Config) -> Self {
        let (messaging, notes) = Messaging::new();
        Self::with(config, messaging, notes)
    }

    fn with(config: Config, messaging: Messaging, notes: Notes) -> Self {
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(keep_up(config, messaging.clone(), notes, stopped));
        Self { messaging, stop, task }
    }

    fn leads(&self) -> bool {
        self.messaging.counters.leads.get() == 1
    }

    /// Ends in order.
    async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    /// Ends as a process that is killed: its sessions are gone, and nothing more is said.
    async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Waits until something is so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looked = async {
        while !holds().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(WITHIN, looked).await.unwrap_or_else(|_| panic!("no {what} in time"));
}

/// The one value of a query that answers with a text.
async fn text(database: &TestDatabase, sql: &str) -> String {
    database.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
}

/// Whether a condition on a person's presence holds.
async fn is(database: &TestDatabase, person: &str, condition: &str) -> bool {
    let sql = format!(
        "select exists (select from public.user_presence
         where (user_id = '{person}' or customer_id = '{person}') and ({condition}))"
    );
    database.client.query_one(&sql, &[]).await.unwrap().get(0)
}

async fn until_is(database: &TestDatabase, person: &str, condition: &str) {
    until(condition, async || is(database, person, condition).await).await;
}

/// The statuses that a person has had, each once where it did not change.
async fn statuses(database: &TestDatabase, person: &str) -> String {
    let sql = format!(
        "select coalesce(string_agg(status, ' ' order by id), '') from (
             select id, status, lag(status) over (order by id) as before from statuses where person = '{person}'
         ) s where status is distinct from before"
    );
    text(database, &sql).await
}
