//! facts/security-controls.md I5, I6: what ends on one server has ended on the other a second later. On PostgreSQL, where
//! two servers share a database.

use crate::harness::{PASSWORD, Signed, World};
use crate::live::{close_code, frame, open};
use crate::oauth_app::App;
use crate::postgres::Database;
use access::Role;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The control's own limits.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// Asks until it is refused: no request that was sent later than a second after the change is answered. Counted from the
/// moment a request is sent, so a loaded machine makes no difference.
async fn refused(who: &Signed, path: &str, status: u16, what: &str) {
    let changed = Instant::now();
    loop {
        let asked = changed.elapsed();
        let got = who.get(path).await.0;
        if got == status {
            return;
        }
        assert!(asked <= REFUSED_WITHIN, "{what}: {got} to a request sent {asked:?} after the change");
    }
}

async fn login(world: &World, name: &str) -> Signed {
    let body = json!({"login": name, "password": PASSWORD});
    let (status, session) = world.anonymous().post("/api/v1/auth/login?token=true", body).await;
    assert_eq!(status, 200, "{session}");
    let mut who = world.anonymous();
    who.token = session["token"].as_str().unwrap().to_owned();
    who
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_here_ends_there() {
    let Some(database) = Database::make() else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    let first = database.serve().await;
    let second = database.serve_beside(&first).await;
    let boss = first.staff("boss", Role::Administrator).await;
    let nurse = first.staff("zawadi", Role::Nurse).await;
    let cashier = first.staff("cashier", Role::Cashier).await;
    let amina = first.patient("Amina").await;
    let user = format!("/api/v1/admin/users/{}", nurse.account);
    let me = "/api/v1/me";

    // One session of several, by its owner.
    let here = login(&first, "zawadi").await;
    let there = login(&first, "zawadi").await.at(second.url());
    let mut socket = open(&second, &there, None).await.unwrap();
    assert_eq!(frame(&mut socket).await["type"], "ready");
    let (_, list) = there.get("/api/v1/auth/sessions").await;
    let current = list["items"].as_array().unwrap().iter().find(|s| s["is_current"] == true).unwrap();
    let path = format!("/api/v1/auth/sessions/{}", current["id"].as_str().unwrap());
    assert_eq!(here.delete(&path).await.0, 204);
    refused(&there, me, 401, "a session ended by its owner").await;
    let closed = tokio::time::timeout(CLOSED_WITHIN, close_code(&mut socket)).await;
    assert_eq!(closed.expect("its WebSocket is closed within five seconds"), 4401);

    // All of somebody's, by an administrator; then by new roles; then by disabling.
    let ends: [(&str, &str, Value); 3] = [
        ("POST", "/sign-out", json!({})),
        ("PATCH", "", json!({"roles": ["front-desk"]})),
        ("PATCH", "", json!({"disabled": true})),
    ];
    for (method, rest, body) in ends {
        let there = login(&first, "zawadi").await.at(second.url());
        let mut socket = open(&second, &there, None).await.unwrap();
        assert_eq!(frame(&mut socket).await["type"], "ready");
        assert_eq!(there.get(me).await.0, 200);
        let done = boss.request(method, &format!("{user}{rest}")).json(&body).send().await.unwrap();
        assert!(done.status().is_success(), "{method} {rest}: {}", done.status());
        refused(&there, me, 401, rest).await;
        let closed = tokio::time::timeout(CLOSED_WITHIN, close_code(&mut socket)).await;
        assert_eq!(closed.expect("its WebSocket is closed within five seconds"), 4401, "{method} {rest}");
    }

    // What an application was granted: taken back, and ended with the password.
    let scope = "patient/*.rs offline_access";
    let app = App::for_people(&first, scope, false).await;
    for take in ["grant", "password"] {
        let tokens = app.granted(&amina, scope, json!({"approve": true})).await;
        let mut lent = second.anonymous();
        lent.token = tokens["access_token"].as_str().unwrap().to_owned();
        let read = format!("/fhir/R4/Patient/{}", amina.id());
        assert_eq!(lent.get(&read).await.0, 200);
        if take == "grant" {
            let (_, grants) = amina.get("/api/v1/oauth/grants").await;
            let id = grants["items"][0]["id"].as_str().unwrap();
            assert_eq!(amina.delete(&format!("/api/v1/oauth/grants/{id}")).await.0, 204);
        } else {
            let change = json!({"old_password": PASSWORD, "new_password": "another long phrase"});
            assert_eq!(amina.post("/api/v1/auth/change-password", change).await.0, 204);
        }
        refused(&lent, &read, 401, take).await;
    }

    // Rights: the table is narrower.
    let there = cashier.at(second.url());
    assert_eq!(there.get("/fhir/R4/Invoice").await.0, 200);
    let edit = json!({"role": "cashier", "class": "billing", "verb": "read", "reach": "nobody", "reason": "Two desks."});
    assert_eq!(boss.put("/api/v1/admin/rights", edit).await.0, 200);
    refused(&there, "/fhir/R4/Invoice", 403, "rights").await;

    // And the clinic's rules for signing in.
    let there = cashier.at(second.url());
    assert_eq!(there.get("/api/v1/specialties").await.0, 200);
    let (_, mut rules) = boss.get("/api/v1/admin/security-policy").await;
    rules["required_roles"] = json!(["cashier"]);
    assert_eq!(boss.put("/api/v1/admin/security-policy", rules).await.0, 200);
    refused(&there, "/api/v1/specialties", 403, "a second factor is required").await;
    first.stop().await;
    second.stop().await;
}
