//! Tests of the module as a whole.

mod decisions;
mod proxied;
mod token_sources;
