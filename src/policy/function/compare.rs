//! Comparison operators.

use std::cmp::Ordering;

use super::{Doubt, Known};
use crate::policy::types::{
    ANYENUM, BOOL, BPCHAR, BYTEA, CHAR, DATE, FLOAT4, FLOAT8, INT2, INT4, INT8, INTERVAL, NAME, NUMERIC, OID,
    TEXT, TIME, TIMESTAMP, TIMESTAMPTZ, UUID,
};
use crate::policy::value::Value;
use crate::policy::value::calendar::DAY;

/// The six operators of a type, in the order `=`, `<>`, `<`, `<=`, `>`, `>=`; `same`: equal exactly if they are the same
/// value.
macro_rules! six {
    ($order:ident, [$left:expr, $right:expr], $eq:ident $ne:ident $lt:ident $le:ident $gt:ident $ge:ident) => {
        &[
            Known::new(stringify!($eq), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_eq()))),
            Known::new(stringify!($ne), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_ne()))),
            Known::new(stringify!($lt), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_lt()))),
            Known::new(stringify!($le), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_le()))),
            Known::new(stringify!($gt), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_gt()))),
            Known::new(stringify!($ge), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_ge()))),
        ]
    };
    (same $order:ident, [$left:expr, $right:expr],
        $eq:ident $ne:ident $lt:ident $le:ident $gt:ident $ge:ident) => {
        &[
            Known::new(stringify!($eq), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_eq())))
                .by_hash(),
            Known::new(stringify!($ne), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_ne()))),
            Known::new(stringify!($lt), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_lt()))),
            Known::new(stringify!($le), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_le()))),
            Known::new(stringify!($gt), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_gt()))),
            Known::new(stringify!($ge), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_ge()))),
        ]
    };
    (text $order:ident, [$left:expr, $right:expr],
        $eq:ident $ne:ident $lt:ident $le:ident $gt:ident $ge:ident) => {
        &[
            Known::new(stringify!($eq), &[$left, $right], BOOL, |_, it| Ok(Value::Bool(same_text(it)?)))
                .equates_text()
                .by_hash(),
            Known::new(stringify!($ne), &[$left, $right], BOOL, |_, it| Ok(Value::Bool(!same_text(it)?)))
                .equates_text(),
            Known::new(stringify!($lt), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_lt())))
                .orders_text(),
            Known::new(stringify!($le), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_le())))
                .orders_text(),
            Known::new(stringify!($gt), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_gt())))
                .orders_text(),
            Known::new(stringify!($ge), &[$left, $right], BOOL, |_, it| Ok(Value::Bool($order(it)?.is_ge())))
                .orders_text(),
        ]
    };
}

