//! Tests that need nothing but this checkout.

mod channel_script;
mod golden_frames;
mod hub_simulation;
mod script;
