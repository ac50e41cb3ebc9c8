//! Parts of rows that are hidden from who may see the rest, by every way out of the record; rows that lie there while
//! the rules change.

use crate::bench::name;
use crate::{Bench, create, each_engine, key, kind, set, update};
use access::{Ctx, Role, Seals};
use fhir::search::{Handling, Params};
use jiff::SignedDuration;
use record::operation::Everything;
use record::rights::NewConsent;
use record::rights::emergency::NewEmergency;
use record::{HistoryQuery, Patch, Scope};
use serde_json::{Value, json};

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";
const WORD: &str = "Zirconium";

fn visit(id: &str) -> Value {
    json!({"resourceType": "Encounter", "id": id, "status": "in-progress", "class": {"code": "AMB"},
        "subject": {"reference": "Patient/p1"}, "period": {"start": "2026-11-20T08:00:00Z"},
        "text": {"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{WORD}</div>")},
        "reasonCode": [{"coding": [{"system": ICD, "code": "B20", "display": WORD}], "text": WORD},
            {"coding": [{"system": ICD, "code": "J06.9"}]}]})
}

/// Of p1, who is in care of d1: a visit for something sealed, a sealed result and a report that lists it.
async fn furnish(bench: &Bench) {
    bench
        .seed(set(vec![
            create(visit("v")),
            create(json!({"resourceType": "Observation", "id": "viral", "status": "final", "subject": {"reference": "Patient/p1"},
                "code": {"coding": [{"system": "http://loinc.org", "code": "25836-8", "display": WORD}]}})),
            create(crate::observation("pulse", "p1", "70")),
            create(json!({"resourceType": "DiagnosticReport", "id": "report", "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "11502-2"}]}, "subject": {"reference": "Patient/p1"},
                "result": [{"reference": "Observation/viral", "display": WORD}, {"reference": "Observation/pulse"}],
                "conclusion": WORD})),
        ]))
        .await;
}

/// Everything the caller can get of the visit and the report, as text.
async fn ways(bench: &Bench, ctx: &Ctx) -> Vec<(&'static str, String)> {
    let record = &bench.record;
    let mut all = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for target in ["Encounter/v", "DiagnosticReport/report"] {
        let target = key(target);
        all.push(("read", text(&record.read(ctx, &target).await.unwrap().content)));
        all.push(("vread", text(&record.vread(ctx, &target, 1).await.unwrap().content)));
        let page = record.history(ctx, &target, None, 10).await.unwrap();
        all.extend(page.entries.iter().map(|e| ("history", text(e.content.as_ref().unwrap()))));
        for scope in [Scope::Kind(target.kind), Scope::System] {
            let query = HistoryQuery { count: 100, ..HistoryQuery::default() };
            let page = record.history_of(ctx, &scope, query).await.unwrap();
            let own = page.entries.iter().filter(|e| e.key == target);
            all.extend(own.map(|e| ("wide history", text(e.content.as_ref().unwrap()))));
        }
        let scan = record::scan::Scan {
            kind: target.kind,
            horizon: record.horizon().await.unwrap(),
            since: None,
            until: None,
            whose: record::scan::Whose::All,
            deleted: false,
        };
        let page = record.scan(ctx, &scan, None).await.unwrap();
        all.extend(page.rows.iter().map(|row| ("scan", text(&row.stored.content))));
        let rows = record.scan_ids(ctx, &scan, vec![target.id.clone()]).await.unwrap();
        all.extend(rows.iter().map(|row| ("scan ids", text(&row.stored.content))));
        let (loaded, _) = record.load(ctx, &target).await.unwrap().unwrap();
        all.push(("load", loaded.to_json()));
        let parameters = [("patient", "Patient/p1"), ("_id", target.id.as_str())];
        let found = record.find(ctx, target.kind.name(), &parameters, 10).await.unwrap();
        all.extend(found.iter().map(|(resource, _)| ("search", resource.to_json())));
        assert!(!found.is_empty());
        let wanted = Everything { kinds: vec![target.kind], ..Everything::default() };
        let page = record.everything(ctx, &key("Patient/p1"), &wanted).await.unwrap();
        all.extend(page.items.iter().map(|(item, _)| ("everything", text(&item.content))));
    }
    for include in ["Encounter:patient", "DiagnosticReport:patient"] {
        let pairs = [("_id".to_owned(), "p1".to_owned()), ("_revinclude".to_owned(), include.to_owned())];
        let (query, _) =
            fhir::search::parse(&Params::standard(), kind("Patient"), &pairs, Handling::Strict).unwrap();
        let page = record.search(ctx, query).await.unwrap();
        all.extend(page.included.iter().map(|item| ("_revinclude", text(&item.content))));
    }
    all
}

