//! A decision under way: what is known so far, and the record of its refusal.

use ledger::PayloadClass;
use model::ijson::Json;

use crate::{
    authenticate::Caller, engine::Engine, entries::Decision, record::Shown, refusal::Refusal,
};

/// What is known about an attempt so far; its record says as much of it as there is.
///
/// A refusal is recorded when this is dropped, so also when its client goes away while people are being asked.
pub(crate) struct Deciding<'e> {
    engine: &'e Engine,
    caller: &'e Caller,
    pub(crate) body: Decision,
    /// Under whose key it is sealed, where that is not the caller.
    pub(crate) about: Option<String>,
    /// What kind of thing is asked for.
    pub(crate) class: PayloadClass,
    /// What is asked for, in canonical form: a call's arguments, or a governance act.
    pub(crate) arguments: Vec<u8>,
    /// The refusal, as far as it has come to one.
    pub(crate) refusal: Option<Refusal>,
}

impl<'e> Deciding<'e> {
    pub(crate) fn new(engine: &'e Engine, caller: &'e Caller) -> Self {
        let (body, arguments) = (Decision::default(), Vec::new());
        let class = PayloadClass::Calls;
        Self { engine, caller, body, about: None, class, arguments, refusal: None }
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        let Some(refusal) = self.refusal.take() else { return };
        let bytes = shown(&self.arguments, &refusal);
        let shown = Shown { about: self.about.take(), class: self.class, bytes };
        self.engine.note_refusal(
            self.caller,
            &refusal,
            std::mem::take(&mut self.body),
            Some(shown),
        );
    }
}

/// What the ledger keeps of something refused, sealed: what was asked for, and the reason in full.
fn shown(arguments: &[u8], refusal: &Refusal) -> Vec<u8> {
    let reason = Json::String(refusal.reason.clone()).canonical();
    let arguments = if arguments.is_empty() { b"null" } else { arguments };
    [b"{\"arguments\":", arguments, b",\"reason\":", &reason, b"}"].concat()
}
