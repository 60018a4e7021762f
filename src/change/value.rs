//! One column's value: text as Postgres writes it → JSON as clients expect it.
