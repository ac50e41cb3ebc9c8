//! The differential test of rights, for as many queries as one likes.

use crate::rounds::{Progress, Tests, Work, words};
use crate::{postgres, prerequisites};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Options {
    /// Queries over both engines.
    #[arg(long, default_value_t = 100_000)]
    queries: u64,
    /// Only SQLite.
    #[arg(long)]
    sqlite: bool,
    /// Forgets what an earlier run that was stopped has done.
    #[arg(long)]
    anew: bool,
    /// Optimised programs: more queries in an hour.
    #[arg(long)]
    release: bool,
}

/// Queries of one run of the test: what is lost when a run is stopped.
const PIECE: u64 = 5_000;

pub fn run_all(options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let database = match options.sqlite {
        true => None,
        false => Some(postgres::start(&prerequisites::postgres()?, false)?),
    };
    let mut progress = Progress::open("differential", options.anew)?;
    let tests = Tests::build("uzima-record", options.release)?;
    let work = Work { name: "queries", total: options.queries, piece: PIECE };
    progress.go(&work, |count, seed| {
        let (count, seed) = (count.to_string(), seed.to_string());
        let mut variables = vec![("UZIMA_TEST_DIFFERENTIAL", count.as_str()), ("UZIMA_TEST_SEED", &seed)];
        variables.extend(database.iter().map(|database| ("UZIMA_TEST_POSTGRES_URL", database.url.as_str())));
        tests.run(&["differential::"], &variables)
    })?;
    progress.finish();
    eprintln!(
        "\n=== differential: {} queries answered as if the rest did not exist; {}",
        options.queries,
        words(began.elapsed())
    );
    Ok(())
}
