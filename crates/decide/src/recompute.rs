//! A decision of the past, made again from the ledger alone: by the same code, on what the decision says it stood on.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::{Arc, Mutex},
};

use ledger::{Entry, Leaf, PayloadError, ReadError};
use model::{
    ActionId, Authority, Digest, IdentityId, Resource, TaskId, Timestamp, ijson, ijson::Json,
};
use policy::{Facts, GOVERNED_SYSTEM, Policies, Source};
use serde::de::DeserializeOwned;
use store::{Governed as _, RawRow};
use token::SeenHeader;

use crate::{
    attempt::{final_word, lifted, policy_marks, shadow_marks},
    authenticate::Caller,
    catalog::Pair,
    directory::{AgentEntry, Directory, with_guards},
    engine::Engine,
    entries::{Body, Decision, Given, Governed, TaskOpened, TokenIssued, read},
    evaluate::{About, Asked, BucketsOf, within_authority},
    question::supposed_claims,
    record::Said,
    records::{AgentRecord, ApprovalRecord, PolicyFile, PolicySetRecord, ToolRecord},
    refusal::Code,
    standing::Standing,
    stop::Touches,
};

/// What became of a decision that was made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remade {
    /// The same: verdict, policies, effects.
    Same,
    /// Not what the ledger says; each of these differs.
    Differs(Vec<&'static str>),
    /// It was refused before authority and policy were asked, by this code.
    Before(String),
    /// It cannot be made again, and why.
    Impossible(String),
}

/// One decision, made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recomputed {
    /// Its entry.
    pub index: u64,
    /// The attempt.
    pub action: Option<ActionId>,
    /// The verdict that the ledger has.
    pub verdict: String,
    /// What became of it.
    pub remade: Remade,
    /// What authority then and the policies in force now would say of it; `None` where it cannot be said.
    pub today: Option<&'static str>,
}

/// A decision that is to be made again.
struct Past {
    entry: Entry,
    body: Decision,
}

/// What decisions stand on, as the ledger has it.
#[derive(Default)]
struct Sources {
    wanted: HashSet<Digest>,
    /// Rows of governed objects, by their digests.
    objects: HashMap<Digest, RawRow>,
    /// What tokens allow, by the leaf hashes of their issuance.
    tokens: HashMap<Digest, Authority>,
    /// Those that are bound to no key.
    bearers: HashSet<Digest>,
    /// What tasks are for.
    purposes: HashMap<TaskId, Arc<str>>,
    approvals: HashMap<String, ApprovalRecord>,
    policies: Vec<PolicySetRecord>,
    /// The resource types that mappings have ever named: policies are read with those that they may name.
    kinds: BTreeSet<String>,
    /// Why something that is wanted cannot be had.
    gone: HashMap<Digest, String>,
}

/// What there is to say of a decision that cannot be made again to its end.
enum Why {
    Before(String),
    Differs(&'static str),
    Impossible(String),
}

/// The word of authority and policy on a call.
enum Word {
    Permit,
    Refused(Code),
    /// It waits for an approval.
    Held,
}

impl Word {
    const fn name(&self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Held => "hold",
            Self::Refused(code) => code.verdict(),
        }
    }
}

