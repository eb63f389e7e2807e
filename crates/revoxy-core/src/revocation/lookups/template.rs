//! The template of a key: text with variables in braces, for example `blacklist:{jti}`. A literal brace is
//! doubled.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::digest::sha256;
use crate::jwt::{ClaimPath, ClaimText, VerifiedClaims};

/// The maximum length of a claim in a key. A longer claim identifies nothing, but would fill the memory of
/// the store and of this process.
const MAX_CLAIM: usize = 1024;

/// The value that a variable is replaced by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    TokenId,
    Subject,
    Session,
    Client,
    /// A claim that the issuer's profile keeps.
    Claim(ClaimPath),
    Token,
    TokenSha256Hex,
    TokenSha256Base64Url,
    Signature,
}

/// The variables that are named like the claim that they stand for.
const PLAIN_CLAIMS: [&str; 3] = ["iss", "iat", "exp"];
const VARIABLES: &str = "{jti}, {sub}, {iss}, {iat}, {exp}, {sid}, {client}, {claim:NAME}, {token}, \
                         {token_sha256_hex}, {token_sha256_base64url}, {signature}";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(Variable),
}

/// The name of a key, with variables for the properties of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// The result of rendering a template for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rendering {
    /// The rendered text.
    Text(String),
    /// No text: the token lacks the claim.
    Lacking,
    /// No text: the claim's value cannot be part of a key.
    Impossible,
}

impl Template {
    /// Parses a template. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Claims with control characters are not rendered either, so a key with a control character in its
        // name does not belong to any lookup.
        if text.chars().any(char::is_control) {
            return Err("a control character: such keys cannot be looked up".to_owned());
        }
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, behind) = rest[at..].split_at(1);
            if let Some(behind) = behind.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            if brace == "}" {
                return Err("a `}` that closes nothing; a literal one is written `}}`".to_owned());
            }
            let Some((name, behind)) = behind.split_once('}') else {
                return Err("a `{` that is not closed; a literal one is written `{{`".to_owned());
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(Variable::parse(name)?));
            rest = behind;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Makes a template of a single claim.
    pub fn of_claim(name: &str) -> Self {
        Self {
            text: format!("{{claim:{name}}}"),
            parts: vec![Part::Variable(Variable::Claim(ClaimPath(name.to_owned())))],
        }
    }

    /// Returns the template as configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the prefix of every text that it renders.
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    /// Returns the suffix of every text that it renders.
    fn suffix(&self) -> &str {
        match self.parts.last() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Literal(_) => None,
        })
    }

    /// Returns whether it renders the same text for every token.
    pub fn is_constant(&self) -> bool {
        self.variables().next().is_none()
    }

    /// Returns whether it needs the token's signature, which may be spelled in two ways for the same token.
    pub fn needs_signature(&self) -> bool {
        self.variables().any(|variable| match variable {
            Variable::Token
            | Variable::TokenSha256Hex
            | Variable::TokenSha256Base64Url
            | Variable::Signature => true,
            Variable::TokenId
            | Variable::Subject
            | Variable::Session
            | Variable::Client
            | Variable::Claim(_) => false,
        })
    }

    /// Returns the claims that verified tokens have to keep for it.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        self.variables().filter_map(|variable| match variable {
            Variable::Claim(path) => Some(path),
            _ => None,
        })
    }

    /// Returns whether it may have rendered this text. An entry for any other text need not be kept.
    pub(super) fn may_have_made(&self, text: &str) -> bool {
        let middle = text.strip_prefix(self.prefix());
        if self.is_constant() {
            return middle == Some("");
        }
        let middle = middle.and_then(|rest| rest.strip_suffix(self.suffix()));
        middle.is_some_and(|middle| !middle.is_empty() && !middle.chars().any(char::is_control))
    }

    /// Returns a text that it could render for some token; `None` if one of its variables may have only a
    /// single possible value, which is not known here.
    pub(super) fn sample(&self) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Literal(text) => Some(text.clone()),
            Part::Variable(Variable::Client | Variable::Claim(_)) => None,
            Part::Variable(_) => Some("revoxy-sample".to_owned()),
        };
        self.parts.iter().map(part).collect()
    }

    /// Renders the text for a token.
    pub(super) fn render(&self, claims: &VerifiedClaims, token: Option<&str>) -> Rendering {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(variable) => match variable.render(claims, token) {
                    Rendering::Text(value) => text.push_str(&value),
                    other => return other,
                },
            }
        }
        Rendering::Text(text)
    }
}

impl Variable {
    fn parse(name: &str) -> Result<Self, String> {
        let claim = |name: &str| Self::Claim(ClaimPath(name.to_owned()));
        Ok(match name {
            "jti" => Self::TokenId,
            "sub" => Self::Subject,
            "sid" => Self::Session,
            "client" => Self::Client,
            "token" => Self::Token,
            "token_sha256_hex" => Self::TokenSha256Hex,
            "token_sha256_base64url" => Self::TokenSha256Base64Url,
            "signature" => Self::Signature,
            name if PLAIN_CLAIMS.contains(&name) => claim(name),
            _ => match name.strip_prefix("claim:") {
                Some("" | "/") => return Err("`{claim:}` without the name of a claim".to_owned()),
                Some(name) => claim(name),
                None => return Err(format!("no variable `{{{name}}}`; there are {VARIABLES}")),
            },
        })
    }

    fn render(&self, claims: &VerifiedClaims, token: Option<&str>) -> Rendering {
        // If the proxy has verified the token, the signature may have been re-encoded since.
        let of_token = |make: fn(&str) -> String| {
            token.map_or(Rendering::Impossible, |token| Rendering::Text(make(token)))
        };
        match self {
            Self::TokenId => claim(claims.token_id()),
            Self::Subject => claim(claims.subject()),
            Self::Session => claim(claims.session()),
            Self::Client => claim(claims.client()),
            Self::Claim(path) => match claims.claim(path) {
                Some(ClaimText::Text(text)) => claim(Some(text)),
                Some(ClaimText::Unspellable) => Rendering::Impossible,
                None => Rendering::Lacking,
            },
            Self::Token => of_token(str::to_owned),
            Self::TokenSha256Hex => of_token(sha256_hex),
            Self::TokenSha256Base64Url => {
                of_token(|token| URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())))
            }
            Self::Signature => of_token(|token| {
                let signature = token
                    .rsplit_once('.')
                    .map_or("", |(_, signature)| signature);
                signature.to_owned()
            }),
        }
    }
}

/// Renders a claim as a part of a key. An empty claim would be shared by all tokens, and a claim with control
/// characters identifies nothing; for both, it is unknown how an application renders them.
fn claim(text: Option<&str>) -> Rendering {
    match text {
        None => Rendering::Lacking,
        Some(text)
            if text.is_empty() || text.len() > MAX_CLAIM || text.chars().any(char::is_control) =>
        {
            Rendering::Impossible
        }
        Some(text) => Rendering::Text(text.to_owned()),
    }
}

fn sha256_hex(token: &str) -> String {
    hex::encode(sha256(token.as_bytes()))
}
