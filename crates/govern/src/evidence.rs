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
