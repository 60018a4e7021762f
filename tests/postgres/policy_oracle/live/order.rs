//! Rights at the commit: what is revoked before a message and after it, one after another and at once.

use crate::feed::on_each_major;

use super::super::DECIDES;
use super::Stage;

#[tokio::test]
async fn case_49_a_message_after_a_revocation_is_hidden_and_one_before_it_is_not() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        // Consecutive commits, read together.
        let step = stage
            .run(&["delete from people where who = '{2}' and room = 3; commit; insert into t values (1, 3, 'a')"])
            .await;
        assert_eq!(step.ids(), [vec![1], vec![], vec![]]);
        let step = stage
            .run(&["insert into people values (3, '{2}'); commit; insert into t values (2, 3, 'a'); commit;
                    delete from people where who = '{2}' and room = 3; commit; insert into t values (3, 3, 'a')"])
            .await;
        let seen = step.ids();
        assert_eq!(seen[0], [2, 3]);
        // Postgres answers as of now, and may have been asked after the revocation.
        assert!(seen[1] == [2] || seen[1].is_empty() && !DECIDES, "{seen:?}");
        // A message before it was let in is hidden from whoever comes later.
        let step = stage
            .run(&["insert into t values (4, 5, 'a'); commit; insert into people values (5, '{2}'); commit; insert into t values (5, 5, 'a')"])
            .await;
        let seen = step.ids();
        assert!(seen[1] == [5] || seen[1] == [4, 5] && !DECIDES, "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn case_49b_the_order_of_commits_decides_not_that_of_statements() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        let (revoking, writing) = (stage.feed.session().await, stage.feed.session().await);
        let revoke = super::fill("begin; delete from people where who = '{2}' and room = 3");
        let grant = super::fill("begin; insert into people values (3, '{2}')");
        // Revoked first, committed last.
        revoking.batch_execute(&revoke).await.unwrap();
        writing.batch_execute("begin; insert into t values (1, 3, 'a')").await.unwrap();
        writing.batch_execute("commit").await.unwrap();
        let step = stage.gather().await;
        assert_eq!(step.ids(), [vec![1], vec![1], vec![]]);
        revoking.batch_execute("commit").await.unwrap();
        // Written first, committed last.
        writing.batch_execute("begin; insert into t values (2, 3, 'a')").await.unwrap();
        revoking.batch_execute(&grant).await.unwrap();
        revoking.batch_execute("commit").await.unwrap();
        writing.batch_execute("commit").await.unwrap();
        assert_eq!(stage.gather().await.ids(), [vec![2], vec![2], vec![]]);
        writing.batch_execute("begin; insert into t values (3, 3, 'a')").await.unwrap();
        revoking.batch_execute(&revoke).await.unwrap();
        revoking.batch_execute("commit").await.unwrap();
        writing.batch_execute("commit").await.unwrap();
        assert_eq!(stage.gather().await.ids(), [vec![3], vec![], vec![]]);
        // A right that has not been committed is none.
        revoking.batch_execute(&grant).await.unwrap();
        writing.batch_execute("insert into t values (4, 3, 'a')").await.unwrap();
        assert_eq!(stage.gather().await.ids(), [vec![4], vec![], vec![]]);
        revoking.batch_execute("rollback").await.unwrap();
    })
    .await;
}

/// How often a revocation and a message race.
const RACES: usize = 40;

#[tokio::test]
async fn case_49c_of_a_revocation_and_a_message_at_once_the_first_to_commit_was_first() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "select publish('people')").await;
        let (one, other) = (stage.feed.session().await, stage.feed.session().await);
        let (mut before, mut after) = (0, 0);
        for round in 0..RACES {
            stage
                .feed
                .execute(&super::fill("insert into people values (3, '{2}') on conflict do nothing"))
                .await;
            stage.gather().await;
            let revoke = super::fill("delete from people where who = '{2}' and room = 3");
            let message = format!("insert into t values ({round}, 3, 'a')");
            let (revoked, written) = if round % 2 == 0 {
                tokio::join!(one.batch_execute(&revoke), other.batch_execute(&message))
            } else {
                let (written, revoked) =
                    tokio::join!(other.batch_execute(&message), one.batch_execute(&revoke));
                (revoked, written)
            };
            revoked.and(written).unwrap();
            let step = stage.gather().await;
            let place = |table: &str| step.all.iter().position(|heard| heard.table == table).unwrap();
            let seen = &step.ids()[1];
            if place("people") < place("t") {
                after += 1;
                assert!(seen.is_empty(), "{:?}", step.all);
            } else {
                before += 1;
                assert!(seen.len() == 1 || !DECIDES, "{:?}", step.all);
            }
        }
        println!("PostgreSQL {major}: {before} messages before their revocation, {after} after it");
    })
    .await;
}
