//! What reaches whom while rows, policies and rights change: on a running feed, commit by commit.
//!
//! A [`Stage`] has a feed, a subscriber whom nothing is hidden from, and others. After each step, when everything has
//! arrived, what each of the others got is compared with what Postgres says of the same rows at that moment.

mod history;
mod order;
mod rights;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use rowcast::hub::fanout::Asked;
use rowcast::hub::feed;
use rowcast::policy::Claims;

use crate::feed::{Change, Subscriber, TestFeed};

use super::DECIDES;
use super::callers::{Caller, fill, signed, user, uuid};
use super::truth::{self, Truth, truth};

/// People in rooms, and messages of rooms, that their people see.
const ROOMS: &str = "
    create table people (room int, who uuid, left_at timestamptz, primary key (room, who));
    create table t (id int primary key, room int, body text);
    alter table people enable row level security; alter table t enable row level security;
    create policy own on people for select using (who = (select auth.uid()) and left_at is null);
    create policy theirs on t for select using (
        exists (select from people p where p.room = t.room and p.who = auth.uid()));
    insert into people values (1, '{1}'), (2, '{2}'), (3, '{1}'), (3, '{2}');
    select publish('t');";

/// Views read with their owner's rights alone before PostgreSQL 15.
fn of_major(major: u32, sql: &str) -> String {
    if major < 15 { sql.replace("security_invoker", "security_barrier") } else { sql.to_owned() }
}

/// One change as somebody heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    kind: String,
    table: String,
    id: u64,
}

impl Heard {
    fn of(change: &Change) -> Self {
        let text = |part: &str| change.data[part].as_str().unwrap_or_default().to_owned();
        let (new, old) = (&change.data["record"]["id"], &change.data["old_record"]["id"]);
        Self {
            kind: text("type"),
            table: text("table"),
            id: new.as_u64().or(old.as_u64()).unwrap_or_default(),
        }
    }

    /// Whether it is about a row that is there after it.
    fn is_of_row(&self) -> bool {
        self.kind != "DELETE" && self.table == "t"
    }
}

/// A running feed with subscribers.
pub(super) struct Stage {
    pub(super) feed: TestFeed,
    /// Sees every change.
    server: Subscriber,
    pub(super) watchers: Vec<(Caller, Subscriber)>,
}

/// What a step brought: to the one who sees all, and to each of the others.
pub(super) struct Step {
    pub(super) all: Vec<Heard>,
    pub(super) each: Vec<Vec<Heard>>,
}

impl Step {
    /// The rows that each of the others heard of, deletes apart.
    pub(super) fn ids(&self) -> Vec<Vec<u64>> {
        let ids = |heard: &Vec<Heard>| {
            heard.iter().filter(|heard| heard.is_of_row()).map(|heard| heard.id).collect()
        };
        self.each.iter().map(ids).collect()
    }
}

