//! What encryption, audit and rights take of a request: parts measured inside the process, set against the whole.

use super::work::Figures;
use crate::shell::{self, cargo, command, target};
use anyhow::Context as _;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Ways of asking, as the tool names them, and the case over HTTP that they are a part of.
const WAYS: [(&str, &str); 2] =
    [("read", "read by id, 16 connections"), ("create", "create Observation (1 KB), 16 connections")];

/// Builds the tool, or takes the one that is there.
pub fn tool(no_build: bool) -> anyhow::Result<PathBuf> {
    if !no_build {
        shell::run(cargo().args(["build", "--release", "-p", "uzima-record", "--example", "parts"]))?;
    }
    Ok(target().join("release/examples/parts"))
}

/// A table; CPU in microseconds. The share is of the request over HTTP that `figures` has.
pub fn measure(tool: &Path, seconds: u64, figures: &Figures) -> anyhow::Result<String> {
    let program = tool.to_str().context("a path that is no text")?;
    let text = shell::output(&mut command(program, &[&seconds.to_string()]))?;
    let parts: Value = serde_json::from_str(&text)?;
    let mut table = String::from(
        "\n| CPU µs of a | whole | encryption | audit | rights | together |\n|---|---|---|---|---|---|\n",
    );
    for (way, case) in WAYS {
        let part = |name: &str| parts[way][name].as_f64().with_context(|| format!("no {way}.{name}"));
        let (encryption, audit, rights) = (part("encryption")?, part("audit")?, part("rights")?);
        let whole = figures.rows().find(|(name, _)| *name == case).map(|(_, measured)| measured.cpu_us);
        let whole = whole.with_context(|| format!("no figure for {case}"))?;
        let share = 100.0 * (encryption + audit + rights) / whole;
        writeln!(
            table,
            "| {way} | {whole:.0} | {encryption:.1} | {audit:.1} | {rights:.1} | {share:.0} % |"
        )?;
    }
    Ok(table)
}
