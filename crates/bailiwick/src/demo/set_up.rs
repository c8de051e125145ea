//! Everything before the first call: an installation, three people with keys of their own, a server, two agents, policies.
//! As soon as there is a second administrator, what widens a right waits for that person.

use std::path::Path;

use serde_json::Value;

use super::{
    bot::Bot,
    cast::{self, BOT, DESK, LOOKUP},
    desk::Desk,
    node::Node,
    order::Order,
    place::Place,
    program::{Done, Person, Program},
    record::Record,
    tell::{Came, Step, Teller},
    world::{World, permit, text_of},
};
use crate::{chain, client::Context, failure::Result, files};

const INTRODUCTION: &str = "\
Lena leads Support. Olivia answers for the agent support-bot; Max is her manager. Each has a key of
their own and acts by this program's command line. Node with gateway, the sample server Support desk
and two agents are processes, too, and all of them speak over public addresses only.";

const fn act(
    name: &'static str,
    verb: &'static str,
    resource: &'static str,
    says: &'static str,
) -> Step {
    Step {
        name,
        actor: "olivia",
        verb: Some(verb),
        resource: Some(resource),
        says,
        expect: "permit",
    }
}

const ENROL: Step = act(
    "enrol",
    "grant",
    "bailiwick/Registration/person/olivia",
    "enrols as the first administrator, by the code",
);
const ADD_LENA: Step =
    act("add-lena", "grant", "bailiwick/Registration/person/lena", "adds Lena, who leads Support");
const ADD_SERVER: Step =
    act("add-server", "create", "bailiwick/Server/support-desk", "adds the server support-desk");
const ACCEPT_TOOLS: Step =
    act("accept-tools", "update", "bailiwick/Tool/support-desk", "accepts what its five tools do");
const ADD_MAX: Step = act(
    "add-max",
    "grant",
    "bailiwick/Registration/person/max",
    "adds Max, her manager, of Finance, who governs too",
);
const SUPPORT_BLUEPRINT: Step = act(
    "blueprint-support",
    "grant",
    "bailiwick/Registration/blueprint/support",
    "adds the blueprint support",
);
const LOOKUP_BLUEPRINT: Step = act(
    "blueprint-lookup",
    "grant",
    "bailiwick/Registration/blueprint/lookup",
    "adds the blueprint lookup",
);
const REGISTER_BOT: Step = act(
    "register-bot",
    "create",
    "bailiwick/Registration/agent/support-bot",
    "registers support-bot, owner Olivia, deputy Max",
);
const REGISTER_LOOKUP: Step = act(
    "register-lookup",
    "create",
    "bailiwick/Registration/agent/lookup",
    "registers lookup, owner Olivia, deputy Max",
);
const GRANT: Step = act(
    "grant-lena",
    "grant",
    "bailiwick/Grant/lena-support",
    "gives Lena rights at the desk, for a month",
);
const APPLY_HELD: Step = Step {
    expect: "hold",
    ..act(
        "policies-held",
        "deploy",
        "bailiwick/PolicySet/current",
        "puts the desk's policies into force",
    )
};
const APPROVE_POLICIES: Step = Step {
    actor: "max",
    ..act(
        "policies-approved",
        "approve",
        "bailiwick/Approval",
        "approves exactly these, signed with his own key",
    )
};
const APPLY: Step = act(
    "policies-applied",
    "deploy",
    "bailiwick/PolicySet/current",
    "puts the same policies into force",
);

/// A port that the system chooses.
const FREE: &str = "127.0.0.1:0";

