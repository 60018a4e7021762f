//! What the program says about itself: its log, its health and its clock.

pub mod clock;
pub mod health;
pub mod log;
