//! Throttling, second factors, passkeys, invitations, shared devices.

use crate::authenticator::{Authenticator, ORIGIN};
use crate::authn::staff;
use crate::bench::name;
use crate::{Bench, each_engine};
use access::{Ctx, Due, Factor, Principal, Role};
use jiff::SignedDuration;
use record::authn::{Delivery, Origin, Proof, SecondFactor, SecurityPolicy, Session, SignIn, totp};
use record::{Error, Record};
use serde_json::json;
use std::net::IpAddr;
use store::message::Filter;

pub(crate) const PASSWORD: &str = "a long passphrase";

pub(crate) fn from(n: u8) -> Origin {
    Origin { address: Some(IpAddr::from([10, 1, 0, n])), ..Origin::default() }
}

fn browser(n: u8, device: &str) -> Origin {
    Origin { device: Some(device.into()), device_name: "Firefox, Linux".into(), ..from(n) }
}

pub(crate) async fn made(bench: &Bench, login: &str) -> i64 {
    bench.record.set_secret_key(&[7; 32]);
    bench.record.set_site(ORIGIN);
    let spec = record::authn::AccountSpec {
        email: Some(format!("{login}@clinic.example")),
        ..staff(login, &[Role::Doctor])
    };
    bench.record.create_account(&bench.system(), spec).await.unwrap().0
}

pub(crate) async fn open(record: &Record, login: &str, from: &Origin) -> Session {
    match record.sign_in(login, PASSWORD, from).await.unwrap() {
        SignIn::Open(session) => session,
        SignIn::SecondFactor(_) => panic!("a second factor was asked"),
    }
}

/// The context of a request with this session.
pub(crate) async fn ctx(bench: &Bench, token: &str) -> Ctx {
    let info = bench.record.session(token).await.unwrap();
    let mut ctx = bench.system();
    ctx.principal = Principal::User(info.user);
    ctx.session = Some(info.facts);
    ctx
}

pub(crate) fn error<T>(result: Result<T, Error>) -> String {
    name(&result.map(|_| ()).unwrap_err())
}

