//! A disk that is slow, fails or loses power, under the real program: [shim.c](shim.c) stands between it and the system
//! calls by which it changes files. No rights are needed, so it runs wherever the program can be built; device-mapper and
//! FUSE, which would do the same one floor below, need a kernel and rights that builders seldom have.

pub mod replay;

use crate::machine::Machine;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Milliseconds that each flush and each write take longer.
    pub flush_ms: u32,
    pub write_ms: u32,
    /// Every how manieth flush, write and read fails; 0: none.
    pub flush_fails: u32,
    pub write_fails: u32,
    pub read_fails: u32,
    /// The system's number of the error; 0: input/output error.
    pub error: u32,
}

/// The shim, ready to be loaded.
pub struct Disk {
    library: PathBuf,
    trace: PathBuf,
    control: PathBuf,
}

impl Disk {
    /// Builds it; the files lie in `folder`, which is not that of the data.
    pub fn build(folder: &Path) -> Disk {
        let disk = Disk {
            library: folder.join("disk.so"),
            trace: folder.join("disk.trace"),
            control: folder.join("disk.control"),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/disk/shim.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&disk.library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .status();
        // What builds SQLite builds this.
        assert!(built.is_ok_and(|status| status.success()), "the C compiler is missing or refuses");
        std::fs::write(&disk.control, [0; 32]).unwrap();
        disk
    }

    /// The machine with this disk; `traced` writes down every change.
    pub fn under(&self, machine: Machine, traced: bool) -> Machine {
        let text = |path: &Path| path.display().to_string();
        let data = text(&machine.data());
        let machine = machine
            .with("LD_PRELOAD", &text(&self.library))
            .with("FAULTY_DISK_ROOT", &data)
            .with("FAULTY_DISK_CONTROL", &text(&self.control));
        if traced { machine.with("FAULTY_DISK_TRACE", &text(&self.trace)) } else { machine }
    }

    /// Seen by the running program at its next call.
    pub fn set(&self, faults: Faults) {
        let numbers = [
            faults.flush_ms,
            faults.write_ms,
            faults.flush_fails,
            faults.write_fails,
            faults.read_fails,
            faults.error,
        ];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let file = File::options().write(true).open(&self.control).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }

    /// How much of the trace there is: what was acknowledged before this was asked for is in it.
    pub fn position(&self) -> u64 {
        std::fs::metadata(&self.trace).unwrap().len()
    }

    pub fn trace(&self) -> Vec<replay::Record> {
        replay::records(&std::fs::read(&self.trace).unwrap())
    }
}
