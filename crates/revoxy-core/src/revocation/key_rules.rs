//! Which keys can revoke a token, as configured. Checks and explanations make them here.

use crate::jwt::VerifiedClaims;

use super::checker::CheckedTypes;
use super::lookups::Lookups;
use super::registry::RegistrationKey;
use super::token_keys::TokenKeys;

/// Which keys are made for a token: its native keys always, and other keys as configured.
#[derive(Clone, Debug)]
pub struct KeyRules {
    /// The token types that are looked up.
    pub types: CheckedTypes,
    /// The keys of applications that are looked up.
    pub lookups: Lookups,
    /// Whether a token of these types has to be registered.
    pub allow_list: bool,
}

impl KeyRules {
    /// Makes the keys of a verified token. `token` is the compact token, which some lookups need; without it,
    /// their keys cannot be made, and the token is not [identified](TokenKeys::is_identified).
    pub fn keys_of(&self, claims: &VerifiedClaims, token: Option<&str>) -> TokenKeys {
        let keys = self.lookups.add_to(TokenKeys::of(claims), claims, token);
        match keys.keys().first() {
            Some(own) if self.allow_list && self.looks_up(claims) => {
                let own = RegistrationKey::of(own);
                keys.on_allow_list(own)
            }
            _ => keys,
        }
    }

    /// Returns whether tokens of this type are looked up.
    pub fn looks_up(&self, claims: &VerifiedClaims) -> bool {
        self.types.includes(claims.token_type())
    }
}
