//! The SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02), as much of it as objects need.

use std::io::{self, Read, Write};

/// Largest packet taken from the other side, bytes.
const PACKET_MAX: u32 = 1024 * 1024;
/// Every server takes pieces of this size.
pub const PIECE: usize = 32 * 1024;

pub const READ_FLAG: u32 = 1;
pub const WRITE_NEW_FLAGS: u32 = 0x02 | 0x08 | 0x20;
/// A new file can be written by who made it until it is closed, and by nobody afterwards: a server that refuses to change
/// modes, to rename and to remove thereby keeps it as it is.
const NEW_FILE_MODE: u32 = 0o440;
/// The attributes of a request hold a mode.
const HAS_MODE: u32 = 4;

/// A request, without its number.
pub enum Ask<'a> {
    Open {
        path: &'a str,
        flags: u32,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        bytes: &'a [u8],
    },
    OpenFolder {
        path: &'a str,
    },
    ReadFolder {
        handle: &'a [u8],
    },
    MakeFolder {
        path: &'a str,
    },
    Remove {
        path: &'a str,
    },
    Rename {
        from: &'a str,
        to: &'a str,
    },
    /// `hardlink@openssh.com`; never over a name that is taken.
    Link {
        from: &'a str,
        to: &'a str,
    },
    Size {
        path: &'a str,
    },
    /// `fsync@openssh.com`
    Sync {
        handle: &'a [u8],
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The status code (0 is good) and what the server says to it.
    Status(u32, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Named>),
    Attributes(Attributes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub attributes: Attributes,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    pub bytes: u64,
    pub is_folder: bool,
}

const LINK: &[u8] = b"hardlink@openssh.com";

pub const END_OF_FILE: u32 = 1;
pub const NO_SUCH_FILE: u32 = 2;
pub const PERMISSION_DENIED: u32 = 3;
pub const FAILURE: u32 = 4;

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SFTP: {text}"))
}

struct Packet(Vec<u8>);

impl Packet {
    fn new(kind: u8) -> Packet {
        Packet(vec![0, 0, 0, 0, kind])
    }
    fn number(mut self, number: u32) -> Packet {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }
    fn long(mut self, number: u64) -> Packet {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }
    fn text(self, bytes: &[u8]) -> Packet {
        let mut packet = self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        packet.0.extend_from_slice(bytes);
        packet
    }
    fn send(mut self, out: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.0.len() - 4).map_err(|_| broken("a packet is too large"))?;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        out.write_all(&self.0)
    }
}

/// Says hello and hears the version; whether the server makes links. Errors: of the pipe; another version.
pub fn greet(out: &mut impl Write, input: &mut impl Read) -> io::Result<bool> {
    Packet::new(1).number(3).send(out)?;
    out.flush()?;
    let packet = receive(input)?;
    match packet.split_first() {
        Some((2, rest)) if rest.get(..4).is_some_and(|v| v == 3u32.to_be_bytes()) => {
            let mut fields = Fields(&rest[4..]);
            while !fields.0.is_empty() {
                let (name, _) = (fields.text()?, fields.text()?);
                if name == LINK {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(broken("the server does not speak version 3")),
    }
}

/// Sends a request under a number; the reply comes under the same.
pub fn ask(out: &mut impl Write, id: u32, ask: &Ask<'_>) -> io::Result<()> {
    let packet = |kind| Packet::new(kind).number(id);
    match *ask {
        Ask::Open { path, flags: READ_FLAG } => packet(3).text(path.as_bytes()).number(READ_FLAG).number(0),
        Ask::Open { path, flags } => {
            packet(3).text(path.as_bytes()).number(flags).number(HAS_MODE).number(NEW_FILE_MODE)
        }
        Ask::Close { handle } => packet(4).text(handle),
        Ask::Read { handle, offset } => packet(5).text(handle).long(offset).number(PIECE as u32),
        Ask::Write { handle, offset, bytes } => packet(6).text(handle).long(offset).text(bytes),
        Ask::OpenFolder { path } => packet(11).text(path.as_bytes()),
        Ask::ReadFolder { handle } => packet(12).text(handle),
        Ask::Remove { path } => packet(13).text(path.as_bytes()),
        Ask::MakeFolder { path } => packet(14).text(path.as_bytes()).number(0),
        Ask::Size { path } => packet(17).text(path.as_bytes()),
        Ask::Rename { from, to } => packet(18).text(from.as_bytes()).text(to.as_bytes()),
        Ask::Link { from, to } => packet(200).text(LINK).text(from.as_bytes()).text(to.as_bytes()),
        Ask::Sync { handle } => packet(200).text(b"fsync@openssh.com").text(handle),
    }
    .send(out)
}

fn receive(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length == 0 || length > PACKET_MAX {
        return Err(broken("a packet has no sensible length"));
    }
    let mut packet = vec![0; length as usize];
    input.read_exact(&mut packet)?;
    Ok(packet)
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(count).ok_or_else(|| broken("a packet is cut off"))?;
        self.0 = rest;
        Ok(field)
    }
    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
    fn text(&mut self) -> io::Result<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }
    fn attributes(&mut self) -> io::Result<Attributes> {
        let flags = self.number()?;
        let mut attributes = Attributes::default();
        if flags & 1 != 0 {
            attributes.bytes = u64::from(self.number()?) << 32 | u64::from(self.number()?);
        }
        if flags & 2 != 0 {
            self.take(8)?;
        }
        if flags & 4 != 0 {
            attributes.is_folder = self.number()? & 0o170_000 == 0o040_000;
        }
        if flags & 8 != 0 {
            self.take(8)?;
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Ok(attributes)
    }
}

/// The next reply and its number.
pub fn reply(input: &mut impl Read) -> io::Result<(u32, Reply)> {
    let packet = receive(input)?;
    let (kind, rest) = packet.split_first().ok_or_else(|| broken("an empty packet"))?;
    let mut fields = Fields(rest);
    let id = fields.number()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let reply = match kind {
        101 => {
            let code = fields.number()?;
            // Old servers say nothing more.
            Reply::Status(code, fields.text().map(text).unwrap_or_default())
        }
        102 => Reply::Handle(fields.text()?.to_vec()),
        103 => Reply::Data(fields.text()?.to_vec()),
        104 => {
            let mut names = Vec::new();
            for _ in 0..fields.number()? {
                let name = text(fields.text()?);
                fields.text()?;
                names.push(Named { name, attributes: fields.attributes()? });
            }
            Reply::Names(names)
        }
        105 => Reply::Attributes(fields.attributes()?),
        _ => return Err(broken("an unknown reply")),
    };
    Ok((id, reply))
}
