//! HTTP on real sockets, before real shards: what is answered, and what arrives.

mod broadcast;
mod forward;
mod garbage;
mod headers;
mod rpc;
mod server;
mod statuses;
mod tenant;

pub(crate) use server::nowhere;
