//! The rule set: read from its file, compiled when a rule's keyword is first met.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

use crate::find::entropy;

/// gitleaks' default configuration, as it comes: `vendor/gitleaks/README.md` says of which version.
pub(crate) const FILE: &str = include_str!("../vendor/gitleaks/gitleaks.toml");

/// What we let through beside that.
const OURS: &str = include_str!("ours.toml");

/// How the rules begin that look for a name first: with up to 50 letters before the telling part of it. Searching for those
/// costs ten times what the rest does, so they are looked at once the rest has matched.
const BEFORE_NAME: &str = r"[\w.-]{0,50}?";
const BEFORE_NAME_BYTES: usize = 50;

/// How much of a line is looked at on either side of a match: many matches in one long line must not each read all of it.
const LINE_BYTES: usize = 256;

/// The largest program of one rule, in bytes, and the most memory that running it may take. The largest rule needs a
/// quarter of it.
const REGEX_BYTES: usize = 8 * 1024 * 1024;

/// Words that only names of members hold (`json.rs`), and that no rule has.
const NAME_WORDS: [&str; 9] = [
    "cookie",
    "pass phrase",
    "pass-phrase",
    "pass_phrase",
    "pass word",
    "pass-word",
    "pass_word",
    "passphrase",
    "pwd",
];

/// All rules, read at first use.
pub(crate) static RULES: LazyLock<Rules> =
    LazyLock::new(|| Rules::read(FILE).expect("a test reads this very file"));

/// A rule set as its file writes it. What the file says and this does not know is an error: a newer version may mean by
/// it that something is a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(rename = "title")]
    _title: String,
    #[serde(rename = "minVersion")]
    _min_version: String,
    allowlist: Allowlist,
    rules: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    id: String,
    #[serde(rename = "description")]
    _description: String,
    /// None where a rule is about names of files alone.
    regex: Option<String>,
    #[serde(default)]
    secret_group: usize,
    #[serde(default)]
    entropy: f64,
    #[serde(default)]
    keywords: Vec<String>,
    /// In which files it looks. Texts have no path, so the rule holds for all.
    #[serde(rename = "path")]
    _path: Option<String>,
    #[serde(default)]
    allowlists: Vec<Allowlist>,
}

/// What is no secret although a rule's regex matches.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Allowlist {
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    condition: Condition,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    regexes: Vec<String>,
    #[serde(default)]
    regex_target: Target,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(skip)]
    compiled: OnceLock<Compiled>,
}

/// What one of the rules would take for a secret and we know to be none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    rule: String,
    allowlists: Vec<Allowlist>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Condition {
    #[default]
    #[serde(rename = "OR")]
    Or,
    #[serde(rename = "AND")]
    And,
}

#[derive(Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    #[default]
    Secret,
    Match,
    Line,
}

struct Compiled {
    regexes: Vec<Regex>,
    stopwords: AhoCorasick,
}

/// The rules, and the words by which the few that a text needs are found.
pub(crate) struct Rules {
    pub(crate) all: Vec<Rule>,
    /// Rules that are about names of files alone, which no text has.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test says which they are"))]
    pub(crate) without_regex: Vec<String>,
    allowed: Allowlist,
    keywords: AhoCorasick,
    /// The rules of each keyword.
    of_keyword: Vec<Vec<usize>>,
}

/// One shape of a secret.
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) pattern: String,
    /// Whether letters before the match belong to it.
    has_name_before: bool,
    regex: OnceLock<Regex>,
    secret_group: usize,
    pub(crate) entropy: f64,
    pub(crate) keywords: Vec<String>,
    allowlists: Vec<Allowlist>,
}

