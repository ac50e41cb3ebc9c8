//! Changes of accounts that take two people, over real sockets.

use crate::harness::World;
use access::Role;
use serde_json::{Value, json};

fn doctor(login: &str) -> Value {
    json!({"display": "Dr Peter Kamau", "login": login, "roles": ["doctor"], "language": "sw",
        "practitioner": {"given": "Peter", "family": "Kamau", "specialty_codes": ["paediatrics"]},
        "reason": "New in the ward"})
}

#[tokio::test]
async fn a_doctor_is_made_by_two() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let clerk = world.staff("clerk", Role::Cashier).await;
    let (status, asked) = chief.post("/api/v1/admin/users", doctor("peter")).await;
    assert_eq!(
        (status, &asked["state"], &asked["act"]),
        (202, &json!("waiting"), &json!("create")),
        "{asked}"
    );
    assert!(asked.get("one_time_password").is_none() && asked.get("user_id").is_none(), "{asked}");
    let nobody = world.anonymous();
    assert_eq!(officer.get("/fhir/R4/Practitioner?family=Kamau&_summary=count").await.1["total"], 0);
    let (_, waits) = officer.get("/api/v1/admin/attention").await;
    assert_eq!(waits["accounts_waiting"], 1);

    let path = format!("/api/v1/admin/account-changes/{}", asked["id"].as_str().unwrap());
    let decision = json!({"note": "I have seen her licence"});
    assert_eq!(clerk.get("/api/v1/admin/account-changes").await.0, 403);
    assert_eq!(clerk.post(&format!("{path}/agree"), decision.clone()).await.0, 403);
    let (status, own) = chief.post(&format!("{path}/agree"), decision.clone()).await;
    assert_eq!((status, &own["code"]), (422, &json!("second-person-needed")), "{own}");
    let (status, seen) = officer.get("/api/v1/admin/account-changes?open=true").await;
    assert_eq!((status, &seen["items"][0]["asked_by_name"]), (200, &json!("Test chief")), "{seen}");
    assert_eq!(seen["items"][0]["reason"], "New in the ward");
    let (status, agreed) = officer.post(&format!("{path}/agree"), decision.clone()).await;
    assert_eq!(
        (status, &agreed["state"], &agreed["to_collect"]),
        (200, &json!("agreed"), &json!(true)),
        "{agreed}"
    );
    assert_eq!(officer.post(&format!("{path}/agree"), decision).await.0, 409);
    assert_eq!(officer.get("/fhir/R4/Practitioner?family=Kamau&_summary=count").await.1["total"], 1);

    // Who asked fetches the password once; the new doctor changes it first.
    assert_eq!(officer.post(&format!("{path}/collect"), json!({})).await.0, 403);
    let (status, got) = chief.post(&format!("{path}/collect"), json!({})).await;
    assert_eq!(status, 200, "{got}");
    assert_eq!(chief.post(&format!("{path}/collect"), json!({})).await.1["code"], "nothing-to-collect");
    let password = got["one_time_password"].as_str().unwrap();
    let login = json!({"login": "peter", "password": password});
    let (status, session) = nobody.post("/api/v1/auth/login?token=true", login).await;
    assert_eq!((status, &session["due"]), (200, &json!("password-change-needed")), "{session}");
    assert_eq!(session["user"]["practitioner_id"].as_str().map(str::len), Some(36), "{session}");
    world.stop().await;
}

#[tokio::test]
async fn what_opens_an_account_waits_and_a_link_to_its_owner_does_not() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let nurse = world.staff("zawadi", Role::Nurse).await;
    let amina = world.patient("Amina").await;
    let clerk = world.staff("clerk", Role::Cashier).await;
    let of = |who: i64| format!("/api/v1/admin/users/{who}");
    for who in [nurse.account, amina.account] {
        let path = of(who);
        let reset = json!({"reason": "She forgot it"});
        assert_eq!(chief.post(&format!("{path}/reset-password"), reset).await.0, 202);
        assert_eq!(chief.delete(&format!("{path}/second-factor?reason=lost")).await.0, 202);
        assert_eq!(
            chief.post(&format!("{path}/reset-password"), json!({})).await.0,
            409,
            "asked for already"
        );
    }
    assert_eq!(chief.patch(&of(clerk.account), json!({"roles": ["lab"]})).await.0, 202);
    let (status, done) =
        chief.patch(&of(nurse.account), json!({"display": "Zawadi", "roles": ["nurse", "lab"]})).await;
    assert_eq!(status, 202, "{done}");
    assert_eq!(chief.get(&of(nurse.account)).await.1["display"], "Zawadi", "the rest is done");
    // Of who reads nothing it is done.
    let (status, made) = chief.post(&format!("{}/reset-password", of(clerk.account)), json!({})).await;
    assert_eq!((status, made["one_time_password"].is_string()), (200, true), "{made}");
    // No way out by mail on this server; a phone is there, but no gateway.
    let (status, problem) =
        chief.post(&format!("{}/reset-password", of(nurse.account)), json!({"by": "email"})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("email-unavailable")), "{problem}");

    // Taken away at once: the other person is told and nobody is asked.
    assert_eq!(chief.patch(&of(nurse.account), json!({"disabled": true})).await.0, 200);
    let (_, list) = officer.get("/api/v1/admin/account-changes").await;
    let open: Vec<&str> =
        list["items"].as_array().unwrap().iter().filter_map(|one| one["act"].as_str()).collect();
    assert_eq!(open.len(), 6, "{list}");
    let first = list["items"][0]["id"].as_str().unwrap();
    let refuse = format!("/api/v1/admin/account-changes/{first}/refuse");
    assert_eq!(officer.post(&refuse, json!({})).await.1["code"], "note-needed");
    let (status, refused) = officer.post(&refuse, json!({"note": "Not on this ward"})).await;
    assert_eq!(
        (status, &refused["state"], &refused["note"]),
        (200, &json!("refused"), &json!("Not on this ward"))
    );

    // The rule itself.
    let (_, mut rules) = chief.get("/api/v1/admin/security-policy").await;
    assert_eq!(rules["second_person"], "facts");
    rules["second_person"] = "never".into();
    let (status, asked) = chief.put("/api/v1/admin/security-policy", rules).await;
    assert_eq!((status, &asked["act"]), (202, &json!("policy")), "{asked}");
    assert_eq!(chief.get("/api/v1/admin/security-policy").await.1["second_person"], "facts");
    world.stop().await;
}

