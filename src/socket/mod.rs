//! Everything between TCP and a decoded WebSocket message.

pub mod frame;
