//! The keys of an installation: each has one purpose, and lies wrapped by the master key.

use std::path::Path;

use ledger::CheckpointKey;
use store::{KeyBookError, SubjectKeyBook};
use token::{Algorithm, MasterKey, Secret, SigningKey};

use crate::{
    config::{Config, MasterRef},
    failure::{Exit, Failure, Result, TELL_US},
    files, passphrase, random,
};

const VERIFIER_FILE: &str = "checkpoint.pub";

/// What a passphrase is mixed with, so that nobody can try passphrases for many installations at once.
const SALT_FILE: &str = "master.salt";

/// What to do about a key that is lost or damaged.
const FROM_BACKUP: &str =
    "bring it back from a backup; for a new installation, run `bailiwick init`";

const TOKEN: &str = "token";
const CHECKPOINT: &str = "checkpoint";
const INDEX: &str = "index";
const NONCE: &str = "nonce";
const BROKER: &str = "broker";
/// The checkpoint key to be, while one takes the place of another.
const NEXT: &str = "checkpoint-next";
/// The checkpoint key that was, as long as both sign.
const FORMER: &str = "checkpoint-former";

/// What a node signs, seals and hides with.
pub(crate) struct Keys {
    /// Signs tokens.
    pub(crate) token: SigningKey,
    /// Signs heads of the ledger.
    pub(crate) checkpoint: CheckpointKey,
    /// Makes blind indexes.
    pub(crate) index: [u8; 32],
    /// Seals nonces.
    pub(crate) nonce: MasterKey,
    /// Seals the tokens that people lend.
    pub(crate) broker: MasterKey,
}

/// Draws every key, wraps it and writes it into `dir`. Returns the line that checks the ledger's signatures.
pub(crate) fn create(master: &MasterKey, dir: &Path, origin: &str) -> Result<String> {
    files::make_private_dir(dir)?;
    let token = SigningKey::generate(Algorithm::EdDSA).and_then(|key| key.to_pem());
    let token = token.map_err(|error| {
        Failure::new("key_not_made", "no key could be made")
            .because(&error)
            .next("try again; if it stays so, look at the system's `getrandom`")
    })?;
    let seed = Secret::new(random::bytes::<32>()?);
    put(master, dir, TOKEN, &token)?;
    put(master, dir, CHECKPOINT, &seed)?;
    put(master, dir, INDEX, &Secret::new(random::bytes::<32>()?))?;
    for name in [NONCE, BROKER] {
        put(master, dir, name, &new_master()?.to_base64())?;
    }
    let line = CheckpointKey::from_seed(&exactly_32(CHECKPOINT, &seed)?).verifier(origin);
    let line = line.map_err(|error| {
        Failure::new("key_not_made", format!("a ledger cannot be named `{origin}`"))
            .because(&error)
            .next("choose another organization or environment")
    })?;
    files::write_new(&dir.join(VERIFIER_FILE), format!("{line}\n").as_bytes())?;
    files::write_new_secret(&dir.join(SALT_FILE), &random::bytes::<{ passphrase::SALT_BYTES }>()?)?;
    Ok(line.to_string())
}

/// A fresh master key.
pub(crate) fn new_master() -> Result<MasterKey> {
    MasterKey::generate().map_err(|error| {
        Failure::new("no_randomness", "no master key could be drawn")
            .because(&error)
            .next("try again; if it stays so, look at the system's `getrandom`")
    })
}

/// Reads the master key from where the configuration says it is, or derives it from the passphrase there.
pub(crate) fn master(place: &MasterRef, dir: &Path) -> Result<MasterKey> {
    let secret = place.place.read()?;
    if place.is_passphrase {
        return passphrase::master(&secret, files::read_secret(&dir.join(SALT_FILE))?.expose());
    }
    let unreadable = Failure::new("master_key_invalid", format!("`{place}` holds no master key"));
    let text = secret.expose_text().unwrap_or_default();
    MasterKey::from_base64(text).map_err(|error| {
        unreadable
            .because(&error)
            .next("bring the key back from where you keep it, or correct `data.master_key`")
    })
}

/// The public half of the checkpoint key, as auditors need it.
pub(crate) fn verifier_line(dir: &Path) -> Result<String> {
    Ok(files::read_text(&dir.join(VERIFIER_FILE))?.trim().to_owned())
}

