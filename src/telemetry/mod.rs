//! What the program says about itself: its log, its metrics, its health and its clock.

pub mod clock;
pub mod code;
pub mod health;
pub mod log;
pub mod metrics;
pub mod number;
pub mod page;
pub mod process;
pub mod report;
