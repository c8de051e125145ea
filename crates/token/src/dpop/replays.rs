use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use model::Timestamp;

use super::Proof;

/// Enough for cores to seldom meet; a power of two.
const SHARDS: usize = 16;

/// Which proofs were seen: each `jti` once for its key
/// ([RFC 9449 §11.1](https://www.rfc-editor.org/rfc/rfc9449#section-11.1)). Bounded memory that forgets by itself.
///
/// A proof is kept as 16 bytes of a hash, in one of two generations. A generation lasts as long as a proof can be
/// accepted; when it ends, the one before it is dropped whole, so nothing is ever searched for old entries.
pub struct Replays {
    shards: [Mutex<Shard>; SHARDS],
    shard_capacity: usize,
    generation_millis: u64,
}

#[derive(Default)]
struct Shard {
    began: Timestamp,
    current: HashSet<Mark>,
    previous: HashSet<Mark>,
}

type Mark = [u8; 16];

impl Replays {
    /// Remembers up to about `capacity` proofs (20 to 40 bytes each), for a server that checks proofs with
    /// `window_seconds`.
    pub fn new(capacity: usize, window_seconds: u32) -> Self {
        Self {
            shards: Default::default(),
            shard_capacity: capacity.div_ceil(SHARDS),
            // From a window ahead of the clock to a window behind it; and the second that `iat` is rounded to.
            generation_millis: (u64::from(window_seconds) * 2 + 1) * 1000,
        }
    }

    /// Whether the proof is new; it no longer is afterwards. When memory is full, no proof is.
    pub fn check(&self, proof: &Proof, now: Timestamp) -> bool {
        let mark = mark(proof);
        let shard = &self.shards[usize::from(mark[0]) % SHARDS];
        // A holder that panicked left a set that is whole: inserting is its only change.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(now, self.generation_millis);
        let full = shard.current.len() + shard.previous.len() >= self.shard_capacity;
        !full && !shard.previous.contains(&mark) && shard.current.insert(mark)
    }
}

impl Shard {
    fn forget(&mut self, now: Timestamp, generation_millis: u64) {
        let age = now.millis_since(self.began);
        if age < generation_millis {
            return;
        }
        self.previous = std::mem::take(&mut self.current);
        if age >= generation_millis * 2 {
            self.previous.clear();
        }
        self.began = now;
    }
}

fn mark(proof: &Proof) -> Mark {
    // The thumbprint has a fixed length, so the two cannot run into each other.
    let mut hash = Context::new(&SHA256);
    hash.update(&proof.thumbprint.0);
    hash.update(proof.jti.as_bytes());
    *hash.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}
