//! One topic's presence: who is tracked, under which key, with what.
//!
//! In: what a channel tracks now, or that it tracks nothing. Out: the diff its room is told, and the state a
//! newcomer is told, both as the JSON clients read. Written once, shown to all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::change::json;

/// The unique name of one tracked meta, by which clients add and remove it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PhxRef([u8; 16]);

impl PhxRef {
    /// Spells twelve bytes in sixteen URL-safe characters. Unique when the bytes are.
    pub fn new(bytes: [u8; 12]) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = [0; 16];
        for (three, four) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for (place, character) in four.iter_mut().enumerate() {
                *character = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            }
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for PhxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tracked payload: a JSON object without the two keys that are the server's. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Tracked(Arc<str>);

impl Tracked {
    /// Takes what a client tracks; `None` unless it is an object.
    pub fn new(payload: &RawValue) -> Option<Self> {
        let text = payload.get();
        if !text.starts_with('{') {
            return None;
        }
        // A key can hide behind an escape, so any escape of that kind counts as a suspect.
        if !text.contains("phx_ref") && !text.contains("\\u") {
            return Some(Self(text.into()));
        }
        let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
        object.remove("phx_ref");
        object.remove("phx_ref_prev");
        Some(Self(Value::Object(object).to_string().into()))
    }

    /// `{}`: what a `track` without a payload tracks.
    pub fn empty() -> Self {
        Self("{}".into())
    }

    /// Its length as JSON, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Payloads never reach a log: only the size is printed.
impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracked({} bytes)", self.0.len())
    }
}

/// Everybody tracked on one topic. `C` identifies a channel.
#[derive(Debug)]
pub struct Presence<C> {
    // Within a key, oldest first.
    keys: BTreeMap<Arc<str>, Vec<Meta<C>>>,
    // The state as JSON, while it is up to date.
    state: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Meta<C> {
    channel: C,
    phx_ref: PhxRef,
    previous: Option<PhxRef>,
    payload: Tracked,
}

impl<C> Default for Presence<C> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), state: None }
    }
}

impl<C: Copy + PartialEq> Presence<C> {
    /// Whether nobody is tracked.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Sets what `channel` tracks under `key`: `None` for nothing. Answers the `presence_diff` payload, or `None`
    /// when nothing changed. A channel keeps one key for its whole life.
    pub fn set(
        &mut self,
        key: &Arc<str>,
        channel: C,
        tracked: Option<Tracked>,
        fresh: PhxRef,
    ) -> Option<String> {
        let metas = self.keys.get(key).map(Vec::as_slice).unwrap_or_default();
        let place = metas.iter().position(|meta| meta.channel == channel);
        let old = place.map(|place| metas[place].clone());
        if old.as_ref().map(|meta| &meta.payload) == tracked.as_ref() {
            return None;
        }
        let new = tracked.map(|payload| Meta {
            channel,
            phx_ref: fresh,
            previous: old.as_ref().map(|meta| meta.phx_ref),
            payload,
        });
        let diff = diff(key, new.as_ref(), old.as_ref());
        let metas = self.keys.entry(Arc::clone(key)).or_default();
        if let Some(place) = place {
            metas.remove(place);
        }
        metas.extend(new);
        if metas.is_empty() {
            self.keys.remove(key);
        }
        self.state = None;
        Some(diff)
    }

    /// The `presence_state` payload.
    pub fn state(&mut self) -> Arc<str> {
        let keys = &self.keys;
        let state = self.state.get_or_insert_with(|| {
            let mut text = String::from("{");
            for (index, (key, metas)) in keys.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_key(&mut text, key, metas);
            }
            text.push('}');
            text.into()
        });
        Arc::clone(state)
    }
}

fn diff<C>(key: &str, joined: Option<&Meta<C>>, left: Option<&Meta<C>>) -> String {
    let mut text = String::from("{\"joins\":{");
    if let Some(meta) = joined {
        write_key(&mut text, key, std::slice::from_ref(meta));
    }
    text.push_str("},\"leaves\":{");
    if let Some(meta) = left {
        write_key(&mut text, key, std::slice::from_ref(meta));
    }
    text.push_str("}}");
    text
}

