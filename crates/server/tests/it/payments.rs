//! A visit's bill is paid by M-PESA: every way it can go, with the real server and the sandbox over real sockets.

use crate::harness::{Signed, World};
use sandbox::{Fault, FaultKind, Reply};
use serde_json::{Value, json};
use std::time::Duration;

/// Everything on this machine: what has not happened after this long does not happen.
const WAIT: Duration = Duration::from_secs(30);

/// A clinic with a sandbox, one patient with a bill of KSh 1,000, and a cashier.
struct Till {
    world: World,
    sandbox: sandbox::Handle,
    patient: Signed,
    cashier: Signed,
    invoice: String,
    msisdn: String,
}

impl Till {
    async fn open() -> Till {
        Till::open_with(false).await
    }

    /// With `paybill`, payments that people make by hand are reported to this server.
    async fn open_with(paybill: bool) -> Till {
        let sandbox = sandbox::serve(sandbox::Config::default()).await.unwrap();
        sandbox
            .sandbox()
            .change_settings(serde_json::from_value(json!({"processing_ms": 10})).unwrap())
            .unwrap();
        let base = sandbox.base_url();
        let world = World::start_with(|config| {
            config.daraja.base_url = base.clone();
            config.daraja.consumer_key = Some(server::config::Secret::new(sandbox::config::CONSUMER_KEY));
            config.daraja.consumer_secret =
                Some(server::config::Secret::new(sandbox::config::CONSUMER_SECRET));
            config.daraja.shortcode = sandbox::config::SHORTCODE.into();
            config.daraja.register_paybill = paybill;
            config.daraja.passkey = Some(server::config::Secret::new(sandbox::config::PASSKEY));
            config.africastalking.base_url = base;
            config.africastalking.username = sandbox::config::SMS_USERNAME.into();
            config.africastalking.api_key = Some(server::config::Secret::new(sandbox::config::SMS_API_KEY));
        })
        .await;
        let patient = world.patient("Amina").await;
        let invoice = bill(&world, &patient).await;
        let cashier = world.staff("cashier", access::Role::Cashier).await;
        let (_, record) = patient.get(&format!("/fhir/R4/Patient/{}", patient.id())).await;
        let phone = record["telecom"][0]["value"].as_str().unwrap();
        let msisdn = phone.trim_start_matches('+').to_owned();
        Till { world, sandbox, patient, cashier, invoice, msisdn }
    }

    fn fault(&self, kind: FaultKind) {
        self.sandbox.sandbox().add_fault(Fault::new(kind)).unwrap();
    }

    /// Starts a payment and returns it.
    async fn start(&self) -> Value {
        let path = format!("/api/v1/invoices/{}/payments", self.invoice);
        let (status, payment) = self.patient.post(&path, json!({"method": "mpesa"})).await;
        assert_eq!(status, 201, "{payment}");
        payment
    }

    async fn answer(&self, reply: Reply) {
        let prompt = self.sandbox.sandbox().wait_for_prompt(&self.msisdn, WAIT).await;
        let prompt = prompt.expect("a prompt on the handset");
        assert_eq!(prompt.amount_minor, 100_000);
        self.sandbox.sandbox().answer(&self.msisdn, reply);
    }

    async fn pay(&self) {
        self.answer(Reply::Pin("1234".into())).await;
    }

