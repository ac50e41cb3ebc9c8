//! The rules of registration. Pure.

use super::{NextOfKin, PatientAddress, PatientChange, PatientNew};
use crate::element::{self, array, kind as type_of, text, version};
use crate::rule::{self, date, fits};
use crate::vocabulary::RECORD_NUMBER;
use fhir::Resource;
use jiff::civil::Date;
use record::{Change, ChangeSet, Event, Rule};
use serde_json::{Value, json};

const NAME_CHARS_MAX: usize = 100;
/// Nobody is older.
const AGE_YEARS_MAX: i16 = 125;
const SEXES: [&str; 4] = ["female", "male", "other", "unknown"];

/// A registration form that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub given: String,
    pub family: String,
    pub birth_date: String,
    pub sex: String,
    /// E.164
    pub phone: Option<String>,
    pub email: Option<String>,
    pub language: Option<String>,
    pub address: Option<PatientAddress>,
    pub next_of_kin: Option<NextOfKin>,
}

/// One line without control characters, white space as single spaces.
fn name(text: &str, field: &str) -> Result<String, Rule> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = fits(&text, field, NAME_CHARS_MAX)?;
    if !text.is_empty() && !text.chars().any(char::is_alphabetic) {
        return Err(Rule::new("name-invalid", "A name has letters.").at(field));
    }
    Ok(text)
}

fn birth_date(text: &str, today: Date) -> Result<String, Rule> {
    let born = date(text.trim(), "/birth_date")?;
    if born > today {
        return Err(Rule::new("date-future", "The birth date is in the future.").at("/birth_date"));
    }
    if today.year() - born.year() > AGE_YEARS_MAX {
        return Err(Rule::new("date-implausible", "Check the year of birth.").at("/birth_date"));
    }
    Ok(born.to_string())
}

/// `None` for an empty text. `e164` turns a number of any form into E.164.
fn phone(text: &str, field: &str, e164: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, Rule> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let number =
        e164(text).ok_or_else(|| Rule::new("phone-invalid", "This is no phone number.").at(field))?;
    Ok(Some(number))
}

fn email(text: &str) -> Result<Option<String>, Rule> {
    let text = text.trim();
    let wrong = || Rule::new("email-invalid", "This is no e-mail address.").at("/email");
    if text.is_empty() {
        return Ok(None);
    }
    let (local, domain) = text.split_once('@').ok_or_else(wrong)?;
    let fine = !local.is_empty() && domain.contains('.') && text.len() <= 200;
    if fine && !text.contains(char::is_whitespace) { Ok(Some(text.to_owned())) } else { Err(wrong()) }
}

fn language(text: &str) -> Result<Option<String>, Rule> {
    let text = text.trim();
    let fine = text.len() <= 20 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match (text.is_empty(), fine) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(text.to_owned())),
        (false, false) => {
            Err(Rule::new("language-invalid", "Write a language code, e.g. sw.").at("/language"))
        }
    }
}

fn sex(text: &str) -> Result<String, Rule> {
    if SEXES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Rule::new("sex-invalid", "One of female, male, other, unknown.").at("/sex"))
}

fn address(given: &PatientAddress) -> Result<PatientAddress, Rule> {
    let part = |text: &Option<String>, field: &str| match text.as_deref().map(str::trim) {
        Some(text) if !text.is_empty() => fits(text, field, NAME_CHARS_MAX).map(Some),
        _ => Ok(None),
    };
    Ok(PatientAddress {
        county: part(&given.county, "/address/county")?,
        town: part(&given.town, "/address/town")?,
    })
}

fn next_of_kin(given: &NextOfKin, e164: &dyn Fn(&str) -> Option<String>) -> Result<Option<NextOfKin>, Rule> {
    let relationship = fits(given.relationship.trim(), "/next_of_kin/relationship", NAME_CHARS_MAX)?;
    let found = NextOfKin {
        name: name(&given.name, "/next_of_kin/name")?,
        phone: phone(&given.phone, "/next_of_kin/phone", e164)?.unwrap_or_default(),
        relationship,
    };
    match (found.name.is_empty(), found.phone.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err(Rule::new("name-required", "Write the name.").at("/next_of_kin/name")),
        (false, _) => Ok(Some(found)),
    }
}

