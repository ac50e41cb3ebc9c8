//! What a disk may hold after the power was cut: from a trace of changes and flushes, one image after another.
//!
//! The rules are those of POSIX, no kinder: what was written to a file before a flush of it began is there once that flush
//! has ended; of what came later, any part may be, in any order, torn at sectors of 512 bytes. A name in a folder is there
//! for sure once the folder was flushed; of later changes of names, any number of the first ones may be (they are written
//! through one journal).

use crate::machine::Random;
use std::collections::BTreeMap;
use std::path::Path;

const HEADER: usize = 32;
const SECTOR: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Write,
    Truncate,
    FlushBegin,
    FlushEnd,
    Rename,
    Unlink,
    Create,
    Folder,
}

#[derive(Debug)]
pub struct Record {
    pub kind: Kind,
    path: String,
    other: String,
    /// Into the file; the new length; who flushes.
    offset: i64,
    data: Vec<u8>,
    /// Where it ends in the trace.
    pub end: u64,
}

/// All whole records.
pub fn records(trace: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    let mut at = 0;
    let number = |at: usize| u32::from_ne_bytes(trace[at..at + 4].try_into().unwrap()) as usize;
    while at + HEADER <= trace.len() {
        let kind = match number(at) {
            1 => Kind::Write,
            2 => Kind::Truncate,
            3 => Kind::FlushBegin,
            4 => Kind::FlushEnd,
            5 => Kind::Rename,
            6 => Kind::Unlink,
            7 => Kind::Create,
            8 => Kind::Folder,
            other => panic!("{other} is no record, at {at}"),
        };
        let (path, other, data) = (number(at + 8), number(at + 12), number(at + 16));
        let offset = i64::from_ne_bytes(trace[at + 24..at + 32].try_into().unwrap());
        let mut next = at + HEADER;
        if next + path + other + data > trace.len() {
            break;
        }
        let mut take = |length: usize| {
            next += length;
            trace[next - length..next].to_vec()
        };
        let (path, other, data) = (take(path), take(other), take(data));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        found.push(Record { kind, path: text(path), other: text(other), offset, data, end: next as u64 });
        at = next;
    }
    found
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Length(length) => bytes.resize(*length, 0),
            Change::Write(offset, data) => put(bytes, *offset, data),
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

#[derive(Debug, Clone)]
enum Name {
    Link(String, usize),
    Gone(String),
    Moved(String, String),
}

impl Name {
    fn folder(&self) -> &str {
        let (Name::Link(path, _) | Name::Gone(path) | Name::Moved(_, path)) = self;
        path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Name::Link(path, file) => {
                names.insert(path.clone(), *file);
            }
            Name::Gone(path) => {
                names.remove(path);
            }
            Name::Moved(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    /// By number of record, in their order.
    pending: Vec<(usize, Change)>,
}

/// How much of what was not flushed is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Everything,
    /// Nothing: only the program died.
    Nothing,
    /// Some of it, torn, by this seed.
    Some(u64),
}

/// A disk on which the trace is being played.
#[derive(Default)]
pub struct Player {
    inodes: Vec<Inode>,
    /// As the program sees them, and as they are on the disk for sure.
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<(usize, Name)>,
    /// Flushes that have begun: of which path and by whom, and at which record.
    begun: BTreeMap<(String, i64), usize>,
    number: usize,
}

impl Player {
    /// Begins with what lies in the folder, all of it durable.
    pub fn of(folder: &Path) -> Player {
        let mut player = Player::default();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let durable = std::fs::read(entry.path()).unwrap();
                player.inodes.push(Inode { durable, pending: Vec::new() });
                let (name, file) = (entry.file_name().into_string().unwrap(), player.inodes.len() - 1);
                player.names.insert(name.clone(), file);
                player.durable.insert(name, file);
            }
        }
        player
    }

    fn rename(&mut self, name: Name) {
        name.apply(&mut self.names);
        self.pending.push((self.number, name));
    }

    fn change(&mut self, path: &str, change: Change) {
        // A file without a name any more is nobody's.
        if let Some(file) = self.names.get(path) {
            self.inodes[*file].pending.push((self.number, change));
        }
    }

    pub fn play(&mut self, record: &Record) {
        self.number += 1;
        let path = record.path.as_str();
        let offset = || usize::try_from(record.offset).unwrap();
        match record.kind {
            Kind::Write => self.change(path, Change::Write(offset(), record.data.clone())),
            Kind::Truncate => self.change(path, Change::Length(offset())),
            Kind::Create if self.names.contains_key(path) => {}
            Kind::Create => {
                self.inodes.push(Inode::default());
                self.rename(Name::Link(path.to_owned(), self.inodes.len() - 1));
            }
            Kind::Unlink => self.rename(Name::Gone(path.to_owned())),
            Kind::Rename => self.rename(Name::Moved(path.to_owned(), record.other.clone())),
            Kind::Folder => {}
            Kind::FlushBegin => {
                self.begun.insert((path.to_owned(), record.offset), self.number);
            }
            Kind::FlushEnd => {
                let until = self.begun.remove(&(path.to_owned(), record.offset)).unwrap();
                self.flush(path, until);
            }
        }
    }

    fn flush(&mut self, path: &str, until: usize) {
        if let Some(file) = self.names.get(path) {
            let inode = &mut self.inodes[*file];
            let end = inode.pending.partition_point(|(number, _)| *number < until);
            for (_, change) in inode.pending.drain(..end) {
                change.apply(&mut inode.durable);
            }
            return;
        }
        let folder = path.to_owned();
        let (done, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|(number, name)| *number < until && name.folder() == folder);
        done.iter().for_each(|(_, name)| name.apply(&mut self.durable));
        self.pending = left;
    }

    /// Writes what the disk may hold now. Files that the database makes anew in any case are left out.
    pub fn image(&self, loss: Loss, folder: &Path) {
        let mut random = Random(match loss {
            Loss::Some(seed) => seed | 1,
            Loss::Everything | Loss::Nothing => 1,
        });
        let mut names = self.durable.clone();
        let count = match loss {
            Loss::Everything => 0,
            Loss::Nothing => self.pending.len(),
            Loss::Some(_) => random.next(self.pending.len() as u64 + 1) as usize,
        };
        self.pending[..count].iter().for_each(|(_, name)| name.apply(&mut names));
        for (name, file) in names {
            if name.ends_with("-shm") || name.ends_with(".sock") || name.ends_with(".lock") {
                continue;
            }
            let inode = &self.inodes[file];
            let mut bytes = inode.durable.clone();
            for (_, change) in &inode.pending {
                match (loss, change) {
                    (Loss::Everything, _) => {}
                    (Loss::Nothing, change) => change.apply(&mut bytes),
                    (Loss::Some(_), Change::Write(offset, data)) => {
                        torn(&mut random, &mut bytes, *offset, data)
                    }
                    (Loss::Some(_), change) if random.next(2) == 0 => change.apply(&mut bytes),
                    (Loss::Some(_), _) => {}
                }
            }
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// All, nothing, or some sectors of it.
fn torn(random: &mut Random, bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    match random.next(4) {
        0 => {}
        1 | 2 => put(bytes, offset, data),
        _ => {
            let mut at = 0;
            while at < data.len() {
                // Up to the next edge of a sector of the file.
                let end = (at + SECTOR - (offset + at) % SECTOR).min(data.len());
                if random.next(2) == 0 {
                    put(bytes, offset + at, &data[at..end]);
                }
                at = end;
            }
        }
    }
}