impl Rules {
    pub(crate) fn read(file: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(file).map_err(|why| why.to_string())?;
        let (with, without): (Vec<_>, Vec<_>) =
            document.rules.into_iter().partition(|rule| rule.regex.is_some());
        let ours: Ours = toml::from_str(OURS).map_err(|why| why.to_string())?;
        let mut all: Vec<Rule> = with.into_iter().map(Rule::of).collect();
        let general = all.iter_mut().find(|rule| rule.id == ours.rule);
        general.ok_or("the general rule is gone")?.allowlists.extend(ours.allowlists);
        if let Some(rule) = all.iter().find(|rule| rule.keywords.is_empty()) {
            return Err(format!("rule `{}` has no keyword", rule.id));
        }
        let mut words: Vec<&str> =
            all.iter().flat_map(|rule| &rule.keywords).map(String::as_str).collect();
        words.extend(NAME_WORDS);
        words.sort_unstable();
        words.dedup();
        let of_keyword = words
            .iter()
            .map(|word| {
                let has = |(_, rule): &(usize, &Rule)| rule.keywords.iter().any(|own| own == word);
                all.iter().enumerate().filter(has).map(|(at, _)| at).collect()
            })
            .collect();
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&words)
            .map_err(|why| why.to_string())?;
        Ok(Self {
            without_regex: without.into_iter().map(|rule| rule.id).collect(),
            allowed: document.allowlist,
            keywords,
            of_keyword,
            all,
        })
    }

    /// Whether a text holds any rule's keyword.
    pub(crate) fn is_near(&self, text: &[u8]) -> bool {
        self.keywords.is_match(text)
    }

    /// The rules whose keywords a text holds, in the order of the file.
    pub(crate) fn near(&self, text: &[u8]) -> impl Iterator<Item = &Rule> {
        let mut near = vec![false; self.all.len()];
        for hit in self.keywords.find_overlapping_iter(text) {
            self.of_keyword[hit.pattern()].iter().for_each(|rule| near[*rule] = true);
        }
        self.all.iter().zip(near).filter(|(_, near)| *near).map(|(rule, _)| rule)
    }

    /// Whether what a rule found is no secret after all.
    pub(crate) fn allow(&self, rule: &Rule, hit: &Hit<'_>) -> bool {
        entropy(hit.secret) <= rule.entropy && rule.entropy > 0.0
            || self.allowed.allows(hit)
            || rule.allowlists.iter().any(|list| list.allows(hit))
    }

    /// Compiles all there is.
    pub(crate) fn compile_all(&self) {
        self.allowed.compiled();
        for rule in &self.all {
            rule.regex();
            rule.allowlists.iter().for_each(|list| {
                list.compiled();
            });
        }
    }

    /// The same, so that a test sees what cannot be.
    #[cfg(test)]
    pub(crate) fn try_compile_all(&self) -> Result<(), String> {
        self.allowed.compile()?;
        for rule in &self.all {
            compile(&rule.searched()).map_err(|why| format!("{}: {why}", rule.id))?;
            for list in &rule.allowlists {
                list.compile().map_err(|why| format!("{}: {why}", rule.id))?;
            }
        }
        Ok(())
    }
}

/// One match of a rule's regex.
pub(crate) struct Hit<'t> {
    pub(crate) text: &'t [u8],
    /// Where the secret begins in the text.
    pub(crate) start: usize,
    pub(crate) secret: &'t [u8],
    whole: std::ops::Range<usize>,
}

impl Rule {
    fn of(written: Written) -> Self {
        let pattern = written.regex.unwrap_or_default();
        let has_name_before = pattern.contains(BEFORE_NAME);
        Self {
            id: written.id,
            pattern,
            has_name_before,
            regex: OnceLock::new(),
            secret_group: written.secret_group,
            entropy: written.entropy,
            keywords: written.keywords.iter().map(|word| word.to_ascii_lowercase()).collect(),
            allowlists: written.allowlists,
        }
    }

    /// The pattern without the letters before a name.
    fn searched(&self) -> String {
        self.pattern.replacen(BEFORE_NAME, "", 1)
    }

    fn regex(&self) -> &Regex {
        let compiled = || compile(&self.searched()).expect("a test compiles every rule");
        self.regex.get_or_init(compiled)
    }

