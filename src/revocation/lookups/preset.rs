//! Lookups by name: how widely used libraries and samples keep their revocations in Redis.

use super::matching::Match;
use super::template::Template;

/// A library or sample whose keys are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// flask-jwt-extended 4, `examples/blocklist_redis.py`.
    FlaskJwtExtended,
    /// flask-jwt-extended up to 3.25, `examples/redis_blacklist.py`: an allow-list, in fact.
    FlaskJwtExtended3,
    /// fastapi-jwt-auth, `examples/denylist_redis.py`.
    FastapiJwtAuth,
    /// What most applications do by hand.
    GenericBlacklist,
    /// The access token itself as the key, as tutorials for Spring do.
    SpringRawToken,
    /// The plugin jwt-logout of Higress.
    Higress,
    /// DivergentCodes/jwtblock.
    Jwtblock,
    /// The npm package of this name.
    ExpressJwtBlacklist,
    /// jwt-auth for Laravel 10 and later, with a cache in Redis.
    LaravelJwtAuth,
}

/// SHA-1 of `tag:tymon.jwt:entries`, under which Laravel's cache puts the keys of the tag `tymon.jwt`.
const LARAVEL_TAG: &str = "ca7581d6d4749d8fd143ea956aa654aa02abe0ec:";

impl Preset {
    /// Every one.
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

    /// The name in a configuration.
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

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == name)
    }

    /// Whether a `prefix` can be given; where it has to be, there is no default.
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

    /// The template of the key behind the prefix.
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

    /// What revokes.
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

    /// Whether a token without a key is revoked.
    pub const fn requires_key(self) -> bool {
        matches!(self, Self::FlaskJwtExtended3)
    }
}

/// What a preset puts before its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// Nothing, and nothing else can be said.
    Fixed,
    /// This, unless something else is said.
    Default(&'static str),
    /// What has to be said.
    Needed,
}
