//! Events for operators, on stderr: text at a terminal, JSON lines elsewhere.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Log {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts writing events; `RUST_LOG` chooses which, and warnings are the default.
pub(crate) fn start(log: Option<Log>) {
    let terminal = io::stderr().is_terminal();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Scrubbed(io::stderr()));
    match log.unwrap_or(if terminal { Log::Text } else { Log::Json }) {
        Log::Text => builder.with_ansi(terminal).init(),
        Log::Json => builder.json().init(),
    }
}

/// Writes events without the secrets in them: what servers, agents and people said may be part of one.
struct Scrubbed<W>(W);

impl<W: Write> Write for Scrubbed<W> {
    /// Writes a whole event, which is what it is called with.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let scrubbed = scrub::bytes(event);
        self.0.write_all(&scrubbed)?;
        // JSON that was written anew has lost its end of line.
        if event.ends_with(b"\n") && !scrubbed.ends_with(b"\n") {
            self.0.write_all(b"\n")?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{Scrubbed, Write as _};

    #[test]
    fn events_are_written_without_the_secrets_in_them() {
        let token = "glpat-Zx8Qw2Er5Ty7Ui1Op3As";
        for (event, written) in [
            (
                format!("WARN the server said: {token} is no\n"),
                "WARN the server said: [secret:gitlab-pat] is no\n",
            ),
            (format!("{{\"why\":\"{token}\"}}\n"), "{\"why\":\"[secret:gitlab-pat]\"}\n"),
            ("{\"why\":\"nothing\"}\n".to_owned(), "{\"why\":\"nothing\"}\n"),
        ] {
            let mut out = Vec::new();
            assert_eq!(Scrubbed(&mut out).write(event.as_bytes()).unwrap(), event.len());
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }
}
