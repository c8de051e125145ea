//! A writer in a process of its own that is killed, whose system calls fail, and whose system calls are watched.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ledger::verify;
use tempfile::TempDir;

use super::*;
use crate::forgetful::Forgetful;

/// How often the writer is killed; `cargo xtask faults` does it more often.
const KILLS: u64 = 200;
/// How often it is killed on a disk that forgets what was not synced.
const FORGETS: u64 = 30;
/// Of so many places where a system call can fail, one is tried; `cargo xtask faults` tries all.
const EVERY: usize = 13;

/// What the writer has said: where each record is.
type Said = BTreeMap<u64, String>;

/// The program `examples/victim.rs`, which is built with the tests.
fn victim() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples/victim")
}

fn number_from(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().map_or(usual, |number| number.parse().unwrap())
}

fn said(output: &str) -> Said {
    let line = |line: &str| {
        let (index, hash) = line.split_once(' ').unwrap();
        (index.parse().unwrap(), hash.to_owned())
    };
    // A line that was not finished was not said.
    output
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|it| line(it.trim_end()))
        .collect()
}

/// What was said and is not in the ledger, or else is wrong with it.
fn lost(place: &Path, said: &Said) -> Option<String> {
    let log = match Log::open(config(place), keys()) {
        Ok(log) => log,
        Err(error) => return Some(format!("it opens no more: {error:?}")),
    };
    let entries = entries(&log);
    for (index, hash) in said {
        let there = entries.get(*index as usize).map(|entry| entry.hash.to_string());
        if there.as_ref() != Some(hash) {
            return Some(format!("entry {index} was acknowledged"));
        }
    }
    log.close().unwrap();
    let report = verify::log(&place.join("log"), &log.verifier_key(), &[], Some(&subject_keys()));
    (!report.is_clean()).then(|| format!("{report:?}"))
}

/// Starts the writer, and kills it when it has said so many lines; gives all that it has said.
fn killed_after(lines: u64, place: &Path) -> Said {
    let mut writer = Command::new(victim());
    let mut writer = writer.arg(place).arg("1000000").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(writer.stdout.take().unwrap());
    let mut said_so_far = String::new();
    for _ in 0..lines {
        output.read_line(&mut said_so_far).unwrap();
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    output.read_to_string(&mut said_so_far).unwrap();
    said(&said_so_far)
}

#[test]
fn whatever_was_acknowledged_is_there_however_often_the_writer_is_killed() {
    let place = TempDir::new().unwrap();
    let kills = number_from("LEDGER_KILLS", KILLS);
    let mut told = Said::new();
    for kill in 0..kills {
        // At another moment each time, also before anything is acknowledged.
        told.append(&mut killed_after(kill * 7 % 23, place.path()));
        if kill % 50 == 49 || kill + 1 == kills {
            assert_eq!(lost(place.path(), &told), None, "after kill {kill}");
        }
    }
    assert!(told.len() as u64 > kills);
}

/// Kills the writer so many times, and each time the disk forgets what was not synced. Says what was lost, and how much was
/// acknowledged before.
fn forgotten(kills: u64, disk: &Forgetful) -> (Option<String>, usize) {
    let place = TempDir::new().unwrap();
    let mut told = Said::new();
    for kill in 0..kills {
        // Nothing stays in the kernel's memory from one mount to the next.
        let mounted = disk.mount(place.path());
        told.append(&mut killed_after(kill * 7 % 23, place.path()));
        disk.forget();
        Forgetful::unmount(mounted);
        if kill % 10 == 9 || kill + 1 == kills {
            let mounted = disk.mount(place.path());
            let lost = lost(place.path(), &told);
            Forgetful::unmount(mounted);
            if lost.is_some() {
                return (lost, told.len());
            }
        }
    }
    (None, told.len())
}

#[test]
fn whatever_was_acknowledged_is_there_when_the_writer_is_killed_and_the_disk_forgets_what_was_not_synced()
 {
    let kills = number_from("LEDGER_FORGETS", FORGETS);
    let (lost, told) = forgotten(kills, &Forgetful::new(false));
    println!("{kills} kills, after each of which the disk forgot; {told} acknowledged");
    assert_eq!(lost, None);
    assert!(told as u64 > kills);

    let (lost, _) = forgotten(10, &Forgetful::new(true));
    assert!(lost.is_some(), "a writer whose syncs do nothing is not found out");
}

/// Runs the writer under strace; gives what it said, what was traced, and how it ended.
fn traced(place: &Path, options: &[&str], count: u64) -> (Said, String, Option<i32>) {
    let trace = place.join("trace");
    let ran = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .args(options)
        .arg(victim())
        .arg(place.join("data"))
        .arg(count.to_string())
        .output()
        .expect("strace is installed");
    let trace = std::fs::read_to_string(trace).unwrap();
    (said(&String::from_utf8(ran.stdout).unwrap()), trace, ran.status.code())
}

/// The bytes of a string as `strace -xx` writes it.
fn bytes_of(line: &str) -> Vec<u8> {
    let text = line.split('"').nth(1).unwrap_or_default();
    text.split("\\x").skip(1).map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
}

/// The first acknowledgement in a trace before which no sync covers its record.
fn too_early(trace: &str) -> Option<u64> {
    // A call that another one interrupts is two lines, of which the second has its end.
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let (mut written, mut durable) = (0, 0);
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, start.to_owned());
            if !start.starts_with("write(1,") {
                continue;
            }
        }
        let call = match call.split_once("resumed>") {
            Some((_, end)) => begun.remove(thread).unwrap_or_default() + end,
            None => call.to_owned(),
        };
        if call.starts_with("pwrite64(") {
            let head = bytes_of(&call);
            if head.get(4..8) == Some(b"\x00bw\x01") {
                let first = u64::from_le_bytes(head[16..24].try_into().unwrap());
                let count = u32::from_le_bytes(head[24..28].try_into().unwrap());
                written = first + u64::from(count);
            }
        } else if call.starts_with("fdatasync(") && call.ends_with("= 0") {
            durable = written;
        } else if call.starts_with("write(1,") {
            let text = String::from_utf8(bytes_of(&call)).unwrap();
            let index: u64 = text.split(' ').next().unwrap().parse().unwrap();
            if index >= durable {
                return Some(index);
            }
        }
    }
    None
}

