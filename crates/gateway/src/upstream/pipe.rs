//! A server that is a program: one process, many calls at once, one message a line
//! ([MCP 2025-11-25, stdio](https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio)).

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use model::{Foreign, ijson::Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use token::Secret;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::ChildStdin,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{AbortHandle, JoinHandle},
    time::{Instant, timeout, timeout_at},
};

use super::{UpstreamError, events::not_passed_on, message::response};
use crate::{
    envelope::RequestId,
    outbound::BodyError,
    program::{Program, ProgramError, Started},
    room::{LONG, Room, Taken},
    secrets::OwnSecrets,
    sse::MAX_EVENT,
};

/// How many messages wait for a program that does not read.
const AHEAD: usize = 64;
/// How much progress of one call waits for its client; more is dropped, so that one call never holds up another.
const PROGRESS_AHEAD: usize = 64;
/// The least time between two starts.
const PAUSE: Duration = Duration::from_secs(1);
/// How much of a line on stderr is logged, in bytes, and how many lines of a process are.
const MAX_LOGGED: usize = 500;
const LINES_LOGGED: usize = 1_000;
/// How many of its last lines stand beside the end of a process.
const LAST_LINES: usize = 3;
/// How long a process that has closed its stdout may take to end, and its stderr after it.
const PARTING: Duration = Duration::from_secs(1);

/// A program, and the process that runs it while it is needed.
pub(super) struct Pipe {
    program: Arc<Program>,
    own: Arc<OwnSecrets>,
    running: Mutex<Option<Arc<Running>>>,
    /// When it was started last.
    started: Mutex<Option<Instant>>,
    /// Held until a start is through, also where nobody waits for it any more: a file system that hangs takes one thread of
    /// this node, not one for each attempt.
    turn: Arc<Semaphore>,
}

/// One process. Dropped, it is killed with whatever it started.
struct Running {
    input: mpsc::Sender<Bytes>,
    waiting: Arc<Waiting>,
    tasks: Vec<AbortHandle>,
    /// Gone once it was ended, or has ended by itself.
    started: Arc<Mutex<Option<Started>>>,
}

/// The reader of what a process says on stderr; it ends with the last lines.
type Logged = JoinHandle<VecDeque<String>>;

/// Who waits for what a process says. Once it has ended nobody waits any more.
#[derive(Default)]
struct Waiting {
    calls: Mutex<HashMap<i64, Waiter>>,
    ended: AtomicBool,
}

struct Waiter {
    progress: mpsc::Sender<Bytes>,
    response: oneshot::Sender<Result<Said, NoRoom>>,
    room: Option<Room>,
}

/// A response, and the room that a long one takes.
type Said = (Bytes, Option<Taken>);

/// There was no room for a long response when it came. A program's output is read for all its callers at once, so that none of
/// them can have it wait there.
struct NoRoom;

/// What one request is answered with: progress, then the response.
pub(super) struct Answers {
    progress: mpsc::Receiver<Bytes>,
    response: oneshot::Receiver<Result<Said, NoRoom>>,
    deadline: Instant,
    id: i64,
    running: Arc<Running>,
}

/// As much of a message as says whom it is for.
#[derive(Deserialize)]
struct Head<'b> {
    #[serde(default, borrow)]
    id: Option<&'b RawValue>,
    method: Option<String>,
    #[serde(default, borrow)]
    params: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Progress {
    #[serde(rename = "progressToken")]
    token: i64,
}

