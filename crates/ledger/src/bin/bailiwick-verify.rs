//! A verifier that is nothing else: it checks a pack offline as `bailiwick verify` does, on `ledger::verify` and what that
//! stands on. For auditors who would rather read and build that little than the whole of Bailiwick.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks there"
)]

use std::{
    ffi::OsString,
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ledger::{TlogPolicy, VerifierKey, verify};
use model::{Foreign, Timestamp};

const USAGE: &str = "\
bailiwick-verify PACK --key LINE|FILE [--older FILE]... [--policy FILE] [--json]

  PACK          the folder that `bailiwick ledger export` made
  --key         the ledger's verifier key, `name+id+key`, or a file with it, by another way than the pack
  --older       a signed checkpoint that you have kept from before
  --policy      a C2SP tlog-policy: the witnesses that you trust, and how many must have cosigned a head
  --json        one document in place of the text

The status is 0 where all of it holds, 3 where not, 6 where there is no pack, 2 where the command line cannot be read.
";

/// The longest key, checkpoint or policy, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// What the command line says.
#[derive(Default)]
struct Asked {
    pack: Option<PathBuf>,
    key: Option<OsString>,
    older: Vec<PathBuf>,
    policy: Option<PathBuf>,
    json: bool,
}

/// Why there is no verdict.
enum NoVerdict {
    /// The command line, or a file that it names, cannot be read.
    Usage(String),
    /// There is no pack.
    NoPack(String),
}

fn main() -> ExitCode {
    let ran = asked(std::env::args_os().skip(1)).and_then(|asked| run(&asked));
    match ran {
        Ok(clean) => ExitCode::from(if clean { 0 } else { 3 }),
        Err(NoVerdict::Usage(why)) => {
            eprint!("{}\n\n{USAGE}", Foreign::new(why));
            ExitCode::from(2)
        }
        Err(NoVerdict::NoPack(why)) => {
            eprintln!("{}", Foreign::new(why));
            ExitCode::from(6)
        }
    }
}

fn asked(words: impl Iterator<Item = OsString>) -> Result<Asked, NoVerdict> {
    let (mut asked, mut words) = (Asked::default(), words);
    while let Some(word) = words.next() {
        let mut value = || {
            let missing = || NoVerdict::Usage(format!("`{}` wants a value", word.display()));
            words.next().ok_or_else(missing)
        };
        match word.to_str() {
            Some("--key") => asked.key = Some(value()?),
            Some("--older") => asked.older.push(value()?.into()),
            Some("--policy") => asked.policy = Some(value()?.into()),
            Some("--json") => asked.json = true,
            Some(flag) if flag.starts_with('-') => {
                return Err(NoVerdict::Usage(format!("`{flag}` is not known")));
            }
            _ if asked.pack.is_none() => asked.pack = Some(word.into()),
            _ => return Err(NoVerdict::Usage("one pack is checked at a time".to_owned())),
        }
    }
    Ok(asked)
}

/// Checks and tells; whether all of it holds.
fn run(asked: &Asked) -> Result<bool, NoVerdict> {
    let usage = |what: &str| NoVerdict::Usage(what.to_owned());
    let pack = asked.pack.as_deref().ok_or_else(|| usage("name a pack"))?;
    let key = asked.key.as_ref().ok_or_else(|| {
        usage("say `--key`: a key from inside the pack would fit whatever is in it")
    })?;
    let key = verifier_key(key)?;
    let policy = asked.policy.as_deref().map(policy).transpose()?;
    let older = asked.older.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let older: Vec<&[u8]> = older.iter().map(Vec::as_slice).collect();
    let head = pack.join("checkpoint");
    let is_none =
        |error: io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    if head.metadata().is_err_and(is_none) {
        let why = format!(
            "there is no pack in `{}`: it has no signed head, `checkpoint`",
            pack.display()
        );
        return Err(NoVerdict::NoPack(why));
    }
    let mut report = verify::pack(pack, &key.to_string(), &older, None);
    if let Some(policy) = &policy {
        report.ask_for_witnesses(&key, policy, now());
    }
    match asked.json {
        true => println!("{}", report.document()),
        false => println!("{report}"),
    }
    Ok(report.is_clean())
}

fn verifier_key(given: &OsString) -> Result<VerifierKey, NoVerdict> {
    let file = Path::new(given);
    let line = match file.is_file() {
        true => String::from_utf8_lossy(&read(file)?).trim().to_owned(),
        false => given.display().to_string(),
    };
    line.parse().map_err(|error| NoVerdict::Usage(format!("`--key`: {error}")))
}

fn policy(file: &Path) -> Result<TlogPolicy, NoVerdict> {
    TlogPolicy::parse(&read(file)?)
        .map_err(|error| NoVerdict::Usage(format!("`{}`: {error}", file.display())))
}

fn read(file: &Path) -> Result<Vec<u8>, NoVerdict> {
    let wrong = |why: String| NoVerdict::Usage(format!("`{}`: {why}", file.display()));
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|it| it.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match opened {
        Ok(length) if length as u64 <= MAX_FILE => Ok(bytes),
        Ok(_) => {
            Err(wrong("it is longer than 64 KiB, so it is most likely another file".to_owned()))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The moment by which lines of witnesses are not from the future.
#[expect(clippy::disallowed_methods, reason = "a program of its own has no other clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
