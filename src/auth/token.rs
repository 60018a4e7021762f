//! JSON Web Tokens: parse, check, sign.
//!
//! The order of the checks is part of the wire: it decides which words a client reads.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Secret;
use super::key::{Algorithm, Key};
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
    /// It is an API key, and none of ours.
    #[error("the api key is not known")]
    UnknownApiKey,
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
    /// It names a role that tokens may not have here.
    #[error("the role {role:?} is not one that tokens may have")]
    RoleNotAllowed {
        /// The role.
        role: String,
    },
    /// A claim has another value than the configuration requires.
    #[error("the token's claim {name:?} differs from the required one")]
    ClaimDiffers {
        /// The claim.
        name: String,
    },
}

impl TokenError {
    /// The HTTP status and the `error` text that refuse a connect.
    pub fn connect(&self) -> (u16, String) {
        match self {
            Self::Expired { .. } => (401, "Token has expired".to_owned()),
            Self::InvalidExpiration | Self::InvalidIssuedAt | Self::ClaimDiffers { .. } => {
                (500, "Error connecting to Realtime".to_owned())
            }
            Self::RoleNotAllowed { .. } => (403, self.sentence()),
            _ => (401, self.sentence()),
        }
    }

    /// The `reason` that refuses a join: a code, a colon and a sentence.
    pub fn join_reason(&self) -> String {
        let code = match self {
            Self::Malformed => "MalformedJWT",
            Self::Signer { .. } => "JwtSignerError",
            Self::Signature => "JwtSignatureError",
            Self::UnknownApiKey
            | Self::Expired { .. }
            | Self::MissingClaims
            | Self::InvalidExpiration
            | Self::InvalidIssuedAt
            | Self::RoleNotAllowed { .. }
            | Self::ClaimDiffers { .. } => "InvalidJWTToken",
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
            Self::UnknownApiKey => "The API key is not known".to_owned(),
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
            Self::RoleNotAllowed { role } => format!("Tokens may not have the role {role:?} here"),
            Self::ClaimDiffers { name } => format!("Token claim {name:?} does not have the required value"),
        }
    }
}

/// What tokens have to fulfil beyond a genuine signature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// How far this server's clock may be ahead of the one that `exp` was taken from.
    pub clock_skew_seconds: i64,
    /// Claims that must have these values where a token has them.
    pub claims_required: Map<String, Value>,
    /// The roles that clients may have.
    pub roles: Roles,
}

/// The roles that clients may have. A genuine token could otherwise name any role that the server's own can become, a
/// superuser among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roles {
    /// Every one.
    #[default]
    Any,
    /// These.
    Only(Vec<String>),
}

impl Roles {
    /// Whether it is one of them.
    pub fn allows(&self, role: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(roles) => roles.iter().any(|allowed| allowed == role),
        }
    }
}

impl Rules {
    /// Whether a token that ends at `expires_at` is still good.
    pub(super) fn check_expiry(&self, expires_at: i64, now_unix: i64) -> Result<(), TokenError> {
        if expires_at.saturating_add(self.clock_skew_seconds) > now_unix {
            Ok(())
        } else {
            Err(TokenError::Expired { seconds: now_unix.saturating_sub(expires_at) })
        }
    }

    /// Whether a client may have this role.
    pub(super) fn check_role(&self, role: &str) -> Result<(), TokenError> {
        if self.roles.allows(role) {
            Ok(())
        } else {
            Err(TokenError::RoleNotAllowed { role: role.to_owned() })
        }
    }

    fn check_required(&self, body: &Map<String, Value>) -> Result<(), TokenError> {
        let differs = |(name, value): &(&String, &Value)| body.get(*name).is_some_and(|own| own != *value);
        match self.claims_required.iter().find(differs) {
            None => Ok(()),
            Some((name, _)) => Err(TokenError::ClaimDiffers { name: name.clone() }),
        }
    }
}

/// A well-formed token, of which nothing is believed yet.
pub(super) struct Parsed {
    /// `alg` of the header; empty if it is missing.
    pub(super) algorithm: String,
    /// `kid` of the header.
    pub(super) key_id: Option<String>,
    /// The token without URI encoding and white space: genuine tokens are equal when these are.
    pub(super) text: String,
    /// Where the signature starts in `text`; the dot before it is not signed.
    signature_start: usize,
    pub(super) body: Map<String, Value>,
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
        // Both would change what the rest means (RFC 7515, RFC 7797), and a token that needs to be understood so is
        // not to be read otherwise.
        if header.contains_key("crit") || header.get("b64").is_some_and(|b64| *b64 != Value::Bool(true)) {
            return Err(TokenError::Malformed);
        }
        let mut field = |name| match header.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (algorithm, key_id) = (field("alg").unwrap_or_default(), field("kid"));
        Ok(Self { algorithm, key_id, text, signature_start, body })
    }

    /// Checks that one of these keys made the signature, by this algorithm.
    pub(super) fn check_signature<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
        algorithm: Algorithm,
    ) -> Result<(), TokenError> {
        let (signed, signature) = self.text.split_at(self.signature_start);
        let signed = signed.strip_suffix('.').unwrap_or(signed).as_bytes();
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Signature)?;
        let genuine = keys.into_iter().any(|key| key.signed(algorithm, signed, &signature));
        if genuine { Ok(()) } else { Err(TokenError::Signature) }
    }

    /// Checks those claims that are there, and returns `exp` if it is.
    pub(super) fn check_claims(&self, rules: &Rules, now_unix: i64) -> Result<Option<i64>, TokenError> {
        let expires_at = match self.body.get("exp") {
            Some(value) => Some(seconds(value).ok_or(TokenError::InvalidExpiration)?),
            None => None,
        };
        if let Some(expires_at) = expires_at {
            rules.check_expiry(expires_at, now_unix)?;
        }
        if self.body.get("iat").is_some_and(|value| !value.is_number()) {
            return Err(TokenError::InvalidIssuedAt);
        }
        rules.check_required(&self.body)?;
        Ok(expires_at)
    }

    /// The claims of a client's token, once they are checked.
    pub(super) fn claims(self, rules: &Rules, now_unix: i64) -> Result<Claims, TokenError> {
        let expires_at = self.check_claims(rules, now_unix)?;
        let (Some(expires_at), Some(Value::String(role))) = (expires_at, self.body.get("role")) else {
            return Err(TokenError::MissingClaims);
        };
        rules.check_role(role)?;
        let role = role.as_str().into();
        // The map is sorted by key, so equal bodies give equal text.
        let json = Value::Object(self.body).to_string().into();
        Ok(Claims { role, json, expires_at })
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
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let body = URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string());
    let signed = format!("{header}.{body}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}
