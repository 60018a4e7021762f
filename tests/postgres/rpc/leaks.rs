//! Nothing of a call is there for the next one on the same session.

use rowcast::postgres::rpc::{Config, Error};
use serde_json::{Value, json};

use super::{Desk, WITHIN, ann, anon, bob, on_each_major};

const LEAKY: &str = r#"
create function state() returns json language sql stable as $$
  select json_build_object(
    'role', current_user, 'session', session_user = current_setting('rowcast.login', true),
    'sub', current_setting('request.jwt.claims')::json->>'sub', 'own', current_setting('app.secret', true),
    'path', current_setting('search_path'), 'temporary', to_regclass('pg_temp.kept') is not null,
    'locks', (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
    'channels', (select count(*) from pg_listening_channels()),
    'timeout', current_setting('lock_timeout')) $$;
create function leave_everything() returns void language plpgsql as $$ begin
  perform set_config('app.secret', 'of ann', false), set_config('lock_timeout', '1234', false),
    set_config('search_path', 'nowhere', false), set_config('role', 'service_role', false),
    set_config('request.jwt.claims', '{"sub":"stolen"}', false);
  perform pg_advisory_lock(7);
  create temporary table kept (x int);
  listen heard;
end $$;
create function leave_and_raise() returns void language plpgsql as $$ begin
  perform leave_everything();
  raise 'no' using errcode = 'P0001';
end $$;
create function drop_statements() returns void language plpgsql as $$ begin execute 'deallocate all'; end $$;
create function sleep_for(seconds float) returns int language sql as 'select 1 from pg_sleep(seconds)';
create table kept_rows (n int);
grant all on kept_rows to authenticated;
create function keep_slowly(n int) returns void language plpgsql as $$ begin
  insert into kept_rows values (n);
  perform pg_sleep(0.3);
end $$;
create function backend() returns int language sql volatile as 'select pg_backend_pid()';
create table checked (n int primary key, constraint_of int, foreign key (constraint_of) references checked deferrable initially deferred);
grant all on checked to authenticated;
create function refer_to(n int) returns int language sql as 'insert into checked values (n, n + 1) returning n';
"#;

fn one_session(config: Config) -> Config {
    Config { connections: 1, ..config }
}

/// What a caller finds who has left nothing behind.
async fn clean(desk: &Desk) -> Value {
    let found = desk.json(&bob(), "state", json!({})).await;
    let expected = json!({
        "role": "authenticated", "session": null, "sub": "22222222-2222-2222-2222-222222222222", "own": found["own"],
        "path": "\"public\", public, extensions", "temporary": false, "locks": 0, "channels": 0, "timeout": "0",
    });
    let expected = Value::Object(
        expected
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), if k == "session" { found[k].clone() } else { v.clone() }))
            .collect(),
    );
    assert_eq!(found, expected);
    assert!(found["own"].is_null() || found["own"] == "", "{found}");
    found
}

#[tokio::test]
async fn what_a_function_leaves_behind_is_gone() {
    on_each_major(async |major| {
        let desk = Desk::configured(major, LEAKY, one_session).await;
        let backend = desk.json(&bob(), "backend", json!({})).await;
        for _ in 0..2 {
            desk.call(&ann(), "leave_everything", json!({})).await.unwrap();
            clean(&desk).await;
            assert_eq!(desk.refusal(&ann(), "leave_and_raise", json!({})).await, (400, "P0001".to_owned()));
            clean(&desk).await;
            assert_eq!(desk.json(&anon(), "state", json!({})).await["role"], "anon");
        }
        assert_eq!(
            desk.json(&bob(), "backend", json!({})).await,
            backend,
            "the session has lived through all of it"
        );
        desk.call(&ann(), "drop_statements", json!({})).await.unwrap();
        clean(&desk).await;
    })
    .await;
}

