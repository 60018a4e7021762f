//! Answers that are good for longer than a moment: those of policies that read nothing but who asks for what.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::expression::Needs;
use super::{Asked, Question, Rights, Subject};

/// How many answers are kept of each of two generations.
const ENTRIES_MAX: usize = 32_768;

/// Longer topics and headers are asked about each time: whoever makes them up cannot fill the memory with them.
const TOPIC_BYTES_MAX: usize = 512;
const HEADERS_BYTES_MAX: usize = 8_192;

/// Answers, and what they are good for.
pub(super) struct Cache {
    /// Of the policies and rights that the answers were made of, with when it was first seen.
    fingerprint: Option<(String, Instant)>,
    compared_at: Option<Instant>,
    /// For how long answers are given after the last comparison.
    good_for: Duration,
    /// What the answers of a role are made of, for reading and writing.
    needs: HashMap<(Arc<str>, bool), Needs>,
    young: HashMap<Key, Rights>,
    old: HashMap<Key, Rights>,
}

/// What an answer depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    role: Arc<str>,
    topic: Arc<str>,
    is_write: bool,
    sub: Option<Option<String>>,
    claims: Option<Arc<str>>,
    headers: Option<Arc<str>>,
}

/// How a fingerprint compares with the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing has changed.
    Current,
    /// Something has changed; answers from before are gone.
    Changed,
    /// It may be one of before the last change.
    Outdated,
}

impl Cache {
    /// An empty one for a catalog that is compared that often.
    pub(super) fn new(catalog_poll: Duration) -> Self {
        Self {
            fingerprint: None,
            compared_at: None,
            // Two comparisons may fail, or be slow.
            good_for: catalog_poll.saturating_mul(3).saturating_add(Duration::from_secs(1)),
            needs: HashMap::new(),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// Takes note of a fingerprint that was read after `compared_at`.
    pub(super) fn see(&mut self, fingerprint: &str, compared_at: Instant) -> Seen {
        match &self.fingerprint {
            Some((known, _)) if known == fingerprint => {
                self.compared_at = self.compared_at.max(Some(compared_at));
                return Seen::Current;
            }
            Some((_, since)) if compared_at <= *since => return Seen::Outdated,
            _ => {}
        }
        let is_first = self.fingerprint.is_none();
        self.fingerprint = Some((fingerprint.to_owned(), Instant::now()));
        self.compared_at = Some(compared_at);
        self.needs.clear();
        self.young.clear();
        self.old.clear();
        if is_first { Seen::Current } else { Seen::Changed }
    }

    /// The answer to a question, if it is known and has been compared lately.
    pub(super) fn get(&mut self, asked: &Asked) -> Option<Rights> {
        if self.compared_at?.elapsed() > self.good_for {
            return None;
        }
        let is_write = is_write(asked.question)?;
        let needs = *self.needs.get(&(Arc::clone(&asked.subject.claims.role), is_write))?;
        let key = Key::new(&asked.subject, is_write, needs);
        if let Some(rights) = self.young.get(&key) {
            return Some(*rights);
        }
        let (key, rights) = self.old.remove_entry(&key)?;
        self.insert(key, rights);
        Some(rights)
    }

    /// Keeps an answer that was made of `needs` under the fingerprint that was seen last.
    pub(super) fn put(&mut self, asked: &Asked, needs: Needs, rights: Rights) {
        let Some(is_write) = is_write(asked.question) else { return };
        if asked.subject.topic.len() > TOPIC_BYTES_MAX || asked.subject.headers.len() > HEADERS_BYTES_MAX {
            return;
        }
        self.needs.insert((Arc::clone(&asked.subject.claims.role), is_write), needs);
        self.insert(Key::new(&asked.subject, is_write, needs), rights);
    }

    fn insert(&mut self, key: Key, rights: Rights) {
        if self.young.len() >= ENTRIES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, rights);
    }
}

impl Key {
    fn new(subject: &Subject, is_write: bool, needs: Needs) -> Self {
        Self {
            role: Arc::clone(&subject.claims.role),
            topic: Arc::clone(&subject.topic),
            is_write,
            sub: needs.sub.then(|| subject.sub()),
            claims: needs.claims.then(|| Arc::clone(&subject.claims.json)),
            headers: needs.headers.then(|| Arc::clone(&subject.headers)),
        }
    }
}

fn is_write(question: Question) -> Option<bool> {
    match question {
        Question::Read => Some(false),
        Question::Write => Some(true),
        Question::Replay { .. } => None,
    }
}
