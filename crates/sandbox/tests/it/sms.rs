//! Africa's Talking, with and without faults.

use crate::world::{PATIENCE, PAYER, World};
use sandbox::{Fault, FaultKind, HandsetChange, SettingsChange};
use wire::africastalking::{
    DeliveryReport, DeliveryStatus, Inbound, MESSAGING_PATH, SendClass, SendError, parse_send,
};

const TO: &str = "+254708374149";

async fn world() -> World {
    let world = World::start().await;
    let urls = SettingsChange {
        sms_report_url: Some(world.hooks.url("/reports")),
        sms_inbound_url: Some(world.hooks.url("/inbound")),
        ..SettingsChange::default()
    };
    world.sandbox().change_settings(urls).unwrap();
    world
}

fn once(world: &World, fault: Fault) {
    world.sandbox().add_fault(fault.times(1)).unwrap();
}

async fn report(world: &mut World) -> DeliveryReport {
    let (path, body) = world.hooks.next().await;
    assert_eq!(path, "/reports");
    DeliveryReport::parse(&body).unwrap()
}

async fn statuses(world: &mut World, count: usize) -> Vec<String> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(report(world).await.status.as_str().to_owned());
    }
    statuses
}

#[tokio::test]
async fn a_message_arrives_and_is_reported() {
    let mut world = world().await;
    let (status, body) = world.sms(&[TO, "+254711000004"], "Habari \u{2013} kesho saa tatu").await;
    let recipients = parse_send(status, &body).unwrap();
    assert_eq!((status, recipients.len()), (201, 2));
    assert!(recipients.iter().all(|recipient| recipient.class() == SendClass::Accepted));
    assert_eq!(recipients[0].number, TO);
    assert_eq!(recipients[0].cost.as_ref().unwrap().ten_thousandths, 8_000);
    let message = world.sandbox().wait_for_message(PAYER, 0, "kesho", PATIENCE).await.unwrap();
    assert_eq!((message.party.as_str(), message.parts), ("UZIMA", 1));
    assert!(world.sandbox().wait_for_message("254711000004", 0, "kesho", PATIENCE).await.is_some());
    let mut seen: Vec<(String, DeliveryStatus)> = Vec::new();
    for _ in 0..4 {
        let report = report(&mut world).await;
        seen.push((report.message_id, report.status));
    }
    for recipient in recipients {
        let id = recipient.message_id.unwrap();
        let states: Vec<_> = seen.iter().filter(|(known, _)| *known == id).map(|(_, state)| state).collect();
        assert_eq!(states, [&DeliveryStatus::Sent, &DeliveryStatus::Success]);
    }
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let world = world().await;
    let form = "username=sandbox&to=%2B254708374149&message=x";
    let (status, body) = world.send_sms(form, "wrong").await;
    assert_eq!(parse_send(status, &body), Err(SendError::Credentials));
    for (form, field) in [("username=sandbox&message=x", "to"), ("username=sandbox&to=1", "message")] {
        let (status, body) = world.send_sms(form, sandbox::config::SMS_API_KEY).await;
        let expected = format!("Request is missing required form field '{field}'");
        assert_eq!(parse_send(status, &body), Err(SendError::Refused(expected)));
    }
    let (status, body) = world.sms(&["0708374149", "nobody"], "x").await;
    let classes: Vec<_> =
        parse_send(status, &body).unwrap().iter().map(|recipient| recipient.class()).collect();
    assert_eq!(classes, [SendClass::BadNumber, SendClass::BadNumber]);
}

#[tokio::test]
async fn without_accept_the_answer_is_xml() {
    let world = world().await;
    let response = world
        .client
        .post(world.url(MESSAGING_PATH))
        .header("apiKey", sandbox::config::SMS_API_KEY)
        .form(&[("username", "sandbox"), ("to", TO), ("message", "x")])
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    let body = response.text().await.unwrap();
    assert!(body.starts_with("<AfricasTalkingResponse>") && body.contains("<statusCode>101</statusCode>"));
}

