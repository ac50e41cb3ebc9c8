//! The keyring: a file with the installation's keys, once per key-encryption key.

use super::provider::{kek_id, sync_folder, write_whole};
use super::{KeyError, KeyProvider, disk, envelope, from_hex, hex};
use crate::Secret32;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
/// Slots of one keyring: the one in use, and those that rotations left.
const SLOTS_MAX: usize = 8;
/// Former keys of the database that old backups need.
const RETIRED_MAX: usize = 16;
/// Bytes of a keyring's file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The keys themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Of the embedded database (SQLCipher).
    pub database: Secret32,
    /// Of the files in the data folder, and of what the database seals once more.
    pub files: Secret32,
    /// The database is being rewritten to this one: one of the two opens it.
    pub next: Option<Secret32>,
    /// Former keys of the database, newest first; backups from their time need them.
    pub retired: Vec<Retired>,
    /// The database's key once lay in a key file as it is, from before there were keyrings: whoever has a copy of that
    /// file can open the database until its key is changed.
    pub was_bare: bool,
    /// When the database got its key.
    pub since: Timestamp,
}

/// A key that the database no longer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    pub key: Secret32,
    pub until: Timestamp,
}

impl Keys {
    /// New random ones. As long as the database has its first key, the files have the same, so that one key in an envelope
    /// (or under a backup's passphrase) brings everything back. Errors: [KeyError::Cryptography].
    pub fn random(now: Timestamp) -> Result<Keys, KeyError> {
        let key = Secret32::random().map_err(|_| KeyError::Cryptography)?;
        Ok(Keys { was_bare: false, ..Keys::bare(key, now) })
    }
    /// The key of an installation without a keyring.
    pub fn bare(key: Secret32, now: Timestamp) -> Keys {
        Keys {
            database: key.clone(),
            files: key,
            next: None,
            retired: Vec::new(),
            was_bare: true,
            since: now,
        }
    }
    /// Makes `next` the database's key.
    pub fn settle(&mut self, now: Timestamp) {
        if let Some(next) = self.next.take() {
            let former = std::mem::replace(&mut self.database, next);
            self.retired.insert(0, Retired { key: former, until: now });
            self.retired.truncate(RETIRED_MAX);
            self.was_bare = false;
            self.since = now;
        }
    }
}

/// What is told of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Names the KEK without telling it.
    pub id: String,
    /// As [KeyProvider::kind].
    pub kind: String,
    pub made: Timestamp,
    /// This one was opened.
    pub is_current: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    slots: Vec<Slot>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    id: String,
    kind: String,
    made: Timestamp,
    /// What the provider needs to find the KEK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    /// [Content] under the KEK, hexadecimal.
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    database: String,
    files: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<Former>,
    #[serde(default)]
    was_bare: bool,
    since: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Former {
    key: String,
    until: Timestamp,
}

