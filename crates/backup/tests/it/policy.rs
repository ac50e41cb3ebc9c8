//! What is forgotten and what stays.

use crate::support::*;
use backup::{Error, Policy, Watch};
use jiff::{SignedDuration, Timestamp};

fn kept(days_ago: &[f64], policy: Policy) -> Vec<f64> {
    // A Friday.
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    let times: Vec<Timestamp> =
        days_ago.iter().map(|days| now - SignedDuration::from_secs((days * 86_400.0) as i64)).collect();
    let keeps = policy.keeps(&times, now);
    days_ago.iter().zip(keeps).filter(|(_, keep)| *keep).map(|(days, _)| *days).collect()
}

#[test]
fn bases_are_kept_by_age() {
    let none = Policy { instant_days: 0, daily_days: 0, weekly_weeks: 0 };
    assert_eq!(kept(&[900.0], none), [900.0], "the last one always stays");
    assert_eq!(kept(&[30.0, 20.0], none), [20.0]);
    let instants = Policy { instant_days: 3, ..none };
    assert_eq!(
        kept(&[9.0, 5.0, 2.0, 1.0, 0.4], instants),
        [5.0, 2.0, 1.0, 0.4],
        "and the one they follow from"
    );
    let daily = Policy { daily_days: 10, ..none };
    assert_eq!(kept(&[20.0, 3.4, 3.2, 1.4, 1.2, 0.1], daily), [3.2, 1.2, 0.1], "the last of each day");
    let weekly = Policy { weekly_weeks: 4, ..none };
    assert_eq!(kept(&[40.0, 13.0, 12.0, 5.0, 4.0, 1.0], weekly), [12.0, 5.0, 1.0], "Sundays end their weeks");
}

#[test]
fn what_stays_can_be_restored() {
    let place = folder();
    let mut clinic = Clinic::new();
    clinic.put("big", &noise(9, 900_000));
    let repository = place.repository();
    clinic.base(&repository);
    clinic.put("big", &noise(10, 9_000_000));
    clinic.ship(&repository).unwrap();
    let policy = Policy { instant_days: 7, daily_days: 30, weekly_weeks: 26 };
    let now = Timestamp::now();
    assert_eq!(repository.prune(&policy, now, &Watch::none()).unwrap(), backup::Pruned::default());
    clinic.put("big", "small");
    clinic.base(&repository);
    clinic.base(&repository);
    let all = place.names().len();
    // Weeks later only the last base of this day is needed, and nothing that followed the others.
    let later = now + SignedDuration::from_hours(24 * 20);
    let pruned = repository.prune(&policy, later, &Watch::none()).unwrap();
    assert!(pruned.bases >= 1 && pruned.segments > 0 && pruned.chunks > 0, "{pruned:?}");
    assert!(pruned.bytes > 9_000_000 && place.names().len() < all, "{pruned:?}");
    assert!(repository.verify(true, &Watch::none()).unwrap().problems.is_empty());
    let (to, _) = clinic.restored(&repository, None);
    assert!(read(&to) == settings(&clinic.store));
    // What cannot be read may need anything.
    let name = repository.bases().unwrap()[0].1.clone();
    std::fs::write(place.root().join(name), b"spoilt").unwrap();
    assert!(matches!(repository.prune(&policy, later, &Watch::none()), Err(Error::Damaged(_))));
    clinic.store.close();
}
