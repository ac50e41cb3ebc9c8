//! The chart, also of imported records.

use crate::{each_engine, name};
use access::Role;
use care::chart::{self, AllergiesRecorded, AllergyNew, EntryKind, ProblemNew};
use care::vocabulary::{ICD10, NO_KNOWN_ALLERGY};
use care::{appointment, consultation};
use fhir::Resource;
use record::{Change, ChangeSet, Error};
use serde_json::json;

fn allergy(text: &str, code: Option<&str>) -> AllergyNew {
    AllergyNew { code: code.map(str::to_owned), text: text.into(), reaction: None, criticality: None }
}

#[tokio::test]
async fn allergies_are_asked_denied_or_listed() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        appointment::book(record, &bench.patient("p1"), clinic, bench.video("10:00")).await.unwrap();
        let doctor = bench.doctor("d1");
        let recorded = async || chart::chart(record, &doctor, clinic, "p1").await.unwrap().allergies;
        assert_eq!(recorded().await.recorded, AllergiesRecorded::NotRecorded);
        chart::add_allergy(record, &doctor, "p1", &allergy("No known allergies", Some(NO_KNOWN_ALLERGY)))
            .await
            .unwrap();
        assert_eq!(recorded().await.recorded, AllergiesRecorded::NoneKnown);
        let peanut = chart::add_allergy(record, &doctor, "p1", &allergy("Peanut", None)).await.unwrap();
        assert_eq!((recorded().await.recorded, recorded().await.items.len()), (AllergiesRecorded::Listed, 1));
        let none = chart::add_allergy(record, &doctor, "p1", &allergy("None", Some(NO_KNOWN_ALLERGY)))
            .await
            .unwrap_err();
        assert_eq!(name(&none), "Rule allergies-listed");
        for _ in 0..2 {
            chart::entered_in_error(record, &doctor, "p1", EntryKind::Allergies, &peanut.id).await.unwrap();
        }
        let after = recorded().await;
        assert_eq!(
            (after.recorded, after.items[0].status.as_str()),
            (AllergiesRecorded::NotRecorded, "entered-in-error")
        );
        let wrong = chart::entered_in_error(record, &doctor, "p2", EntryKind::Allergies, &peanut.id)
            .await
            .unwrap_err();
        assert_eq!(name(&wrong), "Rule entry-other");
        assert!(matches!(
            chart::chart(record, &bench.doctor("d2"), clinic, "p1").await,
            Err(Error::NotFound | Error::Denied)
        ));
        let desk = chart::chart(record, &bench.staff(Role::FrontDesk), clinic, "p1").await;
        assert!(matches!(desk, Err(Error::Denied)), "an empty chart would say that there are no allergies");
        chart::chart(record, &bench.patient("p1"), clinic, "p1").await.unwrap();
        let mut problem = ProblemNew {
            code: "I10".into(),
            display: "Hypertension".into(),
            system: ICD10.into(),
            onset: Some("2020-05".into()),
        };
        chart::add_problem(record, &doctor, "p1", &problem).await.unwrap();
        assert_eq!(
            name(&chart::add_problem(record, &doctor, "p1", &problem).await.unwrap_err()),
            "Rule problem-known"
        );
        problem.code = "E14.9".into();
        problem.onset = Some("2099".into());
        assert_eq!(
            name(&chart::add_problem(record, &doctor, "p1", &problem).await.unwrap_err()),
            "Rule date-future"
        );
        assert!(matches!(
            chart::add_problem(record, &bench.patient("p1"), "p1", &problem).await,
            Err(Error::Denied)
        ));
    })
    .await;
}

