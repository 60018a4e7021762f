//! Keys that sign tokens to test with: private JSON Web Keys.
//!
//! The file of such a key does for both sides: as a key set it verifies, since its private part is not looked at
//! there.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RsaPublicKeyComponents, RsaSignatureEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::key::Algorithm;
use super::key_set::{InvalidKeySet, bytes, key_list, text};

/// A private key and the one algorithm it signs by. Never printed.
pub struct SigningKey {
    algorithm: &'static str,
    id: Option<String>,
    pair: Pair,
}

enum Pair {
    Symmetric(Box<hmac::Key>),
    Rsa(RsaKeyPair, &'static RsaSignatureEncoding),
    Elliptic(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

/// A text without a key to sign with. Nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigningKey {
    /// It is neither a key nor a set of keys.
    #[error(transparent)]
    NoKeySet(#[from] InvalidKeySet),
    /// Its keys are public.
    #[error("it has no private key: one with `d`, or with `k` for a shared secret")]
    NoPrivateKey,
    /// Its private key is of no kind that tokens are verified by, or its parts make no key.
    #[error("its private key makes no key for RS, ES, EdDSA or HS tokens")]
    Unusable,
    /// The cryptography failed.
    #[error("the key could not sign")]
    Failed,
}

impl SigningKey {
    /// The first private key of a JSON Web Key, a set of them, or an array.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidSigningKey> {
        let is_private = |key: &&Value| key.get("d").is_some() || key.get("k").is_some();
        let keys = key_list(json)?;
        let jwk = keys.iter().find(is_private).and_then(Value::as_object);
        let jwk = jwk.ok_or(InvalidSigningKey::NoPrivateKey)?;
        let (algorithm, pair) = pair(jwk).ok_or(InvalidSigningKey::Unusable)?;
        Ok(Self { algorithm, id: text(jwk, "kid").map(str::to_owned), pair })
    }

    /// A token over `claims` that names this key.
    pub fn sign(&self, claims: &Map<String, Value>) -> Result<String, InvalidSigningKey> {
        let mut header = json!({ "alg": self.algorithm, "typ": "JWT" });
        if let Some(id) = &self.id {
            header["kid"] = id.as_str().into();
        }
        let body = Value::Object(claims.clone()).to_string();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(body));
        let signature = self.signature(signed.as_bytes()).ok_or(InvalidSigningKey::Failed)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Symmetric(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Pair::Elliptic(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Pair::Edwards(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The key, and the algorithm that it names or that is usual for it.
fn pair(jwk: &Map<String, Value>) -> Option<(&'static str, Pair)> {
    let part = |name| bytes(jwk, name).ok();
    let named = match jwk.get("alg") {
        Some(name) => Some(Algorithm::named(name.as_str()?)?),
        None => None,
    };
    let (algorithm, name, pair) = match text(jwk, "kty")? {
        "oct" => {
            let (algorithm, name, hash) = match named.unwrap_or(Algorithm::Hs256) {
                Algorithm::Hs256 => (Algorithm::Hs256, "HS256", hmac::HMAC_SHA256),
                Algorithm::Hs384 => (Algorithm::Hs384, "HS384", hmac::HMAC_SHA384),
                Algorithm::Hs512 => (Algorithm::Hs512, "HS512", hmac::HMAC_SHA512),
                _ => return None,
            };
            (algorithm, name, Pair::Symmetric(Box::new(hmac::Key::new(hash, &part("k")?))))
        }
        "RSA" => {
            let (algorithm, name, encoding) = match named.unwrap_or(Algorithm::Rs256) {
                Algorithm::Rs256 => (Algorithm::Rs256, "RS256", &RSA_PKCS1_SHA256),
                Algorithm::Rs384 => (Algorithm::Rs384, "RS384", &RSA_PKCS1_SHA384),
                Algorithm::Rs512 => (Algorithm::Rs512, "RS512", &RSA_PKCS1_SHA512),
                _ => return None,
            };
            let components = KeyPairComponents {
                public_key: RsaPublicKeyComponents { n: part("n")?, e: part("e")? },
                d: part("d")?,
                p: part("p")?,
                q: part("q")?,
                dP: part("dp")?,
                dQ: part("dq")?,
                qInv: part("qi")?,
            };
            (algorithm, name, Pair::Rsa(RsaKeyPair::from_components(&components).ok()?, encoding))
        }
        "EC" => {
            let (algorithm, name, signing) = match text(jwk, "crv")? {
                "P-256" => (Algorithm::Es256, "ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
                "P-384" => (Algorithm::Es384, "ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
                "P-521" => (Algorithm::Es512, "ES512", &ECDSA_P521_SHA512_FIXED_SIGNING),
                _ => return None,
            };
            let point = [&[4], &part("x")?[..], &part("y")?[..]].concat();
            let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &part("d")?, &point).ok()?;
            (algorithm, name, Pair::Elliptic(pair))
        }
        "OKP" if text(jwk, "crv")? == "Ed25519" => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&part("d")?, &part("x")?).ok()?;
            (Algorithm::EdDsa, "EdDSA", Pair::Edwards(pair))
        }
        _ => return None,
    };
    named.is_none_or(|named| named == algorithm).then_some((name, pair))
}
