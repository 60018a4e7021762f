//! A stream that breaks: restarts, crashes, ended sessions.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde_json::json;

use super::harness::Heard::{Change, Interrupted, Refused, Subscribed};
use super::harness::{Feed, Options, Server, durable, write_file};
use crate::support::majors;
use rowcast::wal::Slot;

/// A way to break the stream.
#[derive(Clone, Copy, Debug)]
enum Incident {
    Restart,
    Crash,
    WalsenderEnded,
}

const INCIDENTS: [Incident; 3] = [Incident::Restart, Incident::Crash, Incident::WalsenderEnded];

impl Incident {
    async fn happen(self, server: &mut Server) {
        match self {
            Self::Restart => server.stop(),
            Self::Crash => server.cluster.crash().unwrap(),
            Self::WalsenderEnded => {
                assert_eq!(server.terminate("rowcast_stream").await, 1);
                return;
            }
        }
        server.cluster.restart().unwrap();
    }
}

#[tokio::test]
async fn subscribers_survive_every_interruption() {
    for major in majors() {
        let mut server = Server::start(major, "").await;
        let mut feed = Feed::start(&server, Slot::Temporary);
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;
        for (round, incident) in (0..).zip(INCIDENTS) {
            server.write([4 * round]).await;
            feed.hears(ann, [Change((4 * round).into())]).await;
            incident.happen(&mut server).await;
            feed.hears(ann, [Interrupted, Subscribed]).await;
            server.write([4 * round + 1, 4 * round + 2]).await;
            feed.hears(ann, [4 * round + 1, 4 * round + 2].map(|id| Change(id.into()))).await;
        }
        feed.stop().await;
        let slots = server.value("select count(*) from pg_replication_slots").await;
        assert_eq!(slots.as_deref(), Some("0"), "a temporary slot goes with its server");
    }
}

#[tokio::test]
async fn durable_slot_loses_and_repeats_nothing() {
    for major in majors() {
        let mut server = Server::start(major, "").await;
        let mut feed = Feed::start(&server, durable());
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;
        for (round, incident) in (0..).zip(INCIDENTS) {
            let base = 100 * round;
            // Before, across and after the incident, without waiting for anything to arrive.
            server.write(base..base + 20).await;
            incident.happen(&mut server).await;
            server.write(base + 20..base + 40).await;
            let ids = (base..base + 40).map(i64::from);
            feed.hears_mixed(ann, ids, &[Interrupted, Subscribed]).await;
        }
        server.write([1000]).await;
        feed.hears(ann, [Change(1000)]).await;
        feed.stop().await;
    }
}

#[tokio::test]
async fn new_timeline_is_followed() {
    for major in majors() {
        let mut server = Server::start(major, "").await;
        let mut feed = Feed::start(&server, durable());
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;
        server.write([1, 2]).await;
        feed.hears(ann, [Change(1), Change(2)]).await;
        server.stop();
        let data = server.cluster.data();
        write_file(&data.join("standby.signal"), "");
        let owner = std::fs::metadata(data).unwrap();
        std::os::unix::fs::chown(data.join("standby.signal"), Some(owner.uid()), Some(owner.gid())).unwrap();
        server.cluster.restart().unwrap();
        // A standby lets everybody read, and some let their log be read; it has the old timeline yet.
        feed.hears(ann, [Interrupted]).await;
        feed.down("Postgres is in recovery").await;
        assert_eq!(server.value("select pg_promote()").await.as_deref(), Some("true"));
        feed.hears(ann, [Subscribed]).await;
        let timeline = server.value("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").await;
        assert_eq!(timeline.as_deref(), Some("00000002"));
        server.write([3]).await;
        feed.hears(ann, [Change(3)]).await;
        // What has come of the new timeline comes once.
        assert_eq!(server.terminate("rowcast_stream").await, 1);
        feed.hears(ann, [Interrupted, Subscribed]).await;
        server.write([4]).await;
        feed.hears(ann, [Change(4)]).await;
        feed.stop().await;
    }
}