impl<'p> World<'p> {
    /// Starts all processes and gives everybody their part.
    pub(super) async fn start(
        place: &'p Place,
        via: Option<String>,
        teller: &mut Teller,
    ) -> Result<Self> {
        let program = Program::new(place)?;
        teller.note(&format!("{INTRODUCTION}\nAll of it lies in {}", place.dir().display()));
        teller.chapter("Before the story");
        let made = init(&program).await?;
        let config = text_of(&made, "config")?;
        let (node, desk, bot, lookup, ()) = tokio::try_join!(
            Node::start(&program, &config),
            Desk::start(&program),
            Bot::start(&program, BOT),
            Bot::start(&program, LOOKUP),
            keys(&program),
        )?;
        write_inputs(place, &[&bot, &lookup])?;
        if place.is_kept() {
            keep_ports(&config, [&node.server, &node.gateway, &node.ops])?;
        }
        let enrolled = enrol(&program, &node).await?;
        let olivia = Person::new("olivia", &enrolled.document["identity"])?;
        teller.introduce(&olivia.id, "Olivia");
        let context =
            Context { profile: Some(place.path("people/olivia.toml")), ..Context::default() };
        let mut record = Record::open(&context).await?;
        let first = |leaf: &ledger::Leaf| chain::text(leaf, "object").as_deref() == Some("person");
        let entry = record.next(first).await?;
        let reason = "no password, no second way in: a code that the node shows once, and a socket that is gone now";
        let came = Came {
            reason: Some(reason.to_owned()),
            index: entry.map(|entry| entry.index),
            ..permit(enrolled.ms)
        };
        teller.step(&ENROL, &came);
        let mut world = Self {
            program,
            node,
            desk,
            bot,
            lookup,
            record,
            olivia,
            lena: Person::stranger("lena"),
            max: Person::stranger("max"),
            via,
            config,
            data: text_of(&made, "data")?,
            ledger_key: text_of(&made, "ledger_key")?,
            task: String::new(),
            handed: String::new(),
            summary: super::Summary::default(),
        };
        world.govern(teller).await?;
        Ok(world)
    }

    async fn govern(&mut self, teller: &mut Teller) -> Result<()> {
        let (olivia, max) = (self.olivia.clone(), "max");
        let add =
            self.add_person("lena", "Lena Voss", &["--team", "support", "--manager", "olivia"]);
        let lena = self.act(teller, &ADD_LENA, &olivia, &add).await?;
        self.lena = Person::new("lena", &lena["uri"])?;
        teller.introduce(&self.lena.id, "Lena");
        let (url, credential) = (self.desk.url.clone(), self.desk.credential.clone());
        let add = ["server", "add", DESK, "--url", &url, "--internal", "--credential", &credential];
        self.act(teller, &ADD_SERVER, &olivia, &add.map(str::to_owned)).await?;
        let accept = self.with_input(["catalog", "accept"], "catalog.toml");
        self.act(teller, &ACCEPT_TOOLS, &olivia, &accept).await?;
        let add =
            self.add_person(max, "Max Adler", &["--team", "finance", "--team", "administrator"]);
        let added = self.act(teller, &ADD_MAX, &olivia, &add).await?;
        self.max = Person::new(max, &added["uri"])?;
        teller.introduce(&self.max.id, "Max");
        self.profiles().await?;

        teller.note(
            "      From here on there are two administrators, and what widens a right needs both.",
        );
        let blueprint = self.with_input(["blueprint", "add"], "support.toml");
        self.act_with_max(teller, &SUPPORT_BLUEPRINT, &blueprint).await?;
        let blueprint = self.with_input(["blueprint", "add"], "lookup.toml");
        self.act_with_max(teller, &LOOKUP_BLUEPRINT, &blueprint).await?;
        let register = self.with_input(["agent", "register"], "support-bot.toml");
        let bot = self.act_with_max(teller, &REGISTER_BOT, &register).await?;
        let register = self.with_input(["agent", "register"], "lookup-agent.toml");
        let lookup = self.act_with_max(teller, &REGISTER_LOOKUP, &register).await?;
        self.introduce(&bot, &lookup).await?;
        let give = self.with_input(["grant", "give"], "lena-support.toml");
        self.act_with_max(teller, &GRANT, &give).await?;

        let apply = self.with_input(["policy", "apply"], "desk.cedar");
        let held = self.run(&olivia, &apply).await?;
        self.came_to(teller, &APPLY_HELD, &olivia, &held).await?;
        self.approve(teller, &APPROVE_POLICIES, held.approval()).await?;
        self.act(teller, &APPLY, &olivia, &apply).await?;
        Ok(())
    }

    /// Tells each agent's process who it is, and where it works.
    async fn introduce(&mut self, bot: &Value, lookup: &Value) -> Result<()> {
        let resource = format!("{}/mcp/{DESK}", self.node.gateway);
        let endpoint = match &self.via {
            Some(via) => format!("{via}/mcp/{DESK}"),
            None => resource.clone(),
        };
        for (agent, registered) in [(&mut self.bot, bot), (&mut self.lookup, lookup)] {
            agent.uri = text_of(registered, "uri")?;
            let order = Order::Be {
                uri: agent.uri.clone(),
                version: text_of(&registered["version"], "digest")?,
                issuer: self.node.server.clone(),
                resource: resource.clone(),
                endpoint: endpoint.clone(),
            };
            agent.ask(order).await?;
        }
        Ok(())
    }

