//! The contract of a revocation store, shown by every store.
//!
//! To add a store: give it a [`fixture::Fixture`], and a line `contract!` at the end of this file.

mod allowed;
mod checks;
mod contract;
mod durability;
mod fixture;
mod followed;
mod foreign;
mod in_postgres;
mod in_sqlite;
mod journal;
mod registry;
mod viewed;
mod watched;

use fixture::{Fixture as _, InCluster, InMemory, InRedis, InSqlite};
use in_postgres::{InFollowedPostgres, InPostgres};
use journal::InJournal;
use viewed::{InFollowedCluster, InFollowedRedis};
use watched::{InFollowedSentinel, InSentinel, InValkey};

/// Makes a module of tests for a store: the contract, and with `durable` that it outlives a restart. With `registry` it is
/// that of a store that knows tokens; with `followed_registry`, of one that keeps a view of what others register too.
/// With `followed`, it is the little of both that a new way to a known server and its view could spoil.
macro_rules! contract {
    ($module:ident, $fixture:ty, durable) => {
        mod $module {
            use super::*;
            contract!(@contract $fixture);
            contract!(@durable $fixture);
        }
    };
    ($module:ident, $fixture:ty, followed, durable) => {
        mod $module {
            use super::*;
            contract!(@tests $fixture, contract: a_revocation_is_found_until_it_expires);
            contract!(@tests $fixture, checks: every_kind_of_key_revokes_the_token_that_it_names);
            contract!(@tests $fixture, allowed: a_registered_token_can_be_revoked_and_taken_back);
            contract!(@durable $fixture);
            contract!(@durable_registry $fixture);
        }
    };
    ($module:ident, $fixture:ty) => {
        mod $module {
            use super::*;
            contract!(@contract $fixture);
        }
    };
    ($module:ident, $fixture:ty, registry, durable) => {
        mod $module {
            use super::*;
            contract!(@registry $fixture);
            contract!(@durable_registry $fixture);
        }
    };
    ($module:ident, $fixture:ty, registry) => {
        mod $module {
            use super::*;
            contract!(@registry $fixture);
        }
    };
    ($module:ident, $fixture:ty, followed_registry, durable) => {
        mod $module {
            use super::*;
            contract!(@followed_registry $fixture);
            contract!(@durable_registry $fixture);
        }
    };
    (@registry $fixture:ty) => {
        contract!(@followed_registry $fixture);
        contract!(@tests $fixture, registry:
            a_token_that_nobody_registered_is_not_registered,
            a_record_reads_back_as_it_was_written,
            what_has_expired_already_is_not_kept,
            to_see_a_registered_token_takes_nothing_from_it,
            a_token_that_was_seen_can_be_registered_later,
            tokens_without_a_subject_are_in_nobody_s_list,
            a_list_shows_everything_page_by_page,
            odd_identifiers_are_identifiers_like_any_other,
            many_tasks_may_register_note_and_list_at_once,
            a_record_says_by_what_its_token_may_be_revoked,
        );
    };
    // What a view could spoil. The rest is asked of the same store without one, in the same words.
    (@followed_registry $fixture:ty) => {
        contract!(@tests $fixture, registry:
            records_and_registrations_go_with_their_token,
            a_registration_ends_with_what_was_registered,
        );
        contract!(@tests $fixture, allowed:
            only_a_registered_token_passes_and_at_once,
            a_registered_token_can_be_revoked_and_taken_back,
            a_registration_that_has_ended_lets_nobody_pass,
        );
    };
    (@durable $fixture:ty) => {
        contract!(@tests $fixture, durability:
            revocations_outlive_a_restart,
            what_was_taken_back_or_has_expired_stays_gone_after_a_restart,
        );
    };
    (@durable_registry $fixture:ty) => {
        contract!(@tests $fixture, durability: records_and_registrations_outlive_a_restart);
        contract!(@tests $fixture, allowed: an_allow_list_outlives_a_restart);
    };
    (@contract $fixture:ty) => {
        contract!(@tests $fixture, contract:
            what_is_not_revoked_is_not_found,
            a_revocation_is_found_until_it_expires,
            a_revocation_that_has_expired_already_revokes_nothing,
            a_revocation_reads_back_as_it_was_written,
            taking_back_tells_whether_there_was_something,
            answers_come_in_the_order_of_the_questions,
            kinds_and_issuers_are_kept_apart,
            an_older_cutoff_never_weakens_a_newer_one,
            a_cutoff_never_weakens_a_revocation_of_every_token,
            an_earlier_expiry_never_shortens_a_later_one,
            an_expired_revocation_does_not_strengthen_a_new_one,
            what_adds_nothing_is_not_written_again,
            a_listing_shows_everything_page_by_page,
            a_listing_shows_nothing_expired,
            sweeping_leaves_what_still_stands,
            odd_values_are_values_like_any_other,
            many_tasks_may_write_and_read_at_once,
            of_cutoffs_written_at_once_the_latest_stands,
        );
        contract!(@tests $fixture, checks:
            every_kind_of_key_revokes_the_token_that_it_names,
            of_two_revocations_the_more_specific_is_named,
            a_token_issued_after_the_cutoff_is_clear,
            a_token_without_jti_is_revoked_by_its_digest,
        );
    };
    (@tests $fixture:ty, $group:ident: $($test:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $group::$test(<$fixture>::start().await).await;
            }
        )+
    };
}

contract!(memory, InMemory);
contract!(sqlite, InSqlite, durable);
contract!(redis, InRedis, durable);
contract!(cluster, InCluster, durable);
contract!(tokens_in_memory, InMemory, registry);
contract!(tokens_in_sqlite, InSqlite, registry, durable);
contract!(tokens_in_redis, InRedis, registry, durable);
contract!(
    tokens_in_redis_view,
    InFollowedRedis,
    followed_registry,
    durable
);
contract!(tokens_in_sentinel, InSentinel, registry, durable);
contract!(tokens_in_cluster, InCluster, registry, durable);
contract!(
    tokens_in_cluster_view,
    InFollowedCluster,
    followed_registry,
    durable
);
contract!(tokens_in_postgres, InPostgres, registry, durable);
contract!(
    tokens_in_postgres_view,
    InFollowedPostgres,
    followed_registry,
    durable
);
contract!(custom, InJournal, durable);
contract!(postgres, InPostgres, durable);
contract!(postgres_view, InFollowedPostgres, durable);
contract!(redis_view, InFollowedRedis, durable);
contract!(cluster_view, InFollowedCluster, durable);
contract!(sentinel, InSentinel, durable);
contract!(sentinel_view, InFollowedSentinel, followed, durable);
contract!(valkey, InValkey);
