//! A join's payload, read with the leniency clients rely on.
//!
//! In: the payload of `phx_join`. Out: a [`JoinRequest`] in which everything ill-typed has become its default,
//! or the few refusals that are left.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::push::{Payload, Refusal, Token};
use super::topic::Topic;
use crate::subscription::Binding;

/// Ids lie in `1..ID_LIMIT`, which every client's integers can hold.
const ID_LIMIT: u32 = 1 << 27;

/// Bounds on a join's payload.
#[derive(Clone, Debug)]
pub struct JoinLimits {
    /// The longest payload, in bytes.
    pub payload_bytes_max: usize,
    /// How many `postgres_changes` bindings a channel may have.
    pub bindings_max: usize,
    /// The longest presence key, in bytes.
    pub presence_key_bytes_max: usize,
}

impl Default for JoinLimits {
    fn default() -> Self {
        Self { payload_bytes_max: 1_000_000, bindings_max: 256, presence_key_bytes_max: 1_024 }
    }
}

/// Times that can be shown as a date, in milliseconds since the epoch: the years 1 to 9999.
const TIMES_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// The most that can be replayed, and what a client gets that does not say.
const REPLAY_MAX: u8 = 25;

/// Which stored broadcasts a client wants to see at its join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Not older than this, in milliseconds since the epoch.
    pub since_unix_ms: i64,
    /// At most this many, from 1 to 25.
    pub limit: u8,
}

/// What a client asks for when it joins.
#[derive(Debug, Default, PartialEq)]
pub struct JoinRequest {
    /// Whether the payload had no `config`: the table is in the topic, and changes have the old shape.
    pub legacy: bool,
    /// Whether the channel is private.
    pub private: bool,
    /// Whether the client gets its own broadcasts.
    pub broadcast_self: bool,
    /// Whether its broadcasts are answered.
    pub broadcast_ack: bool,
    /// What it wants to have replayed.
    pub replay: Option<ReplayRequest>,
    /// Whether it wants to be told when the stream of broadcasts from the database is live.
    pub replication_ready: bool,
    /// Whether it asked for presence.
    pub presence_enabled: bool,
    /// Its presence key; `None` asks for a generated one.
    pub presence_key: Option<String>,
    /// Its `postgres_changes`, each as sent, with the id it is given, in order.
    pub bindings: Vec<(u32, Map<String, Value>)>,
    /// The token it brings; `None` means the one its socket opened with.
    pub token: Option<Token>,
}

impl JoinRequest {
    /// Reads a payload.
    pub fn parse(topic: &Topic, payload: Payload<'_>, limits: &JoinLimits) -> Result<Self, Refusal> {
        let Payload::Json(payload) = payload else {
            return Err(Refusal::Malformed("the join payload is not JSON"));
        };
        if payload.get().len() > limits.payload_bytes_max {
            return Err(Refusal::Malformed("the join payload is too large"));
        }
        let payload: Map<String, Value> = serde_json::from_str(payload.get()).unwrap_or_default();
        let mut request = Self { token: chosen_token(&payload), ..Self::default() };
        match payload.get("config") {
            None => {
                request.legacy = true;
                request.bindings = with_ids(vec![Binding::legacy(topic.sub())]);
            }
            Some(Value::Null) => {}
            Some(Value::Object(config)) => request.configure(config, limits)?,
            Some(_) => return Err(Refusal::Malformed("config is not a map")),
        }
        Ok(request)
    }

