//! Heads with timestamps of an authority (RFC 3161), as far as they can be judged without its certificates: that each is over
//! the head beside it. That the head is one of this log is found with the other older heads.

use std::path::Path;

use super::{
    report::{Class, Level, Place, Report, Stamped},
    tree::read_file,
};
use crate::{
    anchor,
    note::Checkpoint,
    timestamp::{self, MAX_TIMESTAMP},
};

/// More stamped heads than any log keeps.
const MAX_READ: usize = 64;
const MAX_NOTE: u64 = 64 * 1024;

/// Reads the stamped heads of a log and notes those that have a timestamp in the report; gives their notes.
pub(super) fn read(place: &Path, report: &mut Report) -> Vec<(Place, Vec<u8>)> {
    let mut wrong = |name: &str, what: String| {
        report.find(Level::History, Class::Integrity, Place::File(name.to_owned()), what);
    };
    let sizes = match anchor::stamped_sizes(place) {
        Ok(sizes) if sizes.len() <= MAX_READ => sizes,
        Ok(sizes) => {
            wrong(
                anchor::STAMPED,
                format!("there are {} stamped heads, more than a log keeps", sizes.len()),
            );
            return Vec::new();
        }
        Err(error) => {
            wrong(anchor::STAMPED, error.to_string());
            return Vec::new();
        }
    };
    let (mut notes, mut stamped) = (Vec::new(), Vec::new());
    for size in sizes {
        let name = anchor::stamped(size);
        let token = anchor::timestamp_of(&name);
        let read = read_file(place, &name, MAX_NOTE)
            .and_then(|note| Ok((note, read_file(place, &token, MAX_TIMESTAMP as u64)?)));
        match read {
            Ok((note, _)) if Checkpoint::unverified(&note).map(|head| head.size) != Ok(size) => {
                wrong(&name, format!("it is no head of {size} entries"));
            }
            Ok((note, response)) => {
                match timestamp::of_head(&note, &response) {
                    Ok(at) => stamped.push(Stamped { size, at, file: name.clone() }),
                    Err(error) => wrong(&token, error.to_string()),
                }
                notes.push((Place::File(name), note));
            }
            Err(error) => wrong(&name, format!("it or its timestamp cannot be read: {error}")),
        }
    }
    report.stamped = stamped;
    notes
}
