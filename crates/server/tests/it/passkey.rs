//! Passkeys over HTTP with an authenticator that lives in the test, and what only a passkey opens.

use crate::authenticator::Authenticator;
use crate::harness::{PASSWORD, Signed, World};
use crate::security::{SETTING_UP, open_ways};
use access::Role;
use record::authn::totp;
use serde_json::{Value, json};

/// One that belongs to the server of this world.
fn authenticator(world: &World, seed: u8) -> Authenticator {
    let mut made = Authenticator::new(seed);
    made.site = "localhost";
    made.origin = format!("http://localhost:{}", world.running().address.port()).leak();
    made
}

fn with(world: &World, session: &Value) -> Signed {
    let mut who = world.anonymous();
    who.token = session["token"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
    who
}

async fn login(world: &World, name: &str) -> (u16, Value) {
    let body = json!({"login": name, "password": PASSWORD});
    world.anonymous().post("/api/v1/auth/login?token=true", body).await
}

async fn enrol(who: &Signed, authenticator: &mut Authenticator) -> (u16, Value) {
    let (status, begun) = who.post("/api/v1/auth/passkeys/options", json!({})).await;
    assert_eq!(status, 200, "{begun}");
    let credential = authenticator.create(&begun["options"]);
    let body = json!({"ceremony_id": begun["ceremony_id"], "name": "My phone", "credential": credential});
    who.post("/api/v1/auth/passkeys", body).await
}

async fn challenge(world: &World) -> Value {
    let (status, begun) = world.anonymous().post("/api/v1/auth/passkey/options", json!({})).await;
    assert_eq!(status, 200, "{begun}");
    begun["options"].clone()
}

async fn sign_in(world: &World, credential: &Value) -> (u16, Value) {
    world.anonymous().post("/api/v1/auth/passkey?token=true", json!({"credential": credential})).await
}

#[tokio::test]
async fn a_passkey_is_made_and_used_over_http() {
    let world = World::start().await;
    let nurse = world.staff("zawadi", Role::Nurse).await;
    let mut phone = authenticator(&world, 1);
    // Answers for another site or without the person are none.
    let mut foreign = authenticator(&world, 2);
    foreign.origin = "https://localhost.evil.example";
    assert_eq!(enrol(&nurse, &mut foreign).await.0, 422);
    let mut careless = authenticator(&world, 3);
    careless.flags = 0x01;
    assert_eq!(enrol(&nurse, &mut careless).await.0, 422);
    let (status, made) = enrol(&nurse, &mut phone).await;
    assert_eq!((status, made["recovery_codes"].as_array().map(Vec::len)), (200, Some(10)), "{made}");
    let (_, security) = nurse.get("/api/v1/auth/security").await;
    assert_eq!(security["passkeys"][0]["name"], "My phone");

    // Alone: without a name, without a password.
    let credential = phone.get(&challenge(&world).await);
    let (status, session) = sign_in(&world, &credential).await;
    assert_eq!((status, &session["user"]["display"]), (200, &json!("Test zawadi")), "{session}");
    let (_, state) = with(&world, &session).get("/api/v1/auth/session").await;
    assert_eq!(state["factors"], json!(["passkey"]));
    // Each answer once; to a challenge of this server only; from a page of this server only.
    assert_ne!(sign_in(&world, &credential).await.0, 200, "replayed");
    let mut options = challenge(&world).await;
    options["publicKey"]["challenge"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_ne!(sign_in(&world, &phone.get(&options)).await.0, 200, "a challenge of nobody's");
    let own = phone.origin;
    phone.origin = "https://localhost.evil.example";
    assert_ne!(sign_in(&world, &phone.get(&challenge(&world).await)).await.0, 200, "phished");
    phone.origin = own;
    let count = phone.count;
    phone.count = 0;
    assert_ne!(sign_in(&world, &phone.get(&challenge(&world).await)).await.0, 200, "a copy");
    phone.count = count;

    // After the password it is the second factor, and a step-up.
    let (status, pending) = login(&world, "zawadi").await;
    assert_eq!((status, &pending["factors"]), (202, &json!(["passkey", "recovery-code"])), "{pending}");
    let body = json!({"pending_id": pending["pending_id"]});
    let (_, begun) = world.anonymous().post("/api/v1/auth/second-factor/passkey", body).await;
    let body = json!({"pending_id": pending["pending_id"], "passkey": phone.get(&begun["options"])});
    let (status, session) = world.anonymous().post("/api/v1/auth/second-factor?token=true", body).await;
    assert_eq!(status, 200, "{session}");
    let second = with(&world, &session);
    let (_, begun) = second.post("/api/v1/auth/step-up/passkey", json!({})).await;
    let proof = json!({"passkey": phone.get(&begun["options"])});
    assert_eq!(second.post("/api/v1/auth/step-up", proof.clone()).await.0, 204);
    assert_ne!(second.post("/api/v1/auth/step-up", proof).await.0, 204, "replayed");
    world.stop().await;
}

/// facts/security-controls.md I2, L3: for these roles neither a password nor TOTP opens anything.
#[tokio::test]
async fn where_only_passkeys_count_nothing_else_opens() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let deputy = world.staff("deputy", Role::Administrator).await;
    world.staff("plain", Role::Administrator).await;
    world.staff("zawadi", Role::Nurse).await;
    let (_, begun) = deputy.post("/api/v1/auth/totp", json!({})).await;
    let code = |step_s: i64| {
        let at = world.app().record.now().checked_add(jiff::SignedDuration::from_secs(step_s)).unwrap();
        totp::code_at(begun["secret"].as_str().unwrap(), at).unwrap()
    };
    assert_eq!(deputy.post("/api/v1/auth/totp/confirm", json!({"code": code(0)})).await.0, 200);

    // Who asks it of her own role shows that she can.
    let (_, mut rules) = chief.get("/api/v1/admin/security-policy").await;
    assert_eq!(rules["passkey_roles"], json!([]));
    rules["passkey_roles"] = json!(["administrator"]);
    let (status, told) = chief.put("/api/v1/admin/security-policy", rules.clone()).await;
    assert_eq!((status, &told["code"]), (422, &json!("passkey-first")), "{told}");
    let mut wrong = rules.clone();
    wrong["passkey_roles"] = json!(["patient"]);
    assert_eq!(chief.put("/api/v1/admin/security-policy", wrong).await.1["code"], "roles-invalid");
    let mut phone = authenticator(&world, 1);
    assert_eq!(enrol(&chief, &mut phone).await.0, 200);
    assert_eq!(chief.put("/api/v1/admin/security-policy", rules).await.0, 200);

    // A session with TOTP, and one with the password alone: good for setting a passkey up, for nothing else.
    let (_, pending) = login(&world, "deputy").await;
    let body = json!({"pending_id": pending["pending_id"], "code": code(30)});
    let (status, session) = world.anonymous().post("/api/v1/auth/second-factor?token=true", body).await;
    assert_eq!((status, &session["due"]), (200, &json!("second-factor-needed")), "{session}");
    assert_eq!(session["passkey_needed"], true);
    let with_totp = with(&world, &session);
    let (_, session) = login(&world, "plain").await;
    let with_password = with(&world, &session);
    for who in [&with_totp, &with_password] {
        let open = open_ways(who, SETTING_UP).await;
        assert!(open.is_empty(), "{}", open.join("\n"));
    }
    // Of others nothing is asked.
    assert!(login(&world, "zawadi").await.1.get("due").is_none());

    let (status, session) = sign_in(&world, &phone.get(&challenge(&world).await)).await;
    assert_eq!((status, session.get("due")), (200, None), "{session}");
    let chief = with(&world, &session);
    assert_eq!(chief.post("/api/v1/admin/users/search", json!({})).await.0, 200);
    // The last one stays.
    let (_, security) = chief.get("/api/v1/auth/security").await;
    let id = security["passkeys"][0]["id"].as_str().unwrap();
    assert_eq!(chief.delete(&format!("/api/v1/auth/passkeys/{id}")).await.1["code"], "last-factor");
    // Setting one up opens the rest.
    let mut other = authenticator(&world, 7);
    assert_eq!(enrol(&with_totp, &mut other).await.0, 200);
    assert_eq!(with_totp.post("/api/v1/admin/users/search", json!({})).await.0, 200);
    // The first one of who has nothing but the password that she signed in with.
    let mut first = authenticator(&world, 9);
    assert_eq!(enrol(&with_password, &mut first).await.0, 200);
    assert_eq!(with_password.post("/api/v1/admin/users/search", json!({})).await.0, 200);
    world.stop().await;
}