/// Puts another line in its place: the ledger has another name.
pub(crate) fn put_verifier_line(dir: &Path, line: &str) -> Result<()> {
    files::replace(&dir.join(VERIFIER_FILE), format!("{line}\n").as_bytes())
}

/// Says of everything that is missing at once; then opens every key, so that no start fails on one.
pub(crate) fn check(config: &Config) -> Result<()> {
    let dir = config.keys_dir();
    let wrapped = [TOKEN, CHECKPOINT, INDEX, NONCE].map(|name| file(&dir, name));
    let master = config.master_key.file().map(Path::to_owned);
    let others = [dir.join(VERIFIER_FILE), config.subject_keys.clone()];
    let files = master.into_iter().chain(wrapped).chain(others);
    let missing: Vec<_> = files.filter(|file| file.symlink_metadata().is_err()).collect();
    if missing.len() > 1 {
        let missing: Vec<_> = missing.iter().map(|file| format!("`{}`", file.display())).collect();
        return Err(Failure::new("key_missing", format!("{} keys are missing", missing.len()))
            .why(format!("these files are not there: {}", missing.join(", ")))
            .next(FROM_BACKUP));
    }
    let master = self::master(&config.master_key, &dir)?;
    load(&master, &dir)?;
    subjects(&config.subject_keys, master)?;
    files::read(&dir.join(VERIFIER_FILE)).map(|_| ())
}

/// Wraps every key by another master key, each in one step; those that it opens already stay. Says how many were wrapped.
pub(crate) fn rewrap(dir: &Path, from: &MasterKey, to: &MasterKey) -> Result<u64> {
    let mut count = 0;
    let is_there = |name: &&str| file(dir, name).symlink_metadata().is_ok();
    let passing = [NEXT, FORMER].into_iter().filter(is_there);
    for name in [TOKEN, CHECKPOINT, INDEX, NONCE, BROKER].into_iter().chain(passing) {
        if get(to, dir, name).is_err() {
            let wrapped = wrap(to, name, &get(from, dir, name)?)?;
            files::replace(&file(dir, name), &wrapped)?;
            count += 1;
        }
    }
    Ok(count)
}

/// The same of the keys of subjects, all in one step.
pub(crate) fn rewrap_subjects(file: &Path, from: MasterKey, to: MasterKey) -> Result<u64> {
    if SubjectKeyBook::open(file, to.clone()).is_ok() {
        return Ok(0);
    }
    let mut book = subjects(file, from)?;
    book.rewrap(to).map_err(|error| {
        let file = file.display();
        Failure::new("not_rotated", format!("the keys of subjects, `{file}`, stay wrapped as they are"))
            .because(&error)
            .next("see that the file is whole and can be written, then rotate again: what is done stays done")
    })
}

/// Begins the book of the keys of subjects.
pub(crate) fn create_subjects(file: &Path, master: MasterKey) -> Result<()> {
    SubjectKeyBook::create(file, master).map(drop).map_err(|error| {
        Failure::new(
            "subject_keys_not_made",
            format!("the keys of subjects cannot be kept in `{}`", file.display()),
        )
        .because(&error)
        .next("see that there is no such file and that its folder can be written")
    })
}

/// Opens the keys of subjects.
pub(crate) fn subjects(file: &Path, master: MasterKey) -> Result<SubjectKeyBook> {
    if file.symlink_metadata().is_ok() {
        files::check_private(file)?;
    }
    SubjectKeyBook::open(file, master).map_err(|error| {
        let file = file.display();
        match &error {
            KeyBookError::Missing => Failure::new(
                "key_missing",
                format!("the keys of subjects, `{file}`, are missing"),
            )
            .why("what people and agents said is sealed under them, and nothing else opens it")
            .next("bring the file back from where you keep it, or correct `data.subject_keys`"),
            KeyBookError::OtherMaster => Failure::new(
                "key_closed",
                format!("the keys of subjects, `{file}`, do not open"),
            )
            .because(&error)
            .next("check that `data.master_key` is the key of this data folder; after `keys rotate` it is the new one"),
            _ => Failure::new("subject_keys_closed", format!("the keys of subjects, `{file}`, cannot be used"))
                .because(&error)
                .next("see that this user may read and write the file, and that it is the one that belongs to this ledger"),
        }
    })
}

