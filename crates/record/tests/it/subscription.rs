//! Subscriptions by a clock that is turned: heartbeats, the end, and who sees the headers. What goes over sockets is
//! tested in the server.

use crate::{Bench, create, each_engine, key, set, update};
use access::{Ctx, Principal};
use fhir::Resource;
use jiff::SignedDuration;
use record::subscription::{Channel, Delivery, Due, Kind, Message, Step};
use record::{Committed, Error};
use serde_json::{Value, json};

const GUIDE: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
const BASE: &str = "https://clinic.example/fhir/R4";
const ALL: &str = "system/*.cruds";

/// A registered client: a subscription sees with its eyes.
async fn client(bench: &Bench, name: &str) -> Ctx {
    let scopes = vec![ALL.to_owned()];
    let (client_id, _) = bench.record.create_client(&bench.system(), name, &scopes).await.unwrap();
    bench.receives("board.example.org").await;
    Ctx { principal: Principal::Client { client_id, name: name.to_owned(), scopes }, ..bench.system() }
}

fn topic(more: Value) -> Value {
    let mut channel = json!({"type": "rest-hook", "endpoint": "https://board.example.org/notify",
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": format!("{GUIDE}backport-payload-content"), "valueCode": "id-only"}]},
        "extension": [{"url": format!("{GUIDE}backport-heartbeat-period"), "valueUnsignedInt": 60}]});
    if let Some(headers) = more.get("header") {
        channel["header"] = headers.clone();
    }
    let mut value = json!({"resourceType": "Subscription", "status": "requested", "reason": "test",
        "criteria": "urn:uzima:SubscriptionTopic:encounter-start", "channel": channel});
    for (name, element) in more.as_object().unwrap() {
        if name != "header" {
            value[name.as_str()] = element.clone();
        }
    }
    value
}

fn id_of(done: &Committed) -> String {
    done.written[0].key.id.clone()
}

/// What comes next for the subscription, by the record's clock: when it is looked at again is the database's.
async fn next(bench: &Bench, id: &str) -> Option<(Due, Delivery)> {
    let of = id.to_owned();
    let woken = bench.record.store().write(move |tx| {
        let row = store::subscription::load(tx, &of)?.unwrap();
        store::subscription::release(tx, &of, row.token, Some(0))
    });
    woken.await.unwrap();
    let mut due = bench.record.due_subscriptions(1).await.unwrap().into_iter().next()?;
    assert_eq!(due.id(), id);
    match bench.record.next_notification(&mut due, BASE).await.unwrap() {
        Step::Done => None,
        Step::Send(delivery) => Some((due, *delivery)),
    }
}

/// Takes the delivery and returns `type` and `events-since-subscription-start` of its status.
async fn takes(bench: &Bench, id: &str) -> Option<(String, String)> {
    let (mut due, delivery) = next(bench, id).await?;
    let Message::Post { body, .. } = &delivery.message else { panic!("{delivery:?}") };
    let body: Value = serde_json::from_str(body).unwrap();
    let all = body["entry"][0]["resource"]["parameter"].as_array().unwrap().clone();
    let text = |name: &str, value: &str| {
        all.iter().find(|p| p["name"] == name).unwrap()[value].as_str().unwrap().to_owned()
    };
    let told = (text("type", "valueCode"), text("events-since-subscription-start", "valueString"));
    bench.record.notification_sent(&mut due, &delivery).await.unwrap();
    Some(told)
}

/// Written, shaken hands with, followed.
async fn active(bench: &Bench, ctx: &Ctx, value: Value) -> String {
    let id = id_of(&bench.record.write(ctx, set(vec![create(value)])).await.unwrap());
    assert_eq!(takes(bench, &id).await.unwrap().0, "handshake");
    bench.record.follow_subscriptions("test").await.unwrap();
    assert_eq!(read(bench, ctx, &id).await.text("status"), Some("active"));
    id
}

async fn read(bench: &Bench, ctx: &Ctx, id: &str) -> Resource {
    bench.record.read(ctx, &key(&format!("Subscription/{id}"))).await.unwrap().parse().unwrap()
}

