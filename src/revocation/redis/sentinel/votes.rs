//! What the Sentinels say, and what follows from it.
//!
//! A Sentinel names the primary and the *epoch* of the failover that made it so. A failover needs a majority of the Sentinels to
//! be started, and gets an epoch higher than all before; the others learn of it from the one that led it, within seconds. So:
//!
//! - Whom a majority of the *configured* Sentinels names is the primary, or was until a moment ago. A minority that is cut off
//!   from the others, or out of date, decides nothing; neither does a majority of those that happen to answer.
//! - As long as a single Sentinel names another with a higher epoch, it knows of a failover that the others have yet to hear of.

use std::time::Duration;

use crate::clock::Moment;

use super::super::connector::Address;

/// How long a Sentinel's last word counts that says no more. Sentinels publish what they know every 2 s: by then the
/// others know it too, or it was given up.
const HEARSAY: Duration = Duration::from_secs(10);

/// What a Sentinel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The primary is there, since the failover of this epoch.
    Names(Address, u64),
    /// It watches no primary of that name.
    Unknown,
    /// It gave no answer, or a wrong one.
    Failed(String),
}

/// What all of them answered last.
#[derive(Clone, Debug)]
pub(crate) struct Votes(Vec<Ballot>);

#[derive(Clone, Debug)]
struct Ballot {
    /// The Sentinel, as it is configured.
    node: String,
    /// Its last answer, and when it was asked.
    last: Option<(Moment, Answer)>,
    /// What it named last, and when it was asked.
    named: Option<(Moment, Address, u64)>,
}

/// Whom a majority names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Majority {
    For(Address),
    /// Too few have answered as yet.
    Open,
    /// There is none; why.
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

    /// Records the answer of a Sentinel that was asked at `asked`.
    pub(crate) fn record(&mut self, index: usize, asked: Moment, answer: Answer) {
        let Some(ballot) = self.0.get_mut(index) else {
            return;
        };
        if let Answer::Names(address, epoch) = &answer {
            ballot.named = Some((asked, address.clone(), *epoch));
        }
        ballot.last = Some((asked, answer));
    }

    fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whom a majority names in answers to questions of `since` or later.
    pub(crate) fn primary(&self, since: Moment) -> Majority {
        let answers: Vec<_> = self.0.iter().map(|b| b.answer(since)).collect();
        for answer in answers.iter().flatten() {
            if let Answer::Names(address, _) = answer
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

    /// Since when it is known that the server at `address` is the primary: the latest instant such that all Sentinels that name it were
    /// asked then or later, if they are a majority and nobody knows of a later failover.
    ///
    /// All, and not a majority of them: the one that led a failover knows of it before the others, and its answer may be the slowest.
    /// One that does not answer names nobody, as soon as its time to answer is over.
    pub(crate) fn confirmed(&self, address: &Address, now: Moment) -> Option<Moment> {
        let mut asked = Vec::new();
        let mut latest = 0;
        for ballot in &self.0 {
            if let Some((at, Answer::Names(named, epoch))) = &ballot.last
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

    /// Whether a majority names one other server instead.
    pub(crate) fn supersede(&self, address: &Address) -> bool {
        let others = self.0.iter().filter_map(|b| match &b.last {
            Some((at, Answer::Names(named, _))) if named != address => Some((*at, named)),
            _ => None,
        });
        others.clone().any(|(_, other)| {
            others.clone().filter(|(_, named)| *named == other).count() >= self.majority()
        })
    }

    fn naming(&self, address: &Address, since: Moment) -> impl Iterator<Item = &Ballot> {
        let names = move |b: &&Ballot| matches!(b.answer(since), Some(Answer::Names(named, _)) if named == address);
        self.0.iter().filter(names)
    }

    /// Everything that was answered last, to say why there is no majority.
    pub(crate) fn describe(&self) -> String {
        let all = self.0.len();
        let unknown = |b: &&Ballot| matches!(b.last, Some((_, Answer::Unknown)));
        if self.0.iter().filter(unknown).count() >= self.majority() {
            return "they watch no primary of this name: see `sentinel monitor` in their configuration".to_owned();
        }
        let said = self.0.iter().map(|b| {
            let said = match &b.last {
                None => "no answer in time".to_owned(),
                Some((_, Answer::Names(address, _))) => format!("names {address}"),
                Some((_, Answer::Unknown)) => "knows no primary of this name".to_owned(),
                // What could not be reached is named already.
                Some((_, Answer::Failed(why))) if why.starts_with(&b.node) => return why.clone(),
                Some((_, Answer::Failed(why))) => why.clone(),
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
    fn answer(&self, since: Moment) -> Option<&Answer> {
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

    fn names(n: u16, epoch: u64) -> Answer {
        Answer::Names(server(n), epoch)
    }

    fn failed() -> Answer {
        Answer::Failed("refused".to_owned())
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Votes of which each was asked for one second after the one before.
    fn votes(answers: &[Answer]) -> (Votes, Moment) {
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
            (vec![Answer::Unknown, Answer::Unknown, names(1, 0)], None),
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
        // An answer that fails takes the one before with it.
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
        // It falls silent: the others have the time that they need to hear of it.
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
            (vec![failed(), Answer::Unknown, Answer::Unknown], false),
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
        let (unknown, _) = votes(&[Answer::Unknown, failed(), Answer::Unknown]);
        assert!(unknown.describe().contains("no primary of this name"));
    }
}
