//! Searches made by a grammar, right and wrong ones, against the running server: every answer is a searchset or an
//! OperationOutcome that says what is wrong, and none is a 5xx. `UZIMA_TEST_SEARCHES` sets how many.

use crate::harness::{Signed, World};
use fhir::TypeId;
use fhir::definitions::{Param, ParamType, params};
use serde_json::{Value, json};

const SEARCHES: u64 = 1_500;
/// Types with rows, and some without.
const KINDS: &[&str] = &[
    "Patient",
    "Observation",
    "Encounter",
    "Condition",
    "Practitioner",
    "MedicationRequest",
    "Appointment",
    "Location",
    "ValueSet",
    "DocumentReference",
];
const NASTY: &[&str] = &[
    "",
    "|",
    "||",
    "$",
    "\\",
    "\\,",
    ",",
    ",,,",
    "'",
    "\"",
    "%",
    "%00",
    "\u{0}",
    "\u{202e}abc",
    "💊",
    "(",
    ")",
    "a b",
    "-1",
    "1e400",
    "-1e-400",
    "NaN",
    "9999-99-99",
    "0000",
    "2024-02-30",
    "2024-13",
    "ge",
    "gege2024",
    "Patient/",
    "/",
    "Patient/../x",
    "http://",
    "http://[::1",
    "urn:uuid:x",
    "#x",
    "true",
    "TRUE",
    "1;DROP TABLE resource",
    "' OR 1=1 --",
    "*",
    "%25%27",
    "null",
    "undefined",
    "1..2",
    "+5",
    "5|",
    "5||mg",
    "|mg",
    "ap",
    "sa2024-01-01T25:00:00Z",
];

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides.max(1) as u64).unwrap()
    }
    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.roll(list.len())]
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }
}

fn any_param(dice: &mut Dice, kind: TypeId) -> &'static Param {
    let all: Vec<&'static Param> = params(kind).collect();
    all[dice.roll(all.len())]
}

fn any_reference(dice: &mut Dice, kind: TypeId) -> Option<&'static Param> {
    let all: Vec<&'static Param> = params(kind).filter(|p| p.param_type == ParamType::Reference).collect();
    (!all.is_empty()).then(|| all[dice.roll(all.len())])
}

fn any_kind(dice: &mut Dice) -> TypeId {
    TypeId::from_name(dice.of(KINDS)).unwrap()
}

