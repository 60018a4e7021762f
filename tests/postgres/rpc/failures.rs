//! What Postgres raises becomes a status and a body; a full pool, a lost session and a database that is away do, too.

use std::time::Duration;

use rowcast::postgres::connect::Database;
use rowcast::postgres::rpc::{Config, Error, Rpc};
use serde_json::json;

use super::{Desk, WITHIN, ann, anon, on_each_major};

const RAISING: &str = r#"
create function raise_as(code text, message text default 'm', detail text default null, hint text default null) returns void
language plpgsql as $$ begin
  if detail is null then raise using errcode = code, message = message;
  else raise using errcode = code, message = message, detail = detail, hint = coalesce(hint, ''); end if;
end $$;
create table things (id int primary key, parent int references things, name text check (name <> ''));
grant all on things to authenticated;
create function add_thing(id int, parent int default null, name text default 'x') returns things language sql
  as 'insert into things values (id, parent, name) returning *';
create function divide(a int, b int) returns int language sql as 'select a / b';
create function calls_absent() returns int language plpgsql as $$ begin return absent_function(); end $$;
create function reads_absent() returns int language plpgsql as $$ begin return (select 1 from absent_table); end $$;
create function wait_for_lock() returns int language sql as 'select 1 from pg_advisory_xact_lock(1)';
create function backend() returns int language sql volatile as 'select pg_backend_pid()';
create function end_myself() returns boolean language sql volatile security definer as 'select pg_terminate_backend(pg_backend_pid())';
create function one() returns int language sql as 'select 1';
create function tells() returns int language plpgsql as $$ begin
  perform set_config('response.status', '201', true), set_config('response.headers', '[{"x-made": "yes"}]', true);
  return 1;
end $$;
"#;

#[tokio::test]
async fn errors_have_the_status_of_their_sqlstate() {
    on_each_major(async |major| {
        let desk = Desk::with(major, RAISING).await;
        desk.call(&ann(), "add_thing", json!({ "id": 1 })).await.unwrap();
        for (name, arguments, status, code) in [
            ("add_thing", json!({ "id": 1 }), 409, "23505"),
            ("add_thing", json!({ "id": 2, "parent": 9 }), 409, "23503"),
            ("add_thing", json!({ "id": 2, "name": "" }), 400, "23514"),
            ("add_thing", json!({ "id": null }), 400, "23502"),
            ("add_thing", json!({ "id": "x" }), 400, "22P02"),
            ("add_thing", json!({ "id": 3_000_000_000_u32 }), 400, "22003"),
            ("add_thing", json!({ "id": 2, "name": "\0" }), 400, "22P05"),
            ("divide", json!({ "a": 1, "b": 0 }), 400, "22012"),
            ("calls_absent", json!({}), 404, "42883"),
            ("reads_absent", json!({}), 404, "42P01"),
            ("raise_as", json!({ "code": "P0001" }), 400, "P0001"),
            ("raise_as", json!({ "code": "P0002" }), 500, "P0002"),
            ("raise_as", json!({ "code": "42501" }), 403, "42501"),
            ("raise_as", json!({ "code": "PT418" }), 418, "PT418"),
            ("raise_as", json!({ "code": "40001" }), 500, "40001"),
            ("raise_as", json!({ "code": "53100" }), 503, "53100"),
            ("raise_as", json!({ "code": "57P01" }), 503, "57P01"),
        ] {
            let found = desk.call(&ann(), name, arguments.clone()).await.unwrap_err();
            if code == "57P01" {
                // It cannot be told from the end of the session.
                assert_eq!((found.status(), found.is_transient()), (503, true));
                continue;
            }
            assert_eq!((found.status(), found.code()), (status, code), "{name} {arguments}");
        }
        assert_eq!(
            desk.refusal(&anon(), "raise_as", json!({ "code": "42501" })).await,
            (401, "42501".to_owned())
        );
    })
    .await;
}

