//! The rules of prescribing. Pure.

use super::line::{dose_text, line};
use super::{Clash, FrequencyCode, ITEMS_MAX, PrescriptionInput, RxItem, Status};
use crate::consultation::{Facts, State};
use crate::element::{
    self, array, coding, concept, extension, kind as type_of, set_extension, text, version,
};
use crate::note::Signer;
use crate::rule::{self, fits, needed};
use crate::texts::Language;
use crate::vocabulary::{DOSE_FORM, FREQUENCY, MEDICINE, PRESCRIPTION, UCUM, VERIFICATION};
use access::Seals;
use access::redact::is_subsetted;
use fhir::Resource;
use record::{Change, ChangeSet, Event, Rule};
use serde_json::{Value, json};

/// On MedicationRequest: the dose as written, e.g. `500 mg`.
const DOSE: &str = "https://uzima.health/fhir/StructureDefinition/dose";
const DURATION_DAYS_MAX: u32 = 366;
const REFILLS_MAX: u32 = 12;
const QUANTITY_MAX: u32 = 10_000;

/// What the codes on a paper lead to its items by; whoever knows one may ask.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub open: String,
    pub sealed: String,
}

/// What the rules of saving look at.
#[derive(Debug, Clone, Copy)]
pub struct SaveSnapshot<'a> {
    pub visit: &'a Facts,
    /// Every MedicationRequest of this visit, in the order of their ids.
    pub requests: &'a [Resource],
    pub author: &'a Signer<'a>,
}

fn is_kept(request: &Resource) -> bool {
    !matches!(request.text("status"), Some("cancelled" | "entered-in-error"))
}

/// Sum of the versions of all items, cancelled ones included.
pub(super) fn total_version(requests: &[Resource]) -> u32 {
    requests.iter().map(version).sum()
}

pub(super) fn status(requests: &[Resource]) -> Status {
    let kept = requests.iter().filter(|r| is_kept(r)).collect::<Vec<_>>();
    let draft = kept.is_empty() || kept.iter().any(|r| r.text("status") == Some("draft"));
    if draft { Status::Draft } else { Status::Signed }
}

/// Every problem of the items.
fn check(items: &[RxItem]) -> Result<(), Rule> {
    let mut problems = Vec::new();
    if items.len() > ITEMS_MAX {
        problems.push(Rule::new("too-many", format!("At most {ITEMS_MAX} medicines.")).at("/items"));
    }
    for (index, item) in items.iter().enumerate() {
        let at = |name: &str| format!("/items/{index}/{name}");
        problems.extend(needed(&item.name, &at("name"), 200).err());
        problems.extend(fits(&item.form, &at("form"), 100).err());
        problems.extend(needed(&item.dose, &at("dose"), 100).err());
        problems.extend(needed(&item.route, &at("route"), 100).err());
        problems.extend(fits(&item.frequency_text, &at("frequency_text"), 200).err());
        problems
            .extend(fits(item.instructions.as_deref().unwrap_or_default(), &at("instructions"), 500).err());
        problems.extend(fits(item.medicine_id.as_deref().unwrap_or_default(), &at("medicine_id"), 64).err());
        if item.duration_days > DURATION_DAYS_MAX {
            problems.push(Rule::new("duration-invalid", "At most 366 days.").at(at("duration_days")));
        }
        let once = matches!(item.frequency_code, FrequencyCode::Stat | FrequencyCode::Prn);
        if item.duration_days == 0 && !once {
            problems.push(Rule::new("duration-needed", "Say for how many days.").at(at("duration_days")));
        }
        if item.refills > REFILLS_MAX {
            problems.push(Rule::new("refills-invalid", "At most 12 refills.").at(at("refills")));
        }
        if item.quantity.is_some_and(|quantity| quantity == 0 || quantity > QUANTITY_MAX) {
            problems.push(Rule::new("quantity-invalid", "Between 1 and 10,000.").at(at("quantity")));
        }
        if !item.dose.contains(|c: char| c.is_numeric()) {
            problems.push(Rule::new("dose-invalid", "A dose has a number, e.g. 500 mg.").at(at("dose")));
        }
    }
    rule::all(problems).map_or(Ok(()), Err)
}

