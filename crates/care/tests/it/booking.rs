//! Free times, booking, moving, cancelling, and two people at once.

use crate::bench::minutes;
use crate::{each_engine, name};
use access::{Ctx, Role};
use care::appointment::{self, Filter, PaymentStatus, Status};
use care::provider;
use care::schedule::{self, Kind};
use record::Error;

#[tokio::test]
async fn a_patient_finds_a_doctor_and_books() {
    each_engine(async |bench| {
        let (record, clinic, ctx) = (&bench.record, &bench.clinic, bench.patient("p1"));
        let filter =
            provider::Filter { language: Some("sw".into()), name: Some("otie".into()), ..Default::default() };
        let found = provider::list(record, &ctx, clinic, &filter, 25, None).await.unwrap();
        assert_eq!(found.items.len(), 1);
        let doctor = &found.items[0];
        assert_eq!(doctor.fee.video.as_ref().unwrap().amount_minor, 100_000);
        assert_eq!(doctor.kinds, [Kind::Video, Kind::InPerson]);
        assert_eq!(doctor.next_free[0].start, "2026-11-23T05:20:00Z", "08:00 is too soon");
        assert_eq!(provider::specialties(record, &ctx).await.unwrap()[0].code, "394814009");
        let free = provider::availability(record, &ctx, clinic, "d1", Kind::Video, None, 2).await.unwrap();
        assert_eq!(free.days.len(), 2);
        assert_eq!(free.days[0].slots.len(), 23);

        let booked = appointment::book(record, &ctx, clinic, bench.video("10:00")).await.unwrap();
        assert_eq!((booked.status, booked.kind), (Status::Booked, Kind::Video));
        assert_eq!(booked.patient.record_number, "UZ-p1");
        assert_eq!(booked.provider.name, "Dr Test Otieno");
        assert_eq!(booked.fee.amount_minor, 100_000);
        assert_eq!(booked.payment_status, PaymentStatus::None);
        let after =
            provider::availability(record, &ctx, clinic, "d1", Kind::InPerson, None, 1).await.unwrap();
        assert_eq!(after.days[0].slots.len(), 22, "the time is gone for both kinds");
        let messages = bench.messages().await;
        assert_eq!(messages.len(), 1);
        assert!(messages[0].2.contains("imewekwa Jtatu 23 Nov 2026 10:00"), "{}", messages[0].2);
        assert!(!messages[0].2.contains("Cough"), "no clinical content in a message");
        let jobs = bench.jobs().await;
        assert_eq!(jobs.len(), 1, "an hour before; a day before is over");
        assert_eq!(jobs[0].0, bench.at("09:00"));

        let again = appointment::book(record, &ctx, clinic, bench.video("10:00")).await.unwrap();
        assert_eq!(again.id, booked.id, "sent twice is booked once");
        let other =
            appointment::book(record, &bench.patient("p2"), clinic, bench.video("10:00")).await.unwrap_err();
        let Error::Duplicate(rule) = &other else { panic!("{other:?}") };
        assert_eq!(rule.code, "slot-taken");
        assert_eq!(rule.details["next_free"].as_array().unwrap().len(), 5);
        assert_eq!(bench.topics().await, ["appointment.booked"]);
    })
    .await;
}

