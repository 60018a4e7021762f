//! Key sets that change while the server runs: a file that is read again, and a URL that is fetched again.
//!
//! In: where they are. Out: a [`Verifier`] that knows the keys they had last. What cannot be read or is no key set
//! changes nothing: the last good set stays in force, and the log says so with the remedy, never with the content.

mod address;
mod client;
mod file;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub use address::{Address, InvalidAddress};
pub use client::{HttpClient, HttpError, public_trust};
pub use file::FileError;

use super::{KeySet, KeySource, Verifier};
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::report::report;

/// Where key sets are.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file, read again as soon as it changes.
    pub file: Option<PathBuf>,
    /// A URL.
    pub url: Option<Address>,
    /// How long a fetched set is good before it is fetched again.
    pub refresh: Duration,
}

/// Why key sets cannot be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file was no key set from the start.
    #[error("could not read jwt_jwks_file")]
    File(#[from] FileError),
    /// There is no TLS.
    #[error("could not prepare TLS for jwt_jwks_url")]
    Tls(#[from] rustls::Error),
}

/// Follows the sources as long as it lives.
#[derive(Debug)]
pub struct Follower {
    /// Ends its tasks when dropped.
    _tasks: JoinSet<()>,
}

impl Follower {
    /// Gives `verifier` the keys there are now, and those that come later.
    ///
    /// A file must be there from the start. A URL is waited for, but not for ever: the issuer may start after
    /// this server, and until then its tokens are refused.
    pub async fn start(sources: Sources, verifier: &Arc<Verifier>) -> Result<Self, Error> {
        let mut tasks = JoinSet::new();
        if let Some(path) = sources.file {
            let mut file = file::KeyFile::open(path).await?;
            install(verifier, KeySource::File, file.take());
            let verifier = Arc::clone(verifier);
            tasks.spawn(async move { file.follow(&verifier).await });
        }
        if let Some(address) = sources.url {
            let mut issuer = url::Issuer::new(address, HttpClient::new()?, sources.refresh);
            issuer.refresh(verifier).await;
            let verifier = Arc::clone(verifier);
            tasks.spawn(async move { issuer.follow(&verifier).await });
        }
        Ok(Self { _tasks: tasks })
    }
}

/// Puts a set in force and tells of the keys in it that are not used.
fn install(verifier: &Verifier, source: KeySource, set: KeySet) {
    tracing::info!(?source, keys = set.len(), skipped = set.skipped().len(), "key set in force");
    warn_of_skipped(source, &set);
    verifier.replace_keys(source, set);
}

/// Tells of the keys of a set that are not used.
pub fn warn_of_skipped(source: KeySource, set: &KeySet) {
    for skipped in set.skipped() {
        tracing::warn!(?source, key = skipped.position, reason = %skipped.reason, "a key of the set is not used");
    }
}

fn warn(source: KeySource, error: &dyn std::error::Error, remedy: &str) {
    report!(
        warn,
        Code::KeySetUnavailable,
        ?source,
        error = chain(error),
        remedy,
        "could not read the key set; the last good one stays in force"
    );
}
