//! Files that people store: what is taken, how it comes back, and what is not taken.

use crate::harness::{Signed, World, header, read};
use access::Role;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const FHIR: &str = "application/fhir+json";
/// A grey pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";
/// A picture that is also a page.
const GIF_PAGE: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0/*<script>alert(document.domain)</script>*/,;";

async fn upload(who: &Signed, kind: &str, bytes: &[u8]) -> (u16, Value) {
    let request = who.request("POST", "/fhir/R4/Binary").header("content-type", kind).body(bytes.to_vec());
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_file_comes_back_as_a_download_in_a_sandbox() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let png = STANDARD.decode(PNG).unwrap();
    let (status, made) = upload(&client, "image/png", &png).await;
    assert_eq!((status, made["contentType"].as_str()), (201, Some("image/png")), "{made}");
    assert_eq!(made["data"], PNG);
    let path = format!("/fhir/R4/Binary/{}", made["id"].as_str().unwrap());

    let get = |accept: &'static str, path: String| {
        let request = client.request("GET", &path).header("accept", accept);
        async move { request.send().await.unwrap() }
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for accept in ["image/png", "image/*", browser] {
        for path in [path.clone(), format!("{path}/_history/1")] {
            let answer = get(accept, path).await;
            assert_eq!(answer.status(), 200, "{accept}");
            assert_eq!(header(&answer, "content-type"), "image/png");
            assert_eq!(header(&answer, "content-disposition"), "attachment");
            assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
            assert_eq!(header(&answer, "cache-control"), "no-store");
            assert_eq!(header(&answer, "cross-origin-resource-policy"), "same-origin");
            let policy = header(&answer, "content-security-policy");
            assert!(policy.starts_with("sandbox; default-src 'none'"), "{policy}");
            assert!(!policy.contains("allow-"), "{policy}");
            assert_eq!(answer.bytes().await.unwrap(), png);
        }
    }
    for accept in ["*/*", FHIR, "application/json"] {
        let answer = get(accept, path.clone()).await;
        assert!(header(&answer, "content-type").starts_with(FHIR), "{accept}");
    }
    // A page is stored as what it is, and leaves as a download too.
    let page = b"<!doctype html><script>alert(document.cookie)</script>";
    let (status, made) = upload(&client, "text/html", page).await;
    assert_eq!(status, 201);
    let answer = get(browser, format!("/fhir/R4/Binary/{}", made["id"].as_str().unwrap())).await;
    assert_eq!(header(&answer, "content-disposition"), "attachment");
    assert!(header(&answer, "content-security-policy").starts_with("sandbox;"));

    // PUT, with the readers of somebody's record.
    let put = client
        .request("PUT", "/fhir/R4/Binary/scan-1")
        .header("content-type", "application/pdf")
        .body(b"%PDF-1.7\n%%EOF".to_vec());
    assert_eq!(put.send().await.unwrap().status(), 201);
    let (_, stored) = client.get("/fhir/R4/Binary/scan-1").await;
    assert_eq!(
        (stored["id"].as_str(), stored["contentType"].as_str()),
        (Some("scan-1"), Some("application/pdf"))
    );
    assert_eq!(
        world.anonymous().request("GET", &path).header("accept", "image/png").send().await.unwrap().status(),
        401
    );
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused_on_every_way_in() {
    let world = World::start_with(|config| config.limits.upload_bytes = 100_000).await;
    let client = world.client("system/*.cruds").await;
    let test_file = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat();
    let png = STANDARD.decode(PNG).unwrap();
    let with_archive = [&png[..], b"PK\x05\x06", &[0; 18]].concat();
    let bad: &[(&str, &[u8])] = &[
        ("image/png", b"<svg onload=alert(1)>"),
        ("image/gif", GIF_PAGE),
        ("text/plain", b"<html><script>alert(1)</script>"),
        ("application/pdf", b"MZ\x90\0\x03\0\0\0"),
        ("application/octet-stream", b"\x7fELF\x02\x01\x01"),
        ("application/octet-stream", b"<script>alert(1)</script>"),
        ("text/x-shellscript", b"#!/bin/sh\n"),
        ("image/png", &with_archive),
        ("application/zip", b"PK\x03\x04 no list"),
        ("text/plain", test_file.as_bytes()),
    ];
    for (kind, bytes) in bad {
        let (status, outcome) = upload(&client, kind, bytes).await;
        assert_eq!(status, 422, "{kind}: {outcome}");
        assert!(
            outcome["issue"][0]["diagnostics"].as_str().unwrap_or_default().contains("not taken"),
            "{outcome}"
        );
        let data = STANDARD.encode(bytes);
        let attachment = json!({"contentType": kind, "data": data});
        let document = json!({"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": attachment}]});
        let media = json!({"resourceType": "Media", "status": "completed", "content": attachment});
        let binary = json!({"resourceType": "Binary", "contentType": kind, "data": data});
        let patient = json!({"resourceType": "Patient", "photo": [attachment]});
        for resource in [document, media, binary, patient] {
            let path = format!("/fhir/R4/{}", resource["resourceType"].as_str().unwrap());
            assert_eq!(client.post(&path, resource.clone()).await.0, 422, "{kind} in {path}");
            let entry =
                json!({"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}});
            let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry]});
            assert_eq!(client.post("/fhir/R4", bundle).await.0, 422, "{kind} in a transaction");
        }
    }
    // By patching what is there.
    let photo = json!([{"contentType": "image/png", "data": PNG}]);
    let (status, made) =
        client.post("/fhir/R4/Patient", json!({"resourceType": "Patient", "photo": photo})).await;
    assert_eq!(status, 201, "{made}");
    let patch = json!([{"op": "replace", "path": "/photo/0/data", "value": STANDARD.encode("<html>")}]);
    let path = format!("/fhir/R4/Patient/{}", made["id"].as_str().unwrap());
    let patched = client
        .request("PATCH", &path)
        .header("content-type", "application/json-patch+json")
        .body(patch.to_string());
    assert_eq!(patched.send().await.unwrap().status(), 422);

    assert_eq!(upload(&client, "text/plain", &vec![b'x'; 100_001]).await.0, 413);
    for kind in ["image/../../x", "text", "a/b c"] {
        let status = upload(&client, kind, b"x").await.0;
        assert!(status == 415 || status == 422, "{kind}: {status}");
    }
    // Who may not write documents, writes no files.
    let cashier = world.staff("cashier", Role::Cashier).await;
    assert_eq!(upload(&cashier, "image/png", &png).await.0, 403);
    world.stop().await;
}

