//! Comparing values in memory exactly as Postgres compares them, from their text forms.
//!
//! The text forms are those of the replication stream: `DateStyle` ISO, `TimeZone` UTC, `bytea_output` hex,
//! shortest floats. A text in any other form has no key, and then nothing is decided here.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::change::{TableColumn, Type, TypeKind};
use crate::policy::value::Float;

/// The longest number that is taken for a float without asking Postgres: short enough for every exponent.
const PLAIN_FLOAT_BYTES_MAX: usize = 20;

/// The longest number that is taken for a numeric without asking Postgres, well inside its limits.
const PLAIN_NUMERIC_BYTES_MAX: usize = 1000;

/// `NAMEDATALEN`: a `name` is shorter.
const NAME_BYTES_MAX: usize = 63;

/// How the values of a column compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `int2`, `int4`, `int8`, `oid`, with their bounds.
    Integer {
        min: i64,
        max: i64,
    },
    Float4,
    Float8,
    Numeric,
    Boolean,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Uuid,
    /// Types whose text is ordered as they are: `bytea` in hex, bit strings, hardware addresses.
    Bytes,
    /// `text` and `varchar`; ordered only under a collation that orders by bytes.
    Text {
        ordered: bool,
    },
    /// `name`.
    Name {
        ordered: bool,
    },
    /// `char(n)`: text whose trailing blanks do not count.
    Padded {
        ordered: bool,
    },
    /// An enum, compared for equality only.
    Label,
    /// A composite: as opaque as those below, and NULL when all its fields are.
    Row,
    /// Anything else: only Postgres can tell.
    Opaque,
}

impl Kind {
    /// How a column compares whose type is `base` beneath all domains.
    pub(super) fn of(base: &Type, column: &TableColumn) -> Self {
        match base.kind {
            TypeKind::Enum { .. } => return Self::Label,
            TypeKind::Composite { .. } => return Self::Row,
            TypeKind::Base if &*base.schema == "pg_catalog" => {}
            _ => return Self::Opaque,
        }
        let text = |kind: fn(bool) -> Self| match column.deterministic_collation {
            true => kind(column.c_collation),
            false => Self::Opaque,
        };
        match &*base.name {
            "int2" => Self::Integer { min: i16::MIN.into(), max: i16::MAX.into() },
            "int4" => Self::Integer { min: i32::MIN.into(), max: i32::MAX.into() },
            "int8" => Self::Integer { min: i64::MIN, max: i64::MAX },
            "oid" => Self::Integer { min: 0, max: u32::MAX.into() },
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" => Self::Numeric,
            "bool" => Self::Boolean,
            "date" => Self::Date,
            "time" => Self::Time,
            "timetz" => Self::TimeTz,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "uuid" => Self::Uuid,
            "bytea" | "bit" | "varbit" | "macaddr" | "macaddr8" => Self::Bytes,
            "text" | "varchar" => text(|ordered| Self::Text { ordered }),
            "name" => text(|ordered| Self::Name { ordered }),
            "bpchar" => text(|ordered| Self::Padded { ordered }),
            _ => Self::Opaque,
        }
    }

    /// Whether order can be decided, beyond equality.
    pub(super) fn is_ordered(self) -> bool {
        match self {
            Self::Text { ordered } | Self::Name { ordered } | Self::Padded { ordered } => ordered,
            Self::Label | Self::Row | Self::Opaque => false,
            _ => true,
        }
    }

    /// Whether equal values have equal text in the stream.
    pub(super) fn is_equal_by_text(self) -> bool {
        !matches!(
            self,
            Self::Float4 | Self::Float8 | Self::Numeric | Self::Padded { .. } | Self::Row | Self::Opaque
        )
    }

    /// Whether the type reads words such as `today`, whose meaning moves with the clock.
    pub(super) fn has_moving_words(self) -> bool {
        matches!(self, Self::Date | Self::Time | Self::TimeTz | Self::Timestamp | Self::TimestampTz)
    }

