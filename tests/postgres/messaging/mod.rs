//! The messaging schema: who sees, writes and calls what, each allowed and denied.

use std::fmt::Write as _;

use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::{Set, migrate};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{TestDatabase, connect};

mod attacks;
mod checks;
mod compiled;
mod complete;
mod concurrency;
mod conversations;
mod direct;
mod explain;
mod functions;
mod history;
mod limits;
mod profiles;
mod rows;
mod topics;
mod upkeep;

/// What is asked as everybody, and what each is answered.
type Case = (String, [&'static str; 9]);

/// The same from SQL that stands as it is.
fn cases<const N: usize>(table: [(&str, [&'static str; 9]); N]) -> Vec<Case> {
    table.into_iter().map(|(sql, expected)| (sql.to_owned(), expected)).collect()
}

/// What stands in braces in SQL of these tests, and the id that it stands for.
const IDS: [(&str, &str); 18] = [
    ("ann", "a0000000-0000-4000-8000-000000000001"),
    ("bob", "a0000000-0000-4000-8000-000000000002"),
    ("carl", "a0000000-0000-4000-8000-000000000003"),
    ("dan", "a0000000-0000-4000-8000-000000000004"),
    ("eve", "a0000000-0000-4000-8000-000000000005"),
    ("sue", "a0000000-0000-4000-8000-000000000006"),
    ("cus", "b0000000-0000-4000-8000-000000000001"),
    ("kim", "b0000000-0000-4000-8000-000000000002"),
    ("direct", "c0000000-0000-4000-8000-000000000001"),
    ("group", "c0000000-0000-4000-8000-000000000002"),
    ("support", "c0000000-0000-4000-8000-000000000003"),
    ("other", "c0000000-0000-4000-8000-000000000004"),
    ("d1", "d0000000-0000-4000-8000-000000000001"),
    ("d2", "d0000000-0000-4000-8000-000000000002"),
    ("g1", "d0000000-0000-4000-8000-000000000003"),
    ("g2", "d0000000-0000-4000-8000-000000000004"),
    ("s1", "d0000000-0000-4000-8000-000000000005"),
    ("o1", "d0000000-0000-4000-8000-000000000006"),
];

/// Replaces names in braces by their ids.
fn with_ids(sql: &str) -> String {
    let replace = |sql: String, (name, id): &(&str, &str)| sql.replace(&format!("{{{name}}}"), id);
    IDS.iter().fold(sql.to_owned(), replace)
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// Takes part in the direct conversation and the group, and has sent the first message of each.
    Ann,
    /// Takes part in the same, and has sent the second message of the direct one.
    Bob,
    /// Took part in the group, and has left it.
    Carl,
    /// Takes part in a conversation of which the others know nothing.
    Dan,
    /// The customer of the support conversation. The token's subject is Ann's id, which must mean nothing.
    Cus,
    /// Another customer, whose token says so in `app_metadata`.
    Kim,
    /// Staff.
    Sue,
    /// Nobody.
    Anon,
    /// A trusted server.
    Service,
}

use Caller::{Ann, Anon, Bob, Carl, Cus, Dan, Kim, Service, Sue};

/// Everybody, in the order in which tables of expectations have them.
const EVERYBODY: [Caller; 9] = [Ann, Bob, Carl, Dan, Cus, Kim, Sue, Anon, Service];

impl Caller {
    fn role(self) -> &'static str {
        match self {
            Anon => "anon",
            Service => "service_role",
            _ => "authenticated",
        }
    }

    fn claims(self) -> String {
        with_ids(match self {
            Ann => r#"{"role": "authenticated", "sub": "{ann}", "app_metadata": {"role": "teacher"}}"#,
            // Only issuers write app_metadata; what users write themselves makes nobody staff or somebody else.
            Bob => {
                r#"{"role": "authenticated", "sub": "{bob}", "user_metadata": {"role": "staff", "customer_id": "{cus}"}}"#
            }
            Carl => r#"{"role": "authenticated", "sub": "{carl}"}"#,
            Dan => r#"{"role": "authenticated", "sub": "{dan}"}"#,
            Cus => r#"{"role": "authenticated", "sub": "{ann}", "customer_id": "{cus}"}"#,
            Kim => {
                r#"{"role": "authenticated", "sub": "{ann}", "app_metadata": {"role": "staff", "customer_id": "{kim}"}}"#
            }
            Sue => r#"{"role": "authenticated", "sub": "{sue}", "app_metadata": {"role": "staff"}}"#,
            Anon => r#"{"role": "anon"}"#,
            Service => r#"{"role": "service_role"}"#,
        })
    }

    /// What makes a transaction this caller's.
    fn prologue(self) -> String {
        let claims = self.claims();
        format!("set local role {}; set local request.jwt.claims = '{claims}';", self.role())
    }
}

/// A database with the messaging schema and people who talk.
struct Stage {
    database: TestDatabase,
}

impl Stage {
    async fn create(major: u32) -> Self {
        let database = TestDatabase::create(major).await;
        migrate(&Database::parse(&database.url).unwrap(), &[Set::Messaging]).await.unwrap();
        database.execute(&with_ids(include_str!("people.sql"))).await;
        Self { database }
    }

    /// As the superuser.
    async fn execute(&self, sql: &str) {
        self.database.execute(&with_ids(sql)).await;
    }

    /// The one value of a query, as the superuser.
    async fn value(&self, sql: &str) -> String {
        answer(&self.database.client, &with_ids(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// What a caller is answered: the first column of every row, joined by commas, or the SQLSTATE. Stays.
    async fn call(&self, caller: Caller, sql: &str) -> Result<String, String> {
        call(&self.database.client, caller, sql, "commit").await
    }

    /// As [`Self::call`], and taken back.
    async fn probe(&self, caller: Caller, sql: &str) -> String {
        match call(&self.database.client, caller, sql, "rollback").await {
            Ok(found) | Err(found) => found,
        }
    }

    /// Another session.
    async fn connect(&self) -> Client {
        connect(&self.database.url).await
    }

    /// Asks as everybody, and compares with what each is to be answered.
    async fn check<S: AsRef<str>>(&self, cases: &[(S, [&str; 9])]) {
        let mut wrong = String::new();
        for (sql, expected) in cases {
            let sql = sql.as_ref();
            for (caller, expected) in EVERYBODY.into_iter().zip(expected) {
                let found = self.probe(caller, sql).await;
                if found != with_ids(expected) {
                    let _ = writeln!(wrong, "{sql}\n    as {caller:?}: expected {expected}, found {found}");
                }
            }
        }
        assert!(wrong.is_empty(), "on {}:\n{wrong}", self.database.major);
    }
}

/// Runs statements as a caller in one transaction; the answer is that of the last one with rows.
async fn call(client: &Client, caller: Caller, sql: &str, end: &str) -> Result<String, String> {
    client.batch_execute("begin").await.unwrap();
    client.batch_execute(&caller.prologue()).await.unwrap();
    let found = answer(client, &with_ids(sql)).await;
    let end = if found.is_ok() { end } else { "rollback" };
    client.batch_execute(end).await.unwrap();
    found
}

/// The first column of every row, joined by commas, or the SQLSTATE.
async fn answer(client: &Client, sql: &str) -> Result<String, String> {
    let messages = client.simple_query(sql).await.map_err(|error| {
        let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
        error.code().code().to_owned()
    })?;
    let mut rows: Vec<String> = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            // `select from …` has no column.
            rows.extend((!row.is_empty()).then(|| row.get(0).unwrap_or("null").to_owned()));
        }
    }
    Ok(rows.join(","))
}
