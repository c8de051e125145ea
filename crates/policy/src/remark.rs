use std::{fmt, sync::Arc};

/// Where something stands in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
}

/// One thing to say about policy files: what, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Where; `None` when it concerns no single file.
    pub place: Option<Place>,
    /// What is the matter.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Why a set of policies is refused; nothing of it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct LoadErrors(pub(crate) Vec<Remark>);

/// The most remarks that one answer carries: who has more mistakes than this fixes some and asks again.
pub(crate) const MAX_REMARKS: usize = 100;

impl LoadErrors {
    /// What is wrong, in the order of the files; at least one, at most 100.
    pub fn remarks(&self) -> &[Remark] {
        &self.0
    }
}

impl Remark {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { place: None, what: what.into(), hint: None }
    }

    pub(crate) fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Sorts by file and position, drops repetitions and what is beyond the limit.
pub(crate) fn tidy(mut remarks: Vec<Remark>) -> Vec<Remark> {
    remarks.sort();
    remarks.dedup();
    remarks.truncate(MAX_REMARKS);
    remarks
}

fn lines(remarks: &[Remark]) -> String {
    remarks.iter().map(Remark::to_string).collect::<Vec<_>>().join("\n")
}

/// `support.cedar:3:1: what (hint)`.
impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}
