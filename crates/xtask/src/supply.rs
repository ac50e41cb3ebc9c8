//! What the program is made of: licences, sources and known holes by `cargo deny`, and the list of parts (SBOM).

use crate::shell::{self, cargo, output, root, run};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// The version that the rules in `deny.toml` were written for.
const DENY_VERSION: &str = "0.20.2";

/// Licences, bans and sources; then advisories, as far as their list can be had from here.
pub fn check() -> anyhow::Result<()> {
    let deny = match cargo_deny() {
        Ok(deny) => deny,
        Err(error) => {
            // As with the official examples: a machine without network can still run the rest.
            eprintln!("SKIPPED: licences, bans, sources and known holes; {error:#}.");
            return Ok(());
        }
    };
    let call = |arguments: &[&str]| {
        let mut command = Command::new(&deny);
        command.args(["--log-level", "error"]).args(arguments).current_dir(root());
        command
    };
    run(&mut call(&["--locked", "check", "licenses", "bans", "sources"]))?;
    if output(&mut call(&["fetch", "db"])).is_err() {
        eprintln!("SKIPPED: known holes; the list of advisories cannot be fetched from here.");
        return Ok(());
    }
    run(&mut call(&["--locked", "check", "--disable-fetch", "advisories"]))
}

/// On the PATH, or kept beside what cargo builds; made there once, which takes some minutes.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let tools = shell::target().join("tools");
    let own = tools.join("bin/cargo-deny");
    let is_right = |program: &PathBuf| {
        output(Command::new(program).arg("--version")).is_ok_and(|text| text.ends_with(DENY_VERSION))
    };
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("cargo-deny"))
        .find(|path| path.is_file() && is_right(path));
    if let Some(found) = on_path {
        return Ok(found);
    }
    if own.is_file() && is_right(&own) {
        return Ok(own);
    }
    eprintln!("Installing cargo-deny {DENY_VERSION} for this project; this is done once …");
    let version = format!("={DENY_VERSION}");
    let mut install = cargo();
    install.args([
        "install",
        "cargo-deny",
        "--quiet",
        "--locked",
        "--no-default-features",
        "--version",
        &version,
    ]);
    // Its parts are nobody else's.
    install.arg("--root").arg(&tools).env("CARGO_TARGET_DIR", tools.join("build"));
    run(&mut install).context("cargo-deny cannot be installed")?;
    drop(std::fs::remove_dir_all(tools.join("build")));
    if own.is_file() { Ok(own) } else { bail!("cargo-deny was installed, but is not at {}", own.display()) }
}

/// The CycloneDX 1.5 list of everything that is linked into the program, as JSON. The same for the same lock file.
pub fn bill_of_materials() -> anyhow::Result<Value> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let sums = checksums(&std::fs::read_to_string(root().join("Cargo.lock"))?)?;
    bill(&metadata, &sums)
}

/// Writes it beside the release binaries; returns where.
pub fn write_bill_of_materials() -> anyhow::Result<PathBuf> {
    let path = shell::target().join("release/uzima.cdx.json");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, serde_json::to_string_pretty(&bill_of_materials()?)? + "\n")?;
    eprintln!("{}: what the program is made of", path.display());
    Ok(path)
}

/// Name and version of every package of a lock file, with its checksum where it is not ours.
fn checksums(lock: &str) -> anyhow::Result<BTreeMap<(String, String), Option<String>>> {
    let table: toml::Table = lock.parse().context("Cargo.lock")?;
    let packages =
        table.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let text =
        |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let entry = |package: &toml::Value| {
        Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")))
    };
    packages.iter().map(|p| entry(p).context("a package without name or version")).collect()
}

fn bill(metadata: &Value, sums: &BTreeMap<(String, String), Option<String>>) -> anyhow::Result<Value> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut components: BTreeMap<String, Value> = BTreeMap::new();
    let mut references: BTreeMap<String, String> = BTreeMap::new();
    for package in list(metadata, "packages") {
        let (name, version) = (text(&package, "name"), text(&package, "version"));
        let reference = format!("pkg:cargo/{name}@{version}");
        references.insert(text(&package, "id"), reference.clone());
        let sum = sums
            .get(&(name.clone(), version.clone()))
            .with_context(|| format!("{name} {version} is not in Cargo.lock"))?;
        let mut component = json!({
            "type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference,
            "licenses": [{"expression": text(&package, "license").replace('/', " OR ")}],
        });
        if let Some(sum) = sum {
            component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
        }
        components.insert(reference, component);
    }
    let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"], "nodes") {
        let Some(of) = references.get(&text(&node, "id")) else { continue };
        let needed = list(&node, "dependencies");
        let needed = needed.iter().filter_map(|id| references.get(id.as_str()?).cloned());
        dependencies.entry(of.clone()).or_default().extend(needed);
    }
    let dependencies: Vec<Value> =
        dependencies.into_iter().map(|(of, on)| json!({"ref": of, "dependsOn": on})).collect();
    // Neither a date nor a random number: two builds of one revision give the same file.
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "application", "name": "uzima", "version": env!("CARGO_PKG_VERSION")}},
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_parts_is_that_of_the_lock_file() {
        let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
        let locked: BTreeSet<(String, String)> = checksums(&lock).unwrap().into_keys().collect();
        let bill = bill_of_materials().unwrap();
        let components = bill["components"].as_array().unwrap();
        let listed: BTreeSet<(String, String)> = components
            .iter()
            .map(|c| (c["name"].as_str().unwrap().to_owned(), c["version"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(listed, locked);
        assert_eq!(components.len(), locked.len(), "each once");
        let of_others =
            components.iter().filter(|c| c["hashes"][0]["content"].as_str().is_some_and(|h| h.len() == 64));
        assert!(of_others.count() > 300);
        assert!(
            components.iter().all(|c| c["licenses"][0]["expression"].as_str().is_some_and(|l| !l.is_empty()))
        );
        let known: BTreeSet<&str> = components.iter().filter_map(|c| c["bom-ref"].as_str()).collect();
        for dependency in bill["dependencies"].as_array().unwrap() {
            assert!(known.contains(dependency["ref"].as_str().unwrap()));
            assert!(
                dependency["dependsOn"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|d| known.contains(d.as_str().unwrap()))
            );
        }
        assert_eq!(bill, bill_of_materials().unwrap(), "the same every time");
    }

    #[test]
    fn a_part_that_is_not_locked_is_an_error() {
        let metadata =
            json!({"packages": [{"name": "new", "version": "1.0.0", "id": "x", "license": "MIT"}]});
        let error = bill(&metadata, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("new 1.0.0"), "{error}");
    }
}
