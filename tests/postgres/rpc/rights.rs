//! A call may do what its caller's role may, and nothing else.

use axum::http::Method;
use serde_json::json;

use super::{Desk, ann, anon, bob, caller, on_each_major};

const GUARDED: &str = r#"
create table diaries (owner uuid, text text);
alter table diaries enable row level security;
grant select, insert on diaries to authenticated;
create policy own on diaries for all to authenticated
  using (owner = (current_setting('request.jwt.claims')::json->>'sub')::uuid);
insert into diaries values ('11111111-1111-1111-1111-111111111111', 'of ann'), ('22222222-2222-2222-2222-222222222222', 'of bob');
create function diary() returns setof text language sql stable as 'select text from diaries';
create function write_for(owner uuid) returns void language sql as $$ insert into diaries values (owner, 'new') $$;
create function closed() returns int language sql as 'select 1';
create function closed_constant() returns int language sql immutable as 'select 1';
revoke execute on function closed(), closed_constant() from public;
grant execute on function closed(), closed_constant() to authenticated;
create schema hidden;
create function hidden.open_inside() returns int language sql as 'select 1';
create schema shown;
grant usage on schema shown to anon;
create function shown.open_inside() returns int language sql as 'select 1';
create function stable_writer() returns void language plpgsql stable as $$ begin insert into diaries values (null, 'x'); end $$;
create function who() returns text language sql stable as 'select current_user::text';
"#;

#[tokio::test]
async fn row_level_security_sees_the_caller() {
    on_each_major(async |major| {
        let desk = Desk::with(major, GUARDED).await;
        assert_eq!(desk.json(&ann(), "diary", json!({})).await, json!(["of ann"]));
        assert_eq!(desk.json(&bob(), "diary", json!({})).await, json!(["of bob"]));
        let nobody = caller("authenticated", "33333333-3333-3333-3333-333333333333");
        assert_eq!(desk.json(&nobody, "diary", json!({})).await, json!([]));
        let own = json!({ "owner": "11111111-1111-1111-1111-111111111111" });
        desk.call(&ann(), "write_for", own.clone()).await.unwrap();
        assert_eq!(desk.refusal(&bob(), "write_for", own).await, (403, "42501".to_owned()));
        assert_eq!(desk.refusal(&anon(), "diary", json!({})).await, (401, "42501".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn what_a_role_may_not_execute_is_refused_however_often_others_do() {
    on_each_major(async |major| {
        let desk = Desk::configured(major, GUARDED, |config| rowcast::postgres::rpc::Config {
            connections: 1,
            ..config
        })
        .await;
        for name in ["closed", "closed_constant"] {
            // Often enough for Postgres to keep one plan for everybody.
            for _ in 0..8 {
                assert_eq!(desk.json(&ann(), name, json!({})).await, 1);
            }
            assert_eq!(desk.refusal(&anon(), name, json!({})).await, (401, "42501".to_owned()));
            assert_eq!(
                desk.refusal(&caller("service_role", ""), name, json!({})).await,
                (403, "42501".to_owned())
            );
            assert_eq!(desk.json(&ann(), name, json!({})).await, 1);
            desk.database.execute(&format!("revoke execute on function {name}() from authenticated")).await;
            assert_eq!(desk.refusal(&ann(), name, json!({})).await, (403, "42501".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_schema_that_a_role_may_not_use_is_closed_to_it() {
    on_each_major(async |major| {
        let desk = Desk::with(major, GUARDED).await;
        let call = async |schema, role: &str| {
            let function = rowcast::postgres::rpc::Function { schema, name: "open_inside" };
            let result = desk.rpc.call(&caller(role, ""), function, &serde_json::Map::new()).await;
            result
                .map(|returned| returned.json)
                .map_err(|error| error.body()["message"].as_str().unwrap().to_owned())
        };
        assert_eq!(call("shown", "anon").await, Ok("1".to_owned()));
        assert_eq!(call("hidden", "anon").await, Err("permission denied for schema hidden".to_owned()));
        assert_eq!(
            call("shown", "authenticated").await,
            Err("permission denied for schema shown".to_owned())
        );
    })
    .await;
}

#[tokio::test]
async fn a_role_that_cannot_be_taken_on_calls_nothing() {
    on_each_major(async |major| {
        let desk = Desk::with(major, GUARDED).await;
        let long = ["r".repeat(63), "r".repeat(64), "é".repeat(32)];
        // To become nobody would be to stay a superuser.
        let others = ["none", "", "no_such_role", "NONE", "anon\0", "\0"];
        for role in others.into_iter().chain(long.iter().map(String::as_str)) {
            assert_eq!(
                desk.refusal(&caller(role, ""), "who", json!({})).await,
                (401, "22023".to_owned()),
                "{role}"
            );
        }
        assert_eq!(desk.json(&anon(), "who", json!({})).await, "anon");
    })
    .await;
}

#[tokio::test]
async fn who_only_reads_changes_nothing() {
    on_each_major(async |major| {
        let desk = Desk::with(major, GUARDED).await;
        let own = json!({ "owner": "11111111-1111-1111-1111-111111111111" });
        let mut reader = ann();
        for method in [Method::GET, Method::HEAD] {
            reader.method = method;
            assert_eq!(desk.refusal(&reader, "write_for", own.clone()).await, (405, "25006".to_owned()));
        }
        assert_eq!(desk.refusal(&ann(), "stable_writer", json!({})).await.1, "0A000".to_owned());
        desk.call(&ann(), "write_for", own).await.unwrap();
    })
    .await;
}
