//! A disk that fills up under a running server: writes are refused with 507, reads go on, and once there is room so do
//! writes, without a restart. Needs the right to mount a small file system; without it, it says so and is left out.

use crate::machine::{Machine, Random, seed};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file system of so many MiB that goes away with its owner.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn mount(folder: &Path, mebibytes: u32) -> Option<Disk> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).status();
        match mounted.is_ok_and(|status| status.success()) {
            true => Some(Disk { folder: folder.to_owned() }),
            false => None,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the test's file system stays mounted");
    }
}

fn observation(patient: &str, text: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "subject": {"reference": patient},
        "code": {"text": "full"}, "valueString": text})
}

/// Text that does not compress.
fn noise(seed: usize, length: usize) -> String {
    let mut state = seed as u64 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..length).map(|_| next()).collect()
}

/// How often it fills up.
const FILLS: usize = 4;
/// What is left to the program at most when somebody else takes the rest (facts of control R8), bytes.
const LEFT_MAX: u64 = 4 << 20;

struct Filled<'a> {
    machine: &'a Machine,
    token: String,
    patient: String,
    /// What was acknowledged.
    written: Vec<String>,
}

impl Filled<'_> {
    async fn write(&mut self, text: &str) -> (u16, Value) {
        let body = observation(&self.patient, text);
        let answer = self.machine.send("POST", "/fhir/R4/Observation", &self.token, &body).await;
        let (status, answer) = answer.unwrap();
        if status == 201 {
            self.written.push(answer["id"].as_str().unwrap().to_owned());
        }
        (status, answer)
    }

    async fn read(&self, id: &str) {
        let path = format!("/fhir/R4/Observation/{id}");
        let (status, answer) = self.machine.send("GET", &path, &self.token, &Value::Null).await.unwrap();
        assert_eq!(status, 200, "acknowledged Observation/{id} is lost: {answer}");
    }

    /// Somebody else takes the disk but for `left` bytes, and gives it back in the end.
    async fn fill(&mut self, disk: &Disk, left: u64) {
        let room = rustix::fs::statvfs(&disk.folder).unwrap();
        let free = room.f_bavail * room.f_bsize;
        let filler = disk.folder.join("filler.partial");
        std::fs::write(&filler, vec![7; free.saturating_sub(left) as usize]).unwrap();
        let refused = loop {
            let text = noise(self.written.len() + 1, 100_000);
            let (status, answer) = self.write(&text).await;
            if status != 201 {
                break (status, answer);
            }
            assert!(self.written.len() < 2_000, "the disk is large enough for everything");
        };
        assert_eq!((refused.0, &refused.1["issue"][0]["code"]), (507, &json!("no-store")), "{}", refused.1);
        // Every read is audited, and each of these audits is stored on the full disk.
        for id in self.written.iter().rev().take(50) {
            self.read(id).await;
        }
        assert_eq!(self.write("small").await.0, 507, "what is left is for reads");
        std::fs::remove_file(&filler).unwrap();
        let mut tries = 0;
        loop {
            match self.write("small").await {
                (201, _) => return,
                (507, _) if tries < 300 => tries += 1,
                (status, answer) => panic!("{status} {answer}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_and_nothing_else() {
    let machine = Machine::new();
    let data = machine.data();
    let Some(disk) = Disk::mount(&data, 64) else {
        use std::io::Write;
        let text = "SKIPPED: the full disk, because no file system may be mounted here\n";
        drop(std::io::stderr().write_all(text.as_bytes()));
        return;
    };
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random(seed);
    let machine = machine.with("UZIMA_BACKUP_RESERVE_MB", "6");
    let client = machine.client().await;
    let mut child = machine.start().await;
    let token = machine.token(&client).await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Full"}]});
    let (status, patient) = machine.send("POST", "/fhir/R4/Patient", &token, &patient).await.unwrap();
    assert_eq!(status, 201, "{patient}");
    let patient = format!("Patient/{}", patient["id"].as_str().unwrap());
    let mut filled = Filled { machine: &machine, token, patient, written: Vec::new() };
    for _ in 0..20 {
        assert_eq!(filled.write("while there is room").await.0, 201);
    }
    for _ in 0..FILLS {
        filled.fill(&disk, random.next(LEFT_MAX)).await;
    }
    println!("{} written over {FILLS} fills", filled.written.len());
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = machine.start().await;
    for id in &filled.written {
        filled.read(id).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let copies = machine.folder().join("copies");
    let copies = copies.display().to_string();
    machine.run(&["backup", "--to", &copies], "");
    let restored = machine.run(&["restore", "--from", &copies, "--data", "restored"], "");
    assert!(restored.contains("the audit trail is proven"), "{restored}");
}
