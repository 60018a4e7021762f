//! The pgoutput protocol, version 1: bytes → [`Message`].
//!
//! Every length is checked before it is used: malformed input is an [`Error`], never a panic, and nothing is
//! allocated that the input does not pay for.

use bytes::Bytes;

use super::Lsn;
use super::tuple::{Datum, Tuple};

/// Microseconds from the Unix epoch to 2000-01-01, where Postgres counts from.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// One message of the replication stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A committed transaction begins.
    Begin(Begin),
    /// It is complete.
    Commit(Commit),
    /// The transaction came from another node by replication.
    Origin,
    /// The shape of a table, before the first change of it and after it changed.
    Relation(Relation),
    /// The name of a type that is not built in.
    Type,
    /// A row was inserted.
    Insert {
        /// The table.
        relation: u32,
        /// The row.
        new: Tuple,
    },
    /// A row was updated.
    Update {
        /// The table.
        relation: u32,
        /// The old values, where the replica identity logs any.
        old: Option<OldTuple>,
        /// The row as it is now; unchanged TOAST values are absent.
        new: Tuple,
    },
    /// A row was deleted.
    Delete {
        /// The table.
        relation: u32,
        /// Its old values.
        old: OldTuple,
    },
    /// Tables were emptied.
    Truncate {
        /// The tables.
        relations: Box<[u32]>,
    },
    /// What `pg_logical_emit_message` wrote.
    Logical {
        /// Whether it belongs to the open transaction.
        transactional: bool,
        /// Where it stands.
        lsn: Lsn,
        /// Who it is for.
        prefix: Box<str>,
        /// What it says.
        content: Bytes,
    },
}

/// The head of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record stands.
    pub commit_lsn: Lsn,
    /// When it committed: microseconds since the Unix epoch.
    pub commit_time_micros: i64,
    /// Its identifier, without the epoch.
    pub xid: u32,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record stands.
    pub commit_lsn: Lsn,
    /// Where its commit record ends: what to acknowledge.
    pub end_lsn: Lsn,
    /// When it committed: microseconds since the Unix epoch.
    pub commit_time_micros: i64,
}

/// The shape of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub id: u32,
    /// The schema, unquoted; `pg_catalog` is sent as the empty string.
    pub schema: Box<str>,
    /// The name, unquoted.
    pub name: Box<str>,
    /// `pg_class.relreplident`: `d`, `n`, `f` or `i`.
    pub replica_identity: u8,
    /// The published columns, in order.
    pub columns: Box<[Column]>,
}

/// One published column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Whether it is part of the replica identity.
    pub identity: bool,
    /// Its name, unquoted.
    pub name: Box<str>,
    /// `pg_type.oid`.
    pub type_id: u32,
    /// The type modifier; -1 for none.
    pub type_modifier: i32,
}

/// Old values of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldTuple {
    /// Whether it is the whole row (`REPLICA IDENTITY FULL`); else only identity columns count, the others
    /// read as NULL.
    pub full: bool,
    /// The values.
    pub tuple: Tuple,
}

/// Why bytes are no pgoutput message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message ended early.
    #[error("pgoutput message ends early")]
    Truncated,
    /// Bytes were left after the message.
    #[error("pgoutput message has bytes after its end")]
    Overlong,
    /// The first byte names no message of version 1.
    #[error("unknown pgoutput message kind {0:#04x}")]
    UnknownKind(u8),
    /// A part of the message is not what the protocol says.
    #[error("malformed {0} in a pgoutput message")]
    Malformed(&'static str),
}