    fn configure(&mut self, config: &Map<String, Value>, limits: &JoinLimits) -> Result<(), Refusal> {
        self.private = flexible_boolean(config.get("private"));
        let broadcast = config.get("broadcast").unwrap_or(&Value::Null);
        self.broadcast_self = flexible_boolean(broadcast.get("self"));
        self.broadcast_ack = flexible_boolean(broadcast.get("ack"));
        self.replication_ready =
            !matches!(broadcast.get("replication_ready"), None | Some(Value::Null | Value::Bool(false)));
        self.replay = match broadcast.get("replay") {
            Some(_) if !self.private => return Err(Refusal::ReplayNotAllowed),
            Some(Value::Object(replay)) => Some(ReplayRequest::parse(replay).ok_or(Refusal::ReplayInvalid)?),
            _ => None,
        };
        let presence = config.get("presence").unwrap_or(&Value::Null);
        self.presence_enabled = match (presence, presence.get("enabled")) {
            // Clients older than the switch send a key alone, and show no presence until they get its state.
            (Value::Object(_), None) => true,
            (_, enabled) => flexible_boolean(enabled),
        };
        self.presence_key = presence.get("key").and_then(presence_key);
        if self.presence_key.as_ref().is_some_and(|key| key.len() > limits.presence_key_bytes_max) {
            return Err(Refusal::Malformed("the presence key is too long"));
        }
        if let Some(Value::Array(elements)) = config.get("postgres_changes") {
            let mut bindings = Vec::new();
            for element in elements {
                match element {
                    Value::Null => {}
                    Value::Object(_) if bindings.len() == limits.bindings_max => {
                        return Err(Refusal::Malformed("too many postgres_changes bindings"));
                    }
                    Value::Object(binding) => bindings.push(binding.clone()),
                    _ => return Err(Refusal::Malformed("a postgres_changes binding is not a map")),
                }
            }
            self.bindings = with_ids(bindings);
        }
        Ok(())
    }

    /// The bindings as the reply shows them: each with its `id` among its own keys.
    pub fn bindings_with_ids(&self) -> Vec<Map<String, Value>> {
        let with_id = |(id, binding): &(u32, Map<String, Value>)| {
            let mut binding = binding.clone();
            binding.insert("id".to_owned(), Value::from(*id));
            binding
        };
        self.bindings.iter().map(with_id).collect()
    }
}

impl ReplayRequest {
    fn parse(replay: &Map<String, Value>) -> Option<Self> {
        let since_unix_ms = replay.get("since")?.as_i64().filter(|since| TIMES_MS.contains(since))?;
        let limit = match replay.get("limit") {
            None | Some(Value::Null | Value::Bool(false)) => REPLAY_MAX,
            Some(limit) if limit.is_u64() => {
                u8::try_from(limit.as_u64()?).unwrap_or(REPLAY_MAX).clamp(1, REPLAY_MAX)
            }
            // A negative one.
            Some(limit) => limit.as_i64().map(|_| 1)?,
        };
        Some(Self { since_unix_ms, limit })
    }
}

/// `None` for opaque API keys too: they stand for the token the socket opened with.
fn chosen_token(payload: &Map<String, Value>) -> Option<Token> {
    let string = |name| payload.get(name).and_then(Value::as_str);
    let token = string("user_token").or_else(|| string("access_token"))?;
    (!super::is_opaque_key(token)).then(|| Token(token.to_owned()))
}

