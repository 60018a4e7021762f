//! The judge of compiled policies: what the engine says about a row is what Postgres says, or the engine asks.
//!
//! A [`Court`] is a database with tables, policies, functions and rows. For every row and every caller the engine's word
//! is compared with the truth: whether that caller, with that role and those claims, finds that row. An engine that says
//! *asks* is never wrong; how often it may say so is bounded, so that nothing passes by asking everything.
//!
//! `cases` are the situations that were thought of, `generator` makes those that were not, `history` compares while
//! rows, policies and rights change, and `mutants` proves that all this notices an engine that is wrong.

mod callers;
mod cases;
mod court;
mod engine;
mod generator;
mod live;
mod long;
mod mutants;
mod truth;

/// Whether policies are compiled and judged in memory here. Where they are not yet, everything is asked, which is right
/// and proves nothing: the bounds on asking, and the mutants, count from the day this is true.
const DECIDES: bool = true;
