//! The room of revocation, as far as a view needs it.

#[path = "../../../../src/revocation/hash.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod hash;
mod key;
mod registry;
mod test_view;

#[path = "../../../../src/revocation/state.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod state;
#[path = "../../../../src/revocation/statement.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod statement;
#[path = "../../../../src/revocation/version.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod version;
#[path = "../../../../src/revocation/view/mod.rs"]
#[allow(dead_code, reason = "the tests need a part of it")]
mod view;

pub use statement::Cutoff;
pub use test_view::{Key, Statement, TestView};
