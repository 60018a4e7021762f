//! JSON Web Keys (RFC 7517): from text to keys that are ready for use.
//!
//! In: a set as its issuer publishes it, `{"keys": […]}`, or the array or a key alone. Out: a [`KeySet`] of those keys that
//! can verify tokens, and for each other one why it cannot. A key that cannot be used does not spoil its set, as
//! issuers list keys for other purposes beside those for tokens.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{
    self, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Secret;
use super::key::{Algorithm, Check, Key, KeyType};

/// A longer set is refused before anything is decoded.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// A set of more keys is refused: every one of them is looked at for a token with an unknown key id.
pub const KEYS_MAX: usize = 100;
/// A shorter shared secret can be guessed offline from any token.
const SYMMETRIC_BYTES_MIN: usize = 32;
/// The sizes of an RSA modulus: shorter ones can be broken, longer ones cost too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Who may see a set, which decides what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The operator alone.
    Private,
    /// Whoever asks for it; a shared secret has no place there.
    Public,
}

/// Keys by their id. Cheap to clone; never printed.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Arc<[NamedKey]>,
    skipped: Arc<[Skipped]>,
}

struct NamedKey {
    id: String,
    key_type: KeyType,
    key: Key,
}

/// A key that is not used, by its place in the set, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first is 1.
    pub position: usize,
    /// Why.
    pub reason: Unusable,
}

/// A text that is no key set. Nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// It is too long.
    #[error("the key set is longer than {KEY_SET_BYTES_MAX} bytes")]
    TooLong,
    /// It is not JSON, or not of that shape.
    #[error("the key set is neither an object with an array `keys` nor such an array or key")]
    Malformed,
    /// It has too many keys.
    #[error("the key set has more than {KEYS_MAX} keys")]
    TooMany,
}

/// Why a key cannot verify tokens. None of its parts is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not even an object.
    #[error("it is no object")]
    NoObject,
    /// Tokens could not name it.
    #[error("it has no `kid`")]
    NoKeyId,
    /// Another key answers to its name.
    #[error("an earlier key has the same `kid` and `kty`")]
    Duplicate,
    /// It is for encryption, or for signing alone.
    #[error("its `use` is not `sig`, or its `key_ops` lack `verify`")]
    Purpose,
    /// `kty` is none of ours.
    #[error("its `kty` is not RSA, EC, OKP or oct")]
    Type,
    /// `crv` is none of ours.
    #[error("its `crv` is not P-256, P-384, P-521 or Ed25519")]
    Curve,
    /// `alg` is none of ours, or not one of such a key.
    #[error("its `alg` does not go with it")]
    Algorithm,
    /// A part is missing or is no base64url, or the parts make no key.
    #[error("its parts are missing or make no key")]
    Malformed,
    /// It can be broken.
    #[error("it is too short: RSA needs 2048 to 8192 bits, a shared secret {SYMMETRIC_BYTES_MIN} bytes")]
    Weak,
    /// Whoever can read it can sign.
    #[error("it is a shared secret in a set that anybody may read")]
    Exposed,
}

impl KeySet {
    /// Reads a set.
    pub fn parse(text: &[u8], audience: Audience) -> Result<Self, InvalidKeySet> {
        let keys = key_list(text)?;
        let (mut usable, mut skipped): (Vec<NamedKey>, Vec<Skipped>) = Default::default();
        for (index, jwk) in keys.iter().enumerate() {
            match named_key(jwk, audience) {
                Ok(key) if usable.iter().any(|other| other.is(&key.id, key.key_type)) => {
                    skipped.push(Skipped { position: index + 1, reason: Unusable::Duplicate });
                }
                Ok(key) => usable.push(key),
                Err(reason) => skipped.push(Skipped { position: index + 1, reason }),
            }
        }
        Ok(Self { keys: usable.into(), skipped: skipped.into() })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that are not used.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The key of that name and kind.
    pub(super) fn find(&self, id: &str, key_type: KeyType) -> Option<&Key> {
        self.keys.iter().find(|named| named.is(id, key_type)).map(|named| &named.key)
    }
}

impl NamedKey {
    fn is(&self, id: &str, key_type: KeyType) -> bool {
        self.id == id && self.key_type == key_type
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.position, self.reason)
    }
}

/// The keys of a set, of an array of them, or the only one, all unread.
pub(super) fn key_list(text: &[u8]) -> Result<Vec<Value>, InvalidKeySet> {
    if text.len() > KEY_SET_BYTES_MAX {
        return Err(InvalidKeySet::TooLong);
    }
    let keys = match serde_json::from_slice(text) {
        Ok(Value::Array(keys)) => keys,
        Ok(Value::Object(mut set)) => match set.remove("keys") {
            Some(Value::Array(keys)) => keys,
            None if set.contains_key("kty") => vec![Value::Object(set)],
            _ => return Err(InvalidKeySet::Malformed),
        },
        _ => return Err(InvalidKeySet::Malformed),
    };
    if keys.len() > KEYS_MAX { Err(InvalidKeySet::TooMany) } else { Ok(keys) }
}

