//! Rows inserted into `realtime.messages`, on their way to rooms.
//!
//! In: inserted rows, as the stream has them. Out: broadcasts, handed to every shard that may have members of the
//! room, in the order of their transactions and rows.
//!
//! **Invariants:** a shard whose inbox is full is waited for; a row that cannot be a broadcast is counted, and said in
//! the log without its values. Row level security is not asked: who may read a private room was asked at the join.

use std::collections::VecDeque;

use uuid::Uuid;

use super::Feed;
use crate::change::{Change, Oid, Relation, Row, Tuple};
use crate::channel::{Body, Broadcast, Topic};
use crate::hub::{Directory, RoomBroadcast, RoomName, Sink, StreamedCommit};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;
use crate::wal::TablePublication;
use crate::wal::pgoutput;
use crate::wal::tuple::bytes_of_hex;

/// The publication that brings the rows.
pub const MESSAGES_PUBLICATION: TablePublication = TablePublication {
    name: "supabase_realtime_messages_publication",
    schema: "realtime",
    table: "messages",
};

/// The longest topic and the longest event that a binary frame can name, in bytes. JSON goes out as text beyond them,
/// bytes cannot go out at all.
const BINARY_NAME_BYTES_MAX: usize = 255;

/// What clients' topics begin with; rows name theirs without it.
const TOPIC_PREFIX: &str = "realtime:";

/// The types `json` and `jsonb`.
const JSON_TYPES: [Oid; 2] = [114, 3802];

/// The type `bytea`.
const BYTEA_TYPE: Oid = 17;

/// Whether rows of this table are broadcasts: `realtime.messages` itself, or its partition of a day.
pub(super) fn is_messages(relation: &Relation) -> bool {
    is_named_messages(&relation.schema, &relation.name)
}

/// The same of a table by its name.
fn is_named_messages(schema: &str, name: &str) -> bool {
    schema == MESSAGES_PUBLICATION.schema
        && name.strip_prefix(MESSAGES_PUBLICATION.table).is_some_and(|rest| rest.is_empty() || is_day(rest))
}

/// `_2026_01_31`
fn is_day(text: &str) -> bool {
    const SHAPE: &[u8] = b"_0000_00_00";
    let fits = |(byte, shape): (u8, &u8)| if *shape == b'_' { byte == b'_' } else { byte.is_ascii_digit() };
    text.len() == SHAPE.len() && text.bytes().zip(SHAPE).all(fits)
}

/// A row that is a broadcast, as it stands in the stream.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    topic: &'a str,
    private: bool,
    event: &'a str,
    id: Uuid,
    payload: Payload<'a>,
}

#[derive(PartialEq, Eq)]
enum Payload<'a> {
    /// JSON text, as Postgres writes it.
    Json(&'a str),
    /// Bytes, as pairs of hexadecimal digits.
    Hex(&'a str),
}

/// Payloads never reach a log: only the kind and the size are printed.
impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(_) => write!(f, "Json({} bytes)", self.bytes()),
            Self::Hex(_) => write!(f, "Hex({} bytes)", self.bytes()),
        }
    }
}

impl Payload<'_> {
    /// Its size as it will be sent.
    fn bytes(&self) -> usize {
        match self {
            Self::Json(text) => text.len(),
            Self::Hex(digits) => digits.len() / 2,
        }
    }

    fn body(&self) -> Option<Body<'static>> {
        match self {
            Self::Json(text) => Some(Body::Json((*text).to_owned().into())),
            Self::Hex(digits) => Some(Body::Bytes(bytes_of_hex(digits)?.into())),
        }
    }
}

/// What a row says; `None` if it lacks something that a broadcast has.
fn message<'a>(relation: &Relation, row: &'a Tuple) -> Option<Message<'a>> {
    let value = |name: &str, types: &[Oid]| {
        let place = relation.columns.iter().position(|column| &*column.name == name)?;
        let column = relation.columns.get(place)?;
        let value = row.values.get(place)?.text()?;
        (types.is_empty() || types.contains(&column.type_id)).then_some(value)
    };
    let bytes = value("binary_payload", &[BYTEA_TYPE]).and_then(|text| text.strip_prefix("\\x"));
    let payload = match bytes {
        Some(digits) => Payload::Hex(digits),
        None => Payload::Json(value("payload", &JSON_TYPES)?),
    };
    let (topic, event) = (value("topic", &[])?, value("event", &[])?);
    let is_long =
        TOPIC_PREFIX.len() + topic.len() > BINARY_NAME_BYTES_MAX || event.len() > BINARY_NAME_BYTES_MAX;
    if is_long && matches!(payload, Payload::Hex(_)) {
        return None;
    }
    let private = match value("private", &[])? {
        "t" => true,
        "f" => false,
        _ => return None,
    };
    Some(Message {
        topic: value("topic", &[])?,
        private,
        event,
        id: value("id", &[])?.parse().ok()?,
        payload,
    })
}

