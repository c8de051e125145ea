use decide::Act;
use model::{Verb, ijson::Json};

/// Opens sealed payloads of the ledger. Looking at what was said and done is an act of its own, with its own record.
#[derive(Debug, Clone)]
pub struct ReadPayloads {
    /// The first entry.
    pub first: u64,
    /// The last entry.
    pub last: u64,
}

impl Act for ReadPayloads {
    fn verb(&self) -> Verb {
        Verb::Read
    }

    fn target(&self) -> (&'static str, String) {
        ("Ledger", "payloads".to_owned())
    }

    fn shown(&self) -> Json {
        let index = |index: u64| Json::Integer(i64::try_from(index).unwrap_or(i64::MAX));
        Json::object([("first", index(self.first)), ("last", index(self.last))])
    }
}

/// Searches sealed payloads for words. Every payload that fits the rest of the question is opened.
#[derive(Debug, Clone)]
pub struct SearchPayloads {
    /// Which entries, as an object.
    pub among: Json,
    /// What has to occur in them.
    pub text: String,
}

impl Act for SearchPayloads {
    fn verb(&self) -> Verb {
        Verb::Read
    }

    fn target(&self) -> (&'static str, String) {
        ("Ledger", "text".to_owned())
    }

    fn shown(&self) -> Json {
        Json::object([("among", self.among.clone()), ("text", Json::String(self.text.clone()))])
    }
}

/// Looks at governance as it was. What its objects held then is opened.
#[derive(Debug, Clone)]
pub struct ReadGovernance {
    /// Of what, and until when, as an object.
    pub of: Json,
}

impl Act for ReadGovernance {
    fn verb(&self) -> Verb {
        Verb::Read
    }

    fn target(&self) -> (&'static str, String) {
        ("Ledger", "governance".to_owned())
    }

    fn shown(&self) -> Json {
        Json::object([("governance", self.of.clone())])
    }
}
