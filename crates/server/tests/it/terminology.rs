//! Terminology operations over real sockets: what they answer, and what they refuse.

use crate::harness::{Signed, World};
use access::Role;
use record::terminology::import::Request;
use serde_json::{Value, json};
use std::sync::Arc;

const MOON: &str = "http://example.org/moon";

/// A server with a small loaded code system and a concept map.
async fn world() -> (World, Signed) {
    let world = World::start().await;
    let table = world.folder.path().join("moon.csv");
    std::fs::write(
        &table,
        "code,display,parent,display:sw,kind\nX1,Moon diseases,,Magonjwa ya mwezi,chapter\nX1.1,Moon fever,X1,Homa ya mwezi,disease\n\
         X1.2,Dust lung,X1,,disease\n",
    )
    .unwrap();
    let request = Request {
        paths: vec![table],
        system: Some(MOON.into()),
        version: Some("7".into()),
        ..Request::default()
    };
    world.app().record.import_terminology(&world.ctx(), request, Arc::new(|_| {})).await.unwrap();
    let client = world.client("system/*.cruds").await;
    let map = json!({"resourceType": "ConceptMap", "id": "m1", "url": "http://example.org/map", "status": "active",
        "group": [{"source": MOON, "target": "http://example.org/sun", "element": [
            {"code": "X1.1", "target": [{"code": "S1", "display": "Sun fever", "equivalence": "wider"}]}]}]});
    assert_eq!(client.put("/fhir/R4/ConceptMap/m1", map).await.0, 201);
    (world, client)
}

/// The value of a parameter of an answer.
fn part<'v>(parameters: &'v Value, name: &str) -> &'v Value {
    let entry = parameters["parameter"].as_array().unwrap().iter().find(|p| p["name"] == name);
    let entry = entry.unwrap_or_else(|| panic!("no {name} in {parameters}")).as_object().unwrap();
    entry.iter().find(|(k, _)| k.starts_with("value")).unwrap().1
}

