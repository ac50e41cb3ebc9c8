//! The fault tests of the test command, for as long as one likes: kill -9, power cuts, full, slow and failing disks,
//! PostgreSQL that dies, clocks that jump, random histories of payments, overload, sockets by the thousand.

use crate::rounds::{Progress, Tests, Work, words};
use crate::{postgres, prerequisites};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Options {
    /// kill -9 cycles under load.
    #[arg(long, default_value_t = 100)]
    kills: u64,
    /// Random histories of payments beside kills.
    #[arg(long, default_value_t = 240)]
    histories: u64,
    /// Images of the disk after power cuts.
    #[arg(long, default_value_t = 1_200)]
    images: u64,
    /// Idle WebSockets at once; each needs a file descriptor here and one in the server.
    #[arg(long, default_value_t = 2_000)]
    sockets: u64,
    /// How often everything else is tried.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// The numbers of a night: 10,000 kills, 100,000 histories, 10,000 images, 15,000 sockets, 10 rounds.
    #[arg(long, conflicts_with_all = ["kills", "histories", "images", "sockets", "rounds"])]
    nightly: bool,
    /// Only these kinds, e.g. `--only kills`.
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    only: Vec<String>,
    /// Forgets what an earlier run that was stopped has done.
    #[arg(long)]
    anew: bool,
    /// Optimised programs: more of everything in an hour.
    #[arg(long)]
    release: bool,
}

const KINDS: [&str; 5] = ["kills", "histories", "images", "sockets", "rounds"];
/// Everything that is no matter of numbers.
const OTHERS: &[&str] = &[
    "fault_clock::",
    "fault_disk::",
    "fault_load::overload",
    "fault_payment::",
    "fault_postgres::",
    "fault_slow::",
    "postgres_restore::",
    "erasure::",
];
const BACKUPS: &[&str] = &["backup::", "transfer::", "append::", "damage::", "round::", "policy::", "keys::"];

pub fn run_all(options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let wanted = match options.nightly {
        true => [10_000, 100_000, 10_000, 15_000, 10],
        false => [options.kills, options.histories, options.images, options.sockets, options.rounds],
    };
    let total = |kind: usize| {
        let asked = options.only.is_empty() || options.only.iter().any(|only| only == KINDS[kind]);
        if asked { wanted[kind] } else { 0 }
    };
    // Pieces of about five minutes: what is lost when a run is stopped.
    let work = |kind: usize, piece: u64| Work { name: KINDS[kind], total: total(kind), piece };
    let mut progress = Progress::open("faults", options.anew)?;
    let server = Tests::build("uzima-server", options.release)?;
    let some = |name: &str, count: u64, seed: u64, tests: &[&str]| {
        server.run(tests, &[(name, &count.to_string()), ("UZIMA_TEST_SEED", &seed.to_string())])
    };
    progress.go(&work(0, 200), |count, seed| {
        some("UZIMA_TEST_KILL_CYCLES", count, seed, &["kill::", "kill_reads::"])
    })?;
    progress
        .go(&work(1, 240), |count, seed| some("UZIMA_TEST_HISTORIES", count, seed, &["fault_history::"]))?;
    progress.go(&work(2, 1_200), |count, seed| {
        some("UZIMA_TEST_CRASH_IMAGES", count, seed, &["fault_power::"])
    })?;
    progress.go(&work(3, total(3)), |count, seed| {
        some("UZIMA_TEST_SOCKETS", count, seed, &["fault_load::idle"])
    })?;
    if total(4) > 0 {
        let database = postgres::start(&prerequisites::postgres()?, false)?;
        let sshd = prerequisites::ssh_server()?.display().to_string();
        let variables = [("UZIMA_TEST_POSTGRES_URL", database.url.as_str()), ("UZIMA_TEST_SSHD", &sshd)];
        let store = Tests::build("uzima-store", options.release)?;
        let backup = Tests::build("uzima-backup", options.release)?;
        progress.go(&work(4, 1), |_, _| {
            server.run(OTHERS, &variables)?;
            store.run(BACKUPS, &variables)?;
            backup.run(BACKUPS, &variables)
        })?;
    }
    progress.finish();
    let done: Vec<String> =
        KINDS.iter().enumerate().map(|(n, kind)| format!("{} {kind}", total(n))).collect();
    eprintln!("\n=== faults: {}; nothing lost; {}", done.join(", "), words(began.elapsed()));
    Ok(())
}
