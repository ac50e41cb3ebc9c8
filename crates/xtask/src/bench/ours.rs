//! An installation of our own for one measurement: data folder, database, server, client credentials.

use super::http::Connection;
use super::load::Processes;
use super::work::Endpoint;
use crate::postgres::{self, Postgres};
use crate::prerequisites;
use crate::shell::{self, Service, root, target};
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SCOPE: &str = "system/*.cruds";

pub struct Installation {
    bin: PathBuf,
    listen: String,
    // Fields drop in order: the database before its folder.
    database: Option<Postgres>,
    folder: tempfile::TempDir,
}

/// A server that runs; stopped when dropped.
pub struct Server {
    service: Service,
    pub boot_ms: u128,
    pub processes: Processes,
    listen: String,
    token: String,
}

impl Installation {
    pub fn new(engine: &str, bin: &Path) -> anyhow::Result<Installation> {
        let folder = tempfile::Builder::new().prefix("uzima-bench-").tempdir_in(target())?;
        let database = match engine {
            "postgres" => Some(postgres::start(&prerequisites::postgres()?, true)?),
            _ => None,
        };
        Ok(Installation {
            bin: bin.to_owned(),
            listen: format!("127.0.0.1:{}", shell::free_port()?),
            database,
            folder,
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A path for input files.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn uzima(&self) -> Command {
        let mut c = Command::new(self.bin.join("uzima"));
        c.current_dir(root())
            .env("UZIMA_DATA", self.data())
            .env("UZIMA_LISTEN", &self.listen)
            .env("UZIMA_LOG_FILTER", "warn")
            // One client asks for what thousands would.
            .env("UZIMA_LIMITS_CLIENT_PER_SECOND", "0")
            .env("UZIMA_LIMITS_USER_PER_SECOND", "0")
            .env("UZIMA_LIMITS_ADDRESS_PER_SECOND", "0");
        if let Some(database) = &self.database {
            c.env("UZIMA_DATABASE_URL", &database.url);
        }
        c
    }

    /// Files of a demonstration hospital.
    pub fn hospital(&self, patients: u64, demographics: bool) -> anyhow::Result<PathBuf> {
        let hospital = self.scratch("hospital");
        let mut generate = Command::new(self.bin.join("uzima-hospital"));
        generate.args(["--patients", &patients.to_string(), "--out"]).arg(&hospital);
        if demographics {
            generate.arg("--demographics");
        }
        shell::run(&mut generate)?;
        Ok(hospital)
    }

    /// Resources read and the seconds it took.
    pub fn import(&self, source: &Path) -> anyhow::Result<(u64, f64)> {
        let begin = Instant::now();
        let report = shell::output(self.uzima().arg("import").arg(source))?;
        let resources = imported(&report).context("the import printed no counts")?;
        Ok((resources, begin.elapsed().as_secs_f64()))
    }

    /// Bytes on disk: the data folder, or PostgreSQL's tables and indexes. While the server runs, SQLite's log counts too.
    pub fn bytes(&self) -> u64 {
        let folder = self.database.as_ref().map_or_else(|| self.data(), Postgres::tables);
        files(&folder).iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum()
    }

    /// Starts the server; until `/readyz` answers 200.
    pub fn serve(&self) -> anyhow::Result<Server> {
        let begin = Instant::now();
        let mut service = Service::start("uzima serve", self.uzima().arg("serve").stdout(Stdio::null()))?;
        while begin.elapsed() < Duration::from_secs(60) {
            if let Ok(mut c) = Connection::open(&self.listen, "")
                && c.send("GET", "/readyz", "", b"").is_ok_and(|status| status == 200)
            {
                let mut pids = vec![service.id()];
                pids.extend(self.database.as_ref().map(Postgres::pid));
                return Ok(Server {
                    service,
                    boot_ms: begin.elapsed().as_millis(),
                    processes: Processes(pids),
                    listen: self.listen.clone(),
                    token: String::new(),
                });
            }
            service.still_runs()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server is not ready after 60 s")
    }
}

impl Server {
    /// Makes a client that may do everything and gets a token for it.
    pub fn sign_in(&mut self, installation: &Installation) -> anyhow::Result<()> {
        let printed = shell::output(installation.uzima().args([
            "admin",
            "create-client",
            "--name",
            "bench",
            "--scope",
            SCOPE,
        ]))?;
        let client: Value = serde_json::from_str(&printed).context("create-client printed no JSON")?;
        let id = client["client_id"].as_str().context("no client_id printed")?;
        let secret = client["client_secret"].as_str().context("no client_secret printed")?;
        let mut c = Connection::open(&self.listen, "")?;
        let form = format!(
            "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={}",
            SCOPE.replace('/', "%2F")
        );
        let status = c.send("POST", "/oauth/token", "application/x-www-form-urlencoded", form.as_bytes())?;
        let answer: Value = serde_json::from_slice(&c.body).unwrap_or_default();
        self.token =
            answer["access_token"].as_str().with_context(|| format!("HTTP {status} for a token"))?.to_owned();
        Ok(())
    }

    /// Errors: it has ended by itself.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        self.service.still_runs()
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.listen.clone(), base: "/fhir/R4".into(), token: self.token.clone() }
    }
}

/// What the import's own report says it has read: taken and unchanged.
fn imported(report: &str) -> Option<u64> {
    let count =
        |name: &str| report.lines().find_map(|l| l.trim().strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(count("taken")? + count("unchanged")?)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(|e| Some(e.ok()?.path()))
        .flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] })
        .collect()
}
