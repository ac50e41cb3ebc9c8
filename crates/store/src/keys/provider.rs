//! Where a key-encryption key comes from.

use super::{KeyError, disk, hex};
use crate::Secret32;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A key file is 65 bytes; more is something else.
const FILE_BYTES_MAX: u64 = 4096;

/// Gives the KEK of a slot.
pub trait KeyProvider: Send + Sync {
    /// `file`, `environment`, `credential` or `program`.
    fn kind(&self) -> &'static str;
    /// For people: which file, variable or program.
    fn name(&self) -> String;
    /// The KEK for a new slot, and what the slot must keep so that the provider finds it again; `None` where it is always
    /// the same. Errors: of the provider.
    fn new_kek(&self) -> Result<(Secret32, Option<String>), KeyError>;
    /// The KEK of a slot that keeps this; `Ok(None)` if such a slot is not this provider's. Errors: of the provider.
    fn kek(&self, kept: Option<&str>) -> Result<Option<Secret32>, KeyError>;
}

/// A KEK that is at hand.
#[derive(Debug)]
pub struct LocalKey {
    kind: &'static str,
    name: String,
    key: Secret32,
}

impl LocalKey {
    /// From a file of 64 hexadecimal digits that only its owner may read. Errors: [KeyError::Missing],
    /// [KeyError::Exposed], [KeyError::NoKey], [KeyError::Disk].
    pub fn of_file(path: &Path) -> Result<LocalKey, KeyError> {
        let name = path.display().to_string();
        Ok(LocalKey { kind: "file", key: read(path, 0o077)?, name })
    }
    /// A key that will be put into this file.
    pub fn for_file(path: &Path, key: Secret32) -> LocalKey {
        LocalKey { kind: "file", name: path.display().to_string(), key }
    }
    /// From a credential that systemd put into the folder `$CREDENTIALS_DIRECTORY` (`LoadCredential=`,
    /// `LoadCredentialEncrypted=`). The folder is the service's own, so a group may be let in there.
    /// Errors: as for files.
    pub fn of_credential(folder: &Path, name: &str) -> Result<LocalKey, KeyError> {
        Ok(LocalKey { kind: "credential", key: read(&folder.join(name), 0o007)?, name: name.to_owned() })
    }
    /// From the environment or the configuration; `name` says which variable. Errors: [KeyError::NoKey].
    pub fn of_text(name: &str, text: &str) -> Result<LocalKey, KeyError> {
        let key = Secret32::from_hex(text).map_err(|_| KeyError::NoKey(name.to_owned()))?;
        Ok(LocalKey { kind: "environment", name: name.to_owned(), key })
    }
    /// The key itself: that of databases from before there were keyrings.
    pub fn secret(&self) -> &Secret32 {
        &self.key
    }
}

impl KeyProvider for LocalKey {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn new_kek(&self) -> Result<(Secret32, Option<String>), KeyError> {
        Ok((self.key.clone(), None))
    }
    fn kek(&self, kept: Option<&str>) -> Result<Option<Secret32>, KeyError> {
        Ok(kept.is_none().then(|| self.key.clone()))
    }
}

/// The key of a file that nobody of `others` (bits of its mode) may read, write or run.
fn read(path: &Path, others: u32) -> Result<Secret32, KeyError> {
    let wrong = || disk(format!("cannot read the key file {}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(KeyError::Missing(path.to_owned()));
        }
        Err(error) => return Err(wrong()(error)),
    };
    // Of the open file, so that it cannot be exchanged in between.
    let mode = file.metadata().map_err(wrong())?.mode() & 0o7777;
    if mode & others != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong())?;
    Secret32::from_hex(&text).map_err(|_| KeyError::NoKey(path.display().to_string()))
}

/// Puts a key file in the place of another, or makes it: whole and durable, or not at all. Errors: [KeyError::Disk].
pub fn replace_key_file(path: &Path, key: &Secret32) -> Result<(), KeyError> {
    // What a link points to is replaced, not the link.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    write_whole(&path, format!("{}\n", key.to_hex()).as_bytes(), "key file")
}

/// Writes a new file of mode 0600 and moves it into its place.
pub(super) fn write_whole(path: &Path, bytes: &[u8], what: &str) -> Result<(), KeyError> {
    let wrong = || disk(format!("cannot write the {what} {}", path.display()));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        sync_folder(path)
    })();
    if written.is_err() {
        // It may hold a key that nobody uses.
        let _ = std::fs::remove_file(&new);
    }
    written.map_err(wrong())
}

pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Names a KEK without telling it: the first bytes of a hash.
pub(super) fn kek_id(key: &Secret32) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(b"uzima key-encryption key\n");
    context.update(key.as_bytes());
    hex(&context.finish().as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        assert!(matches!(LocalKey::of_file(&path), Err(KeyError::Missing(_))));
        let key = Secret32::random().unwrap();
        replace_key_file(&path, &key).unwrap();
        assert_eq!(LocalKey::of_file(&path).unwrap().secret(), &key);
        for (mode, file, credential) in
            [(0o600, true, true), (0o400, true, true), (0o640, false, true), (0o604, false, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = LocalKey::of_file(&path);
            assert_eq!(read.is_ok(), file, "{mode:o}");
            if let Err(error) = read {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
            assert_eq!(LocalKey::of_credential(folder.path(), "a.key").is_ok(), credential, "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(LocalKey::of_file(&path), Err(KeyError::NoKey(_))));
        assert!(matches!(LocalKey::of_text("UZIMA_KEY", "12"), Err(KeyError::NoKey(_))));
    }

    #[test]
    fn a_link_to_a_key_file_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.key"), folder.path().join("link.key"));
        replace_key_file(&real, &Secret32::new([1; 32])).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace_key_file(&link, &Secret32::new([2; 32])).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(LocalKey::of_file(&real).unwrap().secret(), &Secret32::new([2; 32]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }
}