    /// The payment once it is in one of these states.
    async fn until(&self, payment: &Value, states: &[&str]) -> Value {
        let path = format!("/api/v1/payments/{}", payment["id"].as_str().unwrap());
        let until = tokio::time::Instant::now() + WAIT;
        loop {
            let (status, now) = self.patient.get(&path).await;
            assert_eq!(status, 200, "{now}");
            if states.contains(&now["state"].as_str().unwrap_or_default()) {
                return now;
            }
            assert!(tokio::time::Instant::now() < until, "still {now}, waiting for {states:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn day(&self) -> Value {
        let (status, day) = self.cashier.get("/api/v1/cashier/day").await;
        assert_eq!(status, 200, "{day}");
        assert_eq!(day["balanced"], true, "{day}");
        day
    }

    /// What the M-PESA account holds, minor units.
    async fn on_mpesa(&self) -> i64 {
        let day = self.day().await;
        let line =
            day["ledger"].as_array().unwrap().iter().find(|l| l["account"] == "1020-mpesa").unwrap().clone();
        line["balance"]["amount_minor"].as_i64().unwrap()
    }

    async fn invoice(&self) -> Value {
        self.patient.get(&format!("/api/v1/invoices/{}", self.invoice)).await.1
    }

    /// Paid once, posted once, balanced.
    async fn assert_settled(&self, payment: &Value) {
        let paid = self.until(payment, &["paid"]).await;
        assert!(paid["receipt_number"].is_string(), "{paid}");
        let invoice = self.invoice().await;
        assert_eq!(
            (&invoice["status"], &invoice["due"]["amount_minor"]),
            (&json!("balanced"), &json!(0)),
            "{invoice}"
        );
        assert_eq!(self.on_mpesa().await, 100_000);
    }
}

/// A finished video visit that costs KSh 1,000; the invoice's id.
async fn bill(world: &World, patient: &Signed) -> String {
    let doctor = world
        .put(json!({"resourceType": "Practitioner", "active": true, "name": [{"family": "Achieng"}]}))
        .await;
    let doctor = json!({"reference": doctor.to_string()});
    world
        .put(json!({"resourceType": "PractitionerRole", "active": true, "practitioner": doctor,
            "specialty": [{"coding": [{"code": "general-practice"}]}]}))
        .await;
    let price = billing::price::PriceInput {
        display: "Video visit".into(),
        price: billing::money::Money::new(100_000, "KES"),
        active: true,
    };
    world.app().parts.billing.put_price(&world.ctx(), "visit-video-general-practice", &price).await.unwrap();
    let visit = world
        .put(json!({"resourceType": "Encounter", "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "VR"},
            "subject": {"reference": patient.person.as_ref().unwrap().to_string(), "display": "Amina Wanjiru"},
            "participant": [{"individual": doctor}]}))
        .await;
    let billing = &world.app().parts.billing;
    let invoice = billing.invoice_for_encounter(&world.ctx(), &visit.id).await.unwrap().unwrap();
    let again = billing.invoice_for_encounter(&world.ctx(), &visit.id).await.unwrap().unwrap();
    assert_eq!(invoice.id, again.id, "a visit has one invoice");
    invoice.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_prompt_settles_the_invoice_and_tells_the_patient() {
    let till = Till::open().await;
    let payment = till.start().await;
    assert_eq!(payment["amount"], json!({"amount_minor": 100_000, "currency": "KES"}));
    till.pay().await;
    till.assert_settled(&payment).await;
    let receipt = till.until(&payment, &["paid"]).await["receipt_number"].as_str().unwrap().to_owned();
    let sms = till.sandbox.sandbox().wait_for_message(&till.msisdn, 0, &receipt, WAIT).await;
    assert!(sms.is_some(), "an SMS with the receipt number");
    let pdf =
        till.patient.bytes(&format!("/api/v1/payments/{}/receipt", payment["id"].as_str().unwrap())).await;
    assert!(pdf.starts_with(b"%PDF"));
    let (status, problem) = till
        .patient
        .post(&format!("/api/v1/invoices/{}/payments", till.invoice), json!({"method": "mpesa"}))
        .await;
    assert_eq!((status, &problem["code"]), (422, &json!("nothing-due")));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_said_and_can_be_tried_again() {
    let till = Till::open().await;
    let fast: sandbox::SettingsChange = serde_json::from_value(json!({"prompt_timeout_ms": 300})).unwrap();
    for (reply, state, reason) in [
        (Some(Reply::Pin("9999".into())), "failed", "wrong-pin"),
        (Some(Reply::Cancel), "cancelled", "cancelled-by-user"),
        (None, "expired", "unreachable"),
    ] {
        let payment = match reply {
            Some(reply) => {
                let payment = till.start().await;
                till.answer(reply).await;
                payment
            }
            None => {
                till.sandbox.sandbox().change_settings(fast.clone()).unwrap();
                till.start().await
            }
        };
        let ended = till.until(&payment, &["failed", "cancelled", "expired", "unknown", "paid"]).await;
        assert_eq!((&ended["state"], &ended["reason"]), (&json!(state), &json!(reason)), "{ended}");
        assert_eq!(ended["can_retry"], true, "{ended}");
        assert_eq!(till.on_mpesa().await, 0);
    }
    let slow: sandbox::SettingsChange = serde_json::from_value(json!({"prompt_timeout_ms": 60000})).unwrap();
    till.sandbox.sandbox().change_settings(slow).unwrap();
    let payment = till.start().await;
    till.pay().await;
    till.assert_settled(&payment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_money_is_said() {
    let till = Till::open().await;
    let poor: sandbox::HandsetChange = serde_json::from_value(json!({"balance_minor": 100})).unwrap();
    till.sandbox.sandbox().change_handset(&till.msisdn, poor).unwrap();
    let payment = till.start().await;
    till.pay().await;
    let ended = till.until(&payment, &["failed", "paid"]).await;
    assert_eq!(ended["reason"], "insufficient-funds");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_callbacks_end_in_one_posting() {
    for kind in [
        FaultKind::CallbackDuplicate,
        FaultKind::CallbackBeforeResponse,
        FaultKind::CallbackFailureThenSuccess,
        FaultKind::CallbackStringNumbers,
        FaultKind::PushTimeoutAfterAccept,
        FaultKind::TokenExpired,
    ] {
        let till = Till::open().await;
        till.fault(kind);
        let payment = till.start().await;
        if kind != FaultKind::CallbackBeforeResponse {
            till.pay().await;
        }
        till.assert_settled(&payment).await;
        assert_eq!(till.day().await["by_method"][0]["count"], 1, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_callback_is_found_by_query() {
    let till = Till::open().await;
    till.fault(FaultKind::CallbackLost);
    let payment = till.start().await;
    till.pay().await;
    let path = format!("/api/v1/payments/{}/check", payment["id"].as_str().unwrap());
    let until = tokio::time::Instant::now() + WAIT;
    loop {
        let (status, now) = till.patient.post(&path, json!({})).await;
        assert_eq!(status, 200, "{now}");
        if now["state"] == "paid" {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{now}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    till.assert_settled(&payment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_amount_is_set_aside_until_a_cashier_gives_it_a_place() {
    let till = Till::open().await;
    till.sandbox
        .sandbox()
        .add_fault(Fault { value: Some("-40000".into()), ..Fault::new(FaultKind::CallbackAmountDelta) })
        .unwrap();
    let payment = till.start().await;
    till.pay().await;
    let ended = till.until(&payment, &["unknown", "paid"]).await;
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("unknown"), &json!("amount-differs")), "{ended}");
    assert_eq!(till.invoice().await["status"], "issued");
    let day = till.day().await;
    let held = &day["unallocated"][0];
    assert_eq!(held["amount"]["amount_minor"], 60_000, "{day}");
    let path = format!("/api/v1/cashier/unallocated/{}/allocate", held["key"].as_str().unwrap());
    let (status, invoice) = till.cashier.post(&path, json!({"invoice_id": till.invoice})).await;
    assert_eq!(status, 200, "{invoice}");
    assert_eq!(
        (&invoice["paid"]["amount_minor"], &invoice["due"]["amount_minor"]),
        (&json!(60_000), &json!(40_000))
    );
    assert_eq!(till.day().await["unallocated"], json!([]));
    assert_eq!(till.on_mpesa().await, 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_callback_finds_no_address_and_changes_nothing() {
    let till = Till::open().await;
    let payment = till.start().await;
    till.until(&payment, &["awaiting"]).await;
    let body = json!({"Body": {"stkCallback": {"MerchantRequestID": "1", "CheckoutRequestID": "ws_CO_1", "ResultCode": 0,
        "ResultDesc": "ok", "CallbackMetadata": {"Item": [{"Name": "Amount", "Value": 1000}, {"Name": "MpesaReceiptNumber", "Value": "FORGED0001"}]}}}});
    for token in ["0000", &"a".repeat(64), payment["id"].as_str().unwrap()] {
        let url = format!("{}/hooks/daraja/stk/{token}", till.world.url());
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 404);
    }
    assert_eq!(till.until(&payment, &["awaiting"]).await["state"], "awaiting");
    assert_eq!(till.on_mpesa().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_taps_start_one_payment() {
    let till = Till::open().await;
    let path = format!("/api/v1/invoices/{}/payments", till.invoice);
    let (a, b) = tokio::join!(
        till.patient.post(&path, json!({"method": "mpesa"})),
        till.patient.post(&path, json!({"method": "mpesa"}))
    );
    let mut statuses = [a.0, b.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{} {}", a.1, b.1);
    let refused = if a.0 == 409 { a.1 } else { b.1 };
    assert_eq!(refused["code"], "payment-open");
    assert!(refused["details"]["payment_id"].is_string(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_numbers_and_amounts_are_refused_at_their_field() {
    let till = Till::open().await;
    let path = format!("/api/v1/invoices/{}/payments", till.invoice);
    for (body, code, field) in [
        (json!({"method": "mpesa", "phone": "12"}), "phone-invalid", "/phone"),
        (json!({"method": "mpesa", "phone": "+44 20 7946 0018"}), "phone-invalid", "/phone"),
        (json!({"method": "mpesa", "phone": "020 222 2222"}), "phone-invalid", "/phone"),
        (json!({"method": "mpesa", "amount_minor": 0}), "amount-invalid", "/amount_minor"),
        (json!({"method": "mpesa", "amount_minor": 100_001}), "amount-too-much", "/amount_minor"),
        (json!({"method": "mpesa", "amount_minor": 150}), "amount-not-whole", "/amount_minor"),
        (json!({"method": "shells"}), "method-unknown", "/method"),
    ] {
        let (status, problem) = till.patient.post(&path, body.clone()).await;
        assert_eq!(status, 422, "{body} {problem}");
        assert_eq!(
            (&problem["code"], &problem["errors"][0]["field"]),
            (&json!(code), &json!(field)),
            "{problem}"
        );
    }
    let (status, _) = till.patient.post(&path, json!({"method": "cash"})).await;
    assert_eq!(status, 403, "patients take no cash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_provider_is_asked_again_and_a_broken_one_is_not_pushed_twice() {
    let till = Till::open().await;
    till.sandbox.sandbox().add_fault(Fault::new(FaultKind::PushBusy).times(1)).unwrap();
    let payment = till.start().await;
    till.pay().await;
    till.assert_settled(&payment).await;

    let till = Till::open().await;
    till.fault(FaultKind::PushHttp500);
    let payment = till.start().await;
    let ended = till.until(&payment, &["unknown", "failed"]).await;
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("unknown"), &json!("provider-down")), "{ended}");
    let pushes = till.sandbox.sandbox().log(0).iter().filter(|e| e.target.contains("stkpush/v1")).count();
    assert_eq!(pushes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cash_is_settled_at_the_desk() {
    let till = Till::open().await;
    let path = format!("/api/v1/invoices/{}/payments", till.invoice);
    let (status, payment) = till.cashier.post(&path, json!({"method": "cash", "amount_minor": 30_000})).await;
    assert_eq!((status, &payment["state"]), (201, &json!("paid")), "{payment}");
    assert_eq!(till.invoice().await["due"]["amount_minor"], 70_000);
    let (_, payment) = till.cashier.post(&path, json!({"method": "cash"})).await;
    assert_eq!(payment["amount"]["amount_minor"], 70_000);
    assert_eq!(till.invoice().await["status"], "balanced");
    let day = till.day().await;
    assert_eq!(
        (&day["by_method"][0]["method"], &day["by_method"][0]["count"]),
        (&json!("cash"), &json!(2)),
        "{day}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_answered_again_and_another_one_under_its_key_is_refused() {
    let till = Till::open().await;
    let path = format!("/api/v1/invoices/{}/payments", till.invoice);
    let send = async |body: Value| {
        let request = till.cashier.request("POST", &path).header("Idempotency-Key", "till-1").json(&body);
        crate::harness::read(request.send().await.unwrap()).await
    };
    let half = json!({"method": "cash", "amount_minor": 50_000});
    let (status, first) = send(half.clone()).await;
    assert_eq!(status, 201, "{first}");
    let (_, again) = send(half).await;
    assert_eq!(again["id"], first["id"], "{again}");
    let (status, other) = send(json!({"method": "cash", "amount_minor": 40_000})).await;
    assert_eq!(status, 409, "{other}");
    assert_eq!(till.invoice().await["paid"]["amount_minor"], 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_sent_by_hand_finds_its_invoice_or_waits_for_a_cashier() {
    let till = Till::open_with(true).await;
    let number = till.invoice().await["number"].as_str().unwrap().to_owned();
    let pay = async |amount_minor: i64, account: &str| {
        let kind = wire::daraja::TransactionType::PayBill;
        till.sandbox.sandbox().pay_bill(&till.msisdn, Some("1234"), amount_minor, kind, account).await
    };
    // Until Daraja knows this server, nobody hears of such money: the first shilling that arrives says it does.
    let until = tokio::time::Instant::now() + WAIT;
    while till.day().await["unallocated"].as_array().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < until, "paybill payments are never reported");
        pay(100, "NO SUCH BILL").await.ok();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(pay(30_000, &number.to_lowercase()).await.is_ok(), "a receipt");
    assert!(pay(90_000, &number).await.is_ok(), "a receipt");
    let until = tokio::time::Instant::now() + WAIT;
    while till.invoice().await["status"] != "balanced" {
        assert!(tokio::time::Instant::now() < until, "{}", till.invoice().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let invoice = till.invoice().await;
    assert_eq!(invoice["paid"]["amount_minor"], 100_000, "{invoice}");
    let day = till.day().await;
    let held: Vec<i64> = day["unallocated"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| u["amount"]["amount_minor"].as_i64().unwrap())
        .collect();
    assert!(held.contains(&20_000), "what exceeds the bill is set aside: {held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tills_take_parts_of_one_bill_at_once() {
    let till = Till::open().await;
    let path = format!("/api/v1/invoices/{}/payments", till.invoice);
    let part = json!({"method": "cash", "amount_minor": 60_000});
    let (a, b) = tokio::join!(till.cashier.post(&path, part.clone()), till.cashier.post(&path, part.clone()));
    let mut statuses = [a.0, b.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422], "the second would be more than is due: {} {}", a.1, b.1);
    let rest = json!({"method": "cash", "amount_minor": 20_000});
    let (a, b) = tokio::join!(till.cashier.post(&path, rest.clone()), till.cashier.post(&path, rest.clone()));
    assert_eq!((a.0, b.0), (201, 201), "{} {}", a.1, b.1);
    let invoice = till.invoice().await;
    assert_eq!((&invoice["status"], &invoice["paid"]["amount_minor"]), (&json!("balanced"), &json!(100_000)));
    till.day().await;
}