impl Message<'_> {
    /// The room; `None` if there can be nobody in it.
    fn room(&self, directory: &Directory) -> Option<RoomName> {
        let topic = Topic::parse(&format!("{TOPIC_PREFIX}{}", self.topic), usize::MAX).ok()?;
        Some(directory.room(&topic, self.private))
    }

    /// The broadcast that everybody in the room gets.
    fn broadcast(&self, room: RoomName, commit: StreamedCommit) -> Option<RoomBroadcast> {
        let message = Broadcast::User {
            event: self.event.to_owned().into(),
            body: self.payload.body()?,
            meta: Some(format!("{{\"id\":\"{}\"}}", self.id).into()),
        };
        Some(RoomBroadcast { room, commit: Some(commit), message })
    }
}

/// The broadcasts of a transaction, each with its place among the changes.
pub(super) type Broadcasts = VecDeque<(usize, RoomBroadcast)>;

impl<S: Sink> Feed<S> {
    /// Whether a table holds broadcasts and nobody can subscribe to its rows, so that the catalog says nothing of it.
    pub(super) fn is_for_broadcasts_alone(&self, relation: &pgoutput::Relation) -> bool {
        is_named_messages(&relation.schema, &relation.name)
            && !self.catalog.tables.values().any(|table| is_named_messages(&table.schema, &table.name))
    }

    /// The broadcast that a change is, if it is one and somebody may hear it.
    pub(super) fn broadcast_of(&self, change: &Change, commit: StreamedCommit) -> Option<RoomBroadcast> {
        let Row::Insert { new } = &change.row else { return None };
        if !is_messages(&change.relation) {
            return None;
        }
        let counters = &self.config.counters;
        let Some(message) = message(&change.relation, new) else {
            counters.incomplete_broadcasts.add(1);
            report!(
                warn,
                Code::UnableToBroadcastChanges,
                "a row of realtime.messages was not sent: it lacks a topic, event, id, private or payload"
            );
            return None;
        };
        if message.payload.bytes() > self.config.broadcast_bytes_max {
            counters.too_large_broadcasts.add(1);
            report!(
                warn,
                Code::UnableToBroadcastChanges,
                "a row of realtime.messages was not sent: it is larger than payload_bytes_max"
            );
            return None;
        }
        counters.broadcasts.add(1);
        // Held to no rate: whoever writes the row would not learn of it.
        counters.meters.events.add(1);
        let directory = self.links.broadcaster.directory();
        let room = message.room(directory).filter(|room| directory.shards_with(room).next().is_some())?;
        message.broadcast(room, commit)
    }

    /// Hands over the broadcasts of the changes before a place in their transaction, after the changes of tables that
    /// came before it.
    pub(super) async fn publish_before(&mut self, place: usize, broadcasts: &mut Broadcasts) {
        if broadcasts.is_empty() {
            return;
        }
        self.hand_over().await;
        while broadcasts.front().is_some_and(|(of, _)| *of < place) {
            if let Some((_, broadcast)) = broadcasts.pop_front() {
                self.config.counters.published_broadcasts.add(1);
                self.links.broadcaster.publish(broadcast).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{RelationId, ReplicaIdentity};

    #[test]
    fn messages_are_known_by_the_name_of_their_table_or_of_its_partition() {
        let relation = |schema: &str, name: &str| Relation {
            id: RelationId(1),
            schema: schema.into(),
            name: name.into(),
            replica_identity: ReplicaIdentity::Default,
            columns: Box::default(),
        };
        for name in ["messages", "messages_2026_01_31"] {
            assert!(is_messages(&relation("realtime", name)), "{name}");
            assert!(!is_messages(&relation("public", name)), "{name}");
        }
        for name in
            ["message", "messages_", "messages_2026", "messages_2026_01_3x", "messages_2026_01_31_old", "x"]
        {
            assert!(!is_messages(&relation("realtime", name)), "{name}");
        }
    }
}
