//! What providers and phones send, and files that people attach.

use super::{chosen, chosen_texts, halves, seen, texts};
use crate::Reader;
use wire::attachment::{self, Kind};
use wire::daraja::{self, ApiError, Endpoint};
use wire::{africastalking, money, msisdn, pdf, phone, sms};

pub const ATTACHMENT: Reader = Reader {
    name: "attachment",
    about: "files told by their bytes, archives looked through, pictures without their metadata",
    read: attachments,
    seeds: files,
};
pub const PAYMENT: Reader = Reader {
    name: "payment",
    about: "M-PESA's answers and callbacks",
    read: payments,
    seeds: || {
        let all = [PUSH, QUERY, CALLBACK, TOKEN, ERROR, C2B];
        chosen_texts(&[&all, &all, &all, &all, &all, &all])
    },
};
pub const MESSAGE: Reader = Reader {
    name: "sms",
    about: "the SMS gateway's answers and reports; texts cut into parts",
    read: messages,
    seeds: || {
        texts(&[
            r#"{"SMSMessageData":{"Message":"Sent to 1/1 Total Cost: KES 0.8000","Recipients":[{"statusCode":101,"number":"+254711000000","status":"Success","cost":"KES 0.8000","messageId":"ATXid_1"}]}}"#,
            "id=ATXid_1&status=Success&phoneNumber=%2B254711000000&networkCode=63902&retryCount=0",
            "from=%2B254711000000&to=12345&text=NDIO+%E2%82%AC&date=2026-11-21+08%3A00%3A00&linkId=x&id=1",
            "username=clinic&to=%2B254711000000%2C%2B254711000001&message=Habari&from=UZIMA",
        ])
    },
};
pub const CONTACT: Reader = Reader {
    name: "contact",
    about: "phone numbers, amounts of money, call-back addresses",
    read: contacts,
    seeds: || {
        texts(&[
            "0712 345 678\0KE",
            "+254 (0) 712-345678\0NG",
            "1,500.50",
            "-0.005",
            "https://a.example:8443/x",
        ])
    },
};
pub const PAPER: Reader = Reader {
    name: "paper",
    about: "names in any script, shaped and laid out on paper",
    read: papers,
    seeds: || {
        texts(&["Asha Mwangi", "ሆስፒታል", "مستشفى 12 (ب)", "नमस्ते", "e\u{301}\u{202e}x\u{200d}💊", "a\tb\u{0}c"])
    },
};

const TYPES: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
    "application/zip",
    "application/dicom",
    "text/plain",
    "text/html; charset=utf-8",
    "image/svg+xml",
    "application/octet-stream",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "audio/ogg",
    "x/",
];

fn attachments(bytes: &[u8]) {
    let Some((number, file)) = chosen(bytes) else { return };
    let declared = TYPES[number % TYPES.len()];
    let taken = attachment::check(declared, file).is_ok();
    let kind = attachment::sniff(file);
    let clean = attachment::without_metadata(file);
    assert!(clean.len() <= file.len().saturating_add(64), "a file grows when something is taken out of it");
    if taken && matches!(kind, Some(Kind::Png | Kind::Jpeg | Kind::Gif)) {
        assert_eq!(attachment::sniff(&clean), kind, "without its metadata a picture is something else");
        // What was no end of an archive may be one now; the record looks at what it stores.
        seen(attachment::check(declared, &clean));
        assert_eq!(attachment::without_metadata(&clean), clean, "something was left to be taken out");
    }
    seen(attachment::essence(&String::from_utf8_lossy(file)));
}

fn files() -> Vec<Vec<u8>> {
    let png = {
        let chunk = |name: &[u8], data: &[u8]| {
            [&u32::try_from(data.len()).unwrap_or(0).to_be_bytes()[..], name, data, &[0; 4]].concat()
        };
        [
            &b"\x89PNG\r\n\x1a\n"[..],
            &chunk(b"IHDR", &[0, 0, 0, 8, 0, 0, 0, 8, 8, 2, 0, 0, 0]),
            &chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
            &chunk(b"tEXt", b"a\0b"),
            &chunk(b"IDAT", b"x"),
            &chunk(b"IEND", b""),
        ]
        .concat()
    };
    let jpeg = [
        &b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x02\0\0\x01\0\x01\0\0"[..],
        b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
        b"\xff\xfe\0\x04hi\xff\xc0\0\x0b\x08\0\x10\0\x20\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0",
        b"scan\xff\0data\xff\xd0more\xff\xd9",
    ]
    .concat();
    let gif = b"GIF89a\x01\0\x01\0\0\0\0!\xfe\x02hi\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;".to_vec();
    let zip = [
        &b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0\x01\0\0\0a"[..],
        b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0a",
        b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x2f\0\0\0\x1f\0\0\0\0\0",
    ]
    .concat();
    let others: &[&[u8]] = &[
        b"RIFF\x10\0\0\0WEBPVP8 \x04\0\0\0abcd",
        b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\nstartxref\n0\n%%EOF",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script/></svg>",
        b"\x7fELF\x02\x01\x01",
        b"plain text\n",
        b"OggS\0\x02",
    ];
    let dicom = [&[0_u8; 128][..], b"DICM\x02\0\0\0UL\x04\0\0\0\0\0"].concat();
    let mut seeds = Vec::new();
    let numbered = [png, jpeg, gif, others[0].to_vec(), others[1].to_vec(), zip, dicom];
    for (number, file) in numbered.iter().enumerate() {
        seeds.push([&[number as u8], file.as_slice()].concat());
    }
    for (number, file) in others.iter().enumerate() {
        seeds.push([&[7 + number as u8], *file].concat());
    }
    seeds
}

