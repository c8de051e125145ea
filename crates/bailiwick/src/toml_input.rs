//! Files that people write: TOML in which every unknown key is an error that names the nearest known one.

use std::{ops::Range, path::Path};

use model::nearest;
use serde::de::DeserializeOwned;

use crate::{
    failure::{Failure, Result},
    files,
};

/// Reads a file into a type that denies unknown fields.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse(path, &files::read_text(path)?)
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| refused(path, text, &error))
}

/// What is wrong with a file, where, and what was probably meant.
pub(crate) fn refused(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let place = place(path, text, error.span());
    // serde says: unknown field `listn`, expected one of `listen`, `public_url`
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    match quoted.next().filter(|_| error.message().starts_with("unknown field")) {
        Some(unknown) => unknown_key(unknown, quoted, &place, ""),
        None => Failure::new("input_invalid", format!("`{}` cannot be read", path.display()))
            .why(format!("{place}: {}", error.message()))
            .next("correct that line; `--help` of the command names what the file holds"),
    }
}

/// An unknown key. `section` is empty, or ` in [section]`.
pub(crate) fn unknown_key<'a>(
    key: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    place: &str,
    section: &str,
) -> Failure {
    let meant = nearest(key, known.clone());
    let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    let known: Vec<String> = known.map(|known| format!("`{known}`")).collect();
    Failure::new("key_unknown", format!("unknown key `{key}`{section}{hint}"))
        .why(format!("it stands in {place}"))
        .next(format!("the known keys are {}", known.join(", ")))
}

/// `path:line`
pub(crate) fn place(path: &Path, text: &str, span: Option<Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("{}:{}", path.display(), before.matches('\n').count() + 1),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its names are looked at")]
    struct Input {
        listen: String,
        purpose: String,
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        let refused = parse::<Input>(Path::new("x.toml"), "purpose = ''\nlistn = ''").unwrap_err();
        assert_eq!(refused.what, "unknown key `listn`; did you mean `listen`?");
        assert!(refused.text().contains("x.toml:2"), "{}", refused.text());
    }
}
