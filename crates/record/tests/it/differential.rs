//! facts/security-controls.md Z3, Z4: whatever a caller asks, the answer is what it would be in a database that holds only
//! what she may see, as she sees it: rows, contents, order, totals, pages, what comes along, and versions.
//!
//! `UZIMA_TEST_DIFFERENTIAL` is the number of queries (`cargo xtask differential`).

use crate::{Bench, create, each_engine, key, kind, observation, set};
use access::{Ctx, Role, Seals};
use fhir::search::{Handling, Params, Query, extract};
use fhir::{Resource, ResourceKey};
use record::rights::{Actor, NewConsent};
use record::{Error, HistoryQuery, Record, Scope};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Queries of the suite, over both engines.
const QUERIES: usize = 1_200;
/// Queries that one pair of databases is asked.
const PER_CALLER: usize = 50;
const ICD: &str = "http://hl7.org/fhir/sid/icd-10";
const KINDS: [&str; 5] = ["Observation", "Condition", "Encounter", "DiagnosticReport", "Patient"];
const CODES: [&str; 5] = ["B20", "F10.2", "J06.9", "I10", "A50"];
const LOINC: [&str; 4] = ["8867-4", "25836-8", "8480-6", "56888-1"];
const PATIENTS: [&str; 4] = ["p1", "p2", "p3", "p4"];

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
    fn code(&mut self) -> Value {
        json!({"coding": [{"system": ICD, "code": self.one(&CODES)}], "text": "x"})
    }
    fn subject(&mut self) -> Value {
        json!({"reference": format!("Patient/{}", self.one(&PATIENTS))})
    }
    fn day(&mut self) -> String {
        format!("2026-{:02}-{:02}", 1 + self.below(11), 1 + self.below(28))
    }
}

async fn furnish(bench: &Bench, random: &mut Random) {
    let mut changes: Vec<record::Change> =
        ["p3", "p4"].iter().map(|id| create(crate::patient(id, "Cheptoo"))).collect();
    for n in 0..10 {
        let mut visit = json!({"resourceType": "Encounter", "id": format!("e{n}"), "class": {"code": "AMB"},
            "status": random.one(&["finished", "in-progress"]), "subject": random.subject(),
            "period": {"start": random.day(), "end": "2026-12-30"}});
        if random.below(2) == 0 {
            visit["reasonCode"] = json!([random.code(), random.code()]);
        }
        if random.below(3) == 0 {
            visit["participant"] =
                json!([{"individual": {"reference": format!("Practitioner/d{}", 1 + random.below(2))}}]);
        }
        changes.push(create(visit));
    }
    for n in 0..16 {
        let mut o =
            observation(&format!("o{n}"), random.one(&PATIENTS), &format!("{}.5", 50 + random.below(30)));
        o["code"]["coding"][0]["code"] = json!(random.one(&LOINC));
        o["status"] = json!(random.one(&["final", "amended"]));
        o["effectiveDateTime"] = json!(random.day());
        if random.below(2) == 0 {
            o["encounter"] = json!({"reference": format!("Encounter/e{}", random.below(10))});
        }
        if random.below(4) == 0 {
            o["meta"] = json!({"security": Seals(1 << random.below(5)).codings()});
        }
        changes.push(create(o));
    }
    for n in 0..12 {
        let mut c = json!({"resourceType": "Condition", "id": format!("c{n}"), "subject": random.subject(),
            "code": random.code(), "recordedDate": random.day()});
        if random.below(2) == 0 {
            c["encounter"] = json!({"reference": format!("Encounter/e{}", random.below(10))});
        }
        changes.push(create(c));
    }
    for n in 0..8 {
        changes.push(create(
            json!({"resourceType": "DiagnosticReport", "id": format!("r{n}"), "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": random.one(&LOINC)}]},
            "subject": random.subject(), "effectiveDateTime": random.day(), "conclusion": "words",
            "result": [{"reference": format!("Observation/o{}", random.below(16)), "display": "first"},
                {"reference": format!("Observation/o{}", random.below(16))}]}),
        ));
    }
    bench.seed(set(changes)).await;
    // Some are changed, so that there are versions.
    for n in 0..4 {
        let target = key(&format!("Encounter/e{n}"));
        let (mut resource, _) = bench.record.load(&bench.system(), &target).await.unwrap().unwrap();
        resource.set("reasonCode", json!([random.code()]));
        bench.seed(set(vec![record::Change::Update { resource, if_match: None }])).await;
    }
    for _ in 0..random.below(3) {
        let seals = if random.below(2) == 0 { Seals(1 << random.below(5)) } else { Seals::NONE };
        let consent = NewConsent {
            patient: "p1".into(),
            deny: random.below(2) == 0,
            actors: vec![Actor::Practitioner(format!("d{}", 1 + random.below(2)))],
            kinds: if random.below(2) == 0 { vec![kind(random.one(&KINDS))] } else { Vec::new() },
            seals,
            purposes: Vec::new(),
            from: None,
            until: None,
            text_version: "1".into(),
            text: "text".into(),
            language: "en".into(),
        };
        bench.record.give_consent(&bench.patient(), consent).await.unwrap();
    }
}