impl Stage {
    /// Users 1 and 2, and somebody without a name, in rooms; with further statements.
    async fn rooms(major: u32, schema: &str) -> Self {
        let callers = [user(1), user(2), signed("anon", serde_json::json!({}))];
        let mut stage = Self::open(major, &format!("{ROOMS} {schema}"), &callers).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while DECIDES && stage.decided() == 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "nothing is decided in memory: {:?} {:?}",
                stage.reasons(),
                stage.feed.counters.mirror
            );
            stage.run(&["insert into t values (0, 1, '')", "delete from t"]).await;
        }
        stage
    }

    /// Why Postgres was asked, and how often.
    fn reasons(&self) -> Vec<(&'static str, u64)> {
        let counted = Asked::ALL.iter().map(|reason| (reason.label(), self.feed.counters.asked_for(*reason)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// How many decisions were made in memory.
    fn decided(&self) -> u64 {
        let counters = &self.feed.counters;
        counters.program_permitted.get() + counters.program_denied.get()
    }

    async fn open(major: u32, schema: &str, callers: &[Caller]) -> Self {
        let schema = of_major(major, &fill(&format!("{schema}; {}", truth::SCHEMA)));
        // What policies read comes with the stream, too.
        let mirror = |config: &mut feed::Config| config.stream.publications.push("rowcast".to_owned());
        let feed = TestFeed::start_with(major, &schema, mirror).await;
        let server = watch(&feed, &signed("service_role", serde_json::json!({}))).await;
        let mut stage = Self { feed, server, watchers: Vec::new() };
        for caller in callers {
            stage.join(caller).await;
        }
        stage
    }

    /// Adds a subscriber.
    async fn join(&mut self, caller: &Caller) {
        let subscriber = watch(&self.feed, caller).await;
        self.watchers.push((caller.clone(), subscriber));
    }

    /// Runs transactions one after another, and gathers what they bring.
    async fn run(&mut self, transactions: &[&str]) -> Step {
        for transaction in transactions {
            self.feed.execute(&of_major(self.feed.database.major, &fill(transaction))).await;
        }
        self.gather().await
    }

    /// Gathers what has been committed.
    async fn gather(&mut self) -> Step {
        let mark = self.feed.mark().await;
        let heard = |changes: Vec<Change>| changes.iter().map(Heard::of).collect::<Vec<_>>();
        let all = heard(self.server.until(mark).await);
        let mut each = Vec::new();
        for (_, subscriber) in &mut self.watchers {
            each.push(heard(subscriber.until(mark).await));
        }
        Step { all, each }
    }

    /// Runs transactions, of which the last alone writes rows, and compares what each gets with what Postgres says.
    async fn step(&mut self, transactions: &[&str]) -> Step {
        let step = self.run(transactions).await;
        let expected = self.expected(&step.all).await;
        assert_eq!(step.ids(), expected, "after {transactions:?}");
        step
    }

    /// What Postgres says now of the rows that were written: which of them each of the others should have heard of.
    async fn expected(&self, all: &[Heard]) -> Vec<Vec<u64>> {
        self.expected_of("public.t", all).await
    }

    /// The same of rows that are published as those of another table.
    async fn expected_of(&self, table: &str, all: &[Heard]) -> Vec<Vec<u64>> {
        let truth = self.truth(table, all).await;
        let found = |rows: Vec<(u64, Truth)>| {
            rows.into_iter().filter(|(_, truth)| *truth == Truth::Found).map(|(id, _)| id).collect()
        };
        truth.into_iter().map(found).collect()
    }

    /// What Postgres says now to each of the others of each row that was written, as often as it was.
    async fn truth(&self, table: &str, all: &[Heard]) -> Vec<Vec<(u64, Truth)>> {
        let written: Vec<u64> = all.iter().filter(|heard| heard.is_of_row()).map(|heard| heard.id).collect();
        let ids: Vec<u64> = written.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let conditions: Vec<String> = ids.iter().map(|id| format!("id = {id}")).collect();
        let callers: Vec<Caller> = self.watchers.iter().map(|(caller, _)| caller.clone()).collect();
        let client = &self.feed.database.client;
        client.batch_execute("begin isolation level repeatable read").await.unwrap();
        let truth = truth(client, table, &conditions, &callers).await;
        client.batch_execute("rollback").await.unwrap();
        let of = |truth: &Vec<Truth>| {
            written.iter().map(|id| (*id, truth[ids.binary_search(id).unwrap()])).collect()
        };
        truth.iter().map(of).collect()
    }

    /// Touches all rows until everybody gets what Postgres says: for what the stream does not tell of.
    async fn settle(&mut self, what: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let step = self.run(&["update t set body = body"]).await;
            let expected = self.expected(&step.all).await;
            if step.ids() == expected {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{what}: {:?} is not {expected:?}", step.ids());
        }
    }
}

async fn watch(feed: &TestFeed, caller: &Caller) -> Subscriber {
    feed.watch(&claims_of(caller), "*").await
}

fn claims_of(caller: &Caller) -> Arc<Claims> {
    let (role, json) = (Arc::clone(&caller.role), Arc::clone(&caller.claims));
    Arc::new(Claims { role, json, expires_at: 0 })
}
