//! Rows that change: moves into sight and out of it, drafts, keys, long values.

use crate::feed::on_each_major;

use super::super::DECIDES;
use super::{Stage, user};

#[tokio::test]
async fn case_42_a_long_value_that_did_not_change_is_still_known() {
    on_each_major(async |major| {
        for identity in ["default", "full"] {
            let schema = format!(
                "create table t (id int primary key, members text, body text); alter table t replica identity {identity};
                 alter table t alter members set storage external; alter table t enable row level security;
                 create policy p on t using (members like '%' || auth.uid()::text || '%'); select publish('t')"
            );
            let mut stage = Stage::open(major, &schema, &[user(1), user(2)]).await;
            stage.step(&["insert into t values (1, repeat('{1} ', 200), 'a'), (2, repeat('{2} ', 200), 'a')"]).await;
            let step = stage.step(&["update t set body = 'b'"]).await;
            assert_eq!(step.ids(), [[1], [2]]);
            stage.step(&["update t set members = repeat('{2} {1} ', 200) where id = 1"]).await;
            stage.step(&["update t set members = null"]).await;
            stage.step(&["update t set body = 'c'"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn case_43_a_row_keeps_being_judged_when_its_key_changes() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        stage.step(&["insert into t values (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')"]).await;
        stage.step(&["update t set id = id + 10"]).await;
        let step = stage.step(&["update t set id = id + 10, room = 3 - room where id < 13"]).await;
        assert_eq!(step.ids(), [vec![22], vec![21], vec![]]);
        stage
            .step(&[
                "update people set who = '{3}' where who = '{1}' and room = 3",
                "update t set body = 'x'",
            ])
            .await;
        let step =
            stage.step(&["update people set room = 9 where room = 3", "update t set body = 'y'"]).await;
        assert_eq!(step.ids(), [vec![22], vec![21], vec![]]);
    })
    .await;
}

#[tokio::test]
async fn case_44_rows_move_into_sight_and_out_of_it() {
    on_each_major(async |major| {
        for identity in ["default", "full"] {
            let mut stage = Stage::rooms(major, &format!("alter table t replica identity {identity}")).await;
            stage.step(&["insert into t values (1, 1, 'a'), (2, null, 'b')"]).await;
            let step = stage.step(&["update t set room = 2 where id = 1"]).await;
            assert_eq!(step.ids(), [vec![], vec![1], vec![]]);
            let step = stage.step(&["update t set room = 1 where id = 2"]).await;
            assert_eq!(step.ids(), [vec![2], vec![], vec![]]);
            stage.step(&["update t set room = null"]).await;
            stage.step(&["update t set room = 3"]).await;
            stage
                .step(&["update people set left_at = now() where who = '{1}'", "update t set body = 'c'"])
                .await;
            stage.step(&["update people set left_at = null", "update t set body = 'd'"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn case_45_what_no_snapshot_ever_showed_is_shown_to_nobody() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        let step = stage.run(&["insert into t values (1, 3, 'gone'); delete from t where id = 1"]).await;
        assert_eq!(step.ids(), [[0_u64; 0]; 3]);
        // A draft in one room, published in another.
        let step = stage
            .run(&["insert into t values (2, 2, 'draft'); update t set room = 1, body = 'said' where id = 2"])
            .await;
        let kinds: Vec<&str> = step.each[0].iter().map(|heard| &*heard.kind).collect();
        assert_eq!((step.ids(), kinds), (vec![vec![2], vec![], vec![]], vec!["UPDATE"]));
        let step = stage
            .run(&["insert into t values (3, 3, 'a'); update t set room = 2 where id = 3; update t set room = 3 where id = 3"])
            .await;
        assert_eq!(step.ids(), [vec![3, 3], vec![3, 3, 3], vec![]]);
        let step = stage.run(&["insert into t values (4, 3, 'a'); update t set id = 5, room = 2 where id = 4"]).await;
        assert_eq!(step.ids()[0], [0_u64; 0]);
        assert_eq!(step.ids()[1].last(), Some(&5));
    })
    .await;
}

#[tokio::test]
async fn case_46_who_comes_in_with_a_message_sees_it_in_either_order() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        let step = stage.step(&["insert into people values (7, '{1}'); insert into t values (1, 7, 'a')"]).await;
        assert_eq!(step.ids(), [vec![1], vec![], vec![]]);
        let step = stage.step(&["insert into t values (2, 8, 'a'); insert into people values (8, '{2}')"]).await;
        assert_eq!(step.ids(), [vec![], vec![2], vec![]]);
        // And who leaves with it does not.
        stage.step(&["delete from people where room = 7; insert into t values (3, 7, 'a')"]).await;
        let step = stage.step(&["insert into t values (4, 8, 'a'); delete from people where room = 8"]).await;
        assert_eq!(step.ids(), [[0_u64; 0]; 3]);
        // Rows of the same transaction that came and went.
        stage.step(&["insert into people values (9, '{1}'); delete from people where room = 9; insert into t values (5, 9, '')"]).await;
        stage.step(&["insert into people values (9, '{1}'); update people set who = '{2}' where room = 9; insert into t values (6, 9, '')"])
            .await;
    })
    .await;
}

#[tokio::test]
async fn case_47_what_was_rolled_back_grants_nothing() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        let step = stage
            .step(&["begin; savepoint s; insert into people values (7, '{1}'), (2, '{1}'); rollback to s;
                insert into t values (1, 7, 'a'), (2, 2, 'b'); commit"])
            .await;
        assert_eq!(step.ids(), [vec![], vec![2], vec![]]);
        stage
            .step(&["begin; delete from people; savepoint s; insert into people values (1, '{2}'); release s;
                savepoint r; delete from people; rollback to r; insert into t values (3, 1, 'a'), (4, 3, 'b'); commit"])
            .await;
        stage.step(&["begin; insert into people values (4, '{1}'); rollback", "insert into t values (5, 4, '')"]).await;
    })
    .await;
}

#[tokio::test]
async fn case_48_a_truncation_takes_all_rows_of_a_relation() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(
            major,
            "create table halls (hall int primary key); insert into halls values (1), (2), (3);
             create table guests (hall int references halls, who uuid, primary key (hall, who));
             insert into guests values (1, '{1}'), (2, '{1}'), (2, '{2}'); grant select on guests to public;
             create policy guests on t using (exists (select from guests g where g.hall = t.id and g.who = auth.uid()))",
        )
        .await;
        stage.step(&["insert into t values (1, 1, 'a'), (2, 2, 'a'), (3, 3, 'a')"]).await;
        let step = stage.step(&["truncate people", "update t set body = 'b'"]).await;
        assert_eq!(step.ids(), [vec![1, 2], vec![2], vec![]]);
        let step = stage.step(&["truncate halls cascade", "update t set body = 'c'"]).await;
        assert_eq!(step.ids(), [[0_u64; 0]; 3]);
        stage.step(&["begin; insert into people values (1, '{1}'); truncate people; insert into people values (2, '{2}');
             update t set body = 'd'; commit"]).await;
        stage.step(&["begin; truncate people; rollback", "update t set body = 'e'"]).await;
    })
    .await;
}

#[tokio::test]
async fn case_59_who_comes_between_two_commits_gets_the_second() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        stage.step(&["insert into t values (1, 1, 'a')"]).await;
        stage.join(&user(1)).await;
        let step = stage.step(&["insert into t values (2, 1, 'a')"]).await;
        assert_eq!(step.ids(), [vec![2], vec![], vec![], vec![2]]);
        // A new token takes effect between two commits, too.
        let (caller, subscriber) = stage.watchers.last_mut().unwrap();
        *caller = user(2);
        let claims = super::claims_of(caller);
        let refresh = rowcast::hub::FeedCommand::Refresh { channel: subscriber.channel, claims };
        stage.feed.command(refresh).await;
        let late = user(3);
        // Commands are taken in their order: whoever joined after it has seen it done.
        stage.join(&late).await;
        let step = stage.step(&["insert into t values (3, 1, 'a'), (4, 2, 'a')"]).await;
        assert_eq!(step.ids()[3], [4]);
        stage.step(&["insert into people values (4, '{3}'); insert into t values (5, 4, 'a')"]).await;
    })
    .await;
}

#[tokio::test]
async fn case_60_after_an_interruption_everything_is_known_again() {
    on_each_major(async |major| {
        let mut stage = Stage::rooms(major, "").await;
        stage.step(&["insert into t values (1, 1, 'a'), (2, 2, 'a'), (3, 3, 'a')"]).await;
        for round in 0..3 {
            let streams = stage.feed.counters.streams.get();
            stage
                .feed
                .execute(
                    "select pg_terminate_backend(active_pid) from pg_replication_slots
                      where database = current_database() and active_pid is not null",
                )
                .await;
            // While nobody listens.
            let moves = [
                "delete from people where room = 3",
                "insert into people values (3, '{2}'), (1, '{2}')",
                "truncate people",
            ];
            stage.feed.execute(&super::fill(moves[round])).await;
            let live = async {
                while stage.feed.counters.streams.get() == streams {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            };
            crate::feed::within(live, "a stream").await;
            stage.settle("after an interruption").await;
            let step = stage
                .step(&[
                    "insert into people values (2, '{1}') on conflict do nothing",
                    "update t set body = 'x'",
                ])
                .await;
            assert!(step.ids()[0].contains(&2) || !DECIDES);
        }
    })
    .await;
}
