//! Accounts, sessions, codes, OAuth clients, care links.

use crate::support::*;
use access::Role;
use serde_json::json;
use store::account::{self, Kind, NewAccount, Update};
use store::care_link::{self, Link};
use store::one_time_code::{self, OneTimeCode};
use store::session::{self, NewSession};
use store::test_support::{TempStore, both};
use store::{Error, oauth, setting};

fn new_account(login: Option<&str>) -> NewAccount {
    NewAccount {
        login: login.map(str::to_owned),
        phone: Some("+254712345678".into()),
        email: Some("a@example.org".into()),
        display: "Achieng Odhiambo".into(),
        password_hash: Some("$argon2id$…".into()),
        roles: vec![Role::Patient, Role::FrontDesk],
        patient: Some(key("Patient/p1")),
        practitioner: None,
        language: "sw".into(),
        created: at(0),
    }
}

fn lifecycle(temp: &TempStore) {
    let create = |login: Option<&'static str>| {
        temp.store.write_blocking(move |tx| account::create(tx, &new_account(login)))
    };
    let id = create(Some("achieng")).unwrap();
    assert!(matches!(create(Some("achieng")), Err(account::Error::LoginTaken)));
    let second = create(None).unwrap();
    create(None).unwrap();
    let change = move |update: Update| temp.store.write_blocking(move |tx| account::update(tx, &update));
    let taken = Update { account: second, login: Some(Some("achieng".into())), ..Default::default() };
    assert!(matches!(change(taken), Err(account::Error::LoginTaken)));
    assert!(matches!(change(Update { account: 999, ..Default::default() }), Err(account::Error::NotFound)));
    let update = Update {
        account: second,
        phone: Some(None),
        display: Some("Otieno".into()),
        roles: Some(vec![Role::Doctor]),
        practitioner: Some(Some(key("Practitioner/d1"))),
        patient: Some(None),
        ..Default::default()
    };
    change(update).unwrap();
    temp.store
        .read_blocking(move |tx| {
            let found = account::by_login(tx, "achieng")?.unwrap();
            assert_eq!(found.id, id);
            assert_eq!(found.roles, [Role::Patient, Role::FrontDesk]);
            assert_eq!(account::by_phone(tx, "+254712345678")?.len(), 2);
            assert_eq!(account::by_email(tx, "a@example.org")?.len(), 3);
            assert_eq!(account::by_patient(tx, &key("Patient/p1"))?.len(), 2);
            assert_eq!(account::by_practitioner(tx, &key("Practitioner/d1"))?[0].display, "Otieno");
            let page = account::list(tx, None, None, 2)?;
            assert_eq!((page.rows.len(), page.rows[0].id > page.rows[1].id), (2, true));
            assert_eq!(account::list(tx, None, page.next.as_deref(), 2)?.rows.len(), 1);
            assert_eq!(account::list(tx, Some("OTIENO"), None, 2)?.rows.len(), 1);
            assert_eq!(account::list(tx, Some("nobody"), None, 2)?.rows.len(), 0);
            let staff = account::list_of(tx, Kind::Staff, None, None, 9)?.rows;
            assert_eq!(staff.iter().map(|one| one.id).collect::<Vec<_>>(), [second]);
            assert_eq!(account::list_of(tx, Kind::Patients, None, None, 9)?.rows.len(), 2);
            let some = account::some(tx, &[second, 999, id])?;
            assert_eq!(some.iter().map(|one| one.id).collect::<Vec<_>>(), [id, second]);
            Ok::<_, Error>(())
        })
        .unwrap();
    temp.store
        .write_blocking(move |tx| {
            let limits = (5, jiff::SignedDuration::from_mins(15), jiff::SignedDuration::from_hours(1));
            for n in 0..6 {
                store::credential::failed(tx, id, b"unknown", at(100 + n), limits)?;
            }
            store::credential::failed(tx, second, b"unknown", at(100), limits)?;
            let guessed = store::credential::guessed(tx, at(90), 5, 9)?;
            assert_eq!(
                (guessed.len(), guessed[0].0, guessed[0].1.failures, guessed[0].1.last),
                (1, id, 6, at(105))
            );
            assert_eq!(store::credential::guessed(tx, at(105), 5, 9)?, []);
            Ok::<_, Error>(())
        })
        .unwrap();
    temp.store.write_blocking(move |tx| account::login_succeeded(tx, id, at(70))).unwrap();
    let seen = temp.store.read_blocking(move |tx| account::load(tx, id)).unwrap().unwrap();
    assert_eq!(seen.last_login, Some(at(70)));

    let open = |n: u8, account: i64| {
        let new = NewSession {
            token_hash: [n; 32],
            account,
            created: at(0),
            idle_expires: at(900),
            expires: at(43_200),
            facts: session::Facts {
                authenticated: at(0),
                factors: vec![access::Factor::Password],
                begun: at(0),
                device: String::new(),
                address: String::new(),
                shared_device: None,
            },
        };
        temp.store.write_blocking(move |tx| session::insert(tx, &new)).unwrap();
    };
    let find =
        |n: u8, now: i64| temp.store.read_blocking(move |tx| session::find(tx, &[n; 32], at(now))).unwrap();
    open(1, id);
    open(2, id);
    open(3, second);
    assert_eq!(find(1, 10).unwrap().1.id, id);
    assert!(find(1, 900).is_none(), "idle too long");
    temp.store.write_blocking(|tx| session::touch(tx, &[1; 32], at(800), at(1700), "10.0.0.1")).unwrap();
    assert!(find(1, 900).is_some());
    change(Update { account: second, disabled: Some(true), ..Default::default() }).unwrap();
    assert!(find(3, 10).is_none(), "disabled");
    assert_eq!(temp.store.write_blocking(move |tx| session::end_all(tx, id, Some(&[1; 32]))), Ok(1));
    assert!(find(1, 900).is_some() && find(2, 10).is_none());
    assert_eq!(temp.store.write_blocking(|tx| session::end(tx, &[1; 32])), Ok(true));
    assert_eq!(temp.store.write_blocking(|tx| session::prune(tx, at(99_999))), Ok(1));
}

