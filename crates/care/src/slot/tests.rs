use super::*;
use crate::schedule::{Exception, Hours};
use jiff::civil::date;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn minute(text: &str) -> Minute {
    Minute::parse(text).unwrap()
}

fn every_day(windows: &[(&str, &str)], slot_minutes: u16) -> KindSchedule {
    let weekly = Day::ALL
        .into_iter()
        .flat_map(|day| windows.iter().map(move |(s, e)| Hours { day, start: minute(s), end: minute(e) }))
        .collect();
    KindSchedule { slot_minutes, lead_minutes: 0, weekly, exceptions: Vec::new() }
}

fn except(rules: &mut KindSchedule, date: Date, window: Option<(&str, &str)>, available: bool) {
    rules.exceptions.push(Exception {
        date,
        start: window.map(|(s, _)| minute(s)),
        end: window.map(|(_, e)| minute(e)),
        available,
        note: None,
    });
}

/// Local `HH:MM` and length in minutes of every slot.
fn show(slots: &[Span], zone: &TimeZone) -> Vec<String> {
    slots.iter().map(|s| s.start.to_zoned(zone.clone()).strftime("%H:%M").to_string()).collect()
}

#[test]
fn weekly_hours_make_slots() {
    let nairobi = zone("Africa/Nairobi");
    for (windows, minutes, expected) in [
        (vec![("08:00", "09:00")], 20, vec!["08:00", "08:20", "08:40"]),
        (vec![("08:00", "09:00")], 45, vec!["08:00"]),
        (vec![("08:00", "08:30")], 45, vec![]),
        (vec![("08:00", "08:30"), ("08:30", "09:00")], 30, vec!["08:00", "08:30"]),
        (vec![("23:00", "24:00")], 30, vec!["23:00", "23:30"]),
        (vec![("00:00", "00:30")], 30, vec!["00:00"]),
    ] {
        let slots = offered(&every_day(&windows, minutes), &nairobi, date(2026, 11, 21));
        assert_eq!(show(&slots, &nairobi), expected, "{windows:?} {minutes}");
        assert!(slots.iter().all(|s| s.end.duration_since(s.start).as_mins() == i64::from(minutes)));
    }
}

#[test]
fn days_are_days_of_the_clinic() {
    // 23:00 on Saturday in Nairobi is 20:00 UTC; 01:00 on Sunday is 22:00 UTC on Saturday.
    let nairobi = zone("Africa/Nairobi");
    let mut rules = every_day(&[], 30);
    rules.weekly.push(Hours { day: Day::Sun, start: minute("00:00"), end: minute("01:00") });
    assert!(offered(&rules, &nairobi, date(2026, 11, 21)).is_empty());
    let slots = offered(&rules, &nairobi, date(2026, 11, 22));
    assert_eq!(slots[0].start.to_string(), "2026-11-21T21:00:00Z");
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    assert_eq!(at(&rules, &nairobi, slots[0].start, now).unwrap(), slots[0]);
}

#[test]
fn leap_day_is_a_day() {
    let nairobi = zone("Africa/Nairobi");
    let rules = every_day(&[("08:00", "09:00")], 60);
    let now: Timestamp = "2028-02-01T00:00:00Z".parse().unwrap();
    let dates: Vec<String> = free(&rules, &nairobi, date(2028, 2, 28), 3, now, &[])
        .into_iter()
        .map(|(d, _)| d.to_string())
        .collect();
    assert_eq!(dates, ["2028-02-28", "2028-02-29", "2028-03-01"]);
}

#[test]
fn exceptions_cut_and_add() {
    let nairobi = zone("Africa/Nairobi");
    let day = date(2026, 11, 23);
    type Case = (Vec<(Option<(&'static str, &'static str)>, bool)>, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        (vec![], vec!["08:00", "08:30", "09:00", "09:30"]),
        (vec![(None, false)], vec![]),
        (vec![(Some(("08:40", "09:10")), false)], vec!["08:00", "09:30"]),
        (vec![(Some(("08:30", "09:00")), false)], vec!["08:00", "09:00", "09:30"]),
        (vec![(Some(("10:00", "11:00")), true)], vec!["08:00", "08:30", "09:00", "09:30", "10:00", "10:30"]),
        (vec![(Some(("09:00", "10:30")), true)], vec!["08:00", "08:30", "09:00", "09:30", "10:00"]),
        (
            vec![(Some(("10:00", "11:00")), true), (Some(("10:30", "12:00")), false)],
            vec!["08:00", "08:30", "09:00", "09:30", "10:00"],
        ),
        (vec![(Some(("08:00", "09:00")), false), (Some(("08:30", "09:30")), false)], vec!["09:30"]),
        (vec![(None, false), (Some(("08:00", "09:00")), true)], vec![]),
    ];
    for (exceptions, expected) in cases {
        let mut rules = every_day(&[("08:00", "10:00")], 30);
        for (window, available) in &exceptions {
            except(&mut rules, day, *window, *available);
        }
        assert_eq!(show(&offered(&rules, &nairobi, day), &nairobi), expected, "{exceptions:?}");
        let next = offered(&rules, &nairobi, date(2026, 11, 24));
        assert_eq!(next.len(), 4, "the next day is as always: {exceptions:?}");
    }
}

