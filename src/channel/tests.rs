//! A channel's answers, event by event.

use super::*;

fn channel(config: &str) -> Channel {
    channel_with(config, None)
}

fn private(read: Rights) -> Channel {
    channel_with("{\"broadcast\":{\"ack\":true}}", Some(read))
}

fn channel_with(config: &str, read: Option<Rights>) -> Channel {
    let topic = Topic::parse("realtime:room", 255).unwrap();
    let payload = RawValue::from_string(format!("{{\"config\":{config}}}")).unwrap();
    let request = JoinRequest::parse(&topic, Payload::Json(&payload), &JoinLimits::default()).unwrap();
    let grant = Grant {
        topic,
        join_ref: &MessageRef::from_json("\"1\""),
        reference: &MessageRef::from_json("\"2\""),
        token: "old".into(),
        claims: Arc::new(Claims { role: "anon".into(), json: "{}".into(), expires_at: 10 }),
        presence_key: "key".into(),
        read,
        takes_presence: request.presence_enabled,
    };
    Channel::new(grant, &request)
}

/// The effect of a JSON payload, printed: what it carries is in there, payloads excepted.
fn effect(channel: &mut Channel, event: &str, payload: &str) -> String {
    effect_at(channel, event, payload, Instant::now())
}

fn effect_at(channel: &mut Channel, event: &str, payload: &str, now: Instant) -> String {
    let raw = RawValue::from_string(payload.to_owned()).unwrap();
    format!("{:?}", channel.receive(event, Payload::Json(&raw), now, &Limits::default()))
}

