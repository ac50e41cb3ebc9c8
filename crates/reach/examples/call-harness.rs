//! The real hub and relay without the rest of the server, driven by JSON lines: for the browser test of calls.
//!
//! Standard input takes one command per line, standard output answers each with one line:
//! `{"do":"grant","consultation":…,"role":…,"account":…,"display":…}` → a join grant; `admit`, `end`, `position`;
//! `drop` (breaks the sockets), `offline` with `ms` (breaks them and refuses new ones), `restart` (forgets every
//! room, as a new process would), `release` with `account` (takes its relayed addresses away), `credentials`, `log`,
//! `metrics`. It ends when standard input does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use parking_lot::Mutex;
use reach::consult::{Connection, Grant, Hub, LogEvent, LogSink, Outgoing, Role};
use reach::turn::{Turn, TurnConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Harness {
    hub: Mutex<Arc<Hub>>,
    sink: LogSink,
    log: Arc<Mutex<Vec<LogEvent>>>,
    turn: Turn,
    refuse_until: Mutex<Instant>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut config = TurnConfig::loopback(b"the browser test's own secret".to_vec());
    // `call-harness WS_PORT TURN_UDP_PORT TURN_TCP_PORT FIRST_RELAY_PORT LAST_RELAY_PORT`; free ports otherwise.
    let ports: Vec<u16> = std::env::args().skip(1).map(|port| port.parse()).collect::<Result<_, _>>()?;
    if let [_, udp, tcp, first, last] = ports[..] {
        config.listen_udp.set_port(udp);
        config.listen_tcp = Some(([127, 0, 0, 1], tcp).into());
        config.relay_ports = (first, last);
    }
    let listener = TcpListener::bind(("127.0.0.1", ports.first().copied().unwrap_or(0))).await?;
    let turn = Turn::start(config).await?;
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    let sink: LogSink = Arc::new(move |event| kept.lock().push(event));
    let hub = Hub::new(Arc::clone(&sink));
    tokio::spawn(Arc::clone(&hub).run());
    println!(
        "{}",
        json!({"ws": format!("ws://{}", listener.local_addr()?), "turn": turn.local_udp().to_string()})
    );
    let harness =
        Arc::new(Harness { hub: Mutex::new(hub), sink, log, turn, refuse_until: Mutex::new(Instant::now()) });
    let accepting = Arc::clone(&harness);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let harness = Arc::clone(&accepting);
            tokio::spawn(async move {
                // A socket that ends badly is the other side's business.
                let _ = serve(&harness, stream).await;
            });
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match serde_json::from_str::<Value>(&line) {
            Ok(command) => {
                obey(&harness, &command).unwrap_or_else(|error| json!({"error": error.to_string()}))
            }
            Err(error) => json!({"error": error.to_string()}),
        };
        println!("{answer}");
    }
    Ok(())
}

fn obey(harness: &Harness, command: &Value) -> Result<Value, Failure> {
    let text = |key: &str| command[key].as_str().unwrap_or_default();
    let hub = harness.hub.lock().clone();
    let (id, now) = (text("consultation"), Timestamp::now());
    match text("do") {
        "grant" => {
            let role: Role = serde_json::from_value(command["role"].clone())?;
            let granted = hub.grant(
                Grant {
                    consultation_id: id.into(),
                    role,
                    account: text("account").into(),
                    display: text("display").into(),
                    audio_only: false,
                    admitted: command["admitted"] == true,
                },
                now,
            )?;
            Ok(json!({
                "session_token": granted.token,
                "ws_url": format!("/ws/consultation/{id}"),
                "ice_servers": harness.turn.credentials(text("account"), Some(id), now).ice_servers,
                "expires_at": granted.expires_at,
            }))
        }
        "credentials" => {
            Ok(json!({"ice_servers": harness.turn.credentials(text("account"), None, now).ice_servers}))
        }
        "admit" => {
            hub.admit(id, now);
            Ok(json!({}))
        }
        "end" => {
            hub.end(id, Some(Role::Clinician), now);
            Ok(json!({}))
        }
        "put_out" => {
            let role: Role = serde_json::from_value(command["role"].clone())?;
            hub.put_out(id, text("account"), role, now);
            Ok(json!({"released": harness.turn.put_out(text("account"), id, now)}))
        }
        "position" => {
            hub.set_position(id, command["position"].as_u64().unwrap_or(1) as u32);
            Ok(json!({}))
        }
        "drop" => Ok(json!({"dropped": hub.drop_sockets(id)})),
        "offline" => {
            let pause = Duration::from_millis(command["ms"].as_u64().unwrap_or(1000));
            *harness.refuse_until.lock() = Instant::now() + pause;
            Ok(json!({"dropped": hub.drop_sockets(id)}))
        }
        "restart" => {
            hub.close_all();
            let fresh = Hub::new(Arc::clone(&harness.sink));
            tokio::spawn(Arc::clone(&fresh).run());
            *harness.hub.lock() = fresh;
            Ok(json!({}))
        }
        "release" => Ok(json!({"released": harness.turn.release(text("account"))})),
        "log" => {
            let log = harness.log.lock();
            Ok(json!({"log": log.iter().map(|event| format!("{:?}", event.kind)).collect::<Vec<_>>()}))
        }
        "metrics" => {
            let metrics = harness.turn.metrics();
            Ok(json!({
                "active": metrics.allocations_active, "total": metrics.allocations_total,
                "to_peers": metrics.bytes_to_peers_total, "to_clients": metrics.bytes_to_clients_total,
                "dropped": metrics.dropped_total, "sockets": hub.counts().1,
            }))
        }
        other => Err(format!("unknown command {other:?}").into()),
    }
}

async fn serve(harness: &Harness, stream: TcpStream) -> Result<(), Failure> {
    if Instant::now() < *harness.refuse_until.lock() {
        return Ok(());
    }
    let mut uri = None;
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, |request: &Request, response: Response| {
        uri = Some(request.uri().clone());
        Ok(response)
    })
    .await?;
    let uri = uri.ok_or("no request")?;
    let id = uri.path().rsplit('/').next().unwrap_or_default();
    let query: HashMap<&str, &str> =
        uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    let value = |key: &str| query.get(key).copied().unwrap_or_default();
    let hub = harness.hub.lock().clone();
    let seen = value("seq").parse().unwrap_or(0);
    let mut connection: Connection =
        match hub.connect(id, value("session"), seen, value("instance"), Timestamp::now()) {
            Ok(connection) => connection,
            Err(refused) => {
                let frame = CloseFrame { code: refused.close_code().into(), reason: "".into() };
                socket.close(Some(frame)).await?;
                return Ok(());
            }
        };
    loop {
        tokio::select! {
            outgoing = connection.next() => match outgoing {
                Some(Outgoing::Text(text)) => socket.send(Message::text(text)).await?,
                Some(Outgoing::Close(code)) => {
                    socket.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await?;
                    return Ok(());
                }
                // Like a broken network: no close frame.
                None => return Ok(()),
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => connection.receive(&text, Timestamp::now()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
}
