//! Lives of a log on disks that forget, tear, reorder, fill up and fail: step by step on one thread, so that all that
//! happens follows from one number, the seed, and a life that went wrong can be lived again.
//!
//! After each life the log must open, and hold everything that was ever acknowledged, where it was said to be, payloads
//! too; every head that was ever signed must be that of its first entries.

#[expect(dead_code, reason = "the tests beside it use the rest of it")]
#[path = "../tests/it/disk.rs"]
mod disk;
mod faults;
mod life;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use disk::Lie;
use faults::{Fault, Faults};
use life::World;

/// How many seeds are tried; `cargo xtask faults --seeds N` tries more.
const SEEDS: u64 = 2_000;
/// Each of so many lies of a disk must be found out within so many seeds.
const FOUND_WITHIN: u64 = 1_000;

/// What befell the log of a seed, or of many.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    acknowledged: u64,
    refused: u64,
    signed: u64,
    faults: u64,
    cuts: u64,
    /// A number that any other course of events changes.
    course: u64,
}

/// Lives the lives of one seed.
fn live(seed: u64, lie: Option<Lie>) -> Result<Tally, String> {
    live_told(seed, lie, false)
}

/// The same, and prints what is done to the disks.
fn live_told(seed: u64, lie: Option<Lie>, told: bool) -> Result<Tally, String> {
    let mut world = World::new(seed, lie);
    for life in 0..3 {
        let mut faults = world.draw_faults();
        faults.told = told;
        let ended = world.life(faults);
        if told {
            println!("life {life} has ended: {ended:?}");
        }
        world.go_on_after(ended);
        world.check()?;
    }
    Ok(world.tally)
}

/// Lives so many seeds on all cores.
fn live_all(seeds: u64) -> Result<Tally, String> {
    let next = AtomicU64::new(0);
    let work = || -> Result<Tally, String> {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(tally);
            }
            let lived = live(seed, None).map_err(|wrong| {
                format!("seed {seed}: {wrong}; with LEDGER_SEED={seed} it is lived again, alone")
            });
            tally.add(&lived?);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut tally = Tally::default();
        for thread in threads {
            tally.add(&thread.join().expect("a life does not panic")?);
        }
        Ok(tally)
    })
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.signed += other.signed;
        self.faults += other.faults;
        self.cuts += other.cuts;
        self.course ^= other.course;
    }
}

fn number_from(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|number| number.parse().expect("it is a number"))
}

#[test]
fn nothing_acknowledged_or_signed_is_lost_whatever_happens_to_disks_and_power() {
    if let Some(seed) = number_from("LEDGER_SEED") {
        let lived = live_told(seed, None, true);
        println!("seed {seed}: {lived:?}");
        return assert!(lived.is_ok());
    }
    let seeds = number_from("LEDGER_SEEDS").unwrap_or(SEEDS);
    let tally = live_all(seeds).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{seeds} seeds: {tally:?}");
    assert!(tally.acknowledged > 20 * seeds && tally.signed > seeds, "{tally:?}");
    assert!(tally.refused > seeds && tally.faults > seeds && tally.cuts > seeds / 2, "{tally:?}");
}

#[test]
fn a_seed_is_the_same_life_each_time() {
    for seed in 0..20 {
        assert_eq!(live(seed, None), live(seed, None), "seed {seed}");
    }
}

#[test]
fn a_disk_that_only_claims_to_sync_is_found_out() {
    for lie in [Lie::Sync, Lie::Flush, Lie::Folder, Lie::Replace] {
        let found = (0..FOUND_WITHIN).find_map(|seed| Some((seed, live(seed, Some(lie)).err()?)));
        println!("{lie:?}: {found:?}");
        assert!(found.is_some(), "{lie:?} is not found out");
    }
}

#[test]
fn every_operation_of_a_life_can_fail_or_be_the_last_one() {
    // The same life without any fault says how many operations there are.
    let quiet = |at: Option<(u64, Fault)>| {
        let mut world = World::new(7, None);
        let ended = world.life(Faults::only(at));
        (world, ended)
    };
    let (world, _) = quiet(None);
    let operations = world.operations();
    assert!(operations > 100, "{operations}");
    for at in 0..operations {
        for fault in [Fault::Io, Fault::Full, Fault::TooManyFiles, Fault::Short, Fault::PowerCut] {
            let (mut world, ended) = quiet(Some((at, fault)));
            world.go_on_after(ended);
            // And it goes on.
            let ended = world.life(Faults::only(None));
            world.go_on_after(ended);
            world.check().unwrap_or_else(|wrong| panic!("{fault:?} at {at}: {wrong}"));
        }
    }
}
