//! A relation as the replication stream describes it, at the time of the change.

use super::table::Table;
use super::types::Oid;

/// `pg_class.oid` of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(pub Oid);

/// Which old values an update or delete carries in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// `DEFAULT`: the primary key, and on updates only when it changed.
    Default,
    /// `NOTHING`: none.
    Nothing,
    /// `FULL`: the whole old row.
    Full,
    /// `USING INDEX`: the columns of one unique index, and on updates only when they changed.
    Index,
}

/// A table as a Relation message described it; changes after it in the stream have this shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its identifier.
    pub id: RelationId,
    /// Its schema, unquoted.
    pub schema: Box<str>,
    /// Its name, unquoted.
    pub name: Box<str>,
    /// Which old values it logs.
    pub replica_identity: ReplicaIdentity,
    /// The columns in the stream's order. Generated columns are absent unless the publication has them.
    pub columns: Box<[Column]>,
}

/// One column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unquoted.
    pub name: Box<str>,
    /// Its type.
    pub type_id: Oid,
    /// Its type modifier; -1 for none.
    pub type_modifier: i32,
    /// Whether it is part of the replica identity.
    pub identity: bool,
    /// `pg_attribute.attnum`, as far as [`Relation::identify`] could tell; 0 where it could not. The stream does
    /// not say it.
    pub number: i16,
}

impl Relation {
    /// Finds out which columns of the catalog these are.
    ///
    /// The catalog is read later than the stream: a column may have been renamed since, and its old name given to
    /// another. So a column that was known before by this name (its `number` is set, or `before`, the catalog's
    /// previous entry, has it) is taken for that one while the order agrees: the stream's order is by number.
    pub fn identify(&mut self, newest: &Table, before: Option<&Table>) {
        let number_in = |table: &Table, name: &str| table.column(name).map(|(_, column)| column.number);
        let known = self.columns.iter().map(|column| match column.number {
            0 => before.and_then(|before| number_in(before, &column.name)).unwrap_or(0),
            number => number,
        });
        let known: Vec<i16> = known.collect();
        let named = self.columns.iter().map(|column| {
            let found = newest.column(&column.name).filter(|(_, found)| found.type_id == column.type_id);
            found.map_or(0, |(_, found)| found.number)
        });
        let named: Vec<i16> = named.collect();
        let remains = |number: &i16| newest.columns.iter().any(|column| column.number == *number);
        let numbers = if rises(&known) && known.iter().all(remains) {
            known
        } else if rises(&named) {
            named
        } else {
            let mut last = 0;
            let either = known.into_iter().zip(named).map(|(known, named)| {
                let number = if known == 0 { named } else { known };
                if number <= last {
                    return 0;
                }
                last = number;
                number
            });
            either.collect()
        };
        for (column, number) in self.columns.iter_mut().zip(numbers) {
            column.number = number;
        }
    }
}

/// Whether all are known, and each is larger than the one before.
fn rises(numbers: &[i16]) -> bool {
    numbers.first().is_none_or(|first| *first > 0) && numbers.is_sorted_by(|left, right| left < right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::TableColumn;

    fn table(columns: &[(&str, i16)]) -> Table {
        let column = |(name, number): &(&str, i16)| TableColumn {
            name: (*name).into(),
            type_id: 23,
            number: *number,
            primary_key: false,
            generated: None,
            collation: 0,
            deterministic_collation: true,
            c_collation: false,
        };
        Table {
            id: RelationId(1),
            schema: "public".into(),
            name: "t".into(),
            columns: columns.iter().map(column).collect(),
            replica_identity: ReplicaIdentity::Default,
            row_security: false,
            row_security_forced: false,
            owner: 10,
        }
    }

    fn check(streamed: &[(&str, i16)], newest: &[(&str, i16)], before: &[(&str, i16)], expected: &[i16]) {
        let column = |(name, number): &(&str, i16)| Column {
            name: (*name).into(),
            type_id: 23,
            type_modifier: -1,
            identity: false,
            number: *number,
        };
        let mut relation = Relation {
            id: RelationId(1),
            schema: "public".into(),
            name: "t".into(),
            replica_identity: ReplicaIdentity::Default,
            columns: streamed.iter().map(column).collect(),
        };
        relation.identify(&table(newest), Some(&table(before)));
        let numbers: Vec<i16> = relation.columns.iter().map(|column| column.number).collect();
        assert_eq!(numbers, expected, "{streamed:?} of {newest:?}, before {before:?}");
    }

    #[test]
    fn columns_are_found_by_name() {
        check(&[("a", 0), ("b", 0)], &[("a", 1), ("b", 3)], &[], &[1, 3]);
        // Generated columns are not streamed.
        check(&[("b", 0)], &[("a", 1), ("b", 3)], &[], &[3]);
        check(&[("a", 0), ("gone", 0)], &[("a", 1)], &[], &[1, 0]);
    }

    #[test]
    fn a_column_keeps_its_number_when_it_is_renamed() {
        let before = [("a", 1), ("b", 2)];
        check(&[("a", 0), ("b", 0)], &[("a", 1), ("c", 2)], &before, &[1, 2]);
        check(&[("a", 1), ("c", 0)], &[("a", 1), ("c", 2)], &before, &[1, 2]);
        // The names have been exchanged: the order tells before from after.
        let exchanged = [("b", 1), ("a", 2)];
        check(&[("a", 0), ("b", 0)], &exchanged, &before, &[1, 2]);
        check(&[("b", 2), ("a", 1)], &exchanged, &before, &[1, 2]);
        // A second name, given on before the first row under it was read.
        check(&[("a", 1), ("d", 0)], &[("a", 1), ("e", 2), ("d", 3)], &before, &[1, 3]);
    }

    #[test]
    fn a_new_column_is_not_taken_for_the_one_that_had_its_name() {
        let before = [("a", 1), ("b", 2)];
        check(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 3)], &before, &[1, 3]);
        check(&[("a", 1), ("b", 2), ("c", 0)], &[("a", 1), ("c", 4)], &before, &[1, 2, 4]);
    }
}
