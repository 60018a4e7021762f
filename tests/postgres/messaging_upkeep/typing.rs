//! Typing ends by itself, and everybody hears of it.

use std::sync::Arc;

use rowcast::policy::Claims;

use super::{ANN, BOB, Node, TALK, config, populate, text};
use crate::feed::{TestFeed, on_each_major, within};

const INDICATOR: &str = "f0000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn typing_that_has_expired_is_removed_and_the_stream_says_so() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, "").await;
        populate(&feed.database).await;
        let claims = Claims {
            role: "service_role".into(),
            json: r#"{"role":"service_role"}"#.into(),
            expires_at: i64::MAX,
        };
        let mut listener = feed.watch(&Arc::new(claims), "message_typing_indicators").await;
        // As a server has it, so that what is measured is what it does.
        let node = Node::start(rowcast::postgres::messaging::Config {
            typing_poll: std::time::Duration::from_millis(100),
            ..config(&feed.database)
        });
        super::until("leader", async || node.leads()).await;
        let expiry = text(&feed.database, "select (clock_timestamp() + interval '300 milliseconds')::text").await;
        let insert = format!(
            "insert into public.message_typing_indicators (id, conversation_id, user_id, expires_at) values
             ('{INDICATOR}', '{TALK}', '{ANN}', '{expiry}'), (gen_random_uuid(), '{TALK}', '{BOB}', 'infinity')"
        );
        feed.execute(&insert).await;
        let ended = async {
            loop {
                let change = listener.change().await;
                if change.data["type"] == "DELETE" {
                    return change;
                }
            }
        };
        let ended = within(ended, "the end of typing").await;
        let sql = format!("select extract(epoch from clock_timestamp() - '{expiry}'::timestamptz)::float8");
        let late: f64 = feed.database.client.query_one(&sql, &[]).await.unwrap().get(0);
        eprintln!("on {major} typing ended {:.0} ms after it had expired", late * 1000.0);
        assert!((0.0..10.0).contains(&late), "on {major}: {late} s");
        assert_eq!(ended.data["old_record"]["id"], INDICATOR);
        // The twin: who has not stopped types on.
        let left = "select string_agg(user_id::text, ' ') from public.message_typing_indicators";
        assert_eq!(text(&feed.database, left).await, BOB, "on {major}");
        assert_eq!(node.messaging.counters.typing_expired.get(), 1, "on {major}");
    })
    .await;
}
