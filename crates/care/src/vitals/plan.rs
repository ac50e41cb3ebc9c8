//! The rules of vital signs. Pure.

use super::measure::{Age, Measure, flag, sort};
use super::{Flag, Vital, VitalsInput};
use crate::consultation::Facts;
use crate::element::{self, array, coding, concept, decimal, kind as type_of, text, version};
use crate::rule;
use crate::vocabulary::{INTERPRETATION, LOINC, OBSERVATION_CATEGORY, UCUM};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::{Change, ChangeSet, Event, Rule};
use serde_json::{Value, json};

/// LOINC of the blood pressure panel.
const PANEL: &str = "85354-9";

/// A value in hundredths and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hundredths: i64,
    text: String,
}

/// What is written for one measure: nothing, a value, or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    Keep,
    Remove,
    Set(Entry),
}

/// Errors: `value-invalid`, `value-implausible` with `details {"low", "high"}`.
fn parse(measure: Measure, input: Option<&String>) -> Result<Wish, Rule> {
    let Some(written) = input else { return Ok(Wish::Keep) };
    let written = written.trim().replace(',', ".");
    if written.is_empty() {
        return Ok(Wish::Remove);
    }
    let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let shaped =
        (1..=4).contains(&whole.len()) && digits(whole) && digits(fraction) && !written.ends_with('.');
    let fraction = fraction.trim_end_matches('0');
    if !shaped || fraction.len() > measure.decimals() {
        let text = match measure.decimals() {
            0 => "Write a whole number.".to_owned(),
            1 => "Write a number with at most one decimal.".to_owned(),
            n => format!("Write a number with at most {n} decimals."),
        };
        return Err(Rule::new("value-invalid", text).at(measure.field()));
    }
    let hundredths = wire::money::scaled(&written, 2)
        .ok_or_else(|| Rule::new("value-invalid", "Write a number.").at(measure.field()))?;
    let (low, high) = measure.plausible();
    if !(low..=high).contains(&hundredths) {
        let (low, high) = (plain(low), plain(high));
        let text = format!("This cannot be: between {low} and {high} {} is possible.", measure.unit());
        let details = json!({"low": low, "high": high, "unit": measure.unit()});
        return Err(Rule::new("value-implausible", text).at(measure.field()).with(details));
    }
    // Without leading zeros; one written zero of a temperature stays: 37.0 says more than 37.
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let text = match (fraction, written.contains('.')) {
        ("", true) if measure == Measure::Temperature => format!("{whole}.0"),
        ("", _) => whole.to_owned(),
        (fraction, _) => format!("{whole}.{fraction}"),
    };
    Ok(Wish::Set(Entry { hundredths, text }))
}

/// Hundredths as a decimal without trailing zeros.
fn plain(hundredths: i64) -> String {
    let text = format!("{}.{:02}", hundredths / 100, (hundredths % 100).abs());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// kg/m² in hundredths, rounded to one decimal; exact integer arithmetic.
fn body_mass_index(weight: i64, height: i64) -> Option<Entry> {
    let square = i128::from(height) * i128::from(height);
    if square == 0 {
        return None;
    }
    // weight/100 kg ÷ (height/10000 m)² × 10, rounded half up.
    let tenths = (i128::from(weight) * 20_000_000 + square) / (2 * square);
    let tenths = i64::try_from(tenths).ok()?;
    let (low, high) = Measure::BodyMassIndex.plausible();
    let hundredths = tenths * 10;
    (low..=high)
        .contains(&hundredths)
        .then(|| Entry { hundredths, text: format!("{}.{}", tenths / 10, tenths % 10) })
}

/// One Observation per visit and code.
fn observation_id(code: &str, visit: &str) -> String {
    let mut id = format!("{code}.{visit}");
    id.truncate(64);
    id
}

struct Writer<'a> {
    visit: &'a Facts,
    before: &'a [Resource],
    performer: &'a ResourceKey,
    performer_name: &'a str,
    now: Timestamp,
    set: ChangeSet,
}

