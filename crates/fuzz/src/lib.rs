//! Every reader of bytes that somebody else wrote, as a function that must end without a panic, whatever it gets.
//!
//! Two engines drive them. `cargo xtask fuzz` builds [the readers](READERS) with the compiler's coverage counters and lets
//! libFuzzer search for inputs that reach new code; it needs no other toolchain. The tests of this crate are the short
//! form: seeds, every input that ever broke something (`regressions/`), and blind mutations of both.
//!
//! A reader asserts what must hold beyond not panicking: what was read is written and read back as the same.

mod mutate;
mod target;

pub use mutate::Mutator;

/// Longest input, bytes: bounds that the program sets itself are far above and are tested where they are.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// A reader of foreign bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// What `cargo xtask fuzz` calls it; also the folder of its regressions.
    pub name: &'static str,
    /// What it reads, in a few words.
    pub about: &'static str,
    /// Reads any bytes. Panics if what must hold does not.
    pub read: fn(&[u8]),
    /// Inputs to begin with, such as are sent.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const READERS: &[Reader] = &[
    target::fhir::JSON,
    target::fhir::XML,
    target::fhir::NARRATIVE,
    target::fhir::PATCH,
    target::query::PATH,
    target::query::SEARCH,
    target::query::SCOPE,
    target::query::UNIT,
    target::wire::ATTACHMENT,
    target::wire::PAYMENT,
    target::wire::MESSAGE,
    target::wire::CONTACT,
    target::wire::PAPER,
    target::terminology::TERMINOLOGY,
    target::identity::TOKEN,
    target::identity::LOGOUT,
    target::identity::AUTHENTICATOR,
    target::network::RELAY,
    target::network::SIGNALLING,
    target::network::STORAGE,
    target::table::TABLE,
];

/// The reader of this name.
pub fn reader(name: &str) -> Option<&'static Reader> {
    READERS.iter().find(|reader| reader.name == name)
}

/// Where inputs lie that once broke the reader of this name.
pub fn regressions(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(name)
}

/// Seeds and regressions. Errors: a regression cannot be read.
pub fn beginnings(reader: &Reader) -> std::io::Result<Vec<Vec<u8>>> {
    let mut inputs = (reader.seeds)();
    let folder = regressions(reader.name);
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)? {
            inputs.push(std::fs::read(entry?.path())?);
        }
    }
    Ok(inputs)
}
