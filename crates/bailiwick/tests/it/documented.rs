//! Documents that somebody works through: their files are written and their commands run, in the order in which they stand there.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::{
    connecting::{Client, call},
    strangers::installed,
    world::{Desk, Node, Place},
};

/// One block of a document.
enum Block {
    /// A file, by its name.
    File(String, String),
    /// A command.
    Run(String),
}

/// The blocks between two headings.
fn blocks(document: &str, from: &str, to: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, part) = text.split_once(from).unwrap();
    let (part, _) = part.split_once(to).unwrap();
    let mut blocks = Vec::new();
    for block in part.split("\n```").skip(1).step_by(2) {
        let (kind, body) = block.split_once('\n').unwrap();
        match kind.split_once(' ') {
            Some((_, name)) => blocks.push(Block::File(name.to_owned(), format!("{body}\n"))),
            None if kind == "console" => {
                let commands = body.lines().filter_map(|line| line.strip_prefix("$ "));
                blocks.extend(commands.map(|command| Block::Run(command.to_owned())));
            }
            None => {}
        }
    }
    blocks
}

/// A reader at work, and what differs on this machine from the one in the document.
struct Reader {
    place: Place,
    node: Option<Node>,
    desk: Option<Desk>,
    here: Vec<(String, String)>,
}

impl Reader {
    fn does(&mut self, block: &Block) {
        match block {
            Block::File(name, text) => self.place.write(name, &self.here(text)),
            Block::Run(command) if command.starts_with("bailiwick serve ") => {
                let node = self.place.serve();
                let gateway = node.addresses["gateway"].as_str().unwrap().to_owned();
                self.here.push(("http://127.0.0.1:8181".to_owned(), gateway));
                self.here.push(("CODE".to_owned(), node.code.clone().unwrap()));
                self.node = Some(node);
            }
            Block::Run(command) if command.contains(" bailiwick desk ") => {
                let secret = std::fs::read_to_string(self.place.path("desk.secret")).unwrap();
                let desk = self.place.desk(&secret);
                self.here.push(("http://127.0.0.1:9000/mcp".to_owned(), desk.url.clone()));
                self.desk = Some(desk);
            }
            Block::Run(command) => self.runs(&self.here(command)),
        }
    }

    fn here(&self, text: &str) -> String {
        self.here.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    fn runs(&self, command: &str) {
        let program = Path::new(env!("CARGO_BIN_EXE_bailiwick")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut shell = self.place.program("bash");
        let ran =
            shell.args(["-c", command]).env("PATH", path).stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// The program that a client starts by the entry in its configuration.
    fn client(&self) -> Client {
        let config = std::fs::read(self.place.path("mcp.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let entry = config["mcpServers"].as_object().unwrap().values().next().unwrap();
        let arguments = entry["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
        let mut command = self.place.program(entry["command"].as_str().unwrap());
        command.args(arguments);
        Client::started(command)
    }
}

/// The agent remembers something, and cannot forget.
fn works(mut agent: Client) {
    agent.initialize();
    let listed = agent.ask(1, "tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"create_entities") && names.contains(&"read_graph"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("delete_")), "{names:?}");
    let lamp = json!({ "name": "lamp", "entityType": "thing", "observations": ["it is broken"] });
    let answer =
        agent.ask(2, "tools/call", &call("create_entities", &json!({ "entities": [lamp] })));
    assert_ne!(answer["result"]["isError"], true, "{answer}");
    let answer = agent.ask(3, "tools/call", &call("read_graph", &json!({})));
    assert!(answer.to_string().contains("it is broken"), "{answer}");
    let delete = call("delete_entities", &json!({ "entityNames": ["lamp"] }));
    let answer = agent.ask(4, "tools/call", &delete);
    assert_eq!(answer["result"]["_meta"]["bailiwick/refusal"]["verdict"], "deny", "{answer}");
    assert_eq!(agent.end(), 0);
}

/// The agent has both servers at one address, and of the second no more than reading.
fn works_with_both(mut agent: Client) {
    agent.initialize();
    let answer = agent.ask(1, "tools/call", &call("memory__read_graph", &json!({})));
    assert!(answer.to_string().contains("it is broken"), "{answer}");
    let order = json!({ "order_id": "A-1001" });
    let answer = agent.ask(2, "tools/call", &call("desk__get_order", &order));
    assert_eq!(answer["result"]["structuredContent"]["item"], "Desk lamp", "{answer}");
    let answer = agent.ask(3, "tools/call", &call("desk__export_customers", &json!({})));
    assert_eq!(answer["result"]["_meta"]["bailiwick/refusal"]["verdict"], "deny", "{answer}");
    assert_eq!(agent.end(), 0);
}

#[test]
fn an_agent_that_is_there_already_is_behind_the_gateway_when_its_page_is_worked_through() {
    let place = Place::new();
    let servers = installed("servers").canonicalize().unwrap();
    let node = installed("node/bin/node").canonicalize().unwrap();
    let ports = ["server", "gateway", "ops"].map(|port| format!(" --{port}-listen 127.0.0.1:0"));
    let here = vec![
        ("/usr/bin/node".to_owned(), node.display().to_string()),
        ("HERE/mcp".to_owned(), servers.display().to_string()),
        ("init --dir acme".to_owned(), format!("init --dir acme{}", ports.concat())),
    ];
    let mut reader = Reader { place, node: None, desk: None, here };
    let blocks = blocks("gateway.md", "## Ten minutes", "## What passes");
    assert!(blocks.len() > 20);
    let mut worked = false;
    for block in blocks {
        reader.does(&block);
        match &block {
            Block::Run(command) if command.contains("connect-config") => match worked {
                false => works(reader.client()),
                true => works_with_both(reader.client()),
            },
            _ => continue,
        }
        worked = true;
    }
    assert!(worked && reader.place.path("memory/memory.jsonl").exists());
}
