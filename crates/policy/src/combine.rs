use crate::{MAX_NEAR_MISSES, Outcome, Verdict};

/// Puts the outcomes of several requests together that make up one action: its (verb, resource) pairs, and the hops
/// of its chain. All must permit.
///
/// The worst verdict wins: deny, hold, step up, permit; of several denials the most final class. A deny is determined
/// by the policies of the parts that deny in that way, everything else by the policies of all parts. Demands, faults,
/// shadows and near misses are united; obligations too, when the whole is permitted. The order and repetition of
/// parts do not matter, and nothing at all is not permitted.
pub fn combine(parts: &[Outcome]) -> Outcome {
    // Mostly the hops of a chain agree to the letter.
    if let [first, rest @ ..] = parts
        && rest.iter().all(|part| part == first)
    {
        return first.clone();
    }
    let rank = |part: &Outcome| (part.verdict, part.class);
    let Some((verdict, class)) = parts.iter().map(rank).max() else {
        return Outcome::not_permitted();
    };
    let deciding =
        || parts.iter().filter(move |part| verdict != Verdict::Deny || part.class == class);
    let obliged = || parts.iter().filter(move |_| verdict == Verdict::Permit);
    let mut near_misses = union(parts.iter().map(|part| &part.near_misses));
    near_misses.truncate(MAX_NEAR_MISSES);
    Outcome {
        verdict,
        class,
        determining: union(deciding().map(|part| &part.determining)),
        demands: union(parts.iter().map(|part| &part.demands)),
        obligations: union(obliged().map(|part| &part.obligations)),
        faults: union(parts.iter().map(|part| &part.faults)),
        shadow: union(parts.iter().map(|part| &part.shadow)),
        near_misses,
    }
}

/// What is in any of the lists, sorted, each once.
fn union<'a, T: Ord + Clone + 'a>(lists: impl Iterator<Item = &'a Vec<T>>) -> Vec<T> {
    let mut all: Vec<T> = lists.flatten().cloned().collect();
    all.sort();
    all.dedup();
    all
}
