//! Private channels: who may join, send and be seen is what policies on `realtime.messages` say, also while one is
//! subscribed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rowcast::postgres::cluster::Cluster;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::stage::server::{migrate, token};
use crate::stage::{ANN, BOB, BOTH, RawClient, Stage, Stock, StockClient, TestServer, Vsn, major};
use crate::support::{binaries, connect, scratch};

/// Nobody's friend.
const EVE: &str = "e0000000-0000-4000-8000-000000000001";

const ROOM: &str = "realtime:team:raw";

/// Ann may do everything, Bob may only read, and some may only read presence.
const POLICIES: &str = "
    create table public.members (who uuid, may text);
    grant select on public.members to authenticated;
    insert into public.members values
        ('a0000000-0000-4000-8000-000000000001', 'rw'), ('b0000000-0000-4000-8000-000000000001', 'r');
    create policy members_read on realtime.messages for select to authenticated using (
        realtime.topic() like 'team:%' and exists (
            select from public.members where who = auth.uid() and may like '%r%'));
    create policy members_write on realtime.messages for insert to authenticated with check (
        realtime.topic() like 'team:%' and exists (
            select from public.members where who = auth.uid() and may like '%w%'));
    create policy guests_see on realtime.messages for select to authenticated using (
        extension = 'presence' and realtime.topic() = 'team:raw')";

/// Those who can ask for private channels: 2.39 cannot.
fn able(stage: &Stage) -> impl Iterator<Item = &StockClient> {
    stage.clients.iter().filter(|client| client.stock != Stock::Js39)
}

fn topic_of(client: &StockClient) -> String {
    format!("team:{:?}", client.stock)
}

async fn subscribe(client: &StockClient, who: &str) {
    let config = json!({ "private": true, "presence": { "key": who } });
    let topic = topic_of(client);
    let order = json!({ "do": "subscribe", "as": who, "topic": topic, "config": config, "presence": true });
    client.order(order).await;
}

async fn subscribed(client: &StockClient, who: &str) {
    subscribe(client, who).await;
    let status = json!({ "as": who, "topic": topic_of(client), "kind": "status", "status": "SUBSCRIBED" });
    client.expect(status).await;
}

async fn send(client: &StockClient, who: &str, number: u32) {
    let order = json!({ "do": "send", "as": who, "topic": topic_of(client), "event": "e", "payload": { "n": number } });
    client.order(order).await;
}

fn broadcast(client: &StockClient, who: &str, number: u32) -> Value {
    json!({ "as": who, "topic": topic_of(client), "kind": "broadcast", "payload": { "n": number } })
}

#[tokio::test]
async fn policies_decide_who_joins_sends_and_is_seen() {
    let stage = Stage::set(POLICIES).await;
    for (who, sub) in [("ann", ANN), ("bob", BOB), ("eve", EVE)] {
        stage.connect(who, sub).await;
    }
    for client in able(&stage) {
        let topic = topic_of(client);
        subscribed(client, "ann").await;
        subscribed(client, "bob").await;
        subscribe(client, "eve").await;
        let refused = json!({ "as": "eve", "topic": topic, "kind": "status", "status": "CHANNEL_ERROR" });
        let refused = client.expect(refused).await;
        assert!(refused["error"].as_str().unwrap().contains("Unauthorized"), "{refused}");

        send(client, "ann", 1).await;
        client.expect(broadcast(client, "bob", 1)).await;
        let track = |who: &str| json!({ "do": "track", "as": who, "topic": topic, "payload": { "n": 1 } });
        assert_eq!(client.order(track("ann")).await, "ok");
        let joined =
            json!({ "as": "bob", "topic": topic, "kind": "presence", "event": "join", "key": "ann" });
        client.expect(joined).await;

        // What may not be sent is not, and the answer to what follows it says that it was decided.
        send(client, "bob", 2).await;
        let tracked = client.order(track("bob")).await;
        assert!(client.stock == Stock::Python || tracked == "error", "{:?} {tracked}", client.stock);
        send(client, "ann", 3).await;
        client.expect(broadcast(client, "bob", 3)).await;
        assert_eq!(client.seen(&json!({ "as": "ann", "kind": "broadcast" })), [] as [Value; 0]);
        assert_eq!(client.seen(&json!({ "as": "eve", "kind": "broadcast" })), [] as [Value; 0]);
        let bob = json!({ "as": "ann", "kind": "presence", "event": "join", "key": "bob" });
        assert_eq!(client.seen(&bob), [] as [Value; 0]);
    }
}

