//! The memory of a process.

use anyhow::bail;

/// The memory that a process holds (`VmRSS`), in millions of bytes.
pub(crate) fn resident_mb(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let Some((kib, "kB")) = line.and_then(|line| line.trim().split_once(' ')) else {
        bail!("`VmRSS` is not told");
    };
    Ok(kib.parse::<f64>()? * 1024.0 / 1e6)
}
