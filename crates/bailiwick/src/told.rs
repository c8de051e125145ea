//! What was told already, so that whoever causes an alarm can neither fill the log with it nor have it forgotten.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// How often the same is told: what lasts is told again, and what comes and goes is not told each time.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// When each cause was told last.
#[derive(Default)]
pub(crate) struct Told {
    when: HashMap<&'static str, Instant>,
    last: Option<&'static str>,
}

impl Told {
    /// Whether to tell this now: nobody has for an hour.
    pub(crate) fn may(&mut self, cause: &'static str, at: Instant) -> bool {
        let due = self.when.get(cause).is_none_or(|told| at.duration_since(*told) >= EVERY);
        if due {
            self.when.insert(cause, at);
            self.last = Some(cause);
        }
        due
    }

    /// Whether to tell that all is well: the last that was told is something else.
    pub(crate) fn may_change_to(&mut self, cause: &'static str) -> bool {
        self.last.replace(cause) != Some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_an_hour_and_what_changes_each_time_is_not_told_more_often() {
        let (mut told, start) = (Told::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert!(told.may_change_to("well"));
        assert!(!told.may_change_to("well"));
        assert!(told.may("a", at(0)));
        assert!(!told.may("a", at(1)));
        assert!(told.may("b", at(1)), "another cause");
        assert!(told.may_change_to("well"));
        assert!(!told.may("a", at(59)));
        assert!(!told.may_change_to("well"), "nothing was told since");
        assert!(told.may("a", at(60)));
        assert!(!told.may("a", at(61)));
        assert!(told.may("b", at(61)));
    }
}
