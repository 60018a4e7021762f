//! What a query reads: tables, views, subqueries and functions.

use super::query::{Builder, Part, only_query};
use super::scope::{Entry, Frame, Rights, Typed};
use super::{Compiler, Result, syntax};
use crate::change::RelationId;
use crate::policy::expression::Scan;
use crate::policy::source::Relation;
use crate::policy::tree::{Node, Tree};
use crate::policy::uncompiled::{Reason, Uncompiled};

/// Kinds of entries (`RTEKind`).
const RELATION: i64 = 0;
const SUBQUERY: i64 = 1;
const FUNCTION: i64 = 3;

impl<'s> Compiler<'s> {
    /// An entry of a range table, made part of the query.
    pub(super) fn range(
        &mut self,
        frame: &mut Frame,
        query: &Node<'_>,
        range: &Node<'_>,
        builder: &mut Builder,
    ) -> Result<Entry> {
        if !range.get("tablesample").is_empty() || !range.get("securityQuals").is_empty() {
            return Err(Uncompiled::new(Reason::Query, "TABLESAMPLE"));
        }
        match range.integer("rtekind") {
            Some(RELATION) => self.relation(frame, query, range, builder),
            Some(SUBQUERY) => {
                let inner = range.get("subquery").node().ok_or_else(|| syntax("a subquery"))?;
                Part::read(self, inner)?.without_limit()?;
                Ok(Entry::Outputs(self.flatten(frame, inner, builder, true)?))
            }
            Some(FUNCTION) => self.function_in_from(frame, range, builder),
            Some(5) => Err(Uncompiled::new(Reason::Query, "VALUES")),
            Some(6) => Err(Uncompiled::new(Reason::Query, "WITH")),
            _ => Err(Uncompiled::new(Reason::Query, "an unusual item in FROM")),
        }
    }

    fn relation(
        &mut self,
        frame: &mut Frame,
        query: &Node<'_>,
        range: &Node<'_>,
        builder: &mut Builder,
    ) -> Result<Entry> {
        let id = RelationId(range.oid("relid").ok_or_else(|| syntax("a table"))?);
        let relation = self.source.relations.get(&id);
        let relation =
            relation.ok_or_else(|| Uncompiled::new(Reason::Relation, format!("relation {}", id.0)))?;
        self.check_selectable(frame, query, range, id, relation)?;
        if relation.kind == 'v' {
            return self.view(frame, relation, builder);
        }
        check_mirrored(relation)?;
        let scan = builder.scans.len();
        builder.scans.push(Scan { relation: id, columns: Box::default() });
        self.spend(1)?;
        self.guard(frame.rights, id, relation, scan, builder)?;
        Ok(Entry::Scan { scan, relation: id })
    }

    /// A view's query. It reads with the rights of its owner, or of whoever asks, but never with those of a view around
    /// it; functions in it are called by whoever asks.
    fn view(&mut self, frame: &Frame, relation: &'s Relation, builder: &mut Builder) -> Result<Entry> {
        let name = format!("{}.{}", relation.schema, relation.name);
        let unread = || Uncompiled::new(Reason::Relation, format!("{name}, a view that was not read,"));
        let text = relation.view.as_deref().ok_or_else(unread)?;
        let tree = self.read(text)?;
        let query = only_query(&tree).ok_or_else(unread)?;
        Part::read(self, query)?.without_limit()?;
        let user = frame.rights.user;
        let reader = if relation.security_invoker { user } else { relation.owner };
        let mut inner = Frame::new(Rights { user, relations: reader });
        inner.path_is_set = frame.path_is_set;
        Ok(Entry::Outputs(self.flatten(&mut inner, query, builder, true)?))
    }

    /// `FROM function(…)`
    fn function_in_from(
        &mut self,
        frame: &mut Frame,
        range: &Node<'_>,
        builder: &mut Builder,
    ) -> Result<Entry> {
        let refused = |about: &str| Uncompiled::new(Reason::Query, about);
        let [item] = range.get("functions").items() else {
            return Err(refused("ROWS FROM with several functions"));
        };
        let item = item.node().ok_or_else(|| syntax("FROM"))?;
        if range.flag("funcordinality") != Some(false) || !item.get("funccoltypes").is_empty() {
            return Err(refused("a function WITH ORDINALITY or with a list of columns"));
        }
        let count = item.integer("funccolcount");
        let tree = item.get("funcexpr");
        let call = tree.node().filter(|node| node.tag == "FUNCEXPR");
        let outputs: Vec<Result<Typed>> = match call.and_then(|call| call.flag("funcretset")) {
            Some(true) => {
                let call = call.ok_or_else(|| syntax("FROM"))?;
                self.inline_set(frame, call, builder)?
            }
            _ => {
                let output = Ok(self.expression(frame, tree)?);
                self.demand(&output)?;
                vec![output]
            }
        };
        // A row as a value would be taken apart here.
        if count == i64::try_from(outputs.len()).ok() {
            Ok(Entry::Outputs(outputs))
        } else {
            Err(Uncompiled::new(Reason::Type, "a row that a function returns"))
        }
    }
}

/// Refuses relations whose rows the log does not tell.
fn check_mirrored(relation: &Relation) -> Result<()> {
    let hindrance = match (relation.kind, relation.persistence) {
        ('r', 'p') if relation.inherits => "is part of a hierarchy of tables",
        ('r', 'p') if !relation.has_identity => "has no primary key or replica identity",
        ('r', 'p') => return Ok(()),
        ('r', 'u') => "is unlogged",
        ('r', _) => "is temporary",
        ('p', _) => "is partitioned",
        ('m', _) => "is a materialized view",
        ('f', _) => "is a foreign table",
        _ => "is not a table",
    };
    Err(Uncompiled::new(
        Reason::Relation,
        format!("{}.{}, which {hindrance},", relation.schema, relation.name),
    ))
}

/// The numbers in a set of columns: what a column's number is counted from (`FirstLowInvalidHeapAttributeNumber`).
const NUMBERED_FROM: i64 = -7;

/// The columns that a range table entry reads, by number. Before PostgreSQL 16 they stand in the entry itself.
pub(super) fn read_columns(query: &Node<'_>, range: &Node<'_>) -> Result<Vec<i64>> {
    let holder = match range.integer("perminfoindex") {
        None => range,
        Some(index) => {
            let index = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
            let infos = query.get("rteperminfos").items();
            let info = index.and_then(|index| infos.get(index)).and_then(Tree::node);
            let info = info.filter(|info| info.oid("relid") == range.oid("relid"));
            info.ok_or_else(|| syntax("privileges"))?
        }
    };
    let Tree::Numbers(columns) = holder.get("selectedCols") else { return Err(syntax("privileges")) };
    // Anything but SELECT would be a lock.
    if holder.integer("requiredPerms") != Some(2) {
        return Err(Uncompiled::new(Reason::Query, "FOR UPDATE"));
    }
    Ok(columns.iter().map(|column| column + NUMBERED_FROM).collect())
}
