//! facts/security-controls.md Z10: what a subscription may not tell any more it does not tell.

use super::*;
use access::Role;

#[tokio::test(flavor = "multi_thread")]
async fn they_end_by_consent_and_with_their_client() {
    let world = world().await;
    let endpoint = Endpoint::start().await;
    let client = world.client("system/Subscription.cruds system/Observation.rs system/Patient.rs").await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url, "payload": "application/fhir+json"});
    let id = subscribe(&client, classic("Observation", channel)).await;
    becomes(&client, &id, "active").await;
    let see = async |patient: &Signed| world.put(observation(patient.id(), "718-7")).await.id;
    let first = see(&amina).await;
    assert_eq!(endpoint.received(1).await[0].json()["id"], json!(first));

    // What Amina closes to other systems is no event any more; Zawadi's still are.
    let me = world.app().record.clients(&world.ctx()).await.unwrap();
    let client_id = me.iter().map(|row| row.client_id.clone()).next_back().unwrap();
    let deny = json!({"decision": "deny", "text_version": "sharing-1", "language": "en", "text": "No other systems.",
        "actors": [{"client": client_id}]});
    let (status, given) = amina.post(&format!("/api/v1/patients/{}/consents", amina.id()), deny).await;
    assert_eq!(status, 201, "{given}");
    see(&amina).await;
    let control = see(&zawadi).await;
    assert_eq!(endpoint.received(2).await[1].json()["id"], json!(control));

    // The client is disabled: nothing leaves, and the subscription says that it has ended.
    let boss = world.staff("boss", Role::Administrator).await;
    let (status, answer) =
        boss.patch(&format!("/api/v1/admin/clients/{client_id}"), json!({"disabled": true})).await;
    assert_eq!(status, 200, "{answer}");
    see(&zawadi).await;
    let other = world.client("system/*.cruds").await;
    let (_, shown) = other.get(&format!("/fhir/R4/Subscription/{id}")).await;
    assert_ne!(shown["status"], "entered-in-error");
    let again = Endpoint::start().await;
    let channel = json!({"type": "rest-hook", "endpoint": again.url, "payload": "application/fhir+json"});
    let second = subscribe(&other, classic("Observation", channel)).await;
    becomes(&other, &second, "active").await;
    let last = see(&zawadi).await;
    assert_eq!(again.received(1).await[0].json()["id"], json!(last));
    assert_eq!(endpoint.received(2).await.len(), 2, "nothing to who may not");
    world.stop().await;
}
