//! What is recorded of those who are told what the ledger says.

use std::ops::Range;

use ledger::AppendError;
use model::Name;

use crate::{
    engine::Engine,
    entries::{self, SinkGap},
};

/// Why it is not recorded that entries were left out; whoever wants to leave them out tries again.
#[derive(Debug, thiserror::Error)]
pub enum GapNotRecorded {
    /// No entry can be made of it.
    #[error("no entry can be made of it: {0}")]
    Seal(String),
    /// The ledger does not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Engine {
    /// Records that a sink was not told of these entries, and returns once that is durable.
    ///
    /// # Errors
    /// It is not recorded.
    pub async fn record_sink_gap(
        &self,
        sink: &Name,
        left_out: Range<u64>,
    ) -> Result<(), GapNotRecorded> {
        let n = left_out.end.saturating_sub(left_out.start);
        let body = SinkGap { first: left_out.start, n, sink: sink.to_string() };
        let draft = entries::draft(self.context.id(), self.context.now(), &body);
        let sealed = self.seal(draft).map_err(|why| GapNotRecorded::Seal(why.to_string()))?;
        self.append_end(sealed).done().await?;
        Ok(())
    }
}
