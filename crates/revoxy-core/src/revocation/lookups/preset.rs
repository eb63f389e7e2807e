//! Presets: how widely used libraries and code samples store their revocations in Redis.

use super::matching::Match;
use super::template::Template;

/// A library or code sample with a known key format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// flask-jwt-extended 4, `examples/blocklist_redis.py`.
    FlaskJwtExtended,
    /// flask-jwt-extended up to 3.25, `examples/redis_blacklist.py`: in fact an allow-list.
    FlaskJwtExtended3,
    /// fastapi-jwt-auth, `examples/denylist_redis.py`.
    FastapiJwtAuth,
    /// What most applications implement by hand.
    GenericBlacklist,
    /// The access token itself as the key, as in tutorials for Spring.
    SpringRawToken,
    /// The jwt-logout plugin of Higress.
    Higress,
    /// DivergentCodes/jwtblock.
    Jwtblock,
    /// The npm package express-jwt-blacklist.
    ExpressJwtBlacklist,
    /// jwt-auth for Laravel 10 and later, with a cache in Redis.
    LaravelJwtAuth,
}

/// The SHA-1 of `tag:tymon.jwt:entries`, which Laravel's cache puts before the keys that have the tag
/// `tymon.jwt`.
const LARAVEL_TAG: &str = "ca7581d6d4749d8fd143ea956aa654aa02abe0ec:";

impl Preset {
    /// All presets.
    pub const ALL: [Self; 9] = [
        Self::FlaskJwtExtended,
        Self::FlaskJwtExtended3,
        Self::FastapiJwtAuth,
        Self::GenericBlacklist,
        Self::SpringRawToken,
        Self::Higress,
        Self::Jwtblock,
        Self::ExpressJwtBlacklist,
        Self::LaravelJwtAuth,
    ];

    /// Returns the name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlaskJwtExtended => "flask-jwt-extended",
            Self::FlaskJwtExtended3 => "flask-jwt-extended-3",
            Self::FastapiJwtAuth => "fastapi-jwt-auth",
            Self::GenericBlacklist => "generic-blacklist",
            Self::SpringRawToken => "spring-raw-token",
            Self::Higress => "higress",
            Self::Jwtblock => "jwtblock",
            Self::ExpressJwtBlacklist => "express-jwt-blacklist",
            Self::LaravelJwtAuth => "laravel-jwt-auth",
        }
    }

    /// Returns the preset with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == name)
    }

    /// Returns whether a `prefix` can or must be configured.
    pub const fn prefix(self) -> Prefix {
        match self {
            Self::FlaskJwtExtended
            | Self::FlaskJwtExtended3
            | Self::FastapiJwtAuth
            | Self::SpringRawToken
            | Self::Jwtblock => Prefix::Fixed,
            Self::GenericBlacklist => Prefix::Default("blacklist:"),
            Self::Higress => Prefix::Default("higress_jwt_logout_"),
            Self::ExpressJwtBlacklist => Prefix::Default("jwt-blacklist:"),
            Self::LaravelJwtAuth => Prefix::Needed,
        }
    }

    /// Returns the template of the key, without the prefix.
    pub fn key(self) -> String {
        match self {
            Self::FlaskJwtExtended
            | Self::FlaskJwtExtended3
            | Self::FastapiJwtAuth
            | Self::GenericBlacklist
            | Self::Higress => "{jti}".to_owned(),
            Self::SpringRawToken => "{token}".to_owned(),
            Self::Jwtblock => "{token_sha256_hex}".to_owned(),
            Self::ExpressJwtBlacklist => "{sub}".to_owned(),
            Self::LaravelJwtAuth => format!("{LARAVEL_TAG}{{jti}}"),
        }
    }

    /// Returns when a key revokes.
    pub fn matching(self) -> Match {
        match self {
            Self::FlaskJwtExtended
            | Self::GenericBlacklist
            | Self::Higress
            | Self::SpringRawToken
            | Self::Jwtblock => Match::Exists,
            Self::FlaskJwtExtended3 | Self::FastapiJwtAuth => {
                Match::Equals(vec!["true".to_owned()])
            }
            Self::ExpressJwtBlacklist => Match::IssuedAmong(Template::of_claim("iat")),
            Self::LaravelJwtAuth => Match::ValidUntil,
        }
    }

    /// Returns whether a token without a key is revoked.
    pub const fn requires_key(self) -> bool {
        matches!(self, Self::FlaskJwtExtended3)
    }
}

/// The part of a preset's key before its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// None, and none can be configured.
    Fixed,
    /// This one, unless another one is configured.
    Default(&'static str),
    /// There is no default: it must be configured.
    Needed,
}