    /// Whether a text is certainly a value of the type, and so plainly that its [`Kind::key`] is right
    /// without asking Postgres how it reads it.
    pub(super) fn is_plain(self, text: &str) -> bool {
        // No Postgres text holds this character; it has the words for that.
        if text.contains('\0') {
            return false;
        }
        match self {
            Self::Integer { min, max } => text
                .parse::<i64>()
                .is_ok_and(|value| (min..=max).contains(&value) && value.to_string() == text),
            Self::Float4 | Self::Float8 => text.len() <= PLAIN_FLOAT_BYTES_MAX && is_plain_number(text),
            Self::Numeric => text.len() <= PLAIN_NUMERIC_BYTES_MAX && is_plain_number(text),
            Self::Boolean => matches!(text, "t" | "f" | "true" | "false"),
            Self::Uuid => is_uuid(text),
            Self::Text { .. } | Self::Padded { .. } => true,
            Self::Name { .. } => text.len() <= NAME_BYTES_MAX,
            _ => false,
        }
    }

    /// What a value compares by. `None` if the text is not in the stream's form, or not comparable in memory.
    pub(super) fn key(self, text: &str) -> Option<Key<'_>> {
        match self {
            Self::Integer { .. } => Some(Key::Number(text.parse::<i64>().ok()?.into())),
            // Postgres prints what reads back as the same float, so reading is exact.
            Self::Float4 => Some(Key::Float(Float::new(text.parse::<f32>().ok()?.into()))),
            Self::Float8 => Some(Key::Float(Float::new(text.parse().ok()?))),
            Self::Numeric => Some(Key::Decimal(Decimal::parse(text)?)),
            Self::Boolean => match text {
                "t" | "true" => Some(Key::Number(1)),
                "f" | "false" => Some(Key::Number(0)),
                _ => None,
            },
            Self::Date => Some(Key::Number(infinite(text).or_else(|| era(text, date))?)),
            Self::Time => Some(Key::Number(time(text)?)),
            Self::TimeTz => Some(Key::Number(time_with_zone(text)?)),
            Self::Timestamp => Some(Key::Number(infinite(text).or_else(|| era(text, timestamp))?)),
            Self::TimestampTz => Some(Key::Number(
                infinite(text).or_else(|| era(text, |text| timestamp(text.strip_suffix("+00")?)))?,
            )),
            Self::Uuid => is_uuid(text).then(|| match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => Key::Bytes(text.to_ascii_lowercase().into_bytes().into()),
                false => Key::Bytes(text.as_bytes().into()),
            }),
            Self::Bytes | Self::Text { .. } | Self::Name { .. } | Self::Label => {
                Some(Key::Bytes(text.as_bytes().into()))
            }
            Self::Padded { .. } => Some(Key::Bytes(text.trim_end_matches(' ').as_bytes().into())),
            Self::Row | Self::Opaque => None,
        }
    }
}

/// What one value compares by. Keys of one [`Kind`] are totally ordered, as its type is in Postgres.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Number(i128),
    Float(Float),
    Decimal(Decimal<'a>),
    Bytes(Cow<'a, [u8]>),
}

impl Key<'_> {
    pub(super) fn into_owned(self) -> Key<'static> {
        match self {
            Self::Number(number) => Key::Number(number),
            Self::Float(float) => Key::Float(float),
            Self::Decimal(decimal) => Key::Decimal(decimal.into_owned()),
            Self::Bytes(bytes) => Key::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }
}

/// A numeric of any precision. The variants stand in Postgres's order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Decimal<'a> {
    NegativeInfinity,
    Finite(Digits<'a>),
    Infinity,
    NotANumber,
}

