//! JSON string literals.

/// Appends `text` as a JSON string literal, quotes included.
///
/// Only what JSON demands is escaped: quotes, backslashes and control characters.
pub fn write_json_string(text: &str, out: &mut String) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some(plain) = find_escaped(rest.as_bytes()) {
        // The byte found is ASCII, so both cuts fall between characters.
        let (before, after) = rest.split_at(plain);
        out.push_str(before);
        push_escaped(after.as_bytes()[0], out);
        rest = &after[1..];
    }
    out.push_str(rest);
    out.push('"');
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

fn push_escaped(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        0x08 => out.push_str("\\b"),
        0x0c => out.push_str("\\f"),
        _ => {
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 0x0f)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn literal(text: &str) -> String {
        let mut out = String::new();
        write_json_string(text, &mut out);
        out
    }

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
            assert_eq!(literal(text), expected);
        }
    }

    #[test]
    fn finds_the_one_special_byte_wherever_it_stands() {
        for length in 1..100 {
            for place in 0..length {
                let mut text = "é".repeat(length);
                text.insert(place * 2, '"');
                assert_eq!(literal(&text), format!("\"{}\"", text.replace('"', "\\\"")));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&literal(&text)).unwrap(), text);
        }
    }
}
