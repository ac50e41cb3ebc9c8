//! `Observation/$lastn`, `Observation/$stats`.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, refused, wrong};
use crate::http::error::FhirError;
use ::fhir::ucum::{self, Unit};
use ::fhir::{IssueCode, Resource};
use record::operation::statistics::{self, Sample, Statistic};
use serde_json::{Value, json};
use std::fmt::Write as _;

const KINDS: Kinds = Kinds::These(&["Observation"]);
const STATISTICS: &str = "http://terminology.hl7.org/CodeSystem/observation-statistics";
/// Observations that one `$stats` counts.
const MAX_COUNTED: u32 = 20_000;
/// Codes of one `$stats`.
const MAX_CODES: usize = 50;
const DEFAULT_LATEST: i64 = 1;
const MAX_LATEST: i64 = 1_000;

const fn search(name: &'static str, kind: &'static str, text: &'static str) -> Parameter {
    Parameter::new(name, "string", text).search(kind).many()
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "lastn",
        id: "Observation-lastn",
        url: "http://hl7.org/fhir/OperationDefinition/Observation-lastn",
        title: "The latest observations of each kind",
        text: "Observations that share a coding are of one kind, and so is whatever their codings connect; without a \
               coding the text counts. What was entered in error is left out unless a status is asked for.",
        levels: Levels::KIND,
        kinds: KINDS,
        affects_state: false,
        parameters: &[
            Parameter::new("max", "positiveInt", "Observations of each kind, 1 unless given; at most 1000."),
            search("patient", "reference", "Whose observations; this or `subject` is needed."),
            search("subject", "reference", "Whose observations; this or `patient` is needed."),
            search("category", "token", "As in a search."),
            search("code", "token", "As in a search."),
            search("date", "date", "As in a search."),
            search("encounter", "reference", "As in a search."),
            search("status", "token", "As in a search."),
            Parameter::new("return", "Bundle", "A searchset, kind after kind, newest first.")
                .out()
                .required(),
        ],
        handler: |call| Box::pin(latest(call)),
    },
    Operation {
        code: "stats",
        id: "Observation-stats",
        url: "http://hl7.org/fhir/OperationDefinition/Observation-stats",
        title: "Statistics of measured values",
        text: "Numbers about the values of one subject: of the observation itself or of its components. Values in other \
               units are converted to the unit of the newest one; what does not convert is an error. Values with a \
               comparator (`<5`) and observations entered in error or cancelled do not count as values.",
        levels: Levels::KIND,
        kinds: KINDS,
        affects_state: false,
        parameters: &[
            Parameter::new("subject", "uri", "Whose observations, e.g. `Patient/123`.").required(),
            Parameter::new("code", "string", "Code of what was measured, in `system` if that is given.")
                .many(),
            Parameter::new("system", "uri", "System of each `code`."),
            Parameter::new("coding", "Coding", "Code and system of what was measured.").many(),
            Parameter::new("duration", "decimal", "The last so many hours."),
            Parameter::new("period", "Period", "From when to when; not together with `duration`."),
            Parameter::new("statistic", "code", "What to compute; separated by commas or repeated.")
                .required()
                .many(),
            Parameter::new("include", "boolean", "Return the observations as well."),
            Parameter::new("limit", "positiveInt", "Only the newest so many observations of each code."),
            Parameter::new("statistics", "Observation", "One per code, a component per statistic.")
                .out()
                .many(),
            Parameter::new("source", "Observation", "What was counted, if `include`.").out().many(),
        ],
        handler: |call| Box::pin(stats(call)),
    },
];

