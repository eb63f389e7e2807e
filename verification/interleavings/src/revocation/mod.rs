//! The room of revocation, as far as a view needs it.

#[path = "../../../../crates/revoxy-core/src/revocation/effect.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod effect;
#[path = "../../../../crates/revoxy-core/src/revocation/hash.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod hash;
mod key;
mod registry;
mod test_view;

#[path = "../../../../crates/revoxy-core/src/revocation/state.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod state;
#[path = "../../../../crates/revoxy-core/src/revocation/statement.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod statement;
#[path = "../../../../crates/revoxy-core/src/revocation/version.rs"]
#[allow(dead_code, reason = "the view needs little of it")]
mod version;
#[path = "../../../../crates/revoxy-core/src/revocation/view/mod.rs"]
#[allow(dead_code, reason = "the tests need a part of it")]
mod view;

pub use statement::Cutoff;
pub use test_view::{Key, Statement, TestView};
