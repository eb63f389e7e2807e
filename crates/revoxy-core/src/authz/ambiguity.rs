//! Rejects values that two readers could interpret differently.

use super::decision::DenyReason;

/// Returns the value that is present; if both are, they must be equal.
pub(super) fn same<'r>(
    one: Option<&'r str>,
    other: Option<&'r str>,
) -> Result<Option<&'r str>, DenyReason> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(DenyReason::AmbiguousToken),
        _ => Ok(one.or(other)),
    }
}

pub(super) fn malformed() -> DenyReason {
    DenyReason::Rejected(crate::jwt::Rejection::Malformed)
}
