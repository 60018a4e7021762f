//! Dates, moments and spans. Sessions are in UTC, so `timestamp` and `timestamptz` are the same.

use super::{Doubt, Known};
use crate::policy::types::{DATE, INT4, INTERVAL, TEXT, TIMESTAMP, TIMESTAMPTZ};
use crate::policy::value::Value;
use crate::policy::value::calendar::{self, Interval};

pub(super) static KNOWN: &[&[Known]] = &[
    &[
        Known::new("timestamp_pl_interval", &[TIMESTAMP, INTERVAL], TIMESTAMP, |_, it| later(it)).raises(),
        Known::new("timestamp_mi_interval", &[TIMESTAMP, INTERVAL], TIMESTAMP, |_, it| earlier(it)).raises(),
        Known::new("timestamptz_pl_interval", &[TIMESTAMPTZ, INTERVAL], TIMESTAMPTZ, |_, it| later(it))
            .raises(),
        Known::new("timestamptz_mi_interval", &[TIMESTAMPTZ, INTERVAL], TIMESTAMPTZ, |_, it| earlier(it))
            .raises(),
        Known::new("date_pl_interval", &[DATE, INTERVAL], TIMESTAMP, |_, it| later(it)).raises(),
        Known::new("date_mi_interval", &[DATE, INTERVAL], TIMESTAMP, |_, it| earlier(it)).raises(),
        Known::new("timestamp_mi", &[TIMESTAMP, TIMESTAMP], INTERVAL, |_, it| between(it)).raises(),
        Known::new("timestamp_mi", &[TIMESTAMPTZ, TIMESTAMPTZ], INTERVAL, |_, it| between(it)).raises(),
    ],
    &[
        Known::new("interval_pl", &[INTERVAL, INTERVAL], INTERVAL, |_, it| match it {
            [Value::Interval(left), Value::Interval(right)] => interval(left.add(right)),
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        Known::new("interval_mi", &[INTERVAL, INTERVAL], INTERVAL, |_, it| match it {
            [Value::Interval(left), Value::Interval(right)] => {
                interval(right.negated().and_then(|right| left.add(&right)))
            }
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        Known::new("interval_um", &[INTERVAL], INTERVAL, |_, it| match it {
            [Value::Interval(span)] => interval(span.negated()),
            _ => Err(Doubt::Unknown),
        })
        .raises(),
    ],
    &[
        Known::new("date_pli", &[DATE, INT4], DATE, |_, it| match it {
            [Value::Date(date), Value::Int(days)] => date_after(*date, *days),
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        Known::new("date_mii", &[DATE, INT4], DATE, |_, it| match it {
            [Value::Date(date), Value::Int(days)] => {
                date_after(*date, days.checked_neg().ok_or(Doubt::Raises)?)
            }
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        Known::new("date_mi", &[DATE, DATE], INT4, |_, it| match it {
            [Value::Date(i32::MIN | i32::MAX), _] | [_, Value::Date(i32::MIN | i32::MAX)] => {
                Err(Doubt::Raises)
            }
            [Value::Date(later), Value::Date(earlier)] => {
                later.checked_sub(*earlier).map(|days| Value::Int(days.into())).ok_or(Doubt::Raises)
            }
            _ => Err(Doubt::Unknown),
        })
        .raises(),
    ],
    &[
        Known::new("timestamp_timestamptz", &[TIMESTAMP], TIMESTAMPTZ, |_, it| moment(it)).raises(),
        Known::new("timestamptz_timestamp", &[TIMESTAMPTZ], TIMESTAMP, |_, it| moment(it)).raises(),
        Known::new("date_timestamp", &[DATE], TIMESTAMP, |_, it| moment(it)).raises(),
        Known::new("date_timestamptz", &[DATE], TIMESTAMPTZ, |_, it| moment(it)).raises(),
        Known::new("timestamp_date", &[TIMESTAMP], DATE, |_, it| date(it)).raises(),
        Known::new("timestamptz_date", &[TIMESTAMPTZ], DATE, |_, it| date(it)).raises(),
        Known::new("timestamptz_zone", &[TEXT, TIMESTAMPTZ], TIMESTAMP, |_, it| in_zone(it)).raises(),
        Known::new("timestamp_zone", &[TEXT, TIMESTAMP], TIMESTAMPTZ, |_, it| in_zone(it)).raises(),
    ],
];

fn timestamp(moment: Option<i64>) -> Result<Value, Doubt> {
    moment.map(Value::Timestamp).ok_or(Doubt::Raises)
}

fn interval(interval: Option<Interval>) -> Result<Value, Doubt> {
    interval.map(Value::Interval).ok_or(Doubt::Raises)
}

/// The moment that a value is, or begins at.
fn begin(value: &Value) -> Result<i64, Doubt> {
    match value {
        Value::Timestamp(moment) => Ok(*moment),
        Value::Date(date) => calendar::midnight(*date).ok_or(Doubt::Raises),
        _ => Err(Doubt::Unknown),
    }
}

fn later(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [from, Value::Interval(span)] => timestamp(calendar::shifted(begin(from)?, span)),
        _ => Err(Doubt::Unknown),
    }
}

fn earlier(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [from, Value::Interval(span)] => {
            let span = span.negated().ok_or(Doubt::Raises)?;
            timestamp(calendar::shifted(begin(from)?, &span))
        }
        _ => Err(Doubt::Unknown),
    }
}

fn between(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [Value::Timestamp(later), Value::Timestamp(earlier)] => interval(Interval::between(*later, *earlier)),
        _ => Err(Doubt::Unknown),
    }
}

fn date_after(date: i32, days: i64) -> Result<Value, Doubt> {
    if date == i32::MIN || date == i32::MAX {
        return Ok(Value::Date(date));
    }
    calendar::date_within(i64::from(date) + days).map(Value::Date).ok_or(Doubt::Raises)
}

fn moment(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [value] => begin(value).map(Value::Timestamp),
        _ => Err(Doubt::Unknown),
    }
}

fn date(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [Value::Timestamp(moment)] => calendar::date_of(*moment).map(Value::Date).ok_or(Doubt::Raises),
        _ => Err(Doubt::Unknown),
    }
}

/// Zones other than UTC have rules that only Postgres knows.
fn in_zone(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [Value::Text(zone), Value::Timestamp(moment)] if zone.eq_ignore_ascii_case("utc") => {
            Ok(Value::Timestamp(*moment))
        }
        _ => Err(Doubt::Unknown),
    }
}
