//! `Observation/$lastn` and `Observation/$stats`.

use crate::harness::{Signed, World};
use crate::operations_chart::keys;
use serde_json::{Value, json};

async fn put(client: &Signed, id: &str, codes: &[&str], when: &str, more: Value) {
    let coding: Vec<Value> = codes.iter().map(|c| json!({"system": "http://loinc.org", "code": c})).collect();
    let mut resource = json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"coding": coding},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "vital-signs"}]}],
        "subject": {"reference": "Patient/p"}, "effectiveDateTime": when});
    for (name, value) in more.as_object().into_iter().flatten() {
        resource[name] = value.clone();
    }
    let (status, answer) = client.put(&format!("/fhir/R4/Observation/{id}"), resource).await;
    assert_eq!(status, 201, "{answer}");
}

fn kilos(value: f64, unit: &str) -> Value {
    json!({"valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}})
}

async fn world() -> (World, Signed) {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    client.put("/fhir/R4/Patient/p", json!({"resourceType": "Patient", "id": "p"})).await;
    client.put("/fhir/R4/Patient/q", json!({"resourceType": "Patient", "id": "q"})).await;
    (world, client)
}

#[tokio::test]
async fn the_latest_of_each_kind() {
    let (world, client) = world().await;
    put(&client, "w1", &["29463-7"], "2026-01-01", kilos(70.0, "kg")).await;
    put(&client, "w2", &["29463-7"], "2026-01-02", kilos(71.0, "kg")).await;
    put(&client, "w3", &["29463-7"], "2026-01-03", kilos(72.0, "kg")).await;
    put(&client, "p1", &["8867-4"], "2026-01-02T08:00:00Z", json!({})).await;
    // Written with another code, and with both: the same kind.
    put(&client, "w4", &["3141-9"], "2026-01-04", json!({})).await;
    put(&client, "w5", &["29463-7", "3141-9"], "2025-01-01", json!({})).await;
    put(&client, "wrong", &["8867-4"], "2026-02-01", json!({"status": "entered-in-error"})).await;
    put(&client, "theirs", &["8867-4"], "2026-02-01", json!({"subject": {"reference": "Patient/q"}})).await;
    let cases: &[(&str, &[&str])] = &[
        ("patient=p", &["w4", "p1"]),
        ("subject=Patient/p&max=2", &["w4", "w3", "p1"]),
        ("patient=p&max=9&code=http://loinc.org|29463-7", &["w3", "w2", "w1", "w5"]),
        ("patient=p&code=8867-4,29463-7", &["w3", "p1"]),
        ("patient=p&status=entered-in-error", &["wrong"]),
        ("patient=p&date=lt2026-01-02", &["w1"]),
        ("patient=p&category=vital-signs&max=1", &["w4", "p1"]),
        ("patient=p&category=laboratory", &[]),
    ];
    for (query, expected) in cases {
        let (status, found) = client.get(&format!("/fhir/R4/Observation/$lastn?{query}")).await;
        let expected: Vec<String> = expected.iter().map(|id| format!("Observation/{id}")).collect();
        assert_eq!((status, keys(&found)), (200, expected), "{query}");
    }
    assert_eq!(client.get("/fhir/R4/Observation/$lastn?code=1").await.0, 400);
    assert_eq!(client.get("/fhir/R4/Observation/$lastn?patient=p&max=0").await.0, 400);
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "patient", "valueString": "p"},
        {"name": "max", "valuePositiveInt": 1}]});
    assert_eq!(client.post("/fhir/R4/Observation/$lastn", body).await.1["total"], 2);
    world.stop().await;
}

fn value(statistics: &Value, code: &str) -> Value {
    let parts = statistics["component"].as_array().unwrap();
    let part = parts.iter().find(|p| p["code"]["coding"][0]["code"] == code);
    part.unwrap_or_else(|| panic!("no {code}: {statistics}"))["valueQuantity"].clone()
}