async fn hits(bench: &Bench, ctx: &Ctx, kind: &str, name: &str, value: &str) -> usize {
    bench.record.find(ctx, kind, &[(name, value)], 10).await.unwrap().len()
}

#[tokio::test]
async fn hidden_parts_leave_by_no_way() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let (doctor, client) = (bench.doctor(), bench.client(&["system/*.cruds"]));
        for (who, ctx) in [("doctor", &doctor), ("client", &client)] {
            let found = ways(&bench, ctx).await;
            assert!(found.len() >= 20, "{who}: {}", found.len());
            for (way, text) in found {
                for secret in [WORD, "B20", "25836-8", "viral"] {
                    assert!(!text.contains(secret), "{who} {way}: {secret} in {text}");
                }
                assert!(text.contains("SUBSETTED") && text.contains("masked"), "{who} {way}: {text}");
            }
        }
        for (who, ctx) in [
            ("patient", bench.patient()),
            ("client for HIV", bench.client(&["system/*.rs", "sens/HIV"])),
            ("the program", bench.system()),
        ] {
            for (way, text) in ways(&bench, &ctx).await {
                assert!(text.contains(WORD) && !text.contains("SUBSETTED"), "{who} {way}: {text}");
            }
        }
        // Neither the code nor the words answer a search, and asking for what is open does.
        bench.record.index_words().await.unwrap();
        for ctx in [&doctor, &client] {
            let code = format!("{ICD}|B20");
            for (name, value) in [
                ("reason-code", "B20"),
                ("reason-code", code.as_str()),
                ("reason-code:text", WORD),
                ("_content", WORD),
                ("_text", WORD),
            ] {
                assert_eq!(hits(&bench, ctx, "Encounter", name, value).await, 0, "{name}={value}");
            }
            assert_eq!(hits(&bench, ctx, "Encounter", "reason-code", "J06.9").await, 1);
            assert_eq!(hits(&bench, ctx, "Encounter", "reason-code:not", "B20").await, 1);
            assert_eq!(hits(&bench, ctx, "Patient", "_has:Encounter:patient:reason-code", "B20").await, 0);
            assert_eq!(hits(&bench, ctx, "DiagnosticReport", "result.code", "25836-8").await, 0);
            assert_eq!(hits(&bench, ctx, "DiagnosticReport", "_content", WORD).await, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_hidden_in_part_is_not_written_back() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let (doctor, target) = (bench.doctor(), key("Encounter/v"));
        let shown = bench.record.read(&doctor, &target).await.unwrap().parse().unwrap().into_value();
        let put = |value: Value| bench.record.write(&doctor, set(vec![update(value, None)]));
        assert_eq!(name(&put(shown.clone()).await.unwrap_err()), "Duplicate subsetted");
        let mut bare = shown.clone();
        bare.as_object_mut().unwrap().remove("meta");
        assert_eq!(name(&put(bare).await.unwrap_err()), "Duplicate hidden-parts");
        // A guess at the hidden value is told apart from no other.
        for mut guess in [visit("v"), visit("v")] {
            guess["reasonCode"][0]["text"] = json!("guess");
            assert_eq!(name(&put(guess).await.unwrap_err()), "Duplicate hidden-parts");
        }
        for patch in [
            json!([{"op": "test", "path": "/reasonCode/0/coding/0/code", "value": "B20"}]),
            json!([{"op": "test", "path": "/reasonCode/0/coding/0/code", "value": "B21"}]),
            json!([{"op": "replace", "path": "/status", "value": "finished"}]),
        ] {
            let change =
                record::Change::Patch { key: target.clone(), patch: Patch::Json(patch), if_match: None };
            let error = bench.record.write(&doctor, set(vec![change])).await.unwrap_err();
            assert_eq!(name(&error), "Duplicate hidden-parts");
        }
        // The program's own steps change the rest and leave the hidden part alone.
        let (mut resource, version) = bench.record.load(&doctor, &target).await.unwrap().unwrap();
        resource.set("status", json!("onleave"));
        resource.set("participant", json!([{"individual": {"reference": "Practitioner/d1"}}]));
        let change = record::Change::Update { resource, if_match: Some(version) };
        bench.record.command(&doctor, "test.step", set(vec![change])).await.unwrap();
        let stored = bench.record.read(&bench.system(), &target).await.unwrap().parse().unwrap();
        assert_eq!(stored.text("status"), Some("onleave"));
        assert_eq!(stored.value()["reasonCode"][0]["text"], WORD);
        assert!(!stored.to_json().contains("SUBSETTED"));
        let shown = bench.record.read(&doctor, &target).await.unwrap().parse().unwrap();
        assert!(!shown.to_json().contains(WORD), "writing the rest opens nothing");
        let (mut resource, _) = bench.record.load(&doctor, &target).await.unwrap().unwrap();
        resource.set("reasonCode", json!([{"text": "another"}]));
        let change = record::Change::Update { resource, if_match: None };
        let error = bench.record.command(&doctor, "test.step", set(vec![change])).await.unwrap_err();
        assert_eq!(name(&error), "Duplicate hidden-parts");
        // A conditional create that finds it gives no more than a read.
        let conditional = record::Conditional {
            kind: target.kind,
            criteria: vec![("_id".into(), "v".into())],
            action: record::ConditionalAction::Create { resource: crate::resource(visit("w")) },
        };
        let found = bench
            .record
            .write(
                &bench.client(&["system/*.cruds"]),
                set(vec![record::Change::Conditional(Box::new(conditional))]),
            )
            .await
            .unwrap();
        let text = found.written[0].resource.as_ref().unwrap().to_json();
        assert!(!text.contains(WORD) && text.contains("SUBSETTED"), "{text}");
    })
    .await;
}

