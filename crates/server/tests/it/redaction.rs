//! What leaves the program by other ways than FHIR: papers, answers of `/api/v1`, messages and notices. A sealed fact is in
//! none of them for who may not see it, and an SMS or e-mail tells nothing clinical to anybody.

use crate::harness::{Signed, World};
use crate::paper::texts;
use crate::visit::{Clinic, expect};
use access::Role;
use serde_json::{Value, json};

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";
const LOINC: &str = "http://loinc.org";

fn item(id: &str, name: &str, instructions: &str) -> Value {
    json!({"medicine_id": id, "name": name, "form": "tablet", "dose": "500 mg", "route": "by mouth",
        "frequency_code": "BD", "frequency_text": "", "duration_days": 5, "quantity": 10,
        "instructions": instructions, "refills": 0})
}

/// Somebody who treats her too, and knows nothing of her seals.
async fn another_doctor(clinic: &Clinic) -> Signed {
    let other = clinic.world.staff("other", Role::Doctor).await;
    clinic
        .world
        .put(json!({"resourceType": "Encounter", "status": "in-progress", "class": {"code": "AMB"},
            "subject": {"reference": format!("Patient/{}", clinic.patient.id())},
            "participant": [{"individual": {"reference": format!("Practitioner/{}", other.id())}}]}))
        .await;
    other
}

/// A finished visit with a sealed diagnosis and a sealed medicine beside open ones; its id.
async fn visit(clinic: &Clinic) -> String {
    let (patient, doctor) = (&clinic.patient, &clinic.doctor);
    let start = clinic.free().await.remove(1);
    let booked = expect(201, clinic.book(patient, &start).await).await;
    let id = booked["id"].as_str().unwrap().to_owned();
    let visit = format!("/api/v1/consultations/{id}");
    let device = json!({"device": {"camera": true, "microphone": true, "relay": false, "audio_only": false}});
    expect(200, patient.post(&format!("{visit}/join"), device).await).await;
    expect(200, doctor.post(&format!("{visit}/admit"), json!({})).await).await;
    let note = json!({"reason": "Cough", "findings": "Zirconium", "assessment": "Palladium", "plan": "Start TLD",
        "diagnoses": [{"code": "B24", "display": "Unspecified HIV disease", "system": ICD},
            {"code": "J06.9", "display": "Common cold", "system": ICD}]});
    expect(200, doctor.put(&format!("{visit}/note"), note).await).await;
    let items = json!({"items": [item("tld-tab", "dolutegravir combined", "At night"),
        item("amoxicillin-cap", "amoxicillin", "After food")]});
    expect(200, doctor.put(&format!("{visit}/prescription"), items).await).await;
    expect(
        200,
        doctor.post(&format!("{visit}/prescription/sign"), json!({"acknowledge_warnings": true})).await,
    )
    .await;
    expect(200, doctor.post(&format!("{visit}/finish"), json!({})).await).await;
    id
}

