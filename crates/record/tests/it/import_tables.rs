//! Tables of other systems.

use crate::{Bench, each_engine};
use record::import::{Export, Mapping, Options, Report, Tables};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const MAPPING: &str = r#"
source = "old-clinic"
zone = "Africa/Nairobi"

[maps.sex]
M = "male"
F = "female"

[[table]]
name = "patients"
file = "patients*.csv"
delimiter = ";"
key = "${No}"
skip_if_empty = ["Name"]
resources = ['''
{"resourceType": "Patient",
 "identifier": [{"system": "https://clinic.example/no", "value": "${No}"}, {"system": "https://clinic.example/nhif", "value": "${NHIF}"}],
 "name": [{"family": "${Name|split:,:0}", "given": ["${Name|split:,:1}"]}],
 "gender": "${Sex|map:sex}",
 "birthDate": "${Born|date:%d/%m/%Y}",
 "telecom": [{"system": "phone", "value": "${Phone|phone:KE}"}]}
''']

[[table]]
name = "weights"
key = "${Patient}/${Taken}"
resources = ['''
{"resourceType": "Observation", "status": "final",
 "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}], "text": "Body weight"},
 "subject": {"$ref": "patients", "key": "${Patient}"},
 "effectiveDateTime": "${Taken|datetime:%Y-%m-%d %H:%M}",
 "valueQuantity": {"value": "${Kg|number}", "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}}
''']
"#;

async fn import(bench: &Bench, folder: &Path, tables: Tables, dry_run: bool) -> Report {
    let options = Options { dry_run, tables: Some(tables) };
    bench.record.import_with(&bench.system(), &[folder.to_owned()], &options, Arc::new(|_| {})).await.unwrap()
}

fn reasons(report: &Report) -> Vec<(usize, &str)> {
    let mut all: Vec<(usize, &str)> = report.refusals.iter().map(|r| (r.entry, r.reason.as_str())).collect();
    all.sort();
    all
}

/// All resources of a type with an identifier: the bench's own have none.
async fn all(bench: &Bench, kind: &str) -> Vec<Value> {
    let found = bench.record.find(&bench.system(), kind, &[], 100).await.unwrap();
    let all = found.into_iter().map(|(resource, _)| resource.into_value());
    all.filter(|r| kind != "Patient" || r.get("identifier").is_some()).collect()
}

