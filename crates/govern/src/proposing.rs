//! What a tool probably does, guessed from its definition, for a person to look at. Never in force by itself.
//!
//! A guess errs on the wide side: what only might change something is not said to read, an annotation is not believed
//! against a name, and a tool that runs what it is given counts as running anything. What cannot be guessed is left out.

use std::collections::BTreeSet;

use decide::{Effect, METHOD, Mapping, MappingError, ServerEntry, ToolEntry, check_named, compile};
use model::{Name, Verb, ijson::Json};

mod definition;
#[cfg(test)]
mod tests;
mod words;

use self::definition::Definition;

/// The kind of a resource that stands for everything in a system.
const ANYTHING: &str = "Anything";
/// Stands for every thing of a kind.
const ALL: &str = "'all'";

/// A guess for one tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What its calls seem to do; `None` where it cannot be guessed.
    pub mapping: Option<Mapping>,
    /// Why it is guessed like this, or not at all, in sentences. Names in backticks are foreign text.
    pub notes: Vec<String>,
}

/// What the tool of a server probably does.
pub fn propose(server: &ServerEntry, tool: &ToolEntry) -> Proposal {
    let record = &tool.record;
    if let Some(former) = &record.former
        && check(server, tool, &former.mapping).is_ok()
    {
        let note = "it was accepted like this before its server changed it; look at what changed";
        return Proposal { mapping: Some(former.mapping.clone()), notes: vec![note.to_owned()] };
    }
    if let Some((verb, kind, id)) = of_method(&record.name) {
        let effects = vec![effect(verb, kind, id.to_owned(), None)];
        let mapping = Mapping { effects, ..Mapping::default() };
        let note = "no tool, but a request that the protocol has; its server says what lies there";
        return Proposal { mapping: Some(mapping), notes: vec![note.to_owned()] };
    }
    let Some(definition) = Definition::read(&record.definition, &record.name) else {
        let note = "its definition cannot be read";
        return Proposal { mapping: None, notes: vec![note.to_owned()] };
    };
    let mut guess = Guess { definition: &definition, server, notes: Vec::new() };
    let mapping = guess.mapping();
    let mut notes = guess.notes;
    let mapping = mapping.and_then(|mapping| match check(server, tool, &mapping) {
        Ok(()) => Some(mapping),
        Err(MappingError::Reserved(kind)) => {
            notes.push(format!("`{kind}` means something else in policies"));
            Some(renamed(mapping, &format!("{kind}Item")))
        }
        Err(why) => {
            notes.push(why.to_string());
            None
        }
    });
    Proposal { mapping, notes }
}

/// What a request beside tools does, as the protocol says.
fn of_method(name: &str) -> Option<(Verb, &'static str, &'static str)> {
    Some(match name.strip_prefix(METHOD)? {
        "resources/list" | "resources/templates/list" | "subscriptions/listen" => {
            (Verb::List, "Document", ALL)
        }
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            (Verb::Read, "Document", "args.uri")
        }
        "prompts/list" => (Verb::List, "Prompt", ALL),
        "prompts/get" => (Verb::Read, "Prompt", "args.name"),
        "completion/complete" => (Verb::Read, "Completion", ALL),
        _ => return None,
    })
}

fn check(server: &ServerEntry, tool: &ToolEntry, mapping: &Mapping) -> Result<(), MappingError> {
    compile(&tool.record, mapping, &server.record.default_classes)?;
    check_named(&tool.record.definition, mapping)
}

fn renamed(mapping: Mapping, kind: &str) -> Mapping {
    let effect = |effect: Effect| Effect { resource: kind.to_owned(), ..effect };
    Mapping { effects: mapping.effects.into_iter().map(effect).collect(), ..mapping }
}

struct Guess<'g> {
    definition: &'g Definition,
    server: &'g ServerEntry,
    notes: Vec<String>,
}

