//! Decides who may see a change.

pub mod claims;

pub use claims::Claims;
