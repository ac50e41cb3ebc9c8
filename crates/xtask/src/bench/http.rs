//! The cheapest HTTP client that can load a server from the same machine: one blocking keep-alive connection per
//! thread, no allocation per request beyond the body.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Bytes of an answer that are read at most.
const BODY_MAX: usize = 64 * 1024 * 1024;

pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    authorization: String,
    pub body: Vec<u8>,
    /// `Location` of the last answer, if it had one.
    pub location: Option<String>,
    request: Vec<u8>,
    line: Vec<u8>,
}

impl Connection {
    pub fn open(host: &str, token: &str) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(host).with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
        Ok(Connection {
            stream: BufReader::with_capacity(64 * 1024, stream),
            host: host.to_owned(),
            authorization: if token.is_empty() {
                String::new()
            } else {
                format!("Authorization: Bearer {token}\r\n")
            },
            body: Vec::new(),
            location: None,
            request: Vec::new(),
            line: Vec::new(),
        })
    }

    /// Sends a request and reads the whole answer into [Connection::body]. Returns the status.
    pub fn send(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<u16> {
        self.request.clear();
        write!(self.request, "{method} {path} HTTP/1.1\r\nHost: {}\r\n{}", self.host, self.authorization)?;
        if !body.is_empty() {
            write!(self.request, "Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len())?;
        }
        self.request.extend_from_slice(b"\r\n");
        self.request.extend_from_slice(body);
        self.stream.get_mut().write_all(&self.request)?;
        self.read()
    }

    fn read(&mut self) -> anyhow::Result<u16> {
        self.next_line()?;
        let status: u16 = std::str::from_utf8(&self.line)
            .ok()
            .and_then(|l| l.split(' ').nth(1)?.parse().ok())
            .context("no HTTP status line")?;
        let (mut length, mut is_chunked) = (0usize, false);
        self.location = None;
        loop {
            self.next_line()?;
            if self.line.is_empty() {
                break;
            }
            let line = String::from_utf8_lossy(&self.line);
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse()?,
                "transfer-encoding" => is_chunked = value.eq_ignore_ascii_case("chunked"),
                "location" => self.location = Some(value.to_owned()),
                _ => {}
            }
        }
        self.body.clear();
        if is_chunked {
            loop {
                self.next_line()?;
                let size = usize::from_str_radix(String::from_utf8_lossy(&self.line).trim(), 16)?;
                self.take(size)?;
                self.next_line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            self.take(length)?;
        }
        Ok(status)
    }

    fn take(&mut self, bytes: usize) -> anyhow::Result<()> {
        if self.body.len() + bytes > BODY_MAX {
            bail!("the answer is larger than {BODY_MAX} bytes");
        }
        let start = self.body.len();
        self.body.resize(start + bytes, 0);
        self.stream.read_exact(&mut self.body[start..])?;
        Ok(())
    }

    fn next_line(&mut self) -> anyhow::Result<()> {
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            bail!("the server closed the connection");
        }
        while matches!(self.line.last(), Some(b'\n' | b'\r')) {
            self.line.pop();
        }
        Ok(())
    }
}
