//! What administrators and privacy officers look after in other people's accounts.

use crate::harness::World;
use access::Role;
use serde_json::json;

#[tokio::test]
async fn an_invitation_is_seen_and_withdrawn() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let clerk = world.staff("clerk", Role::Cashier).await;
    let amina = world.patient("Amina").await;
    let user = json!({"display": "Peter Kamau", "login": "peter", "roles": ["cashier"], "language": "sw"});
    let (status, made) =
        chief.post("/api/v1/admin/users/invitations", json!({"user": user, "by": "shown"})).await;
    assert_eq!((status, &made["user"]["has_password"]), (201, &json!(false)), "{made}");
    let own = format!("/api/v1/admin/users/{}", made["user"]["id"].as_str().unwrap());
    let (status, before) = chief.get(&format!("{own}/protection")).await;
    assert_eq!(status, 200, "{before}");
    let second = |value: &serde_json::Value| value.as_str().unwrap()[..19].to_owned();
    assert_eq!(second(&before["invited_until"]), second(&made["expires_at"]));
    assert_eq!(clerk.get(&format!("{own}/protection")).await.0, 403);
    assert_eq!(chief.delete(&format!("{own}/invitation")).await.0, 204);
    assert_eq!(chief.delete(&format!("{own}/invitation")).await.0, 404, "it is gone");
    let (_, after) = chief.get(&format!("{own}/protection")).await;
    assert!(after["invited_until"].is_null(), "{after}");
    assert_eq!(chief.patch(&own, json!({"disabled": true})).await.0, 200);
    assert_eq!(chief.get(&format!("{own}/protection")).await.0, 200, "of a closed account too");
    let token = made["link"].as_str().unwrap().split('#').nth(1).unwrap();
    let (_, problem) = world.anonymous().post("/api/v1/auth/link", json!({"token": token})).await;
    assert_eq!(problem["code"], "link-expired");

    let names = |list: &serde_json::Value| -> Vec<String> {
        list["items"].as_array().unwrap().iter().map(|u| u["display"].as_str().unwrap().to_owned()).collect()
    };
    let (_, staff) = chief.post("/api/v1/admin/users/search", json!({"kind": "staff"})).await;
    assert_eq!(names(&staff), ["Peter Kamau", "Test clerk", "Test chief"]);
    let (_, patients) = chief.post("/api/v1/admin/users/search", json!({"kind": "patients"})).await;
    assert_eq!(patients["items"][0]["patient_id"], amina.id());
    assert_eq!(patients["items"].as_array().unwrap().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn privacy_officers_name_people_and_see_what_waits() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let clerk = world.staff("clerk", Role::Cashier).await;
    let (status, found) = officer.post("/api/v1/admin/people/search", json!({"q": "CLERK"})).await;
    assert_eq!((status, &found["items"][0]["display"]), (200, &json!("Test clerk")), "{found}");
    assert!(found["items"][0]["phone"].is_null());
    let ids = format!("/api/v1/admin/people?ids={},{},999", chief.account, clerk.account);
    assert_eq!(officer.get(&ids).await.1["items"].as_array().unwrap().len(), 2);
    assert_eq!(officer.get("/api/v1/admin/people?ids=x").await.0, 400);
    assert_eq!(clerk.get("/api/v1/admin/people?ids=1").await.0, 403);
    assert_eq!(clerk.post("/api/v1/admin/people/search", json!({})).await.0, 403);
    assert_eq!(clerk.get("/api/v1/admin/attention").await.0, 403);
    let (_, quiet) = officer.get("/api/v1/admin/attention").await;
    assert_eq!((&quiet["rights_waiting"], &quiet["guessed_accounts"]), (&json!(0), &json!([])), "{quiet}");
    let edit = json!({"role": "cashier", "class": "appointment", "verb": "read", "reach": "everyone", "reason": "Two desks."});
    let (status, asked) = chief.put("/api/v1/admin/rights", edit).await;
    assert_eq!(status, 202, "{asked}");
    let wrong = json!({"login": "clerk", "password": "not-her-password"});
    for _ in 0..6 {
        world.anonymous().post("/api/v1/auth/login", wrong.clone()).await;
    }
    // Failures are counted behind the answer; each look takes its time.
    let mut busy = json!({"guessed_accounts": []});
    for _ in 0..500 {
        busy = officer.get("/api/v1/admin/attention").await.1;
        if busy["guessed_accounts"] != json!([]) {
            break;
        }
    }
    assert_eq!(busy["rights_waiting"], 1, "{busy}");
    assert_eq!(busy["guessed_accounts"][0]["display"], "Test clerk", "{busy}");
    let (_, table) = officer.get("/api/v1/admin/rights").await;
    assert_eq!(table["changes"][0]["by"], "Test chief");
    let change = format!("/api/v1/admin/rights/changes/{}/refuse", asked["id"].as_str().unwrap());
    assert_eq!(officer.post(&change, json!({})).await.0, 204);
    let (_, table) = chief.get("/api/v1/admin/rights").await;
    assert_eq!(table["changes"][0]["decided_by_name"], "Test officer");
    world.stop().await;
}

