//! What each `postgres_changes` subscriber asked for.
//!
//! In: an element of a join's `postgres_changes`, then the row images of changes.
//! Out: whether a row image is one that the subscriber asked for, and cheaply: which subscribers a change
//! may concern at all.
//!
//! A filter goes through three forms, each proof of more:
//!
//! | form | known to be right |
//! |---|---|
//! | [`Filter`] | the syntax |
//! | [`Checked`] | the columns, their types and the caller's rights on them |
//! | [`Predicate`] | the operands, as Postgres itself reads them |
//!
//! Comparisons have the meaning that Postgres gives them for the column's type and collation. What cannot be
//! decided in memory with certainty is [`Verdict::Ask`], and [`Predicate::sql`] is the question.
//!
//! **Invariant:** nothing here knows who may see a row; that is [`crate::policy`]'s.

mod array;
pub mod binding;
pub mod check;
mod compare;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod index;
mod inspect;
pub mod predicate;

pub use crate::change::Event;
pub use binding::{Binding, BindingError, Events, condition_name};
pub use check::{Cast, Checked, SubscribeError, check};
pub use filter::{Condition, Filter, FilterError, Operator};
pub use index::Index;
pub use predicate::{Predicate, Verdict};
