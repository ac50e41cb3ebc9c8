//! Break-glass, consents, proxies and changed rights over HTTP.

use crate::harness::World;
use access::Role;
use serde_json::{Value, json};

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";

fn condition(patient: &str, code: &str) -> Value {
    json!({"resourceType": "Condition", "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": ICD, "code": code}]}})
}

#[tokio::test]
async fn an_emergency_from_the_door_to_the_review() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let id = amina.id().to_owned();
    let doctor = world.staff("doctor", Role::Doctor).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let hiv = format!("/fhir/R4/{}", world.put(condition(&id, "B20")).await);
    assert_eq!(doctor.get(&hiv).await.0, 403);

    let ask = json!({"patient_id": id, "reason": "unconscious", "explanation": "Found at the gate, not breathing well."});
    assert_eq!(amina.post("/api/v1/emergency-access", ask.clone()).await.0, 403);
    let (status, begun) = doctor.post("/api/v1/emergency-access", ask.clone()).await;
    assert_eq!(status, 201, "{begun}");
    let (status, condition) = doctor.get(&hiv).await;
    assert_eq!(
        (status, condition["meta"]["security"][0]["code"].as_str()),
        (200, Some("HIV")),
        "{condition}"
    );
    assert_eq!(doctor.post("/api/v1/emergency-access", ask).await.0, 409);
    assert_eq!(doctor.get("/api/v1/emergency-access").await.1["items"][0]["id"], begun["id"]);
    // The patient sees it, and that it was an emergency.
    let (_, seen) = amina.get(&format!("/api/v1/patients/{id}/who-saw")).await;
    let purposes: Vec<&str> =
        seen["items"].as_array().unwrap().iter().filter_map(|s| s["purpose"].as_str()).collect();
    assert!(purposes.contains(&"BTG"), "{seen}");

    let own = format!("/api/v1/emergency-access/{}", begun["id"].as_str().unwrap());
    assert_eq!(doctor.post(&format!("{own}/end"), json!({})).await.0, 204);
    assert_eq!(doctor.get(&hiv).await.0, 403, "closed, at once");
    assert_eq!(doctor.get("/api/v1/emergency-access/queue").await.0, 403);
    let (_, queue) = officer.get("/api/v1/emergency-access/queue").await;
    assert_eq!(queue["items"][0]["id"], begun["id"]);
    let review = json!({"verdict": "justified", "note": ""});
    assert_eq!(doctor.post(&format!("{own}/review"), review.clone()).await.0, 403);
    assert_eq!(officer.post(&format!("{own}/review"), review).await.0, 204);
    assert_eq!(officer.get("/api/v1/emergency-access/queue").await.1["items"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn a_consent_and_its_withdrawal() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let id = amina.id().to_owned();
    let client = world.client("system/*.rs").await;
    let cold = format!("/fhir/R4/{}", world.put(condition(&id, "J06.9")).await);
    assert_eq!(client.get(&cold).await.0, 200);
    let consents = format!("/api/v1/patients/{id}/consents");
    let deny = json!({"decision": "deny", "actors": [{"role": "integration"}], "text_version": "privacy-1",
        "text": "No other system may read my record.", "language": "en"});
    let (status, given) = amina.post(&consents, deny).await;
    assert_eq!(status, 201, "{given}");
    assert_eq!(given["given_by"], format!("Patient/{id}"));
    assert_eq!(client.get(&cold).await.0, 403);
    let (_, found) = client.get(&format!("/fhir/R4/Condition?patient={id}&_total=accurate")).await;
    assert_eq!(found["total"], 0);
    assert_eq!(amina.get(&consents).await.1["items"][0]["decision"], "deny");
    let own = format!("/api/v1/consents/{}/withdraw", given["id"].as_str().unwrap());
    assert_eq!(amina.post(&own, json!({})).await.0, 200);
    assert_eq!(client.get(&cold).await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn rights_take_two_people_to_widen_and_can_be_explained() {
    let world = World::start().await;
    let administrator = world.staff("administrator", Role::Administrator).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let cashier = world.staff("cashier", Role::Cashier).await;
    let amina = world.patient("Amina").await;
    assert_eq!(cashier.get("/api/v1/admin/rights").await.0, 403);
    let edit = |reach: &str| json!({"role": "cashier", "class": "billing", "verb": "read", "reach": reach, "reason": "Two desks."});
    let (status, beyond) = administrator
        .put(
            "/api/v1/admin/rights",
            json!({"role": "administrator", "class": "result", "verb": "read",
            "reach": "everyone", "reason": "I want to look."}),
        )
        .await;
    assert_eq!((status, beyond["code"].as_str()), (422, Some("beyond-bounds")), "{beyond}");
    assert_eq!(administrator.put("/api/v1/admin/rights", edit("nobody")).await.0, 200);
    assert_eq!(cashier.get("/fhir/R4/Invoice").await.0, 403);
    let (status, asked) = administrator.put("/api/v1/admin/rights", edit("everyone")).await;
    assert_eq!(status, 202, "{asked}");
    let change = format!("/api/v1/admin/rights/changes/{}/agree", asked["id"].as_str().unwrap());
    assert_eq!(administrator.post(&change, json!({})).await.0, 422);
    assert_eq!(officer.post(&change, json!({})).await.0, 204);
    assert_eq!(cashier.get("/fhir/R4/Invoice").await.0, 200);
    let (_, table) = officer.get("/api/v1/admin/rights").await;
    assert_eq!(table["changes"].as_array().unwrap().len(), 2);

    let (_, users) = administrator.post("/api/v1/admin/users/search", json!({"q": "cashier"})).await;
    let account = users["items"][0]["id"].as_str().unwrap().to_owned();
    let explain = format!(
        "/api/v1/admin/rights/explain?account_id={account}&patient_id={}&type=Observation",
        amina.id()
    );
    let (status, why) = officer.get(&explain).await;
    assert_eq!(status, 200, "{why}");
    assert_eq!(why["allowed"], false);
    assert_eq!(why["steps"][0]["text"], "Cashier: may not see orders, vitals, results.");
    world.stop().await;
}
