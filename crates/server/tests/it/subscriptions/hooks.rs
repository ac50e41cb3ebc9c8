//! Rest hooks: pings and contents, numbers that have no gaps, tries, restarts, two servers, and what nobody is told.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r4_rest_hooks_ping_or_bring_the_resource() {
    let world = world().await;
    let (client, endpoint, base) =
        (world.client(ALL).await, Endpoint::start().await, Endpoint::start().await);
    let ping = json!({"type": "rest-hook", "endpoint": endpoint.url, "header": ["X-Key: abc"]});
    let full = json!({"type": "rest-hook", "endpoint": base.url, "payload": "application/fhir+xml"});
    let first = subscribe(&client, classic("Observation?code=http://loinc.org|718-7", ping)).await;
    let second = subscribe(&client, classic("Observation?code=718-7", full)).await;
    becomes(&client, &first, "active").await;
    becomes(&client, &second, "active").await;
    let patient = patient(&client).await;
    create(&client, observation(&patient, "8480-6")).await;
    let id = create(&client, observation(&patient, "718-7")).await;
    let got = endpoint.received(1).await;
    assert_eq!((got[0].method.as_str(), got[0].path.as_str(), got[0].body.as_str()), ("POST", "/notify", ""));
    assert_eq!(got[0].headers["x-key"], "abc");
    let got = base.received(1).await;
    assert_eq!(
        (got[0].method.as_str(), got[0].path.as_str()),
        ("PUT", format!("/notify/Observation/{id}").as_str())
    );
    assert_eq!(got[0].headers["content-type"], "application/fhir+xml");
    let read = fhir::xml::parse(got[0].body.as_bytes()).unwrap();
    assert_eq!(read.id(), Some(id.as_str()));
    // An update that no longer meets the criteria is no event; one that does is.
    let mut changed = observation(&patient, "8480-6");
    changed["id"] = json!(id);
    client.put(&format!("/fhir/R4/Observation/{id}"), changed).await;
    let mut changed = observation(&patient, "718-7");
    changed["id"] = json!(id);
    changed["status"] = json!("amended");
    client.put(&format!("/fhir/R4/Observation/{id}"), changed).await;
    let got = base.received(2).await;
    assert!(got[1].body.contains("amended"));
    let (_, status) = client.get(&format!("/fhir/R4/Subscription/{second}/$status")).await;
    assert_eq!(parameter(&status, "events-since-subscription-start"), "2");
    assert_eq!(parameter(&status, "type"), "query-status");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_shakes_hands_numbers_its_events_and_tells_them_again() {
    let world = world().await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let mine = patient(&client).await;
    let other = patient(&client).await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let filter = format!("Encounter?patient=Patient/{mine}");
    let id = subscribe(&client, topic("encounter-start", &[&filter], "full-resource", channel)).await;
    let got = endpoint.received(1).await;
    assert_eq!(got[0].headers["content-type"], "application/fhir+json");
    assert_eq!(got[0].parameter("type"), "handshake");
    assert_eq!(got[0].parameter("status"), "requested");
    assert_eq!(got[0].parameter("topic"), "urn:uzima:SubscriptionTopic:encounter-start");
    becomes(&client, &id, "active").await;
    let planned = create(&client, encounter(&mine, "planned")).await;
    create(&client, encounter(&other, "in-progress")).await;
    let mut started = encounter(&mine, "in-progress");
    started["id"] = json!(planned);
    client.put(&format!("/fhir/R4/Encounter/{planned}"), started.clone()).await;
    let got = endpoint.received(2).await;
    assert_eq!(got[1].parameter("type"), "event-notification");
    assert_eq!(got[1].parameter("status"), "active");
    assert_eq!(got[1].parameter("events-since-subscription-start"), "1");
    assert_eq!(got[1].numbers(), [1]);
    let bundle = got[1].json();
    assert_eq!(bundle["entry"][1]["resource"]["id"], json!(planned));
    assert_eq!(bundle["entry"][1]["request"]["method"], "PUT");
    let resource = fhir::Resource::from_value(bundle).unwrap();
    assert_eq!(fhir::validate::validate(&resource), []);
    // Still in progress: no second beginning. Another visit: the second event.
    started["language"] = json!("sw");
    client.put(&format!("/fhir/R4/Encounter/{planned}"), started).await;
    create(&client, encounter(&mine, "in-progress")).await;
    let got = endpoint.received(3).await;
    assert_eq!(got[2].numbers(), [2]);
    for (query, expected) in [
        ("", vec![1, 2]),
        ("?eventsSinceNumber=2", vec![2]),
        ("?eventsSinceNumber=1&eventsUntilNumber=1", vec![1]),
        ("?eventsSinceNumber=3", vec![]),
    ] {
        let (status, bundle) = client.get(&format!("/fhir/R4/Subscription/{id}/$events{query}")).await;
        assert_eq!((status, numbers(&bundle)), (200, expected), "{query}");
        assert_eq!(parameter(&bundle, "type"), "query-event");
    }
    let (_, bundle) = client.get(&format!("/fhir/R4/Subscription/{id}/$events?content=id-only")).await;
    assert!(bundle["entry"][1].get("resource").is_none() && bundle["entry"][1].get("fullUrl").is_some());
    let (status, _) = client.get(&format!("/fhir/R4/Subscription/{id}/$events?content=everything")).await;
    assert_eq!(status, 400);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_in_order_and_at_last_make_an_error() {
    let world = World::start_with(|config| {
        open(config);
        config.subscriptions.max_failures = 4;
    })
    .await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let mine = patient(&client).await;
    let mut channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    channel["extension"] = json!([{"url": format!("{GUIDE}backport-max-count"), "valuePositiveInt": 2}]);
    // A handshake that fails once.
    endpoint.refuse(&[503]);
    let value = topic("patient-data", &[], "id-only", channel);
    let id = subscribe(&client, value.clone()).await;
    becomes(&client, &id, "active").await;
    // Deliveries that fail three times, one of them by a redirect: nothing is lost or overtaken.
    endpoint.refuse(&[500, 307, 404]);
    for _ in 0..5 {
        create(&client, observation(&mine, "718-7")).await;
    }
    let all = endpoint
        .until(|inner| {
            let got = inner.received.lock();
            let numbers: Vec<i64> = got.iter().flat_map(Received::numbers).collect();
            (numbers.len() >= 5).then_some((numbers, got.clone()))
        })
        .await;
    assert_eq!(all.0, [1, 2, 3, 4, 5]);
    assert!(all.1.iter().all(|r| r.numbers().len() <= 2));
    assert!(
        all.1.iter().all(|r| r.json()["entry"]
            .as_array()
            .unwrap()
            .iter()
            .skip(1)
            .all(|e| e.get("resource").is_none()))
    );
    // It fails for good: error; events go on being counted, and all come once the client sets it up again.
    endpoint.refuse(&[500; 4]);
    create(&client, observation(&mine, "718-7")).await;
    let broken = becomes(&client, &id, "error").await;
    assert!(broken["error"].as_str().unwrap().contains("requested"));
    create(&client, observation(&mine, "718-7")).await;
    let mut again = broken.clone();
    again["status"] = json!("requested");
    let (status, body) = client.put(&format!("/fhir/R4/Subscription/{id}"), again).await;
    assert_eq!((status, body.get("error")), (200, None));
    let numbers = endpoint
        .until(|inner| {
            let numbers: Vec<i64> = inner.received.lock().iter().flat_map(Received::numbers).collect();
            (numbers.len() >= 7).then_some(numbers)
        })
        .await;
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    // Off is off.
    let (_, mut off) = client.get(&format!("/fhir/R4/Subscription/{id}")).await;
    off["status"] = json!("off");
    let (status, _) = client.put(&format!("/fhir/R4/Subscription/{id}"), off).await;
    assert_eq!(status, 200);
    let count = endpoint.inner.received.lock().len();
    create(&client, observation(&mine, "718-7")).await;
    let (_, bundle) = client.get(&format!("/fhir/R4/Subscription/{id}/$status")).await;
    assert_eq!(parameter(&bundle, "status"), "off");
    assert_eq!(endpoint.inner.received.lock().len(), count);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_loses_and_repeats_no_number() {
    let mut world = World::start_with(|config| {
        open(config);
        config.subscriptions.max_failures = u32::MAX;
    })
    .await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let mine = patient(&client).await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let id = subscribe(&client, topic("patient-data", &[], "empty", channel)).await;
    becomes(&client, &id, "active").await;
    for _ in 0..3 {
        create(&client, observation(&mine, "718-7")).await;
    }
    endpoint.until(|inner| inner.received.lock().iter().any(|r| !r.numbers().is_empty()).then_some(())).await;
    // Nothing gets through, and in the middle of the tries the server stops.
    endpoint.refuse(&[503; 10_000]);
    for _ in 0..10 {
        create(&client, observation(&mine, "718-7")).await;
    }
    endpoint.refused(1).await;
    let config = world.app().config.clone();
    world.take_running().shutdown().await.unwrap();
    endpoint.inner.refusals.lock().clear();
    let running = server::start(config).await.unwrap();
    let client = client.at(&running.url);
    create(&client, observation(&mine, "718-7")).await;
    let numbers = endpoint
        .until(|inner| {
            let mut numbers: Vec<i64> = inner.received.lock().iter().flat_map(Received::numbers).collect();
            // The stop may have cut off a delivery that the endpoint took: the same number may come twice.
            numbers.dedup();
            (numbers.last() == Some(&14)).then_some(numbers)
        })
        .await;
    assert_eq!(numbers, (1..=14).collect::<Vec<_>>());
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_the_owner_may_not_read() {
    let world = world().await;
    let (all, endpoint, other) = (world.client(ALL).await, Endpoint::start().await, Endpoint::start().await);
    let narrow = world.client("system/Subscription.cruds system/Observation.rs system/Patient.rs").await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let id = subscribe(&narrow, topic("patient-data", &[], "full-resource", channel)).await;
    becomes(&narrow, &id, "active").await;
    let mine = patient(&all).await;
    create(&all, encounter(&mine, "planned")).await;
    let seen = create(&all, observation(&mine, "718-7")).await;
    let got = endpoint.received(2).await;
    // The encounter was no event for this owner.
    assert_eq!(got[1].numbers(), [1]);
    assert_eq!(got[1].json()["entry"][1]["resource"]["id"], json!(seen));
    // Who writes it last owns it: an endpoint put in by somebody else gets what that one may see.
    let (_, mut body) = all.get(&format!("/fhir/R4/Subscription/{id}")).await;
    body["status"] = json!("requested");
    body["channel"]["endpoint"] = json!(other.url);
    let (status, text) = all.put(&format!("/fhir/R4/Subscription/{id}"), body).await;
    assert_eq!(status, 200, "{text}");
    becomes(&all, &id, "active").await;
    create(&all, encounter(&mine, "planned")).await;
    let got = other.received(2).await;
    assert_eq!(got[1].numbers(), [2]);
    // Patients and clinicians have no subscriptions at all.
    let doctor = world.staff("otieno", access::Role::Doctor).await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let (status, _) = doctor.post("/fhir/R4/Subscription", classic("Observation", channel)).await;
    assert_eq!(status, 403);
    let (status, _) = doctor.get(&format!("/fhir/R4/Subscription/{id}/$events")).await;
    assert_eq!(status, 403);
    // Data that left is in the audit, with the patient.
    let page = world
        .app()
        .record
        .audit_list(
            &world.ctx(),
            record::audit::AuditFilter { patient: Some(mine.clone()), ..Default::default() },
            None,
            100,
        )
        .await
        .unwrap();
    assert!(page.rows.iter().any(|r| r.action == "notify" && r.what == format!("Subscription/{id}")));
    world.stop().await;
}

/// Two servers on one PostgreSQL database: one of them counts, one of them delivers, nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_deliver_once() {
    let Some(database) = crate::postgres::Database::make() else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    let first = database.serve_with(open).await;
    let second = database.serve_beside_with(&first, open).await;
    let (client, endpoint) = (first.client(ALL).await, Endpoint::start().await);
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let id = subscribe(&client, topic("patient-data", &[], "id-only", channel)).await;
    becomes(&client, &id, "active").await;
    let mine = patient(&client).await;
    for n in 0..20 {
        let server = if n % 2 == 0 { first.url() } else { second.url() };
        create(&client.at(server), observation(&mine, "718-7")).await;
    }
    let numbers = endpoint
        .until(|inner| {
            let numbers: Vec<i64> = inner.received.lock().iter().flat_map(Received::numbers).collect();
            (numbers.len() >= 20).then_some(numbers)
        })
        .await;
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    first.stop().await;
    second.stop().await;
}

/// facts/security-controls.md Z8: what is sealed leaves by no notification, whole or in part.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_facts_leave_by_no_notification() {
    const WORD: &str = "Zirconium";
    let world = world().await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let subject = json!({"reference": format!("Patient/{}", patient(&client).await)});
    for criteria in ["Condition?_lastUpdated=ge2020-01-01", "Encounter?status=in-progress"] {
        let channel =
            json!({"type": "rest-hook", "endpoint": endpoint.url, "payload": "application/fhir+json"});
        let id = subscribe(&client, classic(criteria, channel)).await;
        becomes(&client, &id, "active").await;
    }
    let coded = |code: &str, text: &str| json!({"text": text, "coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": code}]});
    let condition = |code: Value| json!({"resourceType": "Condition", "subject": subject, "code": code});
    let sealed = world.put(condition(coded("B20", WORD))).await;
    let visit = world
        .put(json!({"resourceType": "Encounter", "status": "in-progress", "class": {"code": "AMB"},
            "subject": subject, "reasonCode": [coded("B20", WORD), coded("J06.9", "Cough")]}))
        .await;
    // What comes after it in the same order: when this is told, the sealed one was passed over.
    let open = world.put(condition(coded("J06.9", "Cough"))).await;
    let got = endpoint.received(2).await;
    let paths: Vec<&str> = got.iter().map(|one| one.path.as_str()).collect();
    assert!(paths.iter().any(|path| path.ends_with(&open.id)), "{paths:?}");
    assert!(!paths.iter().any(|path| path.ends_with(&sealed.id)), "{paths:?}");
    let told = got.iter().find(|one| one.path.ends_with(&visit.id)).unwrap();
    assert!(told.body.contains("Cough") && told.body.contains("SUBSETTED"), "{}", told.body);
    for one in &got {
        assert!(!one.body.contains(WORD) && !one.body.contains("B20"), "{}", one.body);
    }
    world.stop().await;
}