fn codes(value_set: &Value) -> Vec<&str> {
    let all = value_set["expansion"]["contains"].as_array();
    all.into_iter().flatten().map(|c| c["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_operation_answers() {
    let (world, client) = world().await;
    let get = |path: &str| {
        let (client, path) = (client.clone(), format!("/fhir/R4/{path}"));
        async move {
            let (status, body) = client.get(&path).await;
            assert_eq!(status, 200, "{path}: {body}");
            body
        }
    };
    let found = get("CodeSystem/$lookup?system=http://example.org/moon&code=X1.1").await;
    assert_eq!((part(&found, "display"), part(&found, "version")), (&json!("Moon fever"), &json!("7")));
    let properties: Vec<&Value> =
        found["parameter"].as_array().unwrap().iter().filter(|p| p["name"] == "property").collect();
    assert!(
        properties.iter().any(|p| p["part"][0]["valueCode"] == "parent" && p["part"][1]["valueCode"] == "X1")
    );
    let found = get("CodeSystem/$lookup?system=http://example.org/moon&code=X1.1&displayLanguage=sw").await;
    assert_eq!(part(&found, "display"), "Homa ya mwezi");
    let found = get("CodeSystem/$subsumes?system=http://example.org/moon&codeA=X1&codeB=X1.2").await;
    assert_eq!(part(&found, "outcome"), "subsumes");
    let found =
        get("CodeSystem/$validate-code?url=http://example.org/moon&code=X1.2&display=Dust%20lung").await;
    assert_eq!(part(&found, "result"), true);
    let found = get("CodeSystem/$validate-code?url=http://example.org/moon&code=X9").await;
    assert_eq!(part(&found, "result"), false);
    assert!(part(&found, "message").as_str().unwrap().contains("`X9` is no code of"));
    let found = get("ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/administrative-gender").await;
    assert_eq!(codes(&found), ["male", "female", "other", "unknown"]);
    assert_eq!((&found["resourceType"], &found["expansion"]["total"]), (&json!("ValueSet"), &json!(4)));
    let found =
        get("ValueSet/$expand?url=http://example.org/moon?fhir_vs&filter=moon&count=1&displayLanguage=sw")
            .await;
    assert_eq!((codes(&found), &found["expansion"]["total"]), (vec!["X1.1"], &json!(2)));
    assert_eq!(found["expansion"]["contains"][0]["display"], "Homa ya mwezi");
    drop(world);
}

#[tokio::test]
async fn value_sets_and_maps() {
    let (world, client) = world().await;
    let set = json!({"resourceType": "ValueSet", "id": "v1", "url": "http://example.org/vs", "status": "active",
        "compose": {"include": [{"system": MOON, "filter": [{"property": "concept", "op": "descendent-of", "value": "X1"}]}]}});
    assert_eq!(client.put("/fhir/R4/ValueSet/v1", set.clone()).await.0, 201);
    for path in ["ValueSet/$expand?url=http://example.org/vs", "ValueSet/v1/$expand"] {
        let (status, found) = client.get(&format!("/fhir/R4/{path}")).await;
        assert_eq!((status, codes(&found)), (200, vec!["X1.1", "X1.2"]), "{path}: {found}");
    }
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "valueSet", "resource": set}, {"name": "filter", "valueString": "dust"},
        {"name": "includeDesignations", "valueBoolean": true}]});
    let (status, found) = client.post("/fhir/R4/ValueSet/$expand", body).await;
    assert_eq!((status, codes(&found)), (200, vec!["X1.2"]), "{found}");
    // A bare ValueSet is as good as Parameters.
    let (status, found) = client.post("/fhir/R4/ValueSet/$expand", set).await;
    assert_eq!((status, codes(&found).len()), (200, 2), "{found}");
    let concept = json!({"resourceType": "Parameters", "parameter": [
        {"name": "url", "valueUri": "http://example.org/vs"},
        {"name": "codeableConcept", "valueCodeableConcept": {"coding": [
            {"system": "http://example.org/sun", "code": "S1"}, {"system": MOON, "code": "X1.1", "display": "Moon fever"}]}}]});
    let (status, found) = client.post("/fhir/R4/ValueSet/$validate-code", concept).await;
    assert_eq!(
        (status, part(&found, "result"), part(&found, "code")),
        (200, &json!(true), &json!("X1.1")),
        "{found}"
    );
    let (_, found) =
        client.get("/fhir/R4/ValueSet/$validate-code?url=http://example.org/vs&system=http://example.org/moon&code=X1").await;
    assert_eq!(part(&found, "result"), false);
    for path in [
        "ConceptMap/$translate?url=http://example.org/map&system=http://example.org/moon&code=X1.1",
        "ConceptMap/$translate?system=http://example.org/moon&code=X1.1&targetsystem=http://example.org/sun",
        "ConceptMap/m1/$translate?system=http://example.org/moon&code=X1.1",
    ] {
        let (status, found) = client.get(&format!("/fhir/R4/{path}")).await;
        assert_eq!((status, part(&found, "result")), (200, &json!(true)), "{path}: {found}");
        let hit = found["parameter"].as_array().unwrap().iter().find(|p| p["name"] == "match").unwrap();
        assert_eq!(hit["part"][1]["valueCoding"]["code"], "S1");
    }
    let (_, found) = client
        .get("/fhir/R4/ConceptMap/$translate?url=http://example.org/map&system=http://example.org/sun&code=S1&reverse=true")
        .await;
    let hit = found["parameter"].as_array().unwrap().iter().find(|p| p["name"] == "match").unwrap();
    assert_eq!(
        (&hit["part"][0]["valueCode"], &hit["part"][1]["valueCoding"]["code"]),
        (&json!("narrower"), &json!("X1.1"))
    );
    // Searches use the same: `:below` and `:in`.
    let patient = world.put(json!({"resourceType": "Patient", "name": [{"family": "Moon"}]})).await;
    for code in ["X1.1", "X1"] {
        world
            .put(json!({"resourceType": "Condition", "subject": {"reference": patient.to_string()},
                "code": {"coding": [{"system": MOON, "code": code}]}}))
            .await;
    }
    for (query, expected) in [
        ("code:below=http://example.org/moon|X1", 2),
        ("code:in=http://example.org/vs", 1),
        ("code:not-in=http://example.org/vs", 1),
    ] {
        let (status, found) = client.get(&format!("/fhir/R4/Condition?{query}&_total=accurate")).await;
        assert_eq!((status, &found["total"]), (200, &json!(expected)), "{query}: {found}");
    }
}

