use super::*;
use crate::msisdn::Msisdn;
use proptest::prelude::*;
use serde_json::{Value, json};

fn payer() -> Msisdn {
    Msisdn::parse("254708374149").unwrap()
}

fn at() -> Timestamp {
    // 22:00 in Nairobi.
    "2026-11-21T19:00:00Z".parse().unwrap()
}

fn push(amount_minor: i64, reference: &str, description: &str) -> Result<StkPush, StkPushError> {
    StkPush::pay_bill(
        "174379",
        "PASSKEY",
        at(),
        payer(),
        amount_minor,
        "https://clinic.example/hooks/pay/0123",
        reference,
        description,
    )
}

#[test]
fn password_and_time_match_the_vector() {
    assert_eq!(timestamp(at()), "20261121220000");
    assert_eq!(password("174379", "PASSKEY", "20261121220000"), "MTc0Mzc5UEFTU0tFWTIwMjYxMTIxMjIwMDAw");
    assert_eq!(parse_timestamp("20261121220000"), Some(at()));
    for bad in ["", "2026112122000", "20261321220000", "20261121250000", "2026112122000x", "-0261121220000"] {
        assert_eq!(parse_timestamp(bad), None, "{bad}");
    }
}

#[test]
fn basic_authorization_is_base64_of_both() {
    assert_eq!(basic_authorization("key", "secret"), "Basic a2V5OnNlY3JldA==");
}

#[test]
fn what_we_emit_is_strict() {
    let request = push(150_000, "INV #2026@0001&x", "Visit: Dr. Wanjikũ Kamau").unwrap();
    let body = request.to_json();
    assert_eq!(
        body,
        json!({
            "BusinessShortCode": 174379,
            "Password": "MTc0Mzc5UEFTU0tFWTIwMjYxMTIxMjIwMDAw",
            "Timestamp": "20261121220000",
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 1500,
            "PartyA": 254708374149_u64,
            "PartyB": 174379,
            "PhoneNumber": 254708374149_u64,
            "CallBackURL": "https://clinic.example/hooks/pay/0123",
            "AccountReference": "INV 20260001",
            "TransactionDesc": "Visit: Dr. Wa",
        })
    );
    assert_eq!(StkPush::parse(body.to_string().as_bytes()), Ok(request.clone()));
    let debug = format!("{request:?}");
    assert!(!debug.contains("MTc0") && !debug.contains("hooks") && !debug.contains("254708"));
}

#[test]
fn impossible_requests_are_refused() {
    assert_eq!(push(150_050, "A", "B"), Err(StkPushError::Amount));
    assert_eq!(push(0, "A", "B"), Err(StkPushError::Amount));
    assert_eq!(push(-100, "A", "B"), Err(StkPushError::Amount));
    assert_eq!(push(i64::MAX / 100 * 100, "A", "B"), Err(StkPushError::Amount));
    assert_eq!(push(100, " #@& ", "B"), Err(StkPushError::AccountReference));
    assert_eq!(push(100, "A", "ግብር").unwrap().description, "Payment");
}

#[test]
fn the_provider_reads_strings_and_numbers_and_names_the_bad_field() {
    let good = push(100, "A", "B").unwrap();
    let strings: Value = good
        .to_json()
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (name.clone(), value.as_str().map_or(json!(value.to_string()), |text| json!(text)))
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(StkPush::parse(strings.to_string().as_bytes()), Ok(good.clone()));
    for (name, value) in [
        ("BusinessShortCode", json!("abc")),
        ("Password", json!("")),
        ("Timestamp", json!("2026")),
        ("TransactionType", json!("CustomerPaybillOnline")),
        ("Amount", json!(0)),
        ("Amount", json!("1.5")),
        ("Amount", Value::Null),
        ("PartyA", json!("0708374149")),
        ("PartyB", json!([])),
        ("PhoneNumber", json!("+254708374149")),
        ("CallBackURL", json!("clinic.example/hook")),
        ("CallBackURL", json!("https:///x")),
        ("AccountReference", json!("")),
        ("TransactionDesc", Value::Null),
    ] {
        let mut body = good.to_json();
        body[name] = value;
        assert_eq!(StkPush::parse(body.to_string().as_bytes()), Err(Some(name)), "{name}");
    }
    assert_eq!(StkPush::parse(b"{"), Err(None));
}

