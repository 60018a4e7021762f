//! Every way in which Postgres can go, and what subscribers hear of it.
//!
//! Each test has a cluster of its own, as it stops it. What a subscriber hears is compared as a sequence, so that
//! nothing said twice, too early or not at all goes unnoticed.

mod harness;
mod interruption;
mod position;
mod program;
mod silence;
mod slot;
mod start;
