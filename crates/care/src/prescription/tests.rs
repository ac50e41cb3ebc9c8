use super::*;
use crate::consultation::Facts;
use crate::element::key;
use crate::note::Signer;
use crate::texts::Language;
use fhir::Resource;
use jiff::Timestamp;
use record::{Change, ChangeSet, Rule};
use serde_json::json;

fn now() -> Timestamp {
    "2026-11-23T07:00:00Z".parse().unwrap()
}

fn visit(status: &str) -> Facts {
    let encounter = Resource::from_value(json!({"resourceType": "Encounter", "id": "v", "status": status,
        "class": {"code": "VR"}, "subject": {"reference": "Patient/p"}}))
    .unwrap();
    crate::consultation::read(&encounter).unwrap()
}

fn item(name: &str) -> RxItem {
    RxItem {
        medicine_id: Some("x-tab".into()),
        name: name.into(),
        form: "tablet".into(),
        dose: "500 mg".into(),
        route: "by mouth".into(),
        frequency_code: FrequencyCode::Bd,
        frequency_text: String::new(),
        duration_days: 7,
        quantity: Some(14),
        instructions: Some("After food".into()),
        refills: 1,
    }
}

fn put(items: &[RxItem], before: &[Resource]) -> Result<ChangeSet, Rule> {
    let doctor = key("Practitioner", "d");
    let author = Signer { key: &doctor, name: "Dr", now: now() };
    let input = PrescriptionInput { version: None, items: items.to_vec() };
    plan_put(&input, &SaveSnapshot { visit: &visit("in-progress"), requests: before, author: &author })
}

fn sign(before: &[Resource], clashes: &[Clash], acknowledged: bool) -> Result<ChangeSet, Rule> {
    let doctor = key("Practitioner", "d");
    let tokens = Tokens { open: "t0ken".into(), sealed: "s3aled".into() };
    plan_sign(before, clashes, acknowledged, &tokens, &Signer { key: &doctor, name: "Dr", now: now() })
}

fn stored(set: &ChangeSet, mut before: Vec<Resource>) -> Vec<Resource> {
    for change in &set.changes {
        let (resource, version) = match change {
            Change::Create { resource } => (resource, 0),
            Change::Update { resource, if_match } => (resource, if_match.unwrap()),
            other => unreachable!("{other:?} is never planned"),
        };
        assert_eq!(fhir::validate::validate(resource), Vec::new(), "what is planned is valid R4");
        let mut resource = resource.clone();
        resource.set_version(version + 1, now());
        before.retain(|r| r.id() != resource.id());
        before.push(resource);
    }
    before.sort_by(|a, b| a.id().cmp(&b.id()));
    before
}

#[test]
fn a_draft_grows_shrinks_and_is_signed_once() {
    let three = [item("amoxicillin"), item("paracetamol"), item("ibuprofen")];
    let first = stored(&put(&three, &[]).unwrap(), Vec::new());
    assert_eq!(read(&first), three);
    assert_eq!(put(&three, &first).unwrap(), ChangeSet::default(), "the same again is nothing");
    let version = |rows: &[Resource]| rows.iter().map(crate::element::version).sum::<u32>();
    let fewer = stored(&put(&three[1..2], &first).unwrap(), first.clone());
    assert_eq!(read(&fewer), &three[1..2]);
    assert!(version(&fewer) > version(&first) && fewer.len() == 3, "cancelled, not deleted");
    let more = stored(&put(&three, &fewer).unwrap(), fewer.clone());
    assert_eq!(read(&more), three);
    assert!(version(&more) > version(&fewer));
    let signed = stored(&sign(&fewer, &[], false).unwrap(), fewer.clone());
    let states: Vec<&str> = signed.iter().filter_map(|r| r.text("status")).collect();
    assert_eq!(states, ["active", "cancelled", "cancelled"]);
    assert_eq!(sign(&signed, &[], false).unwrap(), ChangeSet::default());
    assert_eq!(put(&three, &signed).unwrap_err().code, "prescription-signed");
    assert_eq!(sign(&[], &[], false).unwrap_err().code, "prescription-empty");
    let none = stored(&put(&[], &first).unwrap(), first);
    assert_eq!(sign(&none, &[], false).unwrap_err().code, "prescription-empty");
}

