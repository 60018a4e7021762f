//! Row images: the values of one row as the log carries them.

use bytes::Bytes;

/// One column of a row image.
#[derive(Clone, PartialEq, Eq)]
pub enum Datum {
    /// SQL NULL.
    Null,
    /// Unknown: the log does not carry it. An unchanged TOAST value, or a column outside the replica identity.
    Absent,
    /// The text form, as the type's output function writes it. Always UTF-8.
    Text(Bytes),
}

impl Datum {
    /// The text form; `None` for NULL and absent values.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Null | Self::Absent => None,
        }
    }
}

/// A row value never reaches a log: only its kind and length are printed.
impl std::fmt::Debug for Datum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Absent => f.write_str("Absent"),
            Self::Text(bytes) => write!(f, "Text({} bytes)", bytes.len()),
        }
    }
}

/// A row image; the values stand in the order of the relation's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// One value a column.
    pub values: Box<[Datum]>,
}

/// The bytes that pairs of hexadecimal digits stand for, as Postgres writes `bytea`; `None` if the text is no such pairs.
pub fn bytes_of_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_bytes() {
        assert_eq!(bytes_of_hex("00ff7F"), Some(vec![0, 255, 127]));
        assert_eq!(bytes_of_hex(""), Some(vec![]));
        for text in ["0", "0g", "\\x00", "ä"] {
            assert_eq!(bytes_of_hex(text), None, "{text}");
        }
    }
}
