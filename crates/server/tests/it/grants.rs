//! Grants to act that wait for a second word, what an emergency left behind, and notices, over HTTP.

use crate::harness::{PASSWORD, Signed, World};
use access::Role;
use serde_json::{Value, json};

/// The six digits of the newest SMS.
async fn code(world: &World) -> String {
    let filter = store::message::Filter::default();
    let found =
        world.app().record.store_read(move |tx| store::message::list(tx, &filter, None, 1)).await.unwrap();
    let body = &found.rows[0].body;
    body.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 6).unwrap().to_owned()
}

fn topics(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|one| one["topic"].as_str().unwrap()).collect()
}

async fn unseen(who: &Signed) -> i64 {
    who.get("/api/v1/notices/unseen").await.1["unseen"].as_i64().unwrap()
}

#[tokio::test]
async fn a_grant_waits_for_the_patients_code_or_a_second_person() {
    let world = World::start().await;
    let (amina, mut zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    let (desk, other) =
        (world.staff("desk", Role::FrontDesk).await, world.staff("other", Role::FrontDesk).await);
    let proxies = format!("/api/v1/patients/{}/proxies", amina.id());
    let (_, me) = zawadi.get("/api/v1/me").await;
    let name = me["display"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    let grant =
        json!({"contact": me["phone"], "family": name, "basis": "patient-choice", "relationship": "SIB"});
    let (status, asked) = desk.post(&proxies, grant.clone()).await;
    assert_eq!((status, asked["state"].as_str()), (201, Some("waiting")), "{asked}");
    assert_eq!(asked["asked_by_display"], "Test desk");
    assert!(asked["waits_until"].is_string() && asked["relationship"] == "SIB", "{asked}");
    assert_eq!(zawadi.get("/api/v1/me/acting-for").await.1["items"], json!([]));
    assert_eq!(zawadi.get(&format!("/api/v1/patients/{}", amina.id())).await.0, 404);
    let own = format!("/api/v1/proxies/{}", asked["id"].as_str().unwrap());
    for who in [&zawadi, &amina, &world.staff("boss", Role::Administrator).await] {
        assert_eq!(who.get("/api/v1/proxies/waiting").await.0, 403);
        assert_eq!(who.post(&format!("{own}/code"), json!({})).await.0, 403);
        assert_eq!(who.post(&format!("{own}/confirm"), json!({})).await.0, 403);
    }
    let (_, waiting) = other.get("/api/v1/proxies/waiting").await;
    assert_eq!(waiting["items"][0]["id"], asked["id"]);

    // Who asked is not the second person, and a wrong code is none.
    let (status, refused) = desk.post(&format!("{own}/confirm"), json!({})).await;
    assert_eq!((status, refused["code"].as_str()), (422, Some("second-person-needed")), "{refused}");
    let (status, sent) = desk.post(&format!("{own}/code"), json!({})).await;
    assert_eq!(status, 200, "{sent}");
    assert!(sent["phone_masked"].as_str().unwrap().contains('•'), "{sent}");
    let right = code(&world).await;
    let wrong = format!("{:06}", (right.parse::<u32>().unwrap() + 1) % 1_000_000);
    let (status, refused) = desk.post(&format!("{own}/confirm"), json!({"code": wrong})).await;
    assert_eq!((status, refused["code"].as_str()), (422, Some("code-wrong")), "{refused}");
    let (status, given) = desk.post(&format!("{own}/confirm"), json!({"code": right})).await;
    assert_eq!((status, given["state"].as_str()), (200, Some("in-force")), "{given}");
    assert_eq!(given["confirmed"]["way"], "patient-code");
    assert_eq!(given["confirmed"]["display"], "Test desk");
    zawadi.token = world.app().record.login(&name, PASSWORD, None).await.unwrap().token;
    assert_eq!(zawadi.get("/api/v1/me/acting-for").await.1["items"][0]["patient_id"], amina.id());

    // By a second person.
    assert_eq!(desk.post(&format!("{own}/end"), json!({})).await.0, 204);
    let (_, again) = desk.post(&proxies, grant).await;
    let own = format!("/api/v1/proxies/{}", again["id"].as_str().unwrap());
    let (status, given) = other.post(&format!("{own}/confirm"), json!({})).await;
    assert_eq!((status, given["state"].as_str()), (200, Some("in-force")), "{given}");
    assert_eq!(given["confirmed"]["way"], "second-person");
    let (_, listed) = amina.get(&proxies).await;
    assert_eq!(listed["items"][0]["confirmed"]["display"], "Test other", "the patient sees who");
    world.stop().await;
}

#[tokio::test]
async fn notices_reach_every_role_page_by_page() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let (desk, other) =
        (world.staff("desk", Role::FrontDesk).await, world.staff("other", Role::FrontDesk).await);
    let zawadi = world.patient("Zawadi").await;
    let (_, me) = zawadi.get("/api/v1/me").await;
    let name = me["display"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(unseen(&other).await, 0);
    let proxies = format!("/api/v1/patients/{}/proxies", amina.id());
    let grant = json!({"contact": me["phone"], "family": name, "basis": "court", "relationship": "GUARD"});
    for _ in 0..3 {
        let (_, asked) = desk.post(&proxies, grant.clone()).await;
        let end = format!("/api/v1/proxies/{}/end", asked["id"].as_str().unwrap());
        assert_eq!(other.post(&end, json!({})).await.0, 204);
    }
    assert_eq!((unseen(&desk).await, unseen(&other).await, unseen(&amina).await), (3, 3, 0));
    let (_, hers) = desk.get("/api/v1/notices?unseen=true").await;
    assert_eq!(topics(&hers), ["proxy.refused"; 3]);
    assert!(hers["items"][0].get("role").is_none());
    let (_, first) = other.get("/api/v1/notices?limit=2").await;
    assert_eq!(topics(&first), ["proxy.asked"; 2]);
    assert_eq!(first["items"][0]["role"], "front-desk");
    let next = format!("/api/v1/notices?limit=2&cursor={}", first["next"].as_str().unwrap());
    let (_, second) = other.get(&next).await;
    assert_eq!((topics(&second).len(), second.get("next")), (1, None));
    // Up to the second one: the newest stays new.
    let through = json!({"through": first["items"][1]["id"]});
    assert_eq!(other.post("/api/v1/notices/seen", through.clone()).await.0, 204);
    assert_eq!((unseen(&other).await, unseen(&desk).await), (1, 3));
    let newest = first["items"][0]["id"].as_str().unwrap();
    assert_eq!(other.post(&format!("/api/v1/notices/{newest}/seen"), json!({})).await.0, 204);
    assert_eq!(unseen(&other).await, 0);
    assert_eq!(amina.post(&format!("/api/v1/notices/{newest}/seen"), json!({})).await.0, 404);
    assert_eq!(world.client("system/*.cruds").await.get("/api/v1/notices/unseen").await.0, 403);
    world.stop().await;
}

#[tokio::test]
async fn the_review_ends_care_that_an_emergency_gave() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let (doctor, friend) =
        (world.staff("doctor", Role::Doctor).await, world.staff("friend", Role::Doctor).await);
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let ask = json!({"patient_id": amina.id(), "reason": "unconscious", "explanation": "Found at the gate, not breathing."});
    let (_, begun) = doctor.post("/api/v1/emergency-access", ask).await;
    let team = json!({"resourceType": "CareTeam", "status": "active",
        "subject": {"reference": format!("Patient/{}", amina.id())},
        "participant": [{"member": {"reference": format!("Practitioner/{}", friend.id())}}]});
    let (status, team) = doctor.post("/fhir/R4/CareTeam", team).await;
    assert_eq!(status, 201, "{team}");
    let chart = format!("/api/v1/patients/{}/chart", amina.id());
    assert_eq!(friend.get(&chart).await.0, 200);
    let given = format!("/api/v1/emergency-access/{}/given", begun["id"].as_str().unwrap());
    for who in [&doctor, &friend, &amina] {
        assert_eq!(who.get(&given).await.0, 403);
    }
    let (status, found) = officer.get(&given).await;
    assert_eq!(status, 200, "{found}");
    let row = &found["care"][0];
    assert_eq!(
        (row["display"].as_str(), row["state"].as_str()),
        (Some("friend Otieno"), Some("bound")),
        "{found}"
    );
    // The database keeps microseconds.
    let micros = |at: &Value| at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
    assert_eq!(row["written_by_display"], "Test doctor");
    assert_eq!(micros(&row["until"]), micros(&begun["until"]));
    let end = json!({"source": row["source"], "practitioner_id": friend.id(), "keep": false});
    assert_eq!(doctor.post(&given, end.clone()).await.0, 403);
    assert_eq!(officer.post(&given, end).await.0, 204);
    assert_ne!(friend.get(&chart).await.0, 200);
    let (_, found) = officer.get(&given).await;
    assert_eq!(found["care"][0]["state"], "ended");
    assert_eq!(found["care"][0]["decided_by_display"], "Test officer");
    world.stop().await;
}
