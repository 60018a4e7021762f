//! A private Postgres cluster on loopback: what `rowcast dev` and the tests run against.
//!
//! Postgres refuses to run as root. As root, every Postgres program therefore runs as the user who called
//! `sudo`, else as `postgres`, else as `nobody`, and the data directory is theirs.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The oldest major version that works: pgoutput's `messages` option appeared in it.
pub const MAJOR_MIN: u32 = 14;

/// What can go wrong around a private cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable Postgres programs on this machine.
    #[error(
        "found no PostgreSQL {MAJOR_MIN} or newer: install it (Debian, Ubuntu: `apt-get install postgresql`; \
         macOS: `brew install postgresql`) or name its directory in PGBIN"
    )]
    NoBinaries,
    /// A Postgres program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which program.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// A file or process could not be handled.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Where the Postgres programs of one version are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory with `initdb`, `pg_ctl` and `postgres`.
    pub directory: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Binaries {
    /// The newest usable version on this machine: `PGBIN` if set, else what the usual places hold.
    pub fn find() -> Result<Self, Error> {
        if let Some(directory) = std::env::var_os("PGBIN") {
            return Self::at(Path::new(&directory)).ok_or(Error::NoBinaries);
        }
        Self::all().into_iter().max_by_key(|found| found.major).ok_or(Error::NoBinaries)
    }

    /// Every usable version in the usual places.
    pub fn all() -> Vec<Self> {
        let mut places: Vec<PathBuf> = Vec::new();
        for parent in
            ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"]
        {
            let Ok(entries) = std::fs::read_dir(parent) else { continue };
            places.extend(entries.flatten().map(|entry| entry.path().join("bin")));
        }
        places.extend((MAJOR_MIN..40).map(|major| PathBuf::from(format!("/usr/pgsql-{major}/bin"))));
        if let Some(path) = std::env::var_os("PATH") {
            places.extend(std::env::split_paths(&path));
        }
        let mut found: Vec<Self> = places.iter().filter_map(|place| Self::at(place)).collect();
        found.sort_by_key(|binaries| binaries.major);
        found.dedup_by_key(|binaries| binaries.major);
        found
    }

    /// The programs in `directory`, if they are all there and new enough.
    pub fn at(directory: &Path) -> Option<Self> {
        let has = |program: &str| directory.join(program).is_file();
        if !(has("initdb") && has("pg_ctl") && has("postgres")) {
            return None;
        }
        let output = Command::new(directory.join("pg_ctl")).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok()?;
        (major >= MAJOR_MIN).then(|| Self { directory: directory.to_owned(), major })
    }
}

/// A cluster in a directory of its own; it is stopped when dropped.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    data: PathBuf,
    /// The port on 127.0.0.1.
    pub port: u16,
    user: Option<(u32, u32)>,
    running: bool,
}

impl Cluster {
    /// Makes or reuses the cluster under `directory` and starts it on a free port.
    ///
    /// `durable` keeps `fsync` on; without it a power cut may ruin the cluster, and writes are faster.
    pub fn start(binaries: Binaries, directory: &Path, durable: bool) -> Result<Self, Error> {
        let user = unprivileged_user();
        let data = directory.join("data");
        make_directory(directory, user)?;
        let mut cluster = Self { binaries, data, port: 0, user, running: false };
        if !cluster.data.join("PG_VERSION").is_file() {
            cluster.initialize(durable)?;
        }
        cluster.port = free_port(directory)?;
        cluster.launch(directory)?;
        Ok(cluster)
    }

