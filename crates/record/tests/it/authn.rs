//! Accounts, sessions, clients.

use crate::bench::name;
use crate::{Bench, each_engine, key};
use access::{Principal, Role};
use jiff::SignedDuration;
use record::Error;
use record::authn::{AccountChange, AccountSpec, phone_e164};
use std::net::IpAddr;

pub fn staff(login: &str, roles: &[Role]) -> AccountSpec {
    AccountSpec {
        display: "Grace Otieno".into(),
        login: Some(login.into()),
        phone: None,
        email: None,
        password: Some("a long passphrase".into()),
        roles: roles.to_vec(),
        patient: None,
        practitioner: Some(key("Practitioner/d1")),
        language: "en".into(),
    }
}

fn address(n: u8) -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, n]))
}

async fn made(bench: &Bench) -> i64 {
    bench.record.create_account(&bench.system(), staff("Grace", &[Role::Doctor])).await.unwrap().0
}

#[tokio::test]
async fn signing_in_and_out() {
    each_engine(|bench| async move {
        let account = made(&bench).await;
        let start = bench.mark();
        let session = bench.record.login(" GRACE ", "a long passphrase", address(1)).await.unwrap();
        assert_eq!(session.token.len(), 43);
        let info = bench.record.session(&session.token).await.unwrap();
        assert_eq!((info.user.account, info.user.roles.as_slice()), (account, [Role::Doctor].as_slice()));
        assert_eq!(info.user.practitioner, Some(key("Practitioner/d1")));
        assert_eq!(bench.record.bearer(&session.token).await.unwrap(), Principal::User(info.user.clone()));
        assert!(matches!(bench.record.session("nonsense").await, Err(Error::Unauthenticated)));

        let next = bench.record.refresh(&session.token).await.unwrap();
        assert_eq!(next.expires_at, session.expires_at, "refreshing does not lengthen the day");
        assert!(matches!(bench.record.session(&session.token).await, Err(Error::Unauthenticated)));
        let mut ctx = bench.system();
        ctx.principal = Principal::User(info.user);
        bench.record.logout(&ctx, &next.token).await.unwrap();
        assert!(matches!(bench.record.session(&next.token).await, Err(Error::Unauthenticated)));
        assert_eq!(
            bench.audit_since(start).await,
            [
                format!("account/{account} login success "),
                format!("account/{account} logout success "),
                format!("account/{account} session.refresh success "),
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn sessions_end() {
    each_engine(|bench| async move {
        made(&bench).await;
        let session = bench.record.login("grace", "a long passphrase", None).await.unwrap();
        // Used every ten minutes it lives on, but not beyond the day.
        for _ in 0..71 {
            bench.turn(SignedDuration::from_mins(10));
            bench.record.session(&session.token).await.unwrap();
        }
        bench.turn(SignedDuration::from_mins(12));
        assert!(matches!(bench.record.session(&session.token).await, Err(Error::Unauthenticated)));
        let session = bench.record.login("grace", "a long passphrase", None).await.unwrap();
        bench.turn(SignedDuration::from_mins(16));
        assert!(matches!(bench.record.session(&session.token).await, Err(Error::Unauthenticated)));
        bench.record.housekeep().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn wrong_passwords_are_slowed_down() {
    each_engine(|bench| async move {
        made(&bench).await;
        for login in ["grace", "nobody", "+254700000000", "x@example.org"] {
            for _ in 0..5 {
                let error =
                    bench.record.login(login, "wrong password", address(2)).await.map(|_| ()).unwrap_err();
                assert_eq!(name(&error), "Rule credentials-wrong", "{login}");
            }
            // Known or not: the same delay, even with the right password.
            let error =
                bench.record.login(login, "a long passphrase", address(2)).await.map(|_| ()).unwrap_err();
            assert_eq!(name(&error), "Throttled", "{login}");
        }
        // A delay, not a lock.
        bench.turn(SignedDuration::from_mins(16));
        // Another name of the same account gives no new guesses.
        let mut spec = staff("joseph", &[Role::FrontDesk]);
        spec.phone = Some("0733 111 222".into());
        spec.email = Some("joseph@example.org".into());
        bench.record.create_account(&bench.system(), spec).await.unwrap();
        let mut answers = Vec::new();
        for login in
            ["joseph", "0733111222", "+254 733 111 222", "joseph@example.org", "JOSEPH", "joseph", "joseph"]
        {
            answers.push(name(
                &bench.record.login(login, "wrong password", address(5)).await.map(|_| ()).unwrap_err(),
            ));
        }
        assert_eq!(answers.iter().filter(|a| *a == "Rule credentials-wrong").count(), 5, "{answers:?}");
        assert!(bench.record.login("grace", "a long passphrase", address(2)).await.is_ok());
        // One address that tries many names.
        let mut throttled = false;
        for n in 0..60 {
            let error =
                bench.record.login(&format!("guess{n}"), "x", address(3)).await.map(|_| ()).unwrap_err();
            throttled |= name(&error) == "Throttled";
        }
        assert!(throttled);
        assert!(bench.record.login("grace", "a long passphrase", address(4)).await.is_ok());
    })
    .await;
}

/// facts/security-controls.md I7: a flood of unknown names adds no rows.
#[tokio::test]
async fn unknown_names_write_nothing() {
    each_engine(|bench| async move {
        made(&bench).await;
        let start = bench.mark();
        let store = bench.record.store().clone();
        let rows = async || {
            let store = store.clone();
            store.settle_audit().await.unwrap();
            tokio::task::spawn_blocking(move || store::test_support::dump(&store)).await.unwrap()
        };
        let before = rows().await;
        for n in 0..40 {
            bench.record.login(&format!("nobody{n}"), "x", address(n)).await.map(|_| ()).unwrap_err();
            let mut ctx = bench.system();
            ctx.principal = Principal::Anonymous;
            bench.record.begin_reset(&ctx, &format!("nobody{n}")).await.unwrap();
            bench.record.read(&ctx, &key("Patient/p1")).await.unwrap_err();
        }
        // Not a row is another.
        let after = rows().await;
        let new: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
        assert!(new.is_empty() && after.len() == before.len(), "{new:?}");
        assert!(bench.audit_since(start).await.is_empty());
        let messages = bench
            .record
            .store_read(|tx| store::message::list(tx, &store::message::Filter::default(), None, 5))
            .await
            .unwrap();
        assert!(messages.rows.is_empty());
    })
    .await;
}

#[tokio::test]
async fn passwords() {
    each_engine(|bench| async move {
        let account = made(&bench).await;
        let session = bench.record.login("grace", "a long passphrase", None).await.unwrap();
        let mut ctx = bench.system();
        ctx.principal = Principal::User(session.user.clone());
        for (password, code) in [
            ("short", "password-short"),
            ("password", "password-common"),
            ("Password2024!", "password-common"),
            ("12345678", "password-common"),
            ("qwertyuiop", "password-common"),
            ("aaaaaaaaaa", "password-common"),
            ("nairobi123", "password-common"),
            ("graceotieno", "password-common"),
            ("Grace Otieno", "password-common"),
            (&"x".repeat(129), "password-long"),
        ] {
            match bench.record.change_password(&ctx, "a long passphrase", password).await {
                Ok(()) => panic!("{password} was accepted"),
                Err(error) => assert_eq!(name(&error), format!("Rule {code}"), "{password}"),
            }
        }
        let wrong = bench.record.change_password(&ctx, "not it", "another good phrase").await.unwrap_err();
        assert_eq!(name(&wrong), "Rule password-wrong");
        let sixty_four = "correct horse battery staple correct horse battery staple 64 abc";
        bench.record.change_password(&ctx, "a long passphrase", sixty_four).await.unwrap();
        assert!(matches!(bench.record.session(&session.token).await, Err(Error::Unauthenticated)));
        assert!(bench.record.login("grace", "a long passphrase", None).await.is_err());
        assert!(bench.record.login("grace", sixty_four, None).await.is_ok());
        let hash = bench
            .record
            .store_read(move |tx| store::account::load(tx, account))
            .await
            .unwrap()
            .unwrap()
            .password_hash
            .unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    })
    .await;
}

#[tokio::test]
async fn administrators_manage_accounts() {
    each_engine(|bench| async move {
        let administrator = bench.staff(Role::Administrator);
        let record = &bench.record;
        let with = |change: fn(&mut AccountSpec)| {
            let mut spec = staff("desk", &[Role::FrontDesk]);
            change(&mut spec);
            spec
        };
        for (spec, expected) in [
            (with(|s| s.display = " ".into()), "Rule name-required"),
            (with(|s| s.roles = vec![]), "Rule roles-invalid"),
            (with(|s| s.roles = vec![Role::Integration]), "Rule roles-invalid"),
            (
                with(|s| {
                    s.roles = vec![Role::Doctor];
                    s.practitioner = None
                }),
                "Rule practitioner-required",
            ),
            (with(|s| s.roles = vec![Role::Patient]), "Rule patient-required"),
            (with(|s| s.login = Some("two words".into())), "Rule login-invalid"),
            (with(|s| s.login = None), "Rule login-invalid"),
            (with(|s| s.phone = Some("12".into())), "Rule phone-invalid"),
            (with(|s| s.password = Some("desk1234".into())), "Rule password-common"),
        ] {
            let error = record.create_account(&administrator, spec).await.unwrap_err();
            if expected == "Rule password-common" {
                assert!(name(&error).starts_with("Rule password-"), "{error}");
            } else {
                assert_eq!(name(&error), expected);
            }
        }
        let (account, password) = record
            .create_account(
                &administrator,
                with(|s| {
                    s.password = None;
                    s.phone = Some("0722 000 111".into())
                }),
            )
            .await
            .unwrap();
        let password = password.unwrap();
        assert_eq!(password.len(), 14);
        let session = record.login("0722000111", &password, None).await.unwrap();
        let again =
            record.create_account(&administrator, with(|s| s.login = Some("DESK".into()))).await.unwrap_err();
        assert_eq!(name(&again), "Duplicate login-taken");
        for ctx in [bench.doctor(), bench.patient(), bench.staff(Role::It), bench.client(&["system/*.cruds"])]
        {
            assert_eq!(
                name(&record.create_account(&ctx, staff("x2", &[Role::It])).await.unwrap_err()),
                "Denied"
            );
            assert_eq!(name(&record.accounts(&ctx, None, 5, None).await.unwrap_err()), "Denied");
            let change = AccountChange { roles: Some(vec![Role::Administrator]), ..AccountChange::default() };
            assert_eq!(name(&record.update_account(&ctx, account, change).await.unwrap_err()), "Denied");
        }
        let (rows, _) = record.accounts(&administrator, Some("grace"), 5, None).await.unwrap();
        assert_eq!(rows[0].phone.as_deref(), Some("+254722000111"));

        // One's own language, nothing else.
        let mut own = bench.system();
        own.principal = Principal::User(session.user.clone());
        let language = AccountChange { language: Some("sw".into()), ..AccountChange::default() };
        assert_eq!(record.update_account(&own, account, language).await.unwrap().language, "sw");
        for language in ["x", "s\u{0}w", "kiswahili-sanifu"] {
            let change = AccountChange { language: Some(language.into()), ..AccountChange::default() };
            assert!(record.update_account(&own, account, change).await.is_err(), "{language:?}");
        }
        let roles = AccountChange { roles: Some(vec![Role::Administrator]), ..AccountChange::default() };
        assert_eq!(name(&record.update_account(&own, account, roles.clone()).await.unwrap_err()), "Denied");

        // Other rights or none: sign in again, at once.
        assert!(record.session(&session.token).await.is_ok());
        record.update_account(&administrator, account, roles).await.unwrap();
        assert!(matches!(record.session(&session.token).await, Err(Error::Unauthenticated)));
        let session = record.login("desk", &password, None).await.unwrap();
        let off = AccountChange { disabled: Some(true), ..AccountChange::default() };
        let mut own = bench.system();
        own.principal = Principal::User(session.user);
        assert_eq!(
            name(&record.update_account(&own, account, off.clone()).await.unwrap_err()),
            "Rule own-account"
        );
        record.update_account(&administrator, account, off).await.unwrap();
        assert!(matches!(record.session(&session.token).await, Err(Error::Unauthenticated)));
        assert_eq!(
            name(&record.login("desk", &password, None).await.map(|_| ()).unwrap_err()),
            "Rule credentials-wrong"
        );
    })
    .await;
}

#[tokio::test]
async fn everywhere_is_everywhere() {
    each_engine(|bench| async move {
        let account = made(&bench).await;
        let one = bench.record.login("grace", "a long passphrase", None).await.unwrap();
        let two = bench.record.login("grace", "a long passphrase", None).await.unwrap();
        bench.record.session(&two.token).await.unwrap();
        assert_eq!(
            name(&bench.record.logout_everywhere(&bench.staff(Role::FrontDesk), account).await.unwrap_err()),
            "Denied"
        );
        let mut ctx = bench.system();
        ctx.principal = Principal::User(one.user.clone());
        bench.record.logout_everywhere(&ctx, account).await.unwrap();
        for token in [&one.token, &two.token] {
            assert!(matches!(bench.record.session(token).await, Err(Error::Unauthenticated)));
        }
    })
    .await;
}

#[tokio::test]
async fn clients_and_their_tokens() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let scopes = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        for (given, expected) in [
            (scopes(&[]), "Rule scope-invalid"),
            (scopes(&["openid"]), "Rule scope-invalid"),
            (scopes(&["user/*.rs"]), "Rule scope-invalid"),
            (scopes(&["system/Dog.r"]), "Rule scope-invalid"),
        ] {
            assert_eq!(
                name(&record.create_client(&bench.system(), "x", &given).await.unwrap_err()),
                expected
            );
        }
        assert_eq!(
            name(&record.create_client(&bench.system(), " ", &scopes(&["system/*.r"])).await.unwrap_err()),
            "Rule name-required"
        );
        assert_eq!(
            name(&record.create_client(&bench.doctor(), "x", &scopes(&["system/*.r"])).await.unwrap_err()),
            "Denied"
        );
        let (id, secret) = record
            .create_client(&bench.system(), "Lab", &scopes(&["system/Observation.cruds system/Patient.r"]))
            .await
            .unwrap();
        for (client, given) in [(&*id, "wrong"), ("nobody", &*secret)] {
            assert!(matches!(record.token(client, given, None, None).await, Err(Error::Unauthenticated)));
        }
        let all = record.token(&id, &secret, None, None).await.unwrap();
        assert_eq!(
            (all.scope.as_str(), all.expires_in_s),
            ("system/Observation.cruds system/Patient.r", 600)
        );
        let less =
            record.token(&id, &secret, Some("system/Observation.rs system/Condition.r"), None).await.unwrap();
        assert_eq!(less.scope, "system/Observation.rs");
        for (scope, expected) in [("system/*.rs", "Rule invalid-scope"), ("nonsense", "Rule invalid-scope")] {
            assert_eq!(
                name(&record.token(&id, &secret, Some(scope), None).await.map(|_| ()).unwrap_err()),
                expected
            );
        }
        match record.bearer(&less.token).await.unwrap() {
            Principal::Client { client_id, name, scopes } => {
                assert_eq!(
                    (client_id, name.as_str(), scopes),
                    (id.clone(), "Lab", vec!["system/Observation.rs".to_owned()])
                );
            }
            other => panic!("{other:?}"),
        }
        // A token never becomes a session.
        assert!(matches!(record.session(&less.token).await, Err(Error::Unauthenticated)));
        assert!(matches!(record.refresh(&less.token).await.map(|_| ()), Err(Error::Unauthenticated)));
        bench.turn(SignedDuration::from_mins(16));
        assert!(matches!(record.bearer(&less.token).await, Err(Error::Unauthenticated)));
        let token = record.token(&id, &secret, None, None).await.unwrap().token;
        record.disable_client(&bench.system(), &id, true).await.unwrap();
        assert!(matches!(record.bearer(&token).await, Err(Error::Unauthenticated)));
        assert!(matches!(
            record.token(&id, &secret, None, None).await.map(|_| ()),
            Err(Error::Unauthenticated)
        ));
    })
    .await;
}

#[test]
fn phones_of_any_form() {
    for (text, expected) in [
        ("0712 345 678", Some("+254712345678")),
        ("+254 (712) 345-678", Some("+254712345678")),
        ("254712345678", Some("+254712345678")),
        ("12", None),
        ("", None),
        ("grace", None),
    ] {
        assert_eq!(phone_e164(text).as_deref(), expected, "{text}");
    }
}
