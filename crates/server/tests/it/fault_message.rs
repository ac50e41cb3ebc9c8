//! The server dies between handing a text message to the gateway and noting that it did: the message is never lost, goes
//! out once more at most, and shows how often it was tried. Africa's Talking tells no doubles apart.

use crate::machine::Machine;
use sandbox::{Fault, FaultKind, Sandbox};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than a lease of a message, which the next server waits for.
const WAIT: Duration = Duration::from_secs(120);

/// Asks for a code by SMS to this number.
async fn ask(machine: &Machine, msisdn: &str) {
    let form = json!({"given": "Neema", "family": "Twice", "birth_date": "1990-02-03", "sex": "female",
        "phone": format!("+{msisdn}"), "password": "bahari-kubwa-ya-buluu", "language": "en",
        "accept_terms": true});
    let (status, begun) = machine.send("POST", "/api/v1/auth/register", "", &form).await.unwrap();
    assert_eq!(status, 202, "{begun}");
}

/// The next message on that handset; a wait of the sandbox is shorter than a lease.
async fn arrives(sandbox: &Sandbox, msisdn: &str, after: u64) -> sandbox::Message {
    let end = tokio::time::Instant::now() + WAIT;
    loop {
        if let Some(message) = sandbox.wait_for_message(msisdn, after, "", WAIT).await {
            return message;
        }
        assert!(tokio::time::Instant::now() < end, "the message to {msisdn} is lost");
    }
}

/// The message to this number as the administrator sees it.
async fn message(machine: &Machine, boss: &str, msisdn: &str) -> Value {
    let (status, list) = machine.send("GET", "/api/v1/admin/messages", boss, &Value::Null).await.unwrap();
    assert_eq!(status, 200, "{list}");
    let end = &msisdn[msisdn.len() - 3..];
    let rows = list["items"].as_array().unwrap();
    let is_to = |row: &&Value| row["to_masked"].as_str().unwrap().ends_with(end);
    rows.iter().find(is_to).unwrap_or_else(|| panic!("no message to {msisdn}: {list}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_beside_the_gateway_sends_once_more() {
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let handle = sandbox::serve(sandbox::Config { listen, ..sandbox::Config::default() }).await.unwrap();
    let sandbox = handle.sandbox();
    let machine = Machine::new().with_sms(&handle.base_url());
    machine.user("boss", access::Role::Administrator);
    let mut child = machine.start().await;

    // One that the gateway takes without ever answering, and one that waits behind it when the server dies.
    let (unanswered, waiting, raced) = ("254712000101", "254712000102", "254712000103");
    sandbox.add_fault(Fault::new(FaultKind::SmsTimeoutAfterAccept).on(unanswered).times(1)).unwrap();
    ask(&machine, unanswered).await;
    let first = arrives(sandbox, unanswered, 0).await;
    ask(&machine, waiting).await;
    child.kill().unwrap();
    child.wait().unwrap();

    child = machine.start().await;
    let boss = machine.sign_in("boss").await;
    let held = message(&machine, &boss, unanswered).await;
    assert_eq!((held["state"].as_str(), held["attempts"].as_u64()), (Some("sending"), Some(1)), "{held}");
    // One that is answered while the server dies: whether that was noted is a race, on purpose.
    ask(&machine, raced).await;
    arrives(sandbox, raced, 0).await;
    child.kill().unwrap();
    child.wait().unwrap();
    child = machine.start().await;
    let second = arrives(sandbox, unanswered, first.id).await;
    assert_eq!(second.text, first.text, "the same code: whichever she reads is good");
    for msisdn in [unanswered, waiting, raced] {
        arrives(sandbox, msisdn, 0).await;
        let end = tokio::time::Instant::now() + WAIT;
        let told = loop {
            let now = message(&machine, &boss, msisdn).await;
            if now["state"] == "sent" {
                break now;
            }
            assert!(tokio::time::Instant::now() < end, "{now}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let arrived = sandbox.handset(msisdn).messages.len();
        let tries = told["attempts"].as_u64().unwrap();
        println!("{msisdn}: {arrived} arrived, {tries} tries");
        assert!((1..=2).contains(&arrived), "{msisdn}: {arrived}");
        assert!(arrived as u64 <= tries && tries <= 2, "{msisdn}: {arrived} arrived, and it shows {told}");
    }
    assert_eq!(message(&machine, &boss, unanswered).await["attempts"], 2);
    child.kill().unwrap();
    child.wait().unwrap();
}
