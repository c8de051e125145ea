//! What is agreed with a server, and with whom: the revision is one thing for all, and a session one holder's.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    HANDSHAKE, Holder, Protocol, Server, UpstreamError, Wire,
    held::{Held, Whose},
    link::{Link, has_no_sessions, says_no},
};
use crate::{
    envelope::{Able, Era},
    outbound::{BodyError, SendError},
};

/// How often it is looked which sessions are idle.
const SWEEP: Duration = Duration::from_secs(60);

/// What is agreed with a server.
#[derive(Default)]
pub(super) struct Agreed {
    spoken: Spoken,
    pub(super) held: Held,
}

/// How a server is spoken to, which is one thing for all.
#[derive(Clone, Default)]
enum Spoken {
    /// Nobody has asked it yet, or it seems to have changed.
    #[default]
    Unknown,
    /// As 2026-07-28 has it, without sessions. The server may have some of an older revision beside, in which it asks and
    /// tells clients of that.
    Modern(Arc<Link>),
    /// In sessions, of which each holder has its own.
    InSessions,
    /// Everybody shares what is agreed, since there is nothing else: there are no sessions, or there is the one of a program.
    Shared(Arc<Link>),
}

impl Spoken {
    fn over_http(era: Era) -> Self {
        match era {
            Era::Modern => Self::Modern(Arc::new(Link::Modern)),
            Era::Legacy => Self::InSessions,
        }
    }

    /// What holders agree on together, where a request needs no session or there is none.
    fn common(&self, in_session: bool) -> Option<&Arc<Link>> {
        match self {
            Self::Shared(link) => Some(link),
            Self::Modern(link) if !in_session => Some(link),
            Self::Unknown | Self::Modern(_) | Self::InSessions => None,
        }
    }
}

impl Agreed {
    /// Lets go what the server does not know or does not take any more, unless somebody has agreed anew meanwhile.
    pub(super) fn let_go(&mut self, link: &Arc<Link>, is_lost: bool) {
        let is_doubted = match self.held.forget(link) {
            // Started anew, the server may speak another revision; that is asked once, not for each session that it lost.
            Some(Whose::Client(_)) => !is_lost,
            Some(Whose::Gateway) => true,
            None => self.spoken.common(false).is_some_and(|common| Arc::ptr_eq(common, link)),
        };
        if is_doubted {
            self.spoken = Spoken::Unknown;
        }
    }

    /// Whether the server speaks 2026-07-28, whatever else.
    pub(super) fn is_modern(&self) -> bool {
        self.spoken.common(false).is_some_and(|common| common.era() == Era::Modern)
    }
}

impl Server {
    /// What is agreed with the server for a holder, agreeing first if need be: a session where the server speaks no other way,
    /// or has any and the request has to be in one. One caller asks the server, the others wait for it, each until its own
    /// deadline; holders do not wait for each other.
    pub(super) async fn link(
        self: &Arc<Self>,
        holder: Option<&dyn Holder>,
        in_session: bool,
        deadline: Instant,
    ) -> Result<Arc<Link>, UpstreamError> {
        if let Some(link) = self.known(in_session, || whose(holder)) {
            return Ok(link);
        }
        let agreed = async {
            match self.agree(deadline).await?.common(in_session) {
                Some(link) => Ok(link.clone()),
                None => self.open(holder, in_session, deadline).await,
            }
        };
        agreed.await.map_err(|error| UpstreamError::Handshake(Box::new(error)))
    }

    /// The same as far as it is agreed already. Whose session it would be is asked only where there are sessions.
    pub(super) fn known(
        &self,
        in_session: bool,
        whose: impl FnOnce() -> Whose,
    ) -> Option<Arc<Link>> {
        let mut agreed = self.agreed();
        match agreed.spoken.common(in_session) {
            Some(link) => Some(link.clone()).filter(|_| self.is_up()),
            None => agreed.held.used(whose(), Instant::now()),
        }
    }

    /// Whether what everybody shares is still there: a program may have ended.
    fn is_up(&self) -> bool {
        match &self.wire {
            Wire::Http(_) => true,
            Wire::Pipe(pipe) => pipe.is_up(),
        }
    }

