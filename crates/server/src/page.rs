use std::collections::BTreeMap;

use decide::{Caller, Engine};
use model::Name;
use serde::{Deserialize, Serialize};
use store::{Governed, Page, Row};

use crate::{names, problem::Problem};

/// How many items a page has when nobody says.
const DEFAULT_LIMIT: u32 = 100;

/// Which part of a list is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// The `next` of the page before.
    after: Option<String>,
    /// At most so many items.
    limit: Option<u32>,
}

/// One page of a list.
#[derive(Serialize)]
pub(crate) struct Listing<T> {
    /// The items, sorted by name.
    pub(crate) items: Vec<Listed<T>>,
    /// What to pass as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// The handles of the people who occur in the items, by identity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) people: BTreeMap<String, Name>,
}

/// One item, and whether its row is what the ledger says of it.
#[derive(Serialize)]
pub(crate) struct Listed<T> {
    #[serde(flatten)]
    pub(crate) item: T,
    /// The row differs from its ledger entry: it grants nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) tampered: bool,
    /// The same as of a list, for an item that is shown alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) people: BTreeMap<String, Name>,
}

/// Reads a page of one kind of object.
pub(crate) async fn page<R, T>(
    engine: &Engine,
    caller: &Caller,
    paging: Paging,
    show: impl Fn(R) -> T,
) -> Result<Listing<T>, Problem>
where
    R: Governed + Send + 'static,
    T: Serialize,
{
    let limit = paging.limit.unwrap_or(DEFAULT_LIMIT);
    let after = paging.after;
    let Page { rows, next } =
        engine.store().read(move |view| view.list::<R>(after.as_deref(), limit)).await?;
    let items: Vec<_> = rows.into_iter().map(|row| listed(engine, row, &show)).collect();
    let people = names::handles(engine, caller, &items);
    Ok(Listing { items, next, people })
}

/// Reads one object.
pub(crate) async fn one<R, T>(
    engine: &Engine,
    caller: &Caller,
    key: String,
    show: impl Fn(R) -> T,
) -> Result<Option<Listed<T>>, Problem>
where
    R: Governed + Send + 'static,
    T: Serialize,
{
    let row: Option<Row<R>> = engine.store().read(move |view| view.get(&key)).await?;
    Ok(row.map(|row| {
        let alone = listed(engine, row, &show);
        Listed { people: names::handles(engine, caller, &alone), ..alone }
    }))
}

fn listed<R: Governed, T>(engine: &Engine, row: Row<R>, show: impl Fn(R) -> T) -> Listed<T> {
    let key = row.value.key();
    let differs = engine.directory().tampered().contains(&(R::KIND.to_owned(), key));
    let tampered = differs || !row.intact;
    Listed { tampered, item: show(row.value), people: BTreeMap::new() }
}