#[tokio::test]
async fn imported_records_are_read_as_they_are() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        let patient = json!({"reference": "Patient/p1"});
        let visit = json!({"reference": "Encounter/old"});
        let loinc = |code: &str| json!({"coding": [{"system": "http://loinc.org", "code": code}]});
        let vital = |id: &str, code: &str, value: serde_json::Value, at: &str| {
            json!({"resourceType": "Observation", "id": id, "status": "final",
                "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
                "code": loinc(code), "subject": patient, "effectiveDateTime": at,
                "valueQuantity": {"value": value, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}})
        };
        let rows = [
            json!({"resourceType": "Encounter", "id": "old", "status": "finished", "subject": patient,
                "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
                "participant": [{"individual": {"reference": "Practitioner/d1", "display": "Dr Old"}}],
                "period": {"start": "2020-01-01T08:00:00+03:00", "end": "2020-01-01T08:30:00+03:00"},
                "diagnosis": [{"condition": {"reference": "Condition/c1"}}]}),
            json!({"resourceType": "Condition", "id": "c1", "subject": patient, "encounter": visit,
                "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "resolved"}]},
                "code": {"coding": [{"system": "http://snomed.info/sct", "code": "195662009", "display": "Acute viral pharyngitis"}]}}),
            json!({"resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order", "subject": patient,
                "encounter": visit, "authoredOn": "2020-01-01T08:30:00+03:00",
                "groupIdentifier": {"system": "https://uzima.health/fhir/identifier/prescription", "value": "g1"},
                "medicationCodeableConcept": {"text": "Amlodipine tablet 5 mg"},
                "dosageInstruction": [{"text": "5 mg oral once daily for 30 days"}],
                "dispenseRequest": {"expectedSupplyDuration": {"value": 30, "unit": "days", "system": "http://unitsofmeasure.org", "code": "d"}}}),
            vital("w1", "29463-7", serde_json::from_str("70.123456").unwrap(), "2020-01-01T08:00:00+03:00"),
            vital("w2", "29463-7", json!(72), "2021-01-01T05:00:00Z"),
        ];
        let changes = rows.into_iter().map(|row| Change::Create { resource: Resource::from_value(row).unwrap() }).collect();
        let system = bench.system();
        record.command(&system, "test.seed", ChangeSet { changes, ..ChangeSet::default() }).await.unwrap();
        let own = bench.patient("p1");
        let found = chart::chart(record, &own, clinic, "p1").await.unwrap();
        assert_eq!(found.problems[0].status, "resolved");
        assert_eq!(found.medications[0].status, "completed", "its 30 days are over");
        assert_eq!(found.medications[0].line, "Amlodipine tablet 5 mg – 5 mg oral once daily for 30 days");
        let weight = &found.vitals[0];
        assert_eq!((weight.value.as_str(), weight.previous.as_ref().unwrap().value.as_str()), ("72", "70.12"));
        assert_eq!(weight.series.len(), 2);
        assert_eq!(found.visits[0].diagnoses[0].display, "Acute viral pharyngitis");
        assert_eq!(found.visits[0].prescription_id.as_deref(), Some("old"));
        let visit = consultation::get(record, &own, clinic, "old").await.unwrap();
        assert_eq!(visit.state, consultation::State::Finished);
        let paper = care::prescription::pdf(record, &own, clinic, "old", care::texts::Language::English).await.unwrap();
        assert!(paper.starts_with(b"%PDF-"));
    })
    .await;
}

#[tokio::test]
async fn imported_appointments_take_their_time() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        let row = |id: &str, patient: &str| {
            json!({"resourceType": "Appointment", "id": id, "status": "booked",
                "start": bench.at("10:00").to_string(), "end": bench.at("10:20").to_string(),
                "participant": [{"actor": {"reference": format!("Patient/{patient}")}, "status": "accepted"},
                    {"actor": {"reference": "Practitioner/d1"}, "status": "accepted"}]})
        };
        let changes = [row("i1", "p1"), row("i2", "p2")]
            .map(|row| Change::Create { resource: Resource::from_value(row).unwrap() });
        record
            .command(
                &bench.system(),
                "test.seed",
                ChangeSet { changes: changes.into(), ..ChangeSet::default() },
            )
            .await
            .unwrap();
        for _ in 0..2 {
            assert_eq!(
                appointment::adopt(record, 100).await.unwrap(),
                (1, 1),
                "the second overlaps the first"
            );
        }
        let taken =
            appointment::book(record, &bench.patient("p2"), clinic, bench.video("10:00")).await.unwrap_err();
        assert_eq!(name(&taken), "Duplicate slot-taken");
    })
    .await;
}
