use super::plan::{plan_put, read};
use super::*;
use crate::consultation::Facts;
use crate::element::key;
use fhir::Resource;
use jiff::Timestamp;
use jiff::civil::date;
use record::{Change, ChangeSet, Rule};
use serde_json::json;

fn now() -> Timestamp {
    "2026-11-23T07:00:00Z".parse().unwrap()
}

fn visit() -> Facts {
    let encounter =
        Resource::from_value(json!({"resourceType": "Encounter", "id": "v", "status": "in-progress",
        "class": {"code": "VR"}, "subject": {"reference": "Patient/p"}}))
        .unwrap();
    crate::consultation::read(&encounter).unwrap()
}

fn plan(input: &VitalsInput, before: &[Resource]) -> Result<ChangeSet, Rule> {
    let doctor = key("Practitioner", "d");
    plan_put(input, &visit(), before, "1990-01-01", (&doctor, "Dr"), now())
}

fn stored(set: &ChangeSet, mut before: Vec<Resource>) -> Vec<Resource> {
    for change in &set.changes {
        let (Change::Create { resource } | Change::Update { resource, .. }) = change else { unreachable!() };
        assert_eq!(fhir::validate::validate(resource), Vec::new(), "what is planned is valid R4");
        before.retain(|r| r.id() != resource.id());
        let mut resource = resource.clone();
        resource.set_version(1, now());
        before.push(resource);
    }
    before
}

fn one(field: &str, value: &str) -> VitalsInput {
    serde_json::from_value(json!({ field: value })).unwrap()
}

#[test]
fn what_is_written_is_checked() {
    for (field, value, expected) in [
        ("temperature", "36.8", Ok("36.8")),
        ("temperature", "37.0", Ok("37.0")),
        ("temperature", "37", Ok("37")),
        ("temperature", " 36,6 ", Ok("36.6")),
        ("temperature", "036.60", Ok("36.6")),
        ("temperature", "36.75", Err("value-invalid")),
        ("temperature", "98.6", Err("value-implausible")),
        ("temperature", "24.9", Err("value-implausible")),
        ("pulse", "72", Ok("72")),
        ("pulse", "72.0", Ok("72")),
        ("pulse", "72.5", Err("value-invalid")),
        ("pulse", "-72", Err("value-invalid")),
        ("pulse", "1e2", Err("value-invalid")),
        ("pulse", "7o", Err("value-invalid")),
        ("pulse", "301", Err("value-implausible")),
        ("spo2", "101", Err("value-implausible")),
        ("spo2", "100", Ok("100")),
        ("respiratory_rate", "3", Err("value-implausible")),
        ("weight", "2.85", Ok("2.85")),
        ("weight", "0.2", Err("value-implausible")),
        ("weight", ".", Err("value-invalid")),
        ("weight", "5.", Err("value-invalid")),
        ("weight", "٧٠", Err("value-invalid")),
        ("height", "175.5", Ok("175.5")),
        ("height", "1.75", Err("value-invalid")),
        ("height", "99999999999999999999", Err("value-invalid")),
    ] {
        let result = plan(&one(field, value), &[]);
        match expected {
            Ok(text) => {
                let found = read(&stored(&result.unwrap(), Vec::new()), "1990-01-01");
                assert_eq!(found[0].value, text, "{field} {value:?}");
            }
            Err(code) => {
                let rule = result.unwrap_err();
                assert_eq!((rule.code, rule.field), (code, format!("/{field}")), "{value:?}");
            }
        }
    }
}

#[test]
fn pressure_is_two_values() {
    let both = |high: &str, low: &str| VitalsInput {
        systolic: Some(high.into()),
        diastolic: Some(low.into()),
        ..VitalsInput::default()
    };
    assert_eq!(plan(&one("systolic", "120"), &[]).unwrap_err().field, "/diastolic");
    assert_eq!(plan(&one("diastolic", "80"), &[]).unwrap_err().field, "/systolic");
    assert_eq!(plan(&both("80", "120"), &[]).unwrap_err().code, "pressure-reversed");
    let first = stored(&plan(&both("120", "80"), &[]).unwrap(), Vec::new());
    let second = stored(&plan(&one("systolic", "130"), &first).unwrap(), first);
    let values: Vec<String> = read(&second, "").into_iter().map(|v| v.value).collect();
    assert_eq!(values, ["130", "80"], "one half can be corrected");
    assert_eq!(plan(&both("130", "80"), &second).unwrap(), ChangeSet::default(), "the same again is nothing");
    let gone = stored(&plan(&both("", ""), &second).unwrap(), second);
    assert!(read(&gone, "").is_empty() && gone.len() == 1, "taken back, not deleted");
}

