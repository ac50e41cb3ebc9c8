//! Where a repository lies. Four verbs over names; objects are written once.

mod folder;
#[doc(hidden)]
pub mod foreign;
mod s3;
mod sftp;
mod sftp_wire;

pub use folder::Folder;
pub use s3::{S3, S3Options};
pub use sftp::{Sftp, SftpOptions};

use crate::{Error, Result};
use percent_encoding::percent_decode_str;
use std::path::PathBuf;

/// Largest object, bytes.
pub const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub bytes: u64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Made,
    /// An object of this name was there and stays.
    WasThere,
}

/// A place for objects. Names are of `a-z0-9/-.`; all calls block.
pub trait Target: Send + Sync {
    /// In words for the operator, without secrets.
    fn describe(&self) -> String;
    /// Whole and durable when it returns; never over an object that is there.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<Put>;
    /// Errors: [Error::NotFound].
    fn get(&self, name: &str) -> Result<Vec<u8>>;
    /// All whose name begins so, in order of their names.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>>;
    /// One that is not there is removed as well.
    fn remove(&self, name: &str) -> Result<()>;
}

/// What an address cannot hold.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub s3: S3Options,
    pub sftp: SftpOptions,
}

/// From an address: a folder's path, `sftp://user@host[:port]/path`, or `s3://bucket/prefix`. Call it inside a runtime.
/// Errors: an address that is none of these.
pub fn open(address: &str, options: &Options) -> Result<Box<dyn Target>> {
    let wrong = |text: &str| Error::Wrong(format!("{address}: {text}"));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|t| t.into_owned());
    if let Some(rest) = address.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        return Ok(Box::new(S3::new(bucket, prefix, &options.s3)?));
    }
    if let Some(rest) = address.strip_prefix("sftp://") {
        let (place, path) = rest.split_once('/').ok_or_else(|| wrong("a path on the host is missing"))?;
        let path = decoded(path).map_err(|_| wrong("the path is no UTF-8"))?;
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong("this is no port"))?)),
            None => (place, None),
        };
        // A host that looks like an option would be one to ssh.
        if host.is_empty() || host.starts_with('-') || host.contains(char::is_whitespace) {
            return Err(wrong("this is no host"));
        }
        return Ok(Box::new(Sftp::new(host, port, &format!("/{path}"), &options.sftp)));
    }
    if address.contains("://") && !address.starts_with("file://") {
        return Err(wrong("a backup goes to a folder, sftp://… or s3://…"));
    }
    Ok(Box::new(Folder::new(PathBuf::from(address.strip_prefix("file://").unwrap_or(address)))?))
}
