//! No message of a client, in either dialect, does anything but what it may do.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../support/envelope.rs"]
mod receiver;

fuzz_target!(|input: &[u8]| {
    receiver::receive(input);
});
