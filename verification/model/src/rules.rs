//! The rules of the protocol, and what it assumes. Each can be switched off, to see what it is for.

/// What Revoxy does, and what it may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Every statement has a version, and the later one wins. Without: an un-revocation is a tombstone beside the key, which wins
    /// against everything that is written back.
    pub versions: bool,
    /// Life and value of a key are read in one step.
    pub atomic_read: bool,
    /// The API answers after a heartbeat, begun after the write, with the server that took the write. Without: as soon as
    /// that server has answered.
    pub confirmed_acknowledgement: bool,
    /// A statement is acknowledged only when the view of the replica that was asked holds it with its version, and says the
    /// same. Until then it is repeated with a later version. Without: when the view refuses, for whatever reason; an
    /// un-revocation at once.
    pub statement_seen: bool,
    /// An acknowledgement also waits until the view is complete and settled with that server.
    pub settled_acknowledgement: bool,
    /// A view claims no freshness on a server that may have lost writes before every other replica has read it and written back.
    pub settling: bool,
    /// A heartbeat counts when the pushes before its answer have been acted upon.
    pub heartbeat_awaited: bool,
    /// A view follows the server that most Sentinels name at the time of the heartbeat.
    pub named_by_majority: bool,
    /// Run id and replication id are compared after each connection.
    pub identity_compared: bool,
    /// A view that was never complete takes every server for one that may have lost writes.
    pub unknown_joined: bool,
    /// What a server lost is written back.
    pub write_back: bool,
    /// Un-revocations, too.
    pub unrevocations_written_back: bool,
    /// The count of evictions is read with each heartbeat and each direct read. A change is treated like a lost history:
    /// everything is compared, and the view settles.
    pub evictions_watched: bool,
    /// An eviction is told from a deletion by the count of evictions.
    pub evictions_told: bool,
    /// `REVOKE` takes a version above those that stand.
    pub floor: bool,
    /// A value and a view hold a version for "every token" and another for the cutoff. Without: one for both.
    pub two_versions: bool,
    /// `REVOKE` leaves the version of the un-revocation in the value.
    pub unrevocation_kept: bool,
    /// A key without a version counts as just after the latest known un-revocation. Without: as the oldest.
    pub by_hand_after_unrevocation: bool,
    /// A key without a version is given that of the moment at which it is read, by the clock of the server; and an
    /// un-revocation that of the moment at which the server executes it.
    pub by_hand_stamped: bool,
    /// A deleted key is un-revoked (`honour`). Without: it is written back (`ignore`).
    pub deletions_honoured: bool,
    /// Assumption: the server queues a push for each change.
    pub pushes_complete: bool,
    /// Assumption: the clocks of two replicas differ by less than what lies between two statements about one key.
    pub clocks_agree: bool,
}

impl Rules {
    /// Those with versions: every mechanism is there, every assumption holds.
    pub fn versioned() -> Self {
        Self {
            versions: true,
            atomic_read: true,
            confirmed_acknowledgement: true,
            statement_seen: true,
            settled_acknowledgement: true,
            settling: true,
            heartbeat_awaited: true,
            named_by_majority: true,
            identity_compared: true,
            unknown_joined: true,
            write_back: true,
            unrevocations_written_back: true,
            evictions_watched: true,
            evictions_told: true,
            floor: true,
            two_versions: true,
            unrevocation_kept: true,
            by_hand_after_unrevocation: true,
            by_hand_stamped: true,
            deletions_honoured: true,
            pushes_complete: true,
            clocks_agree: true,
        }
    }

    /// Those before versions.
    pub fn unversioned() -> Self {
        Self {
            versions: false,
            atomic_read: false,
            confirmed_acknowledgement: false,
            statement_seen: false,
            settled_acknowledgement: false,
            unknown_joined: false,
            unrevocations_written_back: false,
            evictions_watched: false,
            floor: false,
            two_versions: false,
            unrevocation_kept: false,
            by_hand_after_unrevocation: false,
            by_hand_stamped: false,
            ..Self::versioned()
        }
    }

    /// The same with one of them switched off; nothing where none has that name.
    pub fn without(mut self, name: &str) -> Option<Self> {
        let rule = match name {
            "atomic-read" => &mut self.atomic_read,
            "confirmed-acknowledgement" => &mut self.confirmed_acknowledgement,
            "statement-seen" => &mut self.statement_seen,
            "settled-acknowledgement" => &mut self.settled_acknowledgement,
            "settling" => &mut self.settling,
            "heartbeat-awaited" => &mut self.heartbeat_awaited,
            "named-by-majority" => &mut self.named_by_majority,
            "identity-compared" => &mut self.identity_compared,
            "unknown-joined" => &mut self.unknown_joined,
            "write-back" => &mut self.write_back,
            "unrevocations-written-back" => &mut self.unrevocations_written_back,
            "evictions-watched" => &mut self.evictions_watched,
            "evictions-told" => &mut self.evictions_told,
            "floor" => &mut self.floor,
            "two-versions" => &mut self.two_versions,
            "unrevocation-kept" => &mut self.unrevocation_kept,
            "by-hand-after-unrevocation" => &mut self.by_hand_after_unrevocation,
            "by-hand-stamped" => &mut self.by_hand_stamped,
            "deletions-honoured" => &mut self.deletions_honoured,
            "pushes-complete" => &mut self.pushes_complete,
            "clocks-agree" => &mut self.clocks_agree,
            _ => return None,
        };
        *rule = false;
        Some(self)
    }
}
