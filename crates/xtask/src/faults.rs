//! The fault tests of the test command, for as long as one likes: kill -9, power cuts, full, slow and failing disks,
//! PostgreSQL that dies, clocks that jump, random histories of payments, overload, sockets by the thousand.

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
    /// Images of the disk after power cuts, of one round.
    #[arg(long, default_value_t = 1_200)]
    crash_images: u32,
    /// Random histories of payments, of one round.
    #[arg(long, default_value_t = 240)]
    histories: u32,
    /// Only tests whose names contain one of these, e.g. `kill::`.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

pub fn run_all(options: &Options) -> anyhow::Result<()> {
    let bin = prerequisites::postgres()?;
    let database = postgres::start(&bin, false)?;
    let until = Instant::now() + Duration::from_secs(options.minutes * 60);
    let usual = ["kill::".to_owned(), "fault_".to_owned()].to_vec();
    let sshd = prerequisites::ssh_server()?;
    let mut round = 0;
    while round == 0 || Instant::now() < until {
        round += 1;
        eprintln!("\n=== faults: round {round}");
        let mut tests = cargo();
        tests
            .args(["test", "-p", "uzima-server", "--test", "it", "--", "--nocapture", "--test-threads=1"])
            .args(if options.only.is_empty() { &usual } else { &options.only })
            .env("UZIMA_TEST_POSTGRES_URL", &database.url)
            .env("UZIMA_TEST_KILL_CYCLES", options.kill_cycles.to_string())
            .env("UZIMA_TEST_SOCKETS", options.sockets.to_string())
            .env("UZIMA_TEST_CRASH_IMAGES", options.crash_images.to_string())
            .env("UZIMA_TEST_HISTORIES", options.histories.to_string());
        run(&mut tests)?;
        if !options.only.is_empty() {
            continue;
        }
        let mut tests = cargo();
        tests
            .args(["test", "-p", "uzima-store", "-p", "uzima-backup", "--test", "it", "--"])
            .args(["backup::", "transfer::", "append::", "damage::", "round::", "policy::"])
            .env("UZIMA_TEST_SSHD", &sshd)
            .env("UZIMA_TEST_POSTGRES_URL", &database.url);
        run(&mut tests)?;
    }
    eprintln!("\n=== faults: {round} round(s), nothing lost");
    Ok(())
}