async fn callers(bench: &Bench) -> Vec<(&'static str, Ctx)> {
    let mut emergency = bench.other_doctor();
    let new = record::rights::emergency::NewEmergency {
        patient: "p2".into(),
        reason: "unconscious".into(),
        explanation: "Brought in after an accident".into(),
        minutes: None,
    };
    bench.record.begin_emergency(&emergency, new).await.unwrap();
    emergency = bench.record.current(&emergency).await.unwrap();
    vec![
        ("doctor", bench.doctor()),
        ("patient", bench.patient()),
        ("emergency", emergency),
        ("laboratory", bench.staff(Role::Lab)),
        ("desk", bench.staff(Role::FrontDesk)),
        ("client", bench.client(&["system/*.rs"])),
        ("client for HIV", bench.client(&["system/*.rs", "sens/HIV"])),
        ("client by code", bench.client(&["system/Observation.rs?code=8867-4", "system/Patient.rs"])),
    ]
}

/// The rows that this caller sees, as she sees them, in the order in which they were written.
async fn seen(bench: &Bench, ctx: &Ctx) -> Vec<(Resource, u32)> {
    let mut all = Vec::new();
    for name in KINDS.into_iter().chain(["Practitioner", "Appointment", "Consent"]) {
        let found = bench.record.find(&bench.system(), name, &[("_sort", "_id")], 1000).await.unwrap();
        for (resource, _) in found {
            all.push(resource.key().unwrap());
        }
    }
    let mut rows = Vec::new();
    for key in all {
        let wanted = key.clone();
        let rid = bench
            .record
            .store()
            .read(move |tx| store::resource::head(tx, &wanted))
            .await
            .unwrap()
            .unwrap()
            .rid;
        if let Some((resource, version)) = bench.record.load(ctx, &key).await.unwrap() {
            rows.push((rid, resource, version));
        }
    }
    rows.sort_by_key(|(rid, ..)| *rid);
    rows.into_iter().map(|(_, resource, version)| (resource, version)).collect()
}

/// A database of these rows alone.
async fn only(rows: &[(Resource, u32)], other: &Bench) {
    for (resource, _) in rows {
        let resource = resource.clone();
        let at: jiff::Timestamp = resource.value()["meta"]["lastUpdated"].as_str().unwrap().parse().unwrap();
        let written = other.record.store().write(move |tx| {
            // Parts that somebody may not see are in no index, whoever asks.
            let entries = extract(&Params::standard(), &access::redact::indexable(&resource));
            let mut patients = fhir::search::compartment(&resource);
            patients.dedup();
            let new = store::resource::New {
                key: &resource.key().unwrap(),
                last_updated: at,
                content: &store::Content::new(&resource.to_json()),
                entries: &entries,
                patients: &patients,
            };
            store::resource::insert(tx, &new)
        });
        assert!(written.await.unwrap().is_some());
    }
}

