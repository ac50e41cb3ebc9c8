//! Every reader of foreign bytes (`crates/fuzz`) under libFuzzer, guided by the coverage of our own crates.
//!
//! The stable compiler has what libFuzzer needs: the flags below are those of `cargo fuzz run --sanitizer none`. They are
//! put behind `rustc` for the workspace's crates only, so everything else comes from the cache of the debug build. Without
//! AddressSanitizer, which needs a nightly compiler: our crates have no unsafe code (a lint denies it), and what is looked
//! for are panics, overflows (debug assertions are on), endless loops and memory without end.

use crate::rounds::words;
use crate::shell::{cargo, command, output, root, run, target};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Options {
    /// Only these readers, e.g. `fhir-xml`; without any, all of them one after the other.
    readers: Vec<String>,
    /// How long each is tried. Ten CPU-hours in all are 1,800.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Prints the readers there are.
    #[arg(long)]
    list: bool,
}

/// What the compiler adds to each function for libFuzzer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// One input that takes longer counts as found, seconds.
const INPUT_SECONDS_MAX: u32 = 20;
const MEMORY_MIB_MAX: u32 = 2048;
/// As `fuzz::INPUT_BYTES_MAX`.
const INPUT_BYTES_MAX: u32 = 64 * 1024;

pub fn run_all(options: &Options) -> anyhow::Result<()> {
    let program = build()?;
    let told = output(Command::new(&program).env("UZIMA_FUZZ_READER", "list"))?;
    let known: Vec<(&str, &str)> = told.lines().filter_map(|line| line.split_once('\t')).collect();
    if options.list {
        for (name, about) in known {
            println!("{name:<16} {about}");
        }
        return Ok(());
    }
    if let Some(unknown) = options.readers.iter().find(|name| !known.iter().any(|(known, _)| known == name)) {
        bail!("there is no reader `{unknown}`; `cargo xtask fuzz --list` names them");
    }
    let wanted = |name: &str| options.readers.is_empty() || options.readers.iter().any(|one| one == name);
    let began = Instant::now();
    let mut lines = Vec::new();
    let mut broken = 0;
    for (name, _) in known.iter().filter(|(name, _)| wanted(name)) {
        let ran = fuzz(&program, name, options.seconds)?;
        eprintln!("{}", ran.line);
        broken += ran.found.len();
        lines.push(ran.line);
        lines.extend(ran.found.iter().map(|input| format!("    {}", input.display())));
    }
    eprintln!("\n=== fuzz: {}\n{}", words(began.elapsed()), lines.join("\n"));
    if broken > 0 {
        bail!(
            "{broken} input(s) broke a reader: mend it, and move the input into crates/fuzz/regressions/<reader>"
        );
    }
    Ok(())
}

/// The program with all readers in it.
fn build() -> anyhow::Result<PathBuf> {
    let folder = target().join("fuzz");
    std::fs::create_dir_all(&folder)?;
    let wrapper = folder.join("rustc");
    let script = format!("#!/bin/sh\nexec \"$@\" {FLAGS}\n");
    if std::fs::read_to_string(&wrapper).ok().as_deref() != Some(&script) {
        std::fs::write(&wrapper, script)?;
        run(command("chmod", &["+x"]).arg(&wrapper))?;
    }
    run(cargo()
        .args(["build", "--quiet", "-p", "uzima-fuzz", "--features", "libfuzzer", "--bin", "uzima-fuzz"])
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .env("CARGO_INCREMENTAL", "0")
        // Of our own crates; what they depend on has a level of its own in Cargo.toml.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2"))?;
    Ok(target().join("debug/uzima-fuzz"))
}

struct Ran {
    line: String,
    /// Inputs that broke it.
    found: Vec<PathBuf>,
}

/// One reader for so long; what it learnt stays in its corpus for the next time.
fn fuzz(program: &Path, name: &str, seconds: u64) -> anyhow::Result<Ran> {
    let folder = target().join("fuzz");
    let (corpus, found) = (folder.join("corpus").join(name), folder.join("found").join(name));
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&found)?;
    eprintln!("\n=== {name}: {seconds} s");
    let log = folder.join(format!("{name}.log"));
    let before = Instant::now();
    let status = Command::new(program)
        .current_dir(root())
        .env("UZIMA_FUZZ_READER", name)
        .env("UZIMA_FUZZ_CORPUS", &corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-print_final_stats=1", "-use_value_profile=1", "-reload=0"])
        .arg(&corpus)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?)
        .status()
        .with_context(|| program.display().to_string())?;
    let told = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let figure = |name: &str| {
        told.lines().rev().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let covered = told.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once(" cov: ")?;
        rest.split(' ').next()?.parse::<u64>().ok()
    });
    let mut broken = Vec::new();
    for entry in std::fs::read_dir(&found)? {
        broken.push(entry?.path());
    }
    if !status.success() && broken.is_empty() {
        bail!("the fuzzer of {name} ended with {status}; {} says why", log.display());
    }
    let line = format!(
        "{name:<16} {:>10} inputs in {:>4} s, {:>6} places reached, {:>6} kept, {} broke it",
        figure("stat::number_of_executed_units:"),
        Duration::as_secs(&before.elapsed()),
        covered.unwrap_or(0),
        std::fs::read_dir(&corpus)?.count(),
        broken.len(),
    );
    Ok(Ran { line, found: broken })
}
