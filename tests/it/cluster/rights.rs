//! The rights that `docs/operations.md` grants in a cluster suffice, and each is used.

use jsonwebtoken::Algorithm;

use super::{names, native};
use crate::support::cluster::{Cluster, Flavour};
use crate::support::{Config, Revoxy, Scratch, SigningKey, Token, eventually};

const WITH_VIEW: [&str; 15] = [
    "+ping",
    "+time",
    "+info",
    "+client|tracking",
    "+scan",
    "+mget",
    "+get",
    "+pttl",
    "+set",
    "+del",
    "+eval",
    "+asking",
    "+cluster|nodes",
    "+cluster|info",
    "+cluster|slots",
];

fn allow(cluster: &Cluster) {
    for node in 0..cluster.nodes.len() {
        let head = ["ACL", "SETUSER", "revoxy", "reset", "on", ">secret"];
        let keys = ["~revoxy:*", "resetchannels", "-@all"];
        let () = cluster.run(node, &[&head[..], &keys, &WITH_VIEW].concat());
    }
}

/// What was not allowed, on any node.
fn denied(cluster: &Cluster) -> Vec<String> {
    let log = |node| -> Vec<redis::Value> { cluster.run(node, &["ACL", "LOG"]) };
    let entries = (0..cluster.nodes.len()).flat_map(log);
    entries.map(|entry| format!("{entry:?}")).collect()
}

#[tokio::test]
async fn the_rights_in_the_documentation_suffice() {
    let documented = include_str!("../../../docs/operations.md");
    for right in &WITH_VIEW[10..] {
        assert!(documented.contains(&right.replace('|', "\\|")), "{right}");
    }
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let scratch = Scratch::new();
        let cluster = Cluster::start(&scratch, flavour).await;
        allow(&cluster);
        let password = scratch.write("password", "secret\n");
        let key = SigningKey::generate(Algorithm::ES256);
        let store = cluster.store().replace(
            "redis: {",
            &format!("redis: {{ username: revoxy, password_file: {password:?},"),
        );
        let config = Config::trusting(&key, &scratch)
            .store(store)
            .revocation("deletions: ignore");
        let revoxy = Revoxy::start(&scratch, &config).await;
        let checks = revoxy.checks().await;
        let token = |jti: &str| Token::access(jti).sign(&key);
        let revoked = names("revoked", 12);
        for jti in &revoked {
            revoxy.revoke(&token(jti)).await;
        }
        // Deleted, and so written back; on its way to another node, and so asked for with `ASKING`.
        let gone = native(&revoked[0]);
        let _: u64 = cluster.run_about(&gone, &["DEL", &gone]).await;
        eventually("a revocation that is written back", async || {
            (revoxy.metric("revoxy_revocations_restored_total").await > 0.5).then_some(())
        })
        .await;
        let moved = native(&revoked[1]);
        let slot = cluster.slot_of(&moved);
        let from = cluster.owner(slot).unwrap();
        cluster
            .move_slot(slot, from, (from + 1) % 3, async || {
                eventually("a view that has read the key where it is", async || {
                    let stats: String = cluster.run((from + 1) % 3, &["INFO", "commandstats"]);
                    stats.contains("cmdstat_asking").then_some(())
                })
                .await;
            })
            .await;
        for jti in &revoked {
            assert_eq!(checks.bearer(&token(jti)).await.reason(), "revoked");
        }
        assert_eq!(denied(&cluster), Vec::<String>::new());
        drop(revoxy);
        // Without a view.
        let revoxy = Revoxy::start(&scratch, &config.clone().revocation("read: store")).await;
        let checks = revoxy.checks().await;
        eventually("an answer of the store", async || {
            (checks.bearer(&token("good")).await.reason() == "ok").then_some(())
        })
        .await;
        for jti in &revoked {
            eventually("a revocation in the store", async || {
                (checks.bearer(&token(jti)).await.reason() == "revoked").then_some(())
            })
            .await;
        }
        assert_eq!(denied(&cluster), Vec::<String>::new());
        for right in WITH_VIEW {
            let stat = format!("cmdstat_{}:", right.trim_start_matches('+'));
            let used = (0..3).any(|node| {
                let stats: String = cluster.run(node, &["INFO", "commandstats"]);
                stats.contains(&stat)
            });
            assert!(used, "{right} is not used");
        }
    }
}
