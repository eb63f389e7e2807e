//! The tests of the room as a whole.

mod proxied;
mod token_sources;