impl Engine {
    /// Makes the decisions among these entries again, no more than `limit` of them; says where to go on, where some are
    /// left. What they stood on is read from the ledger, all of which is looked through for it. Blocks.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn recompute(
        &self,
        range: Range<u64>,
        limit: usize,
    ) -> Result<(Vec<Recomputed>, Option<u64>), ReadError> {
        let (mut past, mut next) = (Vec::new(), None);
        for entry in self.log.entries(range.start) {
            let entry = entry?;
            if entry.index >= range.end {
                break;
            }
            if past.len() >= limit {
                next = Some(entry.index);
                break;
            }
            if entry.leaf.kind == Decision::KIND
                && let Ok(body) = read::<Decision>(&entry.leaf.body)
            {
                past.push(Past { entry, body });
            }
        }
        if past.is_empty() {
            return Ok((Vec::new(), next));
        }
        let sources = self.sources(&past)?;
        let policies = sources.compiled();
        let made = past.iter().map(|past| self.recomputed(past, &sources, &policies));
        Ok((made.collect(), next))
    }

    /// Finds what these decisions stood on. A change that narrowed was in force before its entry, so all of the ledger is
    /// looked through.
    fn sources(&self, past: &[Past]) -> Result<Sources, ReadError> {
        let mut sources = Sources::default();
        for one in past {
            let given = one.body.given.iter().flat_map(|given| given.objects.iter());
            sources.wanted.extend(given.chain(&one.entry.leaf.parents));
        }
        let tasks: HashSet<TaskId> = past.iter().filter_map(|one| one.entry.leaf.task).collect();
        let approvals: HashSet<String> =
            past.iter().filter_map(|one| Some(one.entry.leaf.approval?.to_string())).collect();
        for entry in self.log.entries(0) {
            let entry = entry?;
            match entry.leaf.kind.as_str() {
                Governed::KIND => {
                    let Ok(body) = read::<Governed>(&entry.leaf.body) else { continue };
                    let is_needed = match body.object.as_str() {
                        PolicySetRecord::KIND | ToolRecord::KIND => true,
                        ApprovalRecord::KIND => approvals.contains(&body.key),
                        _ => sources.wanted.contains(&body.digest),
                    };
                    if is_needed {
                        self.take_object(&mut sources, &entry, body);
                    }
                }
                TokenIssued::KIND if sources.wanted.contains(&entry.hash) => {
                    if entry.leaf.body.member("sender").is_some() {
                        sources.bearers.insert(entry.hash);
                    }
                    match self.payload::<Authority>(&entry) {
                        Ok(authority) => drop(sources.tokens.insert(entry.hash, authority)),
                        Err(why) => drop(sources.gone.insert(entry.hash, why)),
                    }
                }
                TaskOpened::KIND => {
                    let task = entry.leaf.task.filter(|task| tasks.contains(task));
                    if let (Some(task), Ok(body)) = (task, read::<TaskOpened>(&entry.leaf.body)) {
                        sources.purposes.insert(task, body.purpose.into());
                    }
                }
                _ => {}
            }
        }
        Ok(sources)
    }

    fn take_object(&self, sources: &mut Sources, entry: &Entry, body: Governed) {
        let content = match self.log.open_payload(entry) {
            Ok(content) => content.unwrap_or_default(),
            Err(why) => {
                sources.gone.insert(body.digest, gone(entry.index, &why));
                return;
            }
        };
        sources.note(&body, &content);
        let row = RawRow {
            kind: body.object,
            key: body.key,
            version: body.version,
            body: String::from_utf8_lossy(&content).into_owned(),
            digest: body.digest,
            intact: true,
            widens: body.widens,
            entry: entry.leaf.id,
            sealed: None,
            changed: 0,
        };
        sources.objects.insert(row.digest, row);
    }

    /// A payload of our own, opened.
    fn payload<T: DeserializeOwned>(&self, entry: &Entry) -> Result<T, String> {
        let opened = self.log.open_payload(entry).map_err(|why| gone(entry.index, &why))?;
        let read = serde_json::from_slice(&opened.unwrap_or_default());
        read.map_err(|_| format!("the payload of entry {} is not what it should be", entry.index))
    }

    fn recomputed(&self, past: &Past, sources: &Sources, policies: &Compiled) -> Recomputed {
        let leaf = &past.entry.leaf;
        let (remade, today) = match self.remake(past, sources, policies) {
            Ok((differs, today)) if differs.is_empty() => (Remade::Same, Some(today)),
            Ok((differs, today)) => (Remade::Differs(differs), Some(today)),
            Err(Why::Before(code)) => (Remade::Before(code), None),
            Err(Why::Differs(what)) => (Remade::Differs(vec![what]), None),
            Err(Why::Impossible(why)) => (Remade::Impossible(why), None),
        };
        Recomputed {
            index: past.entry.index,
            action: leaf.action,
            verdict: leaf.verdict.clone().unwrap_or_default(),
            remade,
            today,
        }
    }

    /// What differs, and what today's policies say.
    fn remake(
        &self,
        past: &Past,
        sources: &Sources,
        policies: &Compiled,
    ) -> Result<(Vec<&'static str>, &'static str), Why> {
        let Past { entry, body } = past;
        let leaf = &entry.leaf;
        let code = body.code.clone().unwrap_or_default();
        let is_permit = leaf.verdict.as_deref() == Some("permit");
        // Nothing is permitted before authority and policy were asked.
        let before = |code: String| match is_permit {
            true => Why::Differs("verdict"),
            false => Why::Before(code),
        };
        let given = body.given.as_ref().ok_or_else(|| before(code.clone()))?;
        let scene = Scene::of(leaf, given, sources)?;
        let asked_for = self.asked_for(past)?;
        self.is_what_was_said(leaf, body, &asked_for)?;
        let (pairs, tool) = scene.read(body, &asked_for)?;
        let mut differs = Vec::new();
        let effects: Vec<_> = pairs.iter().map(|pair| self.mark(pair)).collect();
        if effects != body.effects {
            differs.push("effects");
        }
        let facts = scene.facts(leaf, given, tool, sources)?;
        let ask = |policies| Asked {
            about: scene.about(&pairs, given),
            policies,
            facts: facts.clone(),
            buckets: BucketsOf::Recorded(&given.buckets),
            drawn: Mutex::default(),
        };
        let used = leaf.approval.filter(|_| is_permit);
        let approval = used.and_then(|id| sources.approvals.get(&id.to_string()));
        let today = scene.word(&ask(self.directory.policies()), None).0.name();
        let Some(epoch) = body.policy_epoch else {
            // Policies were not asked: authority was in the way, or something that only then was known.
            if is_permit || code != Code::BeyondAuthority.text() {
                return Err(before(code));
            }
            let is_beyond = scene.authority(&pairs, given.at).is_err();
            // A token without a key is refused by the same code what policies may keep waiting.
            if !is_beyond && leaf.parents.first().is_some_and(|it| sources.bearers.contains(it)) {
                return Err(before(code));
            }
            if !is_beyond {
                differs.push("verdict");
            }
            return Ok((differs, today));
        };
        let policies = policies.get(&epoch).cloned().ok_or_else(|| {
            let why = "the policies by which it was decided are not in the ledger; another version of this program may have had other guards";
            Why::Impossible(why.to_owned())
        })?;
        let asked = ask(policies);
        let (word, outcome) = scene.word(&asked, approval);
        let outcome = outcome.unwrap_or_else(|| asked.evaluate(&BTreeSet::new()));
        if policy_marks(&outcome) != body.policies || shadow_marks(&outcome) != body.shadow {
            differs.push("policies");
        }
        if !fits(&word, leaf, &code) {
            differs.push("verdict");
        }
        Ok((differs, today))
    }

    /// Whether the arguments that were kept are those that were decided on: the leaf has what stands for them.
    fn is_what_was_said(&self, leaf: &Leaf, body: &Decision, kept: &Json) -> Result<(), Why> {
        let (Some(call), Some(mark)) = (body.call, &leaf.payload) else { return Ok(()) };
        let bytes = kept.canonical();
        match self.log.blind_under(&mark.key, Said::Call.purpose(), &bytes) {
            Ok(Some(said)) if said == call => Ok(()),
            // A mark in place of a secret makes another call of it.
            Ok(_) => whole(&String::from_utf8_lossy(&bytes)).and(Err(Why::Differs("arguments"))),
            Err(why) => Err(Why::Impossible(why.to_string())),
        }
    }

    /// What was asked for: a call's arguments, or an act.
    fn asked_for(&self, past: &Past) -> Result<Json, Why> {
        let Past { entry, body } = past;
        let opened = self.log.open_payload(entry).map_err(|why| gone(entry.index, &why));
        let bytes = opened.map_err(Why::Impossible)?.unwrap_or_default();
        let limits = ijson::Limits { bytes: usize::MAX, depth: 128 };
        let read = ijson::parse(&bytes, limits);
        let read = read.map_err(|_| {
            Why::Impossible(format!("the payload of entry {} cannot be read", entry.index))
        })?;
        let is_permit = entry.leaf.verdict.as_deref() == Some("permit");
        if is_permit && body.inputs.is_none() {
            return Ok(read);
        }
        let member = read.member("arguments").cloned();
        member.ok_or_else(|| Why::Impossible("its arguments were not kept".to_owned()))
    }
}

