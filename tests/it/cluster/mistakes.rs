//! What is wrong with a configuration or a cluster is said with what to do.

use jsonwebtoken::Algorithm;

use crate::support::cluster::{Cluster, Flavour};
use crate::support::server::{revoxy, run_with};
use crate::support::{Config, Process, Redis, Revoxy, Scratch, SigningKey, eventually};

async fn said(command: &str, scratch: &Scratch, lines: &[&str], store: &str) -> (bool, String) {
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, scratch).store(store.to_owned());
    let config = lines.iter().fold(config, |c, line| c.revocation(line));
    let (status, said) = run_with(scratch, &[command], &config.yaml()).await;
    (status.success(), said)
}

#[tokio::test]
async fn one_of_url_and_cluster_is_to_be_said() {
    let scratch = Scratch::new();
    let both = "redis: { url: \"redis://h:1/0\", cluster: { nodes: [\"h:1\"] } }";
    for (store, words) in [
        (both, "beside `url`"),
        ("redis: {}", "redis://redis:6379/0"),
        ("redis: { cluster: {} }", "name at least one node"),
        (
            "redis: { cluster: { nodes: [\"h:1\", \"redis://:marker@redis\"] } }",
            "cluster.nodes.1: not host:port",
        ),
        (
            "redis: { cluster: { nodes: [\"h:1\"], database: 1 } }",
            "one database, 0",
        ),
        (
            "redis: { cluster: { nodes: [\"h:1\"], shards: 3 } }",
            "shards",
        ),
    ] {
        let (good, said) = said("check-config", &scratch, &[], store).await;
        assert!(!good && said.contains(words), "{words}: {said}");
        assert!(!said.contains("marker"), "{said}");
    }
}

#[tokio::test]
async fn a_single_server_is_not_taken_for_a_cluster_nor_a_node_for_all() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let cluster = Cluster::start(&scratch, Flavour::Redis).await;
    let (single, node) = (redis.port(), cluster.nodes[0].port);
    let as_cluster = format!("redis: {{ cluster: {{ nodes: [\"127.0.0.1:{single}\"] }} }}");
    let as_single = format!("redis: {{ url: \"redis://127.0.0.1:{node}/0\" }}");
    for (store, words) in [
        (as_cluster, "name it with `url` instead"),
        (as_single, "name some nodes in `cluster` instead"),
    ] {
        for lines in [&[][..], &["read: store"]] {
            for command in ["serve", "doctor"] {
                let (good, said) = said(command, &scratch, lines, &store).await;
                assert!(!good && said.contains(words), "{command} {lines:?}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn the_node_that_can_lose_revocations_is_named() {
    let scratch = Scratch::new();
    let cluster = Cluster::start(&scratch, Flavour::Redis).await;
    let (good, said_first) = said("doctor", &scratch, &[], &cluster.store()).await;
    assert!(good && said_first.contains("nothing found"), "{said_first}");
    let set = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
    let () = cluster.run(1, &set);
    let (good, said) = said("doctor", &scratch, &[], &cluster.store()).await;
    let named = format!("127.0.0.1:{}: maxmemory-policy", cluster.nodes[1].port);
    assert!(!good && said.contains(&named), "{said}");
    assert!(
        !said.contains(&format!(":{}:", cluster.nodes[0].port)),
        "{said}"
    );
}

#[tokio::test]
async fn what_keeps_a_start_waiting_is_said_once() {
    let scratch = Scratch::new();
    let cluster = Cluster::start(&scratch, Flavour::Redis).await;
    // The owner of a slot has let go of it, and says that the cluster is down; the others do not.
    let slots = |what| -> () { cluster.run(0, &["CLUSTER", what, "0"]) };
    slots("DELSLOTS");
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, &scratch).store(cluster.store());
    let path = scratch.write("revoxy.yaml", config.yaml());
    let arguments = ["serve", "--config", path.to_str().unwrap()];
    let mut process = Process::start("revoxy", &mut revoxy(&arguments), &scratch);
    let why = format!(
        "127.0.0.1:{} says that the cluster is down",
        cluster.nodes[0].port
    );
    eventually("a reason why it does not get ready", async || {
        process.must_run();
        process.output().contains(&why).then_some(())
    })
    .await;
    assert!(!process.output().contains("\"message\":\"ready\""));
    slots("ADDSLOTS");
    eventually("a ready Revoxy", async || {
        process.must_run();
        let said = process.output();
        said.contains("\"message\":\"ready\"").then_some(())
    })
    .await;
    let said = process.output();
    assert_eq!(said.matches("does not confirm").count(), 1, "{said}");
    drop(process);
    // Where that lasts, the start ends, and says why.
    slots("DELSLOTS");
    let (status, said) = Revoxy::refused(&scratch, &config.yaml()).await;
    assert_eq!(status.code(), Some(2), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains(&why), "{said}");
}
