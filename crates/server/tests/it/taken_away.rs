//! facts/security-controls.md Z10 for whoever listens: once a right is gone, what is open delivers nothing more. Events keep
//! their order, so what was not delivered before a later one never was.

use crate::harness::{Signed, World, resource, set};
use crate::live::{Socket, frame, open, until};
use access::Role;
use serde_json::{Value, json};

fn visit(patient: &str, status: &str) -> Value {
    json!({"resourceType": "Encounter", "status": status, "class": {"code": "AMB"},
        "subject": {"reference": format!("Patient/{patient}")}})
}

fn team(id: &str, patient: &str, members: &[&Signed]) -> Value {
    let member = |who: &&Signed| json!({"member": {"reference": format!("Practitioner/{}", who.id())}});
    let mut team = json!({"resourceType": "CareTeam", "id": id, "status": "active",
        "subject": {"reference": format!("Patient/{patient}")}});
    if !members.is_empty() {
        team["participant"] = members.iter().map(member).collect();
    }
    team
}

async fn update(world: &World, value: Value) {
    let change = record::Change::Update { resource: resource(value), if_match: None };
    world.app().record.write(&world.ctx(), set(vec![change])).await.unwrap();
}

/// The visit of the next frame about one, and that none was about another before it.
async fn hears(socket: &mut Socket, key: &fhir::ResourceKey) {
    let (frame, _) = until(socket, "consultation_changed").await;
    assert_eq!(frame["data"]["id"], json!(key.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_updates_end_with_care_and_by_consent() {
    let world = World::start().await;
    let doctor = world.staff("doctor", Role::Doctor).await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    let in_team = world.put(team("x", amina.id(), &[&doctor])).await;
    // The doctor treats Zawadi all the time: her visits show that the line works.
    world.put(team("y", zawadi.id(), &[&doctor])).await;
    let mut socket = open(&world, &doctor, None).await.unwrap();
    assert_eq!(frame(&mut socket).await["type"], "ready");
    let first = world.put(visit(amina.id(), "planned")).await;
    hears(&mut socket, &first).await;

    // Out of the team: the next event already is none of hers.
    update(&world, team(&in_team.id, amina.id(), &[])).await;
    world.put(visit(amina.id(), "planned")).await;
    let control = world.put(visit(zawadi.id(), "planned")).await;
    hears(&mut socket, &control).await;

    // In it again, then by the patient's own word.
    update(&world, team(&in_team.id, amina.id(), &[&doctor])).await;
    let again = world.put(visit(amina.id(), "planned")).await;
    hears(&mut socket, &again).await;
    let deny = json!({"decision": "deny", "text_version": "sharing-1", "language": "en", "text": "Not the doctor.",
        "actors": [{"practitioner": doctor.id()}]});
    let (status, given) = amina.post(&format!("/api/v1/patients/{}/consents", amina.id()), deny).await;
    assert_eq!(status, 201, "{given}");
    world.put(visit(amina.id(), "planned")).await;
    let control = world.put(visit(zawadi.id(), "planned")).await;
    hears(&mut socket, &control).await;
    world.stop().await;
}

/// An emergency that is closed takes its live updates along.
#[tokio::test(flavor = "multi_thread")]
async fn live_updates_end_with_an_emergency() {
    let world = World::start().await;
    let doctor = world.staff("doctor", Role::Doctor).await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    world.put(team("y", zawadi.id(), &[&doctor])).await;
    let mut socket = open(&world, &doctor, None).await.unwrap();
    let ask = json!({"patient_id": amina.id(), "reason": "unconscious", "explanation": "Found at the gate, not breathing."});
    let (status, begun) = doctor.post("/api/v1/emergency-access", ask).await;
    assert_eq!(status, 201, "{begun}");
    let open_now = world.put(visit(amina.id(), "planned")).await;
    hears(&mut socket, &open_now).await;
    let end = format!("/api/v1/emergency-access/{}/end", begun["id"].as_str().unwrap());
    assert_eq!(doctor.post(&end, json!({})).await.0, 204);
    world.put(visit(amina.id(), "planned")).await;
    let control = world.put(visit(zawadi.id(), "planned")).await;
    hears(&mut socket, &control).await;
    world.stop().await;
}
