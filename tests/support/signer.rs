//! Issuers of tokens: a fresh key of any kind, its public half as a JSON Web Key, and tokens signed with it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use aws_lc_rs::encoding::{AsBigEndian, AsDer};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Every algorithm that tokens may be signed with.
pub const ALGORITHMS: [&str; 11] =
    ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];

/// A key and the algorithm it signs by.
pub struct Signer {
    algorithm: &'static str,
    kid: String,
    key: SigningKey,
}

enum SigningKey {
    Symmetric(Vec<u8>),
    Rsa(RsaKeyPair),
    Elliptic(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl Signer {
    /// A new key for this algorithm.
    pub fn generate(algorithm: &'static str, kid: &str) -> Self {
        let key = match algorithm {
            "HS256" | "HS384" | "HS512" => {
                let mut secret = vec![0; 64];
                aws_lc_rs::rand::fill(&mut secret).unwrap();
                SigningKey::Symmetric(secret)
            }
            "RS256" | "RS384" | "RS512" => SigningKey::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            "ES256" => {
                SigningKey::Elliptic(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            "ES384" => {
                SigningKey::Elliptic(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
            }
            "ES512" => {
                SigningKey::Elliptic(EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap())
            }
            _ => SigningKey::Edwards(Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, kid: kid.to_owned(), key }
    }

    /// What its verifiers are given.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            SigningKey::Symmetric(secret) => json!({ "kty": "oct", "k": base64(secret) }),
            SigningKey::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let n = base64(n.big_endian_without_leading_zero());
                json!({ "kty": "RSA", "n": n, "e": base64(e.big_endian_without_leading_zero()) })
            }
            SigningKey::Elliptic(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = match self.algorithm {
                    "ES256" => "P-256",
                    "ES384" => "P-384",
                    _ => "P-521",
                };
                json!({ "kty": "EC", "crv": crv, "x": base64(x), "y": base64(y) })
            }
            SigningKey::Edwards(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// What the owner of the key keeps.
    pub fn private_jwk(&self) -> Value {
        let mut jwk = self.jwk();
        match &self.key {
            // A shared secret has no public half.
            SigningKey::Symmetric(_) => jwk["alg"] = json!(self.algorithm),
            SigningKey::Rsa(pair) => {
                jwk["alg"] = json!(self.algorithm);
                let pkcs8 = pair.as_der().unwrap();
                let parts = rsa_parts(pkcs8.as_ref());
                for (name, part) in ["d", "p", "q", "dp", "dq", "qi"].iter().zip(&parts[3..]) {
                    jwk[name] = json!(base64(part));
                }
            }
            SigningKey::Elliptic(pair) => {
                jwk["d"] = json!(base64(pair.private_key().as_be_bytes().unwrap().as_ref()));
            }
            SigningKey::Edwards(pair) => {
                jwk["d"] = json!(base64(pair.seed().unwrap().as_be_bytes().unwrap().as_ref()));
            }
        }
        jwk
    }

    /// The private key as PKCS #8, if it is one of an elliptic curve.
    pub fn pkcs8(&self) -> Vec<u8> {
        match &self.key {
            SigningKey::Elliptic(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            _ => panic!("only elliptic curves are asked for"),
        }
    }

    /// A token with the header that belongs to the key.
    pub fn token(&self, claims: &Value) -> String {
        self.token_under(&json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" }), claims)
    }

    /// A token with any header, signed all the same.
    pub fn token_under(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        format!("{signed}.{}", base64(self.signature(signed.as_bytes())))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match (&self.key, self.algorithm) {
            (SigningKey::Symmetric(secret), algorithm) => symmetric_signature(algorithm, secret, message),
            (SigningKey::Rsa(pair), algorithm) => {
                let encoding = match algorithm {
                    "RS256" => &RSA_PKCS1_SHA256,
                    "RS384" => &RSA_PKCS1_SHA384,
                    _ => &RSA_PKCS1_SHA512,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            (SigningKey::Elliptic(pair), _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            (SigningKey::Edwards(pair), _) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// The numbers of an RSA key in PKCS #8: version, modulus, public exponent, and then what is private (RFC 8017, A.1.2).
fn rsa_parts(pkcs8: &[u8]) -> Vec<&[u8]> {
    /// The content of the element at the front, and what follows it.
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, start) = match der[1] {
            0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
            0x81 => (usize::from(der[2]), 3),
            short => (usize::from(short), 2),
        };
        (&der[start..start + length], &der[start + length..])
    }
    let (info, _) = element(pkcs8);
    let (_, after_version) = element(info);
    let (_, after_algorithm) = element(after_version);
    let (key, _) = element(after_algorithm);
    let (mut numbers, _) = element(key);
    let mut parts = Vec::new();
    while !numbers.is_empty() {
        let (number, rest) = element(numbers);
        parts.push(number);
        numbers = rest;
    }
    parts
}

/// A token whose header says anything, signed with a shared secret.
pub fn symmetric_token(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let algorithm = header["alg"].as_str().unwrap_or("HS256");
    format!("{signed}.{}", base64(symmetric_signature(algorithm, secret, signed.as_bytes())))
}

fn symmetric_signature(algorithm: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        "HS512" => hmac::HMAC_SHA512,
        "HS384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
}

/// A key set as issuers publish it.
pub fn key_set<'a>(signers: impl IntoIterator<Item = &'a Signer>) -> String {
    json!({ "keys": signers.into_iter().map(Signer::jwk).collect::<Vec<_>>() }).to_string()
}

/// base64url without padding.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
