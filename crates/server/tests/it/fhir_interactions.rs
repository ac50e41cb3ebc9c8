//! Interactions as HTTP shows them: headers, conditions, patches, forms.

use crate::harness::{Signed, World, header, read};
use serde_json::{Value, json};
use std::io::Write as _;

const FHIR: &str = "application/fhir+json";

async fn world() -> (World, Signed) {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    (world, client)
}

fn patient(mrn: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": mrn}],
        "name": [{"family": family}], "birthDate": "1990-01-01"})
}

#[tokio::test]
async fn conditional_headers() {
    let (world, client) = world().await;
    let put = json!({"resourceType": "Patient", "id": "p", "active": true});
    let path = "/fhir/R4/Patient/p";
    // If-None-Match: * makes a write a create.
    let only_new = || client.request("PUT", path).header("if-none-match", "*").json(&put).send();
    assert_eq!(only_new().await.unwrap().status(), 201);
    let (status, outcome) = read(only_new().await.unwrap()).await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (412, &json!("conflict")));
    let tagged =
        client.request("PUT", path).header("if-none-match", "W/\"1\"").json(&put).send().await.unwrap();
    assert_eq!(tagged.status(), 400);

    let first = client.request("GET", path).send().await.unwrap();
    let (etag, modified) = (header(&first, "etag").to_owned(), header(&first, "last-modified").to_owned());
    assert_eq!(header(&first, "vary").to_lowercase(), "accept");
    let cases: &[(&str, &str, u16)] = &[
        ("if-none-match", &etag, 304),
        ("if-none-match", "\"1\"", 304),
        ("if-none-match", "W/\"9\", W/\"1\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "W/\"2\"", 200),
        ("if-modified-since", &modified, 304),
        ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ("if-modified-since", "Thu, 01 Jan 2099 00:00:00 GMT", 304),
        ("if-modified-since", "not a date", 200),
    ];
    for (name, value, expected) in cases {
        for method in ["GET", "HEAD"] {
            let answer = client.request(method, path).header(*name, *value).send().await.unwrap();
            assert_eq!(answer.status(), *expected, "{method} {name}: {value}");
            assert_eq!(header(&answer, "etag"), etag, "{name}: {value}");
            let body = answer.bytes().await.unwrap();
            assert_eq!(body.is_empty(), *expected == 304 || method == "HEAD", "{method} {name}: {value}");
        }
    }
    // If-None-Match goes before If-Modified-Since.
    let both = client
        .request("GET", path)
        .header("if-none-match", "W/\"7\"")
        .header("if-modified-since", "Thu, 01 Jan 2099 00:00:00 GMT");
    assert_eq!(both.send().await.unwrap().status(), 200);

    for (tag, expected) in [("W/\"7\"", 412), ("W/\"1\"", 204)] {
        let delete = client.request("DELETE", path).header("if-match", tag).send().await.unwrap();
        assert_eq!(delete.status(), expected, "{tag}");
    }
    assert_eq!(client.delete("/fhir/R4/Patient/never-there").await.0, 204);
    world.stop().await;
}

