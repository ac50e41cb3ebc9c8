use super::worlds;
use crate::import::Input;
use fhir::ResourceKey;
use record::Error;
use serde_json::{Value, json};
use std::io::{Read, Write};
use store::bulk::job::{Kind, Role, State};

fn line(value: Value) -> String {
    format!("{value}\n")
}

fn file() -> String {
    let mut text = String::new();
    text.push_str(&line(json!({"resourceType": "Patient", "id": "amina", "name": [{"family": "Wanjiru"}]})));
    text.push('\n');
    text.push_str("{\"resourceType\": \"Patient\", broken\n");
    text.push_str(&line(json!({"resourceType": "Patient", "id": "wrong", "birthDate": "yesterday"})));
    text.push_str(&line(json!({"resourceType": "Patient"})));
    text.push_str(&line(
        json!({"resourceType": "Observation", "id": "w", "status": "final", "code": {"text": "w"},
        "subject": {"reference": "Patient?identifier=1"}}),
    ));
    // No line end at the end.
    text.push_str(json!({"resourceType": "Patient", "id": "baraka"}).to_string().as_str());
    text
}

#[tokio::test]
async fn each_line_is_taken_or_refused() {
    for mut world in worlds() {
        let ctx = world.client("system/*.cruds").await;
        for again in [false, true] {
            let mut upload = world.insight.upload(&ctx).await.unwrap();
            for piece in file().as_bytes().chunks(50) {
                upload.write(piece).unwrap();
            }
            let id = world.insight.start_upload(&ctx, upload, "http://test".into(), None).await.unwrap();
            world.restart();
            world.finish(Kind::Import).await;
            let shown = world.insight.job(&ctx, id).await.unwrap();
            assert_eq!(shown.job.state, State::Done, "{:?}", shown.job.error);
            let number = |name: &str| shown.job.progress[name].as_u64().unwrap();
            let (taken, unchanged) = if again { (0, 2) } else { (2, 0) };
            assert_eq!(
                (number("line"), number("taken"), number("unchanged"), number("refused")),
                (7, taken, unchanged, 4)
            );
            let files = world.files(&ctx, id).await;
            assert_eq!(files.len(), 1);
            assert_eq!(files[0].0.role, Role::Error);
            let texts: Vec<&str> =
                files[0].1.iter().map(|l| l.split("\"text\":\"").nth(1).unwrap_or(l)).collect();
            for (n, wanted) in [
                "input 1, line 3",
                "input 1, line 4, Patient/wrong",
                "line 5, Patient: the resource has no id",
                "line 6",
            ]
            .into_iter()
            .enumerate()
            {
                assert!(files[0].1[n].contains(wanted), "{wanted}: {texts:?}");
            }
        }
        let key = ResourceKey::parse("Patient/baraka").unwrap();
        assert_eq!(world.record.read(&world.system(), &key).await.unwrap().version, 1);
    }
}

