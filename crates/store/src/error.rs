//! What can go wrong in the store.

/// Errors of the database itself. Families with answers of their own (claims, ledger, …) have their own enums.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The write or read queue is full, or PostgreSQL kept refusing for reasons that pass. Safe to retry.
    #[error("the database is busy")]
    Busy,
    /// The store was closed while the work waited. Nothing was written.
    #[error("the database is closed")]
    Closed,
    /// A query took longer than it may, or would look at more than it may. Nothing was changed by it; asking again
    /// will not help, asking for less will.
    #[error("the query takes too long")]
    TooCostly,
    /// Another process holds the data folder.
    #[error("{0} is in use by another server")]
    InUse(String),
    /// The key does not fit the database file, or the file is no database.
    #[error("the database cannot be read with this key")]
    WrongKey,
    /// The key store is not there, or is that of another database, or lacks a key.
    #[error("the key store is missing: {0}; put the newest one back from a backup")]
    KeysMissing(String),
    /// The database was written by a newer program.
    #[error("the database has schema {found}, this program knows up to {known}; install the newer program")]
    NewerDatabase { found: u32, known: u32 },
    /// The disk is full; nothing was written.
    #[error("the disk is full")]
    DiskFull,
    /// A unique, check or foreign-key rule of the schema said no, or an append-only table was touched.
    #[error("constraint: {0}")]
    Constraint(String),
    /// An opaque cursor, id or setting from outside that cannot be read.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Stored bytes that break our own invariants.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// PostgreSQL: serialization failure or deadlock. [crate::Store::write] runs the closure again.
    #[error("serialization failure")]
    Serialization,
    /// The closure given to the store panicked; its work was rolled back.
    #[error("a transaction panicked")]
    Panicked,
    /// Anything else the engine reports.
    #[error("database: {0}")]
    Database(String),
}

/// SQLITE_IOERR_SHMSIZE
const IOERR_SHMSIZE: i32 = 4874;

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::ConstraintViolation) => Error::Constraint(error.to_string()),
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Error::Busy,
            Some(Code::DiskFull) => Error::DiskFull,
            // The index of the log could not grow.
            _ if error.sqlite_error().is_some_and(|error| error.extended_code == IOERR_SHMSIZE) => {
                Error::DiskFull
            }
            Some(Code::OperationInterrupted) => Error::TooCostly,
            Some(Code::NotADatabase) => Error::WrongKey,
            Some(Code::DatabaseCorrupt) => Error::Corrupt(error.to_string()),
            _ => Error::Database(error.to_string()),
        }
    }
}

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Error {
        let Some(state) = error.code() else {
            return if error.is_closed() { Error::Busy } else { Error::Database(error.to_string()) };
        };
        let text = || error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
        match state.code() {
            "40001" | "40P01" | "55P03" => Error::Serialization,
            // Connection failures, too many connections, shutting down.
            "08000" | "08003" | "08006" | "53300" | "57P01" | "57P02" | "57P03" => Error::Busy,
            "53100" => Error::DiskFull,
            // Cancelled by statement_timeout.
            "57014" => Error::TooCostly,
            code if code.starts_with("23") || code == "P0001" => Error::Constraint(text()),
            _ => Error::Database(text()),
        }
    }
}
