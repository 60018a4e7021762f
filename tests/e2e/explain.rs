//! `rowcast explain` on a real database: what it says agrees with what Postgres lets the caller select.

use std::process::Output;

use serde_json::{Value, json};

use crate::stage::server::{SECRET, migrate, program, stderr, stdout, token, token_signed};
use crate::stage::{ANN, BOB, major};
use crate::support::TestDatabase;

/// Notes whose policies are compiled, asked, and raise an error, each for rows of its own.
const NOTES: &str = "
    create schema app;
    grant usage on schema app to authenticated;
    create table app.shares (note int, reader uuid, primary key (note, reader));
    grant select on app.shares to authenticated;
    create table notes (id int primary key, owner uuid, kind text, secret text);
    alter table notes enable row level security;
    grant select (id, owner, kind) on notes to authenticated, anon;
    create policy own on notes for select to authenticated using (owner = (select auth.uid()));
    create policy shared on notes for select to authenticated using
      (exists (select from app.shares s where s.note = notes.id and s.reader = (select auth.uid())));
    create policy hashed on notes for select to authenticated using
      (kind = 'hashed' and pg_catalog.hashtext(kind) <> 0);
    create policy broken on notes for select to authenticated using
      (case when kind = 'broken' then 1 / (id - id) = 1 else false end);
    create policy not_void on notes as restrictive for select to authenticated using (kind <> 'void');
    alter publication supabase_realtime add table notes;
    create table plain (a int, b text, primary key (a, b));
    alter publication supabase_realtime add table plain;
    create table unpublished (id int primary key);
    grant select on plain to authenticated;
    insert into plain values (1, 'x'), (1, 'y');
    create table keyless (note text);
    alter table keyless replica identity full;
    grant select on keyless to authenticated;
    alter publication supabase_realtime add table keyless;
    insert into keyless values ('x')";

async fn database() -> TestDatabase {
    let database = TestDatabase::create(major()).await;
    migrate(&database.url);
    database.execute(NOTES).await;
    let rows = format!(
        "insert into notes values (1, '{ANN}', 'note', 'TOPSECRET'), (2, '{BOB}', 'note', 'TOPSECRET'), \
                                  (3, '{BOB}', 'note', 'TOPSECRET'), (4, '{BOB}', 'hashed', 'TOPSECRET'), \
                                  (5, '{ANN}', 'void', 'TOPSECRET'), (6, '{BOB}', 'broken', 'TOPSECRET'); \
         insert into app.shares values (3, '{ANN}')"
    );
    database.execute(&rows).await;
    database
}

fn explain(database: &TestDatabase, arguments: &[&str]) -> Output {
    program(&["explain", "--database-url", &database.url, "--jwt-secret", SECRET])
        .args(arguments)
        .output()
        .unwrap()
}

