//! Explains what the store contains about a token, or which keys it would be queried for.

use crate::clock::Timestamp;
use crate::revocation::{Cutoff, Effect, Findings, ForeignKey, Found, Revocation};

use super::{Mark, Question, Row};

/// Lists the keys that would be looked up in the store.
pub(super) fn not_asked(question: &Question) -> Vec<Row> {
    let keys = question.keys.keys().iter();
    let mut rows: Vec<_> = keys
        .map(|key| {
            let what = format!("not asked; would be under {:?}", key.rendered());
            Row::new("revocation", Mark::NotAsked, what)
        })
        .collect();
    for key in question.keys.foreign() {
        let would = match key.is_required() {
            true => "has to be",
            false => "would be",
        };
        let what = format!("not asked; {would} {}", place(key));
        rows.push(Row::new("lookup", Mark::NotAsked, what));
    }
    if let Some(key) = question.keys.registration() {
        let what = format!("not asked; has to be under {:?}", key.rendered());
        rows.push(Row::new("allow-list", Mark::NotAsked, what));
    }
    rows.extend(unidentified(question));
    rows
}

/// Explains what the store contains.
pub(super) fn found(found: &Findings<'_>, question: &Question) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, revocation) in &found.own {
        let (mark, what) = match revocation {
            Found::Nothing => (Mark::Ok, "no revocation".to_owned()),
            Found::Revocation(revocation) => (
                refused(revocation.cutoff.into(), question),
                described(revocation, question),
            ),
            Found::Unreadable(why) => (
                refused(Effect::REVOKES_ALL, question),
                format!("revoked by what cannot be read ({why})"),
            ),
        };
        let what = format!("{what} under {:?}", key.rendered());
        rows.push(Row::new("revocation", mark, what));
    }
    for (key, effect) in &found.foreign {
        let (mark, what) = match (effect, key.is_required()) {
            (None, false) => (Mark::Ok, "nothing"),
            (None, true) => (Mark::No, "has to be, and is not,"),
            (Some(effect), _) if effect.refuses(question.issued_at) => {
                (refused(*effect, question), "revoked")
            }
            (Some(_), true) => (Mark::Ok, "there"),
            (Some(_), false) => (Mark::Ok, "refuses other tokens only:"),
        };
        rows.push(Row::new("lookup", mark, format!("{what} {}", place(key))));
    }
    if let (Some(registered), Some(key)) = (found.registered, question.keys.registration()) {
        let (mark, what) = match registered {
            true => (Mark::Ok, "there"),
            false => (Mark::No, "has to be, and is not,"),
        };
        rows.push(Row::new(
            "allow-list",
            mark,
            format!("{what} under {:?}", key.rendered()),
        ));
    }
    rows.extend(unidentified(question));
    if !question.looked_up {
        let what = "tokens of this type are not looked up (revocation.token_types)";
        rows.push(Row::new("revocation", Mark::Ok, what));
    }
    rows
}

fn refused(effect: Effect, question: &Question) -> Mark {
    match question.looked_up && effect.refuses(question.issued_at) {
        true => Mark::No,
        false => Mark::Ok,
    }
}

/// Describes which tokens are revoked, why, by whom, since when and until when.
fn described(revocation: &Revocation, question: &Question) -> String {
    let tokens = match revocation.cutoff {
        Cutoff::All => "revoked".to_owned(),
        Cutoff::IssuedUpTo(at) => {
            let iat = question
                .issued_at
                .map_or("without iat".to_owned(), Timestamp::rfc3339);
            format!("revoked if issued up to {} (this one: {iat})", at.rfc3339())
        }
    };
    let said = |what: &str, text: &Option<String>| match text {
        Some(text) => format!(", {what} {:?}", text.chars().take(200).collect::<String>()),
        None => String::new(),
    };
    let since = match revocation.revoked_at {
        // A revocation that was set by hand does not say when it was made.
        at if at == Timestamp::from_secs(0) => String::new(),
        at => format!(", since {}", at.rfc3339()),
    };
    let until = match revocation.expires_at {
        Timestamp::NEVER => "without an end".to_owned(),
        end => format!("until {}", end.rfc3339()),
    };
    format!(
        "{tokens}{}{}{since}, {until},",
        said("reason", &revocation.reason),
        said("by", &revocation.actor)
    )
}

fn unidentified(question: &Question) -> Option<Row> {
    let why =
        "lacks a claim of which a lookup makes its key, or has one that no key can be made of";
    (!question.keys.is_identified()).then(|| Row::new("lookup", Mark::No, why))
}

/// Describes the name of an application key. A name that is made from the token's text or signature is not
/// shown.
fn place(key: &ForeignKey) -> String {
    let rule = key.rule();
    if rule.needs_signature() {
        return format!("under {:?}", rule.key.as_str());
    }
    let name = key.name().escape_ascii();
    match key.member() {
        [] => format!("under \"{name}\""),
        member => format!("\"{}\" under \"{name}\"", member.escape_ascii()),
    }
}
