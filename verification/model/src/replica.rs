//! A replica of Revoxy: its view, and the feed that keeps it. The rules are those with versions; what was different before is
//! in `unversioned.rs`.

use crate::lattice::{ALL, NOTHING, OLDEST, State, Version};
use crate::rules::Rules;
use crate::server::{Identity, Record, Server, Value};

/// A set of keys, one bit a key.
pub type Keys = u8;

/// The connection of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session {
    /// To which server.
    pub to: usize,
    /// Who that was at the start. A server whose identity changes closes its connections in this model.
    pub identity: Identity,
    /// Whether the server may have lost writes, until everything has been read from it once.
    pub changed: bool,
    /// Whether other replicas have to be waited for before the view counts as fresh.
    pub settling: bool,
    /// What has not been read since everything was last begun to be read.
    pub unread: Keys,
    /// The server's count of evictions when that was begun.
    pub evictions_then: u8,
    /// What has been pushed: the keys, and four bits on the restored keys.
    pub pushed: Keys,
    /// Tombstones that have been pushed, by the rules before versions.
    pub tombstones_pushed: Keys,
    /// Tombstones that have been acted upon.
    pub tombstones: Keys,
    /// Keys whose life has been read and not yet their value, where that takes two steps.
    pub alive: Keys,
    /// What is to be written back.
    pub owing: Keys,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    pub session: Option<Session>,
    pub view: [State; 2],
    /// The server that the view was last complete with, and its count of evictions then. Direct reads of another are not believed.
    pub known: Option<Identity>,
    pub evictions_known: u8,
    /// The count of evictions up to which everything has been judged.
    pub evictions: u8,
    /// The keys for which the view claims freshness as of an instant after the last acknowledgement of a revocation.
    pub claims_revocation: Keys,
    /// The same after the last acknowledgement of an un-revocation.
    pub claims_unrevocation: Keys,
    /// The keys that have been read since the last revocation of them was written.
    pub seen: Keys,
    /// The last version that its clock gave or met, where clocks do not agree.
    pub clock: Version,
}

pub fn bit(key: usize) -> Keys {
    1 << key
}

impl Session {
    /// What has to be read before a heartbeat counts.
    pub fn has_to_read(&self) -> Keys {
        self.unread | self.pushed | (self.pushed >> 4) & 0x0f | self.tombstones_pushed
    }

    fn done_with(&mut self, key: usize) {
        let others = !bit(key);
        self.unread &= others;
        self.alive &= others;
        self.tombstones_pushed &= others;
        self.pushed &= others & !(bit(key) << 4);
    }
}

impl Replica {
    /// Connects, tracks, and begins to read everything.
    pub fn connect(&mut self, to: usize, server: &Server, keys: usize, rules: &Rules) {
        let same = self.known == Some(server.identity) || !rules.identity_compared;
        self.evictions = match same {
            true => self.evictions_known,
            false => server.evictions,
        };
        self.session = Some(Session {
            to,
            identity: server.identity,
            changed: !same && (rules.unknown_joined || self.known.is_some()),
            settling: !same || rules.evictions_watched && self.evictions != server.evictions,
            unread: (1 << keys) - 1,
            evictions_then: server.evictions,
            pushed: 0,
            tombstones_pushed: 0,
            tombstones: 0,
            alive: 0,
            owing: 0,
        });
    }

    /// Begins to read everything anew, to compare.
    pub fn compare(&mut self, server: &Server, keys: usize) {
        if let Some(session) = &mut self.session {
            session.unread = (1 << keys) - 1;
            session.evictions_then = server.evictions;
            session.settling |= self.evictions != server.evictions;
        }
    }

    /// Reads a key and acts upon it.
    pub fn read(&mut self, key: usize, server: &mut Server, now: Version, rules: &Rules) {
        let mut record = server.data[key];
        let Some(session) = &self.session else { return };
        if session.alive & bit(key) != 0 && record.key.is_none() {
            // Its life says that it is there, its value that it is not a string: it revokes every token.
            record.key = Some(Value {
                state: State::revocation(OLDEST, ALL),
                by_hand: true,
            });
        }
        if rules.versions {
            self.act(key, &record, server, now, rules);
        } else {
            self.act_without_versions(key, &record, server, rules);
        }
        self.finish(key, server, rules);
    }