    /// Where the rule's regex matches.
    pub(crate) fn hits<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Hit<'t>> {
        let regex = self.regex();
        let hits = regex.is_match(text).then(|| regex.captures_iter(text));
        hits.into_iter().flatten().filter_map(move |captures| self.hit(text, &captures))
    }

    /// The secret is the group that the rule names, else the first that is not empty, else all of the match.
    fn hit<'t>(&self, text: &'t [u8], captures: &Captures<'t>) -> Option<Hit<'t>> {
        let whole = captures.get(0)?;
        let secret = match self.secret_group {
            0 => captures.iter().skip(1).flatten().find(|group| !group.is_empty()),
            group => captures.get(group),
        };
        let secret = secret.unwrap_or(whole);
        (!secret.is_empty()).then(|| Hit {
            text,
            start: secret.start(),
            secret: secret.as_bytes(),
            whole: whole.start() - self.before(&text[..whole.start()])..whole.end(),
        })
    }

    /// How much of the text before a match belongs to it.
    fn before(&self, text: &[u8]) -> usize {
        let is_name =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let most = if self.has_name_before { BEFORE_NAME_BYTES } else { 0 };
        text.iter().rev().take(most).take_while(is_name).count()
    }
}

impl Hit<'_> {
    fn target(&self, target: Target) -> &[u8] {
        match target {
            Target::Secret => self.secret,
            Target::Match => &self.text[self.whole.clone()],
            Target::Line => {
                let goes_on = |byte: &&u8| **byte != b'\n';
                let (before, behind) =
                    (&self.text[..self.whole.start], &self.text[self.whole.end..]);
                let before = before.iter().rev().take(LINE_BYTES).take_while(goes_on).count();
                let behind = behind.iter().take(LINE_BYTES).take_while(goes_on).count();
                &self.text[self.whole.start - before..self.whole.end + behind]
            }
        }
    }
}

impl Allowlist {
    fn allows(&self, hit: &Hit<'_>) -> bool {
        // A list that also wants a path never holds: texts have none.
        if self.condition == Condition::And && !self.paths.is_empty() {
            return false;
        }
        let Compiled { regexes, stopwords } = self.compiled();
        let target = hit.target(self.regex_target);
        let by_regex = regexes.iter().any(|regex| regex.is_match(target));
        let by_word = stopwords.is_match(hit.secret);
        match self.condition {
            Condition::Or => by_regex || by_word,
            Condition::And => {
                (by_regex || regexes.is_empty()) && (by_word || self.stopwords.is_empty())
            }
        }
    }

    fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| self.compile().expect("a test compiles every list"))
    }

    fn compile(&self) -> Result<Compiled, String> {
        let regexes =
            self.regexes.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>()?;
        let stopwords = AhoCorasick::builder().ascii_case_insensitive(true).build(&self.stopwords);
        Ok(Compiled { regexes, stopwords: stopwords.map_err(|why| why.to_string())? })
    }
}

/// Compiles a pattern as RE2 reads it, for which the rules are written: bytes and ASCII classes.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&with_plain_braces(pattern))
        .unicode(false)
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .build()
        .map_err(|why| why.to_string())
}

/// To RE2 a brace that opens no repetition is a brace; here it must be escaped.
pub(crate) fn with_plain_braces(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let (mut rest, mut in_class) = (pattern, false);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' if !in_class => {
                in_class = true;
                // A bracket that comes first does not close its class.
                1 + ["^]", "]", "^"]
                    .iter()
                    .find(|it| rest[1..].starts_with(**it))
                    .map_or(0, |it| it.len())
            }
            '[' if rest.starts_with("[:") => rest.find(":]").map_or(1, |end| end + 2),
            ']' => {
                in_class = false;
                1
            }
            '{' if !in_class && !opens_repetition(rest) => {
                out.push('\\');
                1
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

fn opens_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest[1..].split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let is_count = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_count(least) && is_count(most)
}