#[tokio::test]
async fn an_entry_names_the_versions_around_it() {
    let world = World::start().await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let desk = world.staff("desk", Role::FrontDesk).await;
    let amina = world.patient("Amina").await;
    let path = format!("/fhir/R4/Patient/{}", amina.id());
    let (_, mut patient) = desk.get(&path).await;
    patient["gender"] = json!("other");
    assert_eq!(desk.put(&path, patient).await.0, 200);
    let list = format!("/api/v1/admin/audit?patient_id={}&agent=account/{}", amina.id(), desk.account);
    let (_, rows) = officer.get(&list).await;
    let seq = |action: &str| {
        let rows = rows["items"].as_array().unwrap();
        rows.iter().find(|row| row["action"] == action).unwrap()["seq"].as_i64().unwrap()
    };
    let entry = |row: i64| format!("/api/v1/admin/audit/entries/{row}");
    let (status, written) = officer.get(&entry(seq("update"))).await;
    assert_eq!(status, 200, "{written}");
    let version = |n: u32| json!(format!("Patient/{}/_history/{n}", amina.id()));
    assert_eq!((&written["before"], &written["after"]), (&version(1), &version(2)));
    let (_, looked) = officer.get(&entry(seq("read"))).await;
    assert!(looked["before"].is_null() && looked["after"].is_null(), "{looked}");
    assert_eq!(officer.get(&entry(999_999)).await.0, 404);
    assert_eq!(desk.get(&entry(seq("read"))).await.0, 403);
    // Filters by purpose and application.
    let (_, none) = officer.get("/api/v1/admin/audit?purpose=BTG").await;
    assert_eq!(none["items"], json!([]));
    let client = world.client("system/Patient.rs").await;
    client.get(&path).await;
    assert_eq!(officer.get("/api/v1/admin/audit?purpose=FUN").await.0, 400);
    assert_eq!(officer.get("/api/v1/admin/audit?client=nobody").await.1["items"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn signing_keys_and_devices_are_listed_and_renewed() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let (status, before) = chief.get("/api/v1/admin/oauth-keys").await;
    assert_eq!(status, 200, "{before}");
    let signing = |list: &serde_json::Value| {
        list["items"].as_array().unwrap().iter().filter(|key| key["is_signing"] == true).count()
    };
    assert_eq!(signing(&before), 2, "one of each kind: {before}");
    assert_eq!(chief.post("/api/v1/admin/oauth-keys/rotate", json!({})).await.0, 204);
    let (_, after) = chief.get("/api/v1/admin/oauth-keys").await;
    assert_eq!((after["items"].as_array().unwrap().len(), signing(&after)), (4, 2), "{after}");
    assert_eq!(officer.get("/api/v1/admin/oauth-keys").await.0, 403);

    assert_eq!(chief.post("/api/v1/auth/device", json!({"name": "Tablet, ward 3"})).await.0, 204);
    let (_, devices) = chief.get("/api/v1/admin/devices").await;
    let own = format!("/api/v1/admin/devices/{}", devices["items"][0]["id"].as_str().unwrap());
    assert_eq!(chief.patch(&own, json!({"name": " Tablet,  ward 4 "})).await.0, 204);
    assert_eq!(chief.patch(&own, json!({"name": " "})).await.0, 422);
    assert_eq!(officer.patch(&own, json!({"name": "Mine"})).await.0, 403);
    let (_, devices) = chief.get("/api/v1/admin/devices").await;
    assert_eq!(devices["items"][0]["name"], "Tablet, ward 4");
    world.stop().await;
}
