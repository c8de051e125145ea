use crate::Source;

/// Ids of the policies that ship with Bailiwick start like this, and no others do.
pub const GUARD_PREFIX: &str = "guard-";

/// The policies that ship with Bailiwick. A caller loads them together with its own.
pub fn guard() -> Vec<Source> {
    let file = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
    vec![file("guard/governance.cedar", include_str!("../guard/governance.cedar"))]
}