/// A repeated write under an idempotency key shows what a read would show then, and is one in the trail.
#[tokio::test]
async fn a_repeated_write_shows_no_more_than_a_read() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let asked = |mut ctx: Ctx, idempotency: &str| {
            ctx.idempotency_key = Some(format!("{idempotency}\nas the door binds it"));
            let conditional = record::Conditional {
                kind: kind("Encounter"),
                criteria: vec![("_id".into(), "v".into())],
                action: record::ConditionalAction::Create { resource: crate::resource(visit("w")) },
            };
            let record = bench.record.clone();
            async move {
                let change = record::Change::Conditional(Box::new(conditional));
                record.write(&ctx, set(vec![change])).await.unwrap()
            }
        };
        let text = |done: &record::Committed| done.written[0].resource.as_ref().map(|r| r.to_json());
        let looks = async || {
            let filter = record::audit::AuditFilter {
                patient: Some("p1".into()),
                action: Some("read".into()),
                target: Some(key("Encounter/v")),
                ..record::audit::AuditFilter::default()
            };
            bench.record.audit_list(&bench.system(), filter, None, 100).await.unwrap().rows.len()
        };
        for ctx in [bench.doctor(), bench.client(&["system/*.cruds"])] {
            let before = looks().await;
            let first = asked(ctx.clone(), "again").await;
            let again = asked(ctx, "again").await;
            assert!(!first.replayed && again.replayed);
            assert_eq!(text(&first), text(&again));
            let shown = text(&again).unwrap();
            assert!(!shown.contains(WORD) && shown.contains("SUBSETTED"), "{shown}");
            assert_eq!(looks().await, before + 2, "each of them is a look");
        }
        // Her care is over: that it was answered stays said, and nothing is shown.
        bench.turn(SignedDuration::from_hours(60 * 24));
        let doctor = bench.doctor();
        assert_eq!(name(&bench.record.read(&doctor, &key("Encounter/v")).await.unwrap_err()), "Denied");
        let before = looks().await;
        let later = asked(doctor, "again").await;
        assert!(later.replayed && later.written[0].version == 1 && later.written[0].resource.is_none());
        assert_eq!(looks().await, before);
    })
    .await;
}

