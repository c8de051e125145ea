use model::{Name, Verb, ijson::Json};

use super::{
    ALL, hint,
    words::{
        AFTER, AMOUNTS, CONTAINERS, EMPTY, JOINTS, MAY_RUN, NATURAL_IDS, RUNNABLE, RUNS, class,
        money, never_harmless, singular, split, verbs,
    },
};

/// A tool's definition, as far as guesses read it.
pub(super) struct Definition {
    words: Vec<String>,
    /// How many of them name a space of names: one in `orders.list`.
    space: usize,
    properties: Vec<Property>,
    pub(super) read_only: Option<bool>,
    pub(super) destructive: Option<bool>,
}

/// An argument that the schema names.
pub(super) struct Property {
    pub(super) name: String,
    /// The name's words, joined by `_`.
    plain: String,
    types: Vec<String>,
    description: String,
    required: bool,
}

impl Definition {
    pub(super) fn read(definition: &str, name: &str) -> Option<Self> {
        let definition: Json = serde_json::from_str(definition).ok()?;
        let schema = definition.member("inputSchema")?;
        let required = match schema.member("required") {
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        let properties = match schema.member("properties") {
            Some(Json::Object(properties)) => properties
                .iter()
                .map(|(name, schema)| Property::of(name, schema, required.contains(&name.as_str())))
                .collect(),
            _ => Vec::new(),
        };
        Some(Self {
            words: split(name),
            space: name.rfind(['.', '/', ':']).map_or(0, |at| split(&name[..at]).len()),
            properties,
            read_only: hint(&definition, "readOnlyHint"),
            destructive: hint(&definition, "destructiveHint"),
        })
    }

    /// What it runs of what it is given, if it does.
    pub(super) fn runs(&self) -> Option<String> {
        let takes = |names: &[&str]| {
            let mut taken = self.properties.iter();
            let found = taken.find(|one| one.is_text() && names.contains(&one.plain.as_str()));
            found.map(|one| format!("`{}`", one.name))
        };
        let runnable = |word: &String| RUNNABLE.contains(&singular(word).as_str());
        let known = self.words.iter().find_map(|word| verbs(word));
        let may = known.is_none_or(|verbs| verbs.contains(&Verb::Execute));
        let says = known.is_some_and(|verbs| verbs.contains(&Verb::Execute))
            && (self.nouns().is_empty() || self.words.iter().any(runnable));
        takes(&RUNS)
            .or_else(|| takes(&MAY_RUN).filter(|_| may))
            .or_else(|| says.then(|| "by its name".to_owned()))
    }

    /// Where the word stands that says what is done.
    fn verb_at(&self) -> Option<usize> {
        self.words.iter().position(|word| verbs(word).is_some())
    }

    /// Whether the word for what is done stands where a name says it: at the beginning, or behind the server's own name or
    /// several things (`orders_list`).
    pub(super) fn says_plainly(&self, server: &str) -> bool {
        let own = split(server);
        let several = |word: &String| word.len() > 3 && singular(word) != *word;
        self.verb_at().is_some_and(|at| {
            let before = self.words.get(self.space..at).unwrap_or_default();
            before.iter().all(|word| own.contains(word) || several(word))
        })
    }

    /// What its name says that it does; nothing, where it says nothing.
    pub(super) fn verbs_of_name(&self) -> Vec<Verb> {
        let Some(at) = self.verb_at() else {
            let pays = self.words.iter().any(|word| money(word).is_some());
            return if pays { vec![Verb::Pay] } else { Vec::new() };
        };
        let rest = &self.words[at + 1..];
        let mut found = verbs(&self.words[at]).unwrap_or_default().to_vec();
        let moves =
            found.iter().any(|verb| [Verb::Create, Verb::Execute, Verb::Send].contains(verb));
        if moves && rest.iter().any(|word| money(word).is_some()) {
            return vec![Verb::Pay];
        }
        for pair in self.words.windows(2) {
            if JOINTS.contains(&pair[0].as_str()) {
                found.extend(verbs(&pair[1]).unwrap_or_default());
            }
        }
        if !found.iter().any(|verb| verb.writes()) {
            found.extend(rest.iter().find_map(|word| never_harmless(word)));
        }
        let mut seen = Vec::new();
        found.retain(|verb| {
            !seen.contains(verb) && {
                seen.push(*verb);
                true
            }
        });
        found
    }

    /// The words for the thing that it is about.
    fn nouns(&self) -> Vec<String> {
        let (before, after) = match self.verb_at() {
            Some(at) => (&self.words[..at], &self.words[at + 1..]),
            None => (&[][..], self.words.get(1..).unwrap_or_default()),
        };
        let phrase = |words: &[String]| -> Vec<String> {
            let words = match words {
                [joint, verb, rest @ ..] if JOINTS.contains(&&**joint) && verbs(verb).is_some() => {
                    rest
                }
                words => words,
            };
            let words = words.iter().take_while(|word| !AFTER.contains(&word.as_str()));
            words.filter(|word| !EMPTY.contains(&word.as_str())).cloned().collect()
        };
        let mut nouns = phrase(after);
        if nouns.is_empty() {
            nouns = phrase(before);
        }
        if let Some(last) = nouns.last_mut() {
            *last = singular(last);
        }
        nouns
    }

    /// The kind of thing: by its name, else by the argument that names one.
    pub(super) fn kind(&self) -> Option<String> {
        let nouns = self.nouns();
        if !nouns.is_empty() {
            return type_name(&nouns);
        }
        let required = || self.properties.iter().filter(|one| one.required && one.is_text());
        if let Some(one) = required().find(|one| one.plain.len() > 3 && one.plain.ends_with("_id"))
        {
            return type_name(&split(one.plain.trim_end_matches("_id")));
        }
        let named = |names: &[&str]| required().any(|one| names.contains(&one.plain.as_str()));
        match () {
            () if named(&["path", "file_path", "filepath", "filename"]) => Some("File".to_owned()),
            () if named(&["uri", "url"]) => Some("Page".to_owned()),
            () => None,
        }
    }

    pub(super) fn payment_kind(&self) -> String {
        let kind = self.words.iter().rev().find_map(|word| money(word));
        kind.unwrap_or("Payment").to_owned()
    }

    /// The expression for the id of what these verbs are used on.
    pub(super) fn id(&self, verbs: &[Verb]) -> String {
        let makes = verbs == [Verb::Create];
        let around = makes || [Verb::List, Verb::Export].iter().any(|verb| verbs.contains(verb));
        let leaf = self.own_id().or_else(|| self.foreign_ids().filter(|_| !around));
        let containers: Vec<&Property> = match &leaf {
            Some(leaf) if leaf.len() == 1 && CONTAINERS.contains(&leaf[0].plain.as_str()) => vec![],
            _ => CONTAINERS.iter().filter_map(|name| self.required(name)).collect(),
        };
        let mut terms: Vec<String> =
            containers.iter().map(|one| format!("args.{}", one.name)).collect();
        match leaf {
            Some(leaf) => terms.extend(leaf.iter().map(|one| format!("args.{}", one.name))),
            None if terms.is_empty() => return if makes { "'new'" } else { ALL }.to_owned(),
            None => {
                let rest = if makes { "new" } else { "all" };
                return format!("{} + '/{rest}'", terms.join(" + '/' + "));
            }
        }
        terms.join(" + '/' + ")
    }

    fn required(&self, plain: &str) -> Option<&Property> {
        self.properties.iter().find(|one| one.plain == plain && one.names_a_thing())
    }

    /// The argument that names the thing itself.
    fn own_id(&self) -> Option<Vec<&Property>> {
        let nouns = self.nouns();
        let (all, last) = (nouns.join("_"), nouns.last().cloned().unwrap_or_default());
        let of = |noun: &str| {
            ["_id", "_key", "_number", "_uuid", "", "_name", "_path"]
                .map(|end| format!("{noun}{end}"))
        };
        let own = std::iter::once("id".to_owned()).chain(of(&all)).chain(of(&last));
        let names = own.chain(NATURAL_IDS.map(str::to_owned)).filter(|name| !name.is_empty());
        names.into_iter().find_map(|name| self.required(&name)).map(|one| vec![one])
    }

    /// The arguments that name other things, by which this one is known.
    fn foreign_ids(&self) -> Option<Vec<&Property>> {
        let named = self.properties.iter().filter(|one| one.names_a_thing());
        let ids: Vec<&Property> = named.filter(|one| one.plain.ends_with("_id")).collect();
        (!ids.is_empty()).then_some(ids)
    }

    /// From where to where it takes a thing, and what it does to the old place.
    pub(super) fn relocation(&self) -> Option<(Verb, String, String)> {
        let first = match self.words[self.verb_at()?].as_str() {
            "move" | "rename" => Verb::Delete,
            "copy" => Verb::Read,
            _ => return None,
        };
        let pairs = [
            ("source", "destination"),
            ("from", "to"),
            ("old_path", "new_path"),
            ("source_path", "destination_path"),
        ];
        let (from, to) =
            pairs.iter().find_map(|(from, to)| Some((self.required(from)?, self.required(to)?)))?;
        Some((first, format!("args.{}", from.name), format!("args.{}", to.name)))
    }

    pub(super) fn amount(&self) -> Option<&Property> {
        let named = |name: &&str| {
            self.properties.iter().find(|one| one.plain == **name && one.required && one.is_plain())
        };
        AMOUNTS.iter().find_map(named)
    }

    pub(super) fn currency(&self) -> Option<&Property> {
        let mut required = self.properties.iter().filter(|one| one.names_a_thing());
        required.find(|one| ["currency", "currency_code"].contains(&one.plain.as_str()))
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = Name> {
        let arguments = self.properties.iter().flat_map(|one| one.plain.split('_'));
        let words = self.words.iter().map(String::as_str).chain(arguments);
        words.filter_map(|word| class(&singular(word))).filter_map(|class| class.parse().ok())
    }
}

impl Property {
    fn of(name: &str, schema: &Json, required: bool) -> Self {
        let types = match schema.member("type") {
            Some(Json::String(one)) => vec![one.clone()],
            Some(Json::Array(several)) => {
                several.iter().filter_map(Json::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let description = schema.member("description").and_then(Json::as_str).unwrap_or_default();
        Self {
            name: name.to_owned(),
            plain: split(name).join("_"),
            types,
            description: description.to_ascii_lowercase(),
            required,
        }
    }

    /// Whether an expression can read it.
    fn is_plain(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !self.name.is_empty() && self.name.bytes().all(plain)
    }

    fn is(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|one| one == kind)
    }

    fn is_text(&self) -> bool {
        self.is("string")
    }

    fn names_a_thing(&self) -> bool {
        self.required && self.is_plain() && (self.is_text() || self.is("integer"))
    }

    pub(super) fn is_whole(&self) -> bool {
        self.types == ["integer"]
    }

    pub(super) fn says_minor_units(&self) -> bool {
        let told = format!("{}_{}", self.plain, self.description);
        let words = split(&told);
        let mut words = words.iter().map(String::as_str);
        words.any(|word| ["cent", "cents", "minor", "pence", "smallest"].contains(&word))
    }
}

/// `OrderLine`; `None` where the words make no type name.
fn type_name(words: &[String]) -> Option<String> {
    let capital = |word: &String| {
        let (first, rest) = word.split_at_checked(1)?;
        Some(first.to_ascii_uppercase() + rest)
    };
    let name: String = words.iter().map(capital).collect::<Option<_>>()?;
    name.starts_with(|first: char| first.is_ascii_uppercase()).then_some(name)
}
