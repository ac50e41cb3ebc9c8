//! `uzima region …`: what two people agree to where the server does not start.

use crate::config::Config;
use crate::{start, storage};
use anyhow::Context as _;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Order {
    /// Agrees that this database may be served from another country than the one it is pinned to. Two different people, each
    /// a privacy officer or an administrator; the password is read from the standard input. A server on an embedded
    /// database must be stopped.
    Agree {
        /// Two letters of the country, or `--` for none.
        #[arg(long, allow_hyphen_values = true)]
        to: String,
        #[arg(long)]
        login: String,
        #[arg(long)]
        reason: String,
    },
}

/// Errors: in words for the operator.
pub async fn run(config: Config, order: Order) -> anyhow::Result<()> {
    let Order::Agree { to, login, reason } = order;
    let mut password = String::new();
    eprint!("Password of {login}: ");
    std::io::stdin().read_line(&mut password).context("no password on the standard input")?;
    let record = tokio::task::spawn_blocking(move || storage::open(&config, start::clock())).await??;
    let agreed = record
        .agree_region_as(&login, password.trim_end_matches(['\r', '\n']), &to, &reason)
        .await
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let people = agreed.iter().filter(|one| one.region.eq_ignore_ascii_case(&to)).count();
    println!("{people} of 2 people have agreed that the record may be served from {to}");
    Ok(())
}