/// A profile that looks behind references tells nothing of what is hidden there.
#[tokio::test]
async fn validation_looks_behind_references_through_the_veil() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let url = "http://example.org/fhir/StructureDefinition/curious";
        bench
            .seed(set(vec![create(json!({"resourceType": "StructureDefinition", "id": "curious", "url": url,
                "name": "Curious", "status": "active", "kind": "resource", "abstract": false, "type": "Observation",
                "derivation": "constraint", "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
                "differential": {"element": [{"id": "Observation", "path": "Observation", "constraint": [
                    {"key": "open-1", "severity": "error", "human": "what is open",
                        "expression": "encounter.resolve().ofType(Encounter).reasonCode.coding.where(code = 'J06.9').empty()"},
                    {"key": "closed-1", "severity": "error", "human": "what is closed",
                        "expression": "encounter.resolve().ofType(Encounter).reasonCode.coding.where(code = 'B20').empty()"},
                    {"key": "closed-2", "severity": "error", "human": "what is said of it",
                        "expression": "encounter.resolve().ofType(Encounter).text.`div`.empty()"}]}]}}))]))
            .await;
        for (who, ctx, sees) in [
            ("doctor", bench.doctor(), false),
            ("client", bench.client(&["system/*.rs"]), false),
            ("client for HIV", bench.client(&["system/*.rs", "sens/HIV"]), true),
        ] {
            let mut asked = crate::observation("x", "p1", "70");
            asked["encounter"] = json!({"reference": "Encounter/v"});
            let outcome = bench.record.validate(&ctx, crate::resource(asked), vec![url.to_owned()]).await.unwrap();
            let told = outcome.to_string();
            assert!(told.contains("open-1"), "{who}: {told}");
            assert_eq!(told.contains("closed-1"), sees, "{who}: {told}");
            assert_eq!(told.contains("closed-2"), sees, "{who}: {told}");
        }
    })
    .await;
}

/// Who wrote it, whom a consent lets, and who broke the glass see the part; whom a consent keeps out does not.
#[tokio::test]
async fn parts_open_as_rows_do() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let doctor = bench.doctor();
        let sees = async |ctx: &Ctx, target: &str| {
            let stored = bench.record.read(ctx, &key(target)).await.unwrap();
            String::from_utf8(stored.content.to_vec()).unwrap().contains(WORD)
        };
        let mut own = visit("0192a0de-7000-7000-8000-000000000011");
        own["text"] = Value::Null;
        own.as_object_mut().unwrap().remove("text");
        let own =
            bench.record.write(&doctor, set(vec![create(own)])).await.unwrap().written[0].key.to_string();
        assert!(sees(&doctor, &own).await, "whoever wrote it");
        assert!(!sees(&doctor, "Encounter/v").await);
        let consent = NewConsent {
            patient: "p1".into(),
            deny: false,
            actors: vec![record::rights::Actor::Practitioner("d1".into())],
            kinds: Vec::new(),
            seals: Seals::HIV,
            purposes: Vec::new(),
            from: None,
            until: None,
            text_version: "privacy-2026-11".into(),
            text: "Doctor Otieno may know.".into(),
            language: "en".into(),
        };
        let given = bench.record.give_consent(&bench.patient(), consent).await.unwrap();
        assert!(sees(&doctor, "Encounter/v").await && sees(&doctor, "DiagnosticReport/report").await);
        let id = given.resource.id().unwrap().to_owned();
        bench.record.withdraw_consent(&bench.patient(), &id).await.unwrap();
        assert!(!sees(&doctor, "Encounter/v").await && !sees(&doctor, "DiagnosticReport/report").await);
        let emergency = NewEmergency {
            patient: "p1".into(),
            reason: "life-threatening".into(),
            explanation: "Unconscious after an accident".into(),
            minutes: None,
        };
        bench.record.begin_emergency(&doctor, emergency).await.unwrap();
        let doctor = bench.record.current(&doctor).await.unwrap();
        assert!(sees(&doctor, "Encounter/v").await && sees(&doctor, "DiagnosticReport/report").await);
    })
    .await;
}

