//! Who is asking: tokens in, verified [`Claims`] out.
//!
//! In: a token as a client sent it and the time. Out: its claims, or the [`TokenError`] with the words that
//! clients of the stock server know.
//!
//! **Invariants:** the algorithm belongs to the key, never to the token; neither tokens nor secrets can be
//! printed; no clock is read here.

mod admin;
mod key;
pub mod token;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

pub use admin::AdminVerifier;
pub use token::{Rules, TOKEN_BYTES_MAX, TokenError, sign};

use crate::policy::Claims;
use key::{Algorithm, Key, KeyType};

/// How many verified tokens are remembered. Two that fall into one place replace each other.
const CACHE_SLOTS: usize = 2048;
/// Longer tokens are verified each time, which bounds the cache to 8 MiB of tokens.
const CACHED_TOKEN_BYTES_MAX: usize = 4096;

/// A shared secret. It is never empty and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// An empty secret would let anybody sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token secret is empty")]
pub struct EmptySecret;

impl Secret {
    /// Takes the secret's bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, EmptySecret> {
        let bytes = bytes.into();
        if bytes.is_empty() { Err(EmptySecret) } else { Ok(Self(bytes.into_boxed_slice())) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What clients' tokens are verified by.
#[derive(Debug, Default)]
pub struct Config {
    /// Shared secrets; a token signed with any of them is genuine.
    pub secrets: Vec<Secret>,
    /// What else tokens have to fulfil.
    pub rules: Rules,
}

/// Verifies tokens. Shared by all threads.
pub struct Verifier {
    secrets: Vec<Key>,
    rules: Rules,
    cache: Cache,
}

impl Verifier {
    /// A verifier for tokens of these keys.
    pub fn new(config: Config) -> Self {
        let Config { secrets, rules } = config;
        Self { secrets: secrets.iter().map(Key::symmetric).collect(), rules, cache: Cache::new() }
    }

    /// The claims of `token`, if it is genuine and valid at `now_unix`, in seconds since the epoch.
    ///
    /// A token seen before costs a look-up; its expiry is checked all the same.
    pub fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenError> {
        if let Some(claims) = self.cache.get(token) {
            self.rules.check_expiry(claims.expires_at, now_unix)?;
            return Ok(claims);
        }
        let claims = Arc::new(self.verify_uncached(token, now_unix)?);
        self.cache.put(token, &claims);
        Ok(claims)
    }

    fn verify_uncached(&self, token: &str, now_unix: i64) -> Result<Claims, TokenError> {
        let token = token::Parsed::parse(token)?;
        let algorithm = Algorithm::named(&token.algorithm)
            .filter(|algorithm| algorithm.key_type() == KeyType::Symmetric)
            .ok_or_else(|| TokenError::Signer { key_id: token.key_id.clone() })?;
        token.check_signature(&self.secrets, algorithm)?;
        token.claims(&self.rules, now_unix)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// Verified tokens. A place holds the last token whose hash led there, so it needs no order and no upkeep.
struct Cache {
    hasher: RandomState,
    slots: Box<[Mutex<Option<Cached>>]>,
}

struct Cached {
    token: Box<str>,
    claims: Arc<Claims>,
}

impl Cache {
    fn new() -> Self {
        Self { hasher: RandomState::new(), slots: (0..CACHE_SLOTS).map(|_| Mutex::new(None)).collect() }
    }

    fn slot(&self, token: &str) -> Option<&Mutex<Option<Cached>>> {
        if token.len() > CACHED_TOKEN_BYTES_MAX {
            return None;
        }
        let slots = u64::try_from(self.slots.len()).ok()?;
        let index = self.hasher.hash_one(token) % slots;
        self.slots.get(usize::try_from(index).ok()?)
    }

    /// The claims of exactly this token: the hash only finds the place.
    fn get(&self, token: &str) -> Option<Arc<Claims>> {
        let cached = self.slot(token)?.lock().unwrap_or_else(PoisonError::into_inner);
        cached.as_ref().filter(|cached| *cached.token == *token).map(|cached| Arc::clone(&cached.claims))
    }

    fn put(&self, token: &str, claims: &Arc<Claims>) {
        if let Some(slot) = self.slot(token) {
            let cached = Cached { token: token.into(), claims: Arc::clone(claims) };
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(cached);
        }
    }
}

#[cfg(test)]
mod tests;
