//! An OpenMRS export: the tables concept, patient, encounter and obs as CSV, with the columns of docs/guides/import.md.
//!
//! Ids are OpenMRS's own UUIDs, so that later exports of the same database find the same resources. What was voided
//! there is left out here.

use super::{Row, columns, reader, reference, stable_id, text};
use fhir::{Resource, ResourceKey, TypeId};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// The files, for messages.
pub const FILES: &str = "concept.csv, patient.csv, encounter.csv and obs.csv";

/// Rows kept in memory of one table; a national database has some tens of millions of patients and encounters.
const MAX_KNOWN: usize = 50_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Concept,
    Patient,
    Encounter,
    Obs,
}

/// What the rows of one table need to know of the others, and the zone of the database's times.
#[derive(Debug, Default)]
pub struct Export {
    zone: Option<jiff::tz::TimeZone>,
    concepts: HashMap<String, Concept>,
    patients: HashMap<String, String>,
    encounters: HashMap<String, String>,
    /// Group → its members.
    members: HashMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Concept {
    uuid: String,
    name: String,
    class: String,
    units: String,
    /// System and code.
    mappings: Vec<(String, String)>,
}

impl Table {
    pub fn of(file: &str) -> Option<Table> {
        let file = file.to_lowercase();
        Some(match file.strip_suffix(".gz").unwrap_or(&file) {
            "concept.csv" => Table::Concept,
            "patient.csv" => Table::Patient,
            "encounter.csv" => Table::Encounter,
            "obs.csv" => Table::Obs,
            _ => return None,
        })
    }

    /// Columns that must be there.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Concept => &["concept_id", "uuid", "name", "datatype", "class"],
            Table::Patient => &["patient_id", "uuid", "given_name", "family_name", "gender", "birthdate"],
            Table::Encounter => {
                &["encounter_id", "uuid", "patient_id", "encounter_datetime", "encounter_type"]
            }
            Table::Obs => &[
                "obs_id",
                "uuid",
                "person_id",
                "encounter_id",
                "concept_id",
                "obs_datetime",
                "value_numeric",
                "value_coded",
                "value_text",
                "value_datetime",
            ],
        }
    }

    pub fn resources(self, export: &Export, row: &Row<'_>) -> Result<Vec<Resource>, String> {
        if is_true(row.get("voided")) {
            return Ok(Vec::new());
        }
        match self {
            // The dictionary is read beforehand; codes go into what uses them.
            Table::Concept => Ok(Vec::new()),
            Table::Patient => patient(row).map(|r| vec![r]),
            Table::Encounter => export.encounter(row).map(|r| vec![r]),
            Table::Obs => export.observation(row),
        }
    }
}

impl Export {
    /// Reads what the rows need of each other. `zone`: the database's times are of this zone.
    /// Errors: text with file and line.
    pub fn read(files: &[impl AsRef<Path>], zone: jiff::tz::TimeZone) -> Result<Export, String> {
        let mut export = Export { zone: Some(zone), ..Export::default() };
        for file in files {
            let file = file.as_ref();
            let Some(table) = file.file_name().and_then(|n| n.to_str()).and_then(Table::of) else { continue };
            export.learn(file, table).map_err(|why| format!("{}: {why}", file.display()))?;
        }
        Ok(export)
    }

