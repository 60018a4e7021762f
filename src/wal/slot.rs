//! The replication slot: made ready on the session that will stream from it.

use pgwire_replication::client::ReplicationClient;

use super::Lsn;
use super::stream::Error;
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// Which slot to stream from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// One of our own, which vanishes with the session: it never holds back log, and a change made while
    /// nobody streams is not delivered.
    Temporary,
    /// One that stays: a restart continues where the last one stopped. It holds back log until then.
    Durable(SlotName),
}

/// A slot's name: 1 to 63 of `a`–`z`, `0`–`9` and `_`, as Postgres demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotName(Box<str>);

/// The text is no slot name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a slot name has 1 to 63 lower-case letters, digits and underscores")]
pub struct InvalidSlotName;

impl SlotName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, InvalidSlotName> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if (1..=63).contains(&name.len()) && name.bytes().all(valid) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidSlotName)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of the changes since the last session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The slot kept them: nothing is missing, and what was not acknowledged comes again.
    Unbroken {
        /// Up to here, positions mean what they meant in the last session.
        shared: Lsn,
    },
    /// The slot is new: what was committed before it is not delivered.
    Fresh,
}

/// Makes the slot ready for this session. A durable slot that Postgres has invalidated is made anew; with `skip`,
/// one whose next changes cannot be decoded is moved past them. Both are said in the log.
pub(super) async fn prepare(
    client: &mut ReplicationClient,
    slot: &Slot,
    name: &str,
    skip: bool,
) -> Result<Continuity, Error> {
    let create = |kind: &str| format!("CREATE_REPLICATION_SLOT {name} {kind} pgoutput NOEXPORT_SNAPSHOT");
    if *slot == Slot::Temporary {
        client.simple_query(&create("TEMPORARY LOGICAL")).await?;
        return Ok(Continuity::Fresh);
    }
    let state = format!(
        "select coalesce(plugin = 'pgoutput' and database = current_database(), false), coalesce(wal_status, '')
           from pg_catalog.pg_replication_slots where slot_name = '{name}'"
    );
    let rows = client.simple_query(&state).await?;
    let field = |column: usize| {
        let value = rows.first()?.get(column)?.as_ref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    match (field(0).as_deref(), field(1).as_deref()) {
        (None, _) => {}
        (Some("t"), Some("lost")) => {
            report!(
                warn,
                Code::ReplicationSlotNotAlive,
                slot = name,
                "slot was invalidated, as max_slot_wal_keep_size demands: it is made anew, and changes are missing"
            );
            client.simple_query(&format!("DROP_REPLICATION_SLOT {name}")).await?;
        }
        (Some("t"), _) => {
            if skip {
                report!(
                    warn,
                    Code::ReplicationSlotAdvanced,
                    slot = name,
                    "slot is moved past changes made while a publication was missing: they are not delivered"
                );
                let advance = format!(
                    "select pg_catalog.pg_replication_slot_advance('{name}', pg_catalog.pg_current_wal_flush_lsn())"
                );
                client.simple_query(&advance).await?;
            }
            return Ok(Continuity::Unbroken { shared: Lsn::new(u64::MAX) });
        }
        (Some(_), _) => return Err(Error::ForeignSlot { name: name.into() }),
    }
    client.simple_query(&create("LOGICAL")).await?;
    Ok(Continuity::Fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_name_needs_no_quoting() {
        for name in ["rowcast", "a_1", &"x".repeat(63)] {
            assert_eq!(SlotName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "Rowcast", "a-b", "a b", "x; drop", "ä", &"x".repeat(64)] {
            assert_eq!(SlotName::new(name), Err(InvalidSlotName));
        }
    }
}