#[tokio::test]
async fn two_at_once_get_one_slot() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        for round in ["09:00", "09:20", "09:40"] {
            let (one, two) = (bench.patient("p1"), bench.patient("p2"));
            let (first, second) = tokio::join!(
                appointment::book(record, &one, clinic, bench.video(round)),
                appointment::book(record, &two, clinic, bench.video(round)),
            );
            let (won, lost) = if first.is_ok() { (first, second) } else { (second, first) };
            let won = won.unwrap();
            let lost = lost.unwrap_err();
            let Error::Duplicate(rule) = &lost else { panic!("{lost:?}") };
            assert_eq!(rule.code, "slot-taken");
            let next = rule.details["next_free"].as_array().unwrap();
            assert_eq!(next.len(), 5);
            assert!(next.iter().all(|slot| slot["start"] != won.start.as_str()), "{next:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_patient_is_in_one_place_at_a_time() {
    each_engine(async |bench| {
        let (record, clinic, ctx) = (&bench.record, &bench.clinic, bench.patient("p1"));
        appointment::book(record, &ctx, clinic, bench.video("10:00")).await.unwrap();
        let mut other = bench.video("10:00");
        other.provider_id = "d2".into();
        let error = appointment::book(record, &ctx, clinic, other).await.unwrap_err();
        assert_eq!(name(&error), "Duplicate patient-busy");
        let mut nobody = bench.video("10:20");
        nobody.provider_id = "d9".into();
        assert_eq!(
            name(&appointment::book(record, &ctx, clinic, nobody).await.unwrap_err()),
            "Rule provider-unknown"
        );
        let mut foreign = bench.video("10:20");
        foreign.patient_id = Some("p2".into());
        let error = appointment::book(record, &ctx, clinic, foreign.clone()).await.unwrap_err();
        assert_eq!(name(&error), "Denied");
        let desk = bench.staff(Role::FrontDesk);
        assert_eq!(appointment::book(record, &desk, clinic, foreign).await.unwrap().patient.id, "p2");
        for (time, code) in [
            ("07:00", "Rule slot-past"),
            ("08:05", "Rule slot-not-offered"),
            ("16:00", "Rule slot-not-offered"),
        ] {
            let error = appointment::book(record, &ctx, clinic, bench.video(time)).await.unwrap_err();
            assert_eq!(name(&error), code, "{time}");
        }
    })
    .await;
}

#[tokio::test]
async fn moving_and_cancelling_free_the_time() {
    each_engine(async |bench| {
        let (record, clinic, ctx) = (&bench.record, &bench.clinic, bench.patient("p1"));
        let booked = appointment::book(record, &ctx, clinic, bench.video("10:00")).await.unwrap();
        let to = bench.at("15:00");
        let moved = appointment::reschedule(record, &ctx, clinic, &booked.id, to, None, Some(booked.version))
            .await
            .unwrap();
        assert_eq!(moved.start, to.to_string());
        let stale = appointment::reschedule(
            record,
            &ctx,
            clinic,
            &booked.id,
            bench.at("14:00"),
            None,
            Some(booked.version),
        );
        assert_eq!(name(&stale.await.unwrap_err()), "VersionConflict");
        assert_eq!(bench.jobs().await.len(), 1, "the old reminder is gone");
        assert_eq!(bench.jobs().await[0].0, bench.at("14:00"));
        appointment::book(record, &bench.patient("p2"), clinic, bench.video("10:00")).await.unwrap();
        let back =
            appointment::reschedule(record, &ctx, clinic, &booked.id, bench.at("10:00"), None, None).await;
        assert_eq!(name(&back.unwrap_err()), "Duplicate slot-taken");
        let foreign = appointment::cancel(record, &bench.patient("p2"), clinic, &booked.id, None, None).await;
        assert!(matches!(foreign.unwrap_err(), Error::NotFound));
        let cancelled = appointment::cancel(record, &ctx, clinic, &booked.id, Some("Feeling better"), None)
            .await
            .unwrap();
        assert_eq!(
            (cancelled.status, cancelled.cancel_reason.as_deref()),
            (Status::Cancelled, Some("Feeling better"))
        );
        let twice = appointment::cancel(record, &ctx, clinic, &booked.id, None, None).await.unwrap();
        assert_eq!(twice.version, cancelled.version, "cancelling twice changes nothing");
        assert!(bench.jobs().await.iter().all(|(_, data)| data["appointment"] != booked.id.as_str()));
        appointment::book(record, &bench.patient("p2"), clinic, bench.video("15:00")).await.unwrap();
        let templates: Vec<String> =
            bench.messages().await.into_iter().map(|(template, ..)| template).collect();
        assert!(
            ["appointment.rescheduled", "appointment.cancelled"]
                .iter()
                .all(|t| templates.contains(&(*t).to_owned()))
        );
    })
    .await;
}

#[tokio::test]
async fn the_desk_sees_the_day_and_patients_their_own() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        let one =
            appointment::book(record, &bench.patient("p1"), clinic, bench.video("10:00")).await.unwrap();
        appointment::book(record, &bench.patient("p2"), clinic, bench.video("09:00")).await.unwrap();
        let day = Filter {
            from: Some(jiff::civil::date(2026, 11, 23)),
            to: Some(jiff::civil::date(2026, 11, 23)),
            ..Default::default()
        };
        let count = async |ctx: &Ctx, filter: &Filter| {
            appointment::list(record, ctx, clinic, filter, 25, None).await.unwrap().items.len()
        };
        let desk = bench.staff(Role::FrontDesk);
        assert_eq!(count(&desk, &day).await, 2);
        assert_eq!(count(&bench.patient("p1"), &Filter::default()).await, 1);
        assert_eq!(count(&bench.doctor("d1"), &day).await, 2);
        assert_eq!(count(&bench.doctor("d2"), &day).await, 0);
        let tomorrow = Filter { from: Some(jiff::civil::date(2026, 11, 24)), ..Default::default() };
        assert_eq!(count(&desk, &tomorrow).await, 0);
        let first = appointment::list(record, &desk, clinic, &day, 1, None).await.unwrap();
        assert_eq!(first.items[0].start, bench.at("09:00").to_string(), "by start");
        let second = appointment::list(record, &desk, clinic, &day, 1, first.next.as_deref()).await.unwrap();
        assert_eq!(second.items[0].id, one.id);
        let early = appointment::no_show(record, &desk, clinic, &one.id, None).await.unwrap_err();
        assert_eq!(name(&early), "Rule noshow-too-early");
        assert!(matches!(
            appointment::no_show(record, &bench.patient("p1"), clinic, &one.id, None).await,
            Err(Error::Denied)
        ));
        bench.turn(150);
        let desk = bench.staff(Role::FrontDesk);
        assert_eq!(
            appointment::no_show(record, &desk, clinic, &one.id, None).await.unwrap().status,
            Status::Noshow
        );
    })
    .await;
}

