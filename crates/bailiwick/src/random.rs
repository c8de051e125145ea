//! Randomness for what the command line makes itself.

use aws_lc_rs::rand;

use crate::failure::{Failure, Result};

/// So many unpredictable bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| {
        Failure::new("no_randomness", "no random bytes could be drawn")
            .why("the generator of the cryptographic library failed")
            .next("try again; if it stays so, look at the system's `getrandom`")
    })?;
    Ok(bytes)
}

/// 128 unpredictable bits as text, for what is used once.
pub(crate) fn name() -> Result<String> {
    Ok(format!("{:032x}", u128::from_be_bytes(bytes()?)))
}
