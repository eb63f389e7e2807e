//! How applications encode keys and values.

use serde::Deserialize;

/// How an application encodes the name of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    /// The text itself, in UTF-8.
    #[default]
    Plain,
    /// A `String` in the JDK's serialization. Values are understood in both forms.
    Java,
}
