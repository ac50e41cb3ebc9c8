//! Every fault of Daraja, and the limits of a fault.

use crate::world::{PATIENCE, PAYER, World};
use sandbox::{Fault, FaultKind};
use serde_json::{Value, json};
use wire::daraja::{ErrorKind, Remedy, STK_PUSH_PATH, StkCallback, StkOutcome, parse_token};

fn once(world: &World, kind: FaultKind) {
    world.sandbox().add_fault(Fault::new(kind).times(1)).unwrap();
}

#[tokio::test]
async fn oauth_can_refuse() {
    let world = World::start().await;
    once(&world, FaultKind::OauthRefuse);
    let (status, body) = world.oauth(sandbox::config::CONSUMER_SECRET).await;
    assert_eq!(parse_token(status, &body).unwrap_err().kind, ErrorKind::WrongCredentials);
    assert_eq!(world.oauth(sandbox::config::CONSUMER_SECRET).await.0, 200);
}

#[tokio::test]
async fn a_token_can_expire_in_between() {
    let mut world = World::start().await;
    world.sandbox().add_fault(Fault::new(FaultKind::TokenExpired)).unwrap();
    assert_eq!(world.push(100).await.unwrap_err().remedy(), Remedy::RefreshToken);
    assert_eq!(
        world.push(100).await.unwrap_err().kind,
        ErrorKind::InvalidToken,
        "the token is gone for good"
    );
    world.sign_in().await;
    assert!(world.push(100).await.is_ok());
}

#[tokio::test]
async fn a_push_can_fail_without_a_prompt() {
    let world = World::start().await;
    for (kind, expected, remedy) in [
        (FaultKind::PushHttp500, ErrorKind::Internal, Remedy::Reconcile),
        (FaultKind::PushBusy, ErrorKind::SystemBusy, Remedy::RetryLater),
        (FaultKind::PushResponseCode, ErrorKind::Refused, Remedy::GiveUp),
    ] {
        once(&world, kind);
        let error = world.push(100).await.unwrap_err();
        assert_eq!((error.kind.clone(), error.remedy()), (expected, remedy));
        assert_eq!(world.sandbox().handset(PAYER).prompt, None);
    }
    assert!(world.sandbox().faults().is_empty());
}

#[tokio::test]
async fn an_accepted_push_can_stay_unanswered() {
    let mut world = World::start().await;
    once(&world, FaultKind::PushTimeoutAfterAccept);
    let request = world.push_request(PAYER, 100).to_json();
    let call = world.client.post(world.url(STK_PUSH_PATH)).bearer_auth(&world.token).json(&request).send();
    let call = tokio::spawn(call);
    let prompt = world.sandbox().wait_for_prompt(PAYER, PATIENCE).await.unwrap();
    world.pay(PAYER).await;
    let callback = world.hooks.stk().await;
    assert_eq!((callback.checkout_request_id, callback.amount_minor), (prompt.id, Some(100)));
    assert!(!call.is_finished(), "the payment is over and the push still has no answer");
    call.abort();
    let pushes: Vec<_> =
        world.sandbox().log(0).into_iter().filter(|entry| entry.target == STK_PUSH_PATH).collect();
    assert_eq!((pushes.len(), pushes[0].status), (1, None), "the log shows the call that was never answered");
}

#[tokio::test]
async fn a_lost_callback_is_found_by_query() {
    let mut world = World::start().await;
    world.sandbox().add_fault(Fault::new(FaultKind::CallbackLost).on(PAYER)).unwrap();
    let lost = world.push(100).await.unwrap();
    world.pay(PAYER).await;
    assert_eq!(world.query(&lost.checkout_request_id).await.unwrap().outcome(), StkOutcome::Paid);
    let next = world.push_to("254711000006", 200).await.unwrap();
    world.pay("254711000006").await;
    assert_eq!(world.hooks.stk().await.checkout_request_id, next.checkout_request_id);
    assert!(world.hooks.is_empty());
}

#[tokio::test]
async fn a_callback_can_come_again() {
    let mut world = World::start().await;
    world.sandbox().add_fault(Fault::new(FaultKind::CallbackDuplicate).times(1).value(2)).unwrap();
    world.push(100).await.unwrap();
    world.pay(PAYER).await;
    let first = world.hooks.next().await;
    assert_eq!(world.hooks.next().await, first);
    assert_eq!(world.hooks.next().await, first);
    world.push(100).await.unwrap();
    world.pay(PAYER).await;
    assert_ne!(world.hooks.next().await, first);
}

