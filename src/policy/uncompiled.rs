//! Why a policy is asked of Postgres in place of being decided in memory, in words for whoever wrote it.

use std::fmt;
use std::sync::Arc;

use crate::wal::sql::identifier;

/// Why an expression was not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncompiled {
    /// What kind of reason.
    pub reason: Reason,
    /// What it is about: a function, an operator, a table, a kind of node. Never a value.
    pub about: Arc<str>,
}

/// Kinds of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// This server version's trees are not known.
    Version,
    /// The tree holds something that is not understood.
    Syntax,
    /// A function or an operator that is not known here.
    Function,
    /// A function whose body cannot be looked into.
    Body,
    /// A function or an expression whose answer changes from call to call.
    Volatile,
    /// A setting other than those of a request.
    Setting,
    /// A type that is not known here.
    Type,
    /// A comparison under a collation that only Postgres knows.
    Collation,
    /// A part of a row that only a stored row has: the whole row, `ctid`, `xmin`, a generated column.
    Row,
    /// A table that cannot be mirrored.
    Relation,
    /// A query of a shape that is not evaluated here.
    Query,
    /// Something in it may raise an error for rows that Postgres may not even look at.
    Raises,
    /// The role lacks a privilege that the policy needs: Postgres raises an error.
    Privilege,
    /// Policies of tables call for each other: Postgres raises an error.
    Recursion,
    /// It is larger than what is compiled.
    TooLarge,
}

/// What would help a policy to be decided in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// In words.
    pub text: &'static str,
    /// SQL to start from, where it follows from the reason alone.
    pub sql: Option<String>,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Version,
        Self::Syntax,
        Self::Function,
        Self::Body,
        Self::Volatile,
        Self::Setting,
        Self::Type,
        Self::Collation,
        Self::Row,
        Self::Relation,
        Self::Query,
        Self::Raises,
        Self::Privilege,
        Self::Recursion,
        Self::TooLarge,
    ];

    /// What would help, in words; `None` where nothing but another version of this program does.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Version | Self::Syntax => return None,
            Self::Function => {
                "compare with =, <>, <, in, any, is null, like, and the casts and functions in docs/policies.md, or \
                 put the result into a column of the table"
            }
            Self::Body => {
                "write it as one query in LANGUAGE sql, or as `begin return …; end` in PL/pgSQL, so that its body can \
                 take its place; whom it runs as needs TEMP on the database, and USAGE on the schemas that it names"
            }
            Self::Volatile => {
                "use now() in place of clock_timestamp() and leave out what is random; write helpers in LANGUAGE sql, marked STABLE"
            }
            Self::Setting => "read the caller from (select auth.uid()), (select auth.jwt()) or auth.role()",
            Self::Type => {
                "compare columns of uuid, text, integers, numeric, boolean, dates, json or enums, and arrays of them"
            }
            Self::Collation => {
                "compare for equality, or give the column COLLATE \"C\" if its order is of no interest to people"
            }
            Self::Row => "name the columns that it needs, and keep what is generated in an ordinary column",
            Self::Relation => {
                "give the table a primary key or a replica identity, and read ordinary tables: no partitions, no \
                 unlogged or foreign tables, no catalogs"
            }
            Self::Query => {
                "write EXISTS (select 1 from … where …), or column in (select …), without LIMIT, WITH, aggregates or \
                 window functions"
            }
            Self::Raises => {
                "cast once outside of the query, as in where user_id = (select auth.uid()), and compare values of one \
                 type inside of it"
            }
            Self::Privilege => {
                "grant it: until then every question raises an error, and nobody with the role sees a row"
            }
            Self::Recursion => {
                "break the circle by a SECURITY DEFINER function whose owner the policies do not bind"
            }
            Self::TooLarge => "split the policy, or keep what it works out in a table",
        })
    }
}

impl Uncompiled {
    /// What would help whoever wrote the policy, which binds `role`; `None` where nothing but another version of this
    /// program does.
    pub fn advice(&self, role: &str) -> Option<Advice> {
        let text = self.reason.advice()?;
        let about = &*self.about;
        let sql = match self.reason {
            Reason::Privilege => grant(about, role),
            Reason::Relation => about
                .split_once(", which has no primary key")
                .and_then(|(table, _)| qualified(table))
                .map(|table| format!("alter table {table} replica identity full")),
            _ => None,
        };
        Some(Advice { text, sql })
    }

    /// A reason.
    pub fn new(reason: Reason, about: impl Into<Arc<str>>) -> Self {
        Self { reason, about: about.into() }
    }
}

