use model::Name;

use crate::{
    catalog::ToolEntry,
    hash::sha256,
    records::{Former, ToolRecord},
};

/// How a tool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolState {
    /// Its calls are decided by what was accepted.
    Accepted,
    /// Nobody has accepted what it does, or what was accepted cannot be applied.
    NotAccepted,
    /// It was accepted, and its server has changed the definition since.
    Quarantined,
    /// Its server shows it no longer.
    Gone,
}

impl ToolState {
    /// The state as answers write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NotAccepted => "not_accepted",
            Self::Quarantined => "quarantined",
            Self::Gone => "gone",
        }
    }
}

impl ToolEntry {
    /// How the tool stands.
    pub fn state(&self) -> ToolState {
        match (&self.accepted, &self.record.former) {
            _ if self.record.gone => ToolState::Gone,
            (Some(_), _) => ToolState::Accepted,
            (None, Some(_)) => ToolState::Quarantined,
            (None, None) => ToolState::NotAccepted,
        }
    }
}

impl ToolRecord {
    /// A tool that its server shows for the first time.
    pub fn found(server: Name, name: String, definition: String) -> Self {
        Self {
            digest: sha256(&[definition.as_bytes()]),
            server,
            name,
            definition,
            mapping: None,
            accepted_by: None,
            former: None,
            gone: false,
        }
    }

    /// Whether a person has accepted it, and its server still shows it as it was then.
    pub const fn is_held(&self) -> bool {
        self.mapping.is_some() && self.accepted_by.is_some() && !self.gone
    }

    /// The tool once its server shows this definition; `None` where that changes nothing.
    ///
    /// Another definition quarantines it, also one that was accepted long ago. One that was away and is exactly what it
    /// was is what a person accepted.
    pub fn shown(self, definition: &str) -> Option<Self> {
        let digest = sha256(&[definition.as_bytes()]);
        if digest == self.digest {
            return self.gone.then_some(Self { gone: false, ..self });
        }
        let former = match (self.mapping, self.accepted_by) {
            (Some(mapping), Some(accepted_by)) => Some(Former {
                definition: self.definition,
                digest: self.digest,
                mapping,
                accepted_by,
            }),
            _ => self.former,
        };
        Some(Self { former, ..Self::found(self.server, self.name, definition.to_owned()) })
    }

    /// The tool once its server shows it no longer; `None` where that is known.
    pub fn withdrawn(self) -> Option<Self> {
        (!self.gone).then_some(Self { gone: true, ..self })
    }
}
