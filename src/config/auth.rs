//! The settings of `auth`: what makes a token good.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Secret;
use crate::auth::{self, AdminVerifier, ApiKeys, KeySet, Roles, Rules, jwks};

/// Who clients and operators are.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The key of HMAC tokens, at least 32 bytes. It may be absent where there is a key set.
    pub jwt_secret: Option<Secret>,
    /// A second one, while the first is being changed.
    pub jwt_secret_next: Option<Secret>,
    /// Keys that do not change.
    pub key_set: KeySet,
    /// A file of keys that may.
    pub key_set_file: Option<PathBuf>,
    /// A URL of keys that may.
    pub key_set_url: Option<jwks::Address>,
    /// How long a fetched set is good.
    pub key_set_refresh: Duration,
    /// API keys of the role `anon`.
    pub publishable_keys: Vec<Secret>,
    /// API keys of the role `service_role`.
    pub secret_keys: Vec<Secret>,
    /// How far the clock of whoever makes tokens may be behind, in seconds.
    pub clock_skew_seconds: i64,
    /// Claims and the values they must have.
    pub claims_required: Map<String, Value>,
    /// The roles that clients may have.
    pub roles: Roles,
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
        auth::Config {
            secrets: keys(self.jwt_secrets()),
            keys: self.key_set.clone(),
            api_keys: ApiKeys::new(exposed(&self.publishable_keys), exposed(&self.secret_keys)),
            rules: self.rules(),
        }
    }

    /// Where keys are that may change.
    pub fn key_sources(&self) -> jwks::Sources {
        jwks::Sources {
            file: self.key_set_file.clone(),
            url: self.key_set_url.clone(),
            refresh: self.key_set_refresh,
        }
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
        self.jwt_secret.iter().chain(&self.jwt_secret_next)
    }

    fn operators(&self, secrets: &[auth::Secret], blocklist: &[Secret]) -> AdminVerifier {
        AdminVerifier::new(secrets, exposed(blocklist), self.rules())
    }

    /// What every token has to fulfil.
    fn rules(&self) -> Rules {
        Rules {
            clock_skew_seconds: self.clock_skew_seconds,
            claims_required: self.claims_required.clone(),
            roles: self.roles.clone(),
        }
    }
}

/// An empty secret is none; settings with one are refused before they get here.
fn keys<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Vec<auth::Secret> {
    secrets.into_iter().filter_map(|secret| auth::Secret::new(secret.expose()).ok()).collect()
}

fn exposed(secrets: &[Secret]) -> impl Iterator<Item = &str> {
    secrets.iter().map(Secret::expose)
}
