//! A decision of the past, made again from the ledger alone: by the same code, on what the decision says it stood on.

mod scene;
mod sources;

use std::{collections::BTreeSet, ops::Range, sync::Mutex};

use ledger::{Entry, Leaf, PayloadError, ReadError};
use model::{ActionId, ijson, ijson::Json};

use self::{
    scene::{Scene, Word},
    sources::{Compiled, Sources},
};
use crate::{
    attempt::{policy_marks, shadow_marks},
    engine::Engine,
    entries::{Body, Decision, read},
    evaluate::{Asked, BucketsOf},
    record::Said,
    refusal::Code,
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

/// What there is to say of a decision that cannot be made again to its end.
enum Why {
    Before(String),
    Differs(&'static str),
    Impossible(String),
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
        if given.objects.iter().any(|object| sources.was_replaced(object, entry.index, given.at)) {
            differs.push("objects");
        }
        if is_permit && !scene.is_active(leaf) {
            differs.push("standing");
        }
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
        let approval = used.and_then(|id| sources.approval(id, entry.index));
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
        if !policies.were_in_force(epoch, entry.index, given.at) {
            differs.push("policies");
        }
        let policies = policies.set(epoch).ok_or_else(|| {
            let why = "the policies by which it was decided are not in the ledger; another version of this program may have had other guards";
            Why::Impossible(why.to_owned())
        })?;
        let asked = ask(policies);
        let (word, outcome) = scene.word(&asked, approval);
        let outcome = outcome.unwrap_or_else(|| asked.evaluate(&BTreeSet::new()));
        let marks =
            policy_marks(&outcome) == body.policies && shadow_marks(&outcome) == body.shadow;
        if !marks && !differs.contains(&"policies") {
            differs.push("policies");
        }
        if used.is_some() {
            let asks = scene.what_was_approved(body, &asked_for);
            let stands = approval.is_some_and(|one| scene.is_approved(one, &asked, &outcome, asks));
            if !stands {
                differs.push("approval");
            }
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
        // Approvers said no; or yes, and it was in vain.
        (Word::Held(lifted), _) => {
            code == Code::Held.text()
                || (leaf.approval.is_some() && code == Code::Forbidden.text())
                || lifted.is_some_and(|refused| refused.text() == code)
                || known.is_some_and(|code| !code.is_of_policy())
        }
        (Word::Refused(refused), _) => refused.text() == code,
    }
}
