//! What the rest of the world may know: health, and the time it is read by.

pub mod clock;
pub mod health;
