//! The key store beside an embedded database: a file of records of 64 bytes.
//!
//! | Records | What |
//! |---|---|
//! | 0 | magic, name, format, changes, destroyed keys |
//! | 1 to 3 | tenant keys: state, generation, the key under the file key |
//! | 4 | reserved |
//! | 5 and on | data key 0, 1, …: state, generation of the tenant key, the key under it; or when it was destroyed and whose it was |
//!
//! A record lies in one sector, and each key authenticates: whatever a power cut leaves half written was not given out yet.
//! Keys are added at the end and destroyed in place. A rotation writes another file and renames it, while readers go on
//! with the one they have.

use super::{
    Erasure, Kept, Place, SHARED, TENANT_KEYS_MAX, Tenant, WRAPPED_BYTES, unwrap, unwrap_tenant, wrap,
    wrap_tenant,
};
use crate::{Error, Result, Secret32};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const RECORD: usize = 64;
const MAGIC: &[u8; 8] = b"UZIMAKS\n";
const FORMAT: u32 = 1;
/// The record of data key 0.
const FIRST: u64 = 5;

const EMPTY: u8 = 0;
const KEY: u8 = 1;
const DESTROYED: u8 = 2;

/// The key store of the embedded database at `database`.
pub fn vault_file(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".keys");
    name.into()
}

/// Of two key stores (the bytes of their files; 64 are enough) the one that has seen more: true if it is `a`.
/// Errors: [Error::Corrupt] if one is none, [Error::Invalid] if they are of two databases.
pub fn newer(a: &[u8], b: &[u8]) -> Result<bool> {
    let (a, b) = (Header::read(a)?, Header::read(b)?);
    if a.id != b.id {
        return Err(Error::Invalid("key store: of another database"));
    }
    Ok(a.changes > b.changes)
}

#[derive(Debug, Clone, Copy)]
struct Header {
    id: [u8; 16],
    changes: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header> {
        let broken = || Error::Corrupt("the key store's header".into());
        let bytes = bytes.get(..RECORD).ok_or_else(broken)?;
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[8..24]);
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        if &bytes[..8] != MAGIC || number(24) != u64::from(FORMAT) {
            return Err(broken());
        }
        Ok(Header { id, changes: number(32) })
    }

    fn bytes(&self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        out[..8].copy_from_slice(MAGIC);
        out[8..24].copy_from_slice(&self.id);
        out[24..32].copy_from_slice(&u64::from(FORMAT).to_le_bytes());
        out[32..40].copy_from_slice(&self.changes.to_le_bytes());
        out
    }
}

/// A file as it is open; another one after a rotation.
struct Opened {
    file: File,
    id: [u8; 16],
    tenants: Vec<Tenant>,
}

impl Opened {
    fn tenant(&self, generation: u32) -> Result<&Tenant> {
        let found = self.tenants.iter().find(|tenant| tenant.generation == generation);
        found.ok_or_else(|| Error::Corrupt(format!("tenant key {generation}")))
    }
    fn newest(&self) -> Result<&Tenant> {
        let newest = self.tenants.iter().max_by_key(|tenant| tenant.generation);
        newest.ok_or_else(|| Error::Corrupt("the key store has no tenant key".into()))
    }
}

pub(super) struct KeyFile {
    path: PathBuf,
    files: Secret32,
    opened: RwLock<Arc<Opened>>,
    /// Held by whoever changes the file.
    writer: Mutex<Writer>,
}

struct Writer {
    header: Header,
    /// Data keys there are, destroyed ones too.
    count: u64,
}

fn offset(number: u64) -> u64 {
    (FIRST + number) * RECORD as u64
}

fn key_record(id: &[u8; 16], number: u64, tenant: &Tenant, key: &Secret32) -> Result<[u8; RECORD]> {
    sealed_record(tenant.generation, &wrap(id, number, tenant, key)?)
}

fn sealed_record(generation: u32, sealed: &[u8]) -> Result<[u8; RECORD]> {
    if sealed.len() != WRAPPED_BYTES || generation >= 1 << 24 {
        return Err(Error::Corrupt("a wrapped key".into()));
    }
    let mut record = [0; RECORD];
    record[0] = KEY;
    record[1..4].copy_from_slice(&generation.to_le_bytes()[..3]);
    record[4..].copy_from_slice(sealed);
    Ok(record)
}

fn generation(record: &[u8]) -> u32 {
    u32::from_le_bytes([record[1], record[2], record[3], 0])
}

fn destroyed_record(erasure: &Erasure) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[0] = DESTROYED;
    record[4..12].copy_from_slice(&erasure.at.as_microsecond().to_le_bytes());
    record[12..44].copy_from_slice(&erasure.mark);
    record
}

