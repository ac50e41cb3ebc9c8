//! The control socket: `uzima admin …` and `uzima terminology …` beside a running server.
//!
//! The embedded database belongs to one process, so the commands of an operator go through the server that runs. The
//! socket lies in the data folder with mode 0600: who may open it may read the database as well.

use crate::admin::{self, Command};
use crate::audit_work;
use crate::backups;
use crate::state::AppState;
use crate::terminologies::{self, Ended, Step, Work};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

const NAME: &str = "control.sock";
/// Longest command or answer, bytes.
const LINE_BYTES: u64 = 64 * 1024;
/// Commands answered at once.
const CONNECTIONS: usize = 4;

/// Longest conversation about terminologies, bytes: a line for each five hundred rows.
const TOLD_BYTES: u64 = 256 * 1024 * 1024;

/// Steps of a copy on their way to a slow reader; more are left out.
const STEPS: usize = 256;

#[derive(Serialize, Deserialize)]
enum Answer {
    Done(Value),
    Failed(String),
}

/// What takes long and is told of meanwhile; tells itself from a [Command] by its name.
#[derive(Serialize, Deserialize)]
enum Asked {
    Terminology(Work),
    Audit(audit_work::Work),
}

/// A whole copy now.
#[derive(Serialize, Deserialize)]
enum AskedBackup {
    Backup(backups::Order),
}

/// Lines of the answer to [Asked]; the last one is no step.
#[derive(Serialize, Deserialize)]
enum Told {
    Step(Step),
    Ended(Ended),
    Failed(String),
}

fn path(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// Listens until the server stops. Errors: the folder cannot be written, or the path is too long for a socket.
pub fn listen(app: &AppState) -> std::io::Result<JoinHandle<()>> {
    let path = path(&app.config.data);
    // A socket left behind by a killed server; the lock of the database says that nobody else runs here.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let app = app.clone();
    Ok(tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            tokio::select! {
                () = app.stopping.cancelled() => break,
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let Ok(place) = places.clone().try_acquire_owned() else { continue };
                    let app = app.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(&app, stream).await {
                            tracing::warn!(%error, "control socket");
                        }
                        drop(place);
                    });
                }
            }
        }
        let _ = std::fs::remove_file(&path);
    }))
}

async fn answer(app: &AppState, stream: UnixStream) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES)).read_line(&mut line).await?;
    if let Ok(AskedBackup::Backup(order)) = serde_json::from_str(&line) {
        return tell_backup(app, order, &mut write).await;
    }
    match serde_json::from_str(&line) {
        Ok(Asked::Terminology(work)) => return load(app, work, &mut write).await,
        Ok(Asked::Audit(work)) => {
            return tell(&mut write, |step| audit_work::run(&app.record, work, step)).await;
        }
        Err(_) => {}
    }
    let answer = match serde_json::from_str::<Command>(&line) {
        Err(error) => Answer::Failed(format!("this server does not know the command: {error}")),
        Ok(command) => match admin::run(&app.record, command).await {
            Ok(value) => {
                // Disabled, or with another password: the live connections end with the sessions.
                let account = value.get("ended_sessions_of").and_then(Value::as_i64);
                account.into_iter().for_each(|account| app.sockets.close_account(account));
                Answer::Done(value)
            }
            Err(error) => Answer::Failed(error.to_string()),
        },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await?;
    Ok(())
}

async fn load(app: &AppState, work: Work, write: &mut OwnedWriteHalf) -> anyhow::Result<()> {
    // Two imports would take each other's unfinished rows for rubbish.
    static BUSY: Semaphore = Semaphore::const_new(1);
    let Ok(_place) = BUSY.try_acquire() else {
        return line(write, &Told::Failed("another import or removal is running".to_owned())).await;
    };
    tell(write, |step| terminologies::run(&app.record, work, step)).await
}

/// Works through it and writes a line for each step. Who asked may go: what was begun is finished.
async fn tell<W, E>(
    write: &mut OwnedWriteHalf,
    run: impl FnOnce(Arc<dyn Fn(Step) + Send + Sync>) -> W,
) -> anyhow::Result<()>
where
    W: Future<Output = Result<Ended, E>>,
    E: std::fmt::Display,
{
    // Unbounded, because it is filled from a thread that must not wait for a reader; it holds a few thousand short lines.
    let (send, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let step = Arc::new(move |step| {
        let _ = send.send(step);
    });
    let running = run(step);
    tokio::pin!(running);
    let mut is_heard = true;
    let ended = loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => {
                if is_heard {
                    is_heard = line(write, &Told::Step(step)).await.is_ok();
                }
            }
            ended = &mut running => break ended,
        }
    };
    while let Ok(step) = steps.try_recv() {
        line(write, &Told::Step(step)).await?;
    }
    let last = match ended {
        Ok(ended) => Told::Ended(ended),
        Err(error) => Told::Failed(format!("{error:#}")),
    };
    line(write, &last).await
}

