//! The steps of a verification, for those who want to see them. A check does not: to it they cost nothing.

/// A step of verification, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Three canonical parts that hold JSON objects.
    Form,
    /// The header can be read and asks for nothing that we do not do.
    Header,
    /// The issuer is configured.
    Issuer,
    /// The issuer uses this `alg` and `typ`.
    Algorithm,
    /// There is one key that can be meant.
    Key,
    /// The signature is that key's.
    Signature,
    /// The claims are in order.
    Claims,
}

impl Stage {
    /// Every step.
    pub const ALL: [Self; 7] = [
        Self::Form,
        Self::Header,
        Self::Issuer,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Claims,
    ];

    /// The name.
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

/// Watches a verification.
pub(super) trait Trace {
    /// This step was passed.
    fn passed(&mut self, stage: Stage, what: impl FnOnce() -> String);
}

/// Nobody watches.
pub(super) struct Untraced;

impl Trace for Untraced {
    #[inline]
    fn passed(&mut self, _: Stage, _: impl FnOnce() -> String) {}
}

/// The steps that were passed, and what was found in each. Holds no part of the signature.
#[derive(Debug, Default)]
pub struct Steps(pub(super) Vec<(Stage, String)>);

impl Steps {
    /// The steps passed, in order.
    pub fn passed(&self) -> impl Iterator<Item = (Stage, &str)> {
        self.0.iter().map(|(stage, what)| (*stage, what.as_str()))
    }

    /// The step that was not passed.
    pub fn failed(&self) -> Option<Stage> {
        Stage::ALL.get(self.0.len()).copied()
    }
}

impl Trace for Steps {
    fn passed(&mut self, stage: Stage, what: impl FnOnce() -> String) {
        self.0.push((stage, what()));
    }
}