#[tokio::test]
async fn wrong_questions_are_told_apart() {
    let (world, client) = world().await;
    for (path, status, code, words) in [
        ("CodeSystem/$lookup?code=X1", 400, "value", "code system"),
        ("CodeSystem/$lookup?system=http://nobody&code=X1", 422, "not-found", "http://nobody"),
        ("CodeSystem/$lookup?system=http://example.org/moon&code=Y", 422, "not-found", "`Y` is no code"),
        (
            "CodeSystem/$lookup?system=http://example.org/moon&code=X1&version=1",
            422,
            "not-found",
            "Version `1`",
        ),
        ("CodeSystem/$subsumes?codeA=X1&codeB=X1.1", 400, "value", "code system"),
        ("CodeSystem/$subsumes?system=http://example.org/moon&codeA=X1", 400, "value", "codeB"),
        ("ValueSet/$expand", 400, "value", "`url`"),
        ("ValueSet/$expand?url=http://example.org/none", 422, "not-found", "http://example.org/none"),
        (
            "ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/administrative-gender&count=-1",
            400,
            "value",
            "negative",
        ),
        ("ValueSet/$expand?url=http://snomed.info/sct?fhir_vs=ecl/<<", 422, "not-found", "not loaded"),
        (
            "ValueSet/$validate-code?url=http://example.org/none&code=a",
            422,
            "not-found",
            "http://example.org/none",
        ),
        (
            "ValueSet/$validate-code?url=http://hl7.org/fhir/ValueSet/administrative-gender",
            400,
            "value",
            "codeableConcept",
        ),
        (
            "ConceptMap/$translate?url=http://example.org/none&system=http://example.org/moon&code=X1",
            422,
            "not-found",
            "none",
        ),
        ("ConceptMap/$translate?code=X1", 400, "value", "code system"),
        ("ValueSet/missing/$expand", 404, "not-found", ""),
    ] {
        let (found, body) = client.get(&format!("/fhir/R4/{path}")).await;
        let issue = &body["issue"][0];
        assert_eq!((found, &body["resourceType"]), (status, &json!("OperationOutcome")), "{path}: {body}");
        assert_eq!(issue["code"], code, "{path}: {body}");
        assert!(issue["diagnostics"].as_str().unwrap_or_default().contains(words), "{path}: {body}");
    }
    let (status, _) =
        world.anonymous().get("/fhir/R4/CodeSystem/$lookup?system=http://example.org/moon&code=X1").await;
    assert_eq!(status, 401);
    // Nothing here is about a patient: whoever is signed in may ask.
    let patient = world.patient("Amina").await;
    let (status, _) = patient.get("/fhir/R4/CodeSystem/$lookup?system=http://example.org/moon&code=X1").await;
    assert_eq!(status, 200);
    let (status, statement) = world.anonymous().get("/fhir/R4/metadata?mode=terminology").await;
    assert_eq!((status, &statement["resourceType"]), (200, &json!("TerminologyCapabilities")));
    let systems = statement["codeSystem"].as_array().unwrap();
    let moon = systems.iter().find(|s| s["uri"] == MOON).unwrap();
    assert_eq!(moon["version"][0]["code"], "7");
}

