//! `uzima export` and `uzima view run`: files that are whole or not there.

use crate::command::{bundle, text, uzima};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::create_dir(&input).unwrap();
    for (n, gender) in [(1, "female"), (2, "male")] {
        std::fs::write(input.join(format!("{n}.json")), bundle(n, gender).to_string()).unwrap();
    }
    let first = "Patient/00000000-0000-4000-8000-000000000001";
    let group = json!({"resourceType": "Group", "id": "ward", "type": "person", "actual": true,
        "member": [{"entity": {"reference": first}}]});
    std::fs::write(input.join("3.json"), group.to_string()).unwrap();
    let taken = uzima(folder.path(), &["import", "input", "--report", "report.json"]);
    assert!(taken.status.success(), "{}", text(&taken));
    folder
}

/// Names in the folder that a command has made, hidden ones too.
fn made(folder: &Path) -> Vec<String> {
    let ours = ["data", "data.key", "input", "report.json"];
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| !ours.contains(&n.as_str())).collect();
    names.sort();
    names
}

/// Types with the resources of each.
type Counts = &'static [(&'static str, usize)];

fn resources(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_is_a_folder_of_files() {
    let folder = filled();
    let at = |name: &str| folder.path().join(name);
    let done = uzima(folder.path(), &["export", "--out", "all"]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(made(folder.path()), ["all"]);
    let mut files: Vec<String> = std::fs::read_dir(at("all"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["Group.ndjson", "Observation.ndjson", "Patient.ndjson", "manifest.json"]);
    assert_eq!(resources(&at("all/Patient.ndjson")).len(), 2);
    let manifest = &resources(&at("all/manifest.json"))[0];
    assert_eq!(manifest["files"].as_array().unwrap().len(), 3, "{manifest}");
    for (path, mode) in [("all", 0o700), ("all/Patient.ndjson", 0o600)] {
        assert_eq!(std::fs::metadata(at(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    // What is there is not written into.
    let again = uzima(folder.path(), &["export", "--out", "all"]);
    assert!(!again.status.success() && text(&again).contains("not empty"), "{}", text(&again));

    // Narrowed by type, patient, group and time.
    let second = "00000000-0000-4000-8000-000000000002";
    let cases: &[(&[&str], Counts)] = &[
        (&["--type", "Patient,Group"], &[("Group", 1), ("Patient", 2)]),
        (&["--patient", second], &[("Observation", 1), ("Patient", 1)]),
        (&["--group", "Group/ward", "--type", "Observation"], &[("Observation", 1)]),
        (&["--since", "2999-01-01T00:00:00Z"], &[]),
    ];
    for (n, (more, expected)) in cases.iter().enumerate() {
        let out = format!("narrow{n}");
        let mut arguments = vec!["export", "--out", &out];
        arguments.extend(*more);
        let done = uzima(folder.path(), &arguments);
        assert!(done.status.success(), "{more:?}: {}", text(&done));
        let manifest = &resources(&at(&out).join("manifest.json"))[0];
        let files: Vec<(String, u64)> = manifest["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| (f["file"].as_str().unwrap().to_owned(), f["count"].as_u64().unwrap()))
            .collect();
        let expected: Vec<(String, u64)> =
            expected.iter().map(|(kind, count)| (format!("{kind}.ndjson"), *count as u64)).collect();
        assert_eq!(files, expected, "{more:?}");
    }
    for wrong in [
        &["--type", "Frog"][..],
        &["--since", "yesterday"],
        &["--patient", "Group/1"],
        &["--group", "nobody"],
        &["--group", "ward", "--patient", "1"],
    ] {
        let mut arguments = vec!["export", "--out", "wrong"];
        arguments.extend(wrong);
        let refused = uzima(folder.path(), &arguments);
        assert!(!refused.status.success(), "{wrong:?}: {}", text(&refused));
    }
    assert!(!made(folder.path()).iter().any(|name| name.contains("wrong")), "{:?}", made(folder.path()));
}

#[test]
fn a_view_becomes_a_file_or_goes_to_the_standard_output() {
    let folder = filled();
    let at = |name: &str| folder.path().join("input").join(name);
    let view = json!({"resourceType": "ViewDefinition", "name": "people", "status": "active", "resource": "Patient",
        "select": [{"column": [{"name": "id", "path": "id"}, {"name": "sex", "path": "gender"}]}]});
    std::fs::write(at("view.json"), view.to_string()).unwrap();
    let run = |more: &[&str]| {
        let mut arguments = vec!["view", "run", "input/view.json"];
        arguments.extend(more);
        uzima(folder.path(), &arguments)
    };
    let done = run(&["--out", "people.csv"]);
    assert!(done.status.success(), "{}", text(&done));
    let mut csv: Vec<String> = std::fs::read_to_string(folder.path().join("people.csv"))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(csv.remove(0), "id,sex");
    csv.sort();
    assert!(csv[0].ends_with("1,female") && csv[1].ends_with("2,male"), "{csv:?}");
    assert_eq!(
        std::fs::metadata(folder.path().join("people.csv")).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let lines = run(&["--format", "ndjson", "--limit", "1"]);
    assert!(lines.status.success(), "{}", text(&lines));
    let row: Value = serde_json::from_slice(&lines.stdout).unwrap();
    assert!(row["id"].is_string(), "{row}");
    let done = run(&[
        "--format",
        "parquet",
        "--out",
        "people.parquet",
        "--patient",
        "00000000-0000-4000-8000-000000000002",
    ]);
    assert!(done.status.success(), "{}", text(&done));
    assert!(std::fs::read(folder.path().join("people.parquet")).unwrap().starts_with(b"PAR1"));
    let bare = run(&["--no-header", "--since", "2999-01-01T00:00:00Z"]);
    assert!(bare.status.success() && bare.stdout.is_empty(), "{}", text(&bare));

    // What fails leaves the file of before, and nothing beside it.
    let mut wrong = view.clone();
    wrong["select"][0]["column"][1]["path"] = json!("meta.extension + 'x' / 0");
    std::fs::write(at("view.json"), wrong.to_string()).unwrap();
    let failed = run(&["--out", "people.csv"]);
    assert!(!failed.status.success() && text(&failed).contains("sex"), "{}", text(&failed));
    assert!(std::fs::read_to_string(folder.path().join("people.csv")).unwrap().starts_with("id,sex"));
    assert_eq!(made(folder.path()), ["people.csv", "people.parquet"]);
    for (name, content) in [("view.json", "{"), ("view.json", "{}")] {
        std::fs::write(at(name), content).unwrap();
        assert!(!run(&["--out", "none.csv"]).status.success(), "{content}");
    }
    assert!(!run(&["--format", "xlsx"]).status.success());
}
