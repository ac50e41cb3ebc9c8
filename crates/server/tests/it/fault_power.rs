//! The power goes at any moment: whatever part of what was not flushed is on the disk, the database opens, is whole, and
//! holds every write that was acknowledged; a transaction is there as a whole or not at all.
//!
//! `UZIMA_TEST_CRASH_IMAGES` sets how many images are made of one run (120 without it; `cargo xtask faults` as many as one likes).

use crate::disk::Disk;
use crate::disk::replay::{Kind, Loss, Player};
use crate::machine::{self, Machine, seed};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use store::{Secret32, Store, StoreConfig};
use uuid::Uuid;

const WRITERS: usize = 4;
/// Of each writer in each life of the server.
const WRITES: usize = 18;
/// How each life ends.
const LIVES: &[Death] = &[Death::Asked, Death::Killed, Death::Killed];
/// Images checked at once.
const HANDS: usize = 2;

#[derive(Clone, Copy, PartialEq)]
enum Death {
    Asked,
    Killed,
}

/// What must be there, and from which place in the trace on.
struct Promise {
    position: u64,
    resources: Vec<Uuid>,
    payment: Option<Uuid>,
    /// A search that was answered: its audit must be there.
    search: Option<String>,
}

fn observation(patient: &str, id: Uuid) -> Value {
    json!({"resourceType": "Observation", "id": id.to_string(), "status": "final", "subject": {"reference": patient},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "effectiveDateTime": "2026-11-21T08:00:00Z",
        "valueQuantity": {"value": 71, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}})
}

fn pair(patient: &str, ids: [Uuid; 2]) -> Value {
    let encounter = json!({"resourceType": "Encounter", "id": ids[0].to_string(), "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": patient}});
    let put = |kind: &str, id: Uuid, resource: Value| json!({"resource": resource, "request": {"method": "PUT", "url": format!("{kind}/{id}")}});
    json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        put("Encounter", ids[0], encounter), put("Observation", ids[1], observation(patient, ids[1]))]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let (count, seed) = (machine::number("UZIMA_TEST_CRASH_IMAGES", 120), seed());
    println!("seed {seed}, {count} images");
    let machine = Machine::new().with("UZIMA_BACKUP_RESERVE_MB", "0");
    let disk = Disk::build(&machine.folder());
    let client = machine.client().await;
    machine.user("till", access::Role::Cashier);
    let mut child = machine.start().await;
    let token = machine.token(&client).await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Power", "given": ["Cut"]}]});
    let (status, patient) = machine.send("POST", "/fhir/R4/Patient", &token, &patient).await.unwrap();
    assert_eq!(status, 201, "{patient}");
    let patient = format!("Patient/{}", patient["id"].as_str().unwrap());
    machine.stop(&mut child);
    // Everything up to here is on the disk.
    let before = machine.folder().join("before");
    copy(&machine.data(), &before);

    let copies = machine.folder().join("copies").display().to_string();
    let machine = disk.under(machine, true).with("UZIMA_BACKUP_TO", &copies);
    let machine = Arc::new(machine.with("UZIMA_BACKUP_DRILL_HOURS", "0"));
    let disk = Arc::new(disk);
    let promises: Arc<Mutex<Vec<Promise>>> = Arc::default();
    let pairs: Arc<Mutex<Vec<[Uuid; 2]>>> = Arc::default();
    for (life, death) in LIVES.iter().enumerate() {
        let mut child = machine.start().await;
        let token = machine.token(&client).await;
        let till = machine.sign_in("till").await;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let (machine, disk, token, till) = (machine.clone(), disk.clone(), token.clone(), till.clone());
            let (promises, pairs, patient) = (promises.clone(), pairs.clone(), patient.clone());
            let total = json!({"value": 1000, "currency": "KES"});
            let invoice = json!({"resourceType": "Invoice", "status": "issued", "totalNet": total, "totalGross": total,
                "subject": {"reference": patient}, "date": "2026-11-21T08:00:00Z",
                "identifier": [{"system": "https://uzima.health/fhir/identifier/invoice",
                    "value": format!("P{life}W{writer}")}]});
            writers.spawn(async move {
                let (status, invoice) =
                    machine.send("POST", "/fhir/R4/Invoice", &token, &invoice).await.unwrap();
                assert_eq!(status, 201, "{invoice}");
                let pay = format!("/api/v1/invoices/{}/payments", invoice["id"].as_str().unwrap());
                for n in 0..WRITES {
                    let ids = [Uuid::new_v4(), Uuid::new_v4()];
                    let one = format!("/fhir/R4/Observation/{}", ids[0]);
                    let search = format!("/fhir/R4/Patient?identifier=https://power.example|{}", ids[0]);
                    let (method, path, token, body, resources) = match n % 4 {
                        3 => ("GET", search.as_str(), &token, Value::Null, Vec::new()),
                        0 => ("PUT", one.as_str(), &token, observation(&patient, ids[0]), vec![ids[0]]),
                        1 => {
                            pairs.lock().unwrap().push(ids);
                            ("POST", "/fhir/R4", &token, pair(&patient, ids), ids.to_vec())
                        }
                        _ => {
                            let cash = json!({"method": "cash", "amount_minor": 100});
                            ("POST", pay.as_str(), &till, cash, Vec::new())
                        }
                    };
                    let (status, answer) = machine.send(method, path, token, &body).await.unwrap();
                    if status == 503 {
                        continue;
                    }
                    assert!(status == 200 || status == 201, "{path}: {status} {answer}");
                    let payment = (n % 4 == 2).then(|| answer["id"].as_str().unwrap().parse().unwrap());
                    let search = (n % 4 == 3).then(|| ids[0].to_string());
                    let position = disk.position();
                    promises.lock().unwrap().push(Promise { position, resources, payment, search });
                }
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer.unwrap();
        }
        match death {
            Death::Asked => machine.stop(&mut child),
            Death::Killed => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
    let (promises, pairs) = (promises.lock().unwrap(), pairs.lock().unwrap());
    let key = std::fs::read_to_string(machine.folder().join("data.key")).unwrap();
    let key = Secret32::from_hex(&key).unwrap();
    let folder = machine.folder();
    let made = images(&folder, &before, &disk, (count, seed), &|image: &Image<'_>| {
        check(image, &key, &promises, &pairs)
    });
    println!("{made} images of {} acknowledged writes: nothing lost, nothing half there", promises.len());
    assert!(made >= count, "only {made} images");
}

/// The state at one place of the trace.
struct Image<'a> {
    folder: &'a Path,
    position: u64,
    about: String,
}

