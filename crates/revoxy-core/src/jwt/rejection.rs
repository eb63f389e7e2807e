//! Why a token is refused.

/// Why a token is refused. The cause is always the token, never a failure of Revoxy or of its dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// Longer than [`super::MAX_TOKEN_BYTES`].
    #[error("the token is too large")]
    TooLarge,
    /// Not three canonical base64url parts that contain JSON objects (RFC 7515 §7.1, RFC 8259).
    #[error("the token is malformed")]
    Malformed,
    /// An encrypted (RFC 7516) or unsecured (RFC 7519 §6) token, an unknown `crit`, `b64`, or a `typ` for
    /// another purpose.
    #[error("this kind of token is not accepted")]
    Unsupported,
    /// The issuer is not configured to use the header's `alg`.
    #[error("the signing algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// No configured issuer has this `iss`.
    #[error("the issuer is not known")]
    UnknownIssuer,
    /// The issuer has no key that this token can be verified with.
    #[error("the signing key is not known")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the signature is invalid")]
    BadSignature,
    /// The proxy should have verified this issuer's token, and has not.
    #[error("the token has not been verified by the proxy")]
    NotVerifiedByProxy,
    /// A required claim is missing.
    #[error("a required claim is missing")]
    MissingClaim,
    /// A claim has the wrong JSON type, or a value without meaning.
    #[error("a claim has an invalid value")]
    InvalidClaim,
    /// `exp` has passed (RFC 7519 §4.1.4).
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future (RFC 7519 §4.1.5).
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is in the future.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// None of the configured audiences is in `aud` (RFC 7519 §4.1.3).
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// A claim does not have any of the values that the issuer's configuration requires.
    #[error("a claim does not have a required value")]
    WrongClaim,
}

impl Rejection {
    /// All reasons, for metrics that are created at start.
    pub const ALL: [Self; 15] = [
        Self::TooLarge,
        Self::Malformed,
        Self::Unsupported,
        Self::AlgorithmNotAllowed,
        Self::UnknownIssuer,
        Self::UnknownKey,
        Self::BadSignature,
        Self::NotVerifiedByProxy,
        Self::MissingClaim,
        Self::InvalidClaim,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::WrongAudience,
        Self::WrongClaim,
    ];

    /// Returns the stable name: metric label, log field and `reason` of the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported_token",
            Self::AlgorithmNotAllowed => "alg_not_allowed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::NotVerifiedByProxy => "not_verified_by_proxy",
            Self::MissingClaim => "missing_claim",
            Self::InvalidClaim => "invalid_claim",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::WrongAudience => "wrong_audience",
            Self::WrongClaim => "wrong_claim",
        }
    }
}
