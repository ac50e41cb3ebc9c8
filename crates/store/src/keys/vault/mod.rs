//! The keys that contents are sealed under: one for each patient, and one for what is no single patient's.
//!
//! A data key is 32 random bytes under a number. It is wrapped under the *tenant key*, that under the installation's file
//! key (see [super::Keyring]). Keys are made ahead in blocks, durable before the first of a block is given out; which
//! patient has which number stands in the database (`patient_key`), in the transaction that first needs it. So a new
//! patient costs no commit of its own, and a key is always there before what is sealed under it.
//!
//! They do not lie in the database, because they must not lie in its backups: a key that is destroyed is gone from every
//! copy of the database, however old. Beside SQLite they are a [file](KeyFile) of their own, on PostgreSQL a schema of their own.
//!
//! **Invariant:** no key is destroyed but after the commit that says so; what was committed is made up for at the next start.
//! **Invariant:** a number is given to one patient only, also over restores of older databases.

mod cache;
mod file;
mod table;

pub use file::{newer, vault_file};
pub(crate) use table::CHANNEL;

use super::blind::Blind;
use super::envelope;
use crate::engine::Target;
use crate::{Error, Result, Secret32};
use cache::Cache;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use ring::hmac;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the key of what is no single patient's. It is never destroyed.
pub(crate) const SHARED: u64 = 0;
/// Data keys in memory, and patients whose number is: about 6 MB and 7 MB.
const CACHED_KEYS: usize = 50_000;
const CACHED_PATIENTS: usize = 50_000;
/// Keys made at once: few at first, as what is left over at a restart is wasted.
const FIRST_BLOCK: u64 = 16;
const LARGEST_BLOCK: u64 = 1024;
/// Bytes of a data key under the tenant key: nonce, key, tag.
const WRAPPED_BYTES: usize = 60;
/// Former tenant keys that may still be in use while another replaces them.
const TENANT_KEYS_MAX: usize = 3;

/// A patient as the key store knows her: a keyed hash of her id.
pub(crate) type Mark = [u8; 32];

/// A key to destroy, after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shred {
    pub key: u64,
    /// The patient as in `patient_key`.
    pub patient: Vec<u8>,
    pub at: Timestamp,
}

/// A key that was destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub key: u64,
    pub mark: Mark,
    pub at: Timestamp,
}

/// A tenant key and its generation.
struct Tenant {
    generation: u32,
    key: Secret32,
}

/// Where keys lie. Every call is durable when it returns.
trait Place: Send + Sync {
    /// Names the key store; bound into everything that is sealed under its keys.
    fn id(&self) -> [u8; 16];
    /// The key of this number, and perhaps neighbours; nothing under a number whose key is destroyed.
    /// Errors: [Error::KeysMissing] for a number that was never given.
    fn read(&self, key: u64) -> Result<Vec<(u64, Secret32)>>;
    /// Makes so many keys; their numbers ascend.
    fn make(&self, count: u64) -> Result<Vec<u64>>;
    /// Destroys keys; one that is destroyed already stays as it is.
    fn destroy(&self, keys: &[Erasure]) -> Result<()>;
    fn erasures(&self) -> Result<Vec<Erasure>>;
    /// Wraps every key under a new tenant key; how many. Reads go on meanwhile.
    fn rotate(&self) -> Result<u64>;
    /// Grows with every change.
    fn changes(&self) -> Result<u64>;
    /// All keys as they are, by number, for another place: `each` gets the key or the erasure.
    fn all(&self, each: &mut dyn FnMut(u64, Kept) -> Result<()>) -> Result<()>;
    /// Takes over the name and the keys of another place; only into one whose keys nothing uses. Numbers stay.
    fn adopt(&self, id: [u8; 16], keys: &mut dyn Iterator<Item = (u64, Kept)>) -> Result<()>;
}

/// What stands under a number.
enum Kept {
    Key(Secret32),
    Destroyed(Erasure),
}

/// What others are told of a key store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStoreState {
    /// The file beside an embedded database; `None` on PostgreSQL.
    pub file: Option<PathBuf>,
    /// Names the key store, hexadecimal.
    pub id: String,
    /// Grows with every change: keys were made, destroyed, or wrapped anew.
    pub changes: u64,
}

/// The keys, and what is known of them in memory. Without a file key there are none and contents are stored as they are.
pub(crate) struct Vault {
    place: Option<Box<dyn Place>>,
    /// There are keys, but not for this process.
    is_keyless: bool,
    file: Option<PathBuf>,
    keys: Mutex<Keys>,
    /// Committed rows of `patient_key`.
    patients: Mutex<Cache<Box<[u8]>, u64>>,
    pool: Mutex<Pool>,
    /// The database says which key store is its own.
    is_bound: AtomicBool,
    /// The database keeps values of people out of its tables: see [super::blind].
    is_blind: AtomicBool,
    values: RwLock<Option<Arc<Blind>>>,
}

struct Keys {
    cache: Cache<u64, Secret32>,
    /// Grows when keys are dropped, so that nobody puts back what was read before.
    epoch: u64,
}

