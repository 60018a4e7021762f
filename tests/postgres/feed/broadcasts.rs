//! Rows of `realtime.messages` as broadcasts: which, to whom, in which order, and what becomes of them when the stream
//! breaks.

use std::sync::Arc;

use rowcast::channel::{Body, Broadcast, Topic};
use rowcast::hub::authorization::Replayed;
use rowcast::hub::authorization::replay::replay;
use rowcast::hub::{Occupancy, RoomBroadcast, RoomName};
use rowcast::wal::{Slot, SlotName};
use serde_json::json;

use super::{TestFeed, anon, connect, on_each_major, service, within};

const MESSAGES: &str = include_str!("../../support/messages.sql");

/// A row as `realtime.send` writes it, with an event and a payload.
fn send(topic: &str, private: bool, event: &str, payload: &str) -> String {
    format!(
        "insert into realtime.messages (topic, extension, event, payload, private)
         values ('{topic}', 'broadcast', '{event}', '{payload}', {private})"
    )
}

/// A broadcast, for comparison.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    room: RoomName,
    event: String,
    body: Body<'static>,
}

impl Heard {
    fn of(broadcast: &RoomBroadcast) -> Self {
        let Broadcast::User { event, body, meta } = &broadcast.message else { panic!("{broadcast:?}") };
        let meta: serde_json::Value = serde_json::from_str(meta.as_deref().expect("an id")).unwrap();
        assert!(meta["id"].as_str().is_some_and(|id| id.parse::<uuid::Uuid>().is_ok()), "{meta}");
        assert!(broadcast.commit.is_some());
        Self { room: broadcast.room.clone(), event: event.to_string(), body: body.clone() }
    }
}

impl TestFeed {
    fn room(&self, topic: &str, private: bool) -> RoomName {
        self.directory.room(&Topic::parse(&format!("realtime:{topic}"), 255).unwrap(), private)
    }

    /// Has somebody be in rooms, until the answer is dropped.
    fn occupy<const N: usize>(&self, rooms: [(&str, bool); N]) -> Occupancy {
        let mut occupancy = Occupancy::new(0, Arc::clone(&self.directory));
        rooms.into_iter().for_each(|(topic, private)| occupancy.opened(&self.room(topic, private)));
        occupancy
    }

    async fn broadcast(&mut self) -> Arc<RoomBroadcast> {
        within(self.broadcasts.recv(), "a broadcast").await.expect("a running feed")
    }

    /// The next broadcasts.
    async fn heard(&mut self, count: usize) -> Vec<Heard> {
        let mut heard = Vec::new();
        for _ in 0..count {
            heard.push(Heard::of(&*self.broadcast().await));
        }
        heard
    }

    /// What is heard before a last broadcast that this sends to the public room `room`.
    async fn heard_until_now(&mut self) -> Vec<String> {
        self.execute(&send("room", false, "the end", "1")).await;
        let mut events = Vec::new();
        loop {
            let heard = Heard::of(&*self.broadcast().await);
            if heard.event == "the end" {
                return events;
            }
            events.push(heard.event);
        }
    }
}

/// What a replay has seen is what was committed before it was read, whatever the stream has sent by then.
#[tokio::test]
async fn a_replay_knows_the_commits_that_it_has_seen() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", true)]);
        let sends = |event: &str| send("room", true, event, "1");
        let other = connect(&feed.database.url).await;
        other.batch_execute(&format!("begin; {}", sends("open"))).await.unwrap();
        feed.execute(&sends("first")).await;
        feed.execute(&sends("second")).await;
        let reader = connect(&feed.database.url).await;
        let Replayed { rows, seen } = replay(&reader, "room", 0, 1, 1 << 20).await.unwrap();
        let events: Vec<&str> = rows.iter().map(|stored| &*stored.event).collect();
        assert_eq!(events, ["second"]);
        let nothing = replay(&reader, "nobody's", 0, 25, 1 << 20).await.unwrap();
        assert_eq!(*nothing.rows, []);
        other.batch_execute("commit").await.unwrap();
        feed.execute(&sends("last")).await;
        for (event, expected) in [("first", true), ("second", true), ("open", false), ("last", false)] {
            let broadcast = feed.broadcast().await;
            assert_eq!(Heard::of(&broadcast).event, event);
            let commit = broadcast.commit.unwrap();
            assert_eq!(seen.has(commit), expected, "{event}");
            assert_eq!(nothing.seen.has(commit), expected, "{event}, where there are no rows");
            // Once the stream is beyond the replay, nothing follows that was seen.
            if event != "open" {
                assert_eq!(seen.is_before(commit.lsn), !expected, "{event}");
            }
        }
    })
    .await;
}