pub(super) static KNOWN: &[&[Known]] = &[
    six!(same bools, [BOOL, BOOL], booleq boolne boollt boolle boolgt boolge),
    six!(same ints, [INT2, INT2], int2eq int2ne int2lt int2le int2gt int2ge),
    six!(same ints, [INT4, INT4], int4eq int4ne int4lt int4le int4gt int4ge),
    six!(same ints, [INT8, INT8], int8eq int8ne int8lt int8le int8gt int8ge),
    six!(same ints, [INT2, INT4], int24eq int24ne int24lt int24le int24gt int24ge),
    six!(same ints, [INT4, INT2], int42eq int42ne int42lt int42le int42gt int42ge),
    six!(same ints, [INT2, INT8], int28eq int28ne int28lt int28le int28gt int28ge),
    six!(same ints, [INT8, INT2], int82eq int82ne int82lt int82le int82gt int82ge),
    six!(same ints, [INT4, INT8], int48eq int48ne int48lt int48le int48gt int48ge),
    six!(same ints, [INT8, INT4], int84eq int84ne int84lt int84le int84gt int84ge),
    six!(same ints, [OID, OID], oideq oidne oidlt oidle oidgt oidge),
    six!(same floats, [FLOAT4, FLOAT4], float4eq float4ne float4lt float4le float4gt float4ge),
    six!(same floats, [FLOAT8, FLOAT8], float8eq float8ne float8lt float8le float8gt float8ge),
    six!(same floats, [FLOAT4, FLOAT8], float48eq float48ne float48lt float48le float48gt float48ge),
    six!(same floats, [FLOAT8, FLOAT4], float84eq float84ne float84lt float84le float84gt float84ge),
    six!(same numerics, [NUMERIC, NUMERIC], numeric_eq numeric_ne numeric_lt numeric_le numeric_gt numeric_ge),
    six!(same uuids, [UUID, UUID], uuid_eq uuid_ne uuid_lt uuid_le uuid_gt uuid_ge),
    six!(same enums, [ANYENUM, ANYENUM], enum_eq enum_ne enum_lt enum_le enum_gt enum_ge),
    six!(same bytes, [BYTEA, BYTEA], byteaeq byteane bytealt byteale byteagt byteage),
    six!(same texts, [CHAR, CHAR], chareq charne charlt charle chargt charge),
    six!(text texts, [TEXT, TEXT], texteq textne text_lt text_le text_gt text_ge),
    six!(text texts, [NAME, NAME], nameeq namene namelt namele namegt namege),
    six!(text texts, [NAME, TEXT], nameeqtext namenetext namelttext nameletext namegttext namegetext),
    six!(text texts, [TEXT, NAME], texteqname textnename textltname textlename textgtname textgename),
    &[
        Known::new("bpchareq", &[BPCHAR, BPCHAR], BOOL, |_, it| Ok(Value::Bool(padded(it)?.is_eq())))
            .equates_text(),
        Known::new("bpcharne", &[BPCHAR, BPCHAR], BOOL, |_, it| Ok(Value::Bool(padded(it)?.is_ne())))
            .equates_text(),
        Known::new("bpcharlt", &[BPCHAR, BPCHAR], BOOL, |_, it| Ok(Value::Bool(padded(it)?.is_lt())))
            .orders_text(),
        Known::new("bpcharle", &[BPCHAR, BPCHAR], BOOL, |_, it| Ok(Value::Bool(padded(it)?.is_le())))
            .orders_text(),
        Known::new("bpchargt", &[BPCHAR, BPCHAR], BOOL, |_, it| Ok(Value::Bool(padded(it)?.is_gt())))
            .orders_text(),
        Known::new("bpcharge", &[BPCHAR, BPCHAR], BOOL, |_, it| Ok(Value::Bool(padded(it)?.is_ge())))
            .orders_text(),
    ],
    six!(same dates, [DATE, DATE], date_eq date_ne date_lt date_le date_gt date_ge),
    six!(same times, [TIME, TIME], time_eq time_ne time_lt time_le time_gt time_ge),
    six!(same moments, [TIMESTAMP, TIMESTAMP],
        timestamp_eq timestamp_ne timestamp_lt timestamp_le timestamp_gt timestamp_ge),
    six!(same moments, [TIMESTAMPTZ, TIMESTAMPTZ],
        timestamp_eq timestamp_ne timestamp_lt timestamp_le timestamp_gt timestamp_ge),
    six!(same moments, [TIMESTAMP, TIMESTAMPTZ],
        timestamp_eq_timestamptz timestamp_ne_timestamptz timestamp_lt_timestamptz
        timestamp_le_timestamptz timestamp_gt_timestamptz timestamp_ge_timestamptz),
    six!(same moments, [TIMESTAMPTZ, TIMESTAMP],
        timestamptz_eq_timestamp timestamptz_ne_timestamp timestamptz_lt_timestamp
        timestamptz_le_timestamp timestamptz_gt_timestamp timestamptz_ge_timestamp),
    six!(days, [DATE, TIMESTAMP], date_eq_timestamp date_ne_timestamp date_lt_timestamp
        date_le_timestamp date_gt_timestamp date_ge_timestamp),
    six!(days, [TIMESTAMP, DATE], timestamp_eq_date timestamp_ne_date timestamp_lt_date
        timestamp_le_date timestamp_gt_date timestamp_ge_date),
    six!(days, [DATE, TIMESTAMPTZ], date_eq_timestamptz date_ne_timestamptz date_lt_timestamptz
        date_le_timestamptz date_gt_timestamptz date_ge_timestamptz),
    six!(days, [TIMESTAMPTZ, DATE], timestamptz_eq_date timestamptz_ne_date timestamptz_lt_date
        timestamptz_le_date timestamptz_gt_date timestamptz_ge_date),
    six!(spans, [INTERVAL, INTERVAL], interval_eq interval_ne interval_lt interval_le interval_gt interval_ge),
];

fn bools(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Bool(left), Value::Bool(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn ints(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Int(left), Value::Int(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn floats(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Float(left), Value::Float(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn numerics(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Numeric(left), Value::Numeric(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn uuids(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Uuid(left), Value::Uuid(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn enums(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Enum(left), Value::Enum(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn bytes(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Bytes(left), Value::Bytes(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn texts(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Text(left), Value::Text(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn same_text(values: &[Value]) -> Result<bool, Doubt> {
    match values {
        [Value::Text(left), Value::Text(right)] => Ok(left == right),
        _ => Err(Doubt::Unknown),
    }
}

/// Text whose blanks at the end do not count.
fn padded(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Text(left), Value::Text(right)] => {
            Ok(left.trim_end_matches(' ').cmp(right.trim_end_matches(' ')))
        }
        _ => Err(Doubt::Unknown),
    }
}

fn dates(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Date(left), Value::Date(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn times(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Time(left), Value::Time(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

fn moments(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Timestamp(left), Value::Timestamp(right)] => Ok(left.cmp(right)),
        _ => Err(Doubt::Unknown),
    }
}

/// A date counts as its midnight, even beyond what a timestamp can be.
fn days(values: &[Value]) -> Result<Ordering, Doubt> {
    let moment = |value: &Value| match value {
        Value::Date(i32::MAX) | Value::Timestamp(i64::MAX) => Ok(i128::MAX),
        Value::Date(i32::MIN) | Value::Timestamp(i64::MIN) => Ok(i128::MIN),
        Value::Date(days) => Ok(i128::from(*days) * i128::from(DAY)),
        Value::Timestamp(moment) => Ok(i128::from(*moment)),
        _ => Err(Doubt::Unknown),
    };
    match values {
        [left, right] => Ok(moment(left)?.cmp(&moment(right)?)),
        _ => Err(Doubt::Unknown),
    }
}

fn spans(values: &[Value]) -> Result<Ordering, Doubt> {
    match values {
        [Value::Interval(left), Value::Interval(right)] => Ok(left.cmp_span(right)),
        _ => Err(Doubt::Unknown),
    }
}
