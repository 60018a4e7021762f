//! What somebody tries who means no good, or has an unlucky token: it is refused, or costs nobody else anything.

use super::{Ann, Bob, Caller, Dan, Service, Stage, Sue, answer, call, with_ids};
use crate::support::majors;

/// The last answer of a session whose token has these claims.
async fn with_claims(stage: &Stage, claims: &str, sql: &str) -> Result<String, String> {
    let client = stage.connect().await;
    let claims = with_ids(claims);
    let prologue = format!("set role authenticated; set request.jwt.claims = '{claims}'");
    client.batch_execute(&prologue).await.unwrap();
    answer(&client, &with_ids(sql)).await
}

#[tokio::test]
async fn staff_without_a_profile_have_one_with_the_first_thing_they_do_in_support() {
    for major in majors() {
        let stage = Stage::create(major).await;
        for sql in [
            "select sender_role from public.send_message('{support}', 'x')",
            "insert into public.messages (conversation_id, content) values ('{support}', 'x') returning sender_role",
            "select public.mark_message_as_read('{s1}')",
            "select public.mark_messages_as_read('{{s1}}')",
            "select public.mark_conversation_as_read('{support}')",
            "insert into public.message_read_receipts (message_id) values ('{s1}') returning conversation_id",
            "select public.add_message_reaction('{s1}', '+1')",
            "insert into public.message_reactions (message_id, emoji) values ('{s1}', '+1') returning emoji",
            "select public.update_typing_indicator('{support}')",
        ] {
            stage.execute("delete from public.messages where sender_id = '{sue}'").await;
            stage.execute("delete from public.users where id = '{sue}'").await;
            let done = stage.call(Sue, sql).await;
            assert!(done.is_ok(), "{sql} on {major}: {done:?}");
            assert_eq!(
                stage.value("select role from public.users where id = '{sue}'").await,
                "staff",
                "{sql}"
            );
        }
        // Whoever may not do it has no profile for having tried.
        const STRANGER: &str = r#"{"sub": "e0000000-0000-4000-8000-0000000000ff"}"#;
        let tried = with_claims(&stage, STRANGER, "select public.add_message_reaction('{s1}', '+1')").await;
        assert_eq!(tried, Err("PT404".to_owned()), "on {major}");
        let made = "select count(*) from public.users where id = 'e0000000-0000-4000-8000-0000000000ff'";
        assert_eq!(stage.value(made).await, "0", "on {major}");
    }
}

