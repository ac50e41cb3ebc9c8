use crate::{kind, now};
use access::Seals;
use access::consent::{Asker, Judge, Rule, purpose_bit, rules};
use fhir::Resource;
use serde_json::{Value, json};

fn consent(provision: Value) -> Resource {
    Resource::from_value(json!({"resourceType": "Consent", "id": "c", "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"text": "privacy"}], "patient": {"reference": "Patient/p"}, "provision": provision}))
    .unwrap()
}

fn practitioner(id: &str) -> Value {
    json!({"role": {"text": "recipient"}, "reference": {"reference": format!("Practitioner/{id}")}})
}

fn role(code: &str) -> Value {
    json!({"role": {"text": "recipient"},
        "reference": {"identifier": {"system": "https://uzima.health/fhir/role", "value": code}}})
}

fn hiv() -> Value {
    json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"})
}

fn asker(actors: &[&str]) -> Asker {
    Asker { actors: actors.iter().map(|a| (*a).to_owned()).collect(), purpose: purpose_bit("TREAT") }
}

fn denied(rules: &[Rule], asker: &Asker, name: &str, seals: Seals) -> bool {
    Judge { consents: &[rules.to_vec()], now: now() }.denies(asker, kind(name), seals)
}

#[test]
fn everybody_but_one() {
    let all = rules(&consent(json!({"type": "deny", "provision": [
        {"type": "permit", "actor": [practitioner("d1"), role("nurse")]}]})))
    .unwrap();
    for (actors, expected) in [
        (&["Practitioner/d1", "role/doctor"][..], false),
        (&["Practitioner/d2", "role/doctor"], true),
        (&["Practitioner/d3", "role/nurse"], false),
        (&["client/x"], true),
    ] {
        assert_eq!(denied(&all, &asker(actors), "Observation", Seals::NONE), expected, "{actors:?}");
    }
}

#[test]
fn of_types_categories_purposes_and_time() {
    let all = rules(&consent(json!({"type": "deny", "period": {"start": "2026-11-01", "end": "2026-11-21"},
        "class": [{"code": "Observation"}, {"code": "Condition"}], "securityLabel": [hiv()],
        "purpose": [{"code": "TREAT"}]})))
    .unwrap();
    let doctor = asker(&["role/doctor"]);
    assert!(denied(&all, &doctor, "Observation", Seals::HIV));
    assert!(denied(&all, &doctor, "Condition", Seals::HIV.with(Seals::MENTAL)));
    assert!(!denied(&all, &doctor, "Observation", Seals::NONE), "not sealed");
    assert!(!denied(&all, &doctor, "Observation", Seals::MENTAL), "another seal");
    assert!(!denied(&all, &doctor, "Procedure", Seals::HIV), "another type");
    let paying = Asker { purpose: purpose_bit("HPAYMT"), ..doctor.clone() };
    assert!(!denied(&all, &paying, "Observation", Seals::HIV), "another purpose");
    let over = rules(&consent(json!({"type": "deny", "period": {"end": "2026-11-20"}}))).unwrap();
    assert!(!denied(&over, &doctor, "Observation", Seals::NONE), "over");
    let ahead = rules(&consent(json!({"type": "deny", "period": {"start": "2026-11-22"}}))).unwrap();
    assert!(!denied(&ahead, &doctor, "Observation", Seals::NONE), "not yet");
}

/// An exception cannot reach beyond what it is an exception of; asking for the impossible is asking for nothing, never
/// for everything.
#[test]
fn exceptions_stay_inside() {
    let all = rules(&consent(
        json!({"type": "deny", "actor": [practitioner("d1")], "purpose": [{"code": "TREAT"}],
        "class": [{"code": "Observation"}], "securityLabel": [hiv()], "provision": [
        {"type": "permit", "actor": [practitioner("d2")]},
        {"type": "permit", "purpose": [{"code": "HPAYMT"}]},
        {"type": "permit", "class": [{"code": "Condition"}]}]}),
    ))
    .unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(denied(&all, &asker(&["Practitioner/d1"]), "Observation", Seals::HIV));
}

#[test]
fn permits_open_the_seals_they_name() {
    let all =
        rules(&consent(json!({"type": "permit", "actor": [practitioner("d1")], "securityLabel": [hiv()]})))
            .unwrap();
    let consents = [all];
    let judge = Judge { consents: &consents, now: now() };
    let seals = Seals::HIV.with(Seals::MENTAL);
    assert_eq!(judge.opens(&asker(&["Practitioner/d1"]), kind("Observation"), seals), Seals::HIV);
    assert_eq!(judge.opens(&asker(&["Practitioner/d2"]), kind("Observation"), seals), Seals::NONE);
    // A permit for everything opens no seal: the patient must name it.
    let broad = [rules(&consent(json!({"type": "permit", "actor": [practitioner("d1")]}))).unwrap()];
    let judge = Judge { consents: &broad, now: now() };
    assert_eq!(judge.opens(&asker(&["Practitioner/d1"]), kind("Observation"), seals), Seals::NONE);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    for (provision, place) in [
        (json!({}), "Consent.provision.type"),
        (json!({"type": "deny", "code": [{"text": "x"}]}), "Consent.provision.code"),
        (json!({"type": "deny", "data": []}), "Consent.provision.data"),
        (json!({"type": "deny", "dataPeriod": {}}), "Consent.provision.dataPeriod"),
        (
            json!({"type": "deny", "action": [{"coding": [{"code": "correct"}]}]}),
            "Consent.provision.action[0]",
        ),
        (json!({"type": "deny", "purpose": [{"code": "X"}]}), "Consent.provision.purpose[0]"),
        (json!({"type": "deny", "class": [{"code": "Dog"}]}), "Consent.provision.class[0]"),
        (
            json!({"type": "deny", "actor": [{"role": {}, "reference": {"reference": "Organization/1"}}]}),
            "Consent.provision.actor[0].reference",
        ),
        (
            json!({"type": "deny", "securityLabel": [{"system": "urn:x", "code": "HIV"}]}),
            "Consent.provision.securityLabel[0]",
        ),
        (json!({"type": "deny", "provision": [{}]}), "Consent.provision.provision[0].type"),
        (
            json!({"type": "deny", "provision": [{"type": "permit", "provision": [{"type": "deny", "provision": [
                {"type": "permit"}]}]}]}),
            "Consent.provision.provision[0].provision[0].provision[0]",
        ),
    ] {
        assert_eq!(rules(&consent(provision)).unwrap_err().expression, place);
    }
    let many: Vec<Value> = (0..401).map(|n| practitioner(&format!("d{n}"))).collect();
    assert!(rules(&consent(json!({"type": "deny", "actor": many}))).is_err());
}

#[test]
fn only_active_privacy_consents_have_rules() {
    let with = |pointer: &str, value: Value| {
        let mut all = consent(json!({"type": "deny"})).into_value();
        *all.pointer_mut(pointer).unwrap() = value;
        rules(&Resource::from_value(all).unwrap()).unwrap().len()
    };
    assert_eq!(with("/status", json!("active")), 1);
    assert_eq!(with("/status", json!("inactive")), 0);
    assert_eq!(with("/scope", json!({"text": "privacy"})), 0);
}

/// R4's root without a type: the base is named by policyRule.
#[test]
fn the_base_may_be_a_policy() {
    let base = |code: &str| {
        let mut all = consent(json!({"actor": [practitioner("d1")]})).into_value();
        all["policyRule"] = json!({"coding": [{"code": code}]});
        rules(&Resource::from_value(all).unwrap()).unwrap()
    };
    assert!(base("OPTOUT")[0].deny);
    assert!(!base("OPTIN")[0].deny);
}
