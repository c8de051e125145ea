//! Answering MCP requests. Every call of a tool leaves a row: started, and how it ended.

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities,
        ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

use super::{
    tables::{Outcome, Refusal, Tables},
    tools::{ReindexSearch, ToolCall, definitions},
};

/// How often long work reports how far it is.
const PROGRESS: Duration = Duration::from_millis(250);

/// The desk, as MCP sees it.
#[derive(Clone)]
pub(super) struct Desk {
    tables: Arc<Tables>,
}

/// The row of one call. Dropped before its end it says `cut`: the client has gone, or the server.
struct Record {
    tables: Arc<Tables>,
    id: i64,
    ended: bool,
}

/// Why a call brought no result.
enum Failure {
    /// The desk says no, in words for the caller.
    Refused(String),
    /// The client cut the call.
    Cut,
}

impl Desk {
    pub(super) fn new(tables: Arc<Tables>) -> Self {
        Self { tables }
    }

    async fn run(
        &self,
        call: ToolCall,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Failure> {
        let tables = &self.tables;
        Ok(match call {
            ToolCall::GetOrder(asked) => structured(json!(tables.order(&asked.order_id)?)),
            ToolCall::ListOrders(asked) => {
                structured(json!({ "orders": tables.orders_of(&asked.customer_id)? }))
            }
            ToolCall::RefundOrder(asked) => {
                let refund = tables.refund(&asked.order_id, asked.amount, &asked.currency)?;
                structured(json!(refund))
            }
            ToolCall::ExportCustomers => {
                CallToolResult::success(vec![ContentBlock::text(tables.export()?)])
            }
            ToolCall::ReindexSearch(asked) => {
                work(&asked, context).await?;
                structured(json!({ "orders": tables.reindexed()? }))
            }
        })
    }
}

impl ServerHandler for Desk {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("support-desk", env!("CARGO_PKG_VERSION")))
            .with_instructions("Orders and refunds of a small shop. Amounts are in minor units.")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(definitions()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        definitions().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let mut record = Record::begin(&self.tables, &request.name, &arguments)?;
        let Some(call) = ToolCall::read(&request.name, arguments) else {
            record.end(Outcome::Failed)?;
            return Err(ErrorData::invalid_params(
                format!("there is no tool `{}`", request.name),
                None,
            ));
        };
        let done = match call {
            Ok(call) => self.run(call, &context).await,
            Err(words) => Err(Failure::Refused(words)),
        };
        match done {
            Ok(result) => {
                record.end(Outcome::Finished)?;
                Ok(result.into())
            }
            Err(Failure::Refused(words)) => {
                record.end(Outcome::Failed)?;
                Ok(CallToolResult::error(vec![ContentBlock::text(words)]).into())
            }
            // The record says so when it is dropped.
            Err(Failure::Cut) => Err(ErrorData::internal_error("the call was cut", None)),
        }
    }
}

impl Record {
    fn begin(tables: &Arc<Tables>, tool: &str, arguments: &Value) -> Result<Self, ErrorData> {
        let id = tables.begin_call(tool, &arguments.to_string()).map_err(unnoted)?;
        Ok(Self { tables: tables.clone(), id, ended: false })
    }

    fn end(&mut self, outcome: Outcome) -> Result<(), ErrorData> {
        self.ended = true;
        self.tables.end_call(self.id, outcome).map_err(unnoted)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            // Nobody is left to tell if this fails; the row then still says `started`.
            let _ = self.tables.end_call(self.id, Outcome::Cut);
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}

/// Takes its time, says how far it is to whoever asked for that, and stops as soon as the client has gone.
async fn work(asked: &ReindexSearch, context: &RequestContext<RoleServer>) -> Result<(), Failure> {
    let token = context.meta.get_progress_token();
    let steps = asked.seconds * 1000 / PROGRESS.as_millis() as u64;
    for step in 1..=steps {
        tokio::select! {
            () = context.ct.cancelled() => return Err(Failure::Cut),
            () = tokio::time::sleep(PROGRESS) => {}
        }
        if let Some(token) = &token {
            let progress = ProgressNotificationParam::new(token.clone(), step as f64);
            let progress = progress.with_total(steps as f64);
            // A client that has gone is noticed above.
            let _ = context.peer.notify_progress(progress).await;
        }
    }
    Ok(())
}

fn structured(value: Value) -> CallToolResult {
    CallToolResult::structured(value)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn unnoted(refusal: Refusal) -> ErrorData {
    ErrorData::internal_error(refusal.to_string(), None)
}