impl Pipe {
    pub(super) fn new(program: Arc<Program>, own: Arc<OwnSecrets>) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { program, own, running: Mutex::default(), started: Mutex::default(), turn }
    }

    /// Whether a process is there to speak with.
    pub(super) fn is_up(&self) -> bool {
        self.current().is_some()
    }

    /// Starts a process in the place of whatever is there, unless one was started only a moment ago.
    pub(super) async fn start(&self, deadline: Instant) -> Result<(), UpstreamError> {
        let now = Instant::now();
        let earlier = locked(&self.started).replace(now);
        if earlier.is_some_and(|earlier| now < earlier + PAUSE) {
            // What ends at once is not started over and over; what has ended once is, a moment later.
            *locked(&self.started) = earlier;
            return Err(ProgramError::TooSoon.into());
        }
        self.start_again(deadline).await
    }

    /// Starts a process in the place of whatever is there.
    pub(super) async fn start_again(&self, deadline: Instant) -> Result<(), UpstreamError> {
        self.stop();
        let turn = self.turn.clone().try_acquire_owned().map_err(|_| ProgramError::Starting)?;
        let starting = async {
            let (secrets, turn) = self.secrets(turn).await?;
            let started = self.program.start(secrets, turn).await?;
            Ok::<_, UpstreamError>(Running::of(started, self.program.clone()))
        };
        let running = timeout_at(deadline, starting).await.map_err(|_| BodyError::Deadline)??;
        *locked(&self.running) = Some(Arc::new(running));
        Ok(())
    }

    /// Ends the process, whatever calls are on their way to it.
    pub(super) fn stop(&self) {
        let running = locked(&self.running).take();
        if let Some(running) = running {
            running.end();
        }
    }

    /// Sends a request and waits for the first message that comes back for it; gives it with whatever is to follow.
    pub(super) async fn ask(
        &self,
        id: &RequestId,
        body: Vec<u8>,
        room: Option<Room>,
        deadline: Instant,
    ) -> Result<(Said, Answers), UpstreamError> {
        let running = self.current().ok_or(ProgramError::Ended)?;
        let RequestId::Number(id) = *id else {
            return Err(UpstreamError::Malformed("our own ids are numbers"));
        };
        let mut answers = running.expect(id, room, deadline);
        answers.running.say(body.into(), deadline).await?;
        let first = answers.next().await?;
        Ok((first, answers))
    }

    /// Sends a message that nobody answers.
    pub(super) async fn tell(&self, body: Vec<u8>, deadline: Instant) -> Result<(), UpstreamError> {
        let running = self.current().ok_or(ProgramError::Ended)?;
        running.say(body.into(), deadline).await
    }

    fn current(&self) -> Option<Arc<Running>> {
        let running = locked(&self.running);
        running.as_ref().filter(|it| !it.waiting.ended.load(Ordering::SeqCst)).cloned()
    }

    async fn secrets(
        &self,
        turn: OwnedSemaphorePermit,
    ) -> Result<(Vec<(String, Secret)>, OwnedSemaphorePermit), UpstreamError> {
        let (own, wanted) = (self.own.clone(), self.program.secrets.clone());
        let read = tokio::task::spawn_blocking(move || {
            let read = |(name, reference): (String, String)| {
                own.resolve(&reference).map(|secret| (name, secret))
            };
            (wanted.into_iter().map(read).collect::<Result<Vec<_>, _>>(), turn)
        });
        let failed = |_| UpstreamError::Secret("its reader failed".to_owned());
        let (read, turn) = read.await.map_err(failed)?;
        Ok((read.map_err(|error| UpstreamError::Secret(error.to_string()))?, turn))
    }
}

impl Running {
    fn of(mut started: Started, program: Arc<Program>) -> Self {
        let (input, lines) = mpsc::channel(AHEAD);
        let waiting = Arc::<Waiting>::default();
        let mut tasks = Vec::new();
        let (stdin, stdout) = (started.child.stdin.take(), started.child.stdout.take());
        let logged = started.child.stderr.take().map(|stderr| tokio::spawn(log(stderr)));
        tasks.extend(logged.as_ref().map(JoinHandle::abort_handle));
        let started = Arc::new(Mutex::new(Some(started)));
        if let Some(stdin) = stdin {
            let ends = waiting.clone();
            let write = async move {
                write(stdin, lines).await;
                ends.end();
            };
            tasks.push(tokio::spawn(write).abort_handle());
        }
        if let Some(stdout) = stdout {
            let (hears, answers, its) = (waiting.clone(), input.clone(), started.clone());
            let read = async move {
                read(stdout, &hears, &answers).await;
                hears.end();
                // Whoever ends a process on purpose takes it first.
                let ended = locked(&its).take();
                if let Some(ended) = ended {
                    // Not one of its tasks, which end where the next process takes its place.
                    tokio::spawn(report(ended, logged, program));
                }
            };
            tasks.push(tokio::spawn(read).abort_handle());
        }
        Self { input, waiting, tasks, started }
    }

    fn expect(self: &Arc<Self>, id: i64, room: Option<Room>, deadline: Instant) -> Answers {
        let ((progress_in, progress), (response_in, response)) =
            (mpsc::channel(PROGRESS_AHEAD), oneshot::channel());
        let waiter = Waiter { progress: progress_in, response: response_in, room };
        locked(&self.waiting.calls).insert(id, waiter);
        // Ended meanwhile: nobody would take it out again.
        if self.waiting.ended.load(Ordering::SeqCst) {
            self.waiting.end();
        }
        Answers { progress, response, deadline, id, running: self.clone() }
    }

    /// Kills the process and tells whoever waits for it.
    fn end(&self) {
        self.waiting.end();
        let running = locked(&self.started).take();
        if running.is_some() {
            self.tasks.iter().for_each(AbortHandle::abort);
        }
    }

