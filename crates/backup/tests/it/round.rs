//! There and back.

use crate::support::*;
use backup::target::Put;
use backup::{Error, Progress, Wanted, Watch, keep_key, kept_key};
use std::sync::atomic::{AtomicU64, Ordering};
use store::Secret32;

#[test]
fn every_place_keeps_what_it_is_given() {
    for place in places() {
        let target = place.target();
        let large = noise(3, 3_000_000);
        assert!(matches!(target.get("chunk/ab/none"), Err(Error::NotFound(_))), "{}", place.name);
        assert!(target.list("chunk/").unwrap().is_empty(), "{}", place.name);
        assert_eq!(target.put("chunk/ab/one", large.as_bytes()).unwrap(), Put::Made);
        assert_eq!(target.put("chunk/ab/one", b"another").unwrap(), Put::WasThere, "{}", place.name);
        assert_eq!(target.get("chunk/ab/one").unwrap(), large.as_bytes(), "{}", place.name);
        assert_eq!(target.put("base/1-x", b"").unwrap(), Put::Made);
        assert_eq!(target.get("base/1-x").unwrap(), b"");
        for n in 0..20 {
            target.put(&format!("line/l/{n:03}"), b"x").unwrap();
        }
        let listed = target.list("line/").unwrap();
        assert_eq!(listed.len(), 20, "{}", place.name);
        assert!(listed.is_sorted_by_key(|entry| entry.name.clone()) && listed[0].bytes == 1);
        target.remove("line/l/003").unwrap();
        target.remove("line/l/003").unwrap();
        assert_eq!(target.list("line/l/").unwrap().len(), 19);
        assert_eq!(place.names().len(), 21);
    }
}

#[test]
fn what_was_backed_up_comes_back_as_of_any_moment() {
    for place in places() {
        let mut clinic = Clinic::new();
        clinic.put("name", "Uzima");
        clinic.put("big", &noise(1, 1_500_000));
        clinic.file("bulk/a/report.ndjson", "first");
        clinic.file("bulk/empty", "");
        clinic.file("data.key", "never");
        let repository = place.repository();
        let made = clinic.base(&repository);
        assert_eq!(made.files, 2, "{}", place.name);
        let mut moments = vec![(jiff::Timestamp::now(), settings(&clinic.store))];
        for round in 0..4 {
            clinic.put("round", &round.to_string());
            clinic.file("bulk/a/report.ndjson", &format!("round number {round}"));
            let shipped = clinic.ship(&repository).unwrap();
            assert!(shipped.segments >= 1 && shipped.files == 1, "{}: {shipped:?}", place.name);
            moments.push((jiff::Timestamp::now(), settings(&clinic.store)));
        }
        clinic.outline.note_point(&repository, &clinic.capture()).unwrap();
        clinic.ship(&repository).unwrap();
        let second = clinic.base(&repository);
        assert!(second.sent < made.sent / 2, "only what changed is sent: {} of {}", second.sent, made.sent);

        for (n, (at, expected)) in moments.iter().enumerate() {
            let (to, restored) = clinic.restored(&repository, Some(*at));
            assert_eq!(restored.files, 2);
            assert!(read(&to) == *expected, "{}: moment {n}", place.name);
            assert!(!to.join("data.key").exists() && to.join("bulk/empty").exists());
        }
        let (to, last) = clinic.restored(&repository, None);
        assert!(last.is_counted, "the newest base has its counts");
        let again = restore(&repository, &Wanted::default(), &clinic.another()).unwrap();
        assert!(matches!(again.place(&to, false), Err(Error::Wrong(_))), "nothing is overwritten");
        let again = restore(&repository, &Wanted::default(), &clinic.another()).unwrap();
        let aside = again.place(&to, true).unwrap().unwrap();
        assert!(read(&to) == settings(&clinic.store) && aside.join(DATABASE).exists());
        assert_eq!(std::fs::read_to_string(to.join("bulk/a/report.ndjson")).unwrap(), "round number 3");

        let early = Wanted { at: Some(made.point.at - jiff::SignedDuration::from_secs(1)), counted: false };
        let none = restore(&repository, &early, &clinic.another()).unwrap_err();
        assert!(none.to_string().contains("the oldest backup is of"), "{none}");
        let verified = repository.verify(true, &Watch::none()).unwrap();
        assert!(verified.problems.is_empty() && verified.bases == 2, "{:?}", verified.problems);
        clinic.store.close();
    }
}