impl Message {
    /// Decodes one message. Row values share `data`'s memory.
    pub fn decode(data: &Bytes) -> Result<Self, Error> {
        let mut reader = Reader { data, at: 0 };
        let message = match reader.u8()? {
            b'B' => Self::Begin(Begin {
                commit_lsn: reader.lsn()?,
                commit_time_micros: reader.time()?,
                xid: reader.u32()?,
            }),
            b'C' => {
                reader.u8()?; // Flags: none are defined.
                Self::Commit(Commit {
                    commit_lsn: reader.lsn()?,
                    end_lsn: reader.lsn()?,
                    commit_time_micros: reader.time()?,
                })
            }
            b'O' => {
                reader.lsn()?;
                reader.string()?;
                Self::Origin
            }
            b'R' => Self::Relation(reader.relation()?),
            b'Y' => {
                reader.u32()?;
                reader.string()?;
                reader.string()?;
                Self::Type
            }
            b'I' => {
                let relation = reader.u32()?;
                reader.expect(b'N', "insert")?;
                Self::Insert { relation, new: reader.tuple()? }
            }
            b'U' => {
                let relation = reader.u32()?;
                let (old, mark) = match reader.u8()? {
                    kind @ (b'O' | b'K') => {
                        let old = OldTuple { full: kind == b'O', tuple: reader.tuple()? };
                        (Some(old), reader.u8()?)
                    }
                    mark => (None, mark),
                };
                if mark != b'N' {
                    return Err(Error::Malformed("update"));
                }
                Self::Update { relation, old, new: reader.tuple()? }
            }
            b'D' => {
                let relation = reader.u32()?;
                let full = match reader.u8()? {
                    b'O' => true,
                    b'K' => false,
                    _ => return Err(Error::Malformed("delete")),
                };
                Self::Delete { relation, old: OldTuple { full, tuple: reader.tuple()? } }
            }
            b'T' => {
                let count = reader.u32()?;
                reader.u8()?; // CASCADE and RESTART IDENTITY: all affected tables are listed anyway.
                // The list is read element by element, so a lying count cannot allocate.
                let relations = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
                Self::Truncate { relations }
            }
            b'M' => {
                let flags = reader.u8()?;
                let lsn = reader.lsn()?;
                let prefix = reader.string()?.into();
                let length = reader.length()?;
                Self::Logical { transactional: flags & 1 == 1, lsn, prefix, content: reader.bytes(length)? }
            }
            kind => return Err(Error::UnknownKind(kind)),
        };
        if reader.at == data.len() { Ok(message) } else { Err(Error::Overlong) }
    }
}

/// Converts Postgres's clock to microseconds since the Unix epoch.
pub fn unix_micros(postgres_micros: i64) -> i64 {
    postgres_micros.saturating_add(POSTGRES_EPOCH_MICROS)
}

