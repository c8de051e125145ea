//! What goes wrong, drawn from the seed: which operation fails how, and when the power is cut.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, Mutex},
};

use super::disk::{Disk, EIO, Fate, Op};

/// What the system says when a process has too many files open.
const EMFILE: i32 = 24;

/// Numbers that look random (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.number() % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    /// What a power cut does to a write of this length.
    pub(super) fn fate(&mut self, length: usize) -> Fate {
        match self.below(5) {
            0 | 1 => Fate::Lost,
            2 => Fate::Kept,
            3 => Fate::First(self.below(length as u64 + 1) as usize),
            _ => Fate::Sectors(self.number()),
        }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The device fails.
    Io,
    /// There is no room.
    Full,
    /// The process has too many files open.
    TooManyFiles,
    /// A write takes some of its bytes.
    Short,
    /// The power is cut: nothing works from here on.
    PowerCut,
}

/// What goes wrong in one life.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    dice: Dice,
    /// The operation at which this happens.
    at: Option<(u64, Fault)>,
    /// Besides, one operation of so many goes wrong; none where this is zero.
    one_in: u64,
    /// There is no room for new files.
    pub(super) full: bool,
    pub(super) off: bool,
    /// Whether each operation is printed.
    pub(super) told: bool,
    pub(super) operations: u64,
    pub(super) happened: u64,
    /// A number that any other sequence of operations changes.
    pub(super) course: u64,
}

impl Faults {
    /// This one and no other.
    pub(super) fn only(at: Option<(u64, Fault)>) -> Self {
        Self {
            dice: Dice(0),
            at,
            one_in: 0,
            full: false,
            off: false,
            told: false,
            operations: 0,
            happened: 0,
            course: 0,
        }
    }

    /// Any. In half of all lives the power is cut, in a third of them single operations fail.
    pub(super) fn any(dice: &mut Dice) -> Self {
        let at = dice.one_in(2).then(|| (dice.below(160), Fault::PowerCut));
        let one_in = [0, 0, 0, 0, 20, 80][dice.below(6) as usize];
        let full = dice.one_in(12);
        Self { dice: Dice(dice.number()), one_in, full, ..Self::only(at) }
    }

    /// Decides about one operation: how many bytes it may take, if it is a write.
    fn decide(&mut self, op: Op, path: &str) -> io::Result<usize> {
        self.note(op, path);
        let number = self.operations;
        self.operations += 1;
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        let fault = match self.at {
            Some((at, fault)) if at == number => Some(fault),
            _ if self.full && matches!(op, Op::Create | Op::Put) => return Err(full()),
            _ if self.one_in > 0 && self.dice.one_in(self.one_in) => {
                let faults =
                    [Fault::Io, Fault::Full, Fault::TooManyFiles, Fault::Short, Fault::Short];
                Some(faults[self.dice.below(faults.len() as u64) as usize])
            }
            _ => None,
        };
        self.happened += u64::from(fault.is_some());
        if self.told {
            println!(
                "{number}: {op:?} `{path}` {}",
                fault.map_or(String::new(), |it| format!("{it:?}"))
            );
        }
        match fault {
            None => Ok(usize::MAX),
            Some(Fault::Io) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::Full) => Err(full()),
            Some(Fault::TooManyFiles) => Err(io::Error::from_raw_os_error(EMFILE)),
            Some(Fault::Short) => Ok(1 + self.dice.below(700) as usize),
            Some(Fault::PowerCut) => {
                self.off = true;
                Err(io::Error::other("the power is off"))
            }
        }
    }

    fn note(&mut self, op: Op, path: &str) {
        for byte in path.bytes().chain([op as u8]) {
            self.course = (self.course ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn full() -> io::Error {
    ErrorKind::StorageFull.into()
}

/// Lets these faults happen to a disk.
pub(super) fn befall(disk: &Disk, faults: &Arc<Mutex<Faults>>) {
    let faults = Arc::clone(faults);
    disk.hook_short(move |op, path| faults.lock().unwrap().decide(op, path));
}
