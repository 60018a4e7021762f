//! Stored broadcasts, as a channel gets them that asks for what it missed.

use rowcast::channel::Body;

use rowcast::hub::authorization::replay::replay;
use rowcast::hub::authorization::{AuthorizationError, Stored};
use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;

use crate::support::{TestDatabase, majors};

/// More than any payload here.
const BYTES_MAX: usize = 1 << 20;

async fn database(major: u32) -> TestDatabase {
    let database = TestDatabase::create(major).await;
    migrate(&Database::parse(&database.url).unwrap(), &[]).await.unwrap();
    // Another zone than that of the server's clock, which is what the table holds.
    database.execute("set timezone = 'UTC'").await;
    database
}

async fn replayed(database: &TestDatabase, topic: &str, since_unix_ms: i64, limit: u8) -> Vec<Stored> {
    replay(&database.client, topic, since_unix_ms, limit, BYTES_MAX).await.unwrap().rows.to_vec()
}

fn events(stored: &[Stored]) -> Vec<&str> {
    stored.iter().map(|stored| &*stored.event).collect()
}

/// Inserts broadcasts with these numbers as their events, in one transaction.
fn send(from: usize, to: usize) -> String {
    format!(
        "insert into realtime.messages (topic, extension, event, payload, private)
         select 'room', 'broadcast', number::text, '{{}}', true from generate_series({from}, {to}) number"
    )
}

#[tokio::test]
async fn rows_of_one_transaction_are_replayed_in_their_order() {
    for major in majors() {
        let database = database(major).await;
        database.execute(&send(1, 25)).await;
        let expected: Vec<String> = (1..=25).map(|number| number.to_string()).collect();
        assert_eq!(events(&replayed(&database, "room", 0, 25).await), expected);
    }
}

#[tokio::test]
async fn the_newest_are_replayed_oldest_first_over_several_transactions() {
    for major in majors() {
        let database = database(major).await;
        for first in (1..=90).step_by(10) {
            database.execute(&send(first, first + 9)).await;
        }
        let expected: Vec<String> = (66..=90).map(|number| number.to_string()).collect();
        assert_eq!(events(&replayed(&database, "room", 0, 25).await), expected);
        assert_eq!(events(&replayed(&database, "room", 0, 7).await), expected[18..]);
        // The bound holds whatever is asked for.
        assert_eq!(replayed(&database, "room", 0, 200).await.len(), 25);
        assert_eq!(events(&replayed(&database, "room", 0, 0).await), ["90"]);
    }
}

#[tokio::test]
async fn a_replay_has_what_is_private_of_its_topic_and_time_and_nothing_else() {
    for major in majors() {
        let database = database(major).await;
        database
            .execute(
                "insert into realtime.messages (topic, extension, event, payload, private, inserted_at)
                 select topic, extension, event, payload::jsonb, private, now() + shift::interval
                   from (values ('room', 'broadcast', 'now', '1', true, '0 s'),
                                ('room', 'broadcast', 'soon', '1', true, '30 s'),
                                ('room', 'broadcast', 'ago', '1', true, '-1 h'),
                                ('room', 'broadcast', 'long ago', '1', true, '-3 h'),
                                ('room', 'broadcast', 'later', '1', true, '5 min'),
                                ('room', 'broadcast', 'public', '1', false, '0 s'),
                                ('room', 'broadcast', 'neither', '1', null, '0 s'),
                                ('room', 'presence', 'presence', '1', true, '0 s'),
                                ('room', 'broadcast', null, '1', true, '0 s'),
                                ('room', 'broadcast', 'empty', null, true, '0 s'),
                                ('rooms', 'broadcast', 'another', '1', true, '0 s'),
                                ('it''s \\ $1', 'broadcast', 'quoted', '1', true, '0 s'))
                        as given (topic, extension, event, payload, private, shift)",
            )
            .await;
        let two_hours_ago = "select (extract(epoch from now()) * 1000)::bigint - 7200000";
        let since = database.client.query_one(two_hours_ago, &[]).await.unwrap().get(0);
        assert_eq!(events(&replayed(&database, "room", since, 25).await), ["ago", "now", "soon"]);
        assert_eq!(events(&replayed(&database, "room", 0, 25).await), ["long ago", "ago", "now", "soon"]);
        assert_eq!(events(&replayed(&database, "room", since + 7_200_000, 25).await).last(), Some(&"soon"));
        assert_eq!(events(&replayed(&database, r"it's \ $1", 0, 25).await), ["quoted"]);
        for nothing in ["roo", "", "room\0", "realtime:room"] {
            assert_eq!(replayed(&database, nothing, 0, 25).await, [], "{nothing:?}");
        }
    }
}

