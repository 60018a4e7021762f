//! How often a person may do what, and what a refusal says and changes.

use super::{Ann, Bob, Caller, Cus, Dan, Service, Stage, Sue, with_ids};
use crate::support::majors;

/// As a caller, in a transaction of its own: the refusal's SQLSTATE, detail and hint.
async fn refusal(stage: &Stage, caller: Caller, sql: &str) -> (String, String, String) {
    let client = stage.connect().await;
    client.batch_execute("begin").await.unwrap();
    client.batch_execute(&caller.prologue()).await.unwrap();
    let error = client.batch_execute(&with_ids(sql)).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    (
        error.code().code().to_owned(),
        error.detail().unwrap_or_default().to_owned(),
        error.hint().unwrap_or_default().to_owned(),
    )
}

fn seconds(detail: &str) -> u32 {
    let seconds = detail.strip_prefix("retry after ").and_then(|rest| rest.strip_suffix(" seconds"));
    seconds.unwrap_or_else(|| panic!("{detail:?}")).parse().unwrap()
}

#[tokio::test]
async fn each_limit_refuses_what_goes_beyond_it_and_says_how_long_to_wait() {
    const TYPE: &str = "select public.update_typing_indicator('{direct}', is_typing => false);
        select public.update_typing_indicator('{direct}')";
    const BE: &str = "select public.update_user_presence()";
    const READ: &str = "select public.mark_messages_as_read('{{o1}}')";
    const SEND: &str = "insert into public.messages (conversation_id, content) values ('{direct}', 'x')";
    for major in majors() {
        let stage = Stage::create(major).await;
        stage
            .execute(
                "update rowcast.messaging_settings set value = 3 where name in ('messages_per_minute', 'receipts_per_minute')",
            )
            .await;
        for (setting, most, sql) in [
            ("typing_per_minute", 10, TYPE),
            ("presence_per_minute", 6, BE),
            ("receipts_per_minute", 3, READ),
            ("messages_per_minute", 3, SEND),
        ] {
            for time in 0..most {
                assert!(stage.call(Ann, sql).await.is_ok(), "{setting}: call {time} on {major}");
            }
            let (code, detail, hint) = refusal(&stage, Ann, sql).await;
            assert_eq!((code.as_str(), hint.as_str()), ("PT429", setting), "on {major}");
            assert!((1..=60).contains(&seconds(&detail)), "{setting} on {major}: {detail}");
            // Others have limits of their own, and a trusted server has none.
            assert!(stage.call(Bob, sql).await.is_ok(), "{setting} on {major}");
        }
        for _ in 0..20 {
            stage.call(Service, "select public.update_typing_indicator('{direct}', '{ann}')").await.unwrap();
        }
        // Another conversation is another scope, a stop is no start, and what was read already is no use.
        assert!(
            stage.call(Ann, "select public.update_typing_indicator('{group}')").await.is_ok(),
            "on {major}"
        );
        let stop = "select public.update_typing_indicator('{direct}', is_typing => false)";
        assert!(stage.call(Ann, stop).await.is_ok(), "on {major}");
        assert!(stage.call(Bob, "select public.mark_message_as_read('{d1}')").await.is_ok(), "on {major}");
    }
}

#[tokio::test]
async fn who_goes_on_typing_counts_once_and_writes_once_a_second_at_most() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage
            .execute("update rowcast.messaging_settings set value = 1 where name = 'typing_per_minute'")
            .await;
        let types = |seconds: u32| {
            format!(
                "select expires_at from public.update_typing_indicator('{{direct}}', expires_in_seconds => {seconds})"
            )
        };
        let first = stage.call(Ann, &types(5)).await.unwrap();
        // Less than a second more moves nothing, and neither does an earlier end.
        for seconds in [5, 1] {
            assert_eq!(stage.call(Ann, &types(seconds)).await, Ok(first.clone()), "on {major}");
        }
        let later = stage.call(Ann, &types(7)).await.unwrap();
        assert_ne!(later, first, "on {major}");
        // What is over, or was stopped, begins anew.
        stage.execute("update public.message_typing_indicators set expires_at = now()").await;
        let (code, ..) = refusal(&stage, Ann, &types(5)).await;
        assert_eq!(code, "PT429", "on {major}");
        let written = "select count(*) from public.message_typing_indicators where expires_at > now()";
        assert_eq!(stage.value(written).await, "0", "on {major}");
    }
}

#[tokio::test]
async fn refused_call_changes_nothing_and_the_minute_ends() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage
            .execute("update rowcast.messaging_settings set value = 1 where name = 'messages_per_minute'")
            .await;
        stage
            .call(Ann, "select public.send_message('{direct}', 'one', client_message_id => 'k')")
            .await
            .unwrap();
        let state = "select (select count(*) from public.messages) || ' ' || (select sum(used) from rowcast.messaging_rates)";
        let before = stage.value(state).await;
        let (code, ..) = refusal(&stage, Ann, "select public.send_message('{direct}', 'two')").await;
        assert_eq!(code, "PT429", "on {major}");
        assert_eq!(stage.value(state).await, before, "on {major}");
        // A call that is sent again is answered, as it sends nothing.
        assert!(
            stage
                .call(Ann, "select public.send_message('{direct}', 'one', client_message_id => 'k')")
                .await
                .is_ok()
        );

        stage
            .execute("update rowcast.messaging_rates set started_at = started_at - interval '30 seconds'")
            .await;
        let (_, detail, _) = refusal(&stage, Ann, "select public.send_message('{direct}', 'two')").await;
        assert!((1..=30).contains(&seconds(&detail)), "on {major}: {detail}");
        stage
            .execute("update rowcast.messaging_rates set started_at = started_at - interval '30 seconds'")
            .await;
        assert!(stage.call(Ann, "select public.send_message('{direct}', 'two')").await.is_ok(), "on {major}");
        stage
            .execute("update rowcast.messaging_settings set value = 0 where name = 'messages_per_minute'")
            .await;
        for _ in 0..5 {
            assert!(
                stage.call(Ann, "select public.send_message('{direct}', 'more')").await.is_ok(),
                "on {major}"
            );
        }
    }
}

#[tokio::test]
async fn rates_are_kept_apart_by_person_and_forgotten_after_a_minute() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let rows = "select count(*) from rowcast.messaging_rates";
        // Whoever types already would go on with it.
        stage.execute("delete from public.message_typing_indicators").await;
        for (caller, conversation) in [
            (Ann, "direct"),
            (Ann, "group"),
            (Bob, "direct"),
            (Dan, "other"),
            (Cus, "support"),
            (Sue, "support"),
        ] {
            for _ in 0..2 {
                let sql = format!("select public.update_typing_indicator('{{{conversation}}}')");
                stage.call(caller, &sql).await.unwrap();
            }
        }
        assert_eq!(stage.value(rows).await, "6", "on {major}");
        let unlogged = "select relpersistence from pg_class where oid = 'rowcast.messaging_rates'::regclass";
        assert_eq!(stage.value(unlogged).await, "u", "on {major}");
        stage.execute("select rowcast.expire_typing()").await;
        assert_eq!(stage.value(rows).await, "6", "on {major}");
        stage
            .execute("update rowcast.messaging_rates set started_at = started_at - interval '61 seconds'")
            .await;
        stage.execute("select rowcast.expire_typing()").await;
        assert_eq!(stage.value(rows).await, "0", "on {major}");
    }
}
