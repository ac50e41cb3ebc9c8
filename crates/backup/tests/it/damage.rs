//! Places that fail, lie, or forbid.

use crate::support::*;
use backup::{BackupKey, Error, Repository, Wanted, Watch};
use sandbox::s3::{ObjectFault, Rights};

#[test]
fn a_store_that_fails_now_and_then_is_asked_again() {
    let place = s3();
    let mut clinic = Clinic::new();
    clinic.put("a", &noise(1, 800_000));
    let repository = place.repository();
    let objects = place.objects.clone().unwrap();
    objects.fail(&[ObjectFault::SlowDown, ObjectFault::SlowDown, ObjectFault::LostAnswer]);
    clinic.base(&repository);
    clinic.put("b", "2");
    objects.fail(&[ObjectFault::LostAnswer]);
    assert!(clinic.ship(&repository).unwrap().segments >= 1);
    // Full: told, and what waits is sent when there is room.
    clinic.put("c", "3");
    objects.fail(&[ObjectFault::Full; 4]);
    let full = clinic.ship(&repository);
    assert!(matches!(full, Err(Error::Full(_))), "{full:?}");
    assert!(clinic.ship(&repository).unwrap().segments >= 1);
    objects.fail(&[ObjectFault::SlowDown, ObjectFault::CutOff]);
    let (to, _) = clinic.restored(&repository, None);
    assert!(read(&to) == settings(&clinic.store));
    assert_eq!(objects.refused(), 0, "every signature was right");
    clinic.store.close();
}

/// The credential of the node may add, and nothing else: a thief at the node can harm no backup.
#[test]
fn a_credential_that_only_adds_is_enough() {
    for list in [true, false] {
        let place = s3();
        let objects = place.objects.clone().unwrap();
        objects.set_rights(Rights { list, change: false });
        let mut clinic = Clinic::new();
        clinic.put("a", "1");
        let repository = place.repository();
        clinic.base(&repository);
        clinic.put("b", "2");
        clinic.ship(&repository).unwrap();
        clinic.outline.note_point(&repository, &clinic.capture()).unwrap();
        clinic.base(&repository);
        let before = objects.objects();
        for name in before.keys() {
            let name = name.strip_prefix("main site/a/").unwrap();
            assert!(matches!(repository.target().remove(name), Err(Error::Refused(_))), "{name}");
            // Offered again it is there already, and stays what it is.
            drop(repository.target().put(name, b"overwritten"));
        }
        assert!(objects.objects() == before);
        objects.set_rights(Rights { list: true, change: false });
        let (_, restored) = clinic.restored(&repository, None);
        assert!(restored.is_counted);
        clinic.store.close();
    }
}

#[test]
fn damage_is_found_and_an_older_backup_serves() {
    let place = folder();
    let root = place.root();
    let mut clinic = Clinic::new();
    clinic.put("state", "old");
    let repository = place.repository();
    clinic.base(&repository);
    let old = settings(&clinic.store);
    clinic.put("state", "new");
    clinic.ship(&repository).unwrap();
    clinic.put("state", "newer");
    clinic.ship(&repository).unwrap();
    let second = clinic.base(&repository);
    clinic.put("state", "newest");
    clinic.ship(&repository).unwrap();

    let every = place.names();
    for name in &every {
        let path = root.join(name);
        let bytes = std::fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        let found = repository.verify(true, &Watch::none()).unwrap().problems;
        assert!(!found.is_empty(), "{name}: a flipped bit is not found");
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(repository.verify(true, &Watch::none()).unwrap().problems.is_empty());
    // A piece that is missing is found without reading all.
    let chunk = root.join(every.iter().find(|name| name.starts_with("chunk/")).unwrap());
    let away = root.join("away");
    std::fs::rename(&chunk, &away).unwrap();
    assert!(!repository.verify(false, &Watch::none()).unwrap().problems.is_empty());
    std::fs::rename(&away, &chunk).unwrap();

    // The newest base is gone: the older one and its segments serve, as far as they reach.
    std::fs::write(root.join(&second.name), b"spoilt").unwrap();
    let (to, restored) = clinic.restored(&repository, None);
    assert_eq!(restored.notes.len(), 1, "{:?}", restored.notes);
    assert!(read(&to) == settings(&clinic.store));
    // A gap ends it before, and is told.
    let gap = repository.segments(None).unwrap()[0].name.clone();
    std::fs::remove_file(root.join(gap)).unwrap();
    let (to, restored) = clinic.restored(&repository, None);
    assert!(restored.notes.iter().any(|note| note.contains("is missing")), "{:?}", restored.notes);
    assert!(read(&to) == old);
    clinic.store.close();
}

#[test]
fn a_backup_says_nothing_to_whom_has_only_the_backup() {
    let place = folder();
    let mut clinic = Clinic::new();
    let canary = "Wanjiru-canary-4711";
    clinic.put("patient", canary);
    clinic.file("bulk/export.ndjson", &canary.repeat(1000));
    let repository = place.repository();
    clinic.base(&repository);
    clinic.put("patient", &canary.repeat(2));
    clinic.ship(&repository).unwrap();
    let mut seen = 0;
    for name in place.names() {
        let bytes = place.target().get(&name).unwrap();
        let needles: [&[u8]; 4] = [canary.as_bytes(), b"CREATE TABLE", b"\"counts\"", b"bulk/export"];
        for needle in needles {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{name}");
        }
        seen += 1;
    }
    assert!(seen > 4);
    let other = Repository::new(place.target(), BackupKey::of_installation(&[8; 32]).unwrap());
    let refused = restore(&other, &Wanted::default(), &clinic.another());
    assert!(matches!(refused, Err(Error::Damaged(_))), "{refused:?}");
    clinic.store.close();
}