    async fn say(&self, line: Bytes, deadline: Instant) -> Result<(), UpstreamError> {
        let sent = timeout_at(deadline, self.input.send(line)).await;
        sent.map_err(|_| BodyError::Deadline)?.map_err(|_| ProgramError::Ended.into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Waiting {
    /// Nothing will come any more: whoever waits learns of it.
    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        locked(&self.calls).clear();
    }

    /// Gives a message to whom it is for, or an answer for what nobody here is asked.
    fn route(&self, line: Bytes) -> Option<Bytes> {
        let head = serde_json::from_slice::<Head<'_>>(&line).ok()?;
        let number = |raw: &RawValue| raw.get().parse::<i64>().ok();
        match (head.method.as_deref(), head.id) {
            (Some(method), Some(id)) => return answer(method, id),
            (Some("notifications/progress"), None) => {
                let token = serde_json::from_str::<Progress>(head.params?.get()).ok()?.token;
                let calls = locked(&self.calls);
                // A client that does not read misses progress, never the response. What is long is no progress.
                if line.len() <= LONG {
                    let _ = calls.get(&token)?.progress.try_send(line);
                }
            }
            // Of what it says to nobody in particular, nothing is passed on.
            (Some(_), None) | (None, None) => {}
            (None, Some(id)) => {
                let waiter = locked(&self.calls).remove(&number(id)?)?;
                let taken = match waiter.room.filter(|_| line.len() > LONG) {
                    Some(room) => room.try_take().map(Some).ok_or(NoRoom),
                    None => Ok(None),
                };
                // Who has gone does not wait.
                let _ = waiter.response.send(taken.map(|taken| (line, taken)));
            }
        }
        None
    }
}

/// The answer to a request of the program: `ping` is answered, everything else is refused.
fn answer(method: &str, id: &RawValue) -> Option<Bytes> {
    /// The longest id that is repeated, in bytes.
    const MAX_ID: usize = 256;
    let id = Some(id.get()).filter(|id| id.len() <= MAX_ID)?;
    let outcome =
        if method == "ping" { Ok(Json::object::<&str>([])) } else { Err(not_passed_on()) };
    Some(response(id, &outcome).into())
}

impl Answers {
    /// The next message, and the room that a long one takes; there is none after the response. May be dropped and asked again
    /// without losing one.
    pub(super) async fn next(&mut self) -> Result<Said, UpstreamError> {
        let next = async {
            tokio::select! {
                // Progress was said before the response.
                biased;
                Some(progress) = self.progress.recv() => Ok((progress, None)),
                response = &mut self.response => match response {
                    Ok(Ok(said)) => Ok(said),
                    Ok(Err(NoRoom)) => Err(UpstreamError::NoRoom),
                    Err(_) => Err(ProgramError::Ended.into()),
                },
            }
        };
        timeout_at(self.deadline, next).await.map_err(|_| BodyError::Deadline)?
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        locked(&self.running.waiting.calls).remove(&self.id);
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Bytes>) {
    while let Some(line) = lines.recv().await {
        let line = [&line[..], b"\n"].concat();
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Reads until the program ends, says a line that is too long, or asks more than it takes answers for.
async fn read(stdout: impl AsyncRead + Unpin, waiting: &Waiting, input: &mpsc::Sender<Bytes>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut stdout).take(MAX_EVENT as u64 + 1);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(1..) if line.len() <= MAX_EVENT => {}
            _ => return,
        }
        // Some print a greeting, which is no message and means nothing.
        if let Some(answer) = waiting.route(line.into())
            && input.try_send(answer).is_err()
        {
            return;
        }
    }
}

/// Tells the operator of a process that nobody has ended.
async fn report(ended: Started, logged: Option<Logged>, program: Arc<Program>) {
    let (how, said) = last_words(ended, logged).await;
    let command = program.command.display();
    tracing::warn!(code = "BW-2016", %command, %how, %said, "a program has ended");
}

/// How a process ended that says nothing more, and the last that it said on stderr. Whatever of it is left ends with this.
async fn last_words(ended: Started, logged: Option<Logged>) -> (String, Foreign) {
    let how = ended.ending(PARTING).await;
    let how = how.unwrap_or_else(|| "it goes on without speaking, and was killed".to_owned());
    // What it started itself may hold its stderr.
    drop(ended);
    let said = match logged {
        Some(logged) => timeout(PARTING, logged).await.ok().and_then(Result::ok),
        None => None,
    };
    (how, Foreign::new(Vec::from(said.unwrap_or_default()).join(" / ")))
}

/// What a program says on stderr, for its operator; the last of it at its end.
async fn log(stderr: impl AsyncRead + Unpin) -> VecDeque<String> {
    let mut stderr = BufReader::new(stderr);
    let (mut logged, mut last) = (0, VecDeque::new());
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut stderr).take(MAX_LOGGED as u64);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            _ => return last,
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        logged += 1;
        if logged <= LINES_LOGGED {
            let said = Foreign::new(line.as_str());
            tracing::debug!(code = "BW-2008", %said, "a program says");
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(seconds: &str) -> Pipe {
        let program = Program {
            command: "/bin/sleep".into(),
            arguments: vec![seconds.to_owned()],
            unsafe_same_user: true,
            ..Program::default()
        };
        Pipe::new(Arc::new(program), Arc::default())
    }

    /// Whether a process with this on its command line is there.
    fn runs(seconds: &str) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
        lines.any(|line| line == format!("/bin/sleep\0{seconds}\0").as_bytes())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn who_waits_for_a_program_that_is_ended_learns_of_it_and_nothing_of_it_stays() {
        let pipe = Arc::new(sleeper("4711.1"));
        pipe.start(soon()).await.unwrap();
        let asking = pipe.clone();
        let asked = tokio::spawn(async move {
            let asked = asking.ask(&RequestId::Number(1), b"{}".to_vec(), None, soon()).await;
            asked.map(|_| ()).unwrap_err()
        });
        while locked(&pipe.current().unwrap().waiting.calls).is_empty() {
            tokio::task::yield_now().await;
        }
        // It may take its time to become what it is.
        while !runs("4711.1") {
            tokio::task::yield_now().await;
        }
        pipe.stop();
        let why = asked.await.unwrap();
        assert!(matches!(why, UpstreamError::Program(ProgramError::Ended)), "{why}");
        assert!(why.may_have_arrived());
        while runs("4711.1") {
            tokio::task::yield_now().await;
        }
        let why = pipe.ask(&RequestId::Number(2), b"{}".to_vec(), None, soon()).await;
        assert!(why.is_err(), "nobody is asked who does not run");
    }

    #[tokio::test]
    async fn a_long_response_that_has_no_room_is_dropped_and_holds_up_nobody() {
        let says = r#"read line; printf '{"jsonrpc":"2.0","id":1,"result":{"x":"%0100000d"}}\n' 0; read line; echo '{"jsonrpc":"2.0","id":2,"result":{}}'; read line"#;
        let program = Program {
            command: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), says.to_owned()],
            unsafe_same_user: true,
            ..Program::default()
        };
        let pipe = Pipe::new(Arc::new(program), Arc::new(OwnSecrets::default()));
        pipe.start(soon()).await.unwrap();
        let (few, none) = (crate::room::Rooms::new(1), crate::room::Rooms::new(0));
        let agent = "agent/bot".parse().unwrap();
        let pipe = &pipe;
        let ask = async |id, room| {
            pipe.ask(&RequestId::Number(id), b"{}".to_vec(), Some(room), soon()).await
        };
        let why = ask(1, none.of(&agent)).await.map(drop).unwrap_err();
        assert!(matches!(why, UpstreamError::NoRoom) && why.may_have_arrived(), "{why}");
        let ((short, taken), _) = ask(2, few.of(&agent)).await.unwrap();
        assert!(short.trim_ascii_end().ends_with(b"}}") && taken.is_none());
    }

