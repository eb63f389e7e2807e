//! Whether the user may read what lookups name. Otherwise that shows with the first key that an application writes, and
//! then ends the feed for everybody.

use super::super::lookups::Lookups;
use super::connection::server_code;
use super::feed::FeedEnd;
use super::link::Link;

/// Reads a key of each lookup, which there need not be.
pub(super) async fn check(link: &mut Link, lookups: &Lookups) -> Result<(), FeedEnd> {
    for rule in lookups.rules().filter(|rule| rule.fits_in_view()) {
        let Some(name) = rule.sample() else { continue };
        if let Err(error) = link.read(&[name]).await {
            if server_code(&error).as_deref() != Some("NOPERM") {
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
