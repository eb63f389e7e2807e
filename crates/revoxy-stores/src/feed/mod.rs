//! The common parts of all feeds. A feed keeps a view in line with a store that others write to, too.

pub(crate) mod clock_offset;
pub(crate) mod state;
pub(crate) mod supervise;