async fn paper(who: &Signed, visit: &str) -> String {
    texts(&who.bytes(&format!("/api/v1/prescriptions/{visit}/pdf")).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paper_shows_what_its_reader_may_see() {
    let clinic = Clinic::open().await;
    let visit = visit(&clinic).await;
    let other = another_doctor(&clinic).await;
    clinic
        .world
        .put(json!({"resourceType": "AllergyIntolerance", "patient": {"reference": format!("Patient/{}", clinic.patient.id())},
            "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}]},
            "meta": {"security": [{"system": access::seal::ACT_CODE, "code": "HIV"}]}, "code": {"text": "Abacavir"}}))
        .await;
    for who in [&clinic.doctor, &clinic.patient] {
        let paper = paper(who, &visit).await;
        assert!(paper.contains("amoxicillin") && paper.contains("dolutegravir"), "{paper}");
    }
    let owned = paper(&clinic.patient, &visit).await;
    assert!(owned.contains("Abacavir") && owned.contains("At night"), "{owned}");
    let cut = paper(&other, &visit).await;
    assert!(cut.contains("amoxicillin") && cut.contains("After food"), "{cut}");
    for secret in ["dolutegravir", "At night", "Abacavir", "HIV"] {
        assert!(!cut.contains(secret), "{secret} in {cut}");
    }

    // The code on the paper leads to what stands on that paper.
    let read =
        async |who: &Signed| expect(200, who.get(&format!("/api/v1/prescriptions/{visit}")).await).await;
    let anybody = clinic.world.anonymous();
    for (who, names) in
        [(&clinic.patient, vec!["dolutegravir", "amoxicillin"]), (&other, vec!["amoxicillin"])]
    {
        let shown = read(who).await;
        let url = shown["verify_url"].as_str().unwrap();
        let token = url.rsplit('/').next().unwrap();
        let found = expect(200, anybody.get(&format!("/api/v1/verify/{token}")).await).await;
        assert_eq!(found["valid"], true, "{found}");
        assert_eq!(found["items"].as_array().unwrap().len(), names.len(), "{found}");
        let text = found.to_string();
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
    }
    let three = format!("{0}-{0}-{0}", "0".repeat(32));
    assert_eq!(anybody.get(&format!("/api/v1/verify/{three}")).await.1["valid"], false);
    clinic.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_name_what_they_leave_out() {
    let clinic = Clinic::open().await;
    let visit = visit(&clinic).await;
    let other = another_doctor(&clinic).await;
    let id = clinic.patient.id().to_owned();
    let pages = [
        format!("/api/v1/consultations/{visit}/note"),
        format!("/api/v1/consultations/{visit}/prescription"),
        format!("/api/v1/patients/{id}/chart"),
        format!("/api/v1/patients/{id}/visits"),
    ];
    for page in &pages {
        let shown = expect(200, other.get(page).await).await;
        for secret in
            ["B24", "HIV", "dolutegravir", "tld-tab", "Zirconium", "Palladium", "TLD", "masked", "SUBSETTED"]
        {
            assert!(!shown.to_string().contains(secret), "{page}: {secret} in {shown}");
        }
        for who in [&clinic.doctor, &clinic.patient] {
            let whole = expect(200, who.get(page).await).await;
            assert!(!whole.to_string().contains("\"hidden\""), "{page}: {whole}");
        }
    }
    let note = other.get(&pages[0]).await.1;
    assert_eq!(
        note["hidden"],
        json!(["reason", "findings", "assessment", "diagnoses", "plan", "follow_up"]),
        "{note}"
    );
    assert_eq!(note["diagnoses"].as_array().unwrap().len(), 1, "{note}");
    let visits = other.get(&pages[3]).await.1;
    let own =
        visits["items"].as_array().unwrap().iter().find(|v| v["consultation_id"] == visit.as_str()).unwrap();
    assert_eq!(own["hidden"], json!(["diagnoses"]), "{own}");
    let amended =
        json!({"version": note["version"], "reason": "Cough", "assessment": "Cold", "plan": "Rest"});
    let saved = other.post(&format!("{}/amend", pages[0]), amended).await;
    assert_eq!((saved.0, &saved.1["code"]), (409, &json!("hidden-parts")), "{}", saved.1);
    clinic.world.stop().await;
}

/// What a message could give away.
const CLINICAL: [&str; 9] =
    ["HIV", "B24", "Zirconium", "Palladium", "dolutegravir", "amoxicillin", "tld", "cold", "Cough"];

async fn assert_silent(world: &World, expected: &[&str]) {
    let list =
        |tx: &mut dyn store::Tx| store::message::list(tx, &store::message::Filter::default(), None, 100);
    let sent = world.app().record.store_read(list).await.unwrap().rows;
    for message in &sent {
        for word in CLINICAL {
            assert!(!message.body.contains(word), "{}: {word} in {}", message.template, message.body);
        }
    }
    for template in expected {
        assert!(
            sent.iter().any(|m| m.template.starts_with(template)),
            "no {template} among {:?}",
            templates(&sent)
        );
    }
}

fn templates(sent: &[store::message::Message]) -> Vec<&str> {
    sent.iter().map(|m| m.template.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_notices_say_nothing_clinical() {
    let clinic = Clinic::open().await;
    let world = &clinic.world;
    let free = clinic.free().await;
    let why = "Cough; HIV result Zirconium";
    let booked = expect(201, clinic.book_for(&clinic.patient, &free[4], why).await).await;
    let path = format!("/api/v1/appointments/{}", booked["id"].as_str().unwrap());
    let hospital = care::Clinic {
        name: "Clinic".into(),
        phone: "+254709000000".into(),
        currency: "KES".into(),
        zone: jiff::tz::TimeZone::UTC,
        public_url: world.url().to_owned(),
    };
    for (job, before) in [(1, "day"), (2, "hour")] {
        let data = json!({"appointment": booked["id"], "start": booked["start"], "before": before});
        care::appointment::remind(&world.app().record, &hospital, job, &data).await.unwrap();
    }
    let moved = json!({"start": free[6]});
    expect(200, clinic.patient.post(&format!("{path}/reschedule"), moved).await).await;
    expect(200, clinic.desk.post(&format!("{path}/cancel"), json!({"reason": "Zirconium"})).await).await;
    let visit = visit(&clinic).await;

    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let stranger = world.staff("stranger", Role::Doctor).await;
    let ask = json!({"patient_id": clinic.patient.id(), "reason": "unconscious", "explanation": "Zirconium, HIV known?"});
    expect(201, stranger.post("/api/v1/emergency-access", ask).await).await;
    let cashier = world.staff("cashier", Role::Cashier).await;
    let bills =
        expect(200, cashier.get(&format!("/api/v1/invoices?patient_id={}", clinic.patient.id())).await).await;
    let bill = bills["items"][0]["id"].as_str().unwrap();
    let cash = json!({"method": "cash", "amount_minor": 100_000});
    let paid = expect(201, cashier.post(&format!("/api/v1/invoices/{bill}/payments"), cash).await).await;
    let receipt =
        texts(&cashier.bytes(&format!("/api/v1/payments/{}/receipt", paid["id"].as_str().unwrap())).await);
    assert!(receipt.contains("Video visit"), "{receipt}");
    for word in CLINICAL {
        assert!(!receipt.contains(word), "{word} in {receipt}");
    }
    assert!(!visit.is_empty());
    assert_silent(
        world,
        &[
            "appointment.booked",
            "appointment.rescheduled",
            "appointment.cancelled",
            "appointment.reminder-day",
            "appointment.reminder-hour",
            "emergency",
        ],
    )
    .await;

    // What people are told inside the program names who and when; the reason stands where it is reviewed.
    let mut told = 0;
    for who in [&officer, &clinic.patient, &clinic.doctor, &clinic.desk] {
        let notices = expect(200, who.get("/api/v1/notices").await).await;
        told += notices["items"].as_array().unwrap().len();
        for word in CLINICAL {
            assert!(!notices.to_string().contains(word), "{word} in {notices}");
        }
    }
    assert!(told > 0);
    clinic.world.stop().await;
}

/// A line of a bill that says more than its reader may know, as it comes from another program.
#[tokio::test(flavor = "multi_thread")]
async fn a_bill_hides_a_sealed_line() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let cashier = world.staff("cashier", Role::Cashier).await;
    let line = |code: &str, display: &str, system: &str| {
        json!({"chargeItemCodeableConcept": {"coding": [{"system": system, "code": code, "display": display}]},
            "priceComponent": [{"type": "base", "factor": 1, "amount": {"value": 500.00, "currency": "KES"}}]})
    };
    let invoice = world
        .put(json!({"resourceType": "Invoice", "status": "issued", "date": "2026-11-20T08:00:00Z",
            "identifier": [{"system": "https://uzima.health/fhir/identifier/invoice", "value": "7KQ4M2PXWA"}],
            "subject": {"reference": format!("Patient/{}", amina.id()), "display": "Amina Wanjiru"},
            "lineItem": [line("25836-8", "HIV viral load", LOINC), line("visit", "Visit", "https://uzima.health/fhir/CodeSystem/price")],
            "totalGross": {"value": 1000.00, "currency": "KES"}}))
        .await;
    let path = format!("/api/v1/invoices/{}", invoice.id);
    let shown = expect(200, cashier.get(&path).await).await;
    assert!(!shown.to_string().contains("viral") && !shown.to_string().contains("25836"), "{shown}");
    assert_eq!(
        (&shown["lines"][0]["hidden"], &shown["lines"][1]["display"]),
        (&json!(true), &json!("Visit")),
        "{shown}"
    );
    assert_eq!(shown["total"]["amount_minor"], 100_000);
    let own = expect(200, amina.get(&path).await).await;
    assert_eq!(own["lines"][0]["display"], "HIV viral load", "{own}");
    world.stop().await;
}
