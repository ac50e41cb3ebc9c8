//! What the program is made of: licences, sources and known holes by `cargo deny`, and the list of parts (SBOM).

use crate::shell::{self, cargo, output, root, run};
use anyhow::Context as _;
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
    run(&mut call(&["--frozen", "check", "advisories"]))
}

/// On the PATH, or kept beside what cargo builds.
fn installed() -> Option<PathBuf> {
    let own = shell::target().join("tools/bin/cargo-deny");
    let is_right = |program: &PathBuf| {
        output(Command::new(program).arg("--version")).is_ok_and(|text| text.ends_with(DENY_VERSION))
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("cargo-deny"));
    on_path.chain([own]).find(|program| program.is_file() && is_right(program))
}

/// As [installed], or made there once, which takes some minutes.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    let tools = shell::target().join("tools");
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
    installed().with_context(|| format!("cargo-deny was installed, but is not below {}", tools.display()))
}

/// The CycloneDX 1.5 list of everything that is linked into the program, as JSON; with the fuzzer's engine, since it is that
/// of the lock file. The same for the same lock file.
pub fn bill_of_materials() -> anyhow::Result<Value> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--locked", "--all-features"]))?;
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

/// What a release consists of, below `release`.
const RELEASE: &[&str] = &["uzima", "uzima-sandbox", "uzima.cdx.json"];

/// O4: builds once more, with nothing left of the first build but its result, at the same place, since programs name the
/// folders they were built in. Errors: a file that differs, by name and place.
pub fn build_again() -> anyhow::Result<()> {
    let (own, first) = (shell::target().join("release"), shell::target().join("release-first"));
    drop(std::fs::remove_dir_all(&first));
    std::fs::rename(&own, &first).context("setting the first build aside")?;
    let again = crate::web::build().and_then(|()| crate::demo::release_binaries().map(drop));
    again.and_then(|()| write_bill_of_materials().map(drop)).context("the second build")?;
    let mut differ = Vec::new();
    for name in RELEASE {
        let read = |folder: &PathBuf| std::fs::read(folder.join(name)).with_context(|| (*name).to_owned());
        if let Some(place) = first_difference(&read(&first)?, &read(&own)?) {
            differ.push(format!("{name} from byte {place} on"));
        }
    }
    if !differ.is_empty() {
        // Kept, so that the two can be looked at.
        anyhow::bail!("two builds differ: {}; the first is in {}", differ.join(", "), first.display());
    }
    std::fs::remove_dir_all(&first)?;
    eprintln!("Two builds are the same: {}", RELEASE.join(", "));
    Ok(())
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let differs = one.iter().zip(other).position(|(a, b)| a != b);
    differs.or((one.len() != other.len()).then(|| one.len().min(other.len())))
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

    /// O3: a hole that becomes known in what is locked fails the check. Passes unseen where `cargo deny` is not installed.
    #[test]
    fn a_known_hole_fails_the_check() {
        let Some(deny) = installed() else { return };
        let folder = tempfile::tempdir().unwrap();
        // What a fetch of the real list leaves behind, with one entry.
        let list = folder.path().join("advisory-db-3157b0e258782691");
        let git = |arguments: &[&str]| {
            let who = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
            run(Command::new("git").current_dir(&list).args(who).args(arguments)).unwrap();
        };
        let entry = |package: &str, id: &str| {
            let file = list.join("crates").join(package);
            std::fs::create_dir_all(&file).unwrap();
            let text = format!(
                "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{package}\"\ndate = \"2026-01-01\"\n\n\
                 [versions]\npatched = [\">= 9999.0.0\"]\n```\n\n# A seeded hole\n\nFor the test.\n"
            );
            std::fs::write(file.join(format!("{id}.md")), text).unwrap();
        };
        let rules = std::fs::read_to_string(root().join("deny.toml")).unwrap();
        let path = format!("[advisories]\ndb-path = \"{}\"", folder.path().display());
        let config = folder.path().join("deny.toml");
        std::fs::write(&config, rules.replace("[advisories]", &path)).unwrap();
        let passes = || {
            git(&["add", "--all"]);
            git(&["commit", "--quiet", "--message", "list"]);
            git(&["fetch", "--quiet", ".", "HEAD"]);
            let mut check = Command::new(&deny);
            check
                .args(["--frozen", "--log-level", "error", "--config"])
                .arg(&config)
                .args(["check", "advisories"]);
            check.current_dir(root()).output().unwrap().status.success()
        };
        std::fs::create_dir(&list).unwrap();
        git(&["init", "--quiet"]);
        entry("not-in-our-lock-file", "RUSTSEC-2026-9998");
        assert!(passes());
        entry("anyhow", "RUSTSEC-2026-9999");
        assert!(!passes());
    }

    #[test]
    fn builds_are_compared_to_the_end() {
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"abd"), Some(2));
        assert_eq!(first_difference(b"abc", b"abcd"), Some(3));
    }

    #[test]
    fn a_part_that_is_not_locked_is_an_error() {
        let metadata =
            json!({"packages": [{"name": "new", "version": "1.0.0", "id": "x", "license": "MIT"}]});
        let error = bill(&metadata, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("new 1.0.0"), "{error}");
    }
}