    fn learn(&mut self, file: &Path, table: Table) -> Result<(), String> {
        let open = std::fs::File::open(file).map_err(|e| e.to_string())?;
        let is_gzip = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let input: Box<dyn std::io::Read> =
            if is_gzip { Box::new(flate2::read::MultiGzDecoder::new(open)) } else { Box::new(open) };
        let mut reader = reader(std::io::BufReader::new(input), b',');
        let header = columns(reader.byte_headers().map_err(|e| e.to_string())?, false)?;
        if let Some(missing) = table.columns().iter().find(|c| !header.contains_key(**c)) {
            return Err(format!("the column `{missing}` is missing"));
        }
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|e| e.to_string())? {
            let line = record.position().map_or(0, csv::Position::line);
            let values = text(&record, false).map_err(|why| format!("line {line}: {why}"))?;
            let row = Row::new(&header, &values);
            let known = match table {
                Table::Concept => {
                    self.concepts.insert(row.get("concept_id").to_owned(), concept(&row));
                    self.concepts.len()
                }
                Table::Patient => {
                    self.patients.insert(
                        row.get("patient_id").to_owned(),
                        id("patient", row.get("uuid"), row.get("patient_id")),
                    );
                    self.patients.len()
                }
                Table::Encounter => {
                    let own = id("encounter", row.get("uuid"), row.get("encounter_id"));
                    self.encounters.insert(row.get("encounter_id").to_owned(), own);
                    self.encounters.len()
                }
                Table::Obs => {
                    let group = row.get("obs_group_id");
                    if !group.is_empty() && !is_true(row.get("voided")) {
                        let own = id("obs", row.get("uuid"), row.get("obs_id"));
                        self.members.entry(group.to_owned()).or_default().push(own);
                    }
                    self.members.len()
                }
            };
            if known > MAX_KNOWN {
                return Err(format!("more than {MAX_KNOWN} rows"));
            }
        }
        Ok(())
    }

    fn encounter(&self, row: &Row<'_>) -> Result<Resource, String> {
        let kind = row.get("encounter_type");
        let lower = kind.to_lowercase();
        let class = if ["admission", "inpatient", "discharge", "ward"].iter().any(|w| lower.contains(w)) {
            ("IMP", "inpatient encounter")
        } else if lower.contains("emergency") || lower.contains("casualty") {
            ("EMER", "emergency")
        } else {
            ("AMB", "ambulatory")
        };
        let mut value = json!({
            "resourceType": "Encounter",
            "identifier": [{"system": "urn:openmrs:encounter", "value": row.get("encounter_id")}],
            "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": class.0, "display": class.1},
            "subject": self.patient(row.get("patient_id"), "patient_id")?,
            "period": {"start": self.instant(row, "encounter_datetime")?.ok_or("column `encounter_datetime` is empty")?},
        });
        if !kind.is_empty() {
            value["type"] = json!([{"text": kind}]);
        }
        if !row.get("location").is_empty() {
            value["location"] = json!([{"location": {"display": row.get("location")}}]);
        }
        if !row.get("provider").is_empty() {
            value["participant"] = json!([{"individual": {"display": row.get("provider")}}]);
        }
        resource(value, &id("encounter", row.get("uuid"), row.get("encounter_id")))
    }

    fn observation(&self, row: &Row<'_>) -> Result<Vec<Resource>, String> {
        let own = id("obs", row.get("uuid"), row.get("obs_id"));
        let question = self.concept(row, "concept_id")?.ok_or("column `concept_id` is empty")?;
        let subject = self.patient(row.get("person_id"), "person_id")?;
        let at = self.instant(row, "obs_datetime")?.ok_or("column `obs_datetime` is empty")?;
        let mut value = json!({
            "resourceType": "Observation",
            "identifier": [{"system": "urn:openmrs:obs", "value": row.get("obs_id")}],
            "status": "final",
            "code": question.to_fhir(),
            "subject": subject,
            "effectiveDateTime": at,
        });
        let encounter = row.get("encounter_id");
        let encounter = if encounter.is_empty() {
            None
        } else {
            let found = self.encounters.get(encounter);
            let found =
                found.ok_or_else(|| format!("column `encounter_id`: encounter.csv has no {encounter}"))?;
            Some(reference(&ResourceKey::new(kind("Encounter"), found.clone())))
        };
        if let Some(encounter) = &encounter {
            value["encounter"] = encounter.clone();
        }
        if let Some(category) = question.category() {
            value["category"] = json!([{"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}]);
        }
        if let Some(members) = self.members.get(row.get("obs_id")) {
            let members: Vec<Value> = members
                .iter()
                .map(|id| reference(&ResourceKey::new(TypeId::OBSERVATION, id.clone())))
                .collect();
            value["hasMember"] = Value::Array(members);
        }
        let answer = self.concept(row, "value_coded")?;
        if let Some(answer) = answer {
            value["valueCodeableConcept"] = answer.to_fhir();
        } else if !row.get("value_numeric").is_empty() {
            let text = row.get("value_numeric");
            let number: serde_json::Number = serde_json::from_str(text)
                .map_err(|_| format!("column `value_numeric`: `{text}` is no number"))?;
            let mut quantity = json!({"value": number});
            if !question.units.is_empty() {
                quantity["unit"] = json!(question.units);
            }
            value["valueQuantity"] = quantity;
        } else if let Some(at) = self.instant(row, "value_datetime")? {
            value["valueDateTime"] = json!(at);
        } else if !row.get("value_text").is_empty() {
            value["valueString"] = json!(row.get("value_text"));
        } else if !row.get("value_boolean").is_empty() {
            value["valueBoolean"] = json!(is_true(row.get("value_boolean")));
        } else if value.get("hasMember").is_none() {
            return Err("there is no value, and no other row has it as its group".to_owned());
        }
        if !row.get("comments").is_empty() {
            value["note"] = json!([{"text": row.get("comments")}]);
        }
        let mut all = vec![resource(value, &own)?];
        if let Some(answer) = answer.filter(|a| a.class.eq_ignore_ascii_case("diagnosis")) {
            let mut condition = json!({
                "resourceType": "Condition",
                "category": [{"coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/condition-category",
                    "code": "encounter-diagnosis"}]}],
                "code": answer.to_fhir(),
                "subject": value_of(&all[0], "subject"),
                "recordedDate": at,
                "evidence": [{"detail": [reference(&ResourceKey::new(TypeId::OBSERVATION, own.clone()))]}],
            });
            if let Some(encounter) = encounter {
                condition["encounter"] = encounter;
            }
            all.push(resource(condition, &stable_id(&["openmrs", "diagnosis", &own]))?);
        }
        Ok(all)
    }

    fn concept(&self, row: &Row<'_>, column: &str) -> Result<Option<&Concept>, String> {
        let number = row.get(column);
        if number.is_empty() {
            return Ok(None);
        }
        let found = self.concepts.get(number);
        found.map(Some).ok_or_else(|| format!("column `{column}`: concept.csv has no {number}"))
    }

    fn patient(&self, number: &str, column: &str) -> Result<Value, String> {
        let found = self.patients.get(number);
        let found = found.ok_or_else(|| format!("column `{column}`: patient.csv has no {number}"))?;
        Ok(reference(&ResourceKey::new(TypeId::PATIENT, found.clone())))
    }

    /// A time of the database as an instant of its zone.
    fn instant(&self, row: &Row<'_>, column: &str) -> Result<Option<String>, String> {
        let text = row.get(column);
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = || format!("column `{column}`: `{text}` is no time like 2024-03-05 14:30:00");
        let at: jiff::civil::DateTime = text.replace(' ', "T").parse().map_err(|_| wrong())?;
        let zone = self.zone.clone().unwrap_or(jiff::tz::TimeZone::UTC);
        let at = at.to_zoned(zone).map_err(|_| wrong())?;
        Ok(Some(at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()))
    }
}