#[tokio::test]
async fn the_caller_reads_all_that_was_raised() {
    on_each_major(async |major| {
        let desk = Desk::with(major, RAISING).await;
        let arguments = json!({ "code": "PT429", "message": "slow down", "detail": "retry after 7 seconds", "hint": "wait" });
        let error = desk.call(&ann(), "raise_as", arguments).await.unwrap_err();
        let expected = json!({ "code": "PT429", "message": "slow down", "details": "retry after 7 seconds", "hint": "wait" });
        assert_eq!((error.status(), error.body(), error.retry_after()), (429, expected, Some(7)));
        assert!(error.is_transient());
        let told = desk.call(&ann(), "tells", json!({})).await.unwrap();
        assert_eq!((told.status.as_deref(), told.headers.as_deref()), (Some("201"), Some(r#"[{"x-made": "yes"}]"#)));
        let next = desk.call(&ann(), "one", json!({})).await.unwrap();
        assert_eq!((next.status, next.headers), (None, None));
    })
    .await;
}

/// Waits until so many sessions of calls wait for a lock.
async fn until_blocked(desk: &Desk, count: i64) {
    let blocked = "select count(*) from pg_stat_activity where application_name = 'rowcast_rpc' \
                   and wait_event_type = 'Lock' and datname = current_database()";
    let waited = async {
        while desk.database.client.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, waited).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_long_wait_ends() {
    let ann = ann();
    on_each_major(async |major| {
        let configure = |config| Config { connections: 1, waiting_max: 1, ..config };
        let desk = Desk::configured(major, RAISING, configure).await;
        desk.database.execute("select pg_advisory_lock(1)").await;
        let blocked = desk.call(&ann, "wait_for_lock", json!({}));
        let rest = async {
            until_blocked(&desk, 1).await;
            let second = desk.call(&ann, "one", json!({}));
            let third = async {
                tokio::task::yield_now().await;
                let error = desk.call(&ann, "one", json!({})).await.unwrap_err();
                assert_eq!((&error, error.status(), error.retry_after()), (&Error::Busy, 503, Some(1)));
                desk.database.execute("select pg_advisory_unlock(1)").await;
            };
            tokio::join!(biased; second, third).0
        };
        let (blocked, waited) = tokio::join!(blocked, rest);
        assert_eq!((blocked.unwrap().json, waited.unwrap().json), ("1".to_owned(), "1".to_owned()));

        let configure = |config| Config { connections: 1, timeout: Duration::from_millis(300), ..config };
        let desk = Desk::configured(major, RAISING, configure).await;
        desk.database.execute("select pg_advisory_lock(1)").await;
        let blocked = desk.call(&ann, "wait_for_lock", json!({}));
        let rest = async {
            until_blocked(&desk, 1).await;
            desk.call(&ann, "one", json!({})).await
        };
        let (blocked, waited) = tokio::join!(blocked, rest);
        assert_eq!(blocked.unwrap_err().code(), "57014");
        // Its turn may have come just before its time was over.
        assert!(matches!(waited, Err(Error::NoSession) | Ok(_)), "{waited:?}");
    })
    .await;
}

#[tokio::test]
async fn calls_at_once_have_a_session_each() {
    let ann = ann();
    on_each_major(async |major| {
        let desk = Desk::configured(major, RAISING, |config| Config { connections: 4, ..config }).await;
        desk.database.execute("select pg_advisory_lock(1)").await;
        let blocked = || desk.call(&ann, "wait_for_lock", json!({}));
        let free = async {
            until_blocked(&desk, 3).await;
            assert_eq!(desk.json(&ann, "one", json!({})).await, 1);
            desk.database.execute("select pg_advisory_unlock(1)").await;
        };
        let (a, b, c, ()) = tokio::join!(blocked(), blocked(), blocked(), free);
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_lost_session_is_replaced() {
    on_each_major(async |major| {
        let desk = Desk::configured(major, RAISING, |config| Config { connections: 1, ..config }).await;
        let first = desk.json(&ann(), "backend", json!({})).await;
        let error = desk.call(&ann(), "end_myself", json!({})).await.unwrap_err();
        assert_eq!((error.status(), error.is_transient()), (503, true));
        let second = desk.json(&ann(), "backend", json!({})).await;
        assert_ne!(first, second);
        // One that ends while it is idle is noticed, at the latest by the call that wanted it.
        desk.database.execute(&format!("select pg_terminate_backend({second})")).await;
        let again = async {
            loop {
                match desk.call(&ann(), "backend", json!({})).await {
                    Ok(returned) => return returned.json,
                    Err(error) => assert_eq!(error, Error::Unavailable),
                }
            }
        };
        assert_ne!(tokio::time::timeout(WITHIN, again).await.unwrap(), second.to_string());
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_away_is_said_to_be() {
    let rpc = Rpc::new(Config::new(Database::parse("postgres://nobody@127.0.0.1:1/none").unwrap()));
    for _ in 0..3 {
        let function = rowcast::postgres::rpc::Function::public("one");
        let error = rpc.call(&ann(), function, &serde_json::Map::new()).await.unwrap_err();
        assert_eq!((&error, error.status(), error.code()), (&Error::Unavailable, 503, "PGRST001"));
    }
}