/// Makes so many images, spread over all places at which a flush begins or ends, and has each checked.
fn images(
    folder: &Path,
    before: &Path,
    disk: &Disk,
    (count, seed): (usize, u64),
    check: &(dyn Fn(&Image<'_>) + Sync),
) -> usize {
    let records = disk.trace();
    let is_flush = |kind: Kind| matches!(kind, Kind::FlushBegin | Kind::FlushEnd);
    let places: Vec<usize> =
        records.iter().enumerate().filter(|(_, r)| is_flush(r.kind)).map(|(n, _)| n).collect();
    println!("{} records, {} places at which a flush begins or ends", records.len(), places.len());
    // Each place gets as many images as it takes; the last ones of a place are random.
    let rounds = count.div_ceil(places.len()).max(1);
    let every = (places.len() * rounds / count).max(1);
    let wanted: Vec<(usize, usize)> = places
        .iter()
        .flat_map(|place| (0..rounds).map(|round| (*place, round)))
        .enumerate()
        .filter(|(n, _)| n % every == 0)
        .map(|(_, wanted)| wanted)
        .collect();
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let (records, wanted, made) = (&records, &wanted, &made);
            scope.spawn(move || {
                let mut player = Player::of(before);
                let mut next = 0;
                for (n, (place, round)) in wanted.iter().enumerate() {
                    while next <= *place {
                        player.play(&records[next]);
                        next += 1;
                    }
                    if n % HANDS != hand {
                        continue;
                    }
                    let loss = match (n + round) % 4 {
                        0 => Loss::Everything,
                        1 => Loss::Nothing,
                        _ => {
                            Loss::Some((seed.wrapping_add(n as u64) | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
                        }
                    };
                    let at = folder.join(format!("image-{hand}"));
                    std::fs::create_dir_all(&at).unwrap();
                    player.image(loss, &at);
                    let position = records[*place].end;
                    check(&Image { folder: &at, position, about: format!("record {place}, {loss:?}") });
                    std::fs::remove_dir_all(&at).unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    made.into_inner()
}

fn check(image: &Image<'_>, key: &Secret32, promises: &[Promise], pairs: &[[Uuid; 2]]) {
    let about = &image.about;
    let database = image.folder.join("uzima.db");
    let config = StoreConfig {
        readers: 1,
        follow_log: true,
        ..StoreConfig::new(format!("sqlite:{}", database.display()), Some(key.clone()))
    };
    // As the program does it at its next start, with the backup's log.
    let store = Store::open(config).unwrap_or_else(|error| panic!("{about}: {error}"));
    let read = |sql: &'static str| -> BTreeSet<Uuid> {
        let mut found = BTreeSet::new();
        let rows = store.read_blocking(move |tx| tx.all(sql, &[], |row| Ok(row.bytes(0)?.to_vec())));
        for id in rows.unwrap_or_else(|error: store::Error| panic!("{about}: {error}")) {
            found.extend(Uuid::from_slice(&id));
        }
        found
    };
    let resources = read("SELECT id FROM resource WHERE deleted = 0");
    let payments = read("SELECT id FROM payment WHERE state = 'paid'");
    let searches: BTreeSet<String> = store
        .read_blocking(|tx| -> store::Result<_> {
            let filter = store::audit::Filter { action: Some("query".into()), ..Default::default() };
            let (mut found, mut cursor) = (BTreeSet::new(), None);
            loop {
                let page = store::audit::list(tx, &filter, cursor.as_deref(), 1000)?;
                found.extend(page.rows.iter().map(|row| last(&row.event.what)));
                match page.next {
                    Some(next) => cursor = Some(next),
                    None => return Ok(found),
                }
            }
        })
        .unwrap_or_else(|error| panic!("{about}: {error}"));
    for promise in promises.iter().filter(|promise| promise.position <= image.position) {
        for id in &promise.resources {
            assert!(resources.contains(id), "{about}: acknowledged {id} is lost");
        }
        if let Some(id) = &promise.payment {
            assert!(payments.contains(id), "{about}: acknowledged payment {id} is lost");
        }
        if let Some(id) = &promise.search {
            assert!(searches.contains(id), "{about}: nobody knows of the answered search {id}");
        }
    }
    for [one, other] in pairs {
        assert_eq!(resources.contains(one), resources.contains(other), "{about}: half a transaction");
    }
    store.close();
    // Pages, trees, references, ledger.
    let health =
        store::backup::check(&database, Some(key)).unwrap_or_else(|error| panic!("{about}: {error}"));
    assert!(health.problems.is_empty(), "{about}: {:?}", health.problems);
}

/// What stands behind the last `|` of a query, however that is written.
fn last(what: &str) -> String {
    let text = what.replace("%7C", "|");
    text.rsplit('|').next().unwrap_or_default().chars().take(36).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
