//! The administrator's lists: jobs and dead letters, messages, integrations, audit.

use crate::harness::World;
use access::Role;
use serde_json::json;
use store::job::{self, NewJob};

#[tokio::test]
async fn dead_letters_are_seen_and_replayed() {
    // Without a worker nobody takes the job away from the test.
    let world = World::start_with(|config| config.worker.enabled = false).await;
    let it = world.staff("it", Role::It).await;
    let now = world.app().record.now();
    let store = world.app().record.store().clone();
    let id = store
        .write(move |tx| {
            let id =
                job::insert(tx, &NewJob::new("reminder", "reminder/1", json!({"appointment": "1"}), now))?;
            let leased = job::lease(tx, &["reminder"], 1, 60_000)?;
            job::bury(tx, id, leased[0].token, "no such appointment")?;
            Ok::<_, store::Error>(id)
        })
        .await
        .unwrap();
    let (status, list) = it.get("/api/v1/admin/jobs").await;
    assert_eq!(status, 200, "{list}");
    let row = &list["items"][0];
    assert_eq!((&row["id"], &row["state"]), (&json!(id.to_string()), &json!("dead")));
    assert_eq!(row["last_error"], "no such appointment");
    let path = format!("/api/v1/admin/jobs/{id}/replay");
    assert_eq!(it.post(&path, json!({})).await.0, 204);
    assert_eq!(it.post(&path, json!({})).await.0, 404, "it is not dead any more");
    assert_eq!(it.get("/api/v1/admin/jobs?state=ready").await.1["items"][0]["attempts"], 0);
    world.stop().await;
}

#[tokio::test]
async fn messages_are_listed_without_their_text() {
    let world = World::start_with(|config| config.worker.enabled = false).await;
    let it = world.staff("it", Role::It).await;
    let now = world.app().record.now();
    let id = uuid::Uuid::now_v7();
    let new = store::message::NewMessage::sms("+254712345678", "en", "code", "your code is 123456", now, id);
    world.app().record.store().write(move |tx| store::message::insert(tx, &new)).await.unwrap();
    let (status, list) = it.get("/api/v1/admin/messages?state=queued").await;
    assert_eq!(status, 200, "{list}");
    assert_eq!(list["items"][0]["to_masked"], "+254•••678");
    assert!(!list.to_string().contains("123456"));
    assert_eq!(
        it.post(&format!("/api/v1/admin/messages/{id}/retry"), json!({})).await.0,
        404,
        "it has not failed"
    );
    let (status, integrations) = it.get("/api/v1/admin/integrations").await;
    assert_eq!((status, integrations), (200, json!([])));
    world.stop().await;
}

#[tokio::test]
async fn denied_acts_are_in_the_audit() {
    let world = World::start().await;
    let juma = world.staff("juma", Role::Cashier).await;
    let boss = world.staff("boss", Role::Administrator).await;
    assert_eq!(juma.post("/api/v1/admin/users/search", json!({})).await.0, 403);
    let agent = format!("account/{}", juma.account);
    let (status, list) = boss.get(&format!("/api/v1/admin/audit?agent={agent}&from=2020-01-01")).await;
    assert_eq!(status, 200, "{list}");
    let denied = list["items"].as_array().unwrap().iter().find(|row| row["outcome"] == "denied");
    assert_eq!(denied.unwrap()["action"], "account.list", "{list}");
    world.stop().await;
}

#[tokio::test]
async fn an_administrator_cannot_lock_herself_out() {
    let world = World::start().await;
    let boss = world.staff("boss", Role::Administrator).await;
    let path = format!("/api/v1/admin/users/{}", boss.account);
    let (status, problem) = boss.patch(&path, json!({"disabled": true})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("own-account")), "{problem}");
    world.stop().await;
}
