//! Who is asking: tokens in, verified [`Claims`] out.
//!
//! In: a token as a client sent it and the time. Out: its claims, or the [`TokenError`] with the words that
//! clients of the stock server know.
//!
//! **Invariants:** the algorithm belongs to the key, never to the token; neither tokens nor secrets can be
//! printed; no clock is read here.

pub mod token;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey};

pub use token::{TOKEN_BYTES_MAX, TokenError, sign};

use crate::policy::Claims;

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

/// One key and the only algorithm it may be used with.
struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// Verifies tokens. Shared by all threads.
///
/// Today it holds one HS256 secret; a key set would add keys, each with its own algorithm, and change
/// `key` alone.
pub struct Verifier {
    secret: Key,
    cache: Cache,
}

impl Verifier {
    /// A verifier for tokens signed with `secret` by HS256.
    pub fn new(secret: &Secret) -> Self {
        token::install_provider();
        let secret = Key { algorithm: Algorithm::HS256, decoding: DecodingKey::from_secret(secret.bytes()) };
        Self { secret, cache: Cache::new() }
    }

    /// The claims of `token`, if it is genuine and valid at `now_unix`, in seconds since the epoch.
    ///
    /// A token seen before costs a look-up; its expiry is checked all the same.
    pub fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenError> {
        if let Some(claims) = self.cache.get(token) {
            token::check_expiry(&claims, now_unix)?;
            return Ok(claims);
        }
        let claims = Arc::new(self.verify_uncached(token, now_unix)?);
        self.cache.put(token, &claims);
        Ok(claims)
    }

    fn verify_uncached(&self, token: &str, now_unix: i64) -> Result<Claims, TokenError> {
        let token = token::Parsed::parse(token)?;
        let key = self.key(&token.algorithm, token.key_id.as_deref())?;
        token.check_signature(&key.decoding, key.algorithm)?;
        token.claims(now_unix)
    }

    /// The key for a token whose header names this algorithm and key id.
    fn key(&self, algorithm: &str, key_id: Option<&str>) -> Result<&Key, TokenError> {
        match algorithm {
            "HS256" => Ok(&self.secret),
            // The shared secret answers for every key id of its algorithm, so a key id that fits no key can
            // only come with another algorithm.
            _ => Err(TokenError::Signer { key_id: key_id.map(str::to_owned) }),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("algorithm", &self.secret.algorithm).finish_non_exhaustive()
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
