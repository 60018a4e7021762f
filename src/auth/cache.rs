//! Tokens that have been verified already.
//!
//! A place holds the last token whose hash led there, so the cache needs no order and no upkeep. What it knows is
//! true for one generation of the keys; nothing of an older one is found any more.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::Claims;

/// How many verified tokens are remembered. Two that fall into one place replace each other.
const SLOTS: usize = 2048;
/// Longer tokens are verified each time, which bounds the cache to 8 MiB of tokens.
pub(super) const CACHED_TOKEN_BYTES_MAX: usize = 4096;

pub(super) struct Cache {
    hasher: RandomState,
    slots: Box<[Mutex<Option<Cached>>]>,
}

struct Cached {
    token: Box<str>,
    claims: Arc<Claims>,
    generation: u64,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }

    fn slot(&self, token: &str) -> Option<&Mutex<Option<Cached>>> {
        if token.len() > CACHED_TOKEN_BYTES_MAX {
            return None;
        }
        let slots = u64::try_from(self.slots.len()).ok()?;
        let index = self.hasher.hash_one(token) % slots;
        self.slots.get(usize::try_from(index).ok()?)
    }

    /// The claims of exactly this token, if keys of this generation have verified it. The hash only finds the
    /// place.
    pub(super) fn get(&self, token: &str, generation: u64) -> Option<Arc<Claims>> {
        let cached = self.slot(token)?.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached.as_ref()?;
        (cached.generation == generation && *cached.token == *token).then(|| Arc::clone(&cached.claims))
    }

    /// Remembers what keys of this generation have verified. A slow thread cannot hide the knowledge of a newer
    /// generation for longer than until it is asked for again.
    pub(super) fn put(&self, token: &str, claims: &Arc<Claims>, generation: u64) {
        if let Some(slot) = self.slot(token) {
            let cached = Cached { token: token.into(), claims: Arc::clone(claims), generation };
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(cached);
        }
    }
}