fn write_key<C>(text: &mut String, key: &str, metas: &[Meta<C>]) {
    json::write_string(key, text);
    text.push_str(":{\"metas\":[");
    for (index, meta) in metas.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str("{\"phx_ref\":\"");
        text.push_str(meta.phx_ref.as_str());
        if let Some(previous) = &meta.previous {
            text.push_str("\",\"phx_ref_prev\":\"");
            text.push_str(previous.as_str());
        }
        text.push('"');
        // The payload is an object: its own members follow, if it has any.
        let members = meta.payload.0.get(1..).unwrap_or("}");
        if !members.trim_start().starts_with('}') {
            text.push(',');
        }
        text.push_str(members);
    }
    text.push_str("]}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tracked(text: &str) -> Option<Tracked> {
        Tracked::new(&RawValue::from_string(text.to_owned()).unwrap())
    }

    fn phx_ref(number: u8) -> PhxRef {
        PhxRef::new([number; 12])
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn refs_are_sixteen_safe_characters() {
        assert_eq!(PhxRef::new([0; 12]).as_str(), "AAAAAAAAAAAAAAAA");
        assert_eq!(PhxRef::new([255; 12]).as_str(), "________________");
        assert_eq!(PhxRef::new(*b"rowcast-0001").as_str(), "cm93Y2FzdC0wMDAx");
    }

    #[test]
    fn track_update_and_untrack_make_the_diffs_of_clients() {
        let mut presence = Presence::default();
        let key: Arc<str> = "ann".into();
        let joined = presence.set(&key, 1, tracked(r#"{"mood":"ok"}"#), phx_ref(1)).unwrap();
        let first = json!({"phx_ref": "AQEBAQEBAQEBAQEB", "mood": "ok"});
        assert_eq!(value(&joined), json!({"joins": {"ann": {"metas": [first]}}, "leaves": {}}));

        let updated = presence.set(&key, 1, tracked(r#"{ }"#), phx_ref(2)).unwrap();
        let second = json!({"phx_ref": "AgICAgICAgICAgIC", "phx_ref_prev": "AQEBAQEBAQEBAQEB"});
        assert_eq!(
            value(&updated),
            json!({"joins": {"ann": {"metas": [second]}}, "leaves": {"ann": {"metas": [first]}}})
        );
        assert_eq!(value(&presence.state()), json!({"ann": {"metas": [second]}}));

        let left = presence.set(&key, 1, None, phx_ref(3)).unwrap();
        assert_eq!(value(&left), json!({"joins": {}, "leaves": {"ann": {"metas": [second]}}}));
        assert!(presence.is_empty());
        assert_eq!(&*presence.state(), "{}");
    }

    #[test]
    fn nothing_new_makes_no_diff() {
        let mut presence = Presence::default();
        let key: Arc<str> = "ann".into();
        assert_eq!(presence.set(&key, 1, None, phx_ref(1)), None);
        assert!(presence.set(&key, 1, tracked("{}"), phx_ref(2)).is_some());
        assert_eq!(presence.set(&key, 1, tracked("{}"), phx_ref(3)), None);
    }

    #[test]
    fn channels_with_one_key_have_a_meta_each() {
        let mut presence = Presence::default();
        let key: Arc<str> = "a\"b".into();
        presence.set(&key, 1, tracked(r#"{"n":1}"#), phx_ref(1));
        presence.set(&key, 2, tracked(r#"{"n":2}"#), phx_ref(2));
        let metas = &value(&presence.state())["a\"b"]["metas"];
        assert_eq!(metas.as_array().map(Vec::len), Some(2));
        presence.set(&key, 1, None, phx_ref(3));
        assert_eq!(value(&presence.state())["a\"b"]["metas"][0]["n"], json!(2));
    }

    #[test]
    fn a_client_cannot_forge_a_ref() {
        let mut presence = Presence::default();
        let key: Arc<str> = "k".into();
        let forged = tracked(r#"{"\u0070hx_ref":"x","phx_ref_prev":"y","n":1}"#);
        let diff = presence.set(&key, 1, forged, phx_ref(1)).unwrap();
        assert_eq!(value(&diff)["joins"]["k"]["metas"][0], json!({"phx_ref": "AQEBAQEBAQEBAQEB", "n": 1}));
        assert_eq!(diff.matches("phx_ref").count(), 1);
    }

    #[test]
    fn only_objects_are_tracked() {
        for text in ["[]", "\"x\"", "1", "null", "true"] {
            assert!(tracked(text).is_none(), "{text}");
        }
    }
}
