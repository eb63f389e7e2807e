//! Every key that has a say about one token, rendered and hashed once, and what their answers mean together.

use crate::clock::Timestamp;
use crate::jwt::VerifiedClaims;

use super::foreign::ForeignKey;
use super::key::{KeyKind, RevocationKey, WHOLE_ISSUER};
use super::registry::RegistrationKey;
use super::statement::Cutoff;
use super::view::KeyHash;

/// By what a token is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedBy {
    /// A revocation under a key of ours.
    Key(KeyKind),
    /// What an application wrote, or did not write, under a key of its own.
    Application,
    /// An allow-list of ours, on which the token is not.
    Unregistered,
}

/// What a view says about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InView {
    /// It holds a revocation.
    Revoked(RevokedBy),
    /// It holds everything that the token needs, and nothing against it.
    Clear,
    /// It holds nothing against the token, but it does not hold everything either: an entry of an allow-list, which may
    /// have been made a moment ago, or what no view can hold.
    Open,
}

/// Every key that has a say about a token.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    keys: Vec<RevocationKey>,
    hashes: Vec<KeyHash>,
    foreign: Vec<ForeignKey>,
    registration: Option<RegistrationKey>,
    issued_at: Option<Timestamp>,
    identified: bool,
}

impl TokenKeys {
    /// The keys under which a verified token may be revoked here.
    pub fn of(claims: &VerifiedClaims) -> Self {
        let issuer: &str = claims.issuer();
        let mut keys = vec![RevocationKey::of_token(claims)];
        let mut add = |kind, value: Option<&str>| {
            keys.extend(value.map(|value| RevocationKey::new(kind, issuer, value)));
        };
        add(KeyKind::Subject, claims.subject());
        add(KeyKind::Session, claims.session());
        add(KeyKind::Client, claims.client());
        add(KeyKind::SigningKey, claims.kid());
        add(KeyKind::KeyThumbprint, claims.key_thumbprint());
        add(KeyKind::Issuer, Some(WHOLE_ISSUER));
        Self {
            hashes: keys.iter().map(RevocationKey::hash).collect(),
            keys,
            foreign: Vec::new(),
            registration: None,
            issued_at: claims.issued_at(),
            identified: true,
        }
    }

    /// The same, of a token of which a key cannot be made that it needs.
    pub(super) fn unidentified(self) -> Self {
        Self {
            identified: false,
            ..self
        }
    }

    /// Whether there is every key that has to be asked about. Otherwise nobody can tell whether the token is revoked.
    pub fn is_identified(&self) -> bool {
        self.identified
    }

    /// The same, with the keys that applications write about the token.
    pub fn with_foreign(self, foreign: Vec<ForeignKey>) -> Self {
        Self { foreign, ..self }
    }

    /// The same, of a token that counts only if it is registered.
    pub fn on_allow_list(self, registration: RegistrationKey) -> Self {
        Self {
            registration: Some(registration),
            ..self
        }
    }

    /// The keys of ours, the token's own first.
    pub fn keys(&self) -> &[RevocationKey] {
        &self.keys
    }

    /// The keys of applications.
    pub fn foreign(&self) -> &[ForeignKey] {
        &self.foreign
    }

    /// Under what the token has to be registered, if it has to be.
    pub fn registration(&self) -> Option<&RegistrationKey> {
        self.registration.as_ref()
    }

    /// What a view says whose entries `find` tells.
    pub(super) fn in_view(&self, mut find: impl FnMut(KeyHash) -> Option<Cutoff>) -> InView {
        let hashes = self.hashes.iter().copied();
        if let Some(kind) = self.first_match(hashes.map(&mut find)) {
            return InView::Revoked(RevokedBy::Key(kind));
        }
        let mut complete = true;
        for key in &self.foreign {
            let held = key.hash().and_then(&mut find);
            if held.is_some_and(|cutoff| cutoff.matches(self.issued_at)) {
                return InView::Revoked(RevokedBy::Application);
            }
            complete &= match (key.hash(), held) {
                (None, _) => false,
                (Some(_), None) => !key.is_required(),
                // A key that is there and does not revoke yet may do so at any moment.
                (Some(_), Some(Cutoff::NoToken)) => key.is_required(),
                (Some(_), Some(_)) => true,
            };
        }
        if let Some(key) = &self.registration {
            complete &= find(key.hash()).is_some();
        }
        if complete {
            InView::Clear
        } else {
            InView::Open
        }
    }