impl Writer<'_> {
    fn old(&self, code: &str) -> Option<&Resource> {
        let id = observation_id(code, &self.visit.key.id);
        self.before.iter().find(|o| o.id() == Some(id.as_str()))
    }

    fn observation(&self, code: &str, display: &str) -> Resource {
        let mut new = self.old(code).cloned().unwrap_or_else(|| {
            let mut new = Resource::new(type_of("Observation"));
            new.set_id(&observation_id(code, &self.visit.key.id));
            new
        });
        new.set("status", json!("final"));
        new.set("category", json!([concept(OBSERVATION_CATEGORY, "vital-signs", "Vital Signs")]));
        new.set("code", concept(LOINC, code, display));
        new.set("subject", element::reference(&self.visit.patient, &self.visit.patient_name));
        new.set("encounter", json!({"reference": self.visit.key.to_string()}));
        new
    }

    /// Writes it if it differs from what is there; only then does the time of measuring move.
    fn put(&mut self, code: &str, mut next: Resource) {
        let old = self.old(code);
        if old == Some(&next) {
            return;
        }
        next.set("effectiveDateTime", json!(element::written(self.now)));
        next.set("performer", json!([element::reference(self.performer, self.performer_name)]));
        let change = match old {
            Some(before) => Change::Update { resource: next, if_match: Some(version(before)) },
            None => Change::Create { resource: next },
        };
        self.set.changes.push(change);
    }

    /// What was entered by mistake stays, marked.
    fn remove(&mut self, code: &str) {
        let Some(before) = self.old(code).filter(|o| o.text("status") != Some("entered-in-error")) else {
            return;
        };
        let mut wrong = before.clone();
        wrong.set("status", json!("entered-in-error"));
        let if_match = Some(version(before));
        self.set.changes.push(Change::Update { resource: wrong, if_match });
    }
}

fn quantity(measure: Measure, entry: &Entry) -> Value {
    let value = decimal(&entry.text).unwrap_or(Value::Null);
    json!({"value": value, "unit": measure.unit(), "system": UCUM, "code": measure.ucum()})
}

fn interpretation(flag: Option<Flag>) -> Value {
    let Some(flag) = flag else { return Value::Null };
    let display = match flag {
        Flag::LL => "Critical low",
        Flag::L => "Low",
        Flag::H => "High",
        Flag::HH => "Critical high",
    };
    json!([concept(INTERPRETATION, flag.code(), display)])
}

/// Plans the vital signs of a visit. `before` are the Observations of this visit.
///
/// Errors: every `value-invalid`, `value-implausible`, `pressure-incomplete`, `pressure-reversed`, `visit-closed`.
pub fn plan_put(
    input: &VitalsInput,
    visit: &Facts,
    before: &[Resource],
    birth_date: &str,
    performer: (&ResourceKey, &str),
    now: Timestamp,
) -> Result<ChangeSet, Rule> {
    let fields = [
        (Measure::Systolic, &input.systolic),
        (Measure::Diastolic, &input.diastolic),
        (Measure::Pulse, &input.pulse),
        (Measure::Temperature, &input.temperature),
        (Measure::RespiratoryRate, &input.respiratory_rate),
        (Measure::OxygenSaturation, &input.spo2),
        (Measure::Weight, &input.weight),
        (Measure::Height, &input.height),
    ];
    let mut problems = Vec::new();
    let mut wishes = Vec::new();
    for (measure, text) in fields {
        match parse(measure, text.as_ref()) {
            Ok(wish) => wishes.push((measure, wish)),
            Err(problem) => problems.push(problem),
        }
    }
    if visit.state == crate::consultation::State::Cancelled {
        problems.push(Rule::new("visit-closed", "This visit is cancelled."));
    }
    if let Some(rule) = rule::all(problems) {
        return Err(rule);
    }
    let age = Age::on(birth_date, now.to_zoned(jiff::tz::TimeZone::UTC).date());
    let (key, name) = performer;
    let mut writer =
        Writer { visit, before, performer: key, performer_name: name, now, set: ChangeSet::default() };
    let wish = |measure| wishes.iter().find(|(m, _)| *m == measure).map_or(&Wish::Keep, |(_, w)| w);
    pressure(&mut writer, wish(Measure::Systolic), wish(Measure::Diastolic), age)?;
    for (measure, wish) in &wishes {
        match (measure, wish) {
            (Measure::Systolic | Measure::Diastolic, _) | (_, Wish::Keep) => {}
            (_, Wish::Remove) => writer.remove(measure.loinc()),
            (_, Wish::Set(entry)) => single(&mut writer, *measure, entry, age),
        }
    }
    let weight = latest(&writer, Measure::Weight, wish(Measure::Weight));
    let height = latest(&writer, Measure::Height, wish(Measure::Height));
    match weight.zip(height).and_then(|(weight, height)| body_mass_index(weight, height)) {
        Some(entry) => single(&mut writer, Measure::BodyMassIndex, &entry, age),
        None => writer.remove(Measure::BodyMassIndex.loinc()),
    }
    let mut set = writer.set;
    if !set.changes.is_empty() {
        set.events.push(Event {
            topic: "vitals.recorded",
            subject: visit.key.clone(),
            data: json!({"id": visit.key.id}),
        });
    }
    Ok(set)
}

