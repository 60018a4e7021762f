//! `rowcast doctor`: a healthy database has no problem, and each fault is found with what mends it.

use serde_json::Value;

use crate::stage::major;
use crate::stage::server::{migrate, program, stderr, stdout};
use crate::support::TestDatabase;

/// A table whose policies are decided in memory, with all that deletes need.
const HEALTHY: &str = "
    create table notes (id int primary key, owner uuid);
    alter table notes enable row level security;
    alter table notes replica identity full;
    grant select on notes to authenticated;
    create policy own on notes for select to authenticated using (owner = (select auth.uid()));
    alter publication supabase_realtime add table notes";

async fn database(sql: &str) -> TestDatabase {
    let database = TestDatabase::create(major()).await;
    migrate(&database.url);
    database.execute(HEALTHY).await;
    database.execute(sql).await;
    database
}

/// The exit code, and all checks.
fn examine(url: &str, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = program(&["doctor", "--json", "--database-url", url]).args(arguments).output().unwrap();
    let report: Value = serde_json::from_str(&stdout(&output))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", stdout(&output), stderr(&output)));
    (output.status.code(), report["checks"].as_array().unwrap().clone())
}

fn found<'v>(checks: &'v [Value], state: &str, words: &str) -> &'v Value {
    checks
        .iter()
        .find(|check| check["state"] == state && check["text"].as_str().unwrap().contains(words))
        .unwrap_or_else(|| panic!("no {state} {words:?} in {checks:#?}"))
}

fn fix(check: &Value) -> &str {
    check["fix"].as_str().unwrap_or_else(|| panic!("no fix: {check}"))
}

#[tokio::test]
async fn a_healthy_database_has_neither_problems_nor_warnings() {
    let database = database("").await;
    let (code, checks) = examine(&database.url, &[]);
    let faults: Vec<&Value> = checks.iter().filter(|check| check["state"] != "ok").collect();
    assert_eq!((code, faults), (Some(0), Vec::new()));
    found(&checks, "ok", "public.notes, policy \"own\": decided in memory (for authenticated)");
    found(&checks, "ok", "wal_level is logical");

    let output = program(&["doctor", "--database-url", &database.url]).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(said.contains("problems 0, warnings 0") && !said.contains('\u{1b}'), "{said}");
    assert!(stderr(&output).contains("reading the catalog"), "{}", stderr(&output));
}

#[tokio::test]
async fn each_fault_of_a_table_is_a_problem_that_its_sql_mends() {
    let database = database(
        "create table keyless (note text);
         create table mute (id int primary key);
         alter table keyless enable row level security;
         alter table mute enable row level security;
         alter table mute replica identity nothing;
         grant select on keyless, mute to authenticated;
         create policy everybody on keyless for select to authenticated using (true);
         create policy everybody on mute for select to authenticated using (true);
         alter publication supabase_realtime add table keyless, mute",
    )
    .await;
    let (code, checks) = examine(&database.url, &[]);
    assert_eq!(code, Some(1));
    for words in ["public.keyless: it has no primary key", "public.mute: its replica identity is NOTHING"] {
        database.execute(fix(found(&checks, "problem", words))).await;
    }
    let (code, checks) = examine(&database.url, &[]);
    assert_eq!(code, Some(0), "{checks:#?}");
    // What is left costs no more than that everybody learns of deleted keys.
    for table in ["public.keyless", "public.mute"] {
        database
            .execute(fix(found(&checks, "warning", &format!("{table}: old rows are logged by their key"))))
            .await;
    }
    let (_, checks) = examine(&database.url, &[]);
    assert!(checks.iter().all(|check| check["state"] == "ok"), "{checks:#?}");
}

#[tokio::test]
async fn a_policy_that_is_asked_is_a_warning_with_advice() {
    let database = database(
        "create schema app;
         grant usage on schema app to authenticated;
         create function app.may() returns boolean language plpgsql as
           'declare answer boolean; begin select true into answer; return answer; end';
         create function app.secret() returns boolean language sql stable return true;
         revoke execute on function app.secret() from public;
         create policy helped on notes for select to authenticated using (app.may());
         create policy refused on notes for select to authenticated using (app.secret());
         create table app.log (owner uuid);
         grant select on app.log to authenticated;
         create policy logged on notes for select to authenticated using
           (exists (select from app.log l where l.owner = notes.owner))",
    )
    .await;
    let (code, checks) = examine(&database.url, &[]);
    assert_eq!(code, Some(0), "warnings alone are no failure: {checks:#?}");
    let helped = found(&checks, "warning", "policy \"helped\": asked of Postgres");
    assert!(helped["text"].as_str().unwrap().contains("app.may"), "{helped}");
    assert!(fix(helped).contains("LANGUAGE sql"), "{helped}");
    let refused = found(&checks, "warning", "EXECUTE on app.secret");
    database.execute(fix(refused)).await;
    let logged = found(&checks, "warning", "app.log");
    database.execute(fix(logged)).await;
    let (_, checks) = examine(&database.url, &[]);
    found(&checks, "ok", "policy \"refused\": decided in memory");
    found(&checks, "ok", "policy \"logged\": decided in memory");
    found(&checks, "ok", "app.log");
}

