//! Time per operation on a typical 1.3 KB Observation: `cargo run --release -p uzima-fhir --example measure`

use fhir::search::{self, Handling};
use fhir::{Resource, TypeId, path, validate};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 20_000;

const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
"meta":{"versionId":"1","lastUpdated":"2024-05-31T09:30:00.000Z","profile":["http://hl7.org/fhir/StructureDefinition/bp"]},
"identifier":[{"use":"official","system":"https://uzima.example/observation","value":"OBS-2024-000123"}],
"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],
"code":{"coding":[{"system":"http://loinc.org","code":"85354-9","display":"Blood pressure panel"}],"text":"Blood pressure"},
"subject":{"reference":"Patient/0190a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"},
"encounter":{"reference":"Encounter/0190a1b2-1111-7e5f-8a9b-0c1d2e3f4a5b"},
"effectiveDateTime":"2024-05-31T09:25:00+03:00","issued":"2024-05-31T09:26:00.000+03:00",
"performer":[{"reference":"Practitioner/0190a1b2-2222-7e5f-8a9b-0c1d2e3f4a5b"}],
"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6","display":"Systolic"}]},
"valueQuantity":{"value":128,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}},
{"code":{"coding":[{"system":"http://loinc.org","code":"8462-4","display":"Diastolic"}]},
"valueQuantity":{"value":82,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]}"#;

fn measure<T>(name: &str, mut work: impl FnMut() -> T) {
    for _ in 0..ROUNDS / 10 {
        black_box(work());
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(work());
    }
    println!("{name:28} {:7.2} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let start = Instant::now();
    fhir::definitions::preload();
    println!("{:28} {:7.2} ms", "load definitions", start.elapsed().as_secs_f64() * 1e3);
    let Ok(resource) = Resource::parse(OBSERVATION.as_bytes()) else { return };
    println!(
        "{} bytes, {} issues, {} index entries",
        OBSERVATION.len(),
        validate::validate(&resource).len(),
        search::extract(&search::Params::standard(), &resource).len()
    );
    measure("serde_json parse (reference)", || serde_json::from_str::<serde_json::Value>(OBSERVATION));
    measure("parse", || Resource::parse(OBSERVATION.as_bytes()));
    measure("validate", || validate::validate(&resource));
    measure("extract", || search::extract(&search::Params::standard(), &resource));
    measure("compartment", || search::compartment(&resource));
    measure("references", || search::references(&resource));
    measure("print", || resource.to_json());
    let pairs: Vec<(String, String)> = [
        ("patient", "Patient/1"),
        ("code", "http://loinc.org|85354-9"),
        ("_sort", "-date"),
        ("_count", "20"),
    ]
    .iter()
    .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
    .collect();
    measure("parse a query", || {
        search::parse(&search::Params::standard(), TypeId::OBSERVATION, &pairs, Handling::Strict)
    });
    let env = path::Env::default();
    if let Ok(e) = path::parse("Observation.component.where(code.coding.code = '8480-6').value.value") {
        measure("FHIRPath with where()", || path::evaluate(&e, resource.value(), &env));
    }
}