/// A row that becomes sealed hides from those that refer to it, and shows again when the seal goes.
#[tokio::test]
async fn references_follow_the_seal_of_what_they_lead_to() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let doctor = bench.doctor();
        let text = async || {
            let stored = bench.record.read(&doctor, &key("DiagnosticReport/report")).await.unwrap();
            String::from_utf8(stored.content.to_vec()).unwrap()
        };
        assert!(text().await.contains("Observation/pulse"));
        let mut pulse = crate::observation("pulse", "p1", "70");
        pulse["meta"] = json!({"security": Seals::MENTAL.codings()});
        bench.seed(set(vec![update(pulse, None)])).await;
        assert!(!text().await.contains("Observation/pulse"));
        bench.seed(set(vec![update(crate::observation("pulse", "p1", "71"), None)])).await;
        assert!(text().await.contains("Observation/pulse"));
    })
    .await;
}

fn officer(bench: &Bench) -> Ctx {
    bench.staff(Role::PrivacyOfficer)
}

/// Rules that come later hold at once for what lies there, by the index and by looking; then the walk labels it.
#[tokio::test]
async fn rules_hold_for_what_is_stored_already() {
    each_engine(|bench| async move {
        let low = |code: &str| json!({"coding": [{"system": ICD, "code": code}], "text": WORD});
        let condition = |id: &str, code: &str| {
            create(json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"}, "code": low(code)}))
        };
        bench
            .seed(set(vec![
                condition("low", "F32.1"),
                condition("cold", "J06.9"),
                create(json!({"resourceType": "Encounter", "id": "w", "status": "in-progress", "class": {"code": "AMB"},
                    "subject": {"reference": "Patient/p1"}, "reasonCode": [low("F32.1")]})),
                // No search parameter knows this code.
                create(json!({"resourceType": "Encounter", "id": "x", "status": "in-progress", "class": {"code": "AMB"},
                    "subject": {"reference": "Patient/p1"}, "extension": [{"url": "urn:x", "valueCodeableConcept": low("F32.1")}]})),
            ]))
            .await;
        let doctor = bench.doctor();
        let reads = async |target: &str| match bench.record.read(&doctor, &key(target)).await {
            Ok(stored) => match String::from_utf8(stored.content.to_vec()).unwrap() {
                text if text.contains(WORD) => "whole",
                text if text.contains("SUBSETTED") => "part",
                _ => "bare",
            },
            Err(_) => "nothing",
        };
        assert_eq!((reads("Condition/low").await, reads("Encounter/w").await), ("whole", "whole"));
        assert!(bench.record.labelling().await.unwrap().settled);
        let rules = json!([{"category": "MH", "system": ICD, "codes": ["F32*"]}]);
        bench.record.set_sensitivity_rules(&officer(&bench), rules).await.unwrap();
        // Before anything was labelled.
        assert!(!bench.record.labelling().await.unwrap().settled);
        assert_eq!((reads("Condition/low").await, reads("Condition/cold").await), ("nothing", "whole"));
        assert_eq!((reads("Encounter/w").await, reads("Encounter/x").await), ("nothing", "nothing"));
        assert!(bench.record.vread(&doctor, &key("Condition/low"), 1).await.is_err());
        let found = bench.record.find(&doctor, "Condition", &[("patient", "Patient/p1")], 10).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(hits(&bench, &doctor, "Condition", "code", "F32.1").await, 0);
        assert_eq!(bench.record.label_rows().await.unwrap(), 0, "other servers may still write by the old rules");
        bench.turn(SignedDuration::from_secs(10));
        // Another server goes on where this one stopped.
        assert!(bench.record.label_rows().await.unwrap() > 0);
        let second = bench.second_server();
        while second.label_rows().await.unwrap() > 0 {}
        bench.turn(SignedDuration::from_secs(2));
        let done = bench.record.labelling().await.unwrap();
        assert!(done.settled && done.labelled == 3, "{done:?}");
        assert_eq!((reads("Condition/low").await, reads("Condition/cold").await), ("nothing", "whole"));
        assert_eq!((reads("Encounter/w").await, reads("Encounter/x").await), ("part", "nothing"));
        assert!(bench.record.vread(&doctor, &key("Condition/low"), 1).await.is_err(), "versions of before");
        assert_eq!(hits(&bench, &doctor, "Encounter", "reason-code", "F32.1").await, 0);
        let stored = bench.record.read(&bench.system(), &key("Condition/low")).await.unwrap().parse().unwrap();
        assert_eq!(Seals::of(&stored), Seals::MENTAL);
        assert_eq!(bench.record.label_rows().await.unwrap(), 0);
    })
    .await;
}

/// The release before looked at the first 2,000 codings only: what it stored is labelled once, after the upgrade.
#[tokio::test]
async fn what_an_earlier_release_labelled_is_labelled_again() {
    each_engine(|bench| async move {
        let mut codings: Vec<Value> =
            (0..2_100).map(|n| json!({"system": ICD, "code": format!("J06.{n}")})).collect();
        codings.push(json!({"system": ICD, "code": "B20", "display": WORD}));
        let long = json!({"resourceType": "Condition", "id": "long", "subject": {"reference": "Patient/p1"},
            "code": {"coding": codings}});
        bench.seed(set(vec![create(long)])).await;
        let own = key("Condition/long");
        let before = own.clone();
        let stored = async || bench.record.read(&bench.system(), &own).await.unwrap();
        assert_eq!(Seals::of(&stored().await.parse().unwrap()), Seals::HIV);
        // As that release left it: no label, no seal, and the name of its rules.
        let rules = format!("1 null {}", access::sensitivity::built_in_text());
        let name: String = {
            use sha2::Digest;
            sha2::Sha256::digest(rules.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        bench
            .record
            .store()
            .write(move |tx| {
                let row = store::resource::load(tx, &before)?.unwrap();
                let mut value: Value = serde_json::from_slice(&row.content).unwrap();
                value.as_object_mut().unwrap()["meta"].as_object_mut().unwrap().shift_remove("security");
                let content = store::Content::new(&value.to_string());
                let new = store::resource::New {
                    key: &before,
                    last_updated: row.last_updated,
                    content: &content,
                    entries: &[],
                    patients: &row.patients,
                };
                store::resource::update(tx, row.version, &[], &new)?;
                store::sealed::set_parts(tx, row.rid, Seals::NONE, Seals::NONE, &row.patients, &[])?;
                store::setting::put(tx, "rights.labelled", &json!(name))
            })
            .await
            .unwrap();
        assert_eq!(Seals::of(&stored().await.parse().unwrap()), Seals::NONE);
        let upgraded = bench.second_server();
        upgraded.load_search_parameters().await.unwrap();
        assert!(!upgraded.labelling().await.unwrap().settled);
        let doctor = bench.doctor();
        assert!(upgraded.read(&doctor, &own).await.is_err(), "judged as it is read until then");
        while upgraded.label_rows().await.unwrap() > 0 {}
        assert!(upgraded.labelling().await.unwrap().settled);
        assert_eq!(Seals::of(&stored().await.parse().unwrap()), Seals::HIV);
        bench.turn(SignedDuration::from_secs(2));
        assert!(upgraded.read(&doctor, &own).await.is_err());
        assert_eq!(upgraded.label_rows().await.unwrap(), 0);
    })
    .await;
}
