//! The same over a Redis Cluster, where the list of a subject and the registrations of its tokens are not on one node.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Replica, Scene};
use crate::support::cluster::{Cluster, Flavour};
use crate::support::{Token, eventually};

/// Enough that every node has registrations.
const TOKENS: usize = 12;

struct Crowd {
    cluster: Cluster,
    scene: Scene,
    /// Every token of alice, by its id.
    tokens: Vec<(String, String)>,
}

impl Crowd {
    async fn set() -> Self {
        let scene = Scene::set(&["mode: allow_list"]).await;
        let cluster = Cluster::start(&scene.scratch, Flavour::Redis).await;
        let ids = (0..TOKENS).map(|n| format!("t{n:02}"));
        let tokens: Vec<_> = ids.map(|id| (id.clone(), scene.token(&id))).collect();
        let owner = |(id, _): &(String, String)| {
            let slot = cluster.slot_of(&format!("revoxy:registered:jti:shop:{id}"));
            cluster.owner(slot).unwrap()
        };
        let owners: BTreeSet<_> = tokens.iter().map(owner).collect();
        assert_eq!(owners.len(), 3);
        Self {
            cluster,
            scene,
            tokens,
        }
    }

    async fn replica(&self) -> Replica {
        let config = self.scene.config(self.cluster.store());
        self.scene.replica_of(&config).await
    }

    /// Waits until both replicas refuse exactly these tokens, and says that alice's list shows the same on either.
    async fn are_revoked(&self, replicas: [&Replica; 2], revoked: impl Fn(&str) -> bool) {
        let ids = self.tokens.iter().map(|(id, _)| id.clone());
        let expected: Vec<_> = ids.map(|id| (id.clone(), revoked(&id))).collect();
        for replica in replicas {
            for (id, token) in &self.tokens {
                let reason = if revoked(id) { "revoked" } else { "ok" };
                replica.becomes(token, reason).await;
            }
            assert_eq!(replica.admin.list("sub=alice").await, expected);
        }
    }
}

#[tokio::test]
async fn two_replicas_over_a_cluster_register_list_revoke_and_take_back() {
    let crowd = Crowd::set().await;
    let (one, two) = (crowd.replica().await, crowd.replica().await);
    let both = [&one, &two];
    let bob = Token::access("b").with("sub", "bob").sign(&crowd.scene.key);
    let stranger = crowd.scene.token("stranger");
    one.admin.register(&bob).await;
    for (n, (id, token)) in crowd.tokens.iter().enumerate() {
        // What one replica registers, the other takes at once.
        let (here, there) = (both[n % 2], both[(n + 1) % 2]);
        there.is(token, "revoked").await;
        let shown = here.admin.register(token).await;
        assert_eq!(
            (&shown["id"], &shown["registered"]),
            (&json!(id), &json!(true))
        );
        there.is(token, "ok").await;
    }
    // From the views as well: nothing is asked any more.
    let asked = "revoxy_revocation_lookup_duration_seconds_count";
    for replica in both {
        eventually("views that hold every registration", async || {
            let before = replica.revoxy.metric(asked).await;
            for (_, token) in &crowd.tokens {
                replica.is(token, "ok").await;
            }
            (replica.revoxy.metric(asked).await < before + 0.5).then_some(())
        })
        .await;
    }
    crowd.are_revoked(both, |_| false).await;

    // One of them is revoked, and taken back by the other replica.
    let lost = json!({ "issuer": "shop", "sub": "alice", "id": "t03", "reason": "lost" });
    let done = one.admin.revoke(lost).await;
    assert_eq!(
        (&done["revoked"], &done["enforced_within"]),
        (&json!(1), &json!(1.0))
    );
    one.is(&crowd.tokens[3].1, "revoked").await;
    crowd.are_revoked(both, |id| id == "t03").await;
    let active = two.admin.list("sub=alice&active=true").await;
    assert_eq!(active.len(), TOKENS - 1);
    let found = json!({ "issuer": "shop", "id": "t03" });
    two.admin.unrevoke(found.clone()).await;
    one.admin.unrevoke_nothing(found).await;
    crowd.are_revoked(both, |_| false).await;

    // All but two are, on every node, and only those of alice.
    let kept = ["t05", "t06"];
    let others = json!({ "issuer": "shop", "sub": "alice", "all": true, "except": kept });
    assert_eq!(two.admin.revoke(others).await["revoked"], TOKENS - 2);
    for (id, token) in &crowd.tokens {
        // At once, where it was said.
        two.is(
            token,
            if kept.contains(&&**id) {
                "ok"
            } else {
                "revoked"
            },
        )
        .await;
    }
    crowd.are_revoked(both, |id| !kept.contains(&id)).await;
    let again = json!({ "issuer": "shop", "id": "t00" });
    one.admin.unrevoke(again).await;
    crowd
        .are_revoked(both, |id| id != "t00" && !kept.contains(&id))
        .await;
    for replica in both {
        replica.is(&bob, "ok").await;
        replica.is(&stranger, "revoked").await;
    }
}

#[tokio::test]
async fn an_allow_list_stays_whole_while_its_slots_move_and_the_cluster_restarts() {
    let mut crowd = Crowd::set().await;
    let (one, two) = (crowd.replica().await, crowd.replica().await);
    let both = [&one, &two];
    for (_, token) in &crowd.tokens {
        one.admin.register(token).await;
    }
    crowd.are_revoked(both, |_| false).await;
    // The list itself, and some registrations.
    let names = ["t00", "t01", "t02"].map(|id| format!("revoxy:registered:jti:shop:{id}"));
    let list = "revoxy-tokens:record:{shop:alice}".to_owned();
    for name in names.iter().chain([&list]) {
        let slot = crowd.cluster.slot_of(name);
        let from = crowd.cluster.owner(slot).unwrap();
        let look = async || {
            for (_, token) in &crowd.tokens[..3] {
                one.becomes(token, "ok").await;
            }
            eventually("a list while its slot moves", async || {
                let said = two.admin.get("/tokens?issuer=shop&sub=alice").await;
                let listed = said.body["tokens"].as_array()?.len();
                assert_eq!(listed, TOKENS);
                Some(())
            })
            .await;
            let again = &crowd.tokens[0].1;
            if *name != list {
                one.admin.register(again).await;
                return;
            }
            // What writes both keys of the list has to wait while there is one on either node.
            let said = one.admin.post("/tokens", json!({ "token": again })).await;
            assert!([201, 503].contains(&said.status), "{said:?}");
        };
        let to = (from + 1) % 3;
        crowd.cluster.move_slot(slot, from, to, look).await;
        one.admin.register(&crowd.tokens[0].1).await;
    }
    let lost = json!({ "issuer": "shop", "sub": "alice", "id": "t01" });
    assert_eq!(two.admin.revoke(lost).await["revoked"], 1);
    crowd.are_revoked(both, |id| id == "t01").await;
    crowd.cluster.restart_all(&crowd.scene.scratch).await;
    crowd.are_revoked(both, |id| id == "t01").await;
}
