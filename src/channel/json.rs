//! The little JSON writing and checking that several stages share.

use bytes::BufMut;

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for piece in pieces(text) {
        match piece {
            Piece::Plain(text) | Piece::Short(text) => out.push_str(text),
            Piece::Control(escape) => escape.iter().for_each(|byte| out.push(char::from(*byte))),
        }
    }
    out.push('"');
}

/// Appends `text` as a JSON string to a frame.
pub(crate) fn put_string(out: &mut impl BufMut, text: &str) {
    out.put_u8(b'"');
    for piece in pieces(text) {
        match piece {
            Piece::Plain(text) | Piece::Short(text) => out.put_slice(text.as_bytes()),
            Piece::Control(escape) => out.put_slice(&escape),
        }
    }
    out.put_u8(b'"');
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    out
}

enum Piece<'a> {
    Plain(&'a str),
    Short(&'static str),
    Control([u8; 6]),
}

/// Cuts text into runs that stand for themselves and characters that must be escaped.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = *rest.as_bytes().first()?;
        if !must_escape(first) {
            let end = rest.bytes().position(must_escape).unwrap_or(rest.len());
            let (plain, after) = rest.split_at(end);
            rest = after;
            return Some(Piece::Plain(plain));
        }
        rest = rest.get(1..).unwrap_or_default();
        Some(match first {
            b'"' => Piece::Short("\\\""),
            b'\\' => Piece::Short("\\\\"),
            b'\n' => Piece::Short("\\n"),
            b'\r' => Piece::Short("\\r"),
            b'\t' => Piece::Short("\\t"),
            control => {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
                Piece::Control([b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control)])
            }
        })
    })
}

fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether objects and arrays are nested at most `depth_max` deep. `text` is valid JSON.
pub(crate) fn is_shallow(text: &str, depth_max: usize) -> bool {
    // Almost all messages have fewer brackets than they may have levels, and counting is fast.
    if memchr::memchr2_iter(b'{', b'[', text.as_bytes()).take(depth_max + 1).count() <= depth_max {
        return true;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > depth_max {
                    return false;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_read_back_as_they_were(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&quoted(&text)).unwrap(), text.clone());
            let mut frame = Vec::new();
            put_string(&mut frame, &text);
            prop_assert_eq!(frame, quoted(&text).into_bytes());
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(quoted("a\"\\\n\r\t\u{1}\u{1f}é"), "\"a\\\"\\\\\\n\\r\\t\\u0001\\u001fé\"");
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_shallow(&nested(100), 100));
        assert!(!is_shallow(&nested(101), 100));
        assert!(is_shallow(&format!("[{}]", vec!["{}"; 500].join(",")), 2));
        assert!(is_shallow(&format!("[\"{}\\\"{}\"]", "[".repeat(300), "{".repeat(300)), 1));
        assert!(!is_shallow(r#"["\\",[[]]]"#, 2));
    }
}