/// A finite numeric, so written that equal numbers have equal digits.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Digits<'a> {
    /// Never set for zero.
    negative: bool,
    /// Without zeros in front.
    integer: Cow<'a, str>,
    /// Without zeros at the end.
    fraction: Cow<'a, str>,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        match text {
            "NaN" => return Some(Self::NotANumber),
            "Infinity" => return Some(Self::Infinity),
            "-Infinity" => return Some(Self::NegativeInfinity),
            _ if !is_plain_number(text) => return None,
            _ => {}
        }
        let (negative, magnitude) = match text.strip_prefix('-') {
            Some(magnitude) => (true, magnitude),
            None => (false, text),
        };
        let (integer, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
        let integer = integer.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let zero = integer.is_empty() && fraction.is_empty();
        Some(Self::Finite(Digits {
            negative: negative && !zero,
            integer: integer.into(),
            fraction: fraction.into(),
        }))
    }

    fn into_owned(self) -> Decimal<'static> {
        match self {
            Self::NegativeInfinity => Decimal::NegativeInfinity,
            Self::Infinity => Decimal::Infinity,
            Self::NotANumber => Decimal::NotANumber,
            Self::Finite(digits) => Decimal::Finite(Digits {
                negative: digits.negative,
                integer: Cow::Owned(digits.integer.into_owned()),
                fraction: Cow::Owned(digits.fraction.into_owned()),
            }),
        }
    }
}

impl Ord for Digits<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude = || {
            // More digits before the point are more; after it they count from the left.
            (self.integer.len().cmp(&other.integer.len()))
                .then_with(|| self.integer.cmp(&other.integer))
                .then_with(|| self.fraction.cmp(&other.fraction))
        };
        match (self.negative, other.negative) {
            (false, false) => magnitude(),
            (true, true) => magnitude().reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Digits<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `-?digits[.digits]`
fn is_plain_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    match magnitude.split_once('.') {
        Some((integer, fraction)) => digits(integer) && digits(fraction),
        None => digits(magnitude),
    }
}

/// Five groups of hexadecimal digits, 8-4-4-4-12.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A number of digits only.
fn digits(text: &str) -> Option<i128> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A number of digits only, within bounds.
fn field(text: &str, min: i128, max: i128) -> Option<i128> {
    digits(text).filter(|value| (min..=max).contains(value))
}

/// The two dates that are beyond all others.
fn infinite(text: &str) -> Option<i128> {
    match text {
        "infinity" => Some(i128::MAX),
        "-infinity" => Some(i128::MIN),
        _ => None,
    }
}

/// Dates before the common era say so at the end, and their years count backwards: 1 BC precedes 1.
fn era(text: &str, parse: impl Fn(Dated<'_>) -> Option<i128>) -> Option<i128> {
    match text.strip_suffix(" BC") {
        Some(text) => parse(Dated { text, before: true }),
        None => parse(Dated { text, before: false }),
    }
}

/// A date or timestamp without its era.
#[derive(Clone, Copy)]
struct Dated<'a> {
    text: &'a str,
    before: bool,
}

impl<'a> Dated<'a> {
    fn strip_suffix(self, suffix: &str) -> Option<Self> {
        Some(Self { text: self.text.strip_suffix(suffix)?, ..self })
    }

    fn with(self, text: &'a str) -> Self {
        Self { text, ..self }
    }
}

/// `YYYY-MM-DD` → a number that grows with the date, though by more than one from month to month.
fn date(dated: Dated<'_>) -> Option<i128> {
    let mut parts = dated.text.splitn(3, '-');
    let year = field(parts.next()?, 1, 9_999_999)?;
    let month = field(parts.next()?, 1, 12)?;
    let day = field(parts.next()?, 1, 31)?;
    let year = if dated.before { 1 - year } else { year };
    Some((year * 12 + month - 1) * 31 + day - 1)
}

/// Microseconds in a day, and one more for the 24:00:00 that a time may be.
const MICROS_PER_DAY: i128 = 86_400_000_000 + 1;

