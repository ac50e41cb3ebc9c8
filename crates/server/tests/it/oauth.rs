//! Applications that act for people: authorization code with PKCE, refresh tokens, SMART launches, what is refused.

use crate::harness::{Signed, World, header};
use crate::oauth_app::{App, REDIRECT, VERIFIER, parameter, text, verified};
use access::Role;
use serde_json::{Value, json};

const LABORATORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory";

/// Somebody with the application's token.
fn with(world: &World, tokens: &Value) -> Signed {
    let mut app = world.anonymous();
    app.token = tokens["access_token"].as_str().unwrap().to_owned();
    app
}

async fn observation(world: &World, patient: &str, category: &str) -> String {
    let (system, code) = LABORATORY.split_once('|').unwrap();
    let code = if category.is_empty() { code } else { category };
    let key = world
        .put(json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "category": [{"coding": [{"system": system, "code": code}]}],
            "subject": {"reference": format!("Patient/{patient}")}, "valueString": "x"}))
        .await;
    key.id
}

async fn in_care(world: &World, doctor: &Signed, patient: &Signed) {
    world
        .put(json!({"resourceType": "Appointment", "status": "booked",
            "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z",
            "participant": [
                {"actor": {"reference": format!("Patient/{}", patient.id())}, "status": "accepted"},
                {"actor": {"reference": format!("Practitioner/{}", doctor.id())}, "status": "accepted"}]}))
        .await;
    world
        .put(json!({"resourceType": "Encounter", "status": "in-progress", "class": {"code": "AMB"},
            "subject": {"reference": format!("Patient/{}", patient.id())},
            "participant": [{"individual": {"reference": format!("Practitioner/{}", doctor.id())}}]}))
        .await;
}

