//! Signing in and out, registration, cookies, CSRF, OAuth.

use crate::harness::{PASSWORD, World, header, read};
use access::Role;
use serde_json::{Value, json};

async fn login(world: &World, login: &str, password: &str) -> reqwest::Response {
    let url = format!("{}/api/v1/auth/login", world.url());
    world.client.post(url).json(&json!({"login": login, "password": password})).send().await.unwrap()
}

#[tokio::test]
async fn a_session_lives_by_its_cookie() {
    let world = World::start().await;
    world.staff("juma", Role::Cashier).await;
    let response = login(&world, "Juma", PASSWORD).await;
    assert_eq!(response.status(), 200);
    let cookie = header(&response, "set-cookie").to_owned();
    for part in ["uzima=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(header(&response, "cache-control"), "no-store");
    let (_, body) = read(response).await;
    assert_eq!(body["user"]["roles"], json!(["cashier"]));
    assert_eq!(body["user"]["timezone"], "Africa/Nairobi");
    assert!(body.get("token").is_none());

    let cookie = cookie.split(';').next().unwrap().to_owned();
    let own = world.url().to_owned();
    let request = |method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        world.client.request(method, format!("{}{path}", world.url())).header("cookie", &cookie)
    };
    let (status, me) = read(request("GET", "/api/v1/me").send().await.unwrap()).await;
    assert_eq!((status, &me["display"]), (200, &json!("Test juma")));
    // The trailing slash is accepted.
    assert_eq!(request("GET", "/api/v1/me/").send().await.unwrap().status(), 200);

    // Writes by cookie need our own origin.
    let language = json!({"language": "sw"});
    let (status, problem) = read(request("PATCH", "/api/v1/me").json(&language).send().await.unwrap()).await;
    assert_eq!((status, &problem["code"]), (403, &json!("origin-foreign")));
    let foreign = request("PATCH", "/api/v1/me").header("origin", "https://evil.example").json(&language);
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    let cross = request("PATCH", "/api/v1/me").header("sec-fetch-site", "cross-site").json(&language);
    assert_eq!(cross.send().await.unwrap().status(), 403);
    let fhir = request("POST", "/fhir/R4/Patient").json(&json!({"resourceType": "Patient"}));
    assert_eq!(fhir.send().await.unwrap().status(), 403);
    let allowed = request("PATCH", "/api/v1/me").header("origin", &own).json(&language);
    let (status, me) = read(allowed.send().await.unwrap()).await;
    assert_eq!((status, &me["language"]), (200, &json!("sw")));

    let logout =
        request("POST", "/api/v1/auth/logout").header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(logout.status(), 204);
    assert!(header(&logout, "set-cookie").contains("Max-Age=0"));
    let (status, problem) = read(request("GET", "/api/v1/me").send().await.unwrap()).await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthenticated")));
    world.stop().await;
}

