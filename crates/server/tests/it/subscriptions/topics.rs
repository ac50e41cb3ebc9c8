//! What can be subscribed to, and what cannot.

use super::*;

/// Each class of mistake has its own place and text.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_set_up_is_said_at_once() {
    let world = World::start().await;
    let client = world.client(ALL).await;
    world.receives("example.org").await;
    let hook = |endpoint: &str| json!({"type": "rest-hook", "endpoint": endpoint});
    let good = "https://example.org/notify";
    for (value, place, part) in [
        (classic("", hook(good)), "criteria", ""),
        (classic("Observaton?code=1", hook(good)), "Subscription.criteria", "R4 resource type"),
        (classic("Observation?colour=1", hook(good)), "Subscription.criteria", "colour"),
        (classic("Observation?code=", hook(good)), "Subscription.criteria", "no value"),
        (classic("Observation?_count=1", hook(good)), "Subscription.criteria", "_count"),
        (classic("Observation", hook("http://example.org/x")), "Subscription.channel.endpoint", "https"),
        (classic("Observation", hook("ftp://example.org/x")), "Subscription.channel.endpoint", "https"),
        (classic("Observation", hook("https://127.0.0.1/x")), "Subscription.channel.endpoint", "private"),
        (classic("Observation", hook("https://[::1]/x")), "Subscription.channel.endpoint", "private"),
        (
            classic("Observation", hook("https://[::ffff:10.0.0.1]/x")),
            "Subscription.channel.endpoint",
            "private",
        ),
        (
            classic("Observation", hook("https://192.168.1.1:8443/x")),
            "Subscription.channel.endpoint",
            "private",
        ),
        (
            classic("Observation", hook("https://169.254.169.254/x")),
            "Subscription.channel.endpoint",
            "private",
        ),
        (classic("Observation", hook("https://2130706433/x")), "Subscription.channel.endpoint", "host"),
        (classic("Observation", hook("https://localhost/x")), "Subscription.channel.endpoint", "private"),
        (
            classic("Observation", hook("https://u:p@example.org/x")),
            "Subscription.channel.endpoint",
            "header",
        ),
        (
            classic("Observation", json!({"type": "sms", "endpoint": "tel:1"})),
            "Subscription.channel.type",
            "not served",
        ),
        (
            classic("Observation", json!({"type": "email", "endpoint": "mailto:a@example.org"})),
            "Subscription.channel.type",
            "no e-mail",
        ),
        (
            classic("Observation", json!({"type": "rest-hook", "endpoint": good, "payload": "text/csv"})),
            "Subscription.channel.payload",
            "fhir+json",
        ),
        (
            classic("Observation", json!({"type": "rest-hook", "endpoint": good, "header": ["Host: x"]})),
            "Subscription.channel.header",
            "set by the server",
        ),
        (
            classic("Observation", json!({"type": "rest-hook", "endpoint": good, "header": ["nonsense"]})),
            "Subscription.channel.header",
            "Name: value",
        ),
        (topic("no-such", &[], "empty", hook(good)), "Subscription.criteria", "no such topic"),
        (
            topic("encounter-start", &["Patient?name=x"], "empty", hook(good)),
            "Subscription.criteria",
            "type of the topic",
        ),
        (
            topic("encounter-start", &["Encounter?length=1"], "empty", hook(good)),
            "Subscription.criteria",
            "not filtered",
        ),
        (topic("encounter-start", &[], "some", hook(good)), "Subscription.channel.payload", "id-only"),
    ] {
        let (status, body) = client.post("/fhir/R4/Subscription", value.clone()).await;
        assert_eq!(status, 422, "{value}: {body}");
        let issues = body["issue"].as_array().unwrap();
        let found = issues.iter().any(|i| {
            i["expression"][0].as_str().unwrap_or_default().contains(place)
                && i["diagnostics"].as_str().unwrap_or_default().contains(part)
        });
        assert!(found, "{value}: {body}");
    }
    // Only the server says that it is active.
    let mut value = classic("Observation", hook(good));
    value["status"] = json!("active");
    let (status, body) = client.post("/fhir/R4/Subscription", value).await;
    assert_eq!((status, &body["status"]), (201, &json!("requested")));
    world.stop().await;
}