fn erasure(number: u64, record: &[u8]) -> Option<Erasure> {
    if record[0] != DESTROYED {
        return None;
    }
    let (mut at, mut mark) = ([0; 8], [0; 32]);
    at.copy_from_slice(&record[4..12]);
    mark.copy_from_slice(&record[12..44]);
    let at = Timestamp::from_microsecond(i64::from_le_bytes(at)).ok()?;
    Some(Erasure { key: number, mark, at })
}

impl KeyFile {
    /// `None` if it is not there and may not be made. Errors: [Error::WrongKey]; of the disk.
    pub fn open(path: &Path, files: &Secret32, may_make: bool) -> Result<Option<KeyFile>> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_make => {
                Self::create(path, files)?;
                OpenOptions::new().read(true).write(true).open(path).map_err(|e| fault(path, &e))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(path, &error)),
        };
        let mut head = [0; RECORD * FIRST as usize];
        file.read_exact_at(&mut head, 0).map_err(|e| fault(path, &e))?;
        let header = Header::read(&head)?;
        let mut tenants = Vec::new();
        for record in head.chunks_exact(RECORD).skip(1).take(TENANT_KEYS_MAX) {
            if record[0] == KEY {
                tenants.push(unwrap_tenant(&header.id, files, generation(record), &record[4..])?);
            }
        }
        let length = file.metadata().map_err(|e| fault(path, &e))?.len();
        let count = (length / RECORD as u64).saturating_sub(FIRST);
        Ok(Some(KeyFile {
            path: path.to_owned(),
            files: files.clone(),
            opened: RwLock::new(Arc::new(Opened { file, id: header.id, tenants })),
            writer: Mutex::new(Writer { header, count }),
        }))
    }

    /// A new key store with a tenant key and data key 0.
    fn create(path: &Path, files: &Secret32) -> Result<()> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| Error::Database(e.to_string()))?;
        let tenant = Tenant { generation: 1, key: Secret32::random()? };
        let mut keys = std::iter::once((SHARED, Kept::Key(Secret32::random()?)));
        write_file(path, files, Header { id, changes: 1 }, &tenant, &mut keys)
    }

    fn now(&self) -> Arc<Opened> {
        self.opened.read().clone()
    }

    /// Every record of data keys, in order.
    fn records(&self, file: &File, count: u64, each: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        const AT_ONCE: u64 = 4096;
        let mut buffer = vec![0; RECORD * AT_ONCE as usize];
        let mut number = 0;
        while number < count {
            let now = AT_ONCE.min(count - number);
            let bytes = &mut buffer[..RECORD * now as usize];
            file.read_exact_at(bytes, offset(number)).map_err(|e| fault(&self.path, &e))?;
            for record in bytes.chunks_exact(RECORD) {
                each(number, record)?;
                number += 1;
            }
        }
        Ok(())
    }

    fn change(&self, writer: &mut Writer, opened: &Opened) -> Result<()> {
        writer.header.changes += 1;
        let written = opened.file.write_all_at(&writer.header.bytes(), 0);
        written.and_then(|()| opened.file.sync_data()).map_err(|e| fault(&self.path, &e))
    }

    /// Writes the whole file anew and takes it.
    fn replace(
        &self,
        writer: &mut Writer,
        header: Header,
        tenant: Tenant,
        keys: &mut dyn Iterator<Item = (u64, Kept)>,
    ) -> Result<()> {
        write_file(&self.path, &self.files, header, &tenant, keys)?;
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = file.map_err(|e| fault(&self.path, &e))?;
        let length = file.metadata().map_err(|e| fault(&self.path, &e))?.len();
        *writer = Writer { header, count: (length / RECORD as u64).saturating_sub(FIRST) };
        *self.opened.write() = Arc::new(Opened { file, id: header.id, tenants: vec![tenant] });
        Ok(())
    }
}

/// A whole key store, renamed into its place when it is durable. Numbers that `keys` leaves out stay empty.
fn write_file(
    path: &Path,
    files: &Secret32,
    header: Header,
    tenant: &Tenant,
    keys: &mut dyn Iterator<Item = (u64, Kept)>,
) -> Result<()> {
    let mut bytes = header.bytes().to_vec();
    let sealed = wrap_tenant(&header.id, files, tenant)?;
    bytes.extend_from_slice(&sealed_record(tenant.generation, &sealed)?);
    bytes.resize(RECORD * FIRST as usize, 0);
    for (number, kept) in keys {
        let at = usize::try_from(offset(number)).map_err(|_| Error::Corrupt("data key".into()))?;
        if bytes.len() < at {
            bytes.resize(at, 0);
        }
        let record = match &kept {
            Kept::Key(key) => key_record(&header.id, number, tenant, key)?,
            Kept::Destroyed(erasure) => destroyed_record(erasure),
        };
        if bytes.len() == at {
            bytes.extend_from_slice(&record);
        } else {
            bytes[at..at + RECORD].copy_from_slice(&record);
        }
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = (|| {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    })();
    written.map_err(|error| fault(path, &error))
}

fn fault(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::DiskFull,
        _ => Error::Database(format!("the key store {}: {error}", path.display())),
    }
}