#[tokio::test]
async fn bodies_are_replayed_as_they_are_stored() {
    for major in majors() {
        let database = database(major).await;
        database
            .execute(
                r#"insert into realtime.messages (topic, extension, event, payload, binary_payload, private, id)
                   values ('room', 'broadcast', 'json', '{"b": [1, null, "\u00e4"], "a": 1e2}', null, true,
                           '00000000-0000-0000-0000-000000000001'),
                          ('room', 'broadcast', 'bytes', null, '\x00ff41', true,
                           '00000000-0000-0000-0000-000000000002'),
                          ('room', 'broadcast', 'large', to_jsonb(repeat('x', 100)), null, true,
                           '00000000-0000-0000-0000-000000000003'),
                          ('room', 'broadcast', 'large bytes', null, repeat('x', 102)::bytea, true,
                           '00000000-0000-0000-0000-000000000004')"#,
            )
            .await;
        let stored =
            |id: u128, event: &str, body| Stored { id: uuid::Uuid::from_u128(id), event: event.into(), body };
        let json = stored(1, "json", Body::Json(r#"{"a": 100, "b": [1, null, "ä"]}"#.into()));
        let bytes = stored(2, "bytes", Body::Bytes(b"\x00\xffA".into()));
        let large = stored(3, "large", Body::Json(format!("\"{}\"", "x".repeat(100)).into()));
        let of =
            async |bytes_max| replay(&database.client, "room", 0, 25, bytes_max).await.unwrap().rows.to_vec();
        assert_eq!(of(101).await, [json.clone(), bytes.clone()]);
        assert_eq!(of(102).await[..3], [json, bytes, large]);
        assert_eq!(of(102).await.len(), 4);
    }
}

#[tokio::test]
async fn a_replay_that_cannot_be_had_says_why() {
    for major in majors() {
        let database = database(major).await;
        let ask = async |since| {
            let replayed = replay(&database.client, "room", since, 25, BYTES_MAX).await;
            replayed.map(|replayed| replayed.rows.to_vec())
        };
        for since in [i64::MIN, -210_866_803_200_001, 253_402_300_800_000, i64::MAX] {
            assert_eq!(ask(since).await, Err(AuthorizationError::SinceOutOfRange), "{since}");
        }
        for since in [-210_866_803_200_000, 253_402_300_799_999] {
            assert_eq!(ask(since).await, Ok(vec![]), "{since}");
        }
        // The time limit is the statement's own: the session keeps what it had.
        let kept = database.client.query_one("show statement_timeout", &[]).await.unwrap();
        assert_eq!(kept.get::<_, String>(0), "0");
        database.execute("revoke select on realtime.messages from anon; set role anon").await;
        assert_eq!(ask(0).await, Err(AuthorizationError::Policy("42501".into())));
        database.execute("reset role; drop table realtime.messages").await;
        assert_eq!(ask(0).await, Err(AuthorizationError::MissingPartition));
    }
}

#[tokio::test]
async fn a_replay_ends_after_its_time_limit() {
    let major = *majors().first().unwrap();
    let database = database(major).await;
    let blocker = crate::support::connect(&database.url).await;
    blocker.batch_execute("begin; lock table realtime.messages").await.unwrap();
    let replayed = replay(&database.client, "room", 0, 25, BYTES_MAX).await;
    assert_eq!(replayed, Err(AuthorizationError::Canceled));
}
