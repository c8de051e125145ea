use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ledger::HeadFile;

/// What is known of a ledger's witnesses. Whoever asks them writes it.
#[derive(Debug, Default)]
pub struct Witnessed {
    /// How many entries the newest head covers that enough of them have cosigned; zero where there is none.
    pub entries: AtomicU64,
    /// How many of them have contradicted the ledger, or themselves, since the node started.
    pub contradicting: AtomicU64,
}

/// What is known of those who have a hand in a ledger's heads, where there are some.
#[derive(Debug, Clone, Default)]
pub struct Anchors {
    /// Its witnesses.
    pub witnessed: Option<Arc<Witnessed>>,
    /// How many entries the newest head covers that a timestamping authority has stamped.
    pub stamped: Option<Arc<AtomicU64>>,
}

impl Witnessed {
    /// Which head is shown; `None` where witnesses are wanted and too few have cosigned one.
    pub(crate) fn shown(this: Option<&Self>) -> Option<HeadFile> {
        match this {
            None => Some(HeadFile::Newest),
            Some(witnessed) if witnessed.entries.load(Ordering::Relaxed) > 0 => {
                Some(HeadFile::Witnessed)
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_witnesses_no_head_is_shown_before_enough_have_cosigned_one() {
        assert_eq!(Witnessed::shown(None), Some(HeadFile::Newest));
        let witnessed = Witnessed::default();
        assert_eq!(Witnessed::shown(Some(&witnessed)), None);
        witnessed.entries.store(7, Ordering::Relaxed);
        assert_eq!(Witnessed::shown(Some(&witnessed)), Some(HeadFile::Witnessed));
    }
}