/// The id of the n-th item: the same for two first saves, so that they meet.
fn request_id(index: usize, visit: &str) -> String {
    let mut id = format!("rx{index:02}-{visit}");
    id.truncate(64);
    id
}

/// Saves the draft: items are written in their order, those no longer wanted are cancelled.
///
/// Errors: `prescription-signed`; `visit-closed`; every problem of the items.
pub fn plan_put(input: &PrescriptionInput, snapshot: &SaveSnapshot<'_>) -> Result<ChangeSet, Rule> {
    if status(snapshot.requests) == Status::Signed {
        return Err(Rule::new("prescription-signed", "This prescription is signed and cannot be changed."));
    }
    if snapshot.visit.state == State::Cancelled {
        return Err(Rule::new("visit-closed", "This visit is cancelled."));
    }
    check(&input.items)?;
    let visit = &snapshot.visit.key.id;
    let mut set = ChangeSet::default();
    for index in 0..ITEMS_MAX {
        let id = request_id(index, visit);
        let old = snapshot.requests.iter().find(|r| r.id() == Some(id.as_str()));
        match (input.items.get(index), old) {
            (None, None) => break,
            (None, Some(old)) if !is_kept(old) => {}
            (None, Some(old)) => {
                let mut gone = old.clone();
                gone.set("status", json!("cancelled"));
                set.changes.push(Change::Update { resource: gone, if_match: Some(version(old)) });
            }
            (Some(item), old) => {
                let next = request(&id, item, old, snapshot);
                match old {
                    Some(old) if *old == next => {}
                    Some(old) => {
                        set.changes.push(Change::Update { resource: next, if_match: Some(version(old)) })
                    }
                    None => set.changes.push(Change::Create { resource: next }),
                }
            }
        }
    }
    Ok(set)
}

fn request(id: &str, item: &RxItem, old: Option<&Resource>, snapshot: &SaveSnapshot<'_>) -> Resource {
    let visit = snapshot.visit;
    let mut request = old.cloned().unwrap_or_else(|| {
        let mut new = Resource::new(type_of("MedicationRequest"));
        new.set_id(id);
        new
    });
    let mut medicine = json!({"text": item.name.trim()});
    if let Some(code) = item.medicine_id.as_deref().filter(|code| !code.is_empty()) {
        medicine["coding"] = json!([{"system": MEDICINE, "code": code, "display": item.name.trim()}]);
    }
    request.set("status", json!("draft"));
    request.set("intent", json!("order"));
    request.set("groupIdentifier", json!({"system": PRESCRIPTION, "value": visit.key.id}));
    request.set("medicationCodeableConcept", medicine);
    request.set("subject", element::reference(&visit.patient, &visit.patient_name));
    request.set("encounter", json!({"reference": visit.key.to_string()}));
    request.set("requester", element::reference(snapshot.author.key, snapshot.author.name));
    let form = item.form.trim();
    let form = (!form.is_empty()).then(|| json!({"url": DOSE_FORM, "valueString": form}));
    set_extension(request.value_mut(), DOSE_FORM, form);
    let dose = dose_text(&item.dose);
    set_extension(request.value_mut(), DOSE, Some(json!({"url": DOSE, "valueString": dose})));
    request.set("dosageInstruction", json!([dosage(item)]));
    let mut dispense = json!({"numberOfRepeatsAllowed": item.refills});
    if let Some(quantity) = item.quantity {
        dispense["quantity"] = json!({ "value": quantity });
    }
    if item.duration_days > 0 {
        dispense["expectedSupplyDuration"] = days(item.duration_days);
    }
    request.set("dispenseRequest", dispense);
    request
}