fn pairs(random: &mut Random, name: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = vec![("_total".into(), "accurate".into())];
    let code = random.one(&CODES).to_owned();
    let loinc = random.one(&LOINC).to_owned();
    let patient = format!("Patient/{}", random.one(&PATIENTS));
    let day = random.day();
    let number = |random: &mut Random, of: &str, n: usize| format!("{of}{}", random.below(n));
    let result = number(random, "Observation/o", 16);
    let visit = number(random, "Encounter/e", 10);
    let any: Vec<(&str, String)> = match name {
        "Observation" => vec![
            ("code", loinc.clone()),
            ("code:not", loinc.clone()),
            ("status", "final".into()),
            ("patient", patient),
            ("date", format!("ge{day}")),
            ("value-quantity", format!("gt{}", 50 + random.below(30))),
            ("encounter", visit),
            ("encounter.reason-code", code.clone()),
            ("encounter.status", "finished".into()),
            ("patient.family", "Cheptoo".into()),
            ("_has:DiagnosticReport:result:code", loinc.clone()),
            ("patient._has:Condition:patient:code", code),
            ("_filter", format!("code eq {loinc} or status eq amended")),
            ("code-value-quantity", format!("{loinc}$gt{}", 50 + random.below(30))),
        ],
        "Condition" => vec![
            ("code", code.clone()),
            ("code:not", code.clone()),
            ("patient", patient),
            ("encounter.reason-code", code),
            ("encounter.status", "in-progress".into()),
            ("patient.gender", "female".into()),
            ("recorded-date", format!("lt{day}")),
            ("patient._has:Observation:patient:code", loinc),
        ],
        "Encounter" => vec![
            ("reason-code", code.clone()),
            ("reason-code:not", code.clone()),
            ("status", "finished".into()),
            ("patient", patient),
            ("date", format!("ge{day}")),
            ("_has:Observation:encounter:code", loinc),
            ("_has:Condition:encounter:code", code.clone()),
            ("patient._has:Condition:patient:code", code.clone()),
            ("_filter", format!("not (reason-code eq {code})")),
        ],
        "DiagnosticReport" => vec![
            ("code", loinc.clone()),
            ("result", result),
            ("result.code", loinc.clone()),
            ("result.value-quantity", "gt60".into()),
            ("patient", patient),
            ("result.status", "amended".into()),
            ("date", format!("le{day}")),
        ],
        _ => vec![
            ("_has:Condition:patient:code", code.clone()),
            ("_has:Observation:patient:code", loinc.clone()),
            ("_has:Encounter:patient:reason-code", code),
            ("_has:Observation:patient:_has:DiagnosticReport:result:code", loinc),
            ("gender", "female".into()),
            ("family", "Cheptoo".into()),
        ],
    };
    for _ in 0..random.below(4) {
        let (name, value) = any[random.below(any.len())].clone();
        out.push((name.to_owned(), value));
    }
    let date = match name {
        "Patient" => "birthdate",
        "Condition" => "recorded-date",
        _ => "date",
    };
    if random.below(2) == 0 {
        let by = match random.below(4) {
            0 => format!("{date},_id"),
            1 => format!("-{date},-_id"),
            2 => "-_lastUpdated,_id".to_owned(),
            _ => "_id".to_owned(),
        };
        out.push(("_sort".into(), by));
    }
    for (own, include) in [
        ("_include", format!("{name}:patient")),
        ("_include", format!("{name}:encounter")),
        ("_include", format!("{name}:result")),
        ("_include", format!("{name}:*")),
        ("_include:iterate", "Observation:encounter".into()),
        ("_revinclude", "Observation:encounter".into()),
        ("_revinclude", "Condition:patient".into()),
        ("_revinclude", "DiagnosticReport:result".into()),
    ] {
        let fits = match include.as_str() {
            "Observation:encounter" => name == "Encounter" || own == "_include:iterate",
            "Condition:patient" => name == "Patient",
            "DiagnosticReport:result" => name == "Observation",
            "Patient:patient" | "Patient:encounter" | "Encounter:encounter" => false,
            other => !other.ends_with(":result") || name == "DiagnosticReport",
        };
        let fits = fits && (!own.ends_with(":iterate") || name == "DiagnosticReport");
        if fits && random.below(4) == 0 {
            out.push((own.to_owned(), include));
        }
    }
    // How many there are, and nothing else.
    if random.below(8) == 0 {
        out.retain(|(name, _)| !name.contains("include"));
        out.push(("_summary".into(), "count".into()));
    }
    out
}

