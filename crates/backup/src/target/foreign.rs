//! Readers of what places for backups answer, for the fuzzer alone.

use super::{s3, sftp_wire};

/// Reads any bytes as replies of an SFTP server.
pub fn sftp_reply(mut bytes: &[u8]) {
    drop(sftp_wire::greet(&mut std::io::sink(), &mut &*bytes));
    while sftp_wire::reply(&mut bytes).is_ok() {}
}

/// Reads any bytes as a page of a listing of S3.
pub fn s3_listing(bytes: &[u8]) {
    drop(s3::page(bytes));
}
