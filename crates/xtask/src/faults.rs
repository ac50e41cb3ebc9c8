//! The fault tests of the test command, for as long as one likes: kill -9, a full disk, PostgreSQL that dies, clocks that
//! jump, overload, sockets by the thousand.

use crate::shell::{cargo, run};
use crate::{postgres, prerequisites};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Options {
    /// Goes round until so many minutes are over; each round has other seeds.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// kill -9 cycles of one round.
    #[arg(long, default_value_t = 100)]
    kill_cycles: u32,
    /// Idle WebSockets of one round; each needs a file descriptor here and one in the server.
    #[arg(long, default_value_t = 2_000)]
    sockets: u32,
}

pub fn run_all(options: &Options) -> anyhow::Result<()> {
    let bin = prerequisites::postgres()?;
    let database = postgres::start(&bin, false)?;
    let until = Instant::now() + Duration::from_secs(options.minutes * 60);
    let mut round = 0;
    while round == 0 || Instant::now() < until {
        round += 1;
        eprintln!("\n=== faults: round {round}");
        let mut tests = cargo();
        tests
            .args(["test", "-p", "uzima-server", "--test", "it", "--", "--nocapture", "--test-threads=1"])
            .args(["kill::", "fault_"])
            .env("UZIMA_TEST_POSTGRES_URL", &database.url)
            .env("UZIMA_TEST_KILL_CYCLES", options.kill_cycles.to_string())
            .env("UZIMA_TEST_SOCKETS", options.sockets.to_string());
        run(&mut tests)?;
        let mut tests = cargo();
        tests
            .args(["test", "-p", "uzima-store", "-p", "uzima-backup", "--test", "it", "--"])
            .args(["backup::", "transfer::", "damage::", "round::", "policy::"])
            .env("UZIMA_TEST_POSTGRES_URL", &database.url);
        run(&mut tests)?;
    }
    eprintln!("\n=== faults: {round} round(s), nothing lost");
    Ok(())
}