#[tokio::test]
async fn a_system_that_reads_facts_is_connected_by_two() {
    let world = World::start().await;
    let chief = world.staff("chief", Role::Administrator).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let path = "/api/v1/admin/clients";
    let agree = async |asked: &Value| {
        let id = asked["id"].as_str().unwrap();
        officer.post(&format!("/api/v1/admin/account-changes/{id}/agree"), json!({})).await
    };
    let collect = async |asked: &Value| {
        let id = asked["id"].as_str().unwrap();
        chief.post(&format!("/api/v1/admin/account-changes/{id}/collect"), json!({})).await
    };
    let token = async |id: &str, secret: &str| {
        let form = [("grant_type", "client_credentials")];
        let asked =
            world.anonymous().request("POST", "/oauth/token").basic_auth(id, Some(secret)).form(&form);
        let answer = asked.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let laboratory =
        json!({"name": "Laboratory", "scopes": ["system/Observation.rs"], "reason": "New analyser"});
    let (status, asked) = chief.post(path, laboratory).await;
    assert_eq!((status, &asked["act"]), (202, &json!("register-application")), "{asked}");
    assert_eq!(asked["application"]["scopes"], json!(["system/Observation.rs"]));
    assert!(
        asked["application"].get("client_id").is_none() && asked.get("client_secret").is_none(),
        "{asked}"
    );
    assert_eq!(chief.get(path).await.1["items"], json!([]));
    assert_eq!(officer.get("/api/v1/admin/attention").await.1["accounts_waiting"], 1);
    let (_, told) = officer.get("/api/v1/notices").await;
    assert_eq!(told["items"][0]["topic"], "client-change.asked", "{told}");

    let id = asked["id"].as_str().unwrap();
    let (status, own) = chief.post(&format!("/api/v1/admin/account-changes/{id}/agree"), json!({})).await;
    assert_eq!((status, &own["code"]), (422, &json!("second-person-needed")), "{own}");
    let (status, agreed) = agree(&asked).await;
    assert_eq!(
        (status, &agreed["to_collect"], &agreed["display"]),
        (200, &json!(true), &json!("Laboratory"))
    );
    assert!(agreed.get("user_id").is_none(), "{agreed}");
    let (status, got) = collect(&asked).await;
    assert_eq!((status, &got["client_id"]), (200, &agreed["application"]["client_id"]), "{got}");
    let (client, secret) = (got["client_id"].as_str().unwrap(), got["client_secret"].as_str().unwrap());
    assert_eq!(token(client, secret).await.1["scope"], "system/Observation.rs");

    // It goes on as it is while something about it waits.
    let own_path = format!("{path}/{client}");
    let (status, asked) =
        chief.patch(&own_path, json!({"scopes": ["system/*.rs"], "reason": "Orders too"})).await;
    let application = &asked["application"];
    assert_eq!((status, &application["scopes_before"]), (202, &json!(["system/Observation.rs"])), "{asked}");
    assert_eq!((&application["other_keys"], &application["enables"]), (&json!(false), &json!(false)));
    assert_eq!(token(client, secret).await.1["scope"], "system/Observation.rs");
    assert_eq!(agree(&asked).await.0, 200);
    assert_eq!(token(client, secret).await.1["scope"], "system/*.rs");
    let renewal = format!("{own_path}/secret?reason=It%20got%20about");
    let (status, asked) = chief.post(&renewal, Value::Null).await;
    assert_eq!(
        (status, &asked["act"], &asked["reason"]),
        (202, &json!("application-secret"), &json!("It got about"))
    );
    assert_eq!(agree(&asked).await.0, 200);
    assert_eq!(token(client, secret).await.0, 200, "until the new one is fetched");
    let (_, got) = collect(&asked).await;
    assert_eq!(token(client, secret).await.0, 401);
    assert_eq!(token(client, got["client_secret"].as_str().unwrap()).await.0, 200);

    // Off at once, also with something that waits; on again by two; narrower at once.
    let (status, asked) = chief.patch(&own_path, json!({"disabled": true, "name": "Registry"})).await;
    assert_eq!((status, &asked["application"]["name_before"]), (202, &json!("Laboratory")), "{asked}");
    let (_, all) = chief.get(path).await;
    assert_eq!(
        (&all["items"][0]["disabled"], &all["items"][0]["name"]),
        (&json!(true), &json!("Laboratory"))
    );
    assert_eq!(chief.patch(&own_path, json!({"disabled": false})).await.1["code"], "already-waiting");
    let (status, narrow) = chief.patch(&own_path, json!({"scopes": ["system/Observation.r"]})).await;
    assert_eq!((status, &narrow["disabled"]), (200, &json!(true)), "{narrow}");
    assert_eq!(agree(&asked).await.1["code"], "changed-meanwhile");
    world.stop().await;
}
