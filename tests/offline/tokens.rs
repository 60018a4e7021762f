//! Which key verifies which token: every algorithm, every way to mix them up, and keys that change meanwhile.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rowcast::auth::{
    ApiKeys, Audience, Config, InvalidKeySet, InvalidSigningKey, KEY_SET_BYTES_MAX, KEYS_MAX, KeySet,
    KeySource, Secret, SigningKey, TOKEN_BYTES_MAX, TokenError, Unusable, Verifier,
};
use serde_json::{Value, json};

use crate::signer::{ALGORITHMS, Signer, base64, key_set, symmetric_token};

const NOW: i64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of at least thirty-two characters";

/// One issuer for each algorithm; its key id is the algorithm's name.
static ISSUERS: LazyLock<Vec<Signer>> =
    LazyLock::new(|| ALGORITHMS.iter().map(|name| Signer::generate(name, name)).collect());

fn issuer(algorithm: &str) -> &'static Signer {
    let place = ALGORITHMS.iter().position(|name| *name == algorithm).unwrap();
    &ISSUERS[place]
}

fn claims() -> Value {
    json!({ "role": "authenticated", "sub": "ann", "exp": NOW + 60 })
}

fn keys(text: &str) -> KeySet {
    KeySet::parse(text.as_bytes(), Audience::Private).unwrap()
}

/// Knows these keys, and the shared secret if there is to be one.
fn verifier(keys: KeySet, secret: Option<&[u8]>) -> Verifier {
    let secrets = secret.map(|secret| Secret::new(secret).unwrap()).into_iter().collect();
    Verifier::new(Config { secrets, keys, ..Config::default() })
}

fn knowing(keys: KeySet) -> Verifier {
    verifier(keys, None)
}

fn all_issuers() -> Verifier {
    verifier(keys(&key_set(ISSUERS.iter())), Some(SECRET))
}

fn answer(verifier: &Verifier, token: &str) -> Result<String, TokenError> {
    verifier.verify(token, NOW).map(|claims| claims.role.to_string())
}

fn no_key(key_id: &str) -> Result<String, TokenError> {
    Err(TokenError::Signer { key_id: Some(key_id.to_owned()) })
}

