//! Single answers: who may do what, and what becomes of errors.

use futures_util::future::join_all;
use rowcast::hub::authorization::{AuthorizationError, Inquiry, ReplyTo};
use rowcast::hub::{ChannelRef, ConnectionId};
use serde_json::json;

use super::{ALICE, ALL, BOB, BROADCAST, NOTHING, Office, READ, WRITE, on_each_major, raised, subject, user};

#[tokio::test]
async fn without_policies_nobody_may_do_anything_but_who_bypasses_them() {
    on_each_major(async |major| {
        let office = Office::open(major, "").await;
        let admin = subject(json!({ "role": "service_role" }), "room", json!({}));
        for question in [READ, WRITE] {
            assert_eq!(office.ask(user(ALICE, "room"), question).await, Ok(NOTHING));
            assert_eq!(office.ask(admin.clone(), question).await, Ok(ALL));
        }
    })
    .await;
}

#[tokio::test]
async fn membership_decides_for_each_extension_and_direction() {
    on_each_major(async |major| {
        let sql = format!(
            "create table members (room text, user_id uuid, may_write boolean);
             grant select on members to authenticated;
             insert into members values ('room', '{ALICE}', true), ('room', '{BOB}', false);
             create policy hear on realtime.messages for select to authenticated using (exists (
                 select from members where room = topic and user_id = (select auth.uid())));
             create policy speak on realtime.messages for insert to authenticated with check (
                 extension = 'broadcast' and exists (select from members
                     where room = realtime.topic() and user_id = (select auth.uid()) and may_write));"
        );
        let office = Office::open(major, &sql).await;
        assert_eq!(office.ask(user(ALICE, "room"), READ).await, Ok(ALL));
        assert_eq!(office.ask(user(ALICE, "room"), WRITE).await, Ok(BROADCAST));
        assert_eq!(office.ask(user(BOB, "room"), READ).await, Ok(ALL));
        assert_eq!(office.ask(user(BOB, "room"), WRITE).await, Ok(NOTHING));
        assert_eq!(office.ask(user(ALICE, "other"), READ).await, Ok(NOTHING));
        assert_eq!(
            office.ask(subject(json!({ "role": "anon" }), "room", json!({})), READ).await,
            Ok(NOTHING)
        );

        // Who was removed is not let in again, from the next question on.
        office.database.execute(&format!("delete from members where user_id = '{ALICE}'")).await;
        assert_eq!(office.ask(user(ALICE, "room"), READ).await, Ok(NOTHING));
        assert_eq!(office.ask(user(ALICE, "room"), WRITE).await, Ok(NOTHING));
    })
    .await;
}

#[tokio::test]
async fn an_error_denies_the_one_who_caused_it() {
    on_each_major(async |major| {
        let sql = "create function slow(topic text) returns boolean language plpgsql as
                       $$ begin if topic = 'slow' then perform pg_sleep(60); end if; return true; end $$;
                   create policy hear on realtime.messages for select to authenticated using (
                       auth.uid() is not null and (topic <> 'divided' or 1 / (length(topic) - 7) > 0)
                       and slow(topic));";
        let office = Office::open(major, sql).await;
        let (divided, slow) = (user(ALICE, "divided"), user(ALICE, "slow"));
        let malformed = user("not an uuid", "room");
        let good = (0..20).map(|number| office.ask(user(ALICE, &format!("room {number}")), READ));
        let (good, divided, slow, malformed) = tokio::join!(
            join_all(good),
            office.ask(divided, READ),
            office.ask(slow, READ),
            office.ask(malformed, READ)
        );
        assert!(good.iter().all(|answer| *answer == Ok(ALL)), "{good:?}");
        assert_eq!(divided, raised("22012"));
        assert_eq!(malformed, raised("22P02"));
        assert_eq!(slow, Err(AuthorizationError::Canceled));
    })
    .await;
}

#[tokio::test]
async fn a_role_that_cannot_be_taken_on_is_refused() {
    on_each_major(async |major| {
        let office = Office::open(major, "create policy hear on realtime.messages using (true);").await;
        let ask = async |role: &str, topic: &str| {
            office.ask(subject(json!({ "role": role }), topic, json!({})), READ).await
        };
        assert_eq!(ask("nobody of this name", "room").await, raised("22023"));
        // To take on this role is to be the server itself.
        assert_eq!(ask("none", "room").await, raised("22023"));
        assert_eq!(ask("", "room").await, raised("22023"));
        assert_eq!(ask("anon", "ro\0om").await, raised("22021"));
        assert_eq!(ask("anon", "room").await, Ok(ALL));
    })
    .await;
}

