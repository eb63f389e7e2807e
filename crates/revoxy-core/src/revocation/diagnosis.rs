//! The result of diagnosing a store (`revoxy doctor`).

/// What was found out about a store that is to be used for revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why revocations would not be safe in this store, and what to do about it.
    pub warnings: Vec<String>,
    /// What the store contains, and anything else worth knowing.
    pub notes: Vec<String>,
    /// Some keys of each kind that must be mistakes. They may name a token or a person, so they may be
    /// printed for whoever asked, but never logged.
    pub mistaken_keys: Vec<String>,
}