const PUSH: &str = r#"{"MerchantRequestID":"29115-34620561-1","CheckoutRequestID":"ws_CO_191220191020363925","ResponseCode":"0","ResponseDescription":"Success. Request accepted for processing","CustomerMessage":"Success"}"#;
const QUERY: &str = r#"{"ResponseCode":"0","ResponseDescription":"x","MerchantRequestID":"m","CheckoutRequestID":"c","ResultCode":"1032","ResultDesc":"Request cancelled by user"}"#;
const CALLBACK: &str = r#"{"Body":{"stkCallback":{"MerchantRequestID":"29115-34620561-1","CheckoutRequestID":"ws_CO_1","ResultCode":0,"ResultDesc":"ok","CallbackMetadata":{"Item":[{"Name":"Amount","Value":1.00},{"Name":"MpesaReceiptNumber","Value":"NLJ7RT61SV"},{"Name":"Balance"},{"Name":"TransactionDate","Value":20191219102115},{"Name":"PhoneNumber","Value":254708374149}]}}}}"#;
const TOKEN: &str = r#"{"access_token":"abc","expires_in":"3599"}"#;
const ERROR: &str = r#"{"requestId":"1-2-3","errorCode":"500.001.1001","errorMessage":"Unable to lock subscriber, a transaction is already in process for the current subscriber"}"#;
const C2B: &str = r#"{"TransactionType":"Pay Bill","TransID":"RKTQDM7W6S","TransTime":"20191122063845","TransAmount":"10.00","BusinessShortCode":"600638","BillRefNumber":"INV-1","InvoiceNumber":"","OrgAccountBalance":"49197.00","ThirdPartyTransID":"","MSISDN":"2547*****126","FirstName":"John"}"#;

fn payments(bytes: &[u8]) {
    let Some((number, body)) = chosen(bytes) else { return };
    let status = [200, 400, 401, 404, 429, 500, 503][number % 7];
    seen((daraja::parse_push(status, body), daraja::parse_query(status, body)));
    seen((daraja::parse_token(status, body), daraja::parse_register(status, body)));
    let endpoints = [Endpoint::Token, Endpoint::StkPush, Endpoint::StkQuery, Endpoint::C2bRegister];
    seen(ApiError::parse(endpoints[number % endpoints.len()], status, body).remedy());
    if let Ok(callback) = daraja::StkCallback::parse(body) {
        seen(callback.outcome().is_decided());
    }
    if let Ok(payment) = daraja::C2bPayment::parse(body) {
        let again = daraja::C2bPayment::parse(payment.to_json().to_string().as_bytes());
        assert_eq!(again.ok().as_ref(), Some(&payment), "a payment that is written is another");
    }
    seen((daraja::StkPush::parse(body), daraja::StkQuery::parse(body)));
    seen((daraja::C2bRegister::parse(body), daraja::C2bSimulate::parse(body)));
    seen(daraja::parse_timestamp(&String::from_utf8_lossy(body)));
}

fn messages(bytes: &[u8]) {
    for status in [200, 201, 400, 401, 500] {
        seen(africastalking::parse_send(status, bytes));
    }
    if let Ok(report) = africastalking::DeliveryReport::parse(bytes) {
        let again = africastalking::DeliveryReport::parse(report.to_form().as_bytes());
        assert_eq!(again.ok().as_ref(), Some(&report), "a report that is written is another");
    }
    seen((africastalking::Inbound::parse(bytes), africastalking::Message::parse(bytes)));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(sms::segments(text).parts.concat(), text, "parts are not the whole");
        seen((sms::plain_punctuation(text), africastalking::Cost::parse(text)));
        seen(africastalking::DeliveryStatus::parse(text).is_final());
    }
}

fn contacts(bytes: &[u8]) {
    let (one, other) = halves(bytes);
    let (Ok(one), Ok(other)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else { return };
    for country in [other, "KE", "NG", "ZA"] {
        if let Ok(number) = phone::parse(one, country) {
            assert_eq!(phone::parse(&number, country).as_deref(), Ok(number.as_str()), "not the same again");
            seen(phone::masked(&number));
        }
    }
    if let Ok(number) = msisdn::Msisdn::parse(one) {
        assert_eq!(msisdn::Msisdn::parse(&number.e164()), Ok(number), "not the same again");
    }
    for scale in [0, 2, 4, 9] {
        if let Some(amount) = money::scaled(one, scale) {
            seen((money::two_places(amount), money::grouped(amount)));
        }
    }
    seen((daraja::check_callback_url(one), daraja::clean_text(one, 13), phone::masked(one)));
    if let Ok(address) = one.parse() {
        seen(::wire::address::is_public(address));
    }
}

/// Shaping is slow, and what is written on paper is short.
const PAPER_CHARS_MAX: usize = 400;

fn papers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let text: String = text.chars().take(PAPER_CHARS_MAX).collect();
    let size = pdf::PageSize::A4;
    let document = pdf::Document::new(size, text.as_str())
        .letterhead(text.as_str(), vec![text.clone()])
        .heading(text.as_str())
        .paragraph(text.as_str())
        .facts(vec![(text.clone(), text.clone())])
        .code(text.as_str(), vec![text.clone()])
        .signature(text.as_str(), text.as_str());
    seen(document.render());
}
