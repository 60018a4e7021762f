//! Functions of the database as unmodified supabase-js calls them, and every documented answer of these routes.

use std::collections::BTreeSet;

use rowcast::rest::route::{Endpoint, OPERATIONS};
use serde_json::{Value, json};

use crate::stage::{ANN, BOB, Stock, StockClient, TestServer, major, server};
use crate::support::TestDatabase;

const FUNCTIONS: &str = r#"
create table public.notes (id int primary key, owner uuid, text text);
alter table public.notes enable row level security;
grant select, insert on public.notes to authenticated;
create policy own on public.notes for all to authenticated
  using (owner = (current_setting('request.jwt.claims')::json->>'sub')::uuid);
insert into public.notes select n, 'a0000000-0000-4000-8000-000000000001', 'ann ' || n from generate_series(1, 5) n;
insert into public.notes values (6, 'b0000000-0000-4000-8000-000000000001', 'bob 6');
create function public.add(a int, b int default 10) returns int language sql immutable as 'select a + b';
create function public.notes_all() returns setof public.notes language sql stable as 'select * from public.notes order by id';
create function public.note(wanted int) returns public.notes language sql stable as 'select * from public.notes where id = wanted';
create function public.add_note(id int, text text) returns public.notes language sql as
  $$ insert into public.notes values (id, (current_setting('request.jwt.claims')::json->>'sub')::uuid, text) returning * $$;
create function public.nothing(a int[] default '{}') returns void language sql as 'select';
create function public.total(numbers int[]) returns bigint language sql stable as 'select sum(n) from unnest(numbers) n';
create function public.role_of_caller() returns text language sql stable as 'select current_user::text';
create function public.raise_as(code text, detail text default 'none') returns void language plpgsql as
  $$ begin raise 'no' using errcode = code, detail = detail, hint = 'yes'; end $$;
create function public.pick(a int) returns int language sql as 'select 1';
create function public.pick(a text) returns int language sql as 'select 1';
create function public.keep() returns int language plpgsql as $$ begin perform pg_advisory_xact_lock(1); return 1; end $$;
revoke execute on function public.add_note, public.notes_all from public, anon;
grant execute on function public.add_note, public.notes_all to authenticated;
create schema api;
grant usage on schema api to authenticated;
create function api.there() returns text language sql stable as $$ select 'in api' $$;
"#;

const PUBLISHABLE: &str = "sb_publishable_0123456789abcdef";
const SECRET: &str = "sb_secret_0123456789abcdef";

struct Scene {
    database: TestDatabase,
    server: TestServer,
}

impl Scene {
    async fn set(flags: &[&str]) -> Self {
        let database = TestDatabase::create(major()).await;
        server::migrate(&database.url);
        database.execute("grant usage on schema public to anon, authenticated, service_role").await;
        database.execute(FUNCTIONS).await;
        let flags = [
            &["--rpc-schemas", "public, api", "--publishable-keys", PUBLISHABLE, "--secret-keys", SECRET],
            flags,
        ];
        let server = TestServer::start_with(&database.url, &flags.concat()).await;
        Self { database, server }
    }

    /// The status, head and body of one request by the bearer of a token.
    fn ask(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        if !token.is_empty() {
            all.push(("authorization", &bearer));
        }
        server::http(self.server.address, method, path, &all, body.as_bytes()).unwrap()
    }
}

async fn check(client: &StockClient, order: Value, expected: Value) {
    let mut order = order;
    order["do"] = json!("rpc");
    let found = client.order(order.clone()).await;
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&found[key], value, "{:?} {order}: {found}", client.stock);
    }
}