    /// By what the token is revoked, after the store's own answers, each in the order of its keys.
    pub(super) fn in_store(
        &self,
        keys: &[Option<Cutoff>],
        foreign: &[Option<Cutoff>],
        registered: bool,
    ) -> Option<RevokedBy> {
        if let Some(kind) = self.first_match(keys.iter().copied()) {
            return Some(RevokedBy::Key(kind));
        }
        let mut answers = self.foreign.iter().zip(foreign);
        let revokes = |(key, found): (&ForeignKey, &Option<Cutoff>)| match found {
            Some(cutoff) => cutoff.matches(self.issued_at),
            None => key.is_required(),
        };
        if answers.any(revokes) {
            return Some(RevokedBy::Application);
        }
        (!registered).then_some(RevokedBy::Unregistered)
    }

    /// The kind of the first key of ours whose revocation matches the token.
    fn first_match(&self, mut found: impl Iterator<Item = Option<Cutoff>>) -> Option<KeyKind> {
        self.keys.iter().find_map(|key| {
            let cutoff = found.next()??;
            cutoff.matches(self.issued_at).then_some(key.kind())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::foreign;
    use super::super::lookups::{KeyRule, Match};
    use super::*;

    const NATIVE: &str = "native";
    const LOGIN: Timestamp = Timestamp::from_secs(100);

    fn keys(foreign: Vec<ForeignKey>) -> TokenKeys {
        let key = RevocationKey::new(KeyKind::TokenId, "shop", NATIVE);
        TokenKeys {
            hashes: vec![key.hash()],
            keys: vec![key],
            foreign,
            registration: None,
            issued_at: Some(LOGIN),
            identified: true,
        }
    }

    fn foreign(required: bool, in_view: bool) -> ForeignKey {
        let name = b"blacklist:1";
        let rule = KeyRule {
            required,
            ..KeyRule::named("blacklist:{jti}", Match::Exists).unwrap()
        };
        let hash = in_view.then(|| foreign::hash(name, "exists", required));
        ForeignKey::new(Arc::new(rule), name.to_vec(), Vec::new(), hash)
    }

    /// A view that holds `cutoff` under the one key.
    fn holding(key: Option<KeyHash>, cutoff: Cutoff) -> impl FnMut(KeyHash) -> Option<Cutoff> {
        move |asked| (Some(asked) == key).then_some(cutoff)
    }

    const BY_APPLICATION: InView = InView::Revoked(RevokedBy::Application);

    #[test]
    fn an_application_s_key_revokes_and_its_absence_does_not() {
        let key = foreign(false, true);
        let (hash, keys) = (key.hash(), keys(vec![key]));
        assert_eq!(keys.in_view(holding(hash, Cutoff::All)), BY_APPLICATION);
        let not_yet = holding(hash, Cutoff::NoToken);
        assert_eq!(keys.in_view(not_yet), InView::Open);
        assert_eq!(
            keys.in_view(holding(hash, Cutoff::IssuedUpTo(LOGIN))),
            BY_APPLICATION
        );
        assert_eq!(keys.in_view(|_| None), InView::Clear);
        let by = Some(RevokedBy::Application);
        assert_eq!(keys.in_store(&[None], &[Some(Cutoff::All)], true), by);
        assert_eq!(keys.in_store(&[None], &[None], true), None);
    }

    #[test]
    fn the_absence_of_a_required_key_is_asked_about_and_then_revokes() {
        let key = foreign(true, true);
        let (hash, keys) = (key.hash(), keys(vec![key]));
        assert_eq!(keys.in_view(|_| None), InView::Open);
        assert_eq!(keys.in_view(holding(hash, Cutoff::NoToken)), InView::Clear);
        assert_eq!(keys.in_view(holding(hash, Cutoff::All)), BY_APPLICATION);
        let by = Some(RevokedBy::Application);
        assert_eq!(keys.in_store(&[None], &[None], true), by);
        assert_eq!(keys.in_store(&[None], &[Some(Cutoff::NoToken)], true), None);
    }

    #[test]
    fn what_no_view_can_hold_is_always_asked_about() {
        let keys = keys(vec![foreign(false, false)]);
        assert_eq!(keys.in_view(|_| None), InView::Open);
        let native = holding(Some(keys.hashes[0]), Cutoff::All);
        let by = RevokedBy::Key(KeyKind::TokenId);
        assert_eq!(keys.in_view(native), InView::Revoked(by));
    }

    #[test]
    fn a_token_that_is_on_no_allow_list_is_asked_about_and_then_revoked() {
        let plain = keys(Vec::new());
        let registration = RegistrationKey::of(&plain.keys[0]);
        let hash = registration.hash();
        let keys = plain.on_allow_list(registration);
        assert_eq!(keys.in_view(|_| None), InView::Open);
        let held = holding(Some(hash), Cutoff::NoToken);
        assert_eq!(keys.in_view(held), InView::Clear);
        let by = Some(RevokedBy::Unregistered);
        assert_eq!(keys.in_store(&[None], &[], false), by);
        assert_eq!(keys.in_store(&[None], &[], true), None);
    }
}
