use super::*;
use jiff::civil::{Date, date};
use record::Change;

fn today() -> Date {
    date(2026, 11, 23)
}

fn e164(text: &str) -> Option<String> {
    record::authn::phone_e164(text)
}

fn form() -> PatientNew {
    PatientNew {
        given: "Amina".into(),
        family: "Njoroge".into(),
        birth_date: "1992-02-29".into(),
        sex: "female".into(),
        ..PatientNew::default()
    }
}

#[test]
fn every_problem_of_the_form_is_named() {
    type Fault = fn(&mut PatientNew);
    let cases: [(Fault, &str); 22] = [
        (|_| {}, ""),
        (|f| f.given = String::new(), ""),
        (|f| f.family = String::new(), ""),
        (|f| f.given = "Nĩ wa Ŋ'ɛnɡ".into(), ""),
        (|f| f.family = "አበበ".into(), ""),
        (|f| f.family = "123".into(), "/family name-invalid"),
        (|f| f.family = "x".repeat(101), "/family too-long"),
        (|f| f.birth_date = "1992-02-30".into(), "/birth_date date-invalid"),
        (|f| f.birth_date = "29.02.1992".into(), "/birth_date date-invalid"),
        (|f| f.birth_date = "1992".into(), "/birth_date date-invalid"),
        (|f| f.birth_date = "2026-11-24".into(), "/birth_date date-future"),
        (|f| f.birth_date = "2026-11-23".into(), ""),
        (|f| f.birth_date = "1890-01-01".into(), "/birth_date date-implausible"),
        (|f| f.sex = "f".into(), "/sex sex-invalid"),
        (|f| f.phone = Some("0712345678".into()), ""),
        (|f| f.phone = Some("12".into()), "/phone phone-invalid"),
        (|f| f.phone = Some("  ".into()), ""),
        (|f| f.email = Some("a@b".into()), "/email email-invalid"),
        (|f| f.email = Some("a@b.co".into()), ""),
        (|f| f.language = Some("s w".into()), "/language language-invalid"),
        (
            |f| f.next_of_kin = Some(NextOfKin { phone: "0712345678".into(), ..NextOfKin::default() }),
            "/next_of_kin/name name-required",
        ),
        (
            |f| {
                f.given = " ".into();
                f.family = String::new();
            },
            "/family name-required",
        ),
    ];
    for (index, (fault, expected)) in cases.into_iter().enumerate() {
        let mut form = form();
        fault(&mut form);
        let found = check(&form, today(), &e164).err().map(|rule| format!("{} {}", rule.field, rule.code));
        assert_eq!(found.unwrap_or_default(), expected, "case {index}");
    }
}

#[test]
fn what_is_registered_is_valid_and_reads_back() {
    let mut whole = form();
    whole.phone = Some("+254 712 345 678".into());
    whole.email = Some("amina@example.org".into());
    whole.language = Some("sw".into());
    whole.address = Some(PatientAddress { county: Some("Nakuru".into()), town: Some("Naivasha".into()) });
    whole.next_of_kin = Some(NextOfKin {
        name: "Peter Njoroge".into(),
        phone: "0712345679".into(),
        relationship: "brother".into(),
    });
    let checked = check(&whole, today(), &e164).unwrap();
    let set = plan_create("p", &checked, "UZ-000007", None);
    let Change::Create { resource } = &set.changes[0] else { unreachable!() };
    assert_eq!(fhir::validate::validate(resource), Vec::new());
    let patient = Patient::read(resource, true);
    assert_eq!((patient.phone.as_str(), patient.record_number.as_str()), ("+254712345678", "UZ-000007"));
    assert_eq!(patient.next_of_kin.as_ref().unwrap().name, "Peter Njoroge");
    assert_eq!(patient.address, whole.address.unwrap());
    assert_eq!(patient.language, "sw");
    let nameless = check(&PatientNew { given: String::new(), ..form() }, today(), &e164).unwrap();
    let Change::Create { resource } = &plan_create("p", &nameless, "UZ-1", None).changes[0] else {
        unreachable!()
    };
    assert_eq!(fhir::validate::validate(resource), Vec::new(), "one name is enough");
}

#[test]
fn old_numbers_stay_as_old() {
    let mut form = form();
    form.phone = Some("0712345678".into());
    let set = plan_create("p", &check(&form, today(), &e164).unwrap(), "UZ-1", None);
    let Change::Create { resource } = &set.changes[0] else { unreachable!() };
    let change = PatientChange { phone: Some("0722000000".into()), ..PatientChange::default() };
    let set = plan_update(resource, &change, false, today(), &e164).unwrap();
    let Change::Update { resource: next, .. } = &set.changes[0] else { unreachable!() };
    assert_eq!(Patient::read(next, false).phone, "+254722000000");
    assert_eq!(array(next.value(), "telecom").len(), 2);
    let same = plan_update(next, &change, false, today(), &e164).unwrap();
    assert!(same.changes.is_empty());
    let none =
        PatientChange { given: Some(String::new()), family: Some(" ".into()), ..PatientChange::default() };
    assert_eq!(plan_update(next, &none, false, today(), &e164).unwrap_err().code, "name-required");
    for field in ["given", "family", "birth_date", "sex", "phone"] {
        let change: PatientChange = serde_json::from_value(serde_json::json!({ field: "x" })).unwrap();
        assert_eq!(
            plan_update(next, &change, true, today(), &e164).unwrap_err().code,
            "field-fixed",
            "{field}"
        );
    }
}
