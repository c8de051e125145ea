//! The socket's inner side.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use decide::Engine;
use govern::AddPerson;
use model::ijson;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

use super::{Code, MAX_MESSAGE, Reply, Wish};
use crate::failure::{Failure, Result};

/// How often a wrong code may be said before only a restart gives a new one.
const TRIES: u8 = 5;
/// How long somebody may take to say one line.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open socket with its code.
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
    code: Code,
    server: String,
    left: u8,
}

impl Door {
    /// Opens the socket while nobody was ever enrolled; else `None`.
    pub(crate) async fn open(engine: &Engine, path: &Path, server: &str) -> Result<Option<Self>> {
        let unreadable = |error: store::Error| {
            Failure::new("store_unreadable", "the people of this installation cannot be read")
                .because(&error)
                .next("see that the database answers, then start the node again")
        };
        // One that a killed process left: nobody else has this data folder, the ledger's lock says so.
        remove(path);
        // The ledger remembers people whom a lost or emptied database does not.
        if engine.directory().ever_held("person")
            || engine.store().read(|view| view.count("person")).await.map_err(unreadable)? > 0
        {
            return Ok(None);
        }
        let failed = |error: &io::Error| {
            Failure::new(
                "socket_not_opened",
                format!("the socket `{}` cannot be opened", path.display()),
            )
            .because(error)
            .next("a socket's path has at most 107 bytes: choose a data folder with a shorter one")
        };
        let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, owner_only).map_err(|error| failed(&error))?;
        let door = Self {
            listener,
            path: path.to_owned(),
            code: Code::draw()?,
            server: server.to_owned(),
            left: TRIES,
        };
        Ok(Some(door))
    }

    /// What the terminal shows.
    pub(crate) fn notice(&self) -> String {
        format!(
            "\nNobody is enrolled yet. Enrol the first administrator, on this machine:\n\n  \
             bailiwick key new admin.pem\n  \
             bailiwick person enroll --socket {} --handle HANDLE --name \"FULL NAME\" --key admin.pem\n\n  \
             code  {}   (for one use; {TRIES} wrong ones close the socket)\n",
            self.path.display(),
            self.code.shown(),
        )
    }

    /// Answers until the first administrator is enrolled, too many codes were wrong, or the node stops.
    pub(crate) async fn keep(mut self, engine: Arc<Engine>, stopping: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            if !is_ours(&stream) {
                tracing::warn!(code = "BW-1602", "another user knocked at the enrolment socket");
                continue;
            }
            let served = tokio::time::timeout(PATIENCE, self.serve(stream, &engine));
            if let Ok(Ok(true)) = served.await {
                return;
            }
            if self.left == 0 {
                tracing::error!(
                    code = "BW-1603",
                    "too many wrong enrolment codes; restart for a fresh one"
                );
                return;
            }
        }
    }

    /// Serves one visitor; whether the door is to be closed for good.
    async fn serve(&mut self, mut stream: UnixStream, engine: &Arc<Engine>) -> io::Result<bool> {
        let line = read_line(&mut stream).await?;
        let (reply, over) = self.answer(&line, engine).await;
        if over {
            // Before the answer: who hears that it worked finds the socket gone.
            remove(&self.path);
        }
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        stream.shutdown().await?;
        Ok(over)
    }

    async fn answer(&mut self, line: &[u8], engine: &Arc<Engine>) -> (Reply, bool) {
        let refused = |why: String| Reply::Refused { why };
        let limits = ijson::Limits { bytes: MAX_MESSAGE, depth: 8 };
        let wish = ijson::parse(line, limits).map_err(|error| error.to_string()).and_then(|json| {
            serde_json::from_value::<Wish>(json.to_value()).map_err(|error| error.to_string())
        });
        let wish = match wish {
            Ok(wish) => wish,
            Err(why) => return (refused(why), false),
        };
        if !self.code.matches(&wish.code) {
            self.left = self.left.saturating_sub(1);
            return (Reply::WrongCode { left: self.left }, self.left == 0);
        }
        let person = match person(engine, &wish) {
            Ok(person) => person,
            Err(why) => return (refused(why), false),
        };
        match govern::enrol_first(engine, person).await {
            Ok(id) => {
                let identity = engine.context().realm.uri(&id);
                tracing::info!(code = "BW-1601", person = %id, "the first administrator is enrolled");
                (Reply::Enrolled { identity, server: self.server.clone() }, true)
            }
            // Another node was first: there is a person now.
            Err(why @ govern::Error::Conflict(_)) => (refused(why.to_string()), true),
            Err(why) => (refused(crate::failure::chain(&why)), false),
        }
    }
}

/// Whatever ends the door, nothing of it stays.
impl Drop for Door {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn person(engine: &Engine, wish: &Wish) -> std::result::Result<AddPerson, String> {
    let key = serde_json::to_vec(&wish.key).map_err(|error| error.to_string())?;
    let limits = ijson::Limits { bytes: MAX_MESSAGE, depth: 4 };
    Ok(AddPerson {
        id: engine.pseudonym(),
        handle: wish.handle.parse().map_err(|error: model::NameError| error.to_string())?,
        display_name: wish.display_name.clone(),
        manager: None,
        teams: Vec::new(),
        key: ijson::parse(&key, limits).map_err(|error| error.to_string())?,
    })
}

/// Whether the visitor is this program's own user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    let ours = rustix::process::getuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == ours || peer.uid() == 0)
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut bounded = stream.take(MAX_MESSAGE as u64);
    let mut buffer = [0; 1024];
    loop {
        let read = bounded.read(&mut buffer).await?;
        line.extend_from_slice(&buffer[..read]);
        if read == 0 || line.ends_with(b"\n") {
            return Ok(line);
        }
    }
}

fn remove(path: &Path) {
    // One that is not there is as gone as one that is removed.
    let _ = fs::remove_file(path);
}