struct Pool {
    /// Made, and given to nobody; the next one last.
    ready: Vec<u64>,
    block: u64,
}

impl Vault {
    fn new(place: Option<Box<dyn Place>>, file: Option<PathBuf>) -> Vault {
        Vault {
            place,
            is_keyless: false,
            file,
            keys: Mutex::new(Keys { cache: Cache::new(CACHED_KEYS), epoch: 0 }),
            patients: Mutex::new(Cache::new(CACHED_PATIENTS)),
            pool: Mutex::new(Pool { ready: Vec::new(), block: FIRST_BLOCK }),
            is_bound: AtomicBool::new(false),
            is_blind: AtomicBool::new(false),
            values: RwLock::new(None),
        }
    }

    pub fn none() -> Arc<Vault> {
        Arc::new(Vault::new(None, None))
    }

    /// Of a process that may look after the database and not into it.
    pub fn keyless() -> Arc<Vault> {
        Arc::new(Vault { is_keyless: true, ..Vault::new(None, None) })
    }

    /// Of the embedded database at `database`; the file is made if `may_make` and it is not there. `None` if it is not
    /// there and may not be made.
    pub fn of_file(database: &Path, files: &Secret32, may_make: bool) -> Result<Option<Arc<Vault>>> {
        let path = vault_file(database);
        let place = file::KeyFile::open(&path, files, may_make)?;
        Ok(place.map(|place| Arc::new(Vault::new(Some(Box::new(place)), Some(path)))))
    }

    /// Of a database on PostgreSQL. Blocks, off the runtime.
    pub fn of_table(target: &Target, files: &Secret32) -> Result<Arc<Vault>> {
        let place = table::KeyTable::open(target, files)?;
        Ok(Arc::new(Vault::new(Some(Box::new(place)), None)))
    }

    fn place(&self) -> Result<&dyn Place> {
        self.place.as_deref().ok_or_else(|| Error::KeysMissing("this program was given none".into()))
    }

    /// Whether contents are sealed.
    pub fn is_on(&self) -> bool {
        self.place.is_some() || self.is_keyless
    }

    /// Whether the keys are at hand.
    pub fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// Names the key store; zeroes without one.
    pub fn id(&self) -> [u8; 16] {
        self.place.as_ref().map_or([0; 16], |place| place.id())
    }

    /// [Vault::id], hexadecimal.
    pub fn name(&self) -> String {
        super::hex(&self.id())
    }

    pub fn state(&self) -> Result<Option<KeyStoreState>> {
        let Some(place) = &self.place else { return Ok(None) };
        let state = KeyStoreState { file: self.file.clone(), id: self.name(), changes: place.changes()? };
        Ok(Some(state))
    }

    /// A data key; `None` if it was destroyed.
    pub fn key(&self, number: u64) -> Result<Option<Secret32>> {
        let epoch = {
            let mut keys = self.keys.lock();
            if let Some(key) = keys.cache.get(&number) {
                return Ok(Some(key));
            }
            keys.epoch
        };
        let found = self.place()?.read(number)?;
        let mut keys = self.keys.lock();
        let is_fresh = keys.epoch == epoch;
        let mut wanted = None;
        for (found, key) in found {
            if found == number {
                wanted = Some(key.clone());
            }
            if is_fresh {
                keys.cache.put(found, key);
            }
        }
        Ok(wanted)
    }

    /// A key that is nobody's yet. One that is not used after all is wasted.
    pub fn take(&self) -> Result<u64> {
        let mut pool = self.pool.lock();
        if let Some(number) = pool.ready.pop() {
            return Ok(number);
        }
        let mut made = self.place()?.make(pool.block)?;
        made.reverse();
        pool.block = (pool.block * 2).min(LARGEST_BLOCK);
        pool.ready = made;
        pool.ready.pop().ok_or_else(|| Error::Corrupt("no data key was made".into()))
    }

    /// The patient's number as far as it is known here and committed.
    pub fn of_patient(&self, patient: &[u8]) -> Option<u64> {
        self.patients.lock().get(patient)
    }

    pub fn add_patients(&self, known: impl IntoIterator<Item = (Vec<u8>, u64)>) {
        let mut patients = self.patients.lock();
        for (patient, number) in known {
            patients.put(patient.into(), number);
        }
    }

    pub fn is_bound(&self) -> bool {
        self.is_bound.load(Ordering::Relaxed)
    }

    pub fn set_bound(&self) {
        self.is_bound.store(true, Ordering::Relaxed);
    }

    pub fn is_blind(&self) -> bool {
        self.is_blind.load(Ordering::Relaxed)
    }

    pub fn set_blind(&self) {
        self.is_blind.store(true, Ordering::Relaxed);
    }

    /// The keys of values if this database encrypts them.
    pub fn blind(&self) -> Result<Option<Arc<Blind>>> {
        if self.is_blind() { self.value_keys() } else { Ok(None) }
    }

