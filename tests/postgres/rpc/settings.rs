//! What `alter role … set` says holds for that role's calls, as with PostgREST, and for nobody else's.

use std::time::Duration;

use rowcast::postgres::rpc::{Caller, Config};
use serde_json::{Value, json};

use super::{Desk, ann, anon, on_each_major};

/// A cluster has its roles in common with other tests: what is set here is set for this database alone.
const OBJECTS: &str = r#"
create function found(setting text) returns text language sql volatile as 'select current_setting(setting, true)';
create function sleep_for(seconds float) returns int language sql volatile as 'select 1 from pg_sleep(seconds)';
create function patient() returns int language sql volatile set statement_timeout = '10s'
  as 'select 1 from pg_sleep(0.3)';
create function hasty() returns int language sql volatile set statement_timeout = '50ms'
  as 'select 1 from pg_sleep(30)';
create function moment() returns json language sql volatile
  as $$ select to_json(timestamptz '2026-07-01 12:00:00+00') $$;
"#;

async fn desk(major: u32, configure: impl FnOnce(Config) -> Config) -> Desk {
    Desk::configured(major, OBJECTS, |config| configure(Config { connections: 1, ..config })).await
}

async fn set(desk: &Desk, role: &str, setting: &str) {
    let database: String =
        desk.database.client.query_one("select current_database()", &[]).await.unwrap().get(0);
    desk.database.execute(&format!("alter role {role} in database \"{database}\" {setting}")).await;
}

async fn found(desk: &Desk, caller: &Caller, setting: &str) -> Value {
    desk.json(caller, "found", json!({ "setting": setting })).await
}

#[tokio::test]
async fn settings_of_a_role_hold_for_its_calls_alone_and_as_they_are_now() {
    on_each_major(async |major| {
        let desk = desk(major, |config| config).await;
        assert_eq!(found(&desk, &anon(), "lock_timeout").await, "0");
        set(&desk, "anon", "set lock_timeout = '1234ms'").await;
        set(&desk, "anon", "set app.plan = 'free, of charge'").await;
        set(&desk, "anon", "set search_path = 'nowhere', public").await;
        for _ in 0..2 {
            assert_eq!(found(&desk, &anon(), "lock_timeout").await, "1234ms");
            assert_eq!(found(&desk, &anon(), "app.plan").await, "free, of charge");
            assert_eq!(found(&desk, &anon(), "search_path").await, "nowhere, public");
            // The same session makes the next call.
            assert_eq!(found(&desk, &ann(), "lock_timeout").await, "0");
            assert_eq!(found(&desk, &ann(), "search_path").await, "\"public\", public, extensions");
            assert!(matches!(found(&desk, &ann(), "app.plan").await.as_str(), None | Some("")));
        }
        set(&desk, "anon", "reset lock_timeout").await;
        assert_eq!(found(&desk, &anon(), "lock_timeout").await, "0", "at the next call");
        assert_eq!(found(&desk, &anon(), "app.plan").await, "free, of charge");
        set(&desk, "anon", "reset all").await;
        assert_eq!(found(&desk, &anon(), "search_path").await, "\"public\", public, extensions");
    })
    .await;
}

#[tokio::test]
async fn the_shortest_of_the_timeouts_that_apply_ends_a_call() {
    on_each_major(async |major| {
        let desk = desk(major, |config| config).await;
        let slow = json!({ "seconds": 30 });
        let canceled = (500, "57014".to_owned());
        set(&desk, "anon", "set statement_timeout = '100ms'").await;
        assert_eq!(found(&desk, &anon(), "statement_timeout").await, "100ms");
        assert_eq!(desk.refusal(&anon(), "sleep_for", slow.clone()).await, canceled);
        assert_eq!(found(&desk, &ann(), "statement_timeout").await, "20s");
        assert_eq!(desk.json(&ann(), "sleep_for", json!({ "seconds": 0.3 })).await, 1);
        // A function knows better than a role how long it takes.
        assert_eq!(desk.json(&anon(), "patient", json!({})).await, 1);
        assert_eq!(desk.refusal(&ann(), "hasty", json!({})).await, canceled);
        for longer in ["'1h'", "0"] {
            set(&desk, "anon", &format!("set statement_timeout = {longer}")).await;
            assert_eq!(found(&desk, &anon(), "statement_timeout").await, "20s", "{longer}");
        }
    })
    .await;
    on_each_major(async |major| {
        let desk = desk(major, |config| Config { timeout: Duration::from_millis(200), ..config }).await;
        assert_eq!(desk.refusal(&ann(), "patient", json!({})).await, (500, "57014".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn no_setting_makes_a_call_anybody_elses() {
    on_each_major(async |major| {
        let desk = desk(major, |config| config).await;
        desk.database.execute("create function me() returns text language sql as 'select current_user::text || session_user::text'").await;
        let login: String =
            desk.database.client.query_one("select session_user::text", &[]).await.unwrap().get(0);
        let me = format!("anon{login}");
        for setting in [
            "set role = 'service_role'",
            "set session_authorization = 'service_role'",
            "set client_encoding = 'LATIN1'",
            "set rowcast.call = 'shut'",
            "set request.jwt.claims = '{}'",
            "set log_connections = on",
            "set default_transaction_read_only = on",
        ] {
            // Not every version takes all of them.
            let sql = format!("do $$ begin execute format('alter role anon in database %I {}', current_database()); exception when others then null; end $$", setting.replace('\'', "''"));
            desk.database.execute(&sql).await;
        }
        assert_eq!(desk.json(&anon(), "me", json!({})).await, json!(me));
        let claims = found(&desk, &anon(), "request.jwt.claims").await;
        assert_eq!(claims.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap()["role"], "anon");
        assert_eq!(found(&desk, &anon(), "client_encoding").await, "UTF8");
    })
    .await;
}

#[tokio::test]
async fn what_only_a_superuser_may_set_is_left_out_although_one_has_logged_in() {
    on_each_major(async |major| {
        let desk = desk(major, |config| config).await;
        set(&desk, "anon", "set log_statement = 'all'").await;
        set(&desk, "anon", "set lock_timeout = '7s'").await;
        assert_eq!(found(&desk, &anon(), "lock_timeout").await, "7s");
        assert_eq!(found(&desk, &anon(), "log_statement").await, "none");
    })
    .await;
}

#[tokio::test]
async fn times_are_told_as_the_caller_wants_them() {
    on_each_major(async |major| {
        let desk = desk(major, |config| config).await;
        let database: String =
            desk.database.client.query_one("select current_database()", &[]).await.unwrap().get(0);
        desk.database.execute(&format!("alter database \"{database}\" set timezone = 'Asia/Tokyo'")).await;
        let utc = |caller| Caller { time_zone: Some("UTC"), ..caller };
        assert_eq!(desk.json(&anon(), "moment", json!({})).await, "2026-07-01T21:00:00+09:00");
        set(&desk, "anon", "set timezone = 'Europe/Oslo'").await;
        for _ in 0..2 {
            assert_eq!(desk.json(&anon(), "moment", json!({})).await, "2026-07-01T14:00:00+02:00");
            assert_eq!(desk.json(&ann(), "moment", json!({})).await, "2026-07-01T21:00:00+09:00");
            for caller in [anon(), ann()] {
                assert_eq!(desk.json(&utc(caller), "moment", json!({})).await, "2026-07-01T12:00:00+00:00");
            }
        }
    })
    .await;
}
