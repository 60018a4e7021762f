//! The demo's people, its schema, and a way to write as one of them.

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
        insert(&mut client, text).await.map_err(|error| Error::failed(&error))?;
        tell("bob said it; ann's client prints it");
        Ok(())
    })
}

async fn insert(client: &mut tokio_postgres::Client, text: &str) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let claims = serde_json::json!({ "sub": BOB, "role": "authenticated" }).to_string();
    transaction.batch_execute("set local role authenticated").await?;
    transaction.execute("select set_config('request.jwt.claims', $1, true)", &[&claims]).await?;
    transaction
        .execute(
            "insert into public.messages (conversation_id, sender_id, body)
             values ($1::text::uuid, (select auth.uid()), $2)",
            &[&SHARED, &text],
        )
        .await?;
    transaction.commit().await
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