    /// The keys of values; `None` without keys.
    pub fn value_keys(&self) -> Result<Option<Arc<Blind>>> {
        if self.place.is_none() {
            return Ok(None);
        }
        if let Some(keys) = &*self.values.read() {
            return Ok(Some(keys.clone()));
        }
        let cipher = Secret32::new(self.derived(b"uzima values\n", b"")?);
        let keys = Arc::new(Blind::new(&self.derived(b"uzima blind index\n", b"")?, &cipher)?);
        *self.values.write() = Some(keys.clone());
        Ok(Some(keys))
    }

    /// The patient as the key store writes her down.
    pub fn mark(&self, patient: &[u8]) -> Result<Mark> {
        self.derived(b"uzima erased patient\n", patient)
    }

    /// A keyed hash of `text` for one use, named by `label`; the same for ever, whatever keys are rotated.
    pub fn derived(&self, label: &[u8], text: &[u8]) -> Result<[u8; 32]> {
        let key = self.key(SHARED)?.ok_or_else(|| Error::KeysMissing("the shared data key".into()))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(label);
        context.update(text);
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        Ok(out)
    }

    /// Destroys these keys, here and on the disk; on PostgreSQL other servers hear of it.
    pub fn destroy(&self, shreds: &[Shred]) -> Result<()> {
        let mut erasures = Vec::with_capacity(shreds.len());
        for shred in shreds {
            if shred.key == SHARED {
                return Err(Error::Invalid("key"));
            }
            erasures.push(Erasure { key: shred.key, mark: self.mark(&shred.patient)?, at: shred.at });
        }
        for shred in shreds {
            self.patients.lock().remove(&*shred.patient);
        }
        let done = self.place()?.destroy(&erasures);
        self.forget(&erasures.iter().map(|erasure| erasure.key).collect::<Vec<_>>());
        done
    }

    /// Drops keys from memory.
    pub fn forget(&self, keys: &[u64]) {
        let mut held = self.keys.lock();
        held.epoch += 1;
        keys.iter().for_each(|key| held.cache.remove(key));
    }

    /// Drops everything from memory: what others changed may have been missed.
    pub fn forget_all(&self) {
        let mut held = self.keys.lock();
        held.epoch += 1;
        held.cache.clear();
        drop(held);
        self.patients.lock().clear();
    }

    pub fn erasures(&self) -> Result<Vec<Erasure>> {
        self.place()?.erasures()
    }

    /// Wraps all data keys under a new tenant key; how many there are.
    pub fn rotate(&self) -> Result<u64> {
        self.place()?.rotate()
    }

    /// Takes over all keys of `other`, for a database that is copied from its database.
    pub fn adopt(&self, other: &Vault) -> Result<()> {
        let mut all = Vec::new();
        other.place()?.all(&mut |number, kept| {
            all.push((number, kept));
            Ok(())
        })?;
        self.place()?.adopt(other.place()?.id(), &mut all.into_iter())?;
        self.forget_all();
        *self.values.write() = None;
        self.pool.lock().ready.clear();
        Ok(())
    }
}

fn wrap_place(id: &[u8; 16], number: u64, generation: u32) -> Vec<u8> {
    let mut place = b"uzima data key\n".to_vec();
    place.extend_from_slice(id);
    place.extend_from_slice(&number.to_be_bytes());
    place.extend_from_slice(&generation.to_be_bytes());
    place
}

fn wrap(id: &[u8; 16], number: u64, tenant: &Tenant, key: &Secret32) -> Result<Vec<u8>> {
    envelope::seal(&tenant.key, &wrap_place(id, number, tenant.generation), key.as_bytes())
        .map_err(|error| Error::Database(error.to_string()))
}

fn unwrap(id: &[u8; 16], number: u64, tenant: &Tenant, wrapped: &[u8]) -> Result<Secret32> {
    let key = envelope::open(&tenant.key, &wrap_place(id, number, tenant.generation), wrapped);
    let key = key.ok().and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.map(Secret32::new).ok_or_else(|| Error::Corrupt(format!("data key {number} does not open")))
}

fn tenant_place(id: &[u8; 16], generation: u32) -> Vec<u8> {
    let mut place = b"uzima tenant key\n".to_vec();
    place.extend_from_slice(id);
    place.extend_from_slice(&generation.to_be_bytes());
    place
}

fn wrap_tenant(id: &[u8; 16], files: &Secret32, tenant: &Tenant) -> Result<Vec<u8>> {
    envelope::seal(files, &tenant_place(id, tenant.generation), tenant.key.as_bytes())
        .map_err(|error| Error::Database(error.to_string()))
}

/// Errors: [Error::WrongKey].
fn unwrap_tenant(id: &[u8; 16], files: &Secret32, generation: u32, wrapped: &[u8]) -> Result<Tenant> {
    let key = envelope::open(files, &tenant_place(id, generation), wrapped);
    let key = key.ok().and_then(|key| <[u8; 32]>::try_from(key).ok()).ok_or(Error::WrongKey)?;
    Ok(Tenant { generation, key: Secret32::new(key) })
}
