//! What clients said to the reference server, as inputs for [`super::envelope`] and as seeds for its fuzz target.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const RECORDING: &str = include_str!("../offline/recordings/reference-server.jsonl");

/// Every recorded message of a client, behind the byte that says how it arrived.
pub(crate) fn inputs() -> Vec<Vec<u8>> {
    RECORDING.lines().filter_map(|line| input(&serde_json::from_str(line).expect("a line of JSON"))).collect()
}

fn input(line: &Value) -> Option<Vec<u8>> {
    if line["dir"] != "to server" {
        return None;
    }
    if let Some(text) = line["text"].as_str() {
        // Version 1 speaks objects; what is neither is nonsense in both.
        let is_second = u8::from(text.starts_with('['));
        return Some([&[is_second], text.as_bytes()].concat());
    }
    let bytes = STANDARD.decode(line["base64"].as_str()?).expect("base64");
    Some([&[3], &*bytes].concat())
}