async fn latest(call: Call) -> Answer {
    let max = call.input.number("max").unwrap_or(DEFAULT_LATEST);
    if !(1..=MAX_LATEST).contains(&max) {
        return Err(wrong("max", format!("max is 1 to {MAX_LATEST}.")));
    }
    let pairs: Vec<(String, String)> = call
        .input
        .pairs()
        .filter(|(name, _)| *name != "max")
        .filter_map(|(name, given)| Some((name.to_owned(), given.text()?.to_owned())))
        .collect();
    if !pairs.iter().any(|(name, _)| name == "patient" || name == "subject") {
        return Err(wrong("patient", "Say whose observations: `patient` or `subject`."));
    }
    let found = call.app.record.latest_observations(&call.ctx, &pairs, max as usize).await?;
    let base = call.base();
    let mut text = format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"total\":{},\"link\":[{{\"relation\":\"self\",\"url\":{}}}]",
        found.len(),
        Value::String(format!("{base}/Observation/$lastn?{}", call.query)),
    );
    for (n, item) in found.iter().enumerate() {
        text.push_str(if n == 0 { ",\"entry\":[" } else { "," });
        let content = std::str::from_utf8(&item.content)
            .map_err(|_| record::Error::Internal(format!("stored {} is not UTF-8", item.key)))?;
        let _ = write!(
            text,
            "{{\"fullUrl\":\"{base}/{}\",\"resource\":{content},\"search\":{{\"mode\":\"match\"}}}}",
            item.key
        );
    }
    text.push_str(if found.is_empty() { "}" } else { "]}" });
    Ok(Output::Text(text))
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    system: Option<String>,
    code: String,
}

impl Measured {
    fn token(&self) -> String {
        let escape = |text: &str| {
            text.replace('\\', "\\\\").replace(',', "\\,").replace('|', "\\|").replace('$', "\\$")
        };
        match &self.system {
            Some(system) => format!("{}|{}", escape(system), escape(&self.code)),
            None => escape(&self.code),
        }
    }
    /// The coding of a CodeableConcept that says this.
    fn coding<'a>(&self, concept: &'a Value) -> Option<&'a Value> {
        concept["coding"].as_array()?.iter().find(|coding| {
            coding["code"] == self.code.as_str()
                && self.system.as_ref().is_none_or(|system| coding["system"] == system.as_str())
        })
    }
}

fn measured(call: &Call) -> Result<Vec<Measured>, FhirError> {
    let system = call.input.text("system").map(str::to_owned);
    let mut all: Vec<Measured> = call
        .input
        .texts("code")
        .flat_map(|text| text.split(','))
        .filter(|code| !code.is_empty())
        .map(|code| Measured { system: system.clone(), code: code.to_owned() })
        .collect();
    for coding in call.input.values("coding") {
        let code = coding["code"].as_str().ok_or_else(|| wrong("coding", "A coding needs a code."))?;
        all.push(Measured { system: coding["system"].as_str().map(str::to_owned), code: code.to_owned() });
    }
    match all.len() {
        0 => Err(wrong("code", "Say what was measured: `code` or `coding`.")),
        n if n > MAX_CODES => Err(wrong("code", format!("At most {MAX_CODES} codes."))),
        _ => Ok(all),
    }
}

fn wanted(call: &Call) -> Result<Vec<Statistic>, FhirError> {
    let mut all = Vec::new();
    for code in call.input.texts("statistic").flat_map(|text| text.split(',')).map(str::trim) {
        let statistic = Statistic::from_code(code).ok_or_else(|| {
            let known: Vec<&str> = statistics::ALL.iter().map(|(code, ..)| *code).collect();
            wrong("statistic", format!("`{}` is none of {}.", super::printable(code), known.join(", ")))
        })?;
        if !all.contains(&statistic) {
            all.push(statistic);
        }
    }
    Ok(all)
}

/// `(start, end)` as written or computed; both may be open.
fn span(call: &Call) -> Result<(Option<String>, Option<String>), FhirError> {
    let duration = call.input.value("duration").and_then(Value::as_f64);
    let period = call.input.value("period");
    match (duration, period) {
        (Some(_), Some(_)) => Err(wrong("duration", "Give `duration` or `period`, not both.")),
        (Some(hours), None) => {
            let seconds = hours * 3600.0;
            if !(seconds > 0.0 && seconds < 1e11) {
                return Err(wrong("duration", "The duration is a number of hours above 0."));
            }
            let start = call
                .ctx
                .now
                .checked_sub(jiff::SignedDuration::from_secs(seconds as i64))
                .map_err(|_| wrong("duration", "The duration is too long."))?;
            Ok((Some(format!("{start:.0}")), Some(format!("{:.0}", call.ctx.now))))
        }
        (None, Some(period)) => {
            let end = |name: &str| -> Result<Option<String>, FhirError> {
                match period.get(name).map(|v| v.as_str().filter(|t| ::fhir::range_us(t).is_some())) {
                    None => Ok(None),
                    Some(Some(text)) => Ok(Some(text.to_owned())),
                    Some(None) => Err(wrong("period", format!("period.{name} must be a dateTime."))),
                }
            };
            Ok((end("start")?, end("end")?))
        }
        (None, None) => Ok((None, None)),
    }
}

