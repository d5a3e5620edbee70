//! The built-in trainer's parameters as data: name, kind, range, default, meaning, and when each applies.