/// Opens every key.
pub(crate) fn load(master: &MasterKey, dir: &Path) -> Result<Keys> {
    if file(dir, "payload").symlink_metadata().is_ok() {
        return Err(Failure::new("data_too_old", "this data folder was made by an older version")
            .why("it seals all payloads under one key, `payload.key`, which this version does not know")
            .next("go on with the version that made it, or make a new installation with `bailiwick init`"));
    }
    let open = |name| get(master, dir, name);
    let wrong = |name: &str, error: &dyn std::error::Error| {
        Failure::new("key_invalid", format!("the {name} key cannot be used"))
            .because(error)
            .next(FROM_BACKUP)
    };
    let token = open(TOKEN)?;
    let token = SigningKey::from_pem(token.expose_text().unwrap_or_default());
    // An installation of before this key has sealed nothing by it.
    if file(dir, BROKER).symlink_metadata().is_err() {
        put(master, dir, BROKER, &new_master()?.to_base64())?;
    }
    let master_key = |name| {
        let key = open(name)?;
        let key = MasterKey::from_base64(key.expose_text().unwrap_or_default());
        key.map_err(|error| wrong(name, &error))
    };
    Ok(Keys {
        token: token.map_err(|error| wrong(TOKEN, &error))?,
        checkpoint: checkpoint(master, dir)?,
        index: exactly_32(INDEX, &open(INDEX)?)?,
        nonce: master_key(NONCE)?,
        broker: master_key(BROKER)?,
    })
}

/// The key that signs heads, and the one before it, as long as both do.
fn checkpoint(master: &MasterKey, dir: &Path) -> Result<CheckpointKey> {
    let open = |name| Ok(CheckpointKey::from_seed(&exactly_32(name, &get(master, dir, name)?)?));
    let key = open(CHECKPOINT)?;
    if file(dir, FORMER).symlink_metadata().is_err() {
        return Ok(key);
    }
    Ok(key.beside(open(FORMER)?))
}

/// Whether two checkpoint keys sign; and whether one is about to take the place of another.
pub(crate) fn passing(dir: &Path) -> (bool, bool) {
    let is_there = |name| file(dir, name).symlink_metadata().is_ok();
    (is_there(FORMER), is_there(NEXT))
}

/// The checkpoint key to be, drawn where there is none yet.
pub(crate) fn next_checkpoint(master: &MasterKey, dir: &Path) -> Result<CheckpointKey> {
    if file(dir, NEXT).symlink_metadata().is_err() {
        put(master, dir, NEXT, &Secret::new(random::bytes::<32>()?))?;
    }
    Ok(CheckpointKey::from_seed(&exactly_32(NEXT, &get(master, dir, NEXT)?)?))
}

/// Puts it in its place, beside the former one. What was cut goes on where it was.
pub(crate) fn take_next_checkpoint(master: &MasterKey, dir: &Path, line: &str) -> Result<()> {
    if file(dir, FORMER).symlink_metadata().is_err() {
        put(master, dir, FORMER, &get(master, dir, CHECKPOINT)?)?;
    }
    let next = get(master, dir, NEXT)?;
    files::replace(&file(dir, CHECKPOINT), &wrap(master, CHECKPOINT, &next)?)?;
    put_verifier_line(dir, line)?;
    remove(dir, NEXT)
}

/// Destroys the former checkpoint key.
pub(crate) fn forget_former_checkpoint(dir: &Path) -> Result<()> {
    remove(dir, FORMER)
}

fn remove(dir: &Path, name: &str) -> Result<()> {
    let path = file(dir, name);
    std::fs::remove_file(&path).map_err(|error| {
        Failure::new(
            "key_not_removed",
            format!("the key `{}` could not be removed", path.display()),
        )
        .because(&error)
        .next("see that the folder of keys can be written, and run it again")
    })
}

fn put(master: &MasterKey, dir: &Path, name: &str, secret: &Secret) -> Result<()> {
    files::write_new_secret(&file(dir, name), &wrap(master, name, secret)?)
}

fn wrap(master: &MasterKey, name: &str, secret: &Secret) -> Result<Vec<u8>> {
    master.wrap(&purpose(name), secret.expose()).map_err(|error| {
        Failure::new("key_not_wrapped", format!("the {name} key could not be wrapped"))
            .because(&error)
            .next(TELL_US)
    })
}