#[tokio::test]
async fn rows_become_resources_by_a_mapping() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put(
            "patients-2024.csv",
            "\u{feff}No;Name;Sex;Born;Phone;NHIF\n\
             17;\"Wanjiku, Asha\";F;03/02/1990;0712 345 678;\n\
             18;Otieno;M;31/02/1990;;\n\
             19;;F;;;\n\
             20;Juma;X;;;\n\
             17;Again;F;;;\n",
        );
        put(
            "weights.csv",
            "Patient,Taken,Kg\n17,2024-05-06 07:08,\"61.50\"\n17,2024-05-07 07:08,heavy\n99,2024-05-06 07:08,70\n",
        );
        let tables = || Tables::Mapped(Arc::new(Mapping::parse(MAPPING).unwrap()));

        let dry = import(&bench, folder.path(), tables(), true).await;
        assert!(all(&bench, "Patient").await.is_empty(), "a dry run writes nothing");
        let report = import(&bench, folder.path(), tables(), false).await;
        assert_eq!(reasons(&dry), reasons(&report));
        assert_eq!(
            reasons(&report),
            [
                (3, "column `Born`: `31/02/1990` is no day like `%d/%m/%Y`"),
                (3, "column `Kg`: `heavy` is no number"),
                (5, "column `Sex`: `X` is not in [maps.sex]"),
                (6, "entry 2 of this import has the same id"),
            ]
        );
        assert_eq!((report.taken, report.rows, report.rows_left_out), (3, 5, 1));
        // The weight of somebody who is in no table.
        assert_eq!((dry.dangling.len(), report.dangling.len()), (1, 1));

        let patients = all(&bench, "Patient").await;
        assert_eq!(patients.len(), 1);
        assert_eq!(patients[0]["name"], json!([{"family": "Wanjiku", "given": ["Asha"]}]));
        // Nothing is left of an identifier without its value.
        assert_eq!(patients[0]["identifier"], json!([{"system": "https://clinic.example/no", "value": "17"}]));
        assert_eq!(patients[0]["birthDate"], "1990-02-03");
        assert_eq!(patients[0]["telecom"][0]["value"], "+254712345678");
        let weights = all(&bench, "Observation").await;
        let own = format!("Patient/{}", patients[0]["id"].as_str().unwrap());
        let own = weights.iter().find(|w| w["subject"]["reference"] == *own).unwrap();
        assert_eq!(own["effectiveDateTime"], "2024-05-06T07:08:00+03:00");
        assert_eq!(own["valueQuantity"]["value"].to_string(), "61.50");

        let again = import(&bench, folder.path(), tables(), false).await;
        assert_eq!((again.skipped_files, again.taken), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn an_openmrs_export() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let uuid = |n: u32| format!("00000000-0000-4000-8000-{n:012}");
        put("concept.csv", &format!(
            "concept_id,uuid,name,datatype,class,units,mappings\n\
             1,{},Vital signs,N/A,ConvSet,,\n\
             5085,5085AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,Systolic blood pressure,Numeric,Finding,mmHg,LOINC:8480-6;CIEL:5085\n\
             6042,{},PROBLEM ADDED,Coded,Question,,\n116128,{},Malaria,N/A,Diagnosis,,ICD-10-WHO:B54\n",
            uuid(1), uuid(6042), uuid(116_128)
        ));
        put("patient.csv", &format!(
            "patient_id,uuid,identifiers,given_name,middle_name,family_name,gender,birthdate,birthdate_estimated,dead,voided\n\
             7,{},OpenMRS ID:100GEJ;National ID:123,Amina,,Hassan,F,1987-05-06,1,0,0\n8,{},,Gone,,Person,M,,0,0,1\n",
            uuid(7), uuid(8)
        ));
        put("encounter.csv", &format!(
            "encounter_id,uuid,patient_id,encounter_datetime,encounter_type,location,provider,voided\n\
             30,{},7,2019-03-04 10:22:00,Adult visit,Outpatient,Dr. Kimani,0\n31,{},99,2019-03-04 10:22:00,Adult visit,,,0\n",
            uuid(30), uuid(31)
        ));
        put("obs.csv", &format!(
            "obs_id,uuid,person_id,encounter_id,concept_id,obs_datetime,obs_group_id,value_numeric,value_coded,value_text,value_datetime,comments,voided\n\
             40,{},7,30,1,2019-03-04 10:22:00,NULL,NULL,NULL,NULL,NULL,,0\n\
             41,{},7,30,5085,2019-03-04 10:22:00,40,118.0,NULL,NULL,NULL,sitting,0\n\
             42,{},7,30,6042,2019-03-04 10:23:00,NULL,NULL,116128,NULL,NULL,,0\n\
             43,{},7,30,4711,2019-03-04 10:23:00,NULL,1,NULL,NULL,NULL,,0\n\
             44,{},7,30,5085,2019-03-04 10:24:00,NULL,,,,,,0\n\
             45,{},7,30,5085,2019-03-04 10:25:00,NULL,250,,,,,1\n",
            uuid(40), uuid(41), uuid(42), uuid(43), uuid(44), uuid(45)
        ));
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
        let zone = jiff::tz::TimeZone::get("Africa/Nairobi").unwrap();
        let tables = Tables::OpenMrs(Arc::new(Export::read(&files, zone).unwrap()));
        let report = import(&bench, folder.path(), tables, false).await;
        assert_eq!(
            reasons(&report),
            [
                (3, "column `patient_id`: patient.csv has no 99"),
                (5, "column `concept_id`: concept.csv has no 4711"),
                (6, "there is no value, and no other row has it as its group"),
            ]
        );
        assert_eq!(
            report.by_type,
            [("Condition".to_owned(), 1), ("Encounter".to_owned(), 1), ("Observation".to_owned(), 3), ("Patient".to_owned(), 1)]
        );
        // Concepts, the voided patient and the voided obs.
        assert_eq!(report.rows_left_out, 6);
        assert!(report.dangling.is_empty());

        let patient = &all(&bench, "Patient").await[0];
        assert_eq!((&patient["id"], &patient["birthDate"]), (&json!(uuid(7)), &json!("1987")));
        let observations = all(&bench, "Observation").await;
        let of = |id: &str| observations.iter().find(|o| o["id"] == *id).unwrap();
        let pressure = of(&uuid(41));
        assert_eq!(pressure["valueQuantity"].to_string(), r#"{"value":118.0,"unit":"mmHg"}"#);
        assert_eq!(pressure["code"]["coding"][0], json!({"system": "http://loinc.org", "code": "8480-6"}));
        assert_eq!(pressure["encounter"]["reference"], format!("Encounter/{}", uuid(30)));
        assert_eq!(pressure["effectiveDateTime"], "2019-03-04T10:22:00+03:00");
        assert_eq!(of(&uuid(40))["hasMember"][0]["reference"], format!("Observation/{}", uuid(41)));
        let condition = &all(&bench, "Condition").await[0];
        assert_eq!(condition["code"]["coding"][0]["code"], "B54");
        assert_eq!(condition["evidence"][0]["detail"][0]["reference"], format!("Observation/{}", uuid(42)));
    })
    .await;
}

#[test]
fn wrong_mappings_say_where() {
    let cases = [
        ("", "source: name the system that the tables come from"),
        ("source = \"x\"", "there is no [[table]]"),
        ("source = \"x\"\nzone = \"Mars\"", "zone: `Mars` is no IANA time zone"),
        (
            "source = \"x\"\n[[table]]\nname = \"t\"\nkey = \"${a}\"\nresources = ['{']",
            "table 1: resources[0]: ",
        ),
        (
            "source = \"x\"\n[[table]]\nname = \"t\"\nkey = \"${a}\"\nresources = ['{\"resourceType\": \"Patint\"}']",
            "table 1: resources[0]: `Patint` is no resource type",
        ),
        (
            "source = \"x\"\n[[table]]\nname = \"t\"\nkey = \"${a}\"\nresources = ['{\"resourceType\": \"Patient\", \"gender\": \"${s|sex}\"}']",
            "table `t`: resources[0]: `sex` is no filter; ",
        ),
        (
            "source = \"x\"\n[[table]]\nname = \"t\"\nkey = \"${a}\"\nresources = ['{\"resourceType\": \"Patient\", \"gender\": \"${s|map:sex}\"}']",
            "table `t`: there is no [maps.sex]",
        ),
        (
            "source = \"x\"\n[[table]]\nname = \"t\"\nkey = \"${a}\"\nresources = ['{\"resourceType\": \"Patient\", \"link\": {\"$ref\": \"u\", \"key\": \"${a}\"}}']",
            "table `t`: resources[0]: $ref: there is no table `u`",
        ),
        ("source = \"x\"\n[[tables]]", "`tables` is unknown in the file; known are "),
    ];
    for (text, wanted) in cases {
        let error = Mapping::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{text}\n{error}");
    }
}