#[tokio::test]
async fn diagnoses_come_from_the_clinics_list_and_from_icd_10() {
    let world = World::start().await;
    let doctor = world.staff("daktari", Role::Doctor).await;
    let (_, found) = doctor.get("/api/v1/codes/diagnoses?q=hypert").await;
    assert_eq!(found["items"][0]["code"], "I10", "{found}");
    let (_, before) = doctor.get("/api/v1/codes/diagnoses?q=moonburn").await;
    assert_eq!(before["items"], json!([]));
    let codes = world.folder.path().join("icd102099syst_codes.txt");
    std::fs::write(&codes, "3;T;X;01;Q99;Q99.-;Q99;Q99;Moonburn, unspecified;;\n").unwrap();
    let request = Request { paths: vec![codes], ..Request::default() };
    world.app().record.import_terminology(&world.ctx(), request, Arc::new(|_| {})).await.unwrap();
    let (_, after) = doctor.get("/api/v1/codes/diagnoses?q=moonburn").await;
    assert_eq!(after["items"][0]["code"], "Q99", "{after}");
}

#[tokio::test]
async fn a_closure_table_grows_and_is_told_again() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let system = "http://example.org/animals";
    let codes = json!({"resourceType": "CodeSystem", "id": "animals", "url": system, "status": "active",
        "content": "complete", "concept": [{"code": "animal", "concept": [
            {"code": "dog", "concept": [{"code": "poodle"}]}, {"code": "cat"}]}]});
    assert_eq!(client.put("/fhir/R4/CodeSystem/animals", codes).await.0, 201);
    let parameters = |version: Option<&str>, codes: &[&str]| {
        let mut list = vec![json!({"name": "name", "valueString": "pets"})];
        list.extend(version.map(|v| json!({"name": "version", "valueString": v})));
        list.extend(
            codes
                .iter()
                .map(|code| json!({"name": "concept", "valueCoding": {"system": system, "code": code}})),
        );
        json!({"resourceType": "Parameters", "parameter": list})
    };
    let call = |version: Option<&'static str>, codes: &'static [&'static str]| {
        let body = parameters(version, codes);
        let client = client.clone();
        async move { client.post("/fhir/R4/$closure", body).await }
    };
    let shown = |map: &Value| -> Vec<String> {
        let mut all = Vec::new();
        for group in map["group"].as_array().into_iter().flatten() {
            assert_eq!((&group["source"], &group["target"]), (&json!(system), &json!(system)));
            for element in group["element"].as_array().unwrap() {
                for target in element["target"].as_array().unwrap() {
                    let equivalence = target["equivalence"].as_str().unwrap();
                    let code = target["code"].as_str().unwrap_or("-");
                    all.push(format!("{} {equivalence} {code}", element["code"].as_str().unwrap()));
                }
            }
        }
        all
    };
    assert_eq!(call(None, &["dog"]).await.0, 404, "a table is started first");
    let (status, empty) = call(None, &[]).await;
    assert_eq!(
        (status, &empty["resourceType"], &empty["version"]),
        (200, &json!("ConceptMap"), &json!("0")),
        "{empty}"
    );
    for (codes, version, expected) in [
        (&["dog", "cat"][..], "1", &[][..]),
        (
            &["poodle", "animal"],
            "2",
            &["cat subsumes animal", "dog subsumes animal", "poodle subsumes animal", "poodle subsumes dog"],
        ),
        (&["dog"], "2", &[]),
        (&["fish"], "3", &["fish unmatched -"]),
    ] {
        let (status, map) = call(None, codes).await;
        assert_eq!((status, &map["version"]), (200, &json!(version)), "{map}");
        assert_eq!(shown(&map), expected, "{map}");
    }
    assert_eq!(shown(&call(Some("2"), &[]).await.1), ["fish unmatched -"]);
    assert_eq!(shown(&call(Some("0"), &[]).await.1).len(), 5);
    assert_eq!(call(Some("2"), &["cat"]).await.0, 400);
    assert_eq!(call(Some("x"), &[]).await.0, 400);
    assert_eq!(client.get("/fhir/R4/$closure?name=pets").await.0, 405);
    // A table is its owner's; patients have none.
    let other = world.client("system/*.cruds").await;
    assert_eq!(other.post("/fhir/R4/$closure", parameters(Some("0"), &[])).await.0, 404);
    let patient = world.patient("Asha").await;
    assert_eq!(patient.post("/fhir/R4/$closure", parameters(None, &[])).await.0, 403);
    // Started anew, it is empty.
    call(None, &[]).await;
    assert_eq!(shown(&call(Some("0"), &[]).await.1).len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_running_server_imports_while_others_write() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let mut table = String::from("code,display\n");
    for n in 0..3_000 {
        table.push_str(&format!("C{n},Concept number {n}\n"));
    }
    std::fs::write(world.folder.path().join("t.csv"), table).unwrap();
    let uzima = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_uzima"));
        command
            .current_dir(world.folder.path())
            .env_clear()
            .env("UZIMA_DATA", world.folder.path().join("data"))
            .env("UZIMA_LOG_FILTER", "error")
            .arg("terminology")
            .args(arguments);
        async move {
            let output = command.output().await.unwrap();
            let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), told(&output.stdout) + &told(&output.stderr))
        }
    };
    let url = "http://example.org/t";
    let importing = uzima(&["import", "t.csv", "--system", url, "--version", "1"]);
    let writing = async {
        for _ in 0..20 {
            let (status, answer) = client.post("/fhir/R4/Patient", json!({"resourceType": "Patient"})).await;
            assert_eq!(status, 201, "{answer}");
        }
    };
    let ((good, text), ()) = tokio::join!(importing, writing);
    assert!(good && text.contains("concepts") && text.contains("3000"), "{text}");
    let (status, found) = client.get(&format!("/fhir/R4/CodeSystem/$lookup?system={url}&code=C2999")).await;
    assert_eq!(status, 200, "{found}");
    let (good, text) = uzima(&["list"]).await;
    assert!(good && text.contains(url), "{text}");
    let (good, text) = uzima(&["import", "missing.csv", "--system", url]).await;
    assert!(!good && text.contains("missing.csv"), "{text}");
    let (good, text) = uzima(&["remove", url]).await;
    assert!(good && text.contains("removed"), "{text}");
    world.stop().await;
}