#[test]
fn tokens_are_read_and_hidden() {
    let token = parse_token(200, br#"{"access_token":"abc","expires_in":"3599"}"#).unwrap();
    assert_eq!((token.token.as_str(), token.expires_in_s), ("abc", 3599));
    assert!(!format!("{token:?}").contains("abc"));
    assert_eq!(parse_token(200, br#"{"access_token":"abc","expires_in":60}"#).unwrap().expires_in_s, 60);
    assert_eq!(parse_token(200, br#"{"access_token":"abc"}"#).unwrap().expires_in_s, 3599);
    assert_eq!(parse_token(400, b"").unwrap_err().kind, ErrorKind::WrongCredentials);
    assert_eq!(parse_token(400, b"").unwrap_err().remedy(), Remedy::GiveUp);
    assert_eq!(parse_token(200, b"{}").unwrap_err().remedy(), Remedy::RetryLater);
    assert_eq!(parse_token(503, b"<html>").unwrap_err().remedy(), Remedy::RetryLater);
}

#[test]
fn errors_say_what_to_do() {
    use Endpoint::{C2bRegister, StkPush, StkQuery};
    let body = |code: &str, message: &str| error_body("1-2-3", code, message).to_string();
    let lock = "Unable to lock subscriber, a transaction is already in process for the current subscriber";
    for (endpoint, status, body, kind, remedy) in [
        (
            StkPush,
            404,
            body("404.001.03", "Invalid Access Token"),
            ErrorKind::InvalidToken,
            Remedy::RefreshToken,
        ),
        (StkPush, 401, body("401.002.01", "Error Occurred"), ErrorKind::InvalidToken, Remedy::RefreshToken),
        (
            StkPush,
            400,
            body("400.003.01", "Invalid Access Token"),
            ErrorKind::InvalidToken,
            Remedy::RefreshToken,
        ),
        (StkPush, 401, String::new(), ErrorKind::InvalidToken, Remedy::RefreshToken),
        (
            StkPush,
            400,
            body("400.002.02", "Bad Request - Invalid Amount"),
            ErrorKind::BadRequest,
            Remedy::GiveUp,
        ),
        (StkPush, 400, body("400.002.05", "Invalid Request Payload"), ErrorKind::BadRequest, Remedy::GiveUp),
        (
            StkPush,
            404,
            body("404.001.04", "Invalid Authentication Header"),
            ErrorKind::BadRequest,
            Remedy::GiveUp,
        ),
        (StkPush, 404, body("404.003.01", "Resource not found"), ErrorKind::NotFound, Remedy::GiveUp),
        (StkPush, 500, body("500.001.1001", lock), ErrorKind::SubscriberBusy, Remedy::RetryLater),
        (
            StkPush,
            500,
            body("500.001.1001", "Wrong credentials"),
            ErrorKind::WrongCredentials,
            Remedy::GiveUp,
        ),
        (
            StkQuery,
            500,
            body("500.001.1001", "Wrong credentials"),
            ErrorKind::WrongCredentials,
            Remedy::GiveUp,
        ),
        (
            StkQuery,
            500,
            body("500.001.1001", "The transaction is being processed"),
            ErrorKind::StillProcessing,
            Remedy::RetryLater,
        ),
        (StkPush, 500, body("500.001.1001", "Something new"), ErrorKind::Internal, Remedy::Reconcile),
        (
            StkPush,
            500,
            body("500.003.02", "System is busy. Please try again in few minutes."),
            ErrorKind::SystemBusy,
            Remedy::RetryLater,
        ),
        (StkPush, 500, body("500.003.03", "Quota Violation"), ErrorKind::Throttled, Remedy::RetryLater),
        (StkPush, 500, body("500.003.1001", "Internal Server Error"), ErrorKind::Internal, Remedy::Reconcile),
        (
            C2bRegister,
            500,
            body("500.003.1001", "Urls are already registered"),
            ErrorKind::AlreadyRegistered,
            Remedy::GiveUp,
        ),
        (
            C2bRegister,
            500,
            body("500.003.1001", "Internal Server Error"),
            ErrorKind::Internal,
            Remedy::RetryLater,
        ),
        (StkPush, 429, "slow down".into(), ErrorKind::Throttled, Remedy::RetryLater),
        (StkPush, 502, "<html>Bad Gateway</html>".into(), ErrorKind::Unreadable, Remedy::Reconcile),
        (StkQuery, 502, "<html>".into(), ErrorKind::Unreadable, Remedy::RetryLater),
        (StkQuery, 418, String::new(), ErrorKind::Unreadable, Remedy::GiveUp),
        (StkPush, 403, "<html>".into(), ErrorKind::Unreadable, Remedy::GiveUp),
        (StkPush, 408, String::new(), ErrorKind::Unreadable, Remedy::Reconcile),
        (StkPush, 400, body("400.999.99", "News"), ErrorKind::BadRequest, Remedy::GiveUp),
    ] {
        let error = ApiError::parse(endpoint, status, body.as_bytes());
        assert_eq!((error.kind.clone(), error.remedy()), (kind, remedy), "{endpoint:?} {status} {body}");
    }
}

#[test]
fn a_push_is_accepted_refused_or_unknown() {
    let accepted = StkAccepted {
        merchant_request_id: "29115-34620561-1".into(),
        checkout_request_id: "ws_CO_191220191020363925".into(),
        customer_message: "Success. Request accepted for processing".into(),
    };
    assert_eq!(parse_push(200, accepted.to_json().to_string().as_bytes()), Ok(accepted));
    let number = br#"{"CheckoutRequestID":"ws_1","ResponseCode":0}"#;
    assert_eq!(parse_push(200, number).unwrap().checkout_request_id, "ws_1");
    let refused = parse_push(200, br#"{"ResponseCode":"1","ResponseDescription":"No"}"#).unwrap_err();
    assert_eq!((refused.kind.clone(), refused.code.as_str()), (ErrorKind::Refused, "1"));
    assert_eq!(refused.remedy(), Remedy::GiveUp);
    for body in
        ["", "{}", "[]", "null", r#"{"ResponseCode":"0"}"#, "<html>", r#"{"ResponseCode":"0","Checkout"#]
    {
        assert_eq!(parse_push(200, body.as_bytes()).unwrap_err().remedy(), Remedy::Reconcile, "{body}");
    }
    let disguised = br#"{"errorCode":"500.003.02","errorMessage":"busy"}"#;
    assert_eq!(parse_push(200, disguised).unwrap_err().kind, ErrorKind::SystemBusy);
}

#[test]
fn a_query_tells_the_outcome() {
    let reply = parse_query(
        200,
        br#"{"ResponseCode":"0","ResponseDescription":"x","MerchantRequestID":"m","CheckoutRequestID":"c","ResultCode":"1032","ResultDesc":"Request cancelled by user"}"#,
    )
    .unwrap();
    assert_eq!(reply.outcome(), StkOutcome::Cancelled);
    assert_eq!(reply.result_desc, "Request cancelled by user");
    let number = parse_query(200, br#"{"ResponseCode":"0","ResultCode":0}"#).unwrap();
    assert_eq!(number.outcome(), StkOutcome::Paid);
    let busy = error_body("1", "500.001.1001", "The transaction is being processed").to_string();
    assert_eq!(parse_query(500, busy.as_bytes()).unwrap().outcome(), StkOutcome::StillProcessing);
    let pending = br#"{"ResponseCode":"0","ResultCode":"4999","ResultDesc":"The transaction is still under processing"}"#;
    assert_eq!(parse_query(200, pending).unwrap().outcome(), StkOutcome::StillProcessing);
    assert_eq!(parse_query(200, br#"{"ResponseCode":"0"}"#).unwrap_err().kind, ErrorKind::Unreadable);
}

/// Bodies recorded from PyPI `daraja-mock` 1.0.5, which is not ours.
#[test]
fn another_server_is_understood() {
    let token =
        parse_token(200, br#"{"access_token":"mock_token_IC4945QMFHJSO7CYNC4N","expires_in":"3600"}"#);
    assert_eq!(token.unwrap().expires_in_s, 3600);
    let push = br#"{"CheckoutRequestID":"ws_CO_5XVBJPENIX4O98P","CustomerMessage":"Success. Request accepted for processing","MerchantRequestID":"291157BIYDW2P5U","ResponseCode":"0","ResponseDescription":"Success. Request accepted for processing"}"#;
    assert_eq!(parse_push(200, push).unwrap().checkout_request_id, "ws_CO_5XVBJPENIX4O98P");
    let query = br#"{"CheckoutRequestID":"ws_CO_Q9VSWN374OE48GP","MerchantRequestID":"29115CG4FEMNOXM","ResponseCode":"0","ResponseDescription":"The service request has been accepted successfully","ResultCode":"0","ResultDesc":"The service request is processed successfully."}"#;
    assert_eq!(parse_query(200, query).unwrap().outcome(), StkOutcome::Paid);
}

#[test]
fn result_codes_are_classified() {
    for (code, outcome, decided, late) in [
        ("0", StkOutcome::Paid, true, false),
        ("1", StkOutcome::InsufficientFunds, true, false),
        ("4", StkOutcome::LimitExceeded, true, false),
        ("17", StkOutcome::Busy, true, true),
        ("26", StkOutcome::Busy, true, true),
        ("1001", StkOutcome::Busy, true, true),
        ("1019", StkOutcome::Expired, true, false),
        ("1025", StkOutcome::Unreachable, true, true),
        ("1036", StkOutcome::Unreachable, true, true),
        ("1037", StkOutcome::Unreachable, true, true),
        ("9999", StkOutcome::Unreachable, true, true),
        ("1031", StkOutcome::Cancelled, true, false),
        ("1032", StkOutcome::Cancelled, true, false),
        ("2001", StkOutcome::WrongPin, true, false),
        ("4999", StkOutcome::StillProcessing, false, true),
        ("SFC_IC0003", StkOutcome::NeedsReview("SFC_IC0003".into()), false, true),
        ("00", StkOutcome::NeedsReview("00".into()), false, true),
        ("", StkOutcome::NeedsReview(String::new()), false, true),
    ] {
        let found = StkOutcome::of(code);
        assert_eq!(found, outcome, "{code}");
        assert_eq!((found.is_decided(), found.late_success_possible()), (decided, late), "{code}");
    }
}

const CALLBACK: &str = r#"{"Body":{"stkCallback":{"MerchantRequestID":"29115-34620561-1",
"CheckoutRequestID":"ws_CO_191220191020363925","ResultCode":0,
"ResultDesc":"The service request is processed successfully.","CallbackMetadata":{"Item":[
{"Name":"Amount","Value":1.00},{"Name":"MpesaReceiptNumber","Value":"NLJ7RT61SV"},{"Name":"Balance"},
{"Name":"TransactionDate","Value":20191219102115},{"Name":"PhoneNumber","Value":254708374149}]}}}}"#;

#[test]
fn a_paid_callback_is_read() {
    let callback = StkCallback::parse(CALLBACK.as_bytes()).unwrap();
    assert_eq!(callback.outcome(), StkOutcome::Paid);
    assert_eq!(callback.amount_minor, Some(100));
    assert_eq!(callback.receipt.as_deref(), Some("NLJ7RT61SV"));
    assert_eq!(callback.paid_at, Some("2019-12-19T07:21:15Z".parse().unwrap()));
    assert_eq!(callback.phone.as_deref(), Some("254708374149"));
    let expected: Value = serde_json::from_str(CALLBACK).unwrap();
    assert_eq!(callback.to_json(NumberStyle::Numbers), expected);
}

#[test]
fn callbacks_are_read_tolerantly() {
    let strings = CALLBACK
        .replace("1.00", "\"1.00\"")
        .replace("20191219102115", "\"20191219102115\"")
        .replace("254708374149", "\"25470****149\"")
        .replace("\"ResultCode\":0", "\"ResultCode\":\"0\"")
        .replace(
            "{\"Name\":\"Balance\"}",
            "{\"Name\":\"Extra\",\"Value\":{}},7,{\"Value\":1},{\"Name\":\"Balance\",\"Value\":null}",
        );
    let callback = StkCallback::parse(strings.as_bytes()).unwrap();
    assert_eq!((callback.amount_minor, callback.outcome()), (Some(100), StkOutcome::Paid));
    assert_eq!(callback.phone.as_deref(), Some("25470****149"));
    let failed = br#"{"Body":{"stkCallback":{"CheckoutRequestID":"c","ResultCode":1032,"ResultDesc":"Request cancelled by user"}}}"#;
    let callback = StkCallback::parse(failed).unwrap();
    assert_eq!((callback.amount_minor, callback.receipt.clone()), (None, None));
    assert_eq!(callback.outcome(), StkOutcome::Cancelled);
    let odd = br#"{"Body":{"stkCallback":{"CheckoutRequestID":"c","ResultCode":0,"CallbackMetadata":{"Item":{"Name":"Amount","Value":1.005}}}}}"#;
    assert_eq!(StkCallback::parse(odd).unwrap().amount_minor, None);
}

#[test]
fn unusable_callbacks_are_refused() {
    for (body, expected) in [
        ("", ParseError::NotJson),
        ("[]", ParseError::NotJson),
        ("{}", ParseError::Missing("Body.stkCallback")),
        (r#"{"Body":{"stkCallback":[]}}"#, ParseError::Missing("Body.stkCallback")),
        (r#"{"Body":{"stkCallback":{"ResultCode":0}}}"#, ParseError::Missing("CheckoutRequestID")),
        (r#"{"Body":{"stkCallback":{"CheckoutRequestID":"c"}}}"#, ParseError::Missing("ResultCode")),
        (
            r#"{"Body":{"stkCallback":{"CheckoutRequestID":"c","ResultCode":null}}}"#,
            ParseError::Missing("ResultCode"),
        ),
    ] {
        assert_eq!(StkCallback::parse(body.as_bytes()), Err(expected), "{body}");
    }
    let long = format!(r#"{{"Body":{{"x":"{}"}}}}"#, "a".repeat(300_000));
    assert_eq!(StkCallback::parse(long.as_bytes()), Err(ParseError::NotJson));
}

#[test]
fn c2b_messages_are_read_and_written() {
    let payment = C2bPayment::parse(
        br#"{"TransactionType":"Pay Bill","TransID":"RKTQDM7W6S","TransTime":"20191122063845","TransAmount":"10","BusinessShortCode":600638,"BillRefNumber":"invoice008","InvoiceNumber":"","OrgAccountBalance":"","ThirdPartyTransID":"","MSISDN":"25470****149","FirstName":"John","MiddleName":"","LastName":"Doe"}"#,
    )
    .unwrap();
    assert_eq!((payment.amount_minor, payment.shortcode.as_str()), (1000, "600638"));
    assert_eq!(payment.msisdn_form(), MsisdnForm::Masked);
    assert_eq!(C2bPayment::parse(payment.to_json().to_string().as_bytes()), Ok(payment.clone()));
    for (msisdn, form) in [
        ("254708374149".to_owned(), MsisdnForm::Full),
        ("ab".repeat(32), MsisdnForm::Hashed),
        (String::new(), MsisdnForm::Unknown),
        ("John".to_owned(), MsisdnForm::Unknown),
    ] {
        assert_eq!(C2bPayment { msisdn, ..payment.clone() }.msisdn_form(), form);
    }
    assert_eq!(C2bPayment::parse(b"{}"), Err(ParseError::Missing("TransID")));
    let register = C2bRegister {
        shortcode: "600638".into(),
        response_type: C2bResponseType::Cancelled,
        confirmation_url: "https://clinic.example/c".into(),
        validation_url: "https://clinic.example/v".into(),
    };
    assert_eq!(C2bRegister::parse(register.to_json().to_string().as_bytes()), Ok(register.clone()));
    let mut wrong = register.to_json();
    wrong["ResponseType"] = json!("cancelled");
    assert_eq!(C2bRegister::parse(wrong.to_string().as_bytes()), Err(Some("ResponseType")));
    assert_eq!(
        parse_register(200, br#"{"OriginatorCoversationID":"7-1","ResponseCode":"00000000"}"#),
        Ok("7-1".into())
    );
    let simulate = C2bSimulate {
        shortcode: "600638".into(),
        transaction_type: TransactionType::PayBill,
        amount_shillings: 10,
        msisdn: "254708374149".into(),
        bill_ref_number: Some("invoice008".into()),
    };
    assert_eq!(C2bSimulate::parse(simulate.to_json().to_string().as_bytes()), Ok(simulate));
    assert_eq!(validation_reply(Err(C2bRefusal::InvalidAccount))["ResultCode"], json!("C2B00012"));
    assert_eq!(validation_reply(Ok(()))["ResultCode"], json!("0"));
    assert_eq!(confirmation_reply()["ResultCode"], json!(0));
}

#[test]
fn callback_urls_are_checked() {
    assert_eq!(check_callback_url("https://clinic.example/hooks/pay/1"), Ok(()));
    assert_eq!(check_callback_url("http://clinic.example/"), Err(CallbackUrlError::NotHttps));
    let word = check_callback_url("https://clinic.example/hooks/MPESA/1");
    assert_eq!(word, Err(CallbackUrlError::ForbiddenWord("mpesa")));
}

proptest! {
    #[test]
    fn parsers_never_panic(status in any::<u16>(), body in any::<Vec<u8>>(), text in ".*") {
        for body in [body.as_slice(), text.as_bytes()] {
            let _ = parse_token(status, body);
            let _ = parse_push(status, body);
            let _ = parse_query(status, body);
            let _ = parse_register(status, body);
            let _ = StkPush::parse(body);
            let _ = StkQuery::parse(body);
            let _ = StkCallback::parse(body);
            let _ = C2bPayment::parse(body);
            let _ = C2bRegister::parse(body);
            let _ = C2bSimulate::parse(body);
        }
        let _ = parse_timestamp(&text);
        let _ = StkOutcome::of(&text);
        let _ = check_callback_url(&text);
    }

    /// Cuts and bit flips of a real callback reach deeper than random bytes do.
    #[test]
    fn damaged_callbacks_never_panic(cut in 0..CALLBACK.len(), at in 0..CALLBACK.len(), byte in any::<u8>()) {
        let mut body = CALLBACK.as_bytes().to_vec();
        body[at] = byte;
        let _ = StkCallback::parse(&body);
        body.truncate(cut);
        let _ = StkCallback::parse(&body);
    }

    #[test]
    fn cleaned_text_is_safe(text in ".*", max in 1_usize..30) {
        let clean = clean_text(&text, max);
        prop_assert!(clean.len() <= max);
        prop_assert!(clean.chars().all(|c| (' '..='~').contains(&c) && !"@#&".contains(c)));
        prop_assert_eq!(clean_text(&clean, max), clean);
    }

    #[test]
    fn callbacks_round_trip(
        amount_minor in proptest::option::of(1_i64..2_500_000_000),
        code in "[0-9]{1,4}",
        seconds in 0_i64..4_000_000_000,
        strings in any::<bool>(),
    ) {
        prop_assume!(code == "0" || !code.starts_with('0'));
        let callback = StkCallback {
            merchant_request_id: "1-2-3".into(),
            checkout_request_id: "ws_CO_1".into(),
            result_code: code,
            result_desc: "x".into(),
            amount_minor,
            receipt: amount_minor.map(|_| "NLJ7RT61SV".into()),
            paid_at: amount_minor.map(|_| Timestamp::from_second(seconds).unwrap()),
            phone: amount_minor.map(|_| "254708374149".into()),
        };
        let style = if strings { NumberStyle::Strings } else { NumberStyle::Numbers };
        let body = callback.to_json(style).to_string();
        prop_assert_eq!(StkCallback::parse(body.as_bytes()), Ok(callback));
    }
}