#[tokio::test]
async fn without_a_partition_for_now_nobody_is_let_in() {
    on_each_major(async |major| {
        let sql = "create policy hear on realtime.messages using (true); truncate realtime.messages;
             do $$ declare part regclass; begin
                 for part in select inhrelid::regclass from pg_inherits where inhparent = 'realtime.messages'::regclass
                 loop execute format('drop table %s', part); end loop;
             end $$;";
        let office = Office::open(major, sql).await;
        for question in [READ, WRITE] {
            let answer = office.ask(user(ALICE, "room"), question).await;
            assert_eq!(answer, Err(AuthorizationError::MissingPartition));
        }
        office.database.execute("drop table realtime.messages").await;
        let answer = office.ask(user(ALICE, "room"), READ).await;
        assert_eq!(answer, Err(AuthorizationError::MissingPartition));
    })
    .await;
}

#[tokio::test]
async fn channels_are_answered_in_their_shards_inbox_and_equal_questions_asked_once() {
    on_each_major(async |major| {
        let mut office = Office::open(major, "create policy hear on realtime.messages using (true);").await;
        for inquiry in 0..500 {
            let connection = ConnectionId { slot: inquiry, generation: 0 };
            let channel = ChannelRef { shard: 0, connection, join: 7 };
            let reply = ReplyTo::Channel { channel, inquiry };
            office.authorizer.ask(Inquiry { subject: user(ALICE, "room"), question: READ, reply }).unwrap();
        }
        for _ in 0..500 {
            let answer = office.authorized().await;
            assert_eq!(answer.channel.connection.slot, answer.inquiry);
            assert!(answer.result.is_ok());
        }
        assert_eq!(office.count(|counters| &counters.inquiries), 500);
        assert!(office.count(|counters| &counters.questions) < 100);
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_database_is_said_at_once() {
    use rowcast::hub::authorization::{self, Authorizer, Config};
    use rowcast::postgres::connect::Database;
    let config = Config {
        database: Database::parse("postgres://nobody@127.0.0.1:1/none").unwrap(),
        connection_count: 1,
        query_timeout: std::time::Duration::from_secs(1),
        catalog_poll: std::time::Duration::from_secs(1),
        payload_bytes_max: 1,
        commits: std::sync::Arc::default(),
        counters: Default::default(),
    };
    let (authorizer, inquiries) = Authorizer::queue(10);
    let asked = async {
        for _ in 0..3 {
            let answer = authorizer.answer(user(ALICE, "room"), READ).await;
            assert_eq!(answer, Err(AuthorizationError::Unavailable));
        }
    };
    authorization::run(config, inquiries, Vec::<super::Inbox>::new(), asked).await;
}

#[tokio::test]
async fn a_function_that_calls_itself_immutable_speaks_of_nobody_else() {
    on_each_major(async |major| {
        let sql = "create function whose() returns text language sql immutable as
                       $$ select auth.jwt() ->> 'sub' $$;
                   create policy hear on realtime.messages for select to authenticated using (topic = whose());";
        let office = Office::open(major, sql).await;
        for (who, topic, expected) in
            [(ALICE, ALICE, ALL), (BOB, ALICE, NOTHING), (BOB, BOB, ALL), (ALICE, BOB, NOTHING)]
        {
            assert_eq!(office.ask(user(who, topic), READ).await, Ok(expected), "{who} on {topic}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_others_name_like_a_built_in_operator_does_not_widen_a_policy() {
    on_each_major(async |major| {
        let sql = "create policy hear on realtime.messages for select to authenticated
                       using (topic = 'room:' || (select auth.uid()));
                   create function everywhere(text, uuid) returns text language sql stable as
                       $$ select realtime.topic() $$;
                   create operator || (leftarg = text, rightarg = uuid, function = everywhere);
                   grant execute on function everywhere(text, uuid) to public;";
        let office = Office::open(major, sql).await;
        assert_eq!(office.ask(user(ALICE, &format!("room:{ALICE}")), READ).await, Ok(ALL));
        assert_eq!(office.ask(user(ALICE, &format!("room:{BOB}")), READ).await, Ok(NOTHING));
    })
    .await;
}

#[tokio::test]
async fn a_name_too_long_for_a_role_harms_its_bearer_alone() {
    on_each_major(async |major| {
        let sql = "create policy hear on realtime.messages for select to authenticated using (true)";
        let office = Office::open(major, sql).await;
        let stranger = subject(json!({ "role": "r".repeat(64) }), "room", json!({}));
        let (refused, good) = tokio::join!(office.ask(stranger, READ), office.ask(user(ALICE, "room"), READ));
        assert_eq!(refused, raised("22023"));
        assert_eq!(good, Ok(ALL));
    })
    .await;
}