/// Built-in topics are valid as stored ones, and mean the same when read back.
#[test]
fn topics_survive_the_way_through_a_basic() {
    for topic in record::subscription::topic::built_in() {
        let basic = fhir::Resource::from_value(topic.to_basic()).unwrap();
        assert_eq!(fhir::validate::validate(&basic), [], "{}", topic.url);
        let back = record::subscription::Topic::of_basic(&basic).unwrap();
        assert_eq!(format!("{:?}", topic.filters), format!("{:?}", back.filters));
        assert_eq!(topic.triggers.len(), back.triggers.len());
        for (kind, names) in &topic.filters {
            for name in names {
                assert!(fhir::definitions::param(*kind, name).is_some(), "{} {name}", kind.name());
            }
        }
    }
}

#[test]
fn a_condition_sees_before_and_after() {
    let topics = record::subscription::topic::built_in();
    let of = |name: &str| {
        let topic = topics.iter().find(|t| t.url.ends_with(name)).unwrap();
        topic.triggers[0].condition.clone().unwrap()
    };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let with = |kind: &str, status: &str| json!({"resourceType": kind, "status": status});
    for (name, kind, before, after, expected) in [
        (":encounter-start", "Encounter", None, "in-progress", true),
        (":encounter-start", "Encounter", Some("planned"), "in-progress", true),
        (":encounter-start", "Encounter", Some("in-progress"), "in-progress", false),
        (":encounter-start", "Encounter", Some("in-progress"), "finished", false),
        (":encounter-end", "Encounter", Some("in-progress"), "finished", true),
        (":result-final", "DiagnosticReport", None, "final", true),
        (":result-final", "DiagnosticReport", Some("preliminary"), "final", true),
        (":result-final", "DiagnosticReport", Some("final"), "final", false),
        (":result-final", "DiagnosticReport", Some("final"), "amended", true),
        (":result-final", "DiagnosticReport", None, "preliminary", false),
        (":prescription-new", "MedicationRequest", Some("draft"), "active", true),
    ] {
        let before = before.map(|b| with(kind, b));
        let holds = of(name).holds(&with(kind, after), before.as_ref(), now);
        assert_eq!(holds, expected, "{name} {before:?} {after}");
    }
}

/// A topic of the clinic's own, as a Basic.
#[tokio::test(flavor = "multi_thread")]
async fn stored_topics_can_be_subscribed_to() {
    let world = world().await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let part = |name: &str, kind: &str, value: &str| json!({"url": name, (format!("value{kind}")): value});
    let element = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic.";
    let trigger = json!({"url": format!("{element}resourceTrigger"), "extension": [
        part("resource", "Uri", "http://hl7.org/fhir/StructureDefinition/Observation"),
        part("supportedInteraction", "Code", "create"),
        {"url": "queryCriteria", "extension": [part("current", "String", "code=http://loinc.org|718-7")]},
    ]});
    create(
        &client,
        json!({"resourceType": "Basic", "code": {"coding": [{"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}]},
            "extension": [{"url": format!("{element}url"), "valueUri": "http://clinic.example/haemoglobin"}, trigger]}),
    )
    .await;
    let mut value = topic("x", &[], "id-only", json!({"type": "rest-hook", "endpoint": endpoint.url}));
    value["criteria"] = json!("http://clinic.example/haemoglobin");
    let id = subscribe(&client, value).await;
    becomes(&client, &id, "active").await;
    let mine = patient(&client).await;
    create(&client, observation(&mine, "8480-6")).await;
    let seen = create(&client, observation(&mine, "718-7")).await;
    let got = endpoint.received(2).await;
    assert!(got[1].body.contains(&seen));
    assert_eq!(got[1].parameter("topic"), "http://clinic.example/haemoglobin");
    let (_, statement) = client.get("/fhir/R4/metadata").await;
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let resource = resources.iter().find(|r| r["type"] == "Subscription").unwrap();
    assert_eq!(
        resource["extension"].as_array().unwrap().len(),
        record::subscription::topic::built_in().len()
    );
    world.stop().await;
}
