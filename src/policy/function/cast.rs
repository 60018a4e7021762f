//! Coercions through text, as `CoerceViaIO` makes them: the one type's output is the other's input.

use std::sync::Arc;

use super::{Call, Doubt, Known};
use crate::change::Oid;
use crate::policy::types::{
    BOOL, DATE, INT2, INT4, INT8, JSON, JSONB, NUMERIC, OID, TEXT, TIMESTAMP, TIMESTAMPTZ, UUID,
};
use crate::policy::value::{Array, Numeric, Value, calendar, json};
use uuid::Uuid;

const fn via_io(name: &'static str, arguments: &'static [Oid], result: Oid, call: Call) -> Known {
    Known::new("coerce_via_io", arguments, result, call).named(name)
}

/// Arrays of the same elements: another name for the same type.
const fn relabel(name: &'static str, arguments: &'static [Oid], result: Oid) -> Known {
    Known::new("array_coerce", arguments, result, |_, it| match it {
        [Value::Array(array)] => Ok(Value::Array(Arc::clone(array))),
        _ => Err(Doubt::Unknown),
    })
    .named(name)
}

/// A coercion from text.
macro_rules! from_text {
    ($name:literal, $to:expr, $of:expr) => {
        via_io($name, &[TEXT], $to, |_, it| match it {
            [Value::Text(text)] => {
                let of: fn(&str) -> Result<Value, Doubt> = $of;
                of(text)
            }
            _ => Err(Doubt::Unknown),
        })
        .raises()
    };
}

/// A coercion from an integer to text.
macro_rules! int_to_text {
    ($name:literal, $from:expr) => {
        via_io($name, &[$from], TEXT, |_, it| match it {
            [Value::Int(number)] => Ok(Value::Text(number.to_string().into())),
            _ => Err(Doubt::Unknown),
        })
    };
}

