//! A key set that an issuer publishes.
//!
//! It is fetched again when it has become old, and sooner when a token names a key that is in no set: that is how
//! a new key shows. Anybody can make such a token, so there is a pause between two fetches whatever comes.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::super::key_set::{Audience, InvalidKeySet, KEY_SET_BYTES_MAX, KeySet};
use super::super::{KeySource, Verifier};
use super::client::{HttpClient, HttpError};
use super::{Address, install, warn};

/// How long a fetch may take.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
/// The shortest pause between two fetches.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The pause after a failure; it doubles with each further one, up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Why there is no new set.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("could not fetch {address}")]
    Fetch { address: Address, source: HttpError },
    #[error("{address} is no key set")]
    Invalid { address: Address, source: InvalidKeySet },
}

impl Error {
    /// What an operator can do about it.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Fetch { source: HttpError::Status(status), .. } if status.is_redirection() => {
                "give the URL that it redirects to: redirects are not followed"
            }
            Self::Fetch { source: HttpError::Status(_), .. } => {
                "give the URL of the issuer's key set, which answers 200 to anybody"
            }
            Self::Fetch { .. } => {
                "check that the issuer runs and can be reached from here, with a certificate that browsers trust"
            }
            Self::Invalid { .. } => "give the URL of the issuer's key set, such as …/.well-known/jwks.json",
        }
    }
}

/// An issuer and what it published last.
pub(super) struct Issuer {
    address: Address,
    client: HttpClient,
    refresh: Duration,
    content: Bytes,
    failures: u32,
    fetched_at: Instant,
}

impl Issuer {
    pub(super) fn new(address: Address, client: HttpClient, refresh: Duration) -> Self {
        Self { address, client, refresh, content: Bytes::new(), failures: 0, fetched_at: Instant::now() }
    }

    /// Fetches it again and again.
    pub(super) async fn follow(mut self, verifier: &Verifier) {
        loop {
            tokio::select! {
                () = sleep_until(self.fetched_at + self.pause()) => {}
                () = verifier.key_missing() => sleep_until(self.fetched_at + PAUSE_MIN.min(self.pause())).await,
            }
            self.refresh(verifier).await;
        }
    }

    /// Fetches it once; what fails is in the log.
    pub(super) async fn refresh(&mut self, verifier: &Verifier) {
        let fetched = self.fetch().await;
        self.fetched_at = Instant::now();
        match fetched {
            Ok(set) => {
                self.failures = 0;
                if let Some(set) = set {
                    install(verifier, KeySource::Url, set);
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                warn(KeySource::Url, &error, error.remedy());
            }
        }
    }

    /// The set, if it is another one than before.
    async fn fetch(&mut self) -> Result<Option<KeySet>, Error> {
        let fetched = self.client.get(self.address.uri(), KEY_SET_BYTES_MAX, FETCH_WITHIN).await;
        let content = fetched.map_err(|source| Error::Fetch { address: self.address.clone(), source })?;
        if content == self.content {
            return Ok(None);
        }
        let set = KeySet::parse(&content, Audience::Public)
            .map_err(|source| Error::Invalid { address: self.address.clone(), source })?;
        self.content = content;
        Ok(Some(set))
    }

    /// How long after the last fetch the next one is due.
    fn pause(&self) -> Duration {
        match self.failures.checked_sub(1) {
            None => self.refresh,
            Some(repeated) => {
                let doubled = RETRY_MIN.saturating_mul(1 << repeated.min(6));
                doubled.min(RETRY_MAX).min(self.refresh)
            }
        }
    }
}
