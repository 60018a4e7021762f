//! Decoding of whatever may come, and the frames clients must be able to read.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::channel::{Body, Broadcast, Reply};

const DEPTH_MAX: usize = 100;

fn decode(dialect: Dialect, text: &str) -> Result<(Value, Value, String, String), Malformed> {
    let incoming = dialect.decode(Message::Text(text), DEPTH_MAX)?;
    let value = |reference: &MessageRef<'_>| serde_json::from_str(reference.json()).unwrap();
    Ok((
        value(&incoming.join_ref),
        value(&incoming.reference),
        incoming.topic.into_owned(),
        incoming.event.into_owned(),
    ))
}

fn is_text_payload(frame: &[u8]) -> (&[u8], bool) {
    let start = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    (&frame[start..], frame[0] == 0x81)
}

fn text(frame: &[u8]) -> Value {
    let (payload, is_text) = is_text_payload(frame);
    assert!(is_text);
    serde_json::from_slice(payload).unwrap()
}

fn bytes(frame: &[u8]) -> &[u8] {
    let (payload, is_text) = is_text_payload(frame);
    assert!(!is_text);
    payload
}

#[test]
fn version_1_needs_its_four_keys() {
    let ok = decode(Dialect::V1, r#"{"topic":"t","event":"e","payload":null,"ref":7,"more":1}"#);
    assert_eq!(ok, Ok((Value::Null, json!(7), "t".into(), "e".into())));
    let ok = decode(Dialect::V1, r#" {"join_ref":"1","ref":null,"payload":{},"event":"\u0065","topic":"t"}"#);
    assert_eq!(ok, Ok((json!("1"), Value::Null, "t".into(), "e".into())));
    for text in [
        "this is not json",
        "{}",
        "[]",
        "",
        r#"["t","e",{},"1"]"#,
        r#"{"topic":"t","event":"e","payload":{}}"#,
        r#"{"topic":"t","event":"e","ref":"1"}"#,
        r#"{"topic":"t","payload":{},"ref":"1"}"#,
        r#"{"topic":null,"event":"e","payload":{},"ref":"1"}"#,
        r#"{"topic":"t","event":1,"payload":{},"ref":"1"}"#,
        r#"{"topic":"t","event":"e","payload":{},"ref":"1"} x"#,
        r#"{"topic":"t","event":"e","payload":{]},"ref":"1"}"#,
    ] {
        assert_eq!(decode(Dialect::V1, text), Err(Malformed::Shape), "{text}");
    }
}

#[test]
fn version_1_takes_json_in_binary_messages_too() {
    let message = br#"{"topic":"t","event":"e","payload":{},"ref":"1"}"#;
    assert!(Dialect::V1.decode(Message::Binary(message), DEPTH_MAX).is_ok());
    assert_eq!(Dialect::V1.decode(Message::Binary(b"\xff"), DEPTH_MAX).err(), Some(Malformed::Shape));
}

#[test]
fn version_2_needs_five_elements() {
    let ok = decode(Dialect::V2, r#"[null,"7","phoenix","heartbeat",{}]"#);
    assert_eq!(ok, Ok((Value::Null, json!("7"), "phoenix".into(), "heartbeat".into())));
    assert!(decode(Dialect::V2, r#"["1",2,"t","e",null,"more",{}]"#).is_ok());
    for text in [
        "{}",
        "[]",
        "",
        r#"["1","2","t","e"]"#,
        r#"["1","2",null,"e",{}]"#,
        r#"["1","2","t",{},{}]"#,
        r#"["1","2","t","e",{}"#,
        r#"["1","2","t","e",{}]]"#,
    ] {
        assert_eq!(decode(Dialect::V2, text), Err(Malformed::Shape), "{text}");
    }
}

#[test]
fn nesting_and_refs_are_bounded() {
    let nested = |depth: usize| format!(r#"["1","2","t","e",{}{}]"#, "[".repeat(depth), "]".repeat(depth));
    assert!(decode(Dialect::V2, &nested(99)).is_ok());
    assert_eq!(decode(Dialect::V2, &nested(100)), Err(Malformed::Depth));
    assert_eq!(decode(Dialect::V2, &nested(1_000_000)), Err(Malformed::Depth));
    let named = |bytes: usize| format!(r#"[null,"{}","t","e",{{}}]"#, "r".repeat(bytes - 2));
    assert!(decode(Dialect::V2, &named(255)).is_ok());
    assert_eq!(decode(Dialect::V2, &named(256)), Err(Malformed::Ref));
}

#[test]
fn user_broadcasts_are_decoded() {
    let frame = [b"\x03\x01\x01\x0d\x06\x00\x01".as_slice(), br#"15realtime:roomcursor{"x":1}"#].concat();
    let incoming = Dialect::V2.decode(Message::Binary(&frame), DEPTH_MAX).unwrap();
    assert_eq!((incoming.join_ref.json(), incoming.reference.json()), ("\"1\"", "\"5\""));
    assert_eq!((&*incoming.topic, &*incoming.event), ("realtime:room", "broadcast"));
    assert!(matches!(incoming.payload, Payload::UserJson { event: "cursor", body: r#"{"x":1}"# }));

    let frame = [b"\x03\x00\x00\x01\x01\x02\x00".as_slice(), b"te{}\xff\x00"].concat();
    let incoming = Dialect::V2.decode(Message::Binary(&frame), DEPTH_MAX).unwrap();
    assert_eq!(incoming.reference.json(), "\"\"");
    assert!(matches!(incoming.payload, Payload::UserBytes { event: "e", body: b"\xff\x00" }));
}

#[test]
fn pushes_of_bytes_are_decoded() {
    let frame = b"\x00\x01\x01\x01\x0912tbroadcast\xff";
    let incoming = Dialect::V2.decode(Message::Binary(frame), DEPTH_MAX).unwrap();
    assert_eq!(&*incoming.event, "broadcast");
    assert!(matches!(incoming.payload, Payload::Bytes(b"\xff")));
}

#[test]
fn bad_binary_messages_are_malformed() {
    for (frame, expected) in [
        (b"".as_slice(), Malformed::Binary),
        (b"\x09\x09\x09", Malformed::Kind),
        (b"\x01\x00\x00\x00\x00", Malformed::Kind),
        (b"\x04\x00\x00\x00\x00", Malformed::Kind),
        (b"\x00\x01\x01", Malformed::Binary),
        (b"\x00\x00\x00\xff\x00t", Malformed::Binary),
        (b"\x00\x00\x00\x01\x00\xff", Malformed::Binary),
        (b"\x03\x00\x00\x01\x01\x00\x01te", Malformed::Shape),
        (b"\x03\x00\x00\x01\x01\x00\x01te{}},", Malformed::Shape),
        (b"\x03\x00\x00\x01\x01\x00\x01te\"\xff\"", Malformed::Shape),
        (b"\x03\x00\x00\x01\x01\x01\x00te{", Malformed::Shape),
    ] {
        assert_eq!(Dialect::V2.decode(Message::Binary(frame), DEPTH_MAX).err(), Some(expected), "{frame:?}");
    }
    let deep = [b"\x03\x00\x00\x01\x01\x00\x01te".as_slice(), &b"[".repeat(101), &b"]".repeat(101)].concat();
    assert_eq!(Dialect::V2.decode(Message::Binary(&deep), DEPTH_MAX).err(), Some(Malformed::Depth));
}

#[test]
fn version_1_frames_have_exactly_four_keys() {
    let (join, reference) = (MessageRef::from_json("\"1\""), MessageRef::from_json("7"));
    assert_eq!(
        text(&Dialect::V1.reply("t", &join, &reference, &Reply::Ok)),
        json!({"topic": "t", "event": "phx_reply", "ref": 7, "payload": {"status": "ok", "response": {}}})
    );
    assert_eq!(
        text(&Dialect::V1.push("t\"", &join, "presence_state", "{}")),
        json!({"topic": "t\"", "event": "presence_state", "ref": null, "payload": {}})
    );
    assert_eq!(
        text(&Dialect::V1.closed("t", &join)),
        json!({"topic": "t", "event": "phx_close", "ref": "1", "payload": {}})
    );
}

#[test]
fn version_2_frames_have_five_elements() {
    let (join, reference) = (MessageRef::from_json("\"1\""), MessageRef::from_json("\"7\""));
    let dialect = Dialect::V2;
    for (frame, expected) in [
        (
            dialect.reply("t", &join, &reference, &Reply::Refused("unmatched topic".into())),
            json!(["1", "7", "t", "phx_reply", {"status": "error", "response": {"reason": "unmatched topic"}}]),
        ),
        (
            dialect.reply("t", &join, &reference, &Reply::PayloadTooLarge),
            json!(["1", "7", "t", "phx_reply", {"status": "error", "response": "payload_size_exceeded"}]),
        ),
        (
            dialect.reply("t", &join, &reference, &Reply::Joined(Vec::new())),
            json!(["1", "7", "t", "phx_reply", {"status": "ok", "response": {"postgres_changes": []}}]),
        ),
        (dialect.closed("t", &join), json!(["1", "1", "t", "phx_close", {}])),
        (dialect.crashed("t", &join), json!(["1", "1", "t", "phx_error", {"reason": "channel_crash"}])),
        (
            dialect.system("realtime:a", "a", &join, Extension::PostgresChanges, true, "words"),
            json!(["1", null, "realtime:a", "system",
                {"channel": "a", "extension": "postgres_changes", "status": "ok", "message": "words"}]),
        ),
        (
            dialect.disconnecting("t"),
            json!([null, null, "t", "system",
                {"extension": "system", "message": "Server requested disconnect", "status": "ok"}]),
        ),
    ] {
        assert_eq!(text(&frame), expected);
    }
}

fn user(event: &str, body: Body<'static>, meta: Option<&'static str>) -> Broadcast<'static> {
    Broadcast::User { event: event.to_owned().into(), body, meta: meta.map(Into::into) }
}

#[test]
fn text_broadcasts_go_out_verbatim() {
    let payload = r#"{"b": 1.10, "a":9007199254740993}"#;
    let message = Broadcast::Text(payload.into());
    let v1 = Dialect::V1.broadcast("t", &message).unwrap();
    assert!(std::str::from_utf8(&v1[2..]).unwrap().contains(payload));
    let v2 = Dialect::V2.broadcast("t", &message).unwrap();
    assert_eq!(&v2[2..], format!("[null,null,\"t\",\"broadcast\",{payload}]").as_bytes());
}

#[test]
fn user_broadcasts_are_binary_in_version_2_and_text_in_version_1() {
    let json = || Body::Json(r#"{"x":1}"#.into());
    let message = user("cursor", json(), None);
    assert_eq!(
        bytes(&Dialect::V2.broadcast("realtime:room", &message).unwrap()),
        [b"\x04\x0d\x06\x00\x01".as_slice(), br#"realtime:roomcursor{"x":1}"#].concat()
    );
    assert_eq!(
        text(&Dialect::V1.broadcast("t", &message).unwrap())["payload"],
        json!({"type": "broadcast", "event": "cursor", "payload": {"x": 1}})
    );
    let message = user("cursor", json(), Some(r#"{"id":"a"}"#));
    assert_eq!(
        bytes(&Dialect::V2.broadcast("realtime:room", &message).unwrap()),
        [b"\x04\x0d\x06\x0a\x01".as_slice(), br#"realtime:roomcursor{"id":"a"}{"x":1}"#].concat()
    );
    assert_eq!(text(&Dialect::V1.broadcast("t", &message).unwrap())["payload"]["meta"], json!({"id": "a"}));
}

#[test]
fn bytes_never_reach_version_1() {
    for message in [user("e", Body::Bytes(b"\xff"[..].into()), None), Broadcast::Bytes(b"\xff"[..].into())] {
        assert_eq!(Dialect::V1.broadcast("t", &message), None);
        assert!(Dialect::V2.broadcast("t", &message).is_some());
    }
    let frame = Dialect::V2.broadcast("t", &Broadcast::Bytes(b"\xff"[..].into())).unwrap();
    assert_eq!(bytes(&frame), b"\x02\x01\x09tbroadcast\xff");
}

#[test]
fn topics_too_long_for_a_binary_frame_get_text() {
    let topic = "t".repeat(256);
    let frame = Dialect::V2.broadcast(&topic, &user("e", Body::Json("{}".into()), None)).unwrap();
    assert_eq!(
        text(&frame),
        json!([null, null, topic, "broadcast", {"event": "e", "payload": {}, "type": "broadcast"}])
    );
    assert_eq!(Dialect::V2.broadcast(&topic, &user("e", Body::Bytes(b""[..].into()), None)), None);
}

#[test]
fn changes_have_ids_and_legacy_changes_have_none() {
    let data = r#"{"type":"INSERT"}"#;
    assert_eq!(
        text(&changes_frame(Dialect::V1, None, "t", &[1, 2], data)),
        json!({"topic": "t", "event": "postgres_changes", "ref": null,
            "payload": {"data": {"type": "INSERT"}, "ids": [1, 2]}})
    );
    assert_eq!(
        text(&changes_frame(Dialect::V2, None, "t", &[7], data)),
        json!([null, null, "t", "postgres_changes", {"data": {"type": "INSERT"}, "ids": [7]}])
    );
    assert_eq!(
        text(&changes_frame(Dialect::V1, Some("INSERT"), "t", &[7], data)),
        json!({"topic": "t", "event": "INSERT", "ref": null, "payload": {"type": "INSERT"}})
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Dialect::V1.decode(Message::Text(&text), DEPTH_MAX);
        let _ = Dialect::V2.decode(Message::Text(&text), DEPTH_MAX);
    }

    #[test]
    fn no_json_like_text_panics(text in r#"[\[{]?(["\\a-z0-9:,{}\[\] ]|null|"ref"|"topic"|"event"|"payload"){0,40}[\]}]?"#) {
        let _ = Dialect::V1.decode(Message::Text(&text), DEPTH_MAX);
        let _ = Dialect::V2.decode(Message::Text(&text), DEPTH_MAX);
    }

    #[test]
    fn no_bytes_panic(kind in 0_u8..6, sizes in proptest::collection::vec(0_u8..8, 0..8), rest in any::<Vec<u8>>()) {
        let frame = [vec![kind], sizes, rest].concat();
        let _ = Dialect::V1.decode(Message::Binary(&frame), DEPTH_MAX);
        let _ = Dialect::V2.decode(Message::Binary(&frame), DEPTH_MAX);
    }

    #[test]
    fn what_one_side_writes_the_other_reads(topic in any::<String>(), event in "[ -~]{0,20}") {
        let frame = Dialect::V2.push(&topic, &MessageRef::NULL, &event, "{}");
        let (payload, _) = is_text_payload(&frame);
        let read = decode(Dialect::V2, std::str::from_utf8(payload).unwrap()).unwrap();
        prop_assert_eq!(read, (Value::Null, Value::Null, topic.clone(), event.clone()));
        let frame = Dialect::V1.push(&topic, &MessageRef::NULL, &event, "{}");
        let (payload, _) = is_text_payload(&frame);
        let read = decode(Dialect::V1, std::str::from_utf8(payload).unwrap()).unwrap();
        prop_assert_eq!(read, (Value::Null, Value::Null, topic, event));
    }
}

#[test]
fn nothing_shows_the_payload_of_a_message() {
    let shown = format!("{:?} {:?}", Message::Text("secret"), Message::Binary(b"secret"));
    assert_eq!(shown, "Text(6 bytes) Binary(6 bytes)");
}
