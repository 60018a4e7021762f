//! No token and no key set, however malformed, makes its reader panic; and no token passes that nobody signed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcast::auth::{Audience, Config, KeySet, Secret, Verifier};

fuzz_target!(|text: &str| {
    let keys = KeySet::parse(text.as_bytes(), Audience::Private).unwrap_or_default();
    let secrets = vec![Secret::new([0x5a; 32]).expect("a secret that is not empty")];
    let verifier = Verifier::new(Config { secrets, keys, ..Config::default() });
    for line in text.lines() {
        assert!(verifier.verify(line, 0).is_err(), "nobody has signed this");
    }
});
