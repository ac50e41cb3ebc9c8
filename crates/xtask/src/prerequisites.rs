//! What a fresh machine lacks: installed as root on Debian, else named with the command that installs it.

use crate::shell::{command, output, run};
use anyhow::bail;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Node 20 or later with npm. Errors: names what to install.
pub fn node() -> anyhow::Result<()> {
    let version = output(&mut command("node", &["--version"])).unwrap_or_default();
    let major: u32 =
        version.trim_start_matches('v').split('.').next().and_then(|m| m.parse().ok()).unwrap_or(0);
    if major < 20 {
        bail!(
            "Node.js 20 or later is needed (found: {})",
            if version.is_empty() { "none" } else { &version }
        );
    }
    if output(&mut command("npm", &["--version"])).is_err() {
        bail!("npm is needed; it comes with Node.js");
    }
    compiler()
}

/// The C compiler, make and perl that build the encrypted database.
fn compiler() -> anyhow::Result<()> {
    let missing: Vec<&str> = [("cc", "gcc"), ("make", "make"), ("perl", "perl")]
        .iter()
        .filter(|(p, _)| find(p).is_none())
        .map(|(_, d)| *d)
        .collect();
    if missing.is_empty() { Ok(()) } else { debian(&missing) }
}

/// The folder with `initdb` and `postgres`, installing Debian's PostgreSQL where that is possible.
pub fn postgres() -> anyhow::Result<PathBuf> {
    if let Some(found) = postgres_folder() {
        return Ok(found);
    }
    debian(&["postgresql"])?;
    match postgres_folder() {
        Some(found) => Ok(found),
        None => bail!("PostgreSQL was installed, but `initdb` is not where Debian puts it"),
    }
}

fn postgres_folder() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|e| Some(e.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().or_else(|| find("initdb").and_then(|p| Some(p.parent()?.to_path_buf())))
}

/// A Chromium for the browser tests.
pub fn chromium() -> anyhow::Result<PathBuf> {
    let installed = || ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|p| find(p));
    if let Some(found) = installed() {
        return Ok(found);
    }
    // Without a font the screenshots show boxes.
    debian(&["chromium", "fonts-dejavu-core"])?;
    match installed() {
        Some(found) => Ok(found),
        None => bail!("Chromium was installed, but is not on the PATH"),
    }
}

/// Python 3.10 or later that can make virtual environments.
pub fn python() -> anyhow::Result<PathBuf> {
    let works = |program: &Path| {
        let test = "import sys, venv, ensurepip; assert sys.version_info >= (3, 10)";
        output(&mut command(&program.to_string_lossy(), &["-c", test])).is_ok()
    };
    if let Some(found) = find("python3").filter(|p| works(p)) {
        return Ok(found);
    }
    debian(&["python3", "python3-venv"])?;
    match find("python3").filter(|p| works(p)) {
        Some(found) => Ok(found),
        None => bail!("Python 3.10 or later with venv is needed"),
    }
}

/// OpenSSH's server, for the tests of backups over SFTP. It only ever runs inside them: the package's own service is
/// neither started nor enabled where this installs it.
pub fn ssh_server() -> anyhow::Result<PathBuf> {
    if let Some(found) = sshd() {
        return Ok(found);
    }
    without_services(|| debian(&["openssh-server", "openssh-sftp-server", "openssh-client"]))?;
    match sshd() {
        Some(found) => Ok(found),
        None => bail!("openssh-server was installed, but sshd is not where Debian puts it"),
    }
}

fn sshd() -> Option<PathBuf> {
    let found = find("sshd").or_else(|| Some(PathBuf::from("/usr/sbin/sshd")).filter(|file| file.exists()));
    found.filter(|_| find("ssh-keygen").is_some() && find("ssh").is_some())
}

/// A security module in software (SoftHSM), the tool that speaks PKCS#11 and `xxd`, for the tests of `deploy/keys/pkcs11.sh`.
pub fn key_module() -> anyhow::Result<()> {
    let is_there = || ["softhsm2-util", "pkcs11-tool", "xxd"].iter().all(|tool| find(tool).is_some());
    if is_there() {
        return Ok(());
    }
    debian(&["softhsm2", "opensc", "xxd"])?;
    match is_there() {
        true => Ok(()),
        false => bail!("softhsm2 and opensc were installed, but their tools are not where Debian puts them"),
    }
}

/// Debian asks this file before it starts a service that was just installed.
const SERVICES: &str = "/usr/sbin/policy-rc.d";
/// Its answer for "no".
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

fn without_services(install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = Path::new(SERVICES);
    let is_ours = !file.exists();
    if is_ours && std::fs::write(file, NO_SERVICES).is_ok() {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))?;
    }
    let installed = install();
    if is_ours && file.exists() {
        std::fs::remove_file(file)?;
    }
    // Not after the next boot either. Without systemd there is nothing to say.
    for unit in ["ssh.service", "ssh.socket"] {
        drop(output(&mut command("systemctl", &["disable", unit])));
    }
    installed
}

/// The official R4 examples: the FHIR package of this name and version, as npm serves it.
const EXAMPLES: &str = "hl7.fhir.r4.examples@4.0.1";
const EXAMPLES_SHA256: &str = "dce87f1b5b9341867033f7d1f544fa1b5232503f6d62813887ac6b8a8b6cb682";
/// Where the examples are, if not in the cache.
const EXAMPLES_VARIABLE: &str = "UZIMA_TEST_R4_EXAMPLES";

/// The folder with the official R4 examples: where `UZIMA_TEST_R4_EXAMPLES` says, else from the cache of this user,
/// fetched once. `None` without network, said loudly, so that a machine without it can still run the rest.
/// Errors: what was fetched is not what this revision was written against.
pub fn r4_examples() -> anyhow::Result<Option<PathBuf>> {
    if let Some(folder) = std::env::var_os(EXAMPLES_VARIABLE).map(PathBuf::from) {
        return Ok(Some(folder));
    }
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => std::env::temp_dir(),
    }
    .join("uzima-tests");
    let folder = cache.join(EXAMPLES.replace('@', "-"));
    // Put there in one step, so it is complete if it is there.
    if folder.is_dir() {
        return Ok(Some(folder.join("package")));
    }
    std::fs::create_dir_all(&cache)?;
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(&cache)?;
    let fetched = output(Command::new("npm").args(["pack", "--silent", EXAMPLES]).current_dir(work.path()));
    let Ok(archive) = fetched.map(|name| work.path().join(name)) else {
        eprintln!("SKIPPED: the round trips of the official R4 examples; {EXAMPLES} could not be fetched.");
        return Ok(None);
    };
    let sum = output(Command::new("sha256sum").arg(&archive))?;
    if sum.split_whitespace().next() != Some(EXAMPLES_SHA256) {
        bail!("{EXAMPLES} has another SHA-256 than expected: {sum}");
    }
    let unpacked = work.path().join("unpacked");
    std::fs::create_dir(&unpacked)?;
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked))?;
    std::fs::rename(&unpacked, &folder)?;
    Ok(Some(folder.join("package")))
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn debian(packages: &[&str]) -> anyhow::Result<()> {
    let names = packages.join(" ");
    let root = output(&mut command("id", &["-u"]))? == "0";
    if !Path::new("/etc/debian_version").exists() || !root {
        bail!("missing: {names}. On Debian: sudo apt-get install {names}");
    }
    eprintln!("Installing {names} …");
    run(command("apt-get", &["update", "-qq"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    run(command("apt-get", &["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}
