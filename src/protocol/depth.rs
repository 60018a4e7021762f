//! How deeply JSON is nested: readers of payloads further on recurse, so a bound is checked first.

/// Whether objects and arrays are nested at most `depth_max` deep. `text` is valid JSON.
pub fn is_shallow(text: &str, depth_max: usize) -> bool {
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
    use super::*;

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