async fn visit(bench: &Bench, ctx: &Ctx) {
    let encounter = json!({"resourceType": "Encounter", "status": "in-progress",
        "subject": {"reference": "Patient/p1"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}});
    bench.record.write(ctx, set(vec![create(encounter)])).await.unwrap();
    while bench.record.follow_subscriptions("test").await.unwrap() > 0 {}
}

fn told(kind: Kind, events: i64) -> Option<(String, String)> {
    Some((kind.code().to_owned(), events.to_string()))
}

#[tokio::test]
async fn a_silent_subscription_says_that_it_is_alive() {
    each_engine(|bench| async move {
        let ctx = client(&bench, "board").await;
        let id = active(&bench, &ctx, topic(json!({}))).await;
        assert_eq!(takes(&bench, &id).await, None, "the handshake was a word");
        bench.turn(SignedDuration::from_secs(59));
        assert_eq!(takes(&bench, &id).await, None);
        bench.turn(SignedDuration::from_secs(1));
        assert_eq!(takes(&bench, &id).await, told(Kind::Heartbeat, 0));
        assert_eq!(takes(&bench, &id).await, None, "once");
        bench.turn(SignedDuration::from_secs(60));
        assert_eq!(takes(&bench, &id).await, told(Kind::Heartbeat, 0));

        // Events are signs of life too.
        bench.turn(SignedDuration::from_secs(30));
        visit(&bench, &ctx).await;
        assert_eq!(takes(&bench, &id).await, told(Kind::Events, 1));
        bench.turn(SignedDuration::from_secs(59));
        assert_eq!(takes(&bench, &id).await, None);
        bench.turn(SignedDuration::from_secs(1));
        assert_eq!(takes(&bench, &id).await, told(Kind::Heartbeat, 1));

        // A heartbeat that is not taken is a failure like any other, and comes again.
        bench.turn(SignedDuration::from_secs(60));
        let (due, beat) = next(&bench, &id).await.unwrap();
        assert_eq!(beat.kind, Kind::Heartbeat);
        bench.record.notification_failed(&due, "nobody there").await.unwrap();
        assert_eq!(takes(&bench, &id).await, told(Kind::Heartbeat, 1));

        // Without a period there is none.
        let mut quiet = topic(json!({}));
        quiet["channel"].as_object_mut().unwrap().shift_remove("extension");
        let quiet = active(&bench, &ctx, quiet).await;
        bench.turn(SignedDuration::from_hours(24));
        assert_eq!(takes(&bench, &quiet).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_subscription_ends_when_it_says() {
    each_engine(|bench| async move {
        let ctx = client(&bench, "board").await;
        let end = bench.record.now().checked_add(SignedDuration::from_secs(90)).unwrap();
        let id = active(&bench, &ctx, topic(json!({"end": end.to_string()}))).await;
        visit(&bench, &ctx).await;
        assert_eq!(takes(&bench, &id).await, told(Kind::Events, 1));
        bench.turn(SignedDuration::from_secs(89));
        assert_eq!(takes(&bench, &id).await, told(Kind::Heartbeat, 1));
        assert_eq!(read(&bench, &ctx, &id).await.text("status"), Some("active"));

        // At its end it is off, and what waits or happens then is not told any more.
        visit(&bench, &ctx).await;
        bench.turn(SignedDuration::from_secs(1));
        assert_eq!(takes(&bench, &id).await, None);
        assert_eq!(read(&bench, &ctx, &id).await.text("status"), Some("off"));
        visit(&bench, &ctx).await;
        assert_eq!(takes(&bench, &id).await, None);
        let of = id.clone();
        let row =
            bench.record.store().read(move |tx| store::subscription::load(tx, &of)).await.unwrap().unwrap();
        assert_eq!((row.events, row.delivered), (2, 1));

        // A socket's too, and whoever still listens hears that it is over.
        let end = bench.record.now().checked_add(SignedDuration::from_secs(30)).unwrap();
        let mut socket = topic(json!({"end": end.to_string()}));
        socket["channel"]["type"] = json!("websocket");
        socket["channel"].as_object_mut().unwrap().shift_remove("endpoint");
        let socket = id_of(&bench.record.write(&ctx, set(vec![create(socket)])).await.unwrap());
        assert_eq!(takes(&bench, &socket).await, None, "nothing is sent to it");
        assert_eq!(read(&bench, &ctx, &socket).await.text("status"), Some("active"));
        visit(&bench, &ctx).await;
        let news = bench.record.subscription_news(&socket, 0, BASE).await.unwrap().unwrap();
        assert_eq!((news.last, news.count), (1, 1));
        bench.turn(SignedDuration::from_secs(30));
        assert_eq!(takes(&bench, &socket).await, None);
        assert_eq!(read(&bench, &ctx, &socket).await.text("status"), Some("off"));
        assert!(matches!(bench.record.subscription_news(&socket, 0, BASE).await, Err(Error::Gone)));

        // One whose end has passed never begins: no hand is shaken.
        let value = topic(json!({"end": end.to_string()}));
        let late = id_of(&bench.record.write(&ctx, set(vec![create(value)])).await.unwrap());
        assert_eq!(takes(&bench, &late).await, None);
        assert_eq!(read(&bench, &ctx, &late).await.text("status"), Some("off"));
    })
    .await;
}

async fn headers(bench: &Bench, id: &str) -> Vec<String> {
    let (due, delivery) = next(bench, id).await.unwrap();
    bench.record.leave_subscription(&due).await.unwrap();
    let Channel::RestHook { headers, .. } = delivery.channel else { panic!("{:?}", delivery.channel) };
    headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[tokio::test]
async fn headers_are_their_owners_alone() {
    each_engine(|bench| async move {
        let (owner, other) = (client(&bench, "owner").await, client(&bench, "other").await);
        let from = bench.mark();
        let secret = json!({"header": ["Authorization: Bearer hush", "X-Ward: 3"]});
        let done = bench.record.write(&owner, set(vec![create(topic(secret))])).await.unwrap();
        let id = id_of(&done);
        let answer = done.written[0].resource.as_ref().unwrap().to_json();
        assert!(answer.contains("Authorization: ***") && !answer.contains("hush"), "{answer}");
        assert_eq!(headers(&bench, &id).await, ["Authorization: Bearer hush", "X-Ward: 3"]);

        let at = key(&format!("Subscription/{id}"));
        let seen = |resource: &Resource| resource.to_json().contains("hush");
        assert!(seen(&read(&bench, &owner, &id).await), "the owner reads it");
        for ctx in [&other, &bench.system()] {
            let theirs = read(&bench, ctx, &id).await;
            assert_eq!(theirs.value()["channel"]["header"], json!(["Authorization: ***", "X-Ward: ***"]));
        }
        // Not in versions, searches, exports or the audit, whoever asks.
        assert!(!seen(&bench.record.vread(&owner, &at, 1).await.unwrap().parse().unwrap()));
        for (found, _) in bench.record.find(&owner, "Subscription", &[], 10).await.unwrap() {
            assert!(!seen(&found));
        }
        let scan = record::scan::Scan {
            kind: at.kind,
            horizon: bench.record.horizon().await.unwrap(),
            since: None,
            until: None,
            whose: record::scan::Whose::All,
            deleted: false,
        };
        let page = bench.record.scan(&owner, &scan, None).await.unwrap();
        assert!(!page.rows.is_empty() && page.rows.iter().all(|row| !seen(&row.stored.parse().unwrap())));
        assert!(!format!("{:?}", bench.audit_since(from).await).contains("hush"));

        // The owner writes back what it has read, or the mask, and nothing is lost.
        let mut again = read(&bench, &owner, &id).await.into_value();
        again["reason"] = json!("another");
        bench.record.write(&owner, set(vec![update(again.clone(), None)])).await.unwrap();
        again["channel"]["header"] = json!(["Authorization: ***", "X-Ward: 4"]);
        bench.record.write(&owner, set(vec![update(again.clone(), None)])).await.unwrap();
        assert_eq!(headers(&bench, &id).await, ["Authorization: Bearer hush", "X-Ward: 4"]);
        // A value alone can change: the resource shows no difference.
        again["channel"]["header"] = json!(["Authorization: Bearer new", "X-Ward: 4"]);
        let same = bench.record.write(&owner, set(vec![update(again.clone(), None)])).await.unwrap();
        assert!(same.written[0].unchanged);
        assert_eq!(headers(&bench, &id).await, ["Authorization: Bearer new", "X-Ward: 4"]);

        // Somebody else takes nothing over with the subscription.
        again["reason"] = json!("mine now");
        again["channel"]["header"] = json!(["Authorization: ***", "X-Ward: ***"]);
        let refused = bench.record.write(&other, set(vec![update(again.clone(), None)])).await;
        let Err(Error::Invalid(outcome)) = refused else { panic!("{refused:?}") };
        assert_eq!(outcome.issues.len(), 2);
        assert_eq!(outcome.issues[0].expression, "Subscription.channel.header");
        assert!(!outcome.to_string().contains("new"));
        again["channel"]["header"] = json!(["Authorization: Bearer theirs"]);
        bench.record.write(&other, set(vec![update(again.clone(), None)])).await.unwrap();
        assert_eq!(headers(&bench, &id).await, ["Authorization: Bearer theirs"]);
        assert!(!read(&bench, &owner, &id).await.to_json().contains("theirs"));
        assert!(read(&bench, &other, &id).await.to_json().contains("theirs"));

        // A deletion takes them with it.
        let change = record::Change::Delete { key: at, if_match: None };
        bench.record.write(&other, set(vec![change])).await.unwrap();
        let of = id.clone();
        let left = bench.record.store().read(move |tx| store::subscription::headers(tx, &of)).await.unwrap();
        assert!(left.is_empty());
    })
    .await;
}

/// Who merges a patient that it names, or files it under a tag, does not become its eyes.
#[tokio::test]
async fn a_subscription_stays_its_owners() {
    each_engine(|bench| async move {
        let (owner, other) = (client(&bench, "owner").await, client(&bench, "other").await);
        let about = json!([{"url": "urn:about", "valueReference": {"reference": "Patient/p2"}}]);
        let id = active(&bench, &owner, topic(json!({"header": ["X-Ward: hush"], "extension": about}))).await;
        let at = format!("Subscription/{id}");
        let row = || {
            let of = id.clone();
            bench.record.store().read(move |tx| store::subscription::load(tx, &of))
        };
        let before = row().await.unwrap().unwrap();
        let desk = bench.staff(access::Role::FrontDesk);
        let merge = record::operation::Merge {
            source: key("Patient/p2"),
            target: key("Patient/p1"),
            result: None,
            preview: false,
        };
        bench.record.merge_patients(&desk, &merge).await.unwrap();
        assert_eq!(row().await.unwrap().unwrap().owner, before.owner);
        assert_eq!(read(&bench, &owner, &id).await.value()["extension"], about, "it says what it said");
        bench.record.unmerge_patients(&desk, &key("Patient/p2"), None).await.unwrap();

        let mut filed = read(&bench, &other, &id).await.into_value();
        filed["meta"]["tag"] = json!([{"system": "urn:x", "code": "ward"}]);
        let done = bench.record.write(&other, set(vec![update(filed.clone(), None)])).await.unwrap();
        assert!(!done.written[0].unchanged);
        let after = row().await.unwrap().unwrap();
        assert_eq!((&after.owner, &after.scopes), (&before.owner, &before.scopes));
        assert_eq!((after.state, after.version), (before.state, done.written[0].version));
        let stored = read(&bench, &owner, &id).await;
        assert_eq!(stored.text("status"), Some("active"));
        assert!(stored.to_json().contains("hush"), "the owner's header is kept");
        visit(&bench, &owner).await;
        assert_eq!(takes(&bench, &id).await, told(Kind::Events, 1));
        // Anything else makes it the writer's, and masked headers are not his.
        filed["reason"] = json!("mine");
        let refused = bench.record.write(&other, set(vec![update(filed, None)])).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused}");
        bench.record.read(&owner, &key(&at)).await.unwrap();
    })
    .await;
}
