//! What operators choose: who is told of deletes, of old values, and of rows that move out of sight.

use rowcast::policy::Switches;
use serde_json::{Value, json};

use super::{TestFeed, brief, on_each_major, service, user, uuid};

/// Rows for their owners, logged whole.
const OWNED: &str = "
    create table t (id int primary key, owner uuid, n int);
    alter table t replica identity full;
    alter table t enable row level security;
    create policy own on t using (owner = auth.uid());
    select publish('t')";

async fn start(major: u32, switches: Switches) -> TestFeed {
    TestFeed::start_with(major, OWNED, |config| config.switches = switches).await
}

/// `{1}` and `{2}` are users.
fn filled(sql: &str) -> String {
    sql.replace("{1}", &uuid(1)).replace("{2}", &uuid(2))
}

fn row(id: usize, owner: usize, n: i32) -> Value {
    json!({"id": id, "owner": uuid(owner), "n": n})
}

#[tokio::test]
async fn deletes_are_for_those_who_saw_the_row_or_for_everybody() {
    on_each_major(async |major| {
        for strict_delete in [true, false] {
            let feed = start(major, Switches { strict_delete, ..Switches::default() }).await;
            let mut ann = feed.watch(&user(1), "t").await;
            let mut bob = feed.watch(&user(2), "t").await;
            feed.run(&[&filled("insert into t values (1, '{1}', 0)"), "delete from t"]).await;
            let mark = feed.mark().await;
            let delete = json!(["DELETE", {"id": 1}]);
            assert_eq!(brief(&ann.until(mark).await), json!([["INSERT", row(1, 1, 0)], delete]));
            let bobs = if strict_delete { json!([]) } else { json!([delete]) };
            assert_eq!(brief(&bob.until(mark).await), bobs, "strict: {strict_delete}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_row_is_whole_for_those_alone_who_saw_it_and_want_it_so() {
    on_each_major(async |major| {
        let feed = start(major, Switches::default()).await;
        let mut stock = feed.watch(&user(1), "t").await;
        let mut ann = feed.watch_whole(&user(1), "t").await;
        let mut bob = feed.watch_whole(&user(2), "t").await;
        let mut server = feed.watch_whole(&service(), "t").await;
        feed.run(&[&filled("insert into t values (1, '{1}', 7)"), "delete from t"]).await;
        let mark = feed.mark().await;
        let insert = json!(["INSERT", row(1, 1, 7)]);
        let whole = json!([insert, ["DELETE", row(1, 1, 7)]]);
        assert_eq!(brief(&ann.until(mark).await), whole);
        assert_eq!(brief(&server.until(mark).await), whole, "nothing is hidden from it");
        assert_eq!(brief(&stock.until(mark).await), json!([insert, ["DELETE", {"id": 1}]]));
        assert_eq!(brief(&bob.until(mark).await), json!([]));
        // Where deletes are for everybody, nobody is asked about the row, and nobody gets more than its key.
        let feed = start(major, Switches { strict_delete: false, ..Switches::default() }).await;
        let mut ann = feed.watch_whole(&user(1), "t").await;
        feed.run(&[&filled("insert into t values (1, '{1}', 7)"), "delete from t"]).await;
        let mark = feed.mark().await;
        assert_eq!(brief(&ann.until(mark).await), json!([insert, ["DELETE", {"id": 1}]]));
    })
    .await;
}

#[tokio::test]
async fn old_values_are_for_those_who_saw_them_or_for_everybody_who_sees_the_new() {
    on_each_major(async |major| {
        for strict_old_record in [true, false] {
            let feed = start(major, Switches { strict_old_record, ..Switches::default() }).await;
            let mut ann = feed.watch(&user(1), "t").await;
            let mut bob = feed.watch(&user(2), "t").await;
            feed.run(&[
                &filled("insert into t values (1, '{1}', 0)"),
                "update t set n = 1",
                &filled("update t set owner = '{2}'"),
                &filled("insert into t values (2, '{1}', 0)"),
            ])
            .await;
            let mark = feed.mark().await;
            assert_eq!(
                brief(&ann.until(mark).await),
                json!([
                    ["INSERT", row(1, 1, 0)],
                    ["UPDATE", row(1, 1, 1), row(1, 1, 0)],
                    ["INSERT", row(2, 1, 0)],
                ])
            );
            let old = if strict_old_record { json!({"id": 1}) } else { row(1, 1, 1) };
            assert_eq!(brief(&bob.until(mark).await), json!([["UPDATE", row(1, 2, 1), old]]));
        }
    })
    .await;
}

#[tokio::test]
async fn a_row_that_moves_out_of_sight_is_told_as_a_delete_if_that_is_asked_for() {
    on_each_major(async |major| {
        for moved_out in [true, false] {
            let feed = start(major, Switches { moved_out, ..Switches::default() }).await;
            let mut ann = feed.watch(&user(1), "t").await;
            let mut bob = feed.watch(&user(2), "t").await;
            let mut server = feed.watch(&service(), "t").await;
            let bindings = |event: &str, filter: &str| {
                json!([{"event": event, "schema": "public", "table": "t", "filter": filter}])
            };
            let mut matching = feed.subscribe(&user(1), bindings("DELETE", "n=eq.0")).await;
            let mut differing = feed.subscribe(&user(1), bindings("*", "n=eq.7")).await;
            let mut updates = feed.subscribe(&user(1), bindings("UPDATE", "n=eq.0")).await;
            feed.run(&[
                &filled("insert into t values (1, '{1}', 0)"),
                &filled("update t set owner = '{2}', n = 1"),
            ])
            .await;
            let mark = feed.mark().await;
            let delete = json!(["DELETE", {"id": 1}]);
            let gone = if moved_out { vec![delete] } else { vec![] };
            let mut anns = vec![json!(["INSERT", row(1, 1, 0)])];
            anns.extend(gone.clone());
            assert_eq!(brief(&ann.until(mark).await), json!(anns));
            assert_eq!(brief(&bob.until(mark).await), json!([["UPDATE", row(1, 2, 1), {"id": 1}]]));
            assert_eq!(server.until(mark).await.len(), 2);
            assert_eq!(brief(&matching.until(mark).await), json!(gone));
            assert_eq!(brief(&differing.until(mark).await), json!([]));
            assert_eq!(brief(&updates.until(mark).await), json!([]));
            let count = if moved_out { 2 } else { 0 };
            assert_eq!(feed.counters.moved_out.get(), count);
        }
    })
    .await;
}

#[tokio::test]
async fn what_moves_within_a_transaction_is_told_once_and_to_those_who_saw_it() {
    on_each_major(async |major| {
        let feed = start(major, Switches { moved_out: true, ..Switches::default() }).await;
        let mut ann = feed.watch(&user(1), "t").await;
        let mut bob = feed.watch(&user(2), "t").await;
        feed.run(&[
            // A draft that was never hers to see, though it was her own for a moment.
            &filled("insert into t values (1, '{1}', 0); update t set owner = '{2}'"),
            // Bob's goes to Ann and back, then to Ann by way of nobody.
            &filled("update t set owner = '{1}'; update t set owner = '{2}'"),
            &filled("update t set owner = null, n = 1; update t set owner = '{1}', n = 2"),
            // And is gone for her, in steps that she could still see.
            &filled("update t set n = 3; update t set owner = null"),
            // Moved to another key on the way.
            &filled("insert into t values (5, '{1}', 0)"),
            &filled("update t set id = 6 where id = 5; update t set owner = '{2}' where id = 6"),
        ])
        .await;
        let mark = feed.mark().await;
        let delete = |id: usize| json!(["DELETE", {"id": id}]);
        assert_eq!(
            brief(&ann.until(mark).await),
            json!([
                ["UPDATE", row(1, 1, 2), {"id": 1}],
                delete(1),
                ["INSERT", row(5, 1, 0)],
                delete(5),
            ])
        );
        assert_eq!(
            brief(&bob.until(mark).await),
            json!([
                ["UPDATE", row(1, 2, 0), {"id": 1}],
                ["UPDATE", row(1, 2, 0), {"id": 1}],
                delete(1),
                ["UPDATE", row(6, 2, 0), {"id": 6}],
            ])
        );
    })
    .await;
}
