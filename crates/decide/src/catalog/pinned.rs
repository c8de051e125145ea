use std::sync::Arc;

use model::{Money, MoneyError, Name, ijson::Json};

use crate::{
    catalog::{Pair, ResolveError, Tool, ToolEntry},
    hash::sha256,
    records::{Former, ToolRecord},
    refusal::Code,
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

    /// The tool, if its calls are decided by what was accepted; else why they are refused.
    ///
    /// # Errors
    /// The code and the reason of the refusal.
    pub fn in_force(&self) -> Result<Arc<Tool>, (Code, String)> {
        let system = &self.record.server;
        match (&self.accepted, self.state()) {
            (Some(tool), _) => Ok(tool.clone()),
            (None, ToolState::Gone) => {
                Err((Code::ToolUnknown, format!("`{system}` no longer shows this tool")))
            }
            (None, ToolState::Quarantined) => {
                let reason = format!("`{system}` has changed this tool since it was accepted");
                Err((Code::ToolQuarantined, reason))
            }
            (None, ToolState::Accepted | ToolState::NotAccepted) => {
                let reason = format!("nobody has accepted what this tool of `{system}` does");
                Err((Code::ToolNotAccepted, reason))
            }
        }
    }
}

impl Tool {
    /// What a call with these arguments does, and what it costs in all.
    ///
    /// # Errors
    /// The code and the reason of the refusal.
    pub fn reading(&self, arguments: &Json) -> Result<(Vec<Pair>, Option<Money>), (Code, String)> {
        let pairs = self.resolve(arguments).map_err(|why| match why {
            ResolveError::Schema(_) => (Code::ArgumentsInvalid, why.to_string()),
            ResolveError::Expression(_) => (Code::MappingFailed, why.to_string()),
        })?;
        let cost = total(&pairs).map_err(|why| (Code::MappingFailed, why.to_string()))?;
        Ok((pairs, cost))
    }
}

fn total(pairs: &[Pair]) -> Result<Option<Money>, MoneyError> {
    pairs.iter().filter_map(|pair| pair.amount).try_fold(None, |sum: Option<Money>, amount| {
        sum.map_or(Ok(amount), |sum| sum.plus(amount)).map(Some)
    })
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
