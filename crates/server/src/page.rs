use decide::Engine;
use serde::{Deserialize, Serialize};
use store::{Governed, Page, Row};

use crate::problem::Problem;

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
}

/// One item, and whether its row is what the ledger says of it.
#[derive(Serialize)]
pub(crate) struct Listed<T> {
    #[serde(flatten)]
    pub(crate) item: T,
    /// The row differs from its ledger entry: it grants nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) tampered: bool,
}

/// Reads a page of one kind of object.
pub(crate) async fn page<R, T>(
    engine: &Engine,
    paging: Paging,
    show: impl Fn(R) -> T,
) -> Result<Listing<T>, Problem>
where
    R: Governed + Send + 'static,
{
    let limit = paging.limit.unwrap_or(DEFAULT_LIMIT);
    let after = paging.after;
    let Page { rows, next } =
        engine.store().read(move |view| view.list::<R>(after.as_deref(), limit)).await?;
    let items = rows.into_iter().map(|row| listed(engine, row, &show)).collect();
    Ok(Listing { items, next })
}

/// Reads one object.
pub(crate) async fn one<R, T>(
    engine: &Engine,
    key: String,
    show: impl Fn(R) -> T,
) -> Result<Option<Listed<T>>, Problem>
where
    R: Governed + Send + 'static,
{
    let row: Option<Row<R>> = engine.store().read(move |view| view.get(&key)).await?;
    Ok(row.map(|row| listed(engine, row, &show)))
}

fn listed<R: Governed, T>(engine: &Engine, row: Row<R>, show: impl Fn(R) -> T) -> Listed<T> {
    let key = row.value.key();
    let differs = engine.directory().tampered().contains(&(R::KIND.to_owned(), key));
    Listed { tampered: differs || !row.intact, item: show(row.value) }
}
