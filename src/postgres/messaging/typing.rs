//! Typing that has expired: its rows are removed, and the replication stream tells everybody by that.
//!
//! A poll that finds nothing is one look at an index; it writes nothing and takes no transaction id.

use super::Counters;
use super::error::Error;
use super::session::{Prepared, Session};

/// Removes what has expired.
pub(super) struct Typing {
    expire: Prepared,
}

impl Typing {
    pub(super) async fn prepare(session: &Session) -> Result<Self, Error> {
        let expire = session.prepare("end typing that has expired", "select rowcast.expire_typing()").await?;
        Ok(Self { expire })
    }

    pub(super) async fn expire(&self, session: &Session, counters: &Counters) -> Result<(), Error> {
        counters.typing_expired.add(session.count(&self.expire, &[]).await?);
        Ok(())
    }
}
