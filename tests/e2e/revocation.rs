//! Private channels under compiled policies: joins that cost the database nothing, and rights that end with the commit
//! that takes them away.

use serde_json::{Value, json};

use crate::stage::server::{self, LOOK_AGAIN, TestServer, token};
use crate::stage::{ANN, BOB, RawClient, Vsn, major};
use crate::support::TestDatabase;

const TOPIC: &str = "realtime:room:1";

/// Who is a member of a conversation may read it and write to it.
const POLICIES: &str = "
    create table public.members (room text, who uuid, primary key (room, who));
    grant select on public.members to authenticated;
    insert into public.members select 'room:' || number, who from generate_series(1, 1000) as number,
        (values ('a0000000-0000-4000-8000-000000000001'::uuid), ('b0000000-0000-4000-8000-000000000001')) as them(who);
    create policy members_read on realtime.messages for select to authenticated using (
        exists (select from public.members m where m.room = realtime.topic() and m.who = auth.uid()));
    create policy members_write on realtime.messages for insert to authenticated with check (
        exists (select from public.members m where m.room = realtime.topic() and m.who = auth.uid()))";

const LEAVES: &str =
    "delete from public.members where room = 'room:1' and who = 'b0000000-0000-4000-8000-000000000001'";
const COMES: &str = "insert into public.members values ('room:1', 'b0000000-0000-4000-8000-000000000001')";

fn says(number: u32) -> String {
    format!("select realtime.send('{{\"n\":{number}}}', 'e', 'room:1', true)")
}

struct Scene {
    database: TestDatabase,
    server: TestServer,
}

impl Scene {
    /// A server that decides in memory.
    async fn set() -> Self {
        let database = TestDatabase::create(major()).await;
        server::migrate(&database.url);
        database.execute(POLICIES).await;
        let flags = ["--metrics-jwt-secret", server::SECRET];
        let server = TestServer::start_with(&database.url, &flags).await;
        let scene = Self { database, server };
        let mut ann = scene.client(ANN).await;
        let mut number = 0;
        // The table is mirrored a moment after the start.
        while scene.count("rowcast_channel_reads_total{by=\"memory\"}") == 0 {
            number += 1;
            ann.joined(&number.to_string(), TOPIC, json!({ "private": true })).await;
            ann.push(json!(number.to_string()), json!("leave"), TOPIC, "phx_leave", json!({})).await;
            ann.until("phx_close").await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        scene
    }

    async fn client(&self, sub: &str) -> RawClient {
        RawClient::connect(&self.server, Vsn::V2, &token("authenticated", Some(sub))).await
    }

    /// What the metrics say under a name with its labels.
    fn count(&self, name: &str) -> u64 {
        let bearer = format!("Bearer {}", token("authenticated", Some(ANN)));
        let headers = [("authorization", bearer.as_str())];
        let (status, _, page) = server::http(self.server.address, "GET", "/metrics", &headers, b"").unwrap();
        assert_eq!(status, 200);
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// What a client hears, by the numbers in it, until a frame of another kind.
    async fn heard(client: &mut RawClient, last: u32) -> Vec<u32> {
        let mut heard = Vec::new();
        loop {
            let number = number(&client.next().await);
            heard.push(number);
            if number == last {
                return heard;
            }
        }
    }
}

fn number(frame: &Value) -> u32 {
    let body: Value = serde_json::from_str(frame["body"].as_str().expect("a broadcast")).unwrap();
    u32::try_from(body["n"].as_u64().unwrap()).unwrap()
}

#[tokio::test]
async fn a_thousand_joins_ask_the_database_nothing() {
    let scene = Scene::set().await;
    let asked = || scene.count("rowcast_inquiries_total");
    let before = asked();
    for place in 0..10 {
        let mut ann = scene.client([ANN, BOB][place % 2]).await;
        for join in 0..100 {
            let topic = format!("realtime:room:{}", place * 100 + join + 1);
            ann.joined(&join.to_string(), &topic, json!({ "private": true })).await;
        }
    }
    assert_eq!(asked(), before);
    // Who is no member is refused, and by Postgres.
    let mut ann = scene.client(ANN).await;
    let answer = ann.join("1", "realtime:room:0", json!({ "config": { "private": true } })).await;
    assert!(answer["response"]["reason"].as_str().unwrap().starts_with("Unauthorized: "), "{answer}");
    assert_eq!(asked(), before + 1);
}

#[tokio::test]
async fn whoever_leaves_hears_nothing_that_was_committed_with_it_or_later() {
    let scene = Scene::set().await;
    let mut ann = scene.client(ANN).await;
    ann.joined("1", TOPIC, json!({ "private": true })).await;
    let mut next = 1;
    for (round, transactions) in [
        vec![LEAVES.to_owned(), says(1_000)],
        vec![format!("begin; {LEAVES}; {}; commit", says(1_000))],
        vec![format!("begin; {}; {LEAVES}; commit", says(1_000))],
        vec![format!("begin; truncate public.members; insert into public.members values ('room:1', '{ANN}'); {}; commit", says(1_000))],
    ]
    .into_iter()
    .enumerate()
    {
        let revoked = scene.count("rowcast_channels_revoked_total");
        let mut bob = scene.client(BOB).await;
        bob.joined("1", TOPIC, json!({ "private": true })).await;
        next += 1;
        scene.database.execute(&says(next)).await;
        assert_eq!(number(&bob.next().await), next, "{round}");
        for transaction in &transactions {
            scene.database.execute(transaction).await;
        }
        let system = bob.next().await;
        assert_eq!((&system[3], &system[4]["status"]), (&json!("system"), &json!("error")), "{round}: {system}");
        assert_eq!(bob.next().await[3], "phx_close", "{round}");
        bob.expect_nothing().await;
        assert_eq!(scene.count("rowcast_channels_revoked_total"), revoked + 1);
        // Who stays hears it all.
        let _ = Scene::heard(&mut ann, 1_000).await;
        // Who comes back is let in at once.
        scene.database.execute(COMES).await;
    }
}

#[tokio::test]
async fn whoever_is_let_in_may_join_at_once() {
    let scene = Scene::set().await;
    let mut bob = scene.client(BOB).await;
    for round in 0..30 {
        scene.database.execute(LEAVES).await;
        scene.database.execute(COMES).await;
        let join = round.to_string();
        bob.joined(&join, TOPIC, json!({ "private": true })).await;
        scene.database.execute(&says(round)).await;
        assert_eq!(number(&bob.next().await), round);
        bob.push(json!(join), json!("leave"), TOPIC, "phx_leave", json!({})).await;
        bob.until("phx_close").await;
    }
}

#[tokio::test]
async fn a_dropped_policy_ends_channels_before_what_follows() {
    let scene = Scene::set().await;
    let mut bob = scene.client(BOB).await;
    bob.joined("1", TOPIC, json!({ "private": true })).await;
    scene.database.execute("drop policy members_read on realtime.messages").await;
    scene.database.execute(&says(1)).await;
    let system = bob.next().await;
    assert_eq!((&system[3], &system[4]["status"]), (&json!("system"), &json!("error")), "{system}");
    assert_eq!(bob.next().await[3], "phx_close");
    bob.expect_nothing().await;
}
