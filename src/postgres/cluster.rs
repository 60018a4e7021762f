//! A private Postgres cluster on loopback: what `rowcast dev` and the tests run against.
//!
//! Postgres refuses to run as root. As root, every Postgres program therefore runs as the user who called
//! `sudo`, else as `postgres`, else as `nobody`, and the data directory is theirs.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The oldest major version that works: pgoutput's `messages` option appeared in it.
pub const MAJOR_MIN: u32 = 14;

/// Where `postmaster.pid` notes the port, counted from zero.
const PORT_LINE: usize = 3;

/// How often a start is tried while sessions of a killed server linger, a quarter of a second apart.
const ORPHAN_RETRIES: u32 = 20;

/// How many ports a new server is tried on, as another program may take one at the same moment.
const PORT_TRIES_MAX: u32 = 8;

/// The lowest port that a server is given; well-known services have those below.
const PORT_MIN: u16 = 10_240;

/// What can go wrong around a private cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable Postgres programs on this machine.
    #[error("found no PostgreSQL {MAJOR_MIN} or newer")]
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
    /// The newest usable version on this machine: `PGBIN` if set, else the newest of [`Binaries::all`].
    pub fn find(unpacked: &Path) -> Result<Self, Error> {
        if let Some(directory) = std::env::var_os("PGBIN") {
            return Self::at(Path::new(&directory)).ok_or(Error::NoBinaries);
        }
        Self::all(unpacked).into_iter().max_by_key(|found| found.major).ok_or(Error::NoBinaries)
    }

    /// Every usable version in `PGBIN`, in the usual places, and in folders of `unpacked`, one of each major.
    pub fn all(unpacked: &Path) -> Vec<Self> {
        let mut places: Vec<PathBuf> = std::env::var_os("PGBIN").map(PathBuf::from).into_iter().collect();
        let usual =
            ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];
        for parent in usual.iter().map(Path::new).chain([unpacked]) {
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
        let data = directory.join("data");
        // Postgres insists on its own files; who made them may have been chosen otherwise, then.
        let owner = std::fs::metadata(&data).ok().map(|found| (found.uid(), found.gid()));
        let user = unprivileged_user().map(|user| owner.filter(|owner| owner.0 != 0).unwrap_or(user));
        make_directory(directory, user)?;
        let mut cluster = Self { binaries, data, port: 0, user, running: false };
        if !cluster.data.join("PG_VERSION").is_file() {
            cluster.initialize(durable)?;
        }
        cluster.stop_orphan()?;
        let mut tries = 1;
        loop {
            cluster.port = free_port(directory)?;
            match cluster.launch(directory) {
                Err(Error::Program { output, .. })
                    if tries < PORT_TRIES_MAX && output.contains("could not bind") =>
                {
                    tries += 1;
                }
                launched => return launched.map(|()| cluster),
            }
        }
    }

    /// Deletes the cluster under `directory`, whose server, if one is left, is stopped first.
    pub fn discard(binaries: Binaries, directory: &Path) -> Result<(), Error> {
        let user = unprivileged_user();
        Self { binaries, data: directory.join("data"), port: 0, user, running: false }.stop_orphan()?;
        remove(directory)
    }

    /// The major version that made the cluster under `directory`, if there is one.
    pub fn major(directory: &Path) -> Option<u32> {
        std::fs::read_to_string(directory.join("data/PG_VERSION")).ok()?.trim().parse().ok()
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

    /// Stops a server that outlived the program that started it.
    ///
    /// A process id alone proves nothing: after a crash of the whole machine it may be another program's. Only
    /// where somebody listens on the port noted beside it is the id that of a server of this cluster.
    fn stop_orphan(&mut self) -> Result<(), Error> {
        let Ok(note) = std::fs::read_to_string(self.note()) else { return Ok(()) };
        let port = note.lines().nth(PORT_LINE).and_then(|port| port.trim().parse::<u16>().ok());
        if port.is_some_and(listens) { self.stop() } else { Ok(()) }
    }

    fn launch(&mut self, directory: &Path) -> Result<(), Error> {
        let mut result = self.launch_once(directory);
        for _ in 0..ORPHAN_RETRIES {
            // After `kill -9` of a server it and its sessions take moments to be gone.
            match &result {
                Err(Error::Program { output, .. })
                    if output.contains("shared memory block") || output.contains("already exists") => {}
                _ => break,
            }
            std::thread::sleep(Duration::from_millis(250));
            self.bury_orphan();
            result = self.launch_once(directory);
        }
        result
    }

    /// Tells Postgres that a dead server is dead.
    ///
    /// In a container whose first process reaps nobody, a killed server stays in the process table for ever, and
    /// Postgres takes it for alive. Only the id is replaced, by one that no process can have: the rest of the note
    /// still keeps a server from starting beside sessions of the old one.
    fn bury_orphan(&self) {
        let Ok(note) = std::fs::read_to_string(self.note()) else { return };
        let Some((pid, rest)) = note.split_once('\n') else { return };
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) else { return };
        // The state follows the name, which is in parentheses and may itself hold some.
        if status.rsplit_once(')').is_some_and(|(_, state)| state.trim_start().starts_with('Z')) {
            // Without it, the start fails with Postgres's own words.
            let _ = std::fs::write(self.note(), format!("{}\n{rest}", i32::MAX));
        }
    }

    fn note(&self) -> PathBuf {
        self.data.join("postmaster.pid")
    }

    fn launch_once(&mut self, directory: &Path) -> Result<(), Error> {
        let log = directory.join("postgres.log");
        let mut start = self.program("pg_ctl");
        start.args(["start", "-w", "-t", "60", "-D"]).arg(&self.data).arg("-l").arg(&log);
        start.arg("-o").arg(format!("-p {}", self.port));
        // The server inherits these, and would keep a pipe open for ever.
        start.stdout(Stdio::null()).stderr(Stdio::null());
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
        // A server that crashes on its way down leaves its note, and pg_ctl calls that a failure. It is down all the
        // same, and recovers at its next start.
        check("pg_ctl stop", stop.output())
            .or_else(|error| if self.is_gone() { Ok(()) } else { Err(error) })?;
        self.running = false;
        Ok(())
    }

    /// Whether the server that the note names is no more.
    fn is_gone(&self) -> bool {
        let note = std::fs::read_to_string(self.note()).unwrap_or_default();
        let pid = note.lines().next().and_then(|pid| pid.trim().parse().ok());
        let is_alive = |pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok();
        !pid.is_some_and(is_alive)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.directory.join(name));
        // A group of its own, so that Ctrl-C in the terminal reaches this program alone.
        command.stdin(Stdio::null()).env("LC_ALL", "C").env("TZ", "UTC").process_group(0);
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

