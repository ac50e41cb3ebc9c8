//! Every route, every verb, with the real ids of one patient's facts, tried by everybody (facts/security-controls.md Z1,
//! Z9): those who have no business there learn nothing and change nothing, and who may, can.

use crate::harness::{Signed, World};
use crate::openapi::operations;
use crate::visit::{Clinic, expect};
use access::Role;
use fhir::ResourceKey;
use record::operation::Everything;
use serde_json::{Value, json};
use server::authorization::{ROUTES, Who};
use std::collections::{BTreeMap, BTreeSet};

/// In all facts of the patient, and nowhere else.
const MARK: &str = "Zirconium";
/// An id that nothing has.
const NOBODY: &str = "0192a0de-7000-7000-8000-00000000dead";
const VERBS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What the parameters of a path stand for, by how it begins; the first that fits counts. `-`: nothing of a patient.
const NAMED: &[(&str, &str)] = &[
    ("/api/v1/admin/users/", "account"),
    ("/api/v1/admin/", "-"),
    ("/api/v1/appointments/", "appointment"),
    ("/api/v1/auth/", "-"),
    ("/api/v1/cashier/", "-"),
    ("/api/v1/consents/", "consent"),
    ("/api/v1/consultations/", "appointment"),
    ("/api/v1/duplicates/", "-"),
    ("/api/v1/emergency-access/", "emergency"),
    ("/api/v1/invoices/", "invoice"),
    ("/api/v1/notices/", "-"),
    ("/api/v1/oauth/grants/", "grant"),
    ("/api/v1/oauth/requests/", "-"),
    ("/api/v1/patients/", "patient"),
    ("/api/v1/payments/", "payment"),
    ("/api/v1/prescriptions/", "prescription"),
    ("/api/v1/price-list/", "-"),
    ("/api/v1/privacy/copies/", "copy"),
    ("/api/v1/privacy/holds/", "hold"),
    ("/api/v1/privacy/patients/", "patient"),
    ("/api/v1/privacy/recipients/", "-"),
    ("/api/v1/privacy/requests/", "request"),
    ("/api/v1/privacy/retention/due/", "patient"),
    ("/api/v1/providers/", "-"),
    ("/api/v1/proxies/", "proxy"),
    ("/api/v1/verify/", "-"),
    ("/fhir/R4/$bulk/", "-"),
    ("/fhir/R4/ViewDefinition", "-"),
    ("/hooks/", "-"),
    ("/ws/consultation/", "appointment"),
];

/// One way in, as it is written for the patient and for somebody who does not exist.
struct Door {
    route: String,
    verb: &'static str,
    path: String,
    nobodys: String,
    names_patient: bool,
    body: Option<Value>,
    content_type: &'static str,
}

