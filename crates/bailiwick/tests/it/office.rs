//! A node with a server behind it, and an agent that may read and execute there for its owner.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use rusqlite::Connection;
use serde_json::Value;

use crate::world::{Desk, Node, Place, Ran, Somebody};

const ACCEPT: &str = r#"
server = "support-desk"

[[tool]]
name = "get_order"
effect = [{ verb = "read", resource = "Order", id = "args.order_id" }]

[[tool]]
name = "reindex_search"
effect = [{ verb = "execute", resource = "Index", id = "'orders'" }]

[[tool]]
name = "export_customers"
effect = [{ verb = "export", resource = "Customer", id = "'all'" }]
"#;

/// What an agent of this kind may do, and what its owner may.
const ALLOW: &str = r#"
[[allow]]
verbs = ["read", "execute", "export"]
resources = "support-desk/*/*"
until = "2099-01-01"
"#;

const BLUEPRINT: &str = r#"
name = "support"
purpose = "answers customers"
owner = "olivia"
depth = 1
"#;

const GRANT: &str = r#"
name = "olivia-support"
holder = "olivia"
"#;

const AGENT: &str = r#"
name = "support-bot"
blueprint = "support"
owner = "olivia"
purpose = "answers customers"
public_key = "bot.pem.pub"

[version]
model = "m-1"
prompt = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
tools = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
image = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
"#;

const POLICY: &str = r#"
@id("support")
permit (principal, action in [Action::"read", Action::"execute"], resource in System::"support-desk");
"#;

/// A node, a server behind it, and an agent.
pub(crate) struct Office {
    pub(crate) place: Place,
    pub(crate) node: Node,
    system: &'static str,
    _desk: Option<Desk>,
}

impl Office {
    /// With the sample desk.
    pub(crate) fn new() -> Self {
        Self::sending("")
    }

    /// The same with more in its configuration.
    pub(crate) fn sending(config: &str) -> Self {
        let place = Place::initialized();
        place.configure(config);
        let node = place.serve();
        Self::with_desk(place, node)
    }

    /// The same with a node that serves already.
    pub(crate) fn with_desk(place: Place, node: Node) -> Self {
        let desk = place.desk("open sesame");
        place.write("secret", "open sesame");
        place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
        let credential = format!("file:{}", place.path("secret").display());
        let url = desk.url.clone();
        let office = Self { place, node, system: "support-desk", _desk: Some(desk) };
        office.add(&["--url", &url, "--internal", "--credential", &credential]).ends(0);
        office.employ(ACCEPT);
        office
    }

    /// With a program of that name, as the configuration says it, whose tools mean `accept`.
    pub(crate) fn with_program(name: &'static str, config: &str, accept: &str) -> Self {
        let office = Self::with_config(name, config);
        office.add(&["--program", name]).ends(0);
        office.employ(accept);
        office
    }

    /// With more in its configuration, and nothing behind it yet.
    pub(crate) fn with_config(system: &'static str, config: &str) -> Self {
        let place = Place::initialized();
        place.configure(config);
        let node = place.serve();
        place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
        Self { place, node, system, _desk: None }
    }

    /// Adds the server.
    pub(crate) fn add(&self, how: &[&str]) -> Ran {
        self.olivia().run(&[&["server", "add", self.system], how].concat())
    }

    /// Lets an agent work with it.
    pub(crate) fn employ(&self, accept: &str) {
        let place = &self.place;
        place.run(["key", "new", "bot.pem"]).ends(0);
        for (file, text) in [
            ("accept.toml", accept),
            ("blueprint.toml", &[BLUEPRINT, ALLOW].concat()),
            ("grant.toml", &[GRANT, ALLOW].concat()),
            ("agent.toml", AGENT),
            ("support.cedar", POLICY),
        ] {
            place.write(file, &text.replace("support-desk", self.system));
        }
        for command in [
            ["catalog", "accept", "accept.toml"],
            ["blueprint", "add", "blueprint.toml"],
            ["grant", "give", "grant.toml"],
            ["agent", "register", "agent.toml"],
            ["policy", "apply", "support.cedar"],
        ] {
            self.olivia().run(&command).ends(0);
        }
        let shown = self.olivia().run(&["agent", "show", "support-bot", "-o", "json"]).ends(0);
        place.write("bot.json", &shown.stdout);
    }

    pub(crate) fn olivia(&self) -> Somebody<'_> {
        self.place.known("olivia")
    }

    /// Opens a task, whose token lies in a file; gives its id.
    pub(crate) fn open_task(&self, file: &str) -> String {
        let open = ["task", "open", "--agent", "support-bot", "--purpose", "support"];
        let open = [&open[..], &["--token-file", file, "-o", "json"]].concat();
        self.olivia().run(&open).ends(0).json()["task"].as_str().unwrap().to_owned()
    }

    /// Lets agents have tokens without a key.
    pub(crate) fn loosen(&self) {
        let blueprint = [BLUEPRINT, "sender = \"bearer\"\n", ALLOW].concat();
        self.place.write("loose.toml", &blueprint.replace("support-desk", self.system));
        self.olivia().run(&["blueprint", "add", "loose.toml"]).ends(0);
    }

    /// Asks for a token of the agent's without a key.
    pub(crate) fn agent_token(&self) -> Ran {
        let url = self.url();
        let way = self.arguments(&url).into_iter().skip(1);
        self.place.run(["agent", "token"].into_iter().chain(way))
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/mcp/{}", self.node.addresses["gateway"].as_str().unwrap(), self.system)
    }

    pub(crate) fn arguments<'a>(&self, url: &'a str) -> [&'a str; 8] {
        ["connect", url, "--agent", "bot.json", "--agent-key", "bot.pem", "--token", "task.token"]
    }

    /// How the calls of a tool ended, as the desk wrote it down.
    pub(crate) fn calls(&self, tool: &str) -> Vec<String> {
        let books = Connection::open(self.place.path("desk.sqlite")).unwrap();
        let mut rows =
            books.prepare("SELECT outcome FROM calls WHERE tool = $1 ORDER BY id").unwrap();
        rows.query_map([tool], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Starts `connect` at a loopback address.
    pub(crate) fn listen(&self) -> Served {
        let url = self.url();
        let listen = ["--listen", "127.0.0.1:0", "--password", "password"];
        let mut command = self.place.command([&self.arguments(&url)[..], &listen].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let password = std::fs::read_to_string(self.place.path("password")).unwrap();
        Served { child, url: told["url"].as_str().unwrap().to_owned(), password }
    }
}

/// A `connect` that listens; it ends with its test.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
    pub(crate) password: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