/// What is decided on must be as it was: a mark in place of a secret makes another call of it.
fn whole(asked_for: &str) -> Result<(), Why> {
    if asked_for.contains("[secret:") {
        let why = "secrets were left out of what was asked for";
        return Err(Why::Impossible(why.to_owned()));
    }
    Ok(())
}

fn gone(index: u64, why: &PayloadError) -> String {
    format!("entry {index}: {why}")
}

/// Whether what authority and policy say is what the ledger has.
fn fits(word: &Word, leaf: &Leaf, code: &str) -> bool {
    let known = Code::ALL.iter().find(|one| one.text() == code);
    match (word, leaf.verdict.as_deref()) {
        (Word::Permit, Some("permit")) => true,
        (_, Some("permit")) => false,
        // What was not in the way may have been stopped behind: by a budget, a race, a ledger that was slow.
        (Word::Permit, _) => known.is_some_and(|code| !code.is_of_policy()),
        // Approvers said no.
        (Word::Held, _) => {
            code == Code::Held.text()
                || (leaf.approval.is_some() && code == Code::Forbidden.text())
                || known.is_some_and(|code| !code.is_of_policy())
        }
        (Word::Refused(refused), _) => refused.text() == code,
    }
}

/// Sets of policies by their digest, as a decision names the one that it was made by.
type Compiled = HashMap<Digest, Arc<Policies>>;