#[tokio::test]
async fn errors_and_timeouts_end_their_transaction() {
    on_each_major(async |major| {
        let desk = Desk::configured(major, LEAKY, |config| Config {
            connections: 1,
            timeout: std::time::Duration::from_millis(400),
            ..config
        })
        .await;
        desk.json(&bob(), "state", json!({})).await;
        let backend = desk.json(&bob(), "backend", json!({})).await;
        assert_eq!(
            desk.refusal(&ann(), "sleep_for", json!({ "seconds": 30 })).await,
            (500, "57014".to_owned())
        );
        clean(&desk).await;
        // What is found out at the end of the transaction is told as well.
        assert_eq!(desk.refusal(&ann(), "refer_to", json!({ "n": 1 })).await, (409, "23503".to_owned()));
        clean(&desk).await;
        assert_eq!(desk.json(&bob(), "backend", json!({})).await, backend);
    })
    .await;
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_a_clean_session() {
    on_each_major(async |major| {
        let desk = Desk::configured(major, LEAKY, one_session).await;
        let backend = desk.json(&bob(), "backend", json!({})).await;
        for n in 0..4 {
            let (rpc, caller) = (desk.rpc.clone(), ann());
            let call = tokio::spawn(async move {
                let arguments = super::object(json!({ "n": n }));
                let function = rowcast::postgres::rpc::Function::public("keep_slowly");
                rpc.call(&caller, function, &arguments).await
            });
            // Until it is under way, and then not any longer.
            let under_way = "select count(*) from pg_stat_activity where application_name = 'rowcast_rpc' \
                             and wait_event = 'PgSleep' and datname = current_database()";
            let begun = async {
                while desk.database.client.query_one(under_way, &[]).await.unwrap().get::<_, i64>(0) == 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(WITHIN, begun).await.unwrap();
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            clean(&desk).await;
        }
        assert_eq!(desk.json(&bob(), "backend", json!({})).await, backend);
        let kept: i64 =
            desk.database.client.query_one("select count(*) from kept_rows", &[]).await.unwrap().get(0);
        assert_eq!(kept, 4, "a call that was begun comes to its end");
        let open = "select count(*) from pg_stat_activity where application_name = 'rowcast_rpc' \
                    and state <> 'idle' and datname = current_database()";
        assert_eq!(desk.database.client.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 0);
    })
    .await;
}

#[tokio::test]
async fn a_canceled_begin_runs_nothing_as_the_server() {
    on_each_major(async |major| {
        // Whatever becomes of single messages of a call, the function runs as its caller or not at all.
        let desk = Desk::configured(major, LEAKY, one_session).await;
        let pid = desk.json(&bob(), "backend", json!({})).await;
        let cancel = format!("select pg_cancel_backend({pid})");
        let calls = async {
            for _ in 0..300 {
                match desk.call(&ann(), "state", json!({})).await {
                    Ok(returned) => {
                        let found: Value = serde_json::from_str(&returned.json).unwrap();
                        assert_eq!(found["role"], "authenticated");
                    }
                    Err(Error::Refused { sqlstate, .. }) => assert_eq!(sqlstate, "57014"),
                    Err(Error::Unavailable) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let cancels = async {
            loop {
                desk.database.client.batch_execute(&cancel).await.unwrap();
            }
        };
        tokio::select! { () = calls => {}, () = cancels => {} }
        clean(&desk).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_told_though_the_session_is_given_up() {
    on_each_major(async |major| {
        let desk = Desk::configured(major, LEAKY, one_session).await;
        // A part of what makes a session as it was fails from now on.
        let broken = "alter function pg_catalog.pg_advisory_unlock_all() rename to unlock_all";
        desk.database.execute(broken).await;
        let first = desk.json(&ann(), "backend", json!({})).await;
        desk.call(&ann(), "keep_slowly", json!({ "n": 7 })).await.unwrap();
        assert_eq!(desk.refusal(&ann(), "leave_and_raise", json!({})).await, (400, "P0001".to_owned()));
        assert_ne!(desk.json(&ann(), "backend", json!({})).await, first, "nobody is given such a session");
        let kept = desk.database.client.query_one("select array_agg(n) from kept_rows", &[]).await.unwrap();
        assert_eq!(kept.get::<_, Vec<i32>>(0), [7]);
        clean(&desk).await;
    })
    .await;
}