/// Rows with their contents in order, what came along, and the total, over all pages of this size.
type Answer = (Vec<(ResourceKey, Value)>, BTreeSet<ResourceKey>, Option<u64>);

async fn ask(record: &Record, ctx: &Ctx, mut query: Query, count: u32) -> Result<Answer, Error> {
    query.count = if query.count == 0 { 0 } else { count };
    let (mut rows, mut included, mut total) = (Vec::new(), BTreeSet::new(), None);
    loop {
        let page = record.search(ctx, query.clone()).await?;
        total = total.or(page.total);
        for item in &page.items {
            rows.push((item.key.clone(), plain(item.parse().unwrap())));
        }
        included.extend(page.included.iter().map(|item| item.key.clone()));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok((rows, included, total)),
        }
    }
}

fn plain(resource: Resource) -> Value {
    resource.into_value()
}

async fn versions(bench: &Bench, ctx: &Ctx, who: &str) {
    for name in KINDS {
        let query = || HistoryQuery { count: 1000, ..HistoryQuery::default() };
        let scope = Scope::Kind(kind(name));
        let whole = bench.record.history_of(&bench.system(), &scope, query()).await.unwrap();
        let mut expected = Vec::new();
        for entry in &whole.entries {
            if let Ok(one) = bench.record.vread(ctx, &entry.key, entry.version).await {
                expected.push((entry.key.clone(), entry.version, one.content));
            }
        }
        match bench.record.history_of(ctx, &scope, query()).await {
            Ok(page) => {
                let found: Vec<_> =
                    page.entries.into_iter().map(|e| (e.key, e.version, e.content.unwrap())).collect();
                assert_eq!(found, expected, "{who} {name}");
            }
            Err(error) => {
                assert!(crate::bench::name(&error) == "Denied" && expected.is_empty(), "{who} {error}")
            }
        }
    }
}