#[tokio::test]
async fn a_token_or_a_policy_that_says_no_ends_a_subscription() {
    let stage = Stage::set(POLICIES).await;
    for (who, sub) in [("ann", ANN), ("bob", BOB)] {
        stage.connect(who, sub).await;
    }
    let expect_end = async |client: &StockClient, who: &str| {
        let topic = topic_of(client);
        let message = format!("You do not have permissions to read from this Channel topic: {topic}");
        if client.stock == Stock::Python {
            // It tells of such a message by the channel's status.
            let status = json!({ "as": who, "topic": topic, "kind": "status", "status": "CHANNEL_ERROR" });
            let status = client.expect(status).await;
            assert!(status["error"].as_str().unwrap().contains(&message), "{status}");
        } else {
            let system = json!({ "as": who, "topic": topic, "kind": "system", "status": "error" });
            assert_eq!(client.expect(system).await["message"], message);
        }
        client.expect(json!({ "as": who, "topic": topic, "kind": "status", "status": "CLOSED" })).await;
    };
    for client in able(&stage) {
        subscribed(client, "ann").await;
        subscribed(client, "bob").await;
        client.authorize("bob", &token("authenticated", Some(EVE))).await;
        expect_end(client, "bob").await;
    }
    stage.commit(&["drop policy members_read on realtime.messages"]).await;
    for client in able(&stage) {
        expect_end(client, "ann").await;
    }
}

#[tokio::test]
async fn a_token_that_says_yes_opens_what_was_closed() {
    let stage = Stage::set(POLICIES).await;
    for vsn in BOTH {
        let mut ann = RawClient::connect(&stage.server, vsn, &token("authenticated", Some(ANN))).await;
        ann.joined("1", ROOM, json!({ "private": true })).await;
        let mut guest = RawClient::connect(&stage.server, vsn, &token("authenticated", Some(EVE))).await;
        guest.joined("1", ROOM, json!({ "private": true, "presence": { "enabled": true } })).await;
        assert_eq!(guest.until("presence_state").await[4], json!({}));

        let message = |number: u32| json!({ "type": "broadcast", "event": "e", "payload": { "n": number } });
        ann.push(json!("1"), json!("2"), ROOM, "broadcast", message(1)).await;
        ann.push(json!("1"), json!("3"), ROOM, "presence", json!({ "event": "track" })).await;
        ann.expect(ann.reply("1", "3", ROOM, json!({ "status": "ok", "response": {} }))).await;
        // Who tracks late sees diffs from then on, its own first.
        assert_eq!(ann.next().await[3], "presence_diff");
        // Who may see presence alone sees it, and no broadcast before it.
        assert_eq!(guest.next().await[3], "presence_diff");

        let access_token = token("authenticated", Some(BOB));
        guest
            .push(json!("1"), json!("4"), ROOM, "access_token", json!({ "access_token": access_token }))
            .await;
        // There is no answer to a token, so it is tried until it holds.
        let mut number = 1;
        let seen = loop {
            number += 1;
            ann.push(json!("1"), Value::Null, ROOM, "broadcast", message(number)).await;
            ann.expect_nothing().await;
            guest.push(Value::Null, json!("beat"), "phoenix", "heartbeat", json!({})).await;
            let frame = guest.next().await;
            if frame[3] == "broadcast" {
                break frame;
            }
        };
        assert!(seen[4]["payload"]["n"].as_u64().unwrap() > 1);
    }
}

#[tokio::test]
async fn what_is_stored_is_replayed_at_the_join() {
    let stage = Stage::set(POLICIES).await;
    for number in 1..=3 {
        let sql = format!("select realtime.send('{{\"n\":{number}}}', 'e', 'team:raw', true)");
        stage.database.execute(&sql).await;
    }
    stage.database.execute("select realtime.send('{\"n\":9}', 'e', 'team:other', true)").await;
    let config = json!({ "private": true, "broadcast": { "replay": { "since": 0, "limit": 2 } } });
    for vsn in BOTH {
        let mut bob = RawClient::connect(&stage.server, vsn, &token("authenticated", Some(BOB))).await;
        bob.joined("1", ROOM, config.clone()).await;
        for number in 2..=3 {
            let frame = bob.next().await;
            assert_eq!((&frame[0], &frame[3]), (&json!(bob.join_ref("1")), &json!("broadcast")));
            assert_eq!(
                (&frame[4]["payload"]["n"], &frame[4]["meta"]["replayed"]),
                (&json!(number), &json!(true))
            );
            assert_eq!(frame[4]["meta"]["id"], frame[4]["payload"]["id"]);
        }
        bob.expect_nothing().await;
        // Whoever may see presence alone gets nothing replayed.
        let mut eve = RawClient::connect(&stage.server, vsn, &token("authenticated", Some(EVE))).await;
        let answer = eve.join("1", ROOM, json!({ "config": config })).await;
        assert!(answer["response"]["reason"].as_str().unwrap().starts_with("Unauthorized: "), "{answer}");
    }
}