/// `HH:MM:SS[.ffffff]` → microseconds.
fn time(text: &str) -> Option<i128> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.splitn(3, ':');
    let hour = field(parts.next()?, 0, 24)?;
    let minute = field(parts.next()?, 0, 59)?;
    let second = field(parts.next()?, 0, 59)?;
    if fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let fraction = digits(&format!("{fraction:0<6}"))?;
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]`
fn timestamp(dated: Dated<'_>) -> Option<i128> {
    let (day, clock) = dated.text.split_once(' ')?;
    Some(date(dated.with(day))? * MICROS_PER_DAY + time(clock)?)
}

/// `HH:MM:SS[.ffffff]±HH[:MM[:SS]]`: first by the moment, then by the zone from east to west.
fn time_with_zone(text: &str) -> Option<i128> {
    /// No zone is further from UTC, in seconds.
    const ZONE_MAX: i128 = 16 * 3600;
    let at = text.find(['+', '-'])?;
    let (clock, zone) = text.split_at_checked(at)?;
    let (west, zone) = match zone.strip_prefix('-') {
        Some(zone) => (true, zone),
        None => (false, zone.strip_prefix('+')?),
    };
    let mut seconds = 0;
    let mut parts = zone.split(':');
    for unit in [3600, 60, 1] {
        match parts.next() {
            Some(part) => seconds += field(part, 0, 59)? * unit,
            None if unit == 3600 => return None,
            None => break,
        }
    }
    if parts.next().is_some() || seconds > ZONE_MAX {
        return None;
    }
    let westward = if west { seconds } else { -seconds };
    Some((time(clock)? + westward * 1_000_000) * (2 * ZONE_MAX + 1) + westward + ZONE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text has a key, and each is above the one before it.
    fn ascending(kind: Kind, texts: &[&str]) {
        let keys: Vec<_> =
            texts.iter().map(|text| kind.key(text).unwrap_or_else(|| panic!("{text}"))).collect();
        for (low, a) in keys.iter().enumerate() {
            for (high, b) in keys.iter().enumerate() {
                assert_eq!(a.cmp(b), low.cmp(&high), "{kind:?}: {} and {}", texts[low], texts[high]);
            }
        }
    }

    fn equal(kind: Kind, a: &str, b: &str) {
        assert!(kind.key(a).unwrap() == kind.key(b).unwrap(), "{kind:?}: {a} and {b}");
    }

    #[test]
    fn values_stand_in_the_order_of_their_type() {
        ascending(
            Kind::Integer { min: i64::MIN, max: i64::MAX },
            &["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"],
        );
        ascending(
            Kind::Float8,
            &["-Infinity", "-1e+20", "-1.5", "-1e-300", "0", "1e-300", "1.5", "1e+20", "Infinity", "NaN"],
        );
        ascending(Kind::Float4, &["-Infinity", "-1e-45", "-0", "1e-45", "0.1", "3.4028235e+38", "NaN"]);
        ascending(
            Kind::Numeric,
            &[
                "-Infinity",
                "-100",
                "-99.5",
                "-1.01",
                "-1",
                "-0.5",
                "0",
                "0.05",
                "0.5",
                "0.51",
                "1",
                "9.99",
                "10",
                "123456789012345678901234567890.1",
                "Infinity",
                "NaN",
            ],
        );
        ascending(Kind::Boolean, &["f", "t"]);
        ascending(
            Kind::Date,
            &[
                "-infinity",
                "4713-01-01 BC",
                "0002-12-31 BC",
                "0001-01-01 BC",
                "0001-12-31 BC",
                "0001-01-01",
                "2023-12-31",
                "2024-01-31",
                "2024-02-01",
                "12024-01-01",
                "infinity",
            ],
        );
        ascending(
            Kind::Time,
            &["00:00:00", "00:00:00.000001", "00:00:00.1", "12:34:56", "23:59:59.999999", "24:00:00"],
        );
        ascending(
            Kind::TimeTz,
            &[
                "23:00:00+15:59",
                "12:00:00+02",
                "10:00:00+00",
                "12:00:01+02",
                "12:00:00-05:30",
                "12:00:00-05:30:15",
            ],
        );
        ascending(
            Kind::Timestamp,
            &[
                "-infinity",
                "0001-01-01 00:00:00 BC",
                "0001-01-01 00:00:01 BC",
                "0001-01-01 00:00:00",
                "2024-02-29 23:59:59.9",
                "2024-03-01 00:00:00",
                "294276-12-31 23:59:59.999999",
                "infinity",
            ],
        );
        ascending(
            Kind::TimestampTz,
            &[
                "-infinity",
                "0044-03-15 12:00:00+00 BC",
                "2024-01-01 00:00:00+00",
                "2024-01-01 00:00:00.5+00",
                "infinity",
            ],
        );
        ascending(Kind::Bytes, &["\\x", "\\x00", "\\x0000", "\\x01", "\\xff"]);
        ascending(Kind::Text { ordered: true }, &["", "A", "a", "a ", "b", "é"]);
        ascending(Kind::Padded { ordered: true }, &["", "a ", "b"]);
    }

    #[test]
    fn equal_values_have_equal_keys() {
        equal(Kind::Numeric, "1", "1.000");
        equal(Kind::Numeric, "0", "-0.00");
        equal(Kind::Numeric, "0.5", "00.50");
        equal(Kind::Float8, "0", "-0");
        equal(Kind::Float8, "NaN", "NaN");
        equal(Kind::Float8, "1e+20", "100000000000000000000");
        equal(Kind::Padded { ordered: false }, "a", "a   ");
        equal(Kind::Boolean, "t", "true");
        // One float4 is many decimals.
        equal(Kind::Float4, "0.1", "0.10000000149011612");
    }

    #[test]
    fn texts_in_another_form_have_no_key() {
        for (kind, text) in [
            (Kind::Integer { min: 0, max: 9 }, ""),
            (Kind::Integer { min: 0, max: 9 }, "1.0"),
            (Kind::Numeric, "1e5"),
            (Kind::Numeric, "1."),
            (Kind::Numeric, "-"),
            (Kind::Boolean, "yes"),
            (Kind::Date, "29/02/2024"),
            (Kind::Date, "2024-13-01"),
            (Kind::Date, "2024-1"),
            (Kind::Time, "1:2"),
            (Kind::Time, "12:00:00.1234567"),
            (Kind::TimeTz, "12:00:00"),
            (Kind::TimeTz, "12:00:00+"),
            (Kind::TimeTz, "12:00:00+1:2:3:4"),
            (Kind::Timestamp, "2024-01-01T00:00:00"),
            (Kind::TimestampTz, "2024-01-01 00:00:00"),
            (Kind::TimestampTz, "2024-01-01 00:00:00+02"),
            (Kind::Uuid, "x"),
            (Kind::Opaque, "1"),
        ] {
            assert!(kind.key(text).is_none(), "{kind:?} {text}");
        }
    }

    #[test]
    fn plain_operands_need_no_question() {
        let small = Kind::Integer { min: i16::MIN.into(), max: i16::MAX.into() };
        for (kind, text, expected) in [
            (small, "5", true),
            (small, "-32768", true),
            (small, "32768", false),
            (small, "05", false),
            (small, "+5", false),
            (small, "-0", false),
            (small, " 5", false),
            (Kind::Numeric, "1.50", true),
            (Kind::Numeric, "1e3", false),
            (Kind::Float8, "1.50", true),
            (Kind::Float8, "123456789012345678901", false),
            (Kind::Boolean, "true", true),
            (Kind::Boolean, "yes", false),
            (Kind::Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", true),
            (Kind::Uuid, "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", false),
            (Kind::Uuid, "a0eebc999c0b4ef8bb6d6bb9bd380a11", false),
            (Kind::Text { ordered: false }, "", true),
            (Kind::Text { ordered: false }, "a\0", false),
            (Kind::Date, "2024-01-01", false),
            (Kind::Opaque, "1", false),
        ] {
            assert_eq!(kind.is_plain(text), expected, "{kind:?} {text}");
        }
    }
}
