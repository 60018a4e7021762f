//! No replication message, however malformed, makes the decoder panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcast::wal::pgoutput::Message;

fuzz_target!(|bytes: &[u8]| {
    let _ = Message::decode(bytes);
});
