//! Any bytes, in pieces of any size, mean the same to our frame codec and to tungstenite's.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../support/frame_oracle.rs"]
mod frame_oracle;

use frame_oracle::{agree, ours, theirs};

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = ours(bytes, bytes.len());
    assert_eq!(whole, ours(bytes, usize::from(*piece)));
    let theirs = theirs(bytes);
    assert!(agree(&whole, &theirs), "ours {whole:?}, theirs {theirs:?}");
});
