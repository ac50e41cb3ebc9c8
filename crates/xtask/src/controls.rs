//! docs/controls.md says for each control where it is proved. What it names must exist, so that it cannot go stale.
//!
//! In the column "Proved by" stand, each in backticks: Rust tests (`record it::credential::passkeys`,
//! `wire money::tests::amounts_are_written_for_people`), tests in browsers (`e2e access "a title"`), of the web client
//! (`web lib/account/idle.test.ts "a title"`), and commands (`cargo xtask …`,
//! `cargo test …`, `cargo run … --example …`, `uzima …`).

use clap::Parser as _;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/controls.md";
const COLUMNS: usize = 4;

/// Adds what is wrong with the page in the repository at `root`.
pub fn check(root: &Path, problems: &mut Vec<String>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root.join(PAGE))?;
    let mut seen = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let Some(cells) = cells(line) else { continue };
        let mut wrong = |what: String| problems.push(format!("{PAGE}:{}: {what}", number + 1));
        let [row, _, proved, short] = cells.as_slice() else {
            wrong(format!("{} columns, not {COLUMNS}", cells.len()));
            continue;
        };
        if !seen.insert(row.clone()) {
            wrong(format!("{row} is there twice"));
        }
        let named = named(proved);
        if named.is_empty() && short.is_empty() {
            wrong(format!("{row}: neither a test nor what falls short"));
        }
        for name in named {
            if let Err(what) = exists(root, &name) {
                wrong(format!("{row}: `{name}`: {what}"));
            }
        }
    }
    Ok(())
}

/// Each row of the page: its number, and the tests and commands that prove it. Errors: the page cannot be read.
pub fn rows(root: &Path) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let text = std::fs::read_to_string(root.join(PAGE))?;
    let row = |cells: Vec<String>| Some((cells.first()?.clone(), named(cells.get(2)?)));
    Ok(text.lines().filter_map(cells).filter_map(row).collect())
}

/// The cells of a row of a table; headings, rules and other lines are none.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<String> = split(inner).iter().map(|cell| cell.trim().to_owned()).collect();
    let is_control = |cell: &str| {
        let digits = cell.trim_start_matches(|c: char| c.is_ascii_uppercase());
        digits.len() < cell.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    cells.first().is_some_and(|first| is_control(first)).then_some(cells)
}

/// At `|`, but not inside of backticks.
fn split(line: &str) -> Vec<String> {
    let (mut all, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        quoted ^= c == '`';
        match all.last_mut() {
            Some(_) if c == '|' && !quoted => all.push(String::new()),
            Some(cell) => cell.push(c),
            None => {}
        }
    }
    all
}

/// What stands in backticks.
fn named(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Errors: why it is no test and no command of this repository.
fn exists(root: &Path, name: &str) -> Result<(), String> {
    let words: Vec<&str> = name.split_whitespace().collect();
    match words.as_slice() {
        ["cargo", "xtask", ..] => xtask(&words[1..]),
        ["cargo", "test", rest @ ..] => packages(root, rest),
        ["cargo", "run", rest @ ..] => packages(root, rest).and_then(|()| example(root, rest)),
        ["uzima", order, ..] => order_exists(root, order),
        ["e2e", file, ..] => {
            titled(&root.join("e2e/tests").join(format!("{file}.test.mjs")), title(name).as_deref())
        }
        ["web", file, ..] => titled(&root.join("web/src").join(file), title(name).as_deref()),
        [krate, path] if path.contains("::") => rust_test(root, krate, path),
        _ => Err("neither a test nor a command".to_owned()),
    }
}

/// What stands in quotes behind the file of a test in browsers.
pub fn title(name: &str) -> Option<String> {
    let (_, rest) = name.split_once('"')?;
    rest.strip_suffix('"').filter(|t| !t.is_empty()).map(str::to_owned)
}

/// A command of this program with options it knows.
fn xtask(words: &[&str]) -> Result<(), String> {
    let first_line = |error: clap::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    crate::Arguments::try_parse_from(words).map(drop).map_err(first_line)
}

fn packages(root: &Path, words: &[&str]) -> Result<(), String> {
    for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
        let folder = pair[1].strip_prefix("uzima-").unwrap_or(pair[1]);
        if !root.join("crates").join(folder).join("Cargo.toml").exists() {
            return Err(format!("there is no crate {}", pair[1]));
        }
    }
    Ok(())
}