/// Waits for what is written after an answer.
async fn until(record: &Record, account: i64, source: &'static [u8], failures: u32) {
    for _ in 0..2000 {
        let found =
            record.store_read(move |tx| store::credential::failures(tx, account, source)).await.unwrap();
        if found.is_some_and(|f| f.failures >= failures) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{failures} failures were not written");
}

pub(crate) async fn letters(bench: &Bench, template: &str) -> Vec<String> {
    let filter = Filter { template: Some(template.into()), ..Filter::default() };
    let page = bench.record.store_read(move |tx| store::message::list(tx, &filter, None, 20)).await.unwrap();
    page.rows.into_iter().map(|m| m.body).collect()
}

/// facts/security-controls.md I7: strangers are slowed down on every server and after a restart, the owner is not.
#[tokio::test]
async fn strangers_delay_strangers() {
    each_engine(|bench| async move {
        let account = made(&bench, "grace").await;
        let home = browser(1, "home");
        open(&bench.record, "grace", &home).await;
        for n in 0..5 {
            let tried = bench.record.sign_in("grace", "wrong", &from(100 + n)).await;
            assert_eq!(error(tried), "Rule credentials-wrong");
        }
        until(&bench.record, account, &[0], 5).await;
        // Another server, or the same after a restart.
        let other = bench.second_server();
        assert_eq!(error(other.sign_in("grace", PASSWORD, &from(50)).await), "Throttled");
        assert_eq!(error(bench.record.sign_in("grace", PASSWORD, &from(50)).await), "Throttled");
        // From where she was before, by browser or by address.
        open(&other, "grace", &browser(77, "home")).await;
        open(&bench.record, "grace", &from(1)).await;
        // A device that somebody made up is none she was at.
        assert_eq!(error(other.sign_in("grace", PASSWORD, &browser(51, "made up")).await), "Throttled");
        // A delay, not a lock.
        bench.turn(SignedDuration::from_mins(16));
        open(&other, "grace", &from(50)).await;
        // Her own browser has tries of its own, and not more than others.
        for _ in 0..5 {
            error(bench.record.sign_in("grace", "wrong", &home).await);
        }
        assert_eq!(error(bench.record.sign_in("grace", PASSWORD, &home).await), "Throttled");
    })
    .await;
}

#[tokio::test]
async fn many_at_once_have_no_more_tries() {
    each_engine(|bench| async move {
        made(&bench, "grace").await;
        let tries: Vec<_> = (0..40)
            .map(|_| {
                let record = bench.record.clone();
                tokio::spawn(async move { error(record.sign_in("grace", "wrong", &from(9)).await) })
            })
            .collect();
        let mut looked_at = 0;
        for tried in tries {
            looked_at += usize::from(tried.await.unwrap() == "Rule credentials-wrong");
        }
        assert_eq!(looked_at, 5);
    })
    .await;
}

#[tokio::test]
async fn old_hashes_are_renewed() {
    use argon2::password_hash::PasswordHasher;
    each_engine(|bench| async move {
        let account = made(&bench, "grace").await;
        let weak = argon2::Params::new(8192, 1, 1, None).unwrap();
        let weak = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, weak);
        let old = weak.hash_password(PASSWORD.as_bytes()).unwrap().to_string();
        let update = store::account::Update {
            account,
            password_hash: Some(old.clone()),
            ..store::account::Update::default()
        };
        let written = bench
            .record
            .store()
            .write(move |tx| {
                store::account::update(tx, &update).map_err(|_| store::Error::Invalid("account"))
            })
            .await;
        written.unwrap();
        open(&bench.record, "grace", &from(1)).await;
        let mut hash = old;
        for _ in 0..2000 {
            let row = bench.record.store_read(move |tx| store::account::load(tx, account)).await.unwrap();
            hash = row.unwrap().password_hash.unwrap();
            if hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        open(&bench.record, "grace", &from(1)).await;
    })
    .await;
}

#[tokio::test]
async fn authenticator_applications() {
    each_engine(|bench| async move {
        let record = &bench.record;
        made(&bench, "grace").await;
        let session = open(record, "grace", &from(1)).await;
        let own = ctx(&bench, &session.token).await;
        let setup = record.begin_totp(&own, "Clinic A&B").await.unwrap();
        assert!(setup.uri.starts_with("otpauth://totp/Clinic%20A%26B:grace?secret="), "{}", setup.uri);
        assert_eq!(error(record.confirm_totp(&own, "000000").await), "Rule second-factor-wrong");
        let code = totp::code_at(&setup.secret, record.now()).unwrap();
        let codes = record.confirm_totp(&own, &code).await.unwrap();
        assert_eq!((codes.len(), codes[0].len()), (10, 11));
        assert_eq!(letters(&bench, "account.factor-added").await.len(), 1);
        // This session has shown it already, others have not.
        assert!(ctx(&bench, &session.token).await.session.unwrap().factors.contains(&Factor::Totp));

        let begin = || async {
            match record.sign_in("grace", PASSWORD, &from(1)).await.unwrap() {
                SignIn::SecondFactor(pending) => pending,
                SignIn::Open(_) => panic!("no second factor was asked"),
            }
        };
        assert_eq!(
            error(record.login("grace", PASSWORD, None).await),
            "Rule second-factor-needed",
            "no way round"
        );
        let pending = begin().await;
        assert_eq!(pending.factors, [Factor::Totp, Factor::RecoveryCode]);
        let finish =
            |id: String, proof: Proof| async move { record.finish_second_factor(&id, proof, &from(1)).await };
        // The code that confirmed it is used up.
        assert_eq!(
            error(finish(pending.id.clone(), Proof::Totp(code.clone())).await),
            "Rule second-factor-wrong"
        );
        bench.turn(SignedDuration::from_secs(30));
        let code = totp::code_at(&setup.secret, record.now()).unwrap();
        let session = finish(pending.id.clone(), Proof::Totp(code.clone())).await.unwrap();
        let facts = record.session(&session.token).await.unwrap().facts;
        assert_eq!(facts.factors, [Factor::Password, Factor::Totp]);
        // Neither the sign-in nor the code works twice, nor at once.
        assert_eq!(error(finish(pending.id, Proof::Totp(code.clone())).await), "Rule sign-in-expired");
        assert_eq!(error(finish(begin().await.id, Proof::Totp(code)).await), "Rule second-factor-wrong");
        bench.turn(SignedDuration::from_secs(60));
        let code = totp::code_at(&setup.secret, record.now()).unwrap();
        let (one, two) = (begin().await.id, begin().await.id);
        let (one, two) =
            tokio::join!(finish(one, Proof::Totp(code.clone())), finish(two, Proof::Totp(code.clone())));
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
        // A recovery code works once, however it is typed; the owner is told.
        let typed = codes[3].to_uppercase().replace('-', " ");
        finish(begin().await.id, Proof::RecoveryCode(typed)).await.unwrap();
        let again = finish(begin().await.id, Proof::RecoveryCode(codes[3].clone())).await;
        assert_eq!(error(again), "Rule second-factor-wrong");
        assert_eq!(letters(&bench, "account.recovery-code-used").await.len(), 1);
        assert_eq!(record.security_state(&own).await.unwrap().recovery_codes_left, 9);

        // Whoever knows the password has few tries at the rest, however often she begins again.
        let mut looked_at = 0;
        for _ in 0..20 {
            let pending = begin().await;
            let tried = finish(pending.id, Proof::Totp("123456".into())).await;
            looked_at += usize::from(error(tried) == "Rule second-factor-wrong");
        }
        assert!(looked_at <= 5, "{looked_at}");
        bench.turn(SignedDuration::from_mins(16));

        // The secret does not lie about in the database.
        let user = own.user().unwrap().account;
        let stored = record.store_read(move |tx| store::factor::totp(tx, user)).await.unwrap().unwrap();
        assert!(stored.secret.len() > 20 + 16);

        // Taking it away needs more than a session left open.
        let code = totp::code_at(&setup.secret, record.now()).unwrap();
        let session = finish(begin().await.id, Proof::Totp(code)).await.unwrap();
        bench.turn(SignedDuration::from_mins(11));
        let own = ctx(&bench, &session.token).await;
        assert_eq!(error(record.remove_totp(&own).await), "StepUpNeeded");
        let stepped = record.step_up(&own, Proof::Password(PASSWORD.into()), &from(1)).await;
        assert_eq!(error(stepped), "StepUpNeeded", "the password is not enough where there is more");
        let code = totp::code_at(&setup.secret, record.now()).unwrap();
        record.step_up(&own, Proof::Totp(code), &from(1)).await.unwrap();
        let own = ctx(&bench, &session.token).await;
        record.remove_totp(&own).await.unwrap();
        assert_eq!(letters(&bench, "account.factor-removed").await.len(), 1);
        open(record, "grace", &from(1)).await;
    })
    .await;
}

#[tokio::test]
async fn passkeys() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let account = made(&bench, "grace").await;
        let session = open(record, "grace", &from(1)).await;
        let own = ctx(&bench, &session.token).await;
        let mut phone = Authenticator::new(1);

        let (ceremony, options) = record.begin_passkey(&own, "Clinic").await.unwrap();
        let wants = &options["publicKey"]["authenticatorSelection"];
        assert_eq!(
            wants,
            &json!({"residentKey": "required", "requireResidentKey": true, "userVerification": "required"})
        );
        assert!(!options.to_string().contains("secret"));
        // From a page of another site, for another site, without a fingerprint: refused.
        let wrong: [fn(&mut Authenticator); 3] =
            [|a| a.origin = "https://clinic.example.evil", |a| a.site = "evil.example", |a| a.flags = 0x01];
        for change in wrong {
            let mut other = Authenticator::new(2);
            change(&mut other);
            let (ceremony, options) = record.begin_passkey(&own, "Clinic").await.unwrap();
            let made = record.finish_passkey(&own, &ceremony, "x", &other.create(&options)).await;
            assert_eq!(error(made), "Rule passkey-refused");
        }
        let made = phone.create(&options);
        let codes = record.finish_passkey(&own, &ceremony, " My  phone ", &made).await.unwrap();
        assert_eq!(codes.len(), 10);
        assert_eq!(
            error(record.finish_passkey(&own, &ceremony, "again", &made).await),
            "Rule passkey-refused"
        );
        let known = record.security_state(&own).await.unwrap().passkeys;
        assert_eq!((known.len(), known[0].name.as_str()), (1, "My phone"));

        // Alone it signs in, once for each challenge.
        let options = record.begin_passkey_sign_in().unwrap();
        let answer = phone.get(&options);
        let session = record.passkey_sign_in(&answer, &from(3)).await.unwrap();
        let facts = record.session(&session.token).await.unwrap().facts;
        assert_eq!((session.user.account, facts.factors), (account, vec![Factor::Passkey]));
        assert_eq!(error(record.passkey_sign_in(&answer, &from(3)).await), "Rule passkey-refused");
        // A challenge of somebody else, or one too old.
        let foreign = json!({"publicKey": {"challenge": "AAAA"}});
        assert_eq!(
            error(record.passkey_sign_in(&phone.get(&foreign), &from(3)).await),
            "Rule passkey-refused"
        );
        let old = phone.get(&record.begin_passkey_sign_in().unwrap());
        bench.turn(SignedDuration::from_mins(6));
        assert_eq!(error(record.passkey_sign_in(&old, &from(3)).await), "Rule passkey-refused");
        // Another key under the same id.
        let mut thief = Authenticator::new(1);
        let made =
            thief.create(&json!({"publicKey": {"user": {"id": made["none"].as_str().unwrap_or("x")}}}));
        assert!(made.is_object());
        let stolen = thief.get(&record.begin_passkey_sign_in().unwrap());
        assert_eq!(error(record.passkey_sign_in(&stolen, &from(3)).await), "Rule passkey-refused");
        // A copy's counter does not grow.
        phone.count = 0;
        let copied = phone.get(&record.begin_passkey_sign_in().unwrap());
        assert_eq!(error(record.passkey_sign_in(&copied, &from(3)).await), "Rule passkey-refused");
        phone.count = 50;

        // As second factor, and to step up.
        let SignIn::SecondFactor(pending) = record.sign_in("grace", PASSWORD, &from(1)).await.unwrap() else {
            panic!("no second factor was asked")
        };
        assert_eq!(pending.factors, [Factor::Passkey, Factor::RecoveryCode]);
        let options = record.second_factor_passkey(&pending.id).await.unwrap();
        assert_eq!(options["publicKey"]["allowCredentials"].as_array().unwrap().len(), 1);
        let proof = Proof::Passkey(phone.get(&options));
        let session = record.finish_second_factor(&pending.id, proof, &from(1)).await.unwrap();
        bench.turn(SignedDuration::from_mins(11));
        let own = ctx(&bench, &session.token).await;
        assert_eq!(error(record.require_fresh(&own, 10, true)), "StepUpNeeded");
        let options = record.step_up_passkey(&own).await.unwrap();
        let answer = phone.get(&options);
        record.step_up(&own, Proof::Passkey(answer.clone()), &from(1)).await.unwrap();
        let again = record.step_up(&own, Proof::Passkey(answer), &from(1)).await;
        assert_eq!(error(again), "Rule second-factor-wrong");
        let own = ctx(&bench, &session.token).await;
        record.require_fresh(&own, 10, true).unwrap();

        record.rename_passkey(&own, &known[0].id, "Phone").await.unwrap();
        record.remove_passkey(&own, &known[0].id).await.unwrap();
        let gone = phone.get(&record.begin_passkey_sign_in().unwrap());
        assert_eq!(error(record.passkey_sign_in(&gone, &from(3)).await), "Rule passkey-refused");
    })
    .await;
}