impl Sources {
    /// Notes what is not looked up by its digest alone.
    fn note(&mut self, body: &Governed, content: &[u8]) {
        match body.object.as_str() {
            PolicySetRecord::KIND => self.policies.extend(serde_json::from_slice(content)),
            ApprovalRecord::KIND => {
                let record = serde_json::from_slice(content);
                self.approvals.extend(record.ok().map(|record| (body.key.clone(), record)));
            }
            ToolRecord::KIND => {
                let record = serde_json::from_slice::<ToolRecord>(content).ok();
                let effects = record.and_then(|record| record.mapping).map(|it| it.effects);
                self.kinds.extend(effects.into_iter().flatten().map(|effect| effect.resource));
            }
            _ => {}
        }
    }

    fn object(&self, digest: &Digest) -> Result<&RawRow, Why> {
        self.objects.get(digest).ok_or_else(|| {
            let why = self.gone.get(digest).cloned();
            let missing = || format!("the ledger has no entry of the object {digest}");
            Why::Impossible(why.unwrap_or_else(missing))
        })
    }

    /// All policies that were ever in force, each set compiled once.
    fn compiled(&self) -> Compiled {
        let source =
            |file: &PolicyFile| Source { name: file.name.clone(), text: file.text.clone() };
        let sets = self.policies.iter().map(|set| {
            let kinds = set.kinds.union(&self.kinds).cloned().collect();
            (set.sources.iter().map(source).collect::<Vec<_>>(), kinds)
        });
        let sets = sets.chain(std::iter::once((Vec::new(), self.kinds.clone())));
        sets.filter_map(|(sources, kinds)| Policies::load(&with_guards(&sources), &kinds).ok())
            .chain(std::iter::once(Policies::none()))
            .map(|policies| (policies.digest(), Arc::new(policies)))
            .collect()
    }
}

/// What is made again is no attempt: nobody is told of its refusal.
const NO_ACTION: ActionId = ActionId::from_bits(0);

/// Who asked, and what they held, as it was.
struct Scene {
    directory: Directory,
    caller: Caller,
    standing: Standing,
}

impl Scene {
    fn of(leaf: &Leaf, given: &Given, sources: &Sources) -> Result<Self, Why> {
        let directory = Directory::default();
        let mut agents: Vec<IdentityId> = Vec::new();
        for digest in &given.objects {
            let row = sources.object(digest)?;
            let unread = |_| Why::Impossible(format!("the object {digest} cannot be read"));
            directory.apply(row).map_err(unread)?;
            if row.kind == AgentRecord::KIND {
                agents.extend(row.key.parse::<IdentityId>().ok());
            }
        }
        let nobody = || Why::Impossible("it does not say who asked".to_owned());
        let person = leaf.person.clone().ok_or_else(nobody)?;
        let entry = directory.person(&person).ok_or_else(nobody)?;
        let entries: Option<Vec<Arc<AgentEntry>>> =
            agents.iter().map(|id| directory.agent(id)).collect();
        let standing = Standing {
            person: entry,
            agents: entries.ok_or_else(nobody)?,
            task: None,
            touches: Touches::default(),
        };
        let token = leaf.parents.first().and_then(|hash| sources.tokens.get(hash)).cloned();
        let authority = match token {
            Some(authority) => authority,
            // Governance is decided by policy, and a session carries no authority to look at.
            None if agents.is_empty() => Authority::nothing(),
            None => {
                let why = leaf.parents.first().and_then(|hash| sources.gone.get(hash)).cloned();
                let missing = || "the ledger has no entry of its token".to_owned();
                return Err(Why::Impossible(why.unwrap_or_else(missing)));
            }
        };
        let claims = supposed_claims(authority);
        let caller = Caller { claims, person, agents, proof_header: SeenHeader::default() };
        Ok(Self { directory, caller, standing })
    }

