//! The key `revocation.mode`.

use serde::Deserialize;

/// How a token is treated if there is no statement about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As not revoked.
    #[default]
    DenyList,
    /// As revoked: only registered tokens are accepted.
    AllowList,
}
