//! Daraja without faults.

use crate::world::{PATIENCE, PAYER, World, config};
use sandbox::{Config, HandsetChange, PendingAnswer, Reply, Settings, SettingsChange};
use serde_json::{Value, json};
use wire::daraja::{
    C2bPayment, C2bRegister, C2bResponseType, C2bSimulate, C2bVersion, ErrorKind, MsisdnForm, OAUTH_PATH,
    STK_PUSH_PATH, STK_QUERY_PATH, StkOutcome, TransactionType, parse_register, parse_token,
};

fn error(body: &[u8]) -> (String, String) {
    let body: Value = serde_json::from_slice(body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    assert!(!text("requestId").is_empty());
    (text("errorCode"), text("errorMessage"))
}

#[tokio::test]
async fn oauth_gives_tokens_to_the_right_keys_only() {
    let world = World::start().await;
    let (status, body) = world.oauth(sandbox::config::CONSUMER_SECRET).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["expires_in"]), (200, &json!("3599")));
    let (status, body) = world.oauth("wrong").await;
    assert_eq!((status, body.as_slice()), (400, b"".as_slice()));
    assert_eq!(parse_token(status, &body).unwrap_err().kind, ErrorKind::WrongCredentials);
    let response = world.client.get(world.url(OAUTH_PATH)).send().await.unwrap();
    assert_eq!(error(&response.bytes().await.unwrap()).0, "400.008.02");
}

#[tokio::test]
async fn calls_need_a_valid_token_and_the_right_method() {
    let mut world = World::start().await;
    let request = world.push_request(PAYER, 100).to_json();
    let bare = world.client.post(world.url(STK_PUSH_PATH)).json(&request).send().await.unwrap();
    assert_eq!(bare.status(), 404);
    assert_eq!(error(&bare.bytes().await.unwrap()).0, "404.001.04");
    let get = world.client.get(world.url(STK_PUSH_PATH)).send().await.unwrap();
    assert_eq!(error(&get.bytes().await.unwrap()).0, "404.001.04");
    let (status, body) = world.daraja("/mpesa/nothing/v1/here", &json!({})).await;
    assert_eq!((status, error(&body).0.as_str()), (404, "404.003.01"));
    world.token = "made-up".to_owned();
    let (status, body) = world.daraja(STK_PUSH_PATH, &request).await;
    assert_eq!((status, error(&body)), (404, ("404.001.03".into(), "Invalid Access Token".into())));
}

#[tokio::test]
async fn bad_fields_are_named() {
    let world = World::start().await;
    let good = world.push_request(PAYER, 100).to_json();
    for (name, value) in [
        ("Amount", json!(0)),
        ("Amount", json!(250_001)),
        ("PhoneNumber", json!("0708374149")),
        ("PartyA", json!(254_208_374_149_u64)),
        ("CallBackURL", json!("ftp://clinic.example")),
        ("AccountReference", json!("A".repeat(21))),
        ("TransactionDesc", json!("A".repeat(14))),
        ("TransactionType", json!("Pay Bill")),
        ("Timestamp", json!("yesterday")),
    ] {
        let mut body = good.clone();
        body[name] = value;
        let (status, answer) = world.daraja(STK_PUSH_PATH, &body).await;
        assert_eq!(
            (status, error(&answer)),
            (400, ("400.002.02".into(), format!("Bad Request - Invalid {name}")))
        );
    }
    let response = world
        .client
        .post(world.url(STK_PUSH_PATH))
        .bearer_auth(&world.token)
        .body("{not json")
        .send()
        .await
        .unwrap();
    assert_eq!(error(&response.bytes().await.unwrap()).0, "400.002.05");
    let mut wrong = good.clone();
    wrong["Password"] = json!("d3Jvbmc=");
    let (status, answer) = world.daraja(STK_PUSH_PATH, &wrong).await;
    assert_eq!((status, error(&answer)), (500, ("500.001.1001".into(), "Wrong credentials".into())));
    assert!(world.sandbox().transactions().is_empty());
}

