//! `check` and `test`: what must pass before a commit, and what must pass before a release.

use crate::shell::{cargo, root, run};
use crate::{demo, postgres, prerequisites, python, supply, tidy, web};
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// kill -9 cycles under load.
    #[arg(long, default_value_t = 50)]
    kill_cycles: u32,
    /// Leave out other people's FHIR clients and the fuzzer of the API.
    #[arg(long)]
    no_clients: bool,
    /// Leave out the tests in a real browser.
    #[arg(long)]
    no_browser: bool,
}

pub fn check() -> anyhow::Result<()> {
    prerequisites::node()?;
    tidy::run()?;
    supply::check()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    web::test()?;
    run(cargo().args(["test", "--workspace", "--lib", "--quiet"]))
}

pub fn test(options: &Options) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let step = |name: &str| eprintln!("\n=== {name} ({} s)", started.elapsed().as_secs());
    step("prerequisites");
    prerequisites::node()?;
    let bin = prerequisites::postgres()?;
    let sshd = prerequisites::ssh_server()?;
    prerequisites::key_module()?;
    let examples = prerequisites::r4_examples()?;
    if !options.no_browser {
        prerequisites::chromium()?;
    }
    step("crate rules, licences, sources, formatting");
    tidy::run()?;
    supply::check()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    step("web client: build, types, unit tests");
    web::build()?;
    web::test()?;
    step("lints");
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    step("Rust tests on SQLite and PostgreSQL");
    let database = postgres::start(&bin, false)?;
    let mut tests = cargo();
    tests
        .args(["test", "--workspace", "--no-fail-fast"])
        .env("UZIMA_TEST_POSTGRES_URL", &database.url)
        .env("UZIMA_TEST_SSHD", &sshd)
        .env("UZIMA_TEST_KILL_CYCLES", options.kill_cycles.to_string());
    if let Some(examples) = &examples {
        tests.env("UZIMA_TEST_R4_EXAMPLES", examples);
    }
    run(&mut tests)?;
    if examples.is_none() {
        eprintln!("SKIPPED: the official R4 examples were not at hand.");
    }
    if !options.no_clients {
        step("other people's clients");
        clients()?;
    }
    if !options.no_browser {
        step("the visit in real browsers");
        browser()?;
    }
    step("done");
    Ok(())
}

/// The end-to-end run against a small demonstration hospital, with the binaries that the tests before it have built.
pub fn browser() -> anyhow::Result<()> {
    let chromium = prerequisites::chromium()?;
    let e2e = root().join("e2e");
    web::install(&e2e)?;
    let hospital = Hospital::open()?;
    run(hospital.tell(Command::new("npm").args(["test"]).current_dir(&e2e)).env("UZIMA_CHROMIUM", chromium))
}

/// One file of the tests in browsers, against a hospital of its own; what Node's runner printed (TAP), whatever the outcome.
pub fn browser_file(file: &str) -> anyhow::Result<String> {
    let chromium = prerequisites::chromium()?;
    let e2e = root().join("e2e");
    web::install(&e2e)?;
    let hospital = Hospital::open()?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap", file]).current_dir(&e2e).env("UZIMA_CHROMIUM", chromium);
    let output = hospital.tell(&mut node).stderr(std::process::Stdio::inherit()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Other people's FHIR clients and a fuzzer of the API, against a demonstration hospital of their own.
pub fn clients() -> anyhow::Result<()> {
    let folder = root().join("e2e/clients");
    let python = python::environment(&folder.join("requirements.txt"))?;
    web::install(&root().join("e2e"))?;
    let hospital = Hospital::open()?;
    let (id, secret) = demo::client(&hospital.setup, "client tests")?;
    let tell = |command: &mut Command| -> anyhow::Result<()> {
        run(hospital
            .tell(command.current_dir(&folder))
            .env("UZIMA_CLIENT_ID", &id)
            .env("UZIMA_CLIENT_SECRET", &secret)
            .env("PYTHONDONTWRITEBYTECODE", "1"))
    };
    tell(Command::new("npm").args(["run", "--prefix", "..", "clients"]))?;
    tell(Command::new(python).args(["-m", "pytest"]))
}

/// Server, sandbox and forty patients, gone when dropped.
struct Hospital {
    // Fields drop in order: the programs before their folder.
    demo: demo::Demo,
    setup: demo::Setup,
    _folder: tempfile::TempDir,
}

impl Hospital {
    fn open() -> anyhow::Result<Hospital> {
        let programs = ["uzima-server", "uzima-sandbox", "uzima-testkit"].map(|p| ["-p", p]).concat();
        run(cargo().args(["build", "--quiet"]).args(programs))?;
        let folder = tempfile::Builder::new().prefix("uzima-e2e-").tempdir()?;
        let setup = demo::Setup {
            bin: crate::shell::target().join("debug"),
            data: folder.path().join("demo"),
            listen: format!("127.0.0.1:{}", crate::shell::free_port()?),
            sandbox_listen: format!("127.0.0.1:{}", crate::shell::free_port()?),
            turn_listen: format!("127.0.0.1:{}", crate::shell::free_port()?),
            patients: 40,
            database_url: None,
            keep: false,
        };
        Ok(Hospital { demo: demo::start(&setup)?, setup, _folder: folder })
    }

    /// Where it is and who works there, for the tests.
    fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let doctor = |n: usize| self.demo.doctors.get(n).map(|d| d.0.clone()).unwrap_or_default();
        command
            .env("UZIMA_URL", &self.demo.url)
            .env("UZIMA_SANDBOX_URL", &self.demo.sandbox_url)
            // The id of the sandbox's provider of identities, whose control is at `/oidc/control` of the sandbox.
            .env("UZIMA_IDENTITY_PROVIDER", "staff")
            .env("UZIMA_DOCTOR", doctor(0))
            .env("UZIMA_OTHER_DOCTOR", doctor(1))
            .env("UZIMA_PASSWORD", demo::PASSWORD)
    }
}

/// The README's pictures, by the name of the screenshot they are.
const IMAGES: &[(&str, &str)] = &[
    ("book-person-360.png", "booking.png"),
    ("consultation-1440.png", "consultation.png"),
    ("payment-360.png", "payment.png"),
];

/// Copies the pictures of the last run of [browser].
pub fn images() -> anyhow::Result<()> {
    let folder = root().join("docs/images");
    std::fs::create_dir_all(&folder)?;
    for (shot, image) in IMAGES {
        std::fs::copy(root().join("e2e/results").join(shot), folder.join(image))?;
    }
    Ok(())
}
