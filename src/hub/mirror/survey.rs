//! What following a table takes: whether the log tells its rows apart, and who publishes it.

use tokio_postgres::{Client, Error, Row};

use crate::change::RelationId;
use crate::policy::catalog::Needed;
use crate::policy::mirror::Identity;
use crate::postgres::rows::table_name;
use crate::wal::sql::identifier;

/// What the catalog says about one table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a row of answers to a row of questions")]
pub(super) struct Survey {
    pub(super) id: RelationId,
    kind: String,
    persistence: String,
    replica_identity: String,
    inherits: bool,
    /// Changes when the table is written anew as a whole.
    pub(super) filenode: u32,
    /// Whether row level security hides rows from this server's own role.
    is_bound: bool,
    /// The columns of the index that tells rows apart, by number.
    identity: Vec<i16>,
    /// Whether another publication of the stream has it.
    is_published: bool,
    every_change: bool,
    every_truncation: bool,
    /// Whether that publication has a row filter or a column list on it.
    is_cut: bool,
    /// Whether our own publication has it.
    pub(super) is_added: bool,
    is_added_cut: bool,
    ours_is_whole: bool,
    /// Changes when another publication has it, or one has it anew.
    membership: String,
}

/// How a table can be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// How its rows are told apart.
    pub(super) identity: Identity,
    /// Whether it is to be added to our own publication.
    pub(super) add: bool,
    /// What it is followed by.
    pub(super) footing: Footing,
}

/// What the rows that were read of a table, and the changes that the stream brought since, stand on. With another, they
/// are not what the table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::hub) struct Footing {
    /// The file that the table is in: another when it was written anew as a whole.
    pub(in crate::hub) filenode: u32,
    /// The publications that have it, and since which of their own changes.
    pub(in crate::hub) membership: String,
}

/// Looks at tables; those that do not exist are left out. `publications` are those of the stream, but for `own`.
pub(super) async fn survey(
    client: &Client,
    ids: &[u32],
    publications: &[String],
    own: &str,
) -> Result<Vec<Survey>, Error> {
    const QUERY: &str = include_str!("../../../sql/queries/mirror_survey.sql");
    client.query(QUERY, &[&ids, &publications, &own]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Survey, Error> {
    Ok(Survey {
        id: RelationId(row.try_get("oid")?),
        kind: row.try_get("kind")?,
        persistence: row.try_get("persistence")?,
        replica_identity: row.try_get("replica_identity")?,
        inherits: row.try_get("inherits")?,
        filenode: row.try_get("filenode")?,
        is_bound: row.try_get("is_bound")?,
        identity: row.try_get("identity")?,
        is_published: row.try_get("is_published")?,
        every_change: row.try_get("every_change")?,
        every_truncation: row.try_get("every_truncation")?,
        is_cut: row.try_get("is_cut")?,
        is_added: row.try_get("is_added")?,
        is_added_cut: row.try_get("is_added_cut")?,
        ours_is_whole: row.try_get("ours_is_whole")?,
        membership: row.try_get("membership")?,
    })
}

impl Survey {
    /// How the table can be followed, or why it cannot, in words with a remedy where there is one.
    ///
    /// A table without a replica identity is never added to a publication: its own updates would fail. Nor is one that
    /// another publication shows in part: the subscribers of that one would get more.
    pub(super) fn plan(&self, needed: &Needed, own: &str) -> Result<Plan, String> {
        let table = &needed.table;
        let name = table_name(table);
        if self.kind != "r" {
            return Err("it is no ordinary table".to_owned());
        }
        if self.inherits {
            return Err("it is a partition, or has children or a parent".to_owned());
        }
        if self.persistence != "p" {
            return Err("it is not logged".to_owned());
        }
        if self.is_bound {
            return Err("row level security hides rows of it from this server's role, which needs BYPASSRLS"
                .to_owned());
        }
        let columns = table.columns.iter().enumerate();
        if let Some((_, column)) = columns
            .clone()
            .find(|(place, column)| needed.columns.contains(place) && column.generated.is_some())
        {
            return Err(format!("its column {} is generated, and not logged", column.name));
        }
        let identity = if self.replica_identity == "f" {
            Identity::Whole
        } else {
            let places: Box<[usize]> = columns
                .filter(|(_, column)| self.identity.contains(&column.number))
                .map(|(place, _)| place)
                .collect();
            if places.is_empty() || places.len() != self.identity.len() {
                return Err(format!(
                    "the log does not tell its rows apart: give it a primary key, or alter table {name} replica identity full"
                ));
            }
            Identity::Columns(places)
        };
        if self.is_published && self.is_cut {
            return Err("a publication has it with a row filter or a column list".to_owned());
        }
        if self.is_published && !self.every_change {
            return Err("a publication has it without all of insert, update and delete".to_owned());
        }
        let plan = |add| Plan {
            identity: identity.clone(),
            add,
            footing: Footing { filenode: self.filenode, membership: self.membership.clone() },
        };
        if self.is_published && self.every_truncation {
            return Ok(plan(false));
        }
        if !self.ours_is_whole {
            return Err(format!(
                "publication {own} is missing, or does not publish insert, update, delete and truncate"
            ));
        }
        if self.is_added_cut {
            return Err(format!("publication {own} has it with a row filter or a column list"));
        }
        Ok(plan(!self.is_added))
    }

    /// Whether our own publication has it and must not: without a replica identity its own updates fail for that, and
    /// beside another publication that shows a part of it, subscribers of that one get more, or the stream breaks.
    pub(super) fn must_leave(&self, needed: &Needed, own: &str) -> bool {
        // The rights of this server's role are no matter of the table's.
        self.is_added && Self { is_bound: false, ..self.clone() }.plan(needed, own).is_err()
    }
}

/// The statement that has our own publication publish a table.
pub(super) fn add_statement(needed: &Needed, own: &str) -> String {
    format!("alter publication {} add table only {}", identifier(own), table_name(&needed.table))
}
