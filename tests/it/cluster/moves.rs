//! Slots move between nodes, key by key or at once, and nodes come and go.

use super::{BOTH, Replica, Scene, names, native};
use crate::support::cluster::Flavour;
use crate::support::eventually;

/// Moves the slots of all these from node 0 to 1 and back, checking all the while, through a view and without.
async fn move_about(scene: &Scene, replicas: &[&Replica], revoked: &[String], at_once: bool) {
    let mut slots: Vec<u16> = revoked
        .iter()
        .map(|jti| scene.cluster.slot_of(&native(jti)))
        .filter(|slot| scene.cluster.owner(*slot) == Some(0))
        .collect();
    slots.sort_unstable();
    slots.dedup();
    assert!(slots.len() > 10, "{slots:?}");
    let good = names("good", 10);
    let mut turn = 0;
    let mut look = async || {
        turn += 1;
        let (revoked, good) = (&revoked[turn % revoked.len()], &good[turn % good.len()]);
        for replica in replicas {
            let token = scene.token(revoked);
            eventually("a revoked token that is refused as one", async || {
                let answer = replica.checks.bearer(&token).await;
                assert!(!answer.allows(), "{revoked}");
                (answer.reason() == "revoked").then_some(())
            })
            .await;
            let token = scene.token(good);
            eventually("a good token that is let in", async || {
                let answer = replica.checks.bearer(&token).await;
                (answer.reason() == "ok").then_some(())
            })
            .await;
        }
    };
    for (from, to) in [(0, 1), (1, 0)] {
        if at_once {
            let (first, last) = (slots[0], slots[slots.len() - 1]);
            scene
                .cluster
                .move_slots_at_once(first, last, from, to)
                .await;
            look().await;
        } else {
            for slot in &slots {
                scene
                    .cluster
                    .move_slot(*slot, from, to, async || look().await)
                    .await;
                look().await;
            }
        }
        for replica in replicas {
            scene.all_become(replica, revoked, "revoked").await;
            scene.all_become(replica, &good, "ok").await;
        }
    }
    // With a view, which is the first.
    replicas[0].is_fresh().await;
    scene.all_are(replicas[0], revoked, "revoked").await;
}

#[tokio::test]
async fn slots_that_move_key_by_key_take_no_revocation_with_them() {
    for flavour in BOTH {
        let scene = Scene::set(flavour).await;
        let view = scene.replica(&["compare_every: 1s"]).await;
        let store = scene.replica(&["read: store"]).await;
        let revoked = names("moved", 60);
        scene.revoke_by_hand(&revoked).await;
        scene.all_become(&view, &revoked, "revoked").await;
        move_about(&scene, &[&view, &store], &revoked, false).await;
        assert!(
            view.revoxy
                .metric("revoxy_revocations_restored_total")
                .await
                < 0.5
        );
        assert!(
            view.revoxy
                .metric("revoxy_revocation_view_healed_total")
                .await
                < 0.5
        );
    }
}

#[tokio::test]
async fn slots_that_move_at_once_take_no_revocation_with_them() {
    let scene = Scene::set(Flavour::Valkey).await;
    let view = scene.replica(&["compare_every: 1s"]).await;
    let store = scene.replica(&["read: store"]).await;
    let revoked = names("moved", 60);
    scene.revoke_by_hand(&revoked).await;
    scene.all_become(&view, &revoked, "revoked").await;
    move_about(&scene, &[&view, &store], &revoked, true).await;
    assert!(
        view.revoxy
            .metric("revoxy_revocations_restored_total")
            .await
            < 0.5
    );
}

