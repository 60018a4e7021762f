//! What of presence is told: news, and never that somebody is still there.

use serde_json::json;

use super::{ANN, BOB, populate};
use crate::feed::{Subscriber, TestFeed, claims, on_each_major};

const STRANGER: &str = "f0000000-0000-4000-8000-000000000001";

/// What a subscriber hears of a transaction: event, status and name of each change.
async fn told(feed: &TestFeed, subscriber: &mut Subscriber, transaction: &str) -> Vec<String> {
    feed.execute(transaction).await;
    let mark = feed.mark().await;
    let text = |data: &serde_json::Value, path: &str| {
        data.pointer(path).and_then(|value| value.as_str()).unwrap_or("null").to_owned()
    };
    let changes = subscriber.until(mark).await;
    let told = changes.iter().map(|change| {
        let of = |path| text(&change.data, path);
        format!("{} {} {}", of("/type"), of("/record/status"), of("/record/name"))
    });
    told.collect()
}

#[tokio::test]
async fn news_of_presence_are_told_and_renewals_are_not() {
    on_each_major(async |major| {
        let feed = TestFeed::start(major, "").await;
        populate(&feed.database).await;
        let mut bob = feed.watch(&claims("authenticated", json!({ "sub": BOB })), "user_presence").await;
        let mut stranger =
            feed.watch(&claims("authenticated", json!({ "sub": STRANGER })), "user_presence").await;
        let touch = |active: &str| {
            format!(
                "select rowcast.touch_presence('{{{ANN}}}', '{{null}}', array[({active})::timestamptz], 30)"
            )
        };
        let says = |status: &str| {
            format!(
                "select set_config('role', 'service_role', true),
                        public.update_user_presence('{ANN}', null, '{status}', '{{}}')"
            )
        };
        let seen = "select last_seen_at::text from public.user_presence";
        let (leave, expire) = (
            format!("select rowcast.leave_presence('{{{ANN}}}', '{{null}}', 0)"),
            "select rowcast.expire_presence(300)",
        );
        for (transaction, expected) in [
            (touch("now()"), &["INSERT online Ann"][..]),
            (touch("now()"), &[]),
            // What people say themselves is told, even if it is nothing new.
            (says("online"), &["UPDATE online Ann"]),
            (touch("now()"), &[]),
            (says("busy"), &["UPDATE busy Ann"]),
            (touch("now()"), &[]),
            (format!("update public.users set full_name = 'Anna' where id = '{ANN}'"), &["UPDATE busy Anna"]),
            (touch("now()"), &[]),
            (leave, &[]),
            (expire.to_owned(), &["UPDATE offline Anna"]),
            (touch("now()"), &["UPDATE online Anna"]),
            (touch("now() + interval '1 second'"), &[]),
            ("update public.user_presence set active_at = now() - interval '1 hour'".to_owned(), &[]),
            (expire.to_owned(), &["UPDATE away Anna"]),
            (touch("now()"), &["UPDATE online Anna"]),
            (touch("now()"), &[]),
            // What was told a while ago is told again, once.
            (
                "set session_replication_role = replica;
                 update public.user_presence set updated_at = updated_at - interval '1 minute';
                 reset session_replication_role"
                    .to_owned(),
                &[],
            ),
            (touch("now()"), &["UPDATE online Anna"]),
            (touch("now()"), &[]),
        ] {
            let before = super::text(&feed.database, &format!("select coalesce(({seen}), '')")).await;
            assert_eq!(told(&feed, &mut bob, &transaction).await, expected, "{transaction} on {major}");
            if transaction.contains("touch_presence") {
                let after = super::text(&feed.database, seen).await;
                assert!(after > before, "{transaction} on {major}: who is there is seen");
            }
        }
        assert!(told(&feed, &mut stranger, "select").await.is_empty(), "on {major}");
    })
    .await;
}
