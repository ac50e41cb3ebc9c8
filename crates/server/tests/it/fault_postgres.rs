//! PostgreSQL dies and comes back while several clients write: no acknowledged write is lost, none is there twice, and the
//! server needs no restart. The cluster is this test's own; without PostgreSQL's programs it says so and is left out.

use crate::harness::{World, read};
use serde_json::json;
use server::config::Secret;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WRITERS: usize = 6;
const DEATHS: u32 = 3;

struct Cluster {
    bin: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
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
    fn make() -> Option<Cluster> {
        let bin = bin()?;
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Cluster { bin, folder, port, server: None };
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

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.current_dir(self.folder.path()).arg("-D").arg(self.data());
        command
    }

    fn url(&self) -> String {
        format!("postgres://uzima@127.0.0.1:{}/postgres", self.port)
    }

    async fn start(&mut self) {
        let mut server = self.program("postgres");
        server.args(["-p", &self.port.to_string(), "-k", "", "-c", "listen_addresses=127.0.0.1"]);
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
    fn die(&mut self) {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_die_under_load() {
    let Some(mut cluster) = Cluster::make() else {
        use std::io::Write;
        let text = "SKIPPED: PostgreSQL that dies, because there is none under /usr/lib/postgresql\n";
        drop(std::io::stderr().write_all(text.as_bytes()));
        return;
    };
    cluster.start().await;
    let url = cluster.url();
    let world = World::start_with(|config| config.database_url = Some(Secret::new(url))).await;
    let client = world.client("system/*.cruds").await;
    let patient =
        world.put(json!({"resourceType": "Patient", "name": [{"family": "Power"}]})).await.to_string();
    let (made, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (client, patient) = (client.clone(), patient.clone());
        let (made, stop) = (made.clone(), stop.clone());
        writers.spawn(async move {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let tag = format!("{writer}-{n}");
                let body = json!({"resourceType": "Observation", "status": "final", "code": {"text": "power"},
                    "identifier": [{"system": "https://power.example", "value": tag}],
                    "subject": {"reference": patient}});
                let sent = client.request("POST", "/fhir/R4/Observation").json(&body).send().await;
                let (status, answer) = read(sent.unwrap()).await;
                match status {
                    201 => made.lock().unwrap().push(tag),
                    // 500: the connection was lost during the commit, which may have happened; nothing is promised.
                    500 | 503 => tokio::time::sleep(Duration::from_millis(5)).await,
                    _ => panic!("{status} {answer}"),
                }
            }
        });
    }
    for death in 0..DEATHS {
        let enough = made.lock().unwrap().len() + 60;
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        while made.lock().unwrap().len() < enough {
            assert!(tokio::time::Instant::now() < until, "death {death}: writes do not go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.die();
        cluster.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let made = std::mem::take(&mut *made.lock().unwrap());
    println!("{} writes acknowledged over {DEATHS} deaths", made.len());
    for tag in &made {
        let path = format!("/fhir/R4/Observation?identifier=https://power.example|{tag}&_summary=count");
        let mut tries = 0;
        let (status, found) = loop {
            let (status, found) = client.get(&path).await;
            tries += 1;
            if status == 200 || tries > 100 {
                break (status, found);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!((status, &found["total"]), (200, &json!(1)), "acknowledged {tag}");
    }
    world.stop().await;
}