/// After a restart of the program the line goes on.
#[test]
fn following_goes_on_after_a_restart() {
    let place = folder();
    let mut clinic = Clinic::new();
    clinic.put("a", "1");
    let repository = place.repository();
    clinic.base(&repository);
    clinic.put("b", "2");
    clinic.store.close();

    clinic.store = open(&clinic.data());
    clinic.outline = backup::Outline::new(&clinic.data(), &clinic.data().join(DATABASE), "test");
    let capture = clinic.capture();
    assert!(!clinic.outline.follows(&capture));
    assert_eq!(clinic.ship(&repository).unwrap().segments, 0);
    assert!(clinic.outline.resume(&repository, &capture).unwrap().is_some());
    assert!(clinic.outline.follows(&capture));
    assert!(clinic.ship(&repository).unwrap().segments > 0);
    let (to, restored) = clinic.restored(&repository, None);
    assert!(restored.notes.is_empty() && !restored.is_counted);
    assert!(read(&to) == settings(&clinic.store));
    // With counts noted, the last state that has them is what is wanted for a drill.
    clinic.outline.note_point(&repository, &capture).unwrap();
    clinic.put("c", "3");
    clinic.ship(&repository).unwrap();
    let wanted = Wanted { at: None, counted: true };
    let counted = restore(&repository, &wanted, &clinic.another()).unwrap();
    assert!(counted.restored.is_counted && counted.restored.segments == restored.segments);
    counted.discard().unwrap();
    clinic.store.close();
}

#[test]
fn what_was_stopped_goes_on_where_it_was() {
    let place = folder();
    let mut clinic = Clinic::new();
    for n in 0..20 {
        clinic.put(&format!("k{n}"), &noise(n + 1, 300_000));
    }
    let repository = place.repository();
    let done = AtomicU64::new(0);
    let tell = |progress: Progress| {
        if let Progress::Done(bytes) = progress {
            done.fetch_add(bytes, Ordering::Relaxed);
        }
    };
    let is_stopped = || done.load(Ordering::Relaxed) > 2_000_000;
    let watch = Watch { tell: &tell, is_stopped: &is_stopped };
    let capture = clinic.capture();
    let stopped = clinic.outline.base(&repository, &capture, &watch);
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    let there = place.names();
    assert!(there.len() >= 8 && !there.iter().any(|name| name.starts_with("base/")), "{there:?}");
    let repository = place.repository();
    let made = clinic.base(&repository);
    assert!(made.sent < made.bytes - 1_500_000, "{} of {}", made.sent, made.bytes);

    done.store(0, Ordering::Relaxed);
    let scratch = clinic.another();
    let stopped =
        repository.restore(&Wanted::default(), &scratch, DATABASE, &Secret32::new(KEY), &watch).map(|_| ());
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    // A piece that came the first time may go meanwhile: it is not asked for again.
    let base = repository.base(&made.name).unwrap();
    place.target().remove(&base.chunks[0]).unwrap();
    let whole = restore(&repository, &Wanted::default(), &scratch);
    assert!(whole.is_ok(), "{whole:?}");
    // Into a folder that holds something else nothing is restored.
    let other = restore(&repository, &Wanted::default(), &clinic.data());
    assert!(matches!(other, Err(Error::Wrong(_))));
    clinic.store.close();
}

#[test]
fn the_key_is_kept_only_under_a_passphrase() {
    let place = folder();
    let repository = place.repository();
    let now = jiff::Timestamp::now();
    let installation = Secret32::new(KEY);
    assert!(matches!(kept_key(repository.target(), "x"), Err(Error::NotFound(_))));
    assert!(keep_key(&repository, &installation, "too short", now).is_err());
    let passphrase = "nyumba ya jirani ni safi";
    keep_key(&repository, &installation, passphrase, now).unwrap();
    assert!(kept_key(repository.target(), passphrase).unwrap() == installation);
    let wrong = kept_key(repository.target(), "nyumba ya jirani si safi");
    assert!(matches!(wrong, Err(Error::Damaged(_))));
}