#[test]
fn clocks_that_change_neither_lose_nor_double_time() {
    for (name, day, windows, expected) in [
        // Cairo springs forward at 00:00 on 24 April 2026: the day starts at 01:00.
        ("Africa/Cairo", date(2026, 4, 24), ("00:00", "03:00"), vec!["01:00", "02:00"]),
        // London: 01:00–02:00 does not exist on 29 March 2026.
        ("Europe/London", date(2026, 3, 29), ("00:00", "04:00"), vec!["00:00", "02:00", "03:00"]),
        // A window inside the jump is no time at all.
        ("Europe/London", date(2026, 3, 29), ("01:00", "02:00"), vec![]),
        // London: 01:00–02:00 comes twice on 25 October 2026.
        ("Europe/London", date(2026, 10, 25), ("00:00", "03:00"), vec!["00:00", "01:00", "01:00", "02:00"]),
        ("Africa/Nairobi", date(2026, 10, 25), ("00:00", "03:00"), vec!["00:00", "01:00", "02:00"]),
        // Casablanca leaves Ramadan time on 22 March 2026: 02:00 becomes 03:00.
        ("Africa/Casablanca", date(2026, 3, 22), ("01:00", "05:00"), vec!["01:00", "03:00", "04:00"]),
    ] {
        let zone = zone(name);
        let slots = offered(&every_day(&[windows], 60), &zone, day);
        assert_eq!(show(&slots, &zone), expected, "{name} {day}");
        for pair in slots.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{name}: slots overlap");
        }
        for slot in &slots {
            assert_eq!(slot.end.duration_since(slot.start).as_mins(), 60, "{name}: a slot has its length");
        }
    }
}

#[test]
fn what_is_taken_or_too_soon_is_not_free() {
    let nairobi = zone("Africa/Nairobi");
    let mut rules = every_day(&[("08:00", "10:00")], 30);
    rules.lead_minutes = 45;
    let day = date(2026, 11, 23);
    let all = offered(&rules, &nairobi, day);
    let now: Timestamp = "2026-11-23T05:00:00Z".parse().unwrap(); // 08:00 in Nairobi
    let part = Span { start: all[2].start + SignedDuration::from_mins(25), end: all[2].end };
    let found = free(&rules, &nairobi, day, 1, now, &[part]);
    assert_eq!(show(&found[0].1, &nairobi), ["09:30"], "08:00 and 08:30 are too soon, 09:00 is partly taken");
    let next = next_free(&rules, &nairobi, now, now, &[part], 3);
    assert_eq!(show(&next, &nairobi), ["09:30", "08:00", "08:30"], "goes on the next day");
    for (start, code) in [
        (all[0].start, "slot-past"),
        (all[1].start, "slot-too-soon"),
        (all[3].start + SignedDuration::from_mins(5), "slot-not-offered"),
    ] {
        assert_eq!(at(&rules, &nairobi, start, now).unwrap_err().code, code);
    }
    assert!(at(&rules, &nairobi, all[3].start, now).is_ok());
    let touching = Span { start: all[3].end, end: all[3].end + SignedDuration::from_mins(30) };
    assert!(!touching.overlaps(&all[3]));
}

#[test]
fn nobody_looks_further_than_the_limits() {
    let nairobi = zone("Africa/Nairobi");
    let now: Timestamp = "2026-11-23T05:00:00Z".parse().unwrap();
    let rules = every_day(&[("08:00", "10:00")], 30);
    assert_eq!(free(&rules, &nairobi, date(2026, 12, 1), 400, now, &[]).len(), usize::from(DAYS_MAX));
    assert!(next_free(&KindSchedule::closed(), &nairobi, now, now, &[], 5).is_empty());
    assert!(free(&rules, &nairobi, Date::MAX, 5, now, &[]).len() <= 1);
}