impl Concept {
    fn to_fhir(&self) -> Value {
        let mut codings: Vec<Value> =
            self.mappings.iter().map(|(system, code)| json!({"system": system, "code": code})).collect();
        codings.push(json!({"system": "urn:openmrs:concept", "code": self.uuid, "display": self.name}));
        json!({"coding": codings, "text": self.name})
    }

    /// <http://terminology.hl7.org/CodeSystem/observation-category>
    fn category(&self) -> Option<&'static str> {
        match self.class.to_lowercase().as_str() {
            "test" | "labset" => Some("laboratory"),
            "procedure" => Some("procedure"),
            "finding" | "symptom" | "symptom/finding" => Some("exam"),
            "radiology/imaging procedure" => Some("imaging"),
            _ => None,
        }
    }
}

fn concept(row: &Row<'_>) -> Concept {
    let mappings = row.get("mappings").split(';').filter_map(|m| m.split_once(':'));
    Concept {
        uuid: row.get("uuid").to_owned(),
        name: row.get("name").to_owned(),
        class: row.get("class").to_owned(),
        units: row.get("units").to_owned(),
        mappings: mappings.map(|(source, code)| (system(source.trim()), code.trim().to_owned())).collect(),
    }
}

/// The URI of a source of OpenMRS's concept dictionary.
fn system(source: &str) -> String {
    match source.to_lowercase().as_str() {
        "loinc" => "http://loinc.org".to_owned(),
        "snomed ct" | "snomed np" | "snomed" => "http://snomed.info/sct".to_owned(),
        "icd-10-who" | "icd-10" => "http://hl7.org/fhir/sid/icd-10".to_owned(),
        "icd-11-who" | "icd-11" => "http://id.who.int/icd/release/11/mms".to_owned(),
        "rxnorm" => "http://www.nlm.nih.gov/research/umls/rxnorm".to_owned(),
        "ciel" => "https://cielterminology.org".to_owned(),
        other => format!("urn:openmrs:source:{}", slug(other)),
    }
}