fn explained(database: &TestDatabase, arguments: &[&str]) -> Value {
    let output = explain(database, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// What it says about a note, and whether ann's own SELECT finds it.
async fn note(database: &TestDatabase, id: i32) -> (Value, Option<bool>) {
    let key = format!("id={id}");
    let token = token("authenticated", Some(ANN));
    let said = explained(database, &["--token", &token, "--table", "public.notes", "--key", &key]);
    let ask = format!(
        "begin; set local role authenticated; \
         select set_config('request.jwt.claims', '{}', true); select 'found' from notes where id = {id}",
        json!({ "role": "authenticated", "sub": ANN })
    );
    let found = database.client.simple_query(&ask).await.ok().map(|messages| {
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        rows.filter(|text| *text == "found").count() == 1
    });
    database.execute("rollback").await;
    (said, found)
}

/// What it says about one policy.
fn rule<'v>(said: &'v Value, policy: &str) -> &'v Value {
    let rules = said["ruling"]["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["policy"] == policy).unwrap_or_else(|| panic!("{policy}: {said:#}"))
}

#[tokio::test]
async fn verdicts_are_those_of_postgres_and_name_the_policy() {
    let database = database().await;
    // With a policy that raises an error for each of them, every row would be one that only Postgres can tell.
    database.execute("drop policy broken on notes; drop policy hashed on notes").await;
    for (id, visible, memory, because) in [
        (1, true, "allows", "let through by own"),
        (2, false, "denies", "no permissive policy lets it through"),
        (3, true, "allows", "let through by shared"),
        (5, false, "denies", "hidden by the restrictive not_void"),
    ] {
        let (said, found) = note(&database, id).await;
        assert_eq!(found, Some(visible), "{id}");
        assert_eq!(said["outcome"], if visible { "sent" } else { "withheld" }, "{said:#}");
        assert_eq!(said["because"], because, "{said:#}");
        assert_eq!(said["ruling"]["memory"], memory, "{said:#}");
        assert_eq!(said["ruling"]["postgres"], memory, "{said:#}");
        assert_eq!(said["ruling"]["differs"], false);
        assert_eq!(said["columns_hidden"], json!(["secret"]));
        assert_eq!(said["primary_key"], json!(["id"]));
        assert_eq!(rule(&said, "shared")["relations"], json!(["app.shares"]));
    }
}

#[tokio::test]
async fn a_policy_that_is_asked_says_why_and_what_it_came_to() {
    let database = database().await;
    database.execute("drop policy broken on notes").await;
    for (id, visible, outcome) in [(4, true, "asked_true"), (2, false, "asked_false")] {
        let (said, found) = note(&database, id).await;
        assert_eq!(found, Some(visible));
        assert_eq!(said["ruling"]["memory"], "asks", "{said:#}");
        assert_eq!(said["ruling"]["postgres"], if visible { "allows" } else { "denies" });
        assert_eq!(said["outcome"], if visible { "sent" } else { "withheld" });
        let hashed = rule(&said, "hashed");
        assert_eq!(hashed["outcome"], outcome, "{said:#}");
        assert!(hashed["why"].as_str().unwrap().contains("hashtext"), "{hashed}");
        assert!(hashed["advice"].is_string(), "{hashed}");
    }
}

#[tokio::test]
async fn a_policy_that_raises_withholds_the_row_and_is_named() {
    let database = database().await;
    let (said, found) = note(&database, 6).await;
    assert_eq!(found, None, "Postgres raises");
    assert_eq!(said["outcome"], "withheld", "{said:#}");
    assert_eq!(said["ruling"]["postgres"], "fails");
    assert_eq!(said["ruling"]["error"], "22012");
    assert_eq!(rule(&said, "broken")["outcome"], "asked_error", "{said:#}");
}

#[tokio::test]
async fn the_page_for_people_shows_no_value() {
    let database = database().await;
    let token = token("authenticated", Some(ANN));
    let output = explain(&database, &["--token", &token, "--table", "public.notes", "--key", "id=3"]);
    let said = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    for words in ["SENT", "shared", "app.shares: held in memory", "may not see", "in memory", "Postgres"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    for value in ["TOPSECRET", ANN, BOB, &token] {
        assert!(!said.contains(value) && !stderr(&output).contains(value), "{value}\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours");
}

#[tokio::test]
async fn others_roles_and_keys_are_told_apart() {
    let database = database().await;
    let claims = |claims: &str, table: &str, keys: &[&str]| {
        let keys = keys.iter().flat_map(|key| ["--key", *key]);
        let arguments: Vec<&str> = ["--claims", claims, "--table", table].into_iter().chain(keys).collect();
        explained(&database, &arguments)
    };
    let anon = claims(r#"{"role": "anon"}"#, "public.notes", &["id=1"]);
    assert_eq!((&anon["outcome"], &anon["ruling"]["postgres"]), (&json!("withheld"), &json!("denies")));
    assert_eq!(anon["because"], "no permissive policy binds the role");
    let service = claims(r#"{"role": "service_role"}"#, "public.notes", &["id=2"]);
    assert_eq!(service["outcome"], "refused", "it may bypass policies, and was granted nothing: {service:#}");
    let plain = claims(r#"{"role": "authenticated"}"#, "public.plain", &["a=1", "b=y"]);
    assert_eq!((&plain["outcome"], &plain["is_bound"]), (&json!("sent"), &json!(false)), "{plain:#}");
    let anon = claims(r#"{"role": "anon"}"#, "public.plain", &["a=1", "b=y"]);
    assert_eq!(anon["outcome"], "refused", "{anon:#}");
    assert_eq!(anon["ruling"]["postgres"], "fails");
    let keyless = claims(r#"{"role": "authenticated"}"#, "public.keyless", &["note=x"]);
    assert_eq!(keyless["because"], "the table has no primary key", "{keyless:#}");
    assert_eq!((&keyless["outcome"], &keyless["replica_identity"]), (&json!("refused"), &json!("full")));
}

#[tokio::test]
async fn what_cannot_be_explained_says_what_to_do() {
    let database = database().await;
    let (good, expired) =
        (token("authenticated", Some(ANN)), token_signed(SECRET, "authenticated", Some(ANN), -60));
    let foreign = token_signed("another-secret-of-tests-of-32-bytes-and-more", "authenticated", None, 60);
    let nobody = token("nobody_here", None);
    for (token, table, key, words) in [
        (&good, "public.notes", "id=99", "no row with that key"),
        (&good, "public.notes", "id=one", "not of the type"),
        (&good, "public.notes", "number=1", "--key id="),
        (&good, "public.missing", "id=1", "no table"),
        (&good, "public.unpublished", "id=1", "alter publication supabase_realtime add table"),
        (&good, "public.plain", "a=1", "--key a=… --key b=…"),
        (&nobody, "public.notes", "id=1", "token_roles"),
        (&expired, "public.notes", "id=1", "expired"),
        (&foreign, "public.notes", "id=1", "jwt_secret"),
        (&"nonsense".to_owned(), "public.notes", "id=1", "malformed"),
    ] {
        let output = explain(&database, &["--token", token, "--table", table, "--key", key]);
        assert_eq!(output.status.code(), Some(1), "{words}: {}", stdout(&output));
        let said = stderr(&output);
        assert!(said.contains(words) && said.contains("help: "), "{words}\n{said}");
        assert!(!said.contains(token.as_str()), "{said}");
    }
    let claims = r#"{"role": "nobody_here"}"#;
    let output = explain(&database, &["--claims", claims, "--table", "public.notes", "--key", "id=1"]);
    assert!(stderr(&output).contains("create role"), "{}", stderr(&output));
    for arguments in [
        &["--topic", "room"][..],
        &["--token", &good, "--table", "notes", "--key", "id=1"],
        &["--token", &good, "--table", "public.notes"],
        &["--token", &good, "--claims", "{}", "--topic", "room"],
        &["--claims", "{}", "--topic", "room"],
        &["--claims", "[]", "--topic", "room"],
        &["--token", &good, "--table", "public.notes", "--key", "id"],
    ] {
        let output = explain(&database, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_private_channel_is_explained_for_reading_and_writing() {
    let database = database().await;
    database
        .execute(
            "create policy listen on realtime.messages for select to authenticated
               using (realtime.topic() = 'room:' || (select auth.uid()::text));
             create policy talk on realtime.messages for insert to authenticated
               with check (extension = 'broadcast' and realtime.topic() like 'room:%')",
        )
        .await;
    let of = |sub: &str, topic: &str| {
        let token = token("authenticated", Some(sub));
        let said = explained(&database, &["--token", &token, "--topic", topic]);
        let questions = said["questions"].as_array().unwrap().clone();
        questions.iter().all(|question| question["ruling"]["differs"] == false).then_some(()).unwrap();
        let words = ["memory", "postgres"].map(|whose| {
            let words =
                questions.iter().map(|question| question["ruling"][whose].as_str().unwrap().to_owned());
            words.collect::<Vec<_>>()
        });
        assert_eq!(words[0], words[1], "memory is certain here: {said:#}");
        words[0].clone()
    };
    let room = format!("room:{ANN}");
    // Read and write, broadcast and presence in each.
    assert_eq!(of(ANN, &room), ["allows", "allows", "allows", "denies"]);
    assert_eq!(of(BOB, &room), ["denies", "denies", "allows", "denies"]);
    assert_eq!(of(ANN, &format!("realtime:{room}")), ["allows", "allows", "allows", "denies"]);
    assert_eq!(of(ANN, "hall"), ["denies"; 4]);
    // Those whom policies do not bind, and those who were granted nothing.
    let service = explained(&database, &["--claims", r#"{"role": "service_role"}"#, "--topic", "hall"]);
    assert_eq!(service["is_bound"], false, "{service:#}");
    assert_eq!(service["questions"][0]["ruling"]["postgres"], "allows", "{service:#}");
    let output = explain(&database, &["--claims", r#"{"role": "anon"}"#, "--topic", "hall"]);
    assert!(stdout(&output).contains("read/broadcast"), "{}", stdout(&output));
    assert!(output.status.success(), "{}", stderr(&output));
}
