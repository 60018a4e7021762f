//! What `rowcast dev` keeps: a lock, the key, the first client, and the database's directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cli::{Error, say};
use crate::config::Secret;
use crate::postgres::cluster;

/// The directory, `.rowcast` unless named otherwise.
pub(super) struct Directory {
    path: PathBuf,
    given: PathBuf,
}

/// Where the database lives; an ephemeral one is deleted with this value.
pub(super) struct Home {
    path: PathBuf,
    ephemeral: bool,
}

impl Directory {
    /// Makes it if it is not there.
    pub(super) fn open(given: &Path) -> Result<Self, Error> {
        let failed = |error| failed("create", given, &error);
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(given).map_err(failed)?;
        let path = given.canonicalize().map_err(failed)?;
        Ok(Self { path, given: given.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The flag that leads here again, if one is needed.
    pub(super) fn flag(&self) -> Option<String> {
        (self.given != Path::new(".rowcast")).then(|| format!("--directory {}", self.given.display()))
    }

    /// Held while a server runs here. The system lets go of it when the process ends, however it ends.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.path.join("lock");
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let file = open.map_err(|error| failed("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = format!("another `rowcast dev` runs in {}", self.path.display());
                Err(Error::failed(&io::Error::other(text))
                    .help("stop it, or start this one elsewhere: `--directory another --port 4001`"))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(failed("lock", &path, &error)),
        }
    }

    /// The key that signs tokens: made once, readable by its owner alone.
    pub(super) fn secret(&self) -> Result<Secret, Error> {
        let path = self.path.join("secret");
        match File::open(&path) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(|error| failed("read", &path, &error))?;
                Ok(Secret::new(text.trim()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes: [u8; 32] = rand::random();
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write_private(&path, &text)?;
                Ok(Secret::new(text))
            }
            Err(error) => Err(failed("read", &path, &error)),
        }
    }

    /// Where the database goes: in here if Postgres's user can get here, else below the system's temporary directory.
    pub(super) fn cluster(&self, ephemeral: bool) -> Result<Home, Error> {
        let name = if ephemeral { "ephemeral" } else { "cluster" };
        let mut path = self.path.join(name);
        if !cluster::reachable(&self.path) {
            path = self.shelter()?.join(name);
            say(format_args!(
                "Postgres's own user cannot reach {}; the database is kept in {}",
                self.path.display(),
                path.display()
            ));
        }
        Ok(Home { path, ephemeral })
    }

    /// A directory below the temporary one that belongs to this directory, and to nobody else.
    fn shelter(&self) -> Result<PathBuf, Error> {
        let path = std::env::temp_dir().join(format!("rowcast-{:016x}", fingerprint(&self.path)));
        match std::fs::DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Anybody can make directories there; only our own is to be trusted.
                let found =
                    std::fs::symlink_metadata(&path).map_err(|error| failed("look at", &path, &error))?;
                if !found.is_dir() || found.uid() != nix::unistd::Uid::effective().as_raw() {
                    let text = format!("{} belongs to somebody else", path.display());
                    return Err(
                        Error::failed(&io::Error::other(text)).help("choose a --directory outside of /root")
                    );
                }
            }
            Err(error) => return Err(failed("create", &path, &error)),
        }
        Ok(path)
    }

    /// Notes where the running database is, for `--say`.
    pub(super) fn remember_url(&self, url: &str) -> Result<(), Error> {
        write_private(&self.path.join("database-url"), url)
    }

    /// Takes the note away.
    pub(super) fn forget_url(&self) {
        // It may never have been written; and a stale one only leads to a refused connection.
        let _ = std::fs::remove_file(self.path.join("database-url"));
    }

    /// The URL of the database that runs here, if one does.
    pub(super) fn url(&self) -> Option<String> {
        std::fs::read_to_string(self.path.join("database-url")).ok()
    }

    /// Writes keys and tokens where programs find them.
    pub(super) fn write_environment(&self, text: &str) -> Result<(), Error> {
        write_private(&self.path.join("env"), text)
    }

    /// Where these are.
    pub(super) fn environment(&self) -> PathBuf {
        self.given.join("env")
    }

    /// Writes the first client where it can be run.
    pub(super) fn write_client(&self, text: &str) -> Result<PathBuf, Error> {
        write_private(&self.path.join("hello.mjs"), text)?;
        Ok(self.given.join("hello.mjs"))
    }
}

impl Home {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.ephemeral
            && let Err(error) = cluster::remove(&self.path)
        {
            say(format_args!("warning: {error}"));
        }
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|error| failed("write", path, &error))
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Error {
    let text = format!("could not {action} {}: {error}", path.display());
    Error::failed(&io::Error::other(text))
}

/// The same for the same path on every run (FNV-1a).
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::Directory;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn secret_is_made_once_and_private() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::open(scratch.path()).unwrap();
        let secret = directory.secret().unwrap();
        assert_eq!(secret.expose().len(), 64);
        assert_eq!(directory.secret().unwrap(), secret);
        assert_eq!(std::fs::metadata(scratch.path().join("secret")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn second_server_in_one_directory_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::open(scratch.path()).unwrap();
        let held = directory.lock().unwrap();
        assert!(directory.lock().unwrap_err().to_string().contains("another `rowcast dev` runs"));
        drop(held);
        assert!(directory.lock().is_ok());
    }

    #[test]
    fn url_is_known_while_it_runs() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::open(scratch.path()).unwrap();
        assert_eq!(directory.url(), None);
        directory.remember_url("postgres://x").unwrap();
        assert_eq!(directory.url().as_deref(), Some("postgres://x"));
        directory.forget_url();
        assert_eq!(directory.url(), None);
    }
}
