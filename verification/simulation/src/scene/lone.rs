//! What only some replicas of Revoxy have seen is lost, while another is cut off: it is told by them, once it is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::net::Direction;
use crate::redis::{Data, Machine};
use crate::rng::Rng;
use crate::tokens::cast;

use super::faults::{ends, rests, start};
use super::stage::{Seen, Stage};
use super::{takeover, writer};

/// Cuts a replica off, has things stated, and kills a server, which comes back with an older copy or with nothing. From then on the
/// replica reaches every server again.
pub(super) async fn strike(stage: &Arc<Stage>, deaf: usize, lasts: Duration, rng: &mut Rng) {
    let key = *rng.pick(&stage.plan.keys);
    let name = cast().keys[key].rendered().as_bytes();
    let machine = match &stage.cluster {
        Some(cluster) => cluster.owner(name).clone(),
        None => stage.primary().clone(),
    };
    let is_quiet = stage.on_the_way.load(Ordering::Relaxed) == 0;
    if !is_quiet || !rests(stage, Seen::All).await || !is_well(stage) {
        return;
    }
    stage
        .trace
        .event(&[17], || format!("replica {deaf} hears nothing"));
    stage.on_the_way.fetch_add(1, Ordering::Relaxed);
    set_passes(stage, deaf, false);
    for _ in 0..rng.between(1, 3) {
        writer::state_by_api(stage, key, deaf, rng);
    }
    let longest = stage.plan.max_staleness.as_millis() as u64;
    stage.disturb(deaf, stage.plan.max_staleness);
    // An acknowledgement takes two heartbeats, which are an eighth of that apart.
    sleep(Duration::from_millis(rng.between(longest / 3, longest))).await;
    if is_well(stage) {
        stage.begin_recovery();
        let data = match rng.one_in(2) {
            true => machine.snapshot(),
            false => Data::default(),
        };
        stage
            .trace
            .event(&[18], || format!("{} is killed", machine.name));
        machine.kill(rng.one_in(3));
        start(stage, machine, data, lasts, rng);
    }
    set_passes(stage, deaf, true);
    stage.on_the_way.fetch_sub(1, Ordering::Relaxed);
}

fn is_well(stage: &Stage) -> bool {
    takeover::is_calm(stage) && stage.servers.iter().all(Machine::is_running)
}

fn set_passes(stage: &Stage, replica: usize, passes: bool) {
    for end in ends(&stage.plan) {
        let path = stage.net.path(&stage.replicas[replica].name, end);
        path.set_passes(Direction::ToServer, passes);
        path.set_passes(Direction::ToClient, passes);
    }
}