#[tokio::test]
async fn writes_by_condition() {
    let (world, client) = world().await;
    let create = |mrn: &'static str| {
        client
            .request("POST", "/fhir/R4/Patient")
            .header("if-none-exist", format!("identifier=urn:mrn|{mrn}"))
            .json(&patient(mrn, "One"))
            .send()
    };
    let (first, second) = (create("m1").await.unwrap(), create("m1").await.unwrap());
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (201, 200));
    assert_eq!(header(&first, "location"), header(&second, "location"));
    let url = |mrn: &str| format!("/fhir/R4/Patient?identifier=urn:mrn%7C{mrn}");
    let (status, same) = client.post(&url("m1"), patient("m1", "Other")).await;
    assert_eq!((status, &same["name"][0]["family"]), (200, &json!("One")), "a condition in the URL");
    let both =
        client.request("POST", &url("m1")).header("if-none-exist", "identifier=m1").json(&patient("m1", "X"));
    assert_eq!(both.send().await.unwrap().status(), 400);
    let (status, updated) = client.put(&url("m1"), patient("m1", "Two")).await;
    assert_eq!((status, &updated["meta"]["versionId"]), (200, &json!("2")), "{updated}");
    assert_eq!(client.put(&url("m2"), patient("m2", "New")).await.0, 201);
    let wrong = json!({"resourceType": "Patient", "id": "other", "identifier": [{"system": "urn:mrn", "value": "m1"}]});
    let (status, outcome) = client.put(&url("m1"), wrong).await;
    assert_eq!((status, &outcome["issue"][0]["expression"][0]), (400, &json!("Patient.id")));
    let (status, _) = client
        .patch(&url("m1"), json!([{"op": "replace", "path": "/name/0/family", "value": "Three"}]))
        .await;
    assert_eq!(status, 200);
    assert_eq!(client.patch(&url("m7"), json!([])).await.0, 404);

    client.post("/fhir/R4/Patient", patient("m2", "New")).await;
    for (method, body) in [("PUT", Some(patient("m2", "X"))), ("PATCH", Some(json!([]))), ("DELETE", None)] {
        let mut request = client.request(method, &url("m2"));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let (status, outcome) = read(request.send().await.unwrap()).await;
        assert_eq!((status, &outcome["issue"][0]["code"]), (412, &json!("multiple-matches")), "{method}");
    }
    assert_eq!(client.delete(&url("m1")).await.0, 204);
    assert_eq!(client.delete(&url("m1")).await.0, 204, "nothing left to delete");
    assert_eq!(client.get(&url("m1")).await.1.get("entry"), None);
    world.stop().await;

    let many = World::start_with(|config| {
        config.fhir.conditional_delete = server::config::ConditionalDelete::Multiple;
        config.fhir.conditional_delete_most = 2;
    });
    let world = many.await;
    let client = world.client("system/*.cruds").await;
    for _ in 0..3 {
        client.post("/fhir/R4/Patient", patient("m3", "Many")).await;
    }
    assert_eq!(client.delete("/fhir/R4/Patient?family=many").await.0, 412, "more than the limit");
    let found = client.get("/fhir/R4/Patient?family=many").await.1;
    let id = found["entry"][0]["resource"]["id"].as_str().unwrap().to_owned();
    assert_eq!(client.delete(&format!("/fhir/R4/Patient/{id}")).await.0, 204);
    assert_eq!(client.delete("/fhir/R4/Patient?family=many").await.0, 204);
    assert_eq!(client.get("/fhir/R4/Patient?family=many&_summary=count").await.1["total"], 0);
    world.stop().await;
}

#[tokio::test]
async fn patches_of_every_kind() {
    let (world, client) = world().await;
    let made = client.post("/fhir/R4/Patient", patient("m", "First")).await.1;
    let path = format!("/fhir/R4/Patient/{}", made["id"].as_str().unwrap());
    let parameters = json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Patient.name.family"},
        {"name": "value", "valueString": "Third"}]}]});
    let xml = "<Parameters xmlns=\"http://hl7.org/fhir\"><parameter><name value=\"operation\"/>\
        <part><name value=\"type\"/><valueCode value=\"delete\"/></part>\
        <part><name value=\"path\"/><valueString value=\"Patient.birthDate\"/></part></parameter></Parameters>";
    let cases: &[(&str, String, &str, Value)] = &[
        (
            "application/json-patch+json",
            json!([{"op": "replace", "path": "/name/0/family", "value": "Second"}]).to_string(),
            "/name/0/family",
            json!("Second"),
        ),
        (FHIR, parameters.to_string(), "/name/0/family", json!("Third")),
        ("application/merge-patch+json", json!({"active": true}).to_string(), "/active", json!(true)),
        // What clients send that name no kind of patch.
        ("application/json", json!({"gender": "female"}).to_string(), "/gender", json!("female")),
        ("application/fhir+xml", xml.to_owned(), "/birthDate", Value::Null),
    ];
    for (kind, body, place, expected) in cases {
        let request = client.request("PATCH", &path).header("content-type", *kind).body(body.clone());
        let (status, found) = read(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{kind}: {found}");
        assert_eq!(found.pointer(place).cloned().unwrap_or_default(), *expected, "{kind}");
    }
    let refused = [
        ("application/json-patch+json", "[{\"op\": \"test\", \"path\": \"/active\", \"value\": false}]", 422),
        ("application/json-patch+json", "[{\"op\"", 400),
        ("application/merge-patch+json", "{\"gender\": \"f\"}", 422),
        ("text/plain", "x", 415),
    ];
    for (kind, body, expected) in refused {
        let request = client.request("PATCH", &path).header("content-type", kind).body(body);
        let (status, outcome) = read(request.send().await.unwrap()).await;
        assert_eq!(
            (status, &outcome["resourceType"]),
            (expected, &json!("OperationOutcome")),
            "{kind} {body}"
        );
    }
    let stale = client.request("PATCH", &path).header("if-match", "W/\"1\"").json(&json!({"active": false}));
    assert_eq!(stale.send().await.unwrap().status(), 412);
    world.stop().await;
}

