//! Every class of bad input gives a specific error in the shape of its API, and nothing gives a 500.

use crate::harness::{World, header, read};
use access::Role;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn product_api() {
    let world = World::start().await;
    let boss = world.staff("boss", Role::Administrator).await;
    let json_type = "application/json";
    let big = format!("{{\"login\": \"{}\", \"password\": \"x\"}}", "a".repeat(3 * 1024 * 1024));
    let cases: &[(&str, &str, &str, &str, u16, &str)] = &[
        ("POST", "/api/v1/auth/login", json_type, "{\"login\": ", 400, "body-malformed"),
        ("POST", "/api/v1/auth/login", json_type, "", 400, "body-malformed"),
        ("POST", "/api/v1/auth/login", json_type, "null", 400, "field-wrong"),
        ("POST", "/api/v1/auth/login", json_type, "[1]", 400, "field-wrong"),
        ("POST", "/api/v1/auth/login", json_type, "{\"login\": 1, \"password\": \"x\"}", 400, "field-wrong"),
        ("POST", "/api/v1/auth/login", json_type, "{\"login\": \"x\"}", 400, "field-missing"),
        (
            "POST",
            "/api/v1/auth/login",
            json_type,
            "{\"login\":\"x\",\"password\":\"y\",\"z\":1}",
            400,
            "field-unknown",
        ),
        (
            "POST",
            "/api/v1/auth/login",
            json_type,
            "{\"login\":\"x\",\"login\":\"y\",\"password\":\"z\"}",
            400,
            "field-wrong",
        ),
        ("POST", "/api/v1/auth/login", json_type, &big, 413, "body-too-large"),
        ("POST", "/api/v1/auth/login", "text/plain", "{}", 415, "media-type-unsupported"),
        ("POST", "/api/v1/auth/login", "", "{}", 415, "media-type-unsupported"),
        (
            "POST",
            "/api/v1/auth/login?toke=true",
            json_type,
            "{\"login\":\"x\",\"password\":\"y\"}",
            400,
            "parameter-wrong",
        ),
        (
            "POST",
            "/api/v1/auth/login?token=maybe",
            json_type,
            "{\"login\":\"x\",\"password\":\"y\"}",
            400,
            "parameter-wrong",
        ),
        ("DELETE", "/api/v1/auth/login", "", "", 405, "method-not-allowed"),
        ("GET", "/api/v1/nothing", "", "", 404, "route-unknown"),
        ("GET", "/api/v2/me", "", "", 404, "route-unknown"),
        ("GET", "/api/v1/appointments?limit=x", "", "", 400, "parameter-wrong"),
        ("POST", "/api/v1/admin/users/search", json_type, "{\"cursor\":\"\\u0000\"}", 400, "malformed"),
        ("GET", "/api/v1/admin/jobs?state=gone", "", "", 400, "parameter-wrong"),
        ("GET", "/api/v1/admin/audit?from=yesterday", "", "", 400, "parameter-wrong"),
        ("PATCH", "/api/v1/admin/users/abc", json_type, "{}", 404, "not-found"),
        ("PATCH", "/api/v1/admin/users/999999", json_type, "{}", 404, "not-found"),
        ("POST", "/api/v1/admin/jobs/77/replay", "", "", 404, "not-found"),
        ("POST", "/api/v1/admin/messages/abc/retry", "", "", 404, "not-found"),
        ("POST", "/api/v1/auth/register/abc/confirm", json_type, "{\"code\":\"1\"}", 422, "code-expired"),
    ];
    for (method, path, kind, body, status, code) in cases {
        let mut request = boss.request(method, path).body((*body).to_owned());
        if !kind.is_empty() {
            request = request.header("content-type", *kind);
        }
        let response = request.send().await.unwrap();
        let what = format!("{method} {path} {}", &body[..body.len().min(60)]);
        let (id, type_of) =
            (header(&response, "x-request-id").to_owned(), header(&response, "content-type").to_owned());
        let (got, problem) = read(response).await;
        assert_eq!((got, &problem["code"]), (*status, &json!(code)), "{what}: {problem}");
        assert_eq!(type_of, "application/problem+json", "{what}");
        assert_eq!(problem["status"], *status, "{what}");
        assert_eq!(problem["request_id"], id, "{what}");
        assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 5), "{what}: {problem}");
    }
    let body = "{\n  \"login\": \"a\",\n  \"password\": trx\n}";
    let request = boss.request("POST", "/api/v1/auth/login").header("content-type", json_type).body(body);
    let (_, problem) = read(request.send().await.unwrap()).await;
    assert!(problem["detail"].as_str().unwrap().contains("line 3, column"), "{problem}");
    world.stop().await;
}