/// The clinic with one patient's facts, and everybody who has to do with her or has not.
struct Ward {
    clinic: Clinic,
    amina: Signed,
    facts: Vec<(ResourceKey, Value)>,
    ids: BTreeMap<&'static str, String>,
    insiders: Vec<(&'static str, Signed)>,
    strangers: Vec<(&'static str, Signed)>,
    _elsewhere: World,
}

async fn in_care(world: &World, doctor: &Signed, patient: &str) {
    let member = json!([{"member": {"reference": format!("Practitioner/{}", doctor.id())}}]);
    let team = json!({"resourceType": "CareTeam", "status": "active", "participant": member,
        "subject": {"reference": format!("Patient/{patient}")}});
    world.put(team).await;
}

async fn furnish() -> Ward {
    let clinic = Clinic::open_with(|config| {
        (config.limits.address_per_second, config.limits.user_per_second) = (0, 0);
    })
    .await;
    let world = &clinic.world;
    let amina = world.patient(MARK).await;
    let patient = amina.id().to_owned();
    let subject = json!({"reference": format!("Patient/{patient}")});
    let mut ids = BTreeMap::from([("patient", patient.clone()), ("account", amina.account.to_string())]);
    let text =
        |value: &Value, name: &str| value[name].as_str().unwrap_or_else(|| panic!("{value}")).to_owned();

    // A visit that is paid for.
    let start = clinic.free().await.remove(1);
    let booked = expect(201, clinic.book_for(&amina, &start, MARK).await).await;
    let visit = format!("/api/v1/consultations/{}", text(&booked, "id"));
    let device = json!({"device": {"camera": true, "microphone": true, "relay": false, "audio_only": false}});
    expect(200, amina.post(&format!("{visit}/join"), device).await).await;
    expect(200, clinic.doctor.post(&format!("{visit}/admit"), json!({})).await).await;
    expect(200, clinic.doctor.put(&format!("{visit}/note"), json!({"reason": MARK, "plan": MARK})).await)
        .await;
    expect(200, clinic.doctor.put(&format!("{visit}/vitals"), json!({"pulse": "72"})).await).await;
    let item = json!({"name": "amoxicillin", "form": "capsule", "dose": "500 mg", "route": "by mouth",
        "frequency_code": "TDS", "frequency_text": "", "duration_days": 5, "refills": 0});
    expect(200, clinic.doctor.put(&format!("{visit}/prescription"), json!({"items": [item]})).await).await;
    let signed =
        expect(200, clinic.doctor.post(&format!("{visit}/prescription/sign"), json!({})).await).await;
    expect(200, clinic.doctor.post(&format!("{visit}/end"), json!({})).await).await;
    let finished = expect(200, clinic.doctor.post(&format!("{visit}/finish"), json!({})).await).await;
    let invoice = text(&finished["invoice"], "id");
    let cashier = world.staff("cashier", Role::Cashier).await;
    let path = format!("/api/v1/invoices/{invoice}/payments");
    let paid =
        expect(201, cashier.post(&path, json!({"method": "cash", "amount_minor": 30_000})).await).await;
    ids.extend([
        ("appointment", text(&booked, "id")),
        ("prescription", text(&signed, "id")),
        ("invoice", invoice),
        ("payment", text(&paid, "id")),
    ]);

    // What the visit does not bring along.
    let coded = |code: &str| json!({"text": MARK, "coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": code}]});
    let condition = json!({"resourceType": "Condition", "subject": subject, "code": coded("J06.9")});
    world.put(condition).await;
    let allergy = json!({"resourceType": "AllergyIntolerance", "patient": subject, "code": {"text": MARK},
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}]}});
    ids.insert("allergy", world.put(allergy).await.id);
    let observation =
        json!({"resourceType": "Observation", "status": "final", "code": {"text": MARK}, "subject": subject});
    world.put(observation).await;
    let deny = json!({"decision": "deny", "actors": [{"role": "integration"}], "text_version": "privacy-1", "text": MARK,
        "language": "en"});
    let consent = expect(201, amina.post(&format!("/api/v1/patients/{patient}/consents"), deny).await).await;
    let erasure = json!({"kind": "erasure", "text": MARK});
    let request =
        expect(201, amina.post(&format!("/api/v1/privacy/patients/{patient}/requests"), erasure).await).await;
    let copy =
        expect(202, amina.post(&format!("/api/v1/privacy/patients/{patient}/copies"), json!({})).await).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let hold = json!({"patient_id": patient, "reason": "Case 7 of 2026"});
    let hold = expect(201, officer.post("/api/v1/privacy/holds", hold).await).await;
    let breaker = world.staff("breaker", Role::Doctor).await;
    let ask = json!({"patient_id": patient, "reason": "unconscious", "explanation": "Found at the gate, not breathing well."});
    let emergency = expect(201, breaker.post("/api/v1/emergency-access", ask).await).await;
    expect(
        204,
        breaker.post(&format!("/api/v1/emergency-access/{}/end", text(&emergency, "id")), json!({})).await,
    )
    .await;
    ids.extend([
        ("consent", text(&consent, "id")),
        ("request", text(&request, "id")),
        ("copy", text(&copy, "id")),
        ("hold", text(&hold, "id")),
        ("emergency", text(&emergency, "id")),
    ]);

    let mate = world.staff("mate", Role::Doctor).await;
    in_care(world, &mate, &patient).await;
    let zuri = world.patient("Zuri").await;
    let other_team = world.staff("other", Role::Doctor).await;
    in_care(world, &other_team, zuri.id()).await;
    // The same names at another clinic, which is another server.
    let elsewhere = World::start().await;
    let (far_doctor, far_patient) =
        (elsewhere.staff("doctor", Role::Doctor).await, elsewhere.patient(MARK).await);
    let far_boss = elsewhere.staff("boss", Role::Administrator).await;
    let strangers = vec![
        ("nobody", world.anonymous()),
        ("other patient", zuri),
        ("other team", other_team),
        ("doctor of another tenant", far_doctor.at(world.url())),
        ("patient of another tenant", far_patient.at(world.url())),
        ("administrator of another tenant", far_boss.at(world.url())),
    ];
    let insiders = vec![
        ("own", amina.clone()),
        ("doctor in care", clinic.doctor.clone()),
        ("team-mate", mate),
        ("desk", clinic.desk.clone()),
        ("cashier", cashier),
        ("privacy officer", officer),
        ("administrator", world.staff("boss", Role::Administrator).await),
    ];
    let facts = facts(&clinic, &patient).await;
    Ward { clinic, amina, facts, ids, insiders, strangers, _elsewhere: elsewhere }
}

