//! What is decided in memory: that it is what Postgres allows, by the rights of the right moment, and that a program
//! which is wrong is found out. Every test of the feed has all its decisions checked, see [`super::TestFeed`].

use std::sync::Arc;

use rowcast::hub::fanout::Asked;
use rowcast::policy::{Access, Catalog};
use serde_json::json;

use super::{Subscriber, TestFeed, brief, claims, on_each_major, user, uuid};

/// How many rows a test writes at most until something has come to pass.
const TRIES_MAX: usize = 2_000;

/// Conversations whose messages their participants see, all of which go with their conversation.
const CHAT: &str = "
    create table conversations (id int primary key);
    create table people (conversation int references conversations on delete cascade, who uuid,
                         primary key (conversation, who));
    create table messages (id int primary key, conversation int references conversations on delete cascade);
    alter table messages replica identity full;
    alter table messages enable row level security;
    create policy theirs on messages for select to authenticated using (exists (
        select from people p where p.conversation = messages.conversation and p.who = auth.uid()));
    insert into conversations select generate_series(0, 11);
    insert into people values (1, '00000000-0000-0000-0000-000000000001'),
        (2, '00000000-0000-0000-0000-000000000002');
    select publish('messages');";

impl TestFeed {
    /// A feed whose policies may read other tables in memory.
    async fn start_mirrored(major: u32, schema: &str) -> Self {
        Self::start_with(major, schema, |config| config.stream.publications.push("rowcast".to_owned())).await
    }

    /// How many decisions were made in memory.
    fn decided(&self) -> u64 {
        self.counters.program_permitted.get() + self.counters.program_denied.get()
    }

    /// Writes rows that nobody may see until they are decided in memory.
    pub(super) async fn until_decided(&self, subscriber: &mut Subscriber, sql: &str) {
        for _ in 0..TRIES_MAX {
            let before = self.decided();
            self.execute(sql).await;
            subscriber.until(self.mark().await).await;
            if self.decided() > before {
                return;
            }
        }
        panic!("nothing is decided in memory: {:?}", self.reasons());
    }

    /// How often Postgres was asked, by why.
    fn reasons(&self) -> Vec<(&'static str, u64)> {
        Asked::ALL.iter().map(|reason| (reason.label(), self.counters.asked_for(*reason))).collect()
    }
}

#[tokio::test]
async fn a_policy_that_reads_its_own_row_alone_is_never_asked_about() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, owner uuid); alter table t enable row level security;
             create policy own on t using (owner = auth.uid()); select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        let mut bob = feed.watch(&user(2), "t").await;
        let rows = format!("insert into t values (1, '{}'), (2, '{}'), (3, null)", uuid(1), uuid(2));
        feed.execute(&rows).await;
        let mark = feed.mark().await;
        let row = |id: usize| json!([["INSERT", {"id": id, "owner": uuid(id)}]]);
        assert_eq!(brief(&ann.until(mark).await), row(1));
        assert_eq!(brief(&bob.until(mark).await), row(2));
        assert_eq!((feed.counters.program_permitted.get(), feed.counters.program_denied.get()), (2, 4));
        assert!(feed.reasons().iter().all(|(_, count)| *count == 0), "{:?}", feed.reasons());
    })
    .await;
}

#[tokio::test]
async fn claims_that_raise_an_error_are_asked_about() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, owner uuid); alter table t enable row level security;
             create policy own on t using (owner is null or owner = auth.uid()); select publish('t')",
        )
        .await;
        let mut bad = feed.watch(&claims("authenticated", json!({"sub": "bad"})), "t").await;
        let mut ann = feed.watch(&user(1), "t").await;
        feed.execute("insert into t values (1, null)").await;
        let mark = feed.mark().await;
        assert_eq!(brief(&bad.until(mark).await), json!([]));
        assert_eq!(ann.until(mark).await.len(), 1);
        bad.refused("ERROR 22P02").await;
        assert!(ann.told.is_empty());
        assert_eq!(feed.counters.asked_for(Asked::Params), 1);
    })
    .await;
}