/// An opened keyring.
#[derive(Clone)]
pub struct Keyring {
    path: PathBuf,
    /// What the file held when it was read.
    bytes: Vec<u8>,
    stored: Stored,
    current: String,
    keys: Keys,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("path", &self.path)
            .field("slot", &self.current)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads the file and opens the slot of this provider; `None` if there is no file.
    /// Errors: [KeyError::NoSlot], [KeyError::Damaged], of the provider, of the disk.
    pub fn open(path: &Path, provider: &dyn KeyProvider) -> Result<Option<Keyring>, KeyError> {
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk(format!("cannot read the keyring {}", path.display()))(error)),
        };
        let damaged = |text: &str| KeyError::Damaged { path: path.to_owned(), text: text.to_owned() };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
        if stored.format != FORMAT || stored.slots.len() > SLOTS_MAX {
            return Err(damaged("it is of another format; is this an older program?"));
        }
        let mut refused = None;
        for slot in &stored.slots {
            let kek = match provider.kek(slot.kept.as_deref()) {
                Ok(Some(kek)) => kek,
                Ok(None) => continue,
                // A service may know one slot's key and no longer another's.
                Err(error) => {
                    refused = Some(error);
                    continue;
                }
            };
            if kek_id(&kek) != slot.id {
                continue;
            }
            let keys = unlock(slot, &kek).ok_or_else(|| damaged("its slot does not open"))?;
            let current = slot.id.clone();
            return Ok(Some(Keyring { path: path.to_owned(), bytes, stored, current, keys }));
        }
        let by = format!("{} {}", provider.kind(), provider.name());
        Err(refused.unwrap_or(KeyError::NoSlot { path: path.to_owned(), by }))
    }

    /// A new file with one slot; if somebody else made one first, theirs. Errors: of the provider and the disk.
    pub fn make(
        path: &Path,
        provider: &dyn KeyProvider,
        keys: Keys,
        now: Timestamp,
    ) -> Result<Keyring, KeyError> {
        let (slot, current) = lock(provider, &keys, now)?;
        let stored = Stored { format: FORMAT, slots: vec![slot] };
        let bytes = text(&stored)?;
        // Written under another name and linked, so that it is whole when it appears and never replaces one.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.first", std::process::id()));
        let first = path.with_file_name(name);
        write_whole(&first, &bytes, "keyring")?;
        let linked = std::fs::hard_link(&first, path).and_then(|()| sync_folder(path));
        let _ = std::fs::remove_file(&first);
        match linked {
            Ok(()) => Ok(Keyring { path: path.to_owned(), bytes, stored, current, keys }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Keyring::open(path, provider)?.ok_or_else(|| KeyError::Changed(path.to_owned()))
            }
            Err(error) => Err(disk(format!("cannot write the keyring {}", path.display()))(error)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn slots(&self) -> Vec<SlotInfo> {
        let info = |slot: &Slot| SlotInfo {
            id: slot.id.clone(),
            kind: slot.kind.clone(),
            made: slot.made,
            is_current: slot.id == self.current,
        };
        self.stored.slots.iter().map(info).collect()
    }

    /// Adds a slot for another KEK, instead of an earlier one of the same. Its id. Errors: of the provider; the file was
    /// changed since it was read; of the disk.
    pub fn add(&mut self, provider: &dyn KeyProvider, now: Timestamp) -> Result<String, KeyError> {
        let (slot, id) = lock(provider, &self.keys, now)?;
        let mut stored = self.stored.clone();
        stored.slots.retain(|slot| slot.id != id);
        stored.slots.push(slot);
        if stored.slots.len() > SLOTS_MAX {
            return Err(KeyError::Unfinished(self.path.clone()));
        }
        self.save(stored)?;
        Ok(id)
    }

    /// Removes all slots but the one that was opened; how many. Errors: as for [Keyring::add].
    pub fn keep_current(&mut self) -> Result<usize, KeyError> {
        self.keep(&self.current.clone())
    }

    /// Removes all slots but this one, if it is there; how many. Errors: as for [Keyring::add].
    pub fn keep(&mut self, id: &str) -> Result<usize, KeyError> {
        let mut stored = self.stored.clone();
        if !stored.slots.iter().any(|slot| slot.id == id) {
            return Ok(0);
        }
        stored.slots.retain(|slot| slot.id == id);
        let removed = self.stored.slots.len() - stored.slots.len();
        if removed > 0 {
            self.save(stored)?;
        }
        self.current = id.to_owned();
        Ok(removed)
    }

    /// Puts other keys into the one slot. Errors: [KeyError::Unfinished] where there are more; as for [Keyring::add].
    pub fn set_keys(&mut self, keys: Keys, provider: &dyn KeyProvider) -> Result<(), KeyError> {
        let [slot] = self.stored.slots.as_slice() else {
            return Err(KeyError::Unfinished(self.path.clone()));
        };
        let by = format!("{} {}", provider.kind(), provider.name());
        let kek = provider
            .kek(slot.kept.as_deref())?
            .filter(|kek| kek_id(kek) == slot.id)
            .ok_or_else(|| KeyError::NoSlot { path: self.path.clone(), by })?;
        let mut slot = slot.clone();
        slot.sealed = sealed(&kek, &slot.id, &keys)?;
        self.save(Stored { format: FORMAT, slots: vec![slot] })?;
        self.keys = keys;
        Ok(())
    }

    fn save(&mut self, stored: Stored) -> Result<(), KeyError> {
        let unchanged = read(&self.path).is_ok_and(|bytes| bytes == self.bytes);
        if !unchanged {
            return Err(KeyError::Changed(self.path.clone()));
        }
        let bytes = text(&stored)?;
        write_whole(&self.path, &bytes, "keyring")?;
        self.bytes = bytes;
        self.stored = stored;
        Ok(())
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(stored: &Stored) -> Result<Vec<u8>, KeyError> {
    let mut text = serde_json::to_vec_pretty(stored).map_err(|_| KeyError::Cryptography)?;
    text.push(b'\n');
    Ok(text)
}

fn place(id: &str) -> Vec<u8> {
    format!("uzima keyring {FORMAT}\n{id}").into_bytes()
}

fn lock(provider: &dyn KeyProvider, keys: &Keys, now: Timestamp) -> Result<(Slot, String), KeyError> {
    let (kek, kept) = provider.new_kek()?;
    let id = kek_id(&kek);
    let sealed = sealed(&kek, &id, keys)?;
    Ok((Slot { id: id.clone(), kind: provider.kind().to_owned(), made: now, kept, sealed }, id))
}

fn sealed(kek: &Secret32, id: &str, keys: &Keys) -> Result<String, KeyError> {
    let retired = keys.retired.iter().map(|r| Former { key: r.key.to_hex(), until: r.until }).collect();
    let content = Content {
        database: keys.database.to_hex(),
        files: keys.files.to_hex(),
        next: keys.next.as_ref().map(Secret32::to_hex),
        retired,
        was_bare: keys.was_bare,
        since: keys.since,
    };
    let text = serde_json::to_vec(&content).map_err(|_| KeyError::Cryptography)?;
    Ok(hex(&envelope::seal(kek, &place(id), &text)?))
}

fn unlock(slot: &Slot, kek: &Secret32) -> Option<Keys> {
    let text = envelope::open(kek, &place(&slot.id), &from_hex(&slot.sealed)?).ok()?;
    let content: Content = serde_json::from_slice(&text).ok()?;
    let key = |text: &str| Secret32::from_hex(text).ok();
    let mut retired = Vec::new();
    for former in &content.retired {
        retired.push(Retired { key: key(&former.key)?, until: former.until });
    }
    Some(Keys {
        database: key(&content.database)?,
        files: key(&content.files)?,
        next: match &content.next {
            Some(next) => Some(key(next)?),
            None => None,
        },
        retired,
        was_bare: content.was_bare,
        since: content.since,
    })
}

#[cfg(test)]
mod tests {
    use super::super::LocalKey;
    use super::*;

    fn local(byte: u8) -> LocalKey {
        LocalKey::of_text("test", &hex(&[byte; 32])).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-22T08:00:00Z".parse().unwrap()
    }

    #[test]
    fn rotation_adds_a_slot_and_removes_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.keyring");
        assert!(Keyring::open(&path, &local(1)).unwrap().is_none());
        let keys = Keys::random(now()).unwrap();
        let mut ring = Keyring::make(&path, &local(1), keys.clone(), now()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&keys.database.to_hex()) && !text.contains(&hex(&[1; 32])));
        assert!(matches!(Keyring::open(&path, &local(2)), Err(KeyError::NoSlot { .. })));

        let id = ring.add(&local(2), now()).unwrap();
        // Both open it: whichever key is in the file when the machine stops.
        for byte in [1, 2] {
            assert_eq!(Keyring::open(&path, &local(byte)).unwrap().unwrap().keys(), &keys, "{byte}");
        }
        assert!(matches!(ring.set_keys(keys.clone(), &local(1)), Err(KeyError::Unfinished(_))));
        let mut ring = Keyring::open(&path, &local(2)).unwrap().unwrap();
        assert_eq!(
            ring.slots().iter().filter(|slot| slot.is_current).map(|s| &s.id).collect::<Vec<_>>(),
            [&id]
        );
        assert_eq!(ring.keep_current().unwrap(), 1);
        assert_eq!(ring.keep_current().unwrap(), 0);
        assert!(Keyring::open(&path, &local(1)).is_err(), "the old key opens nothing");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn the_first_to_make_it_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.keyring");
        let first = Keyring::make(&path, &local(1), Keys::random(now()).unwrap(), now()).unwrap();
        let second = Keyring::make(&path, &local(1), Keys::random(now()).unwrap(), now()).unwrap();
        assert_eq!(first.keys(), second.keys());
        let mut late = first.clone();
        let mut quick = second;
        quick.add(&local(3), now()).unwrap();
        assert!(matches!(late.add(&local(4), now()), Err(KeyError::Changed(_))));
    }

    #[test]
    fn a_new_key_of_the_database_retires_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.keyring");
        let first = Secret32::new([9; 32]);
        let mut ring = Keyring::make(&path, &local(1), Keys::bare(first.clone(), now()), now()).unwrap();
        let mut keys = ring.keys().clone();
        keys.next = Some(Secret32::new([8; 32]));
        ring.set_keys(keys.clone(), &local(1)).unwrap();
        assert_eq!(Keyring::open(&path, &local(1)).unwrap().unwrap().keys(), &keys);
        keys.settle(now());
        ring.set_keys(keys, &local(1)).unwrap();
        let ring = Keyring::open(&path, &local(1)).unwrap().unwrap();
        assert_eq!(ring.keys().database, Secret32::new([8; 32]));
        assert_eq!((&ring.keys().files, ring.keys().was_bare), (&first, false));
        assert_eq!(ring.keys().retired, [Retired { key: first, until: now() }]);
        assert!(!format!("{ring:?}{:?}", ring.keys()).contains("0808"));
    }

    #[test]
    fn a_damaged_keyring_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.keyring");
        Keyring::make(&path, &local(1), Keys::random(now()).unwrap(), now()).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let at = whole.find("sealed").unwrap() + 40;
        let digit = if &whole[at..=at] == "0" { "1" } else { "0" };
        let flipped = format!("{}{digit}{}", &whole[..at], &whole[at + 1..]);
        for text in
            [&whole[..whole.len() / 2], &flipped, "{}", &whole.replace("\"format\": 1", "\"format\": 9")]
        {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Keyring::open(&path, &local(1)), Err(KeyError::Damaged { .. })), "{text}");
        }
    }
}
