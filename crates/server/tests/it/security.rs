//! Second factors, step-up, sessions, invitations and shared devices over real sockets.

use crate::harness::{PASSWORD, Signed, World, header, read};
use crate::live::{close_code, frame, open};
use crate::openapi::operations;
use access::Role;
use record::authn::{AccountChange, totp};
use serde_json::{Value, json};
use server::authorization::{ROUTES, Who};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

fn code(world: &World, secret: &Value, steps: i64) -> String {
    let at = world.app().record.now().checked_add(jiff::SignedDuration::from_secs(30 * steps)).unwrap();
    totp::code_at(secret.as_str().unwrap(), at).unwrap()
}

async fn login(world: &World, name: &str) -> (u16, Value) {
    let body = json!({"login": name, "password": PASSWORD});
    world.anonymous().post("/api/v1/auth/login?token=true", body).await
}

fn with(who: &Signed, token: &Value) -> Signed {
    let mut who = who.clone();
    who.token = token.as_str().unwrap().to_owned();
    who
}

/// facts/security-controls.md I1: nobody has a way into a new installation before somebody makes one.
#[tokio::test]
async fn a_new_installation_opens_to_nobody() {
    let world = World::start().await;
    let (record, ctx) = (&world.app().record, world.ctx());
    assert!(record.accounts(&ctx, None, 10, None).await.unwrap().0.is_empty());
    assert!(record.clients(&ctx).await.unwrap().is_empty());
    for name in ["admin", "administrator", "root", "uzima", "demo", "test"] {
        for password in ["", name, "password", "uzima"] {
            let body = json!({"login": name, "password": password});
            let status = world.anonymous().post("/api/v1/auth/login", body).await.0;
            assert!(matches!(status, 401 | 429), "{name} {password}: {status}");
        }
    }
    world.stop().await;
}

/// A session left open does not do what is worth more.
#[tokio::test]
async fn what_is_worth_more_asks_again() {
    let ahead_s = Arc::new(AtomicI64::new(0));
    let clock = ahead_s.clone();
    let world = World::start_at(Arc::new(move || {
        let ahead = jiff::SignedDuration::from_secs(clock.load(Ordering::SeqCst));
        jiff::Timestamp::now().checked_add(ahead).unwrap()
    }))
    .await;
    let chief = world.staff("chief", Role::Administrator).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let juma = world.staff("juma", Role::Cashier).await;
    ahead_s.store(11 * 60, Ordering::SeqCst);
    let path = format!("/api/v1/admin/users/{}", juma.account);
    let roles = json!({"roles": ["cashier", "front-desk"]});
    let user = json!({"display": "P", "login": "peter", "roles": ["cashier"], "language": "sw"});
    let invitation = json!({"user": user.clone(), "by": "shown"});
    for (method, path, body) in [
        ("PATCH", path.as_str(), roles.clone()),
        ("POST", &format!("{path}/reset-password"), Value::Null),
        ("POST", "/api/v1/admin/users", user),
        ("POST", "/api/v1/admin/users/invitations", invitation),
        ("DELETE", &format!("{path}/second-factor"), Value::Null),
        ("POST", "/api/v1/auth/totp", Value::Null),
        ("POST", "/api/v1/auth/phone", json!({"phone": "0712345678"})),
    ] {
        let (status, problem) = read(chief.request(method, path).json(&body).send().await.unwrap()).await;
        assert_eq!((status, &problem["code"]), (403, &json!("step-up-needed")), "{method} {path} {problem}");
        assert_eq!(problem["details"], json!({"factors": ["password"], "minutes": 10}));
    }
    let export = officer.request("GET", "/fhir/R4/$export").header("prefer", "respond-async");
    let (status, outcome) = read(export.send().await.unwrap()).await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (403, &json!("login")), "{outcome}");
    // What is not worth more goes on.
    assert_eq!(chief.patch(&path, json!({"display": "Juma"})).await.0, 200);

    let (status, problem) = chief.post("/api/v1/auth/step-up", json!({"password": "not it"})).await;
    assert_eq!(
        (status, &problem["code"], &problem["errors"][0]["field"]),
        (422, &json!("password-wrong"), &json!("/password"))
    );
    assert_eq!(chief.post("/api/v1/auth/step-up", json!({"password": PASSWORD})).await.0, 204);
    assert_eq!(chief.patch(&path, roles).await.0, 200);
    assert_eq!(officer.post("/api/v1/auth/step-up", json!({"password": PASSWORD})).await.0, 204);
    let export = officer.request("GET", "/fhir/R4/$export").header("prefer", "respond-async");
    assert_eq!(export.send().await.unwrap().status(), 202);
    world.stop().await;
}

