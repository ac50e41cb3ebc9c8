//! `$meta`, `$everything`, `$document`, and what is refused before any operation runs.

use crate::harness::{Signed, World, read};
use access::Role;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `Type/id` of every entry.
pub fn keys(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .map(|e| &e["resource"])
        .map(|r| format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap()))
        .collect()
}

fn next(bundle: &Value) -> Option<String> {
    let links = bundle["link"].as_array()?;
    let link = links.iter().find(|l| l["relation"] == "next")?;
    Some(link["url"].as_str().unwrap().to_owned())
}

/// All pages of a GET.
async fn walk(who: &Signed, base: &str, path: &str) -> (Vec<Vec<String>>, usize) {
    let (mut pages, mut path, mut rounds) = (Vec::new(), path.to_owned(), 0);
    loop {
        let (status, page) = who.get(&path).await;
        assert_eq!(status, 200, "{path} {page}");
        pages.push(keys(&page));
        rounds += 1;
        assert!(rounds < 100, "pages without end");
        match next(&page) {
            Some(url) => path = url.strip_prefix(base).unwrap().to_owned(),
            None => return (pages, rounds),
        }
    }
}

/// A small chart: p1 with two observations, an encounter, and people and places behind it; p2 is somebody else.
pub async fn chart(client: &Signed) {
    let resources = json!([
        {"resourceType": "Organization", "id": "org", "name": "Clinic"},
        {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Otieno"}]},
        {"resourceType": "PractitionerRole", "id": "role", "practitioner": {"reference": "Practitioner/doc"},
            "organization": {"reference": "Organization/org"}},
        {"resourceType": "Location", "id": "room", "name": "Room 1", "managingOrganization": {"reference": "Organization/org"}},
        {"resourceType": "Medication", "id": "drug", "code": {"text": "Amoxicillin"}},
        {"resourceType": "Patient", "id": "p1", "name": [{"family": "Wanjiru", "given": ["Amina"]}]},
        {"resourceType": "Patient", "id": "p2", "name": [{"family": "Kamau"}]},
        {"resourceType": "Encounter", "id": "e1", "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
            "subject": {"reference": "Patient/p1"}, "period": {"start": "2026-01-10T08:00:00Z", "end": "2026-01-10T09:00:00Z"},
            "participant": [{"individual": {"reference": "PractitionerRole/role"}}],
            "location": [{"location": {"reference": "Location/room"}}]},
        {"resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "pulse"},
            "subject": {"reference": "Patient/p1"}, "encounter": {"reference": "Encounter/e1"},
            "effectiveDateTime": "2026-01-10T08:10:00Z"},
        {"resourceType": "Observation", "id": "o2", "status": "final", "code": {"text": "pulse"},
            "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2026-03-01"},
        {"resourceType": "Observation", "id": "other", "status": "final", "code": {"text": "pulse"},
            "subject": {"reference": "Patient/p2"}},
        {"resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order",
            "subject": {"reference": "Patient/p1"}, "medicationReference": {"reference": "Medication/drug"},
            "encounter": {"reference": "Encounter/e1"}, "authoredOn": "2026-01-10"},
        {"resourceType": "Composition", "id": "c1", "status": "final", "type": {"text": "Visit note"}, "title": "Note",
            "date": "2026-01-10", "subject": {"reference": "Patient/p1"}, "encounter": {"reference": "Encounter/e1"},
            "author": [{"reference": "Practitioner/doc"}], "custodian": {"reference": "Organization/org"},
            "section": [{"title": "Findings", "entry": [{"reference": "Observation/o1"}]},
                {"title": "Plan", "entry": [{"reference": "MedicationRequest/m1"}]}]},
    ]);
    let entry = |r: &Value| {
        let url = format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
        json!({"resource": r, "request": {"method": "PUT", "url": url}})
    };
    let entries: Vec<Value> = resources.as_array().unwrap().iter().map(entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    let (status, answer) = client.post("/fhir/R4", bundle).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_charts_leave_nothing_out_and_repeat_nothing() {
    whole_chart(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_charts_on_postgres() {
    match crate::postgres::Database::make() {
        Some(database) => whole_chart(database.serve().await).await,
        None => eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set"),
    }
}

async fn whole_chart(world: World) {
    let client = world.client("system/*.cruds").await;
    chart(&client).await;
    let (status, all) = client.get("/fhir/R4/Patient/p1/$everything").await;
    assert_eq!(status, 200, "{all}");
    let own = [
        "Patient/p1",
        "Encounter/e1",
        "Observation/o1",
        "Observation/o2",
        "MedicationRequest/m1",
        "Composition/c1",
    ];
    let behind =
        ["Location/room", "Medication/drug", "Organization/org", "Practitioner/doc", "PractitionerRole/role"];
    assert_eq!(keys(&all), own.iter().chain(&behind).copied().collect::<Vec<_>>(), "{all}");
    assert_eq!(all["total"], own.len());
    let modes: Vec<&str> =
        all["entry"].as_array().unwrap().iter().map(|e| e["search"]["mode"].as_str().unwrap()).collect();
    assert_eq!(modes.iter().filter(|m| **m == "match").count(), own.len());

    // Paged, while somebody writes: the same, each once; what is new comes as well.
    let first = client.get("/fhir/R4/Patient/p1/$everything?_count=2").await.1;
    client
        .put(
            "/fhir/R4/Observation/o1",
            json!({"resourceType": "Observation", "id": "o1", "status": "amended", "code": {"text": "pulse"},
                "subject": {"reference": "Patient/p1"}, "encounter": {"reference": "Encounter/e1"}}),
        )
        .await;
    client
        .put(
            "/fhir/R4/Observation/late",
            json!({"resourceType": "Observation", "id": "late", "status": "final", "code": {"text": "pulse"},
                "subject": {"reference": "Patient/p1"}}),
        )
        .await;
    let rest = next(&first).unwrap();
    let (pages, _) = walk(&client, world.url(), rest.strip_prefix(world.url()).unwrap()).await;
    let mut seen = keys(&first);
    seen.extend(pages.into_iter().flatten());
    let set: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(set.len(), seen.len(), "repeated: {seen:?}");
    assert_eq!(seen.len(), own.len() + 1 + behind.len(), "{seen:?}");

    // Narrowed.
    let cases: &[(&str, &[&str])] = &[
        ("_type=Observation", &["Observation/o1", "Observation/o2", "Observation/late"]),
        ("_type=Practitioner", &["Practitioner/doc"]),
        (
            "_type=Observation,Location&end=2026-02-01",
            &["Observation/o1", "Observation/late", "Location/room"],
        ),
        ("_type=Observation&start=2026-02-01", &["Observation/o1", "Observation/o2", "Observation/late"]),
        ("_type=Encounter&start=2026-02-01", &[]),
        ("_since=2999-01-01T00:00:00Z", &[]),
    ];
    for (query, expected) in cases {
        let (status, found) = client.get(&format!("/fhir/R4/Patient/p1/$everything?{query}")).await;
        assert_eq!(
            (status, keys(&found)),
            (200, expected.iter().map(|k| (*k).to_owned()).collect()),
            "{query}"
        );
    }
    // By POST as well, and with the mark encoded.
    let body =
        json!({"resourceType": "Parameters", "parameter": [{"name": "_type", "valueCode": "Encounter"}]});
    assert_eq!(keys(&client.post("/fhir/R4/Patient/p1/$everything", body).await.1), ["Encounter/e1"]);
    assert_eq!(client.get("/fhir/R4/Patient/p1/%24everything?_type=Encounter").await.0, 200);

    let (status, visit) = client.get("/fhir/R4/Encounter/e1/$everything").await;
    assert_eq!(status, 200, "{visit}");
    let visit: BTreeSet<String> = keys(&visit).into_iter().collect();
    for key in [
        "Encounter/e1",
        "Observation/o1",
        "MedicationRequest/m1",
        "Composition/c1",
        "Patient/p1",
        "Location/room",
        "PractitionerRole/role",
        "Practitioner/doc",
        "Organization/org",
        "Medication/drug",
    ] {
        assert!(visit.contains(key), "{key} {visit:?}");
    }
    assert!(!visit.contains("Observation/o2"), "{visit:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_cut_to_the_rights_of_who_asks() {
    cut_chart(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_cut_on_postgres() {
    match crate::postgres::Database::make() {
        Some(database) => cut_chart(database.serve().await).await,
        None => eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set"),
    }
}

async fn cut_chart(world: World) {
    let client = world.client("system/*.cruds").await;
    chart(&client).await;
    let amina = world.patient("Amina").await;
    let observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "pulse"},
        "subject": {"reference": format!("Patient/{}", amina.id())}});
    client.post("/fhir/R4/Observation", observation).await;
    let draft = json!({"resourceType": "Composition", "status": "preliminary", "type": {"text": "note"}, "title": "Draft",
        "date": "2026-01-01", "subject": {"reference": format!("Patient/{}", amina.id())},
        "author": [{"reference": "Practitioner/doc"}]});
    client.post("/fhir/R4/Composition", draft).await;

    let own = format!("/fhir/R4/Patient/{}/$everything", amina.id());
    let (status, mine) = amina.get(&own).await;
    assert_eq!(status, 200, "{mine}");
    let kinds: Vec<String> = keys(&mine).iter().map(|k| k.split('/').next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["Patient", "Observation"], "no draft");
    assert!(keys(&client.get(&own).await.1).iter().any(|k| k.starts_with("Composition/")));
    assert_eq!(amina.get("/fhir/R4/Patient/p1/$everything").await.0, 404);
    let doctor = world.staff("doctor", Role::Doctor).await;
    assert_eq!(doctor.get(&own).await.0, 403);
    let desk = world.staff("desk", Role::FrontDesk).await;
    let (status, seen) = desk.get(&own).await;
    let kinds: BTreeSet<String> =
        keys(&seen).iter().map(|k| k.split('/').next().unwrap().to_owned()).collect();
    assert_eq!((status, kinds), (200, ["Patient".to_owned()].into()));
    assert_eq!(client.get("/fhir/R4/Patient/nobody/$everything").await.0, 404);
    // Whoever looked is written down.
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let (_, audit) = officer.get(&format!("/fhir/R4/AuditEvent?patient=Patient/{}", amina.id())).await;
    assert!(audit.to_string().contains("$everything"), "{audit}");
    world.stop().await;
}

#[tokio::test]
async fn documents_stand_for_themselves() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    chart(&client).await;
    let (status, document) = client.get("/fhir/R4/Composition/c1/$document").await;
    assert_eq!(status, 200, "{document}");
    assert_eq!(
        (&document["type"], &document["identifier"]["system"]),
        (&json!("document"), &json!("urn:ietf:rfc:3986"))
    );
    assert!(document["identifier"]["value"].as_str().unwrap().starts_with("urn:uuid:"));
    assert!(document["timestamp"].is_string() && document["id"].is_null());
    let order = keys(&document);
    assert_eq!(
        order[..7],
        [
            "Composition/c1",
            "Patient/p1",
            "Encounter/e1",
            "Practitioner/doc",
            "Organization/org",
            "Observation/o1",
            "MedicationRequest/m1"
        ],
        "{order:?}"
    );
    for key in ["Medication/drug", "PractitionerRole/role", "Location/room"] {
        assert!(order.contains(&key.to_owned()), "{order:?}");
    }
    assert!(!order.contains(&"Observation/o2".to_owned()), "not the rest of the chart: {order:?}");
    assert_eq!(client.get("/fhir/R4/Composition/$document?id=c1").await.0, 200);

    // Kept only by POST and by those who may.
    assert_eq!(client.get("/fhir/R4/Composition/c1/$document?persist=true").await.0, 400);
    let persist =
        json!({"resourceType": "Parameters", "parameter": [{"name": "persist", "valueBoolean": true}]});
    let (status, kept) = client.post("/fhir/R4/Composition/c1/$document", persist.clone()).await;
    assert_eq!(status, 200, "{kept}");
    let stored = client.get(&format!("/fhir/R4/Bundle/{}", kept["id"].as_str().unwrap())).await.1;
    assert_eq!(stored["entry"], kept["entry"]);
    let reader = world.client("system/*.rs").await;
    assert_eq!(reader.post("/fhir/R4/Composition/c1/$document", persist).await.0, 403);

    // What the Composition names must be there.
    assert_eq!(client.delete("/fhir/R4/Observation/o1").await.0, 204);
    let (status, outcome) = client.get("/fhir/R4/Composition/c1/$document").await;
    assert_eq!(status, 422, "{outcome}");
    assert!(outcome.to_string().contains("Observation/o1"));
    world.stop().await;
}

#[tokio::test]
async fn tags_come_and_go() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    chart(&client).await;
    let meta = |tags: Value| json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": tags}]});
    let tags = json!({"tag": [{"system": "s", "code": "a"}, {"system": "s", "code": "b"}], "profile": ["http://example.org/p"]});
    let (status, now) = client.post("/fhir/R4/Observation/o1/$meta-add", meta(tags.clone())).await;
    assert_eq!(status, 200, "{now}");
    let read = client.get("/fhir/R4/Observation/o1/$meta").await.1;
    assert_eq!(read["parameter"][0]["valueMeta"]["tag"].as_array().unwrap().len(), 2, "{read}");
    assert_eq!(read["parameter"][0]["valueMeta"]["versionId"], "2");
    // Again: nothing new, no new version.
    let (_, again) = client.post("/fhir/R4/Observation/o1/$meta-add", meta(tags)).await;
    assert_eq!(again["parameter"][0]["valueMeta"]["versionId"], "2");
    assert_eq!(client.get("/fhir/R4/Observation?_tag=s|a&_summary=count").await.1["total"], 1);
    let gone = meta(json!({"tag": [{"system": "s", "code": "a"}], "profile": ["http://example.org/p"]}));
    let (status, left) = client.post("/fhir/R4/Observation/o1/$meta-delete", gone).await;
    assert_eq!(status, 200);
    assert_eq!(left["parameter"][0]["valueMeta"]["tag"], json!([{"system": "s", "code": "b"}]));
    assert!(left["parameter"][0]["valueMeta"].get("profile").is_none());
    assert_eq!(client.get("/fhir/R4/Observation?_tag=s|a&_summary=count").await.1["total"], 0);
    let reader = world.client("system/*.rs").await;
    let nothing = meta(json!({"tag": [{"system": "s", "code": "x"}]}));
    assert_eq!(reader.post("/fhir/R4/Observation/o1/$meta-add", nothing).await.0, 403);
    world.stop().await;
}

#[tokio::test]
async fn wrong_calls_say_what_is_wrong() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    chart(&client).await;
    let parameters = |list: Value| json!({"resourceType": "Parameters", "parameter": list});
    let cases: Vec<(&str, &str, Value, u16, &str)> = vec![
        ("GET", "/fhir/R4/$nonsense", Value::Null, 404, "no operation `$nonsense`"),
        ("GET", "/fhir/R4/Patient/p1/$nonsense", Value::Null, 404, "no operation"),
        ("GET", "/fhir/R4/Patient/$everything", Value::Null, 404, "/Patient/{id}/$everything"),
        ("GET", "/fhir/R4/Observation/o1/$everything", Value::Null, 404, "does not run here"),
        ("GET", "/fhir/R4/Patients/p1/$everything", Value::Null, 404, "no FHIR R4 resource type"),
        ("GET", "/fhir/R4/Patient/p1/$everything?nonsense=1", Value::Null, 400, "it takes start, end"),
        ("GET", "/fhir/R4/Patient/p1/$everything?_count=x", Value::Null, 400, "must be of type `integer`"),
        ("GET", "/fhir/R4/Patient/p1/$everything?_count=0", Value::Null, 400, "1 or more"),
        ("GET", "/fhir/R4/Patient/p1/$everything?start=soon", Value::Null, 400, "must be of type `date`"),
        ("GET", "/fhir/R4/Patient/p1/$everything?start=2026&start=2027", Value::Null, 400, "at most 1 time"),
        ("GET", "/fhir/R4/Patient/p1/$everything?_type=Frog", Value::Null, 400, "no FHIR R4 resource type"),
        ("GET", "/fhir/R4/Patient/p1/$everything?_cursor=zzz", Value::Null, 400, "cursor"),
        ("GET", "/fhir/R4/Patient/p1/$meta-add", Value::Null, 405, "use POST"),
        ("DELETE", "/fhir/R4/Patient/p1/$meta", Value::Null, 405, "GET or POST"),
        ("POST", "/fhir/R4/Patient/p1/$meta-add", parameters(json!([])), 400, "`meta` is required"),
        (
            "POST",
            "/fhir/R4/Patient/p1/$meta-add",
            parameters(json!([{"name": "meta", "valueString": "x"}])),
            400,
            "must be of type `Meta`",
        ),
        (
            "POST",
            "/fhir/R4/Patient/p1/$meta-add",
            parameters(json!([{"valueString": "x"}])),
            400,
            "has a name",
        ),
        ("POST", "/fhir/R4/Patient/p1/$meta-add", parameters(json!({"name": "meta"})), 400, "must be a list"),
        (
            "POST",
            "/fhir/R4/Patient/p1/$meta-add",
            json!({"resourceType": "Patient"}),
            400,
            "takes a Parameters",
        ),
        (
            "POST",
            "/fhir/R4/Patient/$match",
            json!({"resourceType": "Observation", "status": "final"}),
            400,
            "Send a Patient",
        ),
        ("POST", "/fhir/R4/Patient/$match", json!({"resourceType": "Frog"}), 400, "no FHIR R4 resource type"),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, status, text) in cases {
        let mut request = client.request(method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let (found, outcome) = read(request.send().await.unwrap()).await;
        let issue = outcome["issue"][0]["diagnostics"].as_str().unwrap_or_default();
        if found != status || !issue.contains(text) || outcome["resourceType"] != "OperationOutcome" {
            wrong.push(format!("{method} {path}: {found} {outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // All problems of one call at once.
    let many = parameters(json!([{"name": "meta", "valueString": "x"}, {"name": "no"}, {"name": "nor"}]));
    let (_, outcome) = client.post("/fhir/R4/Patient/p1/$meta-add", many).await;
    assert_eq!(outcome["issue"].as_array().unwrap().len(), 3, "{outcome}");
    let nobody = world.anonymous();
    assert_eq!(nobody.get("/fhir/R4/Patient/p1/$everything").await.0, 401);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_in_use_are_those_the_caller_may_find() {
    labelled(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_in_use_on_postgres() {
    match crate::postgres::Database::make() {
        Some(database) => labelled(database.serve().await).await,
        None => eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set"),
    }
}

async fn labelled(world: World) {
    let client = world.client("system/*.cruds").await;
    let amina = world.patient("Amina").await;
    let of = |subject: &str, meta: Value| {
        json!({"resourceType": "Observation", "meta": meta, "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{subject}")}})
    };
    let tag = |code: &str| json!({"system": "urn:tags", "code": code});
    let hers =
        json!({"tag": [tag("a"), tag("b")], "profile": ["http://example.org/p,1", "http://example.org/q"]});
    let other = json!({"tag": [tag("b"), tag("c")], "security": [{"system": "urn:labels", "code": "R"}],
        "profile": ["http://example.org/q", "http://example.org/z"]});
    assert_eq!(client.post("/fhir/R4/Observation", of(amina.id(), hers)).await.0, 201);
    let somebody = client
        .post("/fhir/R4/Patient", json!({"resourceType": "Patient", "meta": {"tag": [tag("p")]}}))
        .await
        .1;
    let somebody = somebody["id"].as_str().unwrap();
    assert_eq!(client.post("/fhir/R4/Observation", of(somebody, other)).await.0, 201);

    let ask = async |who: &Signed, path: &str| {
        let (status, answer) = who.get(&format!("/fhir/R4/{path}")).await;
        assert_eq!(status, 200, "{answer}");
        let meta = answer["parameter"][0]["valueMeta"].clone();
        let codes = |list: &str| -> Vec<String> {
            let all = meta[list].as_array().into_iter().flatten();
            all.map(|c| c["code"].as_str().unwrap_or_else(|| c.as_str().unwrap()).to_owned()).collect()
        };
        (codes("tag"), codes("security"), codes("profile"))
    };
    let profiles =
        ["http://example.org/p,1", "http://example.org/q", "http://example.org/z"].map(str::to_owned);
    let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<String>>();
    let of_type = ask(&client, "Observation/$meta").await;
    assert_eq!(of_type, (texts(&["a", "b", "c"]), texts(&["R"]), profiles.to_vec()));
    assert_eq!(ask(&client, "$meta").await, (texts(&["a", "b", "c", "p"]), texts(&["R"]), profiles.to_vec()));
    assert_eq!(ask(&client, "Device/$meta").await, (Vec::new(), Vec::new(), Vec::new()));
    // Others' labels are not there for those who may not find what has them.
    let own = ask(&amina, "Observation/$meta").await;
    assert_eq!(own, (texts(&["a", "b"]), Vec::new(), profiles[..2].to_vec()));
    assert_eq!(ask(&amina, "$meta").await, own);
    let blind = world.client("system/Patient.rs").await;
    assert_eq!(blind.get("/fhir/R4/Observation/$meta").await.0, 403);
    assert_eq!(ask(&blind, "$meta").await, (texts(&["p"]), Vec::new(), Vec::new()));
    world.stop().await;
}
