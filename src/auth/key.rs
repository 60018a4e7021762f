//! Keys, and the algorithms that each of them may be used with.
//!
//! A key is made for its algorithms once and refuses all others, so that a token can never choose how a key is
//! read: a public key is not a shared secret, whatever the token's header says.
//!
//! Not here: RSA-PSS (`PS256` and its kin) and `ES256K`, which the stock server refuses too, and `Ed448`, which the
//! cryptography lacks.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;

use super::Secret;

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

/// What keys are made of: `kty` of a key in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    /// `oct`: a shared secret.
    Symmetric,
    /// `RSA`.
    Rsa,
    /// `EC`: one of the NIST curves.
    Elliptic,
    /// `OKP`: an Edwards curve.
    Edwards,
}

impl Algorithm {
    /// The algorithm that `alg` names, spelled exactly so.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            // RFC 9864 names the curve; both names mean it here.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// The keys that it takes.
    pub(super) fn key_type(self) -> KeyType {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => KeyType::Symmetric,
            Self::Rs256 | Self::Rs384 | Self::Rs512 => KeyType::Rsa,
            Self::Es256 | Self::Es384 | Self::Es512 => KeyType::Elliptic,
            Self::EdDsa => KeyType::Edwards,
        }
    }
}

/// A key, ready for each of its algorithms.
pub(super) struct Key {
    checks: Vec<(Algorithm, Check)>,
}

/// A key as one algorithm uses it.
pub(super) enum Check {
    /// Boxed, as it carries two states of its hash.
    Symmetric(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Key {
    /// A key for these algorithms alone.
    pub(super) fn new(checks: Vec<(Algorithm, Check)>) -> Self {
        Self { checks }
    }

    /// A shared secret, for each of the HMAC algorithms.
    pub(super) fn symmetric(secret: &Secret) -> Self {
        let check = |algorithm| Check::Symmetric(Box::new(hmac::Key::new(algorithm, secret.bytes())));
        Self::new(vec![
            (Algorithm::Hs256, check(hmac::HMAC_SHA256)),
            (Algorithm::Hs384, check(hmac::HMAC_SHA384)),
            (Algorithm::Hs512, check(hmac::HMAC_SHA512)),
        ])
    }

    /// Keeps the key to one algorithm; `false` if it was none of its own.
    pub(super) fn restrict(&mut self, algorithm: Algorithm) -> bool {
        self.checks.retain(|(own, _)| *own == algorithm);
        !self.checks.is_empty()
    }

    /// Whether it may be used with this algorithm.
    pub(super) fn takes(&self, algorithm: Algorithm) -> bool {
        self.checks.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether this key made the signature, by this algorithm.
    pub(super) fn signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let check = self.checks.iter().find(|(own, _)| *own == algorithm);
        check.is_some_and(|(_, check)| match check {
            Check::Symmetric(key) => hmac::verify(key, message, signature).is_ok(),
            Check::Public(key) => key.verify_sig(message, signature).is_ok(),
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