fn get(master: &MasterKey, dir: &Path, name: &str) -> Result<Secret> {
    let path = file(dir, name);
    let wrapped = files::read_secret(&path).map_err(|failure| match failure.exit {
        Exit::NotFound => {
            Failure::new("key_missing", format!("the {name} key `{}` is missing", path.display()))
                .why("what it signed or sealed cannot be checked or opened without it")
                .next(FROM_BACKUP)
        }
        _ => failure,
    })?;
    master.unwrap(&purpose(name), wrapped.expose()).map_err(|error| {
        Failure::new("key_closed", format!("the {name} key `{}` does not open", path.display()))
            .because(&error)
            .next("check that `data.master_key` is the key of this data folder")
    })
}

fn exactly_32(name: &str, secret: &Secret) -> Result<[u8; 32]> {
    let what = format!("the {name} key is damaged");
    secret
        .expose()
        .try_into()
        .map_err(|_| Failure::new("key_invalid", what).why("it has not 32 bytes").next(FROM_BACKUP))
}

fn purpose(name: &str) -> String {
    format!("key/{name}")
}

fn file(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join(format!("{name}.key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_with_their_master_key_alone_and_each_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys");
        let master = new_master().unwrap();
        let line = create(&master, &dir, "acme/prod/1").unwrap();
        let keys = load(&master, &dir).unwrap();
        assert_eq!(keys.checkpoint.verifier("acme/prod/1").unwrap().to_string(), line);
        let other = load(&new_master().unwrap(), &dir).err().unwrap();
        assert_eq!(other.code, "key_closed");
        let checkpoint = dir.join("checkpoint.key");
        let good = std::fs::read(&checkpoint).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [&flipped[..], &good[..good.len() / 2], b""] {
            std::fs::write(&checkpoint, bad).unwrap();
            assert_eq!(load(&master, &dir).err().unwrap().code, "key_closed");
        }
        std::fs::write(&checkpoint, good).unwrap();
        std::fs::rename(dir.join("index.key"), dir.join("token.key")).unwrap();
        assert_eq!(load(&master, &dir).err().unwrap().code, "key_closed");
        std::fs::remove_file(dir.join("token.key")).unwrap();
        assert_eq!(load(&master, &dir).err().unwrap().code, "key_missing");
    }

    #[test]
    fn an_installation_from_before_a_key_gets_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys");
        let master = new_master().unwrap();
        create(&master, &dir, "acme/prod/1").unwrap();
        std::fs::remove_file(dir.join("broker.key")).unwrap();
        let sealed = load(&master, &dir).unwrap().broker.wrap("p", b"s").unwrap();
        assert!(load(&master, &dir).unwrap().broker.unwrap("p", &sealed).is_ok());
    }

    #[test]
    fn keys_that_are_wrapped_anew_open_with_the_new_master_key_alone_and_a_cut_rotation_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys");
        let (old, new) = (new_master().unwrap(), new_master().unwrap());
        let line = create(&old, &dir, "acme/prod/1").unwrap();
        // As if it had been cut behind the first.
        let token = get(&old, &dir, TOKEN).unwrap();
        files::replace(&file(&dir, TOKEN), &wrap(&new, TOKEN, &token).unwrap()).unwrap();
        assert_eq!(rewrap(&dir, &old, &new).unwrap(), 4);
        assert_eq!(rewrap(&dir, &old, &new).unwrap(), 0);
        let keys = load(&new, &dir).unwrap();
        assert_eq!(keys.checkpoint.verifier("acme/prod/1").unwrap().to_string(), line);
        assert_eq!(load(&old, &dir).err().unwrap().code, "key_closed");
        let third = new_master().unwrap();
        assert!(rewrap(&dir, &old, &third).is_err(), "neither opens them");
        assert!(load(&new, &dir).is_ok(), "and they stay as they are");
    }

    #[test]
    fn a_data_folder_with_one_key_for_all_payloads_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys");
        let master = new_master().unwrap();
        create(&master, &dir, "acme/prod/1").unwrap();
        std::fs::write(dir.join("payload.key"), b"wrapped").unwrap();
        assert_eq!(load(&master, &dir).err().unwrap().code, "data_too_old");
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys");
        let master = new_master().unwrap();
        create(&master, &dir, "acme/prod/1").unwrap();
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(dir.join("token.key"), open).unwrap();
        assert_eq!(load(&master, &dir).err().unwrap().code, "secret_open_to_others");
    }
}