/// What is not enough to sign in is not enough to go on.
#[tokio::test]
async fn passkey_roles_step_up_by_passkey() {
    each_engine(|bench| async move {
        let record = &bench.record;
        made(&bench, "grace").await;
        let session = open(record, "grace", &from(1)).await;
        let own = ctx(&bench, &session.token).await;
        let setup = record.begin_totp(&own, "Clinic").await.unwrap();
        let code = totp::code_at(&setup.secret, record.now()).unwrap();
        let codes = record.confirm_totp(&own, &code).await.unwrap();
        let own = ctx(&bench, &session.token).await;
        let mut phone = Authenticator::new(1);
        let (ceremony, options) = record.begin_passkey(&own, "Clinic").await.unwrap();
        record.finish_passkey(&own, &ceremony, "Phone", &phone.create(&options)).await.unwrap();
        let policy = SecurityPolicy { passkey_roles: vec![Role::Doctor], ..SecurityPolicy::default() };
        record.set_security_policy(&bench.system(), policy).await.unwrap();

        bench.turn(SignedDuration::from_mins(11));
        let own = ctx(&bench, &session.token).await;
        let needed = |result: Result<(), Error>| match result {
            Err(Error::StepUpNeeded { factors, .. }) => factors,
            other => panic!("{other:?}"),
        };
        assert_eq!(needed(record.require_fresh(&own, 10, true)), [Factor::Passkey]);
        let code = totp::code_at(&setup.secret, record.now()).unwrap();
        for proof in
            [Proof::Totp(code), Proof::RecoveryCode(codes[0].clone()), Proof::Password(PASSWORD.into())]
        {
            assert_eq!(needed(record.step_up(&own, proof, &from(1)).await), [Factor::Passkey]);
        }
        assert_eq!(record.security_state(&own).await.unwrap().recovery_codes_left, 10, "not used up");
        assert_eq!(needed(record.require_fresh(&own, 10, true)), [Factor::Passkey]);
        let options = record.step_up_passkey(&own).await.unwrap();
        record.step_up(&own, Proof::Passkey(phone.get(&options)), &from(1)).await.unwrap();
        record.require_fresh(&ctx(&bench, &session.token).await, 10, true).unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_clinic_requires_a_second_factor() {
    each_engine(|bench| async move {
        let record = &bench.record;
        made(&bench, "grace").await;
        let administrator = bench.staff(Role::Administrator);
        // As it comes whoever reads facts, breaks the glass or administers has one; others are asked.
        let comes = SecurityPolicy::default();
        for role in
            [Role::Doctor, Role::Nurse, Role::Lab, Role::Administrator, Role::PrivacyOfficer, Role::It]
        {
            assert_eq!(comes.second_factor_for(&[role]), SecondFactor::Required, "{role:?}");
        }
        for (role, asked) in [(Role::Cashier, SecondFactor::Asked), (Role::Patient, SecondFactor::Off)] {
            assert_eq!(comes.second_factor_for(&[role]), asked, "{role:?}");
        }
        let policy = SecurityPolicy { second_factor: SecondFactor::Required, ..comes };
        assert_eq!(error(record.set_security_policy(&bench.doctor(), policy.clone()).await), "Denied");
        let mut stale = administrator.clone();
        stale.now = record.now().checked_add(SignedDuration::from_mins(11)).unwrap();
        assert_eq!(error(record.set_security_policy(&stale, policy.clone()).await), "StepUpNeeded");
        for (wrong, code) in [
            (SecurityPolicy { staff_idle_minutes: 0, ..policy.clone() }, "Rule minutes-invalid"),
            (SecurityPolicy { required_roles: vec![Role::Patient], ..policy.clone() }, "Rule roles-invalid"),
        ] {
            assert_eq!(error(record.set_security_policy(&administrator, wrong).await), code);
        }
        record.set_security_policy(&administrator, policy.clone()).await.unwrap();
        assert_eq!(record.security_policy().await.unwrap(), policy);
        let session = open(record, "grace", &from(1)).await;
        assert_eq!(session.due, Some(Due::SecondFactor));
        let own = ctx(&bench, &session.token).await;
        assert_eq!(own.session.as_ref().unwrap().due, Some(Due::SecondFactor));
        let setup = record.begin_totp(&own, "Clinic").await.unwrap();
        record.confirm_totp(&own, &totp::code_at(&setup.secret, record.now()).unwrap()).await.unwrap();
        let own = ctx(&bench, &session.token).await;
        assert_eq!(own.session.as_ref().unwrap().due, None);
        assert_eq!(error(record.remove_totp(&own).await), "Rule last-factor");
    })
    .await;
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let account = made(&bench, "grace").await;
        let here = open(record, "grace", &browser(1, "a")).await;
        let there = open(record, "grace", &browser(2, "b")).await;
        bench.turn(SignedDuration::from_mins(2));
        let own = ctx(&bench, &here.token).await;
        let rows = record.sessions(&own, account).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows[0].is_current && !rows[1].is_current, "used last comes first");
        assert_eq!((rows[1].device.as_str(), rows[1].address.as_str()), ("Firefox, Linux", "10.1.0.2"));
        assert_eq!(error(record.sessions(&bench.patient(), account).await), "Denied");
        // A refreshed session stays the same one.
        let here = record.refresh(&here.token).await.unwrap();
        assert!(record.is_session_alive(account, rows[0].id).await.unwrap());
        record.end_session(&own, account, rows[1].id).await.unwrap();
        assert_eq!(error(record.end_session(&own, account, rows[1].id).await), "NotFound");
        assert_eq!(error(record.session(&there.token).await), "Unauthenticated");
        assert!(!record.is_session_alive(account, rows[1].id).await.unwrap());
        assert_eq!(record.sessions_ended_lately().await.unwrap(), [account]);

        // Stricter limits count for what is open already.
        let policy = SecurityPolicy { staff_idle_minutes: 3, ..SecurityPolicy::default() };
        record.set_security_policy(&bench.staff(Role::Administrator), policy).await.unwrap();
        bench.turn(SignedDuration::from_mins(4));
        assert_eq!(error(record.session(&here.token).await), "Unauthenticated");

        // A disabled account is out on another server within a second.
        let session = open(record, "grace", &browser(1, "a")).await;
        let other = bench.second_server();
        other.session(&session.token).await.unwrap();
        let off = record::authn::AccountChange { disabled: Some(true), ..Default::default() };
        record.update_account(&bench.staff(Role::Administrator), account, off).await.unwrap();
        bench.turn(SignedDuration::from_millis(900));
        assert_eq!(error(other.session(&session.token).await), "Unauthenticated");
    })
    .await;
}