async fn stats(call: Call) -> Answer {
    let (measured, wanted, (start, end)) = (measured(&call)?, wanted(&call)?, span(&call)?);
    let given = call.input.text("subject").unwrap_or_default();
    let base = format!("{}/", call.base());
    let subject = given.strip_prefix(base.as_str()).unwrap_or(given).to_owned();
    let limit = call.input.number("limit").map_or(MAX_COUNTED, |n| (n as u32).min(MAX_COUNTED));
    let mut entries = Vec::new();
    let mut sources: Vec<Resource> = Vec::new();
    for what in &measured {
        let token = what.token();
        let (from, until) =
            (start.as_ref().map(|s| format!("ge{s}")), end.as_ref().map(|e| format!("le{e}")));
        let mut query = vec![
            ("subject", subject.as_str()),
            ("combo-code", token.as_str()),
            ("status:not", "entered-in-error,cancelled"),
            ("_sort", "-date"),
        ];
        query.extend(from.as_deref().map(|from| ("date", from)));
        query.extend(until.as_deref().map(|until| ("date", until)));
        // One more than counts, to know whether there are more.
        let asked = if call.input.number("limit").is_some() { limit } else { limit + 1 };
        let found = call.app.record.find(&call.ctx, "Observation", &query, asked).await?;
        if found.len() as u32 > limit {
            return Err(refused(
                IssueCode::TooCostly,
                format!("More than {MAX_COUNTED} observations; name a period or a limit."),
            ));
        }
        let observations: Vec<Resource> = found.into_iter().map(|(resource, _)| resource).collect();
        entries.push(Output::resource_entry(
            "statistics",
            answer(what, &wanted, &subject, &observations, (start.as_deref(), end.as_deref()))?,
        ));
        if call.input.flag("include") == Some(true) {
            for observation in observations {
                if !sources.iter().any(|known| known.id() == observation.id()) {
                    sources.push(observation);
                }
            }
        }
    }
    entries.extend(sources.into_iter().map(|o| Output::resource_entry("source", o.into_value())));
    Ok(Output::Parameters(entries))
}

/// A value with its unit.
#[derive(Debug)]
struct Reading<'a> {
    at_us: i64,
    quantity: &'a Value,
    number: f64,
    decimals: usize,
}

fn answer(
    what: &Measured,
    wanted: &[Statistic],
    subject: &str,
    observations: &[Resource],
    (start, end): (Option<&str>, Option<&str>),
) -> Result<Value, FhirError> {
    let mut readings: Vec<Reading<'_>> = Vec::new();
    for observation in observations {
        readings.extend(values(what, observation.value())?);
    }
    let values = readings;
    // Newest first: its unit is the one that people use now.
    let unit = values.first().map(|v| v.quantity.clone()).unwrap_or_default();
    let mut samples = Vec::with_capacity(values.len());
    for value in &values {
        let number = converted(value, &unit)?;
        if !number.is_finite() {
            return Err(beyond("A value, converted to the unit of the newest one,"));
        }
        samples.push(Sample { at_us: value.at_us, value: number });
    }
    let decimals = values.iter().map(|v| v.decimals).max().unwrap_or(0);
    let mut coding = json!({"code": what.code});
    if let Some(system) = &what.system {
        coding["system"] = json!(system);
    }
    let named = observations.iter().find_map(|o| {
        let root = o.get("code").and_then(|code| what.coding(code));
        let parts = o.get("component").and_then(Value::as_array).into_iter().flatten();
        root.or_else(|| parts.filter_map(|part| what.coding(&part["code"])).next())
    });
    if let Some(named) = named {
        coding = named.clone();
    }
    let mut components: Vec<Value> = Vec::with_capacity(wanted.len());
    for statistic in wanted {
        components.push(component(*statistic, &samples, observations.len(), &unit, decimals)?);
    }
    let mut observation = json!({
        "resourceType": "Observation", "status": "final", "code": {"coding": [coding]},
        "subject": {"reference": subject},
    });
    let earliest = values.iter().map(|v| v.at_us).min();
    let latest = values.iter().map(|v| v.at_us).max();
    let written = |us: Option<i64>| {
        us.and_then(|us| jiff::Timestamp::from_microsecond(us).ok()).map(|at| format!("{at:.0}"))
    };
    let mut period = serde_json::Map::new();
    if let Some(start) = start.map(str::to_owned).or_else(|| written(earliest)) {
        period.insert("start".into(), json!(start));
    }
    if let Some(end) = end.map(str::to_owned).or_else(|| written(latest)) {
        period.insert("end".into(), json!(end));
    }
    if !period.is_empty() {
        observation["effectivePeriod"] = Value::Object(period);
    }
    observation["component"] = Value::Array(components);
    Ok(observation)
}