/// A name with its schema, quoted; `None` for what is none, such as a function of Postgres itself.
fn qualified(about: &str) -> Option<String> {
    let (schema, name) = about.split_once('.')?;
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['.', ' ', ':', '(']);
    (is_plain(schema) && is_plain(name)).then(|| format!("{}.{}", identifier(schema), identifier(name)))
}

/// `EXECUTE on app.f`, `SELECT on app.t` and `USAGE on schema app` as a grant.
fn grant(about: &str, role: &str) -> Option<String> {
    let (privilege, object) = about.split_once(" on ")?;
    let object = match (privilege, object.strip_prefix("schema ")) {
        ("USAGE", Some(schema)) => format!("schema {}", identifier(schema)),
        ("EXECUTE", _) => format!("function {}", qualified(object)?),
        ("SELECT", _) => qualified(object)?,
        _ => return None,
    };
    Some(format!("grant {} on {object} to {}", privilege.to_lowercase(), identifier(role)))
}

impl fmt::Display for Uncompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.about;
        match self.reason {
            Reason::Version => write!(f, "policies of PostgreSQL {about} are not read yet"),
            Reason::Syntax => write!(f, "{about} is not understood"),
            Reason::Function => write!(f, "{about} is not known here"),
            Reason::Body => write!(f, "the body of {about} cannot be looked into"),
            Reason::Volatile => write!(f, "{about} may answer differently at each call"),
            Reason::Setting => write!(f, "the setting {about} is not known here"),
            Reason::Type => write!(f, "the type {about} is not known here"),
            Reason::Collation => write!(f, "{about} depends on a collation that only Postgres knows"),
            Reason::Row => write!(f, "{about} is only known of a stored row"),
            Reason::Relation => write!(f, "{about} cannot be mirrored"),
            Reason::Query => write!(f, "{about} is not evaluated here"),
            Reason::Raises => write!(f, "{about} may raise an error for rows that are not asked about"),
            Reason::Privilege => write!(f, "the role lacks a privilege: {about}"),
            Reason::Recursion => write!(f, "the policies of {about} lead back to themselves"),
            Reason::TooLarge => write!(f, "{about} is larger than what is compiled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reasons_are_listed_and_have_words() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason:?}");
            assert!(Uncompiled::new(reason, "it").to_string().contains("it"), "{reason:?}");
        }
        // The last one that is declared: a new one goes behind it, and above.
        assert_eq!(Reason::ALL.last(), Some(&Reason::TooLarge));
    }

    /// `docs/policies.md` lists each reason with its words, in the order of their declaration.
    #[test]
    fn the_page_on_policies_has_every_reason_and_its_words() {
        let page = include_str!("../../docs/policies.md");
        let lines = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed: Vec<(&str, &str)> = lines
            .filter_map(|line| {
                let mut cells = line.split(" | ");
                Some((cells.next()?.trim_end_matches('`'), cells.next()?))
            })
            .collect();
        let expected: Vec<(String, String)> = Reason::ALL
            .into_iter()
            .map(|reason| (format!("{reason:?}"), Uncompiled::new(reason, "…").to_string()))
            .collect();
        let of = |name: &str| listed.iter().find(|(listed, _)| *listed == name).map(|(_, words)| *words);
        for (name, words) in &expected {
            assert_eq!(of(name), Some(words.as_str()), "{name}");
        }
        let is_reason = |name: &str| expected.iter().any(|(reason, _)| reason == name);
        let unknown: Vec<_> = listed.iter().filter(|(name, _)| !is_reason(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn advice_has_sql_where_the_reason_says_enough() {
        for (reason, about, expected) in [
            (Reason::Volatile, "random", None),
            (
                Reason::Privilege,
                "EXECUTE on app.f",
                Some("grant execute on function \"app\".\"f\" to \"anon\""),
            ),
            (Reason::Privilege, "SELECT on app.t", Some("grant select on \"app\".\"t\" to \"anon\"")),
            (Reason::Privilege, "USAGE on schema app", Some("grant usage on schema \"app\" to \"anon\"")),
            (Reason::Privilege, "role 7 is not known", None),
            (Reason::Query, "LIMIT", None),
            (
                Reason::Relation,
                "app.log, which has no primary key or replica identity,",
                Some("alter table \"app\".\"log\" replica identity full"),
            ),
        ] {
            let advice = Uncompiled::new(reason, about).advice("anon").expect("advice");
            assert_eq!(advice.sql.as_deref(), expected, "{about}");
        }
        assert_eq!(Uncompiled::new(Reason::Version, "42").advice("anon"), None);
    }
}