/// The value of a cookie that an answer sets.
fn set_cookie(response: &reqwest::Response, name: &str) -> String {
    let cookies = response.headers().get_all("set-cookie").iter().filter_map(|v| v.to_str().ok());
    let prefix = format!("{name}=");
    let found = cookies.filter_map(|c| c.strip_prefix(&prefix)).next().unwrap();
    found.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_second_factor_is_asked_for() {
    let world = World::start().await;
    let nurse = world.staff("zawadi", Role::Nurse).await;
    let (status, state) = nurse.get("/api/v1/auth/session").await;
    assert_eq!(
        (status, &state["factors"], &state["second_factor_asked"]),
        (200, &json!(["password"]), &json!(true))
    );
    let (status, setup) = nurse.post("/api/v1/auth/totp", Value::Null).await;
    assert_eq!(status, 200, "{setup}");
    assert!(setup["qr_svg"].as_str().unwrap().contains("<svg"));
    let confirm = json!({"code": code(&world, &setup["secret"], -1)});
    let (status, codes) = nurse.post("/api/v1/auth/totp/confirm", confirm).await;
    assert_eq!((status, codes["recovery_codes"].as_array().unwrap().len()), (200, 10), "{codes}");

    let (status, pending) = login(&world, "zawadi").await;
    assert_eq!((status, &pending["factors"]), (202, &json!(["totp", "recovery-code"])), "{pending}");
    assert!(pending.get("token").is_none());
    let nobody = world.anonymous();
    let id = &pending["pending_id"];
    let both = json!({"pending_id": id, "code": "000000", "recovery_code": "x"});
    assert_eq!(nobody.post("/api/v1/auth/second-factor", both).await.1["code"], "proof-needed");
    let (status, problem) =
        nobody.post("/api/v1/auth/second-factor", json!({"pending_id": id, "code": "000000"})).await;
    assert_eq!(
        (status, &problem["code"], &problem["errors"][0]["field"]),
        (422, &json!("second-factor-wrong"), &json!("/code"))
    );
    let body = json!({"pending_id": id, "code": code(&world, &setup["secret"], 0)});
    let (status, session) = nobody.post("/api/v1/auth/second-factor?token=true", body.clone()).await;
    assert_eq!(status, 200, "{session}");
    assert_eq!(session["second_factor_asked"], false);
    let (status, state) = with(&nurse, &session["token"]).get("/api/v1/auth/session").await;
    assert_eq!((status, &state["factors"]), (200, &json!(["password", "totp"])));
    assert_eq!(nobody.post("/api/v1/auth/second-factor", body).await.1["code"], "sign-in-expired");
    let (_, security) = nurse.get("/api/v1/auth/security").await;
    assert_eq!((&security["recovery_codes_left"], &security["second_factor"]), (&json!(10), &json!("asked")));
    world.stop().await;
}

/// What a session is good for before the second factor is there.
pub const SETTING_UP: &[&str] = &[
    "/api/v1/me",
    "/api/v1/auth/session",
    "/api/v1/auth/security",
    "/api/v1/auth/logout",
    "/api/v1/auth/logout-everywhere",
    "/api/v1/auth/change-password",
    "/api/v1/auth/step-up",
    "/api/v1/auth/step-up/passkey",
    "/api/v1/auth/providers/{id}/step-up",
    "/api/v1/auth/totp",
    "/api/v1/auth/totp/confirm",
    "/api/v1/auth/passkeys",
    "/api/v1/auth/passkeys/options",
];

/// Every way in but `opens` that does not answer `second-factor-needed`.
pub async fn open_ways(who: &Signed, opens: &[&str]) -> Vec<String> {
    let mut open_ones = Vec::new();
    for (method, path, _) in operations() {
        if server::api::PUBLIC.contains(&(method.as_str(), path.as_str())) || opens.contains(&path.as_str()) {
            continue;
        }
        let filled: Vec<&str> = path.split('/').map(|p| if p.starts_with('{') { "0" } else { p }).collect();
        let request = who.request(&method.to_uppercase(), &filled.join("/"));
        let request = if method == "get" { request } else { request.json(&json!({})) };
        let (status, problem) = read(request.send().await.unwrap()).await;
        if (status, &problem["code"]) != (403, &json!("second-factor-needed")) {
            open_ones.push(format!("{method} {path}: {status} {}", problem["code"]));
        }
    }
    // The rest of the list that the router is held to.
    let others =
        ROUTES.iter().filter(|(_, route, _)| !route.starts_with("/api/") && !route.starts_with("/ws"));
    for (method, route, _) in others.filter(|(_, _, door)| matches!(door, Who::Scoped | Who::Rows)) {
        let path = [("{type}", "Patient"), ("{code}", "meta"), ("{in}", "Observation"), ("{version}", "1")]
            .iter()
            .fold((*route).to_owned(), |path, (name, value)| path.replace(name, value));
        let filled: Vec<&str> = path.split('/').map(|p| if p.starts_with('{') { "0" } else { p }).collect();
        for verb in
            if *method == "any" { vec!["get", "post", "put", "patch", "delete"] } else { vec![*method] }
        {
            let request = who.request(&verb.to_uppercase(), &filled.join("/"));
            let status = request.send().await.unwrap().status().as_u16();
            // A session is nothing to the endpoints for tokens; and some verbs are none of the route.
            let refused: &[u16] = if route.starts_with("/oauth/") { &[400, 401] } else { &[403] };
            if !refused.contains(&status) && status != 405 {
                open_ones.push(format!("{verb} {route}: {status}"));
            }
        }
    }
    open_ones
}

/// facts/security-controls.md I4: a flood of sign-ins hashes one after the other, and others go on working.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sign_ins_leaves_room_for_others() {
    let world = World::start_with(|config| config.limits.address_per_second = 0).await;
    let nurse = world.staff("zawadi", Role::Nurse).await;
    let flood: Vec<_> = (0..120)
        .map(|n| {
            let nobody = world.anonymous();
            tokio::spawn(async move {
                let body = json!({"login": format!("somebody-{n}"), "password": "a wrong password"});
                nobody.post("/api/v1/auth/login", body).await.0
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(nurse.get("/api/v1/me").await.0, 200);
    }
    let mut hashed = 0;
    for answer in flood {
        let status = answer.await.unwrap();
        // Hashed, or too many of one address, or too many waiting.
        assert!([401, 429, 503].contains(&status), "{status}");
        hashed += usize::from(status == 401);
    }
    assert!((1..=50).contains(&hashed), "{hashed}: fifty tries of one address");
    world.stop().await;
}

/// facts/security-controls.md I2: where the clinic requires it, nothing works by a password alone.
#[tokio::test]
async fn without_the_required_factor_nothing_works() {
    let world = World::start().await;
    let administrator = world.staff("chief", Role::Administrator).await;
    let nurse = world.staff("zawadi", Role::Nurse).await;
    let (status, mut rules) = administrator.get("/api/v1/admin/security-policy").await;
    assert_eq!((status, &rules["staff_idle_minutes"]), (200, &json!(15)));
    rules["second_factor"] = "required".into();
    assert_eq!(nurse.put("/api/v1/admin/security-policy", rules.clone()).await.0, 403);
    let mut wrong = rules.clone();
    wrong["staff_idle_minutes"] = 0.into();
    let (status, problem) = administrator.put("/api/v1/admin/security-policy", wrong).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("/staff_idle_minutes")));
    assert_eq!(administrator.put("/api/v1/admin/security-policy", rules).await.0, 200);

    let (status, session) = login(&world, "zawadi").await;
    assert_eq!((status, &session["due"]), (200, &json!("second-factor-needed")));
    let nurse = with(&nurse, &session["token"]);
    let open_ones = open_ways(&nurse, SETTING_UP).await;
    assert!(open_ones.is_empty(), "{}", open_ones.join("\n"));
    assert!(open(&world, &nurse, None).await.is_err(), "no live updates either");
    // Setting one up opens the rest, for this session too.
    let (_, setup) = nurse.post("/api/v1/auth/totp", Value::Null).await;
    let confirm = json!({"code": code(&world, &setup["secret"], 0)});
    assert_eq!(nurse.post("/api/v1/auth/totp/confirm", confirm).await.0, 200);
    assert_eq!(nurse.get("/api/v1/providers").await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn one_time_passwords_open_nothing_else() {
    let world = World::start().await;
    let administrator = world.staff("chief", Role::Administrator).await;
    let user = json!({"display": "Peter Kamau", "login": "peter", "roles": ["cashier"], "language": "sw"});
    let (status, made) = administrator.post("/api/v1/admin/users", user).await;
    assert_eq!(status, 201, "{made}");
    let password = made["one_time_password"].as_str().unwrap();
    let nobody = world.anonymous();
    let body = json!({"login": "peter", "password": password});
    let (_, session) = nobody.post("/api/v1/auth/login?token=true", body).await;
    assert_eq!(session["due"], "password-change-needed");
    let peter = with(&nobody, &session["token"]);
    let (status, problem) = peter.get("/api/v1/cashier/day").await;
    assert_eq!((status, &problem["code"]), (403, &json!("password-change-needed")));
    let change = json!({"old_password": password, "new_password": PASSWORD});
    assert_eq!(peter.post("/api/v1/auth/change-password", change).await.0, 204);
    let (_, session) = login(&world, "peter").await;
    assert!(session.get("due").is_none(), "{session}");
    assert_eq!(with(&nobody, &session["token"]).get("/api/v1/cashier/day").await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn staff_are_invited_by_a_link() {
    let world = World::start().await;
    let administrator = world.staff("chief", Role::Administrator).await;
    let user = json!({"display": "Peter Kamau", "login": "peter", "roles": ["cashier"], "language": "sw",
        "email": "peter@clinic.example"});
    let by = |by: &str| json!({"user": user, "by": by});
    let (status, problem) = administrator.post("/api/v1/admin/users/invitations", by("email")).await;
    assert_eq!((status, &problem["code"]), (422, &json!("email-unavailable")), "{problem}");
    let (status, made) = administrator.post("/api/v1/admin/users/invitations", by("shown")).await;
    assert_eq!(status, 201, "{made}");
    let token = made["link"].as_str().unwrap().split('#').nth(1).unwrap().to_owned();
    let nobody = world.anonymous();
    let (status, link) = nobody.post("/api/v1/auth/link", json!({"token": token})).await;
    assert_eq!((status, &link["purpose"], &link["login"]), (200, &json!("invitation"), &json!("peter")));
    let accept = |password: &str| json!({"token": token, "password": password});
    let (status, problem) = nobody.post("/api/v1/auth/link/accept", accept("iloveyou")).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("/password")));
    let (status, session) = nobody.post("/api/v1/auth/link/accept?token=true", accept(PASSWORD)).await;
    assert_eq!((status, &session["user"]["roles"]), (200, &json!(["cashier"])), "{session}");
    assert_eq!(nobody.post("/api/v1/auth/link/accept", accept(PASSWORD)).await.1["code"], "link-expired");
    assert_eq!(login(&world, "peter").await.0, 200);
    world.stop().await;
}

/// facts/security-controls.md I5: what another server ended closes sockets here as well.
#[tokio::test]
async fn ended_sessions_end_their_sockets() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let nurse = world.staff("zawadi", Role::Nurse).await;
    let (_, session) = login(&world, "zawadi").await;
    let second = with(&nurse, &session["token"]);
    let mut first_socket = open(&world, &nurse, None).await.unwrap();
    let mut second_socket = open(&world, &second, None).await.unwrap();
    for socket in [&mut first_socket, &mut second_socket] {
        assert_eq!(frame(socket).await["type"], "ready");
    }
    let (_, list) = nurse.get("/api/v1/auth/sessions").await;
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{list}");
    let other = items.iter().find(|s| s["is_current"] == false).unwrap()["id"].as_str().unwrap();
    assert_eq!(nurse.delete(&format!("/api/v1/auth/sessions/{other}")).await.0, 204);
    assert_eq!(nurse.delete(&format!("/api/v1/auth/sessions/{other}")).await.0, 404);
    assert_eq!(close_code(&mut second_socket).await, 4401);
    assert_eq!(second.get("/api/v1/me").await.0, 401);
    // A new token is the same session: its sockets stay.
    let (_, session) = nurse.post("/api/v1/auth/refresh-token?token=true", Value::Null).await;
    let nurse = with(&nurse, &session["token"]);
    assert_eq!(nurse.get("/api/v1/me").await.0, 200);
    // As another server does it: this one only has the database's word.
    let off = AccountChange { disabled: Some(true), ..AccountChange::default() };
    world.app().record.update_account(&world.ctx(), nurse.account, off).await.unwrap();
    assert_eq!(close_code(&mut first_socket).await, 4401);
    assert_eq!(nurse.get("/api/v1/me").await.0, 401);
    assert_eq!(chief.get("/api/v1/me").await.0, 200);
    let (_, list) = chief.get(&format!("/api/v1/admin/users/{}/sessions", nurse.account)).await;
    assert_eq!(list["items"], json!([]));
    world.stop().await;
}

/// facts/security-controls.md I1: two people on one tablet are two people in the audit.
#[tokio::test]
async fn people_change_over_on_a_tablet() {
    let world = World::start().await;
    let zawadi = world.staff("zawadi", Role::Nurse).await;
    let juma = world.staff("juma", Role::Nurse).await;
    let made = zawadi.request("POST", "/api/v1/auth/device").json(&json!({"name": "Tablet"}));
    let made = made.send().await.unwrap();
    assert_eq!(made.status(), 204);
    let tablet = format!("uzima-shared={}", set_cookie(&made, "uzima-shared"));
    for (who, pin) in [(&zawadi, "482913"), (&juma, "190375")] {
        let request = who.request("PUT", "/api/v1/auth/device/pin").header("cookie", &tablet);
        assert_eq!(request.json(&json!({"pin": pin})).send().await.unwrap().status(), 204);
    }
    let nobody = world.anonymous();
    let people = nobody.request("GET", "/api/v1/auth/device").header("cookie", &tablet);
    let (_, people) = read(people.send().await.unwrap()).await;
    assert_eq!(people["people"].as_array().unwrap().len(), 2, "{people}");
    assert_eq!(nobody.get("/api/v1/auth/device").await.1["code"], "device-unknown");

    let switch = |account: i64, pin: &str, cookie: String| {
        let body = json!({"account_id": account.to_string(), "pin": pin});
        let request = nobody.request("POST", "/api/v1/auth/switch").header("cookie", cookie);
        request.header("origin", world.url()).json(&body).send()
    };
    let first = switch(zawadi.account, "482913", tablet.clone()).await.unwrap();
    assert_eq!(first.status(), 200);
    let session = set_cookie(&first, "uzima");
    let as_first = format!("{tablet}; uzima={session}");
    let second = switch(juma.account, "190375", as_first.clone()).await.unwrap();
    assert_eq!(second.status(), 200);
    let as_second = format!("{tablet}; uzima={}", set_cookie(&second, "uzima"));
    assert!(header(&second, "set-cookie").contains("HttpOnly"));
    let me = |cookie: String| nobody.request("GET", "/api/v1/me").header("cookie", cookie).send();
    assert_eq!(me(as_first).await.unwrap().status(), 401, "whoever was there before is signed out");
    let (_, me) = read(me(as_second).await.unwrap()).await;
    assert_eq!(me["display"], "Test juma");
    let (status, problem) = read(switch(zawadi.account, "000001", tablet).await.unwrap()).await;
    assert_eq!((status, &problem["details"]["attempts_left"]), (422, &json!(2)), "{problem}");
    let filter = record::audit::AuditFilter { action: Some("login".into()), ..Default::default() };
    let page = world.app().record.audit_list(&world.ctx(), filter, None, 100).await.unwrap();
    let agents: BTreeSet<String> = page.rows.iter().map(|r| r.agent.clone()).collect();
    for who in [&zawadi, &juma] {
        assert!(agents.contains(&format!("account/{}", who.account)), "{agents:?}");
    }
    world.stop().await;
}
