//! A Redis Cluster: nodes fail and are replaced, slots move, nodes come and go. No revocation is forgotten for it.

mod lookups;
mod mistakes;
mod moves;
mod rights;
mod strangers;
mod tls;

use jsonwebtoken::Algorithm;

use crate::support::cluster::{Cluster, Flavour};
use crate::support::{Checks, Config, Revoxy, Scratch, SigningKey, Token, eventually};

const AGE: &str = "revoxy_revocation_view_age_seconds";
const BOTH: [Flavour; 2] = [Flavour::Redis, Flavour::Valkey];

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    cluster: Cluster,
}

struct Replica {
    revoxy: Revoxy,
    checks: Checks,
}

impl Scene {
    async fn set(flavour: Flavour) -> Self {
        let scratch = Scratch::new();
        let cluster = Cluster::start(&scratch, flavour).await;
        Self::with(scratch, cluster)
    }

    async fn set_with_replicas(flavour: Flavour) -> Self {
        let scratch = Scratch::new();
        let cluster = Cluster::with_replicas(&scratch, flavour).await;
        Self::with(scratch, cluster)
    }

    fn with(scratch: Scratch, cluster: Cluster) -> Self {
        Self {
            scratch,
            key: SigningKey::generate(Algorithm::ES256),
            cluster,
        }
    }

    async fn replica(&self, lines: &[&str]) -> Replica {
        let config = Config::trusting(&self.key, &self.scratch).store(self.cluster.store());
        let config = lines.iter().fold(config, |c, line| c.revocation(line));
        self.start(&config).await
    }

    async fn start(&self, config: &Config) -> Replica {
        let revoxy = Revoxy::start(&self.scratch, config).await;
        let checks = revoxy.checks().await;
        Replica { revoxy, checks }
    }

    fn token(&self, jti: &str) -> String {
        Token::access(jti).sign(&self.key)
    }

    async fn revoke_by_hand(&self, jtis: &[String]) {
        for jti in jtis {
            let key = native(jti);
            let set = ["SET", &key, "", "EX", "3600"];
            let () = self.cluster.run_about(&key, &set).await;
        }
    }

    /// Every one of these tokens gets this answer, at once.
    async fn all_are(&self, replica: &Replica, jtis: &[String], reason: &str) {
        for jti in jtis {
            let answer = replica.checks.bearer(&self.token(jti)).await;
            assert_eq!(answer.reason(), reason, "{jti}");
        }
    }

    /// Every one of these tokens gets this answer in the end.
    async fn all_become(&self, replica: &Replica, jtis: &[String], reason: &str) {
        for jti in jtis {
            let token = self.token(jti);
            eventually(&format!("{reason} as the answer about {jti}"), async || {
                (replica.checks.bearer(&token).await.reason() == reason).then_some(())
            })
            .await;
        }
    }
}

impl Replica {
    async fn is_fresh(&self) {
        eventually("a fresh view", async || {
            (self.revoxy.metric(AGE).await < 0.9).then_some(())
        })
        .await;
    }
}

fn native(jti: &str) -> String {
    format!("revoxy:jti:shop:{jti}")
}

fn names(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{of}-{n}")).collect()
}

#[tokio::test]
async fn revocations_in_every_slot_are_followed() {
    for flavour in BOTH {
        let scene = Scene::set(flavour).await;
        let before = names("before", 50);
        scene.revoke_by_hand(&before).await;
        let replica = scene.replica(&[]).await;
        scene.all_are(&replica, &before, "revoked").await;
        let after = names("after", 50);
        scene.revoke_by_hand(&after).await;
        scene.all_become(&replica, &after, "revoked").await;
        // Braces decide about the slot, and are part of the name.
        let braces = ["{a}", "x{}y", "{", "}{", "a{b{c}d}e", "{}{x}"].map(str::to_owned);
        for jti in &braces {
            replica.revoxy.revoke(&scene.token(jti)).await;
        }
        scene.all_are(&replica, &braces, "revoked").await;
        let newcomer = scene.replica(&[]).await;
        for all in [&before[..], &after[..], &braces[..]] {
            scene.all_are(&newcomer, all, "revoked").await;
        }
        scene.all_are(&newcomer, &names("good", 20), "ok").await;
        for jti in &before {
            let key = native(jti);
            let _: u64 = scene.cluster.run_about(&key, &["DEL", &key]).await;
        }
        scene.all_become(&replica, &before, "ok").await;
    }
}

#[tokio::test]
async fn a_primary_that_dies_takes_no_revocation_with_it() {
    let mut scene = Scene::set_with_replicas(Flavour::Redis).await;
    let replica = scene.replica(&[]).await;
    let before = names("before", 60);
    scene.revoke_by_hand(&before).await;
    scene.all_become(&replica, &before, "revoked").await;
    for dies in 0..2 {
        let slot = u16::try_from(16384 * dies / 3).unwrap();
        scene.cluster.kill(dies);
        scene.all_are(&replica, &before, "revoked").await;
        scene.cluster.fails_over(slot, dies).await;
        let after = names(&format!("after-{dies}"), 60);
        scene.revoke_by_hand(&after).await;
        scene.all_become(&replica, &after, "revoked").await;
        scene.all_become(&replica, &names("good", 20), "ok").await;
        replica.is_fresh().await;
        scene.all_are(&replica, &before, "revoked").await;
        scene.all_are(&replica, &after, "revoked").await;
        // It comes back as a replica of the one that has taken its place.
        scene.cluster.restart(dies, &scene.scratch);
        scene.cluster.works(dies).await;
        replica.is_fresh().await;
        scene.all_are(&replica, &after, "revoked").await;
    }
}

#[tokio::test]
async fn an_old_primary_that_wakes_up_is_not_believed() {
    for flavour in BOTH {
        let scene = Scene::set_with_replicas(flavour).await;
        let replica = scene.replica(&[]).await;
        let before = names("before", 60);
        scene.revoke_by_hand(&before).await;
        scene.all_become(&replica, &before, "revoked").await;
        scene.cluster.pause(0);
        let new = eventually("a replica that has taken over", async || {
            let table: String = scene.cluster.try_run(1, &["CLUSTER", "NODES"])?;
            let of_new = &scene.cluster.nodes[3].id;
            let line = table.lines().find(|l| l.starts_with(of_new))?;
            line.contains("master").then_some(3)
        })
        .await;
        for node in [new, 1, 2] {
            scene.cluster.works(node).await;
        }
        // Acknowledged by the new one, which the old one knows nothing of.
        let after = names("after", 60);
        for jti in &after {
            let key = native(jti);
            let set = ["SET", &key, "", "EX", "3600"];
            let takes = |node| scene.cluster.try_run::<()>(node, &set).is_some();
            assert!([new, 1, 2].into_iter().any(takes), "{jti}");
        }
        scene.all_become(&replica, &after, "revoked").await;
        scene.cluster.resume(0);
        for _ in 0..3 {
            scene.all_are(&replica, &after, "revoked").await;
            scene.all_are(&replica, &before, "revoked").await;
        }
        scene.cluster.works(0).await;
        replica.is_fresh().await;
        scene.all_are(&replica, &after, "revoked").await;
        scene.all_become(&replica, &names("good", 20), "ok").await;
    }
}