#[test]
fn every_algorithm_is_verified_by_its_own_key() {
    let verifier = all_issuers();
    for (issuer, name) in ISSUERS.iter().zip(ALGORITHMS) {
        let token = issuer.token(&claims());
        assert_eq!(answer(&verifier, &token).as_deref(), Ok("authenticated"), "{name}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = issuer.token(&json!({ "role": "service_role", "exp": NOW + 60 }));
        let other = other.rsplit_once('.').unwrap().0;
        for forged in [format!("{other}.{signature}"), format!("{signed}.{}", &signature[4..])] {
            assert_eq!(answer(&verifier, &forged), Err(TokenError::Signature), "{name}");
        }
    }
}

#[test]
fn a_second_implementation_agrees() {
    for (name, algorithm) in
        [("ES256", jsonwebtoken::Algorithm::ES256), ("ES384", jsonwebtoken::Algorithm::ES384)]
    {
        let issuer = issuer(name);
        let header =
            jsonwebtoken::Header { kid: Some(name.to_owned()), ..jsonwebtoken::Header::new(algorithm) };
        let key = jsonwebtoken::EncodingKey::from_ec_der(&issuer.pkcs8());
        let theirs = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
        assert!(answer(&all_issuers(), &theirs).is_ok(), "{name}");
    }
}

#[test]
fn no_key_verifies_the_token_of_another() {
    for (owner, name) in ISSUERS.iter().zip(ALGORITHMS) {
        for other in ALGORITHMS.iter().filter(|other| **other != name) {
            // Another key under the name that the token asks for.
            let mut jwk = issuer(other).jwk();
            jwk["kid"] = json!(name);
            let verifier = verifier(keys(&json!([jwk]).to_string()), None);
            let answer = answer(&verifier, &owner.token(&claims()));
            assert!(
                matches!(answer, Err(TokenError::Signer { .. } | TokenError::Signature)),
                "{name}, {other}: {answer:?}"
            );
        }
    }
}

#[test]
fn a_token_that_names_no_known_key_has_no_signer() {
    let asymmetric = keys(&key_set([issuer("ES256"), issuer("RS256"), issuer("EdDSA")]));
    let verifier = verifier(asymmetric, Some(SECRET));
    let stranger = Signer::generate("ES256", "k9");
    assert_eq!(answer(&verifier, &stranger.token(&claims())), no_key("k9"));
    for kid in [json!(null), json!(7), json!(["ES256"])] {
        let token = issuer("ES256").token_under(&json!({ "alg": "ES256", "kid": kid }), &claims());
        assert_eq!(answer(&verifier, &token), Err(TokenError::Signer { key_id: None }), "{kid}");
    }
    let unnamed = issuer("ES256").token_under(&json!({ "alg": "ES256" }), &claims());
    assert_eq!(answer(&verifier, &unnamed), Err(TokenError::Signer { key_id: None }));
}

#[test]
fn the_shared_secret_answers_for_key_ids_that_are_in_no_set() {
    let set = keys(&key_set([issuer("HS256"), issuer("ES256")]));
    let both = verifier(set.clone(), Some(SECRET));
    let by_secret = |kid: &str| symmetric_token(&json!({ "alg": "HS256", "kid": kid }), &claims(), SECRET);
    for kid in ["k9", "ES256"] {
        assert!(answer(&both, &by_secret(kid)).is_ok(), "{kid}");
        assert_eq!(answer(&verifier(set.clone(), None), &by_secret(kid)), no_key(kid));
    }
    // This one is in the set, and so the secret has nothing to say.
    assert_eq!(answer(&both, &by_secret("HS256")), Err(TokenError::Signature));
    assert!(answer(&both, &issuer("HS256").token(&claims())).is_ok());
}

#[test]
fn unsigned_tokens_and_unknown_algorithms_have_no_signer() {
    let verifier = all_issuers();
    for algorithm in [
        "none", "None", "nOnE", "NONE", "", "hs256", "HS1", "PS256", "PS512", "ES256K", "Ed448", "RSA-OAEP",
        "dir",
    ] {
        for kid in ["RS256", "HS256", "EdDSA"] {
            let header = json!({ "alg": algorithm, "kid": kid });
            let unsigned = format!("{}.{}.", base64(header.to_string()), base64(claims().to_string()));
            assert_eq!(answer(&verifier, &unsigned), no_key(kid), "{algorithm}");
            let signed = issuer(kid).token_under(&header, &claims());
            assert_eq!(answer(&verifier, &signed), no_key(kid), "{algorithm}");
        }
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    for name in ["RS256", "ES256", "EdDSA"] {
        let jwk = issuer(name).jwk();
        let part = |field: &str| jwk[field].as_str().unwrap_or_default().to_owned();
        let decoded = |field: &str| base64_bytes(&part(field));
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", part("n") + &part("x"));
        let set = key_set([issuer(name)]);
        for guess in [
            jwk.to_string().into_bytes(),
            set.into_bytes(),
            pem.trim().as_bytes().to_vec(),
            pem.into_bytes(),
            [part("n"), part("x"), part("y")].concat().into_bytes(),
            [decoded("n"), decoded("x"), decoded("y")].concat(),
            [vec![4], decoded("n"), decoded("x"), decoded("y")].concat(),
            Vec::new(),
        ] {
            for algorithm in ["HS256", "HS384", "HS512"] {
                let forged = symmetric_token(&json!({ "alg": algorithm, "kid": name }), &claims(), &guess);
                assert_eq!(answer(&all_issuers(), &forged), Err(TokenError::Signature), "{name}");
                let keys_alone = verifier(keys(&key_set([issuer(name)])), None);
                assert_eq!(answer(&keys_alone, &forged), no_key(name));
                // Under its own algorithm the key sees no signature of its own either.
                let (_, rest) = forged.split_once('.').unwrap();
                let header = json!({ "alg": name, "kid": name });
                let relabelled = format!("{}.{rest}", base64(header.to_string()));
                assert_eq!(answer(&all_issuers(), &relabelled), Err(TokenError::Signature), "{name}");
            }
        }
    }
}

fn base64_bytes(text: &str) -> Vec<u8> {
    use ::base64::Engine;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let stranger = Signer::generate("ES256", "ES256");
    let mut header = json!({ "alg": "ES256", "kid": "ES256" });
    header["jwk"] = stranger.jwk();
    header["jku"] = json!("https://example.com/keys");
    header["x5u"] = json!("https://example.com/certificate");
    header["x5c"] = json!(["MIIB"]);
    assert_eq!(answer(&all_issuers(), &stranger.token_under(&header, &claims())), Err(TokenError::Signature));
    header["kid"] = json!("stranger");
    assert_eq!(answer(&all_issuers(), &stranger.token_under(&header, &claims())), no_key("stranger"));
}

#[test]
fn headers_that_change_the_meaning_are_refused() {
    for (more, is_good) in [
        (json!({ "typ": "anything" }), true),
        (json!({ "b64": true }), true),
        (json!({ "b64": false }), false),
        (json!({ "b64": "true" }), false),
        (json!({ "crit": ["exp"] }), false),
        (json!({ "crit": [], "b64": true }), false),
        (json!({ "crit": null }), false),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "ES256" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = answer(&all_issuers(), &issuer("ES256").token_under(&header, &claims()));
        assert_eq!(answer.is_ok(), is_good, "{more}");
        assert!(is_good || answer == Err(TokenError::Malformed), "{more}");
    }
}

#[test]
fn oversized_tokens_are_refused_unread() {
    let mut claims = claims();
    claims["pad"] = json!("x".repeat(TOKEN_BYTES_MAX));
    assert_eq!(answer(&all_issuers(), &issuer("ES256").token(&claims)), Err(TokenError::Malformed));
}

/// Why the only key of a set cannot be used.
fn why_unusable(jwk: &Value) -> Option<Unusable> {
    let set = keys(&json!({ "keys": [jwk] }).to_string());
    assert_eq!(set.len() + set.skipped().len(), 1, "{jwk}");
    set.skipped().first().map(|skipped| skipped.reason)
}

/// A key with these fields in place of its own; `null` takes one away.
fn altered(algorithm: &str, fields: Value) -> Value {
    let mut jwk = issuer(algorithm).jwk();
    for (name, value) in fields.as_object().unwrap() {
        if value.is_null() {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    jwk
}

#[test]
fn a_key_is_used_for_what_it_says_and_nothing_else() {
    for (algorithm, fields, expected) in [
        ("RS256", json!({ "use": "sig" }), None),
        ("RS256", json!({ "use": "enc" }), Some(Unusable::Purpose)),
        ("RS256", json!({ "use": ["sig"] }), Some(Unusable::Purpose)),
        ("ES256", json!({ "key_ops": ["verify"] }), None),
        ("ES256", json!({ "key_ops": ["sign", "verify"], "use": "sig" }), None),
        ("ES256", json!({ "key_ops": ["sign"] }), Some(Unusable::Purpose)),
        ("ES256", json!({ "key_ops": [] }), Some(Unusable::Purpose)),
        ("ES256", json!({ "key_ops": "verify" }), Some(Unusable::Purpose)),
        ("ES256", json!({ "key_ops": ["verify"], "use": "enc" }), Some(Unusable::Purpose)),
        ("ES256", json!({ "alg": "ES256" }), None),
        ("ES256", json!({ "alg": "ES384" }), Some(Unusable::Algorithm)),
        ("ES256", json!({ "alg": "HS256" }), Some(Unusable::Algorithm)),
        ("ES256", json!({ "alg": "none" }), Some(Unusable::Algorithm)),
        ("ES256", json!({ "alg": 7 }), Some(Unusable::Algorithm)),
        ("RS256", json!({ "alg": "PS256" }), Some(Unusable::Algorithm)),
        ("RS256", json!({ "alg": "RSA-OAEP" }), Some(Unusable::Algorithm)),
        ("HS256", json!({ "alg": "RS256" }), Some(Unusable::Algorithm)),
        ("EdDSA", json!({ "alg": "Ed25519" }), None),
        ("ES256", json!({ "kid": null }), Some(Unusable::NoKeyId)),
        ("ES256", json!({ "kid": "" }), Some(Unusable::NoKeyId)),
        ("ES256", json!({ "kid": 1 }), Some(Unusable::NoKeyId)),
        ("ES256", json!({ "kty": "ec" }), Some(Unusable::Type)),
        ("ES256", json!({ "kty": null }), Some(Unusable::Type)),
    ] {
        assert_eq!(why_unusable(&altered(algorithm, fields.clone())), expected, "{fields}");
    }
}

#[test]
fn broken_and_weak_keys_are_not_used() {
    let rsa_1024 = base64([&[0xff][..], &[7; 127]].concat());
    let rsa_2047 = base64([&[0x7f][..], &[7; 255]].concat());
    let rsa_8200 = base64([&[0xff][..], &[7; 1024]].concat());
    let padded = base64([vec![0], base64_bytes(issuer("RS256").jwk()["n"].as_str().unwrap())].concat());
    let other_y = issuer("ES384").jwk()["y"].clone();
    for (algorithm, fields, expected) in [
        ("RS256", json!({ "n": padded }), None),
        ("RS256", json!({ "n": rsa_1024 }), Some(Unusable::Weak)),
        ("RS256", json!({ "n": rsa_2047 }), Some(Unusable::Weak)),
        ("RS256", json!({ "n": rsa_8200 }), Some(Unusable::Weak)),
        ("RS256", json!({ "n": "" }), Some(Unusable::Weak)),
        ("RS256", json!({ "n": "***" }), Some(Unusable::Malformed)),
        ("RS256", json!({ "e": base64([1]) }), Some(Unusable::Malformed)),
        ("RS256", json!({ "e": base64([0, 0]) }), Some(Unusable::Malformed)),
        ("RS256", json!({ "e": base64([4]) }), Some(Unusable::Malformed)),
        ("RS256", json!({ "e": null }), Some(Unusable::Malformed)),
        ("ES256", json!({ "crv": "P-384" }), Some(Unusable::Malformed)),
        ("ES256", json!({ "crv": "secp256k1" }), Some(Unusable::Curve)),
        ("ES256", json!({ "crv": "Ed25519" }), Some(Unusable::Curve)),
        ("ES256", json!({ "x": base64([7; 32]) }), Some(Unusable::Malformed)),
        ("ES256", json!({ "x": base64([0; 32]), "y": base64([0; 32]) }), Some(Unusable::Malformed)),
        ("ES256", json!({ "y": other_y }), Some(Unusable::Malformed)),
        ("ES256", json!({ "y": null }), Some(Unusable::Malformed)),
        ("EdDSA", json!({ "crv": "Ed448" }), Some(Unusable::Curve)),
        ("EdDSA", json!({ "crv": "X25519" }), Some(Unusable::Curve)),
        ("EdDSA", json!({ "x": base64([1; 31]) }), Some(Unusable::Malformed)),
        ("HS256", json!({ "k": "" }), Some(Unusable::Weak)),
        ("HS256", json!({ "k": base64([1; 31]) }), Some(Unusable::Weak)),
        ("HS256", json!({ "k": base64([1; 32]) }), None),
        ("HS256", json!({ "k": format!("{}=", base64([1; 32])) }), Some(Unusable::Malformed)),
        ("HS256", json!({ "k": [1, 2] }), Some(Unusable::Malformed)),
        ("HS256", json!({ "k": null }), Some(Unusable::Malformed)),
    ] {
        assert_eq!(why_unusable(&altered(algorithm, fields.clone())), expected, "{fields}");
    }
    assert_eq!(why_unusable(&json!("key")), Some(Unusable::NoObject));
}

#[test]
fn an_algorithm_in_the_key_is_the_only_one_it_is_used_with() {
    let jwk = altered("RS256", json!({ "alg": "RS512" }));
    let verifier = verifier(keys(&json!([jwk]).to_string()), None);
    let token = issuer("RS256").token(&claims());
    assert_eq!(answer(&verifier, &token), no_key("RS256"));
    // Without it, one RSA key does for all three.
    let unrestricted = all_issuers();
    let header = json!({ "alg": "RS512", "kid": "RS256" });
    let other = issuer("RS512").token_under(&header, &claims());
    assert_eq!(answer(&unrestricted, &other), Err(TokenError::Signature));
}

#[test]
fn of_two_keys_with_one_name_the_first_counts() {
    let (first, second) = (Signer::generate("ES256", "k"), Signer::generate("ES256", "k"));
    let set = keys(&key_set([&first, &second]));
    assert_eq!(set.skipped()[0].to_string(), "key 2: an earlier key has the same `kid` and `kty`");
    let verifier = verifier(set, None);
    assert!(answer(&verifier, &first.token(&claims())).is_ok());
    assert_eq!(answer(&verifier, &second.token(&claims())), Err(TokenError::Signature));
    // So it is with two places, whatever the curve.
    let third = Signer::generate("ES384", "k");
    verifier.replace_keys(KeySource::Url, keys(&key_set([&third])));
    assert_eq!(answer(&verifier, &third.token(&claims())), no_key("k"));
    assert!(answer(&verifier, &first.token(&claims())).is_ok());
    // A key of another kind may have the same name.
    let other = Signer::generate("EdDSA", "k");
    assert!(keys(&key_set([&first, &other])).skipped().is_empty());
}

#[test]
fn a_shared_secret_that_anybody_can_read_is_not_used() {
    let text = key_set([issuer("HS256"), issuer("ES256")]);
    let set = KeySet::parse(text.as_bytes(), Audience::Public).unwrap();
    assert_eq!((set.len(), set.skipped()[0].reason), (1, Unusable::Exposed));
    let verifier = verifier(set, None);
    assert_eq!(answer(&verifier, &issuer("HS256").token(&claims())), no_key("HS256"));
    assert!(answer(&verifier, &issuer("ES256").token(&claims())).is_ok());
}

#[test]
fn what_is_no_key_set_is_refused_whole() {
    let parse = |text: &str| KeySet::parse(text.as_bytes(), Audience::Private).map(|set| set.len());
    for text in ["", "null", "7", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, "[", "\u{feff}[]", "<html>"] {
        assert_eq!(parse(text), Err(InvalidKeySet::Malformed), "{text}");
    }
    assert_eq!(parse(&"[".repeat(9000)), Err(InvalidKeySet::Malformed));
    assert_eq!(parse(&" ".repeat(KEY_SET_BYTES_MAX + 1)), Err(InvalidKeySet::TooLong));
    let many = |count| Value::Array(vec![json!({}); count]).to_string();
    assert_eq!(parse(&many(KEYS_MAX + 1)), Err(InvalidKeySet::TooMany));
    assert_eq!(parse(&many(KEYS_MAX)), Ok(0));
    assert_eq!((parse("[]"), parse(r#"{"keys":[]}"#)), (Ok(0), Ok(0)));
}

#[test]
fn a_withdrawn_key_verifies_nothing_more_and_a_new_one_does() {
    let (old, new) = (Signer::generate("ES256", "old"), Signer::generate("EdDSA", "new"));
    let verifier = verifier(KeySet::default(), Some(SECRET));
    let (by_old, by_new) = (old.token(&claims()), new.token(&claims()));
    for source in [KeySource::File, KeySource::Url] {
        verifier.replace_keys(source, keys(&key_set([&old])));
        assert!(answer(&verifier, &by_old).is_ok());
        assert_eq!(answer(&verifier, &by_new), no_key("new"));
        verifier.replace_keys(source, keys(&key_set([&new])));
        assert_eq!(answer(&verifier, &by_old), no_key("old"), "remembered after it was withdrawn");
        assert!(answer(&verifier, &by_new).is_ok());
        verifier.replace_keys(source, KeySet::default());
        assert_eq!(answer(&verifier, &by_new), no_key("new"));
    }
}

#[test]
fn no_thread_remembers_what_a_withdrawn_key_has_verified() {
    let old = Signer::generate("EdDSA", "old");
    let token = old.token(&claims());
    let verifier = verifier(KeySet::default(), None);
    let (with, without) = (keys(&key_set([&old])), KeySet::default());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = verifier.verify(&token, NOW);
                }
            });
        }
        for _ in 0..300 {
            verifier.replace_keys(KeySource::Url, with.clone());
            assert!(answer(&verifier, &token).is_ok());
            verifier.replace_keys(KeySource::Url, without.clone());
            assert_eq!(answer(&verifier, &token), no_key("old"));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[tokio::test]
async fn a_missing_key_is_told_once_and_a_forged_token_is_not() {
    let verifier = all_issuers();
    let told = async |verifier: &Verifier| {
        tokio::time::timeout(std::time::Duration::ZERO, verifier.key_missing()).await.is_ok()
    };
    let (signed, _) =
        issuer("ES256").token(&claims()).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
    assert!(answer(&verifier, &format!("{signed}.")).is_err());
    assert!(
        answer(&verifier, &issuer("ES256").token_under(&json!({ "alg": "x", "kid": "y" }), &claims()))
            .is_err()
    );
    assert!(!told(&verifier).await);
    for _ in 0..9 {
        assert!(answer(&verifier, &Signer::generate("ES256", "k9").token(&claims())).is_err());
    }
    assert!(told(&verifier).await);
    assert!(!told(&verifier).await);
}

#[test]
fn api_keys_are_as_good_as_tokens_of_their_role() {
    let api_keys = ApiKeys::new(["sb_publishable_0123456789abcdef"], ["sb_secret_0123456789abcdef"]);
    let verifier = Verifier::new(Config { api_keys, ..Config::default() });
    assert_eq!(answer(&verifier, "sb_publishable_0123456789abcdef").as_deref(), Ok("anon"));
    assert_eq!(answer(&verifier, "sb_secret_0123456789abcdef").as_deref(), Ok("service_role"));
    for unknown in ["sb_", "sb_secret_", "sb_secret_0123456789abcdee", " sb_publishable_x"] {
        assert_eq!(answer(&verifier, unknown), Err(TokenError::UnknownApiKey), "{unknown}");
    }
}

#[test]
fn a_private_key_signs_what_its_public_half_verifies() {
    let verifier = all_issuers();
    for (issuer, name) in ISSUERS.iter().zip(ALGORITHMS) {
        let jwk = issuer.private_jwk();
        for text in [jwk.to_string(), json!([jwk]).to_string(), json!({ "keys": [jwk] }).to_string()] {
            let key = SigningKey::parse(text.as_bytes()).unwrap();
            let token = key.sign(claims().as_object().unwrap()).unwrap();
            assert_eq!(answer(&verifier, &token).as_deref(), Ok("authenticated"), "{name}");
            // The file of a private key does as a key set too.
            assert!(answer(&knowing(keys(&text)), &token).is_ok(), "{name}");
            assert_eq!(format!("{key:?}"), "[redacted]");
        }
    }
}

#[test]
fn what_is_no_private_key_signs_nothing() {
    let parse = |jwk: &Value| SigningKey::parse(jwk.to_string().as_bytes()).map(|_| ()).unwrap_err();
    for name in ["RS256", "ES256", "EdDSA"] {
        assert_eq!(parse(&issuer(name).jwk()), InvalidSigningKey::NoPrivateKey, "{name}");
        let mut mixed = issuer(name).private_jwk();
        mixed["d"] = json!(base64([7; 32]));
        assert_eq!(parse(&mixed), InvalidSigningKey::Unusable, "{name}");
        let mut relabelled = issuer(name).private_jwk();
        relabelled["alg"] = json!("HS256");
        assert_eq!(parse(&relabelled), InvalidSigningKey::Unusable, "{name}");
    }
    assert_eq!(
        parse(&json!({ "kty": "OKP", "crv": "Ed448", "d": "", "x": "" })),
        InvalidSigningKey::Unusable
    );
    assert_eq!(parse(&json!({ "d": "" })), InvalidSigningKey::NoKeySet(InvalidKeySet::Malformed));
    assert_eq!(parse(&json!([])), InvalidSigningKey::NoPrivateKey);
}

#[test]
fn no_part_of_a_key_is_ever_shown() {
    let shown = format!("{:?} {:?}", all_issuers(), keys(&key_set(ISSUERS.iter())));
    for issuer in ISSUERS.iter() {
        for part in issuer.jwk().as_object().unwrap().values().filter_map(Value::as_str) {
            assert!(part.len() < 20 || !shown.contains(part), "{shown}");
        }
    }
}

/// One verifier and one token of each algorithm: what a property is tried on.
static GENUINE: LazyLock<(Verifier, Vec<String>)> = LazyLock::new(|| {
    let tokens = ISSUERS.iter().map(|issuer| issuer.token(&claims())).collect();
    (all_issuers(), tokens)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_token_with_one_bit_flipped_never_verifies(
        which in 0..ALGORITHMS.len(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let (verifier, tokens) = &*GENUINE;
        let mut bytes = tokens[which].clone().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // What is no text cannot be asked about.
        if let Ok(token) = String::from_utf8(bytes) {
            prop_assert!(answer(verifier, &token).is_err(), "{} at {at}", ALGORITHMS[which]);
        }
    }

    #[test]
    fn no_text_makes_a_key_set_panic(text in "\\PC*", kty in "RSA|EC|OKP|oct", value in "[A-Za-z0-9_-]{0,90}") {
        let _ = KeySet::parse(text.as_bytes(), Audience::Public);
        let jwk = json!([{ "kty": kty, "kid": "k", "crv": "P-256", "n": value, "e": text, "x": value, "y": value, "k": value }]);
        prop_assert_eq!(keys(&jwk.to_string()).skipped().len() + keys(&jwk.to_string()).len(), 1);
    }
}