#[tokio::test]
async fn answers_are_those_of_a_database_without_the_rest() {
    let queries: usize =
        std::env::var("UZIMA_TEST_DIFFERENTIAL").ok().and_then(|n| n.parse().ok()).unwrap_or(QUERIES);
    let (mut asked, mut refused, mut hits) = (0_usize, 0_usize, 0_usize);
    let first: u64 = std::env::var("UZIMA_TEST_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(41);
    let mut seed = first;
    while asked < queries {
        seed += 1;
        let counts = std::sync::Arc::new(std::sync::Mutex::new((0, 0, 0)));
        let shared = counts.clone();
        each_engine(move |bench| {
            let counts = shared.clone();
            async move {
                let mut random = Random(seed);
                furnish(&bench, &mut random).await;
                for (who, ctx) in callers(&bench).await {
                    let rows = seen(&bench, &ctx).await;
                    versions(&bench, &ctx, who).await;
                    let other = Bench::empty().await;
                    only(&rows, &other).await;
                    for n in 0..PER_CALLER {
                        let name = random.one(&KINDS);
                        let pairs = pairs(&mut random, name);
                        let parsed =
                            fhir::search::parse(&Params::standard(), kind(name), &pairs, Handling::Strict);
                        let (query, _) = parsed.unwrap_or_else(|o| panic!("{pairs:?}: {o}"));
                        let sorted = !query.sort.is_empty();
                        let size = 1 + random.below(9) as u32;
                        let found = ask(&bench.record, &ctx, query.clone(), size).await;
                        let count = |refused, hit| {
                            let mut counts = counts.lock().unwrap();
                            *counts =
                                (counts.0 + 1, counts.1 + usize::from(refused), counts.2 + usize::from(hit));
                        };
                        let (mut found, brought, total) = match found {
                            Ok(found) => found,
                            Err(error) => {
                                assert!(crate::bench::name(&error).starts_with("Denied"), "{who}: {error}");
                                count(true, false);
                                continue;
                            }
                        };
                        count(false, !found.is_empty());
                        let whole = ask(&other.record, &other.system(), query.clone(), size).await.unwrap();
                        let (mut wanted, along, count) = whole;
                        if !sorted {
                            found.sort_by(|a, b| a.0.cmp(&b.0));
                            wanted.sort_by(|a, b| a.0.cmp(&b.0));
                        }
                        assert_eq!(found, wanted, "seed {seed}, {who}, {n}: {name} {pairs:?}");
                        assert_eq!(total, count, "seed {seed}, {who}, {n}: {name} {pairs:?}");
                        let own: BTreeSet<ResourceKey> = found.iter().map(|(key, _)| key.clone()).collect();
                        // Pages may bring a row along that is itself on another page.
                        let brought: Vec<_> = brought.difference(&own).collect();
                        let along: Vec<_> = along.difference(&own).collect();
                        assert_eq!(brought, along, "seed {seed}, {who}, {n}: {name} {pairs:?}");
                    }
                }
            }
        })
        .await;
        let counts = counts.lock().unwrap();
        (asked, refused, hits) = (asked + counts.0, refused + counts.1, hits + counts.2);
    }
    eprintln!("{asked} queries, {refused} refused, {hits} with hits, {} rounds", seed - first);
    assert!(hits * 5 > asked, "the test must find something: {hits} of {asked}");
    assert!(refused * 3 < asked, "and ask what may be asked: {refused} of {asked}");
}

/// Z3: what leads into types that the caller may not see at all is refused, not answered with nothing.
#[tokio::test]
async fn questions_about_what_nobody_of_the_role_sees_are_refused() {
    each_engine(|bench| async move {
        let desk = bench.staff(Role::FrontDesk);
        let denied = async |name: &str, pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> =
                pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            let (query, _) =
                fhir::search::parse(&Params::standard(), kind(name), &pairs, Handling::Strict).unwrap();
            match bench.record.search(&desk, query).await {
                Ok(_) => "answered".to_owned(),
                Err(error) => {
                    assert!(error.http_status_line().starts_with("403"), "{error}");
                    assert_eq!(error.to_outcome().issues[0].code.code(), "forbidden");
                    crate::bench::name(&error)
                }
            }
        };
        for (name, pairs) in [
            ("Patient", vec![("_has:Condition:patient:code", "B20")]),
            ("Encounter", vec![("diagnosis:Condition.code", "B20")]),
            ("Encounter", vec![("diagnosis.code", "B20")]),
            ("Patient", vec![("_revinclude", "Condition:patient")]),
            ("Encounter", vec![("_include", "Encounter:diagnosis:Condition")]),
            ("Patient", vec![("_list", "l1")]),
        ] {
            assert!(denied(name, &pairs).await.starts_with("Denied"), "{name} {pairs:?}");
        }
        for (name, pairs) in [
            ("Encounter", vec![("subject.name", "Achieng")]),
            ("Appointment", vec![("patient.birthdate", "1990-02-03"), ("_include", "Appointment:patient")]),
            ("Patient", vec![("_has:Encounter:patient:status", "finished")]),
        ] {
            assert_eq!(denied(name, &pairs).await, "answered", "{name} {pairs:?}");
        }
    })
    .await;
}
