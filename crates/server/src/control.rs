//! The control socket: `uzima admin …` beside a running server.
//!
//! The embedded database belongs to one process, so the commands of an operator go through the server that runs. The
//! socket lies in the data folder with mode 0600: who may open it may read the database as well.

use crate::admin::{self, Command};
use crate::state::AppState;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

const NAME: &str = "control.sock";
/// Longest command or answer, bytes.
const LINE_BYTES: u64 = 64 * 1024;
/// Commands answered at once.
const CONNECTIONS: usize = 4;

#[derive(Serialize, Deserialize)]
enum Answer {
    Done(Value),
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
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
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