#[tokio::test]
async fn a_payment_with_the_right_pin_moves_money_once() {
    let mut world = World::start().await;
    let accepted = world.push(150_000).await.unwrap();
    assert!(accepted.checkout_request_id.starts_with("ws_CO_"));
    let pending = world.query_raw(&accepted.checkout_request_id).await;
    assert_eq!((pending.0, error(&pending.1).0.as_str()), (500, "500.001.1001"));
    assert_eq!(
        world.query(&accepted.checkout_request_id).await.unwrap().outcome(),
        StkOutcome::StillProcessing
    );
    let busy = world.push(100).await.unwrap_err();
    assert_eq!(busy.kind, ErrorKind::SubscriberBusy);

    let prompt = world.sandbox().wait_for_prompt(PAYER, PATIENCE).await.unwrap();
    assert_eq!((prompt.amount_minor, prompt.account.as_str()), (150_000, "INV-0001"));
    assert_eq!(prompt.id, accepted.checkout_request_id);
    let ended = world.pay(PAYER).await;
    assert_eq!(ended["balance_minor"], json!(4_850_000));

    let callback = world.hooks.stk().await;
    assert_eq!(callback.outcome(), StkOutcome::Paid);
    assert_eq!(callback.checkout_request_id, accepted.checkout_request_id);
    assert_eq!(callback.merchant_request_id, accepted.merchant_request_id);
    assert_eq!(callback.amount_minor, Some(150_000));
    assert_eq!(callback.phone.as_deref(), Some(PAYER));
    let receipt = callback.receipt.unwrap();
    assert_eq!((receipt.len(), ended["receipt"].as_str()), (10, Some(receipt.as_str())));
    let reply = world.query(&accepted.checkout_request_id).await.unwrap();
    assert_eq!(
        (reply.outcome(), reply.checkout_request_id),
        (StkOutcome::Paid, accepted.checkout_request_id)
    );

    let handset = world.sandbox().handset(PAYER);
    assert_eq!((handset.balance_minor, handset.prompt), (4_850_000, None));
    let text = &handset.messages.last().unwrap().text;
    assert!(
        text.starts_with(&format!(
            "{receipt} Confirmed. Ksh1,500.00 sent to UZIMA HOSPITAL for account INV-0001 on "
        )),
        "{text}"
    );
    assert!(text.contains("New M-PESA balance is Ksh48,500.00."), "{text}");
    assert_eq!(world.sandbox().answer(PAYER, Reply::Pin("1234".into())), None);
}

#[tokio::test]
async fn prompts_end_as_the_payer_answers() {
    let mut world = World::start().await;
    let small = HandsetChange { balance_minor: Some(5_000), ..HandsetChange::default() };
    world.sandbox().change_handset("254711000001", small).unwrap();
    let reply = |code: &str| Reply::Result { code: code.into(), description: "by hand".into() };
    for (msisdn, given, code, outcome, note) in [
        (PAYER, Reply::Pin("9999".into()), "2001", StkOutcome::WrongPin, "wrong M-PESA PIN"),
        (PAYER, Reply::Cancel, "1032", StkOutcome::Cancelled, ""),
        (PAYER, Reply::TimeOut, "1037", StkOutcome::Unreachable, ""),
        ("254711000001", Reply::Pin("1234".into()), "1", StkOutcome::InsufficientFunds, "enough money"),
        (PAYER, reply("1019"), "1019", StkOutcome::Expired, ""),
        (PAYER, reply("4711"), "4711", StkOutcome::NeedsReview("4711".into()), ""),
    ] {
        let accepted = world.push_to(msisdn, 20_000).await.unwrap();
        let balance_minor = world.sandbox().handset(msisdn).balance_minor;
        let ended = world.sandbox().answer(msisdn, given).unwrap();
        assert_eq!((ended.result_code.as_str(), ended.receipt), (code, None));
        let callback = world.hooks.stk().await;
        assert_eq!((callback.outcome(), callback.amount_minor), (outcome.clone(), None));
        assert_eq!(world.query(&accepted.checkout_request_id).await.unwrap().outcome(), outcome);
        let handset = world.sandbox().handset(msisdn);
        assert_eq!(handset.balance_minor, balance_minor);
        assert!(note.is_empty() || handset.messages.last().unwrap().text.contains(note));
    }
}

#[tokio::test]
async fn an_unanswered_prompt_goes_away() {
    let mut world = World::start().await;
    let quick = SettingsChange { prompt_timeout_ms: Some(100), ..SettingsChange::default() };
    world.sandbox().change_settings(quick).unwrap();
    world.push(100).await.unwrap();
    assert_eq!(world.hooks.stk().await.result_code, "1037");
    assert_eq!(world.sandbox().handset(PAYER).prompt, None);
}

#[tokio::test]
async fn a_handset_that_is_off_cannot_be_asked() {
    let mut world = World::start().await;
    let off = HandsetChange { reachable: Some(false), ..HandsetChange::default() };
    world.sandbox().change_handset(PAYER, off).unwrap();
    world.push(100).await.unwrap();
    assert_eq!(world.hooks.stk().await.result_code, "1037");
}