fn value(dice: &mut Dice, param: &Param) -> String {
    if dice.one_in(8) {
        return dice.of(NASTY).to_owned();
    }
    let prefix = if dice.one_in(2) {
        dice.of(&["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
    } else {
        ""
    };
    match param.param_type {
        ParamType::Token => dice
            .of(&[
                "http://loinc.org|8480-6",
                "8480-6",
                "|final",
                "final",
                "female",
                "true",
                "http://loinc.org|",
                "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs",
            ])
            .to_owned(),
        ParamType::String => dice.of(&["Kam", "wanj", "Otieno", "a", "Ñandú", "na"]).to_owned(),
        ParamType::Date => format!(
            "{prefix}{}",
            dice.of(&[
                "2024",
                "2024-03",
                "2024-03-05",
                "2024-03-05T10:00:00+03:00",
                "2024-03-05T10:00:00.123Z"
            ])
        ),
        ParamType::Number => format!("{prefix}{}", dice.of(&["0", "5", "5.40", "-3", "1e2"])),
        ParamType::Quantity => format!(
            "{prefix}{}",
            dice.of(&[
                "120",
                "120|http://unitsofmeasure.org|mm[Hg]",
                "5.4||kg",
                "7.1|http://unitsofmeasure.org|mmol/L"
            ])
        ),
        ParamType::Reference => dice
            .of(&[
                "Patient/f1",
                "f1",
                "Practitioner/d1",
                "http://elsewhere.example/Patient/1",
                "Patient/none",
            ])
            .to_owned(),
        ParamType::Uri => dice
            .of(&["http://hl7.org/fhir/ValueSet/administrative-gender", "urn:oid:1.2.3", "http://hl7.org"])
            .to_owned(),
        ParamType::Composite => {
            dice.of(&["http://loinc.org|8480-6$gt100", "8480-6$120", "a$b$c", "8480-6"]).to_owned()
        }
        ParamType::Special => dice.of(&["-1.28|36.8|10|km", "-1.28|36.8", "x"]).to_owned(),
    }
}

/// Parameter and value behind the type `kind`, chained a few steps deep.
fn parameter(dice: &mut Dice, kind: TypeId, depth: usize) -> (String, String) {
    if depth > 0 && dice.one_in(3) {
        if dice.one_in(2) {
            if let Some(reference) = any_reference(dice, kind) {
                let target = match reference.targets.as_slice() {
                    [] => any_kind(dice),
                    targets => targets[dice.roll(targets.len())],
                };
                let (name, value) = parameter(dice, target, depth - 1);
                let typed = if dice.one_in(3) { String::new() } else { format!(":{}", target.name()) };
                return (format!("{}{typed}.{name}", reference.code), value);
            }
        } else {
            let source = any_kind(dice);
            if let Some(reference) = any_reference(dice, source) {
                let (name, value) = parameter(dice, source, depth - 1);
                return (format!("_has:{}:{}:{name}", source.name(), reference.code), value);
            }
        }
    }
    let param = any_param(dice, kind);
    let modifier = if dice.one_in(3) {
        dice.of(&[
            ":exact",
            ":contains",
            ":missing",
            ":not",
            ":text",
            ":in",
            ":not-in",
            ":above",
            ":below",
            ":of-type",
            ":identifier",
            ":Patient",
            ":Group",
            ":nonsense",
            ":",
        ])
    } else {
        ""
    };
    let mut text = value(dice, param);
    if modifier == ":missing" && !dice.one_in(4) {
        text = dice.of(&["true", "false"]).to_owned();
    }
    while dice.one_in(5) {
        text = format!("{text},{}", value(dice, param));
    }
    (format!("{}{modifier}", param.code), text)
}

fn result_parameter(dice: &mut Dice, kind: TypeId) -> (String, String) {
    let source = any_kind(dice);
    let reference = |dice: &mut Dice, kind: TypeId| any_reference(dice, kind).map_or("subject", |p| p.code);
    match dice.roll(12) {
        0 => ("_sort".into(), format!("{}{}", dice.of(&["", "-"]), any_param(dice, kind).code)),
        1 => (
            "_sort".into(),
            dice.of(&["_id", "-_lastUpdated", "_id,-_lastUpdated", "-", "nonsense", "_score"]).to_owned(),
        ),
        2 => ("_count".into(), dice.of(&["0", "1", "5", "1000", "100000000000", "-1", "x"]).to_owned()),
        3 => ("_total".into(), dice.of(&["none", "estimate", "accurate", "some"]).to_owned()),
        4 => (
            dice.of(&["_include", "_include:iterate", "_include:recurse"]).to_owned(),
            format!("{}:{}", kind.name(), reference(dice, kind)),
        ),
        5 => (
            dice.of(&["_revinclude", "_revinclude:iterate"]).to_owned(),
            format!("{}:{}", source.name(), reference(dice, source)),
        ),
        6 => (
            "_include".into(),
            dice.of(&[
                "*",
                "Patient:*",
                "Nothing:subject",
                "Patient",
                "Observation:subject:Patient",
                "::",
                "*:*",
            ])
            .to_owned(),
        ),
        7 => ("_summary".into(), dice.of(&["true", "text", "data", "count", "false", "maybe"]).to_owned()),
        8 => (
            "_elements".into(),
            dice.of(&["id,code", "name", "nonsense", ",", "subject.reference"]).to_owned(),
        ),
        9 => ("_cursor".into(), dice.of(&NASTY[1..]).to_owned()),
        10 => (
            "_filter".into(),
            dice.of(&[
                "name eq \"Kam\"",
                "name co \"a\" and birthdate ge 1980-01-01",
                "not (status eq final)",
                "(((",
                "code in x",
                "a.b eq 1 or",
                "subject.name sw \"K\"",
                "date gt 2024-01-01 and (code eq http://loinc.org|8480-6 or status eq final)",
            ])
            .to_owned(),
        ),
        _ => (
            dice.of(&[
                "_text",
                "_content",
                "_list",
                "_id",
                "_lastUpdated",
                "_tag",
                "_profile",
                "_security",
                "_type",
                "_nonsense",
            ])
            .to_owned(),
            dice.of(NASTY).to_owned(),
        ),
    }
}

fn query(dice: &mut Dice) -> (TypeId, Vec<(String, String)>) {
    let kind = any_kind(dice);
    let mut pairs = Vec::new();
    for _ in 0..dice.roll(4) {
        pairs.push(parameter(dice, kind, 3));
    }
    for _ in 0..dice.roll(3) {
        pairs.push(result_parameter(dice, kind));
    }
    (kind, pairs)
}

async fn put(caller: &Signed, value: Value) {
    let path =
        format!("/fhir/R4/{}/{}", value["resourceType"].as_str().unwrap(), value["id"].as_str().unwrap());
    let (status, body) = caller.put(&path, value).await;
    assert_eq!(status, 201, "{body}");
}

async fn rows(caller: &Signed) {
    for n in 0..12 {
        let family = ["Kamau", "Wanjiku", "Otieno"][n % 3];
        let sex = if n % 2 == 0 { "female" } else { "male" };
        put(caller, json!({"resourceType": "Patient", "id": format!("f{n}"), "gender": sex, "birthDate": format!("19{}-03-05", 70 + n),
            "name": [{"family": family, "given": ["Na"]}],
            "identifier": [{"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}, "system": "urn:mrn", "value": n.to_string()}]})).await;
        put(caller, json!({"resourceType": "Observation", "id": format!("fo{n}"), "status": "final",
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9", "display": "Blood pressure"}], "text": "Blood pressure"},
            "subject": {"reference": format!("Patient/f{n}")}, "effectiveDateTime": format!("2024-03-{:02}T10:00:00+03:00", n + 1),
            "component": [
                {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}, "valueQuantity": {"value": 110 + n, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}},
                {"code": {"coding": [{"system": "http://loinc.org", "code": "8462-4"}]}, "valueQuantity": {"value": 70 + n, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}}]})).await;
        put(caller, json!({"resourceType": "Condition", "id": format!("fc{n}"), "subject": {"reference": format!("Patient/f{n}")},
            "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "I10"}], "text": "Hypertension"}})).await;
    }
    put(caller, json!({"resourceType": "Location", "id": "fl", "name": "Ward", "position": {"longitude": 36.82, "latitude": -1.29}})).await;
}

/// Ids of the matches, or the refusal's status. Fails on anything that is neither.
async fn ask(
    caller: &Signed,
    method: &str,
    kind: &str,
    pairs: &[(String, String)],
) -> Result<Vec<String>, u16> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let request = if method == "GET" {
        caller.request("GET", &format!("/fhir/R4/{kind}?{form}"))
    } else {
        caller
            .request("POST", &format!("/fhir/R4/{kind}/_search"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.clone())
    };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap_or_default();
    let what = || format!("{method} {kind}?{form}\n{status} {body}");
    if status == 200 {
        assert_eq!(body["type"], "searchset", "{}", what());
        let entries = body["entry"].as_array().cloned().unwrap_or_default();
        let matches = entries.iter().filter(|e| e["search"]["mode"] == "match");
        return Ok(matches.map(|e| e["resource"]["id"].as_str().unwrap_or_default().to_owned()).collect());
    }
    // 503 only for a search that was cut, 403 for includes of what nobody may have.
    let is_cut = status == 503 && body["issue"][0]["code"] == "too-costly";
    assert!((400..500).contains(&status) || is_cut, "{}", what());
    assert_eq!(body["resourceType"], "OperationOutcome", "{}", what());
    for issue in body["issue"].as_array().unwrap_or(&Vec::new()) {
        assert!(issue["details"]["text"].as_str().is_some_and(|t| t.len() > 8), "{}", what());
        assert!(issue["code"].is_string(), "{}", what());
    }
    assert!(body["issue"].as_array().is_some_and(|i| !i.is_empty()), "{}", what());
    Err(status)
}

#[tokio::test]
async fn no_search_breaks_the_server() {
    let world = World::start().await;
    let caller = world.client("system/*.cruds").await;
    rows(&caller).await;
    let searches = std::env::var("UZIMA_TEST_SEARCHES").ok().and_then(|n| n.parse().ok()).unwrap_or(SEARCHES);
    let (mut found, mut refused) = (0, 0);
    for seed in 0..searches {
        let (kind, pairs) = query(&mut Dice(seed));
        let by_get = ask(&caller, "GET", kind.name(), &pairs).await;
        // The same by POST gives the same; not for all, to save time.
        if seed % 5 == 0 {
            assert_eq!(ask(&caller, "POST", kind.name(), &pairs).await, by_get, "{kind:?} {pairs:?}");
        }
        match by_get {
            Ok(_) => found += 1,
            Err(_) => refused += 1,
        }
    }
    // A grammar that only makes one kind tests half.
    assert!(found * 5 > searches && refused * 5 > searches, "{found} answered, {refused} refused");
    assert_eq!(ask(&caller, "GET", "Patient", &[]).await.map(|ids| ids.len()), Ok(12));
    world.stop().await;
}
