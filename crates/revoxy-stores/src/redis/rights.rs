//! Checks at the start that the user may read the keys of the lookups. Otherwise a missing permission would
//! show only with the first key that an application writes, and would then end the feed for everybody.

use super::super::lookups::Lookups;
use super::error::has_code;
use super::feed_end::FeedEnd;
use super::link::Link;

/// Reads one key of each lookup, which need not exist.
pub(super) async fn check(link: &mut Link, lookups: &Lookups) -> Result<(), FeedEnd> {
    for rule in lookups.rules().filter(|rule| rule.fits_in_view()) {
        let Some(name) = rule.sample() else { continue };
        if let Err(error) = link.read(&[name]).await {
            if !has_code(&error, &["NOPERM"]) {
                return Err(error.into());
            }
            return Err(FeedEnd::Refused(format!(
                "this user may not read the keys `{}` of revocation.lookups; grant %R~ (before Redis 7: ~) for their names, \
                 +mget and +pttl",
                rule.key.as_str()
            )));
        }
    }
    Ok(())
}
