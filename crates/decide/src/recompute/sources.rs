//! What past decisions stood on, found in the ledger.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ledger::{Entry, ReadError};
use model::{ApprovalId, Authority, Digest, TaskId, Timestamp};
use policy::{Policies, Source};
use serde::de::DeserializeOwned;
use store::{Governed as _, RawRow};

use super::{Past, Why, gone};
use crate::{
    directory::with_guards,
    engine::Engine,
    entries::{Body, Governed, TaskOpened, TokenIssued, read},
    records::{ApprovalRecord, PolicyFile, PolicySetRecord, ToolRecord},
};

/// What decisions stand on, as the ledger has it.
#[derive(Default)]
pub(super) struct Sources {
    wanted: HashSet<Digest>,
    /// Rows of governed objects, by their digests.
    objects: HashMap<Digest, RawRow>,
    /// Those that another version came after: by which entry, and a moment that had come when it was written.
    replaced: HashMap<Digest, (u64, Timestamp)>,
    /// The newest version so far of what is wanted.
    newest: HashMap<(String, String), Digest>,
    /// What tokens allow, by the leaf hashes of their issuance.
    pub(super) tokens: HashMap<Digest, Authority>,
    /// Those that are bound to no key.
    pub(super) bearers: HashSet<Digest>,
    /// What tasks are for.
    pub(super) purposes: HashMap<TaskId, Arc<str>>,
    /// Approvals, with the entries that say how each stood from there on.
    approvals: HashMap<String, Vec<(u64, ApprovalRecord)>>,
    /// The sets of policies in order, each with its entry and a moment that had come when that was written.
    policies: Vec<(u64, Timestamp, PolicySetRecord)>,
    /// The resource types that mappings have ever named: policies are read with those that they may name.
    kinds: BTreeSet<String>,
    /// Why something that is wanted cannot be had.
    pub(super) gone: HashMap<Digest, String>,
    /// The latest moment that an entry named, up to the one that is read.
    by_now: Timestamp,
}

impl Engine {
    /// Finds what these decisions stood on. A change that narrowed was in force before its entry, so all of the ledger is
    /// looked through.
    pub(super) fn sources(&self, past: &[Past]) -> Result<Sources, ReadError> {
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
            sources.by_now = sources.by_now.max(entry.leaf.at);
            match entry.leaf.kind.as_str() {
                Governed::KIND => {
                    let Ok(body) = read::<Governed>(&entry.leaf.body) else { continue };
                    let is_needed = match body.object.as_str() {
                        PolicySetRecord::KIND | ToolRecord::KIND => true,
                        ApprovalRecord::KIND => approvals.contains(&body.key),
                        _ => sources.wanted.contains(&body.digest),
                    };
                    sources.replace(&body, entry.index);
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
        sources.note(&body, &content, entry.index);
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
}

/// All sets of policies that were ever in force, each compiled once.
pub(super) struct Compiled {
    /// By their digest, as a decision names the one that it was made by.
    sets: HashMap<Digest, Arc<Policies>>,
    /// In which order they came into force, each with its entry and a moment that had come when that was written.
    order: Vec<(u64, Timestamp, Digest)>,
    /// Those of a node that was given none.
    first: Vec<Digest>,
}

/// Something was replaced long ago when this many seconds had passed since. What widens is in force some time after its entry,
/// and nobody says when.
const LONG: u32 = 60;

fn was_long_before(replaced: (u64, Timestamp), index: u64, at: Timestamp) -> bool {
    replaced.0 < index && replaced.1.plus_seconds(LONG) < at
}

impl Sources {
    /// Notes what is not looked up by its digest alone.
    fn note(&mut self, body: &Governed, content: &[u8], index: u64) {
        match body.object.as_str() {
            PolicySetRecord::KIND => {
                let record = serde_json::from_slice(content);
                self.policies.extend(record.ok().map(|record| (index, self.by_now, record)));
            }
            ApprovalRecord::KIND => {
                let versions = self.approvals.entry(body.key.clone()).or_default();
                versions.extend(serde_json::from_slice(content).ok().map(|record| (index, record)));
            }
            ToolRecord::KIND => {
                let record = serde_json::from_slice::<ToolRecord>(content).ok();
                let effects = record.and_then(|record| record.mapping).map(|it| it.effects);
                self.kinds.extend(effects.into_iter().flatten().map(|effect| effect.resource));
            }
            _ => {}
        }
    }

    /// Notes that another version of something that is wanted came.
    fn replace(&mut self, body: &Governed, index: u64) {
        let key = (body.object.clone(), body.key.clone());
        if let Some(before) = self.newest.remove(&key) {
            self.replaced.insert(before, (index, self.by_now));
        }
        if self.wanted.contains(&body.digest) {
            self.newest.insert(key, body.digest);
        }
    }

    /// Whether a decision of this place and moment stood on what had been replaced long before.
    pub(super) fn was_replaced(&self, object: &Digest, index: u64, at: Timestamp) -> bool {
        self.replaced.get(object).is_some_and(|replaced| was_long_before(*replaced, index, at))
    }

    /// An approval as it stood before an entry.
    pub(super) fn approval(&self, id: ApprovalId, index: u64) -> Option<&ApprovalRecord> {
        let versions = self.approvals.get(&id.to_string())?;
        versions.iter().rfind(|(entry, _)| *entry < index).map(|(_, record)| record)
    }

    pub(super) fn object(&self, digest: &Digest) -> Result<&RawRow, Why> {
        self.objects.get(digest).ok_or_else(|| {
            let why = self.gone.get(digest).cloned();
            let missing = || format!("the ledger has no entry of the object {digest}");
            Why::Impossible(why.unwrap_or_else(missing))
        })
    }

    /// All policies that were ever in force, each set compiled once.
    pub(super) fn compiled(&self) -> Compiled {
        let source =
            |file: &PolicyFile| Source { name: file.name.clone(), text: file.text.clone() };
        let guarded = Policies::load(&with_guards(&[]), &self.kinds).ok().map(Arc::new);
        let without: Vec<_> = guarded.into_iter().chain([Arc::new(Policies::none())]).collect();
        let mut compiled = Compiled {
            sets: without.iter().map(|policies| (policies.digest(), policies.clone())).collect(),
            order: Vec::new(),
            first: without.iter().map(|policies| policies.digest()).collect(),
        };
        for (index, at, set) in &self.policies {
            let kinds = set.kinds.union(&self.kinds).cloned().collect();
            let sources: Vec<_> = set.sources.iter().map(source).collect();
            if let Ok(policies) = Policies::load(&with_guards(&sources), &kinds) {
                compiled.order.push((*index, *at, policies.digest()));
                compiled.sets.insert(policies.digest(), Arc::new(policies));
            }
        }
        compiled
    }
}

impl Compiled {
    /// Those that a decision names.
    pub(super) fn set(&self, epoch: Digest) -> Option<Arc<Policies>> {
        self.sets.get(&epoch).cloned()
    }

    /// Whether a decision of this place and moment may have been made by them: they had not been replaced long before.
    pub(super) fn were_in_force(&self, epoch: Digest, index: u64, at: Timestamp) -> bool {
        let lasted = |next: usize| {
            let replaced = self.order.get(next).map(|(entry, at, _)| (*entry, *at));
            replaced.is_none_or(|replaced| !was_long_before(replaced, index, at))
        };
        let named = self.order.iter().enumerate().filter(|(_, (.., digest))| *digest == epoch);
        let mut next = named.map(|(position, _)| position + 1);
        next.any(lasted) || (self.first.contains(&epoch) && lasted(0))
    }
}
