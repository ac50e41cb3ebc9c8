//! Logs to the standard error; a panic is logged with its place and without its message, which may hold a person's data.

use crate::config::{Log, LogFormat};
use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

/// Starts logging for the process. Errors: a filter that cannot be read.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("log.filter")?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_terminal).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.compact().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        tracing::error!(panic.place = %place, "panicked");
    }));
    Ok(())
}
