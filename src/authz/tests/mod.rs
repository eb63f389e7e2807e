//! The tests of the room as a whole.

mod token_sources;