#[test]
fn every_problem_of_an_item_is_named() {
    type Fault = fn(&mut RxItem);
    let cases: [(Fault, &str, &str); 12] = [
        (|i| i.name = " ".into(), "required", "/items/0/name"),
        (|i| i.dose = String::new(), "required", "/items/0/dose"),
        (|i| i.dose = "a little".into(), "dose-invalid", "/items/0/dose"),
        (|i| i.route = String::new(), "required", "/items/0/route"),
        (|i| i.name = "x".repeat(201), "too-long", "/items/0/name"),
        (|i| i.duration_days = 0, "duration-needed", "/items/0/duration_days"),
        (|i| i.duration_days = 367, "duration-invalid", "/items/0/duration_days"),
        (|i| i.refills = 13, "refills-invalid", "/items/0/refills"),
        (|i| i.quantity = Some(0), "quantity-invalid", "/items/0/quantity"),
        (|i| i.instructions = Some("\u{7}".into()), "text-invalid", "/items/0/instructions"),
        (|i| i.frequency_text = "x".repeat(201), "too-long", "/items/0/frequency_text"),
        (|i| i.medicine_id = Some("x".repeat(65)), "too-long", "/items/0/medicine_id"),
    ];
    for (fault, code, field) in cases {
        let mut wrong = item("amoxicillin");
        fault(&mut wrong);
        let rule = put(&[wrong], &[]).unwrap_err();
        let errors = rule.details.get("errors").and_then(|e| e.as_array()).cloned().unwrap_or_default();
        let named = rule.code == code && rule.field == field;
        assert!(
            named || errors.iter().any(|e| e["code"] == code && e["field"] == field),
            "{code} {field}: {rule:?}"
        );
    }
    let many = vec![item("amoxicillin"); ITEMS_MAX + 1];
    assert_eq!(put(&many, &[]).unwrap_err().code, "too-many");
    let mut once = item("albendazole");
    once.duration_days = 0;
    once.frequency_code = FrequencyCode::Stat;
    assert!(put(&[once], &[]).is_ok(), "a single dose has no days");
    let doctor = key("Practitioner", "d");
    let author = Signer { key: &doctor, name: "Dr", now: now() };
    let closed = SaveSnapshot { visit: &visit("cancelled"), requests: &[], author: &author };
    assert_eq!(plan_put(&PrescriptionInput::default(), &closed).unwrap_err().code, "visit-closed");
}

#[test]
fn doses_cannot_be_misread() {
    for (written, safe) in [
        ("500 mg", "500 mg"),
        ("500mg", "500 mg"),
        ("5.0 mg", "5 mg"),
        (".5 mg", "0.5 mg"),
        ("0.50mg", "0.5 mg"),
        ("100 mcg", "100 micrograms"),
        ("100µg", "100 micrograms"),
        ("100 μg", "100 micrograms"),
        ("10 U", "10 units"),
        ("10u", "10 units"),
        ("5 IU", "5 international units"),
        ("5 cc", "5 mL"),
        ("5ml", "5 mL"),
        ("1 gm", "1 g"),
        ("QD", "once daily"),
        ("10 mg qod", "10 mg every other day"),
        ("1/2 tablet", "1/2 tablet"),
        ("5-10 mg", "5-10 mg"),
        ("1,000 mg", "1,000 mg"),
        ("2.4 mg/kg", "2.4 mg/kg"),
        ("1.2.3 mg", "1.2.3 mg"),
        ("0 mg", "0 mg"),
        ("10 %", "10 %"),
        ("apply to u", "apply to u"),
        ("", ""),
    ] {
        assert_eq!(dose_text(written), safe, "{written:?}");
        assert_eq!(dose_text(&dose_text(written)), safe, "a safe dose stays as it is");
    }
    assert_eq!(tall_man("Prednisolone"), "prednisoLONE");
    assert_eq!(tall_man("amoxicillin with clavulanic acid"), "amoxicillin with clavulanic acid");
}

#[test]
fn lines_are_whole_in_every_language() {
    let mut medicine = item("metformin");
    assert_eq!(
        line(&medicine, Language::English),
        "metFORMIN tablet – DOSE 500 mg – by mouth – twice daily – for 7 days"
    );
    assert_eq!(
        line(&medicine, Language::Swahili),
        "metFORMIN tablet – DOZI 500 mg – by mouth – mara mbili kwa siku – kwa siku 7"
    );
    medicine.frequency_text = "with breakfast and dinner".into();
    medicine.duration_days = 1;
    assert_eq!(
        line(&medicine, Language::French),
        "metFORMIN tablet – DOSE 500 mg – by mouth – deux fois par jour (with breakfast and dinner) – pendant 1 jour"
    );
    medicine.frequency_code = FrequencyCode::Stat;
    medicine.frequency_text = "STAT".into();
    medicine.duration_days = 0;
    assert_eq!(
        line(&medicine, Language::English),
        "metFORMIN tablet – DOSE 500 mg – by mouth – once, immediately"
    );
}