/// Checks a registration form. One of the names may be empty: many people have one name.
///
/// Errors: every problem: `name-required`, `name-invalid`, `date-invalid`, `date-future`, `date-implausible`,
/// `sex-invalid`, `phone-invalid`, `email-invalid`, `language-invalid`, `too-long`.
pub fn check(form: &PatientNew, today: Date, e164: &dyn Fn(&str) -> Option<String>) -> Result<Checked, Rule> {
    let mut problems = Vec::new();
    fn take<T: Default>(result: Result<T, Rule>, problems: &mut Vec<Rule>) -> T {
        result.unwrap_or_else(|rule| {
            problems.push(rule);
            T::default()
        })
    }
    let nothing = String::new();
    let checked = Checked {
        given: take(name(&form.given, "/given"), &mut problems),
        family: take(name(&form.family, "/family"), &mut problems),
        birth_date: take(birth_date(&form.birth_date, today), &mut problems),
        sex: take(sex(&form.sex), &mut problems),
        phone: take(phone(form.phone.as_ref().unwrap_or(&nothing), "/phone", e164), &mut problems),
        email: take(email(form.email.as_ref().unwrap_or(&nothing)), &mut problems),
        language: take(language(form.language.as_ref().unwrap_or(&nothing)), &mut problems),
        address: take(form.address.as_ref().map(address).transpose(), &mut problems),
        next_of_kin: take(
            form.next_of_kin.as_ref().map(|kin| next_of_kin(kin, e164)).transpose().map(Option::flatten),
            &mut problems,
        ),
    };
    if form.given.trim().is_empty() && form.family.trim().is_empty() {
        problems.push(Rule::new("name-required", "Write a name.").at("/family"));
    }
    rule::all(problems).map_or(Ok(checked), Err)
}

fn human_name(given: &str, family: &str) -> Value {
    let mut name = json!({"use": "official"});
    if !family.is_empty() {
        name["family"] = json!(family);
    }
    if !given.is_empty() {
        name["given"] = json!(given.split(' ').collect::<Vec<_>>());
    }
    json!([name])
}

fn contact_of(kin: &NextOfKin) -> Value {
    let mut contact = json!({"name": {"text": kin.name}});
    if !kin.relationship.is_empty() {
        contact["relationship"] = json!([{"text": kin.relationship}]);
    }
    if !kin.phone.is_empty() {
        contact["telecom"] = json!([{"system": "phone", "value": kin.phone}]);
    }
    contact
}

fn address_of(address: &PatientAddress) -> Value {
    let mut found = json!({"use": "home", "country": "KE"});
    if let Some(town) = &address.town {
        found["city"] = json!(town);
    }
    if let Some(county) = &address.county {
        found["district"] = json!(county);
    }
    found
}

fn communication(code: &str) -> Value {
    json!([{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": code}]}, "preferred": true}])
}

/// Registers a patient under a record number that was given out just now. `practitioner` (a clinician who registers)
/// becomes her general practitioner, so that the record is in her care.
pub fn plan_create(
    id: &str,
    form: &Checked,
    record_number: &str,
    practitioner: Option<&fhir::ResourceKey>,
) -> ChangeSet {
    let mut patient = Resource::new(type_of("Patient"));
    patient.set_id(id);
    let kind = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]});
    let number = json!({"use": "usual", "type": kind, "system": RECORD_NUMBER, "value": record_number});
    patient.set("identifier", json!([number]));
    patient.set("active", json!(true));
    patient.set("name", human_name(&form.given, &form.family));
    let mut telecom = Vec::new();
    telecom.extend(form.phone.as_ref().map(|p| json!({"system": "phone", "value": p, "use": "mobile"})));
    telecom.extend(form.email.as_ref().map(|e| json!({"system": "email", "value": e})));
    if !telecom.is_empty() {
        patient.set("telecom", Value::Array(telecom));
    }
    patient.set("gender", json!(form.sex));
    patient.set("birthDate", json!(form.birth_date));
    if let Some(address) = form.address.as_ref().filter(|a| **a != PatientAddress::default()) {
        patient.set("address", json!([address_of(address)]));
    }
    if let Some(kin) = &form.next_of_kin {
        patient.set("contact", json!([contact_of(kin)]));
    }
    if let Some(code) = &form.language {
        patient.set("communication", communication(code));
    }
    if let Some(practitioner) = practitioner {
        patient.set("generalPractitioner", json!([{"reference": practitioner.to_string()}]));
    }
    let subject = element::key("Patient", id);
    ChangeSet {
        changes: vec![Change::Create { resource: patient }],
        events: vec![Event { topic: "patient.registered", subject, data: json!({ "id": id }) }],
        ..ChangeSet::default()
    }
}

