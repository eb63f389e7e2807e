//! How the feed acted upon a key before there were versions: entries are a cutoff alone, and an un-revocation is a tombstone.

use crate::lattice::State;
use crate::replica::{Replica, bit};
use crate::rules::Rules;
use crate::server::{Record, Server};

impl Replica {
    pub(crate) fn act_without_versions(
        &mut self,
        key: usize,
        record: &Record,
        server: &mut Server,
        rules: &Rules,
    ) {
        let taken_back = self.hear_tombstone(key, record);
        self.act_on_key(key, record, server, rules);
        let Some(session) = &self.session else { return };
        let told = session.unread & bit(key) != 0 || session.pushed & (bit(key) << 4) != 0;
        if told && record.restored.level() > self.view[key].level() {
            self.view[key] = record.restored;
        }
        if taken_back {
            server.data[key].restored = State::NONE;
        }
    }

    /// A new tombstone takes the entry out. One that is met while everything is read is only noted.
    fn hear_tombstone(&mut self, key: usize, record: &Record) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        if !record.tombstone {
            session.tombstones &= !bit(key);
            return false;
        }
        let is_new = session.tombstones & bit(key) == 0;
        session.tombstones |= bit(key);
        let taken_back = is_new && session.tombstones_pushed & bit(key) != 0;
        if taken_back {
            self.view[key] = State::NONE;
        }
        taken_back
    }

    fn act_on_key(&mut self, key: usize, record: &Record, server: &Server, rules: &Rules) {
        let Some(session) = &mut self.session else {
            return;
        };
        let reading_all = session.unread & bit(key) != 0;
        if !reading_all && session.pushed & bit(key) == 0 {
            return;
        }
        let held = self.view[key];
        let evicted = server.evictions != self.evictions;
        let restored = record.restored;
        if let Some(value) = record.key {
            let mut stands = value.state;
            if stands.level() < held.level() {
                stands = stands.join(restored);
            }
            let lost = (session.changed || evicted) && stands.level() < held.level();
            if lost && rules.write_back {
                session.owing |= bit(key);
            } else {
                self.view[key] = stands;
            }
            return;
        }
        if held == State::NONE || restored.level() >= held.level() {
            self.view[key] = restored;
        } else if evicted && !reading_all {
            // The view keeps it. The next comparison writes it back.
        } else if rules.write_back
            && (session.changed || evicted || !rules.deletions_honoured && restored == State::NONE)
        {
            session.owing |= bit(key);
        } else {
            self.view[key] = restored;
        }
    }
}
