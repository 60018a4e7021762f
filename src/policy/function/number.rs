//! Arithmetic, and casts between numbers.

use super::{Doubt, Known};
use crate::policy::types::{BOOL, FLOAT4, FLOAT8, INT2, INT4, INT8, NUMERIC, OID};
use crate::policy::value::{Numeric, Value};

/// An operator on two integers whose result has bounds.
macro_rules! int2 {
    ($symbol:ident, $left:expr, $right:expr, $result:expr, $bound:ty, $method:ident) => {
        Known::new(stringify!($symbol), &[$left, $right], $result, |_, it| match it {
            [Value::Int(left), Value::Int(right)] => bounded::<$bound>(left.$method(*right)),
            _ => Err(Doubt::Unknown),
        })
        .raises()
    };
}

/// A function of one integer whose result has bounds.
macro_rules! int1 {
    ($symbol:ident, $from:expr, $to:expr, $bound:ty, $of:expr) => {
        Known::new(stringify!($symbol), &[$from], $to, |_, it| match it {
            [Value::Int(number)] => bounded::<$bound>($of(*number)),
            _ => Err(Doubt::Unknown),
        })
    };
}

macro_rules! numeric2 {
    ($symbol:ident, $of:expr) => {
        Known::new(stringify!($symbol), &[NUMERIC, NUMERIC], NUMERIC, |_, it| match it {
            [Value::Numeric(left), Value::Numeric(right)] => {
                $of(left, right).map(Value::numeric).ok_or(Doubt::TooLong)
            }
            _ => Err(Doubt::Unknown),
        })
        .raises()
    };
}

macro_rules! numeric_to {
    ($symbol:ident, $to:expr, $bound:ty) => {
        Known::new(stringify!($symbol), &[NUMERIC], $to, |_, it| match it {
            [Value::Numeric(number)] => bounded::<$bound>(number.to_integer()),
            _ => Err(Doubt::Unknown),
        })
        .raises()
    };
}

macro_rules! to_numeric {
    ($symbol:ident, $from:expr) => {
        Known::new(stringify!($symbol), &[$from], NUMERIC, |_, it| match it {
            [Value::Int(number)] => Ok(Value::numeric(Numeric::from(*number))),
            _ => Err(Doubt::Unknown),
        })
    };
}

macro_rules! float2 {
    ($symbol:ident, $of:expr) => {
        Known::new(stringify!($symbol), &[FLOAT8, FLOAT8], FLOAT8, |_, it| match it {
            [Value::Float(left), Value::Float(right)] => $of(left.get(), right.get()),
            _ => Err(Doubt::Unknown),
        })
        .raises()
    };
}