#[tokio::test]
async fn a_patient_lends_an_app_her_laboratory_results_and_takes_them_back() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let zawadi = world.patient("Zawadi").await;
    let result = observation(&world, amina.id(), "").await;
    let vital = observation(&world, amina.id(), "vital-signs").await;
    let foreign = observation(&world, zawadi.id(), "").await;
    let app = App::for_people(
        &world,
        "openid fhirUser profile launch/patient offline_access patient/*.cruds user/*.rs",
        true,
    )
    .await;
    let scope = format!(
        "openid fhirUser launch/patient offline_access patient/Observation.rs?category={LABORATORY} patient/Patient.r \
         system/*.rs"
    );

    let id = app.request(&scope, &[]).await;
    assert_eq!(world.anonymous().get(&format!("/api/v1/oauth/requests/{id}")).await.0, 401);
    let (status, asked) = amina.get(&format!("/api/v1/oauth/requests/{id}")).await;
    assert_eq!(status, 200, "{asked}");
    assert_eq!((&asked["client_name"], &asked["needs_patient"]), (&json!("Growth charts"), &json!(true)));
    assert_eq!(asked["patient_ids"], json!([amina.id()]));
    assert!(!asked["scopes"].to_string().contains("system/"), "{asked}");
    // Nobody lends what is another's.
    let path = format!("/api/v1/oauth/requests/{id}/decision");
    let (status, problem) = amina.post(&path, json!({"approve": true, "patient_id": zawadi.id()})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("patient-unknown")), "{problem}");

    let code = app.decide(&amina, &id, json!({"approve": true})).await;
    let (status, tokens) = app.redeem(&code).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!((&tokens["token_type"], &tokens["patient"]), (&json!("Bearer"), &json!(amina.id())));
    assert_eq!(tokens["need_patient_banner"], json!(false));
    assert!(tokens["expires_in"].as_u64().is_some_and(|s| s <= 600), "{tokens}");
    let (head, claims) = verified(&world, text(&tokens, "id_token")).await;
    assert_eq!(head["alg"], "RS256");
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(world.url()), &json!(app.id)));
    assert_eq!((&claims["nonce"], &claims["sub"]), (&json!("n-1"), &json!(amina.account.to_string())));
    let own = format!("{}/fhir/R4/Patient/{}", world.url(), amina.id());
    assert_eq!(claims["fhirUser"], json!(own));
    assert!(claims.get("name").is_none(), "not asked for");

    let lent = with(&world, &tokens);
    let (status, found) = lent.get("/fhir/R4/Observation").await;
    assert_eq!(status, 200, "{found}");
    let ids: Vec<&str> =
        found["entry"].as_array().unwrap().iter().filter_map(|e| e["resource"]["id"].as_str()).collect();
    assert_eq!(ids, [result.as_str()]);
    assert_eq!(lent.get(&format!("/fhir/R4/Observation/{result}")).await.0, 200);
    assert_eq!(lent.get(&format!("/fhir/R4/Patient/{}", amina.id())).await.0, 200);
    let refused = [
        format!("/fhir/R4/Observation/{vital}"),
        format!("/fhir/R4/Observation/{foreign}"),
        format!("/fhir/R4/Patient/{}", zawadi.id()),
        "/fhir/R4/Condition".to_owned(),
        "/fhir/R4/Patient".to_owned(),
    ];
    for path in refused {
        let (status, body) = lent.get(&path).await;
        assert!(matches!(status, 403 | 404), "{path}: {status} {body}");
    }
    assert_eq!(amina.get(&format!("/fhir/R4/Observation/{vital}")).await.0, 200, "she herself may");
    let new = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
        "subject": {"reference": format!("Patient/{}", amina.id())}});
    assert_eq!(lent.post("/fhir/R4/Observation", new).await.0, 403);

    // What would run on without the scopes does not begin.
    let export = lent.request("GET", "/fhir/R4/Patient/$export").header("prefer", "respond-async");
    assert_eq!(export.send().await.unwrap().status(), 403);

    // The token is no session, and makes none.
    assert_eq!(lent.get("/api/v1/me").await.0, 401);
    assert_eq!(lent.get("/api/v1/invoices").await.0, 403);
    assert_eq!(lent.get("/api/v1/oauth/grants").await.0, 401);
    let refresh = lent.request("POST", "/api/v1/auth/refresh-token?token=true").send().await.unwrap();
    assert_eq!((refresh.status().as_u16(), header(&refresh, "set-cookie")), (401, ""));
    let id = app.request(&scope, &[]).await;
    let path = format!("/api/v1/oauth/requests/{id}/decision");
    assert_eq!(lent.post(&path, json!({"approve": true})).await.0, 401);
    let (status, problem) = lent.post("/api/v1/oauth/launches", json!({"client_id": app.id})).await;
    assert_eq!(status, 401, "{problem}");
    let by_cookie = world.client.get(format!("{}/api/v1/me", world.url()));
    let by_cookie = by_cookie.header("cookie", format!("uzima={}", lent.token)).send().await.unwrap();
    assert_eq!(by_cookie.status(), 401);
    let (status, who) = lent.get("/oauth/userinfo").await;
    assert_eq!((status, &who["fhirUser"]), (200, &json!(own)), "{who}");
    assert_eq!(amina.get("/oauth/userinfo").await.0, 401, "a session is no token");

    // She sees it, and who looked; then takes it back.
    let (_, grants) = amina.get("/api/v1/oauth/grants").await;
    assert_eq!(grants["items"].as_array().unwrap().len(), 1, "{grants}");
    assert_eq!(grants["items"][0]["patient_id"], json!(amina.id()));
    let (_, seen) = amina.get(&format!("/api/v1/patients/{}/who-saw", amina.id())).await;
    assert!(!seen["items"].as_array().unwrap().is_empty(), "{seen}");
    let path = format!("/api/v1/oauth/grants/{}", text(&grants["items"][0], "id"));
    assert_eq!(zawadi.delete(&path).await.0, 404, "another's");
    assert_eq!(amina.delete(&path).await.0, 204);
    assert_eq!(lent.get(&format!("/fhir/R4/Observation/{result}")).await.0, 401);
    let (status, answer) = app.refresh(text(&tokens, "refresh_token"), None).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn wrong_requests_never_reach_the_person() {
    let world = World::start().await;
    let app = App::for_people(&world, "openid patient/*.rs launch", true).await;
    // Nobody is sent to an address that is not registered.
    let strangers: [&[(&str, &str)]; 7] = [
        &[("redirect_uri", "https://evil.example/callback")],
        &[("redirect_uri", "https://app.example/callback")],
        &[("redirect_uri", "https://app.example/callback?x=1&y=2")],
        &[("redirect_uri", "https://app.example.evil.example/callback?x=1")],
        &[("redirect_uri", "")],
        &[("client_id", "nobody")],
        &[("client_id", "")],
    ];
    for change in strangers {
        let response = app.ask("patient/*.rs", change).await;
        assert_eq!((response.status().as_u16(), header(&response, "location")), (400, ""), "{change:?}");
    }
    // Scopes asked for, what is changed in the request, and the error it is sent back with.
    type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c str);
    let cases: [Case<'_>; 15] = [
        ("patient/*.rs", &[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        ("patient/*.rs", &[("code_challenge_method", "plain")], "invalid_request"),
        ("patient/*.rs", &[("code_challenge_method", "")], "invalid_request"),
        ("patient/*.rs", &[("code_challenge", "short")], "invalid_request"),
        ("patient/*.rs", &[("response_type", "token")], "unsupported_response_type"),
        ("patient/*.rs", &[("response_type", "code id_token")], "unsupported_response_type"),
        ("patient/*.rs", &[("response_type", "")], "invalid_request"),
        ("patient/*.rs", &[("response_mode", "fragment")], "invalid_request"),
        ("patient/*.rs", &[("aud", "https://other.example/fhir")], "invalid_request"),
        ("patient/*.rs", &[("aud", "")], "invalid_request"),
        ("patient/*.cruds", &[], "invalid_scope"),
        ("nonsense", &[], "invalid_scope"),
        ("patient/*.rs", &[("prompt", "none")], "interaction_required"),
        ("patient/*.rs", &[("request", "e30.e30.")], "request_not_supported"),
        ("launch patient/*.rs", &[("launch", "bm90LWEtbGF1bmNo")], "invalid_request"),
    ];
    for (scope, change, error) in cases {
        let response = app.ask(scope, change).await;
        assert_eq!(response.status(), 303, "{change:?}");
        let location = header(&response, "location");
        assert!(location.starts_with(REDIRECT), "{change:?} {location}");
        assert_eq!(parameter(location, "error").as_deref(), Some(error), "{change:?} {location}");
        assert_eq!(parameter(location, "state").as_deref(), Some("a state/with&signs"));
        assert_eq!(parameter(location, "iss").as_deref(), Some(world.url()));
        assert!(parameter(location, "code").is_none());
    }
    // A request that was tampered with is none.
    let amina = world.patient("Amina").await;
    let mut id = app.request("patient/*.rs", &[]).await;
    id.replace_range(40..41, if &id[40..41] == "A" { "B" } else { "A" });
    assert_eq!(amina.get(&format!("/api/v1/oauth/requests/{id}")).await.0, 404);
    // She may say no.
    let id = app.request("patient/*.rs", &[]).await;
    let path = format!("/api/v1/oauth/requests/{id}/decision");
    let (_, answer) = amina.post(&path, json!({"approve": false})).await;
    let url = answer["redirect_to"].as_str().unwrap();
    assert_eq!(parameter(url, "error").as_deref(), Some("access_denied"), "{url}");
    // And less than everything; without a right to refresh nothing lasts.
    let tokens = app
        .granted(&amina, "openid patient/*.rs", json!({"approve": true, "scopes": ["patient/*.rs"]}))
        .await;
    assert_eq!(tokens["scope"], "patient/*.rs");
    assert!(tokens.get("refresh_token").is_none() && tokens.get("id_token").is_none(), "{tokens}");
    world.stop().await;
}

#[tokio::test]
async fn a_code_works_once_and_only_for_whom_it_was_made() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let scope = "patient/*.rs offline_access";
    let app = App::for_people(&world, scope, true).await;
    let other = App::for_people(&world, scope, true).await;
    let wrong: [&[(&str, &str)]; 4] = [
        &[("redirect_uri", "https://app.example/callback"), ("code_verifier", VERIFIER)],
        &[("redirect_uri", REDIRECT), ("code_verifier", "another-verifier-of-forty-three-characters-or-so")],
        &[("redirect_uri", REDIRECT), ("code_verifier", "short")],
        &[("redirect_uri", REDIRECT), ("code_verifier", "")],
    ];
    for pairs in wrong {
        let code = app.code(&amina, scope, json!({"approve": true})).await;
        let mut all = vec![("grant_type", "authorization_code"), ("code", code.as_str())];
        all.extend_from_slice(pairs);
        let (status, answer) = app.token(&all).await;
        let expected = if pairs[1].1.is_empty() { "invalid_request" } else { "invalid_grant" };
        assert_eq!((status, &answer["error"]), (400, &json!(expected)), "{pairs:?}");
        // Whoever guesses does not guess twice.
        if expected == "invalid_grant" {
            assert_eq!(app.redeem(&code).await.0, 400, "{pairs:?}");
        }
    }
    let code = app.code(&amina, scope, json!({"approve": true})).await;
    assert_eq!(other.redeem(&code).await.1["error"], "invalid_grant", "another application's");
    assert_eq!(app.redeem(&code).await.1["error"], "invalid_grant");

    let code = app.code(&amina, scope, json!({"approve": true})).await;
    let (status, tokens) = app.redeem(&code).await;
    assert_eq!(status, 200, "{tokens}");
    let lent = with(&world, &tokens);
    assert_eq!(lent.get("/fhir/R4/Observation").await.0, 200);
    let (status, answer) = app.redeem(&code).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    assert_eq!(lent.get("/fhir/R4/Observation").await.0, 401, "what came of the code ended");
    assert_eq!(app.refresh(text(&tokens, "refresh_token"), None).await.0, 400);
    world.stop().await;
}

