//! Registration at the desk.

use crate::{each_engine, name};
use access::Role;
use care::patient::{self, NextOfKin, PatientAddress, PatientChange, PatientNew};
use record::Error;

fn form() -> PatientNew {
    PatientNew {
        given: "Amina  Wairimũ".into(),
        family: "Njoroge".into(),
        birth_date: "1992-02-29".into(),
        sex: "female".into(),
        phone: Some("0712 345 678".into()),
        language: Some("sw".into()),
        address: Some(PatientAddress { county: Some("Nakuru".into()), town: None }),
        next_of_kin: Some(NextOfKin {
            name: "Peter".into(),
            phone: "0712345679".into(),
            relationship: "husband".into(),
        }),
        ..PatientNew::default()
    }
}

#[tokio::test]
async fn the_desk_registers_and_is_warned_of_duplicates() {
    each_engine(async |bench| {
        let (record, clinic, desk) = (&bench.record, &bench.clinic, bench.staff(Role::FrontDesk));
        let new = patient::create(record, &desk, clinic, &form(), false).await.unwrap();
        assert_eq!((new.phone.as_str(), new.name.given.as_str()), ("+254712345678", "Amina Wairimũ"));
        assert!(new.record_number.starts_with("UZ-"));
        assert_eq!(new.next_of_kin.as_ref().unwrap().phone, "+254712345679");
        let again = patient::create(record, &desk, clinic, &form(), false).await.unwrap_err();
        let Error::Duplicate(rule) = &again else { panic!("{again:?}") };
        assert_eq!(rule.code, "possible-duplicate");
        assert_eq!(rule.details["candidates"][0]["id"], new.id.as_str());
        let twin = patient::create(record, &desk, clinic, &form(), true).await.unwrap();
        assert_ne!(twin.record_number, new.record_number);
        assert!(matches!(
            patient::create(record, &bench.patient("p1"), clinic, &form(), true).await,
            Err(Error::Denied)
        ));
        for text in ["njoroge", "0712345678", new.record_number.as_str(), "amina njor"] {
            let found = patient::search(record, &desk, text, 25, None).await.unwrap();
            assert!(found.items.iter().any(|row| row.id == new.id), "{text}");
        }
        assert!(matches!(
            patient::search(record, &bench.patient("p1"), "njoroge", 25, None).await,
            Err(Error::Denied)
        ));

        let change = PatientChange {
            version: Some(new.version),
            family: Some("Kamau".into()),
            ..PatientChange::default()
        };
        let changed = patient::update(record, &desk, clinic, &new.id, &change, None).await.unwrap();
        assert_eq!((changed.name.family.as_str(), changed.name.given.as_str()), ("Kamau", "Amina Wairimũ"));
        assert_eq!(
            name(&patient::update(record, &desk, clinic, &new.id, &change, None).await.unwrap_err()),
            "VersionConflict"
        );
        let own = PatientChange { language: Some("en".into()), ..PatientChange::default() };
        let mine = patient::update(record, &bench.patient("p1"), clinic, "p1", &own, None).await.unwrap();
        assert_eq!(mine.language, "en");
        let fixed = PatientChange { family: Some("X".into()), ..PatientChange::default() };
        let error =
            patient::update(record, &bench.patient("p1"), clinic, "p1", &fixed, None).await.unwrap_err();
        assert_eq!(name(&error), "Rule field-fixed");
        assert!(matches!(patient::get(record, &bench.patient("p2"), "p1").await, Err(Error::NotFound)));
        // A doctor who registers somebody has her in care.
        let mut other = form();
        other.family = "Chebet".into();
        other.birth_date = "1970-01-01".into();
        other.phone = None;
        let doctor = bench.doctor("d2");
        let hers = patient::create(record, &doctor, clinic, &other, false).await.unwrap();
        care::chart::chart(record, &doctor, clinic, &hers.id).await.unwrap();
    })
    .await;
}
