//! The differential test of rights, for as many queries as one likes.

use crate::shell::{cargo, run};
use crate::{postgres, prerequisites};

#[derive(clap::Args)]
pub struct Options {
    /// Queries over both engines.
    #[arg(long, default_value_t = 100_000)]
    queries: usize,
    /// Only SQLite.
    #[arg(long)]
    sqlite: bool,
}

pub fn run_all(options: &Options) -> anyhow::Result<()> {
    let database = match options.sqlite {
        true => None,
        false => Some(postgres::start(&prerequisites::postgres()?, false)?),
    };
    let mut tests = cargo();
    tests
        .args(["test", "-p", "uzima-record", "--test", "it", "--", "--nocapture", "differential::"])
        .env("UZIMA_TEST_DIFFERENTIAL", options.queries.to_string());
    if let Some(database) = &database {
        tests.env("UZIMA_TEST_POSTGRES_URL", &database.url);
    }
    run(&mut tests)?;
    eprintln!("\n=== differential: {} queries answered as if the rest did not exist", options.queries);
    Ok(())
}
