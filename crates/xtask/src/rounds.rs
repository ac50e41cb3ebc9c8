//! Long runs in pieces. Each piece runs a test program with a seed of its own; what is done is written down after each, so
//! that a run that was stopped (Ctrl-C, a reboot, a fault found) goes on where it was when it is called again.

use crate::shell::{cargo, run, target};
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much of one kind is to be done.
pub struct Work {
    /// In words, and under which it is written down: `kills`.
    pub name: &'static str,
    pub total: u64,
    /// Of each run of the program.
    pub piece: u64,
}

/// Where the seeds of a run begin, beside what is done.
const SEED: &str = "seed";

/// What is done, in a file under the target folder.
pub struct Progress {
    path: PathBuf,
    done: toml::Table,
}

impl Progress {
    /// Of the command of this name. `anew` forgets what is done. Errors: the file cannot be read.
    pub fn open(command: &str, anew: bool) -> anyhow::Result<Progress> {
        let path = target().join(format!("{command}-progress.toml"));
        let done = match std::fs::read_to_string(&path) {
            Ok(text) if !anew => text.parse().with_context(|| path.display().to_string())?,
            // Another night has other seeds.
            _ => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
                toml::Table::from_iter([(SEED.to_owned(), toml::Value::Integer(now.try_into()?))])
            }
        };
        let progress = Progress { path, done };
        progress.save()?;
        Ok(progress)
    }

    fn save(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(target())?;
        std::fs::write(&self.path, self.done.to_string()).with_context(|| self.path.display().to_string())
    }

    fn done(&self, name: &str) -> u64 {
        self.done.get(name).and_then(toml::Value::as_integer).and_then(|n| n.try_into().ok()).unwrap_or(0)
    }

    fn note(&mut self, name: &str, done: u64) -> anyhow::Result<()> {
        self.done.insert(name.to_owned(), toml::Value::Integer(done.try_into()?));
        self.save()
    }

    /// Everything is done: the next run begins anew.
    pub fn finish(self) {
        drop(std::fs::remove_file(self.path));
    }

    /// Runs what is left of `work`; `piece` gets how many and a seed. Errors: those of `piece`.
    pub fn go(
        &mut self,
        work: &Work,
        mut piece: impl FnMut(u64, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let began = (Instant::now(), self.done(work.name));
        if began.1 > 0 && began.1 < work.total {
            eprintln!("\n=== {}: {} of {} are done already", work.name, began.1, work.total);
        }
        loop {
            let done = self.done(work.name);
            if done >= work.total {
                return Ok(());
            }
            let count = work.piece.min(work.total - done);
            eprintln!("\n=== {}: {done} of {}{}", work.name, work.total, left(work, done, began));
            // A piece that failed is repeated with the same seed.
            piece(count, self.done(SEED) + done)?;
            self.note(work.name, done + count)?;
        }
    }
}

/// How long the rest takes, by what was done since.
fn left(work: &Work, done: u64, (since, at): (Instant, u64)) -> String {
    if done <= at {
        return String::new();
    }
    let rest = since.elapsed().as_secs_f64() * (work.total - done) as f64 / (done - at) as f64;
    format!(", about {} min left", (rest / 60.0).ceil())
}

/// A test program, built once, so that nothing is compiled between two pieces.
pub struct Tests {
    program: PathBuf,
    folder: PathBuf,
}

impl Tests {
    /// Builds the test program `it` of a package. Errors: it cannot be built.
    pub fn build(package: &str, release: bool) -> anyhow::Result<Tests> {
        let mut build = cargo();
        build.args(["test", "-p", package, "--test", "it", "--no-run"]);
        build.args(release.then_some("--release"));
        build.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
        eprintln!("$ building the tests of {package}");
        let output = build.output()?;
        if !output.status.success() {
            bail!("the tests of {package} cannot be built");
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let built = messages.filter(|message| message["target"]["name"] == "it").find_map(|message| {
            let program = PathBuf::from(message["executable"].as_str()?);
            let manifest = PathBuf::from(message["manifest_path"].as_str()?);
            Some(Tests { program, folder: manifest.parent()?.to_path_buf() })
        });
        built.with_context(|| format!("cargo does not say where the tests of {package} are"))
    }

    /// Tests whose names contain one of these, one after the other; the caller adds variables and runs it.
    pub fn only(&self, names: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).args(["--nocapture", "--test-threads=1"]).args(names);
        command
    }

    /// As [Tests::only], run with these variables. Errors: a test failed, or there is none of these names.
    pub fn run(&self, names: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let listed = crate::shell::output(self.only(names).arg("--list").stderr(Stdio::null()))?;
        if !listed.lines().any(|line| line.ends_with(": test")) {
            bail!("there is no test named {}", names.join(" or "));
        }
        run(self.only(names).envs(variables.iter().copied()))
    }
}

/// `3 min 20 s`.
pub fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} min {} s", seconds / 60, seconds % 60)
}
