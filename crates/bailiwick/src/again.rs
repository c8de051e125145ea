//! Asking again what was refused for a moment only, after which nothing was done.
//!
//! A grant leaves only when its record is durable within a bound, and a disk that is busy for a moment takes longer. Whoever
//! waits at a terminal, or reads what this program prints, need not know.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::Result;

/// How long something is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before the first time; each further wait is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The refusals of a server that pass by themselves and say that nothing was done: what was late for its record lapses.
/// After `store_unavailable` it may have been done.
const PASSING: [&str; 2] = ["ledger_slow", "stale"];

/// The tries of one question.
pub(crate) struct Again {
    until: Instant,
    pause: Duration,
}

impl Again {
    /// Begins with the first try.
    pub(crate) fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, pause: FIRST_PAUSE }
    }

    /// Whether to ask once more, after an answer that `passes` or not; waits before it says yes.
    pub(crate) async fn once_more(&mut self, passes: bool) -> bool {
        if !passes || Instant::now() + self.pause > self.until {
            return false;
        }
        sleep(self.pause).await;
        self.pause *= 2;
        true
    }
}

/// Whether it failed for a moment only.
pub(crate) fn passes<T>(ended: &Result<T>) -> bool {
    ended.as_ref().is_err_and(|failure| PASSING.contains(&failure.code.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    async fn tries(code: &str) -> usize {
        let refused: Result<()> = Err(Failure::new(code, "no").why("so").next("wait"));
        let (mut again, mut tries) = (Again::new(), 1);
        while again.once_more(passes(&refused)).await {
            tries += 1;
        }
        tries
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_asked_again_for_five_seconds_and_nothing_else_is() {
        let began = Instant::now();
        for lasting in ["denied", "ledger_unavailable", "replayed", "store_unavailable"] {
            assert_eq!(tries(lasting).await, 1, "{lasting}");
        }
        assert!(began.elapsed().is_zero());
        assert_eq!(tries("ledger_slow").await, 8);
        assert!(began.elapsed() < PATIENCE);
    }
}
