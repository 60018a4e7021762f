//! The functions of the schema `realtime` and the upkeep of its messages, each allowed and denied.

use rowcast::postgres::connect::Database;
use rowcast::postgres::migrate::migrate;
use tokio_postgres::Client;

use crate::support::TestDatabase;

mod changes;
mod filters;
mod send;
mod upkeep;

/// A migrated database.
async fn prepared(major: u32) -> TestDatabase {
    let database = TestDatabase::create(major).await;
    migrate(&Database::parse(&database.url).unwrap(), &[]).await.unwrap();
    database
}

/// A session, and what Postgres says to it.
struct Listener {
    client: Client,
    notices: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Listener {
    async fn connect(database: &TestDatabase) -> Self {
        let notices = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = std::sync::Arc::clone(&notices);
        let note = move |text: &str| heard.lock().unwrap().push(text.to_owned());
        let target = Database::parse(&database.url).unwrap();
        let (client, _) = target.connect_with_notices("test", note).await.unwrap();
        Self { client, notices }
    }

    /// Runs statements and returns the warnings they gave, which arrive before the end of the statements does.
    async fn run(&self, sql: &str) -> Vec<String> {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        std::mem::take(&mut *self.notices.lock().unwrap())
    }

    /// Runs statements that fail, and returns the error's text.
    async fn fail(&self, sql: &str) -> String {
        let error = self.client.batch_execute(sql).await.expect_err(sql);
        error.as_db_error().unwrap().message().to_owned()
    }
}

/// One column of one row, as text.
async fn value(client: &Client, query: &str) -> Option<String> {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}\n{error:?}")).get(0)
}

/// How many rows `realtime.messages` has.
async fn message_count(database: &TestDatabase) -> i64 {
    database.client.query_one("select count(*) from realtime.messages", &[]).await.unwrap().get(0)
}

/// The first column of every row, as text.
async fn list(client: &Client, query: &str) -> Vec<String> {
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
