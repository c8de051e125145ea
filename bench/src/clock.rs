//! Time that passes, and time that this process computes.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The moment, on the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "measuring time is what a benchmark does")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The processor time that all threads of this process have used.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Waits, as a slow disk does or until it is time for the next call; not at all for no time.
#[expect(clippy::disallowed_methods, reason = "the pause is what is measured or simulated")]
pub(crate) fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}
