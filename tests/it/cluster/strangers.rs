//! Who answers at a known address is not one of the cluster: it was removed, or belongs to another by now.

use super::{Replica, Scene, names};
use crate::support::cluster::{Cluster, Flavour, store_at};
use crate::support::server::run_with;
use crate::support::{Config, Scratch, eventually};

impl Scene {
    fn config(&self, ports: impl IntoIterator<Item = u16>) -> Config {
        Config::trusting(&self.key, &self.scratch).store(store_at(ports))
    }

    fn ports(&self) -> Vec<u16> {
        self.cluster.nodes.iter().map(|n| n.port).collect()
    }

    /// What is revoked now is refused, through the view and by a direct read, and the view is fresh again.
    async fn is_followed(&self, replica: &Replica, of: &str) {
        let revoked = names(of, 30);
        self.revoke_by_hand(&revoked).await;
        self.all_become(replica, &revoked, "revoked").await;
        self.all_become(replica, &names("good", 5), "ok").await;
        replica.is_fresh().await;
        self.all_are(replica, &revoked, "revoked").await;
    }
}

/// Waits until no feed is connected to the node: it is the feed that speaks RESP3.
async fn is_left_by_feeds(cluster: &Cluster, node: usize) {
    eventually("a node that no feed is connected to", async || {
        let clients: String = cluster.try_run(node, &["CLIENT", "LIST"])?;
        (!clients.contains("resp=3")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_was_removed_and_goes_on_running_is_left_alone() {
    let mut scene = Scene::set(Flavour::Redis).await;
    let removed = scene.cluster.add(&scene.scratch).await;
    let mut ports = scene.ports();
    // The first that is asked.
    ports.rotate_right(1);
    let replica = scene.start(&scene.config(ports.clone())).await;
    scene.is_followed(&replica, "before").await;
    scene.cluster.remove(removed).await;
    is_left_by_feeds(&scene.cluster, removed).await;
    scene.is_followed(&replica, "after").await;
    // And without what was learnt before, with a view and without.
    for lines in [&[][..], &["read: store"]] {
        let config = scene.config(ports[..2].to_vec());
        let config = lines.iter().fold(config, |c, line| c.revocation(line));
        let newcomer = scene.start(&config).await;
        for all in ["before", "after"] {
            scene
                .all_become(&newcomer, &names(all, 30), "revoked")
                .await;
        }
        scene.all_become(&newcomer, &names("good", 5), "ok").await;
        let said = newcomer.revoxy.process.output();
        // By the look at the user's rights, and by who follows the cluster: not with every look at its nodes.
        let times = said.matches("a configured node is left out").count();
        assert!((1..=2).contains(&times), "{said}");
    }
}

#[tokio::test]
async fn with_nodes_of_two_clusters_configured_the_one_with_more_of_them_is_ours_and_else_none() {
    let scene = Scene::set(Flavour::Redis).await;
    let scratch = Scratch::new();
    let other = Cluster::another(&scratch).await;
    let revoked = names("revoked", 20);
    scene.revoke_by_hand(&revoked).await;
    let (ours, theirs) = (scene.ports(), other.nodes[0].port);
    for lines in [&[][..], &["read: store"]] {
        let with = |config: Config| lines.iter().fold(config, |c, line| c.revocation(line));
        let config = with(scene.config([theirs, ours[0], ours[1]]));
        let replica = scene.start(&config).await;
        scene.all_become(&replica, &revoked, "revoked").await;
        scene.all_become(&replica, &names("good", 5), "ok").await;
        let yaml = with(scene.config([theirs, ours[0]])).yaml();
        for command in ["serve", "doctor"] {
            let (status, said) = run_with(&scene.scratch, &[command], &yaml).await;
            assert!(!status.success(), "{command} {lines:?}: {said}");
            let words = "the configured nodes belong to different clusters";
            assert!(said.contains(words), "{command} {lines:?}: {said}");
        }
    }
    let keys: u64 = (0..3).map(|n| other.run::<u64>(n, &["DBSIZE"])).sum();
    assert_eq!(keys, 0, "written to the other cluster");
}

#[tokio::test]
async fn a_node_of_another_cluster_at_a_known_address_is_not_believed() {
    let mut scene = Scene::set(Flavour::Redis).await;
    let gone = scene.cluster.add(&scene.scratch).await;
    let ports = scene.ports();
    let configured = [ports[0], ports[1], ports[gone]];
    let view = scene.start(&scene.config(configured)).await;
    let store = scene.config(configured).revocation("read: store");
    let store = scene.start(&store).await;
    scene.is_followed(&view, "before").await;
    scene.cluster.kill(gone);
    scene.cluster.forget(gone);
    scene.cluster.nodes.truncate(gone);
    let scratch = Scratch::new();
    let other = Cluster::another_at(&scratch, ports[gone]).await;
    // So that they look for the nodes again.
    let new = scene.cluster.add(&scene.scratch).await;
    let asked = ["INFO", "commandstats"];
    eventually("a stranger who has been asked", async || {
        let stats: String = other.run(0, &asked);
        stats.contains("cmdstat_cluster|slots").then_some(())
    })
    .await;
    eventually("a feed that has found the new node", async || {
        let clients: String = scene.cluster.try_run(new, &["CLIENT", "LIST"])?;
        clients.contains("resp=3").then_some(())
    })
    .await;
    scene.is_followed(&view, "after").await;
    is_left_by_feeds(&other, 0).await;
    for all in ["before", "after"] {
        scene.all_become(&store, &names(all, 30), "revoked").await;
        scene.all_are(&view, &names(all, 30), "revoked").await;
    }
    let keys: u64 = (0..3).map(|n| other.run::<u64>(n, &["DBSIZE"])).sum();
    assert_eq!(keys, 0, "written to the other cluster");
}