fn json_body(text: &str) -> Body<'static> {
    Body::Json(text.to_owned().into())
}

#[tokio::test]
async fn every_kind_of_json_arrives_as_it_stands() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        let kinds = [
            (r#"{"b":1,"a":{"c":[]}}"#, r#"{"a": {"c": []}, "b": 1}"#),
            ("[1,null,{}]", "[1, null, {}]"),
            (r#""ä \u0022 \\ \n""#, r#""ä \" \\ \n""#),
            ("12345678901234567890.5", "12345678901234567890.5"),
            ("true", "true"),
            ("null", "null"),
        ];
        for (payload, _) in kinds {
            feed.execute(&send("room", false, "event", payload)).await;
        }
        let room = feed.room("room", false);
        let expected =
            kinds.map(|(_, text)| Heard { room: room.clone(), event: "event".into(), body: json_body(text) });
        assert_eq!(feed.heard(kinds.len()).await, expected);
        assert_eq!(feed.counters.broadcasts.get(), 6);
        assert_eq!(feed.counters.meters.events.total(), 6);
    })
    .await;
}

#[tokio::test]
async fn bytes_arrive_as_bytes_and_win_over_json() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        feed.execute(
            r"alter table realtime.messages drop constraint if exists messages_payload_exclusive;
              insert into realtime.messages (topic, extension, event, payload, binary_payload, private)
              values ('room', 'broadcast', 'bytes', null, '\x00ff41', false),
                     ('room', 'broadcast', 'none', null, '', false),
                     ('room', 'presence', 'both', '{}', '\x42', false)",
        )
        .await;
        let bodies: Vec<Body> = feed.heard(3).await.into_iter().map(|heard| heard.body).collect();
        let bytes = |bytes: &'static [u8]| Body::Bytes(bytes.into());
        assert_eq!(bodies, [bytes(b"\x00\xffA"), bytes(b""), bytes(b"B")]);
    })
    .await;
}