#[test]
fn body_mass_follows_weight_and_height() {
    let size = |weight: &str, height: &str| VitalsInput {
        weight: Some(weight.into()),
        height: Some(height.into()),
        ..VitalsInput::default()
    };
    for (weight, height, bmi) in [
        ("70", "175", "22.9"),
        ("3.2", "50", "12.8"),
        ("80", "170", "27.7"),
        ("54.08", "160", "21.1"),
        ("400", "60", ""),
    ] {
        let rows = stored(&plan(&size(weight, height), &[]).unwrap(), Vec::new());
        let found = read(&rows, "").into_iter().find(|v| v.code == "39156-5").map(|v| v.value);
        assert_eq!(found.unwrap_or_default(), bmi, "{weight} {height}");
    }
    let first = stored(&plan(&size("70", "175"), &[]).unwrap(), Vec::new());
    let after = stored(&plan(&one("weight", ""), &first).unwrap(), first);
    let left: Vec<String> = read(&after, "").into_iter().map(|v| v.code).collect();
    assert_eq!(left, ["8302-2"], "no body mass index without a weight");
}

#[test]
fn flags_go_by_age() {
    let adult = Age::Adult;
    let infant = Age::UnderMonths(12);
    for (measure, value, age, expected) in [
        (Measure::Systolic, 120, adult, None),
        (Measure::Systolic, 140, adult, Some(Flag::H)),
        (Measure::Systolic, 180, adult, Some(Flag::HH)),
        (Measure::Systolic, 99, adult, Some(Flag::L)),
        (Measure::Systolic, 89, adult, Some(Flag::LL)),
        (Measure::Diastolic, 110, adult, Some(Flag::HH)),
        (Measure::Pulse, 130, infant, None),
        (Measure::Pulse, 130, adult, Some(Flag::H)),
        (Measure::Pulse, 131, adult, Some(Flag::HH)),
        (Measure::RespiratoryRate, 45, infant, None),
        (Measure::RespiratoryRate, 50, infant, Some(Flag::H)),
        (Measure::RespiratoryRate, 25, adult, Some(Flag::HH)),
        (Measure::OxygenSaturation, 94, adult, None),
        (Measure::OxygenSaturation, 93, adult, Some(Flag::L)),
        (Measure::OxygenSaturation, 89, adult, Some(Flag::LL)),
        (Measure::Temperature, 40, adult, Some(Flag::HH)),
        (Measure::Temperature, 38, Age::UnderMonths(3), Some(Flag::H)),
        (Measure::Temperature, 38, adult, None),
        (Measure::BodyMassIndex, 17, adult, Some(Flag::L)),
        (Measure::BodyMassIndex, 17, infant, None),
        (Measure::Weight, 70, adult, None),
    ] {
        assert_eq!(flag(measure, value * 100, age), expected, "{measure:?} {value} {age:?}");
    }
    for (born, expected) in [
        ("2026-11-01", Age::UnderMonths(3)),
        ("2026-08-23", Age::UnderMonths(12)),
        ("2026-08-24", Age::UnderMonths(3)),
        ("2022-01-01", Age::UnderYears(5)),
        ("2014-11-24", Age::UnderYears(12)),
        ("2014-11-23", Age::UnderYears(18)),
        ("2008-11-23", Age::Adult),
        ("2008-11-24", Age::UnderYears(18)),
        ("1990", Age::Adult),
        ("", Age::Adult),
    ] {
        assert_eq!(Age::on(born, date(2026, 11, 23)), expected, "{born}");
    }
}

#[test]
fn imported_values_are_shown_as_they_are() {
    let row = |code: &str, value: &str, unit: &str| {
        Resource::from_value(json!({"resourceType": "Observation", "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "effectiveDateTime": "2026-11-20T08:00:00+03:00",
            "valueQuantity": {"value": crate::element::decimal(value), "unit": unit, "code": unit}}))
        .unwrap()
    };
    for (code, value, unit, shown, expected) in [
        ("8867-4", "72.6", "/min", "73", None),
        ("8867-4", "72.0", "/min", "72", None),
        ("8310-5", "39.96", "Cel", "40.0", Some(Flag::HH)),
        ("8310-5", "98.6", "[degF]", "98.6", None),
        ("2708-6", "88", "%", "88", Some(Flag::LL)),
        ("29463-7", "70.129", "kg", "70.13", None),
    ] {
        let found = &read(&[row(code, value, unit)], "1990-01-01")[0];
        assert_eq!((found.value.as_str(), found.flag), (shown, expected), "{code} {value} {unit}");
    }
    assert!(read(&[row("1234-5", "1", "x")], "").is_empty());
}
