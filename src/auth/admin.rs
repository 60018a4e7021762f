//! Who may use the administrative endpoints and read the metrics: those who hold a token of the operator's.

use std::collections::HashSet;
use std::fmt;

use super::key::{Algorithm, Key, KeyType};
use super::token::Parsed;
use super::{Rules, Secret};

/// Admits holders of a token signed with one of its secrets by HS256, HS384 or HS512.
///
/// Such a token needs no role and may live for ever: only its signature counts, `exp` and `iat` where they are
/// there, the claims required by configuration, and that it is not blocked. Without a secret nobody is admitted.
pub struct AdminVerifier {
    keys: Vec<Key>,
    /// As [`Parsed::text`] has them: a blocked token stays blocked in any spelling.
    blocked: HashSet<String>,
    rules: Rules,
}

impl AdminVerifier {
    /// Admits tokens signed with any of `secrets`, except those in `blocklist`.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = &'a Secret>,
        blocklist: impl IntoIterator<Item = &'a str>,
        rules: Rules,
    ) -> Self {
        let keys = secrets.into_iter().map(Key::symmetric).collect();
        // What is no token would be refused anyway.
        let blocked = blocklist.into_iter().filter_map(|token| Some(Parsed::parse(token).ok()?.text));
        Self { keys, blocked: blocked.collect(), rules }
    }

    /// Whether a request with this `Authorization` header may pass at `now_unix`, in seconds since the epoch.
    ///
    /// The scheme is `Bearer`, spelled exactly so, as the stock server has it.
    pub fn admits(&self, authorization_header: Option<&str>, now_unix: i64) -> bool {
        self.verified(authorization_header, now_unix).is_some()
    }

    /// As [`Self::admits`], but not for the tokens that clients hold: one that names a role must name
    /// `service_role`.
    pub fn admits_operator(&self, authorization_header: Option<&str>, now_unix: i64) -> bool {
        let token = self.verified(authorization_header, now_unix);
        token.is_some_and(|token| token.body.get("role").is_none_or(|role| role == "service_role"))
    }

    fn verified(&self, authorization_header: Option<&str>, now_unix: i64) -> Option<Parsed> {
        let token = Parsed::parse(authorization_header?.strip_prefix("Bearer ")?).ok()?;
        let algorithm = Algorithm::named(&token.algorithm)?;
        let admitted = algorithm.key_type() == KeyType::Symmetric
            && token.check_signature(&self.keys, algorithm).is_ok()
            && !self.blocked.contains(&token.text)
            && token.check_claims(&self.rules, now_unix).is_ok();
        admitted.then_some(token)
    }
}

impl fmt::Debug for AdminVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminVerifier").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::auth::sign;

    const NOW: i64 = 1_800_000_000;

    fn secret(text: &str) -> Secret {
        Secret::new(format!("{text} secret of at least thirty-two characters")).unwrap()
    }

    fn claims(value: Value) -> Map<String, Value> {
        let Value::Object(claims) = value else { panic!("claims are an object") };
        claims
    }

    fn bearer(by: &str, body: Value) -> String {
        format!("Bearer {}", sign(&secret(by), &claims(body)))
    }

    fn verifier(blocked: &[&str]) -> AdminVerifier {
        let required = claims(json!({"iss": "ops"}));
        let rules = Rules { claims_required: required, ..Rules::default() };
        AdminVerifier::new(&[secret("our"), secret("next")], blocked.iter().copied(), rules)
    }

    #[test]
    fn a_token_of_either_secret_is_admitted_without_role_or_expiry() {
        for by in ["our", "next"] {
            for body in [json!({}), json!({"exp": NOW + 1, "iat": 1.5}), json!({"iss": "ops"})] {
                assert!(verifier(&[]).admits(Some(&bearer(by, body)), NOW), "{by}");
            }
        }
    }

    #[test]
    fn other_secrets_expired_tokens_and_wrong_claims_are_not_admitted() {
        assert!(!verifier(&[]).admits(Some(&bearer("other", json!({}))), NOW));
        for body in
            [json!({"exp": NOW}), json!({"exp": "x"}), json!({"iat": "x"}), json!({"iss": "somebody"})]
        {
            assert!(!verifier(&[]).admits(Some(&bearer("our", body)), NOW));
        }
        let nobody = AdminVerifier::new(&[], [], Rules::default());
        assert!(!nobody.admits(Some(&bearer("our", json!({}))), NOW));
    }

    #[test]
    fn a_token_of_clients_makes_no_operator() {
        for (body, expected) in [
            (json!({}), true),
            (json!({"role": "service_role"}), true),
            (json!({"role": "anon"}), false),
            (json!({"role": "authenticated"}), false),
            (json!({"role": null}), false),
        ] {
            let header = bearer("our", body.clone());
            assert!(verifier(&[]).admits(Some(&header), NOW));
            assert_eq!(verifier(&[]).admits_operator(Some(&header), NOW), expected, "{body}");
        }
        assert!(!verifier(&[]).admits_operator(Some(&bearer("other", json!({}))), NOW));
        assert!(!verifier(&[]).admits_operator(None, NOW));
    }

    #[test]
    fn only_a_bearer_token_is_looked_at() {
        let token = bearer("our", json!({}));
        let bare = token.strip_prefix("Bearer ").unwrap();
        for header in
            ["", "Bearer ", bare, &format!("bearer {bare}"), &format!("Basic {bare}"), "Bearer a.b.c"]
        {
            assert!(!verifier(&[]).admits(Some(header), NOW), "{header}");
        }
        assert!(!verifier(&[]).admits(None, NOW));
    }

    #[test]
    fn a_blocked_token_is_refused_in_any_spelling() {
        let header = bearer("our", json!({"jti": 1}));
        let token = header.strip_prefix("Bearer ").unwrap();
        let blocked = verifier(&["no token", token]);
        for spelling in
            [header.clone(), header.replace('.', "%2e"), format!("{header}\n"), format!("{header} ")]
        {
            assert!(verifier(&[]).admits(Some(&spelling), NOW), "{spelling}");
            assert!(!blocked.admits(Some(&spelling), NOW), "{spelling}");
        }
        assert!(blocked.admits(Some(&bearer("our", json!({"jti": 2}))), NOW));
    }
}
