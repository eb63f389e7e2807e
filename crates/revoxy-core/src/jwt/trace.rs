//! Traces the steps of a verification. Checks do not use this, and it adds no cost to them.

/// A step of the verification, in the order in which the steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Three canonical parts that contain JSON objects.
    Form,
    /// The header is valid, and requires no feature that is not supported.
    Header,
    /// The issuer is configured.
    Issuer,
    /// The issuer uses this `alg` and `typ`.
    Algorithm,
    /// Exactly one key is applicable.
    Key,
    /// The signature was made by that key.
    Signature,
    /// The claims are valid.
    Claims,
}

impl Stage {
    /// All steps.
    pub const ALL: [Self; 7] = [
        Self::Form,
        Self::Header,
        Self::Issuer,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Claims,
    ];

    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Header => "header",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
        }
    }
}

/// Observes a verification.
pub(super) trait Trace {
    /// Called when a step was passed.
    fn passed(&mut self, stage: Stage, what: impl FnOnce() -> String);
}

/// Observes nothing.
pub(super) struct Untraced;

impl Trace for Untraced {
    #[inline]
    fn passed(&mut self, _: Stage, _: impl FnOnce() -> String) {}
}

/// The steps that were passed, and what each found. Contains no part of the signature.
#[derive(Debug, Default)]
pub struct Steps(pub(super) Vec<(Stage, String)>);

impl Steps {
    /// Returns the steps that were passed, in order.
    pub fn passed(&self) -> impl Iterator<Item = (Stage, &str)> {
        self.0.iter().map(|(stage, what)| (*stage, what.as_str()))
    }

    /// Returns the step that failed.
    pub fn failed(&self) -> Option<Stage> {
        Stage::ALL.get(self.0.len()).copied()
    }
}

impl Trace for Steps {
    fn passed(&mut self, stage: Stage, what: impl FnOnce() -> String) {
        self.0.push((stage, what()));
    }
}