#[tokio::test]
async fn staff_are_invited() {
    each_engine(|bench| async move {
        let record = &bench.record;
        made(&bench, "grace").await;
        let administrator = bench.staff(Role::Administrator);
        let spec = |login: &str| record::authn::AccountSpec {
            password: None,
            email: Some(format!("{login}@clinic.example")),
            ..staff(login, &[Role::Doctor])
        };
        assert_eq!(error(record.invite(&bench.doctor(), spec("x1"), Delivery::Shown).await), "Denied");
        let no_phone = record.invite(&administrator, spec("x2"), Delivery::Sms).await;
        assert_eq!(error(no_phone), "Rule phone-required");
        let invited = record.invite(&administrator, spec("peter"), Delivery::Email).await.unwrap();
        assert_eq!((invited.token, invited.sent_to.as_deref()), (None, Some("p••••@clinic.example")));
        let sent = letters(&bench, "account.invitation").await.remove(0);
        let first = sent.split('#').nth(1).unwrap().trim().to_owned();
        assert!(sent.contains("https://clinic.example/welcome#"), "{sent}");
        // A new one replaces it.
        let shown = record.invite_again(&administrator, invited.account, Delivery::Shown).await.unwrap();
        let token = shown.token.unwrap();
        assert_eq!(error(record.link_facts(&first, &from(1)).await), "Rule link-expired");
        let facts = record.link_facts(&token, &from(1)).await.unwrap();
        assert_eq!((facts.purpose, facts.login.as_deref()), ("invitation", Some("peter")));
        // Nobody signs in before, a bad password does not cost the link, and it works once.
        assert_eq!(error(record.login("peter", "", None).await), "Rule credentials-wrong");
        assert_eq!(error(record.use_link(&token, "peter1234", &from(1)).await), "Rule password-common");
        let SignIn::Open(session) = record.use_link(&token, PASSWORD, &from(1)).await.unwrap() else {
            panic!("a second factor was asked")
        };
        assert_eq!((session.user.account, session.due), (invited.account, None));
        assert_eq!(error(record.use_link(&token, PASSWORD, &from(1)).await), "Rule link-expired");
        let again = record.invite_again(&administrator, invited.account, Delivery::Shown).await;
        assert_eq!(error(again), "Rule has-password");
        // Parents have no record of their own here.
        let parent = record::authn::AccountSpec {
            login: None,
            phone: Some("0733 444 555".into()),
            practitioner: None,
            roles: vec![Role::Proxy],
            ..spec("none")
        };
        let invited = record.invite(&administrator, parent, Delivery::Sms).await.unwrap();
        assert!(invited.token.is_none() && invited.sent_to.is_some());
        let texts = letters(&bench, "account.invitation").await;
        assert!(texts.iter().any(|t| t.starts_with("You have been invited")), "{texts:?}");
        // After three days it is too late.
        let late = record.invite(&administrator, spec("paul"), Delivery::Shown).await.unwrap();
        bench.turn(SignedDuration::from_hours(72));
        assert_eq!(
            error(record.use_link(&late.token.unwrap(), PASSWORD, &from(1)).await),
            "Rule link-expired"
        );
    })
    .await;
}