/// The tool for measuring that `--example` names, in the folder of the crate that `-p` names.
fn example(root: &Path, words: &[&str]) -> Result<(), String> {
    let after = |option: &str| words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1]);
    let (Some(package), Some(name)) = (after("-p"), after("--example")) else {
        return Err("say `-p` and `--example`".to_owned());
    };
    let folder = root.join("crates").join(package.strip_prefix("uzima-").unwrap_or(package));
    let file = folder.join("examples").join(format!("{name}.rs"));
    if file.exists() { Ok(()) } else { Err(format!("there is no example {name}")) }
}

/// An order of the program's command line: a variant of an enum in its folder.
fn order_exists(root: &Path, order: &str) -> Result<(), String> {
    let capital =
        |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    let variant: String = order.split('-').map(capital).collect();
    let folder = root.join("crates/server/src/cli");
    for entry in std::fs::read_dir(&folder).map_err(|e| e.to_string())? {
        let text = entry.and_then(|e| std::fs::read_to_string(e.path())).map_err(|e| e.to_string())?;
        let is_variant = |line: &str| {
            line.strip_prefix("    ")
                .and_then(|l| l.strip_prefix(&*variant))
                .is_some_and(|rest| rest.starts_with(['(', ',', ' ', '{']))
        };
        if text.lines().any(is_variant) {
            return Ok(());
        }
    }
    Err("the program has no such order".to_owned())
}

fn titled(file: &Path, title: Option<&str>) -> Result<(), String> {
    let title = title.ok_or("a title in \"…\" is missing")?;
    let text = std::fs::read_to_string(file).map_err(|_| format!("{} is not there", file.display()))?;
    let quoted = ['\'', '"', '`'].iter().any(|q| text.contains(&format!("({q}{title}{q}")));
    if quoted { Ok(()) } else { Err("no test of that title".to_owned()) }
}

/// `path`: `it::module::function` for integration tests, else `module::…::function` below `src`.
fn rust_test(root: &Path, krate: &str, path: &str) -> Result<(), String> {
    let folder = root.join("crates").join(krate);
    if !folder.join("Cargo.toml").exists() {
        return Err(format!("there is no crate {krate}"));
    }
    let mut modules: Vec<&str> = path.split("::").collect();
    let function = modules.pop().unwrap_or_default();
    let (mut place, mut file) = match modules.first() {
        Some(&"it") => {
            modules.remove(0);
            (folder.join("tests/it"), folder.join("tests/it/main.rs"))
        }
        _ => (folder.join("src"), folder.join("src/lib.rs")),
    };
    let mut text = String::new();
    for module in modules {
        let candidates = [place.join(format!("{module}.rs")), place.join(module).join("mod.rs")];
        match candidates.into_iter().find(|candidate| candidate.exists()) {
            Some(found) => {
                place.push(module);
                file = found;
            }
            // A module inside of the file.
            None => {
                text = read(&file)?;
                if !text.contains(&format!("mod {module} {{")) {
                    return Err(format!("there is no module {module}"));
                }
            }
        }
    }
    if text.is_empty() {
        text = read(&file)?;
    }
    if is_test(&text, function) { Ok(()) } else { Err("there is no such test".to_owned()) }
}

fn read(file: &PathBuf) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|_| format!("{} is not there", file.display()))
}

