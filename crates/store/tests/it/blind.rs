//! What is looked for on PostgreSQL and must not be read there: numbers and addresses of people.

use crate::keys::patient;
use crate::support::*;
use store::resource::Step;
use store::test_support::postgres;
use store::{Error, Store, StoreConfig, search, shred};

const PHONE: &str = "+254798765432";
const EMAIL: &str = "canary@example.org";
const NUMBER: &str = "NID-30918273";

/// Everything that holds a value of a person, each with the values above.
fn people_in_tables(store: &Store) {
    let doc = patient("p1").token("phone", "", PHONE).token("email", "", EMAIL).token(
        "identifier",
        "urn:nid",
        NUMBER,
    );
    let message = store::message::NewMessage {
        patient: Some(key("Patient/p1")),
        ..store::message::NewMessage::sms(
            PHONE,
            "en",
            "t",
            format!("Call {PHONE}"),
            at(0),
            uuid::Uuid::from_u128(1),
        )
    };
    let code = store::one_time_code::OneTimeCode {
        id: "code".into(),
        purpose: "registration".into(),
        phone: PHONE.into(),
        code_hash: [1; 32],
        expires: at(1_000_000),
        attempts: 0,
        sends: 1,
        last_sent: at(0),
        payload: serde_json::json!({"email": EMAIL}),
        account: None,
    };
    let payment = store::payment::NewPayment {
        id: uuid::Uuid::from_u128(2),
        invoice: key("Invoice/i"),
        patient: Some(key("Patient/p1")),
        method: "mpesa".into(),
        amount_minor: 5,
        currency: "KES".into(),
        phone: Some(PHONE.into()),
        callback_token_hash: None,
        account: None,
        created: at(0),
    };
    let account = store::account::NewAccount {
        login: None,
        phone: Some(PHONE.into()),
        email: Some(EMAIL.into()),
        display: "Some Body".into(),
        password_hash: None,
        roles: vec![access::Role::Patient],
        patient: Some(key("Patient/p1")),
        practitioner: None,
        language: "en".into(),
        created: at(0),
    };
    let event = store::audit::Event {
        at: at(0),
        action: "search".into(),
        outcome: store::audit::Outcome::Success,
        agent: "account/1".into(),
        agent_display: "Some Body".into(),
        role: "patient".into(),
        address: None,
        request_id: String::new(),
        purpose: access::Purpose::Treatment,
        what: format!("Patient?phone={PHONE}"),
        patients: Vec::new(),
        session: None,
        client: String::new(),
    };
    store
        .write_blocking(move |tx| {
            let row = insert(tx, &doc)?;
            store::message::insert(tx, &message)?;
            store::one_time_code::put(tx, &code)?;
            store::inbox::receive(
                tx,
                "mpesa.stk",
                "k",
                format!("{{\"msisdn\":\"{PHONE}\"}}").as_bytes(),
                at(0),
            )?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            store::account::create(tx, &account).map_err(|e| Error::Database(e.to_string()))?;
            store::payment::create(tx, &payment).map_err(|e| Error::Database(e.to_string()))?;
            let digits = PHONE.trim_start_matches('+').to_owned();
            let words = store::word::Indexed {
                rid: row.rid,
                kind: kind("Patient"),
                content: vec![digits, "p1".into(), "zebrafinch".into(), "zebrawood".into()],
                narrative: Vec::new(),
            };
            let batch = store::word::next(tx, 10)?;
            assert!(store::word::put(tx, &batch, &[words])?);
            Ok::<_, Error>(())
        })
        .unwrap();
}

