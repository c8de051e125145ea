//! Payload files, read from front to back beside the entries: one record for each entry, up to the last that has a payload.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read},
    path::Path,
};

use super::{
    Form,
    report::{Class, Level, Place, Report},
};
use crate::{
    merkle::TILE,
    payload::{MAX_PAYLOAD, OVERHEAD},
    tile,
};

pub(super) struct Payloads<'a> {
    place: &'a Path,
    form: Form,
    /// How many entries the signed head covers.
    size: u64,
    open: Option<Bundle>,
}

/// The payloads of one bundle.
struct Bundle {
    number: u64,
    /// How many entries were asked for.
    seen: u64,
    records: Records,
}

/// What can be said of a bundle's file.
enum Records {
    Missing,
    Unreadable(ErrorKind),
    File {
        bytes: BufReader<File>,
        /// How many are left, by the length that the file had when it was opened.
        left: u64,
        /// Whether the last record was an empty one, behind which another has to come.
        blank: bool,
    },
}

impl<'a> Payloads<'a> {
    pub(super) fn new(place: &'a Path, form: Form, size: u64) -> Self {
        Self { place, form, size, open: None }
    }

    /// The file that holds the payload of an entry, if it has one.
    pub(super) fn file(index: u64) -> String {
        tile::payloads(index / TILE as u64)
    }

    /// The record of an entry; `None` where it is empty or there is none. Entries come in order, each once; where a bundle is
    /// cut short, those at its end are left out.
    pub(super) fn record(
        &mut self,
        index: u64,
        report: &mut Report,
    ) -> io::Result<Option<Vec<u8>>> {
        let number = index / TILE as u64;
        if self.open.as_ref().is_none_or(|open| open.number != number) {
            self.close(report);
            let records = Records::open(self.place, number);
            self.open = Some(Bundle { number, seen: 0, records });
        }
        let Some(bundle) = &mut self.open else { return Ok(None) };
        bundle.seen += 1;
        bundle.records.next()
    }

    /// Looks for what stands behind the last payload that an entry names.
    pub(super) fn close(&mut self, report: &mut Report) {
        let Some(bundle) = self.open.take() else { return };
        let covered = (self.size - bundle.number * TILE as u64).min(TILE as u64);
        let wrong = match bundle.records {
            Records::Missing | Records::File { left: 0, blank: false, .. } => return,
            Records::File { .. } => "it goes on behind the last payload of an entry".to_owned(),
            Records::Unreadable(why) => format!("it cannot be read to its end: {why}"),
        };
        // Where entries are missing, that is the finding: what belongs to them cannot be told from what belongs to none.
        if bundle.seen < covered {
            return;
        }
        if self.form == Form::Log && covered < TILE as u64 {
            report.uncovered += 1;
        } else {
            let file = Place::File(tile::payloads(bundle.number));
            report.find(Level::Payloads, Class::Integrity, file, wrong);
        }
    }
}

impl Records {
    fn open(place: &Path, number: u64) -> Self {
        let path = place.join(tile::payloads(number));
        let open = || {
            // Opening what is no file may never end.
            if !path.metadata()?.is_file() {
                return Err(ErrorKind::InvalidInput.into());
            }
            let file = File::open(&path)?;
            Ok((file.metadata()?.len(), BufReader::new(file)))
        };
        match open() {
            // A file of nothing speaks of no entry.
            Ok((left, bytes)) => Self::File { bytes, left, blank: left == 0 },
            Err(error) if io::Error::kind(&error) == ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreadable(error.kind()),
        }
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Missing | Self::File { left: 0, .. } => Ok(None),
            Self::Unreadable(kind) => Err((*kind).into()),
            Self::File { bytes, left, blank } => match record(bytes, left) {
                Ok(record) => {
                    *blank = record.is_empty();
                    Ok(Some(record).filter(|record| !record.is_empty()))
                }
                Err(error) => {
                    *self = Self::Unreadable(error.kind());
                    Err(error)
                }
            },
        }
    }
}

fn record(bytes: &mut impl Read, left: &mut u64) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    bytes.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_PAYLOAD + OVERHEAD {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut record = vec![0; length];
    bytes.read_exact(&mut record)?;
    *left = left.saturating_sub(4 + length as u64);
    Ok(record)
}