async fn line(write: &mut OwnedWriteHalf, told: &Told) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(told)?;
    text.push('\n');
    Ok(write.write_all(text.as_bytes()).await?)
}

/// Has the server of this data folder do it; `step` hears what happens meanwhile. `None` if none runs there.
/// Errors: what the server gave, or that it went away.
pub async fn work(data: &Path, work: &Work, step: &dyn Fn(Step)) -> anyhow::Result<Option<Ended>> {
    ask(data, &Asked::Terminology(work.clone()), step).await
}

/// As [work], about the audit trail.
pub async fn audit(
    data: &Path,
    work: &audit_work::Work,
    step: &dyn Fn(Step),
) -> anyhow::Result<Option<Ended>> {
    ask(data, &Asked::Audit(work.clone()), step).await
}

async fn ask(data: &Path, asked: &Asked, step: &dyn Fn(Step)) -> anyhow::Result<Option<Ended>> {
    let Ok(stream) = UnixStream::connect(path(data)).await else { return Ok(None) };
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_string(asked)?;
    text.push('\n');
    anyhow::ensure!(text.len() as u64 <= LINE_BYTES, "too many paths at once");
    write.write_all(text.as_bytes()).await?;
    let mut lines = BufReader::new(read.take(TOLD_BYTES)).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("the server gave no answer that can be read")? {
            Told::Step(told) => step(told),
            Told::Ended(ended) => return Ok(Some(ended)),
            Told::Failed(text) => anyhow::bail!(text),
        }
    }
    anyhow::bail!("the server went away")
}

/// Runs the command on the server of this data folder. `None` if none runs there. Errors: what the command gave.
pub async fn send(data: &Path, command: &Command) -> anyhow::Result<Option<Value>> {
    let Ok(stream) = UnixStream::connect(path(data)).await else { return Ok(None) };
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_string(command)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES)).read_line(&mut line).await?;
    match serde_json::from_str(&line).context("the server gave no answer")? {
        Answer::Done(value) => Ok(Some(value)),
        Answer::Failed(text) => anyhow::bail!(text),
    }
}

/// Makes the copy and writes a line for each step. Who asked may go: what was begun is finished.
async fn tell_backup(
    app: &AppState,
    order: backups::Order,
    write: &mut OwnedWriteHalf,
) -> anyhow::Result<()> {
    // Bounded, and filled by a thread that may wait; whoever does not read is not waited for.
    let (send, mut steps) = tokio::sync::mpsc::channel(STEPS);
    let kept = app.parts.backups.clone();
    let work = tokio::task::spawn_blocking(move || {
        let tell = move |progress| drop(send.try_send(backups::step(progress)));
        backups::now(&kept, &order, &backup::Watch { tell: &tell, is_stopped: &|| false })
    });
    let mut is_heard = true;
    while let Some(step) = steps.recv().await {
        if is_heard {
            is_heard = line(write, &Told::Step(step)).await.is_ok();
        }
    }
    let last = match work.await? {
        Ok(lines) => Told::Ended(lines.into()),
        Err(error) => Told::Failed(format!("{error:#}")),
    };
    line(write, &last).await
}

/// Has the server of this data folder make a whole copy; the lines to be printed. `None` if none runs there.
/// Errors: what the server gave, or that it went away.
pub async fn back_up(
    data: &Path,
    order: &backups::Order,
    step: &dyn Fn(Step),
) -> anyhow::Result<Option<Vec<String>>> {
    let Ok(stream) = UnixStream::connect(path(data)).await else { return Ok(None) };
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_string(&AskedBackup::Backup(order.clone()))?;
    text.push('\n');
    write.write_all(text.as_bytes()).await?;
    let mut lines = BufReader::new(read.take(TOLD_BYTES)).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("the server gave no answer that can be read")? {
            Told::Step(told) => step(told),
            Told::Ended(ended) => return Ok(Some(ended.lines)),
            Told::Failed(text) => anyhow::bail!(text),
        }
    }
    anyhow::bail!("the server went away")
}