#[tokio::test]
async fn every_version_of_supabase_js_calls_functions() {
    let scene = Scene::set(&[]).await;
    for (place, stock) in [Stock::Js39, Stock::Js49, Stock::Js119, Stock::Js3].into_iter().enumerate() {
        let client = StockClient::start(stock).await;
        let url = scene.server.url();
        for (who, sub) in [("ann", ANN), ("bob", BOB)] {
            let token = server::token("authenticated", Some(sub));
            // 2.39 takes its key for its token where it is not signed in.
            let key = if stock == Stock::Js39 { token.clone() } else { server::token("anon", None) };
            client.order(json!({ "do": "connect", "as": who, "url": url, "key": key, "token": token })).await;
        }
        client.connect("nobody", &url, None).await;
        let ann = |id: i32| json!({ "id": id, "owner": ANN, "text": format!("ann {id}") });
        let all: Vec<Value> = (1..=5).map(ann).collect();
        let read = json!({ "get": true });
        for (order, expected) in [
            (
                json!({ "as": "ann", "name": "add", "args": { "a": 1, "b": 2 } }),
                json!({ "data": 3, "status": 200, "error": null }),
            ),
            (
                json!({ "as": "nobody", "name": "add", "args": { "a": 1 } }),
                json!({ "data": 11, "status": 200 }),
            ),
            (
                json!({ "as": "ann", "name": "add", "args": { "a": 1, "b": 2 }, "options": read }),
                json!({ "data": 3, "status": 200 }),
            ),
            (
                json!({ "as": "ann", "name": "total", "args": { "numbers": [1, 2, 3] }, "options": read }),
                json!({ "data": 6 }),
            ),
            (json!({ "as": "ann", "name": "total", "args": { "numbers": [1, 2, 3] } }), json!({ "data": 6 })),
            (
                json!({ "as": "ann", "name": "note", "args": { "wanted": 1 } }),
                json!({ "data": ann(1), "status": 200 }),
            ),
            (
                json!({ "as": "ann", "name": "notes_all" }),
                json!({ "data": all, "status": 200, "count": null }),
            ),
            (
                json!({ "as": "bob", "name": "notes_all" }),
                json!({ "data": [{ "id": 6, "owner": BOB, "text": "bob 6" }] }),
            ),
            (
                json!({ "as": "ann", "name": "notes_all", "options": { "count": "exact" } }),
                json!({ "data": all, "count": 5 }),
            ),
            (
                json!({ "as": "ann", "name": "notes_all", "options": { "head": true, "count": "exact" } }),
                json!({ "data": null, "count": 5, "error": null }),
            ),
            (
                json!({ "as": "ann", "name": "notes_all", "options": { "count": "exact" },
                    "then": [["select", "id, words:text"], ["order", "id", { "ascending": false }], ["range", 1, 2]] }),
                json!({ "data": [{ "id": 4, "words": "ann 4" }, { "id": 3, "words": "ann 3" }], "count": 5, "status": 206 }),
            ),
            (
                json!({ "as": "ann", "name": "notes_all", "then": [["limit", 1], ["single"]] }),
                json!({ "data": ann(1), "status": 200 }),
            ),
            (
                json!({ "as": "ann", "name": "notes_all", "then": [["single"]] }),
                json!({ "data": null, "status": 406 }),
            ),
            (
                json!({ "as": "bob", "name": "notes_all", "then": [["range", 5, 6], ["maybeSingle"]] }),
                json!({ "data": null, "error": null }),
            ),
            (
                json!({ "as": "ann", "name": "nothing" }),
                json!({ "data": null, "error": null, "status": 204 }),
            ),
            (
                json!({ "as": "ann", "name": "add_note", "args": { "id": 10 + place, "text": "Grüße 👋" } }),
                json!({ "data": { "id": 10 + place, "owner": ANN, "text": "Grüße 👋" } }),
            ),
            (
                json!({ "as": "bob", "name": "add_note", "args": { "id": 10 + place, "text": "x" } }),
                json!({ "data": null, "status": 409 }),
            ),
            (
                json!({ "as": "nobody", "name": "add_note", "args": { "id": 99, "text": "x" } }),
                json!({ "data": null, "status": 401 }),
            ),
            (json!({ "as": "ann", "name": "there", "schema": "api" }), json!({ "data": "in api" })),
            (
                json!({ "as": "ann", "name": "there", "schema": "api", "options": read }),
                json!({ "data": "in api" }),
            ),
            (json!({ "as": "ann", "name": "there", "schema": "hidden" }), json!({ "status": 406 })),
            (json!({ "as": "ann", "name": "role_of_caller" }), json!({ "data": "authenticated" })),
        ] {
            check(&client, order, expected).await;
        }
        scene.database.execute(&format!("delete from notes where id = {}", 10 + place)).await;
        let raised = json!({ "do": "rpc", "as": "ann", "name": "raise_as", "args": { "code": "PT429", "detail": "retry after 3 seconds" } });
        let found = client.order(raised).await;
        assert_eq!(found["status"], 429, "{found}");
        for (key, value) in
            [("code", "PT429"), ("message", "no"), ("details", "retry after 3 seconds"), ("hint", "yes")]
        {
            assert_eq!(found["error"][key], value, "{stock:?}: {found}");
        }
        let missing = client.order(json!({ "do": "rpc", "as": "ann", "name": "notes_al" })).await;
        assert_eq!((&missing["status"], &missing["error"]["code"]), (&json!(404), &json!("PGRST202")));
        assert_eq!(missing["error"]["hint"], "Perhaps you meant to call the function public.notes_all");
    }
    let log = scene.server.logged();
    for words in ["Grüße", "retry after", "ann 1"] {
        assert!(!log.contains(words), "the log holds {words:?}");
    }
}

#[tokio::test]
async fn keys_alone_call_as_their_roles() {
    let scene = Scene::set(&[]).await;
    let path = "/rest/v1/rpc/role_of_caller";
    let token = server::token("authenticated", Some(ANN));
    for (headers, token, expected) in [
        (&[][..], "", (200, "\"anon\"")),
        (&[("apikey", PUBLISHABLE)], "", (200, "\"anon\"")),
        (&[("apikey", SECRET)], "", (200, "\"service_role\"")),
        (&[("apikey", SECRET)], &token, (200, "\"authenticated\"")),
        (&[], PUBLISHABLE, (200, "\"anon\"")),
        (&[("apikey", &token)], "", (200, "\"authenticated\"")),
    ] {
        for method in ["GET", "POST"] {
            let (status, _, body) = scene.ask(method, path, token, headers, "");
            assert_eq!((status, body.as_str()), expected, "{method} {headers:?}");
        }
    }
    for (headers, token) in
        [(&[("apikey", "sb_secret_unknown_012345")][..], ""), (&[("apikey", SECRET)], "x.y.z")]
    {
        let (status, head, body) = scene.ask("POST", path, token, headers, "");
        assert_eq!(status, 401, "{body}");
        assert!(
            head.to_ascii_lowercase().contains("www-authenticate: bearer") && body.contains("PGRST301"),
            "{head} {body}"
        );
    }
}