#[tokio::test]
async fn a_refresh_token_replayed_ends_its_family() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let scope = "patient/Observation.rs patient/Patient.rs offline_access";
    let app = App::for_people(&world, "patient/*.cruds user/*.cruds offline_access", false).await;
    let first = app.granted(&amina, scope, json!({"approve": true})).await;
    // Wider than granted: refused, and nothing is used up by it.
    for wider in ["patient/*.rs", "patient/Observation.cruds", "user/Observation.rs", "openid", "system/*.rs"]
    {
        let (status, answer) = app.refresh(text(&first, "refresh_token"), Some(wider)).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_scope")), "{wider} {answer}");
    }
    let (status, second) = app.refresh(text(&first, "refresh_token"), Some("patient/Patient.r")).await;
    assert_eq!((status, &second["scope"]), (200, &json!("patient/Patient.r")), "{second}");
    assert_eq!(second["patient"], json!(amina.id()));
    let narrow = with(&world, &second);
    assert_eq!(narrow.get(&format!("/fhir/R4/Patient/{}", amina.id())).await.0, 200);
    assert_eq!(narrow.get("/fhir/R4/Observation").await.0, 403);
    // The grant is as wide as it was.
    let (status, third) = app.refresh(text(&second, "refresh_token"), None).await;
    assert_eq!((status, &third["scope"]), (200, &json!(scope)), "{third}");

    let (status, answer) = app.refresh(text(&first, "refresh_token"), None).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
    for tokens in [&first, &second, &third] {
        assert_eq!(with(&world, tokens).get("/fhir/R4/Observation").await.0, 401);
    }
    assert_eq!(app.refresh(text(&third, "refresh_token"), None).await.1["error"], "invalid_grant");
    let (_, grants) = amina.get("/api/v1/oauth/grants").await;
    assert_eq!(grants["items"], json!([]));
    // Another application cannot use it at all, nor end it.
    let tokens = app.granted(&amina, scope, json!({"approve": true})).await;
    let thief = App::for_people(&world, scope, false).await;
    assert_eq!(thief.refresh(text(&tokens, "refresh_token"), None).await.1["error"], "invalid_grant");
    assert_eq!(thief.form("revoke", &[("token", text(&tokens, "refresh_token"))]).await.0, 200);
    assert_eq!(app.refresh(text(&tokens, "refresh_token"), None).await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn a_launch_brings_its_patient_along() {
    let world = World::start().await;
    let doctor = world.staff("achieng", Role::Doctor).await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    in_care(&world, &doctor, &amina).await;
    in_care(&world, &doctor, &zawadi).await;
    let own = observation(&world, amina.id(), "").await;
    let other = observation(&world, zawadi.id(), "").await;
    let stranger = world.patient("Neema").await;
    let scope = "launch openid fhirUser patient/Observation.rs user/Patient.read";
    let app = App::for_people(&world, "launch openid fhirUser patient/*.rs user/*.rs", false).await;
    let path = "/api/v1/oauth/launches";
    let (status, problem) =
        doctor.post(path, json!({"client_id": app.id, "patient_id": stranger.id()})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("patient-unknown")), "{problem}");
    let (status, made) = doctor
        .post(
            path,
            json!({"client_id": app.id, "patient_id": amina.id(), "intent": "growth",
                "fhir_context": [format!("Observation/{own}")]}),
        )
        .await;
    assert_eq!(status, 201, "{made}");
    let launch = text(&made, "launch");
    let url = text(&made, "url");
    assert!(url.starts_with("https://app.example/launch?"), "{url}");
    assert_eq!(parameter(url, "iss"), Some(format!("{}/fhir/R4", world.url())));
    assert_eq!(parameter(url, "launch").as_deref(), Some(launch));

    let id = app.request(scope, &[("launch", launch)]).await;
    let nurse = world.staff("nurse", Role::Nurse).await;
    let (status, problem) = nurse.get(&format!("/api/v1/oauth/requests/{id}")).await;
    assert_eq!((status, &problem["code"]), (422, &json!("launch-other")), "{problem}");
    let (_, asked) = doctor.get(&format!("/api/v1/oauth/requests/{id}")).await;
    assert_eq!(
        (&asked["patient_id"], &asked["needs_patient"]),
        (&json!(amina.id()), &json!(false)),
        "{asked}"
    );
    let code = app.decide(&doctor, &id, json!({"approve": true})).await;
    let (status, tokens) = app.redeem(&code).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!((&tokens["patient"], &tokens["intent"]), (&json!(amina.id()), &json!("growth")));
    assert_eq!(tokens["fhirContext"], json!([{"reference": format!("Observation/{own}")}]));
    assert_eq!(tokens["need_patient_banner"], json!(true));
    assert_eq!(tokens["scope"], json!(scope), "scopes come back as they were asked");
    let (_, claims) = verified(&world, text(&tokens, "id_token")).await;
    assert!(claims["fhirUser"].as_str().unwrap().contains("/Practitioner/"), "{claims}");

    // `patient/` is the launch's patient, `user/` everybody the doctor may see.
    let lent = with(&world, &tokens);
    assert_eq!(lent.get(&format!("/fhir/R4/Observation/{own}")).await.0, 200);
    assert!(matches!(lent.get(&format!("/fhir/R4/Observation/{other}")).await.0, 403 | 404));
    assert_eq!(doctor.get(&format!("/fhir/R4/Observation/{other}")).await.0, 200);
    assert_eq!(lent.get(&format!("/fhir/R4/Patient/{}", zawadi.id())).await.0, 200);
    assert!(matches!(lent.get(&format!("/fhir/R4/Patient/{}", stranger.id())).await.0, 403 | 404));

    // A launch for one application is none for another.
    let second = App::for_people(&world, "launch patient/*.rs", false).await;
    let response = second.ask("launch patient/*.rs", &[("launch", launch)]).await;
    assert_eq!(parameter(header(&response, "location"), "error").as_deref(), Some("invalid_request"));
    // Without a launch the doctor chooses among her patients.
    let id = second.request("patient/*.rs", &[]).await;
    let path = format!("/api/v1/oauth/requests/{id}/decision");
    let (status, problem) = doctor.post(&path, json!({"approve": true})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("patient-required")), "{problem}");
    let code = second.decide(&doctor, &id, json!({"approve": true, "patient_id": zawadi.id()})).await;
    assert_eq!(second.redeem(&code).await.1["patient"], json!(zawadi.id()));
    world.stop().await;
}

