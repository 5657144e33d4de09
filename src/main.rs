//! The command `airlay-cli`.

fn main() {}
