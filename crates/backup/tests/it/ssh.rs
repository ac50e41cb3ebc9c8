//! A real sshd on a port of its own, with keys of its own, for one test.

use backup::target::{Options, SftpOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY_WAIT: Duration = Duration::from_secs(20);
/// Who backs up where the tests run as root: somebody whose files can be protected from himself.
const NOBODY: &str = "nobody";

pub struct Sshd {
    folder: tempfile::TempDir,
    server: Child,
    port: u16,
    user: String,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("UZIMA_TEST_SSHD") {
        // Whoever names it wants these tests.
        assert!(Path::new(&named).exists(), "UZIMA_TEST_SSHD names nothing");
        return Some(named.into());
    }
    let usual = PathBuf::from("/usr/sbin/sshd");
    if usual.exists() {
        return Some(usual);
    }
    let text = "SKIPPED: backups over SFTP, because sshd is not installed (Debian: openssh-server)\n";
    drop(std::io::stderr().write_all(text.as_bytes()));
    None
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn key(file: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status();
    assert!(made.unwrap().success());
}

impl Sshd {
    /// `more` are arguments of its SFTP server.
    pub fn start(more: &[&str]) -> Option<Sshd> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let user = match is_root() {
            true => NOBODY.to_owned(),
            false => {
                let named = Command::new("id").arg("-un").output().unwrap().stdout;
                String::from_utf8(named).unwrap().trim().to_owned()
            }
        };
        key(&at("host"));
        key(&at("identity"));
        std::fs::create_dir(at("data")).unwrap();
        if is_root() {
            // sshd wants this folder when it runs as root; nothing is left in it.
            std::fs::create_dir_all("/run/sshd").unwrap();
            let owned = Command::new("chown").arg(&user).arg(folder.path()).arg(at("data")).status();
            assert!(owned.unwrap().success());
            let open = Command::new("chmod").arg("711").arg(folder.path()).status();
            assert!(open.unwrap().success());
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel ERROR\nMaxStartups 100\n\
             Subsystem sftp internal-sftp {}\n",
            at("host").display(),
            at("identity.pub").display(),
            more.join(" ")
        );
        std::fs::write(at("config"), text).unwrap();
        let host = std::fs::read_to_string(at("host.pub")).unwrap();
        std::fs::write(at("known"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let server = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut sshd = Sshd { folder, server, port, user };
        let until = Instant::now() + READY_WAIT;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(sshd.server.try_wait().unwrap().is_none(), "sshd ended at once");
            assert!(Instant::now() < until, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(sshd)
    }

    pub fn address(&self, name: &str) -> String {
        format!("sftp://{}@127.0.0.1:{}{}/{name}", self.user, self.port, self.data().display())
    }

    pub fn options(&self) -> Options {
        let sftp = SftpOptions {
            identity: Some(self.folder.path().join("identity")),
            known_hosts: Some(self.folder.path().join("known")),
            program: None,
        };
        Options { sftp, ..Options::default() }
    }

    /// Where its files lie.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What a thief of the credential can do by hand; whether every command of the batch was done.
    pub fn batch(&self, commands: &str) -> bool {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let mut child = Command::new("sftp")
            .args(["-b", "-", "-oBatchMode=yes", "-i", &at("identity"), "-P", &self.port.to_string()])
            .arg(format!("-oUserKnownHostsFile={}", at("known")))
            .arg(format!("{}@127.0.0.1", self.user))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        child.wait().unwrap().success()
    }
}
