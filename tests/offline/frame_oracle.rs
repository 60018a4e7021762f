//! Our frame codec against tungstenite's, on random sequences of more or less valid frames.

use proptest::prelude::*;

#[path = "../support/frame_oracle.rs"]
mod oracle;

use oracle::{Seen, agree, ours, theirs};

/// A frame that is well-formed more often than not.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        2 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[a-z\u{FC}\u{20AC}]{0,20}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..8),
        1 => prop::collection::vec(Just(b'x'), 100..210),
        1 => (0_u16..5100).prop_map(|code| code.to_be_bytes().to_vec()),
        1 => Just(vec![0xE2, 0x82]),
        1 => Just(vec![0xAC]),
    ];
    (first, payload, any::<[u8; 4]>(), prop::bool::weighted(0.97)).prop_map(
        |(first, payload, mask, masked)| {
            let bit = if masked { 0x80 } else { 0 };
            let mut frame = vec![first];
            match u8::try_from(payload.len()) {
                Ok(short @ 0..126) => frame.push(bit | short),
                _ => {
                    frame.push(bit | 126);
                    frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
                }
            }
            if masked {
                frame.extend_from_slice(&mask);
            }
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_codecs_read_the_same(
        frames in prop::collection::vec(frame(), 1..8), cut in 0_usize..12, piece in 1_usize..64,
    ) {
        let mut bytes = frames.concat();
        bytes.truncate(bytes.len().saturating_sub(cut));
        let seen = ours(&bytes, bytes.len());
        prop_assert_eq!(&seen, &ours(&bytes, piece));
        prop_assert!(agree(&seen, &theirs(&bytes)), "{:?} {:?}", seen, theirs(&bytes));
    }
}

#[test]
fn control_frame_with_a_needlessly_long_length_is_refused() {
    let bytes = [0x88, 0xFE, 0, 0, 0, 0xFF, 0x0A, 0x29, 0xFF];
    for piece in 1..=bytes.len() {
        assert_eq!(ours(&bytes, piece), [Seen::NotMinimal]);
    }
    assert!(agree(&ours(&bytes, 1), &theirs(&bytes)));
}
