//! What commands that write files have in common: files that appear whole or not at all, Ctrl-C, progress.

use crate::config::Config;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use record::Record;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// As shells have it for a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// A file under a hidden name that gets its own when it is whole; dropped before, it is gone.
pub struct Partial {
    to: Option<(PathBuf, PathBuf)>,
    out: Option<Box<dyn Write + Send>>,
    file: Option<File>,
}

impl Partial {
    /// `None`: the standard output. Errors: the folder cannot be written to.
    pub fn new(path: Option<PathBuf>) -> anyhow::Result<Partial> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let Some(path) = path else {
            return Ok(Partial { to: None, out: Some(Box::new(std::io::stdout())), file: None });
        };
        let name = path.file_name().with_context(|| format!("{} is no file name", path.display()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", uuid::Uuid::now_v7().simple()));
        let hidden = path.with_file_name(hidden);
        // Patients' data: nobody else's to read.
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&hidden)
            .with_context(|| format!("cannot write beside {}", path.display()))?;
        let out = Box::new(BufWriter::with_capacity(1 << 18, file.try_clone()?));
        Ok(Partial { to: Some((hidden, path)), out: Some(out), file: Some(file) })
    }

    /// Errors: of the disk or the reader.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.out {
            Some(out) => Ok(out.write_all(bytes)?),
            None => Ok(()),
        }
    }

    /// Gives the file its name, over what had it before. Errors: of the disk.
    pub fn keep(mut self) -> anyhow::Result<()> {
        if let Some(mut out) = self.out.take() {
            out.flush()?;
        }
        let Some((hidden, path)) = self.to.take() else { return Ok(()) };
        let kept = self.file.take().map_or(Ok(()), |file| file.sync_all()).and_then(|()| {
            std::fs::rename(&hidden, &path)?;
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()
        });
        if kept.is_err() {
            drop(std::fs::remove_file(&hidden));
        }
        kept.with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some((hidden, _)) = &self.to {
            drop(std::fs::remove_file(hidden));
        }
    }
}

/// Whether somebody has asked the command to end.
#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// SIGINT and SIGTERM no longer end the program at once.
    pub fn listen() -> Stop {
        let stop = Stop(Arc::default());
        let heard = stop.0.clone();
        tokio::spawn(async move {
            super::stop_signal().await;
            heard.store(true, Ordering::Relaxed);
        });
        stop
    }
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says so, and is the exit code.
pub fn stopped() -> ExitCode {
    eprintln!("stopped; no file was written");
    ExitCode::from(INTERRUPTED)
}

/// On the standard error, with a prefix and a message.
pub fn spinner() -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{elapsed_precise} {prefix} {msg}").context("progress bar")?;
    Ok(ProgressBar::new_spinner().with_style(style))
}

/// Bulk work on this installation. Errors: the key of the files cannot be read.
pub fn insight(config: &Config, record: &Record) -> anyhow::Result<insight::Insight> {
    // The client for imports wants it, as in a server; only fails if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    crate::parts::insight(config, record)
}

/// What is wrong, in words for the operator instead of an OperationOutcome's.
pub fn told(error: record::Error) -> anyhow::Error {
    match &error {
        record::Error::Malformed(outcome) | record::Error::Invalid(outcome) => {
            let texts: Vec<&str> = outcome.issues.iter().map(|issue| issue.text.as_str()).collect();
            anyhow::anyhow!("{}", texts.join("; "))
        }
        _ => error.into(),
    }
}

/// `text` is an id or `kind/id`. Errors: in words.
pub fn parse_id(kind: &str, text: &str) -> Result<String, String> {
    let id = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    match fhir::resource::valid_id(id) {
        true => Ok(id.to_owned()),
        false => Err(format!("write it like {kind}/123")),
    }
}

/// An instant with its zone, e.g. 2026-03-04T05:06:07Z. Errors: in words.
pub fn parse_instant(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| "write it like 2026-03-04T05:06:07Z".to_owned())
}

pub fn parse_patient(text: &str) -> Result<String, String> {
    parse_id("Patient", text)
}
