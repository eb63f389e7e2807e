//! The Sentinels' votes, and which server they confirm as the primary.
//!
//! A Sentinel names the primary and the *epoch* of the failover that promoted it. A failover needs a majority of
//! the Sentinels to start, and gets a higher epoch than all before; the other Sentinels are informed of the
//! failover by the Sentinel that led it, within seconds. So:
//!
//! - The server that a majority of the *configured* Sentinels names is the primary, or was until a moment ago. A
//!   minority that is partitioned or out of date decides nothing, and neither does a majority of only the Sentinels
//!   that answer.
//! - A single Sentinel that names another server with a higher epoch knows of a failover that the others have
//!   not learned of yet.

use std::time::Duration;

use crate::clock::Moment;

use super::super::address::Address;

/// How long the last vote of a Sentinel counts after it has stopped answering. Sentinels publish what they know
/// every 2 s: by then, the others know of the failover too, or it was aborted.
const HEARSAY: Duration = Duration::from_secs(10);

/// A Sentinel's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SentinelAnswer {
    /// The address of the primary, and the epoch of the failover that promoted it.
    Names(Address, u64),
    /// The Sentinel monitors no primary of that name.
    Unknown,
    /// The Sentinel gave no answer, or an invalid one.
    Failed(String),
}

/// The last answers of all Sentinels.
#[derive(Clone, Debug)]
pub(crate) struct Votes(Vec<Ballot>);

#[derive(Clone, Debug)]
struct Ballot {
    /// The Sentinel's name, as configured.
    node: String,
    /// The last answer, and when the query was sent.
    last: Option<(Moment, SentinelAnswer)>,
    /// The last server that the Sentinel named, with the epoch, and when the query was sent.
    named: Option<(Moment, Address, u64)>,
}

/// The server that a majority names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Majority {
    For(Address),
    /// Too few Sentinels have answered yet.
    Open,
    /// There is no majority, with the reason.
    None(String),
}

impl Votes {
    pub(crate) fn of(nodes: impl IntoIterator<Item = String>) -> Self {
        let ballot = |node| Ballot {
            node,
            last: None,
            named: None,
        };
        Self(nodes.into_iter().map(ballot).collect())
    }

    /// Records the answer of a Sentinel to a query that was sent at `asked`.
    pub(crate) fn record(&mut self, index: usize, asked: Moment, answer: SentinelAnswer) {
        let Some(ballot) = self.0.get_mut(index) else {
            return;
        };
        if let SentinelAnswer::Names(address, epoch) = &answer {
            ballot.named = Some((asked, address.clone(), *epoch));
        }
        ballot.last = Some((asked, answer));
    }

    fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Returns the server that a majority names, in answers to queries sent at `since` or later.
    pub(crate) fn primary(&self, since: Moment) -> Majority {
        let answers: Vec<_> = self.0.iter().map(|b| b.answer(since)).collect();
        for answer in answers.iter().flatten() {
            if let SentinelAnswer::Names(address, _) = answer
                && self.naming(address, since).count() >= self.majority()
            {
                return Majority::For(address.clone());
            }
        }
        if answers.iter().any(Option::is_none) {
            return Majority::Open;
        }
        Majority::None(self.describe())
    }

    /// Returns as of when the server at `address` is known to be the primary: the send time of the oldest query
    /// among those whose last answers name this server. `None` unless the Sentinels that name it are a majority
    /// and no Sentinel knows of a later failover.
    ///
    /// All Sentinels that name it are taken into account, not just a majority of them: the Sentinel that led a
    /// failover knows of it before the others, and its answer may be the slowest. A Sentinel that does not answer
    /// names no server once its deadline has passed.
    pub(crate) fn confirmed(&self, address: &Address, now: Moment) -> Option<Moment> {
        let mut asked = Vec::new();
        let mut latest = 0;
        for ballot in &self.0 {
            if let Some((at, SentinelAnswer::Names(named, epoch))) = &ballot.last
                && named == address
            {
                asked.push(*at);
                latest = latest.max(*epoch);
            }
        }
        if asked.len() < self.majority() {
            return None;
        }
        let since = asked.into_iter().min()?;
        let knows_of_a_later = |b: &Ballot| {
            b.named.as_ref().is_some_and(|(at, named, epoch)| {
                named != address && *epoch > latest && now.since(*at) < HEARSAY
            })
        };
        (!self.0.iter().any(knows_of_a_later)).then_some(since)
    }

