//! A server that we did not write. `tests/conformance/install` brings it.

use std::{path::PathBuf, process::Stdio};

use gateway::envelope::Era;
use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStderr, Command},
};

use crate::{
    desk::updated,
    everything::annex,
    house::{House, call},
    soon,
};

/// The folder of the programs of others.
pub(crate) fn installed() -> PathBuf {
    let folder = std::env::var_os("BAILIWICK_TEST_CONFORMANCE");
    PathBuf::from(folder.expect(
        "BAILIWICK_TEST_CONFORMANCE names no folder; `./test` installs what is there and names it",
    ))
}

/// The server with everything; it ends with its test.
struct Everything {
    url: String,
    _child: Child,
    /// What it says has somewhere to go.
    _said: Lines<BufReader<ChildStderr>>,
}

async fn everything() -> Everything {
    let server = "servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    loop {
        // It does not say which port it was given, so it is told one that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Command::new(installed().join("node/bin/node"));
        command.arg(installed().join(server)).arg("streamableHttp").env("PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        while let Some(line) = soon(said.next_line()).await.unwrap() {
            if line.contains("listening on port") {
                let url = format!("http://127.0.0.1:{port}/mcp");
                return Everything { url, _child: child, _said: said };
            }
        }
    }
}

/// It tells only the session in which the tool was called of the resources that the same session has subscribed to.
#[tokio::test]
async fn an_update_of_a_subscribed_resource_reaches_the_client() {
    const TOOL: &str = "toggle-subscriber-updates";
    const URI: &str = "demo://resource/dynamic/text/1";
    let house = House::with(Era::Legacy, Default::default()).await;
    let server = everything().await;
    annex(&house, &server.url, |tool| [TOOL, "mcp:resources/subscribe"].contains(&tool)).await;
    let task = json!({ "agent": "support-bot", "purpose": "support", "seconds": 3_600 });
    let bot = house.bot_at(format!("{}/mcp/annex", house.world.gateway_url()), &task).await;
    let session = bot.open().await;
    let mut told = bot.ask(Method::GET, &[("mcp-session-id", &session)]).await;
    let subscribe = json!({ "jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": { "uri": URI } });
    for body in [subscribe.to_string(), call(TOOL, "{}")] {
        let mut reply = bot.post_in(&session, body).await;
        let done = loop {
            let event: Value =
                serde_json::from_str(&reply.event().await.unwrap()).unwrap_or_default();
            if event["id"] != Value::Null {
                break event;
            }
        };
        assert!(done["result"].is_object(), "{done}");
    }
    assert_eq!(told.event().await.unwrap(), updated(URI));
}
