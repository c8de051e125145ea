//! What a server says in our name: facts of refusals stand under `bailiwick/…` in `_meta`, and programs act on them. A server that
//! writes some itself is not believed: they are taken out.

use std::{borrow::Cow, fmt};

use model::ijson::{self, Json, Limits};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::UpstreamError;
use crate::{envelope::MAX_DEPTH, sse::MAX_EVENT};

/// How the names of our own members begin.
const OURS: &str = "bailiwick/";

/// Whether a value is an object with a member in our name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InOurName(pub(super) bool);

impl<'de> Deserialize<'de> for InOurName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = InOurName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOurName, A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            found |= name.starts_with(OURS);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(InOurName(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<InOurName, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(InOurName(false))
    }

    fn visit_bool<E>(self, _: bool) -> Result<InOurName, E> {
        Ok(InOurName(false))
    }

    fn visit_i64<E>(self, _: i64) -> Result<InOurName, E> {
        Ok(InOurName(false))
    }

    fn visit_u64<E>(self, _: u64) -> Result<InOurName, E> {
        Ok(InOurName(false))
    }

    fn visit_f64<E>(self, _: f64) -> Result<InOurName, E> {
        Ok(InOurName(false))
    }

    fn visit_str<E>(self, _: &str) -> Result<InOurName, E> {
        Ok(InOurName(false))
    }

    fn visit_unit<E>(self) -> Result<InOurName, E> {
        Ok(InOurName(false))
    }
}

/// A result, or an error, without what its member `within` says in our name.
pub(super) fn without_ours(raw: &RawValue, within: &str) -> Result<Vec<u8>, UpstreamError> {
    let limits = Limits { bytes: MAX_EVENT, depth: MAX_DEPTH };
    let mut value = ijson::parse(raw.get().as_bytes(), limits).map_err(|_| {
        UpstreamError::Malformed("it speaks in the gateway's name, and not in I-JSON")
    })?;
    if let Json::Object(members) = &mut value {
        let inner = members.iter_mut().find(|(name, _)| name == within);
        if let Some((_, Json::Object(inner))) = inner {
            inner.retain(|(name, _)| !name.starts_with(OURS));
        }
    }
    Ok(value.canonical())
}
