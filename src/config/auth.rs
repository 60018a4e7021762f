//! The settings of `auth`: what makes a token good.

use serde_json::{Map, Value};

use super::Secret;
use crate::auth::{self, AdminVerifier, Rules};

/// Who clients and operators are.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The key of HMAC tokens, at least 32 bytes.
    pub jwt_secret: Secret,
    /// A second one, while the first is being changed.
    pub jwt_secret_next: Option<Secret>,
    /// How far the clock of whoever makes tokens may be behind, in seconds.
    pub clock_skew_seconds: i64,
    /// Claims and the values they must have.
    pub claims_required: Map<String, Value>,
    /// Tokens that the administrative endpoints refuse.
    pub admin_token_blocklist: Vec<Secret>,
    /// The key of tokens that may read the metrics.
    pub metrics_jwt_secret: Option<Secret>,
    /// Tokens that the metrics endpoint refuses.
    pub metrics_token_blocklist: Vec<Secret>,
}

impl Auth {
    /// For the verifier of clients' tokens.
    pub fn verifier_config(&self) -> auth::Config {
        auth::Config { secrets: keys(self.jwt_secrets()), rules: self.rules(), ..auth::Config::default() }
    }

    /// Admits to the administrative endpoints.
    pub fn admin_verifier(&self) -> AdminVerifier {
        self.operators(&keys(self.jwt_secrets()), &self.admin_token_blocklist)
    }

    /// Admits to the metrics.
    pub fn metrics_verifier(&self) -> AdminVerifier {
        self.operators(&keys(&self.metrics_jwt_secret), &self.metrics_token_blocklist)
    }

    fn jwt_secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.jwt_secret).chain(&self.jwt_secret_next)
    }

    fn operators(&self, secrets: &[auth::Secret], blocklist: &[Secret]) -> AdminVerifier {
        AdminVerifier::new(secrets, blocklist.iter().map(Secret::expose), self.rules())
    }

    /// What every token has to fulfil.
    fn rules(&self) -> Rules {
        Rules { clock_skew_seconds: self.clock_skew_seconds, claims_required: self.claims_required.clone() }
    }
}

/// An empty secret is none; settings with one are refused before they get here.
fn keys<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Vec<auth::Secret> {
    secrets.into_iter().filter_map(|secret| auth::Secret::new(secret.expose()).ok()).collect()
}