#[test]
fn the_command_imports_lists_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), "code,display,parent\nA,Alpha,\nB,\"Beta, two\",A\n")
        .unwrap();
    let uzima = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_uzima"))
            .current_dir(folder.path())
            .env_clear()
            .env("UZIMA_DATA", folder.path().join("data"))
            .env("UZIMA_LOG_FILTER", "error")
            .arg("terminology")
            .args(arguments)
            .output()
            .unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    };
    let url = "http://example.org/t";
    let (good, text) = uzima(&["import", "t.csv"]);
    assert!(!good && text.contains("--system"), "{text}");
    let (good, text) = uzima(&["import", "t.csv", "--system", url, "--version", "1", "--dry-run"]);
    assert!(good && text.contains("nothing was written"), "{text}");
    let (good, text) = uzima(&["list"]);
    assert!(good && text.is_empty(), "{text}");
    for version in ["1", "2"] {
        let (good, text) = uzima(&["import", "t.csv", "--system", url, "--version", version]);
        assert!(good && text.contains("concepts"), "{text}");
    }
    let (_, text) = uzima(&["list"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("* http://example.org/t"), "{text}");
    let (good, text) = uzima(&["use", url, "2"]);
    assert!(good && text.contains("now means version 2"), "{text}");
    let (good, text) = uzima(&["remove", url]);
    assert!(!good && text.contains("1, 2"), "{text}");
    let (good, text) = uzima(&["remove", url, "--version", "1"]);
    assert!(good && text.contains("removed"), "{text}");
    let (good, text) = uzima(&["remove", url, "--version", "1"]);
    assert!(!good, "{text}");
}
