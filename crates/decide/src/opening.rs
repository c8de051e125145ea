//! A task: opened by a person, in the ledger, with the token that its agent exchanges.

use std::sync::Arc;

use ledger::PayloadClass;
use model::{ActionId, Authority, Digest, IdentityId, Money, TaskId, Timestamp, Verb, ijson::Json};
use token::{
    Claims,
    claims::{Link, MayAct},
};

use crate::{
    allow::{Act, Allowed},
    authenticate::Caller,
    directory::Directory,
    engine::Engine,
    entries::{self, TaskOpened, to_json},
    issue::{Issued, whole},
    refusal::{Code, Refusal},
    tally::locked,
    tasks::Task,
};

/// The longest task, in seconds.
pub const TASK_SECONDS_MAX: u32 = 24 * 3600;

/// Opens a task: who works, for what, how long, for how much, and with how much of the opener's own right.
#[derive(Debug, Clone)]
pub struct OpenTask {
    /// The agent that is asked.
    pub agent: IdentityId,
    /// What it is for, in a word or two; policies read it.
    pub purpose: String,
    /// What is to be done, in the person's own words.
    pub intent: String,
    /// What the agent was told, verbatim.
    pub prompt: String,
    /// What the agent may do; `None` is all that person and agent have in common.
    pub authority: Option<Authority>,
    /// What it may spend.
    pub budget: Option<Money>,
    /// How long it may take.
    pub seconds: u32,
}

impl Act for OpenTask {
    fn verb(&self) -> Verb {
        Verb::Delegate
    }

    fn target(&self) -> (&'static str, String) {
        ("Task", self.agent.name().to_string())
    }

    fn owner(&self, directory: &Directory, caller: &IdentityId) -> Option<IdentityId> {
        directory.agent(&self.agent)?.answers(caller)
    }

    fn class(&self) -> PayloadClass {
        PayloadClass::Prompts
    }

    fn shown(&self) -> Json {
        Json::object([
            ("agent", to_json(&self.agent)),
            ("authority", to_json(&self.authority)),
            ("budget", to_json(&self.budget)),
            ("intent", Json::String(self.intent.clone())),
            ("prompt", Json::String(self.prompt.clone())),
            ("purpose", Json::String(self.purpose.clone())),
            ("seconds", to_json(&self.seconds)),
        ])
    }
}

/// A task that was opened, and the token to hand to its agent.
#[derive(Debug)]
pub struct Opened {
    /// The task.
    pub task: TaskId,
    /// The hand-over token: only the agent named in it can exchange it.
    pub token: Issued,
}

impl Engine {
    /// Opens a task in the ledger and issues the token that its agent exchanges.
    ///
    /// # Errors
    /// [`Refusal`]: the opener holds less than is wished, the agent may not act, or the ledger cannot record it.
    pub async fn open_task(
        self: &Arc<Self>,
        allowed: &Allowed<OpenTask>,
    ) -> Result<Opened, Refusal> {
        let (action, caller, wish) = (allowed.action(), allowed.caller(), allowed.act());
        let now = self.sure_moment(action)?;
        let agent = self.found_agent(&wish.agent, action)?;
        self.may_act(&agent, action)?;
        if wish.seconds == 0 || wish.seconds > TASK_SECONDS_MAX {
            let reason =
                format!("a task takes between one second and {} hours", TASK_SECONDS_MAX / 3600);
            return Err(Refusal::new(action, Code::ArgumentsInvalid, reason));
        }
        let deadline = whole(now.plus_seconds(wish.seconds));
        let beyond =
            |why: model::Widened| Refusal::new(action, Code::BeyondAuthority, why.to_string());
        let held = self.directory.held_by_person(&caller.person, 1);
        let authority = match &wish.authority {
            Some(authority) => held.attenuate(authority, deadline),
            None => held.intersect(&self.directory.held_by_agent(&agent.agent)),
        };
        // The first hop below this token is the agent itself; a wish counts the hops below the agent.
        let depth = wish.authority.as_ref().map_or(held.depth, |wish| wish.depth.saturating_add(1));
        let authority = Authority { depth, ..authority.map_err(beyond)? };
        let body = TaskOpened {
            agent: Some(wish.agent.clone()),
            budget: wish.budget,
            deadline,
            purpose: scrub::text(&wish.purpose).into_owned(),
        };
        let id: TaskId = self.context.id();
        let opening = self.record_task(allowed, id, body).await?;
        let token = self.hand_over(caller, wish, id, authority, deadline, action, opening).await?;
        Ok(Opened { task: id, token })
    }

    async fn record_task(
        self: &Arc<Self>,
        allowed: &Allowed<OpenTask>,
        id: TaskId,
        body: TaskOpened,
    ) -> Result<Digest, Refusal> {
        let action = allowed.action();
        let mut draft = self.about(allowed.caller(), &body, self.context.id());
        draft.task = Some(id);
        draft.class = allowed.act().class();
        draft.payload = Some(allowed.act().shown().canonical());
        let sealed = self
            .seal(entries::of_action(draft, action, vec![allowed.decision()]))
            .map_err(|why| why.refusal(action))?;
        let (hash, counts) = (sealed.hash(), sealed.counts);
        let recorded = self.record(sealed, action, |_| ()).await;
        let receipt = recorded.map_err(|why| why.refusal(action))?;
        let task = Task::new(allowed.caller().person.clone(), body, hash)
            .expect("a task is opened for an agent");
        {
            let mut tally = locked(&task.tally);
            tally.count(counts);
            tally.holds(receipt.index, hash);
        }
        self.tasks.open(id, task);
        Ok(hash)
    }

    #[expect(clippy::too_many_arguments, reason = "each is one claim of the token")]
    async fn hand_over(
        self: &Arc<Self>,
        caller: &Caller,
        wish: &OpenTask,
        task: TaskId,
        authority: Authority,
        deadline: Timestamp,
        action: ActionId,
        opening: Digest,
    ) -> Result<Issued, Refusal> {
        let now = self.context.now();
        let sub = self.context.realm.uri(&caller.person);
        let claims = Claims {
            iss: self.issuer.url.clone(),
            sub: sub.clone(),
            aud: self.issuer.url.clone(),
            client_id: sub.clone(),
            iat: whole(now),
            exp: deadline,
            jti: self.context.id(),
            cnf: caller.claims.cnf,
            act: None,
            may_act: Some(MayAct { sub: self.context.realm.uri(&wish.agent) }),
            authority,
            task: Some(task),
            links: vec![Link { id: self.context.id(), sub, exp: deadline }],
            entry: Digest::default(),
            version: None,
            scope: None,
        };
        self.issue(action, claims, "task", None, vec![opening]).await
    }
}