impl Place for KeyFile {
    fn id(&self) -> [u8; 16] {
        self.now().id
    }

    fn read(&self, key: u64) -> Result<Vec<(u64, Secret32)>> {
        let opened = self.now();
        let mut record = [0; RECORD];
        match opened.file.read_exact_at(&mut record, offset(key)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => record = [EMPTY; RECORD],
            Err(error) => return Err(fault(&self.path, &error)),
        }
        match record[0] {
            KEY => {
                let tenant = opened.tenant(generation(&record))?;
                Ok(vec![(key, unwrap(&opened.id, key, tenant, &record[4..])?)])
            }
            DESTROYED => Ok(Vec::new()),
            _ => Err(Error::KeysMissing(format!("data key {key} is not in {}", self.path.display()))),
        }
    }

    fn make(&self, count: u64) -> Result<Vec<u64>> {
        let mut writer = self.writer.lock();
        let opened = self.now();
        let tenant = opened.newest()?;
        let numbers: Vec<u64> = (writer.count..writer.count + count).collect();
        let mut bytes = Vec::with_capacity(RECORD * numbers.len());
        for number in &numbers {
            let record = key_record(&writer.header.id, *number, tenant, &Secret32::random()?)?;
            bytes.extend_from_slice(&record);
        }
        let written = opened.file.write_all_at(&bytes, offset(writer.count));
        written.map_err(|e| fault(&self.path, &e))?;
        self.change(&mut writer, &opened)?;
        writer.count += count;
        Ok(numbers)
    }

    fn destroy(&self, keys: &[Erasure]) -> Result<()> {
        let mut writer = self.writer.lock();
        let opened = self.now();
        let mut is_changed = false;
        for erasure in keys {
            if erasure.key >= writer.count {
                return Err(Error::Corrupt(format!("data key {} was never made", erasure.key)));
            }
            let mut state = [EMPTY];
            let read = opened.file.read_exact_at(&mut state, offset(erasure.key));
            read.map_err(|e| fault(&self.path, &e))?;
            if state[0] == DESTROYED {
                continue;
            }
            let written = opened.file.write_all_at(&destroyed_record(erasure), offset(erasure.key));
            written.map_err(|e| fault(&self.path, &e))?;
            is_changed = true;
        }
        if is_changed { self.change(&mut writer, &opened) } else { Ok(()) }
    }

    fn erasures(&self) -> Result<Vec<Erasure>> {
        let (opened, count) = (self.now(), self.writer.lock().count);
        let mut found = Vec::new();
        self.records(&opened.file, count, &mut |number, record| {
            found.extend(erasure(number, record));
            Ok(())
        })?;
        Ok(found)
    }

    fn rotate(&self) -> Result<u64> {
        // New keys wait for it; reads use the old file until the new one is in its place.
        let mut writer = self.writer.lock();
        let opened = self.now();
        let mut all = Vec::new();
        let mut keys = 0;
        self.records(&opened.file, writer.count, &mut |number, record| {
            if record[0] == KEY {
                let tenant = opened.tenant(generation(record))?;
                all.push((number, Kept::Key(unwrap(&writer.header.id, number, tenant, &record[4..])?)));
                keys += 1;
            }
            all.extend(erasure(number, record).map(|erasure| (number, Kept::Destroyed(erasure))));
            Ok(())
        })?;
        let tenant = Tenant { generation: opened.newest()?.generation + 1, key: Secret32::random()? };
        let header = Header { changes: writer.header.changes + 1, ..writer.header };
        self.replace(&mut writer, header, tenant, &mut all.into_iter())?;
        Ok(keys)
    }

    fn changes(&self) -> Result<u64> {
        Ok(self.writer.lock().header.changes)
    }

    fn all(&self, each: &mut dyn FnMut(u64, Kept) -> Result<()>) -> Result<()> {
        let writer = self.writer.lock();
        let opened = self.now();
        self.records(&opened.file, writer.count, &mut |number, record| {
            if record[0] == KEY {
                let tenant = opened.tenant(generation(record))?;
                each(number, Kept::Key(unwrap(&writer.header.id, number, tenant, &record[4..])?))?;
            }
            erasure(number, record).map_or(Ok(()), |erasure| each(number, Kept::Destroyed(erasure)))
        })
    }

    fn adopt(&self, id: [u8; 16], keys: &mut dyn Iterator<Item = (u64, Kept)>) -> Result<()> {
        let mut writer = self.writer.lock();
        let tenant = Tenant { generation: 1, key: Secret32::random()? };
        let header = Header { id, changes: writer.header.changes + 1 };
        self.replace(&mut writer, header, tenant, keys)
    }
}