/// All of it is found by its value and read again.
fn found_again(store: &Store) {
    let searches = [
        format!("phone={PHONE}"),
        format!("email={EMAIL}"),
        format!("identifier=urn:nid|{NUMBER}"),
        format!("identifier={NUMBER}"),
        format!("phone={PHONE}&_id=p1"),
        format!("_content={}", PHONE.trim_start_matches('+')),
        "_content=zebraf*".to_owned(),
        "_content=p1 zebra*".to_owned(),
    ];
    for text in searches {
        let wanted = parse("Patient", &text);
        let rows =
            store.read_blocking(move |tx| search::run(tx, &wanted, &search::Rights::everything(), at(0)));
        assert_eq!(rows.unwrap().rows.len(), 1, "{text}");
    }
    for text in ["phone=+254798765433", "_content=zebrax*", "_content=zebra"] {
        let none = parse("Patient", text);
        let rows =
            store.read_blocking(move |tx| search::run(tx, &none, &search::Rights::everything(), at(0)));
        assert!(rows.unwrap().rows.is_empty(), "{text}");
    }
    store
        .read_blocking(|tx| {
            for accounts in [
                store::account::by_phone(tx, PHONE)?,
                store::account::by_email(tx, EMAIL)?,
                store::account::list(tx, Some(PHONE), None, 10)?.rows,
                store::account::list(tx, Some("some b"), None, 10)?.rows,
                store::account::list(tx, None, None, 10)?.rows,
            ] {
                assert_eq!(
                    (accounts[0].phone.as_deref(), accounts[0].email.as_deref()),
                    (Some(PHONE), Some(EMAIL))
                );
            }
            let filter =
                store::message::Filter { to: Some(PHONE.into()), ..store::message::Filter::default() };
            let messages = store::message::list(tx, &filter, None, 10)?.rows;
            assert_eq!((messages[0].to.as_str(), messages[0].body.as_str()), (PHONE, "Call +254798765432"));
            let code = store::one_time_code::load(tx, "code")?.unwrap();
            assert_eq!((code.phone.as_str(), &code.payload["email"]), (PHONE, &serde_json::json!(EMAIL)));
            assert_eq!(store::one_time_code::sent_since(tx, PHONE, at(-5))?, 1);
            let payment = store::payment::load(tx, &uuid::Uuid::from_u128(2))?.unwrap();
            assert_eq!(payment.phone.as_deref(), Some(PHONE));
            let item = store::inbox::load(tx, "mpesa.stk", "k")?.unwrap();
            assert_eq!(item.body, format!("{{\"msisdn\":\"{PHONE}\"}}").as_bytes());
            let audit = store::audit::list(tx, &store::audit::Filter::default(), None, 10)?.rows;
            assert_eq!(audit[0].event.what, format!("Patient?phone={PHONE}"));
            assert_eq!(audit[0].event.agent_display, "Some Body");
            Ok::<_, Error>(())
        })
        .unwrap();
}

/// Every row of every table as text, and bytes as they are.
fn dump(store: &Store) -> String {
    store
        .read_blocking(|tx| {
            let tables = tx.all(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() \
                 AND table_type = 'BASE TABLE' ORDER BY table_name",
                &[],
                |row| row.string(0),
            )?;
            let mut all = String::new();
            for table in tables {
                // Bytes come as hexadecimal digits; those that are text are looked at as such as well.
                for line in
                    tx.all(&format!("SELECT CAST(t AS TEXT) FROM \"{table}\" t"), &[], |row| row.string(0))?
                {
                    all.push_str(&format!("{table}: {line}\n"));
                }
            }
            Ok::<_, Error>(all)
        })
        .unwrap()
}

fn hits(dump: &str, canaries: &[&str]) -> Vec<String> {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let is_hit = |line: &&str| canaries.iter().any(|text| line.contains(text) || line.contains(&hex(text)));
    dump.lines().filter(is_hit).map(str::to_owned).collect()
}

#[test]
fn a_dump_of_postgres_shows_nobodys_numbers() {
    let Some(temp) = postgres() else { return };
    people_in_tables(&temp.store);
    found_again(&temp.store);
    let canaries = [&PHONE[1..], EMAIL, NUMBER, "resourceType", "zebrafinch"];
    let found = hits(&dump(&temp.store), &canaries);
    assert!(found.is_empty(), "{found:#?}");
    // The files themselves, where this machine's user may look at them.
    let place = temp.store.read_blocking(|tx| {
        tx.one(
            "SELECT current_setting('data_directory'), CAST(oid AS BIGINT) FROM pg_database WHERE datname = current_database()",
            &[],
            |row| Ok((row.string(0)?, row.int(1)?)),
        )
    });
    let Ok(Some((folder, database))) = place else { return };
    drop(temp.store.write_blocking(|tx| tx.execute("CHECKPOINT", &[])));
    // Only this database's: the log and temporary files are shared with other tests.
    for entry in std::fs::read_dir(format!("{folder}/base/{database}")).into_iter().flatten().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for canary in canaries {
            assert!(!text.contains(canary), "{canary} in {}", entry.path().display());
        }
    }
}

#[test]
fn an_older_postgres_is_made_so() {
    let Some(mut temp) = postgres() else { return };
    temp.store.close();
    let plain = StoreConfig { files: None, ..temp.config().clone() };
    // As before there were keys: the database forgets that it has any.
    let forget = |store: &Store| store.write_blocking(|tx| tx.execute("DELETE FROM setting", &[])).unwrap();
    forget(&Store::open(temp.config().clone()).unwrap());
    let store = Store::open(plain).unwrap();
    people_in_tables(&store);
    found_again(&store);
    assert!(hits(&dump(&store), &[&PHONE[1..]]).len() > 5);
    store.close();
    temp.reopen();
    found_again(&temp.store);
    let step = Step { resources: 100, bytes: 1 << 20 };
    temp.store.write_blocking(move |tx| shred::seal_step(tx, 0, step, &mut |_, _| Vec::new())).unwrap();
    found_again(&temp.store);
    // The trail of what was is never changed; what came to the inbox goes with it.
    let found = hits(&dump(&temp.store), &[&PHONE[1..], EMAIL, NUMBER, "resourceType"]);
    let others: Vec<_> =
        found.iter().filter(|line| !line.starts_with("audit:") && !line.starts_with("inbox:")).collect();
    assert!(others.is_empty(), "{others:#?}");
}
