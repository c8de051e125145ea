//! Known shapes of secrets, found in texts and left out of them: what is recorded or shown goes through here first.
//!
//! What was found becomes `[secret:RULE]`. The rules are gitleaks' (`vendor/gitleaks`), and one of our own for JSON: what a member
//! called `password` holds is one, whatever it looks like. A secret is also seen through base64, hex, percent-encoding
//! and JSON's escapes. The time that a text takes grows with its length and no faster.
//!
//! It knows texts and rules. It must not know who writes what where: it does no I/O, and asks no clock.

mod decode;
mod find;
mod json;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use json::{bytes, value};

/// A text without the secrets that it holds.
pub fn text(text: &str) -> Cow<'_, str> {
    let found = find::secrets(text.as_bytes());
    if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(find::replaced(text, found)) }
}

/// Compiles every rule, which otherwise the first text does that has its keyword. Some tens of milliseconds of work.
pub fn prepare() {
    rules::RULES.compile_all();
}

/// Whether a text holds what would be left out of it.
pub fn holds_secret(text: &str) -> bool {
    !find::secrets(text.as_bytes()).is_empty()
}
