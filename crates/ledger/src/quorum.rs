//! Which witnesses must have cosigned a head: C2SP
//! [tlog-policy](https://github.com/C2SP/C2SP/blob/13027eee7f3f824e464e803373c774ab37fcc43e/tlog-policy.md), which is not
//! tagged yet; here is all that knows its form.

use std::collections::HashSet;

use model::Timestamp;

use crate::{
    note::{Checkpoint, NoteError, VerifierKey, WitnessKey},
    receipt::decimal,
};

/// The longest policy that is read, in bytes.
const MAX_POLICY: usize = 64 * 1024;
/// The most logs, witnesses and groups, of each; the specification asks for 32.
const MAX_OF_EACH: usize = 64;

/// Logs that are accepted, witnesses that are known, and which of them make a quorum.
#[derive(Debug, Clone)]
pub struct TlogPolicy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// Who has to witness a head; `None` where nobody has to.
    quorum: Option<Member>,
}

/// A witness that a policy knows.
#[derive(Debug, Clone)]
pub struct Witness {
    /// What its cosignatures are checked with.
    pub key: WitnessKey,
    /// Where it takes checkpoints: the submission prefix of
    /// [C2SP tlog-witness](https://c2sp.org/tlog-witness), where the policy says one.
    pub url: Option<String>,
}

/// So many of these members witness as one.
#[derive(Debug, Clone)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

/// A witness or a group, by its place in its list. A group's members stand before it, so nothing goes in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// A head that was witnessed as a policy wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The head.
    pub checkpoint: Checkpoint,
    /// The names of those who cosigned it, and when.
    pub by: Vec<(String, Timestamp)>,
}

/// Why a policy was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogPolicyError {
    /// It is too long, has octets that it may not have, or no quorum.
    #[error("not a tlog-policy: {0}")]
    Whole(&'static str),
    /// One line is wrong.
    #[error("line {line} of the policy: {why}")]
    Line {
        /// Which, counted from one.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key in one line is wrong.
    #[error("line {line} of the policy has a wrong key")]
    Key {
        /// Which, counted from one.
        line: usize,
        /// What is wrong with it.
        #[source]
        why: NoteError,
    },
}

/// Why a head is not one that a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessedError {
    /// The note is not one of the log, or a known signature in it is bad.
    #[error("the head is not accepted")]
    Note(#[from] NoteError),
    /// The policy lists logs, and this one is not among them.
    #[error("the policy does not list the log `{0}` with this key")]
    OtherLog(String),
    /// Too few have cosigned.
    #[error(
        "{cosigned} of {known} witnesses have cosigned the head, which is no quorum{}",
        too_early(*.early)
    )]
    NoQuorum {
        /// How many have.
        cosigned: usize,
        /// How many the policy knows.
        known: usize,
        /// How many more have a line that does not count, because it is from the future.
        early: usize,
    },
}

fn too_early(lines: usize) -> String {
    match lines {
        0 => String::new(),
        _ => format!("; {lines} more lines are from the future, compare the clocks"),
    }
}

impl TlogPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// It has another form, names something twice or before it is defined, or is too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogPolicyError> {
        if bytes.len() > MAX_POLICY {
            return Err(TlogPolicyError::Whole("it is longer than 64 KiB"));
        }
        let allowed = |byte: &u8| matches!(byte, b'\t' | b'\n' | 0x20..=0x7e | 0x80..);
        if !bytes.iter().all(allowed) {
            return Err(TlogPolicyError::Whole("it has control characters"));
        }
        let mut reader = Reader::default();
        for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let words: Vec<&[u8]> = text.split(blank).filter(|word| !word.is_empty()).collect();
            reader.line(&words).map_err(|wrong| match wrong {
                Wrong::Says(why) => TlogPolicyError::Line { line, why },
                Wrong::Key(why) => TlogPolicyError::Key { line, why },
            })?;
        }
        let quorum = reader.quorum.ok_or(TlogPolicyError::Whole("it has no line `quorum`"))?;
        let Reader { logs, witnesses, groups, .. } = reader;
        Ok(Self { logs, witnesses, groups, quorum })
    }

    /// The witnesses that it knows, in its order.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether anybody has to witness; by `quorum none` nobody has to, and no head is witnessed by that.
    pub fn wants_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Whether heads of this log may count: the policy lists it, or lists none.
    pub fn accepts(&self, log: &VerifierKey) -> bool {
        self.logs.is_empty() || self.logs.contains(log)
    }

    /// Checks that a note is a head of this log, and that a quorum has cosigned it. A line from the future counts for nobody,
    /// and leaves those of others what they are.
    ///
    /// # Errors
    /// It is not, too few have, or a line of a known witness is bad.
    pub fn check(
        &self,
        log: &VerifierKey,
        note: &[u8],
        now: Timestamp,
    ) -> Result<Witnessed, WitnessedError> {
        if !self.accepts(log) {
            return Err(WitnessedError::OtherLog(log.name().to_owned()));
        }
        let checkpoint = log.open(note)?;
        let mut early = 0;
        let cosigned = self.witnesses.iter().map(|witness| match witness.key.cosigned(note, now) {
            Err(NoteError::Time) => {
                early += 1;
                Ok(None)
            }
            cosigned => cosigned,
        });
        let cosigned = cosigned.collect::<Result<Vec<_>, _>>()?;
        let has = |witness: usize| cosigned.get(witness).is_some_and(Option::is_some);
        let by: Vec<(String, Timestamp)> = (self.witnesses.iter().zip(&cosigned))
            .filter_map(|(witness, at)| Some((witness.key.name().to_owned(), (*at)?)))
            .collect();
        if !self.is_quorum(has) {
            let known = cosigned.len();
            return Err(WitnessedError::NoQuorum { cosigned: by.len(), known, early });
        }
        Ok(Witnessed { checkpoint, by })
    }

    fn is_quorum(&self, has: impl Fn(usize) -> bool) -> bool {
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        let witnesses = |member: Member, groups: &[bool]| match member {
            Member::Witness(at) => has(at),
            Member::Group(at) => groups.get(at).copied().unwrap_or(false),
        };
        for group in &self.groups {
            let count = group.members.iter().filter(|it| witnesses(**it, &groups)).count();
            groups.push(count >= group.threshold);
        }
        self.quorum.is_none_or(|member| witnesses(member, &groups))
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader<'a> {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    names: Vec<(&'a [u8], Member)>,
    /// Those that are a member already: each may be one once, so that no witness counts twice.
    taken: HashSet<Member>,
    quorum: Option<Option<Member>>,
}