    #[tokio::test]
    async fn how_a_program_ended_is_told_with_the_last_that_it_said() {
        let lines = "for line in one two three four; do echo $line >&2; done";
        for (ending, told) in [("exit 3", "status 3"), ("kill -9 $$", "signal 9")] {
            let program = Program {
                command: "/bin/sh".into(),
                arguments: vec!["-c".to_owned(), format!("{lines}; {ending}")],
                unsafe_same_user: true,
                ..Program::default()
            };
            let turn = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let mut started = program.start(Vec::new(), turn).await.unwrap();
            let logged = tokio::spawn(log(started.child.stderr.take().unwrap()));
            let mut stdout = started.child.stdout.take().unwrap();
            assert_eq!(stdout.read_to_end(&mut Vec::new()).await.unwrap(), 0);
            let (how, said) = last_words(started, Some(logged)).await;
            assert_eq!((how.as_str(), said.to_string().as_str()), (told, "two / three / four"));
        }
    }

    #[tokio::test]
    async fn a_start_that_hangs_takes_one_thread_and_what_ends_at_once_is_not_started_again_at_once()
     {
        let pipe = sleeper("0");
        // As when a secret's file system, or the program's, hangs in the middle of a start.
        let turn = pipe.turn.clone().acquire_owned().await.unwrap();
        let why = pipe.start(soon()).await.unwrap_err();
        assert!(matches!(why, UpstreamError::Program(ProgramError::Starting)), "{why}");
        assert!(!why.may_have_arrived());
        drop(turn);
        let why = pipe.start(soon()).await.unwrap_err();
        assert!(matches!(why, UpstreamError::Program(ProgramError::TooSoon)), "{why}");
    }
}
