//! A primary sleeps while its Sentinels replace it and the replicas of Revoxy turn to the new one. Then it wakes up with
//! writes in its queue, carries them out, and is made a replica, which loses them. So what it says when it wakes up is no
//! acknowledgement that the API may pass on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{MAX_STALENESS, Replica, Scene};
use crate::support::sentinel::Trio;
use crate::support::{Token, eventually};

/// What a replica logs when it has read the new primary.
const HAS_TURNED: &str = "waiting for other replicas to restore";
/// As many revocations as begin, one after each pause, until the primary is replaced.
const REVOCATIONS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(10);
/// A revocation that was answered 200.
struct Acknowledged {
    token: String,
    at: Instant,
}

async fn revoke(scene: &Scene, replica: &Replica, jti: &str) -> Option<Acknowledged> {
    let token = Token::access(jti).sign(&scene.key);
    let (status, _) = replica.revoxy.post_revoke(format!("token={token}")).await;
    let at = Instant::now();
    (status == 200).then_some(Acknowledged { token, at })
}

/// A primary sleeps until all replicas have turned to another, and is sent revocations from when it is known to be down until
/// most Sentinels name that other. Those that were acknowledged.
async fn revoked_in_its_sleep(
    scene: &Scene,
    trio: &Trio,
    replicas: &[Replica],
) -> Vec<Acknowledged> {
    let primary = trio.primary().await;
    let server = &trio.servers[primary].redis;
    let replaced = AtomicBool::new(false);
    let turned = |replica: &Replica| replica.revoxy.process.output().matches(HAS_TURNED).count();
    let before: Vec<_> = replicas.iter().map(turned).collect();
    server.pause();
    trio.is_known_to_be_down().await;
    let revocations = (0..REVOCATIONS).map(|n| {
        let (replaced, replica) = (&replaced, &replicas[n as usize % replicas.len()]);
        async move {
            tokio::time::sleep(PAUSE * n).await;
            match replaced.load(Ordering::SeqCst) {
                true => None,
                false => revoke(scene, replica, &format!("token-{n}")).await,
            }
        }
    });
    let wakes_up = async {
        trio.is_replaced(server.port()).await;
        replaced.store(true, Ordering::SeqCst);
        for (replica, before) in replicas.iter().zip(before) {
            eventually("a replica that has read the new primary", async || {
                (turned(replica) > before).then_some(())
            })
            .await;
        }
        server.resume();
    };
    let (acknowledged, ()) = tokio::join!(join_all(revocations), wakes_up);
    acknowledged.into_iter().flatten().collect()
}

/// From `MAX_STALENESS` after the acknowledgement on nobody allows the token, and all refuse it in the end.
async fn is_refused_by_all(replicas: &[Replica], revoked: &Acknowledged) {
    for (index, replica) in replicas.iter().enumerate() {
        eventually("a refusal", async || {
            let late = revoked.at.elapsed();
            let answer = replica.checks.bearer(&revoked.token).await;
            assert!(
                !answer.allows() || late <= MAX_STALENESS,
                "replica {index} allowed a token {late:?} after the API had acknowledged its revocation"
            );
            (answer.reason() == "revoked").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replaced_primary_takes_when_it_wakes_up_is_not_acknowledged_or_refused_by_all() {
    let trio = Trio::start().await;
    let first = trio.primary().await;
    let scene = Scene::over(&trio.store(), MAX_STALENESS, &[]);
    let replicas = scene.replicas().await;
    let acknowledged = revoked_in_its_sleep(&scene, &trio, &replicas).await;
    for revoked in &acknowledged {
        is_refused_by_all(&replicas, revoked).await;
    }
    eventually("the woken primary as a replica", async || {
        (trio.servers[first].role()? == "slave").then_some(())
    })
    .await;
    let newcomer = [scene.replica().await];
    for revoked in &acknowledged {
        is_refused_by_all(&replicas, revoked).await;
        is_refused_by_all(&newcomer, revoked).await;
    }
}
