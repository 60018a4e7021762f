//! No filter text, however malformed, makes the parser panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcast::subscription::Filter;

fuzz_target!(|text: &str| {
    let _ = Filter::parse(text);
});