    fn add_person(&self, handle: &str, name: &str, more: &[&str]) -> Vec<String> {
        let key =
            self.program.place().path(&format!("people/{handle}.pem.pub")).display().to_string();
        let add = ["person", "add", "--handle", handle, "--name", name, "--public-key", &key];
        add.iter().chain(more).map(|&argument| argument.to_owned()).collect()
    }

    fn with_input(&self, command: [&str; 2], file: &str) -> Vec<String> {
        let file = self.program.place().path(&format!("input/{file}")).display().to_string();
        command.iter().map(|&word| word.to_owned()).chain([file]).collect()
    }

    /// Lena and Max note once where the server is and who they are.
    async fn profiles(&self) -> Result<()> {
        for person in [&self.lena, &self.max] {
            let key = self
                .program
                .place()
                .path(&format!("people/{}.pem", person.handle))
                .display()
                .to_string();
            let set = [
                "profile",
                "set",
                "--server",
                &self.node.server,
                "--key",
                &key,
                "--identity",
                &person.uri,
            ];
            self.program.run(Some(person.handle), set).await?.accepted("remembering a profile")?;
        }
        Ok(())
    }
}

/// Writes the ports that were free into the configuration that stays, so that whoever serves it later is reached where
/// profiles and servers say.
fn keep_ports(config: &str, urls: [&str; 3]) -> Result<()> {
    let mut text = files::read_text(Path::new(config))?;
    for url in urls {
        // `server`, `gateway` and `ops` stand there in this order, each with the free port that `init` was given.
        text = text.replacen(FREE, url.trim_start_matches("http://"), 1);
    }
    files::replace(Path::new(config), text.as_bytes())
}

async fn init(program: &Program<'_>) -> Result<Value> {
    let dir = program.place().path("acme").display().to_string();
    let free = FREE;
    let arguments = [
        "init",
        "--dir",
        &dir,
        "--org",
        "acme",
        "--environment",
        "demo",
        "--server-listen",
        free,
        "--gateway-listen",
        free,
        "--ops-listen",
        free,
    ];
    let made = program.run(None, arguments).await?.accepted("making an installation")?;
    // An auditor has this from somewhere else than the pack that it checks.
    files::write_new(
        &program.place().path("ledger.key"),
        text_of(&made, "ledger_key")?.as_bytes(),
    )?;
    Ok(made)
}

/// Everybody makes a key.
async fn keys(program: &Program<'_>) -> Result<()> {
    for handle in ["olivia", "lena", "max"] {
        let file = program.place().path(&format!("people/{handle}.pem")).display().to_string();
        program.run(None, ["key", "new", &file]).await?.accepted("making a key")?;
    }
    Ok(())
}

async fn enrol(program: &Program<'_>, node: &Node) -> Result<Done> {
    let code = node.code(program).await?;
    let key = program.place().path("people/olivia.pem").display().to_string();
    let arguments = [
        "person",
        "enroll",
        "--socket",
        &node.socket,
        "--handle",
        "olivia",
        "--name",
        "Olivia Brandt",
        "--key",
        &key,
        "--code",
        &code,
    ];
    let done = program.run(Some("olivia"), arguments).await?;
    if done.exit == 0 { Ok(done) } else { Err(done.failure("enrolling Olivia")) }
}

fn write_inputs(place: &Place, agents: &[&Bot]) -> Result<()> {
    let write = |name: &str, text: &str| {
        files::write_new(&place.path(&format!("input/{name}")), text.as_bytes())
    };
    write("catalog.toml", cast::CATALOG)?;
    write("support.toml", &cast::support_blueprint())?;
    write("lookup.toml", &cast::lookup_blueprint())?;
    write("lena-support.toml", &cast::grant())?;
    write("desk.cedar", cast::POLICIES)?;
    write(
        "support-bot.toml",
        &cast::registration(BOT, "support", "answers customers of the shop"),
    )?;
    write("lookup-agent.toml", &cast::registration(LOOKUP, "lookup", "looks orders up"))?;
    for agent in agents {
        write(&format!("{}.pub", agent.name), &agent.public_key.to_string())?;
        write(
            &format!("{}.prompt", agent.name),
            &format!("You are {}. Do what you are told.\n", agent.name),
        )?;
    }
    Ok(())
}
