//! Who has the database has no way in by it, and who was shut out has none left (facts/security-controls.md I5, I6).

use crate::authenticator::Authenticator;
use crate::authn::staff;
use crate::credential::{PASSWORD, ctx, error, from, made, open};
use crate::oauth::lent;
use crate::{Bench, each_engine};
use access::Role;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use record::authn::{AccountChange, AccountSpec, Delivery, Origin};
use store::test_support::dump;

const PIN: &str = "482913";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything the database holds, flushed reads included.
async fn everything(bench: &Bench) -> Vec<(String, String)> {
    let store = bench.record.store().clone();
    store.settle_audit().await.unwrap();
    tokio::task::spawn_blocking(move || dump(&store)).await.unwrap()
}

/// What could be a digest or a key in these rows: runs of 64 hexadecimal digits.
fn digests(rows: &[(String, String)]) -> Vec<Vec<u8>> {
    let runs = rows.iter().flat_map(|(_, row)| row.split(|c: char| !c.is_ascii_hexdigit()));
    let mut found: Vec<Vec<u8>> = runs
        .filter(|run| run.len() == 64)
        .map(|run| (0..32).map(|n| u8::from_str_radix(&run[2 * n..2 * n + 2], 16).unwrap()).collect())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[tokio::test]
async fn the_database_opens_nothing() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let lent = lent(&bench).await;
        let tokens = lent.redeem(record, &lent.code(&bench).await).await.unwrap();
        let unused = lent.code(&bench).await;
        made(&bench, "grace").await;
        let session = open(record, "grace", &from(1)).await;
        let own = ctx(&bench, &session.token).await;
        let tablet = record.add_device(&own, "Tablet").await.unwrap();
        record.set_pin(&own, Some(&tablet), PIN).await.unwrap();
        let setup = record.begin_totp(&own, "Clinic").await.unwrap();
        let code = record::authn::totp::code_at(&setup.secret, record.now()).unwrap();
        let recovery = record.confirm_totp(&own, &code).await.unwrap();
        let spec = AccountSpec { password: None, ..staff("peter", &[Role::Doctor]) };
        let invited = record.invite(&bench.staff(Role::Administrator), spec, Delivery::Shown).await.unwrap();
        let scopes = ["system/Patient.rs".to_owned()];
        let (client, secret) = record.create_client(&bench.system(), "lab", &scopes).await.unwrap();
        let machine = record.token(&client, &secret, None, None).await.unwrap();
        let secrets = [
            ("password", PASSWORD.to_owned()),
            ("session", session.token.clone()),
            ("access token", tokens.access_token),
            ("refresh token", tokens.refresh_token.unwrap()),
            ("authorization code", unused),
            ("invitation", invited.token.unwrap()),
            ("shared device", tablet),
            ("secret of the authenticator app", setup.secret),
            ("recovery code", recovery[0].clone()),
            ("client's secret", secret),
            ("client's token", machine.token),
        ];
        let rows = everything(&bench).await;
        assert!(rows.iter().any(|(table, _)| table == "session") && rows.len() > 20, "{}", rows.len());
        for (what, secret) in &secrets {
            let mut forms = vec![secret.clone(), hex(secret.as_bytes())];
            forms.extend(
                URL_SAFE_NO_PAD.decode(secret).ok().filter(|raw| raw.len() >= 16).map(|raw| hex(&raw)),
            );
            for (table, row) in &rows {
                assert!(!forms.iter().any(|form| row.contains(form)), "{what} lies in {table}");
            }
        }
        // Nor is a digest of any use in place of what it was made of.
        let digests = digests(&rows);
        assert!(digests.len() >= 6, "{}", digests.len());
        for digest in &digests {
            for token in [URL_SAFE_NO_PAD.encode(digest), hex(digest)] {
                assert_eq!(error(record.session(&token).await), "Unauthenticated");
                assert!(record.holder(&token).await.unwrap().is_none());
                assert_eq!(error(record.link_facts(&token, &Origin::default()).await), "Rule link-expired");
                assert_eq!(error(record.device_people(Some(&token)).await), "Rule device-unknown");
                let refreshed = record.refresh_token(&lent.claim(), &token, None, None).await;
                assert_eq!(error(refreshed), "Rule invalid-grant");
            }
        }
        // What was stolen from whom is still good: only the copy is worth nothing.
        assert!(record.session(&session.token).await.is_ok());
    })
    .await;
}