#[tokio::test]
async fn fhir_api() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let fhir = "application/fhir+json";
    let good = r#"{"resourceType":"Patient"}"#;
    let big = format!("{{\"resourceType\":\"Patient\",\"language\":\"{}\"}}", "a".repeat(3 * 1024 * 1024));
    let id65 = "a".repeat(65);
    let long_id = format!("/fhir/R4/Patient/{id65}");
    let cases: &[(&str, &str, &str, &str, u16, &str)] = &[
        ("POST", "/fhir/R4/Patient", fhir, "{", 400, "structure"),
        ("POST", "/fhir/R4/Patient", fhir, "[]", 400, "structure"),
        ("POST", "/fhir/R4/Patient", fhir, "{}", 400, "structure"),
        ("POST", "/fhir/R4/Patient", fhir, r#"{"resourceType":"Person"}"#, 400, "value"),
        ("POST", "/fhir/R4/Patient", fhir, r#"{"resourceType":"Patent"}"#, 400, "structure"),
        ("POST", "/fhir/R4/Patient", fhir, r#"{"resourceType":"Patient","nam":[]}"#, 422, ""),
        ("POST", "/fhir/R4/Patient", fhir, r#"{"resourceType":"Patient","birthDate":"1990-13-01"}"#, 422, ""),
        ("POST", "/fhir/R4/Patient", fhir, r#"{"resourceType":"Patient","active":"yes"}"#, 422, ""),
        ("POST", "/fhir/R4/Patient", fhir, r#"{"resourceType":"Patient","gender":"f"}"#, 422, ""),
        ("POST", "/fhir/R4/Patient", fhir, &big, 413, "too-long"),
        ("POST", "/fhir/R4/Patient", "application/fhir+xml", "<Patient/>", 400, "structure"),
        ("POST", "/fhir/R4/Patient", "text/turtle", "a b c .", 415, "not-supported"),
        ("POST", "/fhir/R4/Patient?_format=turtle", fhir, good, 406, "not-supported"),
        ("POST", "/fhir/R4/Patient?familie=x", fhir, good, 400, "not-supported"),
        (
            "PUT",
            "/fhir/R4/Patient/1?family=x",
            fhir,
            r#"{"resourceType":"Patient","id":"1"}"#,
            400,
            "not-supported",
        ),
        ("POST", "/fhir/R4/Patent", fhir, good, 404, "not-found"),
        ("POST", "/fhir/R4", fhir, good, 400, "value"),
        ("POST", "/fhir/R4", fhir, r#"{"resourceType":"Bundle","type":"searchset"}"#, 400, ""),
        ("PUT", "/fhir/R4/Patient/1", fhir, good, 400, "value"),
        ("PUT", "/fhir/R4/Patient/1", fhir, r#"{"resourceType":"Patient","id":"2"}"#, 400, "value"),
        ("PUT", "/fhir/R4/Patient/a_b", fhir, r#"{"resourceType":"Patient","id":"a_b"}"#, 400, "value"),
        ("PATCH", "/fhir/R4/Patient/1", fhir, "[]", 404, "not-found"),
        ("PATCH", "/fhir/R4/Patient/1", fhir, "[", 400, "structure"),
        ("DELETE", "/fhir/R4/Patient", "", "", 400, "value"),
        ("PUT", "/fhir/R4/Patient", fhir, good, 400, "value"),
        ("GET", "/fhir/R4/Patient/1", "", "", 404, "not-found"),
        ("GET", &long_id, "", "", 400, "value"),
        ("GET", "/fhir/R4/Patient/1/_history/x", "", "", 404, "not-found"),
        ("GET", "/fhir/R4/Patient/1?_elements=name", "", "", 404, "not-found"),
        ("GET", "/fhir/R4/Patient/1?name=x", "", "", 400, "value"),
        ("GET", "/fhir/R4/Patient/%FF", "", "", 400, "value"),
        ("GET", "/fhir/R4/%FF", "", "", 400, "value"),
        ("GET", "/fhir/R4", "", "", 400, "required"),
        ("GET", "/fhir/R4/Patient?familie=x", "", "", 400, ""),
        ("GET", "/fhir/R4/Patient?birthdate=x", "", "", 400, ""),
        ("GET", "/fhir/R4/Patient?_count=x", "", "", 400, ""),
        ("GET", "/fhir/R4/Patient?_cursor=x", "", "", 400, ""),
        ("GET", "/fhir/R4/Patient?_summary=some", "", "", 400, "value"),
        ("GET", "/fhir/R4/Patient/1/$everything", "", "", 404, "not-found"),
        ("GET", "/fhir/R5/Patient", "", "", 404, "not-found"),
        ("POST", "/fhir/R4/AuditEvent", fhir, r#"{"resourceType":"AuditEvent"}"#, 405, "not-supported"),
        ("POST", "/fhir/R4/Patient/_search", fhir, "{}", 415, "not-supported"),
    ];
    for (method, path, kind, body, status, code) in cases {
        let mut request = client.request(method, path).body((*body).to_owned());
        if !kind.is_empty() {
            request = request.header("content-type", *kind);
        }
        let response = request.send().await.unwrap();
        let type_of = header(&response, "content-type").to_owned();
        let (got, outcome) = read(response).await;
        let what = format!("{method} {path} {}: {outcome}", &body[..body.len().min(60)]);
        assert_eq!(got, *status, "{what}");
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{what}");
        assert!(type_of.starts_with("application/fhir+json"), "{what}");
        if !code.is_empty() {
            assert_eq!(outcome["issue"][0]["code"], *code, "{what}");
        }
    }
    // Every problem at once, each with its place.
    let bad = json!({"resourceType": "Patient", "gender": "f", "birthDate": "1990-13-01", "shoeSize": 40});
    let (status, outcome) = client.post("/fhir/R4/Patient", bad).await;
    assert_eq!(status, 422);
    let places: Vec<&str> =
        outcome["issue"].as_array().unwrap().iter().filter_map(|i| i["expression"][0].as_str()).collect();
    for place in ["Patient.gender", "Patient.birthDate", "Patient.shoeSize"] {
        assert!(places.contains(&place), "{place}: {places:?}");
    }
    // Nothing of all this was written.
    assert_eq!(client.get("/fhir/R4/Patient?_summary=count").await.1["total"], 0);
    world.stop().await;
}

#[tokio::test]
async fn what_is_no_utf8_is_refused_with_its_place() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let form = "application/x-www-form-urlencoded";
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient?name=%ff"}}]}"#;
    for (method, path, kind, body, place) in [
        ("GET", "/fhir/R4/Patient?name=%ff", "", "", "http.name"),
        ("GET", "/fhir/R4/Patient?family=a&name:exact=%c3%28", "", "", "http.name:exact"),
        ("GET", "/fhir/R4/Patient?%ff=a", "", "", "http"),
        ("GET", "/fhir/R4/Patient?_format=%ff", "", "", "http._format"),
        ("GET", "/fhir/R4/Patient/%ff", "", "", "http.path"),
        ("GET", "/fhir/R4/Patient/%ff/$everything", "", "", "http.path"),
        ("GET", "/fhir/R4/Observation/$stats?subject=%ff", "", "", "http.subject"),
        ("GET", "/fhir/R4/_history?_since=%ff", "", "", "http._since"),
        ("DELETE", "/fhir/R4/Patient?name=%ff", "", "", "http.name"),
        ("POST", "/fhir/R4/Patient/_search", form, "name=%ff", "http.name"),
        ("POST", "/fhir/R4/Observation/$stats", form, "subject=%ff", "http.subject"),
    ] {
        let mut request = client.request(method, path).body(body);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let (status, outcome) = read(request.send().await.unwrap()).await;
        let what = format!("{method} {path} {body}: {outcome}");
        assert_eq!((status, &outcome["resourceType"]), (400, &json!("OperationOutcome")), "{what}");
        assert_eq!(outcome["issue"][0]["code"], "value", "{what}");
        assert_eq!(outcome["issue"][0]["expression"], json!([place]), "{what}");
    }
    let (_, answer) = client.post("/fhir/R4", serde_json::from_str(batch).unwrap()).await;
    let response = &answer["entry"][0]["response"];
    assert!(response["status"].as_str().unwrap().starts_with("400"), "{answer}");
    assert!(response["outcome"].to_string().contains("UTF-8"), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn references_to_nothing_are_refused() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "pulse"},
        "subject": {"reference": "Patient/not-there"}});
    let (status, outcome) = client.post("/fhir/R4/Observation", observation).await;
    assert_eq!(status, 422, "{outcome}");
    world.stop().await;
}

#[tokio::test]
async fn the_body_limit_counts_bytes() {
    let world = World::start_with(|config| config.limits.json_bytes = 1024).await;
    let nobody = world.anonymous();
    let body = json!({"login": "a".repeat(2000), "password": "x"});
    let (status, problem) = nobody.post("/api/v1/auth/login", body).await;
    assert_eq!((status, &problem["code"]), (413, &json!("body-too-large")));
    assert!(problem["detail"].as_str().unwrap().contains("1024"));
    // A body without a length is counted as it comes.
    let mut stream = tokio::net::TcpStream::connect(world.running().address).await.unwrap();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 2000, "a".repeat(2000));
    stream.write_all(format!("{head}{chunk}0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    world.stop().await;
}