#[tokio::test]
async fn numbers_about_numbers() {
    let (world, client) = world().await;
    put(&client, "w1", &["29463-7"], "2026-01-01", kilos(70.0, "kg")).await;
    put(&client, "w2", &["29463-7"], "2026-01-02", kilos(71_000.0, "g")).await;
    put(&client, "w3", &["29463-7"], "2026-01-03", kilos(75.0, "kg")).await;
    put(&client, "w4", &["29463-7"], "2026-01-04", json!({"dataAbsentReason": {"text": "refused"}})).await;
    let low = json!({"valueQuantity": {"value": 1, "comparator": "<", "unit": "kg", "system": "http://unitsofmeasure.org",
        "code": "kg"}});
    put(&client, "w5", &["29463-7"], "2026-01-04", low).await;
    let pressure = |id: u32| {
        json!({"component": [{"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
        "valueQuantity": {"value": 100 + id, "unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}}]})
    };
    for id in 1..=3 {
        put(&client, &format!("bp{id}"), &["85354-9"], "2026-01-01", pressure(id)).await;
    }
    let base = "/fhir/R4/Observation/$stats?subject=Patient/p&system=http://loinc.org";
    let (status, answer) = client
        .get(&format!("{base}&code=29463-7&statistic=average,maximum,minimum,count,total-count,median&statistic=sum,std-dev"))
        .await;
    assert_eq!(status, 200, "{answer}");
    let statistics = &answer["parameter"][0]["resource"];
    let expected = [
        ("average", "72"),
        ("maximum", "75"),
        ("minimum", "70"),
        ("count", "3"),
        ("total-count", "5"),
        ("median", "71"),
        ("sum", "216"),
    ];
    for (code, number) in expected {
        assert_eq!(value(statistics, code)["value"].to_string(), number, "{code} {statistics}");
    }
    assert_eq!(value(statistics, "average")["code"], "kg");
    assert_eq!(value(statistics, "count")["code"], "1");
    assert!(value(statistics, "std-dev")["value"].as_f64().unwrap() > 2.6);
    assert_eq!(statistics["subject"]["reference"], "Patient/p");
    assert_eq!(statistics["effectivePeriod"]["start"], "2026-01-01T00:00:00Z");

    // Components; several codes; the observations themselves; a period.
    let (_, answer) =
        client.get(&format!("{base}&code=8480-6&code=29463-7&statistic=maximum&include=true")).await;
    let list = answer["parameter"].as_array().unwrap();
    assert_eq!(value(&list[0]["resource"], "maximum")["value"].to_string(), "103");
    assert_eq!(list.iter().filter(|p| p["name"] == "source").count(), 8, "{answer}");
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "subject", "valueUri": "Patient/p"}, {"name": "statistic", "valueCode": "count"},
        {"name": "coding", "valueCoding": {"system": "http://loinc.org", "code": "29463-7"}},
        {"name": "period", "valuePeriod": {"start": "2026-01-02", "end": "2026-01-03"}}]});
    let (status, answer) = client.post("/fhir/R4/Observation/$stats", body).await;
    assert_eq!(
        (status, value(&answer["parameter"][0]["resource"], "count")["value"].to_string()),
        (200, "2".into()),
        "{answer}"
    );
    let (_, answer) = client.get(&format!("{base}&code=29463-7&statistic=count&duration=1")).await;
    let hour = &answer["parameter"][0]["resource"];
    assert_eq!(value(hour, "count")["value"].to_string(), "0");
    let (_, answer) = client.get(&format!("{base}&code=29463-7&statistic=average&duration=1")).await;
    assert!(answer["parameter"][0]["resource"]["component"][0]["dataAbsentReason"].is_object(), "{answer}");
    let (_, answer) = client.get(&format!("{base}&code=29463-7&statistic=total-count&limit=2")).await;
    assert_eq!(value(&answer["parameter"][0]["resource"], "total-count")["value"].to_string(), "2");

    for (query, status) in [
        ("&code=29463-7&statistic=nonsense", 400),
        ("&statistic=count", 400),
        ("&code=29463-7", 400),
        ("&code=29463-7&statistic=count&duration=-1", 400),
    ] {
        assert_eq!(client.get(&format!("{base}{query}")).await.0, status, "{query}");
    }
    // What a float cannot hold is said, not left out; small values are not rounded away.
    let raw = |id: &str, code: &str, number: &str| {
        let text = format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","subject":{{"reference":"Patient/p"}},
            "code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"effectiveDateTime":"2026-01-01",
            "valueQuantity":{{"value":{number},"unit":"1"}}}}"#
        );
        let request = client.request("PUT", &format!("/fhir/R4/Observation/{id}"));
        request.header("content-type", "application/fhir+json").body(text).send()
    };
    for (id, code, number) in
        [("n1", "1-8", "1e308"), ("n2", "1-8", "1.5e308"), ("n3", "2-6", "1e400"), ("n4", "3-4", "1.5e-12")]
    {
        assert_eq!(raw(id, code, number).await.unwrap().status(), 201, "{number}");
    }
    for (code, statistic, place) in
        [("2-6", "count", "Observation/n3"), ("1-8", "sum", "`sum`"), ("1-8", "variance", "`variance`")]
    {
        let (status, outcome) = client.get(&format!("{base}&code={code}&statistic={statistic}")).await;
        assert_eq!((status, &outcome["issue"][0]["code"]), (422, &json!("value")), "{outcome}");
        assert!(outcome.to_string().contains(place), "{outcome}");
    }
    for (code, statistic, expected) in [("3-4", "maximum", "0.0000000000015"), ("1-8", "count", "2")] {
        let (_, answer) = client.get(&format!("{base}&code={code}&statistic={statistic}")).await;
        let found = value(&answer["parameter"][0]["resource"], statistic)["value"].to_string();
        assert_eq!(found, expected, "{answer}");
    }
    put(&client, "w6", &["29463-7"], "2026-01-05", kilos(1.0, "cm")).await;
    let (status, outcome) = client.get(&format!("{base}&code=29463-7&statistic=average")).await;
    assert!(status == 422 && outcome.to_string().contains("do not convert"), "{outcome}");
    world.stop().await;
}
