//! API keys: `sb_publishable_…` and `sb_secret_…`, opaque words that stand for a role.
//!
//! They are no tokens: nothing in them says who asks, and they never expire. Only their hashes are kept, and a
//! presented key is compared with all of them in constant time, so that no answer tells how much of it was right.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};

use crate::policy::Claims;

/// What every API key begins with; no token does.
pub(super) const PREFIX: &str = "sb_";
/// What keys for browsers and apps begin with.
pub const PUBLISHABLE_PREFIX: &str = "sb_publishable_";
/// What keys for servers begin with.
pub const SECRET_PREFIX: &str = "sb_secret_";

/// The configured API keys, each with the claims it stands for.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<(Digest, Arc<Claims>)>);

impl ApiKeys {
    /// `publishable` keys stand for the role `anon`, `secret` ones for `service_role`.
    pub fn new<'a>(
        publishable: impl IntoIterator<Item = &'a str>,
        secret: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let (anon, service) = (lasting("anon"), lasting("service_role"));
        let entry = |key: &str, claims: &Arc<Claims>| (digest(&SHA256, key.as_bytes()), Arc::clone(claims));
        let publishable = publishable.into_iter().map(|key| entry(key, &anon));
        Self(publishable.chain(secret.into_iter().map(|key| entry(key, &service))).collect())
    }

    /// What `key` stands for, if it is one of ours. White space around it does not matter.
    pub(super) fn claims(&self, key: &str) -> Option<Arc<Claims>> {
        let presented = digest(&SHA256, key.trim().as_bytes());
        // Every entry is compared, whether or not one before it was equal.
        self.0.iter().fold(None, |found, (known, claims)| {
            let is_equal = verify_slices_are_equal(known.as_ref(), presented.as_ref()).is_ok();
            if is_equal { Some(Arc::clone(claims)) } else { found }
        })
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("keys", &self.0.len()).finish_non_exhaustive()
    }
}

/// Claims of a role and nothing else, which never expire.
fn lasting(role: &str) -> Arc<Claims> {
    let json = serde_json::json!({ "role": role }).to_string();
    Arc::new(Claims { role: role.into(), json: json.into(), expires_at: i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHABLE: &str = "sb_publishable_0123456789abcdef";
    const SECRET: &str = "sb_secret_0123456789abcdef";

    fn keys() -> ApiKeys {
        ApiKeys::new([PUBLISHABLE], [SECRET])
    }

    #[test]
    fn a_key_stands_for_its_role() {
        for (key, role, json) in [
            (PUBLISHABLE, "anon", r#"{"role":"anon"}"#),
            (SECRET, "service_role", r#"{"role":"service_role"}"#),
        ] {
            let claims = keys().claims(&format!(" {key}\n")).unwrap();
            assert_eq!((&*claims.role, &*claims.json, claims.expires_at), (role, json, i64::MAX));
        }
    }

    #[test]
    fn no_other_key_stands_for_anything() {
        for key in
            ["", "sb_", PUBLISHABLE_PREFIX, SECRET_PREFIX, &SECRET[..SECRET.len() - 1], "sb_secret_0123"]
        {
            assert_eq!(keys().claims(key), None, "{key}");
        }
        assert_eq!(keys().claims(&format!("{SECRET}0")), None);
        assert_eq!(keys().claims(&SECRET.to_uppercase()), None);
        assert_eq!(ApiKeys::default().claims(""), None);
    }

    #[test]
    fn keys_are_never_shown() {
        assert_eq!(format!("{:?}", keys()), "ApiKeys { keys: 2, .. }");
    }
}