#[tokio::test]
async fn transaction_in_parts_comes_once_across_an_interruption() {
    let server = Server::start(18, "").await;
    let client = server.client().await;
    client
        .batch_execute(
            "alter table messages add body text; alter table messages alter body set storage plain",
        )
        .await
        .unwrap();
    // More than the 32 MiB that a connection may hold, in parts of some twenty rows, and a shard that takes one of them.
    let options = Options { inbox: 1, transaction_bytes_max: 100_000, ..Options::on(durable()) };
    let mut feed = Feed::start_on(&server.cluster.url("postgres"), options);
    let ann = feed.subscribe("ann", "messages").await;
    feed.hears(ann, [Subscribed]).await;
    let sql = "insert into messages select id, repeat('x', 5000) from generate_series(1, 12000) id";
    client.batch_execute(sql).await.unwrap();
    feed.hears(ann, (1..=1000).map(Change)).await;
    assert_eq!(server.terminate("rowcast_stream").await, 1);
    feed.hears_mixed(ann, 1001..=12_000, &[Interrupted, Subscribed]).await;
    server.write([13_000]).await;
    feed.hears(ann, [Change(13_000)]).await;
    feed.stop().await;
}

#[tokio::test]
async fn joiner_is_told_once_the_stream_is_live() {
    for slot in [Slot::Temporary, durable()] {
        let mut server = Server::start(18, "").await;
        let mut feed = Feed::start(&server, slot.clone());
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;
        server.stop();
        feed.hears(ann, [Interrupted]).await;
        feed.down("Postgres cannot be reached").await;
        let ben = feed.subscribe("ben", "messages").await;
        // One that asks for what cannot be had hears of it at once, and not again.
        let eve = feed.subscribe_to("eve", json!({ "event": "NONE" })).await;
        assert!(matches!(feed.next(eve).await, Refused(_)));
        // A new token meanwhile makes for no second word.
        feed.refresh(ann, "anna").await;
        server.cluster.restart().unwrap();
        feed.hears(ben, [Subscribed]).await;
        feed.live().await;
        server.write([1]).await;
        feed.hears(ben, [Change(1)]).await;
        feed.hears(ann, [Subscribed, Change(1)]).await;
        // Nor does another interruption concern eve.
        assert_eq!(server.terminate("rowcast_stream").await, 1);
        feed.hears(ben, [Interrupted, Subscribed]).await;
        let error = json!({ "event": "NONE" });
        feed.subscribe_to("eve", error).await;
        server.write([2]).await;
        feed.hears(ben, [Change(2)]).await;
        feed.hears(ann, [Interrupted, Subscribed, Change(2)]).await;
        assert!(feed.has_heard_nothing(eve));
        feed.stop().await;
    }
}

#[tokio::test]
async fn ended_sessions_are_made_anew_without_a_word() {
    for major in majors() {
        let server = Server::start(major, "").await;
        let client = server.client().await;
        client
            .batch_execute(
                "create table notes (id int primary key, owner text); grant select on notes to anon;
                 alter table notes enable row level security;
                 create policy own on notes to anon
                   using (owner = current_setting('request.jwt.claims')::json ->> 'sub');
                 alter publication supabase_realtime add table notes",
            )
            .await
            .unwrap();
        let mut feed = Feed::start(&server, Slot::Temporary);
        let ann = feed.subscribe("ann", "notes").await;
        let all = feed.subscribe("ann", "*").await;
        feed.hears(ann, [Subscribed]).await;
        feed.hears(all, [Subscribed]).await;
        let write = |id: i32| {
            let client = &client;
            async move {
                let sql = format!("insert into notes values ({id}, 'ann'), ({id} + 1, 'ben')");
                client.batch_execute(&sql).await.unwrap();
            }
        };
        // Whoever is asked for the first time has a session from then on.
        write(10).await;
        feed.hears(ann, [Change(10)]).await;
        feed.subscribe_to(
            "ann",
            json!({ "event": "*", "schema": "public", "table": "notes", "filter": "id=eq.1" }),
        )
        .await;
        server.until("exists (select from pg_stat_activity where application_name = 'rowcast_check')").await;

        assert_eq!(server.terminate("rowcast_ask").await, 1);
        write(20).await;
        feed.hears(ann, [Change(20)]).await;

        assert_eq!(server.terminate("rowcast_check").await, 1);
        let filter = json!({ "event": "*", "schema": "public", "table": "notes", "filter": "id=eq.30" });
        let filtered = feed.subscribe_to("ann", filter).await;
        feed.hears(filtered, [Subscribed]).await;
        write(30).await;
        feed.hears(filtered, [Change(30)]).await;
        feed.hears(ann, [Change(30)]).await;

        // The catalog is still compared: whoever wants every table is told of a new one.
        assert_eq!(server.terminate("rowcast_catalog").await, 1);
        client
            .batch_execute(
                "create table more (id int primary key); grant select on more to anon;
                 alter publication supabase_realtime add table more",
            )
            .await
            .unwrap();
        feed.hears(all, [Change(10), Change(20), Change(30), Subscribed]).await;

        // All at once, while there is something to ask.
        for name in ["rowcast_ask", "rowcast_check", "rowcast_catalog"] {
            assert_eq!(server.terminate(name).await, 1, "{name}");
        }
        write(40).await;
        feed.hears(ann, [Change(40)]).await;
        feed.stop().await;
    }
}