/// Replaces the contact point of this system; others (and old numbers) stay.
fn put_contact(patient: &mut Resource, system: &str, new: Option<&str>) {
    let mut all = array(patient.value(), "telecom").to_vec();
    let is_current = |t: &Value| text(t, "/system") == Some(system) && text(t, "/use") != Some("old");
    if all.iter().any(|t| is_current(t) && text(t, "/value") == new) {
        return;
    }
    for contact in all.iter_mut().filter(|t| is_current(t)) {
        contact["use"] = json!("old");
    }
    if let Some(new) = new {
        let mut contact = json!({"system": system, "value": new});
        if system == "phone" {
            contact["use"] = json!("mobile");
        }
        all.push(contact);
    }
    patient.set("telecom", if all.is_empty() { Value::Null } else { Value::Array(all) });
}

/// Changes what is given. A patient herself changes only how she is reached (`own`).
///
/// Errors: those of [check]; `field-fixed` for what a patient cannot change herself; `name-required`.
pub fn plan_update(
    patient: &Resource,
    change: &PatientChange,
    own: bool,
    today: Date,
    e164: &dyn Fn(&str) -> Option<String>,
) -> Result<ChangeSet, Rule> {
    let mut problems = Vec::new();
    if own {
        let fixed = [
            ("/given", change.given.is_some()),
            ("/family", change.family.is_some()),
            ("/birth_date", change.birth_date.is_some()),
            ("/sex", change.sex.is_some()),
            ("/phone", change.phone.is_some()),
        ];
        for (field, _) in fixed.iter().filter(|(_, given)| *given) {
            let text = "The front desk changes this with you.";
            problems.push(Rule::new("field-fixed", text).at(*field));
        }
    }
    let mut next = patient.clone();
    if change.given.is_some() || change.family.is_some() {
        let old = crate::view::PersonName::read(patient.value());
        let given = name(change.given.as_ref().unwrap_or(&old.given), "/given");
        let family = name(change.family.as_ref().unwrap_or(&old.family), "/family");
        match (given, family) {
            (Ok(given), Ok(family)) if given.is_empty() && family.is_empty() => {
                problems.push(Rule::new("name-required", "Write a name.").at("/family"));
            }
            (Ok(given), Ok(family)) => next.set("name", human_name(&given, &family)),
            (given, family) => problems.extend(given.err().into_iter().chain(family.err())),
        }
    }
    if let Some(text) = &change.birth_date {
        match birth_date(text, today) {
            Ok(found) => next.set("birthDate", json!(found)),
            Err(rule) => problems.push(rule),
        }
    }
    if let Some(text) = &change.sex {
        match sex(text) {
            Ok(found) => next.set("gender", json!(found)),
            Err(rule) => problems.push(rule),
        }
    }
    if let Some(text) = &change.phone {
        match phone(text, "/phone", e164) {
            Ok(found) => put_contact(&mut next, "phone", found.as_deref()),
            Err(rule) => problems.push(rule),
        }
    }
    if let Some(text) = &change.email {
        match email(text) {
            Ok(found) => put_contact(&mut next, "email", found.as_deref()),
            Err(rule) => problems.push(rule),
        }
    }
    if let Some(text) = &change.language {
        match language(text) {
            Ok(found) => next.set("communication", found.as_deref().map_or(Value::Null, communication)),
            Err(rule) => problems.push(rule),
        }
    }
    if let Some(given) = &change.address {
        match address(given) {
            Ok(found) if found == PatientAddress::default() => next.set("address", Value::Null),
            Ok(found) => next.set("address", json!([address_of(&found)])),
            Err(rule) => problems.push(rule),
        }
    }
    if let Some(given) = &change.next_of_kin {
        match next_of_kin(given, e164) {
            Ok(found) => next.set("contact", found.map_or(Value::Null, |kin| json!([contact_of(&kin)]))),
            Err(rule) => problems.push(rule),
        }
    }
    if let Some(rule) = rule::all(problems) {
        return Err(rule);
    }
    if next == *patient {
        return Ok(ChangeSet::default());
    }
    let if_match = Some(version(patient));
    Ok(ChangeSet { changes: vec![Change::Update { resource: next, if_match }], ..ChangeSet::default() })
}
