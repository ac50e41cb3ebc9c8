//! Random searches as pairs of a URL.

use super::resources::{CODES, DATES, ENCOUNTERS, FAMILIES, ORGANIZATIONS, PATIENTS, PRACTITIONERS};
use crate::differential::Random;

pub type Pairs = Vec<(String, String)>;

const KINDS: [&str; 6] = ["Patient", "Patient", "Observation", "Observation", "Encounter", "Organization"];
const PREFIXES: [&str; 10] = ["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];
/// Reference parameters and what they point at.
const EDGES: [(&str, &str, &str); 8] = [
    ("Patient", "organization", "Organization"),
    ("Patient", "general-practitioner", "Practitioner"),
    ("Encounter", "subject", "Patient"),
    ("Encounter", "practitioner", "Practitioner"),
    ("Encounter", "service-provider", "Organization"),
    ("Observation", "patient", "Patient"),
    ("Observation", "encounter", "Encounter"),
    ("Organization", "partof", "Organization"),
];

pub fn random(random: &mut Random) -> (&'static str, Pairs) {
    let of = random.pick(&KINDS);
    let mut pairs: Pairs = Vec::new();
    for _ in 0..1 + random.below(2) {
        let one = parameter(random, of, 2);
        // Only these may repeat.
        if !pairs.iter().any(|(name, _)| *name == one.0 && name.starts_with("_filter")) {
            pairs.push(one);
        }
    }
    if random.below(3) == 0 {
        let keys: &[&str] = match of {
            "Patient" => &["family", "-birthdate", "gender,-family", "-_lastUpdated", "organization", "_id"],
            "Observation" => &["-date", "date", "code", "-value-quantity,date", "subject", "_lastUpdated"],
            "Encounter" => &["date", "-date,_id", "status"],
            _ => &["name", "-_id"],
        };
        pairs.push(("_sort".into(), random.pick(keys).into()));
    }
    (of, pairs)
}

fn id(random: &mut Random, of: &str) -> String {
    let (prefix, count) = match of {
        "Patient" => ("p", PATIENTS),
        "Practitioner" => ("d", PRACTITIONERS),
        "Organization" => ("o", ORGANIZATIONS),
        "Encounter" => ("e", ENCOUNTERS),
        _ => ("x", 180),
    };
    format!("{prefix}{}", random.below(count))
}

fn code(random: &mut Random) -> String {
    let (system, code, _) = random.pick(&CODES);
    match random.below(6) {
        0 => format!("{system}|"),
        1 => format!("|{code}"),
        2 => format!("{system}|{code},urn:local|bp"),
        3 => code.to_owned(),
        _ => format!("{system}|{code}"),
    }
}

fn date(random: &mut Random) -> String {
    format!("{}{}", random.pick(&PREFIXES), random.pick(&DATES))
}

fn parameter(random: &mut Random, of: &'static str, depth: u64) -> (String, String) {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    if depth > 0 {
        match random.below(7) {
            0 | 1 => {
                let edges: Vec<_> = EDGES.iter().filter(|(from, ..)| *from == of).copied().collect();
                if !edges.is_empty() {
                    let (_, name, to) = random.pick(&edges);
                    let (inner, value) = parameter(random, to, depth - 1);
                    if !inner.starts_with('_') || inner.starts_with("_has") || inner == "_id" {
                        return pair(&format!("{name}:{to}.{inner}"), value);
                    }
                }
            }
            2 => {
                let edges: Vec<_> = EDGES.iter().filter(|(.., to)| *to == of).copied().collect();
                if !edges.is_empty() {
                    let (from, name, _) = random.pick(&edges);
                    let (inner, value) = parameter(random, from, depth - 1);
                    if !inner.starts_with('_') || inner.starts_with("_has") || inner == "_id" {
                        return pair(&format!("_has:{from}:{name}:{inner}"), value);
                    }
                }
            }
            3 if depth == 2 => return pair("_filter", filter(random, of)),
            _ => {}
        }
    }
    match of {
        "Patient" => match random.below(16) {
            0 => pair("family", random.pick(&["oti", "OTIENO", "ótieno", "kamau,wa"]).into()),
            1 => pair("family:exact", random.pick(&FAMILIES).into()),
            2 => pair("name:contains", random.pick(&["min", "tie", "ob"]).into()),
            3 => pair("gender", random.pick(&["female", "male", "male,female"]).into()),
            4 => pair("gender:not", "female".into()),
            5 => pair("gender:missing", random.pick(&["true", "false"]).into()),
            6 => pair(
                "birthdate",
                format!(
                    "{}{}",
                    random.pick(&PREFIXES),
                    random.pick(&["1990", "1990-05", "1990-05-17", "1988-02-02"])
                ),
            ),
            7 => pair("identifier", random.pick(&["urn:mrn|3", "4", "urn:nid|", "urn:nid|7,2"]).into()),
            8 => pair(
                "identifier:of-type",
                random.pick(&["urn:type|MR|3", "urn:type|NI|5", "urn:type|MR|11"]).into(),
            ),
            9 => pair("phone", "+254700".into()),
            10 => pair("address-city", random.pick(&["n", "nairobi", "mom"]).into()),
            11 => pair("organization", format!("Organization/{}", id(random, "Organization"))),
            12 => pair("organization:below", format!("Organization/{}", id(random, "Organization"))),
            13 => pair("_tag", random.pick(&["urn:tag|vip", "demo"]).into()),
            14 => pair("_text", random.pick(&["asthma", "known", "mal*", "known malaria"]).into()),
            _ => pair("_id", format!("{},{}", id(random, of), id(random, of))),
        },
        "Observation" => match random.below(20) {
            0 | 1 => pair("code", code(random)),
            2 => pair("code:not", code(random)),
            3 => pair("code:text", random.pick(&["heart", "blood", "Fieber", "as"]).into()),
            4 => pair("date", date(random)),
            5 => pair("date", format!("{},{}", date(random), date(random))),
            6 => pair("subject", format!("Patient/{}", id(random, "Patient"))),
            7 => pair("subject:Patient", id(random, "Patient")),
            8 => pair("patient", format!("{},{}", id(random, "Patient"), id(random, "Patient"))),
            9 => pair("subject:missing", random.pick(&["true", "false"]).into()),
            10 => pair("subject:identifier", random.pick(&["urn:mrn|3", "5", "urn:mrn|"]).into()),
            11 => pair(
                "value-quantity",
                format!(
                    "{}{}{}",
                    random.pick(&PREFIXES),
                    random.below(20),
                    random.pick(&["", "", "||mm[Hg]", "|http://unitsofmeasure.org|kg"])
                ),
            ),
            12 => pair("value-string", random.pick(&["cl", "elan"]).into()),
            13 => pair("component-code", code(random)),
            14 => pair(
                "component-code-value-quantity",
                format!(
                    "{}${}{}",
                    random.pick(&["8480-6", "http://loinc.org|8867-4", "urn:local|bp"]),
                    random.pick(&["", "gt", "le"]),
                    random.below(20)
                ),
            ),
            15 => pair("code-value-quantity", format!("8480-6$gt{}", random.below(20))),
            16 => pair(
                "_content",
                random.pick(&["malaria", "sitting", "systolic", "heart rate", "her*"]).into(),
            ),
            17 => pair("status", random.pick(&["final", "amended"]).into()),
            18 => pair("combo-code", code(random)),
            _ => pair("performer", format!("Practitioner/{}", id(random, "Practitioner"))),
        },
        "Encounter" => match random.below(5) {
            0 => pair("status", random.pick(&["finished", "planned"]).into()),
            1 | 2 => pair("date", date(random)),
            3 => pair("subject", format!("Patient/{}", id(random, "Patient"))),
            _ => pair("participant", format!("Practitioner/{}", id(random, "Practitioner"))),
        },
        "Organization" => match random.below(4) {
            0 => pair("name", random.pick(&["afya", "boma h"]).into()),
            1 => pair("active", random.pick(&["true", "false"]).into()),
            2 => pair("partof:below", format!("Organization/{}", id(random, of))),
            _ => pair("partof", format!("Organization/{}", id(random, of))),
        },
        _ => match random.below(2) {
            0 => pair("family", random.pick(&["oti", "k"]).into()),
            _ => pair("_id", id(random, of)),
        },
    }
}

fn filter(random: &mut Random, of: &str) -> String {
    let leaf = |random: &mut Random| -> String {
        match (of, random.below(3)) {
            ("Patient", 0) => "gender eq female".into(),
            ("Patient", 1) => format!("family sw \"{}\"", random.pick(&["oti", "ka"])),
            ("Patient", _) => "birthdate ge 1990-01-01".into(),
            ("Observation", 0) => "code eq http://loinc.org|8480-6".into(),
            ("Observation", 1) => format!("date {} 2024-03-01", random.pick(&["ge", "lt", "eq"])),
            ("Observation", _) => "status eq final".into(),
            ("Encounter", 0) => "status eq planned".into(),
            ("Encounter", _) => format!("date {} 2024-02-29", random.pick(&["ge", "lt", "sa"])),
            _ => "active eq true".into(),
        }
    };
    let (a, b, c) = (leaf(random), leaf(random), leaf(random));
    match random.below(4) {
        0 => a,
        1 => format!("{a} and {b}"),
        2 => format!("{a} or ({b} and {c})"),
        _ => format!("not ({a}) and {b}"),
    }
}