#[test]
fn broadcasts_follow_the_config() {
    let sent = r#"{"event":"e","payload":{}}"#;
    for (config, to_self, acknowledge) in [
        ("{}", false, false),
        (r#"{"broadcast":{"self":true}}"#, true, false),
        (r#"{"broadcast":{"ack":true}}"#, false, true),
    ] {
        let expected = format!(
            "Broadcast {{ message: Text(26 bytes), to_self: {to_self}, acknowledge: {acknowledge} }}"
        );
        assert_eq!(effect(&mut channel(config), "broadcast", sent), expected);
    }
}

#[test]
fn broadcasts_that_cannot_be_sent_are_answered_only_with_ack() {
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(3_000_500));
    for (payload, reply) in [
        (large.as_str(), "Reply(PayloadTooLarge)"),
        ("[]", r#"Reply(Refused("Broadcast payload must be a map"))"#),
        ("null", r#"Reply(Refused("Broadcast payload must be a map"))"#),
    ] {
        assert_eq!(effect(&mut channel(r#"{"broadcast":{"ack":true}}"#), "broadcast", payload), reply);
        assert_eq!(effect(&mut channel("{}"), "broadcast", payload), "Ignore");
    }
}

#[test]
fn unknown_events_are_ignored() {
    for event in ["strange", "", "phx_close", "Broadcast"] {
        assert_eq!(effect(&mut channel("{}"), event, "{}"), "Unknown");
    }
}

#[test]
fn presence_is_answered_as_clients_expect() {
    for (payload, expected) in [
        (r#"{"event":"track","payload":{"a":1}}"#, "Presence"),
        (r#"{"event":"TRACK"}"#, "Presence"),
        (r#"{"event":"untrack"}"#, "Reply(Ok)"),
        (r#"{"type":"presence"}"#, "Reply(Ok)"),
        (r#"[]"#, "Reply(Ok)"),
        (r#"null"#, "Reply(Ok)"),
        (r#"{"event":"other"}"#, "Reply(Error)"),
        (r#"{"event":7}"#, "Reply(Error)"),
        (r#"{"event":null}"#, "Reply(Error)"),
        (r#"{"event":"track","payload":"x"}"#, r#"Reply(Refused("Presence track payload must be a map"))"#),
        (r#"{"event":"track","payload":null}"#, r#"Reply(Refused("Presence track payload must be a map"))"#),
    ] {
        assert_eq!(effect(&mut channel("{}"), "presence", payload), expected, "{payload}");
    }
}

#[test]
fn the_same_track_twice_is_one() {
    let mut channel = channel("{}");
    let track = r#"{"event":"track","payload":{"a":1}}"#;
    assert_eq!(effect(&mut channel, "presence", track), "Presence");
    assert_eq!(effect(&mut channel, "presence", track), "Reply(Ok)");
    assert_eq!(effect(&mut channel, "presence", r#"{"event":"track","payload":{"a":2}}"#), "Presence");
    assert_eq!(effect(&mut channel, "presence", r#"{"event":"untrack"}"#), "Presence");
    assert!(channel.presence_payload().is_none());
}

#[test]
fn the_sixth_presence_message_of_a_window_closes() {
    let mut channel = channel("{}");
    let start = Instant::now();
    let untrack = r#"{"event":"untrack"}"#;
    for second in 0..5 {
        let now = start + Duration::from_secs(second);
        assert_eq!(effect_at(&mut channel, "presence", untrack, now), "Reply(Ok)");
    }
    // Without an event it does not count.
    assert_eq!(effect_at(&mut channel, "presence", "{}", start + Duration::from_secs(29)), "Reply(Ok)");
    let within = start + Duration::from_millis(29_999);
    assert_eq!(effect_at(&mut channel, "presence", untrack, within), "Close(PresenceWindow)");
    let after = start + Duration::from_secs(30);
    assert_eq!(effect_at(&mut channel, "presence", untrack, after), "Reply(Ok)");
}

#[test]
fn a_tracked_payload_over_the_limit_closes() {
    let payload = format!(r#"{{"event":"track","payload":{{"x":"{}"}}}}"#, "x".repeat(3_000_500));
    assert_eq!(effect(&mut channel("{}"), "presence", &payload), "Close(PresenceTooLarge)");
}

const BOTH: Rights = Rights { broadcast: true, presence: true };
const NONE: Rights = Rights { broadcast: false, presence: false };
const BROADCAST: &str = r#"{"event":"e","payload":{}}"#;
const TRACK: &str = r#"{"event":"track"}"#;
const UNTRACK: &str = r#"{"event":"untrack"}"#;

#[test]
fn a_private_channel_sends_once_it_is_known_to_be_allowed() {
    for (event, payload, granted, denied) in
        [("broadcast", BROADCAST, "Broadcast", "Deny"), ("presence", TRACK, "Presence", "Reply(Error)")]
    {
        for (write, expected) in [(BOTH, granted), (NONE, denied)] {
            let mut channel = private(BOTH);
            assert_eq!(effect(&mut channel, event, payload), "Hold");
            assert!(channel.awaits_write());
            channel.set_write(Some(write));
            assert!(effect(&mut channel, event, payload).starts_with(expected));
            // It is asked again once it has been forgotten.
            channel.set_write(None);
            assert_eq!(effect(&mut channel, event, payload).as_str(), "Hold");
        }
    }
}

#[test]
fn untracking_needs_no_right_but_waits_its_turn() {
    let mut channel = private(BOTH);
    assert_eq!(effect(&mut channel, "presence", UNTRACK), "Reply(Ok)");
    assert_eq!(effect(&mut channel, "presence", TRACK), "Hold");
    assert_eq!(effect(&mut channel, "presence", UNTRACK), "Hold");
    channel.set_write(Some(NONE));
    assert_eq!(effect(&mut channel, "presence", UNTRACK), "Reply(Ok)");
}

#[test]
fn what_nobody_may_send_is_not_held() {
    let mut channel = private(BOTH);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(3_000_500));
    assert_eq!(effect(&mut channel, "broadcast", &large), "Reply(PayloadTooLarge)");
    assert!(effect(&mut channel, "broadcast", "[]").starts_with("Reply(Refused"));
    assert!(!channel.awaits_write());
}

#[test]
fn presence_shows_to_a_private_channel_that_takes_part() {
    let mut late = private(BOTH);
    assert!(!late.reads().presence);
    late.set_write(Some(BOTH));
    assert_eq!(effect(&mut late, "presence", TRACK), "Presence");
    assert!(late.reads().presence);
    // Being tracked is no way around a policy.
    let mut blind = private(Rights { broadcast: true, presence: false });
    blind.set_write(Some(BOTH));
    assert_eq!(effect(&mut blind, "presence", TRACK), "Presence");
    assert!(!blind.reads().presence);
}

#[test]
fn only_a_new_token_is_checked() {
    for (payload, expected) in [
        (r#"{"access_token":"new"}"#, "Verify(Token([redacted]))"),
        (r#"{"access_token":""}"#, "Verify(Token([redacted]))"),
        (r#"{"access_token":"old"}"#, "Ignore"),
        (r#"{"access_token":"sb_publishable_x"}"#, "Ignore"),
        (r#"{"access_token":null}"#, "Ignore"),
        (r#"{"access_token":7}"#, "Ignore"),
        ("{}", "Ignore"),
        ("[]", "Ignore"),
    ] {
        assert_eq!(effect(&mut channel("{}"), "access_token", payload), expected, "{payload}");
    }
}

#[test]
fn a_leave_means_the_channel_unless_it_names_another_join() {
    let channel = channel("{}");
    assert!(channel.is_left_by(&MessageRef::from_json("\"1\"")));
    assert!(channel.is_left_by(&MessageRef::NULL));
    assert!(!channel.is_left_by(&MessageRef::from_json("\"0\"")));
}

#[test]
fn debug_shows_no_secrets() {
    let mut channel = channel("{}");
    effect(&mut channel, "presence", r#"{"event":"track","payload":{"a":"secret"}}"#);
    let text = format!("{channel:?}");
    assert!(!text.contains("old") && !text.contains("secret"), "{text}");
}