/// `true`, or a string that says so in any case.
fn flexible_boolean(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn presence_key(value: &Value) -> Option<String> {
    match value {
        Value::String(key) if !key.is_empty() => Some(key.clone()),
        Value::Number(key) => Some(key.to_string()),
        Value::Bool(key) => Some(key.to_string()),
        _ => None,
    }
}

/// Gives each binding its id: a hash of its contents, so that equal bindings have equal ids on every socket.
/// Different bindings of one channel whose hashes meet are told apart by counting on.
fn with_ids(bindings: Vec<Map<String, Value>>) -> Vec<(u32, Map<String, Value>)> {
    let mut taken: HashMap<u32, String> = HashMap::with_capacity(bindings.len());
    let mut with_ids = Vec::with_capacity(bindings.len());
    for binding in bindings {
        // Keys are sorted in a `Map`, so the order they were sent in does not matter.
        let text = Value::Object(binding.clone()).to_string();
        let mut id = content_id(text.as_bytes());
        while taken.get(&id).is_some_and(|holder| *holder != text) {
            id = id % (ID_LIMIT - 1) + 1;
        }
        taken.insert(id, text);
        with_ids.push((id, binding));
    }
    with_ids
}

/// FNV-1a, folded into `1..ID_LIMIT`. Must never change between versions of one cluster: ids are shared.
fn content_id(bytes: &[u8]) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let folded = (hash ^ (hash >> 32)) % u64::from(ID_LIMIT - 1);
    u32::try_from(folded).expect("less than ID_LIMIT") + 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    fn parse(payload: &str) -> Result<JoinRequest, Refusal> {
        parse_on("realtime:room", payload)
    }

    fn parse_on(topic: &str, payload: &str) -> Result<JoinRequest, Refusal> {
        let raw = RawValue::from_string(payload.to_owned()).unwrap();
        JoinRequest::parse(&Topic::parse(topic, 255).unwrap(), Payload::Json(&raw), &JoinLimits::default())
    }

    #[test]
    fn a_full_config_is_read() {
        let request = parse(
            r#"{"config":{"private":true,"broadcast":{"ack":true,"self":true},
                "presence":{"enabled":true,"key":"ann"},"postgres_changes":[{"event":"*"}]},
                "access_token":"t"}"#,
        )
        .unwrap();
        assert!(request.private && request.broadcast_ack && request.broadcast_self && !request.legacy);
        assert!(request.presence_enabled);
        assert_eq!(request.presence_key.as_deref(), Some("ann"));
        assert_eq!(request.token, Some(Token("t".to_owned())));
        assert_eq!(request.bindings.len(), 1);
    }

    #[test]
    fn ill_typed_values_become_defaults() {
        for payload in [
            r#"{"config":{}}"#,
            r#"{"config":null}"#,
            r#"{"config":{"private":null,"broadcast":"x","presence":[1],"postgres_changes":{}}}"#,
            r#"{"config":{"private":1,"broadcast":{"self":"yes","ack":[]},"presence":{"enabled":{},"key":{}}}}"#,
            r#"{"config":{"postgres_changes":[null,null],"presence":{"key":"","enabled":0},"unknown":{"a":1}}}"#,
            r#"{"config":{},"access_token":7,"user_token":null}"#,
        ] {
            assert_eq!(parse(payload), Ok(JoinRequest::default()), "{payload}");
        }
    }

    #[test]
    fn booleans_may_be_strings() {
        for (text, expected) in
            [("\"true\"", true), ("\"TRUE\"", true), ("\"false\"", false), ("\"1\"", false)]
        {
            let request = parse(&format!(r#"{{"config":{{"private":{text}}}}}"#)).unwrap();
            assert_eq!(request.private, expected, "{text}");
        }
    }

    #[test]
    fn a_client_that_does_not_know_the_switch_gets_presence() {
        for (presence, expected) in [
            (r#"{"key":""}"#, true),
            (r#"{"key":"","enabled":false}"#, false),
            (r#"{"key":"","enabled":"True"}"#, true),
            ("null", false),
            ("[]", false),
        ] {
            let request = parse(&format!(r#"{{"config":{{"presence":{presence}}}}}"#)).unwrap();
            assert_eq!(request.presence_enabled, expected, "{presence}");
        }
        assert!(!parse(r#"{"config":{}}"#).unwrap().presence_enabled);
    }

    #[test]
    fn scalar_presence_keys_become_text() {
        for (key, expected) in
            [("7", Some("7")), ("1.5", Some("1.5")), ("true", Some("true")), ("null", None)]
        {
            let request = parse(&format!(r#"{{"config":{{"presence":{{"key":{key}}}}}}}"#)).unwrap();
            assert_eq!(request.presence_key.as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn replay_is_for_private_channels_and_exact() {
        let replay = |private: bool, replay: &str| {
            parse(&format!(r#"{{"config":{{"private":{private},"broadcast":{{"replay":{replay}}}}}}}"#))
                .map(|request| request.replay.map(|replay| (replay.since_unix_ms, replay.limit)))
        };
        for (text, expected) in [
            (r#"{"since":1763407103911,"limit":10}"#, Ok(Some((1_763_407_103_911, 10)))),
            (r#"{"since":0}"#, Ok(Some((0, 25)))),
            (r#"{"since":-1,"limit":null}"#, Ok(Some((-1, 25)))),
            (r#"{"since":0,"limit":0}"#, Ok(Some((0, 1)))),
            (r#"{"since":0,"limit":-9}"#, Ok(Some((0, 1)))),
            (r#"{"since":0,"limit":26}"#, Ok(Some((0, 25)))),
            (r#"{"since":0,"limit":999999999999}"#, Ok(Some((0, 25)))),
            (r#"{"limit":10}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":"0"}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":1.5}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":null}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":0,"limit":"1"}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":0,"limit":1.5}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":0,"limit":true}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":253402300800000}"#, Err(Refusal::ReplayInvalid)),
            (r#"{"since":99999999999999999999}"#, Err(Refusal::ReplayInvalid)),
            ("null", Ok(None)),
            ("[]", Ok(None)),
        ] {
            assert_eq!(replay(true, text), expected, "{text}");
            assert_eq!(replay(false, text), Err(Refusal::ReplayNotAllowed), "{text}");
        }
        assert_eq!(parse(r#"{"config":{"broadcast":{}}}"#).unwrap().replay, None);
    }

    #[test]
    fn anything_but_null_and_false_asks_for_word_of_replication() {
        for (value, expected) in [
            ("true", true),
            ("\"false\"", true),
            ("0", true),
            ("{}", true),
            ("false", false),
            ("null", false),
        ] {
            let config = format!(r#"{{"config":{{"broadcast":{{"replication_ready":{value}}}}}}}"#);
            assert_eq!(parse(&config).unwrap().replication_ready, expected, "{value}");
        }
        assert!(!parse(r#"{"config":{"broadcast":[]}}"#).unwrap().replication_ready);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let long_key = format!(r#"{{"config":{{"presence":{{"key":"{}"}}}}}}"#, "k".repeat(1_025));
        let many = format!(r#"{{"config":{{"postgres_changes":[{}{{}}]}}}}"#, "{},".repeat(256));
        let large = format!(r#"{{"config":{{}},"x":"{}"}}"#, "x".repeat(1_000_000));
        for payload in [
            r#"{"config":"x"}"#,
            r#"{"config":[]}"#,
            r#"{"config":1}"#,
            r#"{"config":{"postgres_changes":["x"]}}"#,
            &long_key,
            &many,
            &large,
        ] {
            assert!(matches!(parse(payload), Err(Refusal::Malformed(_))), "{:.60}", payload);
        }
    }

    #[test]
    fn the_token_is_chosen_as_clients_expect() {
        for (payload, expected) in [
            (r#"{"access_token":"a"}"#, Some("a")),
            (r#"{"access_token":"a","user_token":"u"}"#, Some("u")),
            (r#"{"access_token":"a","user_token":1}"#, Some("a")),
            (r#"{"access_token":"sb_publishable_x"}"#, None),
            (r#"{"access_token":"a","user_token":"sb_secret_x"}"#, None),
            (r#"{"access_token":""}"#, Some("")),
            ("{}", None),
            ("null", None),
        ] {
            assert_eq!(parse(payload).unwrap().token.map(|token| token.0).as_deref(), expected, "{payload}");
        }
    }

    #[test]
    fn a_join_without_config_takes_its_table_from_the_topic() {
        for (topic, binding) in [
            ("realtime:*", json!({"schema": "*"})),
            ("realtime:public", json!({"schema": "public"})),
            ("realtime:public:todos", json!({"schema": "public", "table": "todos"})),
            (
                "realtime:public:todos:at=eq.12:30",
                json!({"schema": "public", "table": "todos", "filter": "at=eq.12:30"}),
            ),
        ] {
            let request = parse_on(topic, "{}").unwrap();
            assert!(request.legacy);
            assert_eq!(Value::Object(request.bindings[0].1.clone()), binding);
        }
    }

    #[test]
    fn equal_bindings_share_ids_and_different_ones_do_not() {
        let ids = |changes: &str| -> Vec<u32> {
            let request = parse(&format!(r#"{{"config":{{"postgres_changes":{changes}}}}}"#)).unwrap();
            request.bindings.iter().map(|(id, _)| *id).collect()
        };
        let both = ids(r#"[{"event":"*","table":"a"},{"event":"*","table":"b"},{"table":"a","event":"*"}]"#);
        assert_eq!(both[0], both[2]);
        assert_ne!(both[0], both[1]);
        assert_eq!(ids(r#"[{"event":"*","table":"b"}]"#), [both[1]]);
        assert!(both.iter().all(|id| (1..ID_LIMIT).contains(id)));
    }

    #[test]
    fn bindings_are_echoed_with_their_id_and_nothing_more() {
        let request = parse(
            r#"{"config":{"postgres_changes":[{"event":"INSERT","filter":null,"id":"x","more":[1]}]}}"#,
        )
        .unwrap();
        let id = request.bindings[0].0;
        assert_eq!(
            Value::Object(request.bindings_with_ids()[0].clone()),
            json!({"event": "INSERT", "filter": null, "id": id, "more": [1]})
        );
    }
}