#[tokio::test]
async fn every_documented_answer_of_a_call_is_given() {
    let scene =
        Scene::set(&["--rpc-connections", "1", "--rpc-waiting-max", "0", "--rpc-timeout-ms", "20000"]).await;
    let token = server::token("authenticated", Some(ANN));
    let mut missing: BTreeSet<u16> = OPERATIONS
        .iter()
        .filter(|operation| operation.endpoint == Endpoint::Call)
        .flat_map(|operation| operation.answers.iter().map(|answer| answer.status))
        .collect();
    // What takes a network that stands still.
    for status in [408, 504] {
        missing.remove(&status);
    }
    let raise = |code: &str| json!({ "code": code }).to_string();
    let exact = [("prefer", "count=exact")];
    for (method, target, headers, body, status) in [
        ("POST", "add", &[][..], r#"{"a":1}"#.to_owned(), 200),
        ("GET", "add?a=1", &[], String::new(), 200),
        ("HEAD", "add?a=1", &[], String::new(), 200),
        ("POST", "nothing", &[], String::new(), 204),
        ("GET", "notes_all?limit=1", &exact, String::new(), 206),
        ("POST", "pick", &[], r#"{"a":1}"#.to_owned(), 300),
        ("POST", "add", &[], "{".to_owned(), 400),
        ("POST", "raise_as", &[], raise("P0001"), 400),
        ("POST", "raise_as", &[], raise("42501"), 403),
        ("POST", "absent", &[], String::new(), 404),
        ("GET", "add_note?id=77&text=x", &[], String::new(), 405),
        ("DELETE", "add", &[], String::new(), 405),
        ("POST", "add", &[("accept", "text/csv")], r#"{"a":1}"#.to_owned(), 406),
        ("POST", "add_note", &[], r#"{"id":1,"text":"x"}"#.to_owned(), 409),
        ("GET", "notes_all?offset=9", &exact, String::new(), 416),
        ("POST", "raise_as", &[], raise("PT429"), 429),
        ("POST", "raise_as", &[], raise("XX000"), 500),
        ("POST", "raise_as", &[], raise("53300"), 503),
        ("POST", "raise_as", &[], raise("PT418"), 418),
    ] {
        let (found, _, answer) = scene.ask(method, &format!("/rest/v1/rpc/{target}"), &token, headers, &body);
        assert_eq!(found, status, "{method} {target}: {answer}");
        assert!(method != "HEAD" && status != 204 || answer.is_empty(), "{answer}");
        missing.remove(&status);
    }
    let (status, ..) = scene.ask("POST", "/rest/v1/rpc/raise_as", "", &[], &raise("42501"));
    assert_eq!(status, 401);
    let (status, ..) = scene.ask("POST", "/rest/v1/rpc/add", &token, &[], &" ".repeat(8_000_001));
    assert_eq!(status, 413);
    missing.retain(|status| ![401, 413].contains(status));
    assert_eq!(missing, BTreeSet::new());
    let (status, _, page) =
        server::http(scene.server.address, "GET", "/rest/v1/rpc/add?a=1", &[], b"").unwrap();
    assert_eq!((status, page.as_str()), (200, "11"));
    // A session that is busy, and nobody may wait for it.
    scene.database.execute("select pg_advisory_lock(1)").await;
    let address = scene.server.address;
    let kept =
        tokio::task::spawn_blocking(move || server::http(address, "POST", "/rest/v1/rpc/keep", &[], b"{}"));
    let blocked = "select count(*) from pg_stat_activity where application_name = 'rowcast_rpc' \
                   and wait_event_type = 'Lock' and datname = current_database()";
    let begun = async {
        while scene.database.client.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::stage::PATIENCE, begun).await.unwrap();
    let (status, head, body) = scene.ask("POST", "/rest/v1/rpc/add", &token, &[], r#"{"a":1}"#);
    assert_eq!(status, 503);
    assert!(
        head.to_ascii_lowercase().contains("retry-after: 1") && body.contains("PGRST003"),
        "{head} {body}"
    );
    scene.database.execute("select pg_advisory_unlock(1)").await;
    assert_eq!(kept.await.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn without_schemas_there_are_no_calls() {
    let database = TestDatabase::create(major()).await;
    server::migrate(&database.url);
    let server = TestServer::start_with(&database.url, &["--rpc-schemas", ""]).await;
    let (status, _, body) = server::http(server.address, "GET", "/rest/v1/rpc/now", &[], b"").unwrap();
    assert_eq!(status, 404);
    assert!(body.contains("PGRST125") && body.contains("postgrest_url"), "{body}");
}
