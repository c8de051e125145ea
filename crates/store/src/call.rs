//! One call of a closure: queued by an asynchronous caller, run by a worker's thread, answered after the commit.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::{Error, db::Purpose, tx::Tx, worker::Queue};

/// How long a caller waits for its answer: a dead database is an error within seconds, never a hang.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// A closure in a queue, whatever it returns.
pub(crate) trait Job: Send {
    /// Takes the job up; `false` where its caller has given up and it must not run.
    fn begin(&self) -> bool;
    /// Runs the closure, for the first time or again, and tells whether its changes may be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers the caller, once it is known what became of the transaction.
    fn answer(self: Box<Self>, fate: Result<(), Error>);
}

/// What a closure returned, or the panic it ended in.
type Outcome<T, E> = Result<Result<T, E>, Box<dyn Any + Send>>;

struct Call<F, T, E> {
    body: F,
    outcome: Option<Outcome<T, E>>,
    reply: oneshot::Sender<Outcome<T, E>>,
    begun: Arc<AtomicBool>,
}

/// Queues the closure and waits for its answer.
pub(crate) async fn call<F, T, E>(queue: &Queue, purpose: Purpose, body: F) -> Result<T, E>
where
    F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let begun = Arc::new(AtomicBool::new(false));
    queue.push(Box::new(Call { body, outcome: None, reply, begun: Arc::clone(&begun) }))?;
    let (why, ran) = match timeout(CALL_LIMIT, answer).await {
        Ok(Ok(Ok(result))) => return result,
        Ok(Ok(Err(panic))) => resume_unwind(panic),
        Ok(Err(gone)) => (Error::unavailable(gone), true),
        // Whoever sets the mark first decides whether the closure runs.
        Err(late) => (Error::unavailable(late), begun.swap(true, Ordering::Relaxed)),
    };
    Err(if ran && purpose == Purpose::Write { why.while_storing() } else { why }.into())
}

impl<F, T, E> Job for Call<F, T, E>
where
    F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::Relaxed) && !self.reply.is_closed()
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        // One caller's defect must not end the thread that serves all; the panic goes on where it was called.
        let mut outcome = catch_unwind(AssertUnwindSafe(|| (self.body)(tx)));
        if let (Ok(Ok(_)), Some(failure)) = (&outcome, tx.failure()) {
            // The closure overlooked a failed statement: what it believes to have stored is not there.
            outcome = Ok(Err(failure.clone().into()));
        }
        let keep = matches!(outcome, Ok(Ok(_)));
        self.outcome = Some(outcome);
        keep
    }

    fn answer(self: Box<Self>, fate: Result<(), Error>) {
        let outcome = match (fate, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // Refusals, too: they may rest on what another closure of the same transaction had changed.
            (Err(error), _) => Ok(Err(error.into())),
            (Ok(()), None) => unreachable!("a transaction ends well only after every closure ran"),
        };
        // A caller that has gone away needs no answer.
        let _ = self.reply.send(outcome);
    }
}
