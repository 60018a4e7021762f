//! What the messaging schema needs of a server that runs all the time: it knows who is connected, and what has been
//! sent to them.

mod deliveries;
mod people;
mod person;

pub use deliveries::{Deliveries, NOTES_MAX, Note, Notes};
pub use people::{News, PEOPLE_MAX, People, Present, Seat};
pub use person::Person;
