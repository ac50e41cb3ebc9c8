//! A mail server that takes everything, keeps it, and can be told to refuse or to wait. ESMTP (RFC 5321) without
//! encryption and authentication.
//!
//! **Invariant:** no mail leaves the process; what is kept is bounded.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Mails that are kept; older ones are forgotten.
const MAILS_MAX: usize = 1000;
/// Largest mail, bytes.
const MAIL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for the client.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// One mail as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Envelope sender.
    pub from: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// Headers and body, dots unstuffed, lines ended by CRLF.
    pub text: String,
}

/// How the next mails are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailFault {
    /// Answered with this line instead of being taken, e.g. `451 4.3.0 Try again later`.
    Refuse(String),
    /// Taken after this time.
    Delay(Duration),
    /// The connection is dropped when the content has come.
    Drop,
}

#[derive(Default)]
struct Inner {
    mails: Mutex<VecDeque<Mail>>,
    faults: Mutex<VecDeque<MailFault>>,
    came: Notify,
}

/// A running mail server; it stops when this is dropped.
pub struct Smtp {
    /// Where it listens.
    pub address: SocketAddr,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl Smtp {
    /// Errors: the address is taken or not ours.
    pub async fn listen(address: SocketAddr) -> std::io::Result<Smtp> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner::default());
        let shared = inner.clone();
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // A client that breaks off has nothing more to be told.
                    let _ = tokio::time::timeout(SILENCE_MAX, serve(socket, shared)).await;
                });
            }
        });
        Ok(Smtp { address, inner, server })
    }

    /// What came, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.inner.mails.lock().iter().cloned().collect()
    }

    /// The mails once there are at least `count`.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        loop {
            let came = self.inner.came.notified();
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            came.await;
        }
    }

    /// The next mail meets this; several are met in turn.
    pub fn fault(&self, fault: MailFault) {
        self.inner.faults.lock().push_back(fault);
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(socket: TcpStream, inner: Arc<Inner>) -> std::io::Result<()> {
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    write.write_all(b"220 sandbox ESMTP\r\n").await?;
    let (mut from, mut to) = (None, Vec::new());
    loop {
        let Some(line) = line(&mut read).await? else { return Ok(()) };
        let upper = line.to_ascii_uppercase();
        let verb = upper.split(' ').next().unwrap_or_default();
        let answer: String = match verb {
            "EHLO" => format!(
                "250-sandbox\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250 SIZE {MAIL_BYTES_MAX}"
            ),
            "HELO" => "250 sandbox".to_owned(),
            "MAIL" => {
                from = Some(address(&line));
                to.clear();
                "250 2.1.0 Ok".to_owned()
            }
            "RCPT" if from.is_some() => {
                to.push(address(&line));
                "250 2.1.5 Ok".to_owned()
            }
            "DATA" if !to.is_empty() => {
                write.write_all(b"354 Go on\r\n").await?;
                let Some(text) = content(&mut read).await? else { return Ok(()) };
                let mail = Mail { from: from.take().unwrap_or_default(), to: std::mem::take(&mut to), text };
                match take(&inner, mail).await {
                    Some(answer) => answer,
                    None => return Ok(()),
                }
            }
            "RSET" => {
                (from, to) = (None, Vec::new());
                "250 2.0.0 Ok".to_owned()
            }
            "NOOP" => "250 2.0.0 Ok".to_owned(),
            "QUIT" => {
                write.write_all(b"221 2.0.0 Bye\r\n").await?;
                return Ok(());
            }
            "RCPT" | "DATA" => "503 5.5.1 Bad sequence of commands".to_owned(),
            _ => "500 5.5.2 Not understood".to_owned(),
        };
        write.write_all(answer.as_bytes()).await?;
        write.write_all(b"\r\n").await?;
    }
}

/// Keeps the mail, or does what a fault says. `None`: the connection is dropped.
async fn take(inner: &Inner, mail: Mail) -> Option<String> {
    let fault = inner.faults.lock().pop_front();
    match fault {
        Some(MailFault::Refuse(answer)) => return Some(answer),
        Some(MailFault::Drop) => return None,
        Some(MailFault::Delay(time)) => tokio::time::sleep(time).await,
        None => {}
    }
    {
        let mut mails = inner.mails.lock();
        if mails.len() >= MAILS_MAX {
            mails.pop_front();
        }
        mails.push_back(mail);
    }
    inner.came.notify_waiters();
    Some("250 2.0.0 Taken".to_owned())
}

/// A line without its end; `None` at the end of the connection or for one that is too long.
async fn line<R: tokio::io::AsyncBufRead + Unpin>(read: &mut R) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        let buffer = read.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let used = end.map_or(buffer.len(), |n| n + 1);
        bytes.extend_from_slice(&buffer[..used]);
        read.consume(used);
        if bytes.len() > LINE_BYTES_MAX {
            return Ok(None);
        }
        if end.is_some() {
            let text = String::from_utf8_lossy(&bytes);
            return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
        }
    }
}

async fn content<R: tokio::io::AsyncBufRead + Unpin>(read: &mut R) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    while let Some(line) = line(read).await? {
        if line == "." {
            return Ok(Some(text));
        }
        // RFC 5321 §4.5.2: a leading dot was doubled.
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push_str("\r\n");
        if text.len() > MAIL_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(None)
}

/// What stands between `<` and `>`.
fn address(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(address, _)| address);
    inner.unwrap_or_default().to_owned()
}
