//! A visit over HTTP: booking, waiting room, call, note, prescription, end; and what happens to odd requests.

use crate::harness::{Signed, World, header};
use access::Role;
use serde_json::{Value, json};

/// A clinic with one doctor who is there day and night, one patient, and the desk.
pub struct Clinic {
    pub world: World,
    pub doctor: Signed,
    pub patient: Signed,
    pub desk: Signed,
}

impl Clinic {
    pub async fn open() -> Clinic {
        Clinic::open_with(|_| {}).await
    }

    pub async fn open_with(change: impl FnOnce(&mut server::Config)) -> Clinic {
        let world = World::start_with(change).await;
        let doctor = world.staff("doctor", Role::Doctor).await;
        let practitioner = format!("Practitioner/{}", doctor.id());
        let specialty = json!([{"coding": [{"system": "http://snomed.info/sct", "code": "394814009", "display": "General practice"}]}]);
        world
            .put(json!({"resourceType": "PractitionerRole", "active": true, "specialty": specialty,
                "practitioner": {"reference": practitioner}}))
            .await;
        let price = "visit-video-394814009";
        let coding = json!([{"system": "https://uzima.health/fhir/CodeSystem/price", "code": price}]);
        let base = json!({"type": "base", "amount": {"value": 1000, "currency": "KES"}});
        let definition = json!({"resourceType": "ChargeItemDefinition", "id": price, "status": "active",
            "title": "Video visit", "url": format!("https://uzima.health/fhir/ChargeItemDefinition/{price}"),
            "code": {"coding": coding}, "propertyGroup": [{"priceComponent": [base]}]});
        let definition = record::Change::Create { resource: crate::harness::resource(definition) };
        let app = world.app();
        app.record.command(&world.ctx(), "test.price", crate::harness::set(vec![definition])).await.unwrap();
        let always: Vec<Value> = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
            .iter()
            .map(|day| json!({"day": day, "start": "00:00", "end": "24:00"}))
            .collect();
        let hours = json!({"slot_minutes": 20, "lead_minutes": 0, "weekly": always, "exceptions": []});
        let path = format!("/api/v1/providers/{}/schedule", doctor.id());
        let (status, schedule) =
            doctor.put(&path, json!({"kinds": {"video": hours, "in-person": hours}})).await;
        assert_eq!(status, 200, "{schedule}");
        let patient = world.patient("Amina").await;
        let desk = world.staff("desk", Role::FrontDesk).await;
        Clinic { world, doctor, patient, desk }
    }