    /// Held for a moment only: nobody waits for the server behind it.
    pub(super) fn agreed(&self) -> MutexGuard<'_, Agreed> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out how the server is spoken to, unless that is known.
    async fn agree(self: &Arc<Self>, deadline: Instant) -> Result<Spoken, UpstreamError> {
        let _turn = self.turn(&self.agreeing, deadline).await?;
        let spoken = self.agreed().spoken.clone();
        match spoken {
            Spoken::Shared(_) if !self.is_up() => self.agreed().spoken = Spoken::Unknown,
            Spoken::Unknown => {}
            known => return Ok(known),
        }
        let deadline = deadline.min(Instant::now() + HANDSHAKE);
        let spoken = match (&self.wire, self.protocol) {
            (Wire::Pipe(pipe), _) => Spoken::Shared(Arc::new(self.agree_by(pipe, deadline).await?)),
            (Wire::Http(_), Protocol::Only(era)) => Spoken::over_http(era),
            (Wire::Http(_), Protocol::Probe) => Spoken::over_http(self.probe(deadline).await?),
        };
        self.agreed().spoken = spoken.clone();
        Ok(spoken)
    }

    /// Opens a session for a holder, unless another request of the same holder just has.
    async fn open(
        self: &Arc<Self>,
        holder: Option<&dyn Holder>,
        in_session: bool,
        deadline: Instant,
    ) -> Result<Arc<Link>, UpstreamError> {
        let whose = whose(holder);
        let opening = self.agreed().held.place(whose, Instant::now());
        self.keep_swept();
        let _turn = self.turn(&opening, deadline).await?;
        if let Some(link) = self.known(in_session, || whose) {
            return Ok(link);
        }
        let able = holder.map(Holder::able).unwrap_or_default();
        let link = self.greeted(&able, deadline.min(Instant::now() + HANDSHAKE)).await?;
        if link.era() == Era::Modern {
            return Ok(link);
        }
        let mut agreed = self.agreed();
        let is_beside = matches!(agreed.spoken, Spoken::Modern(_));
        if !is_beside && able.is_empty() && !link.has_session() && !agreed.held.has_any() {
            // It does not tell its clients from each other, so no handshake more says anything.
            agreed.spoken = Spoken::Shared(link.clone());
        } else if !agreed.held.keep(whose, &opening, &link) {
            return Err(UpstreamError::SessionLost);
        }
        Ok(link)
    }

    /// A session with a client that can be asked this, or as much of one as the server has: beside the newer revision
    /// perhaps none, and then what is agreed in that.
    async fn greeted(
        self: &Arc<Self>,
        able: &Able,
        deadline: Instant,
    ) -> Result<Arc<Link>, UpstreamError> {
        let opened = self.initialize(able, deadline).await;
        let spoken = self.agreed().spoken.clone();
        let opened = match (opened, spoken) {
            // It has none for this request; in the newer revision it asks nobody who speaks an older one.
            (Err(error), Spoken::Modern(link)) if says_no(&error) => {
                let mut agreed = self.agreed();
                // Where others have a session, or it only has no room for one more, it may have one the next time.
                if has_no_sessions(&error) && !agreed.held.has_any() {
                    agreed.spoken = Spoken::Shared(link.clone());
                }
                return Ok(link);
            }
            // It has no session in which it may ask.
            (Err(error), _) if says_no(&error) && !able.is_empty() => {
                self.initialize(&Able::default(), deadline).await
            }
            (opened, _) => opened,
        };
        opened.map(Arc::new).inspect_err(|_| {
            let mut agreed = self.agreed();
            if matches!(agreed.spoken, Spoken::InSessions) {
                // It may speak another revision by now.
                agreed.spoken = Spoken::Unknown;
            }
        })
    }

    /// Waits for a turn until a deadline.
    async fn turn<'m>(
        &self,
        turns: &'m tokio::sync::Mutex<()>,
        deadline: Instant,
    ) -> Result<tokio::sync::MutexGuard<'m, ()>, UpstreamError> {
        timeout_at(deadline, turns.lock()).await.map_err(|_| match &self.wire {
            Wire::Http(http) => SendError::Late(http.target.origin().clone()).into(),
            Wire::Pipe(_) => BodyError::Deadline.into(),
        })
    }

    /// Ends idle sessions from now on, for as long as there are any sessions.
    fn keep_swept(self: &Arc<Self>) {
        if std::mem::replace(&mut self.agreed().held.is_swept, true) {
            return;
        }
        let server = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(SWEEP).await;
                let Some(server) = server.upgrade() else { return };
                if !server.sweep(Instant::now()) {
                    return;
                }
            }
        });
    }

    /// Ends the sessions that nobody used for too long; whether there are any others.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut agreed = self.agreed();
        agreed.held.end_idle(now);
        let has_more = !agreed.held.is_empty();
        agreed.held.is_swept = has_more;
        has_more
    }
}

/// Whose session a request is made in.
fn whose(holder: Option<&dyn Holder>) -> Whose {
    holder.map_or(Whose::Gateway, |holder| Whose::Client(holder.id()))
}
