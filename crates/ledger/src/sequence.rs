//! The sequencer: one thread that gives records their place and makes them durable, a batch at a time.
//!
//! There is no timer. A batch is whatever came while the one before was being synced.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    gap::{Cause, Gap},
    locked,
    log::{AppendError, Receipt, Shared, Span},
    medium::{displaced, lies_at, write_all_at},
    publish::PUBLISH_AT,
    queue::{Waiting, Weight},
    seal,
    segments::{self, Refused, Segment},
    wal::{ALIGN, Builder},
};

/// How many entries may wait for the publisher before it computes the hashes of further ones again: 2 MiB of hashes.
const HASHES_KEPT: u64 = 65_536;

pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    /// Where in the segment the next batch goes.
    at: u64,
    /// The index of the next record.
    next: u64,
    builder: Builder,
    members: Vec<Waiting>,
    /// While the medium is full and the reserve is written to: how many bytes of it refusals may still take.
    reserve: Option<u64>,
}

impl Sequencer {
    /// Starts behind `next` entries, in a segment that nothing was written to yet.
    pub(crate) fn new(shared: Arc<Shared>, segment: Arc<Segment>, next: u64) -> Self {
        let (builder, members) = (Builder::new(), Vec::new());
        Self { shared, segment, at: 0, next, builder, members, reserve: None }
    }

    /// Writes batches until the queue is closed and empty. A gap is written even when nothing else is.
    pub(crate) fn run(mut self) {
        let mut waiting = VecDeque::new();
        self.batch(&mut waiting);
        while self.shared.queue.take(&mut waiting) {
            self.write_all(&mut waiting);
        }
        // The next start writes what is left, where this one may not.
        self.batch(&mut waiting);
        self.shared.gaps.save();
    }

    /// Writes what waits, in as many batches as it takes.
    pub(crate) fn write_all(&mut self, waiting: &mut VecDeque<Waiting>) {
        while !waiting.is_empty() {
            self.batch(waiting);
            self.shared.gaps.save();
        }
    }

    /// Takes what fits into one batch, after the gap if one is open, and writes it.
    fn batch(&mut self, waiting: &mut VecDeque<Waiting>) {
        self.leave_reserve();
        self.keep_out(waiting);
        self.builder.clear();
        // In the reserve a gap waits for company: alone, with each refusal that is turned away, gaps would use it up.
        let is_due = self.reserve.is_none() || !waiting.is_empty();
        let gap = if is_due && self.shared.failed.get().is_none() { self.take_gap() } else { None };
        while let Some(record) =
            waiting.pop_front_if(|next| self.builder.has_room(next.sealed.frame.len()))
        {
            self.join(record);
        }
        if self.builder.count() == 0 {
            return;
        }
        let mut written = match self.shared.failed.get() {
            Some(_) => Err(Cause::Failed),
            None => self.write(),
        };
        if matches!(written, Err(Cause::NoSpace)) && self.enter_reserve() {
            self.builder.clear();
            std::mem::take(&mut self.members).into_iter().for_each(|record| self.join(record));
            if self.builder.count() == 0 {
                return;
            }
            written = self.write();
        }
        match written {
            Ok(span) => self.acknowledge(span, gap.is_some()),
            Err(cause) => self.refuse(cause, gap),
        }
    }

    /// Whether the medium is full and what is left is not for the like of this record.
    fn keeps_out(&self, record: &Waiting) -> bool {
        let bytes = record.sealed.frame.len() as u64;
        self.reserve.is_some_and(|for_refusals| match record.weight {
            Weight::Grants => true,
            Weight::Refuses => for_refusals < bytes,
            Weight::LetsIn | Weight::TakesAway => false,
        })
    }

    /// Turns away what stands in front and is kept out.
    fn keep_out(&self, waiting: &mut VecDeque<Waiting>) {
        while let Some(record) = waiting.pop_front_if(|record| self.keeps_out(record)) {
            self.turn_away(record, Cause::NoSpace);
        }
    }

    /// Makes a record part of the batch, unless it is kept out.
    fn join(&mut self, record: Waiting) {
        if self.keeps_out(&record) {
            self.turn_away(record, Cause::NoSpace);
        } else {
            self.builder.push(&record.sealed.frame);
            self.members.push(record);
        }
    }

    /// Goes on in the reserve, as long as there is some.
    fn enter_reserve(&mut self) -> bool {
        match self.shared.pool.take_reserve() {
            Ok(Some(segment)) => {
                self.reserve.get_or_insert(self.shared.pool.for_refusals());
                self.shared.sparing.store(true, Ordering::Relaxed);
                self.go_on_in(segment);
                true
            }
            Ok(None) | Err(Refused::NoSpace) => false,
            Err(Refused::Failed(why)) => {
                self.fail(&io::Error::other(why));
                false
            }
        }
    }

    /// Goes on where everything has a place again, once there is room.
    fn leave_reserve(&mut self) {
        if self.reserve.is_none() {
            return;
        }
        match self.shared.pool.take_ready() {
            Ok(Some(segment)) => self.go_on_outside(segment),
            Ok(None) | Err(Refused::NoSpace) => {}
            Err(Refused::Failed(why)) => {
                self.fail(&io::Error::other(why));
            }
        }
    }

    /// Goes on in a segment that is for everything.
    fn go_on_outside(&mut self, segment: Arc<Segment>) {
        self.reserve = None;
        self.shared.sparing.store(false, Ordering::Relaxed);
        self.go_on_in(segment);
    }