/// Everything of the patient as it is stored.
async fn facts(clinic: &Clinic, patient: &str) -> Vec<(ResourceKey, Value)> {
    let app = clinic.world.app();
    let key = ResourceKey::parse(&format!("Patient/{patient}")).unwrap();
    let wanted = Everything { count: Some(1000), ..Everything::default() };
    let page = app.record.everything(&clinic.world.ctx(), &key, &wanted).await.unwrap();
    let own = page.items.into_iter().map(|(item, _)| (item.key.clone(), item.parse().unwrap().into_value()));
    let of_patient = |(key, value): &(ResourceKey, Value)| {
        key.id == patient || value.to_string().contains(&format!("Patient/{patient}"))
    };
    own.filter(of_patient).collect()
}

/// The least that a route takes as its body, by its description.
fn example(document: &Value, schema: &Value, name: &str, ids: &BTreeMap<&'static str, String>) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(document, document.pointer(&reference[1..]).unwrap(), name, ids);
    }
    for list in ["oneOf", "anyOf", "allOf"] {
        let first = schema[list].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"));
        if let Some(first) = first {
            return example(document, first, name, ids);
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        other => other.as_str(),
    };
    match (kind, schema["format"].as_str()) {
        (Some("object"), _) => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let members = schema["properties"].as_object().cloned().unwrap_or_default();
            let wanted = members
                .iter()
                .filter(|(key, _)| required.iter().any(|r| r == *key) || key.ends_with("patient_id"));
            wanted.map(|(key, value)| (key.clone(), example(document, value, key, ids))).collect()
        }
        (Some("array"), _) => json!([example(document, &schema["items"], name, ids)]),
        (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or(json!(1)),
        (Some("boolean"), _) => json!(true),
        (_, Some("date")) => json!("2026-11-20"),
        (_, Some("date-time")) => json!("2026-11-20T09:00:00Z"),
        _ if name.ends_with("patient_id") => json!(ids["patient"]),
        _ => json!("a word of somebody else"),
    }
}