/// Whether Postgres's user can get to `directory`, which must exist.
///
/// Root's own home, for one, is closed to others.
pub fn reachable(directory: &Path) -> bool {
    let Some((uid, gid)) = unprivileged_user() else { return true };
    directory.ancestors().all(|ancestor| {
        std::fs::metadata(ancestor).is_ok_and(|found| {
            let search = if found.uid() == uid {
                0o100
            } else if found.gid() == gid {
                0o010
            } else {
                0o001
            };
            found.mode() & search != 0
        })
    })
}

/// Whether somebody listens on this port of 127.0.0.1.
fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Deletes a stopped cluster and its directory.
pub fn remove(directory: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { action: "delete", path: directory.to_owned(), source })
        }
        _ => Ok(()),
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

/// A port nobody listens on now, and that no connection is given by itself: while the server is down, the very
/// attempts to reach it might otherwise be given its port, and keep it from coming up again.
fn free_port(directory: &Path) -> Result<u16, Error> {
    let given = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let failed = |source| Error::Io { action: "find a free port for", path: directory.to_owned(), source };
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).and_then(|listener| listener.local_addr());
    let ports = lasting_ports(&given);
    for _ in 0..ports.len() {
        let index = rand::random_range(0..ports.len());
        if let Some(address) = ports.clone().nth(index).and_then(|port| bind(port).ok()) {
            return Ok(address.port());
        }
    }
    bind(0).map(|address| address.port()).map_err(failed)
}

/// The larger of the ranges below and above the one that connections are given ports of, as Linux words it.
fn lasting_ports(given: &str) -> std::ops::Range<u16> {
    // What the standard reserves for connections, where the system does not tell.
    let mut bounds = given.split_whitespace().map_while(|bound| bound.parse().ok());
    let (first, last): (u16, u16) = bounds.next().zip(bounds.next()).unwrap_or((49_152, u16::MAX));
    let (below, above) = (PORT_MIN..first.max(PORT_MIN), last.saturating_add(1).max(PORT_MIN)..u16::MAX);
    if below.len() >= above.len() { below } else { above }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_none_that_connections_are_given() {
        assert_eq!(lasting_ports("32768\t60999\n"), 10_240..32_768);
        assert_eq!(lasting_ports("1024 40000"), 40_001..u16::MAX);
        assert_eq!(lasting_ports(""), 10_240..49_152);
        assert!(lasting_ports("1024 65535").is_empty(), "there, any port is as good");
    }
}
