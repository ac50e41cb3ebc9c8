//! One reader under libFuzzer; `cargo xtask fuzz` builds and runs it. `UZIMA_FUZZ_READER` names the reader (`list` prints
//! them all), `UZIMA_FUZZ_CORPUS` the folder to which seeds and regressions are added first.
#![no_main]
#![expect(clippy::expect_used, reason = "a harness that cannot begin has nothing else to do")]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::sync::OnceLock;

static READER: OnceLock<&'static fuzz::Reader> = OnceLock::new();

fn begin() {
    let name = std::env::var("UZIMA_FUZZ_READER").unwrap_or_default();
    if name == "list" {
        let mut out = std::io::stdout();
        for reader in fuzz::READERS {
            writeln!(out, "{}\t{}", reader.name, reader.about).expect("standard output");
        }
        std::process::exit(0);
    }
    let reader = fuzz::reader(&name).expect("UZIMA_FUZZ_READER names a reader");
    if let Some(folder) = std::env::var_os("UZIMA_FUZZ_CORPUS") {
        let folder = std::path::PathBuf::from(folder);
        for input in fuzz::beginnings(reader).expect("regressions") {
            let mut hasher = DefaultHasher::new();
            input.hash(&mut hasher);
            let file = folder.join(format!("seed-{:016x}", hasher.finish()));
            std::fs::write(file, input).expect("the corpus' folder");
        }
    }
    READER.get_or_init(|| reader);
}

libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| {
    if let Some(reader) = READER.get() {
        (reader.read)(bytes);
    }
});