fn days(count: u32) -> Value {
    json!({"value": count, "unit": "days", "system": UCUM, "code": "d"})
}

fn dosage(item: &RxItem) -> Value {
    let words = item.frequency_code.words(Language::English);
    let mut code = concept(FREQUENCY, item.frequency_code.code(), words);
    let exact = item.frequency_text.trim();
    if !exact.is_empty() {
        code["text"] = json!(exact);
    }
    let mut timing = json!({ "code": code });
    if let Some(daily) = item.frequency_code.daily() {
        let mut repeat = json!({"frequency": daily, "period": 1, "periodUnit": "d"});
        if item.duration_days > 0 {
            repeat["boundsDuration"] = days(item.duration_days);
        }
        timing["repeat"] = repeat;
    }
    let mut dosage = json!({"text": line(item, Language::English), "timing": timing});
    dosage["route"] = json!({"text": item.route.trim()});
    if item.frequency_code == FrequencyCode::Prn {
        dosage["asNeededBoolean"] = json!(true);
    }
    if let Some(words) = item.instructions.as_deref().map(str::trim).filter(|words| !words.is_empty()) {
        dosage["patientInstruction"] = json!(words);
    }
    dosage
}

/// Signs all items of the draft under one token, sealed ones under another: who may not see those prints a paper whose
/// code does not lead to them. Signing twice changes nothing.
///
/// Errors: `prescription-empty`; `allergy-clash` with `details.warnings` unless acknowledged.
pub fn plan_sign(
    requests: &[Resource],
    clashes: &[Clash],
    acknowledged: bool,
    tokens: &Tokens,
    signer: &Signer<'_>,
) -> Result<ChangeSet, Rule> {
    let kept: Vec<&Resource> = requests.iter().filter(|r| is_kept(r)).collect();
    if kept.is_empty() {
        return Err(Rule::new("prescription-empty", "There is nothing to sign.").at("/items"));
    }
    if kept.iter().all(|r| r.text("status") != Some("draft")) {
        return Ok(ChangeSet::default());
    }
    if !acknowledged && clashes.iter().any(|clash| clash.serious) {
        let warnings: Vec<Value> = clashes
            .iter()
            .map(|c| json!({"item": c.item, "allergy_id": c.allergy_id, "allergy": c.allergy, "matched": c.matched}))
            .collect();
        let text = "A medicine touches a recorded serious allergy; acknowledge the warning to prescribe it all the same.";
        return Err(Rule::new("allergy-clash", text).with(json!({ "warnings": warnings })));
    }
    let mut set = ChangeSet::default();
    for request in kept.into_iter().filter(|r| r.text("status") == Some("draft")) {
        let mut next = request.clone();
        next.set("status", json!("active"));
        next.set("authoredOn", json!(element::written(signer.now)));
        next.set("requester", element::reference(signer.key, signer.name));
        let token = if Seals::of(request).is_none() { &tokens.open } else { &tokens.sealed };
        next.set("identifier", json!([{"system": VERIFICATION, "value": token}]));
        set.changes.push(Change::Update { resource: next, if_match: Some(version(request)) });
    }
    let visit = requests.first().and_then(|r| element::target(r.get("encounter")?));
    if let Some(visit) = visit {
        let data = json!({ "id": visit.id });
        set.events.push(Event { topic: "prescription.signed", subject: visit, data });
    }
    Ok(set)
}

/// The items as `/api/v1` shows them, also of imported prescriptions; cancelled ones left out.
pub fn read(requests: &[Resource]) -> Vec<RxItem> {
    requests.iter().filter(|r| is_kept(r)).map(item).collect()
}

