//! Another host by SFTP. The system's `ssh` makes the connection, so that its keys, its known hosts and its configuration
//! hold; the protocol inside is ours, because a program that has to be told line by line cannot be told apart when it fails.

use super::sftp_wire::{self as wire, Ask, Reply};
use super::{Entry, OBJECT_BYTES_MAX, Put, Target};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io::{BufWriter, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Requests under way at once; their replies are small enough to wait in the pipe.
const WINDOW: usize = 64;
/// What `ssh` says when it fails is shown up to here, bytes.
const SHOWN: u64 = 2000;

#[derive(Debug, Clone)]
pub struct SftpOptions {
    /// Private key; otherwise `ssh` takes what it finds.
    pub identity: Option<std::path::PathBuf>,
    /// Hosts and their keys; otherwise the user's and the system's files.
    pub known_hosts: Option<std::path::PathBuf>,
    /// Speaks the protocol on its standard input and output instead of `ssh`.
    pub program: Option<Vec<String>>,
}

#[expect(clippy::derivable_impls, reason = "says what nothing means")]
impl Default for SftpOptions {
    fn default() -> SftpOptions {
        SftpOptions { identity: None, known_hosts: None, program: None }
    }
}

pub struct Sftp {
    command: Vec<String>,
    shown: String,
    root: String,
    session: Mutex<Option<Session>>,
    /// Folders that are known to be there.
    folders: Mutex<BTreeSet<String>>,
}

struct Session {
    child: Child,
    out: BufWriter<ChildStdin>,
    input: ChildStdout,
    next: u32,
    can_link: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        // It ends by itself when its pipes close; waiting for a dead network helps nobody.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A status that is no success, or a pipe that broke.
enum Fault {
    Status(u32, String),
    Pipe(std::io::Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::Pipe(error)
    }
}

impl Session {
    fn open(command: &[String]) -> Result<Session> {
        let unreachable =
            |error: std::io::Error| Error::Unreachable(format!("{}: {error}", command.join(" ")));
        let (program, arguments) =
            command.split_first().ok_or_else(|| Error::Wrong("no program for SFTP".into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(unreachable)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(out), Some(input)) = pipes else {
            return Err(Error::Unreachable("no pipes to ssh".into()));
        };
        let mut session =
            Session { child, out: BufWriter::with_capacity(1 << 17, out), input, next: 0, can_link: false };
        match wire::greet(&mut session.out, &mut session.input) {
            Ok(can_link) => {
                session.can_link = can_link;
                Ok(session)
            }
            Err(error) => {
                // What ssh says tells more than that its pipe broke; it has ended or will by the kill.
                drop(session.child.kill());
                let mut said = String::new();
                if let Some(stderr) = session.child.stderr.take() {
                    drop(stderr.take(SHOWN).read_to_string(&mut said));
                }
                Err(Error::Unreachable(format!("{}: {error}: {}", command.join(" "), said.trim())))
            }
        }
    }

    fn send(&mut self, ask: &Ask<'_>) -> Result<u32, Fault> {
        self.next = self.next.wrapping_add(1);
        wire::ask(&mut self.out, self.next, ask)?;
        Ok(self.next)
    }

    fn hear(&mut self, id: u32) -> Result<Reply, Fault> {
        let (found, reply) = wire::reply(&mut self.input)?;
        if found != id {
            return Err(Fault::Pipe(std::io::Error::other("SFTP: a reply to something else")));
        }
        match reply {
            Reply::Status(0, _) => Ok(Reply::Status(0, String::new())),
            Reply::Status(code, text) => Err(Fault::Status(code, text)),
            reply => Ok(reply),
        }
    }

    fn call(&mut self, ask: &Ask<'_>) -> Result<Reply, Fault> {
        let id = self.send(ask)?;
        self.out.flush()?;
        self.hear(id)
    }

    fn handle(&mut self, ask: &Ask<'_>) -> Result<Vec<u8>, Fault> {
        match self.call(ask)? {
            Reply::Handle(handle) => Ok(handle),
            _ => Err(Fault::Pipe(std::io::Error::other("SFTP: no handle"))),
        }
    }

    fn write(&mut self, handle: &[u8], bytes: &[u8]) -> Result<(), Fault> {
        let mut asked = std::collections::VecDeque::new();
        let mut failed = None;
        for (n, piece) in bytes.chunks(wire::PIECE).enumerate() {
            let offset = (n * wire::PIECE) as u64;
            asked.push_back(self.send(&Ask::Write { handle, offset, bytes: piece })?);
            if asked.len() >= WINDOW {
                self.out.flush()?;
                if let Some(id) = asked.pop_front() {
                    failed = failed.or(self.heard(id)?);
                }
            }
        }
        self.out.flush()?;
        for id in asked {
            failed = failed.or(self.heard(id)?);
        }
        failed.map_or(Ok(()), Err)
    }

    /// A refusal as a value, so that the replies that follow are heard as well.
    fn heard(&mut self, id: u32) -> Result<Option<Fault>, Fault> {
        match self.hear(id) {
            Ok(_) => Ok(None),
            Err(fault @ Fault::Status(..)) => Ok(Some(fault)),
            Err(fault) => Err(fault),
        }
    }

    fn read(&mut self, handle: &[u8], size: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        // A window of requests at a time; a short reply means that the next offset is another.
        'window: loop {
            let left = size.saturating_sub(bytes.len() as u64).div_ceil(wire::PIECE as u64);
            let count = usize::try_from(left).unwrap_or(WINDOW).clamp(1, WINDOW);
            let start = bytes.len();
            let mut asked = Vec::new();
            for n in 0..count {
                asked.push(self.send(&Ask::Read { handle, offset: (start + n * wire::PIECE) as u64 })?);
            }
            self.out.flush()?;
            let (mut is_short, mut is_end, mut failed) = (false, false, None);
            for id in asked {
                match self.hear(id) {
                    Ok(Reply::Data(piece)) if !is_short && !is_end => {
                        is_short = piece.len() < wire::PIECE;
                        bytes.extend_from_slice(&piece);
                    }
                    Ok(_) => {}
                    Err(Fault::Status(wire::END_OF_FILE, _)) => is_end = true,
                    Err(fault @ Fault::Status(..)) => failed = Some(fault),
                    Err(fault) => return Err(fault),
                }
            }
            if let Some(fault) = failed {
                return Err(fault);
            }
            if bytes.len() > OBJECT_BYTES_MAX {
                return Err(Fault::Pipe(std::io::Error::other("SFTP: the object is too large")));
            }
            if is_end {
                break 'window;
            }
        }
        Ok(bytes)
    }
}

impl Sftp {
    /// `host` is `user@host` or a name of `ssh`'s configuration.
    pub fn new(host: &str, port: Option<u16>, root: &str, options: &SftpOptions) -> Sftp {
        let command = match &options.program {
            Some(program) => program.clone(),
            None => {
                // Nobody is there to be asked; a host that is not known yet is refused, as it must be.
                let mut command =
                    vec!["ssh".to_owned(), "-oBatchMode=yes".into(), "-oServerAliveInterval=15".into()];
                if let Some(identity) = &options.identity {
                    command.extend(["-i".into(), identity.display().to_string()]);
                }
                if let Some(file) = &options.known_hosts {
                    command.push(format!("-oUserKnownHostsFile={}", file.display()));
                }
                if let Some(port) = port {
                    command.extend(["-p".into(), port.to_string()]);
                }
                command.extend(["-s".into(), "--".into(), host.to_owned(), "sftp".into()]);
                command
            }
        };
        Sftp {
            command,
            shown: format!("sftp://{host}{root}"),
            root: root.trim_end_matches('/').to_owned(),
            session: Mutex::new(None),
            folders: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// Runs `work` on the connection, which is made anew once if it broke.
    fn with<R>(&self, what: &str, work: impl Fn(&mut Session) -> Result<R, Fault>) -> Result<R> {
        let mut place = self.session.lock();
        for is_last in [false, true] {
            let mut session = match place.take() {
                Some(session) => session,
                None => Session::open(&self.command)?,
            };
            match work(&mut session) {
                Ok(done) => {
                    *place = Some(session);
                    return Ok(done);
                }
                Err(Fault::Status(code, text)) => {
                    *place = Some(session);
                    return Err(told(what, code, &text));
                }
                Err(Fault::Pipe(error)) if is_last => {
                    return Err(Error::Unreachable(format!("{}: {error}", self.shown)));
                }
                Err(Fault::Pipe(_)) => {}
            }
        }
        Err(Error::Unreachable(self.shown.clone()))
    }

    /// Makes a folder and those above it.
    fn make(&self, folder: &str) -> Result<()> {
        if self.folders.lock().contains(folder) {
            return Ok(());
        }
        let mut path = String::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            path = format!("{path}/{part}");
            let made = self.with(&path, |session| match session.call(&Ask::MakeFolder { path: &path }) {
                // There already, or above what we may see: writing into it will tell.
                Ok(_) | Err(Fault::Status(..)) => Ok(()),
                Err(fault) => Err(fault),
            });
            made?;
        }
        self.folders.lock().insert(folder.to_owned());
        Ok(())
    }

    fn exists(&self, path: &str) -> Result<bool> {
        self.with(path, |session| match session.call(&Ask::Size { path }) {
            Ok(_) => Ok(true),
            Err(Fault::Status(wire::NO_SUCH_FILE, _)) => Ok(false),
            Err(fault) => Err(fault),
        })
    }
}

fn told(what: &str, code: u32, text: &str) -> Error {
    match code {
        wire::NO_SUCH_FILE => Error::NotFound(what.to_owned()),
        wire::PERMISSION_DENIED => Error::Refused(format!("{what}: {text}")),
        // The protocol has no code of its own for a full disk.
        wire::FAILURE => Error::Unreachable(format!("{what}: {text}")),
        _ => Error::Refused(format!("{what}: {code} {text}")),
    }
}

impl Target for Sftp {
    fn describe(&self) -> String {
        self.shown.clone()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        let path = self.path(name);
        if self.exists(&path)? {
            return Ok(Put::WasThere);
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.make(folder)?;
        let partial = format!("{folder}/.partial-{}", uuid::Uuid::new_v4().simple());
        let written = self.with(&partial, |session| {
            // Of a try whose connection broke.
            drop(session.call(&Ask::Remove { path: &partial }));
            let handle = session.handle(&Ask::Open { path: &partial, flags: wire::WRITE_NEW_FLAGS })?;
            let written = session.write(&handle, bytes);
            // Servers that cannot sync say so; then the file is as durable as it gets there.
            if written.is_ok()
                && let Err(fault @ Fault::Pipe(_)) = session.call(&Ask::Sync { handle: &handle })
            {
                return Err(fault);
            }
            let closed = session.call(&Ask::Close { handle: &handle }).map(|_| ());
            written.and(closed)
        });
        let renamed = written.and_then(|()| {
            self.with(name, |session| {
                if session.can_link {
                    session.call(&Ask::Link { from: &partial, to: &path })?;
                    // Where nothing may be removed it stays, without taking room; listings pass over it.
                    return match session.call(&Ask::Remove { path: &partial }) {
                        Err(fault @ Fault::Pipe(_)) => Err(fault),
                        _ => Ok(()),
                    };
                }
                session.call(&Ask::Rename { from: &partial, to: &path }).map(|_| ())
            })
        });
        match renamed {
            Ok(()) => Ok(Put::Made),
            Err(error) => {
                drop(
                    self.with(&partial, |session| session.call(&Ask::Remove { path: &partial }).map(|_| ())),
                );
                // Somebody else was first, or the reply to our own renaming was lost.
                if self.exists(&path)? { Ok(Put::WasThere) } else { Err(error) }
            }
        }
    }

    fn get(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        self.with(name, |session| {
            let size = match session.call(&Ask::Size { path: &path })? {
                Reply::Attributes(attributes) => attributes.bytes,
                _ => 0,
            };
            let handle = session.handle(&Ask::Open { path: &path, flags: wire::READ_FLAG })?;
            let bytes = session.read(&handle, size);
            let closed = session.call(&Ask::Close { handle: &handle }).map(|_| ());
            let bytes = bytes?;
            closed.map(|()| bytes)
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let path = self.path(&folder);
            let names = self.with(&folder, |session| {
                let mut names = Vec::new();
                let handle = match session.handle(&Ask::OpenFolder { path: path.trim_end_matches('/') }) {
                    Err(Fault::Status(wire::NO_SUCH_FILE, _)) => return Ok(names),
                    handle => handle?,
                };
                loop {
                    match session.call(&Ask::ReadFolder { handle: &handle }) {
                        Ok(Reply::Names(more)) => names.extend(more),
                        Err(Fault::Status(wire::END_OF_FILE, _)) => break,
                        Ok(_) => {}
                        Err(fault) => return Err(fault),
                    }
                }
                session.call(&Ask::Close { handle: &handle })?;
                Ok(names)
            });
            for named in names? {
                let name = format!("{folder}{}", named.name);
                if named.name.starts_with('.') {
                    continue;
                }
                let below = format!("{name}/");
                if named.attributes.is_folder {
                    if below.starts_with(prefix) || prefix.starts_with(&below) {
                        folders.push(below);
                    }
                } else if name.starts_with(prefix) {
                    found.push(Entry { name, bytes: named.attributes.bytes });
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match self.with(name, |session| session.call(&Ask::Remove { path: &path }).map(|_| ())) {
            Err(Error::NotFound(_)) => Ok(()),
            removed => removed,
        }
    }
}
