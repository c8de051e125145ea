use std::sync::Arc;

use decide::{Act, Allowed, Engine, GrantRecord};
use model::{Authority, IdentityId, Name, Verb, ijson::Json};
use store::{Expect, Row};

use crate::{Error, agents::json};

/// Gives a person a right.
#[derive(Debug, Clone)]
pub struct GiveGrant {
    /// Names the grant.
    pub name: Name,
    /// Who gets it.
    pub holder: IdentityId,
    /// What it allows.
    pub authority: Authority,
}

impl Act for GiveGrant {
    fn verb(&self) -> Verb {
        Verb::Grant
    }

    fn target(&self) -> (&'static str, String) {
        ("Grant", self.name.to_string())
    }

    fn shown(&self) -> Json {
        Json::object([
            ("authority", json(&self.authority)),
            ("holder", json(&self.holder)),
            ("name", json(&self.name)),
        ])
    }
}

/// Gives a grant.
///
/// # Errors
/// The name was given before, or nobody active is to hold it.
pub async fn give_grant(engine: &Arc<Engine>, allowed: Allowed<GiveGrant>) -> Result<(), Error> {
    let wish = allowed.act();
    if engine.directory().person(&wish.holder).is_none() {
        return Err(Error::NotFound { kind: "person", name: wish.holder.to_string() });
    }
    let record = GrantRecord {
        name: wish.name.clone(),
        holder: wish.holder.clone(),
        authority: wish.authority.clone(),
        provenance: "request".parse().expect("`request` is a name"),
        given_by: allowed.caller().person.clone(),
        revoked: false,
    };
    engine.change(&allowed, move |changes| Ok(changes.put(&record, Expect::New, true)?)).await
}

/// Takes a right back.
#[derive(Debug, Clone)]
pub struct RevokeGrant {
    /// Which grant.
    pub name: Name,
}

impl Act for RevokeGrant {
    fn verb(&self) -> Verb {
        Verb::Delete
    }

    fn target(&self) -> (&'static str, String) {
        ("Grant", self.name.to_string())
    }

    fn takes_away(&self) -> bool {
        true
    }

    fn shown(&self) -> Json {
        Json::object([("name", json(&self.name))])
    }
}

/// Takes a grant back; it is in force at once.
///
/// # Errors
/// There is no such grant.
pub async fn revoke_grant(
    engine: &Arc<Engine>,
    allowed: Allowed<RevokeGrant>,
) -> Result<(), Error> {
    let name = allowed.act().name.clone();
    engine
        .change(&allowed, move |changes| {
            let row: Option<Row<GrantRecord>> = changes.get(name.as_str())?;
            let row =
                row.ok_or_else(|| Error::NotFound { kind: "grant", name: name.to_string() })?;
            let record = GrantRecord { revoked: true, ..row.value };
            Ok(changes.put(&record, Expect::Version(row.version), false)?)
        })
        .await
}
