//! SHA-256 over parts.

use aws_lc_rs::digest::{Context, SHA256};
use model::Digest;

/// SHA-256 over the parts in order. Callers put a domain prefix first, so that digests of different things never meet.
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest(bytes)
}
