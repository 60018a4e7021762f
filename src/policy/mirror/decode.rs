//! Texts of the log as values, by the types of their columns.

use crate::change::{Oid, TypeKind, Types};
use crate::policy::value::Value;

/// Decodes the values of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bool,
    Int,
    Text,
    Uuid,
    Timestamp,
}

impl Decoder {
    /// For a type; `None` if it is not known here.
    pub(super) fn new(type_id: Oid, types: &Types) -> Option<Self> {
        let base = types.base(type_id);
        let kind = match base.map_or(type_id, |base| base.oid) {
            16 => Kind::Bool,
            20 | 21 | 23 | 26 => Kind::Int,
            18 | 19 | 25 | 114 | 1042 | 1043 => Kind::Text,
            2950 => Kind::Uuid,
            1114 | 1184 => Kind::Timestamp,
            _ if base.is_some_and(|base| base.kind == TypeKind::Base && &*base.name == "citext") => {
                Kind::Text
            }
            _ => return None,
        };
        Some(Self(kind))
    }

    /// The value that Postgres writes so; `None` if it does not write any so.
    pub(super) fn decode(self, text: &str) -> Option<Value> {
        Some(match self.0 {
            Kind::Bool => Value::Bool(match text {
                "t" => true,
                "f" => false,
                _ => return None,
            }),
            Kind::Int => Value::Int(text.parse().ok()?),
            Kind::Text => Value::Text(text.into()),
            Kind::Uuid => Value::Uuid(text.parse().ok()?),
            Kind::Timestamp => Value::Timestamp(timestamp(text)?),
        })
    }
}

/// `2026-01-31 12:34:56.789`, with and without `+00`.
fn timestamp(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (date, time) = text.strip_suffix("+00").unwrap_or(text).split_once(' ')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut whole = whole.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (whole.next()??, whole.next()??, whole.next()??);
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    let seconds = ((days(year, month, day) * 24 + hours) * 60 + minutes) * 60 + seconds;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// Days since 2000-01-01, by the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the day that is left out now and then is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 730_425
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_count_from_the_year_2000() {
        for (text, expected) in [
            ("2000-01-01 00:00:00", Some(0)),
            ("2000-01-01 00:00:00+00", Some(0)),
            ("2000-03-01 00:00:01.5", Some(60 * 86_400_000_000 + 1_500_000)),
            ("1999-12-31 23:59:59.999999+00", Some(-1)),
            ("infinity", Some(i64::MAX)),
            ("0044-03-15 00:00:00 BC", None),
        ] {
            assert_eq!(timestamp(text), expected, "{text}");
        }
    }
}