pub(crate) fn item(request: &Resource) -> RxItem {
    let value = request.value();
    let medicine = value.get("medicationCodeableConcept").cloned().unwrap_or(Value::Null);
    let dosage = array(value, "dosageInstruction").first().cloned().unwrap_or(Value::Null);
    let timing = dosage.get("timing").cloned().unwrap_or(Value::Null);
    let own = |url| extension(value, url).and_then(|e| text(e, "/valueString")).map(str::to_owned);
    let code = timing.get("code").and_then(|c| FrequencyCode::from_code(coding(c, FREQUENCY)?.0));
    let daily = timing.pointer("/repeat/frequency").and_then(Value::as_u64);
    let counted = match daily {
        Some(2) => FrequencyCode::Bd,
        Some(3) => FrequencyCode::Tds,
        Some(4) => FrequencyCode::Qds,
        Some(_) => FrequencyCode::Od,
        None => FrequencyCode::Prn,
    };
    let number =
        |pointer: &str| value.pointer(pointer).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let reference = text(value, "/medicationReference/display");
    let name = Some(element::words(&medicine)).filter(|name| !name.is_empty());
    // Our own words are free text as FHIR sees it and go with a hidden part; the line says the same.
    let written = text(&dosage, "/text")
        .filter(|_| is_subsetted(request))
        .and_then(|line| Written::of(line, name.as_deref()?));
    let quantity = dosage.pointer("/doseAndRate/0/doseQuantity").and_then(|q| {
        Some(format!("{} {}", element::digits(q.get("value")?)?, text(q, "/unit").unwrap_or_default()))
    });
    RxItem {
        medicine_id: coding(&medicine, MEDICINE).map(|(code, _)| code.to_owned()),
        name: name.or_else(|| reference.map(str::to_owned)).unwrap_or_default(),
        form: own(DOSE_FORM).or_else(|| written.map(|w| w.form.to_owned())).unwrap_or_default(),
        // An imported dosage may be nothing but text; it is then all there is to show.
        dose: own(DOSE)
            .or_else(|| written.map(|w| w.dose.to_owned()))
            .or(quantity)
            .or_else(|| text(&dosage, "/text").map(str::to_owned))
            .unwrap_or_default(),
        route: dosage.get("route").map(element::words).unwrap_or_default(),
        frequency_code: code.unwrap_or(counted),
        frequency_text: text(&timing, "/code/text")
            .filter(|words| code.is_none_or(|code| *words != code.words(Language::English)))
            .unwrap_or_default()
            .to_owned(),
        duration_days: number("/dispenseRequest/expectedSupplyDuration/value").unwrap_or(0),
        quantity: number("/dispenseRequest/quantity/value"),
        instructions: text(&dosage, "/patientInstruction").map(str::to_owned),
        refills: number("/dispenseRequest/numberOfRepeatsAllowed").unwrap_or(0),
    }
}

/// Form and dose in a line that [line] wrote.
#[derive(Clone, Copy)]
struct Written<'a> {
    form: &'a str,
    dose: &'a str,
}

impl<'a> Written<'a> {
    fn of(line: &'a str, name: &str) -> Option<Written<'a>> {
        let mut parts = line.split(" – ");
        let (lead, dose) = (parts.next()?, parts.next()?.strip_prefix("DOSE ")?);
        let (start, form) = lead.split_at_checked(name.trim().len())?;
        // Tall Man letters change nothing but the case.
        start.eq_ignore_ascii_case(name.trim()).then_some(Written { form: form.trim(), dose })
    }
}

/// One line for lists: our own line for our own items, the text as written for imported ones.
pub(crate) fn shown_line(request: &Resource, language: Language) -> String {
    if extension(request.value(), DOSE).is_some() {
        return line(&item(request), language);
    }
    let name = element::words(request.get("medicationCodeableConcept").unwrap_or(&Value::Null));
    let name = if name.is_empty() { item(request).name } else { name };
    let dosage = text(request.value(), "/dosageInstruction/0/text").unwrap_or_default();
    if dosage.is_empty() { name } else { format!("{name} – {dosage}") }
}