#[test]
fn accounts_and_sessions() {
    both().iter().for_each(lifecycle);
}

#[test]
fn codes_are_counted_and_used_once() {
    for temp in both() {
        let code = OneTimeCode {
            id: "abc".into(),
            purpose: "registration".into(),
            phone: "+254712345678".into(),
            code_hash: [5; 32],
            expires: at(600),
            attempts: 0,
            sends: 1,
            last_sent: at(0),
            payload: json!({"family": "Odhiambo"}),
            account: None,
        };
        let resent = OneTimeCode { sends: 2, last_sent: at(60), ..code.clone() };
        let put = |code: &OneTimeCode| {
            let code = code.clone();
            temp.store.write_blocking(move |tx| one_time_code::put(tx, &code)).unwrap()
        };
        assert!(put(&code) && put(&resent));
        let stored = temp.store.read_blocking(|tx| one_time_code::load(tx, "abc"));
        assert_eq!(stored, Ok(Some(resent.clone())));
        let guess = |second: i64| {
            let now = at(second);
            temp.store.write_blocking(move |tx| one_time_code::take_guess(tx, "abc", 2, now)).unwrap()
        };
        assert_eq!([guess(600), guess(61), guess(61), guess(61)], [None, Some(1), Some(2), None]);
        temp.store.write_blocking(|tx| one_time_code::give_guess_back(tx, "abc")).unwrap();
        assert_eq!([guess(61), guess(61)], [Some(2), None]);
        let sent = temp.store.read_blocking(|tx| one_time_code::sent_since(tx, "+254712345678", at(30)));
        assert_eq!(sent, Ok(2));
        assert_eq!(temp.store.write_blocking(|tx| one_time_code::use_up(tx, "abc")), Ok(true));
        assert_eq!(temp.store.write_blocking(|tx| one_time_code::use_up(tx, "abc")), Ok(false));
        assert!(!put(&resent) && guess(61).is_none(), "what was used stays used, whoever sends it again");
        temp.store.write_blocking(|tx| one_time_code::give_guess_back(tx, "abc")).unwrap();
        let used = temp.store.read_blocking(|tx| one_time_code::load(tx, "abc")).unwrap().unwrap();
        assert!(used.is_used());
        let sent = temp.store.read_blocking(|tx| one_time_code::sent_since(tx, "+254712345678", at(30)));
        assert_eq!(sent, Ok(2), "used codes count among those sent");
    }
}

