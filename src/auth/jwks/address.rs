//! Where a key set may be fetched: only where nobody on the way can put another in its place.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;

/// The URL of a key set: `https`, or `http` on this machine. Prints without its query.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Uri);

/// Why keys are not fetched from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It is no URL.
    #[error("it is no URL of the kind https://host/path")]
    Malformed,
    /// Somebody on the way could put other keys in place of these.
    #[error("only https is safe beyond this machine: use https, http://localhost, or a file (jwt_jwks_file)")]
    Insecure,
    /// Passwords are not sent, and would be shown.
    #[error("it names a user or a password, and none is sent")]
    Credentials,
}

impl Address {
    /// Reads and checks a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let uri: Uri = text.parse().map_err(|_| InvalidAddress::Malformed)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(InvalidAddress::Malformed);
        };
        if authority.as_str().contains('@') {
            return Err(InvalidAddress::Credentials);
        }
        match scheme {
            "https" => Ok(Self(uri)),
            "http" if is_loopback(authority.host()) => Ok(Self(uri)),
            "http" => Err(InvalidAddress::Insecure),
            _ => Err(InvalidAddress::Malformed),
        }
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}{}", self.0.scheme_str().unwrap_or_default(), self.0.path())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for (text, expected) in [
            ("https://auth.example.com/.well-known/jwks.json", Ok(())),
            ("https://10.0.0.1:8443/keys?tenant=1", Ok(())),
            ("http://localhost:9999/keys", Ok(())),
            ("http://LOCALHOST/keys", Ok(())),
            ("http://127.0.0.53:9999/keys", Ok(())),
            ("http://[::1]:9999/keys", Ok(())),
            ("http://auth:9999/keys", Err(InvalidAddress::Insecure)),
            ("http://10.0.0.1/keys", Err(InvalidAddress::Insecure)),
            ("http://localhost.example.com/", Err(InvalidAddress::Insecure)),
            ("http://127.0.0.1.example.com/", Err(InvalidAddress::Insecure)),
            ("http://[::2]/", Err(InvalidAddress::Insecure)),
            ("https://ann:secret@example.com/", Err(InvalidAddress::Credentials)),
            ("http://127.0.0.1@example.com/", Err(InvalidAddress::Credentials)),
            ("ftp://example.com/", Err(InvalidAddress::Malformed)),
            ("file:///etc/keys", Err(InvalidAddress::Malformed)),
            ("/etc/keys", Err(InvalidAddress::Malformed)),
            ("example.com", Err(InvalidAddress::Malformed)),
            ("", Err(InvalidAddress::Malformed)),
        ] {
            assert_eq!(Address::parse(text).map(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn a_query_is_not_shown() {
        let address = Address::parse("https://auth.example.com/keys?apikey=opensesame").unwrap();
        assert_eq!(
            format!("{address} {address:?}"),
            "https://auth.example.com/keys https://auth.example.com/keys"
        );
    }
}
