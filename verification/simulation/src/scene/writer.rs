//! Statements: through the API of a replica, and by hand at the server.

use std::sync::Arc;
use std::time::Duration;

use revoxy::clock::{Clock as _, Timestamp};
use revoxy::revocation::{Cutoff, Deletions, Revocation};
use tokio::time::timeout;

use crate::hand;
use crate::history::{By, Says};
use crate::resp::Reply;
use crate::rng::Rng;
use crate::tokens::{CUTOFFS, SINGLE, cast};
use crate::world::EPOCH;

use super::stage::{REPLICAS, Stage};

/// For how long the API tries.
const API_PATIENCE: Duration = Duration::from_secs(2);
/// The life of what outlives the schedule, in milliseconds.
const LONG: u64 = 3_600_000;

/// A revocation as it is to be stated.
struct Wanted {
    key: usize,
    cutoff: Option<i64>,
    /// In milliseconds.
    life: u64,
}

impl Wanted {
    fn draw(stage: &Stage, key: usize, rng: &mut Rng) -> Self {
        let is_of_subject = key >= SINGLE && !rng.one_in(8);
        let cutoff = is_of_subject.then(|| EPOCH + rng.pick(&CUTOFFS) * 1000);
        let is_short = !stage.plan.clocks_jump && rng.one_in(6);
        let life = match is_short {
            true => rng.between(3_000, 8_000),
            false => LONG,
        };
        Self { key, cutoff, life }
    }

    fn says(&self, stage: &Stage, replaces: bool) -> Says {
        Says::Revoked {
            cutoff: self.cutoff,
            until: (self.life != LONG).then(|| stage.trace.millis() + self.life),
            replaces,
        }
    }
}

/// Has somebody state something about a key.
pub(super) fn state(stage: &Arc<Stage>, key: usize, rng: &mut Rng) {
    let replica = rng.below(REPLICAS as u64) as usize;
    match rng.below(10) {
        0..=3 => revoke(stage, replica, Wanted::draw(stage, key, rng)),
        4..=5 => unrevoke(stage, replica, key),
        6..=7 => set(stage, &Wanted::draw(stage, key, rng)),
        _ if stage.plan.deletions == Deletions::Honour => delete(stage, key),
        _ => unrevoke(stage, replica, key),
    }
}

/// Has any replica but one state something about a key.
pub(super) fn state_by_api(stage: &Arc<Stage>, key: usize, but: usize, rng: &mut Rng) {
    let others = rng.between(1, REPLICAS as u64 - 1) as usize;
    let replica = (but + others) % REPLICAS;
    match rng.one_in(4) {
        true => unrevoke(stage, replica, key),
        false => revoke(stage, replica, Wanted::draw(stage, key, rng)),
    }
}

fn revoke(stage: &Arc<Stage>, replica: usize, wanted: Wanted) {
    let Some(running) = stage.replicas[replica].running() else {
        return;
    };
    let now = stage.replicas[replica].wall.now();
    let revocation = Revocation {
        key: cast().keys[wanted.key].clone(),
        cutoff: wanted.cutoff.map_or(Cutoff::All, |at| {
            Cutoff::IssuedUpTo(Timestamp::from_millis(at))
        }),
        expires_at: now.plus(Duration::from_millis(wanted.life)),
        reason: None,
        actor: Some("simulation".to_owned()),
        revoked_at: now,
    };
    let says = wanted.says(stage, false);
    let statement = stage.invoke(wanted.key, By::Replica(replica), says);
    let stage = Arc::clone(stage);
    tokio::spawn(async move {
        let answer = timeout(API_PATIENCE, running.store.revoke(&revocation)).await;
        let acknowledged = matches!(answer, Ok(Ok(_)));
        stage.answer(statement, acknowledged, || {
            let name = revocation.key.value();
            format!("replica {replica} has revoked {name}: {answer:?}")
        });
    });
}

fn unrevoke(stage: &Arc<Stage>, replica: usize, key: usize) {
    let Some(running) = stage.replicas[replica].running() else {
        return;
    };
    let statement = stage.invoke(key, By::Replica(replica), Says::TakenBack);
    let stage = Arc::clone(stage);
    tokio::spawn(async move {
        let key = &cast().keys[key];
        let answer = timeout(API_PATIENCE, running.store.unrevoke(key)).await;
        let acknowledged = matches!(answer, Ok(Ok(_)));
        stage.answer(statement, acknowledged, || {
            let name = key.value();
            format!("replica {replica} has un-revoked {name}: {answer:?}")
        });
    });
}

fn set(stage: &Arc<Stage>, wanted: &Wanted) {
    let value = wanted.cutoff.map_or(String::new(), |at| {
        format!(r#"{{"not_before":{}}}"#, at / 1000)
    });
    let life = wanted.life.to_string();
    let key = cast().keys[wanted.key].rendered();
    by_hand(
        stage,
        wanted.key,
        wanted.says(stage, true),
        &["SET", key, &value, "PX", &life],
    );
}

fn delete(stage: &Arc<Stage>, key: usize) {
    let name = cast().keys[key].rendered();
    by_hand(stage, key, Says::TakenBack, &["DEL", name]);
}

fn by_hand(stage: &Arc<Stage>, key: usize, says: Says, command: &[&str]) {
    let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let statement = stage.invoke(key, By::Hand, says);
    let stage = Arc::clone(stage);
    tokio::spawn(async move {
        let (reply, counts) = give(&stage, &command).await;
        stage.answer(statement, counts, || {
            format!("by hand: {} -> {reply:?}", command.join(" "))
        });
    });
}

/// The answer to a command by hand, and whether it counts: what a server acknowledges that no longer counts is lost.
pub(super) async fn give(stage: &Stage, command: &[String]) -> (Option<Reply>, bool) {
    let Some(cluster) = &stage.cluster else {
        let server = stage.primary().name.clone();
        let reply = hand::give(&stage.net, "hand", &server, command).await;
        let counts = reply.is_some() && stage.primary().name == server;
        return (reply, counts);
    };
    let key = command[1].as_bytes();
    let first = cluster.owner(key).name.clone();
    match hand::give_on(&stage.net, "hand", &first, command).await {
        Some((reply, by)) => (Some(reply), cluster.counts(&by, key)),
        None => (None, false),
    }
}