#[tokio::test]
async fn sending_can_fail_in_every_documented_way() {
    let world = world().await;
    world.sandbox().add_fault(Fault::new(FaultKind::SmsHttp500).times(1)).unwrap();
    let (status, body) = world.sms(&[TO], "x").await;
    assert_eq!(parse_send(status, &body), Err(SendError::Unavailable(500)));
    world.sandbox().add_fault(Fault::new(FaultKind::SmsEmptyRecipients).times(1)).unwrap();
    let (status, body) = world.sms(&[TO], "x").await;
    assert_eq!(parse_send(status, &body), Err(SendError::Refused("InvalidSenderId".into())));
    for (code, class) in
        [(405, SendClass::TopUpNeeded), (406, SendClass::OptedOut), (501, SendClass::RetryLater)]
    {
        world.sandbox().add_fault(Fault::new(FaultKind::SmsRefuse).times(1).value(code)).unwrap();
        let (status, body) = world.sms(&[TO], "x").await;
        let recipients = parse_send(status, &body).unwrap();
        assert_eq!((recipients[0].class(), recipients[0].message_id.clone()), (class, None));
    }
    assert!(world.sandbox().handset(PAYER).messages.is_empty());
}

#[tokio::test]
async fn reports_can_be_lost_doubled_swapped_or_bad() {
    let mut world = world().await;
    once(&world, Fault::new(FaultKind::ReportDuplicate).value(2));
    world.sms(&[TO], "doubled").await;
    assert_eq!(statuses(&mut world, 4).await, ["Sent", "Success", "Success", "Success"]);
    once(&world, Fault::new(FaultKind::ReportOutOfOrder));
    world.sms(&[TO], "swapped").await;
    assert_eq!(statuses(&mut world, 2).await, ["Success", "Sent"]);
    once(&world, Fault::new(FaultKind::ReportFailed).value("AbsentSubscriber"));
    world.sms(&[TO], "failed").await;
    assert_eq!(report(&mut world).await.status, DeliveryStatus::Sent);
    let failed = report(&mut world).await;
    assert_eq!((failed.status, failed.failure_reason.as_str()), (DeliveryStatus::Failed, "AbsentSubscriber"));
    once(&world, Fault::new(FaultKind::ReportLost));
    world.sms(&[TO], "lost").await;
    assert!(world.sandbox().wait_for_message(PAYER, 0, "lost", PATIENCE).await.is_some());
    world.sms(&[TO], "after").await;
    assert_eq!(statuses(&mut world, 2).await, ["Sent", "Success"]);
    assert!(world.hooks.is_empty());
    let texts: Vec<_> =
        world.sandbox().handset(PAYER).messages.into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["doubled", "swapped", "lost", "after"]);
}

#[tokio::test]
async fn a_message_can_be_late() {
    let mut world = world().await;
    once(&world, Fault::new(FaultKind::SmsDelay).value(20));
    world.sms(&[TO], "a little late").await;
    assert_eq!(statuses(&mut world, 2).await, ["Sent", "Success"]);
    once(&world, Fault::new(FaultKind::SmsDelay).value(120_000).on(TO));
    world.sms(&[TO], "two minutes late").await;
    let quick = parse_send(201, &world.sms(&["+254711000005"], "quick").await.1).unwrap();
    for _ in 0..2 {
        assert_eq!(Some(report(&mut world).await.message_id), quick[0].message_id);
    }
    assert_eq!(world.sandbox().handset(PAYER).messages.len(), 1);
}

#[tokio::test]
async fn a_handset_that_is_off_gets_its_messages_later() {
    let mut world = world().await;
    let power = |on| HandsetChange { reachable: Some(on), ..HandsetChange::default() };
    world.sandbox().change_handset(PAYER, power(false)).unwrap();
    world.sms(&[TO], "wait for me").await;
    assert_eq!(statuses(&mut world, 2).await, ["Sent", "Buffered"]);
    assert!(world.sandbox().handset(PAYER).messages.is_empty());
    let view = world.sandbox().change_handset(PAYER, power(true)).unwrap();
    assert_eq!(view.messages[0].text, "wait for me");
    assert_eq!(statuses(&mut world, 1).await, ["Success"]);
}

#[tokio::test]
async fn a_handset_can_write_back() {
    let mut world = world().await;
    let body = serde_json::json!({"to": "22131", "text": "NDIYO & asante é"});
    let (status, _) = world.control("POST", "/control/handsets/0708374149/messages", Some(body)).await;
    assert_eq!(status, 201);
    let (path, body) = world.hooks.next().await;
    let inbound = Inbound::parse(&body).unwrap();
    assert_eq!((path.as_str(), inbound.from.as_str(), inbound.to.as_str()), ("/inbound", TO, "22131"));
    assert_eq!(inbound.text, "NDIYO & asante é");
}