    fn go_on_in(&mut self, segment: Arc<Segment>) {
        locked(&self.shared.tail).segments.push_back(Arc::clone(&segment));
        (self.segment, self.at) = (segment, 0);
    }

    /// The open gap, as the first member of the batch.
    fn take_gap(&mut self) -> Option<Gap> {
        let gap = self.shared.gaps.take()?;
        let sealed = seal::seal(gap.draft(), &self.shared.realm, &self.shared.subjects).ok()?;
        self.builder.push(&sealed.frame);
        self.members.push(Waiting { sealed, weight: Weight::TakesAway, caller: None });
        Some(gap)
    }

    /// One write, one sync. After an error nothing is written any more: what is on the medium is unknown, and a second
    /// sync would claim what the first could not do.
    fn write(&mut self) -> Result<Span, Cause> {
        if self.at + self.builder.len() > self.segment.bytes {
            self.next_segment()?;
        }
        let bytes = self.builder.finish(self.segment.number, self.next);
        let Segment { number, extent, bytes: length } = &*self.segment;
        let in_place =
            || lies_at(&*self.shared.medium, &segments::path(*number), &**extent, *length);
        let durable = write_all_at(&**extent, bytes, self.at)
            .and_then(|()| extent.sync())
            .and_then(|()| in_place());
        match durable {
            Ok(true) => {}
            Ok(false) => return Err(self.fail(&displaced("its file"))),
            Err(error) => return Err(self.fail(&error)),
        }
        let length = self.builder.len().next_multiple_of(ALIGN);
        match &mut self.reserve {
            None => self.shared.append_full.store(false, Ordering::Relaxed),
            Some(for_refusals)
                if self.members.iter().any(|member| member.weight == Weight::Refuses) =>
            {
                *for_refusals = for_refusals.saturating_sub(length);
            }
            Some(_) => {}
        }
        if self.at == 0 {
            self.shared.pool.prepare();
        }
        let span = Span {
            first: self.next,
            count: self.builder.count(),
            segment: Arc::clone(&self.segment),
            at: self.at,
            bytes: self.builder.len() as u32,
            hashes: self.members.iter().map(|member| member.sealed.hash).collect(),
        };
        self.next += u64::from(span.count);
        self.at += length;
        Ok(span)
    }

    fn next_segment(&mut self) -> Result<(), Cause> {
        match self.shared.pool.take() {
            Ok(segment) => {
                self.go_on_outside(segment);
                Ok(())
            }
            Err(Refused::NoSpace) => Err(Cause::NoSpace),
            Err(Refused::Failed(why)) => Err(self.fail(&io::Error::other(why))),
        }
    }

    fn fail(&self, error: &io::Error) -> Cause {
        self.shared.fail(format!("the write-ahead log could not be written: {error}"));
        Cause::Failed
    }

    /// Says where each record is. Only now does anyone learn of the batch.
    fn acknowledge(&mut self, mut span: Span, gap: bool) {
        let receipts = (span.first..).zip(&self.members).map(|(index, member)| {
            let hash = member.sealed.hash;
            (Receipt { index, hash }, member)
        });
        for (receipt, member) in receipts.filter(|(_, member)| member.sealed.found_again) {
            locked(&self.shared.positions).insert(member.sealed.id, receipt);
        }
        let mut tail = locked(&self.shared.tail);
        let before = tail.acknowledged - tail.published.size;
        let after = before + u64::from(span.count);
        let first = span.first;
        if before > HASHES_KEPT {
            span.hashes = Arc::default();
        }
        tail.acknowledged += u64::from(span.count);
        tail.spans.push_back(span);
        drop(tail);
        if before == 0 || (before < PUBLISH_AT && after >= PUBLISH_AT) {
            self.shared.grown.notify_all();
        }
        for (index, member) in (first..).zip(self.members.drain(..)) {
            if let Some(caller) = member.caller {
                // A caller that has gone does not need to know.
                let _ = caller.send(Ok(Receipt { index, hash: member.sealed.hash }));
            }
        }
        if gap {
            self.shared.gaps.clear();
        }
    }

    /// Tells those who wait and counts what nobody waits for; an open gap stays open.
    fn refuse(&mut self, cause: Cause, gap: Option<Gap>) {
        let counted = usize::from(gap.is_some());
        if let Some(gap) = gap {
            self.shared.gaps.put(gap);
        }
        for member in std::mem::take(&mut self.members).into_iter().skip(counted) {
            self.turn_away(member, cause);
        }
    }

    /// Tells whoever waits for a record that it is not written, and counts one that nobody waits for.
    fn turn_away(&self, record: Waiting, cause: Cause) {
        let why = if cause == Cause::NoSpace {
            self.shared.append_full.store(true, Ordering::Relaxed);
            AppendError::NoSpace
        } else {
            AppendError::Failed
        };
        if record.weight.happens_anyway() {
            self.shared.gaps.count(record.sealed.at, cause);
        }
        if let Some(caller) = record.caller {
            // A caller that has gone does not need to know.
            let _ = caller.send(Err(why));
        }
    }
}

impl Drop for Sequencer {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.shared.queue.close();
        let mut waiting = VecDeque::new();
        while self.shared.queue.take(&mut waiting) {
            waiting.clear();
        }
    }
}
