//! Which part of a function's rows is wanted, and in which order.

use std::fmt::Write;

use crate::wal::sql::identifier;

/// What is wanted of the rows that a function returns. The default is all of them, as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The columns, each with the name that it is to have; none for all.
    pub columns: Vec<(String, Option<String>)>,
    /// By which columns, the first one first.
    pub order: Vec<Order>,
    /// At most so many rows.
    pub limit: Option<i64>,
    /// Without the first so many.
    pub offset: i64,
    /// Whether to count how many there would be without the limits.
    pub is_counted: bool,
    /// Whether there has to be one row, which is wanted without its array. Anything else undoes the call.
    pub is_single: bool,
}

/// One column of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub column: String,
    /// Whether the largest comes first.
    pub is_descending: bool,
    /// Whether nulls come first; as Postgres has it if that is not said.
    pub nulls_first: Option<bool>,
}

impl Page {
    pub(super) fn has_limits(&self) -> bool {
        self.limit.is_some() || self.offset != 0
    }

    pub(super) fn columns(&self) -> String {
        if self.columns.is_empty() {
            return "s.*".to_owned();
        }
        let column = |(name, alias): &(String, Option<String>)| match alias {
            Some(alias) => format!("s.{} as {}", identifier(name), identifier(alias)),
            None => format!("s.{}", identifier(name)),
        };
        self.columns.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn order_by(&self) -> String {
        let mut sql = String::new();
        for (place, order) in self.order.iter().enumerate() {
            let separator = if place == 0 { " order by " } else { ", " };
            let direction = if order.is_descending { "desc" } else { "asc" };
            let nulls = match order.nulls_first {
                None => "",
                Some(true) => " nulls first",
                Some(false) => " nulls last",
            };
            let _ = write!(sql, "{separator}s.{} {direction}{nulls}", identifier(&order.column));
        }
        sql
    }
}