#[tokio::test]
async fn claims_that_no_profile_can_hold_are_left_out_and_arguments_are_refused() {
    const SUB: &str = r#""sub": "e0000000-0000-4000-8000-0000000000ff""#;
    const CUSTOMER: &str = r#""customer_id": "e0000000-0000-4000-8000-0000000000ff""#;
    let long = "x".repeat(2049);
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("update rowcast.messaging_settings set value = 0").await;
        for claims in [
            format!(r#"{{{SUB}, "user_metadata": {{"full_name": "{long}"}}}}"#),
            format!(r#"{{{SUB}, "user_metadata": {{"username": "{long}"}}}}"#),
            format!(r#"{{{SUB}, "user_metadata": {{"user_name": "{long}"}}}}"#),
            format!(r#"{{{SUB}, "user_metadata": {{"avatar_url": "data:image/png;base64,{long}"}}}}"#),
            format!(r#"{{{SUB}, "email": "{long}"}}"#),
            format!(r#"{{{SUB}, "app_metadata": {{"role": "{long}"}}}}"#),
            format!(r#"{{{CUSTOMER}, "customer_name": "{long}"}}"#),
            format!(r#"{{{CUSTOMER}, "user_metadata": {{"full_name": "{long}"}}}}"#),
            format!(r#"{{{CUSTOMER}, "email": "{long}"}}"#),
        ] {
            stage.execute("truncate public.user_presence").await;
            stage.execute("delete from public.users where id::text like 'e%'").await;
            stage.execute("delete from public.customers where id::text like 'e%'").await;
            let there =
                with_claims(&stage, &claims, "select status from public.update_user_presence()").await;
            assert_eq!(there, Ok("online".to_owned()), "{claims:.120} on {major}");
            let people = "select coalesce(full_name, username, email, role, avatar_url, '')
                from (select * from public.users union all select id, full_name, null, email, null, null, created_at, updated_at from public.customers) p
                where id::text like 'e%'";
            assert_eq!(stage.value(people).await, "", "{claims:.120} on {major}");
        }
        // Those that fit are taken beside those that do not.
        let claims = format!(
            r#"{{{SUB}, "email": "e@x", "user_metadata": {{"username": "{long}", "full_name": "E"}}}}"#
        );
        stage.execute("delete from public.customers where id::text like 'e%'").await;
        let profile = "select p ->> 'full_name' || (p ->> 'email') || coalesce(p ->> 'username', '-') from public.upsert_profile() p";
        assert_eq!(with_claims(&stage, &claims, profile).await, Ok("Ee@x-".to_owned()), "on {major}");
        for arguments in
            [format!("'{long}'"), format!("username => '{long}'"), "avatar_url => 'data:x'".to_owned()]
        {
            let sql = format!("select public.upsert_profile({arguments})");
            assert_eq!(with_claims(&stage, &claims, &sql).await, Err("23514".to_owned()), "on {major}");
        }
    }
}

#[tokio::test]
async fn whoever_reads_or_mutes_waits_for_nobody_who_writes() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let writer = stage.connect().await;
        writer.batch_execute("begin").await.unwrap();
        writer.batch_execute(&Bob.prologue()).await.unwrap();
        answer(&writer, &with_ids("select public.send_message('{direct}', 'x')")).await.unwrap();
        let at_once = "set local lock_timeout = '1s';";
        let read = format!("{at_once} select public.mark_conversation_as_read('{{direct}}')");
        assert_eq!(stage.call(Ann, &read).await, Ok("1".to_owned()), "on {major}");
        let mute = format!(
            "{at_once} update public.conversation_participants set muted_until = now()
             where conversation_id = '{{direct}}' returning user_id"
        );
        assert_eq!(stage.call(Ann, &mute).await, Ok(with_ids("{ann}")), "on {major}");
        // Who leaves does wait: what is being sent may be theirs.
        let leave = format!("{at_once} select public.leave_conversation('{{direct}}')");
        assert_eq!(stage.call(Ann, &leave).await, Err("55P03".to_owned()), "on {major}");
        writer.batch_execute("commit").await.unwrap();
        assert_eq!(stage.call(Ann, "select public.leave_conversation('{direct}')").await, Ok("t".to_owned()));
        let there = "select participants = '{{bob}}' from public.conversations where id = '{direct}'";
        assert_eq!(stage.value(there).await, "t", "on {major}");
    }
}

#[tokio::test]
async fn messages_of_one_statement_have_times_of_their_own_though_the_clock_was_set_back() {
    const SEND: &str = "insert into public.messages (conversation_id, content)
        select '{direct}', i::text from generate_series(1, 20) i";
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("update public.conversations set last_message_at = now() + interval '1 hour'").await;
        assert_eq!(stage.call(Ann, SEND).await, Ok(String::new()), "on {major}");
        let order = "select string_agg(content, ' ' order by created_at) = string_agg(content, ' ' order by content::int)
            from public.messages where content ~ '^[0-9]+$'";
        assert_eq!(stage.value(order).await, "t", "on {major}");
        let last = "select c.last_message_at = max(m.created_at) and c.last_message_at > now()
            from public.conversations c join public.messages m on m.conversation_id = c.id
            where c.id = '{direct}' group by c.id";
        assert_eq!(stage.value(last).await, "t", "on {major}");
    }
}

#[tokio::test]
async fn search_is_for_a_few_words() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let few = "select count(*) from public.search_messages(repeat('direct ', 146))";
        assert_eq!(stage.call(Ann, few).await, Ok("2".to_owned()), "on {major}");
        let many = "select count(*) from public.search_messages(repeat('direct ', 147))";
        assert_eq!(stage.call(Ann, many).await, Err("22023".to_owned()), "on {major}");
        assert_eq!(stage.call(Service, many).await, Err("22023".to_owned()), "on {major}");
    }
}

#[tokio::test]
async fn person_reacts_to_a_message_with_so_many_emoji_and_no_more() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let react = |from: u32, to: u32| {
            format!(
                "insert into public.message_reactions (message_id, emoji)
                 select '{{d2}}', i::text from generate_series({from}, {to}) i"
            )
        };
        assert_eq!(stage.call(Ann, &react(1, 21)).await, Err("22023".to_owned()), "on {major}");
        assert_eq!(stage.call(Ann, &react(1, 20)).await, Ok(String::new()), "on {major}");
        let more = "select emoji from public.add_message_reaction('{d2}', 'more')";
        assert_eq!(stage.call(Ann, more).await, Err("22023".to_owned()), "on {major}");
        // The same again is no other one; those of somebody else are theirs; and one taken back makes room.
        let again = "select emoji from public.add_message_reaction('{d2}', '20')";
        assert_eq!(stage.call(Ann, again).await, Ok("20".to_owned()), "on {major}");
        assert_eq!(stage.call(Bob, more).await, Ok("more".to_owned()), "on {major}");
        stage.call(Ann, "select public.remove_message_reaction('{d2}', '20')").await.unwrap();
        assert_eq!(stage.call(Ann, more).await, Ok("more".to_owned()), "on {major}");
    }
}

#[tokio::test]
async fn edits_reactions_and_new_conversations_are_limited_and_taking_back_is_not() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage
            .execute("update rowcast.messaging_settings set value = 3 where name = 'changes_per_minute'")
            .await;
        for (caller, again, sql) in [
            (
                Ann,
                "select public.delete_message('{d1}')",
                "update public.messages set content = content || 'x' where id = '{d1}'",
            ),
            (
                Bob,
                "delete from public.message_reactions",
                "insert into public.message_reactions (message_id, emoji) values ('{d2}', clock_timestamp()::text)",
            ),
            (
                Dan,
                "select public.leave_conversation('{other}')",
                "select public.start_conversation('{{ann}}', kind => 'group')",
            ),
        ] {
            for time in 0..3 {
                let done = stage.call(caller, sql).await;
                assert!(done.is_ok(), "{sql}: call {time} on {major}: {done:?}");
            }
            assert_eq!(stage.call(caller, sql).await, Err("PT429".to_owned()), "{sql} on {major}");
            assert!(stage.call(caller, again).await.is_ok(), "{again} on {major}");
        }
        // One that is found again is not new.
        assert!(stage.call(Ann, "select public.start_conversation('{{bob}}')").await.is_ok(), "on {major}");
    }
}