#[tokio::test]
async fn public_and_private_rooms_of_a_topic_stay_apart() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _rooms = feed.occupy([("room", false), ("room", true)]);
        feed.execute(&send("room", true, "private", "1")).await;
        feed.execute(&send("room", false, "public", "1")).await;
        let rooms: Vec<_> = feed.heard(2).await.into_iter().map(|heard| (heard.event, heard.room)).collect();
        assert_eq!(
            rooms,
            [("private".into(), feed.room("room", true)), ("public".into(), feed.room("room", false))]
        );
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_before_its_commit_or_without_it() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        let session = feed.session().await;
        session.batch_execute(&format!("begin; {}", send("room", false, "late", "1"))).await.unwrap();
        let undone = "begin; savepoint s; {1}; rollback to s; {2}; rollback";
        let undone = undone.replace("{1}", &send("room", false, "undone", "1"));
        feed.execute(&undone.replace("{2}", &send("room", false, "undone", "2"))).await;
        assert_eq!(feed.heard_until_now().await, [""; 0]);
        session.batch_execute("commit").await.unwrap();
        assert_eq!(feed.heard_until_now().await, ["late"]);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_rows_of_many_writers_arrive_in_commit_order() {
    on_each_major(async |major| {
        let schema = format!("{MESSAGES}; create table counter (n int); insert into counter values (0)");
        let mut feed = TestFeed::start(major, &schema).await;
        let _room = feed.occupy([("room", true)]);
        // The row lock makes the counter's numbers the order of commits; five rows a transaction.
        let mut writers = Vec::new();
        for _ in 0..4 {
            let session = feed.session().await;
            writers.push(tokio::spawn(async move {
                for _ in 0..50 {
                    let sql = "with next as (update counter set n = n + 1 returning n)
                               insert into realtime.messages (topic, extension, event, payload, private)
                               select 'room', 'broadcast', 'n', to_jsonb((next.n - 1) * 5 + part), true
                                 from next, generate_series(1, 5) part";
                    session.batch_execute(sql).await.unwrap();
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        // Nobody has read so far, and the inbox holds few: the rest has waited.
        let bodies: Vec<Body> = feed.heard(1_000).await.into_iter().map(|heard| heard.body).collect();
        let expected: Vec<Body> = (1..=1_000).map(|number| json_body(&number.to_string())).collect();
        assert_eq!(bodies, expected);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_in_parts_arrives_whole_and_in_order() {
    on_each_major(async |major| {
        let mut feed =
            TestFeed::start_with(major, MESSAGES, |config| config.transaction_bytes_max = 64 << 10).await;
        let _room = feed.occupy([("room", false)]);
        feed.execute(
            "insert into realtime.messages (topic, extension, event, payload, private)
             select 'room', 'broadcast', 'n', to_jsonb(n), false from generate_series(1, 3000) n",
        )
        .await;
        let bodies: Vec<Body> = feed.heard(3_000).await.into_iter().map(|heard| heard.body).collect();
        let expected: Vec<Body> = (1..=3_000).map(|number| json_body(&number.to_string())).collect();
        assert_eq!(bodies, expected);
    })
    .await;
}

#[tokio::test]
async fn rows_that_are_no_broadcasts_are_skipped_and_counted() {
    on_each_major(async |major| {
        let mut feed =
            TestFeed::start_with(major, MESSAGES, |config| config.broadcast_bytes_max = 100).await;
        let _room = feed.occupy([("room", false)]);
        feed.execute(
            "insert into realtime.messages (topic, extension, event, payload, binary_payload, private) values
             ('room', 'broadcast', null, '1', null, false), ('room', 'broadcast', 'event', null, null, false),
             ('room', 'broadcast', 'event', '1', null, null), ('room', 'broadcast', repeat('x', 256), null, '', false),
             ('room', 'broadcast', 'large', to_jsonb(repeat('x', 99)), null, false),
             ('room', 'broadcast', 'large', null, repeat('x', 101)::bytea, false),
             ('', 'broadcast', 'nowhere', '1', null, false),
             ('room', 'broadcast', 'fits', to_jsonb(repeat('x', 98)), null, false),
             ('room', 'broadcast', 'fits too', null, repeat('x', 100)::bytea, false)",
        )
        .await;
        assert_eq!(feed.heard_until_now().await, ["fits", "fits too"]);
        let counters = &feed.counters;
        assert_eq!(counters.incomplete_broadcasts.get(), 4);
        assert_eq!(counters.too_large_broadcasts.get(), 2);
        assert_eq!((counters.broadcasts.get(), counters.published_broadcasts.get()), (4, 3));
    })
    .await;
}

#[tokio::test]
async fn only_what_is_inserted_is_sent() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        feed.run(&[
            &send("room", false, "first", "1"),
            "update realtime.messages set event = 'updated', payload = '2'",
            "delete from realtime.messages",
            &send("room", false, "second", "1"),
            "truncate realtime.messages",
        ])
        .await;
        assert_eq!(feed.heard_until_now().await, ["first", "second"]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_handed_over_where_nobody_is() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        feed.run(&[&send("elsewhere", false, "x", "1"), &send("room", true, "x", "1")]).await;
        assert_eq!(feed.heard_until_now().await, [""; 0]);
        assert_eq!((feed.counters.broadcasts.get(), feed.counters.published_broadcasts.get()), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn partitions_come_and_go_while_the_stream_runs() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        let at = |event: &str, days: i32| {
            format!(
                "insert into realtime.messages (topic, extension, event, payload, private, inserted_at)
                 values ('room', 'broadcast', '{event}', '1', false, current_date + {days})"
            )
        };
        let partition = |days: i32, sql: &str| {
            format!(
                "do $$ begin execute replace(replace($q${sql}$q$, 'PARTITION',
                     'realtime.messages_' || to_char(current_date + {days}, 'YYYY_MM_DD')),
                     'BOUNDS', format('(%L) to (%L)', current_date + {days}, current_date + {days} + 1)); end $$"
            )
        };
        feed.run(&[
            &at("yesterday", -1),
            &at("today", 0),
            &partition(9, "create table PARTITION partition of realtime.messages for values from BOUNDS"),
            &at("later", 9),
            // Its rows are still to be decoded when it goes.
            &at("gone", -1),
            &partition(-1, "drop table PARTITION"),
            &at("detached", 9),
            &partition(9, "alter table realtime.messages detach partition PARTITION"),
            &partition(9, "insert into PARTITION (topic, extension, event, payload, private, inserted_at)
                select 'room', 'broadcast', 'apart', '1', false, current_date + 9"),
            &partition(9, "drop table PARTITION"),
            &partition(9, "create table PARTITION partition of realtime.messages for values from BOUNDS"),
            &at("again", 9),
            "analyze realtime.messages",
            &at("analyzed", 0),
        ])
        .await;
        let expected = ["yesterday", "today", "later", "gone", "detached", "again", "analyzed"];
        assert_eq!(feed.heard_until_now().await, expected);
        assert_eq!(feed.counters.interruptions.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_table_may_come_after_the_stream() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, "drop table if exists realtime.messages cascade").await;
        let _room = feed.occupy([("room", false)]);
        feed.execute(MESSAGES).await;
        let published = "select from pg_publication_tables
            where pubname = 'supabase_realtime_messages_publication' and schemaname = 'realtime'";
        within(
            async {
                while feed.database.client.query(published, &[]).await.unwrap().is_empty() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            },
            "the table in its publication",
        )
        .await;
        feed.execute(&send("room", false, "event", "1")).await;
        assert_eq!(feed.heard_until_now().await, ["event"]);
    })
    .await;
}

#[tokio::test]
async fn messages_are_no_changes_unless_the_user_publishes_them() {
    on_each_major(async |major| {
        let grants = format!(
            "{MESSAGES}; grant usage on schema realtime to anon, service_role;
             grant select on all tables in schema realtime to anon, service_role;
             create policy everybody on realtime.messages using (true)"
        );
        let mut feed = TestFeed::start(major, &grants).await;
        let every_table = |schema: &str| json!([{"event": "*", "schema": schema}]);
        for (claims, schema) in [(anon(), "realtime"), (service(), "realtime")] {
            let mut subscriber = feed.join("room", &claims, every_table(schema)).await;
            subscriber.refused("Unable to subscribe to changes with given parameters").await;
        }
        let mut denied = feed.subscribe(&service(), every_table("*")).await;
        feed.run(&[&send("room", true, "private", "1"), &send("room", false, "public", "1")]).await;
        assert_eq!(super::brief(&denied.until(feed.mark().await).await), json!([]));

        feed.execute("alter publication supabase_realtime add table realtime.messages").await;
        let mut allowed = feed.join("room", &service(), every_table("realtime")).await;
        allowed.subscribed().await;
        let _room = feed.occupy([("room", false)]);
        feed.execute(&send("room", false, "public", "1")).await;
        let seen = allowed.until(feed.mark().await).await;
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].data["record"]["event"], "public");
        // It is a broadcast all the same.
        assert_eq!(feed.heard_until_now().await, ["public"]);
    })
    .await;
}

/// Ends the feed's stream and keeps it from coming back while `while_away` runs.
async fn interrupt(feed: &TestFeed, while_away: &str) {
    let streams = feed.counters.streams.get();
    let database = "(select oid from pg_database where datname = current_database())";
    // A prepared session and no room for another: the database takes no new sessions but a superuser's own here.
    let sql = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity
          where application_name = 'rowcast_stream' and datid = {database}"
    );
    feed.execute(&format!("begin; {sql}; {while_away}; commit")).await;
    within(
        async {
            while feed.counters.streams.get() == streams {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        },
        "another stream",
    )
    .await;
}

#[tokio::test]
async fn a_durable_slot_keeps_broadcasts_through_an_interruption() {
    on_each_major(async |major| {
        let name = format!("durable_{}", rand::random::<u32>());
        let slot = Slot::Durable(SlotName::new(&name).unwrap());
        let mut feed = TestFeed::start_with(major, MESSAGES, |config| config.stream.slot = slot).await;
        let _room = feed.occupy([("room", false)]);
        feed.execute(&send("room", false, "before", "1")).await;
        feed.heard(1).await;
        for number in 0..3 {
            interrupt(&feed, &send("room", false, &format!("while away {number}"), "1")).await;
        }
        let expected = ["while away 0", "while away 1", "while away 2"];
        assert_eq!(feed.heard_until_now().await, expected, "each once");
        // Without anybody who could command it, the feed ends.
        feed.commands = tokio::sync::mpsc::channel(1).0;
        let drop_slot = format!("select pg_drop_replication_slot('{name}')");
        within(
            async {
                while feed.database.client.batch_execute(&drop_slot).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            },
            "the end of the feed",
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn broadcasts_flow_again_after_an_interruption_of_a_temporary_slot() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        // What is sent meanwhile is missed by those who listen; it is stored, and may be replayed.
        interrupt(&feed, &send("room", false, "while away", "1")).await;
        feed.execute(&send("room", false, "after", "1")).await;
        let heard = feed.heard_until_now().await;
        assert_eq!(heard.last().map(String::as_str), Some("after"));
        assert_eq!((feed.counters.interruptions.get(), feed.counters.streams.get()), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn a_publication_that_was_dropped_is_made_again() {
    on_each_major(async |major| {
        let mut feed = TestFeed::start(major, MESSAGES).await;
        let _room = feed.occupy([("room", false)]);
        feed.execute("drop publication supabase_realtime_messages_publication").await;
        interrupt(&feed, "select 1").await;
        assert_eq!(feed.heard_until_now().await, [""; 0]);
    })
    .await;
}