pub(super) static KNOWN: &[&[Known]] = &[
    &[
        from_text!("text to uuid", UUID, |text| uuid(text).map(Value::Uuid).ok_or(Doubt::Raises)),
        from_text!("text to smallint", INT2, integer::<i16>),
        from_text!("text to integer", INT4, integer::<i32>),
        from_text!("text to bigint", INT8, integer::<i64>),
        from_text!("text to numeric", NUMERIC, |text| {
            Numeric::read(trimmed(text)).map(Value::numeric).ok_or(Doubt::Raises)
        }),
        from_text!("text to boolean", BOOL, boolean),
        from_text!("text to timestamptz", TIMESTAMPTZ, |text| moment(text, true)),
        from_text!("text to timestamp", TIMESTAMP, |text| moment(text, false)),
        from_text!("text to date", DATE, |text| match text.len() {
            10 => calendar::parse_date(text).map(Value::Date).ok_or(Doubt::Unknown),
            _ => Err(Doubt::Unknown),
        }),
        from_text!("text to json", JSON, |text| {
            if json::is_valid(text) { Ok(Value::text(text)) } else { Err(Doubt::Raises) }
        }),
        from_text!("text to jsonb", JSONB, |text| {
            json::canonical(text).map(|text| Value::Json(text.into())).ok_or(Doubt::Raises)
        }),
    ],
    &[
        int_to_text!("smallint to text", INT2),
        int_to_text!("integer to text", INT4),
        int_to_text!("bigint to text", INT8),
        int_to_text!("oid to text", OID),
        via_io("uuid to text", &[UUID], TEXT, |_, it| match it {
            [Value::Uuid(uuid)] => Ok(uuid_text(uuid)),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("booltext", &[BOOL], TEXT, |_, it| boolean_text(it)),
        via_io("json to text", &[JSON], TEXT, |_, it| text_of(it)),
        via_io("jsonb to text", &[JSONB], TEXT, |_, it| text_of(it)),
    ],
    &[
        via_io("json to jsonb", &[JSON], JSONB, |_, it| match it {
            [Value::Text(text)] => {
                json::canonical(text).map(|text| Value::Json(text.into())).ok_or(Doubt::Raises)
            }
            _ => Err(Doubt::Unknown),
        })
        .raises(),
        via_io("jsonb to json", &[JSONB], JSON, |_, it| text_of(it)),
    ],
    &[
        relabel("text[] to varchar[]", &[1009], 1015),
        relabel("varchar[] to text[]", &[1015], 1009),
        relabel("text[] to text[]", &[1009], 1009),
        relabel("uuid[] to uuid[]", &[2951], 2951),
        Known::new("array_coerce", &[2951], 1009, |_, it| match it {
            [Value::Array(array)] => {
                let text = |element: &Value| match element {
                    Value::Null => Ok(Value::Null),
                    Value::Uuid(uuid) => Ok(uuid_text(uuid)),
                    _ => Err(Doubt::Unknown),
                };
                let elements = array.elements().iter().map(text).collect::<Result<_, _>>()?;
                let texts = Array::new(array.dimensions(), elements).ok_or(Doubt::Unknown)?;
                Ok(Value::Array(Arc::new(texts)))
            }
            _ => Err(Doubt::Unknown),
        })
        .named("uuid[] to text[]"),
        Known::new("array_coerce", &[1009], 2951, |_, it| match it {
            [Value::Array(array)] => {
                let parsed = |element: &Value| match element {
                    Value::Null => Ok(Value::Null),
                    Value::Text(text) => uuid(text).map(Value::Uuid).ok_or(Doubt::Raises),
                    _ => Err(Doubt::Unknown),
                };
                let elements = array.elements().iter().map(parsed).collect::<Result<_, _>>()?;
                let uuids = Array::new(array.dimensions(), elements).ok_or(Doubt::Unknown)?;
                Ok(Value::Array(Arc::new(uuids)))
            }
            _ => Err(Doubt::Unknown),
        })
        .named("text[] to uuid[]")
        .raises(),
    ],
];

fn uuid_text(uuid: &Uuid) -> Value {
    Value::text(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

/// Thirty-two digits in either case, with a hyphen or none after any four of them, in braces or not.
fn uuid(text: &str) -> Option<Uuid> {
    let text = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut rest = text.as_bytes();
    let mut bytes = [0_u8; 16];
    for (place, byte) in bytes.iter_mut().enumerate() {
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
        rest = match after {
            [b'-', after @ ..] if place % 2 == 1 && place < 15 => after,
            _ => after,
        };
    }
    rest.is_empty().then(|| Uuid::from_bytes(bytes))
}

/// Without the blanks that input functions pass over.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|character| matches!(character, ' ' | '\t'..='\r'))
}

/// Plain decimal digits; later versions of Postgres read other forms too.
fn integer<T: TryFrom<i64>>(text: &str) -> Result<Value, Doubt> {
    let number: i64 = trimmed(text).parse().map_err(|_| Doubt::Raises)?;
    T::try_from(number).map_err(|_| Doubt::Raises)?;
    Ok(Value::Int(number))
}

/// Any start of a word that means only that word.
fn boolean(text: &str) -> Result<Value, Doubt> {
    let text = trimmed(text).to_ascii_lowercase();
    let starts = |word: &str, least: usize| text.len() >= least && word.starts_with(&*text);
    if text == "1" || starts("true", 1) || starts("yes", 1) || starts("on", 2) {
        return Ok(Value::Bool(true));
    }
    if text == "0" || starts("false", 1) || starts("no", 1) || starts("off", 2) {
        return Ok(Value::Bool(false));
    }
    Err(Doubt::Raises)
}

/// Postgres reads many more forms than are read here.
fn moment(text: &str, zoned: bool) -> Result<Value, Doubt> {
    calendar::read_moment(text, zoned).map(Value::Timestamp).ok_or(Doubt::Unknown)
}

fn boolean_text(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [Value::Bool(truth)] => Ok(Value::text(if *truth { "true" } else { "false" })),
        _ => Err(Doubt::Unknown),
    }
}

/// What is kept as text already.
fn text_of(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [Value::Text(text) | Value::Json(text)] => Ok(Value::Text(Arc::clone(text))),
        _ => Err(Doubt::Unknown),
    }
}
