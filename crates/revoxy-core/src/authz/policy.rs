//! Policies: what a route demands of a token.

use std::time::Duration;

use crate::jwt::TokenType;

use super::demands::Demands;

/// What a route demands of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name in the configuration.
    pub name: String,
    /// The index among the policies, for metrics.
    pub index: usize,
    /// Whether a token is required.
    pub token: TokenDemand,
    /// The required type of the token.
    pub token_type: TypeDemand,
    /// What is demanded of the claims.
    pub demands: Demands,
    /// Whether revocations are looked up.
    pub check_revocation: bool,
    /// What happens to a token with which a request may pass.
    pub on_allow: OnAllow,
    /// What happens if nobody can tell whether the token is revoked.
    pub on_unavailable: OnUnavailable,
}

impl Default for Policy {
    /// An access token that is not revoked.
    fn default() -> Self {
        Self {
            name: String::new(),
            index: 0,
            token: TokenDemand::default(),
            token_type: TypeDemand::default(),
            demands: Demands::default(),
            check_revocation: true,
            on_allow: OnAllow::default(),
            on_unavailable: OnUnavailable::default(),
        }
    }
}

impl Policy {
    /// Returns whether this policy demands at least as much as the other, as far as is easily told.
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        let types = self.token_type == other.token_type || other.token_type == TypeDemand::Any;
        let looks = self.check_revocation || !other.check_revocation;
        let claims =
            self.token == TokenDemand::None || types && looks && self.demands.imply(&other.demands);
        let acts = self.on_allow == other.on_allow || other.on_allow == OnAllow::None;
        acts && self.token <= other.token && (other.token == TokenDemand::None || claims)
    }
}

/// What happens if nobody can tell whether a token is revoked: the view is too old, and the store does not
/// answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnavailable {
    /// The request is refused with an error (503).
    #[default]
    Deny,
    /// The view is still used while it is no older than this; after that, the same as `Deny`.
    ServeStale(Duration),
    /// The request is allowed, and counted as `fail_open`.
    Allow,
    /// The proxy decides: the check fails as a gRPC call, and Envoy's `failure_mode_allow` applies.
    Delegate,
}

/// What happens to a token with which a request may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAllow {
    /// Nothing.
    #[default]
    None,
    /// The token is revoked before the request passes: for a logout route. If that fails, the request is refused as an
    /// error of ours.
    Revoke,
}

/// Whether a token is required. Ordered from the strictest demand to none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenDemand {
    /// A token is required.
    #[default]
    Required,
    /// A token is optional, but if there is one, it must be valid.
    Optional,
    /// Tokens are not looked at.
    None,
}

/// The required type of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeDemand {
    /// An access token, or one that does not name its type.
    #[default]
    Access,
    /// A refresh token.
    Refresh,
    /// Any type.
    Any,
}

impl TypeDemand {
    /// Returns the name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
            Self::Any => "any",
        }
    }

    /// Returns whether a token of this type is acceptable.
    pub fn accepts(self, token_type: TokenType) -> bool {
        match self {
            Self::Access => token_type == TokenType::Access,
            Self::Refresh => token_type == TokenType::Refresh,
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_takes_the_types_that_it_names() {
        let demands = [TypeDemand::Access, TypeDemand::Refresh, TypeDemand::Any];
        let accepted = demands.map(|demand| TokenType::ALL.map(|t| demand.accepts(t)));
        let [access, refresh] = [[true, false, false], [false, true, false]];
        assert_eq!(accepted, [access, refresh, [true; 3]]);
        let names = demands.map(TypeDemand::as_str);
        assert_eq!(names, ["access", "refresh", "any"]);
    }
}