#[tokio::test]
async fn queries_know_their_prompts_only() {
    let settings = Settings { pending_answer: PendingAnswer::Code4999, ..config().settings };
    let world = World::with(Config { settings, ..config() }).await;
    let (status, body) = world.query_raw("ws_CO_unknown").await;
    assert_eq!((status, error(&body).1.as_str()), (400, "Bad Request - Invalid CheckoutRequestID"));
    let accepted = world.push(100).await.unwrap();
    let (status, body) = world.query_raw(&accepted.checkout_request_id).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["ResultCode"]), (200, &json!("4999")));
    let wrong = json!({"BusinessShortCode": 174379, "Password": "x", "Timestamp": "20261121220000", "CheckoutRequestID": "y"});
    let (status, body) = world.daraja(STK_QUERY_PATH, &wrong).await;
    assert_eq!((status, error(&body).1.as_str()), (500, "Wrong credentials"));
}

async fn register(world: &World, version: C2bVersion, response_type: C2bResponseType) -> (u16, Vec<u8>) {
    let request = C2bRegister {
        shortcode: sandbox::config::SHORTCODE.into(),
        response_type,
        confirmation_url: world.hooks.url("/confirm"),
        validation_url: world.hooks.url("/validate"),
    };
    world.daraja(version.register_path(), &request.to_json()).await
}

async fn simulate(world: &World, version: C2bVersion) {
    let request = C2bSimulate {
        shortcode: sandbox::config::SHORTCODE.into(),
        transaction_type: TransactionType::PayBill,
        amount_shillings: 700,
        msisdn: PAYER.into(),
        bill_ref_number: Some("INV-0009".into()),
    };
    let (status, body) = world.daraja(version.simulate_path(), &request.to_json()).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
}

#[tokio::test]
async fn a_paybill_payment_is_validated_and_confirmed() {
    let mut world = World::start().await;
    let validation = SettingsChange { c2b_validation: Some(true), ..SettingsChange::default() };
    world.sandbox().change_settings(validation).unwrap();
    for (version, form) in [(C2bVersion::V1, MsisdnForm::Hashed), (C2bVersion::V2, MsisdnForm::Masked)] {
        let (status, body) = register(&world, version, C2bResponseType::Completed).await;
        assert!(parse_register(status, &body).is_ok());
        simulate(&world, version).await;
        let (path, body) = world.hooks.next().await;
        let before = C2bPayment::parse(&body).unwrap();
        assert_eq!((path.as_str(), before.org_account_balance.as_str()), ("/validate", ""));
        let (path, body) = world.hooks.next().await;
        let payment = C2bPayment::parse(&body).unwrap();
        assert_eq!((path.as_str(), payment.amount_minor), ("/confirm", 70_000));
        assert_eq!((payment.bill_ref_number.as_str(), payment.msisdn_form()), ("INV-0009", form));
        assert_eq!(payment.transaction_id, before.transaction_id);
        assert!(world.sandbox().handset(PAYER).messages.last().unwrap().text.contains("Ksh700.00"));
    }
}

#[tokio::test]
async fn validation_can_refuse_a_payment() {
    let mut world = World::start().await;
    let validation = SettingsChange { c2b_validation: Some(true), ..SettingsChange::default() };
    world.sandbox().change_settings(validation).unwrap();
    register(&world, C2bVersion::V2, C2bResponseType::Cancelled).await;
    let refused = wire::daraja::validation_reply(Err(wire::daraja::C2bRefusal::InvalidAccount));
    let mut after = 0;
    for (status, answer) in [(200, refused), (500, json!({}))] {
        world.hooks.answer_next(status, answer);
        simulate(&world, C2bVersion::V2).await;
        assert_eq!(world.hooks.next().await.0, "/validate");
        let failed = world.sandbox().wait_for_message(PAYER, after, "not accepted", PATIENCE).await;
        after = failed.unwrap().id;
    }
    assert_eq!(world.sandbox().handset(PAYER).balance_minor, sandbox::handset::BALANCE_MINOR_DEFAULT);
    assert!(world.hooks.is_empty());
}

#[tokio::test]
async fn c2b_urls_can_be_registered_once_as_in_production() {
    let mut world = World::start().await;
    let once = SettingsChange { c2b_register_once: Some(true), ..SettingsChange::default() };
    world.sandbox().change_settings(once).unwrap();
    register(&world, C2bVersion::V2, C2bResponseType::Completed).await;
    let (status, body) = register(&world, C2bVersion::V2, C2bResponseType::Completed).await;
    assert_eq!(parse_register(status, &body).unwrap_err().kind, ErrorKind::AlreadyRegistered);
    // An STK payment to a paybill with registered URLs is confirmed there too, with the same receipt.
    world.push(100).await.unwrap();
    world.pay(PAYER).await;
    let receipt = world.hooks.stk().await.receipt;
    let (path, body) = world.hooks.next().await;
    assert_eq!(path, "/confirm");
    assert_eq!(Some(C2bPayment::parse(&body).unwrap().transaction_id), receipt);
}