#[tokio::test]
async fn xml_in_and_out() {
    let (world, client) = world().await;
    let xml = "\u{feff}<Patient xmlns=\"http://hl7.org/fhir\"><active value=\"true\"/>\
        <name><family value=\"Müller &amp; Co\"/></name></Patient>";
    let sent = client
        .request("POST", "/fhir/R4/Patient")
        .header("content-type", "application/fhir+xml")
        .header("accept", "application/fhir+xml")
        .body(xml);
    let answer = sent.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(header(&answer, "content-type"), "application/fhir+xml; charset=utf-8");
    let location = header(&answer, "location").to_owned();
    let text = answer.text().await.unwrap();
    assert!(text.contains("<family value=\"Müller &amp; Co\"/>"), "{text}");
    let path = location.strip_prefix(world.url()).unwrap().split("/_history").next().unwrap().to_owned();
    let (_, back) = client.get(&path).await;
    assert_eq!((&back["name"][0]["family"], &back["active"]), (&json!("Müller & Co"), &json!(true)));

    for path in [
        format!("{path}?_format=xml"),
        format!("{path}/_history?_format=application/fhir%2Bxml"),
        "/fhir/R4/Patient?_format=xml".to_owned(),
        "/fhir/R4/metadata?_format=xml".to_owned(),
        "/fhir/R4/Patient/none?_format=xml".to_owned(),
        "/fhir/R4/Patient?nonsense=x&_format=xml".to_owned(),
        "/fhir/R4/nonsense?_format=xml".to_owned(),
    ] {
        let answer = client.request("GET", &path).send().await.unwrap();
        assert_eq!(header(&answer, "content-type"), "application/fhir+xml; charset=utf-8", "{path}");
        let bytes = answer.bytes().await.unwrap();
        let parsed = fhir::xml::parse(&bytes);
        assert!(parsed.is_ok(), "{path}: {parsed:?} {}", String::from_utf8_lossy(&bytes));
    }
    let form = client
        .request("POST", "/fhir/R4/Patient/_search")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("family=m%C3%BCller&_format=xml");
    let answer = form.send().await.unwrap();
    assert_eq!(header(&answer, "content-type"), "application/fhir+xml; charset=utf-8");
    assert!(answer.text().await.unwrap().contains("Müller"));
    let bundle = format!(
        "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"transaction\"/><entry><resource>{}</resource>\
         <request><method value=\"POST\"/><url value=\"Patient\"/></request></entry></Bundle>",
        xml.trim_start_matches('\u{feff}')
    );
    let sent = client.request("POST", "/fhir/R4").header("content-type", "text/xml").body(bundle);
    let (status, answer) = read(sent.send().await.unwrap()).await;
    assert_eq!((status, &answer["entry"][0]["response"]["status"]), (200, &json!("201 Created")), "{answer}");
    let pretty = client.request("GET", &format!("{path}?_format=xml&_pretty=true")).send().await.unwrap();
    assert!(pretty.text().await.unwrap().contains("\n  <active"));
    let html = client.request("GET", &path).header("accept", "text/html").send().await.unwrap();
    let (status, outcome) = read(html).await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (406, &json!("not-supported")));
    assert!(outcome["issue"][0]["diagnostics"].as_str().unwrap().contains("application/fhir+xml"));
    world.stop().await;
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bodies_are_packed_and_marked() {
    let world = World::start_with(|config| config.limits.json_bytes = 64 * 1024).await;
    let client = world.client("system/*.cruds").await;
    let post = |body: Vec<u8>, encoding: &'static str| {
        let request = client.request("POST", "/fhir/R4/Patient").header("content-type", FHIR);
        let request =
            if encoding.is_empty() { request } else { request.header("content-encoding", encoding) };
        request.body(body).send()
    };
    let good = patient("m", "Packed").to_string().into_bytes();
    assert_eq!(post(packed(&good), "gzip").await.unwrap().status(), 201);
    assert_eq!(
        post([b"\xef\xbb\xbf", good.as_slice()].concat(), "").await.unwrap().status(),
        201,
        "byte order mark"
    );
    let bomb = packed(&vec![b' '; 50 * 1024 * 1024]);
    assert!(bomb.len() < 60 * 1024, "{}", bomb.len());
    for (body, encoding, status, code) in [
        (bomb, "gzip", 413, "too-long"),
        (b"no gzip".to_vec(), "gzip", 400, "structure"),
        (good.clone(), "br", 415, "not-supported"),
        (b"\xff\xfe".to_vec(), "", 400, "structure"),
    ] {
        let (found, outcome) = read(post(body, encoding).await.unwrap()).await;
        assert_eq!((found, &outcome["issue"][0]["code"]), (status, &json!(code)), "{encoding}");
    }
    // Answers are packed for who asks.
    for n in 0..20 {
        client.post("/fhir/R4/Patient", patient(&format!("m{n}"), "Long")).await;
    }
    // The other client would unpack and say nothing.
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    for encoding in ["gzip", "br"] {
        let url = format!("{}/fhir/R4/Patient", world.url());
        let asked = plain.get(url).bearer_auth(&client.token).header("accept-encoding", encoding);
        let answer = asked.send().await.unwrap();
        assert_eq!(header(&answer, "content-encoding"), encoding);
        let vary: Vec<&str> =
            answer.headers().get_all("vary").iter().filter_map(|v| v.to_str().ok()).collect();
        assert!(vary.join(",").contains("accept-encoding"), "{vary:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins() {
    let world =
        World::start_with(|config| config.http.cors_origins = vec!["https://app.example".into()]).await;
    let client = world.client("system/*.cruds").await;
    let preflight = |origin: &'static str| {
        world
            .client
            .request(reqwest::Method::OPTIONS, format!("{}/fhir/R4/Patient/1", world.url()))
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "authorization,if-match")
            .send()
    };
    let allowed = preflight("https://app.example").await.unwrap();
    assert!(allowed.status().is_success());
    assert_eq!(header(&allowed, "access-control-allow-origin"), "https://app.example");
    assert!(header(&allowed, "access-control-allow-methods").contains("PUT"));
    assert!(header(&allowed, "access-control-allow-headers").contains("if-match"));
    assert_eq!(header(&allowed, "access-control-allow-credentials"), "", "never with cookies");
    let refused = preflight("https://evil.example").await.unwrap();
    assert_eq!(header(&refused, "access-control-allow-origin"), "");

    let asked = client.request("GET", "/fhir/R4/Patient").header("origin", "https://app.example");
    let answer = asked.send().await.unwrap();
    assert_eq!(header(&answer, "access-control-allow-origin"), "https://app.example");
    assert!(header(&answer, "access-control-expose-headers").contains("etag"));
    // Errors too, or the page could not tell what is wrong.
    let nobody = world.anonymous().request("GET", "/fhir/R4/Patient").header("origin", "https://app.example");
    let answer = nobody.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(header(&answer, "access-control-allow-origin"), "https://app.example");
    let token = world.anonymous().request("POST", "/oauth/token").header("origin", "https://app.example");
    assert_eq!(header(&token.send().await.unwrap(), "access-control-allow-origin"), "https://app.example");
    // The product's own API stays closed.
    let own = world.anonymous().request("GET", "/api/v1/me").header("origin", "https://app.example");
    assert_eq!(header(&own.send().await.unwrap(), "access-control-allow-origin"), "");
    world.stop().await;
}

