//! What the stock clients need of a server, point by point.
//!
//! A test `checklist_07_…` holds point 7, in both dialects where the point has any. Points about sockets and frames
//! are held on raw sockets, so that every byte is looked at; what applications see is held with the clients
//! themselves, here and in the scenarios beside this folder.
//!
//! | points | about | file |
//! | --- | --- | --- |
//! | 1, 2, 5, 13, 31 | sockets: address, keys, heartbeats, malformed frames, coming back | `socket.rs` |
//! | 3, 4, 6 to 12, 14, 30 | channels: frames, joining, leaving, refs, leniency | `channel.rs` |
//! | 15, 16, 18, 19 | rooms: broadcasts and presence | `room.rs` |
//! | 17 | broadcasts over HTTP | `rest.rs` |
//! | 20 to 24 | changes: announcements, shape, values, order, visibility | `change.rs` |
//! | 25, 26 | tokens | `token.rs` |

use crate::stage::{ANN, RawClient, TestServer, Vsn, major, server};
use crate::support::TestDatabase;

mod change;
mod channel;
mod rest;
mod room;
mod socket;
mod token;

/// A table that everybody may read.
const NOTES: &str = "
    create table notes (id int primary key, body text);
    grant select on notes to authenticated;
    alter publication supabase_realtime add table notes;";

/// Every change of it.
fn notes() -> serde_json::Value {
    serde_json::json!([{ "event": "*", "schema": "public", "table": "notes" }])
}

/// A migrated database and the server on it.
struct Wire {
    database: TestDatabase,
    server: TestServer,
}

impl Wire {
    /// Sets it up; `sql` runs before the server.
    async fn set(sql: &str) -> Self {
        let database = TestDatabase::create(major()).await;
        server::migrate(&database.url);
        database.execute(sql).await;
        let server = TestServer::start(&database.url).await;
        Self { database, server }
    }

    /// A socket of the role `authenticated`.
    async fn connect(&self, vsn: Vsn) -> RawClient {
        RawClient::connect(&self.server, vsn, &server::token("authenticated", Some(ANN))).await
    }
}
