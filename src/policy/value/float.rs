//! Floats in Postgres's order: the zeros are equal, and NaN equals itself and is above all others.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// A float. Never the negative zero.
#[derive(Clone, Copy)]
pub struct Float(f64);

impl Float {
    /// The float; the negative zero becomes the other.
    pub fn new(number: f64) -> Self {
        Self(if number == 0.0 { 0.0 } else { number })
    }

    /// As a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).unwrap_or_else(|| self.0.is_nan().cmp(&other.0.is_nan()))
    }
}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Float {}

impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let number = if self.0.is_nan() { f64::NAN } else { self.0 };
        number.to_bits().hash(state);
    }
}
