use std::sync::Arc;

use decide::{Act, Allowed, Changes, Engine, PolicyFile, PolicySetRecord, sha256};
use model::{Verb, ijson::Json};
use store::Expect;

use crate::{Error, agents::json};

/// Puts a whole set of policies into force, in place of the one before.
#[derive(Debug, Clone)]
pub struct ApplyPolicies {
    /// The files.
    pub files: Vec<PolicyFile>,
}

impl Act for ApplyPolicies {
    fn verb(&self) -> Verb {
        Verb::Deploy
    }

    fn target(&self) -> (&'static str, String) {
        ("PolicySet", "current".to_owned())
    }

    fn shown(&self) -> Json {
        let digest = sha256(&[b"policies/v1\0", &json(&self.files).canonical()]);
        Json::object([("digest", json(&digest)), ("files", json(&self.files))])
    }
}

/// The files that a request for an approval shows, where it is one for a set of policies.
pub fn asked_policies(shown: &Json) -> Option<Vec<PolicyFile>> {
    if shown.member("resource")?.as_str()? != "bailiwick/PolicySet/current" {
        return None;
    }
    let files = shown.member("act")?.member("files")?.canonical();
    serde_json::from_slice(&files).ok()
}

/// Puts policies into force.
///
/// # Errors
/// They do not load; those before stay in force.
pub async fn apply_policies(
    engine: &Arc<Engine>,
    allowed: Allowed<ApplyPolicies>,
) -> Result<(), Error> {
    let record =
        PolicySetRecord { sources: allowed.act().files.clone(), kinds: engine.directory().kinds() };
    check_policies(engine, &record.sources)?;
    let before = engine.directory().policies().digest();
    let narrows = engine.policies_narrow(&record.sources);
    let shared = engine.clone();
    let change = move |changes: &mut Changes<'_, '_>| {
        // Compared with what was in force; somebody else's set, stored meanwhile, may have been narrower still.
        let widens = !narrows || shared.directory().policies().digest() != before;
        Ok(changes.put(&record, Expect::Any, widens)?)
    };
    engine.change(&allowed, change).await
}

/// Whether the policies would load beside the guard pack, against the resource types of the accepted catalog. Returns
/// what is allowed and still looks like a mistake, one sentence each.
///
/// # Errors
/// What is wrong, with file, line and column.
pub fn check_policies(engine: &Engine, files: &[PolicyFile]) -> Result<Vec<String>, Error> {
    engine.check_policies(files).map_err(Error::Policies)
}
