//! No replication message, however malformed, makes the decoder panic.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rowcast::wal::pgoutput::Message;

fuzz_target!(|bytes: &[u8]| {
    let _ = Message::decode(&Bytes::copy_from_slice(bytes));
});
