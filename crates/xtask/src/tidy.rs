//! The crate rules: what each crate may depend on and where SQL, clocks and servers may be named.

use crate::shell::root;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Workspace crates each crate may use. A crate that is not listed fails.
const ALLOWED: &[(&str, &[&str])] = &[
    ("fhir", &[]),
    ("wire", &[]),
    ("access", &["fhir"]),
    ("store", &["fhir", "access"]),
    ("record", &["fhir", "access", "store", "wire"]),
    ("care", &["fhir", "access", "store", "record", "wire"]),
    ("reach", &["fhir", "access", "store", "record", "wire"]),
    ("billing", &["fhir", "access", "store", "record", "wire"]),
    ("insight", &["fhir", "access", "store", "record", "wire"]),
    ("backup", &["store"]),
    (
        "server",
        &["fhir", "wire", "access", "store", "record", "care", "reach", "billing", "insight", "backup"],
    ),
    ("sandbox", &["wire"]),
    ("testkit", &["fhir", "access", "store", "record"]),
    ("fuzz", &["fhir", "wire", "access", "store", "record", "reach", "backup"]),
    ("xtask", &[]),
];

/// Crates without clock, randomness, database or network.
const PURE: &[&str] = &["fhir", "wire", "access"];
const IMPURE_DEPENDENCIES: &[&str] = &[
    "tokio",
    "rusqlite",
    "postgres",
    "axum",
    "hyper",
    "reqwest",
    "getrandom",
    "rand",
    "turn",
    "tracing-subscriber",
];
const IMPURE_CALLS: &[&str] =
    &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now", "Uuid::new_v4", "Uuid::now_v7"];

/// Libraries that belong to one crate only (and to those that stand in for its peers).
const HOMES: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    ("postgres", &["store"]),
    ("axum", &["server", "sandbox"]),
    ("turn", &["reach"]),
    ("argon2", &["record", "backup"]),
];

const LINES_MAX: usize = 1_000;

pub fn run() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let mut crates = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let path = entry?.path();
        if !path.join("Cargo.toml").exists() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest: toml::Table =
            std::fs::read_to_string(path.join("Cargo.toml"))?.parse().with_context(|| name.clone())?;
        crates.insert(name, (path, manifest));
    }
    for (name, (path, manifest)) in &crates {
        dependencies(name, manifest, &mut problems);
        sources(name, path, &mut problems)?;
    }
    repository(&mut problems)?;
    crate::controls::check(&root(), &mut problems)?;
    if problems.is_empty() {
        eprintln!("tidy: {} crates keep the rules", crates.len());
        return Ok(());
    }
    bail!("{} problem(s):\n{}", problems.len(), problems.join("\n"))
}

fn dependencies(name: &str, manifest: &toml::Table, problems: &mut Vec<String>) {
    let Some((_, allowed)) = ALLOWED.iter().find(|(n, _)| *n == name) else {
        problems
            .push(format!("crates/{name}: not in the list of xtask/src/tidy.rs; say what it may depend on"));
        return;
    };
    let workspace: Vec<&str> = ALLOWED.iter().map(|(n, _)| *n).collect();
    for table in ["dependencies", "build-dependencies"] {
        for dependency in manifest.get(table).and_then(|t| t.as_table()).into_iter().flat_map(|t| t.keys()) {
            let dependency = dependency.as_str();
            if workspace.contains(&dependency) && !allowed.contains(&dependency) {
                problems
                    .push(format!("crates/{name}: may not depend on `{dependency}` (allowed: {allowed:?})"));
            }
            if PURE.contains(&name) && IMPURE_DEPENDENCIES.contains(&dependency) {
                problems.push(format!("crates/{name}: is pure, so no `{dependency}`"));
            }
            if let Some((_, homes)) = HOMES.iter().find(|(d, _)| *d == dependency)
                && !homes.contains(&name)
            {
                problems.push(format!("crates/{name}: `{dependency}` belongs in {homes:?} only"));
            }
        }
    }
}

fn sources(name: &str, path: &Path, problems: &mut Vec<String>) -> anyhow::Result<()> {
    for file in files(&path.join("src"))? {
        let text = std::fs::read_to_string(&file)?;
        let shown = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            problems
                .push(format!("{shown}: {lines} lines; split it by what it is about (limit {LINES_MAX})"));
        }
        if name == "store" {
            crate::statements::check(&file, &shown, &text, problems);
        }
        for (number, line) in text.lines().enumerate() {
            let at = || format!("{shown}:{}", number + 1);
            let code = line.trim_start();
            if code.starts_with("//") {
                continue;
            }
            if PURE.contains(&name) && IMPURE_CALLS.iter().any(|c| code.contains(c)) {
                problems.push(format!("{}: a pure crate takes time and ids from its caller", at()));
            }
            if !matches!(name, "store" | "xtask") && is_sql(code) {
                problems.push(format!("{}: SQL belongs in `store`", at()));
            }
            // The record is written by `record` alone. Queues (leases, reports of sending) are no part of it: the worker
            // and the SMS sender keep their own.
            if !matches!(name, "store" | "record" | "xtask" | "testkit") && code.contains("store::resource") {
                problems.push(format!("{}: only `record` reads and writes resources in the store", at()));
            }
            // insight keeps its own tables of jobs and views by itself, as the SMS sender does its queue; it never writes the
            // record.
            if matches!(name, "care" | "billing") && code.contains(".store().write(") {
                problems.push(format!("{}: domain crates write by `record.command`", at()));
            }
            if name != "xtask" && code.contains("#[ignore") {
                problems.push(format!("{}: no ignored tests; assert today's answer with a FIXME", at()));
            }
        }
    }
    Ok(())
}

fn is_sql(code: &str) -> bool {
    ["\"SELECT ", "\"INSERT INTO ", "\"UPDATE ", "\"DELETE FROM ", "\"CREATE TABLE "]
        .iter()
        .any(|s| code.contains(s))
}

/// Rules for the whole repository: no machine's paths in what is committed.
fn repository(problems: &mut Vec<String>) -> anyhow::Result<()> {
    let listed = crate::shell::output(&mut crate::shell::command("git", &["ls-files"]))?;
    for file in listed.lines().filter(|f| !f.ends_with(".png") && !f.ends_with(".gz")) {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        for needle in ["/root/", concat!("/work", "/main")] {
            if text.contains(needle) && !file.ends_with("tidy.rs") {
                problems.push(format!("{file}: names a path of somebody's machine (`{needle}`)"));
            }
        }
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
