//! What the program says about itself: its log and its clock.

pub mod clock;
pub mod health;
pub mod log;
