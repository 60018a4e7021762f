//! The command line: one file per subcommand.
//!
//! Results go to standard output, progress and errors to standard error. Exit code 0 means done, 1 that something
//! failed, 2 that the command line or a setting is wrong.

use std::fmt;
use std::future::Future;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::telemetry::log::chain;

mod config;
mod dev;
mod doctor;
mod explain;
mod flags;
mod healthcheck;
mod migrate;
mod serve;
mod signals;
mod token;

/// Supabase-compatible realtime for any Postgres.
///
/// Tails the database's own replication stream and sends each changed row to those clients whose row level security
/// lets them see it.
#[derive(Parser)]
#[command(name = "rowcast", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rowcast dev                      try it: a private Postgres, a demo, keys and a first client
  rowcast migrate                  prepare the database named by DATABASE_URL
  rowcast serve --listen 0.0.0.0:4000
                                   serve it (DATABASE_URL, ROWCAST_JWT_SECRET set)
  rowcast token --sub 6f0c… --ttl 1h
                                   make a token to test with
  rowcast explain --token \"$TOKEN\" --table public.messages --key id=42
                                   why somebody gets a row, or does not
  rowcast doctor                   what is wrong with a database, and the SQL that mends it";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Migrate(migrate::Arguments),
    Token(token::Arguments),
    Dev(dev::Arguments),
    Config(config::Arguments),
    Explain(explain::Arguments),
    Doctor(doctor::Arguments),
    Healthcheck(healthcheck::Arguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    // A TLS library brought in by a dependency would choose a provider of its own, if it came first.
    // The one way to fail is that a provider is there already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let matches = match Arguments::command().try_get_matches() {
        Ok(matches) => matches,
        // Help and version are "errors" with exit code 0; what is left of a broken pipe is nobody's concern.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = Arguments::from_arg_matches(&matches).map_err(Error::usage).and_then(|arguments| {
        match arguments.command {
            Command::Serve(arguments) => serve::run(arguments),
            Command::Migrate(arguments) => migrate::run(&arguments),
            Command::Token(arguments) => token::run(&arguments),
            Command::Dev(arguments) => dev::run(&arguments),
            Command::Config(arguments) => config::run(&arguments),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error}"));
            error.exit_code()
        }
    }
}

/// What ends a subcommand: one sentence with its causes, and what to do about it.
#[derive(Debug)]
struct Error {
    text: String,
    remedy: Option<String>,
    usage: bool,
}

impl Error {
    /// Something went wrong while running.
    fn failed(error: &dyn std::error::Error) -> Self {
        Self { text: chain(error), remedy: None, usage: false }
    }

    /// The command line or a setting is wrong.
    fn usage(error: impl fmt::Display) -> Self {
        Self { text: error.to_string(), remedy: None, usage: true }
    }

    /// As it is, with words for what to do.
    fn help(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.usage { 2 } else { 1 })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "\n help: {remedy}"))
    }
}

impl From<crate::config::Problems> for Error {
    fn from(problems: crate::config::Problems) -> Self {
        Self::usage(problems)
    }
}

impl From<crate::config::Problem> for Error {
    fn from(problem: crate::config::Problem) -> Self {
        Self::usage(problem)
    }
}

impl From<crate::postgres::connect::Error> for Error {
    fn from(error: crate::postgres::connect::Error) -> Self {
        Self::failed(&error).help(error.remedy())
    }
}

impl From<crate::postgres::migrate::Error> for Error {
    fn from(error: crate::postgres::migrate::Error) -> Self {
        Self::failed(&error).help(error.remedy())
    }
}

impl From<crate::server::Error> for Error {
    fn from(error: crate::server::Error) -> Self {
        Self { remedy: error.remedy().map(str::to_owned), ..Self::failed(&error) }
    }
}

/// Runs a subcommand's future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Error::failed(&error))?.block_on(future)
}

/// One line for people, on standard error.
#[expect(clippy::print_stderr, reason = "the command line speaks to people there")]
fn say(text: impl fmt::Display) {
    eprintln!("{text}");
}

/// A result, on standard output. A reader that has gone away, as `head` does, is no failure.
fn print(text: impl fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
