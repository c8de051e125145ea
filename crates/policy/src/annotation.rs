use std::sync::Arc;

use model::Name;

use crate::{Lift, Method, Mode, Obligation, rule::Kind, source::Spot};

/// Every annotation that policies may carry.
const KNOWN: [&str; 8] =
    ["id", "hold", "step_up", "obligation", "mode", "reason", "next", "explain"];
/// The longest text of `@reason` and `@next`, in bytes: it stands in a refusal.
const MAX_TEXT: usize = 512;
/// The longest argument of an obligation, in bytes.
const MAX_ARGUMENT: usize = 128;

/// One annotation as it stands in a file.
pub(crate) struct Annotation {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) offset: usize,
}

/// What the annotations of one policy say.
pub(crate) struct Notes {
    pub(crate) id: Name,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) obligations: Vec<Obligation>,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) next: Option<Arc<str>>,
    pub(crate) explained_to_agents: bool,
}

/// Reads and type-checks the annotations of the policy that starts at `offset`.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn read(
    forbids: bool,
    offset: usize,
    annotations: &[Annotation],
) -> Result<Notes, Vec<Spot>> {
    let mut reader = Reader { annotations, spots: Vec::new() };
    reader.refuse_unknown();
    let id = reader.parsed("id", id);
    if reader.find("id").is_none() {
        let hint = "write `@id(\"refund-limit\")` before it";
        reader.spots.push(Spot::new(offset, "this policy has no `@id`", hint));
    }
    let kind = reader.kind(forbids);
    let mode = reader.parsed("mode", mode).unwrap_or(Mode::Enforce);
    let obligations = reader.parsed("obligation", obligations).unwrap_or_default();
    if kind == Kind::Forbid && reader.find("obligation").is_some() {
        reader.refuse("obligation", "a hard forbid lets nothing happen that could be obliged");
    }
    let reason = reader.parsed("reason", text);
    let next = reader.parsed("next", text);
    let explained_to_agents = reader.parsed("explain", explain).is_some();
    match id {
        Some(id) if reader.spots.is_empty() => {
            Ok(Notes { id, kind, mode, obligations, reason, next, explained_to_agents })
        }
        _ => Err(reader.spots),
    }
}

struct Reader<'a> {
    annotations: &'a [Annotation],
    spots: Vec<Spot>,
}

impl<'a> Reader<'a> {
    fn find(&self, key: &str) -> Option<&'a Annotation> {
        self.annotations.iter().find(|annotation| annotation.key == key)
    }

    fn refuse(&mut self, key: &str, why: &str) {
        if let Some(annotation) = self.find(key) {
            let hint = format!("remove `@{key}`");
            self.spots.push(Spot::new(annotation.offset, why, hint));
        }
    }

    fn refuse_unknown(&mut self) {
        for Annotation { key, offset, .. } in self.annotations {
            if !KNOWN.contains(&key.as_str()) {
                let shown: String = key.chars().take(40).collect();
                let hint = format!("did you mean `@{}`?", nearest(&shown));
                self.spots.push(Spot::new(*offset, format!("unknown annotation `@{shown}`"), hint));
            }
        }
    }

    /// The value of an annotation as a type, or `None` and a remark.
    fn parsed<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Expected>) -> Option<T> {
        let Annotation { value, offset, .. } = self.find(key)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(Expected(expected)) => {
                let shown: String = value.chars().take(80).collect();
                let what = format!("`@{key}(\"{shown}\")` is not understood");
                self.spots.push(Spot::new(*offset, what, format!("write {expected}")));
                None
            }
        }
    }

    fn kind(&mut self, forbids: bool) -> Kind {
        let hold = self.parsed("hold", hold);
        let step_up = self.parsed("step_up", step_up);
        if !forbids {
            let why = "only a forbid can be lifted: write it as a `forbid` beside this permit";
            self.refuse("hold", why);
            self.refuse("step_up", why);
            return Kind::Permit;
        }
        if self.find("hold").is_some() && self.find("step_up").is_some() {
            let why = "one policy makes one demand: write `@step_up` as a second forbid";
            self.refuse("step_up", why);
        }
        hold.or(step_up).map_or(Kind::Forbid, Kind::Soft)
    }
}

/// What an annotation's value should have been.
struct Expected(&'static str);

fn id(value: &str) -> Result<Name, Expected> {
    value.parse().map_err(|_| {
        Expected("a name such as `refund-limit`: 1 to 63 lower-case letters, digits, `-`, `_`, `.`")
    })
}

fn hold(value: &str) -> Result<Lift, Expected> {
    let expected =
        || Expected("`@hold(\"finance\")`, or `@hold(\"finance:2\")` for two of them (1 to 9)");
    let (group, quorum) = value.split_once(':').unwrap_or((value, "1"));
    let quorum = match quorum.as_bytes() {
        [digit @ b'1'..=b'9'] => digit - b'0',
        _ => return Err(expected()),
    };
    Ok(Lift::Hold { group: group.parse().map_err(|_| expected())?, quorum })
}

fn step_up(value: &str) -> Result<Lift, Expected> {
    let method = Method::ALL.into_iter().find(|method| method.name() == value);
    let expected = Expected("`@step_up(\"passkey\")` or `@step_up(\"key\")`");
    method.map(|method| Lift::StepUp { method }).ok_or(expected)
}

fn mode(value: &str) -> Result<Mode, Expected> {
    let expected =
        Expected("`@mode(\"shadow\")` or `@mode(\"canary:10\")` with a percentage from 1 to 99");
    match value.split_once(':') {
        None if value == "shadow" => Ok(Mode::Shadow),
        Some(("canary", percent)) => match percent.as_bytes() {
            [b'1'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] => {
                percent.parse().map(Mode::Canary).map_err(|_| expected)
            }
            _ => Err(expected),
        },
        _ => Err(expected),
    }
}

fn obligations(value: &str) -> Result<Vec<Obligation>, Expected> {
    value.split(',').map(str::trim).map(obligation).collect()
}

fn obligation(value: &str) -> Result<Obligation, Expected> {
    let expected = || Expected("`@obligation(\"mask:card\")`; several are separated by commas");
    let (name, argument) = match value.split_once(':') {
        Some((_, argument)) if argument.is_empty() || argument.len() > MAX_ARGUMENT => {
            return Err(expected());
        }
        Some((name, argument)) => (name, Some(argument.into())),
        None => (value, None),
    };
    Ok(Obligation { name: name.parse().map_err(|_| expected())?, argument })
}

fn text(value: &str) -> Result<Arc<str>, Expected> {
    if value.trim().is_empty() || value.len() > MAX_TEXT {
        Err(Expected("a sentence of 1 to 512 bytes"))
    } else {
        Ok(value.into())
    }
}

fn explain(value: &str) -> Result<(), Expected> {
    if value == "agent" { Ok(()) } else { Err(Expected("`@explain(\"agent\")`")) }
}

/// The known annotation that takes the fewest changes to become from `key`.
fn nearest(key: &str) -> &'static str {
    KNOWN.into_iter().min_by_key(|known| distance(key, known)).unwrap_or("id")
}

/// How many characters must be inserted, removed or replaced to turn one text into the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (column, other) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_annotation_is_the_one_with_the_fewest_typing_errors() {
        let pairs = [
            ("hodl", "hold"),
            ("stepup", "step_up"),
            ("obligations", "obligation"),
            ("reasons", "reason"),
        ];
        for (typed, meant) in pairs {
            assert_eq!(nearest(typed), meant);
        }
        assert_eq!(distance("", "hold"), 4);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
