//! The composition root: builds every stage and joins them.
