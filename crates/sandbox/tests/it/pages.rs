//! The pages are there, safe, and follow what happens.

use crate::world::{PAYER, World};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

#[tokio::test]
async fn pages_and_assets_are_served_with_a_strict_policy() {
    let world = World::start().await;
    for (path, status, content) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/handset/254708374149", 200, "text/html; charset=utf-8"),
        ("/faults", 200, "text/html; charset=utf-8"),
        ("/handset/nobody", 404, "text/html; charset=utf-8"),
        ("/nothing", 404, "text/html; charset=utf-8"),
        ("/assets/sandbox.css", 200, "text/css"),
        ("/assets/common.js", 200, "text/javascript"),
        ("/assets/index.js", 200, "text/javascript"),
        ("/assets/handset.js", 200, "text/javascript"),
        ("/assets/faults.js", 200, "text/javascript"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
    ] {
        let response = world.client.get(world.url(path)).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
            (status, content),
            "{path}"
        );
        if content.starts_with("text/html") {
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
            let body = response.text().await.unwrap();
            assert!(body.contains("no real money"), "{path}");
            assert!(
                !body.contains("<script>") && !body.contains("style="),
                "{path} would break its own policy"
            );
        }
    }
    let redirected = world.client.get(world.url("/handset/0708374149")).send().await.unwrap();
    assert_eq!(redirected.url().path(), "/handset/254708374149");
}

/// The next snapshot of an event stream.
async fn snapshot(
    stream: &mut (impl futures_util::Stream<Item = reqwest::Result<axum::body::Bytes>> + Unpin),
) -> Value {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    serde_json::from_str(text.strip_prefix("data: ").unwrap().trim()).unwrap()
}

#[tokio::test]
async fn events_follow_a_handset() {
    let world = World::start().await;
    let path = format!("/control/handsets/{PAYER}/events");
    let response = world.client.get(world.url(&path)).send().await.unwrap();
    let mut stream = Box::pin(futures_util::stream::unfold(response, |mut response| async {
        let chunk = response.chunk().await.transpose()?;
        Some((chunk, response))
    }));
    let first = snapshot(&mut stream).await;
    assert_eq!((&first["messages"], &first["prompt"]), (&json!([]), &Value::Null));
    world.sms(&["+254711999999"], "for somebody else").await;
    world.push(100).await.unwrap();
    let second = snapshot(&mut stream).await;
    assert_eq!(second["prompt"]["amount_minor"], json!(100));
    world.pay(PAYER).await;
    let third = snapshot(&mut stream).await;
    assert_eq!(third["prompt"], Value::Null);
    assert_eq!(third["messages"][0]["party"], json!("MPESA"));
}
