//! Something of a system that stays open for a caller without being a call, such as a stream of notifications: it is there for
//! those who may have anything of the system, and a stop cuts it like a call.

use std::{fmt, sync::Arc};

use model::Name;

use crate::{authenticate::Caller, engine::Engine, refusal::Refusal, stop::LiveCall};

/// An open stream. Dropped, it is none any more.
pub struct Watch(pub(crate) Arc<LiveCall>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Resolves when a stop cuts it.
    pub async fn cut(&self) {
        self.0.cut().await;
    }
}

impl Engine {
    /// Whether a caller may have anything of a system, or of any, at all now: nobody of the chain is stopped or suspended, and task, links and
    /// owner stand.
    ///
    /// # Errors
    /// [`Refusal`], which is recorded.
    pub fn watch(&self, caller: &Caller, system: Option<&Name>) -> Result<Watch, Refusal> {
        let action = self.context.id();
        let stands = || {
            let now = self.sure_moment(action)?;
            self.standing(caller, action, system, now)
        };
        let watched = stands().and_then(|standing| {
            // Registered before it is looked at again: a stop either sees this or is seen by it.
            let live = self.stops.register(action, standing.touches);
            stands().map(|_| Watch(Arc::new(live)))
        });
        watched.map_err(|refusal| self.refuse(caller, system, refusal.code, refusal.reason))
    }
}
