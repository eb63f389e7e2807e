//! The servers of tests start although somebody else has taken a port between its choice and the start.

use std::net::TcpListener;

use crate::support::cluster::{Cluster, Flavour};
use crate::support::ports::{free_port, say_next};
use crate::support::sentinel::Trio;
use crate::support::{Postgres, Redis, Scratch};

/// Somebody else, with a port.
fn somebody() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// As many free ports.
fn free<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}

#[tokio::test]
async fn a_redis_starts_at_another_port() {
    let ((_somebody, taken), scratch) = (somebody(), Scratch::new());
    say_next([taken]);
    assert_ne!(Redis::start(&scratch).await.port(), taken);
    // Somebody who answers as it would.
    let other = Redis::start(&scratch).await;
    say_next([other.port()]);
    assert_ne!(Redis::valkey(&scratch).await.port(), other.port());
}

#[tokio::test]
async fn a_postgresql_starts_at_another_port() {
    let scratch = Scratch::new();
    let other = Postgres::start(&scratch).await;
    say_next([other.port()]);
    assert_ne!(Postgres::start(&scratch).await.port(), other.port());
}

#[tokio::test]
async fn a_sentinel_starts_at_another_port() {
    let (_somebody, taken) = somebody();
    say_next(free::<2>().into_iter().chain([taken]));
    let trio = Trio::without_replicas().await;
    assert!(trio.sentinels.iter().all(|s| s.port() != taken));
}

#[tokio::test]
async fn a_cluster_starts_at_other_ports_whether_a_bus_or_a_port_for_clients_is_taken() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let ((_somebody, taken), scratch) = (somebody(), Scratch::new());
        // Of each node its bus, then its port.
        say_next(free::<4>().into_iter().chain([taken]));
        let cluster = Cluster::start(&scratch, flavour).await;
        assert!(cluster.nodes.iter().all(|n| n.bus != taken));
        say_next(free::<3>().into_iter().chain([taken]));
        let mut cluster = Cluster::start(&scratch, flavour).await;
        assert!(cluster.nodes.iter().all(|n| n.port != taken));
        say_next([taken]);
        let new = cluster.add(&scratch).await;
        assert_ne!(cluster.nodes[new].bus, taken);
    }
}
