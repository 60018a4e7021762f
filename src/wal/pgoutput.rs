//! The pgoutput decoder.
