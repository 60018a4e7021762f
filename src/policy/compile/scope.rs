//! What names mean where an expression stands.

use super::free::shift;
use super::{Compiler, Result, syntax};
use crate::change::{Oid, RelationId};
use crate::policy::expression::{Column, Expr};
use crate::policy::tree::Node;
use crate::policy::uncompiled::{Reason, Uncompiled};

/// Whose rights apply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    /// `current_user`: who calls functions.
    pub user: Oid,
    /// Who reads relations: inside of a view, its owner.
    pub relations: Oid,
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub expr: Expr,
    pub type_id: Oid,
}

/// An expression made where so many queries enclosed it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub typed: Typed,
    pub level: usize,
}

/// What an entry of a range table stands for.
#[derive(Debug)]
pub(super) enum Entry {
    /// The row that is judged.
    Row(RelationId),
    /// A scan of the query.
    Scan { scan: usize, relation: RelationId },
    /// The outputs of a subquery, a view, a function or a join that became part of the query.
    Outputs(Vec<Result<Typed>>),
    /// Nothing that is in the query.
    Absent,
}

/// The range table of one query.
#[derive(Debug)]
pub(super) struct Scope {
    pub entries: Vec<Entry>,
    /// How many queries enclose what its entries stand for.
    pub level: usize,
}

/// What surrounds an expression within one tree.
#[derive(Debug)]
pub(super) struct Frame {
    pub scopes: Vec<Scope>,
    /// The arguments of the function.
    pub params: Vec<Given>,
    /// Which of them the body uses.
    pub used: Vec<bool>,
    /// The arguments of the enclosing `CASE argument WHEN`.
    pub cases: Vec<Given>,
    /// The types of the outputs that the enclosing tests are about.
    pub tests: Vec<Vec<Oid>>,
    pub rights: Rights,
    /// Whether an enclosing function sets a search path, by which texts of functions inside are understood.
    pub path_is_set: bool,
}

impl Frame {
    pub(super) fn new(rights: Rights) -> Self {
        Self {
            scopes: Vec::new(),
            params: Vec::new(),
            used: Vec::new(),
            cases: Vec::new(),
            tests: Vec::new(),
            rights,
            path_is_set: false,
        }
    }
}

impl Compiler<'_> {
    /// A column, an output of what became part of a query, or a reason.
    pub(super) fn variable(&mut self, frame: &Frame, node: &Node<'_>) -> Result<Typed> {
        let wrong = || syntax("a column");
        let place = |name| node.integer(name).and_then(|number| usize::try_from(number).ok());
        let entry = place("varno").and_then(|number| number.checked_sub(1)).ok_or_else(wrong)?;
        let up = place("varlevelsup").ok_or_else(wrong)?;
        let number = node.integer("varattno").ok_or_else(wrong)?;
        let type_id = node.oid("vartype").ok_or_else(wrong)?;
        if node.integer("varreturningtype").is_some_and(|kind| kind != 0) {
            return Err(wrong());
        }
        let outer = frame.scopes.len().checked_sub(up + 1).and_then(|scope| frame.scopes.get(scope));
        let scope = outer.ok_or_else(wrong)?;
        let level = self.level - scope.level;
        match scope.entries.get(entry).ok_or_else(wrong)? {
            Entry::Row(relation) => {
                let place = self.place(*relation, number)?;
                Ok(Typed { expr: Expr::Column(Column { level, scan: 0, place }), type_id })
            }
            Entry::Scan { scan, relation } => {
                let place = self.place(*relation, number)?;
                Ok(Typed { expr: Expr::Column(Column { level, scan: *scan, place }), type_id })
            }
            Entry::Outputs(outputs) => {
                let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                let index = index.ok_or_else(|| Uncompiled::new(Reason::Row, "a whole row"))?;
                let typed = outputs.get(index).ok_or_else(wrong)?.clone()?;
                self.given(&Given { typed, level: scope.level }, type_id)
            }
            Entry::Absent => Err(wrong()),
        }
    }

    /// The type beneath a domain.
    pub(super) fn base(&self, type_id: Oid) -> Oid {
        self.source.types.base(type_id).map_or(type_id, |base| base.oid)
    }

    /// Whether Postgres's relabelling of one type as another leaves the value what it is here. Types that users make
    /// besides domains are like `citext`, which shares the values of `text`.
    pub(super) fn is_relabelling(&self, from: Oid, to: Oid) -> bool {
        let (from, to) = (self.base(from), self.base(to));
        is_same_value(from, to) || from >= FIRST_USER_OID || to >= FIRST_USER_OID
    }

    /// An expression that was made elsewhere, as it is meant here.
    pub(super) fn given(&mut self, given: &Given, type_id: Oid) -> Result<Typed> {
        let Typed { expr, type_id: actual } = &given.typed;
        if !is_same_value(*actual, type_id) {
            return Err(self.unknown_type(type_id));
        }
        let mut expr = expr.clone();
        let size = shift(&mut expr, self.level - given.level);
        self.spend(size)?;
        Ok(Typed { expr, type_id })
    }

    /// The place of a column among those of its relation.
    fn place(&self, relation: RelationId, number: i64) -> Result<usize> {
        let row = |about: String| Uncompiled::new(Reason::Row, about);
        let found = self.source.relations.get(&relation).ok_or_else(|| syntax("a column"))?;
        let name = &found.name;
        match number {
            0 => return Err(row(format!("the whole row of {name}"))),
            ..0 => return Err(row(format!("a system column of {name}"))),
            _ => {}
        }
        let place = found.columns.iter().position(|column| i64::from(column.number) == number);
        let place = place.ok_or_else(|| syntax("a column"))?;
        match &found.columns[place] {
            column if column.generated => Err(row(format!("the generated column {name}.{}", column.name))),
            _ => Ok(place),
        }
    }
}

/// `text`, `varchar` and arrays of them: the same bytes mean the same.
const TEXTS: [(Oid, Oid); 2] = [(25, 1043), (1009, 1015)];

/// The first identifier that is given to what users make.
pub(super) const FIRST_USER_OID: Oid = 16384;

/// Whether a value of one type is the same value of the other as it stands.
pub(super) fn is_same_value(from: Oid, to: Oid) -> bool {
    from == to || TEXTS.contains(&(from, to)) || TEXTS.contains(&(to, from))
}