    /// What the call or act did, and the tool's name.
    fn read(
        &self,
        body: &Decision,
        asked_for: &Json,
    ) -> Result<(Vec<Pair>, Option<Arc<str>>), Why> {
        let unknown = || Why::Impossible("it does not say what was asked for".to_owned());
        let system = body.system.as_ref().ok_or_else(unknown)?;
        if system.as_str() == GOVERNED_SYSTEM {
            let text = |name| asked_for.member(name).and_then(Json::as_str);
            let verb = text("verb").and_then(|verb| verb.parse().ok()).ok_or_else(unknown)?;
            let parts = text("resource").and_then(|text| text.split_once('/')?.1.split_once('/'));
            let (kind, id) = parts.ok_or_else(unknown)?;
            whole(id)?;
            let resource = Resource::new(system.clone(), kind, id).map_err(|_| unknown())?;
            let pair = Pair { verb, resource, classes: BTreeSet::new(), amount: None };
            return Ok((vec![pair], None));
        }
        let tool = body.tool.as_ref().ok_or_else(unknown)?;
        let entry = self.directory.tool(system, tool).and_then(|(_, tool)| tool);
        let tool = entry.and_then(|entry| entry.accepted).ok_or(Why::Differs("tool"))?;
        let (pairs, _) = tool.reading(asked_for).map_err(|_| Why::Differs("effects"))?;
        Ok((pairs, Some(tool.name.clone())))
    }

    fn about<'a>(&'a self, pairs: &'a [Pair], given: &'a Given) -> About<'a> {
        About {
            caller: &self.caller,
            standing: &self.standing,
            pairs,
            owner: given.owner.as_ref(),
            group: given.group.as_ref(),
            tool: None,
            cost: None,
            now: given.at,
        }
    }

    fn facts(
        &self,
        leaf: &Leaf,
        given: &Given,
        tool: Option<Arc<str>>,
        sources: &Sources,
    ) -> Result<Facts, Why> {
        let purpose = leaf.task.map(|task| {
            let missing = || Why::Impossible("the ledger has no entry of its task".to_owned());
            sources.purposes.get(&task).cloned().ok_or_else(missing)
        });
        Ok(Facts {
            environment: leaf.environment.clone(),
            at: given.at,
            invoker: Some(self.standing.person.principal.clone()),
            actor: self.caller.current().clone(),
            depth: u8::try_from(self.standing.agents.len()).unwrap_or(u8::MAX),
            purpose: purpose.transpose()?,
            tool,
            labels: Arc::new(given.labels.clone()),
            spent: given.spent,
            administrators: given.administrators,
        })
    }

    /// Whether the token, and what everybody held, reached so far.
    fn authority(&self, pairs: &[Pair], at: Timestamp) -> Result<(), Code> {
        if self.caller.agents.is_empty() {
            return Ok(());
        }
        let held = self.directory.held(&self.standing);
        let token = &self.caller.claims.authority;
        let within = within_authority(token, &held, pairs, NO_ACTION, at);
        within.map_err(|refusal| refusal.code)
    }

    /// What authority and policy say, with what an approval lifts where one was used; with what the policies said without.
    fn word(
        &self,
        asked: &Asked<'_>,
        approval: Option<&ApprovalRecord>,
    ) -> (Word, Option<policy::Outcome>) {
        if let Err(code) = self.authority(asked.about.pairs, asked.about.now) {
            return (Word::Refused(code), None);
        }
        let outcome = asked.evaluate(&BTreeSet::new());
        let said = |outcome: &policy::Outcome| match final_word(outcome, NO_ACTION, true) {
            Some(Ok(())) => Word::Permit,
            Some(Err(refusal)) => Word::Refused(refusal.code),
            None => Word::Held,
        };
        let word = match (said(&outcome), approval) {
            (Word::Held, Some(approval)) => match said(&asked.evaluate(&lifted(approval))) {
                Word::Permit => Word::Permit,
                _ => Word::Held,
            },
            (word, _) => word,
        };
        (word, Some(outcome))
    }
}
