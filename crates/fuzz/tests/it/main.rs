//! The short form of fuzzing: seeds, what once broke something, and blind mutations of both. `UZIMA_TEST_FUZZ` sets how
//! many mutations each reader gets.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use fuzz::{Mutator, READERS, Reader};
use std::panic::{AssertUnwindSafe, catch_unwind};

const MUTATIONS: usize = 400;

#[test]
fn every_reader_survives() {
    let count = std::env::var("UZIMA_TEST_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    let seed = u64::from(std::process::id());
    println!("seed {seed}, {count} mutations of each reader's inputs");
    let broken: Vec<String> = std::thread::scope(|scope| {
        let readers = READERS.iter().map(|reader| scope.spawn(move || survives(reader, count, seed)));
        let readers: Vec<_> = readers.collect();
        readers.into_iter().filter_map(|reader| reader.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What broke the reader, in words.
fn survives(reader: &Reader, count: usize, seed: u64) -> Option<String> {
    let inputs = fuzz::beginnings(reader).unwrap();
    assert!(!inputs.is_empty(), "{} has no seeds", reader.name);
    let mut mutator = Mutator::new(seed);
    let mutated = (0..count).map(|_| mutator.next_of(&inputs));
    for input in inputs.iter().cloned().chain(mutated) {
        if catch_unwind(AssertUnwindSafe(|| (reader.read)(&input))).is_err() {
            let text = String::from_utf8_lossy(&input);
            return Some(format!("{} broke at {text:?}\n{input:?}", reader.name));
        }
    }
    None
}

#[test]
fn names_are_told_apart() {
    let mut names: Vec<&str> = READERS.iter().map(|reader| reader.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), READERS.len());
    let folders = fuzz::regressions("");
    for entry in std::fs::read_dir(folders).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(name == "README.md" || fuzz::reader(&name).is_some(), "regressions of no reader: {name}");
    }
}