#[tokio::test]
async fn a_callback_can_overtake_the_answer() {
    let mut world = World::start().await;
    once(&world, FaultKind::CallbackBeforeResponse);
    let accepted = world.push(100).await.unwrap();
    assert!(!world.hooks.is_empty(), "the callback is there when the answer comes");
    let callback = world.hooks.stk().await;
    assert_eq!(
        (callback.outcome(), callback.checkout_request_id),
        (StkOutcome::Paid, accepted.checkout_request_id)
    );
}

#[tokio::test]
async fn a_callback_can_be_late() {
    let mut world = World::start().await;
    let late = Fault::new(FaultKind::CallbackDelay).times(1).on(PAYER);
    world.sandbox().add_fault(late.clone().value(20)).unwrap();
    world.push(100).await.unwrap();
    world.pay(PAYER).await;
    assert_eq!(world.hooks.stk().await.amount_minor, Some(100));
    // Two minutes late: another payment is told long before.
    world.sandbox().add_fault(late.value(120_000)).unwrap();
    world.push(200).await.unwrap();
    world.pay(PAYER).await;
    world.push_to("254711000002", 300).await.unwrap();
    world.pay("254711000002").await;
    assert_eq!(world.hooks.stk().await.amount_minor, Some(300));
    assert!(world.hooks.is_empty());
}

#[tokio::test]
async fn a_callback_can_name_another_amount() {
    let mut world = World::start().await;
    world.sandbox().add_fault(Fault::new(FaultKind::CallbackAmountDelta).times(1).value(-100)).unwrap();
    world.push(50_000).await.unwrap();
    world.pay(PAYER).await;
    assert_eq!(world.hooks.stk().await.amount_minor, Some(49_900));
    assert_eq!(world.sandbox().handset(PAYER).balance_minor, 5_000_000 - 50_000);
}

#[tokio::test]
async fn a_failure_can_precede_the_success() {
    let mut world = World::start().await;
    once(&world, FaultKind::CallbackFailureThenSuccess);
    let accepted = world.push(100).await.unwrap();
    world.pay(PAYER).await;
    let (failure, success) = (world.hooks.stk().await, world.hooks.stk().await);
    assert_eq!((failure.outcome(), failure.receipt), (StkOutcome::Unreachable, None));
    assert_eq!(success.outcome(), StkOutcome::Paid);
    assert_eq!(failure.checkout_request_id, accepted.checkout_request_id);
    assert_eq!(success.checkout_request_id, accepted.checkout_request_id);
}

#[tokio::test]
async fn numbers_in_a_callback_can_be_strings() {
    let mut world = World::start().await;
    once(&world, FaultKind::CallbackStringNumbers);
    world.push(100).await.unwrap();
    world.pay(PAYER).await;
    let (_, body) = world.hooks.next().await;
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["Body"]["stkCallback"]["ResultCode"], json!("0"));
    assert_eq!(json["Body"]["stkCallback"]["CallbackMetadata"]["Item"][0]["Value"], json!("1.00"));
    assert_eq!(StkCallback::parse(&body).unwrap().amount_minor, Some(100));
}

#[tokio::test]
async fn a_query_can_lag_or_fail() {
    let mut world = World::start().await;
    let accepted = world.push(100).await.unwrap();
    world.pay(PAYER).await;
    world.hooks.stk().await;
    world.sandbox().add_fault(Fault::new(FaultKind::Query4999).times(2)).unwrap();
    once(&world, FaultKind::QueryStillProcessing);
    once(&world, FaultKind::QueryDown);
    let id = &accepted.checkout_request_id;
    let down = world.query(id).await.unwrap_err();
    assert_eq!((down.kind.clone(), down.remedy()), (ErrorKind::SystemBusy, Remedy::RetryLater));
    for status in [200, 200, 500] {
        let (found, body) = world.query_raw(id).await;
        assert_eq!(found, status);
        let reply = wire::daraja::parse_query(found, &body).unwrap();
        assert_eq!(reply.outcome(), StkOutcome::StillProcessing);
    }
    assert_eq!(world.query(id).await.unwrap().outcome(), StkOutcome::Paid);
}

#[tokio::test]
async fn a_fault_can_be_limited_to_a_number() {
    let world = World::start().await;
    world.sandbox().add_fault(Fault::new(FaultKind::PushBusy).on("+254 711 000 003")).unwrap();
    assert!(world.push(100).await.is_ok());
    for _ in 0..2 {
        assert_eq!(world.push_to("254711000003", 100).await.unwrap_err().kind, ErrorKind::SystemBusy);
    }
    world.sandbox().clear_faults();
    assert!(world.push_to("254711000003", 100).await.is_ok());
}
