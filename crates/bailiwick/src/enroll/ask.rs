//! The socket's outer side: `person enroll`.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{MAX_MESSAGE, Reply, Wish};
use crate::failure::{Exit, Failure, Result};

/// How long the door may take: it waits for the ledger.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who was enrolled, and where.
pub(crate) struct Enrolled {
    pub(crate) identity: String,
    pub(crate) server: String,
}

/// Asks to become the first administrator.
pub(crate) fn enroll(socket: &Path, wish: &Wish) -> Result<Enrolled> {
    let stream = UnixStream::connect(socket).map_err(|error| {
        let closed = Failure::new("enrolment_closed", format!("nobody answers at `{}`", socket.display()));
        closed
            .because(&error)
            .next("the socket is there only while `serve` runs and nobody is enrolled; later, an administrator runs `bailiwick person add`")
            .exit(Exit::Unreachable)
    })?;
    let reply = exchange(stream, wish).map_err(|error| {
        Failure::new("enrolment_broken", "the enrolment socket gave no answer")
            .because(&error)
            .next("look at what `bailiwick serve` says on its terminal, then try again")
            .exit(Exit::Unreachable)
    })?;
    match reply {
        Reply::Enrolled { identity, server } => Ok(Enrolled { identity, server }),
        Reply::WrongCode { left: 0 } => {
            Err(Failure::new("enrolment_code_wrong", "this is not the code")
                .why("it was the last try, and the socket is closed")
                .next("restart `bailiwick serve`; it shows a fresh code")
                .exit(Exit::NotPermitted))
        }
        Reply::WrongCode { left } => {
            Err(Failure::new("enrolment_code_wrong", "this is not the code")
                .why(format!("{left} more tries are left"))
                .next("take the code that `bailiwick serve` shows on its terminal")
                .exit(Exit::NotPermitted))
        }
        Reply::Refused { why } => {
            Err(Failure::new("enrolment_refused", "the first administrator was not enrolled")
                .why(why)
                .next("correct what it names; where somebody is enrolled already, they run `bailiwick person add`")
                .exit(Exit::Conflict))
        }
    }
}

fn exchange(mut stream: UnixStream, wish: &Wish) -> io::Result<Reply> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(wish)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = Vec::new();
    stream.take(MAX_MESSAGE as u64).read_to_end(&mut reply)?;
    Ok(serde_json::from_slice(&reply)?)
}