fn single(writer: &mut Writer<'_>, measure: Measure, entry: &Entry, age: Age) {
    let mut next = writer.observation(measure.loinc(), measure.display());
    next.set("valueQuantity", quantity(measure, entry));
    next.set("interpretation", interpretation(flag(measure, entry.hundredths, age)));
    writer.put(measure.loinc(), next);
}

/// The value a measure has after this plan.
fn latest(writer: &Writer<'_>, measure: Measure, wish: &Wish) -> Option<i64> {
    match wish {
        Wish::Set(entry) => Some(entry.hundredths),
        Wish::Remove => None,
        Wish::Keep => {
            let old = writer.old(measure.loinc()).filter(|o| o.text("status") == Some("final"))?;
            hundredths(old.get("valueQuantity")?)
        }
    }
}

/// A quantity in hundredths, rounded: imported values may have more decimals.
fn hundredths(quantity: &Value) -> Option<i64> {
    let digits = element::digits(quantity.get("value")?)?;
    if let Some(exact) = wire::money::scaled(&digits, 2) {
        return Some(exact);
    }
    let (whole, fraction) = digits.split_once('.')?;
    wire::money::scaled(&format!("{whole}.{}", fraction.get(..2)?), 2)
}

/// Both pressures make one panel; half of one means nothing.
fn pressure(writer: &mut Writer<'_>, systolic: &Wish, diastolic: &Wish, age: Age) -> Result<(), Rule> {
    let component = |code: &str| -> Option<Entry> {
        let old = writer.old(PANEL).filter(|o| o.text("status") == Some("final"))?;
        let part = array(old.value(), "component")
            .iter()
            .find(|c| c.get("code").and_then(|c| coding(c, LOINC)).is_some_and(|(found, _)| found == code))?;
        let quantity = part.get("valueQuantity")?;
        Some(Entry { hundredths: hundredths(quantity)?, text: element::digits(quantity.get("value")?)? })
    };
    let value = |wish: &Wish, measure: Measure| match wish {
        Wish::Set(entry) => Some(entry.clone()),
        Wish::Remove => None,
        Wish::Keep => component(measure.loinc()),
    };
    if (systolic, diastolic) == (&Wish::Keep, &Wish::Keep) {
        return Ok(());
    }
    let incomplete = |field: &str| {
        Rule::new("pressure-incomplete", "Blood pressure needs both values.").at(field.to_owned())
    };
    match (value(systolic, Measure::Systolic), value(diastolic, Measure::Diastolic)) {
        (None, None) => writer.remove(PANEL),
        (None, Some(_)) => return Err(incomplete("/systolic")),
        (Some(_), None) => return Err(incomplete("/diastolic")),
        (Some(high), Some(low)) if high.hundredths <= low.hundredths => {
            let text = "The systolic value must be above the diastolic one.";
            return Err(Rule::new("pressure-reversed", text).at("/diastolic"));
        }
        (Some(high), Some(low)) => {
            let mut next = writer.observation(PANEL, "Blood pressure");
            let parts: Vec<Value> = [(Measure::Systolic, high), (Measure::Diastolic, low)]
                .iter()
                .map(|(measure, entry)| {
                    let mut part = json!({"code": concept(LOINC, measure.loinc(), measure.display())});
                    part["valueQuantity"] = quantity(*measure, entry);
                    let flag = interpretation(flag(*measure, entry.hundredths, age));
                    if !flag.is_null() {
                        part["interpretation"] = flag;
                    }
                    part
                })
                .collect();
            next.set("component", Value::Array(parts));
            writer.put(PANEL, next);
        }
    }
    Ok(())
}

