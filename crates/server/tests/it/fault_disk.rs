//! A disk that fills up under a running server: writes are refused with 507, reads go on, and once there is room so do
//! writes, without a restart. Needs the right to mount a small file system; without it, it says so and is left out.

use crate::machine::Machine;
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
    // Room that somebody else takes, and gives back in the end.
    let filler = disk.folder.join("filler.partial");
    std::fs::write(&filler, vec![7; 24 * 1024 * 1024]).unwrap();
    let machine = machine.with("UZIMA_BACKUP_RESERVE_MB", "6");
    let token = machine.client().await;
    let mut child = machine.start().await;
    let token = machine.token(&token).await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Full"}]});
    let (status, patient) = machine.send("POST", "/fhir/R4/Patient", &token, &patient).await.unwrap();
    assert_eq!(status, 201, "{patient}");
    let patient = format!("Patient/{}", patient["id"].as_str().unwrap());
    let mut written = Vec::new();
    let mut refused = None;
    for n in 0..2_000 {
        let body = observation(&patient, &noise(n + 1, 100_000));
        let (status, answer) = machine.send("POST", "/fhir/R4/Observation", &token, &body).await.unwrap();
        if status != 201 {
            refused = Some((status, answer));
            break;
        }
        written.push(answer["id"].as_str().unwrap().to_owned());
    }
    let (status, answer) = refused.expect("the disk is large enough for everything");
    assert_eq!((status, &answer["issue"][0]["code"]), (507, &json!("no-store")), "{answer}");
    assert!(written.len() > 20, "{}", written.len());
    // Every read is audited, and each of these audits is stored on the full disk.
    for id in written.iter().rev().take(50) {
        let path = format!("/fhir/R4/Observation/{id}");
        let (status, answer) = machine.send("GET", &path, &token, &Value::Null).await.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    let body = observation(&patient, "small");
    let (status, _) = machine.send("POST", "/fhir/R4/Observation", &token, &body).await.unwrap();
    assert_eq!(status, 507, "what is left is for reads");

    std::fs::remove_file(&filler).unwrap();
    let mut tries = 0;
    let last = loop {
        let (status, answer) = machine.send("POST", "/fhir/R4/Observation", &token, &body).await.unwrap();
        match status {
            201 => break answer["id"].as_str().unwrap().to_owned(),
            507 if tries < 300 => tries += 1,
            _ => panic!("{status} {answer}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    written.push(last);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = machine.start().await;
    for id in &written {
        let path = format!("/fhir/R4/Observation/{id}");
        let (status, _) = machine.send("GET", &path, &token, &Value::Null).await.unwrap();
        assert_eq!(status, 200, "acknowledged Observation/{id} is lost");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let copies = machine.folder().join("copies");
    let copies = copies.display().to_string();
    machine.run(&["backup", "--to", &copies], "");
    let restored = machine.run(&["restore", "--from", &copies, "--data", "restored"], "");
    assert!(restored.contains("the audit trail is proven"), "{restored}");
}