#[tokio::test]
async fn tokens_end_with_their_person_and_their_client() {
    let world = World::start().await;
    let boss = world.staff("boss", Role::Administrator).await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    let scope = "patient/*.rs offline_access";
    let app = App::for_people(&world, scope, false).await;
    let first = app.granted(&amina, scope, json!({"approve": true})).await;
    let second = app.granted(&zawadi, scope, json!({"approve": true})).await;
    let (lent, kept) = (with(&world, &first), with(&world, &second));
    assert_eq!(
        (lent.get("/fhir/R4/Observation").await.0, kept.get("/fhir/R4/Observation").await.0),
        (200, 200)
    );
    let (status, all) = boss.get("/api/v1/admin/grants").await;
    assert_eq!((status, all["items"].as_array().map(Vec::len)), (200, Some(2)), "{all}");

    let path = format!("/api/v1/admin/users/{}", amina.account);
    assert_eq!(boss.patch(&path, json!({"disabled": true})).await.0, 200);
    assert_eq!(lent.get("/fhir/R4/Observation").await.0, 401);
    assert_eq!(app.refresh(text(&first, "refresh_token"), None).await.1["error"], "invalid_grant");
    assert_eq!(boss.patch(&path, json!({"disabled": false})).await.0, 200);
    assert_eq!(
        app.refresh(text(&first, "refresh_token"), None).await.1["error"],
        "invalid_grant",
        "for good"
    );

    // Introspection and revocation are for the client's own tokens.
    let (status, told) = app.form("introspect", &[("token", text(&second, "access_token"))]).await;
    assert_eq!(
        (status, &told["active"], &told["sub"]),
        (200, &json!(true), &json!(zawadi.account.to_string()))
    );
    let stranger = App::for_people(&world, scope, false).await;
    let (_, told) = stranger.form("introspect", &[("token", text(&second, "access_token"))]).await;
    assert_eq!(told, json!({"active": false}));
    assert_eq!(stranger.form("revoke", &[("token", text(&second, "access_token"))]).await.0, 200);
    assert_eq!(kept.get("/fhir/R4/Observation").await.0, 200);
    let (_, next) = app.refresh(text(&second, "refresh_token"), None).await;
    assert_eq!(app.form("revoke", &[("token", text(&next, "access_token"))]).await.0, 200);
    assert_eq!(with(&world, &next).get("/fhir/R4/Observation").await.0, 401);
    assert_eq!(kept.get("/fhir/R4/Observation").await.0, 200, "only that token");

    let path = format!("/api/v1/admin/clients/{}", app.id);
    assert_eq!(boss.patch(&path, json!({"scopes": ["patient/Patient.rs", "offline_access"]})).await.0, 200);
    assert_eq!(kept.get("/fhir/R4/Observation").await.0, 403, "never more than is registered now");
    let (status, row) = boss.patch(&path, json!({"disabled": true})).await;
    assert_eq!((status, &row["disabled"]), (200, &json!(true)), "{row}");
    assert_eq!(kept.get(&format!("/fhir/R4/Patient/{}", zawadi.id())).await.0, 401);
    let (status, answer) = app.refresh(text(&next, "refresh_token"), None).await;
    assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")));
    assert_eq!(app.ask(scope, &[]).await.status(), 400);
    // All of it is in the trail, as hers through the application.
    let (_, trail) = boss.get("/api/v1/admin/audit?action=oauth.token").await;
    assert!(trail["items"].as_array().is_some_and(|i| i.len() == 2), "{trail}");
    world.stop().await;
}