#[tokio::test]
async fn one_time_passwords_are_changed_first() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let account = made(&bench, "grace").await;
        let administrator = bench.staff(Role::Administrator);
        let password = record.reset_by_administrator(&administrator, account).await.unwrap();
        let session = record.login("grace", &password, None).await.unwrap();
        assert_eq!(session.due, Some(Due::Password));
        let own = ctx(&bench, &session.token).await;
        assert_eq!(error(record.change_password(&own, &password, &password).await), "Rule password-same");
        let elsewhere = record.login("grace", &password, None).await.unwrap();
        record.change_password(&own, &password, "another passphrase").await.unwrap();
        // Everywhere else the session is over; where she changed it she goes on.
        assert!(record.session(&elsewhere.token).await.is_err());
        assert_eq!(record.session(&session.token).await.unwrap().facts.due, None);
        assert_eq!(record.login("grace", "another passphrase", None).await.unwrap().due, None);
    })
    .await;
}

#[tokio::test]
async fn a_link_by_e_mail_sets_a_new_password() {
    each_engine(|bench| async move {
        let record = &bench.record;
        made(&bench, "grace").await;
        let session = open(record, "grace", &from(1)).await;
        let mut nobody = bench.system();
        nobody.principal = Principal::Anonymous;
        let sent = record.begin_reset(&nobody, "grace@clinic.example").await.unwrap();
        let unknown = record.begin_reset(&nobody, "nobody@clinic.example").await.unwrap();
        assert_eq!(sent.id.len(), unknown.id.len());
        let mut found = Vec::new();
        for _ in 0..2000 {
            found = letters(&bench, "account.reset-link").await;
            if !found.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let token = found[0].split('#').nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        record.use_link(&token, "yet another passphrase", &from(1)).await.unwrap();
        assert_eq!(error(record.session(&session.token).await), "Unauthenticated");
        assert_eq!(letters(&bench, "account.password-reset").await.len(), 1);
        // Too late after half an hour.
        assert_eq!(error(record.use_link(&token, "yet another one", &from(1)).await), "Rule link-expired");
    })
    .await;
}

/// facts/security-controls.md I1: two people at one tablet are two people.
#[tokio::test]
async fn people_change_over_on_a_shared_device() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let grace = made(&bench, "grace").await;
        let peter = made(&bench, "peter").await;
        let session = open(record, "grace", &from(1)).await;
        let own = ctx(&bench, &session.token).await;
        assert_eq!(error(record.add_device(&bench.patient(), "Mine").await), "Denied");
        let tablet = record.add_device(&own, "Tablet, ward 3").await.unwrap();
        assert_eq!(error(record.set_pin(&own, None, "482913").await), "Rule device-unknown");
        for (pin, code) in [
            ("12345", "pin-invalid"),
            ("123456", "pin-common"),
            ("777777", "pin-common"),
            ("246246", "pin-common"),
        ] {
            assert_eq!(error(record.set_pin(&own, Some(&tablet), pin).await), format!("Rule {code}"));
        }
        record.set_pin(&own, Some(&tablet), "482913").await.unwrap();
        let session = open(record, "peter", &from(1)).await;
        record.set_pin(&ctx(&bench, &session.token).await, Some(&tablet), "190375").await.unwrap();

        let at_tablet = Origin { shared_device: Some(tablet.clone()), ..from(1) };
        let people = record.device_people(Some(&tablet)).await.unwrap();
        assert_eq!((people.name.as_str(), people.people.len()), ("Tablet, ward 3", 2));
        assert_eq!(error(record.switch_user(grace, "482913", &from(1)).await), "Rule device-unknown");
        let one = record.switch_user(grace, "482913", &at_tablet).await.unwrap();
        let two = record.switch_user(peter, "190375", &at_tablet).await.unwrap();
        assert_eq!((one.user.account, two.user.account), (grace, peter));
        let facts = record.session(&one.token).await.unwrap().facts;
        assert!(facts.kiosk && facts.factors == [Factor::Pin]);
        // A PIN is not enough for what is worth more.
        let own = ctx(&bench, &one.token).await;
        assert_eq!(error(record.require_fresh(&own, 10, false)), "StepUpNeeded");
        record.step_up(&own, Proof::Password(PASSWORD.into()), &at_tablet).await.unwrap();
        record.require_fresh(&ctx(&bench, &one.token).await, 10, true).unwrap();
        // Five minutes, not fifteen.
        bench.turn(SignedDuration::from_mins(6));
        assert_eq!(error(record.session(&one.token).await), "Unauthenticated");

        // Three wrong PINs, then only a full sign-in helps.
        for expected in ["Rule pin-wrong", "Rule pin-wrong", "Rule pin-locked", "Rule pin-locked"] {
            assert_eq!(error(record.switch_user(grace, "000001", &at_tablet).await), expected);
        }
        assert_eq!(error(record.switch_user(grace, "482913", &at_tablet).await), "Rule pin-locked");
        record.switch_user(peter, "190375", &at_tablet).await.unwrap();
        let session = open(record, "grace", &at_tablet).await;
        record.set_pin(&ctx(&bench, &session.token).await, Some(&tablet), "482914").await.unwrap();
        let again = record.switch_user(grace, "482914", &at_tablet).await.unwrap();

        // The tablet is lost.
        let administrator = bench.staff(Role::Administrator);
        let rows = record.devices(&administrator).await.unwrap();
        record.remove_device(&administrator, rows[0].id).await.unwrap();
        assert_eq!(error(record.session(&again.token).await), "Unauthenticated");
        assert_eq!(error(record.switch_user(grace, "482914", &at_tablet).await), "Rule device-unknown");
    })
    .await;
}
