//! A Python environment for the tests that other people's tools are made of.

use crate::prerequisites;
use crate::shell::{command, run, target};
use std::path::{Path, PathBuf};

/// The interpreter of a virtual environment with exactly these requirements; made once, beside the build cache.
/// Errors: no Python 3.10 or later, or the packages cannot be had.
pub fn environment(requirements: &Path) -> anyhow::Result<PathBuf> {
    let python = prerequisites::python()?;
    let folder = target().join("python");
    let (interpreter, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let wanted = std::fs::read_to_string(requirements)?;
    let is_there = std::fs::read_to_string(&stamp).is_ok_and(|has| has == wanted);
    if is_there && interpreter.exists() {
        return Ok(interpreter);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    run(command(&python.to_string_lossy(), &["-m", "venv"]).arg(&folder))?;
    run(command(
        &interpreter.to_string_lossy(),
        &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"],
    )
    .arg(requirements))?;
    std::fs::write(stamp, wanted)?;
    Ok(interpreter)
}