/// Sign-ins with the old password that are being looked at while it is reset open nothing that outlives the reset.
#[tokio::test]
async fn an_old_password_on_its_way_opens_nothing() {
    each_engine(|bench| async move {
        let grace = made(&bench, "grace").await;
        bench.turn(jiff::SignedDuration::from_mins(1));
        // The reset makes one hash, the sign-ins wait for theirs behind it: they know the account of before.
        let (record, operator) = (bench.record.clone(), bench.system());
        let reset = tokio::spawn(async move { record.reset_by_administrator(&operator, grace).await });
        let mut tries = tokio::task::JoinSet::new();
        for n in 0..4 {
            let record = bench.record.clone();
            tries.spawn(async move { record.sign_in("grace", PASSWORD, &from(n)).await });
        }
        let opened = tries.join_all().await;
        reset.await.unwrap().unwrap();
        for sign_in in opened {
            if let Ok(record::authn::SignIn::Open(session)) = sign_in {
                assert_eq!(error(bench.record.session(&session.token).await), "Unauthenticated");
            }
        }
        assert_eq!(bench.record.sessions(&bench.system(), grace).await.unwrap().len(), 0);
        let again = bench.record.sign_in("grace", PASSWORD, &from(9)).await;
        assert!(again.is_err());
    })
    .await;
}

/// Every way in that somebody had set up is closed when her account is, and what needs no account any more is gone when it
/// is opened again.
#[tokio::test]
async fn nobody_who_is_disabled_comes_in() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let grace = made(&bench, "grace").await;
        let session = open(record, "grace", &from(1)).await;
        let own = ctx(&bench, &session.token).await;
        let tablet = record.add_device(&own, "Tablet").await.unwrap();
        record.set_pin(&own, Some(&tablet), PIN).await.unwrap();
        let mut phone = Authenticator::new(1);
        let (ceremony, options) = record.begin_passkey(&own, "Clinic").await.unwrap();
        record.finish_passkey(&own, &ceremony, "Phone", &phone.create(&options)).await.unwrap();
        let record::authn::SignIn::SecondFactor(pending) =
            record.sign_in("grace", PASSWORD, &from(1)).await.unwrap()
        else {
            panic!("no second factor was asked")
        };
        let at_tablet = Origin { shared_device: Some(tablet.clone()), ..from(1) };
        let kiosk = record.switch_user(grace, PIN, &at_tablet).await.unwrap();
        let administrator = bench.staff(Role::Administrator);
        let switch = |disabled: bool| {
            let change = AccountChange { disabled: Some(disabled), ..AccountChange::default() };
            record.update_account(&administrator, grace, change)
        };
        switch(true).await.unwrap();

        let second = bench.second_server();
        bench.turn(jiff::SignedDuration::from_millis(900));
        for server in [record, &second] {
            for token in [&session.token, &kiosk.token] {
                assert_eq!(error(server.session(token).await), "Unauthenticated");
                assert_eq!(error(server.refresh(token).await), "Unauthenticated");
                assert_eq!(error(server.bearer(token).await), "Unauthenticated");
            }
        }
        if let Ok(options) = record.second_factor_passkey(&pending.id).await {
            let proof = record::authn::Proof::Passkey(phone.get(&options));
            let finished = record.finish_second_factor(&pending.id, proof, &from(1)).await;
            assert!(finished.is_err(), "a sign-in that was begun");
        }
        assert_eq!(error(record.sign_in("grace", PASSWORD, &from(1)).await), "Rule credentials-wrong");
        let answer = phone.get(&record.begin_passkey_sign_in().unwrap());
        assert_eq!(error(record.passkey_sign_in(&answer, &from(1)).await), "Rule passkey-refused");
        assert!(record.device_people(Some(&tablet)).await.unwrap().people.is_empty());
        assert_eq!(error(record.switch_user(grace, PIN, &at_tablet).await), "Rule pin-wrong");

        // Open again: by password and passkey, which are hers, not by what lay about.
        switch(false).await.unwrap();
        for token in [&session.token, &kiosk.token] {
            assert_eq!(error(record.session(token).await), "Unauthenticated");
        }
        assert_eq!(error(record.switch_user(grace, PIN, &at_tablet).await), "Rule pin-wrong");
        let answer = phone.get(&record.begin_passkey_sign_in().unwrap());
        record.passkey_sign_in(&answer, &from(1)).await.unwrap();
    })
    .await;
}
