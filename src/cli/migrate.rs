//! `rowcast migrate`: brings a database to this version's schema.

use crate::postgres::migrate::{migrate, pending};

use super::flags::{DATABASE, SettingFlags};
use super::{Error, block_on, print, say};

/// Bring the database to this version's schema
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print the SQL of what is missing, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    flags: SettingFlags<DATABASE>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast migrate --database-url postgres://postgres:secret@db/app
  rowcast migrate --dry-run > review.sql

Each step runs once, in a transaction of its own; to run this twice, or on two machines at a time, is harmless.
What Supabase has put in place already, such as auth.uid(), stays as it is.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let database = arguments.flags.resolve()?.database()?;
    block_on(async {
        if arguments.dry_run {
            let missing = pending(&database).await?;
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
        let report = migrate(&database).await?;
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