impl Guess<'_> {
    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn mapping(&mut self) -> Option<Mapping> {
        let effects = match self.definition.runs() {
            Some(what) => {
                self.note(format!("it runs what it is given ({what}), so it may do anything here; a policy that forbids other verbs or kinds does not see what it runs"));
                if self.definition.read_only == Some(true) {
                    self.note("its server says that it only reads, which is not believed");
                }
                let (id, classes) = (ALL.to_owned(), Some(widest(self.server)));
                vec![effect(Verb::Execute, ANYTHING, id, classes)]
            }
            None => self.effects()?,
        };
        Some(Mapping { effects, ..Mapping::default() })
    }

    fn effects(&mut self) -> Option<Vec<Effect>> {
        let verbs = self.verbs();
        let classes = self.classes();
        if verbs.contains(&Verb::Pay) {
            return Some(vec![self.payment(classes)?]);
        }
        let Some(kind) = self.definition.kind() else {
            self.note("nothing says what kind of thing it is about; name a resource");
            return None;
        };
        if let Some(amount) =
            self.definition.amount().filter(|_| verbs.iter().any(|it| it.writes()))
        {
            self.note(format!(
                "`{}` looks like money; if any moves, the verb is `pay`",
                amount.name
            ));
        }
        if let Some((first, from, to)) = self.definition.relocation() {
            let at = |verb, id: String| effect(verb, &kind, id, classes.clone());
            return Some(vec![at(first, from), at(Verb::Create, to)]);
        }
        let each = |verb| effect(verb, &kind, self.definition.id(&verbs), classes.clone());
        let effects = verbs.iter().map(|verb| each(*verb)).collect();
        let looks_around = [Verb::List, Verb::Create, Verb::Export].contains(&verbs[0]);
        if self.definition.id(&verbs) == ALL && !looks_around {
            self.note("no required argument names one thing, so it counts as all of them");
        }
        Some(effects)
    }

    /// What it does: by its name; where that is silent or harmless, by what its server says, too.
    fn verbs(&mut self) -> Vec<Verb> {
        let (read_only, destructive) = (self.definition.read_only, self.definition.destructive);
        let mut verbs = self.definition.verbs_of_name();
        let harmless = |verbs: &[Verb]| !verbs.iter().any(|verb| verb.writes());
        if verbs.is_empty() && read_only == Some(true) {
            self.note("its name does not say what it does; its server says that it only reads");
            return vec![Verb::Read];
        }
        if verbs.is_empty() {
            self.note("its name does not say what it does, so it counts as running something");
            return vec![Verb::Execute];
        }
        let plain = self.definition.says_plainly(self.server.record.name.as_str());
        if harmless(&verbs) && !plain && read_only != Some(true) {
            self.note("its name does not say plainly that it only looks, so it counts as running something");
            return vec![Verb::Execute];
        }
        if read_only == Some(true) && !harmless(&verbs) {
            self.note(
                "its server says that it only reads; its name says otherwise, and is believed",
            );
        }
        if harmless(&verbs) && (read_only == Some(false) || destructive == Some(true)) {
            let verb = if destructive == Some(true) { Verb::Delete } else { Verb::Update };
            self.note(
                "its name says that it only looks; its server says otherwise, and is believed",
            );
            verbs.push(verb);
        }
        verbs
    }

    fn payment(&mut self, classes: Option<Vec<Name>>) -> Option<Effect> {
        let Some(amount) = self.definition.amount() else {
            self.note("it moves money, and no required argument says how much; without an amount no budget counts it");
            return None;
        };
        if !amount.is_whole() {
            self.note(format!(
                "it moves money, and `{}` is no whole number of minor units",
                amount.name
            ));
            return None;
        }
        if !amount.says_minor_units() {
            self.note(format!(
                "it moves money, and nothing says that `{}` counts minor units (cents)",
                amount.name
            ));
            return None;
        }
        let Some(currency) = self.definition.currency() else {
            self.note("it moves money, and no required argument says in which currency; if it is always the same, write it in quotes (`\"'EUR'\"`)");
            return None;
        };
        let kind = self.definition.payment_kind();
        let id = self.definition.id(&[Verb::Pay]);
        if id == ALL {
            self.note("no required argument names one thing, so it counts as all of them");
        }
        Some(Effect {
            amount: Some(format!("args.{}", amount.name)),
            currency: Some(format!("args.{}", currency.name)),
            ..effect(Verb::Pay, &kind, id, classes)
        })
    }

    /// Classes that its words speak of, never fewer than the server's own; `None` where those alone count.
    fn classes(&self) -> Option<Vec<Name>> {
        let guessed: BTreeSet<Name> = self.definition.classes().collect();
        let own = self.server.record.default_classes.iter().cloned();
        (!guessed.is_empty())
            .then(|| guessed.into_iter().chain(own).collect::<BTreeSet<_>>())
            .map(|classes| classes.into_iter().collect())
    }
}

/// Every class that is known of anything in a system.
fn widest(server: &ServerEntry) -> Vec<Name> {
    let effects = server.tools.values().filter_map(|tool| tool.record.mapping.as_ref());
    let effects = effects.flat_map(|mapping| &mapping.effects);
    let mapped = effects.filter_map(|effect| effect.classes.as_ref()).flatten();
    let definitions = server
        .tools
        .values()
        .filter_map(|tool| Definition::read(&tool.record.definition, &tool.record.name));
    let guessed = definitions.flat_map(|definition| definition.classes().collect::<Vec<_>>());
    let known = server.record.default_classes.iter().chain(mapped).cloned();
    known.chain(guessed).collect::<BTreeSet<_>>().into_iter().collect()
}

fn effect(verb: Verb, kind: &str, id: String, classes: Option<Vec<Name>>) -> Effect {
    Effect { verb, resource: kind.to_owned(), id, amount: None, currency: None, classes }
}

/// Whether a hint of an annotation says yes, no or nothing.
fn hint(definition: &Json, name: &str) -> Option<bool> {
    match definition.member("annotations")?.member(name)? {
        Json::Bool(hint) => Some(*hint),
        _ => None,
    }
}
