//! `cargo xtask controls`: runs the tests that docs/controls.md names for each control, and writes down what became of them.
//! One such report is kept with each release (control O5).

use crate::shell::{self, cargo, root};
use crate::{controls, postgres, prerequisites, suite};
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// Rows (`N3`) or whole sections (`N`); all without any.
    rows: Vec<String>,
    /// Runs what stands in e2e too, in real browsers against demonstration hospitals.
    #[arg(long)]
    browser: bool,
    /// kill -9 cycles of the tests that take any number.
    #[arg(long, default_value_t = 50)]
    kill_cycles: u32,
    /// Where the report goes; without it, `controls.md` beside what cargo builds.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// What became of a test or command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Failed,
    /// Not asked for, or a command that people look at.
    NotRun,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Fate::Passed => "passed",
            Fate::Failed => "FAILED",
            Fate::NotRun => "not run",
        }
    }
}

/// By test or command, as the page names it.
type Fates = BTreeMap<String, Fate>;

/// Errors: a row that is not there, a test that failed or could not be started.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let rows: Vec<(String, Vec<String>)> = controls::rows(&root())?
        .into_iter()
        .filter(|(row, _)| options.rows.is_empty() || options.rows.iter().any(|asked| is_meant(asked, row)))
        .collect();
    if let Some(asked) = options.rows.iter().find(|asked| !rows.iter().any(|(row, _)| is_meant(asked, row))) {
        bail!("docs/controls.md has no row `{asked}`");
    }
    let named: BTreeSet<&String> = rows.iter().flat_map(|(_, proofs)| proofs).collect();
    let mut fates: Fates = named.iter().map(|name| ((*name).clone(), Fate::NotRun)).collect();
    rust(options, &mut fates)?;
    if options.browser {
        browser(&mut fates)?;
    }
    let text = report(&rows, &fates)?;
    let path = options.report.clone().unwrap_or_else(|| shell::target().join("controls.md"));
    std::fs::write(&path, &text).with_context(|| path.display().to_string())?;
    let count = |fate: Fate| fates.values().filter(|own| **own == fate).count();
    let (passed, failed, not_run) = (count(Fate::Passed), count(Fate::Failed), count(Fate::NotRun));
    eprintln!("{}: {} rows, {passed} passed, {failed} failed, {not_run} not run", path.display(), rows.len());
    if failed > 0 {
        let names = fates.iter().filter(|(_, fate)| **fate == Fate::Failed).map(|(name, _)| name.as_str());
        bail!("failed:\n{}", names.collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

/// `N` means all of N, `N3` the one.
fn is_meant(asked: &str, row: &str) -> bool {
    let asked = asked.to_ascii_uppercase();
    let section = row.trim_end_matches(|c: char| c.is_ascii_digit());
    asked == row || (!asked.is_empty() && asked == section)
}

/// `record it::rights::narrow` apart: package, whether it is of the integration tests, and the path inside of the binary.
fn rust_test(name: &str) -> Option<(String, bool, String)> {
    let (krate, path) = name.split_once(' ')?;
    if path.contains(' ') || !path.contains("::") {
        return None;
    }
    let package = if krate == "xtask" { krate.to_owned() } else { format!("uzima-{krate}") };
    Some(match path.strip_prefix("it::") {
        Some(inner) => (package, true, inner.to_owned()),
        None => (package, false, path.to_owned()),
    })
}

/// All tests of a binary at once.
fn rust(options: &Options, fates: &mut Fates) -> anyhow::Result<()> {
    let mut groups: BTreeMap<(String, bool), Vec<(String, String)>> = BTreeMap::new();
    for name in fates.keys() {
        if let Some((package, it, path)) = rust_test(name) {
            groups.entry((package, it)).or_default().push((name.clone(), path));
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let own = match std::env::var("UZIMA_TEST_POSTGRES_URL") {
        Ok(_) => None,
        Err(_) => Some(postgres::start(&prerequisites::postgres()?, false)?),
    };
    let sshd = prerequisites::ssh_server()?;
    for ((package, it), tests) in groups {
        let mut command = cargo();
        command.args(["test", "-p", &package]);
        // A crate without a library has its tests in its program.
        match (it, package.as_str()) {
            (true, _) => command.args(["--test", "it"]),
            (false, "xtask") => command.args(["--bin", "xtask"]),
            (false, _) => command.arg("--lib"),
        };
        command.args(["--no-fail-fast", "--", "--exact"]).args(tests.iter().map(|(_, path)| path));
        command.env("UZIMA_TEST_SSHD", &sshd).env("UZIMA_TEST_KILL_CYCLES", options.kill_cycles.to_string());
        if let Some(own) = &own {
            command.env("UZIMA_TEST_POSTGRES_URL", &own.url);
        }
        eprintln!("{package}: {} tests", tests.len());
        let output = command.output().context("cannot start cargo")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            eprintln!("{printed}{}", String::from_utf8_lossy(&output.stderr));
        }
        for (name, path) in tests {
            fates.insert(name, fate(&printed, &path));
        }
    }
    Ok(())
}

/// What the test program said. Silence is a failure: the test did not run.
fn fate(printed: &str, path: &str) -> Fate {
    let said =
        |line: &str| Some(line.strip_prefix("test ")?.strip_prefix(path)?.strip_prefix(" ... ")? == "ok");
    match printed.lines().find_map(said) {
        Some(true) => Fate::Passed,
        _ => Fate::Failed,
    }
}

/// File by file, each with a hospital of its own, by Node's runner.
fn browser(fates: &mut Fates) -> anyhow::Result<()> {
    let mut files: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for name in fates.keys() {
        let Some(rest) = name.strip_prefix("e2e ") else { continue };
        let file = rest.split(' ').next().unwrap_or_default();
        let title = controls::title(name).with_context(|| format!("{name}: no title"))?;
        files.entry(format!("tests/{file}.test.mjs")).or_default().push((name.clone(), title));
    }
    for (file, tests) in files {
        let printed = suite::browser_file(&file)?;
        for (name, title) in tests {
            fates.insert(name, tap_fate(&printed, &title));
        }
    }
    Ok(())
}

/// `ok 3 - a title`, in TAP.
fn tap_fate(printed: &str, title: &str) -> Fate {
    let end = format!(" - {title}");
    let passed = printed.lines().map(str::trim).any(|line| line.starts_with("ok ") && line.ends_with(&end));
    if passed { Fate::Passed } else { Fate::Failed }
}

fn report(rows: &[(String, Vec<String>)], fates: &Fates) -> anyhow::Result<String> {
    let git = |arguments: &[&str]| shell::output(Command::new("git").args(arguments).current_dir(root()));
    let (revision, at) = (git(&["rev-parse", "HEAD"])?, git(&["log", "-1", "--format=%cI"])?);
    let dirty = !git(&["status", "--porcelain"])?.is_empty();
    let changed = if dirty { ", with changes that are not committed" } else { "" };
    let mut text = format!(
        "# Self-test of the controls\n\nRevision {revision} of {at}{changed}. What each row asks and what falls short: \
         docs/controls.md of that revision.\n\n| Row | Proof | |\n|---|---|---|\n"
    );
    for (row, proofs) in rows {
        if proofs.is_empty() {
            writeln!(text, "| {row} | | none: see what falls short |")?;
        }
        for proof in proofs {
            let word = fates.get(proof).copied().unwrap_or(Fate::NotRun).word();
            writeln!(text, "| {row} | `{proof}` | {word} |")?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_sections_are_meant() {
        assert!(is_meant("N3", "N3") && is_meant("n3", "N3") && is_meant("N", "N10"));
        assert!(!is_meant("N1", "N10") && !is_meant("N", "R1") && !is_meant("", "N1"));
    }

    #[test]
    fn proofs_are_told_apart() {
        let rights = ("uzima-record".to_owned(), true, "rights::narrow".to_owned());
        assert_eq!(rust_test("record it::rights::narrow"), Some(rights));
        let supply = ("xtask".to_owned(), false, "supply::tests::a".to_owned());
        assert_eq!(rust_test("xtask supply::tests::a"), Some(supply));
        for other in ["cargo xtask tidy", "e2e access \"a: b\"", "uzima verify"] {
            assert_eq!(rust_test(other), None, "{other}");
        }
    }

    #[test]
    fn silence_is_a_failure() {
        let printed = "running 2 tests\ntest a::b ... ok\ntest a::bc ... FAILED\n";
        assert!(fate(printed, "a::b") == Fate::Passed);
        assert!(fate(printed, "a::bc") == Fate::Failed);
        assert!(fate(printed, "a::c") == Fate::Failed);
        let printed = "    ok 1 - a title\nnot ok 2 - another title\n";
        assert!(tap_fate(printed, "a title") == Fate::Passed);
        assert!(tap_fate(printed, "another title") == Fate::Failed);
    }
}
