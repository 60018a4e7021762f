//! `rowcast migrate`: brings a database to this version's schema.

use crate::postgres::migrate::{Set, migrate, pending};

use super::flags::{DATABASE, SettingFlags};
use super::{Error, block_on, print, say};

/// Bring the database to this version's schema
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print the SQL of what is missing, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Make this schema, too; once a database has it, later runs keep it current without being told
    #[arg(long = "with", value_name = "SCHEMA")]
    with: Option<Extra>,
    #[command(flatten)]
    flags: SettingFlags<DATABASE>,
}

/// Schemas that not everybody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Extra {
    /// Conversations, messages, reactions, receipts, typing and presence, in the schema public
    Messaging,
}

impl Extra {
    /// What is to be applied for it.
    pub(super) fn set(self) -> Set {
        match self {
            Self::Messaging => Set::Messaging,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  rowcast migrate --database-url postgres://postgres:secret@db/app
  rowcast migrate --dry-run > review.sql
  rowcast migrate --with messaging

Each step runs once, in a transaction of its own; to run this twice, or on two machines at a time, is harmless.
What Supabase has put in place already, such as auth.uid(), stays as it is.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let database = arguments.flags.resolve()?.database()?;
    let sets: Vec<Set> = arguments.with.map(Extra::set).into_iter().collect();
    block_on(async {
        if arguments.dry_run {
            let missing = pending(&database, &sets).await?;
            if missing.is_empty() {
                print("-- the schema is up to date");
            }
            for migration in missing {
                print(format_args!("-- {}_{}\nbegin;\n{}", migration.version, migration.name, migration.sql));
                print(format_args!(
                    "insert into rowcast.migrations (version, name) values ({}, '{}');\ncommit;\n",
                    migration.version, migration.name
                ));
            }
            return Ok(());
        }
        let report = migrate(&database, &sets).await?;
        for migration in &report.applied {
            say(format_args!("applied {}_{}", migration.version, migration.name));
        }
        for notice in &report.notices {
            say(format_args!("notice: {notice}"));
        }
        if !report.unknown.is_empty() {
            say("notice: a newer version of rowcast has migrated this database");
        }
        say(format_args!("{database}: the schema is up to date"));
        Ok(())
    })
}