fn named_key(jwk: &Value, audience: Audience) -> Result<NamedKey, Unusable> {
    let jwk = jwk.as_object().ok_or(Unusable::NoObject)?;
    check_purpose(jwk)?;
    let (key_type, mut key) = match text(jwk, "kty") {
        Some("RSA") => (KeyType::Rsa, rsa(jwk)?),
        Some("EC") => (KeyType::Elliptic, elliptic(jwk)?),
        Some("OKP") => (KeyType::Edwards, edwards(jwk)?),
        Some("oct") if audience == Audience::Public => return Err(Unusable::Exposed),
        Some("oct") => (KeyType::Symmetric, symmetric(jwk)?),
        _ => return Err(Unusable::Type),
    };
    if let Some(algorithm) = jwk.get("alg") {
        let algorithm = algorithm.as_str().and_then(Algorithm::named);
        if !algorithm.is_some_and(|algorithm| key.restrict(algorithm)) {
            return Err(Unusable::Algorithm);
        }
    }
    let id = text(jwk, "kid").filter(|id| !id.is_empty()).ok_or(Unusable::NoKeyId)?.to_owned();
    Ok(NamedKey { id, key_type, key })
}

/// A key says what it is for in two ways, and may say nothing.
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), Unusable> {
    let by_use = jwk.get("use").is_none_or(|purpose| purpose == "sig");
    let verifies = |operations: &Value| {
        operations
            .as_array()
            .is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    };
    let by_operations = jwk.get("key_ops").is_none_or(verifies);
    if by_use && by_operations { Ok(()) } else { Err(Unusable::Purpose) }
}

fn symmetric(jwk: &Map<String, Value>) -> Result<Key, Unusable> {
    let secret = bytes(jwk, "k")?;
    if secret.len() < SYMMETRIC_BYTES_MIN {
        return Err(Unusable::Weak);
    }
    Ok(Key::symmetric(&Secret::new(secret).map_err(|_| Unusable::Weak)?))
}

fn rsa(jwk: &Map<String, Value>) -> Result<Key, Unusable> {
    // Some issuers write numbers with a leading zero byte.
    let number =
        |name| bytes(jwk, name).map(|bytes| bytes.into_iter().skip_while(|byte| *byte == 0).collect());
    let (n, e): (Vec<u8>, Vec<u8>) = (number("n")?, number("e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(Unusable::Weak);
    }
    // With an exponent of 1 every message would be its own signature.
    if e.is_empty() || e == [1] || e.len() > 4 || e.last().is_some_and(|byte| byte % 2 == 0) {
        return Err(Unusable::Malformed);
    }
    let components = RsaPublicKeyComponents { n, e };
    let check = |algorithm, parameters: &'static RsaParameters| {
        let key = components.to_parsed_public_key(parameters).map_err(|_| Unusable::Malformed)?;
        Ok((algorithm, Check::Public(key)))
    };
    Ok(Key::new(vec![
        check(Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256)?,
        check(Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384)?,
        check(Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512)?,
    ]))
}

fn elliptic(jwk: &Map<String, Value>) -> Result<Key, Unusable> {
    let (algorithm, verification, coordinate_bytes): (_, &'static dyn VerificationAlgorithm, usize) =
        match text(jwk, "crv") {
            Some("P-256") => (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32),
            Some("P-384") => (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48),
            Some("P-521") => (Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, 66),
            _ => return Err(Unusable::Curve),
        };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return Err(Unusable::Malformed);
    }
    // A point as X9.62 has it, not compressed.
    public(algorithm, verification, [&[4], &x[..], &y[..]].concat())
}

fn edwards(jwk: &Map<String, Value>) -> Result<Key, Unusable> {
    match text(jwk, "crv") {
        Some("Ed25519") => public(Algorithm::EdDsa, &signature::ED25519, bytes(jwk, "x")?),
        _ => Err(Unusable::Curve),
    }
}

fn public(
    algorithm: Algorithm,
    verification: &'static dyn VerificationAlgorithm,
    point: Vec<u8>,
) -> Result<Key, Unusable> {
    let key = ParsedPublicKey::new(verification, point).map_err(|_| Unusable::Malformed)?;
    Ok(Key::new(vec![(algorithm, Check::Public(key))]))
}

pub(super) fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name)?.as_str()
}

pub(super) fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unusable> {
    let text = text(jwk, name).ok_or(Unusable::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unusable::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signatures printed in RFC 7515 (A.1, A.3) and RFC 8037 (A.4).
    #[test]
    fn examples_of_the_standards_verify_and_their_neighbours_do_not() {
        let claims =
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let hs256 = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
        let es256 = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let eddsa = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        for (jwk, algorithm, signed, signature) in [
            (
                hs256,
                "HS256",
                format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{claims}"),
                "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            ),
            (
                es256,
                "ES256",
                format!("eyJhbGciOiJFUzI1NiJ9.{claims}"),
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            ),
            (
                eddsa,
                "EdDSA",
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            ),
        ] {
            let mut jwk: Value = serde_json::from_str(jwk).unwrap();
            jwk["kid"] = "k".into();
            let set =
                KeySet::parse(Value::Array(vec![jwk]).to_string().as_bytes(), Audience::Private).unwrap();
            let algorithm = Algorithm::named(algorithm).unwrap();
            let key = set.find("k", algorithm.key_type()).unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert!(key.signed(algorithm, signed.as_bytes(), &signature), "{algorithm:?}");
            assert!(!key.signed(algorithm, format!("{signed}A").as_bytes(), &signature), "{algorithm:?}");
        }
    }
}
