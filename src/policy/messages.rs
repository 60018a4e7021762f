//! `realtime.messages` as its policies judge it: the row that a question about a private channel is about.
//!
//! Postgres is asked by a row that is inserted and rolled back. Evaluating policies over its values comes to the same
//! only where inserting it does nothing else; of any other table there is no [`Messages`].

use super::function::Moment;
use super::program::Program;
use super::row::RowValues;
use super::value::Value;
use super::value::calendar::parse_timestamp;
use crate::change::RelationId;

/// Topics up to this length fit into any index that the table may have on them.
const INDEXED_TOPIC_BYTES_MAX: usize = 1_000;

/// How far Postgres's clock may be from ours, in microseconds, where partitions meet.
const CLOCK_MARGIN: i64 = 60_000_000;

/// The table, where inserting a row does nothing but put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// Its number.
    pub id: RelationId,
    /// Its columns, as programs count them.
    pub columns: Box<[Column]>,
    /// Whether topics are indexed, so that some are too long.
    pub is_indexed: bool,
    /// When rows can be inserted.
    pub partitions: Partitions,
}

/// A column by what the row has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The topic.
    Topic,
    /// `broadcast` or `presence`.
    Extension,
    /// `private`: false.
    Private,
    /// `inserted_at` and `updated_at`: now.
    Now,
    /// `id`: something random.
    Random,
    /// NULL.
    Null,
}

/// For which moments there is a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// For all.
    Always,
    /// From the first of each pair up to before the second, in microseconds since 2000-01-01 (UTC).
    Ranges(Box<[(i64, i64)]>),
}

impl Column {
    /// The column of this name.
    pub fn named(name: &str) -> Self {
        match name {
            "topic" => Self::Topic,
            "extension" => Self::Extension,
            "private" => Self::Private,
            "inserted_at" | "updated_at" => Self::Now,
            "id" => Self::Random,
            _ => Self::Null,
        }
    }
}

impl Partitions {
    /// Those with these bounds, as Postgres writes them. What cannot be read is no place.
    pub fn of<'a>(bounds: impl IntoIterator<Item = &'a str>) -> Self {
        let mut ranges = Vec::new();
        for bound in bounds {
            if bound == "DEFAULT" {
                return Self::Always;
            }
            ranges.extend(range(bound));
        }
        Self::Ranges(ranges.into())
    }

    fn take(&self, moment: i64) -> bool {
        match self {
            Self::Always => true,
            Self::Ranges(ranges) => ranges.iter().any(|(from, to)| (*from..*to).contains(&moment)),
        }
    }
}

/// `FOR VALUES FROM ('2026-01-31 00:00:00') TO ('2026-02-01 00:00:00')`
fn range(bound: &str) -> Option<(i64, i64)> {
    let (from, to) = bound.strip_prefix("FOR VALUES FROM (")?.strip_suffix(')')?.split_once(") TO (")?;
    let moment = |text: &str| match text {
        "MINVALUE" => Some(i64::MIN),
        "MAXVALUE" => Some(i64::MAX),
        text => parse_timestamp(text.strip_prefix('\'')?.strip_suffix('\'')?),
    };
    Some((moment(from)?, moment(to)?))
}

impl Messages {
    /// Whether asking a program about the row is known to be the same as inserting it. One that reads the table would
    /// look for the row, and one that reads the clock would read another than Postgres's.
    pub fn is_judged_by(&self, program: &Program) -> bool {
        let reads_now = program.columns.iter().any(|place| self.columns.get(*place) == Some(&Column::Now));
        !program.may_depend_on(self.id) && !program.reads_clock() && !reads_now
    }

    /// Whether a row with this topic can be inserted now, whatever policies say. Close to a moment from which on it
    /// cannot, the answer is no.
    pub fn takes(&self, topic: &str, moment: Moment) -> bool {
        let now = moment.now_micros;
        let around = [now.saturating_sub(CLOCK_MARGIN), now, now.saturating_add(CLOCK_MARGIN)];
        (!self.is_indexed || topic.len() <= INDEXED_TOPIC_BYTES_MAX)
            && around.into_iter().all(|moment| self.partitions.take(moment))
    }

    /// The row.
    pub fn row(&self, topic: &str, extension: &str, moment: Moment) -> RowValues {
        RowValues::of(self.columns.iter().map(|column| match column {
            Column::Topic => Some(Value::text(topic)),
            Column::Extension => Some(Value::text(extension)),
            Column::Private => Some(Value::Bool(false)),
            Column::Now => Some(Value::Timestamp(moment.now_micros)),
            Column::Random => None,
            Column::Null => Some(Value::Null),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::function::Doubt;
    use super::super::program::Tuple;
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn messages(partitions: Partitions) -> Messages {
        let names = ["topic", "extension", "payload", "event", "private", "updated_at", "inserted_at", "id"];
        Messages { id: RelationId(1), columns: names.map(Column::named).into(), is_indexed: true, partitions }
    }

    #[test]
    fn the_row_is_the_one_that_would_be_inserted() {
        let moment = Moment { now_micros: 7 };
        let row = messages(Partitions::Always).row("room", "presence", moment);
        let expected = [
            Ok(Value::text("room")),
            Ok(Value::text("presence")),
            Ok(Value::Null),
            Ok(Value::Null),
            Ok(Value::Bool(false)),
            Ok(Value::Timestamp(7)),
            Ok(Value::Timestamp(7)),
            Err(Doubt::Unknown),
            Err(Doubt::Unknown),
        ];
        for (place, expected) in expected.into_iter().enumerate() {
            assert_eq!(row.value(place), expected, "{place}");
        }
    }

    #[test]
    fn rows_are_taken_while_there_is_a_partition() {
        let days = |bounds: &[&str]| messages(Partitions::of(bounds.iter().copied()));
        let first = "FOR VALUES FROM ('2000-01-02 00:00:00') TO ('2000-01-03 00:00:00')";
        let second = "FOR VALUES FROM ('2000-01-03 00:00:00') TO ('2000-01-04 00:00:00')";
        let late = "FOR VALUES FROM ('2000-01-03 00:00:00') TO (MAXVALUE)";
        let takes = |messages: &Messages, now_micros| messages.takes("room", Moment { now_micros });
        for (bounds, at, expected) in [
            (&[first][..], DAY + DAY / 2, true),
            (&[first], DAY / 2, false),
            (&[first], 2 * DAY + DAY / 2, false),
            // Another clock may be elsewhere already.
            (&[first], 2 * DAY - 1, false),
            (&[first, second], 2 * DAY - 1, true),
            (&[first, late], 1_000 * DAY, true),
            (&[], DAY, false),
            (&["FOR VALUES IN (1)", "", "FOR VALUES FROM ('x') TO ('y')"], DAY, false),
            (&["DEFAULT"], DAY, true),
        ] {
            assert_eq!(takes(&days(bounds), at), expected, "{bounds:?} {at}");
        }
        let long = "x".repeat(1_001);
        let mut messages = messages(Partitions::Always);
        assert!(!messages.takes(&long, Moment { now_micros: 0 }));
        messages.is_indexed = false;
        assert!(messages.takes(&long, Moment { now_micros: 0 }));
    }
}
