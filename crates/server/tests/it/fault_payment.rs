//! The server dies between asking M-PESA for the money and noting that it asked: the bill is paid once, posted once.

use crate::machine::Machine;
use sandbox::{Reply, SettingsChange};
use serde_json::{Value, json};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

async fn until(machine: &Machine, till: &str, payment: &str, states: &[&str]) -> Value {
    let path = format!("/api/v1/payments/{payment}");
    let end = tokio::time::Instant::now() + WAIT;
    loop {
        if let Some((200, now)) = machine.send("GET", &path, till, &Value::Null).await
            && states.contains(&now["state"].as_str().unwrap_or_default())
        {
            return now;
        }
        assert!(tokio::time::Instant::now() < end, "the payment is not one of {states:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Killed a little later in each round: before, while and after the provider is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_beside_the_provider_pays_once() {
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = sandbox::serve(sandbox::Config { listen, ..sandbox::Config::default() }).await.unwrap();
    // The provider takes its time to answer, so that the server can die while it waits.
    let slow: SettingsChange = serde_json::from_value(json!({"processing_ms": 10})).unwrap();
    sandbox.sandbox().change_settings(slow).unwrap();
    let base = sandbox.base_url();
    let machine = Machine::new().with_daraja(&base);
    let client = machine.client().await;
    machine.user("till", access::Role::Cashier);
    let mut child = machine.start().await;
    let token = machine.token(&client).await;
    let till = machine.sign_in("till").await;
    let rounds = 4;
    for round in 0..rounds {
        let msisdn = format!("25471200{round:04}");
        let patient = json!({"resourceType": "Patient", "name": [{"family": "Twice"}],
            "telecom": [{"system": "phone", "value": format!("+{msisdn}"), "use": "mobile"}]});
        let (status, patient) = machine.send("POST", "/fhir/R4/Patient", &token, &patient).await.unwrap();
        assert_eq!(status, 201, "{patient}");
        let total = json!({"value": 1000, "currency": "KES"});
        let invoice = json!({"resourceType": "Invoice", "status": "issued",
            "subject": {"reference": format!("Patient/{}", patient["id"].as_str().unwrap())},
            "identifier": [{"system": "https://uzima.health/fhir/identifier/invoice", "value": format!("F{round}")}],
            "date": "2026-11-21T08:00:00Z", "totalNet": total, "totalGross": total});
        let (status, invoice) = machine.send("POST", "/fhir/R4/Invoice", &token, &invoice).await.unwrap();
        assert_eq!(status, 201, "{invoice}");
        let path = format!("/api/v1/invoices/{}/payments", invoice["id"].as_str().unwrap());
        let ask = json!({"method": "mpesa", "phone": format!("+{msisdn}")});
        let (status, payment) = machine.send("POST", &path, &till, &ask).await.unwrap();
        assert_eq!(status, 201, "{payment}");
        let payment = payment["id"].as_str().unwrap().to_owned();
        if round > 0 {
            // The prompt is open: the provider has taken the request. Whether its answer was noted is a race, on purpose.
            let prompt = sandbox.sandbox().wait_for_prompt(&msisdn, WAIT).await;
            assert!(prompt.is_some(), "round {round}: no prompt");
            tokio::time::sleep(Duration::from_millis(7 * (round - 1))).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        child = machine.start().await;
        if round == 0 {
            assert!(
                sandbox.sandbox().wait_for_prompt(&msisdn, WAIT).await.is_some(),
                "it is asked after the restart"
            );
        }
        sandbox.sandbox().answer(&msisdn, Reply::Pin("1234".into()));
        let ended =
            until(&machine, &till, &payment, &["paid", "failed", "cancelled", "expired", "unknown"]).await;
        println!("round {round}: {}", ended["state"]);
        // Asked and not noted: nobody may say that it failed, and nobody may ask again by himself.
        assert!(["paid", "unknown"].contains(&ended["state"].as_str().unwrap()), "round {round}: {ended}");
        let (status, day) = machine.send("GET", "/api/v1/cashier/day", &till, &Value::Null).await.unwrap();
        assert_eq!((status, &day["balanced"]), (200, &json!(true)), "{day}");
    }
    let (_, day) = machine.send("GET", "/api/v1/cashier/day", &till, &Value::Null).await.unwrap();
    let lines = day["ledger"].as_array().unwrap();
    let held = lines
        .iter()
        .find(|line| line["account"] == "1020-mpesa")
        .map_or(0, |line| line["balance"]["amount_minor"].as_i64().unwrap());
    assert!(held <= 100_000 * i64::try_from(rounds).unwrap(), "more was posted than was paid: {day}");
    child.kill().unwrap();
    child.wait().unwrap();
}
