//! ClamAV: files are handed over with INSTREAM before they are stored.
//!
//! **Invariant:** anything but a plain `OK` is not clean: no answer, another answer, a broken connection.

use record::attachment::{Scanned, Scanner};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;

/// From connecting to the verdict.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes handed over at once.
const CHUNK: usize = 64 * 1024;
/// Longest answer that is read, bytes.
const ANSWER_BYTES: u64 = 4096;
/// Files scanned at once; more wait.
const AT_ONCE: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp(String),
    Unix(PathBuf),
}

/// A scanner that listens somewhere. Cloning is cheap.
#[derive(Clone)]
pub struct Clamd {
    place: Place,
    permits: Arc<Semaphore>,
}

impl Clamd {
    /// `HOST:PORT` or `unix:PATH`. Errors: it is neither, in words for the operator.
    pub fn new(place: &str) -> Result<Clamd, String> {
        let place = match place.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Place::Unix(PathBuf::from(path)),
            None if place
                .rsplit_once(':')
                .is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok()) =>
            {
                Place::Tcp(place.to_owned())
            }
            _ => return Err("ClamAV listens at HOST:PORT or unix:/PATH".to_owned()),
        };
        Ok(Clamd { place, permits: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// For [record::Record::set_scanner].
    pub fn scanner(self) -> Scanner {
        Arc::new(move |bytes| {
            let clamd = self.clone();
            Box::pin(async move { clamd.scan(&bytes).await })
        })
    }

    /// What it says of these bytes.
    pub async fn scan(&self, bytes: &[u8]) -> Scanned {
        let Ok(_permit) = self.permits.acquire().await else { return Scanned::Unavailable };
        let asked = tokio::time::timeout(TIMEOUT, self.ask(bytes)).await;
        match asked {
            Ok(Ok(answer)) => verdict(&answer),
            Ok(Err(error)) => {
                tracing::warn!(error.kind = %error.kind(), "ClamAV cannot be asked; files wait");
                Scanned::Unavailable
            }
            Err(_) => {
                tracing::warn!("ClamAV does not answer in time; files wait");
                Scanned::Unavailable
            }
        }
    }

    async fn ask(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        match &self.place {
            Place::Tcp(address) => {
                converse(tokio::net::TcpStream::connect(address.as_str()).await?, bytes).await
            }
            Place::Unix(path) => converse(tokio::net::UnixStream::connect(path).await?, bytes).await,
        }
    }
}

/// `zINSTREAM`, then pieces with their lengths, then a length of nought (clamd(8)).
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(b"zINSTREAM\0").await?;
    for piece in bytes.chunks(CHUNK) {
        let length = u32::try_from(piece.len()).unwrap_or(0);
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(piece).await?;
    }
    stream.write_all(&[0; 4]).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// `stream: OK`, `stream: NAME FOUND`, or an error such as a size beyond its own limit.
fn verdict(answer: &[u8]) -> Scanned {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim_end_matches(['\0', '\n']);
    if text == "stream: OK" {
        Scanned::Clean
    } else if text.ends_with(" FOUND") {
        Scanned::Harmful
    } else {
        tracing::warn!("ClamAV answered with an error; files wait");
        Scanned::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A scanner that finds `virus`; reads what clamd reads.
    async fn stand_in(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut command = [0; 10];
            stream.read_exact(&mut command).await.unwrap();
            assert_eq!(&command, b"zINSTREAM\0");
            let mut file = Vec::new();
            loop {
                let length = stream.read_u32().await.unwrap() as usize;
                if length == 0 {
                    break;
                }
                let from = file.len();
                file.resize(from + length, 0);
                stream.read_exact(&mut file[from..]).await.unwrap();
            }
            let answer: &[u8] = match file.as_slice() {
                b"virus" => b"stream: Test-Signature FOUND\0",
                b"error" => b"INSTREAM size limit exceeded. ERROR\0",
                b"silent" => b"",
                _ => b"stream: OK\0",
            };
            stream.write_all(answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn only_a_plain_yes_is_clean() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(stand_in(listener));
        let clamd = Clamd::new(&address).unwrap();
        assert_eq!(clamd.scan(b"virus").await, Scanned::Harmful);
        assert_eq!(clamd.scan(&vec![7; 300_000]).await, Scanned::Clean);
        assert_eq!(clamd.scan(b"").await, Scanned::Clean);
        assert_eq!(clamd.scan(b"error").await, Scanned::Unavailable);
        assert_eq!(clamd.scan(b"silent").await, Scanned::Unavailable);
        task.abort();
        let _ = task.await;
        assert_eq!(clamd.scan(b"x").await, Scanned::Unavailable, "nobody listens");
        for wrong in ["", "localhost", ":3310", "host:port", "unix:relative"] {
            assert!(Clamd::new(wrong).is_err(), "{wrong}");
        }
        assert!(Clamd::new("unix:/run/clamav/clamd.ctl").is_ok());
    }
}
