//! `uzima-sandbox`: the stand-ins as a program. Prints its address and runs until it is told to stop.

use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Stand-ins for M-PESA (Daraja), SMS (Africa's Talking) and a provider of identities, with virtual handsets. No real money.
#[derive(Parser)]
#[command(name = "uzima-sandbox", version)]
struct Arguments {
    #[command(flatten)]
    config: sandbox::Config,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Arguments { config } = Arguments::parse();
    let public_url = config.public_url.clone();
    let handle = sandbox::serve(config).await?;
    // The one line on standard output: programs that start the sandbox read the address from it.
    println!("uzima-sandbox listening on {}", public_url.unwrap_or_else(|| handle.base_url()));
    stop_signal().await.context("cannot wait for a signal")?;
    tracing::info!("stopping");
    handle.shutdown().await.context("the listener failed")
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
    }
}