#[tokio::test]
async fn wrong_names_and_passwords_are_told_alike() {
    let world = World::start().await;
    world.staff("juma", Role::Cashier).await;
    let mut answers = Vec::new();
    for (name, password) in [("juma", "not-the-password"), ("nobody", "not-the-password")] {
        let (status, mut body) = read(login(&world, name, password).await).await;
        body.as_object_mut().unwrap().remove("request_id");
        answers.push((status, body));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!((answers[0].0, &answers[0].1["code"]), (401, &json!("credentials-wrong")));
    world.stop().await;
}

#[tokio::test]
async fn tokens_are_given_and_replaced() {
    let world = World::start().await;
    let juma = world.staff("juma", Role::Cashier).await;
    let (status, session) = juma.post("/api/v1/auth/refresh-token?token=true", Value::Null).await;
    assert_eq!(status, 200, "{session}");
    let new = session["token"].as_str().unwrap();
    assert_ne!(new, juma.token);
    assert_eq!(juma.get("/api/v1/me").await.0, 401, "the old token must not work any more");
    let mut next = juma.clone();
    next.token = new.to_owned();
    assert_eq!(next.get("/api/v1/me").await.0, 200);
    world.stop().await;
}

/// The text of the newest message to this phone.
async fn message(world: &World, phone: &str) -> String {
    let phone = phone.to_owned();
    let filter = store::message::Filter { to: Some(phone), ..Default::default() };
    let page =
        world.app().record.store_read(move |tx| store::message::list(tx, &filter, None, 1)).await.unwrap();
    page.rows.first().map(|m| m.body.clone()).unwrap_or_default()
}

fn code(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_digit());
    words.filter(|w| w.len() >= 6).max_by_key(|w| w.len()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_patient_registers_by_phone() {
    let world = World::start().await;
    let nobody = world.anonymous();
    let form = json!({"given": "Amina", "family": "Hassan", "birth_date": "1992-05-06", "sex": "female",
        "phone": "0712 345 678", "password": "bahari-kubwa-ya-buluu", "language": "sw", "accept_terms": true});
    let (status, begun) = nobody.post("/api/v1/auth/register", form.clone()).await;
    assert_eq!(status, 202, "{begun}");
    assert!(!begun.to_string().contains("345678"));
    let id = begun["registration_id"].as_str().unwrap();

    let path = format!("/api/v1/auth/register/{id}/confirm");
    let (status, problem) = nobody.post(&path, json!({"code": "000000"})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("code-wrong")), "{problem}");
    let code = code(&message(&world, "+254712345678").await);
    let (status, session) = nobody.post(&format!("{path}?token=true"), json!({"code": code})).await;
    assert_eq!(status, 200, "{session}");
    assert_eq!(session["user"]["roles"], json!(["patient"]));
    assert_eq!((&session["user"]["given"], &session["user"]["family"]), (&json!("Amina"), &json!("Hassan")));
    assert_eq!(session["user"]["phone"], "+254712345678");

    // She sees her own Patient and nobody else's.
    let other = world.patient("Zawadi").await;
    let mut amina = nobody.clone();
    amina.token = session["token"].as_str().unwrap().to_owned();
    let own = session["user"]["patient_id"].as_str().unwrap();
    assert_eq!(amina.get(&format!("/fhir/R4/Patient/{own}")).await.0, 200);
    let (status, _) = amina.get(&format!("/fhir/R4/Patient/{}", other.id())).await;
    assert!(matches!(status, 403 | 404), "{status}");

    // The same phone again: the same answer.
    let (status, again) = nobody.post("/api/v1/auth/register", form).await;
    assert_eq!(status, 202, "{again}");
    world.stop().await;
}

#[tokio::test]
async fn wrong_registrations_name_the_field() {
    let world = World::start().await;
    let nobody = world.anonymous();
    let good = json!({"given": "Amina", "family": "Hassan", "birth_date": "1992-05-06", "phone": "0712345678",
        "password": "bahari-kubwa-ya-buluu", "language": "sw", "accept_terms": true});
    let cases = [
        ("phone", json!("12"), 422, "phone-invalid", "/phone"),
        ("birth_date", json!("2999-01-01"), 422, "date-future", "/birth_date"),
        ("birth_date", json!("1992-02-30"), 422, "date-invalid", "/birth_date"),
        ("birth_date", json!(19920506), 400, "field-wrong", "/birth_date"),
        ("password", json!("abc"), 422, "password-short", "/password"),
        ("given", json!("12"), 422, "name-invalid", "/given"),
        ("accept_terms", json!(false), 422, "terms-required", "/accept_terms"),
        ("sex", json!("woman"), 400, "field-wrong", "/sex"),
        ("nickname", json!("Ami"), 400, "field-unknown", "/nickname"),
    ];
    for (field, value, status, code, place) in cases {
        let mut form = good.clone();
        form[field] = value;
        let (got, problem) = nobody.post("/api/v1/auth/register", form).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{field}: {problem}");
        assert_eq!(problem["errors"][0]["field"], place, "{field}: {problem}");
    }
    world.stop().await;
}

#[tokio::test]
async fn clients_get_tokens_by_their_secret() {
    let world = World::start().await;
    let scopes = vec!["system/Patient.rs".to_owned()];
    let (id, secret) = world.app().record.create_client(&world.ctx(), "lab", &scopes).await.unwrap();
    let url = format!("{}/oauth/token", world.url());
    let grant = ("grant_type", "client_credentials");
    let form = |pairs: &[(&str, &str)]| world.client.post(&url).form(pairs);

    let (status, body) = read(form(&[grant]).basic_auth(&id, Some(&secret)).send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!((&body["token_type"], &body["scope"]), (&json!("Bearer"), &json!("system/Patient.rs")));
    let token = body["access_token"].as_str().unwrap().to_owned();
    let by_body = form(&[grant, ("client_id", &id), ("client_secret", &secret)]);
    assert_eq!(by_body.send().await.unwrap().status(), 200);

    let cases = [
        (form(&[grant]).basic_auth(&id, Some("wrong")), 401, "invalid_client"),
        (form(&[grant]), 401, "invalid_client"),
        (form(&[("grant_type", "password")]).basic_auth(&id, Some(&secret)), 400, "unsupported_grant_type"),
        (form(&[]).basic_auth(&id, Some(&secret)), 400, "invalid_request"),
        (form(&[grant, grant]).basic_auth(&id, Some(&secret)), 400, "invalid_request"),
        (
            form(&[grant, ("scope", "system/Observation.rs")]).basic_auth(&id, Some(&secret)),
            400,
            "invalid_scope",
        ),
        (world.client.post(&url).json(&json!({})), 400, "invalid_request"),
    ];
    for (request, status, error) in cases {
        let (got, body) = read(request.send().await.unwrap()).await;
        assert_eq!((got, &body["error"]), (status, &json!(error)), "{body}");
    }

    let mut lab = world.anonymous();
    lab.token = token;
    assert_eq!(lab.get("/fhir/R4/Patient").await.0, 200);
    assert_eq!(lab.get("/fhir/R4/Observation").await.0, 403);
    assert_eq!(lab.post("/fhir/R4/Patient", json!({"resourceType": "Patient"})).await.0, 403);
    assert_eq!(lab.get("/api/v1/me").await.0, 401, "a client is no person");
    world.stop().await;
}

#[tokio::test]
async fn an_administrator_makes_and_disables_staff() {
    let world = World::start().await;
    let boss = world.staff("boss", Role::Administrator).await;
    let new = json!({"display": "Dr Achieng", "login": "achieng", "roles": ["doctor"], "language": "en",
        "practitioner": {"given": "Grace", "family": "Achieng", "prefix": "Dr", "specialty_codes": ["general"],
            "languages": ["en", "luo"]}});
    let (status, made) = boss.post("/api/v1/admin/users", new.clone()).await;
    assert_eq!(status, 201, "{made}");
    let practitioner = made["user"]["practitioner_id"].as_str().unwrap();
    let (status, found) = boss.get(&format!("/fhir/R4/Practitioner/{practitioner}")).await;
    assert_eq!((status, &found["name"][0]["family"]), (200, &json!("Achieng")), "{found}");

    // A taken login leaves no Practitioner behind.
    let (status, problem) = boss.post("/api/v1/admin/users", new).await;
    assert_eq!((status, &problem["code"]), (409, &json!("login-taken")), "{problem}");
    let (_, all) = boss.get("/fhir/R4/Practitioner?family=Achieng&_total=accurate").await;
    assert_eq!(all["total"], 1, "{all}");

    let password = made["one_time_password"].as_str().unwrap();
    let (status, session) = read(login(&world, "achieng", password).await).await;
    assert_eq!(status, 200, "{session}");
    let mut doctor = world.anonymous();
    doctor.token = world.app().record.login("achieng", password, None).await.unwrap().token;
    assert_eq!(doctor.get("/api/v1/me").await.0, 200);
    assert_eq!(doctor.get(&format!("/api/v1/admin/users/{}", doctor.account)).await.0, 403);

    let path = format!("/api/v1/admin/users/{}", made["user"]["id"].as_str().unwrap());
    let (status, user) = boss.patch(&path, json!({"disabled": true})).await;
    assert_eq!((status, &user["disabled"]), (200, &json!(true)), "{user}");
    assert_eq!(doctor.get("/api/v1/me").await.0, 401);
    assert_eq!(login(&world, "achieng", password).await.status(), 401);
    world.stop().await;
}
