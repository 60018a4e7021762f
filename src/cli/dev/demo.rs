//! The demo's people, its schema, and a way to write as one of them: in the demo, or on the messaging tables.

use tokio_postgres::{Client, Transaction};

use crate::cli::{Error, block_on, say as tell};
use crate::postgres::connect::Database;

use super::directory::Directory;

/// The first demo user, as in `sql/demo.sql`.
pub(super) const ANN: &str = "a0000000-0000-4000-8000-000000000001";
/// The second.
pub(super) const BOB: &str = "b0000000-0000-4000-8000-000000000001";
/// The conversation of both.
const SHARED: &str = "c0000000-0000-4000-8000-000000000003";

const SCHEMA: &str = include_str!("../../../sql/demo.sql");

/// Makes the demo, unless it is there.
pub(super) async fn seed(database: &Database) -> Result<(), Error> {
    let (client, _session) = database.connect("rowcast_dev").await?;
    client.batch_execute(SCHEMA).await.map_err(|error| Error::failed(&error))
}

/// Writes a message as bob, with bob's rights and no more.
pub(super) fn say(directory: &Directory, text: &str) -> Result<(), Error> {
    let absent = || {
        let text = format!("no `rowcast dev` runs in {}", directory.path().display());
        Error::failed(&std::io::Error::other(text)).help("start it first, in another terminal")
    };
    let url = directory.url().ok_or_else(absent)?;
    block_on(async {
        let database = Database::parse(&url)?;
        let (mut client, _session) = database.connect("rowcast_dev").await.map_err(|_| absent())?;
        let written = write(&mut client, text).await.map_err(|error| Error::failed(&error))?;
        if !written {
            let text = "bob writes in the demo and on the messaging tables, and neither is here";
            return Err(Error::failed(&std::io::Error::other(text))
                .help("write to your own tables with psql, or start without `--schema`"));
        }
        tell("bob said it; ann's client prints it");
        Ok(())
    })
}

/// Whether there is something that bob can write in.
async fn write(client: &mut Client, text: &str) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_one(PLACES, &[]).await?;
    let (is_messaging, is_demo): (bool, bool) = (row.get(0), row.get(1));
    if !is_messaging && !is_demo {
        return Ok(false);
    }
    let transaction = client.transaction().await?;
    let claims = serde_json::json!({ "sub": BOB, "role": "authenticated" }).to_string();
    transaction.batch_execute("set local role authenticated").await?;
    transaction.execute("select set_config('request.jwt.claims', $1, true)", &[&claims]).await?;
    if is_messaging {
        send(&transaction, text).await?;
    } else {
        insert(&transaction, text).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Whether the messaging tables are there, and the demo's.
const PLACES: &str = "select to_regproc('public.start_conversation') is not null,
    exists (select from pg_attribute where attrelid = to_regclass('public.messages') and attname = 'body')";

/// In the conversation of both on the messaging tables, which is begun by the first message.
async fn send(transaction: &Transaction<'_>, text: &str) -> Result<(), tokio_postgres::Error> {
    let start = "select public.start_conversation(array[$1::text::uuid], first_message => $2)";
    transaction.execute(start, &[&ANN, &text]).await.map(|_| ())
}

async fn insert(transaction: &Transaction<'_>, text: &str) -> Result<(), tokio_postgres::Error> {
    let insert = "insert into public.messages (conversation_id, sender_id, body)
        values ($1::text::uuid, (select auth.uid()), $2)";
    transaction.execute(insert, &[&SHARED, &text]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::{ANN, BOB, SCHEMA, SHARED};

    #[test]
    fn people_and_conversation_are_those_of_the_schema() {
        for id in [ANN, BOB, SHARED] {
            assert!(SCHEMA.contains(id), "{id}");
        }
    }
}
