//! Routes calls to the server that holds a key: the only server, or a node of a cluster.

use std::time::Duration;

use redis::{Cmd, ParsingError, Value};

use crate::clock::Moment;

use super::super::key::RevocationKey;
use super::super::statement::Revocation;
use super::super::{Durability, StoreError};
use super::cluster::{Question, Router};
use super::error::unexpected;
use super::local_replica::LocalReplica;
use super::one_server::OneServer;
use super::script::Call;
use super::trusted_servers::TrustedServers;

pub(super) enum Route {
    /// One server has all keys.
    One(Box<OneServer>),
    /// Each primary of a cluster has the keys of some slots.
    Cluster(Router),
}

impl Route {
    /// Waits until the servers have answered. After `patience`, the error says why they have not.
    pub(super) async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        match self {
            Self::One(server) => server.ready(patience).await,
            Self::Cluster(router) => router.ready(patience).await,
        }
    }

    /// Sends commands whose first argument is their key, and parses the values, one for each command. With
    /// `trusted`, only the answers of a trusted server are used.
    pub(super) async fn ask<T>(
        &self,
        commands: Vec<Cmd>,
        trusted: Option<&TrustedServers>,
        parse: impl FnOnce(Vec<Value>) -> Result<T, ParsingError>,
    ) -> Result<T, StoreError> {
        match self {
            Self::One(server) => server.ask(commands, trusted, parse).await,
            Self::Cluster(router) => {
                let questions: Vec<_> = commands.into_iter().map(Question::of).collect();
                let answers = router.ask(&questions, trusted).await?;
                parse(answers.into_iter().flatten().collect()).map_err(unexpected)
            }
        }
    }

    /// Reads the values of keys and their remaining lives in ms, as `PTTL` reports them.
    pub(super) async fn read(
        &self,
        keys: &[String],
    ) -> Result<Vec<(Option<Vec<u8>>, i64)>, StoreError> {
        match self {
            Self::One(server) => server.read(keys).await,
            Self::Cluster(router) => router.read(keys).await,
        }
    }

    /// Reads the next batch of the names of our keys. Returns also the position of the batch after it.
    pub(super) async fn scan(
        &self,
        position: Option<&str>,
    ) -> Result<(Vec<Vec<u8>>, Option<String>), StoreError> {
        match self {
            Self::One(server) => server.scan(position).await,
            Self::Cluster(router) => router.scan(position).await,
        }
    }

    /// Runs a script for tokens.
    pub(super) async fn call(&self, call: Call) -> Result<(), StoreError> {
        match self {
            Self::One(server) => server.call(call).await,
            Self::Cluster(router) => router.call(call).await,
        }
    }

    /// Waits until the servers are confirmed as authoritative after `at`.
    pub(super) async fn confirmed_after(&self, at: Moment) -> Result<(), StoreError> {
        match self {
            Self::One(server) => server.confirmed_after(at).await,
            Self::Cluster(router) => router.confirmed_after(at).await,
        }
    }

    /// Writes a revocation with this life in ms, and confirms that it has taken effect.
    pub(super) async fn revoke(
        &self,
        replica: &LocalReplica,
        revocation: &Revocation,
        life: u128,
    ) -> Result<Durability, StoreError> {
        match self {
            Self::One(server) => server.revoke(replica, revocation, life).await,
            Self::Cluster(router) => {
                router.revoke(replica, revocation, life).await?;
                Ok(Durability::default())
            }
        }
    }

    /// Writes an un-revocation, and confirms that it has taken effect. Returns whether a revocation existed.
    pub(super) async fn unrevoke(
        &self,
        replica: &LocalReplica,
        key: &RevocationKey,
    ) -> Result<bool, StoreError> {
        match self {
            Self::One(server) => server.unrevoke(replica, key).await,
            Self::Cluster(router) => router.unrevoke(replica, key).await,
        }
    }
}