    /// Returns whether a majority names the same other server.
    pub(crate) fn supersede(&self, address: &Address) -> bool {
        let others = self.0.iter().filter_map(|b| match &b.last {
            Some((at, SentinelAnswer::Names(named, _))) if named != address => Some((*at, named)),
            _ => None,
        });
        others.clone().any(|(_, other)| {
            others.clone().filter(|(_, named)| *named == other).count() >= self.majority()
        })
    }

    fn naming(&self, address: &Address, since: Moment) -> impl Iterator<Item = &Ballot> {
        let names = move |b: &&Ballot| matches!(b.answer(since), Some(SentinelAnswer::Names(named, _)) if named == address);
        self.0.iter().filter(names)
    }

    /// Describes all last answers, to explain why there is no majority.
    pub(crate) fn describe(&self) -> String {
        let all = self.0.len();
        let unknown = |b: &&Ballot| matches!(b.last, Some((_, SentinelAnswer::Unknown)));
        if self.0.iter().filter(unknown).count() >= self.majority() {
            return "they watch no primary of this name: see `sentinel monitor` in their configuration".to_owned();
        }
        let said = self.0.iter().map(|b| {
            let said = match &b.last {
                None => "no answer in time".to_owned(),
                Some((_, SentinelAnswer::Names(address, _))) => format!("names {address}"),
                Some((_, SentinelAnswer::Unknown)) => "knows no primary of this name".to_owned(),
                // The error for a Sentinel that could not be reached already contains its address.
                Some((_, SentinelAnswer::Failed(why))) if why.starts_with(&b.node) => {
                    return why.clone();
                }
                Some((_, SentinelAnswer::Failed(why))) => why.clone(),
            };
            format!("{}: {said}", b.node)
        });
        let said: Vec<_> = said.collect();
        format!(
            "no majority of the {all} configured Sentinels names the same primary ({})",
            said.join("; ")
        )
    }
}

impl Ballot {
    fn answer(&self, since: Moment) -> Option<&SentinelAnswer> {
        self.last
            .as_ref()
            .filter(|(asked, _)| *asked >= since)
            .map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u16) -> Address {
        Address::Tcp("redis".to_owned(), n)
    }

    fn names(n: u16, epoch: u64) -> SentinelAnswer {
        SentinelAnswer::Names(server(n), epoch)
    }

