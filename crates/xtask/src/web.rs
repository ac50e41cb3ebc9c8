//! The web client's own tools, called from here so that nobody has to remember them.

use crate::shell::{self, root, run};
use std::path::Path;
use std::process::Command;

fn npm(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(folder);
    command
}

/// `npm ci` where the lock file is newer than what is installed.
pub fn install(folder: &Path) -> anyhow::Result<()> {
    let modified = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < modified(&folder.join("package-lock.json")) {
        run(&mut npm(folder, &["ci", "--no-audit", "--no-fund"]))?;
    }
    Ok(())
}

pub fn build() -> anyhow::Result<()> {
    let web = root().join("web");
    install(&web)?;
    run(&mut npm(&web, &["run", "build"]))
}

/// Type check and unit tests.
pub fn test() -> anyhow::Result<()> {
    let web = root().join("web");
    install(&web)?;
    run(&mut npm(&web, &["run", "check"]))?;
    run(&mut npm(&web, &["test"]))
}

/// `docs/openapi.json` from the server's handlers, and the client's types from it.
pub fn api_types() -> anyhow::Result<()> {
    let document = shell::output(shell::cargo().args([
        "run",
        "-q",
        "-p",
        "uzima-server",
        "--bin",
        "uzima",
        "--",
        "openapi",
    ]))?;
    std::fs::write(root().join("docs/openapi.json"), document + "\n")?;
    let web = root().join("web");
    install(&web)?;
    run(&mut npm(&web, &["run", "api-types"]))
}