/// How often a function of the schema rowcast was called by one call of a caller's.
async fn calls(stage: &Stage, caller: Caller, sql: &str, function: &str) -> u32 {
    let client = stage.connect().await;
    client.batch_execute("set track_functions = 'all'").await.unwrap();
    client.batch_execute("begin").await.unwrap();
    client.batch_execute(&caller.prologue()).await.unwrap();
    answer(&client, &with_ids(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    client.batch_execute("reset role").await.unwrap();
    let count = format!("select coalesce(pg_stat_get_xact_function_calls('rowcast.{function}'::regproc), 0)");
    let count = answer(&client, &count).await.unwrap();
    client.batch_execute("rollback").await.unwrap();
    count.parse().unwrap()
}

#[tokio::test]
async fn what_is_missed_or_unread_is_decided_once_for_a_conversation() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("update rowcast.messaging_settings set value = 0").await;
        let send = "insert into public.messages (conversation_id, content) select '{direct}', i::text from generate_series(1, 500) i";
        call(&stage.database.client, Bob, send, "commit").await.unwrap();
        let check =
            "select jsonb_array_length(rowcast.catch_up(repeat('00', 32), '-infinity', 1) -> 'messages')";
        let asked = calls(&stage, Ann, check, "takes_part").await;
        assert!(asked < 50, "takes_part() was asked {asked} times on {major}");
        assert_eq!(
            calls(&stage, Ann, "select public.get_unread_counts()", "unread_count").await,
            2,
            "on {major}"
        );
    }
}
