//! The tokens that checks are about, and the keys that revoke them.
//!
//! They are real tokens, verified by the real verifier, because nothing else can be checked. That happens once a process.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use revoxy::clock::Timestamp;
use revoxy::jwt::{Algorithm, Issuer, IssuerProfile, Verifier, install_crypto, parse_set};
use revoxy::revocation::{KeyKind, RevocationKey, TokenKeys};

use crate::world::EPOCH;

/// How many tokens are revoked one by one.
pub const SINGLE: usize = 4;
/// How many subjects there are whose tokens are revoked together.
pub const SUBJECTS: usize = 2;
/// When the tokens of a subject were issued, in seconds after the beginning of the schedule.
pub const ISSUED: [i64; 4] = [-30, -20, -10, 100];
/// Which cutoffs are stated, by the same count: between those, so that it is certain what they mean.
pub const CUTOFFS: [i64; 3] = [-25, -15, -5];

const ISSUER: &str = "shop";
const SECRET: &[u8] = b"a secret of the simulation, long enough";

/// A token.
pub struct Token {
    /// What it is called in traces.
    pub name: String,
    /// What a check looks up.
    pub keys: TokenKeys,
    /// By which of [`Cast::keys`] it can be revoked; none for one that never is.
    pub key: Option<usize>,
    /// When it was issued, in milliseconds since 1970.
    pub issued_at: i64,
}

/// All of them.
pub struct Cast {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// The keys that are revoked: first of single tokens, then of subjects.
    pub keys: Vec<RevocationKey>,
}

/// All of them, made once.
pub fn cast() -> &'static Cast {
    static CAST: OnceLock<Cast> = OnceLock::new();
    CAST.get_or_init(Cast::new)
}

impl Cast {
    fn new() -> Self {
        install_crypto().unwrap_or_else(|why| panic!("no cryptography: {why}"));
        let verifier = verifier();
        let mut keys = Vec::new();
        let mut tokens = Vec::new();
        let mut add = |jti: String, subject: String, issued: i64, key| {
            let issued_at = EPOCH + issued * 1000;
            tokens.push(Token {
                keys: verified(&verifier, &jti, &subject, issued_at / 1000),
                name: jti,
                key,
                issued_at,
            });
        };
        for at in 0..SINGLE {
            add(
                format!("t{at}"),
                format!("owner{at}"),
                -60,
                Some(keys.len()),
            );
            keys.push(RevocationKey::new(
                KeyKind::TokenId,
                ISSUER,
                &format!("t{at}"),
            ));
        }
        for at in 0..SUBJECTS {
            for issued in ISSUED {
                let jti = format!("s{at}{issued:+}");
                add(jti, format!("subject{at}"), issued, Some(keys.len()));
            }
            keys.push(RevocationKey::new(
                KeyKind::Subject,
                ISSUER,
                &format!("subject{at}"),
            ));
        }
        add("bystander".to_owned(), "nobody".to_owned(), -60, None);
        Self { tokens, keys }
    }
}

fn verifier() -> Verifier {
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let set = format!(r#"{{"keys":[{{"kty":"oct","k":"{secret}","alg":"HS256","kid":"k"}}]}}"#);
    let (keys, _) = parse_set(set.as_bytes(), &[Algorithm::HS256])
        .unwrap_or_else(|why| panic!("the key is none: {why}"));
    let profile = IssuerProfile {
        name: Arc::from(ISSUER),
        issuer: Some(ISSUER.to_owned()),
        algorithms: vec![Algorithm::HS256],
        leeway: Duration::from_secs(30),
        ..IssuerProfile::default()
    };
    Verifier::new([Arc::new(Issuer::new(profile, keys))])
}

fn verified(verifier: &Verifier, jti: &str, subject: &str, issued: i64) -> TokenKeys {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"k"}"#);
    let ends = EPOCH / 1000 + 100_000;
    let claims = format!(
        r#"{{"iss":"{ISSUER}","sub":"{subject}","jti":"{jti}","iat":{issued},"exp":{ends}}}"#
    );
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()));
    let now = Timestamp::from_millis(EPOCH + 1_000_000);
    let verified = verifier.verify(&format!("{input}.{signature}"), now);
    let claims = verified.unwrap_or_else(|why| panic!("the token is none: {why:?}"));
    TokenKeys::of(&claims)
}
