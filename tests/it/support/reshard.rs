//! Moves slots of a cluster between its nodes.

use super::cluster::Cluster;
use super::eventually;

impl Cluster {
    /// Moves a slot key by key, as `redis-cli --cluster reshard` does; `step` is called between two keys.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize, mut step: impl AsyncFnMut()) {
        let text = slot.to_string();
        let (from_id, to_id) = (self.nodes[from].id.clone(), self.nodes[to].id.clone());
        let set = |node, what: &[&str]| {
            let command: Vec<_> = ["CLUSTER", "SETSLOT", &text]
                .into_iter()
                .chain(what.iter().copied())
                .collect();
            let () = self.run(node, &command);
        };
        set(to, &["IMPORTING", &from_id]);
        set(from, &["MIGRATING", &to_id]);
        // Nodes that have TLS ports use them among themselves.
        let node = &self.nodes[to];
        let port = node.tls.as_ref().map_or(node.port, |tls| tls.port);
        let port = port.to_string();
        loop {
            let keys: Vec<String> = self.run(from, &["CLUSTER", "GETKEYSINSLOT", &text, "1"]);
            let Some(key) = keys.first() else { break };
            let _: redis::Value =
                self.run(from, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
            step().await;
        }
        set(to, &["NODE", &to_id]);
        // Without its last slot, it may have become a replica automatically.
        let () = self
            .try_run(from, &["CLUSTER", "SETSLOT", &text, "NODE", &to_id])
            .unwrap_or_default();
    }

    /// Transfers the ownership of a slot without its keys, and waits until the former owner knows it.
    pub async fn give_slot(&self, slot: u16, from: usize, to: usize) {
        let text = slot.to_string();
        let (from_id, to_id) = (&self.nodes[from].id, &self.nodes[to].id);
        for what in [["IMPORTING", from_id], ["NODE", to_id]] {
            let () = self.run(to, &["CLUSTER", "SETSLOT", &text, what[0], what[1]]);
        }
        let keys = ["CLUSTER", "COUNTKEYSINSLOT", &text];
        eventually("an owner from before without the keys", async || {
            (self.run::<u64>(from, &keys) == 0).then_some(())
        })
        .await;
    }

    /// Moves slots atomically, as Valkey 9 can.
    pub async fn move_slots_at_once(&self, first: u16, last: u16, from: usize, to: usize) {
        let (a, b) = (first.to_string(), last.to_string());
        let to_id = &self.nodes[to].id;
        let () = self.run(
            from,
            &[
                "CLUSTER",
                "MIGRATESLOTS",
                "SLOTSRANGE",
                &a,
                &b,
                "NODE",
                to_id,
            ],
        );
        eventually("slots that have moved", async || {
            let moved = [first, last].iter().all(|s| self.owner(*s) == Some(to));
            moved.then_some(())
        })
        .await;
    }
}
