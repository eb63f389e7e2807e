//! The result of diagnosing a store (`revoxy doctor`).

/// What was found out about a store that is to be used for revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why revocations would not be safe in this store, and what to do about it.
    pub warnings: Vec<String>,
    /// What the store contains, and anything else worth knowing.
    pub notes: Vec<String>,
    /// Examples of keys that must be mistakes, for each kind of mistake. Such a key may identify a token or a
    /// person, so it may be printed for the operator, but never logged.
    pub mistaken_keys: Vec<String>,
}