/// A path with what its parameters stand for.
fn filled(path: &str, of: &str, ids: &BTreeMap<&'static str, String>) -> String {
    let part = |part: &str| match part {
        "{kind}" => "allergies".to_owned(),
        "{rid}" if of == "-" => NOBODY.to_owned(),
        "{rid}" => ids["allergy"].clone(),
        "{version}" => "1".to_owned(),
        part if !part.starts_with('{') => part.to_owned(),
        _ if of == "-" => NOBODY.to_owned(),
        _ => ids[of].clone(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn verbs(method: &str) -> Vec<&'static str> {
    VERBS.into_iter().filter(|verb| method == "any" || verb.eq_ignore_ascii_case(method)).collect()
}

impl Ward {
    /// Every way in there is, from the list that the router is held to.
    fn doors(&self, operations_of: &BTreeSet<String>) -> Vec<Door> {
        let document = serde_json::to_value(server::api::document()).unwrap();
        let bodies: BTreeMap<(String, String), Value> = operations()
            .into_iter()
            .filter(|(_, _, operation)| !operation["requestBody"].is_null())
            .map(|(method, path, operation)| {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                ((method.to_uppercase(), path), example(&document, schema, "", &self.ids))
            })
            .collect();
        let mut doors = Vec::new();
        for (method, route, _) in ROUTES {
            if route.starts_with("/fhir/R4") && route.contains("{type}") || *route == "/fhir/R4/${code}" {
                doors.extend(self.fhir_doors(method, route, operations_of));
                continue;
            }
            let of = match NAMED.iter().find(|(start, _)| route.starts_with(start)) {
                Some((_, of)) => of,
                None => {
                    assert!(!route.contains('{') || route.contains("{*"), "say in NAMED what {route} names");
                    "-"
                }
            };
            let has_parameter = route.contains('{') && !route.contains("{*");
            // Granted to an application and to act for her: nobody has that here.
            let of = if matches!(of, "grant" | "proxy") { "-" } else { of };
            for verb in verbs(method) {
                doors.push(Door {
                    route: (*route).to_owned(),
                    verb,
                    path: filled(&route.replace("{*rest}", "nothing"), of, &self.ids),
                    nobodys: match of {
                        "account" => route.replace("{id}", "999999").replace("{identity}", "999999"),
                        _ => filled(&route.replace("{*rest}", "nothing"), "-", &self.ids),
                    },
                    names_patient: has_parameter && of != "-",
                    body: (verb != "GET").then(|| {
                        bodies.get(&(verb.to_owned(), (*route).to_owned())).cloned().unwrap_or(json!({}))
                    }),
                    content_type: "application/json",
                });
            }
        }
        doors
    }

    /// The FHIR routes for each type that the patient has something of, and for each operation.
    fn fhir_doors(&self, method: &str, route: &str, operations: &BTreeSet<String>) -> Vec<Door> {
        let mut doors = Vec::new();
        let mut kinds = BTreeSet::new();
        for (key, stored) in self.facts.iter().filter(|(key, _)| kinds.insert(key.kind.name())) {
            let codes: Vec<&str> = match route.contains("${code}") {
                true => operations.iter().map(String::as_str).collect(),
                false => vec![""],
            };
            for code in codes {
                let path = |id: &str| {
                    let path =
                        route.replace("{type}", key.kind.name()).replace("{id}", id).replace("{code}", code);
                    path.replace("{in}", "*").replace("{version}", "1")
                };
                let mut hers = stored.clone();
                hers["language"] = json!("sw");
                let text = hers.to_string().replace(MARK, "Other");
                let hers: Value = serde_json::from_str(&text).unwrap();
                for verb in verbs(method) {
                    let is_patch = verb == "PATCH";
                    let body = match verb {
                        "GET" | "DELETE" => None,
                        _ if is_patch => Some(json!([{"op": "add", "path": "/language", "value": "sw"}])),
                        _ if code.is_empty() => Some(hers.clone()),
                        _ => Some(
                            json!({"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": hers}]}),
                        ),
                    };
                    doors.push(Door {
                        route: format!("{route} ({} {code})", key.kind.name()),
                        verb,
                        path: path(&key.id),
                        nobodys: path(NOBODY),
                        names_patient: route.contains("{id}"),
                        body,
                        content_type: if is_patch {
                            "application/json-patch+json"
                        } else {
                            "application/fhir+json"
                        },
                    });
                }
            }
        }
        doors
    }
}

async fn send(who: &Signed, door: &Door, path: &str) -> (u16, String) {
    let request = who.request(door.verb, path).header("content-type", door.content_type);
    let request = match &door.body {
        Some(body) => request.body(body.to_string()),
        None => request,
    };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned())
}