fn allergy(text: &str, criticality: &str, status: &str) -> Resource {
    Resource::from_value(json!({"resourceType": "AllergyIntolerance", "id": "a", "code": {"text": text},
        "criticality": criticality, "patient": {"reference": "Patient/p"},
        "clinicalStatus": {"coding": [{"code": status}]}}))
    .unwrap()
}

#[test]
fn allergies_are_matched_by_name_and_family() {
    for (recorded, medicine, expected) in [
        ("Penicillin", "amoxicillin", Some("penicillins")),
        ("PENICILLINS", "Amoxicillin with clavulanic acid", Some("penicillins")),
        ("Amoxicillin", "benzathine benzylpenicillin", Some("penicillins")),
        ("Sulfa drugs", "sulfamethoxazole with trimethoprim", Some("sulfonamides")),
        ("Aspirin", "ibuprofen", Some("non-steroidal anti-inflammatory medicines")),
        ("Ibuprofen", "paracetamol", None),
        ("Peanut", "amoxicillin", None),
        ("Clavulanic acid", "ascorbic acid", None),
        ("Metronidazole", "metronidazole", Some("metronidazole")),
        ("Ciprofloxacin", "norfloxacin", Some("quinolones")),
        ("Dust", "codeine", None),
    ] {
        let found = clashes(&[item(medicine)], &[allergy(recorded, "high", "active")]);
        assert_eq!(found.first().map(|c| c.matched.as_str()), expected, "{recorded} / {medicine}");
    }
    let resolved = clashes(&[item("amoxicillin")], &[allergy("Penicillin", "high", "resolved")]);
    assert!(resolved.is_empty(), "a resolved allergy is none");
}

#[test]
fn only_serious_clashes_need_an_acknowledgement() {
    let rows = stored(&put(&[item("amoxicillin")], &[]).unwrap(), Vec::new());
    for (criticality, acknowledged, expected) in
        [("high", false, "allergy-clash"), ("high", true, ""), ("low", false, ""), ("low", true, "")]
    {
        let found = clashes(&read(&rows), &[allergy("Penicillin", criticality, "active")]);
        let code = sign(&rows, &found, acknowledged).err().map_or("", |rule| rule.code);
        assert_eq!(code, expected, "{criticality} {acknowledged}");
    }
}

/// Form and dose of our own are free text as FHIR sees it: they go with a hidden part, and are read from the line.
#[test]
fn a_medicine_whose_reason_is_hidden_keeps_its_dose() {
    let set = put(&[item("metformin")], &[]).unwrap();
    let Change::Create { resource } = &set.changes[0] else { panic!("no item") };
    let mut whole = resource.clone();
    whole.set("reasonCode", json!([{"coding": [{"system": crate::vocabulary::ICD10, "code": "B24"}]}]));
    let sealing = access::sensitivity::Rules::built_in().seal(&mut whole);
    assert_eq!((sealing.whole, sealing.parts), (access::Seals::NONE, access::Seals::HIV));
    let cut = access::redact::redact(&whole, access::Seals::HIV, &std::collections::HashSet::new()).unwrap();
    let (before, after) = (plan::item(&whole), plan::item(&cut));
    assert_eq!((&after.name, &after.form, &after.dose), (&before.name, &before.form, &before.dose));
    assert_eq!(after.instructions, None);
    for language in [Language::English, Language::Swahili] {
        assert_eq!(shown_line(&cut, language), shown_line(&whole, language));
    }
}

/// A paper whose reader sees no sealed item bears a code that leads to none.
#[test]
fn sealed_items_have_a_token_of_their_own() {
    let mut before = stored(&put(&[item("metformin"), item("zinc")], &[]).unwrap(), Vec::new());
    before[1].set("meta", json!({"versionId": "1", "security": access::Seals::HIV.codings()}));
    let set = sign(&before, &[], true).unwrap();
    let tokens: Vec<_> = set
        .changes
        .iter()
        .map(|change| match change {
            Change::Update { resource, .. } => resource.value()["identifier"][0]["value"].as_str().unwrap(),
            _ => panic!("signing changes items"),
        })
        .collect();
    assert_eq!(tokens, ["t0ken", "s3aled"]);
}
