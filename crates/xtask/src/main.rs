//! `cargo xtask …`: every command the project is built, tried, tested and measured with.

mod bench;
mod codegen;
mod controls;
mod demo;
mod differential;
mod faults;
mod fuzz;
mod postgres;
mod prerequisites;
mod python;
mod rounds;
mod self_test;
mod shell;
mod statements;
mod suite;
mod supply;
mod tidy;
mod web;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tries, tests and measures Uzima")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds everything, fills a demonstration hospital, starts server and sandbox, prints where to go.
    Demo(demo::Options),
    /// Everything: installs or starts what is missing, then runs every test there is.
    Test(suite::Options),
    /// Only the tests in real browsers, with debug binaries.
    E2e {
        /// Puts the README's pictures of this run into docs/images.
        #[arg(long)]
        images: bool,
    },
    /// Only other people's FHIR clients and the fuzzer of the API, with debug binaries.
    Clients,
    /// The fast part: formatting, lints, crate rules, type checks, unit tests.
    Check,
    /// What must not lose anything: kill -9, full disk, dying database, clock jumps, overload; for as long as asked.
    Faults(faults::Options),
    /// Every reader of foreign bytes under libFuzzer; a release gets ten hours.
    Fuzz(fuzz::Options),
    /// Random queries of random callers against databases without the rows they may not see; nightly with 100,000.
    Differential(differential::Options),
    /// Boot, memory, import, create, read and search on both engines; the result goes to docs/benchmarks.md.
    Bench(bench::Options),
    /// Runs what proves the controls of docs/controls.md, all or some, and writes a report for the release.
    Controls(self_test::Options),
    /// The crate rules of docs/ARCHITECTURE.md; and whether the tests that docs/controls.md names are there.
    Tidy,
    /// Regenerates the R4 definitions, the OpenAPI document and the web client's types.
    Codegen,
    /// Builds the web client and the release binaries, and lists what they are made of (CycloneDX).
    Build {
        /// Builds all of it a second time from nothing and compares: both must be the same, bit for bit.
        #[arg(long)]
        twice: bool,
    },
    /// Licences, sources and known holes of everything the program is made of.
    Deny,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => suite::test(&options),
        Task::E2e { images } => {
            suite::browser()?;
            if images { suite::images() } else { Ok(()) }
        }
        Task::Clients => suite::clients(),
        Task::Check => suite::check(),
        Task::Faults(options) => faults::run_all(&options),
        Task::Fuzz(options) => fuzz::run_all(&options),
        Task::Differential(options) => differential::run_all(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Controls(options) => self_test::run(&options),
        Task::Tidy => tidy::run(),
        Task::Deny => supply::check(),
        Task::Codegen => {
            codegen::run()?;
            web::api_types()
        }
        Task::Build { twice } => {
            prerequisites::node()?;
            web::build()?;
            demo::release_binaries()?;
            supply::write_bill_of_materials()?;
            if twice { supply::build_again() } else { Ok(()) }
        }
    }
}
