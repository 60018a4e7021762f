//! The same answers without a row: policies as conditions on values.
//!
//! For each role, a session has one function of its own, which goes through the questions of a batch. For each it takes
//! on the caller's settings in a subtransaction, evaluates the policies over the row that would be inserted, and rolls
//! the subtransaction back, so that an error is contained in its question and nothing is left behind. Each question is
//! an execution of its own: parts of a policy that Postgres evaluates once for a statement are evaluated for each
//! caller. The function belongs to a role, because Postgres keeps its plans, and a plan may hold what one role may do.
//! Where a plan could hold what one caller's settings say, plans are made anew for each question.
//!
//! The bodies are texts, so they keep nobody from dropping what they name. A role that may not use a schema which a
//! policy names could not have the text analysed, though Postgres's own row level security lets it use the policy. It
//! gets functions whose bodies are analysed by the server's role, in a transaction that is rolled back with its batch.

use std::fmt::Write;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::reading::{Judgement, Reading, Role};
use super::{Asked, Question};
use crate::wal::sql::{identifier, literal};

/// For how long a function goes on to the next question; the rest is put again. The longest that one slow question
/// delays others that were put with it is the statement timeout.
const BUDGET_MS: u32 = 250;

/// What a function found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// What policies say about each extension.
    Rights([bool; 2]),
    /// This SQLSTATE was raised.
    Raised(String),
}

/// Names the function of a role, which is the so manieth of its session.
pub(super) fn name(number: usize) -> String {
    format!("rowcast_judge_{number}")
}

/// Creates the functions of a role; with `analysed` bodies where it says so.
pub(super) fn create(reading: &Reading, role: &Role, number: usize, analysed: bool) -> String {
    let mut sql = String::new();
    let mut conditions = Vec::new();
    for (judgement, place) in [(&role.read, "read"), (&role.write, "write")] {
        let Judgement::Condition(condition) = judgement else {
            conditions.push(None);
            continue;
        };
        let policy = format!("pg_temp.rowcast_policy_{number}_{place}");
        if analysed {
            let row = row(reading, "$1", "$2", "$3");
            let _ = write!(
                sql,
                "create or replace function {policy}(text, text, timestamp) returns boolean language sql stable \
                 begin atomic select ({condition}) from {row}; end; \
                 grant execute on function {policy}(text, text, timestamp) to public; "
            );
        }
        conditions.push(Some(move |extension: &str| {
            if analysed {
                format!("{policy}(rowcast_topic, '{extension}', rowcast_now)")
            } else {
                let row = row(reading, "rowcast_topic", &format!("'{extension}'"), "rowcast_now");
                format!("(select ({condition}) from {row})")
            }
        }));
    }
    let branch = |place: usize| match &conditions[place] {
        Some(condition) => format!(
            "rowcast_broadcast := {}; rowcast_presence := {};",
            condition("broadcast"),
            condition("presence")
        ),
        None => "raise insufficient_privilege;".to_owned(),
    };
    let (read, write) = (branch(0), branch(1));
    let role = literal(&role.name);
    let body = format!(
        "#variable_conflict use_column
declare
  rowcast_begun constant timestamptz := pg_catalog.clock_timestamp();
  rowcast_now constant timestamp := pg_catalog.timezone('UTC', pg_catalog.now());
  rowcast_number integer;
  rowcast_topic text;
  rowcast_judged boolean;
begin
  for rowcast_number in 1 .. pg_catalog.cardinality(rowcast_topics) loop
    rowcast_place := rowcast_number;
    rowcast_code := null;
    rowcast_judged := false;
    rowcast_topic := rowcast_topics[rowcast_number];
    begin
      perform pg_catalog.set_config('role', {role}, true),
              pg_catalog.set_config('realtime.topic', rowcast_topic, true),
              pg_catalog.set_config('request.jwt.claims', rowcast_claims[rowcast_number], true),
              pg_catalog.set_config('request.jwt.claim.sub', rowcast_subs[rowcast_number], true),
              pg_catalog.set_config('request.jwt.claim.role', {role}, true),
              pg_catalog.set_config('request.headers', rowcast_headers[rowcast_number], true);
      if rowcast_writes[rowcast_number] then
        {write}
      else
        {read}
      end if;
      rowcast_judged := true;
      -- Nothing that a policy has done is to stay.
      raise exception using errcode = 'RC000';
    exception when others or assert_failure then
      if not rowcast_judged then rowcast_code := sqlstate; end if;
    end;
    return next;
    exit when pg_catalog.clock_timestamp() > rowcast_begun + interval '{BUDGET_MS} milliseconds';
  end loop;
end"
    );
    let _ = write!(
        sql,
        "create or replace function pg_temp.{}(rowcast_writes boolean[], rowcast_topics text[], rowcast_claims text[], \
         rowcast_subs text[], rowcast_headers text[]) returns table (rowcast_place integer, rowcast_code text, \
         rowcast_broadcast boolean, rowcast_presence boolean) language plpgsql volatile {} as {}",
        name(number),
        if reading.plans_anew { "set plan_cache_mode = force_custom_plan" } else { "" },
        literal(&body)
    );
    sql
}

/// The row that would be inserted, as an item of FROM that no planner looks into.
fn row(reading: &Reading, topic: &str, extension: &str, now: &str) -> String {
    let columns: Vec<String> = reading
        .columns
        .iter()
        .map(|(name, r#type)| {
            let value = match &**name {
                "topic" => topic,
                "extension" => extension,
                "inserted_at" | "updated_at" => now,
                "id" => "pg_catalog.gen_random_uuid()",
                "private" => "false",
                _ => "null",
            };
            format!("{value}::{type} as {}", identifier(name))
        })
        .collect();
    format!("(select {} offset 0) as messages", columns.join(", "))
}

/// Puts questions to the function of their role; findings are about the first of them, as far as it came.
pub(super) async fn put(client: &Client, number: usize, questions: &[&Asked]) -> Result<Vec<Finding>, Error> {
    let writes: Vec<bool> = questions.iter().map(|asked| asked.question == Question::Write).collect();
    let texts = |of: fn(&Asked) -> String| questions.iter().map(|asked| of(asked)).collect::<Vec<String>>();
    let topics = texts(|asked| asked.subject.topic.to_string());
    let claims = texts(|asked| asked.subject.claims.json.to_string());
    let subs = texts(|asked| asked.subject.sub().unwrap_or_default());
    let headers = texts(|asked| asked.subject.headers.to_string());
    let sql = format!(
        "select rowcast_place, rowcast_code, rowcast_broadcast, rowcast_presence \
         from pg_temp.{}($1, $2, $3, $4, $5) order by 1",
        name(number)
    );
    let rows = client
        .query_typed(
            &sql,
            &[
                (&writes, Type::BOOL_ARRAY),
                (&topics, Type::TEXT_ARRAY),
                (&claims, Type::TEXT_ARRAY),
                (&subs, Type::TEXT_ARRAY),
                (&headers, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    rows.iter().map(finding).collect()
}

fn finding(row: &Row) -> Result<Finding, Error> {
    Ok(match row.try_get("rowcast_code")? {
        Some(code) => Finding::Raised(code),
        None => {
            // NULL is not true.
            let holds = |column| row.try_get::<_, Option<bool>>(column).map(|holds| holds == Some(true));
            Finding::Rights([holds("rowcast_broadcast")?, holds("rowcast_presence")?])
        }
    })
}
