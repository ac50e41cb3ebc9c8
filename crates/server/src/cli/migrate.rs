//! `uzima migrate`: the schema, the way back, and the way to the other engine.

use super::output::Stop;
use crate::config::{Config, Secret};
use crate::storage;
use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;
use store::transfer::{self, Progress};

#[derive(Args)]
pub struct Arguments {
    /// Puts the embedded database back as it was before its schema changed last, for the program from before.
    #[arg(long, conflicts_with_all = ["from", "to"])]
    roll_back: bool,
    /// Copies everything from this database, sqlite:PATH or postgres://…, to the new one of --to, and compares every row.
    /// No server may use either. After a stop the same command goes on.
    #[arg(long, value_name = "URL", requires = "to")]
    from: Option<String>,
    /// The new database, of the other engine.
    #[arg(long, value_name = "URL", requires = "from")]
    to: Option<String>,
}

pub async fn run(config: Config, arguments: Arguments) -> anyhow::Result<()> {
    let stop = Stop::listen();
    let work = tokio::task::spawn_blocking(move || match (arguments.from, arguments.to) {
        (Some(from), Some(to)) => transfer(&config, &from, &to, &stop),
        _ if arguments.roll_back => roll_back(&config),
        _ => bring_up(&config),
    });
    work.await?
}

fn bring_up(config: &Config) -> anyhow::Result<()> {
    let store = storage::open_store(config)?;
    let status = store.migration_status()?;
    store.close();
    println!("schema {} of {}", status.current, status.known);
    Ok(())
}

fn roll_back(config: &Config) -> anyhow::Result<()> {
    let database = storage::database_file(config).context("only an embedded database is kept")?;
    let (kept, aside) = store::backup::roll_back(&database).map_err(|error| storage::explain(&error))?;
    println!("schema {} as of {:.0}; start the program that knows it", kept.schema, kept.at);
    println!("what was written since lies in {}", aside.display());
    Ok(())
}

fn transfer(config: &Config, from: &str, to: &str, stop: &Stop) -> anyhow::Result<()> {
    let open =
        |url: &str| storage::open_store(&Config { database_url: Some(Secret::new(url)), ..config.clone() });
    let (from, to) = (open(from)?, open(to)?);
    let template = "{elapsed_precise} [{wide_bar}] {pos}/{len} rows {msg}";
    let style = ProgressStyle::with_template(template).context("progress bar")?.progress_chars("=> ");
    let (bar, begun) = (ProgressBar::new(0).with_style(style), Instant::now());
    let tell = |progress| match progress {
        Progress::Begin { rows } => bar.set_length(rows),
        Progress::Copying { table } => bar.set_message(format!("copying {table}")),
        Progress::Comparing { table } => bar.set_message(format!("comparing {table}")),
        Progress::Done { rows } => bar.inc(rows),
    };
    let done = transfer::run(&from, &to, &tell, &|| stop.is_asked());
    bar.finish_and_clear();
    from.close();
    to.close();
    let report = match done {
        Err(store::Error::Closed) if stop.is_asked() => {
            anyhow::bail!("stopped; the same command goes on where it was")
        }
        done => done?,
    };
    for (table, rows) in report.rows.iter().filter(|(_, rows)| **rows > 0) {
        println!("{table:<30} {rows:>12}");
    }
    let rows: u64 = report.rows.values().sum();
    println!("{:<30} {rows:>12}  every row compared", "rows");
    println!("{:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}
