//! What a look at a store has found.

/// What there is to say about a store that would be used for revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why revocations would not be safe with it, and what to do.
    pub warnings: Vec<String>,
    /// What it holds, and whatever else is worth knowing.
    pub notes: Vec<String>,
}