    /// The URL of `database` on this cluster, as the superuser `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The programs it runs with.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Stops the cluster and waits for it; open sessions are ended.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.control("fast")
    }

    /// Kills the cluster as a crash would, without a checkpoint.
    pub fn crash(&mut self) -> Result<(), Error> {
        self.control("immediate")
    }

    /// Starts a stopped cluster again on the same port.
    pub fn restart(&mut self) -> Result<(), Error> {
        if self.running {
            self.stop()?;
        }
        let directory = self.data.parent().unwrap_or(&self.data).to_owned();
        self.launch(&directory)
    }

    fn initialize(&self, durable: bool) -> Result<(), Error> {
        // What an interrupted initdb left behind is no cluster; start over.
        if self.data.exists() {
            std::fs::remove_dir_all(&self.data).map_err(|source| Error::Io {
                action: "clear",
                path: self.data.clone(),
                source,
            })?;
        }
        let mut initdb = self.program("initdb");
        initdb
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&self.data);
        check("initdb", initdb.output())?;
        let path = self.data.join("postgresql.conf");
        let mut settings = String::from(
            "\n# Written by rowcast.\nlisten_addresses = '127.0.0.1'\nwal_level = logical\n\
             max_replication_slots = 20\nmax_wal_senders = 20\nmax_connections = 100\n\
             unix_socket_directories = ''\n",
        );
        if !durable {
            settings.push_str("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n");
        }
        let append = || -> io::Result<()> {
            use io::Write;
            std::fs::OpenOptions::new().append(true).open(&path)?.write_all(settings.as_bytes())
        };
        append().map_err(|source| Error::Io { action: "write", path: path.clone(), source })
    }

    fn launch(&mut self, directory: &Path) -> Result<(), Error> {
        let log = directory.join("postgres.log");
        let mut start = self.program("pg_ctl");
        start.args(["start", "-w", "-t", "60", "-D"]).arg(&self.data).arg("-l").arg(&log);
        start.arg("-o").arg(format!("-p {}", self.port));
        // The server inherits these, and would keep a pipe open for ever.
        start.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let status =
            start.status().map_err(|source| Error::Io { action: "run", path: log.clone(), source })?;
        if !status.success() {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(8).collect();
            let output = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            return Err(Error::Program { program: "pg_ctl start", output });
        }
        self.running = true;
        Ok(())
    }

    fn control(&mut self, mode: &str) -> Result<(), Error> {
        let mut stop = self.program("pg_ctl");
        stop.args(["stop", "-w", "-m", mode, "-D"]).arg(&self.data);
        check("pg_ctl stop", stop.output())?;
        self.running = false;
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.directory.join(name));
        command.stdin(Stdio::null()).env("LC_ALL", "C").env("TZ", "UTC");
        if let Some((uid, gid)) = self.user {
            // Dropping from root also clears the supplementary groups.
            command.uid(uid).gid(gid).env("HOME", self.data.parent().unwrap_or(&self.data)).current_dir("/");
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.running {
            let _ = self.stop();
        }
    }
}

/// As root, the user and group that Postgres runs as; `None` otherwise.
fn unprivileged_user() -> Option<(u32, u32)> {
    use nix::unistd::{Uid, User};
    if !Uid::effective().is_root() {
        return None;
    }
    let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).map(Uid::from_raw);
    sudo.filter(|uid| !uid.is_root())
        .and_then(|uid| User::from_uid(uid).ok().flatten())
        .or_else(|| User::from_name("postgres").ok().flatten())
        .or_else(|| User::from_name("nobody").ok().flatten())
        .map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

fn make_directory(directory: &Path, user: Option<(u32, u32)>) -> Result<(), Error> {
    let failed = |action| move |source| Error::Io { action, path: directory.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed("create"))?;
    if let Some((uid, gid)) = user {
        chown(directory, Some(uid), Some(gid)).map_err(failed("change the owner of"))?;
    }
    Ok(())
}

/// A port nobody listens on now.
fn free_port(directory: &Path) -> Result<u16, Error> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Io { action: "find a free port for", path: directory.to_owned(), source })
}

fn check(program: &'static str, output: io::Result<Output>) -> Result<(), Error> {
    let output = output.map_err(|source| Error::Io { action: "run", path: program.into(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let output =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Error::Program { program, output: output.trim().to_owned() })
}