/// Errors: 422 for a result that is no number any more.
fn component(
    statistic: Statistic,
    samples: &[Sample],
    total: usize,
    unit: &Value,
    decimals: usize,
) -> Result<Value, FhirError> {
    let mut part = json!({"code": {"coding": [
        {"system": STATISTICS, "code": statistic.code(), "display": statistic.display()}]}});
    let value = statistics::evaluate(statistic, samples, total);
    if value.is_some_and(|value| !value.is_finite()) {
        return Err(beyond(&format!("The statistic `{}`", statistic.code())));
    }
    let Some(value) = value.and_then(|value| statistics::decimal(value, decimals)) else {
        part["dataAbsentReason"] = json!({"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "not-applicable"}],
            "text": "Too few values."});
        return Ok(part);
    };
    let mut quantity = json!({ "value": value });
    let coded = unit["code"].as_str().filter(|_| unit["system"] == ucum::SYSTEM);
    let code = statistic.unit(coded.unwrap_or_default());
    if coded.is_some() || code == "1" {
        let shown = if Some(code.as_str()) == coded { unit["unit"].as_str().unwrap_or(&code) } else { &code };
        quantity["unit"] = json!(shown);
        quantity["system"] = json!(ucum::SYSTEM);
        quantity["code"] = json!(code);
    } else if !matches!(statistic, Statistic::Variance | Statistic::Regression) {
        for name in ["unit", "system", "code"] {
            if let Some(text) = unit.get(name) {
                quantity[name] = text.clone();
            }
        }
    }
    part["valueQuantity"] = quantity;
    Ok(part)
}

/// 422: no number of the statistics' size.
fn beyond(what: &str) -> FhirError {
    let text = format!("{what} is beyond the numbers that statistics reckon with, about 1e-308 to 1.8e308.");
    refused(IssueCode::Value, text)
}

/// The numbers of an observation that are about `what`: its own value, or those of its components. Errors: 422 for one
/// that is too large or too small to reckon with; leaving it out would be a wrong answer.
fn values<'a>(what: &Measured, observation: &'a Value) -> Result<Vec<Reading<'a>>, FhirError> {
    let when =
        ["effectiveDateTime", "effectiveInstant", "issued"].iter().find_map(|n| observation[*n].as_str());
    let when = when.or_else(|| observation["effectivePeriod"]["start"].as_str());
    let at_us = when.and_then(::fhir::range_us).map_or(0, |(low_us, _)| low_us);
    let parts = observation["component"].as_array().into_iter().flatten();
    std::iter::once(observation)
        .chain(parts)
        .filter(|part| what.coding(&part["code"]).is_some())
        .filter_map(|part| {
            let quantity = &part["valueQuantity"];
            let number = if quantity.is_object() {
                // `<5` is no number.
                Some(&quantity["value"]).filter(|_| quantity.get("comparator").is_none())
            } else {
                part.get("valueInteger")
            };
            let number = number.filter(|v| v.is_number())?;
            let text = number.to_string();
            let Some(value) = statistics::finite(&text) else {
                let id = observation["id"].as_str().unwrap_or_default();
                return Some(Err(beyond(&format!("A value of Observation/{id}"))));
            };
            Some(Ok(Reading { at_us, quantity, number: value, decimals: statistics::decimals(&text) }))
        })
        .collect()
}

