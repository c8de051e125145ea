//! A command line that cannot be read: told as every other error, in three lines, and as JSON where that was asked for.

use std::ffi::OsString;

use clap::error::ErrorKind;

use crate::{
    failure::{Exit, Failure},
    output::{self, Form},
};

/// Ends on what clap made of the command line: help and version as they are, all else as an error.
pub(crate) fn end(error: &clap::Error) -> Exit {
    let form = if wants_json(std::env::args_os().skip(1)) { Form::Json } else { Form::Table };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Where the output is closed, nobody reads it.
            let _ = error.print();
            Exit::Done
        }
        // Nothing was said yet: the whole help says more than an error.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if form == Form::Table => {
            let _ = error.print();
            Exit::Usage
        }
        _ => output::finish(Err(failure(error)), form),
    }
}

/// Whether JSON was asked for, as far as a command line tells that cannot be read.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let alone = ["--json", "-ojson", "-o=json", "--output=json"];
    words.iter().any(|word| alone.contains(&word.as_str()))
        || words
            .windows(2)
            .any(|pair| ["-o", "--output"].contains(&pair[0].as_str()) && pair[1] == "json")
        || std::env::var("BAILIWICK_OUTPUT").is_ok_and(|form| form == "json")
}

fn failure(error: &clap::Error) -> Failure {
    told(error.kind(), &error.render().to_string())
}

/// clap says what is wrong first, then tips, each after `tip:`, then the usage.
fn told(kind: ErrorKind, rendered: &str) -> Failure {
    let rendered = rendered.split("For more information, try").next().unwrap_or_default();
    let (said, usage) = rendered.split_once("Usage:").unwrap_or((rendered, ""));
    let (what, rest) = said.split_once("\n\n").unwrap_or((said, ""));
    let what = match kind {
        // The whole help stands there.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing".to_owned(),
        _ => words(what.trim_start_matches("error: ")),
    };
    let tips: Vec<String> = rest.split("tip:").map(words).filter(|tip| !tip.is_empty()).collect();
    // A value is quoted first; what is wrong with it, or the values that there are, follow.
    let (what, why) = match (what.split_once("': "), what.split_once("' [")) {
        (Some((what, why)), _) => (format!("{what}'"), why.to_owned()),
        (None, Some((what, known))) => (format!("{what}'"), known.trim_end_matches(']').to_owned()),
        (None, None) if !tips.is_empty() => (what, tips.join("; ")),
        (None, None) => (what, reason(kind).to_owned()),
    };
    let usage = words(usage.split("\n\n").next().unwrap_or_default());
    let next = match usage.as_str() {
        "" => "`--help` says more".to_owned(),
        usage => format!("write it as `{usage}`; `--help` says more"),
    };
    Failure::new("usage", what).why(why).next(next).exit(Exit::Usage)
}

fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSubcommand => "there is no such command",
        ErrorKind::UnknownArgument => "the command takes no such argument",
        ErrorKind::MissingRequiredArgument => "the command cannot do without",
        ErrorKind::ArgumentConflict => {
            "these exclude each other, or an argument may be given only once"
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "each noun has verbs, and one has to be named"
        }
        _ => "the command line cannot be read",
    }
}

/// Text in one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn text(arguments: &[&str]) -> String {
        let all = [&["bailiwick"], arguments].concat();
        let error = crate::cli::Cli::command().try_get_matches_from(all).unwrap_err();
        failure(&error).text()
    }

    #[test]
    fn a_command_line_that_cannot_be_read_says_what_why_and_how_to_write_it() {
        let usage = "`--help` says more";
        for (arguments, what, why) in [
            (&["agnt"][..], "unrecognized subcommand 'agnt'", "'agent'"),
            (&["agent", "show"], "were not provided: <NAME>", "cannot do without"),
            (&["agent", "list", "--zzz"], "unexpected argument '--zzz' found", "no such argument"),
            (&["can-i", "fly", "x/Y/z"], "invalid value 'fly' for '<VERB>'", "is not a verb"),
            (
                &["agent", "list", "-o", "yaml"],
                "invalid value 'yaml'",
                "possible values: table, json",
            ),
        ] {
            let text = text(arguments);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text}");
            assert!(lines[0].starts_with("error: ") && lines[0].contains(what), "{text}");
            assert!(lines[0].ends_with("[usage]"), "{text}");
            assert!(lines[1].contains(why), "{text}");
            assert!(lines[2].starts_with("  next: ") && lines[2].ends_with(usage), "{text}");
        }
    }

    #[test]
    fn json_is_wanted_wherever_it_is_said() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        for line in
            ["agent -o json", "-o json nonsense", "x --output=json", "demo --json", "x -ojson"]
        {
            assert!(wants(line), "{line}");
        }
        for line in ["agent list", "-o table", "json"] {
            assert!(!wants(line), "{line}");
        }
    }
}
