use std::collections::BTreeSet;

use crate::{
    LoadErrors, Remark, Source,
    load::{self, Loaded},
    remark::tidy,
    rule::Kind,
    schema::words,
};

/// Loads a set of policies only to say what in it is allowed and still looks like a mistake: conditions that can
/// never be true, words in mixed scripts, kinds of resource that no policy names, permits that reach governance
/// unasked.
///
/// # Errors
/// As [`Policies::load`](crate::Policies::load).
pub fn check(sources: &[Source], kinds: &BTreeSet<String>) -> Result<Vec<Remark>, LoadErrors> {
    let Loaded { rules, engine, mut warnings } = load::load(sources, kinds)?;
    let words: BTreeSet<&str> = sources.iter().flat_map(|source| words(&source.text)).collect();
    let unused = kinds.iter().filter(|kind| !words.contains(kind.as_str()));
    warnings.extend(unused.map(|kind| {
        let what = format!("no policy names the kind `{kind}`");
        Remark::new(what).hint("only policies over whole systems, or over everything, apply to it")
    }));
    for (index, rule) in rules.iter().enumerate() {
        if rule.kind == Kind::Permit && engine.covers_governance_unnamed(index) {
            let what = format!("`{}` names no system, and so permits governance too", rule.id);
            let hint = "write `resource in System::\"…\"`, or `resource is` a kind of the catalog";
            warnings.push(Remark::new(what).at(rule.place.clone()).hint(hint));
        }
    }
    Ok(tidy(warnings))
}
