//! Policies as texts, where Postgres judges rows as they were logged: names in them mean what they meant when the
//! policy was made, and need no rights that the policy does not need.

use serde_json::json;

use super::{TestFeed, brief, on_each_major, user};

#[tokio::test]
async fn helpers_in_a_schema_that_the_role_may_not_use_still_decide() {
    on_each_major(async |major| {
        let feed = TestFeed::start(
            major,
            "create schema private; create type private.mood as enum ('open', 'shut');
             create table private.people (conversation int, who uuid);
             insert into private.people values (1, '00000000-0000-0000-0000-000000000001');
             create function private.takes_part(int) returns boolean language sql stable security definer
                 set search_path = '' return exists (
                     select from private.people where conversation = $1 and who = auth.uid());
             create table t (id int primary key, conversation int, mood private.mood);
             alter table t enable row level security, replica identity full;
             create policy p on t using (private.takes_part(conversation) and mood = 'open');
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        let mut bob = feed.watch(&user(2), "t").await;
        feed.execute(
            "insert into t values (1, 1, 'open'), (2, 2, 'open'), (3, 1, 'shut'); commit;
             update t set mood = 'open'; commit; delete from t; commit",
        )
        .await;
        let mark = feed.mark().await;
        let row = |id: i32, mood: &str| json!({"id": id, "conversation": 1, "mood": mood});
        assert_eq!(
            brief(&ann.until(mark).await),
            json!([
                ["INSERT", row(1, "open")],
                ["UPDATE", row(1, "open"), row(1, "open")],
                ["UPDATE", row(3, "open"), {"id": 3}],
                ["DELETE", {"id": 1}],
                ["DELETE", {"id": 3}],
            ])
        );
        assert_eq!(brief(&bob.until(mark).await), json!([]));
        assert!(ann.told.is_empty() && bob.told.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_others_name_like_a_built_in_operator_does_not_widen_a_policy() {
    on_each_major(async |major| {
        // Not compiled, and judged as logged, as the row is another by then.
        let feed = TestFeed::start(
            major,
            "create table t (id int primary key, room text);
             alter table t enable row level security, replica identity full;
             create policy p on t using (room = 'room:' || (select auth.uid()) and md5(room) <> '');
             create function everywhere(text, uuid) returns text language sql stable
                 return 'room:00000000-0000-0000-0000-000000000001';
             create operator || (leftarg = text, rightarg = uuid, function = everywhere);
             grant execute on function everywhere(text, uuid) to public;
             select publish('t')",
        )
        .await;
        let mut ann = feed.watch(&user(1), "t").await;
        let mut bob = feed.watch(&user(2), "t").await;
        feed.execute(
            "insert into t select id, 'room:00000000-0000-0000-0000-00000000000' || id from generate_series(1, 2) id;
             commit; delete from t; commit",
        )
        .await;
        let mark = feed.mark().await;
        let room = |id: i32| format!("room:00000000-0000-0000-0000-00000000000{id}");
        let expected = |id: i32| json!([["INSERT", {"id": id, "room": room(id)}], ["DELETE", {"id": id}]]);
        assert_eq!(brief(&ann.until(mark).await), expected(1));
        assert_eq!(brief(&bob.until(mark).await), expected(2));
    })
    .await;
}
