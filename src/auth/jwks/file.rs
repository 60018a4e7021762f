//! A key set in a file.
//!
//! It is read again each second and compared as a whole: it is small, and neither its times nor notices of the file
//! system tell reliably of files that are mounted, linked or replaced.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::{MissedTickBehavior, interval};

use super::super::key_set::{Audience, InvalidKeySet, KEY_SET_BYTES_MAX, KeySet};
use super::super::{KeySource, Verifier};
use super::{install, warn};

/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a file is no key set. Nothing of it is shown.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("could not read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no key set.
    #[error("{path} is no key set", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: InvalidKeySet,
    },
}

impl FileError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "put the file there and let the server's user read it",
            Self::Invalid { .. } => {
                "write {\"keys\": [...]} as the issuer publishes it; replace the file by renaming another over it"
            }
        }
    }
}

/// A file and what was in it last.
pub(super) struct KeyFile {
    path: PathBuf,
    content: Vec<u8>,
    set: KeySet,
    /// Whether the last look failed, which is told once.
    is_failing: bool,
}

impl KeyFile {
    /// Reads the file, which must be a key set.
    pub(super) async fn open(path: PathBuf) -> Result<Self, FileError> {
        let mut file = Self { path, content: Vec::new(), set: KeySet::default(), is_failing: false };
        let content = file.read().await?;
        file.set = file.parse(&content)?;
        file.content = content;
        Ok(file)
    }

    /// The set that was read last; it is handed out once.
    pub(super) fn take(&mut self) -> KeySet {
        std::mem::take(&mut self.set)
    }

    /// Reads it again and again.
    pub(super) async fn follow(mut self, verifier: &Verifier) {
        let mut looks = interval(LOOK_AGAIN);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            match self.look().await {
                Ok(Some(set)) => install(verifier, KeySource::File, set),
                Ok(None) => {}
                Err(error) if self.is_failing => tracing::debug!(%error, "the key set is still unreadable"),
                Err(error) => {
                    warn(KeySource::File, &error, error.remedy());
                    self.is_failing = true;
                }
            }
        }
    }

    /// The set, if the file is another one than before.
    async fn look(&mut self) -> Result<Option<KeySet>, FileError> {
        let content = self.read().await?;
        if content == self.content {
            self.is_failing = false;
            return Ok(None);
        }
        let set = self.parse(&content)?;
        self.content = content;
        self.is_failing = false;
        Ok(Some(set))
    }

    async fn read(&self) -> Result<Vec<u8>, FileError> {
        let read = async {
            // One byte more than is allowed tells that it is too long.
            let bytes_max = u64::try_from(KEY_SET_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
            let mut content = Vec::new();
            // A pipe would hold this up for ever.
            if !tokio::fs::metadata(&self.path).await?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
            }
            File::open(&self.path).await?.take(bytes_max).read_to_end(&mut content).await?;
            Ok(content)
        };
        read.await.map_err(|source| FileError::Unreadable { path: self.path.clone(), source })
    }

    fn parse(&self, content: &[u8]) -> Result<KeySet, FileError> {
        KeySet::parse(content, Audience::Private)
            .map_err(|source| FileError::Invalid { path: self.path.clone(), source })
    }
}
