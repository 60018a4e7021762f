//! What is compiled, and what is not.