/// Whoever knew the password may have let an application in.
#[tokio::test]
async fn what_was_granted_ends_with_the_password_and_everywhere() {
    let world = World::start().await;
    let boss = world.staff("boss", Role::Administrator).await;
    let scope = "patient/*.rs offline_access";
    let app = App::for_people(&world, scope, false).await;
    for (n, how) in ["change", "everywhere", "reset", "sign-out", "factors"].iter().enumerate() {
        let amina = world.patient(&format!("Amina{n}")).await;
        let tokens = app.granted(&amina, scope, json!({"approve": true})).await;
        let lent = with(&world, &tokens);
        let own = format!("/fhir/R4/Patient/{}", amina.id());
        assert_eq!(lent.get(&own).await.0, 200, "{how}");
        let user = format!("/api/v1/admin/users/{}", amina.account);
        let (status, told) = match *how {
            "change" => {
                let change =
                    json!({"old_password": crate::harness::PASSWORD, "new_password": "another long phrase"});
                amina.post("/api/v1/auth/change-password", change).await
            }
            "everywhere" => amina.post("/api/v1/auth/logout-everywhere", json!({})).await,
            "reset" => boss.post(&format!("{user}/reset-password"), json!({})).await,
            "sign-out" => boss.post(&format!("{user}/sign-out"), json!({})).await,
            _ => boss.delete(&format!("{user}/second-factor")).await,
        };
        assert!(status < 300, "{how}: {status} {told}");
        assert_eq!(lent.get(&own).await.0, 401, "{how}");
        let (_, answer) = app.refresh(text(&tokens, "refresh_token"), None).await;
        assert_eq!(answer["error"], "invalid_grant", "{how}");
    }
    world.stop().await;
}

