//! Looking at a server's tools while it is in use, so that a changed one is out of force without anybody's asking.

use std::sync::Arc;

use decide::{FoundTool, FrozenCall, Occasion};
use model::Name;

use crate::gate::Gateway;

/// What a server says when its tools changed ([MCP](https://modelcontextprotocol.io/specification/2025-11-25/server/tools)).
const LIST_CHANGED: &[u8] = b"notifications/tools/list_changed";

impl Gateway {
    /// Looks at a server's tools beside the calls that go there, where it is time to. A server that does not list its tools
    /// takes none of them out of force: whatever it does not answer, it has not changed.
    pub(crate) fn look(self: &Arc<Self>, call: &FrozenCall, occasion: Occasion) {
        let Some(look) = self.engine.look_at(&call.server.name, occasion) else { return };
        let (gateway, account) = (self.clone(), call.account.clone());
        tokio::spawn(async move {
            let server = look.server();
            let system = server.name.clone();
            let listing = gateway.upstreams.discover(server, account.as_deref()).await;
            let listing = match listing {
                Ok(listing) => listing,
                Err(why) => {
                    tracing::warn!(code = "BW-2005", %system, %why, "an upstream's tools could not be looked at");
                    return;
                }
            };
            let found = listing.tools.iter().map(|tool| FoundTool {
                name: tool.name().to_owned(),
                definition: tool.text().to_owned(),
            });
            let mut found: Vec<FoundTool> = found.collect();
            if account.is_some() {
                gateway.add_unseen(&system, &mut found);
            }
            match gateway.engine.notice(look, &found).await {
                Ok(tools) => {
                    for tool in tools {
                        let tool = model::Foreign::new(tool);
                        tracing::warn!(code = "BW-2006", %system, %tool, "a tool is not what was accepted; it is out of force");
                    }
                }
                Err(why) => {
                    tracing::error!(code = "BW-2007", %system, %why, "a changed tool could not be recorded");
                }
            }
        });
    }

    /// Adds the tools that one person's account does not show: another's may, so only a changed one says something.
    fn add_unseen(&self, system: &Name, found: &mut Vec<FoundTool>) {
        let known = self.engine.directory().server(system);
        for (name, tool) in known.into_iter().flat_map(|server| server.tools) {
            if found.iter().all(|found| found.name != name) {
                found.push(FoundTool { name, definition: tool.record.definition.clone() });
            }
        }
    }

    /// The same at once, where a notification says that tools changed. It is not believed: it is a reason to look.
    pub(crate) fn look_on(self: &Arc<Self>, call: &FrozenCall, notification: &[u8]) {
        if notification.windows(LIST_CHANGED.len()).any(|part| part == LIST_CHANGED) {
            self.look(call, Occasion::Sign);
        }
    }
}