pub(super) static KNOWN: &[&[Known]] = &[
    &[
        int2!(int2pl, INT2, INT2, INT2, i16, checked_add),
        int2!(int2mi, INT2, INT2, INT2, i16, checked_sub),
        int2!(int2mul, INT2, INT2, INT2, i16, checked_mul),
        int2!(int4pl, INT4, INT4, INT4, i32, checked_add),
        int2!(int4mi, INT4, INT4, INT4, i32, checked_sub),
        int2!(int4mul, INT4, INT4, INT4, i32, checked_mul),
        int2!(int4div, INT4, INT4, INT4, i32, checked_div),
        int2!(int4mod, INT4, INT4, INT4, i32, checked_rem),
        int2!(int8pl, INT8, INT8, INT8, i64, checked_add),
        int2!(int8mi, INT8, INT8, INT8, i64, checked_sub),
        int2!(int8mul, INT8, INT8, INT8, i64, checked_mul),
        int2!(int8div, INT8, INT8, INT8, i64, checked_div),
        int2!(int8mod, INT8, INT8, INT8, i64, checked_rem),
        int2!(int48pl, INT4, INT8, INT8, i64, checked_add),
        int2!(int48mi, INT4, INT8, INT8, i64, checked_sub),
        int2!(int48mul, INT4, INT8, INT8, i64, checked_mul),
        int2!(int48div, INT4, INT8, INT8, i64, checked_div),
        int2!(int84pl, INT8, INT4, INT8, i64, checked_add),
        int2!(int84mi, INT8, INT4, INT8, i64, checked_sub),
        int2!(int84mul, INT8, INT4, INT8, i64, checked_mul),
        int2!(int84div, INT8, INT4, INT8, i64, checked_div),
        int2!(int24pl, INT2, INT4, INT4, i32, checked_add),
        int2!(int24mi, INT2, INT4, INT4, i32, checked_sub),
        int2!(int42pl, INT4, INT2, INT4, i32, checked_add),
        int2!(int42mi, INT4, INT2, INT4, i32, checked_sub),
    ],
    &[
        int1!(int4um, INT4, INT4, i32, i64::checked_neg).raises(),
        int1!(int8um, INT8, INT8, i64, i64::checked_neg).raises(),
        int1!(int4abs, INT4, INT4, i32, i64::checked_abs).raises(),
        int1!(int8abs, INT8, INT8, i64, i64::checked_abs).raises(),
        int1!(i2toi4, INT2, INT4, i32, Some),
        int1!(int28, INT2, INT8, i64, Some),
        int1!(int48, INT4, INT8, i64, Some),
        int1!(i4toi2, INT4, INT2, i16, Some).raises(),
        int1!(int82, INT8, INT2, i16, Some).raises(),
        int1!(int84, INT8, INT4, i32, Some).raises(),
        int1!(i8tooid, INT8, OID, u32, Some).raises(),
        int1!(oidtoi8, OID, INT8, i64, Some),
    ],
    &[
        Known::new("int4_bool", &[INT4], BOOL, |_, it| match it {
            [Value::Int(number)] => Ok(Value::Bool(*number != 0)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("bool_int4", &[BOOL], INT4, |_, it| match it {
            [Value::Bool(truth)] => Ok(Value::Int((*truth).into())),
            _ => Err(Doubt::Unknown),
        }),
        to_numeric!(int2_numeric, INT2),
        to_numeric!(int4_numeric, INT4),
        to_numeric!(int8_numeric, INT8),
        numeric_to!(numeric_int2, INT2, i16),
        numeric_to!(numeric_int4, INT4, i32),
        numeric_to!(numeric_int8, INT8, i64),
        numeric2!(numeric_add, |left: &Numeric, right: &Numeric| left.add(right)),
        numeric2!(numeric_sub, |left: &Numeric, right: &Numeric| left.add(&right.negated())),
        numeric2!(numeric_mul, |left: &Numeric, right: &Numeric| left.multiply(right)),
        Known::new("numeric_uminus", &[NUMERIC], NUMERIC, |_, it| match it {
            [Value::Numeric(number)] => Ok(Value::numeric(number.negated())),
            _ => Err(Doubt::Unknown),
        }),
    ],
    &[
        float2!(float8pl, |left: f64, right: f64| finite(left + right, left, right)),
        float2!(float8mi, |left: f64, right: f64| finite(left - right, left, right)),
        float2!(float8mul, |left: f64, right: f64| match left * right {
            product if product == 0.0 && left != 0.0 && right != 0.0 => Err(Doubt::Raises),
            product => finite(product, left, right),
        }),
        float2!(float8div, |left: f64, right: f64| match left / right {
            _ if right == 0.0 => Err(Doubt::Raises),
            quotient if quotient == 0.0 && left != 0.0 && right.is_finite() => Err(Doubt::Raises),
            quotient => finite(quotient, left, 0.0),
        }),
        Known::new("i2tod", &[INT2], FLOAT8, |_, it| to_float(it)),
        Known::new("i4tod", &[INT4], FLOAT8, |_, it| to_float(it)),
        Known::new("i8tod", &[INT8], FLOAT8, |_, it| to_float(it)),
        Known::new("ftod", &[FLOAT4], FLOAT8, |_, it| match it {
            [Value::Float(number)] => Ok(Value::Float(*number)),
            _ => Err(Doubt::Unknown),
        }),
    ],
];

/// A number within the bounds of a type; beyond them Postgres raises an error.
fn bounded<T: TryFrom<i64>>(number: Option<i64>) -> Result<Value, Doubt> {
    let number = number.ok_or(Doubt::Raises)?;
    T::try_from(number).map_err(|_| Doubt::Raises)?;
    Ok(Value::Int(number))
}

/// Overflow raises an error; infinity that was there before does not.
fn finite(number: f64, left: f64, right: f64) -> Result<Value, Doubt> {
    match number.is_infinite() && left.is_finite() && right.is_finite() {
        true => Err(Doubt::Raises),
        false => Ok(Value::float(number)),
    }
}

fn to_float(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        // To the nearest, as C does it.
        #[allow(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
        [Value::Int(number)] => Ok(Value::float(*number as f64)),
        _ => Err(Doubt::Unknown),
    }
}
