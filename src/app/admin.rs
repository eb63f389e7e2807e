//! Loads the key of the API's administrator.

use std::path::Path;

use crate::api::AdminKey;
use crate::config::{Config, Problems};

/// Returns the key, if one is configured. Reports what is wrong with its file.
pub(super) fn key(config: &Config, problems: &mut Problems) -> Option<AdminKey> {
    let path = config.admin_key_file.as_deref()?;
    match read(path) {
        Ok(key) => Some(key),
        Err(why) => {
            let message = format!("{}: {why}", path.display());
            problems.push(config.document.problem("api.admin_key_file", message));
            None
        }
    }
}

fn read(path: &Path) -> Result<AdminKey, String> {
    let content = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    AdminKey::from_file(&content).map_err(str::to_owned)
}
