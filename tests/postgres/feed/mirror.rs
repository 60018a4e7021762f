//! Tables that are followed for the mirror alone.

use std::sync::Arc;

use rowcast::change::RelationId;
use rowcast::policy::catalog::Needed;
use serde_json::json;

use super::{TestFeed, anon, on_each_major};

#[tokio::test]
async fn a_mirrored_table_that_is_not_published_reaches_nobody() {
    on_each_major(async |major| {
        let mut besides = None;
        let feed = TestFeed::start_with(
            major,
            "create table t (id int primary key); select publish('t');
             create table mirrored (id int primary key, secret text)",
            |config| {
                config.stream.publications.push("rowcast".to_owned());
                besides = Some((Arc::clone(&config.mirrored_besides), Arc::clone(&config.counters)));
            },
        )
        .await;
        let (besides, counters) = besides.unwrap();
        let mut ann = feed
            .subscribe(
                &anon(),
                json!([{"event": "*", "schema": "public", "table": "*"}, {"event": "*", "schema": "*"}]),
            )
            .await;
        let query = "select 'mirrored'::regclass::oid, 'public.t'::regclass::oid";
        let id = RelationId(feed.database.client.query_one(query, &[]).await.unwrap().get(0));
        let column = |name: &str, number, type_id| rowcast::change::TableColumn {
            name: name.into(),
            type_id,
            number,
            primary_key: number == 1,
            generated: None,
            collation: 0,
            deterministic_collation: true,
            c_collation: true,
        };
        let table = rowcast::change::Table {
            id,
            schema: "public".into(),
            name: "mirrored".into(),
            columns: [column("id", 1, 23), column("secret", 2, 25)].into(),
            replica_identity: rowcast::change::ReplicaIdentity::Default,
            row_security: false,
            row_security_forced: false,
            owner: 10,
        };
        let needed =
            Needed { table: table.into(), columns: [0, 1].into(), keys: [0].into(), hindrance: None };
        besides.lock().unwrap().push(needed.into());
        feed.execute("alter table t add column v text").await;
        super::within(
            async {
                while counters.mirror.loads.get() == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            },
            "the load",
        )
        .await;
        // Alone, and beside a change that is delivered.
        feed.run(&[
            "insert into mirrored values (1, 'x')",
            "begin; update mirrored set secret = 'y'; insert into t values (1); delete from mirrored; commit",
        ])
        .await;
        let changes = ann.until(feed.mark().await).await;
        assert!(changes.iter().all(|change| change.data["table"] == "t"), "{changes:?}");
        assert_eq!(changes.len(), 1);
    })
    .await;
}
