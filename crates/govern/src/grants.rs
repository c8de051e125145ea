use std::sync::Arc;

use decide::{Act, Allowed, Engine, GrantRecord};
use model::{Authority, IdentityId, Name, Verb, ijson::Json};
use store::{Expect, Row};

use crate::{
    Error,
    agents::{check_ends, json},
};

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

    fn about(&self) -> Option<String> {
        Some(self.holder.to_string())
    }

    fn shown(&self) -> Json {
        Json::object([
            ("authority", json(&self.authority)),
            ("holder", json(&self.holder)),
            ("name", json(&self.name)),
        ])
    }
}

/// Whether a grant could be given like this, so that nobody is asked to approve what cannot be done.
///
/// # Errors
/// As [`give_grant`].
pub async fn check_grant(engine: &Engine, wish: &GiveGrant) -> Result<(), Error> {
    match engine.directory().person(&wish.holder) {
        None => return Err(Error::NotFound { kind: "person", name: wish.holder.to_string() }),
        Some(entry) if !entry.person.active => {
            let holder = &entry.person.handle;
            return Err(Error::Invalid(format!("`{holder}` is not active, and so holds no right")));
        }
        Some(_) => {}
    }
    check_ends(&wish.authority, engine.context().now())?;
    let name = wish.name.clone();
    let before: Option<Row<GrantRecord>> =
        engine.store().read(move |view| view.get(name.as_str())).await?;
    match before {
        None => Ok(()),
        Some(row) => Err(Error::Conflict(taken(&row.value))),
    }
}

/// Why a name cannot be given once more, and what to do instead.
fn taken(before: &GrantRecord) -> String {
    let name = &before.name;
    if before.revoked {
        format!(
            "a grant `{name}` was revoked, and a name is never given again; choose another name"
        )
    } else {
        format!(
            "there is a grant `{name}`, and a grant is never changed; give the new right under another name, then \
             revoke `{name}` (whose name is not given again)"
        )
    }
}

/// Gives a grant.
///
/// # Errors
/// The name was given before, nobody active is to hold it, or some of its authority has ended already.
pub async fn give_grant(engine: &Arc<Engine>, allowed: Allowed<GiveGrant>) -> Result<(), Error> {
    check_grant(engine, allowed.act()).await?;
    let wish = allowed.act();
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
