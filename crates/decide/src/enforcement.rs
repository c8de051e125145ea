//! A place that dispatches calls: it may do so while its lease runs, and says which stops are in force there.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::context::Monotonic;

/// How long an enforcement point goes on without hearing from the store, in milliseconds.
///
/// A point that has lost touch denies everything once this is over, so that a stop is bounded in a partition, too.
pub const LEASE_MILLIS: i64 = 3_000;

/// One enforcement point.
#[derive(Debug)]
pub struct EnforcementPoint {
    name: String,
    /// The newest epoch of the stop set that is in force here.
    acknowledged: AtomicU64,
    lease_until: AtomicI64,
}

impl EnforcementPoint {
    /// A point that has heard of nothing yet: without a lease it dispatches nothing.
    pub(crate) fn new(name: String) -> Self {
        Self { name, acknowledged: AtomicU64::new(0), lease_until: AtomicI64::new(i64::MIN) }
    }

    /// Its name, for example `gateway@1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest epoch of the stop set that it has acknowledged: it dispatches nothing that was in scope then, and live
    /// calls in scope are cut.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(crate) fn acknowledge(&self, epoch: u64) {
        self.acknowledged.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Extends the lease from the moment at which the answered request was sent, never from when the answer came.
    pub(crate) fn renew(&self, sent: Monotonic) {
        self.lease_until.fetch_max(sent.saturating_add(LEASE_MILLIS), Ordering::AcqRel);
    }

    pub(crate) fn holds_lease(&self, now: Monotonic) -> bool {
        now < self.lease_until.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_when_the_request_was_sent_and_is_never_shortened() {
        let point = EnforcementPoint::new("gateway@1".to_owned());
        assert!(!point.holds_lease(0), "a new point has no lease");
        point.renew(1_000);
        point.renew(500);
        assert!(point.holds_lease(3_999));
        assert!(!point.holds_lease(4_000));
    }

    #[test]
    fn an_acknowledgement_of_an_older_epoch_takes_nothing_back() {
        let point = EnforcementPoint::new("gateway@1".to_owned());
        point.acknowledge(7);
        point.acknowledge(3);
        assert_eq!(point.acknowledged(), 7);
    }
}
