//! What is remembered, and what makes it forgotten.

use rowcast::hub::authorization::{self, AuthorizationError, Authorizer, Config, Inquiry, ReplyTo};
use rowcast::hub::{ChannelRef, ConnectionId};
use rowcast::postgres::connect::Database;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    ALICE, ALL, BOB, BROADCAST, Inbox, NOTHING, Office, READ, WITHIN, WRITE, messages, next_authorized,
    on_each_major, raised, subject, user,
};

#[tokio::test]
async fn policies_about_the_caller_are_asked_once_for_each_caller() {
    on_each_major(async |major| {
        let sql = format!(
            "create policy hear on realtime.messages for select to authenticated using (
                 realtime.topic() like 'room%' and (select auth.uid()) = '{ALICE}');"
        );
        let mut office = Office::open(major, &sql).await;
        for _ in 0..3 {
            assert_eq!(office.ask(user(ALICE, "room"), READ).await, Ok(ALL));
            assert_eq!(office.ask(user(BOB, "room"), READ).await, Ok(NOTHING));
            // Claims that the policy does not read make no difference.
            let more = json!({ "role": "authenticated", "sub": ALICE, "session_id": "other" });
            assert_eq!(office.ask(subject(more, "room", json!({})), READ).await, Ok(ALL));
        }
        assert_eq!(office.ask(user(ALICE, "hall"), READ).await, Ok(NOTHING));
        let (asked, remembered) = (office.counters.questions.get(), office.counters.cache_hits.get());
        // Roles that other tests make meanwhile have all of it asked again.
        let changes = office.counters.policy_changes.get();
        assert!((3..=3 + 4 * changes).contains(&asked), "{asked} asked, {changes} changes");
        assert!(
            remembered <= 7 && remembered + 3 * changes >= 7,
            "{remembered} remembered, {changes} changes"
        );

        office.change("drop policy hear on realtime.messages").await;
        assert_eq!(office.ask(user(ALICE, "room"), READ).await, Ok(NOTHING));
        assert_eq!(office.counters.probes.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn policies_that_read_more_are_asked_each_time() {
    on_each_major(async |major| {
        let mut office =
            Office::open(major, "create table members (room text); grant select on members to public").await;
        office.ask(user(ALICE, "room"), READ).await.unwrap();
        for reads_more in [
            "exists (select from members where room = topic)",
            "now() > '2020-01-01'",
            "inserted_at > '2020-01-01'",
            "random() > 2",
            "current_setting('app.open', true) = 'yes'",
            "pg_has_role('authenticated', 'usage')",
        ] {
            let sql = format!(
                "drop policy if exists hear on realtime.messages;
                 create policy hear on realtime.messages for select using ({reads_more})"
            );
            office.change(&sql).await;
            for _ in 0..2 {
                office.ask(user(ALICE, "room"), READ).await.unwrap();
            }
            assert_eq!(office.counters.cache_hits.get(), 0, "{reads_more}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_change_of_rights_is_told_and_heeded() {
    on_each_major(async |major| {
        let sql = "create function may() returns boolean language sql as $$ select true $$;
             create policy hear on realtime.messages for select to authenticated using (true);
             create policy speak on realtime.messages for insert to authenticated with check (may());";
        let mut office = Office::open(major, sql).await;
        let group = format!("group_of_{}", office.database.url.rsplit('/').next().unwrap());
        let ask = async |office: &Office, question| office.ask(user(ALICE, "room"), question).await;
        assert_eq!((ask(&office, READ).await, ask(&office, WRITE).await), (Ok(ALL), Ok(ALL)));

        office.change("create or replace function may() returns boolean language sql as $$ select false $$").await;
        assert_eq!(ask(&office, WRITE).await, Ok(NOTHING));
        office.change("alter policy speak on realtime.messages with check (extension = 'broadcast')").await;
        assert_eq!(ask(&office, WRITE).await, Ok(BROADCAST));
        office.change("revoke insert on realtime.messages from authenticated").await;
        assert_eq!(ask(&office, WRITE).await, Ok(NOTHING));
        office.change("revoke usage on schema realtime from authenticated").await;
        assert_eq!(ask(&office, READ).await, raised("42501"));
        office.change("grant usage on schema realtime to authenticated").await;
        assert_eq!(ask(&office, READ).await, Ok(ALL));
        office
            .change(&format!("create role {group}; alter policy hear on realtime.messages to {group}"))
            .await;
        assert_eq!(ask(&office, READ).await, Ok(NOTHING));
        // It was made without INHERIT, and takes on what it is granted only where that is asked for.
        office.change(&format!("alter role authenticated inherit; grant {group} to authenticated")).await;
        assert_eq!(ask(&office, READ).await, Ok(ALL));
        office.change(&format!("revoke {group} from authenticated")).await;
        assert_eq!(ask(&office, READ).await, Ok(NOTHING));
        office.change("alter role authenticated noinherit; alter table realtime.messages disable row level security").await;
        assert_eq!(ask(&office, READ).await, Ok(ALL));
        office.change("drop table realtime.messages").await;
        assert_eq!(ask(&office, READ).await, Err(AuthorizationError::MissingPartition));
    })
    .await;
}

#[tokio::test]
async fn policies_with_private_helpers_need_no_row_and_keep_nobody_from_dropping_them() {
    on_each_major(async |major| {
        let sql = format!(
            "create schema private;
             create table private.members (room text, user_id uuid);
             insert into private.members values ('room', '{ALICE}');
             create function private.is_member(place text) returns boolean language sql stable security definer as
                 $$ select exists (select from private.members where room = place and user_id = auth.uid()) $$;
             create policy hear on realtime.messages for select using (private.is_member(topic));"
        );
        let mut office = Office::open(major, &sql).await;
        assert_eq!(office.ask(user(ALICE, "room"), READ).await, Ok(ALL));
        assert_eq!(office.ask(user(BOB, "room"), READ).await, Ok(NOTHING));
        assert_eq!(office.counters.probes.get(), 0);
        office.change("drop policy hear on realtime.messages; drop function private.is_member").await;
        assert_eq!(office.ask(user(ALICE, "room"), READ).await, Ok(NOTHING));
    })
    .await;
}

#[tokio::test]
async fn a_shard_that_takes_nothing_holds_up_no_other() {
    let database = messages(15, "").await;
    let config = Config {
        database: Database::parse(&database.url).unwrap(),
        connection_count: 1,
        query_timeout: WITHIN,
        catalog_poll: WITHIN,
        payload_bytes_max: 1,
        commits: std::sync::Arc::default(),
        counters: Default::default(),
    };
    let (authorizer, inquiries) = Authorizer::queue(1_000);
    let ((full, _unread), (open, mut commands)) = (mpsc::channel(1), mpsc::channel(1));
    for number in 0..100 {
        let connection = ConnectionId { slot: number, generation: 0 };
        let channel = ChannelRef { shard: u16::from(number == 99), connection, join: 0 };
        let reply = ReplyTo::Channel { channel, inquiry: 0 };
        authorizer.ask(Inquiry { subject: user(ALICE, "room"), question: READ, reply }).unwrap();
    }
    let answered = async {
        assert_eq!(next_authorized(&mut commands).await.channel.connection.slot, 99);
    };
    authorization::run(config, inquiries, vec![Inbox(full), Inbox(open)], answered).await;
}

#[tokio::test]
async fn a_server_without_rights_on_the_table_answers_without_rows() {
    on_each_major(async |major| {
        let sql = format!(
            "create table members (room text, user_id uuid);
             insert into members values ('room', '{ALICE}');
             grant select on members to authenticated;
             create policy hear on realtime.messages for select to authenticated using (exists (
                 select from members where room = topic and user_id = auth.uid()));
             do $$ begin create role modest login; exception when duplicate_object then null; end $$;
             grant anon, authenticated to modest;"
        );
        let mut database = messages(major, &sql).await;
        database.url = database.url.replace("//postgres@", "//modest@");
        let name = database.url.rsplit('/').next().unwrap().to_owned();
        let office = Office::over(database, WITHIN).await;
        assert_eq!(office.ask(user(ALICE, "room"), READ).await, Ok(ALL));
        assert_eq!(office.ask(user(BOB, "room"), READ).await, Ok(NOTHING));
        assert_eq!(office.ask(user(ALICE, "room"), WRITE).await, Ok(NOTHING));
        assert_eq!(office.counters.probes.get(), 0);
        // A role that it may not take on.
        let admin = subject(json!({ "role": "service_role" }), "room", json!({}));
        assert_eq!(office.ask(admin, READ).await, raised("42501"));

        // Without the right to make functions of its own every question takes a row, which it may not insert.
        office.database.execute(&format!("revoke temporary on database {name} from public")).await;
        office
            .database
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rowcast_authorization' and usename = 'modest' and datname = current_database()")
            .await;
        assert_eq!(office.ask(user(ALICE, "room"), READ).await, raised("42501"));
    })
    .await;
}