#[tokio::test]
async fn discovery_says_what_is_true() {
    let world = World::start().await;
    let nobody = world.anonymous();
    let (_, smart) = nobody.get("/fhir/R4/.well-known/smart-configuration").await;
    let (_, open) = nobody.get("/.well-known/openid-configuration").await;
    let (_, server) = nobody.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(open, server);
    assert_eq!((&open["issuer"], &smart["issuer"]), (&json!(world.url()), &json!(world.url())));
    assert_eq!(smart["code_challenge_methods_supported"], json!(["S256"]));
    for capability in ["launch-ehr", "launch-standalone", "client-confidential-asymmetric", "permission-v2"] {
        assert!(smart["capabilities"].as_array().unwrap().contains(&json!(capability)), "{capability}");
    }
    for document in [&smart, &open] {
        assert!(!document["grant_types_supported"].to_string().contains("implicit"));
        for (name, url) in
            document.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_endpoint"))
        {
            let path = url.as_str().unwrap().strip_prefix(world.url()).unwrap();
            // As a browser asks: one of them is a page.
            let asked = nobody.request("GET", path).header("accept", "text/html, application/json;q=0.9");
            let status = asked.send().await.unwrap().status().as_u16();
            assert!(matches!(status, 200 | 400 | 401 | 405), "{name}: {path} {status}");
        }
    }
    let (status, set) = nobody.get("/oauth/jwks").await;
    let algorithms: Vec<&Value> = set["keys"].as_array().unwrap().iter().map(|k| &k["alg"]).collect();
    assert_eq!((status, algorithms.len()), (200, 2), "{set}");
    let (_, capability) = nobody.get("/fhir/R4/metadata").await;
    assert_eq!(
        capability["rest"][0]["security"]["service"][0]["coding"][0]["code"], "SMART-on-FHIR",
        "{}",
        capability["rest"][0]["security"]
    );
    // A rotation puts new keys beside the old ones, or in their place.
    let boss = world.staff("boss", Role::Administrator).await;
    assert_eq!(boss.post("/api/v1/admin/oauth-keys/rotate", Value::Null).await.0, 204);
    assert_eq!(nobody.get("/oauth/jwks").await.1["keys"].as_array().unwrap().len(), 4);
    assert_eq!(boss.post("/api/v1/admin/oauth-keys/rotate?drop_old=true", Value::Null).await.0, 204);
    let (_, fresh) = nobody.get("/oauth/jwks").await;
    assert_eq!(fresh["keys"].as_array().unwrap().len(), 2);
    assert!(!fresh.to_string().contains(set["keys"][0]["kid"].as_str().unwrap()));
    world.stop().await;
}