#[tokio::test]
async fn heads_options_and_parts() {
    let (world, client) = world().await;
    let made = client.post("/fhir/R4/Patient", patient("m", "Otieno")).await.1;
    let path = format!("/fhir/R4/Patient/{}", made["id"].as_str().unwrap());
    let head = client.request("HEAD", "/fhir/R4/Patient?family=otieno").send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-type")),
        (200, "application/fhir+json; charset=utf-8")
    );
    let options = client.request("OPTIONS", &path).send().await.unwrap();
    assert_eq!(options.status(), 204);
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        assert!(header(&options, "allow").contains(method), "{}", header(&options, "allow"));
    }
    let wrong = client.request("PUT", "/fhir/R4/metadata").send().await.unwrap();
    assert!(header(&wrong, "allow").contains("GET"));
    assert_eq!(read(wrong).await.0, 405);

    let (_, summary) = client.get(&format!("{path}?_summary=true")).await;
    assert_eq!(summary["meta"]["tag"][0]["code"], "SUBSETTED");
    let (_, elements) = client.get(&format!("{path}?_elements=birthDate")).await;
    assert_eq!((&elements["birthDate"], elements.get("name")), (&json!("1990-01-01"), None), "{elements}");
    for query in ["_summary=text", "_summary=data", "_elements=name", "_summary=true"] {
        let (status, page) = client.get(&format!("/fhir/R4/Patient?family=otieno&{query}")).await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["entry"][0]["resource"]["meta"]["tag"][0]["code"], "SUBSETTED", "{query}");
        let own = page["link"][0]["url"].as_str().unwrap();
        assert!(own.contains(query), "the self link says what was used: {own}");
    }
    let (_, count) = client.get("/fhir/R4/Patient?family=otieno&_summary=count").await;
    assert_eq!((&count["total"], count.get("entry")), (&json!(1), None));
    // An ignored parameter is not in the self link, and a warning tells of it.
    let lenient = client.request("GET", "/fhir/R4/Patient?familie=x").header("prefer", "handling=lenient");
    let (status, page) = read(lenient.send().await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(!page["link"][0]["url"].as_str().unwrap().contains("familie"), "{page}");
    assert!(page["entry"].as_array().unwrap().iter().any(|e| e["search"]["mode"] == "outcome"));
    world.stop().await;
}