    fn failed() -> SentinelAnswer {
        SentinelAnswer::Failed("refused".to_owned())
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns votes, each to a query sent one second after the one before.
    fn votes(answers: &[SentinelAnswer]) -> (Votes, Moment) {
        let start = Moment::now();
        let mut votes = Votes::of((0..answers.len()).map(|n| format!("sentinel-{n}")));
        let mut at = start;
        for (index, answer) in answers.iter().enumerate() {
            votes.record(index, at, answer.clone());
            at += SECOND;
        }
        (votes, start)
    }

    #[test]
    fn the_primary_is_whom_a_majority_of_all_that_are_configured_names() {
        for (answers, expected) in [
            (vec![names(1, 0)], Some(1)),
            (vec![names(1, 0), names(1, 0), names(2, 9)], Some(1)),
            (vec![names(1, 0), names(2, 0), names(2, 0)], Some(2)),
            (vec![failed(), names(2, 0), names(2, 0)], Some(2)),
            (vec![failed(), failed(), names(1, 0)], None),
            (vec![failed(), names(1, 0)], None),
            (vec![names(1, 0), names(2, 0), names(3, 0)], None),
            (
                vec![
                    SentinelAnswer::Unknown,
                    SentinelAnswer::Unknown,
                    names(1, 0),
                ],
                None,
            ),
            (vec![names(1, 0), names(1, 0), failed(), failed()], None),
        ] {
            let (votes, start) = votes(&answers);
            let primary = votes.primary(start);
            assert_ne!(primary, Majority::Open, "all have answered: {answers:?}");
            let found = match primary {
                Majority::For(address) => Some(address),
                _ => None,
            };
            assert_eq!(found, expected.map(server), "{answers:?}");
        }
    }

    #[test]
    fn answers_to_earlier_questions_decide_nothing() {
        let (mut votes, start) = votes(&[names(1, 0), names(1, 0), names(1, 0)]);
        assert_eq!(votes.primary(start + SECOND), Majority::For(server(1)));
        let later = start + 2 * SECOND;
        assert_eq!(votes.primary(later), Majority::Open);
        votes.record(0, later, names(1, 0));
        assert_eq!(votes.primary(later), Majority::For(server(1)));
        assert_eq!(votes.primary(later + SECOND), Majority::Open);
    }

    #[test]
    fn a_server_is_confirmed_as_of_the_oldest_question_to_all_who_name_it() {
        let (mut votes, start) = votes(&[names(1, 0), names(1, 0), names(1, 0)]);
        let now = start + 3 * SECOND;
        assert_eq!(votes.confirmed(&server(1), now), Some(start));
        assert_eq!(votes.confirmed(&server(2), now), None);
        votes.record(0, now, names(1, 0));
        assert_eq!(votes.confirmed(&server(1), now), Some(start + SECOND));
        // A failed answer replaces the previous answer.
        votes.record(1, now, failed());
        assert_eq!(votes.confirmed(&server(1), now), Some(start + 2 * SECOND));
        votes.record(2, now, failed());
        assert_eq!(votes.confirmed(&server(1), now), None);
    }

    #[test]
    fn a_single_sentinel_that_knows_of_a_later_failover_is_enough_to_doubt() {
        let (mut votes, start) = votes(&[names(1, 4), names(1, 3), names(2, 5)]);
        let now = start + 3 * SECOND;
        assert_eq!(votes.confirmed(&server(1), now), None);
        assert!(!votes.supersede(&server(1)));
        // This Sentinel stops answering: its last vote counts until the others have had time to be informed of the
        // failover.
        votes.record(2, now, failed());
        assert_eq!(votes.confirmed(&server(1), now), None);
        let heard = now + HEARSAY;
        assert_eq!(votes.confirmed(&server(1), heard), Some(start));
    }

    #[test]
    fn one_that_is_out_of_date_raises_no_doubt() {
        let (votes, start) = votes(&[names(1, 5), names(1, 4), names(2, 4)]);
        let now = start + 3 * SECOND;
        assert_eq!(votes.confirmed(&server(1), now), Some(start));
    }

    #[test]
    fn a_server_is_superseded_when_a_majority_names_one_other() {
        for (answers, expected) in [
            (vec![names(1, 0), names(2, 1), names(2, 1)], true),
            (vec![failed(), names(2, 1), names(2, 1)], true),
            (vec![names(1, 0), names(1, 0), names(2, 1)], false),
            (vec![failed(), failed(), names(2, 1)], false),
            (vec![names(1, 0), names(3, 1), names(2, 1)], false),
            (
                vec![failed(), SentinelAnswer::Unknown, SentinelAnswer::Unknown],
                false,
            ),
        ] {
            let (votes, _) = votes(&answers);
            assert_eq!(votes.supersede(&server(1)), expected, "{answers:?}");
        }
    }

    #[test]
    fn why_there_is_no_majority_is_said_of_each() {
        let (disagreeing, _) = votes(&[names(1, 0), failed(), names(2, 0)]);
        let said = disagreeing.describe();
        for part in [
            "sentinel-0: names redis:1",
            "sentinel-1: refused",
            "redis:2",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let (unknown, _) = votes(&[SentinelAnswer::Unknown, failed(), SentinelAnswer::Unknown]);
        assert!(unknown.describe().contains("no primary of this name"));
    }
}
