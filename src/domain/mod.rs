//! Pure types and rules: no I/O, no other room.

pub mod history;
