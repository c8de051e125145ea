//! What the desk offers, and the arguments that it takes.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest that rebuilding the search index may take, in seconds.
pub(super) const MAX_SECONDS: u64 = 60;

/// One call, with its arguments read.
#[derive(Debug)]
pub(super) enum ToolCall {
    GetOrder(GetOrder),
    ListOrders(ListOrders),
    RefundOrder(RefundOrder),
    ExportCustomers,
    ReindexSearch(ReindexSearch),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetOrder {
    pub(super) order_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListOrders {
    pub(super) customer_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundOrder {
    pub(super) order_id: String,
    pub(super) amount: i64,
    pub(super) currency: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportCustomers {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReindexSearch {
    pub(super) seconds: u64,
}

impl ToolCall {
    /// Reads a call; `None` for a tool that there is not, words for the caller where the arguments are wrong.
    pub(super) fn read(tool: &str, arguments: Value) -> Option<Result<Self, String>> {
        let read = match tool {
            "get_order" => serde_json::from_value(arguments).map(Self::GetOrder),
            "list_orders" => serde_json::from_value(arguments).map(Self::ListOrders),
            "refund_order" => serde_json::from_value(arguments).map(Self::RefundOrder),
            "export_customers" => {
                serde_json::from_value(arguments).map(|ExportCustomers {}| Self::ExportCustomers)
            }
            "reindex_search" => serde_json::from_value(arguments).map(Self::ReindexSearch),
            _ => return None,
        };
        Some(match read {
            Ok(Self::ReindexSearch(ReindexSearch { seconds }))
                if !(1..=MAX_SECONDS).contains(&seconds) =>
            {
                Err(format!("`seconds` is 1 to {MAX_SECONDS}"))
            }
            read => read.map_err(|error| error.to_string()),
        })
    }
}

/// The tools as the desk lists them. Members stand in the order of their names, so that the bytes, to which an
/// acceptance is pinned, are the same whether serde_json keeps an order or sorts.
pub(super) fn definitions() -> Vec<Tool> {
    let order =
        json!({ "description": "The order, such as A-1001", "maxLength": 32, "type": "string" });
    let looks = ToolAnnotations::new().read_only(true).open_world(false);
    let changes = ToolAnnotations::new().read_only(false).open_world(false);
    vec![
        tool(
            "get_order",
            "Look up an order",
            "One order: what was bought, its total and what was refunded, in minor units.",
            &json!({ "order_id": order }),
            looks.clone(),
        ),
        tool(
            "list_orders",
            "List a customer's orders",
            "All orders of one customer.",
            &json!({
                "customer_id": { "description": "The customer, such as C-1", "maxLength": 32, "type": "string" }
            }),
            looks,
        ),
        tool(
            "refund_order",
            "Refund an order",
            "Pays back part of an order or all of it. This moves money.",
            &json!({
                "amount": {
                    "description": "How much, in minor units: 12000 is 120.00 EUR",
                    "maximum": 9_007_199_254_740_991_i64, "minimum": 1, "type": "integer"
                },
                "currency": {
                    "description": "The order's currency, as an ISO 4217 code",
                    "pattern": "^[A-Z]{3}$", "type": "string"
                },
                "order_id": order,
            }),
            changes.clone().destructive(true).idempotent(false),
        ),
        tool(
            "export_customers",
            "Export all customers",
            "Names, addresses and telephone numbers of every customer as CSV.",
            &json!({}),
            changes.clone().destructive(false).idempotent(false),
        ),
        tool(
            "reindex_search",
            "Rebuild the search index",
            "Builds the search index anew, which takes a while. Progress is reported; it can be cut at any time.",
            &json!({
                "seconds": {
                    "description": "How long it takes",
                    "maximum": MAX_SECONDS, "minimum": 1, "type": "integer"
                }
            }),
            changes.destructive(false).idempotent(true),
        ),
    ]
}

/// A tool that takes all of these arguments and no others.
fn tool(
    name: &'static str,
    title: &str,
    description: &'static str,
    properties: &Value,
    annotations: ToolAnnotations,
) -> Tool {
    let required: Vec<&String> =
        properties.as_object().into_iter().flat_map(JsonObject::keys).collect();
    let schema = json!({
        "additionalProperties": false, "properties": properties, "required": required, "type": "object"
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    Tool::new(name, description, schema).with_title(title).with_annotations(annotations)
}
