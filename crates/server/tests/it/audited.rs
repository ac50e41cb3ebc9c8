//! A1: every way into the program is gone by the right person and by the wrong ones, and what the audit trail says of each
//! request is compared with what the answer showed.
//!
//! - Whoever's id an answer names has an event of that request about her, and so has whom a request without an answer is
//!   about.
//! - An interaction of FHIR's has exactly one event for each patient it touched.
//! - A refusal has an event too.
//! - Each event is valid R4, and keeps to the profile of IHE BALP that it claims.
//!
//! A route that nobody goes here, and that is not in one of the two lists below, fails the test.

use crate::balp;
use crate::harness::{Signed, header};
use crate::visit::Clinic;
use access::Role;
use record::audit::{AuditFilter, AuditRow, to_fhir};
use serde_json::{Value, json};
use server::authorization::ROUTES;
use std::collections::{BTreeMap, BTreeSet};

/// Beginnings of paths behind which nobody's record is: what they answer is about accounts, settings, machines and codes.
/// Denials count there as well.
const NO_RECORD: &[&str] = &[
    "/.well-known/",
    "/api/v1/admin/",
    "/api/v1/auth/",
    "/api/v1/codes/",
    "/api/v1/emergency-access/reasons",
    "/api/v1/me",
    "/api/v1/notices",
    "/api/v1/oauth/",
    "/api/v1/openapi.json",
    "/api/v1/price-list",
    "/api/v1/privacy/recipients",
    "/api/v1/privacy/region",
    "/api/v1/privacy/retention",
    "/api/v1/providers",
    "/api/v1/specialties",
    "/api/v1/turn-credentials",
    "/api/{*rest}",
    "/csp-report",
    "/fhir/R4/.well-known/",
    "/fhir/R4/ViewDefinition",
    "/fhir/R4/metadata",
    "/fhir/{*rest}",
    "/healthz",
    "/hooks/",
    "/metrics",
    "/oauth/",
    "/readyz",
    "/security.txt",
];

/// Ways that this test does not go to their end, and where they are gone.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("post", "/api/v1/appointments/{id}/no-show", "after the visit's time: care booking"),
    ("post", "/api/v1/cashier/unallocated/{key}/allocate", "money without a bill: payments"),
    ("post", "/api/v1/duplicates/{task_id}/resolve", "record registration"),
    ("post", "/api/v1/privacy/requests/{id}/approve", "when retention is over: record subject"),
    ("post", "/api/v1/privacy/requests/{id}/carry-out", "record subject"),
    ("delete", "/api/v1/privacy/copies/{id}", "gives up one's own copy, and shows nobody's record"),
    ("get", "/fhir/R4/$bulk/{job}/{file}", "bulk"),
    ("get", "/ws", "live"),
    ("get", "/ws/consultation/{id}", "reach consult"),
    ("get", "/ws/subscriptions", "subscriptions channels"),
];