#[tokio::test]
async fn a_key_is_followed_while_its_slot_is_half_way() {
    let scene = Scene::set(Flavour::Redis).await;
    let view = scene.replica(&[]).await;
    let store = scene.replica(&["read: store"]).await;
    let jti = "{half-way}".to_owned();
    let (key, sibling) = (native(&jti), native("{half-way}2"));
    let slot = scene.cluster.slot_of(&key);
    let from = scene.cluster.owner(slot).unwrap();
    scene.revoke_by_hand(std::slice::from_ref(&jti)).await;
    let set = ["SET", &sibling, "", "EX", "3600"];
    let () = scene.cluster.run_about(&sibling, &set).await;
    let all = [jti.clone(), "{half-way}2".to_owned()];
    let written = "{half-way}3".to_owned();
    let mut step = 0;
    scene
        .cluster
        .move_slot(slot, from, (from + 1) % 3, async || {
            step += 1;
            for replica in [&view, &store] {
                scene.all_become(replica, &all, "revoked").await;
            }
            if step == 1 {
                // What is new goes to the node that the slot moves to, though it is not the owner yet.
                scene.revoke_by_hand(std::slice::from_ref(&written)).await;
            }
            for replica in [&view, &store] {
                scene
                    .all_become(replica, std::slice::from_ref(&written), "revoked")
                    .await;
            }
            view.is_fresh().await;
        })
        .await;
    assert_eq!(step, 2);
    // Until it has compared everything, it would hold for lost what is deleted, and write it back.
    drop(view);
    let _: u64 = scene.cluster.run_about(&key, &["DEL", &key]).await;
    scene
        .all_become(&store, std::slice::from_ref(&jti), "ok")
        .await;
}

#[tokio::test]
async fn a_slot_that_is_given_away_without_its_keys_takes_no_revocation_with_it() {
    for flavour in BOTH {
        let scene = Scene::set(flavour).await;
        let view = scene.replica(&[]).await;
        let store = scene.replica(&["read: store"]).await;
        let revoked = names("given", 30);
        scene.revoke_by_hand(&revoked).await;
        scene.all_become(&view, &revoked, "revoked").await;
        let mut given = Vec::new();
        for jti in &revoked {
            let slot = scene.cluster.slot_of(&native(jti));
            if scene.cluster.owner(slot) == Some(0) {
                // The old owner deletes what it has there as soon as it hears of it.
                scene.cluster.give_slot(slot, 0, 1).await;
                given.push(jti.clone());
                scene.all_are(&view, &given, "revoked").await;
            }
        }
        assert!(given.len() > 5, "{given:?}");
        // Written back, for those without a view too.
        scene.all_become(&store, &given, "revoked").await;
        view.is_fresh().await;
        scene.all_are(&view, &given, "revoked").await;
    }
}

#[tokio::test]
async fn nodes_come_and_go() {
    let mut scene = Scene::set(Flavour::Redis).await;
    let replica = scene.replica(&[]).await;
    let revoked = names("revoked", 60);
    scene.revoke_by_hand(&revoked).await;
    scene.all_become(&replica, &revoked, "revoked").await;
    let new = scene.cluster.add(&scene.scratch).await;
    scene.all_become(&replica, &names("good", 5), "ok").await;
    let slots: Vec<u16> = revoked
        .iter()
        .map(|jti| scene.cluster.slot_of(&native(jti)))
        .filter(|slot| scene.cluster.owner(*slot) == Some(0))
        .collect();
    for slot in &slots {
        if scene.cluster.owner(*slot) == Some(0) {
            scene.cluster.move_slot(*slot, 0, new, async || {}).await;
        }
    }
    scene.all_are(&replica, &revoked, "revoked").await;
    let later = names("later", 60);
    scene.revoke_by_hand(&later).await;
    scene.all_become(&replica, &later, "revoked").await;
    // Back again, and away with it.
    for slot in &slots {
        if scene.cluster.owner(*slot) == Some(new) {
            scene.cluster.move_slot(*slot, new, 0, async || {}).await;
        }
    }
    scene.cluster.kill(new);
    let id = scene.cluster.nodes[new].id.clone();
    for node in 0..3 {
        let () = scene.cluster.run(node, &["CLUSTER", "FORGET", &id]);
    }
    replica.is_fresh().await;
    scene.all_are(&replica, &revoked, "revoked").await;
    scene.all_are(&replica, &later, "revoked").await;
    scene.all_become(&replica, &names("good", 5), "ok").await;
}