#[tokio::test]
async fn a_reminder_goes_out_once_and_only_for_a_visit_that_stands() {
    each_engine(async |bench| {
        let (record, clinic, ctx) = (&bench.record, &bench.clinic, bench.patient("p1"));
        let booked = appointment::book(record, &ctx, clinic, bench.video("15:00")).await.unwrap();
        let (at, data) = bench.jobs().await.remove(0);
        assert_eq!(at, bench.at("15:00") - minutes(60));
        for _ in 0..2 {
            appointment::remind(record, clinic, 7, &data).await.unwrap();
        }
        let reminders =
            async || bench.messages().await.iter().filter(|(t, ..)| t == "appointment.reminder-hour").count();
        assert_eq!(reminders().await, 1);
        appointment::cancel(record, &ctx, clinic, &booked.id, None, None).await.unwrap();
        appointment::remind(record, clinic, 8, &data).await.unwrap();
        assert_eq!(reminders().await, 1, "not for a cancelled visit");
    })
    .await;
}

#[tokio::test]
async fn hours_are_set_by_those_who_may() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        let own = bench.doctor("d1");
        let mut hours = schedule::load(record, &own, "d1").await.unwrap();
        hours.kinds.video.weekly.clear();
        assert!(matches!(
            schedule::put(record, &bench.doctor("d2"), "d1", hours.clone()).await,
            Err(Error::Denied)
        ));
        assert!(matches!(
            schedule::put(record, &bench.patient("p1"), "d1", hours.clone()).await,
            Err(Error::Denied)
        ));
        let saved = schedule::put(record, &own, "d1", hours.clone()).await.unwrap();
        assert!(saved.version > hours.version && saved.kinds == hours.kinds);
        let stale = schedule::put(record, &bench.staff(Role::FrontDesk), "d1", hours).await.unwrap_err();
        assert_eq!(name(&stale), "VersionConflict");
        let none =
            appointment::book(record, &bench.patient("p1"), clinic, bench.video("10:00")).await.unwrap_err();
        assert_eq!(name(&none), "Rule slot-not-offered");
        assert!(bench.topics().await.contains(&"schedule.changed".to_owned()));
    })
    .await;
}
