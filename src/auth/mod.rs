//! Who is asking: tokens in, verified [`Claims`] out.
//!
//! In: a token as a client sent it and the time. Out: its claims, or the [`TokenError`] with the words that
//! clients of the stock server know.
//!
//! A token's key is found by what its header names: the algorithm says which kind of key, `kid` which one. Tokens
//! of shared secrets need no `kid`, all others do. The keys come from the settings, and from a file and a URL that
//! are watched (`jwks/`), so that they can be changed while the server runs.
//!
//! **Invariants:** the algorithm belongs to the key, never to the token; neither tokens nor keys can be
//! printed; verifying reads no clock and does no I/O.

mod admin;
mod api_key;
mod cache;
pub mod jwks;
mod key;
mod key_set;
mod signing_key;
pub mod token;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

pub use admin::AdminVerifier;
pub use api_key::{ApiKeys, PUBLISHABLE_PREFIX, SECRET_PREFIX};
pub use key_set::{Audience, InvalidKeySet, KEY_SET_BYTES_MAX, KEYS_MAX, KeySet, Skipped, Unusable};
pub use signing_key::{InvalidSigningKey, SigningKey};
pub use token::{Roles, Rules, TOKEN_BYTES_MAX, TokenError, sign};

use crate::policy::Claims;
use cache::Cache;
use key::{Algorithm, Key, KeyType};

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
    /// Keys that do not change.
    pub keys: KeySet,
    /// Words that stand for a role.
    pub api_keys: ApiKeys,
    /// What else tokens have to fulfil.
    pub rules: Rules,
}

/// Where a key set comes from. Of keys that answer to one name, the one from the source listed first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The settings.
    Settings,
    /// A file.
    File,
    /// A URL.
    Url,
}

/// Verifies tokens. Shared by all threads.
pub struct Verifier {
    secrets: Vec<Key>,
    api_keys: ApiKeys,
    rules: Rules,
    keys: RwLock<Arc<Keys>>,
    cache: Cache,
    key_missing: Notify,
}

/// The keys of all sources at one time.
#[derive(Clone)]
struct Keys {
    /// Grows with every change, so that what older keys have verified is not believed any more.
    generation: u64,
    /// One for each [`KeySource`], in that order.
    sets: [KeySet; 3],
}

impl Keys {
    /// The first key of that name and of the kind that the algorithm takes, if it may be used with it.
    fn find(&self, key_id: &str, algorithm: Algorithm) -> Option<&Key> {
        let named = self.sets.iter().find_map(|set| set.find(key_id, algorithm.key_type()))?;
        Some(named).filter(|key| key.takes(algorithm))
    }
}

impl Verifier {
    /// A verifier for tokens of these keys.
    pub fn new(config: Config) -> Self {
        let Config { secrets, keys, api_keys, rules } = config;
        let keys = Keys { generation: 0, sets: [keys, KeySet::default(), KeySet::default()] };
        Self {
            secrets: secrets.iter().map(Key::symmetric).collect(),
            api_keys,
            rules,
            keys: RwLock::new(Arc::new(keys)),
            cache: Cache::new(),
            key_missing: Notify::new(),
        }
    }

    /// The claims of `token`, if it is genuine and valid at `now_unix`, in seconds since the epoch. A configured
    /// API key is as good as a token.
    ///
    /// A token seen before costs a look-up; its expiry is checked all the same.
    pub fn verify(&self, token: &str, now_unix: i64) -> Result<Arc<Claims>, TokenError> {
        if token.trim_start().starts_with(api_key::PREFIX) {
            let claims = self.api_keys.claims(token).ok_or(TokenError::UnknownApiKey)?;
            self.rules.check_role(&claims.role)?;
            return Ok(claims);
        }
        let keys = self.keys();
        if let Some(claims) = self.cache.get(token, keys.generation) {
            self.rules.check_expiry(claims.expires_at, now_unix)?;
            return Ok(claims);
        }
        let claims = Arc::new(self.verify_uncached(&keys, token, now_unix)?);
        self.cache.put(token, &claims, keys.generation);
        Ok(claims)
    }

    /// Whether somebody without a token may have this role.
    pub fn check_role(&self, role: &str) -> Result<(), TokenError> {
        self.rules.check_role(role)
    }

    /// Puts a set in place of the last one from that source. What was verified by the old keys has to be verified
    /// again.
    pub fn replace_keys(&self, source: KeySource, set: KeySet) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Keys::clone(&keys);
        next.generation += 1;
        next.sets[source as usize] = set;
        *keys = Arc::new(next);
    }

    /// Grows whenever keys are replaced: what was verified before may be so no longer.
    pub fn generation(&self) -> u64 {
        self.keys().generation
    }

    /// Waits until a token has named a key that is in no set. One such token is remembered if nobody waits.
    pub async fn key_missing(&self) {
        self.key_missing.notified().await;
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn verify_uncached(&self, keys: &Keys, token: &str, now_unix: i64) -> Result<Claims, TokenError> {
        let token = token::Parsed::parse(token)?;
        let algorithm = Algorithm::named(&token.algorithm);
        let candidates = algorithm.and_then(|algorithm| {
            let key_id = token.key_id.as_deref();
            Some((algorithm, self.candidates(keys, algorithm, key_id)?))
        });
        let Some((algorithm, candidates)) = candidates else {
            if algorithm.is_some() && token.key_id.is_some() {
                self.key_missing.notify_one();
            }
            return Err(TokenError::Signer { key_id: token.key_id });
        };
        token.check_signature(candidates, algorithm)?;
        token.claims(&self.rules, now_unix)
    }

    /// The keys one of which must have signed a token with this header.
    fn candidates<'a>(
        &'a self,
        keys: &'a Keys,
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> Option<&'a [Key]> {
        let named = key_id.and_then(|key_id| keys.find(key_id, algorithm)).map(std::slice::from_ref);
        let secrets = Some(&self.secrets[..])
            .filter(|secrets| algorithm.key_type() == KeyType::Symmetric && !secrets.is_empty());
        named.or(secrets)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("sets", &self.keys().sets).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
