//! `rowcast token`: signs a token to test with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::auth;
use crate::config::Secret;
use crate::telemetry::clock;

use super::flags::{SECRET, SettingFlags};
use super::{Error, print};

/// Sign a token to test with
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Database role that policies see
    #[arg(long, default_value = "authenticated")]
    role: String,
    /// Subject: what auth.uid() returns
    #[arg(long, value_name = "UUID")]
    sub: Option<String>,
    /// How long it is valid: a number and s, m, h, d or y
    #[arg(long, default_value = "1h", value_parser = duration)]
    ttl: Duration,
    /// More claims, as a JSON object; they win over the others
    #[arg(long, value_name = "JSON", value_parser = object)]
    claims: Option<Map<String, Value>>,
    /// Sign with the private JSON Web Key in this file, and not with jwt_secret
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print one JSON object with the token and its claims
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: SettingFlags<SECRET>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast token --sub 7d1f4a52-6c0e-4b8e-9f57-0a1b2c3d4e5f
  rowcast token --role anon --ttl 10y
  rowcast token --sub 7d1f4a52-6c0e-4b8e-9f57-0a1b2c3d4e5f --claims '{\"org_id\": 7}' --json
  rowcast token --key-file signing-key.json

It is signed with HS256 and the key in ROWCAST_JWT_SECRET (or --jwt-secret, or the file), or with the key in
--key-file and its own algorithm; the server knows that key's token if its public half is in a key set.";

/// Longer, and the time of expiry would no longer fit a 32-bit clock somewhere.
const TTL_MAX: Duration = Duration::from_secs(10 * YEAR_S);
const YEAR_S: u64 = 365 * 24 * 3600;

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut claims = claims(&arguments.role, arguments.sub.as_deref(), clock::unix_time(), arguments.ttl);
    claims.extend(arguments.claims.clone().unwrap_or_default());
    let token = match &arguments.key_file {
        Some(path) => sign_with_file(path, &claims)?,
        None => sign(&arguments.flags.resolve()?.jwt_secret()?, &claims)?,
    };
    if arguments.json {
        print(format_args!("{:#}", serde_json::json!({ "token": token, "claims": claims })));
    } else {
        print(token);
    }
    Ok(())
}

/// What a token says: the role, who, since when and until when.
pub(super) fn claims(role: &str, sub: Option<&str>, now: Duration, ttl: Duration) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("role".to_owned(), role.into());
    if let Some(sub) = sub {
        claims.insert("sub".to_owned(), sub.into());
        claims.insert("aud".to_owned(), role.into());
    }
    claims.insert("iss".to_owned(), "rowcast".into());
    claims.insert("iat".to_owned(), now.as_secs().into());
    claims.insert("exp".to_owned(), (now + ttl).as_secs().into());
    claims
}

/// The claims as a JWT, signed with HS256.
pub(super) fn sign(secret: &Secret, claims: &Map<String, Value>) -> Result<String, Error> {
    let secret = auth::Secret::new(secret.expose()).map_err(|error| Error::failed(&error))?;
    Ok(auth::sign(&secret, claims))
}

/// The claims as a JWT, signed with the private key in a file and its algorithm.
fn sign_with_file(path: &Path, claims: &Map<String, Value>) -> Result<String, Error> {
    let wrong = |error: &dyn std::error::Error| {
        Error::usage(format_args!("could not sign with {}: {error}", path.display()))
            .help("give a file with a private JSON Web Key: a public one cannot sign")
    };
    let text = std::fs::read(path).map_err(|error| wrong(&error))?;
    let key = auth::SigningKey::parse(&text).map_err(|error| wrong(&error))?;
    key.sign(claims).map_err(|error| wrong(&error))
}

fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and s, m, h, d or y, such as 15m, up to 10y".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "y" => YEAR_S,
        _ => return Err(expected()),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_s));
    seconds.map(Duration::from_secs).filter(|ttl| *ttl <= TTL_MAX).ok_or_else(expected)
}

pub(super) fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err("expected a JSON object, such as {\"org_id\": 7}".to_owned()),
        Err(error) => Err(format!("expected a JSON object: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{TTL_MAX, claims, duration, object, sign};
    use crate::config::Secret;
    use std::time::Duration;

    #[test]
    fn token_is_valid_for_its_key_and_no_other() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef");
        let claims = claims("authenticated", Some("ann"), crate::telemetry::clock::unix_time(), TTL_MAX);
        let token = sign(&secret, &claims).unwrap();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.set_audience(&["authenticated"]);
        let decode = |key: &str| {
            let key = jsonwebtoken::DecodingKey::from_secret(key.as_bytes());
            jsonwebtoken::decode::<serde_json::Map<String, serde_json::Value>>(&token, &key, &validation)
        };
        assert_eq!(decode(secret.expose()).unwrap().claims, claims);
        assert!(decode("another key, and as long as that").is_err());
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, seconds) in [("90", 90), ("15m", 900), ("1h", 3600), ("2d", 172_800), ("10y", 315_360_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "1w", "-1h", "11y", "99999999999999999999y", "1 h", "1µ"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_objects_are_claims() {
        assert!(object("{\"org_id\": 7}").is_ok());
        assert!(object("[1]").is_err() && object("{").is_err());
    }
}