    pub async fn free(&self) -> Vec<String> {
        let path = format!("/api/v1/providers/{}/availability?kind=video&days=2", self.doctor.id());
        let (status, found) = self.patient.get(&path).await;
        assert_eq!(status, 200, "{found}");
        let days = found["days"].as_array().unwrap().iter();
        days.flat_map(|d| d["slots"].as_array().unwrap().clone())
            .map(|slot| slot["start"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn book(&self, who: &Signed, start: &str) -> (u16, Value) {
        self.book_for(who, start, "Cough").await
    }

    pub async fn book_for(&self, who: &Signed, start: &str, reason: &str) -> (u16, Value) {
        let body =
            json!({"provider_id": self.doctor.id(), "kind": "video", "start": start, "reason": reason});
        who.post("/api/v1/appointments", body).await
    }
}

pub async fn expect(status: u16, answer: (u16, Value)) -> Value {
    assert_eq!(answer.0, status, "{}", answer.1);
    answer.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_over_http() {
    let clinic = Clinic::open().await;
    let (patient, doctor) = (&clinic.patient, &clinic.doctor);
    let start = clinic.free().await.remove(1);
    let booked = expect(201, clinic.book(patient, &start).await).await;
    let id = booked["id"].as_str().unwrap();
    assert_eq!(booked["fee"]["amount_minor"], 100_000);
    let visit = format!("/api/v1/consultations/{id}");
    let device = json!({"device": {"camera": true, "microphone": true, "relay": false, "audio_only": false}});
    let grant = expect(200, patient.post(&format!("{visit}/join"), device.clone()).await).await;
    assert_eq!(grant["consultation"]["position"], 1);
    assert!(grant["session_token"].as_str().unwrap().len() >= 32);
    expect(403, patient.post(&format!("{visit}/admit"), json!({})).await).await;
    let queue = format!("/api/v1/consultations?state=waiting&provider_id={}", doctor.id());
    assert_eq!(expect(200, doctor.get(&queue).await).await["items"][0]["id"], id);
    expect(200, doctor.post(&format!("{visit}/admit"), json!({})).await).await;

    let note = format!("{visit}/note");
    let first = expect(200, doctor.put(&note, json!({"reason": "Cough", "plan": "Rest"})).await).await;
    let stale =
        doctor.request("PUT", &note).header("If-Match", "W/\"9\"").json(&json!({"reason": "x"})).send();
    assert_eq!(stale.await.unwrap().status().as_u16(), 412);
    let read = doctor.request("GET", &note).send().await.unwrap();
    assert_eq!(header(&read, "etag"), format!("W/\"{}\"", first["version"]));
    expect(404, patient.get(&note).await).await;
    let wrong =
        expect(422, doctor.put(&format!("{visit}/vitals"), json!({"pulse": "999", "spo2": "x"})).await).await;
    let fields: Vec<&str> =
        wrong["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["/pulse", "/spo2"]);
    expect(200, doctor.put(&format!("{visit}/vitals"), json!({"pulse": "72"})).await).await;

    let item = json!({"name": "amoxicillin", "form": "capsule", "dose": "500 mg", "route": "by mouth",
        "frequency_code": "TDS", "frequency_text": "", "duration_days": 5, "refills": 0});
    let draft = json!({ "items": [item] });
    let once = || {
        doctor
            .request("PUT", &format!("{visit}/prescription"))
            .header("Idempotency-Key", "rx-1")
            .json(&draft)
            .send()
    };
    let saved = crate::harness::read(once().await.unwrap()).await;
    let again = crate::harness::read(once().await.unwrap()).await;
    assert_eq!((saved.0, &saved.1), (again.0, &again.1), "sent twice is saved once");
    let signed = expect(200, doctor.post(&format!("{visit}/prescription/sign"), json!({})).await).await;
    let quality = json!({"rtt_ms": 30, "loss_percent": 0.0, "bitrate_up_kbps": 300, "bitrate_down_kbps": 300,
        "path": "direct", "level": "good"});
    for who in [patient, doctor] {
        expect(204, who.post(&format!("{visit}/quality"), quality.clone()).await).await;
    }
    expect(200, doctor.request_end(&visit).await).await;
    let finished = expect(200, doctor.post(&format!("{visit}/finish"), json!({})).await).await;
    assert_eq!(finished["consultation"]["state"], "finished");
    assert_eq!(finished["consultation"]["log"]["quality"].as_array().unwrap().len(), 2);
    assert_eq!(finished["invoice"]["total"]["amount_minor"], 100_000);
    assert_eq!(
        finished["invoice"]["id"], finished["consultation"]["invoice_id"],
        "care and billing agree on the id"
    );

    let summary = expect(200, patient.get(&format!("/api/v1/patients/{}/visits", patient.id())).await).await;
    assert_eq!(summary["items"][0]["prescription_id"], signed["id"]);
    assert_eq!(expect(200, patient.get(&note).await).await["status"], "signed");
    let paper = patient.bytes(&format!("/api/v1/prescriptions/{}/pdf", signed["id"].as_str().unwrap())).await;
    assert!(paper.starts_with(b"%PDF-"));
    let token = signed["verify_url"].as_str().unwrap().rsplit('/').next().unwrap();
    let verified = clinic.world.anonymous().get(&format!("/api/v1/verify/{token}")).await;
    assert_eq!(expect(200, verified).await["valid"], true);
    clinic.world.stop().await;
}

impl Signed {
    /// `POST …/end` without a body at all.
    async fn request_end(&self, visit: &str) -> (u16, Value) {
        crate::harness::read(self.request("POST", &format!("{visit}/end")).send().await.unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_want_one_slot() {
    let clinic = Clinic::open().await;
    let start = clinic.free().await.remove(2);
    let mut people = Vec::new();
    for name in ["Asha", "Bahati", "Chiku", "Dalila", "Eshe"] {
        people.push(clinic.world.patient(name).await);
    }
    let answers = futures_util::future::join_all(people.iter().map(|who| clinic.book(who, &start))).await;
    let won = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(won, 1, "{answers:?}");
    for (status, body) in answers.iter().filter(|(status, _)| *status != 201) {
        assert_eq!((*status, body["code"].as_str()), (409, Some("slot-taken")), "{body}");
        let next = body["details"]["next_free"].as_array().unwrap();
        assert!(next.len() == 5 && next.iter().all(|slot| slot["start"] != start.as_str()), "{next:?}");
    }
    assert!(!clinic.free().await.contains(&start));
    clinic.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_plain_answers() {
    let clinic = Clinic::open().await;
    let paths = [
        "appointments/{}",
        "consultations/{}",
        "consultations/{}/note",
        "consultations/{}/vitals",
        "consultations/{}/prescription",
        "patients/{}",
        "patients/{}/chart",
        "patients/{}/visits",
        "prescriptions/{}",
        "prescriptions/{}/pdf",
        "providers/{}",
        "providers/{}/availability?kind=video",
        "providers/{}/schedule",
        "appointments?provider_id={}",
        "appointments?patient_id={}",
        "consultations?provider_id={}",
        "appointments?cursor={}",
        "codes/diagnoses?q={}",
        "verify/{}",
    ];
    let odd = [
        "nothing",
        "a,b",
        "a%7Cb",
        "%24",
        "%00",
        "..",
        "%2e%2e%2f",
        "%E1%88%B0%E1%88%8B%E1%88%9D",
        "'%20OR%201=1",
        "%5C",
        "a%2Cb%26c=d",
    ];
    let long = "x".repeat(3_000);
    for who in [&clinic.doctor, &clinic.patient, &clinic.desk] {
        for path in paths {
            for id in odd.iter().copied().chain([long.as_str()]) {
                let path = format!("/api/v1/{}", path.replace("{}", id));
                let (status, body) = who.get(&path).await;
                assert!(status < 500, "{path}: {status} {body}");
            }
        }
    }
    let doctor = clinic.doctor.id();
    for (body, expected) in [
        (json!({}), 400),
        (json!({"provider_id": doctor, "kind": "video", "start": "yesterday", "reason": "x"}), 400),
        (
            json!({"provider_id": doctor, "kind": "phone", "start": "2026-11-23T08:00:00Z", "reason": "x"}),
            400,
        ),
        (
            json!({"provider_id": doctor, "kind": "video", "start": "9999-12-30T22:00:00Z", "reason": "x"}),
            422,
        ),
        (
            json!({"provider_id": doctor, "kind": "video", "start": "-009999-01-02T01:59:59Z", "reason": "x"}),
            400,
        ),
        (
            json!({"provider_id": "a,b|c", "kind": "video", "start": "2099-11-23T08:00:00Z", "reason": "x"}),
            422,
        ),
        (
            json!({"provider_id": doctor, "kind": "video", "start": "2099-11-23T08:00:00Z", "reason": "x\u{0}"}),
            422,
        ),
    ] {
        let (status, answer) = clinic.patient.post("/api/v1/appointments", body.clone()).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    clinic.world.stop().await;
}
