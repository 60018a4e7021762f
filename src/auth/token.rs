//! JSON Web Tokens: parse, check, sign.
//!
//! The order of the checks is part of the wire: it decides which words a client reads.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Secret;
use crate::policy::Claims;

/// Longer tokens are refused as malformed before anything is decoded.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why a token is refused.
///
/// Three places show a refusal in three ways: the connect answer, the reply to a join, and the `system`
/// message of a joined channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token, or one that is too long.
    #[error("the token is malformed")]
    Malformed,
    /// No key fits its header.
    #[error("no key fits the token's header")]
    Signer {
        /// The key id the header asks for.
        key_id: Option<String>,
    },
    /// The signature is not by our key.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is over.
    #[error("the token has expired")]
    Expired {
        /// How long ago, in seconds; zero in the second of expiry.
        seconds: i64,
    },
    /// The claims `role` (a text) and `exp` are not both there.
    #[error("the token lacks role or exp")]
    MissingClaims,
    /// The claim `exp` is not a number.
    #[error("the token's expiry is not a number")]
    InvalidExpiration,
    /// The claim `iat` is not a number.
    #[error("the token's time of issue is not a number")]
    InvalidIssuedAt,
}

impl TokenError {
    /// The HTTP status and the `error` text that refuse a connect.
    pub fn connect(&self) -> (u16, String) {
        match self {
            Self::Expired { .. } => (401, "Token has expired".to_owned()),
            Self::InvalidExpiration | Self::InvalidIssuedAt => {
                (500, "Error connecting to Realtime".to_owned())
            }
            _ => (401, self.sentence()),
        }
    }

    /// The `reason` that refuses a join: a code, a colon and a sentence.
    pub fn join_reason(&self) -> String {
        let code = match self {
            Self::Malformed => "MalformedJWT",
            Self::Signer { .. } => "JwtSignerError",
            Self::Signature => "JwtSignatureError",
            Self::Expired { .. } | Self::MissingClaims | Self::InvalidExpiration | Self::InvalidIssuedAt => {
                "InvalidJWTToken"
            }
        };
        format!("{code}: {}", self.sentence())
    }

    /// The message of the `system` push that ends a joined channel.
    pub fn system_message(&self) -> String {
        self.sentence()
    }

    fn sentence(&self) -> String {
        match self {
            Self::Malformed => "The token provided is not a valid JWT".to_owned(),
            Self::Signer { key_id: None } => {
                "Failed to generate JWT signer, check your JWT secret or JWKS configuration".to_owned()
            }
            Self::Signer { key_id: Some(key_id) } => format!(
                "Failed to generate JWT signer for key ID (kid) \"{key_id}\", \
                 check your JWT secret or JWKS configuration"
            ),
            Self::Signature => "Failed to validate JWT signature".to_owned(),
            Self::Expired { seconds } => format!("Token has expired {seconds} seconds ago"),
            Self::MissingClaims => "Fields `role` and `exp` are required in JWT".to_owned(),
            Self::InvalidExpiration => "Token expiration time is invalid".to_owned(),
            Self::InvalidIssuedAt => "Token issue time is invalid".to_owned(),
        }
    }
}

/// Chooses the cryptography of `jsonwebtoken`, which would panic at the first use if some other dependency
/// turned on its second backend. Later calls change nothing.
pub(super) fn install_provider() {
    // An error means that a provider is installed already, by an earlier call.
    let _ = crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

/// A well-formed token, of which nothing is believed yet.
pub(super) struct Parsed {
    /// `alg` of the header; empty if it is missing.
    pub(super) algorithm: String,
    /// `kid` of the header.
    pub(super) key_id: Option<String>,
    text: String,
    /// Where the signature starts in `text`; the dot before it is not signed.
    signature_start: usize,
    body: Map<String, Value>,
}

impl Parsed {
    /// Takes a token apart. It may be URI-encoded and may contain white space anywhere.
    pub(super) fn parse(token: &str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let decoded = percent_decode_str(token).decode_utf8().map_err(|_| TokenError::Malformed)?;
        let text: String = decoded.chars().filter(|character| !character.is_whitespace()).collect();
        let mut parts = text.split('.');
        let (Some(header), Some(body), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let signature_start = header.len() + body.len() + 2;
        let mut header = object(header)?;
        let body = object(body)?;
        let mut field = |name| match header.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (algorithm, key_id) = (field("alg").unwrap_or_default(), field("kid"));
        Ok(Self { algorithm, key_id, text, signature_start, body })
    }

    /// Checks the signature with a key and the algorithm that belongs to it.
    pub(super) fn check_signature(&self, key: &DecodingKey, algorithm: Algorithm) -> Result<(), TokenError> {
        let (signed, signature) = self.text.split_at(self.signature_start);
        let signed = signed.strip_suffix('.').unwrap_or(signed);
        match crypto::verify(signature, signed.as_bytes(), key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenError::Signature),
        }
    }

    /// The claims, once they are checked against the time.
    pub(super) fn claims(self, now_unix: i64) -> Result<Claims, TokenError> {
        let expires_at = match self.body.get("exp") {
            Some(value) => Some(seconds(value).ok_or(TokenError::InvalidExpiration)?),
            None => None,
        };
        if let Some(expires_at) = expires_at {
            check(expires_at, now_unix)?;
        }
        if self.body.get("iat").is_some_and(|value| !value.is_number()) {
            return Err(TokenError::InvalidIssuedAt);
        }
        let (Some(expires_at), Some(Value::String(role))) = (expires_at, self.body.get("role")) else {
            return Err(TokenError::MissingClaims);
        };
        let role = role.as_str().into();
        // The map is sorted by key, so equal bodies give equal text.
        let json = Value::Object(self.body).to_string().into();
        Ok(Claims { role, json, expires_at })
    }
}

/// Whether claims are still valid: `exp` lies after now.
pub(super) fn check_expiry(claims: &Claims, now_unix: i64) -> Result<(), TokenError> {
    check(claims.expires_at, now_unix)
}

fn check(expires_at: i64, now_unix: i64) -> Result<(), TokenError> {
    if expires_at > now_unix {
        Ok(())
    } else {
        Err(TokenError::Expired { seconds: now_unix.saturating_sub(expires_at) })
    }
}

/// A part of a token as a JSON object.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

/// A JSON number as whole seconds, rounded; what lies beyond an `i64` becomes its nearest end.
fn seconds(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    if value.is_u64() {
        return Some(i64::MAX);
    }
    #[expect(clippy::cast_possible_truncation, reason = "saturates, as promised")]
    value.as_f64().map(|seconds| seconds.round() as i64)
}

/// A token over `claims`, signed by HS256.
pub fn sign(secret: &Secret, claims: &Map<String, Value>) -> String {
    install_provider();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let body = URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string());
    let signed = format!("{header}.{body}");
    let signature =
        crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(secret.bytes()), Algorithm::HS256)
            .expect("HMAC takes any key and any message");
    format!("{signed}.{signature}")
}
