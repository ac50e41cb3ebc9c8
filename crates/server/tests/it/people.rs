//! What people see and decide about their own records: consents with their evidence, who acts for whom, who looked.

use crate::harness::{PASSWORD, World};
use access::Role;
use serde_json::{Value, json};

fn said(decision: &str) -> Value {
    json!({"decision": decision, "text_version": "sharing-1", "text": "Dr Otieno may not see my results.",
        "language": "en"})
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().unwrap()
}

async fn child(world: &World) -> String {
    let patient = json!({"resourceType": "Patient", "active": true, "gender": "male", "birthDate": "2020-05-06",
        "name": [{"family": "Wanjiru", "given": ["Baraka"]}]});
    world.put(patient).await.id
}

#[tokio::test]
async fn the_desk_keeps_consents_without_reading_what_they_hide() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let desk = world.staff("desk", Role::FrontDesk).await;
    let doctor = world.staff("doctor", Role::Doctor).await;
    let consents = format!("/api/v1/patients/{}/consents", amina.id());
    let mut sealed = said("permit");
    sealed["categories"] = json!(["HIV"]);
    sealed["actors"] = json!([{"practitioner": doctor.id()}]);
    let (status, given) = amina.post(&consents, sealed).await;
    assert_eq!(status, 201, "{given}");
    assert_eq!(given["parties"][0]["name"], "doctor Otieno", "{given}");
    assert_eq!((given["categories"][0].as_str(), given["veiled"].as_bool()), (Some("HIV"), Some(false)));
    assert_eq!(given["text"], "Dr Otieno may not see my results.");

    let (status, seen) = desk.get(&consents).await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!((&seen["items"][0]["categories"], &seen["items"][0]["text"]), (&json!([]), &json!("")));
    assert_eq!(seen["items"][0]["veiled"], true);
    assert_eq!(world.staff("cashier", Role::Cashier).await.get(&consents).await.0, 403);

    // What the desk wrote down says so.
    let (_, written) = desk.post(&consents, said("deny")).await;
    assert_eq!(
        (written["recorded_by"].as_str(), written["given_by_name"].as_str()),
        (Some("Test desk"), Some("Amina Wanjiru"))
    );
    let own = format!("/api/v1/consents/{}", written["id"].as_str().unwrap());
    assert_eq!(desk.post(&format!("{own}/withdraw"), json!({})).await.0, 200);
    for reader in [&amina, &desk] {
        let (status, versions) = reader.get(&format!("{own}/versions")).await;
        assert_eq!(status, 200, "{versions}");
        let statuses: Vec<&str> = items(&versions).iter().map(|v| v["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["inactive", "active"]);
    }
    world.stop().await;
}

#[tokio::test]
async fn somebody_decides_for_a_child_and_acts_for_it() {
    let world = World::start().await;
    let mut amina = world.patient("Amina").await;
    let desk = world.staff("desk", Role::FrontDesk).await;
    let child = child(&world).await;
    let (consents, proxies) =
        (format!("/api/v1/patients/{child}/consents"), format!("/api/v1/patients/{child}/proxies"));
    let (status, refused) = desk.post(&consents, said("deny")).await;
    assert_eq!((status, refused["code"].as_str()), (422, Some("guardian-needed")), "{refused}");
    let mut by_mother = said("deny");
    by_mother["given_by"] = json!({"guardian": {"name": "Amina Wanjiru", "relationship": "MTH"}});
    let (status, given) = desk.post(&consents, by_mother).await;
    assert_eq!((status, given["given_by_name"].as_str()), (201, Some("Amina Wanjiru")), "{given}");

    let grant = |contact: &str, family: &str| json!({"contact": contact, "family": family, "basis": "parent", "relationship": "MTH"});
    let (_, me) = amina.get("/api/v1/me").await;
    let (phone, name) =
        (me["phone"].as_str().unwrap().to_owned(), me["display"].as_str().unwrap().to_owned());
    for (contact, family) in [(phone.as_str(), "Somebody"), ("+254700000000", "amina-1"), ("amina", "amina")]
    {
        let (status, refused) = desk.post(&proxies, grant(contact, family)).await;
        assert_eq!((status, refused["code"].as_str()), (422, Some("account-unknown")), "{contact} {family}");
    }
    let (status, granted) = desk.post(&proxies, grant(&phone, name.rsplit(' ').next().unwrap())).await;
    assert_eq!(status, 201, "{granted}");
    assert_eq!(granted["patient"]["name"]["given"], "Baraka");
    assert_eq!(
        (granted["relationship"].as_str(), granted["display"].as_str()),
        (Some("MTH"), Some(name.as_str()))
    );

    // A new role ends the sessions from before.
    assert_eq!(amina.get("/api/v1/me/acting-for").await.0, 401);
    let login = name.rsplit(' ').next().unwrap();
    amina.token = world.app().record.login(login, PASSWORD, None).await.unwrap().token;
    let (_, acting) = amina.get("/api/v1/me/acting-for").await;
    assert_eq!(items(&acting)[0]["patient"]["name"]["given"], "Baraka", "{acting}");
    // She consents as who she is to the child, although she is a patient herself.
    let (status, hers) = amina.post(&consents, said("deny")).await;
    assert_eq!(status, 201, "{hers}");
    assert_eq!(hers["given_by"], format!("RelatedPerson/{}", granted["related_person_id"].as_str().unwrap()));
    // Who decides for the child may know who looked.
    let who = format!("/api/v1/patients/{child}/who-saw");
    let (status, seen) = amina.get(&who).await;
    assert_eq!(status, 200, "{seen}");
    assert!(items(&seen).iter().any(|s| s["action"] == "proxy.grant"), "{seen}");
    let end = format!("/api/v1/proxies/{}/end", granted["id"].as_str().unwrap());
    assert_eq!(amina.post(&end, json!({})).await.0, 204);
    assert_eq!(items(&amina.get("/api/v1/me/acting-for").await.1), &[] as &[Value]);
    assert_ne!(amina.post(&consents, said("deny")).await.0, 201);
    assert_eq!(amina.get(&who).await.0, 404);
    world.stop().await;
}

#[tokio::test]
async fn patients_see_emergencies_and_choose_what_to_see() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let other = world.patient("Zuhura").await;
    let doctor = world.staff("doctor", Role::Doctor).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let ask = json!({"patient_id": amina.id(), "reason": "unconscious", "explanation": "Found at the gate, not breathing."});
    let (status, begun) = doctor.post("/api/v1/emergency-access", ask).await;
    assert_eq!((status, begun["patient"]["name"]["given"].as_str()), (201, Some("Amina")), "{begun}");
    let chart = format!("/api/v1/patients/{}/chart", amina.id());
    assert_eq!(doctor.get(&chart).await.0, 200);
    let review = format!("/api/v1/emergency-access/{}/review", begun["id"].as_str().unwrap());
    let verdict = json!({"verdict": "unjustified", "note": "Talk to him on Monday."});
    assert_eq!(officer.post(&review, verdict).await.0, 204);

    let own = format!("/api/v1/patients/{}/emergency-access", amina.id());
    let (_, seen) = amina.get(&own).await;
    let one = &items(&seen)[0];
    assert_eq!(
        (one["display"].as_str(), one["reason"].as_str()),
        (Some("Test doctor"), Some("unconscious")),
        "{one}"
    );
    assert_eq!(
        (one["review"]["verdict"].as_str(), one["review"]["note"].as_str()),
        (Some("unjustified"), Some(""))
    );
    assert_eq!(items(&officer.get(&own).await.1)[0]["review"]["note"], "Talk to him on Monday.");
    assert_eq!((other.get(&own).await.0, doctor.get(&own).await.0), (404, 403));

    let who = format!("/api/v1/patients/{}/who-saw", amina.id());
    let (_, emergencies) = amina.get(&format!("{who}?kind=emergencies")).await;
    assert!(
        items(&emergencies).iter().all(|s| s["purpose"] == "BTG" && s["agent"] == "Test doctor"),
        "{emergencies}"
    );
    let (_, others) = amina.get(&format!("{who}?own=false")).await;
    assert!(items(&others).iter().all(|s| s["role"] != "patient"), "{others}");
    let (_, changes) = amina.get(&format!("{who}?kind=changes&own=false")).await;
    assert!(items(&changes).iter().any(|s| s["action"] == "emergency.begin"), "{changes}");
    assert!(items(&changes).iter().all(|s| s["action"] != "read"), "{changes}");
    assert_eq!(amina.get(&format!("{who}?kind=nonsense")).await.0, 400);
    let (_, later) = amina.get(&format!("{who}?from=2999-01-01")).await;
    assert_eq!(items(&later), &[] as &[Value]);
    world.stop().await;
}

#[tokio::test]
async fn staff_find_the_applications_that_can_be_launched() {
    let world = World::start().await;
    let administrator = world.staff("administrator", Role::Administrator).await;
    let doctor = world.staff("doctor", Role::Doctor).await;
    let client = |name: &str, launch: Option<&str>| {
        json!({"name": name, "authentication": "none", "scopes": ["launch", "patient/Observation.rs"],
            "redirect_uris": ["https://charts.example/back"], "launch_url": launch})
    };
    for body in [client("Growth", Some("https://charts.example/launch")), client("Other", None)] {
        let (status, made) = administrator.post("/api/v1/admin/clients", body).await;
        assert_eq!(status, 201, "{made}");
    }
    let (_, found) = doctor.get("/api/v1/oauth/launchable").await;
    let names: Vec<&str> = items(&found).iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["Growth"], "{found}");
    let amina = world.patient("Amina").await;
    assert_eq!(items(&amina.get("/api/v1/oauth/launchable").await.1), &[] as &[Value]);
    world.stop().await;
}