/// Every vital sign in the Observations: `(measure code, value, instant)`, panels taken apart; wrong ones left out.
pub fn read(observations: &[Resource], birth_date: &str) -> Vec<Vital> {
    let mut all = Vec::new();
    for observation in observations {
        if matches!(observation.text("status"), Some("entered-in-error" | "cancelled" | "registered")) {
            continue;
        }
        let value = observation.value();
        let at = text(value, "/effectiveDateTime")
            .or_else(|| text(value, "/effectivePeriod/start"))
            .or_else(|| text(value, "/effectiveInstant"))
            .or_else(|| text(value, "/issued"))
            .unwrap_or_default();
        all.extend(one(value, at, birth_date));
        all.extend(array(value, "component").iter().filter_map(|part| one(part, at, birth_date)));
    }
    all.sort_by_key(|vital| sort(&vital.code));
    all
}

fn one(value: &Value, at: &str, birth_date: &str) -> Option<Vital> {
    let (code, _) = coding(value.get("code")?, LOINC)?;
    let measure = Measure::from_loinc(code)?;
    let quantity = value.get("valueQuantity")?;
    let digits = element::digits(quantity.get("value")?)?;
    // A value in another unit (°F, lb) is shown with its own unit and not judged.
    let own_unit = text(quantity, "/code").is_none_or(|code| code == measure.ucum() || code == "{score}");
    let day = at.get(..10).and_then(|day| day.parse().ok());
    let flag = day.filter(|_| own_unit).and_then(|day| {
        let hundredths = hundredths(quantity)?;
        flag(measure, hundredths, Age::on(birth_date, day))
    });
    let unit = if own_unit { measure.unit() } else { text(quantity, "/unit").unwrap_or_default() };
    Some(Vital {
        code: measure.loinc().to_owned(),
        display: measure.display().to_owned(),
        value: shown(&digits, measure.decimals()),
        unit: unit.to_owned(),
        at: at.to_owned(),
        flag,
        previous: None,
        series: Vec::new(),
    })
}

/// Digits for people: imported values with many decimals are cut to what the measure has, rounded half up.
fn shown(digits: &str, decimals: usize) -> String {
    let Some((whole, fraction)) = digits.split_once('.') else { return digits.to_owned() };
    if fraction.len() <= decimals || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return if fraction.bytes().all(|b| b == b'0') && decimals == 0 {
            whole.to_owned()
        } else {
            digits.to_owned()
        };
    }
    let scale = 10_i64.pow(u32::try_from(decimals).unwrap_or(0));
    let kept: i64 = format!("{whole}{}", &fraction[..decimals]).parse().unwrap_or(0);
    let up = fraction.as_bytes().get(decimals).is_some_and(|b| *b >= b'5');
    let rounded = kept + i64::from(up);
    if decimals == 0 {
        rounded.to_string()
    } else {
        format!("{}.{:0decimals$}", rounded / scale, rounded % scale)
    }
}
