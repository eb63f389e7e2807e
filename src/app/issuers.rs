//! Loads the issuers' keys.

use std::sync::Arc;

use crate::config::{Config, Problems};
use crate::jwt::Issuer;

/// Loads every issuer; those whose keys cannot be used are reported.
pub(super) fn load(config: &Config, problems: &mut Problems) -> Vec<Arc<Issuer>> {
    let mut issuers = Vec::new();
    for issuer in &config.issuers {
        match issuer.keys.load(&issuer.profile.algorithms) {
            Ok((keys, skipped)) => {
                for why in skipped {
                    tracing::warn!(issuer = &*issuer.profile.name, why, "a key is left out");
                }
                issuers.push(Arc::new(Issuer::new(issuer.profile.clone(), keys)));
            }
            Err(error) => {
                problems.push(
                    config
                        .document
                        .problem(&issuer.keys_path, error.to_string()),
                );
            }
        }
    }
    issuers
}
