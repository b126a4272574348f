//! The `panda` command.

fn main() {}
