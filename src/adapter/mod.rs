//! Messaging apps over REST and sockets of their own.

mod fields;
mod infrastructure;
mod tutorconnect;