/// The stream stands still while this is there.
struct Stillness(Pid);

impl Stillness {
    async fn over(database: &Client) -> Self {
        let sql = "select pid from pg_stat_activity where application_name = 'rowcast_stream'";
        let process = Pid::from_raw(database.query_one(sql, &[]).await.unwrap().get(0));
        kill(process, Signal::SIGSTOP).unwrap();
        Self(process)
    }
}

impl Drop for Stillness {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[tokio::test]
async fn what_the_stream_brings_late_is_not_sent_after_a_replay_that_has_seen_it() {
    let directory = scratch("late");
    let mut cluster = Cluster::start(binaries(major()), &directory, false).unwrap();
    let url = cluster.url("postgres");
    migrate(&url);
    let database = connect(&url).await;
    database.batch_execute(POLICIES).await.unwrap();
    let server = TestServer::start(&url).await;
    let send = async |number: u32| {
        let sql = format!("select realtime.send('{{\"n\":{number}}}', 'e', 'team:raw', true)");
        database.batch_execute(&sql).await.unwrap();
    };
    let config = json!({ "private": true, "broadcast": { "replay": { "since": 0, "limit": 2 } } });
    for (round, vsn) in (0..).zip(BOTH) {
        let first = 10 * round;
        let stillness = Stillness::over(&database).await;
        for number in first + 1..=first + 3 {
            send(number).await;
        }
        let mut bob = RawClient::connect(&server, vsn, &token("authenticated", Some(BOB))).await;
        bob.joined("1", ROOM, config.clone()).await;
        for number in first + 2..=first + 3 {
            let payload = &bob.next().await[4];
            assert_eq!(
                (&payload["payload"]["n"], &payload["meta"]["replayed"]),
                (&json!(number), &json!(true))
            );
        }
        send(first + 4).await;
        bob.expect_nothing().await;
        drop(stillness);
        let live = bob.next().await;
        // Version 2 has what comes with an id in a frame of bytes.
        let payload = match live["body"].as_str() {
            Some(body) => serde_json::from_str(body).unwrap(),
            None => live[4]["payload"].clone(),
        };
        assert_eq!(payload["n"], first + 4, "{live}");
        bob.expect_nothing().await;
    }
    drop(server);
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn a_replay_never_misses_what_has_been_streamed_and_is_not_visible_yet() {
    let directory = scratch("standby");
    let mut cluster = Cluster::start(binaries(major()), &directory, false).unwrap();
    let url = cluster.url("postgres");
    migrate(&url);
    // From here on commits wait for a standby that does not come: they are in the log, and nobody sees them.
    let database = connect(&url).await;
    database.batch_execute(POLICIES).await.unwrap();
    database.batch_execute("alter system set synchronous_standby_names = 'nobody'").await.unwrap();
    cluster.restart().unwrap();
    let server = TestServer::start(&url).await;
    let mut live = RawClient::connect(&server, Vsn::V2, &token("authenticated", Some(ANN))).await;
    live.joined("1", ROOM, json!({ "private": true })).await;
    let sender = connect(&url).await;
    let sending = tokio::spawn(async move {
        sender.batch_execute("set synchronous_commit = on").await?;
        sender.batch_execute("select realtime.send('{\"n\": 1}', 'e', 'team:raw', true)").await
    });
    assert_eq!(live.next().await["event"], "e");

    let mut late = RawClient::connect(&server, Vsn::V2, &token("authenticated", Some(BOB))).await;
    let replay = json!({ "private": true, "broadcast": { "replay": { "since": 0 } } });
    let refused = late.join("1", ROOM, json!({ "config": replay })).await;
    assert_eq!(refused["status"], "error", "{refused}");
    let database = connect(&url).await;
    database.batch_execute("alter system reset synchronous_standby_names").await.unwrap();
    database.batch_execute("select pg_reload_conf()").await.unwrap();
    sending.await.unwrap().unwrap();
    late.joined("2", ROOM, replay).await;
    assert_eq!(late.until("broadcast").await[4]["payload"]["n"], 1);
    drop(server);
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}
