//! A cluster whose nodes speak TLS and are called by name.

use jsonwebtoken::Algorithm;

use super::{Scene, names, native};
use crate::support::cluster::Cluster;
use crate::support::{Authority, Config, Revoxy, Scratch, SigningKey};

/// Trusting the authority, and with a certificate of our own.
fn lines(scratch: &Scratch, authority: &Authority) -> String {
    authority.certify(scratch, "revoxy", "client");
    let file = |name| scratch.name(name);
    format!(
        "ca_file: {}, cert_file: {}, key_file: {}",
        file("nodes-ca.crt"),
        file("client.crt"),
        file("client.key")
    )
}

/// The certificates of the nodes are for their name only: who goes to the address that `CLUSTER NODES` begins with, or to
/// the plain port beside it, is not let in or believes nobody.
#[tokio::test]
async fn the_nodes_of_a_cluster_are_reached_by_name_and_over_tls() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let cluster = Cluster::with_tls(&scratch, &authority).await;
    let store = cluster.store_over_tls(&lines(&scratch, &authority));
    let scene = Scene::with(scratch, cluster);
    let config = Config::trusting(&scene.key, &scene.scratch).store(store);
    let view = scene.start(&config).await;
    let store = scene.start(&config.revocation("read: store")).await;
    let revoked = names("revoked", 30);
    scene.revoke_by_hand(&revoked).await;
    let moving = native(&revoked[0]);
    let slot = scene.cluster.slot_of(&moving);
    let from = scene.cluster.owner(slot).unwrap();
    for replica in [&view, &store] {
        scene.all_become(replica, &revoked, "revoked").await;
    }
    let written = "written".to_owned();
    view.revoxy.revoke(&scene.token(&written)).await;
    let all = [&revoked[..], &[written]].concat();
    // Sent to the node that the slot moves to, by its name as well.
    let look = async || {
        for replica in [&view, &store] {
            scene.all_become(replica, &all, "revoked").await;
            scene.all_become(replica, &names("good", 10), "ok").await;
        }
    };
    scene
        .cluster
        .move_slot(slot, from, (from + 1) % 3, look)
        .await;
    look().await;
    view.is_fresh().await;
}

#[tokio::test]
async fn without_a_certificate_of_ours_the_nodes_say_why_they_refuse() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let cluster = Cluster::with_tls(&scratch, &authority).await;
    let trusting = format!("ca_file: {}", scratch.name("nodes-ca.crt"));
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, &scratch).store(cluster.store_over_tls(&trusting));
    let (status, said) = Revoxy::refused(&scratch, &config.yaml()).await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("tls.cert_file"), "{said}");
}