#[test]
fn oauth_tokens_end_with_their_client() {
    for temp in both() {
        let client = oauth::Client {
            id: "c1".into(),
            secret_hash: [1; 32],
            name: "Lab".into(),
            scopes: vec!["system/*.cruds".into(), "openid".into()],
            disabled: false,
            created: at(0),
            facts: oauth::Facts {
                redirects: vec!["https://a.example/".into(), "https://b.example/".into()],
                algorithm: "RS256".into(),
                ..oauth::Facts::default()
            },
        };
        let token = oauth::NewToken {
            token_hash: [2; 32],
            client: "c1".into(),
            scopes: vec!["openid".into()],
            expires: at(300),
            grant: None,
        };
        let (a, b) = (client.clone(), token.clone());
        temp.store
            .write_blocking(move |tx| {
                oauth::create_client(tx, &a)?;
                oauth::insert_token(tx, &b)
            })
            .unwrap();
        let find =
            |now: i64| temp.store.read_blocking(move |tx| oauth::find_token(tx, &[2; 32], at(now))).unwrap();
        let found = find(10).unwrap();
        assert_eq!((&found.client, found.scopes, found.person), (&client, vec!["openid".to_owned()], None));
        assert_eq!(find(300), None);
        assert_eq!(temp.store.write_blocking(|tx| oauth::set_disabled(tx, "c1", true)), Ok(true));
        assert_eq!(find(10), None);
        assert_eq!(temp.store.read_blocking(oauth::clients).unwrap().len(), 1);
    }
}

#[test]
fn care_links_follow_their_source() {
    for temp in both() {
        let link = |practitioner: &str, patient: &str, until: Option<i64>| Link {
            practitioner: practitioner.into(),
            patient: patient.into(),
            from: at(0),
            until: until.map(at),
        };
        let set = |source: &'static str, links: Vec<Link>| {
            temp.store.write_blocking(move |tx| care_link::set_for_source(tx, &key(source), &links)).unwrap();
        };
        let cared = |now: i64| {
            let asked = ["p1".to_owned(), "p2".to_owned(), "p3".to_owned()];
            temp.store.read_blocking(move |tx| care_link::in_care(tx, "d1", &asked, at(now))).unwrap()
        };
        set(
            "Encounter/e1",
            vec![link("d1", "p1", Some(100)), link("d1", "p2", None), link("d2", "p3", None)],
        );
        set("Appointment/a1", vec![link("d1", "p1", Some(500))]);
        assert_eq!(cared(10), ["p1", "p2"]);
        assert_eq!(cared(200), ["p1", "p2"]);
        assert_eq!(cared(-1), Vec::<String>::new());
        set("Appointment/a1", Vec::new());
        assert_eq!(cared(200), ["p2"]);
        assert_eq!(
            temp.store.read_blocking(|tx| care_link::carers(tx, "p3", at(1))),
            Ok(vec!["d2".to_owned()])
        );
    }
}

#[test]
fn settings_are_replaced() {
    for temp in both() {
        temp.store.write_blocking(|tx| setting::put(tx, "clinic", &json!({"name": "A"}))).unwrap();
        temp.store.write_blocking(|tx| setting::put(tx, "clinic", &json!({"name": "B"}))).unwrap();
        assert_eq!(temp.store.read_blocking(|tx| setting::get(tx, "clinic")), Ok(Some(json!({"name": "B"}))));
    }
}
