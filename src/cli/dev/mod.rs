//! `rowcast dev`: everything on one machine, with nothing to set up.
//!
//! A private Postgres under `.rowcast/`, migrated and seeded with a demo, a key that is made once, the server, and
//! on the screen what a first client needs.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::config::{LogFormat, Secret, Settings, Sources};
use crate::postgres::cluster::{Binaries, Cluster};
use crate::{server, telemetry};

use super::migrate::Extra;
use super::signals::Signals;
use super::{Error, block_on, print, say};
use content::Content;
use directory::Directory;
use greeting::Keys;

mod content;
mod demo;
mod directory;
mod greeting;
mod schema;

/// Try it: a private Postgres, a demo, keys and a first client
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Delete the database when done
    #[arg(long)]
    ephemeral: bool,
    /// Port on 127.0.0.1 that clients connect to; 0 for any free one
    #[arg(long, default_value_t = 4000)]
    port: u16,
    /// Where database, key and first client are kept
    #[arg(long, value_name = "PATH", default_value = ".rowcast")]
    directory: PathBuf,
    /// Make this schema in place of the demo's, with all adapters of apps
    #[arg(long = "with", value_name = "SCHEMA")]
    with: Option<Extra>,
    /// Run the SQL in this file in place of the demo's; each start begins anew
    #[arg(long, value_name = "FILE", requires = "ephemeral", conflicts_with = "with")]
    schema: Option<PathBuf>,
    /// Let bob write this to ann, in the demo or on the messaging tables of a `rowcast dev` that runs already
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["ephemeral", "port", "with", "schema"])]
    say: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast dev                      then follow what it prints
  rowcast dev --say \"hello\"        in a second terminal: a message that ann's client receives
  rowcast dev --ephemeral --port 4001 --directory /tmp/another
  rowcast dev --ephemeral --with messaging
  rowcast dev --ephemeral --schema examples/ipec-own-tables/schema.sql

It needs PostgreSQL 14 or newer on this machine, running or not: it starts one of its own, on a free port of
127.0.0.1, and stops it with Ctrl-C. PGBIN names the directory of its programs where it is an unusual one. Settings
in ROWCAST_… variables apply, except for the address, the database and the key.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let directory = Directory::open(&arguments.directory)?;
    if let Some(text) = &arguments.say {
        return demo::say(&directory, text);
    }
    let lock = directory.lock()?;
    let address = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    check_free(address)?;
    let content = Content::choose(arguments.with, arguments.schema.as_deref())?;
    let secret = directory.secret()?;
    let home = directory.cluster(arguments.ephemeral)?;
    let binaries = find_binaries(&directory, home.path())?;
    if arguments.ephemeral {
        // What a crash left behind.
        Cluster::discard(binaries.clone(), home.path()).map_err(cluster_error)?;
    }
    say(format_args!("starting PostgreSQL {} in {}", binaries.major, home.path().display()));
    let mut cluster = Cluster::start(binaries, home.path(), !arguments.ephemeral).map_err(cluster_error)?;
    let url = cluster.url("postgres");
    let keys = Keys::sign(&secret, telemetry::clock::unix_time())?;
    let settings = settings(address, &url, &secret, &keys, &content)?;
    let place = Place { directory: &directory, keys: &keys, url: &url, content: &content };
    let result = block_on(serve(&place, settings));
    directory.forget_url();
    say("stopping PostgreSQL");
    let stopped = cluster.stop().map_err(cluster_error);
    // Only now may its files go, and after them the next one start.
    drop((cluster, home, lock));
    result.and(stopped)
}

/// What is served, where, and with which keys.
struct Place<'a> {
    directory: &'a Directory,
    keys: &'a Keys,
    url: &'a str,
    content: &'a Content,
}

async fn serve(place: &Place<'_>, settings: Settings) -> Result<(), Error> {
    // From here on Ctrl-C is a request, as Postgres has to be stopped.
    let signals = Signals::catch()?;
    telemetry::log::install(settings.log.level.as_str(), settings.log.format == LogFormat::Json);
    place.content.prepare(&settings.database).await?;
    place.directory.remember_url(place.url)?;
    let mut greeted = Ok(());
    let ready = |address| greeted = place.greet(address);
    signals
        .run(|stopped| {
            server::run(settings, ready, async {
                let _ = stopped.await;
                say("shutting down");
            })
        })
        .await?;
    greeted
}

impl Place<'_> {
    fn greet(&self, address: SocketAddr) -> Result<(), Error> {
        self.directory.write_environment(&greeting::environment(address, self.keys))?;
        let head = greeting::head(address, self.url, self.keys, &self.directory.environment());
        let client = self.content.first_client(self.directory, address, self.keys)?;
        print(format_args!("{head}\n{client}\nCtrl-C stops it all."));
        Ok(())
    }
}

fn settings(
    address: SocketAddr,
    url: &str,
    secret: &Secret,
    keys: &Keys,
    content: &Content,
) -> Result<Settings, Error> {
    let flags = [
        ("listen", address.to_string()),
        ("database_url", url.to_owned()),
        ("jwt_secret", secret.expose().to_owned()),
    ];
    let mut sources = Sources::collect(flags.into(), None)?;
    // Variables of a stock container mean a database that is not this one.
    sources.environment.retain(|name, _| name.starts_with("ROWCAST_"));
    for name in ["ROWCAST_LISTEN", "ROWCAST_DATABASE_URL", "ROWCAST_JWT_SECRET"] {
        sources.environment.remove(name);
    }
    // The screen belongs to the greeting; what is worth a warning still shows.
    sources.environment.entry("ROWCAST_LOG_LEVEL".to_owned()).or_insert_with(|| "warn".to_owned());
    // Apps are told the key of the greeting; where the server is, each request knows best.
    sources.environment.entry("ROWCAST_PUBLIC_API_KEY".to_owned()).or_insert_with(|| keys.anon().to_owned());
    content.settle(&mut sources);
    Ok(sources.resolve().settings()?)
}

/// Asks for the port before a database is started for nothing.
fn check_free(address: SocketAddr) -> Result<(), Error> {
    let Err(error) = TcpListener::bind(address) else { return Ok(()) };
    let failed = std::io::Error::new(error.kind(), format!("could not listen on {address}: {error}"));
    let help = format!("stop what listens there, or choose another: `rowcast dev --port {}`", next(address));
    Err(Error::failed(&failed).help(help))
}

fn next(address: SocketAddr) -> u16 {
    address.port().checked_add(1).unwrap_or(0)
}

/// The newest programs there are; those of the data directory's own version where one exists.
fn find_binaries(directory: &Directory, home: &std::path::Path) -> Result<Binaries, Error> {
    let unpacked = directory.path().join("postgres");
    let Some(major) = Cluster::major(home) else {
        return Binaries::find(&unpacked).map_err(cluster_error);
    };
    Binaries::all(&unpacked).into_iter().find(|found| found.major == major).ok_or_else(|| {
        let text = format!("{} was made by PostgreSQL {major}, which is not on this machine", home.display());
        Error::failed(&std::io::Error::other(text))
            .help(format!("install PostgreSQL {major}, or delete that directory to begin anew"))
    })
}

fn cluster_error(error: crate::postgres::cluster::Error) -> Error {
    use crate::postgres::cluster::Error as Cluster;
    let failed = Error::failed(&error);
    match error {
        Cluster::NoBinaries => failed.help(
            "install it (Debian, Ubuntu: `apt-get install postgresql`; macOS: `brew install postgresql@17`), \
             or name the directory of its programs in PGBIN",
        ),
        Cluster::Program { .. } | Cluster::Io { .. } => failed,
    }
}