#[tokio::test]
async fn rights_and_types_decide() {
    for world in worlds() {
        let reader = world.client("system/*.rs").await;
        // May begin, but each line needs the right to create its type.
        let mut upload = world.insight.upload(&reader).await.unwrap();
        upload.write(line(json!({"resourceType": "Patient", "id": "amina"})).as_bytes()).unwrap();
        let id = world.insight.start_upload(&reader, upload, String::new(), None).await.unwrap();
        world.finish(Kind::Import).await;
        let job = world.insight.job(&reader, id).await.unwrap().job;
        assert_eq!((job.progress["taken"].as_u64(), job.progress["refused"].as_u64()), (Some(0), Some(1)));

        let ctx = world.client("system/*.cruds").await;
        let kind = fhir::TypeId::from_name("Observation");
        let mut upload = world.insight.upload(&ctx).await.unwrap();
        upload.write(line(json!({"resourceType": "Patient", "id": "amina"})).as_bytes()).unwrap();
        let id = world.insight.start_upload(&ctx, upload, String::new(), kind).await.unwrap();
        world.finish(Kind::Import).await;
        assert!(world.files(&ctx, id).await[0].1[0].contains("announced as Observation"));

        let person = access::Ctx { principal: access::Principal::Anonymous, ..world.system() };
        assert!(world.insight.upload(&person).await.is_err());
        // A client that went away leaves nothing.
        let upload = world.insight.upload(&ctx).await.unwrap();
        drop(upload);
        let left: Vec<_> = std::fs::read_dir(world.folder.path().join("bulk/jobs")).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

#[tokio::test]
async fn nothing_is_fetched_from_where_it_is_not_allowed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // One file, one redirect to somewhere else, one refusal.
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut request = [0; 2000];
            let read = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let body = line(json!({"resourceType": "Patient", "id": "fetched"}));
            let answer = if request.starts_with("GET /files/good ") {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                )
            } else if request.starts_with("GET /files/moved ") {
                "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
            } else {
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let world = worlds().remove(0);
    let ctx = world.client("system/*.cruds").await;
    let input = |url: &str| Input { kind: None, url: url.to_owned() };
    let base = format!("http://{address}/files/");
    let config = crate::Config { import_from: vec![base.clone()], ..world.insight.config().clone() };
    let closed = world.insight.start_import(&ctx, String::new(), &[input(&format!("{base}good"))]).await;
    assert!(matches!(closed, Err(Error::Malformed(_))), "none are allowed by default");
    let insight = crate::Insight::new(world.record.clone(), config).unwrap();
    for bad in [
        "nonsense".to_owned(),
        format!("http://{address}/elsewhere"),
        format!("http://{address}/files/../secret"),
        format!("https://{address}/files/good"),
        format!("http://user:secret@{address}/files/good"),
        "http://127.0.0.1/files/good".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let refused = insight.start_import(&ctx, String::new(), &[input(&bad)]).await;
        assert!(matches!(refused, Err(Error::Malformed(_))), "{bad}: {refused:?}");
    }
    let inputs = ["good", "moved", "missing"].map(|name| input(&format!("{base}{name}")));
    let id = insight.start_import(&ctx, String::new(), &inputs).await.unwrap();
    while insight.work(Kind::Import, &|| false).await.unwrap() > 0 {}
    let job = insight.job(&ctx, id).await.unwrap().job;
    assert_eq!(job.state, State::Done, "{:?}", job.error);
    assert_eq!((job.progress["taken"].as_u64(), job.progress["refused"].as_u64()), (Some(1), Some(2)));
    server.join().unwrap();
}

/// Profiles that are stored hold for lines too; a Subscription is taken and said to be off.
#[tokio::test]
async fn lines_that_claim_profiles_and_subscriptions_are_told() {
    for world in worlds() {
        let url = "http://example.org/fhir/StructureDefinition/named";
        world
            .put(json!({"resourceType": "StructureDefinition", "id": "named", "url": url, "name": "Named",
                "status": "active", "kind": "resource", "abstract": false, "type": "Patient", "derivation": "constraint",
                "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
                "differential": {"element": [{"id": "Patient", "path": "Patient"},
                    {"id": "Patient.name", "path": "Patient.name", "min": 1}]}}))
            .await;
        let ctx = world.client("system/*.cruds").await;
        let mut upload = world.insight.upload(&ctx).await.unwrap();
        for resource in [
            json!({"resourceType": "Patient", "id": "a", "meta": {"profile": [url]}, "name": [{"family": "Wanjiru"}]}),
            json!({"resourceType": "Patient", "id": "b", "meta": {"profile": [url]}}),
            json!({"resourceType": "Subscription", "id": "s", "status": "active", "reason": "x", "criteria": "Patient?",
                "channel": {"type": "rest-hook", "endpoint": "https://old.example.org/", "header": ["A: hush"]}}),
        ] {
            upload.write(line(resource).as_bytes()).unwrap();
        }
        let id = world.insight.start_upload(&ctx, upload, String::new(), None).await.unwrap();
        world.finish(Kind::Import).await;
        let job = world.insight.job(&ctx, id).await.unwrap().job;
        let number = |name: &str| job.progress[name].as_u64().unwrap();
        assert_eq!((number("taken"), number("refused")), (2, 1));
        let files = world.files(&ctx, id).await;
        let told: Vec<Value> = files[0].1.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        let about = |n: usize| {
            let issue = &told[n]["issue"][0];
            (issue["severity"].as_str().unwrap().to_owned(), issue.to_string())
        };
        assert!(about(0).0 == "error" && about(0).1.contains("line 2, Patient/b"), "{told:?}");
        assert!(about(1).0 == "information" && about(1).1.contains("line 3, Subscription/s"), "{told:?}");
        let stored = world.record.read(&world.system(), &ResourceKey::parse("Subscription/s").unwrap()).await;
        let stored = stored.unwrap().parse().unwrap().to_json();
        assert!(stored.contains("\"off\"") && !stored.contains("hush"), "{stored}");
    }
}