#[tokio::test]
async fn shutdown_is_not_held_up_by_questions() {
    for major in majors() {
        let mut server = Server::start(major, "").await;
        let client = server.client().await;
        client
            .batch_execute(
                "create function slow() returns boolean language sql security definer
                   as 'select pg_sleep(1.2) is not null';
                 alter table messages enable row level security;
                 create policy slow on messages to anon using (slow())",
            )
            .await
            .unwrap();
        let mut feed = Feed::start(&server, durable());
        let ann = feed.subscribe("ann", "messages").await;
        feed.hears(ann, [Subscribed]).await;
        server.write([1]).await;
        server.until("exists (select from pg_stat_activity where wait_event = 'PgSleep')").await;
        server.stop();
        feed.hears(ann, [Interrupted]).await;
        server.cluster.restart().unwrap();
        feed.hears(ann, [Subscribed, Change(1)]).await;
        feed.stop().await;
    }
}

#[tokio::test]
async fn dropped_publication_is_told_and_a_new_one_goes_on() {
    for major in majors() {
        for slot in [Slot::Temporary, durable()] {
            let server = Server::start(major, "").await;
            let mut feed = Feed::start(&server, slot);
            let ann = feed.subscribe("ann", "messages").await;
            feed.hears(ann, [Subscribed]).await;
            server.write([1]).await;
            feed.hears(ann, [Change(1)]).await;
            let client = server.client().await;
            client.batch_execute("drop publication supabase_realtime").await.unwrap();
            let refusal = feed.next(ann).await;
            assert!(matches!(&refusal, Refused(text) if text.contains("Unable to subscribe")), "{refusal:?}");
            // Before version 18 the stream cannot go past this one; afterwards it is left out.
            server.write([2]).await;
            if major < 18 {
                feed.down("create the publication").await;
            }
            let gone =
                server.value("select count(*) from pg_publication where pubname = 'supabase_realtime'");
            assert_eq!(gone.await.as_deref(), Some("0"), "what was dropped on purpose stays dropped");
            client.batch_execute("create publication supabase_realtime for table messages").await.unwrap();
            feed.hears(ann, [Subscribed]).await;
            feed.live().await;
            server.write([3]).await;
            feed.hears(ann, [Change(3)]).await;
            feed.stop().await;
        }
    }
}

#[tokio::test]
async fn hung_catalog_session_is_replaced() {
    use nix::sys::signal::{Signal, kill};
    let server = Server::start(18, "").await;
    let mut feed = Feed::start(&server, Slot::Temporary);
    let all = feed.subscribe("ann", "*").await;
    feed.hears(all, [Subscribed]).await;
    let process = server.process("rowcast_catalog").await;
    kill(process, Signal::SIGSTOP).unwrap();
    let client = server.client().await;
    client
        .batch_execute(
            "create table more (id int primary key); grant select on more to anon;
             alter publication supabase_realtime add table more",
        )
        .await
        .unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(20), feed.next(all)).await;
    kill(process, Signal::SIGCONT).unwrap();
    assert_eq!(heard.unwrap(), Subscribed);
    feed.stop().await;
}