#[tokio::test]
async fn triggers_publications_and_migrations_are_missed() {
    let database = database("").await;
    database.execute("drop event trigger rowcast_ddl; alter event trigger rowcast_drop disable").await;
    let (code, checks) = examine(&database.url, &["--catalog-poll-ms", "700"]);
    assert_eq!(code, Some(0));
    let triggers = found(&checks, "warning", "rowcast_ddl, rowcast_drop");
    assert!(triggers["text"].as_str().unwrap().contains("700 ms"), "{triggers}");
    database.execute(fix(triggers)).await;

    let (code, checks) = examine(&database.url, &["--publication", "elsewhere"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        fix(found(&checks, "problem", "publication elsewhere is missing")),
        "create publication \"elsewhere\""
    );
    database.execute("alter publication supabase_realtime drop table notes; drop publication rowcast").await;
    let (code, checks) = examine(&database.url, &[]);
    assert_eq!(code, Some(0), "{checks:#?}");
    found(&checks, "warning", "nothing to subscribe to");
    database.execute(fix(found(&checks, "warning", "publication rowcast is missing"))).await;

    let bare = TestDatabase::create(major()).await;
    let (code, checks) = examine(&bare.url, &[]);
    assert_eq!(code, Some(1));
    assert!(fix(found(&checks, "problem", "the schema lacks")).contains("rowcast migrate"));
}

#[tokio::test]
async fn rights_of_the_role_are_missed_one_by_one() {
    let database = database("").await;
    let name = database.url.rsplit_once('/').unwrap().1.to_owned();
    let role = format!("poor_{name}");
    database
        .execute(&format!("create role {role} login; revoke temporary on database {name} from public"))
        .await;
    let url = database.url.replace("//postgres@", &format!("//{role}@"));
    let (code, checks) = examine(&url, &[]);
    assert_eq!(code, Some(1), "{checks:#?}");
    for (state, words) in [
        ("problem", "lacks REPLICATION"),
        ("warning", "lacks TEMP"),
        ("problem", "may not take on authenticated"),
        ("warning", "may not create publications"),
        ("warning", "row level security binds"),
        ("warning", "publication rowcast is another role's"),
        ("warning", "cannot read all of realtime.messages"),
    ] {
        found(&checks, state, words);
    }
    let fixes = checks.iter().filter(|check| check["area"] == "role");
    let fixes: Vec<&str> = fixes.filter_map(|check| check["fix"].as_str()).collect();
    for fix in &fixes {
        database.execute(fix).await;
    }
    let (_, checks) = examine(&url, &[]);
    let left: Vec<&Value> =
        checks.iter().filter(|check| check["area"] == "role" && check["state"] != "ok").collect();
    assert!(left.is_empty(), "after {fixes:#?}: {left:#?}");
}

#[tokio::test]
async fn a_role_that_tokens_may_not_have_is_a_warning() {
    let database = database("").await;
    let role = format!("editor_{}", database.url.rsplit_once('/').unwrap().1);
    database
        .execute(&format!(
            "create role {role};
             create table drafts (id int primary key);
             alter table drafts enable row level security;
             create policy \"editors read drafts\" on drafts for select to {role}, authenticated using (true)"
        ))
        .await;
    let words = format!("tokens of the role {role} are refused");
    let (_, checks) = examine(&database.url, &[]);
    let warned = found(&checks, "warning", &words);
    assert!(fix(warned).contains(&format!("service_role, {role}\"")), "{warned}");
    assert!(!format!("{checks:?}").contains("tokens of the role authenticated"), "{checks:#?}");
    for listed in ["*", &format!("anon,{role}")] {
        let output = program(&["doctor", "--json", "--database-url", &database.url])
            .env("ROWCAST_TOKEN_ROLES", listed)
            .output()
            .unwrap();
        assert!(!stdout(&output).contains(&words), "{listed}: {}", stdout(&output));
    }
    database.execute(&format!("drop table drafts; drop role {role}")).await;
}

#[tokio::test]
async fn a_slot_that_nobody_reads_is_a_warning() {
    let database = database("").await;
    let name = database.url.rsplit_once('/').unwrap().1.to_owned();
    let slot = format!("rowcast_doctor_{name}");
    let arguments = ["--slot", "durable", "--slot-name", &slot];
    let (_, checks) = examine(&database.url, &arguments);
    found(&checks, "ok", "does not exist yet");
    database.execute(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    let (code, checks) = examine(&database.url, &arguments);
    assert_eq!(code, Some(0), "{checks:#?}");
    let idle = found(&checks, "warning", "nobody reads it");
    let (_, drop) = fix(idle).split_once(": ").unwrap();
    database.execute(drop).await;
    found(&checks, "warning", "max_slot_wal_keep_size");
}

#[tokio::test]
async fn an_unreachable_database_is_a_failure_with_a_remedy() {
    let output =
        program(&["doctor", "--database-url", "postgres://nobody@127.0.0.1:1/none"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("help: "), "{}", stderr(&output));
}
