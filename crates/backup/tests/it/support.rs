//! A database that is written, and places to back it up to.

use crate::ssh::Sshd;
use backup::target::{self, Options, S3Options, Target};
use backup::{BackupKey, Outline, Repository, Restored, Scratch, Wanted, Watch};
use sandbox::s3::ObjectStore;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::backup::Capture;
use store::{Secret32, Store, StoreConfig, Tx, setting};
use tokio::runtime::Runtime;

pub const KEY: [u8; 32] = [7; 32];
pub const DATABASE: &str = "uzima.db";

pub struct Clinic {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub outline: Outline,
    next: AtomicU64,
}

pub fn open(data: &Path) -> Store {
    let url = format!("sqlite:{}", data.join(DATABASE).display());
    let key = Some(Secret32::new(KEY));
    Store::open(StoreConfig { readers: 2, follow_log: true, ..StoreConfig::new(url, key) }).unwrap()
}

pub fn settings(store: &Store) -> BTreeMap<String, String> {
    let all = store.read_blocking(setting::all).unwrap();
    all.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// What a restored folder holds.
pub fn read(data: &Path) -> BTreeMap<String, String> {
    let store = open(data);
    let found = settings(&store);
    store.close();
    found
}

/// Text that does not compress.
pub fn noise(seed: u64, length: usize) -> String {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..length).map(|_| next()).collect()
}

impl Clinic {
    pub fn new() -> Clinic {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let store = open(&data);
        let outline = Outline::new(&data, &data.join(DATABASE), "test");
        Clinic { folder, store, outline, next: AtomicU64::new(0) }
    }
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
    pub fn put(&self, key: &str, value: &str) {
        let (key, value) = (key.to_owned(), serde_json::json!(value));
        self.store.write_blocking(move |tx: &mut dyn Tx| setting::put(tx, &key, &value)).unwrap();
    }
    pub fn file(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    pub fn capture(&self) -> Arc<Capture> {
        self.store.capture().unwrap()
    }
    pub fn base(&mut self, repository: &Repository) -> backup::Made {
        let capture = self.capture();
        self.outline.base(repository, &capture, &Watch::none()).unwrap()
    }
    pub fn ship(&mut self, repository: &Repository) -> backup::Result<backup::Shipped> {
        let capture = self.capture();
        self.outline.ship(repository, &capture, &Watch::none(), &mut |_| {})
    }
    /// A folder's name that nobody has yet.
    pub fn another(&self) -> PathBuf {
        self.folder.path().join(format!("other-{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }
    /// The last state, or that of an instant, in a folder of its own.
    pub fn restored(&self, repository: &Repository, at: Option<jiff::Timestamp>) -> (PathBuf, Restored) {
        let scratch = restore(repository, &Wanted { at, counted: false }, &self.another()).unwrap();
        let (to, restored) = (self.another(), scratch.restored.clone());
        scratch.place(&to, false).unwrap();
        (to, restored)
    }
}

pub fn restore(repository: &Repository, wanted: &Wanted, folder: &Path) -> backup::Result<Scratch> {
    repository.restore(wanted, folder, DATABASE, &Secret32::new(KEY), &Watch::none())
}

pub fn key() -> BackupKey {
    BackupKey::of_installation(&KEY).unwrap()
}

/// A place and what keeps it alive.
pub struct Place {
    pub name: &'static str,
    address: String,
    options: Options,
    runtime: Arc<Runtime>,
    pub objects: Option<Arc<ObjectStore>>,
    folder: Option<tempfile::TempDir>,
    pub sshd: Option<Sshd>,
}

impl Place {
    pub fn target(&self) -> Box<dyn Target> {
        let _inside = self.runtime.enter();
        target::open(&self.address, &self.options).unwrap()
    }
    pub fn repository(&self) -> Repository {
        Repository::new(self.target(), key())
    }
    /// Where the objects of [folder] lie.
    pub fn root(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join("backups")
    }
    pub fn names(&self) -> Vec<String> {
        self.target().list("").unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

fn runtime() -> Arc<Runtime> {
    // Only fails if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

pub fn folder() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let address = folder.path().join("backups").display().to_string();
    let options = Options::default();
    Place {
        name: "folder",
        address,
        options,
        runtime: runtime(),
        objects: None,
        folder: Some(folder),
        sshd: None,
    }
}

pub fn s3() -> Place {
    let runtime = runtime();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let objects = runtime.block_on(ObjectStore::listen(address, "clinic", "key-id", "very secret")).unwrap();
    let s3 = S3Options {
        endpoint: format!("http://{}", objects.address),
        region: "af-south-1".into(),
        access_key: "key-id".into(),
        secret_key: "very secret".into(),
    };
    let options = Options { s3, ..Options::default() };
    let address = "s3://clinic/main site/a".into();
    Place {
        name: "s3",
        address,
        options,
        runtime,
        objects: Some(Arc::new(objects)),
        folder: None,
        sshd: None,
    }
}

/// A real sshd, reached by the real ssh. `None`, said aloud, where there is none; the test command installs it.
pub fn sftp() -> Option<Place> {
    let sshd = Sshd::start(&[])?;
    let (address, options) = (sshd.address("backups"), sshd.options());
    Some(Place {
        name: "sftp",
        address,
        options,
        runtime: runtime(),
        objects: None,
        folder: None,
        sshd: Some(sshd),
    })
}

/// As [sftp], with a credential that may add and nothing else, as docs/guides/backup.md has it.
pub fn append_only() -> Option<Place> {
    let refused = "remove,rmdir,rename,posix-rename,setstat,fsetstat,lsetstat,symlink";
    let sshd = Sshd::start(&["-P", refused])?;
    let (address, options) = (sshd.address("backups"), sshd.options());
    Some(Place {
        name: "sftp",
        address,
        options,
        runtime: runtime(),
        objects: None,
        folder: None,
        sshd: Some(sshd),
    })
}

pub fn places() -> Vec<Place> {
    [folder(), s3()].into_iter().chain(sftp()).collect()
}