/// Errors: 422 for units that do not convert.
fn converted(value: &Reading<'_>, unit: &Value) -> Result<f64, FhirError> {
    let of = |q: &Value| {
        (
            q["system"].as_str().map(str::to_owned),
            q["code"].as_str().map(str::to_owned),
            q["unit"].as_str().map(str::to_owned),
        )
    };
    let (from, to) = (of(value.quantity), of(unit));
    let is_same = match (&from, &to) {
        ((_, Some(a), _), (_, Some(b), _)) => a == b && from.0 == to.0,
        _ => from.1 == to.1 && from.2 == to.2,
    };
    if is_same {
        return Ok(value.number);
    }
    let is_ucum = |(system, ..): &(Option<String>, Option<String>, Option<String>)| {
        system.as_deref() == Some(ucum::SYSTEM)
    };
    let unit_of = |(_, code, _): &(Option<String>, Option<String>, Option<String>)| {
        code.as_deref().and_then(Unit::parse)
    };
    if is_ucum(&from)
        && is_ucum(&to)
        && let (Some(a), Some(b)) = (unit_of(&from), unit_of(&to))
        && let Some(number) = a.convert(value.number, &b)
    {
        return Ok(number);
    }
    let name = |(_, code, unit): (Option<String>, Option<String>, Option<String>)| {
        code.or(unit).unwrap_or_else(|| "no unit".into())
    };
    Err(refused(
        IssueCode::BusinessRule,
        format!(
            "The values are in `{}` and `{}`, which do not convert into each other.",
            name(from),
            name(to)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::fhir::TypeId;

    fn observation(value: Value) -> Resource {
        let mut base = json!({"resourceType": "Observation", "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7", "display": "Weight"}]}});
        for (name, part) in value.as_object().unwrap() {
            base[name] = part.clone();
        }
        Resource::from_value(base).unwrap()
    }

    fn weight() -> Measured {
        Measured { system: Some("http://loinc.org".into()), code: "29463-7".into() }
    }

    #[test]
    fn values_meet_in_one_unit_or_are_refused() {
        let kilos = |value: f64, code: &str| {
            observation(json!({"effectiveDateTime": "2026-01-01", "valueQuantity":
                {"value": value, "unit": code, "system": ucum::SYSTEM, "code": code}}))
        };
        let list = [kilos(70.0, "kg"), kilos(72_000.0, "g")];
        let out = answer(&weight(), &[Statistic::Average], "Patient/1", &list, (None, None)).unwrap();
        assert_eq!(out["component"][0]["valueQuantity"]["value"].to_string(), "71");
        assert_eq!(out["component"][0]["valueQuantity"]["code"], "kg");
        assert_eq!(out["code"]["coding"][0]["display"], "Weight");
        let list = [kilos(70.0, "kg"), kilos(1.0, "cm")];
        assert!(answer(&weight(), &[Statistic::Average], "Patient/1", &list, (None, None)).is_err());
    }

    #[test]
    fn components_and_comparators() {
        let part = |value: Value| {
            json!({"code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
            "valueQuantity": value})
        };
        let panel = Resource::from_value(json!({"resourceType": "Observation", "status": "final",
            "code": {"text": "panel"}, "component": [part(json!({"value": 1})), part(json!({"value": 5, "comparator": "<"}))]}))
        .unwrap();
        let wanted = [Statistic::Count, Statistic::TotalCount];
        let out = answer(&weight(), &wanted, "Patient/1", &[panel], (None, None)).unwrap();
        assert_eq!(out["component"][0]["valueQuantity"]["value"].to_string(), "1");
        assert_eq!(out["component"][1]["valueQuantity"]["value"].to_string(), "1");
    }

    #[test]
    fn the_operations_are_for_observations() {
        assert!(OPERATIONS.iter().all(|o| o.is_for(TypeId::OBSERVATION) && !o.is_for(TypeId::PATIENT)));
    }
}