/// What is wrong with a line.
enum Wrong {
    Says(&'static str),
    Key(NoteError),
}

impl From<NoteError> for Wrong {
    fn from(why: NoteError) -> Self {
        Self::Key(why)
    }
}

impl<'a> Reader<'a> {
    fn line(&mut self, words: &[&'a [u8]]) -> Result<(), Wrong> {
        match words {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] | [b"log", key, _] => self.log(key),
            [b"witness", name, key] => self.witness(name, key, None),
            [b"witness", name, key, url] => self.witness(name, key, Some(url)),
            [b"group", name, threshold, members @ ..] => self.group(name, threshold, members),
            [b"quorum", name] => self.quorum(name),
            _ => Err(Wrong::Says("it is not `log`, `witness`, `group` or `quorum` with its words")),
        }
    }

    fn log(&mut self, key: &[u8]) -> Result<(), Wrong> {
        let key: VerifierKey = text(key)?.parse()?;
        if self.logs.iter().any(|log| log.public() == key.public()) {
            return Err(Wrong::Says("a line before names the same key"));
        }
        push(&mut self.logs, key).map(drop)
    }

    fn witness(&mut self, name: &'a [u8], key: &[u8], url: Option<&&[u8]>) -> Result<(), Wrong> {
        let key: WitnessKey = text(key)?.parse()?;
        if self.witnesses.iter().any(|witness| witness.key.public() == key.public()) {
            return Err(Wrong::Says("a line before names the same key"));
        }
        let url = url.map(|url| String::from_utf8_lossy(url).into_owned());
        let at = push(&mut self.witnesses, Witness { key, url })?;
        self.define(name, Member::Witness(at))
    }

    fn group(
        &mut self,
        name: &'a [u8],
        threshold: &[u8],
        members: &[&'a [u8]],
    ) -> Result<(), Wrong> {
        let members =
            members.iter().map(|name| self.member(name)).collect::<Result<Vec<_>, _>>()?;
        let threshold = match threshold {
            b"any" => Some(1),
            b"all" => Some(members.len()),
            number => text(number).ok().and_then(decimal).and_then(|it| usize::try_from(it).ok()),
        };
        let threshold = threshold.filter(|it| (1..=members.len()).contains(it)).ok_or(
            Wrong::Says("it wants `any`, `all`, or a number from 1 to that of its members"),
        )?;
        let at = push(&mut self.groups, Group { threshold, members })?;
        self.define(name, Member::Group(at))
    }

    fn member(&mut self, name: &[u8]) -> Result<Member, Wrong> {
        let member = self.named(name)?;
        if !self.taken.insert(member) {
            return Err(Wrong::Says("a name is a member already, and may be one once"));
        }
        Ok(member)
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), Wrong> {
        let member = if name == b"none" { None } else { Some(self.named(name)?) };
        match self.quorum.replace(member) {
            None => Ok(()),
            Some(_) => Err(Wrong::Says("a line before is the quorum")),
        }
    }

    fn named(&self, name: &[u8]) -> Result<Member, Wrong> {
        let found = self.names.iter().find(|(known, _)| *known == name);
        found.map(|(_, member)| *member).ok_or(Wrong::Says("no line before defines that name"))
    }

    fn define(&mut self, name: &'a [u8], member: Member) -> Result<(), Wrong> {
        if name == b"none" {
            return Err(Wrong::Says("`none` cannot be defined"));
        }
        if self.named(name).is_ok() {
            return Err(Wrong::Says("a line before defines the same name"));
        }
        self.names.push((name, member));
        Ok(())
    }
}

/// Adds to a list that has room; says where.
fn push<T>(list: &mut Vec<T>, item: T) -> Result<usize, Wrong> {
    if list.len() == MAX_OF_EACH {
        return Err(Wrong::Says("there are more than 64 of these"));
    }
    list.push(item);
    Ok(list.len() - 1)
}

fn text(word: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(word).map_err(|_| Wrong::Says("it is not UTF-8"))
}

#[cfg(test)]
mod tests;