#[tokio::test]
async fn administrators_register_applications() {
    let world = World::start().await;
    let boss = world.staff("boss", Role::Administrator).await;
    let path = "/api/v1/admin/clients";
    let good = json!({"name": "Growth charts", "scopes": ["openid", "patient/*.rs"], "authentication": "none",
        "redirect_uris": ["https://app.example/callback"], "id_token_algorithm": "ES384"});
    let cases = [
        ("name", json!(" "), "name-required"),
        ("scopes", json!(["nonsense"]), "scope-invalid"),
        ("scopes", json!(["system/*.rs"]), "scope-invalid"),
        ("redirect_uris", json!([]), "scope-invalid"),
        ("redirect_uris", json!(["http://app.example/"]), "redirect-invalid"),
        ("redirect_uris", json!(["https://app.example/#x"]), "redirect-invalid"),
        ("launch_url", json!("javascript:alert(1)"), "url-invalid"),
        ("authentication", json!("key"), "keys-invalid"),
        ("jwks", json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": "1"}]}), "keys-invalid"),
        ("id_token_algorithm", json!("none"), "algorithm-invalid"),
    ];
    for (field, value, code) in cases {
        let mut body = good.clone();
        body[field] = value;
        let (status, problem) = boss.post(path, body).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{field}: {problem}");
    }
    let (status, made) = boss.post(path, good.clone()).await;
    assert_eq!(status, 201, "{made}");
    assert!(made.get("client_secret").is_none(), "a public client has none: {made}");
    let mut confidential = good;
    confidential["authentication"] = json!("secret");
    let (_, made) = boss.post(path, confidential).await;
    let (id, old) = (text(&made["client"], "client_id"), text(&made, "client_secret").to_owned());
    let (status, renewed) = boss.post(&format!("{path}/{id}/secret"), Value::Null).await;
    assert_eq!(status, 200, "{renewed}");
    assert_ne!(text(&renewed, "client_secret"), old);
    let (status, all) = boss.get(path).await;
    assert_eq!((status, all["items"].as_array().map(Vec::len)), (200, Some(2)), "{all}");
    assert!(!all.to_string().contains(&old));
    let doctor = world.staff("achieng", Role::Doctor).await;
    assert_eq!(doctor.get(path).await.0, 403);
    world.stop().await;
}
