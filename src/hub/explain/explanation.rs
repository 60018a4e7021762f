//! What an explanation says: names of policies, tables and columns, and verdicts; never a value of a row or a token.

use serde::Serialize;

/// Why a caller gets something or does not.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Explanation {
    /// A row of a table, as it is stored now.
    Row(Box<RowExplanation>),
    /// A private channel.
    Topic(TopicExplanation),
}

/// What a verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The row passes, or the action is allowed.
    Allows,
    /// It does not.
    Denies,
    /// Memory alone cannot tell: Postgres is asked.
    Asks,
    /// Postgres raised an error, which lets nothing pass.
    Fails,
}

/// Why a caller gets a row or does not.
#[derive(Clone, Debug, Serialize)]
pub struct RowExplanation {
    /// The table, with its schema; quoted where it must be.
    pub table: String,
    /// The role of the caller.
    pub role: String,
    /// The publication that has the table.
    pub publication: String,
    /// Whether it publishes inserts, updates and deletes alike.
    pub every_event: bool,
    /// Whether it has the table with a row filter or a column list.
    pub is_cut: bool,
    /// The columns of the primary key.
    pub primary_key: Vec<String>,
    /// What the log carries of old rows: `default`, `full`, `index` or `nothing`.
    pub replica_identity: &'static str,
    /// Whether row level security is enabled on the table.
    pub row_security: bool,
    /// Whether it binds the role.
    pub is_bound: bool,
    /// The columns that the role may see.
    pub columns_visible: Vec<String>,
    /// Those that it may not.
    pub columns_hidden: Vec<String>,
    /// What an insert or an update of this row leads to.
    pub outcome: RowOutcome,
    /// Why, in a sentence.
    pub because: String,
    /// What follows from the policies.
    pub ruling: Ruling,
}

/// What becomes of an insert or an update of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// The subscriber gets it.
    Sent,
    /// It does not, and is not told.
    Withheld,
    /// It is told of an error in place of the row.
    Refused,
}

/// Why a caller may use a private channel or may not.
#[derive(Clone, Debug, Serialize)]
pub struct TopicExplanation {
    /// The role of the caller.
    pub role: String,
    /// Whether row level security on `realtime.messages` binds it.
    pub is_bound: bool,
    /// Reading and writing, broadcast and presence.
    pub questions: Vec<TopicQuestion>,
}

/// What may be done on a channel.
#[derive(Clone, Debug, Serialize)]
pub struct TopicQuestion {
    /// `read` or `write`.
    pub action: &'static str,
    /// `broadcast` or `presence`.
    pub extension: &'static str,
    /// What follows from the policies.
    pub ruling: Ruling,
}

/// What policies come to, in memory and in Postgres.
#[derive(Clone, Debug, Serialize)]
pub struct Ruling {
    /// The policies that bind the role, permissive ones first.
    pub rules: Vec<RuleExplanation>,
    /// The tables that they read.
    pub relations: Vec<RelationExplanation>,
    /// What memory says.
    pub memory: Word,
    /// Why memory cannot tell.
    pub doubt: Option<String>,
    /// What Postgres says.
    pub postgres: Word,
    /// The SQLSTATE of its error, or why it could not be asked.
    pub error: Option<String>,
    /// Whether they contradict each other. It must never be.
    pub differs: bool,
}

/// What one policy says.
#[derive(Clone, Debug, Serialize)]
pub struct RuleExplanation {
    /// Its name.
    pub policy: String,
    /// Whether it is permissive: one of these must be true, and all restrictive ones.
    pub permissive: bool,
    /// What it says.
    pub outcome: RuleOutcome,
    /// Why Postgres was asked about it.
    pub why: Option<String>,
    /// What would help it to be decided in memory.
    pub advice: Option<String>,
    /// The same as SQL, where there is any.
    pub sql: Option<String>,
    /// The tables that it reads.
    pub relations: Vec<String>,
}

/// What one policy says about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOutcome {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is NULL, which lets nothing pass.
    Null,
    /// Postgres was asked about it alone, and it holds.
    AskedTrue,
    /// The same, and it does not, or is NULL.
    AskedFalse,
    /// Postgres was asked about it alone, and raised an error.
    AskedError,
    /// It is one of those that only Postgres can tell, all together.
    Asked,
}

/// A table that policies read.
#[derive(Clone, Debug, Serialize)]
pub struct RelationExplanation {
    /// The table, with its schema; quoted where it must be.
    pub table: String,
    /// Why it cannot be held in memory; `None` if it can.
    pub hindrance: Option<String>,
}

impl Ruling {
    /// A ruling about which nothing is known yet but what memory says.
    pub(super) fn of(memory: Word) -> Self {
        Self {
            rules: Vec::new(),
            relations: Vec::new(),
            memory,
            doubt: None,
            postgres: Word::Asks,
            error: None,
            differs: false,
        }
    }

    /// Takes Postgres's own word in.
    pub(super) fn answered(&mut self, postgres: Word, error: Option<String>) {
        self.differs = matches!(
            (self.memory, postgres),
            (Word::Allows, Word::Denies | Word::Fails) | (Word::Denies, Word::Allows)
        );
        self.postgres = postgres;
        self.error = error;
    }
}

impl Explanation {
    /// Whether memory and Postgres contradict each other somewhere.
    pub fn differs(&self) -> bool {
        match self {
            Self::Row(row) => row.ruling.differs,
            Self::Topic(topic) => topic.questions.iter().any(|question| question.ruling.differs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_those_of_certain_answers() {
        for (memory, postgres, differs) in [
            (Word::Allows, Word::Allows, false),
            (Word::Denies, Word::Denies, false),
            (Word::Denies, Word::Fails, false),
            (Word::Asks, Word::Allows, false),
            (Word::Asks, Word::Denies, false),
            (Word::Allows, Word::Denies, true),
            (Word::Allows, Word::Fails, true),
            (Word::Denies, Word::Allows, true),
        ] {
            let mut ruling = Ruling::of(memory);
            ruling.answered(postgres, None);
            assert_eq!(ruling.differs, differs, "{memory:?} {postgres:?}");
        }
    }
}
