//! Moments as JWT writes them: NumericDate, seconds since the epoch
//! ([RFC 7519 §2](https://www.rfc-editor.org/rfc/rfc7519#section-2)). For `#[serde(with)]` and for foreign claims.

use model::{Timestamp, ijson::Json};
use serde::{Deserialize, Deserializer, Serializer};

/// Writes whole seconds, rounded down: an end never moves later by being written.
pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.seconds())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Timestamp, D::Error> {
    i64::deserialize(deserializer).map(Timestamp::from_seconds)
}

/// The moment of a foreign claim, which may carry a fraction.
pub(crate) fn of(claim: &Json) -> Option<Timestamp> {
    match claim {
        Json::Integer(seconds) => Some(Timestamp::from_seconds(*seconds)),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast saturates, and so does the moment; the fraction is dropped on purpose"
        )]
        Json::Float(seconds) => Some(Timestamp::from_seconds(seconds.floor() as i64)),
        _ => None,
    }
}