#[tokio::test]
async fn rights_are_those_of_the_commit() {
    on_each_major(async |major| {
        let feed = TestFeed::start_mirrored(major, CHAT).await;
        let mut ann = feed.watch(&user(1), "messages").await;
        let mut bob = feed.watch(&user(2), "messages").await;
        feed.until_decided(&mut ann, "insert into messages values (0, 0); delete from messages").await;
        bob.until(feed.marks.load(std::sync::atomic::Ordering::Relaxed) - 1).await;
        let bobs = |sql: &str| sql.replace("{bob}", &uuid(2)).replace("{ann}", &uuid(1));
        let before = feed.decided();
        // Read together: what Postgres would say of each now is something else.
        feed.execute(&bobs(
            "insert into messages values (1, 1); insert into people values (1, '{bob}'); commit;
             insert into messages values (2, 1); commit;
             delete from people where (conversation, who) = (1, '{bob}'); insert into messages values (3, 1); commit;
             insert into messages values (4, 1); commit;
             delete from conversations where id = 1; commit;
             insert into messages values (5, 2); delete from people where conversation = 2; commit",
        ))
        .await;
        let mark = feed.mark().await;
        let (ann, bob) = (brief(&ann.until(mark).await), brief(&bob.until(mark).await));
            let insert = |id: usize| json!(["INSERT", {"id": id, "conversation": 1}]);
            let delete = |id: usize| json!(["DELETE", {"id": id}]);
            assert_eq!(
                ann,
                json!([
                    insert(1), insert(2), insert(3), insert(4), delete(1), delete(2), delete(3), delete(4)
                ])
            );
            assert_eq!(bob, json!([insert(1), insert(2)]));
            assert!(feed.decided() > before);
    })
    .await;
}

#[tokio::test]
async fn many_users_are_found_from_the_row_alone() {
    on_each_major(async |major| {
        let feed = TestFeed::start_mirrored(major, CHAT).await;
        feed.execute(
            "create function fixed_uuid(n int) returns uuid language sql immutable return lpad(n::text, 32, '0')::uuid;
             delete from people; insert into people select n % 10, fixed_uuid(n) from generate_series(1, 100) n",
        )
        .await;
        let mut subscribers = Vec::new();
        for number in 1..=100 {
            subscribers.push(feed.watch(&user(number), "messages").await);
        }
        // Nobody's filter lets this one through, whatever its rights.
        let on = json!([{"event": "*", "schema": "public", "table": "messages", "filter": "id=gt.1000"}]);
        let mut filtered = feed.subscribe(&user(1), on).await;
        // Those whom an index rules out are not counted, so that somebody has to see it.
        feed.until_decided(&mut filtered, "insert into messages values (0, 1); delete from messages").await;
        let asked = || feed.reasons().iter().map(|(_, count)| count).sum::<u64>();
        let (decided, asked_before) = (feed.decided(), asked());
        feed.execute("insert into messages select n, n % 12 from generate_series(1, 50) n").await;
        let mark = feed.mark().await;
        for (number, subscriber) in (1..).zip(&mut subscribers) {
            let ids: Vec<u64> = subscriber
                .until(mark)
                .await
                .iter()
                .filter_map(|change| change.data["record"]["id"].as_u64())
                .filter(|id| *id > 0)
                .collect();
            let expected: Vec<u64> = (1..=50).filter(|id| id % 12 == number % 10).collect();
            assert_eq!(ids, expected, "user {number}");
        }
        assert_eq!(brief(&filtered.until(mark).await), json!([]));
            assert_eq!(asked(), asked_before, "{:?}", feed.reasons());
            // Those who may see a row are looked at, and nobody else.
            let looked_at = feed.decided() - decided;
            assert!((400..=1_000).contains(&looked_at), "{looked_at}");
    })
    .await;
}

/// Takes the program of `open` for that of `t`.
fn confuse(catalog: &mut Catalog) {
    let (Some(open), Some(t)) = (catalog.table("public", "open"), catalog.table("public", "t")) else {
        return;
    };
    let (open, t) = (open.id, t.id);
    let Some(Some(role)) = catalog.roles.get_mut("authenticated") else { return };
    let role = Arc::get_mut(role).expect("a reading that nobody has yet");
    let (Some(wrong), Some(right)) = (role.access.get(&open), role.access.get(&t)) else { return };
    let confused = Access {
        selectable: right.selectable.clone(),
        row_security: right.row_security,
        condition: Arc::clone(&right.condition),
        program: wrong.program.clone(),
    };
    role.access.insert(t, Arc::new(confused));
}

