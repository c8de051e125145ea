use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA256};
use model::{Digest, Name, nearest};

use crate::{
    GUARD_PREFIX, LoadErrors, Place, Remark, Rule, Source, annotation,
    cedar::{self, Engine, Parsed, Spots},
    guard,
    remark::{MAX_REMARKS, tidy},
    schema::{BUILT_IN_KINDS, PRINCIPALS, check_kinds},
    source::{self, Places, Spot},
};

/// The largest policy file, in bytes.
pub const MAX_SOURCE_BYTES: usize = 10 << 20;
/// The largest set of policy files, in bytes: some 600 for each policy of the largest set.
pub const MAX_SET_BYTES: usize = 64 << 20;
/// The longest policy, in bytes, with the comments before it: no person reads more, and each request may evaluate it.
pub const MAX_POLICY_BYTES: usize = 64 << 10;
/// The most policies in a set: what one node is built for (SCL3).
pub const MAX_POLICIES: usize = 100_000;
/// What to do about more than [`MAX_POLICIES`].
pub(crate) const FEWER_HINT: &str =
    "write policies that differ only in a name as one policy over teams, blueprints or systems";
/// The most kinds that one hint lists.
const MAX_HINTED: usize = 20;
/// The most kinds of resource in a catalog.
pub const MAX_KINDS: usize = 1_000;

/// A set that passed every check.
pub(crate) struct Loaded {
    /// In the order of their ids.
    pub(crate) rules: Vec<Rule>,
    pub(crate) engine: Engine,
    /// What is allowed and still looks like a mistake.
    pub(crate) warnings: Vec<Remark>,
}

/// The stack that policies are loaded on, in bytes; only what is used of it takes memory.
///
/// Cedar's parser and validator recurse, the first without looking at what is left and the second **passing** what it
/// has no room to look at. The bounds on brackets and operators need some 30 MiB of this in an unoptimized build.
const STACK_BYTES: usize = 256 << 20;