#[tokio::test]
async fn pictures_are_stored_without_what_they_tell() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let png = STANDARD.decode(PNG).unwrap();
    let place = b"GPS\0-1.2921, 36.8219";
    let told = [&[0, 0, 0, 20][..], b"tEXt", place, &[0; 4]].concat();
    assert_eq!(place.len(), 20);
    // Behind the header of 8 bytes and the first chunk of 25.
    let telling = [&png[..33], &told, &png[33..]].concat();
    let (status, made) = upload(&client, "image/png", &telling).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["data"], PNG);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_stored_that_the_scanner_has_not_seen() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // Speaks clamd's protocol and finds one word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let scanner = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut command, mut file) = ([0; 10], Vec::new());
            stream.read_exact(&mut command).await.unwrap();
            while let Ok(length) = stream.read_u32().await {
                if length == 0 {
                    break;
                }
                let from = file.len();
                file.resize(from + length as usize, 0);
                stream.read_exact(&mut file[from..]).await.unwrap();
            }
            let found = file.windows(7).any(|w| w == b"malware");
            let answer: &[u8] = if found { b"stream: Test FOUND\0" } else { b"stream: OK\0" };
            stream.write_all(answer).await.unwrap();
        }
    });
    let world = World::start_with(|config| config.http.clamd = Some(address)).await;
    let client = world.client("system/*.cruds").await;
    assert_eq!(upload(&client, "text/plain", b"A letter.").await.0, 201);
    let (status, outcome) = upload(&client, "text/plain", b"some malware in it").await;
    assert_eq!(status, 422, "{outcome}");
    let attachment = json!({"contentType": "text/plain", "data": STANDARD.encode("more malware")});
    let document = json!({"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": attachment}]});
    assert_eq!(client.post("/fhir/R4/DocumentReference", document).await.0, 422);
    let (_, found) = client.get("/fhir/R4/DocumentReference?_summary=count").await;
    assert_eq!(found["total"], 0);
    scanner.abort();
    let _ = scanner.await;
    assert_eq!(upload(&client, "text/plain", b"A letter.").await.0, 503, "held until the scanner answers");
    assert_eq!(
        client.post("/fhir/R4/Patient", json!({"resourceType": "Patient"})).await.0,
        201,
        "no file, no scan"
    );
    world.stop().await;
}
