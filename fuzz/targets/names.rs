//! Names, ids and patterns of resources: each has one spelling, and sets of them keep their laws.
#![no_main]

use std::{fmt::Display, str::FromStr};

use fuzz::lines;
use libfuzzer_sys::fuzz_target;
use model::{Currency, Digest, EntryId, IdentityId, ModelName, Name, Pattern, Resource, Verb};
use token::Thumbprint;

/// What is read of this text is written as the very same text.
fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string(), text);
    }
}

fn check_patterns(a: &Pattern, b: &Pattern, thing: Option<&Resource>) {
    assert_eq!(a.to_string().parse::<Pattern>().as_ref(), Ok(a));
    assert!(a.contains(a));
    assert_eq!(a.intersect(b), b.intersect(a));
    let both = a.intersect(b);
    if let Some(both) = &both {
        assert!(a.contains(both) && b.contains(both));
    }
    if let Some(thing) = thing {
        let within = both.is_some_and(|both| both.covers(thing));
        assert_eq!(within, a.covers(thing) && b.covers(thing));
        assert!(!a.contains(b) || !b.covers(thing) || a.covers(thing));
        assert!(!a.covers(thing) || a.reaches(thing.system(), thing.kind()));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some([one, other, kind, id]) = lines(data) else { return };
    one_spelling::<Currency>(one);
    one_spelling::<Digest>(one);
    one_spelling::<EntryId>(one);
    one_spelling::<IdentityId>(one);
    one_spelling::<ModelName>(one);
    one_spelling::<Name>(one);
    one_spelling::<Pattern>(one);
    one_spelling::<Thumbprint>(one);
    one_spelling::<Verb>(one);
    one_spelling::<decide::StopScope>(one);
    let thing = other.parse::<Name>().ok().and_then(|name| Resource::new(name, kind, id).ok());
    if let Some(thing) = &thing {
        let exactly: Pattern = thing.to_string().parse().expect("a thing can be granted");
        assert!(exactly.covers(thing));
        if let Ok(pattern) = one.parse::<Pattern>() {
            check_patterns(&pattern, &exactly, Some(thing));
        }
    }
    if let (Ok(a), Ok(b)) = (one.parse(), other.parse()) {
        check_patterns(&a, &b, None);
        let thing = "desk".parse().ok().and_then(|name| Resource::new(name, kind, id).ok());
        check_patterns(&a, &b, thing.as_ref());
    }
});
