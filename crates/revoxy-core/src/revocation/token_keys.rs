//! All keys that can revoke one token, rendered and hashed once, and what the answers for them mean together.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::jwt::VerifiedClaims;

use super::effect::Effect;
use super::hash::KeyHash;
use super::key::{KeyKind, RevocationKey, WHOLE_ISSUER};
use super::lookups::ForeignKey;
use super::registry::RegistrationKey;
use super::statement::{Cutoff, Revocation};

/// What revokes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedBy {
    /// A revocation under a native key.
    Key(KeyKind),
    /// The presence or absence of an application key.
    Application,
    /// Revoxy's allow-list does not contain the token.
    Unregistered,
}

/// What a view contains about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InView {
    /// The view contains a revocation of the token.
    Revoked(RevokedBy),
    /// The view contains everything that the token needs, and nothing that revokes it.
    Clear,
    /// The view contains nothing that revokes the token, but not everything that the token needs either: an
    /// entry of an allow-list is missing, which may have been added a moment ago, or a key is of a kind that
    /// no view can contain.
    Open,
}

/// How much longer than its token a revocation lives, at most: by so much may the clocks of replicas differ.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(60);

impl Revocation {
    /// The revocation of one verified token, by `actor`, at `now`. It outlives the token on every replica whose clock is
    /// behind ours by at most [`CLOCK_MARGIN`].
    pub fn of_token(claims: &VerifiedClaims, actor: &str, now: Timestamp) -> Self {
        Self {
            key: RevocationKey::of_token(claims),
            cutoff: Cutoff::All,
            expires_at: claims.dies_at().plus(CLOCK_MARGIN),
            reason: None,
            actor: Some(actor.to_owned()),
            revoked_at: now,
        }
    }
}

/// All keys that can revoke one token.
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
    /// Makes the native keys under which a verified token may be revoked.
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

    /// Marks a token that lacks a claim its lookup requires.
    pub(super) fn unidentified(self) -> Self {
        Self {
            identified: false,
            ..self
        }
    }

    /// Returns whether every key that has to be looked up could be made. If not, it is unknown whether the
    /// token is revoked.
    pub fn is_identified(&self) -> bool {
        self.identified
    }

    /// Adds the application keys for the token.
    pub fn with_foreign(self, foreign: Vec<ForeignKey>) -> Self {
        Self { foreign, ..self }
    }

    /// Marks a token that is only accepted if it is registered.
    pub fn on_allow_list(self, registration: RegistrationKey) -> Self {
        Self {
            registration: Some(registration),
            ..self
        }
    }

    /// Returns the native keys, the token's own first.
    pub fn keys(&self) -> &[RevocationKey] {
        &self.keys
    }

    /// Returns the application keys.
    pub fn foreign(&self) -> &[ForeignKey] {
        &self.foreign
    }

    /// Returns the key under which the token has to be registered, if it has to be.
    pub fn registration(&self) -> Option<&RegistrationKey> {
        self.registration.as_ref()
    }

    /// Evaluates the entries of a view; `find` looks one up.
    pub(super) fn in_view(&self, mut find: impl FnMut(KeyHash) -> Option<Effect>) -> InView {
        let hashes = self.hashes.iter().copied();
        let cutoffs = hashes.map(|hash| find(hash)?.cutoff());
        if let Some(kind) = self.first_match(cutoffs) {
            return InView::Revoked(RevokedBy::Key(kind));
        }
        let mut complete = true;
        for key in &self.foreign {
            let held = key.hash().and_then(&mut find);
            if held.is_some_and(|effect| effect.refuses(self.issued_at)) {
                return InView::Revoked(RevokedBy::Application);
            }
            complete &= match (key.hash(), held) {
                (None, _) => false,
                (Some(_), None) => !key.is_required(),
                // A key that exists and does not revoke yet may do so at any moment.
                (Some(_), Some(Effect::Admits)) => key.is_required(),
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

    /// Returns what revokes the token, given the store's answers in the order of the keys.
    pub(super) fn in_store(
        &self,
        keys: &[Option<Cutoff>],
        foreign: &[Option<Effect>],
        registered: bool,
    ) -> Option<RevokedBy> {
        let mut absent = self.foreign.iter().zip(foreign);
        self.revoked_by_entry(keys, foreign).or_else(|| {
            match absent.any(|(key, found)| found.is_none() && key.is_required()) {
                true => Some(RevokedBy::Application),
                false => (!registered).then_some(RevokedBy::Unregistered),
            }
        })
    }

    /// Returns what revokes the token, given the entries that the store has, in the order of the keys; nothing
    /// is concluded from the absence of an entry.
    pub(super) fn revoked_by_entry(
        &self,
        keys: &[Option<Cutoff>],
        foreign: &[Option<Effect>],
    ) -> Option<RevokedBy> {
        let own = self.first_match(keys.iter().copied()).map(RevokedBy::Key);
        let mut foreign = foreign.iter().flatten();
        let refuses = foreign.any(|effect| effect.refuses(self.issued_at));
        own.or(refuses.then_some(RevokedBy::Application))
    }

    /// Returns the kind of the first native key whose revocation applies to the token.
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

    use super::super::lookups;
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
        let hash = in_view.then(|| lookups::hash_of(name, "exists", required));
        ForeignKey::new(Arc::new(rule), name.to_vec(), Vec::new(), hash)
    }

    /// A view that contains an entry with this effect under this one key.
    fn holding(
        key: Option<KeyHash>,
        effect: impl Into<Effect>,
    ) -> impl FnMut(KeyHash) -> Option<Effect> {
        let effect = effect.into();
        move |asked| (Some(asked) == key).then_some(effect)
    }

    const BY_APPLICATION: InView = InView::Revoked(RevokedBy::Application);

    #[test]
    fn an_application_s_key_revokes_and_its_absence_does_not() {
        let key = foreign(false, true);
        let (hash, keys) = (key.hash(), keys(vec![key]));
        assert_eq!(keys.in_view(holding(hash, Cutoff::All)), BY_APPLICATION);
        let not_yet = holding(hash, Effect::Admits);
        assert_eq!(keys.in_view(not_yet), InView::Open);
        assert_eq!(
            keys.in_view(holding(hash, Cutoff::IssuedUpTo(LOGIN))),
            BY_APPLICATION
        );
        assert_eq!(keys.in_view(|_| None), InView::Clear);
        let by = Some(RevokedBy::Application);
        assert_eq!(
            keys.in_store(&[None], &[Some(Effect::REVOKES_ALL)], true),
            by
        );
        assert_eq!(keys.in_store(&[None], &[None], true), None);
    }

    #[test]
    fn the_absence_of_a_required_key_is_asked_about_and_then_revokes() {
        let key = foreign(true, true);
        let (hash, keys) = (key.hash(), keys(vec![key]));
        assert_eq!(keys.in_view(|_| None), InView::Open);
        assert_eq!(keys.in_view(holding(hash, Effect::Admits)), InView::Clear);
        assert_eq!(keys.in_view(holding(hash, Cutoff::All)), BY_APPLICATION);
        let by = Some(RevokedBy::Application);
        assert_eq!(keys.in_store(&[None], &[None], true), by);
        assert_eq!(keys.in_store(&[None], &[Some(Effect::Admits)], true), None);
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
        let held = holding(Some(hash), Effect::Admits);
        assert_eq!(keys.in_view(held), InView::Clear);
        let by = Some(RevokedBy::Unregistered);
        assert_eq!(keys.in_store(&[None], &[], false), by);
        assert_eq!(keys.in_store(&[None], &[], true), None);
    }
}
