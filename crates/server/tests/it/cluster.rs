//! A PostgreSQL of a test's own, which may die and be put back from its backup.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Cluster {
    bin: PathBuf,
    folder: tempfile::TempDir,
    data: PathBuf,
    port: u16,
    /// Settings for the server's command line.
    settings: Vec<String>,
    server: Option<Child>,
}

fn bin() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop()
}

impl Cluster {
    /// New and empty. `None`, with a word, where PostgreSQL's programs are not; `what` is what is left out then.
    pub fn make(what: &str) -> Option<Cluster> {
        let Some(bin) = bin() else {
            use std::io::Write;
            let text = format!("SKIPPED: {what}, because there is no PostgreSQL under /usr/lib/postgresql\n");
            drop(std::io::stderr().write_all(text.as_bytes()));
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = folder.path().join("data");
        let cluster = Cluster { bin, folder, data, port, settings: Vec::new(), server: None };
        if is_root() {
            // PostgreSQL refuses to run as root.
            let owned = Command::new("chown").arg("postgres").arg(cluster.folder.path()).status();
            assert!(owned.unwrap().success());
        }
        let mut make = cluster.program("initdb");
        make.args(["-U", "uzima", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]).stdout(Stdio::null());
        assert!(make.status().unwrap().success());
        Some(cluster)
    }

    /// Belongs to whom the server runs as.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// With a setting, from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.extend(["-c".to_owned(), format!("{name}={value}")]);
    }

    /// The server's next start is on this folder.
    pub fn on(&mut self, data: PathBuf) {
        self.data = data;
    }

    /// A program as whom the server runs as, with PostgreSQL's own on the path.
    pub fn command(&self, program: &Path) -> Command {
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.current_dir(self.folder.path()).env("PATH", path);
        command
    }

    fn program(&self, name: &str) -> Command {
        let mut command = self.command(&self.bin.join(name));
        command.arg("-D").arg(&self.data);
        command
    }

    pub fn url(&self) -> String {
        format!("postgres://uzima@127.0.0.1:{}/postgres", self.port)
    }

    pub async fn start(&mut self) {
        let mut server = self.program("postgres");
        server.args(["-p", &self.port.to_string(), "-k", "", "-c", "listen_addresses=127.0.0.1"]);
        server.args(&self.settings);
        self.server = Some(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let (url, until) = (self.url(), tokio::time::Instant::now() + Duration::from_secs(60));
        loop {
            let url = url.clone();
            let answers =
                tokio::task::spawn_blocking(move || postgres::Client::connect(&url, postgres::NoTls).is_ok());
            if answers.await.unwrap() {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "PostgreSQL does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Without any farewell: what was not in its log is gone.
    pub fn die(&mut self) {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let first = file.lines().next().unwrap();
        let quit = Command::new("kill").args(["-QUIT", first]).status();
        assert!(quit.unwrap().success());
        self.server.take().unwrap().wait().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.die();
        }
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(Path::new("/proc/self")).unwrap()) == 0
}