    fn finish(&mut self, key: usize, server: &Server, rules: &Rules) {
        let Some(session) = &mut self.session else {
            return;
        };
        session.done_with(key);
        if !rules.clocks_agree {
            let met = server.data[key].standing(0, rules).highest();
            self.clock = self.clock.max(met);
        }
        self.conclude();
    }

    /// Once everything has been read, and what was lost has been written back, what stands is the latest word.
    fn conclude(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        if session.unread == 0 && session.owing == 0 {
            session.changed = false;
            self.evictions = self.evictions.max(session.evictions_then);
        }
    }

    /// On a server that may have lost writes the view keeps what it holds beyond what stands; on any other, what stands counts.
    fn act(&mut self, key: usize, record: &Record, server: &Server, now: Version, rules: &Rules) {
        let Some(session) = &mut self.session else {
            return;
        };
        let held = self.view[key];
        let evicted = rules.evictions_told && server.evictions != self.evictions;
        let stands = stamped(record, record.standing(held.unrevoked, rules), now, rules);
        if session.changed || evicted {
            let all = held.join(stands).held(rules.two_versions);
            self.view[key] = all;
            let reading_all = session.changed || session.unread & bit(key) != 0;
            if reading_all && rules.write_back && owes(all, stands, rules) {
                session.owing |= bit(key);
            }
        } else if record.is_empty() {
            if rules.deletions_honoured {
                self.view[key] = State::unrevocation(held.unrevoked);
            } else if held.level() > NOTHING {
                session.owing |= bit(key);
            }
        } else {
            self.view[key] = latest_word(held, stands.held(rules.two_versions));
        }
    }

    /// Writes back what is owed. Returns the keys that this changed.
    pub fn write_back(&mut self, server: &mut Server, rules: &Rules) -> Keys {
        let Some(session) = &mut self.session else {
            return 0;
        };
        let mut changed = 0;
        for key in 0..2 {
            if session.owing & bit(key) == 0 {
                continue;
            }
            let record = &mut server.data[key];
            let before = record.restored;
            if rules.versions {
                let held = self.view[key];
                record.restore(
                    match rules.unrevocations_written_back {
                        true => held,
                        false => held.without_unrevocation(),
                    },
                    rules,
                );
            } else {
                write_back_without_versions(&mut self.view[key], record, rules);
            }
            if record.restored != before {
                changed |= bit(key);
            }
        }
        session.owing = 0;
        self.conclude();
        changed
    }
}

/// Whether the view holds more than what stands.
fn owes(held: State, stands: State, rules: &Rules) -> bool {
    let held = match rules.unrevocations_written_back {
        true => held,
        false => held.without_unrevocation(),
    };
    !stands.held(rules.two_versions).covers(held)
}

/// What is read without a version stands at this moment.
fn stamped(record: &Record, stands: State, now: Version, rules: &Rules) -> State {
    match record.key {
        Some(value) if value.by_hand && rules.by_hand_stamped => {
            stands.join(State::revocation(now, value.state.level()))
        }
        _ => stands,
    }
}

/// On a history that goes on, what stands is the latest word. The un-revocation is remembered, unless what stands is later in
/// spite of its version.
fn latest_word(held: State, stands: State) -> State {
    let remembered = State {
        unrevoked: stands.unrevoked.max(held.unrevoked),
        ..stands
    };
    match remembered.level() == stands.level() {
        true => remembered,
        false => stands,
    }
}

/// As `write_back`, by the rules before versions: a tombstone wins against what is held.
fn write_back_without_versions(view: &mut State, record: &mut Record, rules: &Rules) {
    if record.tombstone {
        *view = record.standing(0, rules);
    } else {
        record.restore(*view, rules);
    }
}

impl Replica {
    /// Whether the view is complete with this server, and does not wait for what others write back.
    pub fn is_settled_with(&self, server: Identity) -> bool {
        let settling = self.session.as_ref().is_none_or(|session| session.settling);
        self.known == Some(server) && !settling
    }

    /// Whether the server holds all that the view does.
    pub fn knows_no_more_than(&self, server: &Server, rules: &Rules) -> bool {
        let records = self.view.iter().zip(&server.data);
        let mut pairs = records.map(|(held, record)| (held, record.standing(0, rules)));
        match rules.versions {
            true => pairs.all(|(held, stands)| stands.covers(*held)),
            false => pairs.all(|(held, stands)| stands.level() >= held.level()),
        }
    }
}
