//! The section `revocation.store.redis`.

use std::time::Duration;

use crate::revocation::{Credentials, Endpoint, RedisOptions, SentinelOptions};
use crate::tls::TlsFiles;

use super::document::Document;
use super::problem::Problems;
use super::raw::{RawCluster, RawDurable, RawRedis, RawTls};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The path of the section.
const SECTION: &str = "revocation.store.redis";

pub(super) fn read(
    raw: RawRedis,
    max_staleness: Duration,
    document: &Document,
    problems: &mut Problems,
) -> RedisOptions {
    let endpoint = match (raw.url, raw.sentinel, raw.cluster) {
        (Some(url), None, None) => Endpoint::Url(url),
        (None, None, Some(cluster)) => self::cluster(cluster, document, problems),
        (None, Some(sentinel), None) => Endpoint::Sentinel(SentinelOptions {
            master: sentinel.master,
            nodes: sentinel.nodes,
            credentials: Credentials {
                username: sentinel.username,
                password_file: sentinel.password_file,
            },
            tls: sentinel
                .tls
                .map(|raw| tls(raw, &format!("{SECTION}.sentinel.tls"), document, problems)),
            database: i64::from(sentinel.database),
            confirmed_within: max_staleness,
        }),
        (None, None, None) => {
            let message =
                "missing: for example redis://redis:6379/0, or a section `sentinel` or `cluster`";
            problems.push(document.problem(&format!("{SECTION}.url"), message));
            Endpoint::Url(String::new())
        }
        (_, _, Some(_)) => {
            let message = "beside `url` or `sentinel`: its nodes say where the servers are";
            problems.push(document.problem(&format!("{SECTION}.cluster"), message));
            Endpoint::Url(String::new())
        }
        (Some(_), Some(_), None) => {
            let message = "beside `url`: the Sentinels say where the server is";
            problems.push(document.problem(&format!("{SECTION}.sentinel"), message));
            Endpoint::Url(String::new())
        }
    };
    let is_cluster = matches!(endpoint, Endpoint::Cluster(_));
    RedisOptions {
        durable_replicas: raw
            .durable
            .and_then(|raw| durable(&raw, is_cluster, document, problems)),
        endpoint,
        credentials: Credentials {
            username: raw.username,
            password_file: raw.password_file,
        },
        tls: raw
            .tls
            .map(|raw| tls(raw, &format!("{SECTION}.tls"), document, problems)),
        connect_timeout: raw.connect_timeout.map_or(DEFAULT_CONNECT_TIMEOUT, |s| s.0),
    }
}

/// Reads how many replicas have to confirm a write.
fn durable(
    raw: &RawDurable,
    is_cluster: bool,
    document: &Document,
    problems: &mut Problems,
) -> Option<u64> {
    let path = format!("{SECTION}.durable");
    if is_cluster {
        let message =
            "not with `cluster`: waiting for replicas is there for one Redis and for Sentinel only";
        problems.push(document.problem(&path, message));
        return None;
    }
    match raw.replicas {
        Some(replicas @ 0..=16) => Some(replicas),
        other => {
            let message = match other {
                Some(_) => "more than 16 replicas",
                None => "missing: how many replicas have to confirm a write, such as 1",
            };
            problems.push(document.problem(&format!("{path}.replicas"), message));
            None
        }
    }
}

fn cluster(raw: RawCluster, document: &Document, problems: &mut Problems) -> Endpoint {
    if raw.database.is_some_and(|database| database != 0) {
        let message = "a cluster has one database, 0";
        problems.push(document.problem(&format!("{SECTION}.cluster.database"), message));
    }
    Endpoint::Cluster(raw.nodes)
}

fn tls(raw: RawTls, section: &str, document: &Document, problems: &mut Problems) -> TlsFiles {
    if raw.insecure.is_some() {
        let message = "there is no such thing here: anybody could be the server; name its certificate authority in ca_file";
        problems.push(document.problem(&format!("{section}.insecure"), message));
    }
    TlsFiles {
        ca_file: raw.ca_file,
        cert_file: raw.cert_file,
        key_file: raw.key_file,
    }
}