/// Loads all or nothing.
pub(crate) fn load(sources: &[Source], kinds: &BTreeSet<String>) -> Result<Loaded, LoadErrors> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("policy-load".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || load_here(sources, kinds)).map_err(|error| {
            let what = format!("no thread to load policies on: {error}");
            LoadErrors(vec![
                Remark::new(what).hint("the process may be at its limit of threads or memory"),
            ])
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn load_here(sources: &[Source], kinds: &BTreeSet<String>) -> Result<Loaded, LoadErrors> {
    refuse(check_size(sources, kinds))?;
    refuse(check_kinds(kinds))?;
    let mut reading = Reading::default();
    for (index, source) in sources.iter().enumerate() {
        reading.read(index, source);
        if reading.remarks.len() >= MAX_REMARKS {
            break;
        }
    }
    reading.check_count();
    refuse(reading.remarks)?;

    let mut drafts = reading.drafts;
    drafts.sort_by(|a, b| a.rule.id.cmp(&b.rule.id));
    let placed = |spots: Spots| place(sources, &drafts, spots);
    let policies: Vec<_> = drafts.iter().map(|draft| (&draft.rule.id, &draft.parsed)).collect();
    let warnings = match cedar::validate(&policies, kinds) {
        Ok(warnings) => placed(warnings),
        Err(errors) => return Err(LoadErrors(placed(with_kinds(errors, kinds)))),
    };
    let engine = Engine::new(drafts.iter().map(|draft| &draft.parsed), kinds);
    let rules = drafts.into_iter().map(|draft| draft.rule).collect();
    Ok(Loaded { rules, engine, warnings })
}

/// Says of an unknown type what it most likely is: a kind whose tool nobody has accepted. Cedar guesses the nearest type
/// that it knows, however far that is.
fn with_kinds(mut errors: Spots, kinds: &BTreeSet<String>) -> Spots {
    for (_, spot) in &mut errors {
        let unknown = spot.what.split_once("unrecognized entity type `");
        let Some((kind, _)) = unknown.and_then(|(_, rest)| rest.split_once('`')) else { continue };
        let ours =
            BUILT_IN_KINDS.into_iter().chain(PRINCIPALS).chain(["Team", "Blueprint", "System"]);
        let known = kinds.iter().map(String::as_str).chain(ours);
        spot.hint = Some(match nearest(kind, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if kinds.is_empty() => {
                "no tool is accepted yet, and a kind is known once a tool whose mapping names it is"
                    .to_owned()
            }
            None => {
                let kinds: Vec<&str> = kinds.iter().map(String::as_str).take(MAX_HINTED).collect();
                format!("no accepted tool names it; they name `{}`", kinds.join("`, `"))
            }
        });
    }
    errors
}

/// The digest of a set, from those of its policies.
pub(crate) fn digest_of_set(rules: &[Rule]) -> Digest {
    let digests = rules.iter().map(|rule| rule.digest.0.as_slice());
    sha256("policies/v1\n", digests)
}

fn sha256<'a>(domain: &str, parts: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(domain.as_bytes());
    parts.for_each(|part| context.update(part));
    let mut digest = Digest::default();
    digest.0.copy_from_slice(context.finish().as_ref());
    digest
}

fn refuse(remarks: Vec<Remark>) -> Result<(), LoadErrors> {
    if remarks.is_empty() { Ok(()) } else { Err(LoadErrors(tidy(remarks))) }
}

fn check_size(sources: &[Source], kinds: &BTreeSet<String>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    if bytes > MAX_SET_BYTES {
        remarks.push(Remark::new(format!(
            "{bytes} bytes of policies; a set has at most {MAX_SET_BYTES}"
        )));
    }
    if kinds.len() > MAX_KINDS {
        remarks
            .push(Remark::new(format!("{} kinds; a catalog has at most {MAX_KINDS}", kinds.len())));
    }
    remarks
}

/// A policy that has been read and not yet been validated.
struct Draft {
    source: usize,
    rule: Rule,
    parsed: Parsed,
}

#[derive(Default)]
struct Reading {
    drafts: Vec<Draft>,
    ids: BTreeMap<Name, Place>,
    remarks: Vec<Remark>,
}

impl Reading {
    fn read(&mut self, index: usize, source: &Source) {
        let mut places = Places::new(source);
        let spots = source::spots(source);
        let parsed = if spots.is_empty() { cedar::parse(&source.text) } else { Err(spots) };
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(spots) => return self.remarks.extend(places.remarks(spots)),
        };
        let shipped = parsed.iter().any(Parsed::is_guard) && guard().contains(source);
        for parsed in parsed {
            match draft(index, shipped, parsed, &mut places) {
                Ok(draft) => self.keep(draft),
                Err(spots) => self.remarks.extend(places.remarks(spots)),
            }
        }
    }

    fn keep(&mut self, draft: Draft) {
        let Rule { id, place, .. } = &draft.rule;
        if let Some(first) = self.ids.insert(id.clone(), place.clone()) {
            let Place { file, line, .. } = &first;
            let what = format!("another policy has the id `{id}`");
            let hint = format!("the other is at {file}:{line}; rename one of them");
            self.remarks.push(Remark::new(what).at(place.clone()).hint(hint));
            self.ids.insert(id.clone(), first);
        } else {
            self.drafts.push(draft);
        }
    }

    fn check_count(&mut self) {
        if let Some(beyond) = self.drafts.get(MAX_POLICIES) {
            let what = format!("a set has at most {MAX_POLICIES} policies");
            self.remarks.push(Remark::new(what).at(beyond.rule.place.clone()).hint(FEWER_HINT));
        }
    }
}

fn draft(
    index: usize,
    shipped: bool,
    parsed: Parsed,
    places: &mut Places<'_>,
) -> Result<Draft, Vec<Spot>> {
    let start = parsed.start();
    let notes = annotation::read(parsed.forbids(), start, parsed.annotations())?;
    if notes.id.as_str().starts_with(GUARD_PREFIX) && !shipped {
        let what = format!("the id `{}` is kept for policies that ship with bailiwick", notes.id);
        let hint = format!("choose an id that does not start with `{GUARD_PREFIX}`");
        return Err(vec![Spot::new(start, what, hint)]);
    }
    let rule = Rule {
        id: notes.id,
        digest: sha256("policy/v1\n", std::iter::once(parsed.text().as_bytes())),
        place: places.at(start),
        text: parsed.text().clone(),
        kind: notes.kind,
        mode: notes.mode,
        obligations: notes.obligations,
        reason: notes.reason,
        next: notes.next,
        explained_to_agents: notes.explained_to_agents,
    };
    Ok(Draft { source: index, rule, parsed })
}

/// Places spots of drafts in their files.
fn place(sources: &[Source], drafts: &[Draft], spots: Spots) -> Vec<Remark> {
    let mut by_source: BTreeMap<usize, Vec<Spot>> = BTreeMap::new();
    for (draft, spot) in spots {
        by_source.entry(drafts[draft].source).or_default().push(spot);
    }
    let placed = |(source, spots): (usize, Vec<Spot>)| Places::new(&sources[source]).remarks(spots);
    tidy(by_source.into_iter().flat_map(placed).collect())
}