struct Trail {
    clinic: Clinic,
    people: BTreeMap<&'static str, Signed>,
    /// Ids of patients.
    patients: Vec<String>,
    requests: u32,
    gone: BTreeSet<(String, &'static str)>,
    profiles: BTreeSet<String>,
    wrong: Vec<String>,
}

struct Answer {
    status: u16,
    text: String,
    rows: Vec<AuditRow>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
    /// How many events say that this patient's record was touched.
    fn about(&self, patient: &str) -> usize {
        let done = self.rows.iter().filter(|row| row.outcome == "success");
        done.flat_map(AuditRow::per_patient).filter(|row| row.patient.as_deref() == Some(patient)).count()
    }
}

/// The route of the list that this path takes.
fn route(method: &str, path: &str) -> Option<(String, &'static str)> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &str| {
        let (mut parts, mut own) = (path.split('/'), template.split('/'));
        loop {
            match (parts.next(), own.next()) {
                (None, None) => return true,
                (Some(part), Some(own)) => {
                    let named = own.find('{').is_none_or(|at| !part.starts_with(&own[..at]));
                    let is_operation = part.starts_with('$') && !own.starts_with('$');
                    if (own.contains('{') && (named || is_operation)) || (!own.contains('{') && own != part) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    };
    let method = method.to_lowercase();
    let found = ROUTES.iter().filter(|(m, template, _)| (*m == method || *m == "any") && fits(template));
    // The one with the fewest places for anything.
    let found = found.min_by_key(|(_, template, _)| template.matches('{').count());
    found.map(|(m, template, _)| ((*m).to_owned(), *template))
}

impl Trail {
    async fn open() -> Trail {
        let clinic = Clinic::open().await;
        let world = &clinic.world;
        let zawadi = world.patient("Zawadi").await;
        let mut people = BTreeMap::from([
            ("amina", clinic.patient.clone()),
            ("zawadi", zawadi),
            ("doctor", clinic.doctor.clone()),
            ("desk", clinic.desk.clone()),
        ]);
        for (name, role) in [
            ("stranger", Role::Doctor),
            ("nurse", Role::Nurse),
            ("cashier", Role::Cashier),
            ("officer", Role::PrivacyOfficer),
            ("second", Role::PrivacyOfficer),
            ("administrator", Role::Administrator),
            ("it", Role::It),
        ] {
            people.insert(name, world.staff(name, role).await);
        }
        people.insert("client", world.client("system/*.cruds").await);
        let patients = ["amina", "zawadi"].map(|name| people[name].id().to_owned()).to_vec();
        let (requests, wrong) = (0, Vec::new());
        let (gone, profiles) = (BTreeSet::new(), BTreeSet::new());
        Trail { clinic, people, patients, requests, gone, profiles, wrong }
    }

    fn id(&self, of: &str) -> String {
        self.people[of].id().to_owned()
    }

    /// Sends, and compares the answer with the trail.
    async fn send(&mut self, who: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.requests += 1;
        let id = format!("audited-{:06}", self.requests);
        let record = self.clinic.world.app().record.clone();
        let began = record.now();
        let mut request = self.people[who].request(method, path).header("x-request-id", &id);
        if path.contains("$export") {
            request = request.header("prefer", "respond-async");
        }
        request = match body {
            Some(Value::String(form)) => {
                request.header("content-type", "application/x-www-form-urlencoded").body(form)
            }
            Some(patch @ Value::Array(_)) => {
                request.header("content-type", "application/json-patch+json").body(patch.to_string())
            }
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        // C10: what may be about a person is kept by no cache.
        let kept = header(&response, "cache-control").to_owned();
        let is_theirs = !NO_RECORD.iter().any(|begin| path.starts_with(begin));
        if is_theirs && !kept.contains("no-store") {
            self.wrong.push(format!("{who} {method} {path}: cache-control `{kept}`"));
        }
        let text = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        let filter = AuditFilter { from: Some(began), ..AuditFilter::default() };
        let page = record.audit_list(&self.clinic.world.ctx(), filter, None, 500).await.unwrap();
        let rows: Vec<AuditRow> = page.rows.into_iter().filter(|row| row.request_id == id).collect();
        let answer = Answer { status, text, rows };
        self.compare(who, &format!("{method} {path}"), &answer);
        if (200..300).contains(&status)
            && let Some(route) = route(method, path)
        {
            self.gone.insert(route);
        }
        answer
    }

    fn compare(&mut self, who: &str, what: &str, answer: &Answer) {
        for row in answer.rows.iter().flat_map(AuditRow::per_patient) {
            let event = to_fhir(&row, "https://clinic.example/fhir/R4");
            let issues = fhir::validate::validate(&fhir::Resource::from_value(event.clone()).unwrap());
            if !issues.is_empty() {
                self.wrong.push(format!("{who} {what}: {issues:?} in {event}"));
            }
            balp::check(&event);
            if let Some(profile) = event["meta"]["profile"][0].as_str() {
                self.profiles.insert(profile.rsplit('.').next().unwrap().to_owned());
            }
        }
        let (method, path) = what.split_once(' ').unwrap();
        let Some((_, template)) = route(method, path) else {
            return self.wrong.push(format!("{what} is no route"));
        };
        let no_record = NO_RECORD.iter().any(|begin| template.starts_with(begin));
        match answer.status {
            200..300 if !no_record => {
                for patient in self.patients.iter().filter(|patient| answer.text.contains(*patient)) {
                    if answer.about(patient) == 0 {
                        self.wrong.push(format!("{who} {what}: shows {patient}, and no event says so"));
                    }
                }
            }
            403 if answer.rows.iter().all(|row| row.outcome == "success") => {
                self.wrong.push(format!("{who} {what}: refused, and no event says so"));
            }
            500.. => self.wrong.push(format!("{who} {what}: {}", answer.status)),
            _ => {}
        }
    }

    /// By the right person about Amina; before, by two who may not. What came back.
    async fn does(&mut self, who: &str, method: &str, path: &str, body: Value) -> Value {
        let body = (!body.is_null()).then_some(body);
        for other in ["zawadi", "it"] {
            let refused = self.send(other, method, path, body.clone()).await;
            if (200..300).contains(&refused.status) {
                self.wrong.push(format!("{other} {method} {path}: {}", refused.status));
            }
            if refused.status == 404 && refused.rows.is_empty() {
                self.wrong.push(format!("{other} {method} {path}: 404, and no event says so"));
            }
        }
        let answer = self.send(who, method, path, body).await;
        assert!(
            (200..300).contains(&answer.status),
            "{who} {method} {path}: {} {}",
            answer.status,
            answer.text
        );
        if answer.about(&self.patients[0].clone()) == 0 {
            self.wrong
                .push(format!("{who} {method} {path}: no event about the patient, but {:?}", answer.rows));
        }
        answer.json()
    }

    /// An interaction of FHIR's: exactly one event for each patient it touches.
    async fn once(&mut self, method: &str, path: &str, body: Option<Value>, touched: &[&str]) -> Value {
        let path = format!("/fhir/R4{path}");
        let answer = self.send("client", method, &path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text);
        for name in ["amina", "zawadi"] {
            let (events, expected) = (answer.about(&self.id(name)), usize::from(touched.contains(&name)));
            if events != expected {
                let rows: Vec<String> = answer
                    .rows
                    .iter()
                    .map(|row| format!("{} {} {}", row.action, row.outcome, row.what))
                    .collect();
                self.wrong
                    .push(format!("{method} {path}: {events} events about {name}, not {expected}: {rows:?}"));
            }
        }
        answer.json()
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// A visit from the booking to the bill.
async fn visit(trail: &mut Trail) -> BTreeMap<&'static str, String> {
    let free = trail.clinic.free().await;
    let (doctor, amina) = (trail.id("doctor"), trail.id("amina"));
    let at = |n: usize, kind: &str| json!({"provider_id": doctor, "kind": kind, "start": free[n], "reason": "Cough", "patient_id": amina});
    let booked = trail.does("amina", "POST", "/api/v1/appointments", at(6, "video")).await;
    let id = text(&booked, "id");
    let own = format!("/api/v1/appointments/{id}");
    trail.does("amina", "POST", &format!("{own}/reschedule"), json!({"start": free[1]})).await;
    let other = trail.does("desk", "POST", "/api/v1/appointments", at(12, "video")).await;
    let other = format!("/api/v1/appointments/{}/cancel", text(&other, "id"));
    trail.does("desk", "POST", &other, json!({})).await;
    let here = trail.does("desk", "POST", "/api/v1/appointments", at(4, "in-person")).await;
    let here = text(&here, "id");
    trail.does("desk", "POST", &format!("/api/v1/appointments/{here}/check-in"), json!({})).await;
    trail.does("desk", "POST", "/api/v1/consultations", json!({"appointment_id": here})).await;
    trail.does("doctor", "POST", &format!("/api/v1/consultations/{here}/start"), json!({})).await;

    let visit = format!("/api/v1/consultations/{id}");
    let device = json!({"device": {"camera": true, "microphone": true, "relay": false, "audio_only": false}});
    trail.does("amina", "POST", &format!("{visit}/join"), device).await;
    trail.does("doctor", "POST", &format!("{visit}/admit"), json!({})).await;
    let note = json!({"reason": "Cough", "plan": "Rest"});
    trail.does("doctor", "PUT", &format!("{visit}/note"), note).await;
    trail.does("doctor", "PUT", &format!("{visit}/vitals"), json!({"pulse": "72"})).await;
    let item = json!({"name": "amoxicillin", "form": "capsule", "dose": "500 mg", "route": "by mouth",
        "frequency_code": "TDS", "frequency_text": "", "duration_days": 5, "refills": 0});
    trail.does("doctor", "PUT", &format!("{visit}/prescription"), json!({ "items": [item] })).await;
    let signed = trail.does("doctor", "POST", &format!("{visit}/prescription/sign"), json!({})).await;
    trail.does("doctor", "POST", &format!("{visit}/note/sign"), json!({})).await;
    let quality = json!({"rtt_ms": 30, "loss_percent": 0.0, "bitrate_up_kbps": 300, "bitrate_down_kbps": 300,
        "path": "direct", "level": "good"});
    trail.does("doctor", "POST", &format!("{visit}/quality"), quality).await;
    trail.does("doctor", "POST", &format!("{visit}/end"), json!({})).await;
    let finished = trail.does("doctor", "POST", &format!("{visit}/finish"), json!({})).await;
    let amended = json!({"version": 2, "reason": "Cough", "plan": "Rest and tea", "assessment": "A cold"});
    trail.does("doctor", "POST", &format!("{visit}/note/amend"), amended).await;
    let invoice = text(&finished["invoice"], "id");
    let pay = format!("/api/v1/invoices/{invoice}/payments");
    let paid = trail.does("cashier", "POST", &pay, json!({"method": "cash"})).await;
    trail.does("cashier", "POST", &format!("/api/v1/payments/{}/check", text(&paid, "id")), json!({})).await;
    BTreeMap::from([
        ("appointments", id.clone()),
        ("consultations", id),
        ("invoices", invoice),
        ("payments", text(&paid, "id")),
        ("prescriptions", text(&signed, "id")),
    ])
}

/// What is written into a chart by hand, consents, who acts, emergencies, requests about one's data.
async fn people(trail: &mut Trail, ids: &mut BTreeMap<&'static str, String>) {
    let own = format!("/api/v1/patients/{}", trail.id("amina"));
    trail.does("desk", "PATCH", &own, json!({"address": {"county": "Kisumu", "town": "Kisumu"}})).await;
    let allergy = json!({"text": "Peanuts", "reaction": "Rash", "criticality": "low"});
    let allergy = trail.does("doctor", "POST", &format!("{own}/allergies"), allergy).await;
    let problem = json!({"code": "J06.9", "display": "Cold", "system": "http://hl7.org/fhir/sid/icd-10"});
    trail.does("doctor", "POST", &format!("{own}/problems"), problem).await;
    let wrong = format!("{own}/allergies/{}/entered-in-error", text(&allergy, "id"));
    trail.does("doctor", "POST", &wrong, Value::Null).await;

    let said = json!({"decision": "deny", "actors": [{"role": "lab"}], "text_version": "sharing-1",
        "text": "The laboratory may not see it.", "language": "en"});
    let consent = trail.does("amina", "POST", &format!("{own}/consents"), said).await;
    let consent = text(&consent, "id");
    trail.does("amina", "POST", &format!("/api/v1/consents/{consent}/withdraw"), json!({})).await;
    ids.insert("consents", consent);

    let helper = trail.clinic.world.patient("Juma").await;
    let (_, me) = helper.get("/api/v1/me").await;
    let name = text(&me, "display");
    let grant = json!({"contact": me["phone"], "family": name.rsplit(' ').next(), "basis": "patient-choice",
        "relationship": "SPS"});
    let granted = trail.does("amina", "POST", &format!("{own}/proxies"), grant.clone()).await;
    let end = format!("/api/v1/proxies/{}/end", text(&granted, "id"));
    trail.does("amina", "POST", &end, json!({})).await;
    let asked = trail.does("desk", "POST", &format!("{own}/proxies"), grant).await;
    let asked = format!("/api/v1/proxies/{}", text(&asked, "id"));
    trail.does("officer", "GET", "/api/v1/proxies/waiting", Value::Null).await;
    trail.does("desk", "POST", &format!("{asked}/code"), json!({})).await;
    trail.does("officer", "POST", &format!("{asked}/confirm"), json!({})).await;
    trail.does("desk", "POST", &format!("{asked}/end"), json!({})).await;

    let ask = json!({"patient_id": trail.id("amina"), "reason": "unconscious", "explanation": "Found at the gate, not breathing."});
    let begun = trail.does("stranger", "POST", "/api/v1/emergency-access", ask).await;
    let emergency = format!("/api/v1/emergency-access/{}", text(&begun, "id"));
    let nurse = trail.people["nurse"].id().to_owned();
    let team = json!({"resourceType": "CareTeam", "status": "active",
        "subject": {"reference": format!("Patient/{}", trail.id("amina"))},
        "participant": [{"member": {"reference": format!("Practitioner/{nurse}")}}]});
    let team = trail.does("stranger", "POST", "/fhir/R4/CareTeam", team).await;
    let given = format!("{emergency}/given");
    trail.does("officer", "GET", &given, Value::Null).await;
    let over =
        json!({"source": format!("CareTeam/{}", text(&team, "id")), "practitioner_id": nurse, "keep": false});
    trail.does("officer", "POST", &given, over).await;
    trail.does("stranger", "POST", &format!("{emergency}/end"), json!({})).await;
    let verdict = json!({"verdict": "justified", "note": ""});
    trail.does("officer", "POST", &format!("{emergency}/review"), verdict).await;

    let privacy = format!("/api/v1/privacy/patients/{}", trail.id("amina"));
    let observation = trail.clinic.world.put(observation(&trail.id("amina"), "70")).await;
    let entry = observation.to_string();
    let correction = json!({"kind": "correction", "entry": entry, "text": "It was 60, I remember well."});
    let mut asked = Vec::new();
    for _ in 0..3 {
        let one = trail.does("amina", "POST", &format!("{privacy}/requests"), correction.clone()).await;
        asked.push(format!("/api/v1/privacy/requests/{}", one["id"]).replace('"', ""));
        let last = asked.last().unwrap().clone();
        match asked.len() {
            1 => trail.does("amina", "POST", &format!("{last}/withdraw"), json!({})).await,
            2 => {
                let why = json!({"ground": "entry-correct", "text": "The device was checked."});
                trail.does("officer", "POST", &format!("{last}/refuse"), why).await;
                trail.does("amina", "POST", &format!("{last}/disagree"), json!({"text": "I was calm."})).await
            }
            _ => {
                let mut changed = self::observation(&trail.id("amina"), "60");
                changed["id"] = json!(observation.id);
                let (status, body) = trail.people["client"].put(&format!("/fhir/R4/{entry}"), changed).await;
                assert_eq!(status, 200, "{body}");
                trail
                    .does("officer", "POST", &format!("{last}/amended"), json!({"text": "You are right."}))
                    .await
            }
        };
    }
    let erasure = json!({"kind": "erasure", "text": "I moved away."});
    let erasure = trail.does("amina", "POST", &format!("{privacy}/requests"), erasure).await;
    let erasure = format!("/api/v1/privacy/requests/{}", erasure["id"]).replace('"', "");
    trail.does("amina", "POST", &format!("{erasure}/withdraw"), json!({})).await;
    let hold = json!({"patient_id": trail.id("amina"), "reason": "A court asked for it."});
    let hold = trail.does("officer", "POST", "/api/v1/privacy/holds", hold).await;
    let hold = format!("/api/v1/privacy/holds/{}/lift", hold["id"]).replace('"', "");
    trail.does("officer", "POST", &hold, json!({"reason": "The case is over."})).await;
    trail.does("amina", "POST", &format!("{privacy}/copies"), json!({})).await;
    let copy = loop {
        let (_, list) = trail.people["amina"].get(&format!("{privacy}/copies")).await;
        if list["items"][0]["state"] == "ready" {
            break text(&list["items"][0], "id");
        }
        tokio::task::yield_now().await;
    };
    trail.does("amina", "GET", &format!("/api/v1/privacy/copies/{copy}/file"), Value::Null).await;
}

fn observation(patient: &str, value: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "effectiveDateTime": "2026-11-21T08:00:00Z",
        "valueQuantity": {"value": value.parse::<i64>().unwrap(), "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}})
}

/// Every interaction of FHIR's, by a program that may do all of them.
async fn fhir_interactions(trail: &mut Trail) {
    let (amina, zawadi) = (trail.id("amina"), trail.id("zawadi"));
    trail.once("POST", "/Observation", Some(observation(&zawadi, "80")), &["zawadi"]).await;
    let made = trail.once("POST", "/Observation", Some(observation(&amina, "71")), &["amina"]).await;
    let id = text(&made, "id");
    let one = format!("/Observation/{id}");
    let mut changed = observation(&amina, "72");
    changed["id"] = json!(id);
    trail.once("PUT", &one, Some(changed), &["amina"]).await;
    let patch = json!([{"op": "replace", "path": "/valueQuantity/value", "value": 73}]);
    trail.once("PATCH", &one, Some(patch), &["amina"]).await;
    for path in [
        one.clone(),
        format!("{one}/_history/1"),
        format!("{one}/_history"),
        format!("/Patient/{amina}"),
        format!("/Observation?patient={amina}&code=8867-4"),
        format!("/Patient?_id={amina}&_revinclude=Observation:subject"),
        format!("/Observation?subject:Patient._id={amina}"),
        format!("/Patient/{amina}/Observation"),
        format!("/Patient/{amina}/*"),
        format!("/Patient/{amina}/$everything"),
        format!("/Patient/{amina}/$meta"),
        format!("/Observation/$lastn?patient={amina}"),
        format!("/?_type=Observation,Condition&patient={amina}").replace("/?", "?"),
    ] {
        trail.once("GET", &path, None, &["amina"]).await;
    }
    let both = ["amina", "zawadi"];
    trail.once("GET", "/Observation?code=8867-4", None, &both).await;
    trail.once("GET", "/Observation/_history", None, &both).await;
    trail.once("GET", "/_history?_count=500", None, &both).await;
    trail.once("POST", "/Observation/_search", Some(json!("code=8867-4")), &both).await;
    trail.once("POST", "/_search", Some(json!("_type=Observation&code=8867-4")), &both).await;
    let form = Some(json!("code=8867-4"));
    trail.once("POST", &format!("/Patient/{amina}/Observation/_search"), form, &["amina"]).await;
    let entries = |kind: &str| {
        let entry = |patient: &str| json!({"resource": observation(patient, "75"), "request": {"method": "POST", "url": "Observation"}});
        json!({"resourceType": "Bundle", "type": kind, "entry": [entry(&amina), entry(&zawadi)]})
    };
    trail.once("POST", "", Some(entries("batch")), &both).await;
    trail.once("POST", "", Some(entries("transaction")), &both).await;
    trail.once("DELETE", &one, None, &["amina"]).await;
    // Kicked off, looked at, and given up; what its files hold is noted when they are fetched.
    let export = trail.send("client", "GET", "/fhir/R4/$export", None).await;
    assert_eq!(export.status, 202, "{}", export.text);
    assert!(export.rows.iter().any(|row| row.action == "bulk.export" && row.outcome == "success"));
    let jobs = trail.people["client"].get("/fhir/R4/$bulk/none").await;
    assert_eq!(jobs.0, 404);
    trail.gone.insert(("any".into(), "/fhir/R4/$bulk/{job}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_leaves_its_events() {
    let mut trail = Trail::open().await;
    let mut ids = visit(&mut trail).await;
    people(&mut trail, &mut ids).await;
    fhir_interactions(&mut trail).await;
    let new = json!({"given": "Otiato", "family": "Barasa", "birth_date": "1991-02-03", "sex": "male"});
    let made = trail.send("desk", "POST", "/api/v1/patients", Some(new)).await;
    assert!(
        made.status == 201 && made.about(&text(&made.json(), "id")) == 1,
        "{} {:?}",
        made.text,
        made.rows
    );

    // And every question, by everybody.
    ids.extend([("patients", trail.id("amina")), ("providers", trail.id("doctor"))]);
    let people: Vec<&'static str> = trail.people.keys().copied().collect();
    for (method, template, _) in ROUTES {
        let skipped = ["/ws", "/hooks", "/oauth", "/api/{", "/fhir/{", "/fhir/R4"];
        let searches = template.ends_with("/search");
        if (*method != "get" && !searches) || skipped.iter().any(|begin| template.starts_with(begin)) {
            continue;
        }
        let mut before = "";
        let filled: Vec<String> = template
            .split('/')
            .map(|part| {
                let own =
                    if part.starts_with('{') { ids.get(before).cloned() } else { Some(part.to_owned()) };
                before = part;
                own.unwrap_or_else(|| "1".to_owned())
            })
            .collect();
        let mut path = filled.join("/");
        match *template {
            "/api/v1/admin/audit/affected-patients" => {
                path += "?agent=account/1&from=2026-01-01&to=2100-01-01";
            }
            "/api/v1/admin/audit/consistency" => path += "?from=1&to=1",
            "/api/v1/admin/rights/explain" => {
                path += &format!("?account_id=1&patient_id={}&type=Observation", ids["patients"]);
            }
            "/api/v1/providers/{id}/availability" => path += "?kind=video",
            _ => {}
        }
        for who in &people {
            match searches {
                true => trail.send(who, "POST", &path, Some(json!({}))).await,
                false => trail.send(who, "GET", &path, None).await,
            };
        }
    }

    let (mut missing, mut stale) = (Vec::new(), Vec::new());
    for (method, template, _) in ROUTES {
        let gone = trail.gone.contains(&((*method).to_owned(), *template));
        let elsewhere = ELSEWHERE.iter().any(|(m, t, _)| m == method && t == template);
        let about_people = !NO_RECORD.iter().any(|begin| template.starts_with(begin));
        if about_people && !gone && !elsewhere {
            missing.push(format!("{method} {template}"));
        }
        if gone && elsewhere {
            stale.push(format!("{method} {template}"));
        }
    }
    let report = trail.wrong.join("\n");
    assert!(trail.wrong.is_empty(), "{} things:\n{report}", trail.wrong.len());
    assert!(missing.is_empty(), "nobody goes\n{}", missing.join("\n"));
    assert!(stale.is_empty(), "gone here, so not in the list: {stale:?}");
    for name in ["PatientCreate", "PatientDelete", "PatientQuery", "PatientRead", "PatientUpdate"] {
        assert!(trail.profiles.contains(name), "{:?}", trail.profiles);
    }
    println!("{} requests", trail.requests);
    trail.clinic.world.stop().await;
}
