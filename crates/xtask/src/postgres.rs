//! A throw-away PostgreSQL for tests and benchmarks: own data folder, own port, gone afterwards.

use crate::shell::{self, Service, command};
use anyhow::Context;
use std::path::Path;
use std::process::{Command, Stdio};

pub struct Postgres {
    // Fields drop in order: first the server stops, then its folder goes.
    server: Service,
    folder: tempfile::TempDir,
    pub url: String,
}

impl Postgres {
    /// The server's first process; its connections are children of it.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Where tables and indexes are; the write-ahead log is elsewhere.
    pub fn tables(&self) -> std::path::PathBuf {
        self.folder.path().join("data/base")
    }
}

/// `durable` keeps fsync on (benchmarks); tests do without.
pub fn start(bin: &Path, durable: bool) -> anyhow::Result<Postgres> {
    let folder = tempfile::Builder::new().prefix("uzima-postgres-").tempdir()?;
    let data = folder.path().join("data");
    let is_root = shell::output(&mut command("id", &["-u"]))? == "0";
    if is_root {
        // PostgreSQL refuses to run as root.
        shell::run(command("chown", &["postgres"]).arg(folder.path()))?;
    }
    let as_postgres = |program: &str| -> Command {
        let program = bin.join(program);
        let mut c = if is_root {
            let mut c = command("runuser", &["-u", "postgres", "--"]);
            c.arg(program);
            c
        } else {
            Command::new(program)
        };
        c.current_dir(folder.path());
        c
    };
    shell::run(
        as_postgres("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", "uzima", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .stdout(Stdio::null()),
    )?;
    let port = shell::free_port()?;
    let mut server = as_postgres("postgres");
    server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k", ""]).args([
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "max_connections=200",
        "-c",
        "shared_buffers=256MB",
        "-c",
        "log_min_messages=fatal",
    ]);
    if !durable {
        server.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]);
    }
    let mut service = Service::start("PostgreSQL", server.stderr(Stdio::null()))?;
    shell::wait_for(&format!("127.0.0.1:{port}"), 60, || service.still_runs())
        .context("PostgreSQL does not start")?;
    Ok(Postgres { server: service, folder, url: format!("postgres://uzima@127.0.0.1:{port}/postgres") })
}
