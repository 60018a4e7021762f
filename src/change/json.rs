//! JSON string literals, written into text or into a frame.

use bytes::BufMut;

/// How each control character is written.
const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t",
    "\\n", "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013",
    "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c",
    "\\u001d", "\\u001e", "\\u001f",
];

/// Appends `text` as a JSON string literal, quotes included.
///
/// Only what JSON demands is escaped: quotes, backslashes and control characters.
pub fn write_string(text: &str, out: &mut String) {
    out.reserve(text.len() + 2);
    write(text, |part| out.push_str(part));
}

/// The same into a frame.
pub fn put_string(text: &str, out: &mut impl BufMut) {
    write(text, |part| out.put_slice(part.as_bytes()));
}

/// `text` as a JSON string literal.
pub fn string(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}

fn write(text: &str, mut push: impl FnMut(&str)) {
    push("\"");
    let mut rest = text;
    while let Some(plain) = find_escaped(rest.as_bytes()) {
        // The byte found is ASCII, so both cuts fall between characters.
        let (before, after) = rest.split_at(plain);
        push(before);
        push(escaped(after.as_bytes()[0]));
        rest = &after[1..];
    }
    push(rest);
    push("\"");
}

/// The place of the first byte that cannot stand as it is.
fn find_escaped(bytes: &[u8]) -> Option<usize> {
    // A block is tested whole, without a branch a byte, which the compiler turns into vector instructions.
    const BLOCK: usize = 32;
    let mut start = 0;
    for block in bytes.chunks_exact(BLOCK) {
        if block.iter().fold(false, |found, byte| found | is_escaped(*byte)) {
            break;
        }
        start += BLOCK;
    }
    bytes[start..].iter().position(|byte| is_escaped(*byte)).map(|offset| start + offset)
}

const fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// What stands for a byte that [`is_escaped`].
fn escaped(byte: u8) -> &'static str {
    match byte {
        b'"' => "\\\"",
        b'\\' => "\\\\",
        control => CONTROLS.get(usize::from(control)).copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_what_json_demands_and_nothing_else() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\n\r\t\u{8}\u{c}", r#""\n\r\t\b\f""#),
            ("\u{1}\u{1f}\u{7f}", "\"\\u0001\\u001f\u{7f}\""),
            ("ünï\u{2028}🎈", "\"ünï\u{2028}🎈\""),
        ] {
            assert_eq!(string(text), expected);
        }
    }

    #[test]
    fn finds_the_one_special_byte_wherever_it_stands() {
        for length in 1..100 {
            for place in 0..length {
                let mut text = "é".repeat(length);
                text.insert(place * 2, '"');
                assert_eq!(string(&text), format!("\"{}\"", text.replace('"', "\\\"")));
            }
        }
    }

    #[test]
    fn every_control_character_comes_back() {
        for control in '\0'..' ' {
            assert_eq!(serde_json::from_str::<char>(&string(&control.to_string())).unwrap(), control);
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text.clone());
            let mut frame = Vec::new();
            put_string(&text, &mut frame);
            prop_assert_eq!(frame, string(&text).into_bytes());
        }
    }
}