/// Whether a function of this name has `#[test]`, `#[tokio::test]` or the like among the lines that belong to it.
fn is_test(text: &str, function: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_named = |line: &str| {
        line.trim_start_matches("async ")
            .strip_prefix("fn ")
            .is_some_and(|rest| rest.strip_prefix(function).is_some_and(|rest| rest.starts_with(['(', '<'])))
    };
    lines.iter().enumerate().filter(|(_, line)| is_named(line)).any(|(at, _)| {
        let before = lines[..at].iter().rev();
        let own = before.take_while(|line| line.starts_with(['#', '/']));
        own.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with one test of each kind.
    fn repository(page: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("crates/record/Cargo.toml", ""),
            ("crates/record/tests/it/main.rs", "mod rights;\n"),
            (
                "crates/record/tests/it/rights/mod.rs",
                "#[tokio::test(flavor = \"multi_thread\")]\nasync fn narrow() {}\nfn helper() {}\n",
            ),
            ("crates/record/examples/names.rs", ""),
            ("crates/record/src/authn/mod.rs", "mod code;\n"),
            (
                "crates/record/src/authn/code.rs",
                "mod tests {\n    /// Why.\n    #[test]\n    fn short() {}\n}\n",
            ),
            (
                "crates/server/src/cli/mod.rs",
                "enum Order {\n    /// Recomputes.\n    Verify(VerifyArguments),\n    ResetPassword { login: String },\n}\n",
            ),
            (
                "e2e/tests/access.test.mjs",
                "test('a consent holds at once, and so does its end', async () => {});\n",
            ),
            ("web/src/lib/idle.test.ts", "it('locks', () => {});\n"),
            (PAGE, page),
        ];
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn problems(page: &str) -> Vec<String> {
        let folder = repository(page);
        let mut problems = Vec::new();
        check(folder.path(), &mut problems).unwrap();
        problems
    }

    fn of(name: &str) -> Vec<String> {
        problems(&format!(
            "| Row | Asked | Proved by | Falls short |\n|---|---|---|---|\n| I1 | x | `{name}` | |\n"
        ))
    }

    #[test]
    fn what_is_there_is_found() {
        for name in [
            "record it::rights::narrow",
            "record authn::code::tests::short",
            "e2e access \"a consent holds at once, and so does its end\"",
            "web lib/idle.test.ts \"locks\"",
            "cargo xtask differential --queries 100000",
            "cargo test -p uzima-record --test it rights::",
            "cargo run --release -p uzima-record --example names -- 1000",
            "uzima verify --head heads.json",
            "uzima reset-password",
        ] {
            assert_eq!(of(name), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (name, what) in [
            ("record it::rights::wide", "no such test"),
            ("record it::rights::helper", "no such test"),
            ("record it::rights::narro", "no such test"),
            ("record it::wrong::narrow", "no module wrong"),
            ("record authn::code::narrow", "no such test"),
            ("recorder it::rights::narrow", "no crate recorder"),
            ("e2e access \"a consent holds\"", "no test of that title"),
            ("e2e access", "a title in"),
            ("e2e other \"locks\"", "is not there"),
            ("web lib/idle.test.ts \"opens\"", "no test of that title"),
            ("cargo xtask differentia", "unrecognized subcommand"),
            ("cargo xtask differential --all", "unexpected argument"),
            ("cargo test -p uzima-recorder", "no crate"),
            ("cargo run -p uzima-record --example name", "no example name"),
            ("cargo run -p uzima-record", "say `-p`"),
            ("uzima verity", "no such order"),
            ("somewhere", "neither a test nor a command"),
        ] {
            let found = of(name);
            assert!(found.len() == 1 && found[0].contains(what), "{name}: {found:?}");
        }
    }

    #[test]
    fn rows_are_whole_and_there_once() {
        let found = problems(
            "| I1 | x | | |\n| I2 | x | | nothing yet |\n| I2 | x | | again |\n| I3 | x | |\ntext | I4 | x\n",
        );
        let wanted = ["neither a test", "I2 is there twice", "3 columns"];
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.contains(wanted), "{found}");
        }
    }

    #[test]
    fn a_bar_in_a_test_is_no_column() {
        assert_eq!(split("a | `b | c` | d").len(), 3);
    }
}