fn patient(row: &Row<'_>) -> Result<Resource, String> {
    let mut identifiers: Vec<Value> = row
        .get("identifiers")
        .split(';')
        .filter_map(|i| i.split_once(':'))
        .map(|(kind, value)| {
            let kind = kind.trim();
            json!({"type": {"text": kind}, "system": format!("urn:openmrs:identifier:{}", slug(kind)), "value": value.trim()})
        })
        .collect();
    identifiers.push(json!({"system": "urn:openmrs:patient", "value": row.get("patient_id")}));
    let mut name = json!({"family": row.get("family_name")});
    let given: Vec<&str> =
        ["given_name", "middle_name"].iter().map(|c| row.get(c)).filter(|v| !v.is_empty()).collect();
    if !given.is_empty() {
        name["given"] = json!(given);
    }
    if row.get("family_name").is_empty() {
        name.as_object_mut().map(|o| o.shift_remove("family"));
    }
    let gender = match row.get("gender").to_lowercase().as_str() {
        "m" | "male" => "male",
        "f" | "female" => "female",
        "o" | "other" => "other",
        "" | "u" | "unknown" => "unknown",
        other => return Err(format!("column `gender`: `{other}` is none of M, F, O and U")),
    };
    let mut value =
        json!({"resourceType": "Patient", "identifier": identifiers, "name": [name], "gender": gender});
    if let Some(day) = day(row, "birthdate")? {
        // An estimate is known to the year.
        value["birthDate"] = json!(if is_true(row.get("birthdate_estimated")) { &day[..4] } else { &day });
    }
    if !row.get("phone").is_empty() {
        value["telecom"] = json!([{"system": "phone", "value": row.get("phone")}]);
    }
    let mut address = json!({});
    for (column, element) in [
        ("city_village", "city"),
        ("county_district", "district"),
        ("state_province", "state"),
        ("country", "country"),
    ] {
        if !row.get(column).is_empty() {
            address[element] = json!(row.get(column));
        }
    }
    let lines: Vec<&str> =
        ["address1", "address2"].iter().map(|c| row.get(c)).filter(|v| !v.is_empty()).collect();
    if !lines.is_empty() {
        address["line"] = json!(lines);
    }
    if address.as_object().is_some_and(|o| !o.is_empty()) {
        value["address"] = json!([address]);
    }
    if let Some(day) = day(row, "death_date")? {
        value["deceasedDateTime"] = json!(day);
    } else if is_true(row.get("dead")) {
        value["deceasedBoolean"] = json!(true);
    }
    resource(value, &id("patient", row.get("uuid"), row.get("patient_id")))
}

/// The day of a date or time.
fn day(row: &Row<'_>, column: &str) -> Result<Option<String>, String> {
    let text = row.get(column);
    if text.is_empty() {
        return Ok(None);
    }
    let day = text.split([' ', 'T']).next().unwrap_or(text);
    let day: jiff::civil::Date =
        day.parse().map_err(|_| format!("column `{column}`: `{text}` is no day like 2024-03-05"))?;
    Ok(Some(day.to_string()))
}

fn resource(value: Value, id: &str) -> Result<Resource, String> {
    let mut resource = Resource::from_value(value).map_err(|outcome| outcome.to_string())?;
    resource.set_id(id);
    Ok(resource)
}

fn value_of(resource: &Resource, element: &str) -> Value {
    resource.get(element).cloned().unwrap_or_default()
}

/// OpenMRS's own UUID where it can be an id, else one made of the row's number.
fn id(table: &str, uuid: &str, number: &str) -> String {
    if fhir::resource::valid_id(uuid) { uuid.to_owned() } else { stable_id(&["openmrs", table, number]) }
}

fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap_or(TypeId(u16::MAX))
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "true" | "TRUE" | "True")
}

fn slug(text: &str) -> String {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