struct Reader<'a> {
    data: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(length).ok_or(Error::Truncated)?;
        let slice = self.data.get(self.at..end).ok_or(Error::Truncated)?;
        self.at = end;
        Ok(slice)
    }

    fn bytes(&mut self, length: usize) -> Result<Bytes, Error> {
        let start = self.at;
        self.slice(length)?;
        Ok(self.data.slice(start..self.at))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.slice(N)?.try_into().map_err(|_| Error::Truncated)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, Error> {
        let length = self.array().map(i32::from_be_bytes)?;
        usize::try_from(length).map_err(|_| Error::Malformed("length"))
    }

    fn lsn(&mut self) -> Result<Lsn, Error> {
        self.array().map(u64::from_be_bytes).map(Lsn::new)
    }

    fn time(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_be_bytes).map(unix_micros)
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Error> {
        if self.u8()? == byte { Ok(()) } else { Err(Error::Malformed(what)) }
    }

    fn string(&mut self) -> Result<&'a str, Error> {
        let rest = &self.data[self.at..];
        let length = memchr::memchr(0, rest).ok_or(Error::Truncated)?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| Error::Malformed("name"))
    }

    fn relation(&mut self) -> Result<Relation, Error> {
        let id = self.u32()?;
        let schema = match self.string()? {
            "" => "pg_catalog",
            schema => schema,
        };
        let name = self.string()?;
        let replica_identity = self.u8()?;
        let count = self.u16()?;
        let columns = (0..count)
            .map(|_| {
                Ok(Column {
                    identity: self.u8()? & 1 == 1,
                    name: self.string()?.into(),
                    type_id: self.u32()?,
                    type_modifier: i32::from_be_bytes(self.array()?),
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Relation { id, schema: schema.into(), name: name.into(), replica_identity, columns })
    }

    fn tuple(&mut self) -> Result<Tuple, Error> {
        let count = self.u16()?;
        let values = (0..count).map(|_| self.datum()).collect::<Result<_, _>>()?;
        Ok(Tuple { values })
    }

    fn datum(&mut self) -> Result<Datum, Error> {
        match self.u8()? {
            b'n' => Ok(Datum::Null),
            b'u' => Ok(Datum::Absent),
            b't' => {
                let length = self.length()?;
                let text = self.bytes(length)?;
                match std::str::from_utf8(&text) {
                    Ok(_) => Ok(Datum::Text(text)),
                    Err(_) => Err(Error::Malformed("value encoding")),
                }
            }
            // Binary values are never asked for.
            _ => Err(Error::Malformed("value kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(parts: &[&[u8]]) -> Result<Message, Error> {
        Message::decode(&Bytes::from(parts.concat()))
    }

    fn row(values: &[&str]) -> Vec<u8> {
        let mut bytes = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            match *value {
                "NULL" => bytes.push(b'n'),
                "TOAST" => bytes.push(b'u'),
                text => {
                    bytes.push(b't');
                    bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        bytes
    }

    fn tuple(values: &[&str]) -> Tuple {
        let datum = |value: &&str| match *value {
            "NULL" => Datum::Null,
            "TOAST" => Datum::Absent,
            text => Datum::Text(Bytes::copy_from_slice(text.as_bytes())),
        };
        Tuple { values: values.iter().map(datum).collect() }
    }

    #[test]
    fn decodes_each_kind_of_change() {
        let id = 7_u32.to_be_bytes();
        let insert = decode(&[b"I", &id, b"N", &row(&["1", "NULL", "TOAST"])]);
        assert_eq!(insert, Ok(Message::Insert { relation: 7, new: tuple(&["1", "NULL", "TOAST"]) }));
        let update = decode(&[b"U", &id, b"O", &row(&["1"]), b"N", &row(&["2"])]);
        let old = Some(OldTuple { full: true, tuple: tuple(&["1"]) });
        assert_eq!(update, Ok(Message::Update { relation: 7, old, new: tuple(&["2"]) }));
        let update = decode(&[b"U", &id, b"N", &row(&["2"])]);
        assert_eq!(update, Ok(Message::Update { relation: 7, old: None, new: tuple(&["2"]) }));
        let delete = decode(&[b"D", &id, b"K", &row(&["1", "NULL"])]);
        let old = OldTuple { full: false, tuple: tuple(&["1", "NULL"]) };
        assert_eq!(delete, Ok(Message::Delete { relation: 7, old }));
        let truncate = decode(&[b"T", &2_u32.to_be_bytes(), &[0], &id, &id]);
        assert_eq!(truncate, Ok(Message::Truncate { relations: [7, 7].into() }));
    }

    #[test]
    fn counts_time_from_the_unix_epoch() {
        let begin = decode(&[b"B", &5_u64.to_be_bytes(), &0_i64.to_be_bytes(), &9_u32.to_be_bytes()]);
        let expected = Begin { commit_lsn: Lsn::new(5), commit_time_micros: 946_684_800_000_000, xid: 9 };
        assert_eq!(begin, Ok(Message::Begin(expected)));
    }

    #[test]
    fn refuses_what_is_no_message() {
        let id = 7_u32.to_be_bytes();
        assert_eq!(decode(&[]), Err(Error::Truncated));
        assert_eq!(decode(&[b"Z"]), Err(Error::UnknownKind(b'Z')));
        assert_eq!(decode(&[b"I", &id, b"N", &row(&["1"]), b"x"]), Err(Error::Overlong));
        assert_eq!(decode(&[b"I", &id, b"O", &row(&["1"])]), Err(Error::Malformed("insert")));
        assert_eq!(decode(&[b"I", &id, b"N", &[0, 1, b'b']]), Err(Error::Malformed("value kind")));
        assert_eq!(
            decode(&[b"I", &id, b"N", &[0, 1, b't', 255, 255, 255, 255]]),
            Err(Error::Malformed("length"))
        );
        assert_eq!(
            decode(&[b"I", &id, b"N", &[0, 1, b't', 0, 0, 0, 1, 0xFF]]),
            Err(Error::Malformed("value encoding"))
        );
        assert_eq!(decode(&[b"T", &u32::MAX.to_be_bytes(), &[0]]), Err(Error::Truncated));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&Bytes::from(bytes));
        }

        #[test]
        fn never_panics_behind_a_valid_kind(
            kind in proptest::sample::select(b"BCORYIUDTM".to_vec()),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Message::decode(&Bytes::from([vec![kind], bytes].concat()));
        }
    }
}
