//! The control API.

use crate::world::{PAYER, World, config};
use sandbox::handset::MESSAGES_MAX;
use sandbox::{Config, Settings};
use serde_json::{Value, json};

#[tokio::test]
async fn handsets_are_made_shown_and_changed() {
    let world = World::start().await;
    let (status, fresh) = world.control("GET", "/control/handsets/254712000001", None).await;
    assert_eq!((status, &fresh["balance_minor"]), (200, &json!(5_000_000)));
    let (_, list) = world.control("GET", "/control/handsets", None).await;
    assert_eq!(list["total"], json!(0), "looking makes no handset");
    let new = json!({"msisdn": "0712 000 001", "balance_minor": 100, "pin": "4321"});
    let (status, made) = world.control("POST", "/control/handsets", Some(new)).await;
    assert_eq!((status, &made["msisdn"], &made["pin"]), (201, &json!("254712000001"), &json!("4321")));
    let (status, _) =
        world.control("PATCH", "/control/handsets/+254712000001", Some(json!({"balance_minor": 7}))).await;
    assert_eq!(status, 200);
    let (_, list) = world.control("GET", "/control/handsets", None).await;
    assert_eq!(list["handsets"][0]["balance_minor"], json!(7));
    for (method, path, body) in [
        ("PATCH", "/control/handsets/254712000001", json!({"balance_minor": -1})),
        ("PATCH", "/control/handsets/254712000001", json!({"pin": "12345"})),
        ("PATCH", "/control/handsets/254712000001", json!({"colour": "red"})),
        ("PATCH", "/control/handsets/nobody", json!({"pin": "1234"})),
        ("POST", "/control/handsets", json!({"msisdn": "12"})),
        ("POST", "/control/handsets/254712000001/messages", json!({"text": "", "to": "1"})),
        ("POST", "/control/handsets/254712000001/prompt", json!({"pin": "1", "cancel": true})),
        ("POST", "/control/handsets/254712000001/prompt", json!({"result_code": "0"})),
        ("POST", "/control/handsets/254712000001/prompt", json!({})),
        ("PATCH", "/control/settings", json!({"prompt_timeout_ms": 5})),
        ("PATCH", "/control/settings", json!({"sms_report_url": "nowhere"})),
        ("POST", "/control/forge-callback", json!({"url": "file:///x", "body": {}})),
        ("POST", "/control/faults", json!({"kind": "daraja.nothing"})),
        ("POST", "/control/faults", json!({"kind": "daraja.callback_lost", "value": 1})),
        ("POST", "/control/faults", json!({"kind": "daraja.callback_duplicate", "value": 21})),
        ("POST", "/control/faults", json!({"kind": "daraja.callback_lost", "times": 0})),
        ("POST", "/control/faults", json!({"kind": "daraja.callback_lost", "msisdn": "x"})),
        (
            "PUT",
            "/control/faults",
            json!({"faults": [{"kind": "africastalking.refuse_status", "value": 200}]}),
        ),
    ] {
        let (status, answer) = world.control(method, path, Some(body.clone())).await;
        assert_eq!(status, 422, "{method} {path} {body}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    let (status, _) =
        world.control("POST", "/control/handsets/254712000001/prompt", Some(json!({"cancel": true}))).await;
    assert_eq!(status, 409);
    assert_eq!(world.control("GET", "/control/handsets/254712000001/prompt", None).await.0, 404);
}

#[tokio::test]
async fn a_caller_can_wait_for_messages_and_prompts() {
    let world = World::start().await;
    let path = format!("/control/handsets/{PAYER}/messages?contains=code&wait_ms=20000");
    let waiting = world.control("GET", &path, None);
    let sending = async { world.sms(&["+254708374149"], "Your code is 123456").await };
    let ((status, found), _) = tokio::join!(waiting, sending);
    assert_eq!((status, &found["messages"][0]["text"]), (200, &json!("Your code is 123456")));
    assert_eq!(found["messages"][0]["direction"], json!("received"));
    let after = found["messages"][0]["id"].as_u64().unwrap();
    let path = format!("/control/handsets/{PAYER}/messages?after={after}");
    assert_eq!(world.control("GET", &path, None).await.1, json!({"messages": []}));
    let path = format!("/control/handsets/{PAYER}/prompt?wait_ms=20000");
    let ((status, prompt), pushed) = tokio::join!(world.control("GET", &path, None), world.push(12_300));
    assert_eq!((status, &prompt["amount_minor"]), (200, &json!(12_300)));
    assert_eq!(prompt["id"], json!(pushed.unwrap().checkout_request_id));
}

#[tokio::test]
async fn faults_are_listed_replaced_and_removed() {
    let world = World::start().await;
    let (_, kinds) = world.control("GET", "/control/fault-kinds", None).await;
    assert_eq!(kinds["kinds"].as_array().unwrap().len(), 25);
    // Every kind can be switched on by its name with its default value.
    for kind in kinds["kinds"].as_array().unwrap() {
        let body = json!({"kind": kind["kind"], "value": kind["value_default"]});
        assert_eq!(world.control("POST", "/control/faults", Some(body)).await.0, 201, "{kind}");
    }
    let list = json!({"faults": [
        {"kind": "daraja.callback_delay", "value": 500, "msisdn": "+254 712 000001", "times": 3},
        {"kind": "africastalking.dlr_failed", "value": "Barred"},
    ]});
    let (status, faults) = world.control("PUT", "/control/faults", Some(list)).await;
    assert_eq!((status, faults["faults"].as_array().unwrap().len()), (200, 2));
    let first = &faults["faults"][0];
    assert_eq!(
        (&first["value"], &first["msisdn"], &first["times"]),
        (&json!("500"), &json!("254712000001"), &json!(3))
    );
    let path = format!("/control/faults/{}", first["id"]);
    assert_eq!(world.control("DELETE", &path, None).await.0, 204);
    assert_eq!(world.control("DELETE", &path, None).await.0, 404);
    assert_eq!(world.control("DELETE", "/control/faults", None).await.0, 204);
    assert_eq!(world.control("GET", "/control/faults", None).await.1, json!({"faults": []}));
}

#[tokio::test]
async fn a_callback_can_be_forged() {
    let mut world = World::start().await;
    let body = json!({"Body": {"stkCallback": {"CheckoutRequestID": "ws_CO_forged", "ResultCode": 0}}});
    let forged = json!({"url": world.hooks.url("/hooks/pay/guess"), "body": body});
    world.hooks.answer_next(404, json!({"no": "such hook"}));
    let (status, answer) = world.control("POST", "/control/forge-callback", Some(forged)).await;
    assert_eq!((status, &answer["status"]), (200, &json!(404)));
    assert_eq!(answer["response"], json!("{\"no\":\"such hook\"}"));
    let (path, sent) = world.hooks.next().await;
    assert_eq!((path.as_str(), serde_json::from_slice::<Value>(&sent).unwrap()), ("/hooks/pay/guess", body));
    let nobody = json!({"url": "http://127.0.0.1:1/", "body": "text=1", "content_type": "application/x-www-form-urlencoded"});
    assert_eq!(world.control("POST", "/control/forge-callback", Some(nobody)).await.0, 502);
}

#[tokio::test]
async fn payments_can_start_on_the_handset() {
    let world = World::start().await;
    let path = format!("/control/handsets/{PAYER}/paybill");
    let pay = |amount: i64, pin: &str| Some(json!({"account": "INV-1", "amount_minor": amount, "pin": pin}));
    let (status, paid) = world.control("POST", &path, pay(20_000, "1234")).await;
    assert_eq!((status, paid["receipt"].as_str().unwrap().len()), (201, 10));
    assert_eq!(world.sandbox().handset(PAYER).balance_minor, 4_980_000);
    assert_eq!(world.control("POST", &path, pay(20_000, "1")).await.0, 409);
    assert_eq!(world.control("POST", &path, pay(24_000_000, "1234")).await.0, 409);
    assert_eq!(world.control("POST", &path, pay(150, "1234")).await.0, 422);
}

#[tokio::test]
async fn everything_is_logged_bounded_and_forgotten() {
    let mut world = World::start().await;
    world.push(100).await.unwrap();
    world.pay(PAYER).await;
    world.hooks.stk().await;
    let long = "x".repeat(5_000);
    for index in 0..MESSAGES_MAX + 5 {
        world.sandbox().send_from(PAYER, "22131", &format!("{index} {long}"));
    }
    let handset = world.sandbox().handset(PAYER);
    assert_eq!(handset.messages.len(), MESSAGES_MAX);
    assert!(handset.messages.iter().all(|message| message.text.len() <= 1_600));
    let (_, log) = world.control("GET", "/control/log", None).await;
    let targets: Vec<_> =
        log["entries"].as_array().unwrap().iter().map(|entry| entry["target"].as_str().unwrap()).collect();
    assert_eq!(targets[..2], ["/oauth/v1/generate", "/mpesa/stkpush/v1/processrequest"]);
    assert!(targets[2].ends_with("/hooks/pay/0123456789abcdef"));
    assert!(!log.to_string().contains("Bearer"), "headers are not logged");
    let (_, transactions) = world.control("GET", "/control/transactions", None).await;
    assert_eq!(transactions["transactions"][0]["result_code"], json!("0"));
    assert_eq!(world.control("POST", "/control/reset", None).await.0, 204);
    assert!(world.sandbox().handsets().is_empty() && world.sandbox().log(0).is_empty());
    assert_eq!(world.push(100).await.unwrap_err().kind, wire::daraja::ErrorKind::InvalidToken);
}

#[tokio::test]
async fn settings_are_checked_at_the_start_and_changed_later() {
    let settings = Settings { prompt_timeout_ms: 1, ..config().settings };
    assert!(sandbox::serve(Config { settings, ..config() }).await.is_err());
    let world = World::start().await;
    let change = json!({"business_name": "AGA KHAN", "sms_report_url": world.hooks.url("/r"), "pending_answer": "4999"});
    assert_eq!(world.control("PATCH", "/control/settings", Some(change)).await.0, 200);
    let (_, shown) = world.control("GET", "/control/settings", None).await;
    assert_eq!(shown["settings"]["business_name"], json!("AGA KHAN"));
    assert_eq!(shown["shortcode"], json!("174379"));
    let clear = json!({"sms_report_url": ""});
    let (_, settings) = world.control("PATCH", "/control/settings", Some(clear)).await;
    assert_eq!(settings["sms_report_url"], Value::Null);
    // A taken address is a clear error, not a hang.
    let taken = Config { listen: world.handle.address, ..config() };
    assert!(matches!(sandbox::serve(taken).await, Err(sandbox::ServeError::Listen { .. })));
}

#[tokio::test]
async fn shutdown_cuts_off_what_waits() {
    let world = World::start().await;
    let events = world.client.get(world.url("/control/events")).send().await.unwrap();
    let waiting = world.client.get(world.url(&format!("/control/handsets/{PAYER}/prompt?wait_ms=30000")));
    let waiting = tokio::spawn(async move { waiting.send().await.map(|response| response.status()) });
    world.handle.shutdown().await.unwrap();
    assert!(events.text().await.is_ok(), "the stream ends");
    // Answered with 404, or never accepted: both are an end.
    let _ = waiting.await.unwrap();
}