/// Two tables of the same shape: rows of one are for their owners, rows of the other for everybody.
const OWNED_AND_OPEN: &str = "
    create table t (id int primary key, owner uuid); create table open (id int primary key, owner uuid);
    alter table t enable row level security; alter table open enable row level security;
    create policy own on t using (owner = auth.uid()); create policy everybody on open using (true);
    select publish('t', 'open');";

#[tokio::test]
async fn a_wrong_program_is_found_out_and_not_used_any_more() {
    on_each_major(async |major| {
        let mut feed =
            TestFeed::start_with(major, OWNED_AND_OPEN, |config| config.amend = Some(confuse)).await;
        feed.honesty.is_expected = false;
        let mut ann = feed.watch(&user(1), "t").await;
        let hidden = |id: usize| format!("insert into t values ({id}, '{}')", uuid(2));
        let mut id = 0;
        while feed.counters.shadow.distrusted.get() == 0 {
            id += 1;
            assert!(id < TRIES_MAX, "a wrong program was not found out");
            feed.execute(&hidden(id)).await;
            ann.until(feed.mark().await).await;
        }
        assert_eq!(feed.counters.shadow.disagreements.get(), 1);
        let own = format!("insert into t values ({}, '{}')", TRIES_MAX + 1, uuid(1));
        let seen = feed.after(&mut ann, &[&hidden(TRIES_MAX), &own]).await;
        assert_eq!(seen, json!([["INSERT", {"id": TRIES_MAX + 1, "owner": uuid(1)}]]));
        assert!(feed.counters.asked_for(Asked::Distrusted) >= 2);
        // Programs of other tables are none the worse for it.
        let mut open = feed.watch(&user(1), "open").await;
        let before = feed.decided();
        feed.execute("insert into open values (1, null)").await;
        assert_eq!(open.until(feed.mark().await).await.len(), 1);
        assert_eq!(feed.decided(), before + 1);
    })
    .await;
}

#[tokio::test]
async fn rights_that_come_and_go_are_no_disagreement() {
    on_each_major(async |major| {
        let feed = TestFeed::start_mirrored(major, CHAT).await;
        let mut ann = feed.watch(&user(1), "messages").await;
        feed.until_decided(&mut ann, "insert into messages values (0, 0); delete from messages").await;
        let churn = async {
            let session = feed.session().await;
            for _ in 0..400 {
                let sql = "insert into people values (3, '00000000-0000-0000-0000-000000000001')";
                session.batch_execute(sql).await.unwrap();
                session.batch_execute("delete from people where conversation = 3").await.unwrap();
            }
        };
        let talk = async {
            for id in 1..=400 {
                feed.execute(&format!("insert into messages values ({id}, 3)")).await;
            }
        };
        futures_util::future::join(churn, talk).await;
        ann.until(feed.mark().await).await;
        let shadow = &feed.counters.shadow;
        // Postgres is asked behind what is decided; it goes on while there is more.
        for id in 401..=10_000 {
            if shadow.agreed.get() > 100 {
                break;
            }
            feed.execute(&format!("insert into messages values ({id}, 3)")).await;
            ann.until(feed.mark().await).await;
        }
        assert!(shadow.agreed.get() > 100, "{shadow:?}");
        assert_eq!(shadow.disagreements.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_value_that_was_not_logged_is_no_disagreement() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, n int, owner uuid, body text);
             alter table t alter body set storage external; alter table t enable row level security;
             create policy own on t using (owner = auth.uid() or body = 'open'); select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        feed.execute(&format!("insert into t values (1, 0, '{}', repeat('x', 5000))", uuid(1))).await;
        ann.until(feed.mark().await).await;
        let before = feed.counters.program_permitted.get();
        // By the time Postgres is asked, there is another version, and nobody knows what this one had.
        feed.execute("do $$ begin for step in 1..200 loop update t set n = n + 1; commit; end loop; end $$")
            .await;
        assert_eq!(ann.until(feed.mark().await).await.len(), 200);
        assert!(feed.counters.program_permitted.get() >= before + 200, "{:?}", feed.reasons());
        // Time enough to be asked twice.
        for _ in 0..100 {
            ann.until(feed.mark().await).await;
        }
        assert_eq!(feed.counters.shadow.disagreements.get(), 0);
    })
    .await;
}
