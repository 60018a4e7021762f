//! Which tokens pass, and the words for those that do not.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::cache::CACHED_TOKEN_BYTES_MAX;
use super::*;

const NOW: i64 = 1_800_000_000;

fn secret() -> Secret {
    Secret::new("a secret of at least thirty-two characters").unwrap()
}

fn base64(text: impl AsRef<[u8]>) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// A token with this header and body, signed by our secret whatever they say.
fn token(header: &str, body: &str) -> String {
    let signed = format!("{}.{}", base64(header), base64(body));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret().bytes());
    format!("{signed}.{}", base64(hmac::sign(&key, signed.as_bytes())))
}

fn hs256(body: &Value) -> String {
    let Value::Object(body) = body else { panic!("claims are an object") };
    sign(&secret(), body)
}

fn valid() -> String {
    hs256(&json!({"role": "authenticated", "exp": NOW + 60, "sub": "u1", "iat": 1_799_999_998.5}))
}

fn verifier() -> Verifier {
    Verifier::new(Config { secrets: vec![secret()], ..Config::default() })
}

fn verify(token: &str) -> Result<Arc<Claims>, TokenError> {
    verifier().verify(token, NOW)
}

#[test]
fn a_genuine_token_gives_its_claims_with_sorted_keys() {
    let claims = verify(&valid()).unwrap();
    assert_eq!(&*claims.role, "authenticated");
    assert_eq!(claims.expires_at, NOW + 60);
    let expected = format!(r#"{{"exp":{},"iat":{}.5,"role":"authenticated","sub":"u1"}}"#, NOW + 60, NOW - 2);
    assert_eq!(&*claims.json, expected);
    let nested = verify(&token(
        r#"{"alg":"HS256"}"#,
        &format!(r#"{{"z":{{"b":1,"a":[]}},"role":"anon","exp":{}}}"#, NOW + 1),
    ));
    assert_eq!(*nested.unwrap().json, format!(r#"{{"exp":{},"role":"anon","z":{{"a":[],"b":1}}}}"#, NOW + 1));
}

#[test]
fn white_space_and_uri_encoding_do_not_matter() {
    let token = valid();
    assert!(verify(&format!(" {}\n{}", &token[..9], &token[9..])).is_ok());
    assert!(verify(&token.replace('.', "%2E").replace('J', "%4a")).is_ok());
    assert_eq!(verify(&format!("{token}%FF")), Err(TokenError::Malformed));
}

#[test]
fn what_is_no_token_is_malformed() {
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    let list = format!("{}.{}.x", base64("{}"), base64("[]"));
    let header = format!("{}.{}.x", base64("1"), base64("{}"));
    let deep = format!("{}.{}.x", base64("{}"), base64(format!("{{\"a\":{}", "[".repeat(4000))));
    for text in
        ["", "a", "a.b", "a.b.c", "e30.e30", "e30.e30.x.y", "e30=.e30.x", &long, &list, &header, &deep]
    {
        assert_eq!(verify(text), Err(TokenError::Malformed), "{}", &text[..text.len().min(40)]);
    }
}

#[test]
fn only_our_algorithm_is_believed() {
    let body = format!(r#"{{"role":"authenticated","exp":{}}}"#, NOW + 60);
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"typ":"JWT"}"#,
    ] {
        assert_eq!(verify(&token(header, &body)), Err(TokenError::Signer { key_id: None }), "{header}");
    }
    let unsigned = format!("{}.{}.", base64(r#"{"alg":"none"}"#), base64(&body));
    assert_eq!(verify(&unsigned), Err(TokenError::Signer { key_id: None }));
    let asymmetric = token(r#"{"alg":"ES256","kid":"k1"}"#, &body);
    assert_eq!(verify(&asymmetric), Err(TokenError::Signer { key_id: Some("k1".into()) }));
    assert!(verify(&token(r#"{"alg":"HS256","kid":"k1"}"#, &body)).is_ok());
}

#[test]
fn a_wrong_signature_is_refused() {
    let genuine = valid();
    let (signed, signature) = genuine.rsplit_once('.').unwrap();
    let other = Secret::new("another secret").unwrap();
    let Value::Object(claims) = json!({"role": "service_role", "exp": NOW + 60}) else { unreachable!() };
    let (_, foreign) = genuine.split_once('.').unwrap();
    for forged in [
        format!("{signed}."),
        format!("{signed}.!"),
        format!("{signed}.{}", &signature[1..]),
        sign(&other, &claims),
        format!("{}.{foreign}", base64(r#"{"alg":"HS256"}"#)),
    ] {
        assert_eq!(verify(&forged), Err(TokenError::Signature));
    }
}

#[test]
fn claims_are_checked_in_the_order_of_the_wire() {
    let expired = |seconds| Err(TokenError::Expired { seconds });
    for (body, expected) in [
        (json!({"role": "anon", "exp": NOW + 1}), Ok("anon")),
        (json!({"role": "anon", "exp": NOW}), expired(0)),
        (json!({"role": "anon", "exp": NOW - 7}), expired(7)),
        (json!({"exp": NOW - 7}), expired(7)),
        (json!({"role": "anon", "exp": 1_800_000_000.4}), expired(0)),
        (json!({"role": "anon", "exp": 1_800_000_000.6}), Ok("anon")),
        (json!({"role": "anon", "exp": 1e300}), Ok("anon")),
        (json!({"role": "anon", "exp": u64::MAX}), Ok("anon")),
        (json!({"role": "anon", "exp": i64::MIN}), expired(i64::MAX)),
        (json!({"role": "anon", "exp": "tomorrow"}), Err(TokenError::InvalidExpiration)),
        (json!({"role": "anon", "exp": null}), Err(TokenError::InvalidExpiration)),
        (json!({"role": "anon", "exp": NOW + 1, "iat": "now"}), Err(TokenError::InvalidIssuedAt)),
        (json!({"role": "anon", "exp": NOW + 1, "iat": NOW + 99}), Ok("anon")),
        (json!({"role": "anon"}), Err(TokenError::MissingClaims)),
        (json!({"exp": NOW + 1}), Err(TokenError::MissingClaims)),
        (json!({"role": 7, "exp": NOW + 1}), Err(TokenError::MissingClaims)),
        (json!({}), Err(TokenError::MissingClaims)),
    ] {
        let answer = verify(&hs256(&body)).map(|claims| claims.role.to_string());
        assert_eq!(answer, expected.map(str::to_owned), "{body}");
    }
}

#[test]
fn either_of_two_secrets_will_do() {
    let next = Secret::new("the next secret of thirty-two characters").unwrap();
    let Value::Object(claims) = json!({"role": "anon", "exp": NOW + 60}) else { unreachable!() };
    let token = sign(&next, &claims);
    assert_eq!(verify(&token), Err(TokenError::Signature));
    let both = Verifier::new(Config { secrets: vec![secret(), next], ..Config::default() });
    assert!(both.verify(&token, NOW).is_ok() && both.verify(&valid(), NOW).is_ok());
}

#[test]
fn clock_skew_is_allowed_for_and_no_more() {
    let rules = Rules { clock_skew_seconds: 5, ..Rules::default() };
    let verifier = Verifier::new(Config { secrets: vec![secret()], rules, ..Config::default() });
    let token = hs256(&json!({"role": "anon", "exp": NOW}));
    // The second look at each is answered from memory.
    for _ in 0..2 {
        assert!(verifier.verify(&token, NOW + 4).is_ok());
        assert_eq!(verifier.verify(&token, NOW + 5), Err(TokenError::Expired { seconds: 5 }));
    }
}

#[test]
fn required_claims_may_be_absent_but_not_different() {
    let Value::Object(claims_required) = json!({"iss": "auth", "aud": ["a"]}) else { unreachable!() };
    let rules = Rules { claims_required, ..Rules::default() };
    let verifier = Verifier::new(Config { secrets: vec![secret()], rules, ..Config::default() });
    let differs = |name: &str| Err(TokenError::ClaimDiffers { name: name.to_owned() });
    for (more, expected) in [
        (json!({}), Ok(())),
        (json!({"iss": "auth"}), Ok(())),
        (json!({"iss": "auth", "aud": ["a"]}), Ok(())),
        (json!({"iss": "other"}), differs("iss")),
        (json!({"iss": null}), differs("iss")),
        (json!({"aud": "a"}), differs("aud")),
    ] {
        let mut body = json!({"role": "anon", "exp": NOW + 1});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(verifier.verify(&hs256(&body), NOW).map(|_| ()), expected, "{body}");
    }
}

#[test]
fn a_remembered_token_still_expires() {
    let verifier = verifier();
    let token = valid();
    let first = verifier.verify(&token, NOW).unwrap();
    let second = verifier.verify(&token, NOW + 59).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(verifier.verify(&token, NOW + 65), Err(TokenError::Expired { seconds: 5 }));
    let mut forged = token;
    forged.pop();
    assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Signature));
}

#[test]
fn long_tokens_pass_but_are_not_remembered() {
    let verifier = verifier();
    let pad = "x".repeat(CACHED_TOKEN_BYTES_MAX);
    let token = hs256(&json!({"role": "anon", "exp": NOW + 60, "pad": pad}));
    let first = verifier.verify(&token, NOW).unwrap();
    assert!(!Arc::ptr_eq(&first, &verifier.verify(&token, NOW).unwrap()));
}

#[test]
fn refusals_speak_the_words_that_clients_know() {
    let signer = "Failed to generate JWT signer, check your JWT secret or JWKS configuration";
    let signer_k1 =
        "Failed to generate JWT signer for key ID (kid) \"k1\", check your JWT secret or JWKS configuration";
    for (error, connect, join) in [
        (
            TokenError::Malformed,
            (401, "The token provided is not a valid JWT"),
            "MalformedJWT: The token provided is not a valid JWT".into(),
        ),
        (TokenError::Signer { key_id: None }, (401, signer), format!("JwtSignerError: {signer}")),
        (
            TokenError::Signer { key_id: Some("k1".into()) },
            (401, signer_k1),
            format!("JwtSignerError: {signer_k1}"),
        ),
        (
            TokenError::Signature,
            (401, "Failed to validate JWT signature"),
            "JwtSignatureError: Failed to validate JWT signature".into(),
        ),
        (
            TokenError::Expired { seconds: 3 },
            (401, "Token has expired"),
            "InvalidJWTToken: Token has expired 3 seconds ago".into(),
        ),
        (
            TokenError::MissingClaims,
            (401, "Fields `role` and `exp` are required in JWT"),
            "InvalidJWTToken: Fields `role` and `exp` are required in JWT".into(),
        ),
        (
            TokenError::InvalidExpiration,
            (500, "Error connecting to Realtime"),
            "InvalidJWTToken: Token expiration time is invalid".into(),
        ),
        (
            TokenError::InvalidIssuedAt,
            (500, "Error connecting to Realtime"),
            "InvalidJWTToken: Token issue time is invalid".into(),
        ),
        (
            TokenError::ClaimDiffers { name: "iss".into() },
            (500, "Error connecting to Realtime"),
            "InvalidJWTToken: Token claim \"iss\" does not have the required value".into(),
        ),
    ] {
        assert_eq!(error.connect(), (connect.0, connect.1.to_owned()));
        assert_eq!(error.join_reason(), join);
    }
    let system = TokenError::Expired { seconds: 0 }.system_message();
    assert_eq!(system, "Token has expired 0 seconds ago");
}

#[test]
fn secrets_are_never_empty_and_never_shown() {
    assert_eq!(Secret::new(""), Err(EmptySecret));
    assert_eq!(format!("{:?}", secret()), "[redacted]");
    assert_eq!(
        format!("{:?}", verifier()),
        "Verifier { sets: [KeySet { keys: 0, .. }, KeySet { keys: 0, .. }, KeySet { keys: 0, .. }], .. }"
    );
}

#[test]
fn a_role_that_is_not_listed_is_refused() {
    let publishable = "sb_publishable_0123456789abcdef";
    let with = |roles| {
        let rules = Rules { roles, ..Rules::default() };
        let api_keys = ApiKeys::new([publishable], []);
        Verifier::new(Config { secrets: vec![secret()], api_keys, rules, ..Config::default() })
    };
    let (some, any) = (with(Roles::Only(vec!["editor".to_owned()])), with(Roles::Any));
    let named = |role: &str| hs256(&json!({"role": role, "exp": NOW + 1}));
    // The second look at each is answered from memory.
    for _ in 0..2 {
        assert!(some.verify(&named("editor"), NOW).is_ok() && some.check_role("editor").is_ok());
        for role in ["postgres", "anon", "Editor", "editor ", ""] {
            let refused = Some(TokenError::RoleNotAllowed { role: role.to_owned() });
            assert_eq!(some.verify(&named(role), NOW).err(), refused);
            assert_eq!(some.check_role(role).err(), refused);
            assert!(any.verify(&named(role), NOW).is_ok() && any.check_role(role).is_ok());
        }
    }
    assert_eq!(some.verify(publishable, NOW), Err(TokenError::RoleNotAllowed { role: "anon".to_owned() }));
    assert_eq!(&*any.verify(publishable, NOW).unwrap().role, "anon");
}