/// The operations that this server says it has.
async fn operations_of(world: &World) -> BTreeSet<String> {
    let (_, statement) = world.anonymous().get("/fhir/R4/metadata").await;
    let rest = &statement["rest"][0];
    let of_types = rest["resource"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r["operation"].as_array().into_iter().flatten());
    let all = of_types.chain(rest["operation"].as_array().into_iter().flatten());
    all.filter_map(|operation| operation["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_holds_against_those_who_have_no_business_there() {
    let ward = furnish().await;
    let operations = operations_of(&ward.clinic.world).await;
    assert!(operations.len() > 10, "{operations:?}");
    let doors = ward.doors(&operations);
    let routes: BTreeSet<&str> = ROUTES.iter().map(|(_, route, _)| *route).collect();
    let tried: BTreeSet<&str> = doors.iter().map(|d| d.route.split(" (").next().unwrap()).collect();
    assert_eq!(tried, routes, "every route of the router");
    assert!(doors.len() > 500 && ward.facts.len() > 10, "{} {}", doors.len(), ward.facts.len());

    let public: BTreeSet<(&str, &str)> =
        ROUTES.iter().filter(|(_, _, who)| *who == Who::Anybody).map(|(m, r, _)| (*m, *r)).collect();
    let is_public = |door: &Door| {
        // For this machine, which the test runs on.
        door.route == "/metrics"
            || public
                .iter()
                .any(|(m, r)| *r == door.route && (*m == "any" || m.eq_ignore_ascii_case(door.verb)))
    };
    let mut wrong = Vec::new();
    for (who, stranger) in &ward.strangers {
        let is_known = matches!(*who, "other patient" | "other team");
        for door in &doors {
            let (status, text) = send(stranger, door, &door.path).await;
            let mut say =
                |what: &str| wrong.push(format!("{who}: {} {}: {status} {what}", door.verb, door.route));
            if status >= 500 {
                say("is a fault");
            }
            if text.contains(MARK) {
                say("shows the patient's facts");
            }
            if !is_known && !is_public(door) && !matches!(status, 400 | 401 | 404 | 405) {
                say("is not refused");
            }
            if door.names_patient && (200..300).contains(&status) && !is_public(door) {
                say("is done");
            }
            // That it exists is told to nobody whose it is not.
            if *who == "other patient" && door.names_patient && door.verb == "GET" {
                let (nobodys, _) = send(stranger, door, &door.nobodys).await;
                if nobodys != status {
                    say(&format!("but {nobodys} for an id that nothing has"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        facts(&ward.clinic, ward.amina.id()).await,
        ward.facts,
        "nothing of the patient's was changed"
    );

    // The same ids open for who may: each door that shows something of hers shows it to somebody.
    let mut closed = Vec::new();
    for door in doors.iter().filter(|d| d.verb == "GET" && d.names_patient && !d.route.starts_with("/ws")) {
        let mut opened = false;
        for (_, insider) in &ward.insiders {
            opened |= send(insider, door, &door.path).await.0 == 200;
        }
        if !opened {
            closed.push(door.route.clone());
        }
    }
    // Operations are for some types and want parameters, compartments are those of the patient; the rest is a plain way to
    // see something.
    closed.retain(|route| {
        !route.contains("${code}") && (!route.contains("{in}") || route.contains("(Patient"))
    });
    assert!(closed.is_empty(), "nobody gets in: {}", closed.join("\n"));
    let shown = send(&ward.insiders[0].1, &doors[0], &format!("/fhir/R4/Patient/{}", ward.amina.id())).await;
    assert!(shown.1.contains(MARK), "the mark is where it should be: {}", shown.1);
}

/// Z9: what is somebody's at one clinic is nothing at another.
#[tokio::test(flavor = "multi_thread")]
async fn ids_of_another_tenant_are_ids_of_nobody() {
    let quick = |config: &mut server::Config| {
        (config.limits.address_per_second, config.limits.user_per_second, config.limits.client_per_second) =
            (0, 0, 0);
    };
    let (here, there) = (World::start_with(quick).await, World::start_with(quick).await);
    let patient = there.patient("Amina").await;
    let subject = json!({"reference": format!("Patient/{}", patient.id())});
    let observation =
        json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": subject});
    let mut theirs = Vec::new();
    for _ in 0..10 {
        let changes = (0..100)
            .map(|_| record::Change::Create { resource: crate::harness::resource(observation.clone()) })
            .collect();
        let written = there.app().record.write(&there.ctx(), crate::harness::set(changes)).await.unwrap();
        theirs.extend(written.written.iter().map(|w| w.key.id.clone()));
    }
    assert_eq!(theirs.len(), 1000);
    assert_eq!(patient.get(&format!("/fhir/R4/Observation/{}", theirs[0])).await.0, 200);
    let (amina, client) = (here.patient("Amina").await, here.client("system/*.cruds").await);
    let doctor = here.staff("doctor", Role::Doctor).await;
    for (who, caller) in [("patient", &amina), ("doctor", &doctor), ("client", &client)] {
        let answer = async |id: &str| {
            let (status, mut body) = caller.get(&format!("/fhir/R4/Observation/{id}")).await;
            let text = body["issue"].to_string().replace(id, "…");
            body = json!(text);
            (status, body)
        };
        let unknown = answer(NOBODY).await;
        assert_eq!(unknown.0, 404, "{who}");
        for id in &theirs {
            assert_eq!(answer(id).await, unknown, "{who} {id}");
        }
    }
    here.stop().await;
    there.stop().await;
}