#[test]
fn every_acknowledgement_follows_the_sync_that_covers_it_and_a_writer_that_does_not_sync_is_found_out()
 {
    let calls = ["-xx", "-s", "64", "-e", "trace=pwrite64,fdatasync,write"];
    let place = TempDir::new().unwrap();
    let (told, trace, status) = traced(place.path(), &calls, 300);
    assert_eq!((told.len(), status), (300, Some(0)));
    assert_eq!(too_early(&trace), None);

    // The same with a system that claims to have synced.
    let place = TempDir::new().unwrap();
    let lying = [&calls[..], &["-e", "inject=fdatasync:retval=0"]].concat();
    let (told, trace, _) = traced(place.path(), &lying, 30);
    assert_eq!((too_early(&trace), told.is_empty()), (Some(0), false));
}

#[test]
fn a_system_call_that_fails_or_kills_anywhere_loses_nothing_that_was_acknowledged() {
    const CALLS: &str =
        "openat,pwrite64,pread64,fdatasync,fsync,rename,fallocate,ftruncate,unlink,mkdir";
    const COUNT: u64 = 30;
    let place = TempDir::new().unwrap();
    let (_, trace, status) = traced(place.path(), &["-e", &format!("trace={CALLS}")], COUNT);
    assert_eq!(status, Some(0));
    // strace counts for each thread by itself.
    let mut threads: BTreeMap<&str, usize> = BTreeMap::new();
    for line in trace.lines().filter(|line| !line.contains("resumed>")) {
        *threads.entry(line.split_once(' ').unwrap().0).or_default() += 1;
    }
    let places = *threads.values().max().unwrap();
    let every = number_from("LEDGER_EVERY", EVERY as u64) as usize;
    let mut ended = BTreeMap::new();
    for fault in ["error=EIO", "error=ENOSPC", "signal=SIGKILL"] {
        for nth in (1..=places).step_by(every) {
            let place = TempDir::new().unwrap();
            let inject = format!("inject={CALLS}:{fault}:when={nth}");
            let (told, _, status) =
                traced(place.path(), &["-e", &format!("trace={CALLS}"), "-e", &inject], COUNT);
            *ended.entry(status).or_insert(0) += 1;
            // Whatever happened: without the fault it goes on, and has lost nothing.
            let again = Command::new(victim()).arg(place.path().join("data")).arg("3").output();
            let again = again.unwrap();
            assert_eq!(again.status.code(), Some(0), "{fault} at {nth}: {again:?}");
            assert_eq!(lost(&place.path().join("data"), &told), None, "{fault} at {nth}");
        }
    }
    assert!(ended.len() > 2, "too few of the faults were felt: {ended:?}");
}
