//! Keys of applications, in every slot: with a view and without.

use super::{Flavour, Scene};

const LOOKUPS: &str = "lookups: [{ key: \"bl:{jti}\" }, { key: revoked, match: { member: \"{jti}\" } }, \
                       { key: \"ok:{jti}\", match: { equals: [\"0\"] }, missing: revoked }]";

fn jtis(name: &str) -> Vec<String> {
    (0..20).map(|n| format!("{name}-{n}")).collect()
}

impl Scene {
    async fn write(&self, prefix: &str, jtis: &[String], value: &str) {
        for jti in jtis {
            let key = format!("{prefix}:{jti}");
            let set = ["SET", &key, value, "EX", "600"];
            let () = self.cluster.run_about(&key, &set).await;
        }
    }
}

#[tokio::test]
async fn keys_of_applications_are_found_in_every_slot() {
    for read in ["read: view", "read: store"] {
        let scene = Scene::set(Flavour::Redis).await;
        let (before, after, good) = (jtis("before"), jtis("after"), jtis("good"));
        let member = vec!["member".to_owned()];
        for jtis in [&before, &after, &good, &member] {
            scene.write("ok", jtis, "1").await;
        }
        scene.write("bl", &before, "").await;
        let replica = scene.replica(&[LOOKUPS, read]).await;
        scene.all_become(&replica, &before, "revoked").await;
        scene.all_become(&replica, &good, "ok").await;
        scene
            .all_become(&replica, &jtis("unknown"), "revoked")
            .await;
        scene.write("bl", &after, "").await;
        scene.all_become(&replica, &after, "revoked").await;
        let _: u64 = scene
            .cluster
            .run_about("revoked", &["SADD", "revoked", "member"])
            .await;
        scene.all_become(&replica, &member, "revoked").await;
        for jti in &good {
            let key = format!("ok:{jti}");
            let _: u64 = scene.cluster.run_about(&key, &["DEL", &key]).await;
        }
        scene.all_become(&replica, &good, "revoked").await;
        let healed = replica
            .revoxy
            .metric("revoxy_revocation_view_healed_total")
            .await;
        assert!(healed < 0.5);
    }
}
