//! Notifications by WebSocket and by mail.

use super::*;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(world: &World, token: Option<&str>) -> Socket {
    let url = format!("{}/ws/subscriptions", world.url().replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    connect_async(request).await.unwrap().0
}

async fn text(socket: &mut Socket) -> String {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a message").unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Close(frame) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}

async fn closed(socket: &mut Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("an end") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(Message::Close(None)) | Err(_)) | None => return 0,
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_are_bound_by_token_or_by_id() {
    let world = world().await;
    let client = world.client(ALL).await;
    let stranger = world.client(ALL).await;
    let mine = patient(&client).await;
    let id = subscribe(&client, topic("patient-data", &[], "id-only", json!({"type": "websocket"}))).await;
    let plain = subscribe(&client, classic("Observation", json!({"type": "websocket"}))).await;
    becomes(&client, &id, "active").await;
    becomes(&client, &plain, "active").await;
    let (status, body) = client.get(&format!("/fhir/R4/Subscription/{id}/$get-ws-binding-token")).await;
    assert_eq!(status, 200, "{body}");
    let value = |name: &str, kind: &str| {
        let all = body["parameter"].as_array().unwrap();
        all.iter().find(|p| p["name"] == name).unwrap()[kind].as_str().unwrap().to_owned()
    };
    assert_eq!(value("subscription", "valueString"), id);
    assert!(value("websocket-url", "valueUrl").ends_with("/ws/subscriptions"));
    let mut bound = socket(&world, None).await;
    let token = value("token", "valueString");
    bound.send(Message::Text(format!("bind-with-token: {token}").into())).await.unwrap();
    let hello: Value = serde_json::from_str(&text(&mut bound).await).unwrap();
    assert_eq!(
        (parameter(&hello, "type"), parameter(&hello, "status")),
        ("handshake".into(), "active".into())
    );
    let mut simple = socket(&world, Some(&client.token)).await;
    simple.send(Message::Text(format!("bind {plain}").into())).await.unwrap();
    assert_eq!(text(&mut simple).await, format!("bound {plain}"));
    create(&client, observation(&mine, "718-7")).await;
    let news: Value = serde_json::from_str(&text(&mut bound).await).unwrap();
    assert_eq!((parameter(&news, "type"), numbers(&news)), ("event-notification".into(), vec![1]));
    assert_eq!(text(&mut simple).await, format!("ping {plain}"));
    // Only the owner gets a token or binds; only real tokens bind.
    let (status, _) = stranger.get(&format!("/fhir/R4/Subscription/{id}/$get-ws-binding-token")).await;
    assert_eq!(status, 403);
    for (who, message) in [
        (Some(&stranger.token), format!("bind {plain}")),
        (None, format!("bind {plain}")),
        (None, "bind-with-token: nonsense".to_owned()),
    ] {
        let mut other = socket(&world, who.map(String::as_str)).await;
        other.send(Message::Text(message.into())).await.unwrap();
        assert_eq!(closed(&mut other).await, 4401);
    }
    let mut other = socket(&world, None).await;
    other.send(Message::Text("hello".into())).await.unwrap();
    assert_eq!(closed(&mut other).await, 1008);
    // A subscription that ends takes its sockets with it.
    client.delete(&format!("/fhir/R4/Subscription/{id}")).await;
    assert_eq!(closed(&mut bound).await, 4401);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_by_the_configured_server_and_carries_no_patient_data() {
    let smtp = Smtp::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("smtp://{}", smtp.address);
    let world = World::start_with(|config| {
        open(config);
        config.mail.url = Some(server::config::Secret::new(url));
        config.mail.from = "Uzima <clinic@example.org>".into();
    })
    .await;
    let client = world.client(ALL).await;
    world.receives("example.org").await;
    let mine = patient(&client).await;
    let to = |endpoint: &str| json!({"type": "email", "endpoint": endpoint});
    let (status, body) = client
        .post(
            "/fhir/R4/Subscription",
            topic("patient-data", &[], "full-resource", to("mailto:a@example.org")),
        )
        .await;
    assert_eq!(status, 422, "{body}");
    let id = subscribe(
        &client,
        topic("patient-data", &["Observation?patient=Patient/x"], "empty", to("mailto:b@example.org")),
    )
    .await;
    becomes(&client, &id, "active").await;
    let id = subscribe(&client, topic("patient-data", &[], "id-only", to("mailto:a@example.org"))).await;
    becomes(&client, &id, "active").await;
    smtp.fault(MailFault::Refuse("451 4.3.0 Try again later".into()));
    smtp.fault(MailFault::Drop);
    create(&client, observation(&mine, "718-7")).await;
    let mails = tokio::time::timeout(PATIENCE, smtp.wait_for(1)).await.unwrap();
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.as_slice()),
        ("clinic@example.org", ["a@example.org".to_owned()].as_slice())
    );
    assert!(mails[0].text.contains("notification.json") && mails[0].text.contains("Event 1 has happened."));
    assert!(!mails[0].text.contains("Wanjiru"));
    world.stop().await;
}
