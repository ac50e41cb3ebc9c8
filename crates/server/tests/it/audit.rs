//! The audit trail over HTTP and at the command line: events, exports, proofs, anchors, the breach query.

use crate::command::{text, uzima};
use crate::harness::{Signed, World};
use access::Role;
use record::audit::AuditHead;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

async fn events(who: &Signed, query: &str) -> Vec<Value> {
    let (mut found, mut path) = (Vec::new(), format!("/fhir/R4/AuditEvent?{query}"));
    loop {
        let (status, page) = who.get(&path).await;
        assert_eq!(status, 200, "{path}: {page}");
        let entries = page["entry"].as_array().cloned().unwrap_or_default();
        found.extend(entries.into_iter().map(|entry| entry["resource"].clone()));
        let next = page["link"].as_array().into_iter().flatten().find(|link| link["relation"] == "next");
        let Some(next) = next.and_then(|link| link["url"].as_str()) else { return found };
        path = next[next.find("/fhir/R4").unwrap()..].to_owned();
        assert!(found.len() < 1000, "pages without end");
    }
}

fn patients(event: &Value) -> Vec<&str> {
    let entities = event["entity"].as_array().unwrap();
    let person = |entity: &&Value| entity["type"]["code"] == "1";
    entities.iter().filter(person).map(|entity| entity["what"]["reference"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_are_one_per_patient_and_found_by_every_parameter() {
    let world = World::start().await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    let (desk, officer) =
        (world.staff("desk", Role::FrontDesk).await, world.staff("officer", Role::PrivacyOfficer).await);
    desk.get(&format!("/fhir/R4/Patient/{}", amina.id())).await;
    desk.get("/fhir/R4/Patient?family=Wanjiru&_count=10").await;
    assert_eq!(desk.get("/fhir/R4/AuditEvent").await.0, 403);
    let agent = format!("account/{}", desk.account);
    // A search that found two is two events, whatever the size of the pages.
    for count in [1, 2, 3, 50] {
        let queries =
            events(&officer, &format!("agent={agent}&subtype=search-type&outcome=0&_count={count}")).await;
        let mut of: Vec<&str> = queries.iter().flat_map(patients).collect();
        of.sort_unstable();
        let mut expected = [format!("Patient/{}", amina.id()), format!("Patient/{}", zawadi.id())];
        expected.sort();
        assert_eq!(of, expected, "_count={count}");
        for event in &queries {
            assert_eq!(patients(event).len(), 1);
            let profile = event["meta"]["profile"][0].as_str().unwrap();
            assert!(profile.ends_with("PatientQuery"), "{profile}");
            let query =
                event["entity"].as_array().unwrap().iter().find_map(|entity| entity["query"].as_str());
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.decode(query.unwrap()).unwrap();
            assert!(String::from_utf8(text).unwrap().starts_with("Patient?family=Wanjiru"));
            let id = event["id"].as_str().unwrap();
            let (status, read) = officer.get(&format!("/fhir/R4/AuditEvent/{id}")).await;
            assert_eq!((status, &read), (200, event), "the same by its id");
        }
    }
    let of_amina = events(&officer, &format!("patient={}&subtype=search-type", amina.id())).await;
    assert_eq!(of_amina.iter().map(patients).collect::<Vec<_>>(), [[format!("Patient/{}", amina.id())]]);
    let own = events(&amina, &format!("patient={}", amina.id())).await;
    assert!(
        own.iter().all(|event| patients(event) == [format!("Patient/{}", amina.id())]) && !own.is_empty()
    );
    let reads = events(&officer, &format!("agent={agent}&action=R")).await;
    assert_eq!(reads.len(), 1);
    assert!(reads[0]["meta"]["profile"][0].as_str().unwrap().ends_with("PatientRead"));
    let today = world.app().record.now().strftime("%Y-%m-%d").to_string();
    let count = |query: String| {
        let officer = officer.clone();
        async move { events(&officer, &query).await.len() }
    };
    let all = count(format!("agent={agent}")).await;
    assert!(all >= 4);
    assert_eq!(count(format!("agent={agent}&date={today}")).await, all);
    assert_eq!(count(format!("agent={agent}&date=ge{today}&date=le{today}")).await, all);
    assert_eq!(count(format!("agent={agent}&date=lt{today}")).await, 0);
    assert_eq!(count(format!("agent={agent}&date=gt{today}T23:59:59Z")).await, 0);
    let by_outcome = [
        count(format!("agent={agent}&outcome=0")).await,
        count(format!("agent={agent}&outcome=4")).await,
        count(format!("agent={agent}&outcome=8")).await,
    ];
    assert!(by_outcome.iter().sum::<usize>() == all && by_outcome[0] < all, "{by_outcome:?}");
    assert_eq!(count(format!("agent={agent}&action=R,U,C,D,E")).await, all);
    let letters = [
        count(format!("agent={agent}&action=R")).await,
        count(format!("agent={agent}&action=E")).await,
        count(format!("agent={agent}&action=C,U,D")).await,
    ];
    assert_eq!(letters.iter().sum::<usize>(), all, "{letters:?}");
    assert_eq!(
        count(format!("agent={agent}&type=110114")).await + count(format!("agent={agent}&type=rest")).await,
        all
    );
    assert!(count(format!("agent={agent}&entity=Patient/{}", amina.id())).await >= 2);
    assert_eq!(count(format!("agent={agent}&address=203.0.113.9")).await, 0);
    assert!(count("address=127.0.0.1".into()).await > 0);
    let id = reads[0]["id"].as_str().unwrap();
    assert_eq!(count(format!("_id={id}")).await, 1);
    for wrong in ["action=X", "outcome=5", "date=never", "entity=x", "address=x", "_cursor=%7Ex"] {
        let (status, _) = officer.get(&format!("/fhir/R4/AuditEvent?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}");
    }
    let (status, _) =
        amina.get(&format!("/fhir/R4/AuditEvent?patient={}&address=10.0.0.1", amina.id())).await;
    assert_eq!(status, 403, "what she does not see she may not search by");
    world.stop().await;
}

#[tokio::test]
async fn the_officer_exports_and_asks_whose_records_were_touched() {
    let world = World::start().await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    let (desk, officer) =
        (world.staff("desk", Role::FrontDesk).await, world.staff("officer", Role::PrivacyOfficer).await);
    for _ in 0..2 {
        desk.get(&format!("/fhir/R4/Patient/{}", amina.id())).await;
    }
    desk.get("/fhir/R4/Patient?family=Wanjiru").await;
    let agent = format!("account/{}", desk.account);
    let csv = officer.bytes(&format!("/api/v1/admin/audit/export?agent={agent}")).await;
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(csv.lines().filter(|line| line.contains(",read,success,")).count(), 2, "{csv}");
    let lines =
        officer.bytes(&format!("/api/v1/admin/audit/export?agent={agent}&format=ndjson&action=query")).await;
    let lines = String::from_utf8(lines).unwrap();
    let found: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 2, "one per patient");
    assert_eq!(desk.get("/api/v1/admin/audit/export").await.0, 403);
    // The session of the entries leads to the same patients as the account.
    let (_, page) = officer.get(&format!("/api/v1/admin/audit?agent={agent}&action=read&limit=1")).await;
    let session = page["items"][0]["session"].as_str().unwrap().to_owned();
    for who in [
        format!("agent={agent}"),
        format!("session={session}"),
        format!("session={session}&address=127.0.0.1"),
    ] {
        let path = format!("/api/v1/admin/audit/affected-patients?{who}&from=2026-01-01&to=2100-01-01");
        let (status, found) = officer.get(&path).await;
        assert_eq!(status, 200, "{found}");
        let counts: Vec<(&str, u64)> = found["patients"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| (p["patient_id"].as_str().unwrap(), p["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(counts, [(amina.id(), 3), (zawadi.id(), 1)], "{who}");
        assert_eq!(found["patients"][0]["categories"], json!({"query Patient": 1, "read Patient": 2}));
        let csv = officer.request("GET", &path).header("accept", "text/csv").send().await.unwrap();
        let csv = csv.text().await.unwrap();
        assert!(csv.starts_with("patient,accesses,") && csv.lines().count() == 3, "{csv}");
        assert_eq!(desk.get(&path).await.0, 403);
    }
    let (status, _) =
        officer.get("/api/v1/admin/audit/affected-patients?from=2026-01-01&to=2026-01-02").await;
    assert_eq!(status, 400, "somebody must be named");
    world.stop().await;
}

/// Takes one request and answers it.
fn listen(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/heads", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&request).contains("\nsignature ") {
            let length = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..length]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, thread)
}

#[tokio::test]
async fn heads_are_proven_and_taken_elsewhere() {
    let (url, received) = listen("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
    let elsewhere = tempfile::tempdir().unwrap();
    let log = elsewhere.path().join("heads.log");
    let mut world = World::start_with(|config| {
        config.audit.anchor_file = Some(log.clone());
        config.audit.anchor_url = Some(url);
        config.audit.anchor_token = Some(server::config::Secret::new("anchor-token"));
    })
    .await;
    let patient = world.patient("Amina").await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    patient.get(&format!("/fhir/R4/Patient/{}", patient.id())).await;
    assert_eq!(patient.post("/api/v1/admin/audit/seal", json!({})).await.0, 403);
    let (status, tree) = officer.post("/api/v1/admin/audit/seal", json!({})).await;
    assert_eq!(status, 200, "{tree}");
    assert_eq!(tree["alarms"], json!([]), "{tree}");
    assert_eq!(tree["anchors"].as_array().unwrap().len(), 2);
    let size = tree["head"]["size"].as_u64().unwrap();
    let head = tree["head"]["text"].as_str().unwrap().to_owned();
    let request = tokio::task::spawn_blocking(move || received.join().unwrap()).await.unwrap();
    assert!(request.contains("authorization: Bearer anchor-token"), "{request}");
    let posted = AuditHead::find(&request);
    let kept = AuditHead::find(&std::fs::read_to_string(&log).unwrap());
    assert!(posted == AuditHead::find(&head) && kept == posted, "the same head in both places");
    let (_, page) = officer.get("/api/v1/admin/audit?action=read&limit=1").await;
    let seq = page["items"][0]["seq"].as_i64().unwrap();
    let (status, proof) = officer.get(&format!("/api/v1/admin/audit/inclusion/{seq}")).await;
    assert_eq!((status, &proof["holds"]), (200, &json!(true)), "{proof}");
    let (status, proof) = officer.get(&format!("/api/v1/admin/audit/consistency?from=1&to={size}")).await;
    assert_eq!((status, &proof["holds"]), (200, &json!(true)), "{proof}");
    let (_, heads) = officer.get("/api/v1/admin/audit/heads").await;
    assert_eq!(heads[0]["size"], json!(size));
    for path in ["tree", "heads", "inclusion/1", "consistency?from=1&to=1"] {
        assert_eq!(patient.get(&format!("/api/v1/admin/audit/{path}")).await.0, 403, "{path}");
    }
    // Beside the running server, through its socket.
    let folder = world.folder.path().to_owned();
    let run = |arguments: &'static [&'static str]| {
        let folder = folder.clone();
        async move { tokio::task::spawn_blocking(move || uzima(&folder, arguments)).await.unwrap() }
    };
    let beside = run(&["verify"]).await;
    assert!(
        beside.status.success() && text(&beside).contains("the audit trail is whole"),
        "{}",
        text(&beside)
    );
    let shown = run(&["audit", "head"]).await;
    assert_eq!(AuditHead::find(&text(&shown)).len(), 1);
    // Another key, and the server goes on with it.
    let rotated = run(&["audit", "rotate-key"]).await;
    assert!(rotated.status.success(), "{}", text(&rotated));
    let (status, tree) = officer.post("/api/v1/admin/audit/seal", json!({})).await;
    assert_eq!(status, 200, "{tree}");
    assert_eq!(tree["keys"][1]["is_endorsed"], json!(true));
    assert_eq!(tree["head"]["key"], tree["keys"][1]["id"]);
    // The address is gone now: an alarm, here, in the overview and in the numbers.
    let alarms = tree["alarms"].as_array().unwrap();
    assert!(alarms.len() == 1 && alarms[0].as_str().unwrap().contains("https"), "{tree}");
    let administrator = world.staff("administrator", Role::Administrator).await;
    let (_, overview) = administrator.get("/api/v1/admin/overview").await;
    assert_eq!(overview["audit_alarms"].as_array().unwrap().len(), 1, "{overview}");
    let numbers = String::from_utf8(world.anonymous().bytes("/metrics").await).unwrap();
    assert!(numbers.contains("uzima_audit_anchors_total{place=\"https\",outcome=\"failed\"} 1"), "{numbers}");
    assert!(numbers.contains("uzima_audit_entries "), "{numbers}");
    world.take_running().shutdown().await.unwrap();
    // At rest, with the log of heads: whole, and all of it sealed.
    let log_text = log.display().to_string();
    let at_rest = tokio::task::spawn_blocking({
        let (folder, log) = (folder.clone(), log_text.clone());
        move || uzima(&folder, &["verify", "--head", &log])
    });
    let at_rest = at_rest.await.unwrap();
    assert!(
        at_rest.status.success() && text(&at_rest).contains(", 0 rows not sealed yet"),
        "{}",
        text(&at_rest)
    );
    // A head that this trail never had.
    let mut other = AuditHead::find(&head).remove(0);
    other.size += 100_000;
    std::fs::write(elsewhere.path().join("other"), other.text()).unwrap();
    let other = elsewhere.path().join("other").display().to_string();
    let refused =
        tokio::task::spawn_blocking(move || uzima(&folder, &["verify", "--head", &other])).await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("missing from here on"), "{}", text(&refused));
}

#[tokio::test]
async fn a_server_without_the_key_signs_nothing_and_says_so() {
    let mut world = World::start().await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    assert_eq!(officer.post("/api/v1/admin/audit/seal", json!({})).await.0, 200);
    let key = world.folder.path().join("data.audit.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let moved = world.folder.path().join("elsewhere");
    std::fs::rename(&key, &moved).unwrap();
    assert_eq!(officer.post("/api/v1/admin/audit/seal", json!({})).await.0, 503);
    assert!(!key.exists(), "no new key in its place");
    std::fs::rename(&moved, &key).unwrap();
    assert_eq!(officer.post("/api/v1/admin/audit/seal", json!({})).await.0, 200);
    world.take_running().shutdown().await.unwrap();
}

/// A5: whoever asks, by whatever verb, alone or in a bundle: the trail stays as it is, however old it is.
#[tokio::test]
async fn nothing_of_the_trail_goes_by_any_interface() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let people = [
        officer.clone(),
        world.staff("administrator", Role::Administrator).await,
        world.staff("it", Role::It).await,
        world.staff("doctor", Role::Doctor).await,
        amina.clone(),
        world.client("system/*.cruds").await,
        world.client("system/AuditEvent.cruds").await,
        world.client("system/*.*").await,
    ];
    amina.get(&format!("/fhir/R4/Patient/{}", amina.id())).await;
    let found = events(&officer, &format!("patient={}", amina.id())).await;
    let event = found.first().unwrap().clone();
    let id = event["id"].as_str().unwrap();
    let one = format!("/fhir/R4/AuditEvent/{id}");
    let mut changed = event.clone();
    changed["outcome"] = json!("8");
    let meta = json!({"resourceType": "Parameters", "parameter": [{"name": "meta",
        "valueMeta": {"tag": [{"system": "urn:t", "code": "t"}]}}]});
    let patch = json!([{"op": "replace", "path": "/outcome", "value": "8"}]);
    let mut new = event.clone();
    new.as_object_mut().unwrap().remove("id");
    let entry = |method: &str, url: &str, resource: Option<&Value>| {
        let mut entry = json!({"request": {"method": method, "url": url}});
        if let Some(resource) = resource {
            entry["resource"] = resource.clone();
        }
        entry
    };
    let own = format!("AuditEvent/{id}");
    let entries = [
        entry("DELETE", &own, None),
        entry("PUT", &own, Some(&changed)),
        entry("POST", "AuditEvent", Some(&new)),
        entry("DELETE", "AuditEvent?outcome=0", None),
        entry("PUT", "AuditEvent?outcome=0", Some(&changed)),
    ];
    for who in &people {
        let mut taken = Vec::new();
        for (method, path, body) in [
            ("DELETE", one.clone(), None),
            ("PUT", one.clone(), Some(&changed)),
            ("PATCH", one.clone(), Some(&patch)),
            ("POST", "/fhir/R4/AuditEvent".to_owned(), Some(&new)),
            ("PUT", "/fhir/R4/AuditEvent/audit-999999".to_owned(), Some(&changed)),
            ("DELETE", "/fhir/R4/AuditEvent?outcome=0".to_owned(), None),
            ("PUT", "/fhir/R4/AuditEvent?outcome=0".to_owned(), Some(&changed)),
            ("PATCH", "/fhir/R4/AuditEvent?outcome=0".to_owned(), Some(&patch)),
            ("POST", format!("{one}/$meta-add"), Some(&meta)),
            ("POST", format!("{one}/$meta-delete"), Some(&meta)),
            ("DELETE", "/api/v1/admin/audit".to_owned(), None),
            ("DELETE", "/api/v1/admin/audit/entries/1".to_owned(), None),
            ("PUT", "/api/v1/admin/audit/entries/1".to_owned(), Some(&changed)),
            ("POST", "/api/v1/admin/audit".to_owned(), Some(&changed)),
        ] {
            let kind = if method == "PATCH" { "application/json-patch+json" } else { "application/json" };
            let request = who.request(method, &path).header("content-type", kind);
            let request = match body {
                Some(body) => request.body(body.to_string()),
                None => request,
            };
            let status = request.send().await.unwrap().status().as_u16();
            if !(400..500).contains(&status) {
                taken.push(format!("{method} {path}: {status}"));
            }
        }
        for kind in ["batch", "transaction"] {
            for entry in &entries {
                let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": [entry]});
                let (status, answer) = who.post("/fhir/R4", bundle).await;
                let inner = answer["entry"][0]["response"]["status"].as_str().unwrap_or("4");
                if status >= 500 || (status == 200 && !inner.starts_with('4')) {
                    taken.push(format!("{kind} {entry}: {status} {answer}"));
                }
            }
        }
        assert!(taken.is_empty(), "{}", taken.join("\n"));
    }
    let (status, after) = officer.get(&one).await;
    assert_eq!((status, &after), (200, &event));
    assert_eq!(officer.get("/fhir/R4/AuditEvent/audit-999999").await.0, 404);
    // Nor is there a way in that could.
    for (method, path, _) in
        server::authorization::ROUTES.iter().filter(|(_, path, _)| path.contains("audit"))
    {
        let is_harmless = *method == "get" || (*method, *path) == ("post", "/api/v1/admin/audit/seal");
        assert!(is_harmless, "{method} {path}");
    }
    world.stop().await;
}
