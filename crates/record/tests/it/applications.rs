//! What one administrator alone does not do to applications that read facts for themselves.

use crate::credential::error;
use crate::four_eyes::{person, signed_in, told};
use crate::{Bench, each_engine};
use access::{Ctx, Role};
use jiff::SignedDuration;
use record::Error;
use record::authn::four_eyes::{AccountChangeRow, AccountChangeState as State, Collected};
use record::authn::{AccountChange, SecondPerson, SecurityPolicy};
use record::oauth::{Authentication, ClientChange, ClientRow, ClientSpec};

fn scopes(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn service(scope: &str) -> ClientSpec {
    ClientSpec { name: "Laboratory".into(), scopes: scopes(scope), ..ClientSpec::default() }
}

/// Registered by the operator; with its secret.
async fn registered(bench: &Bench, scope: &str) -> (ClientRow, String) {
    let (row, secret) = bench.record.register_client(&bench.system(), service(scope)).await.unwrap();
    (row, secret.unwrap())
}

fn to(scope: &str) -> ClientChange {
    ClientChange { scopes: Some(scopes(scope)), ..ClientChange::default() }
}
fn off(disabled: bool) -> ClientChange {
    ClientChange { disabled: Some(disabled), ..ClientChange::default() }
}

/// As it is registered now.
async fn now(bench: &Bench, id: &str) -> ClientRow {
    let all = bench.record.clients(&bench.system()).await.unwrap();
    all.into_iter().find(|row| row.client_id == id).unwrap()
}

async fn token(bench: &Bench, id: &str, secret: &str) -> Result<String, Error> {
    bench.record.token(id, secret, None, None).await.map(|token| token.scope)
}

async fn asks(bench: &Bench, who: &Ctx, id: &str, change: ClientChange) -> AccountChangeRow {
    let asked = bench.record.ask_client_change(who, id, change.clone(), "for a test").await.unwrap();
    let alone = bench.record.change_client(who, id, change).await;
    assert_eq!(error(alone), "Rule second-person-needed");
    asked.unwrap()
}

/// An administrator and the privacy officer, just signed in.
async fn two(bench: &Bench) -> (Ctx, Ctx) {
    person(bench, "chief", Role::Administrator).await;
    person(bench, "officer", Role::PrivacyOfficer).await;
    (signed_in(bench, "chief").await, signed_in(bench, "officer").await)
}

#[tokio::test]
async fn one_that_reads_facts_is_registered_by_two() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let (chief, officer) = two(&bench).await;
        let start = bench.mark();
        let spec = || service("system/Observation.rs system/Patient.rs");
        assert_eq!(error(record.register_client(&chief, spec()).await), "Rule second-person-needed");
        // What opens no facts is one person's act: the directory, and what only people lend something.
        for free in [
            service("system/Slot.rs system/Practitioner.rs"),
            ClientSpec {
                authentication: Authentication::None,
                redirects: vec!["https://app.example/callback".into()],
                ..service("openid launch patient/*.cruds user/*.cruds offline_access")
            },
        ] {
            assert_eq!(record.ask_new_client(&chief, free.clone(), "").await.unwrap(), None);
            record.register_client(&chief, free).await.unwrap();
        }
        // But people may be led to lend: where one for them leads is told.
        assert_eq!(told(&bench, &officer).await, ["client.leads"]);

        let wrong = record.ask_new_client(&chief, service("system/Nonsense.rs"), "").await;
        assert_eq!(error(wrong), "Rule scope-invalid");
        let asked = record.ask_new_client(&chief, spec(), "new analyser").await.unwrap().unwrap();
        assert_eq!((asked.state, asked.target, &asked.client), (State::Waiting, None, &None));
        assert_eq!(error(record.ask_new_client(&chief, spec(), "").await), "Duplicate already-waiting");
        assert_eq!(record.clients(&chief).await.unwrap().len(), 2, "nothing is there before");
        assert!(told(&bench, &officer).await.contains(&"client-change.asked".to_owned()));
        let row = record.account_change(&officer, asked.id).await.unwrap();
        assert_eq!(
            (&row.summary["name"], &row.summary["scopes"][1]),
            (&"Laboratory".into(), &"system/Patient.rs".into())
        );

        // Neither who asked alone, nor a doctor.
        let decide = |who: &Ctx, agree| {
            let who = who.clone();
            async move { record.decide_account_change(&who, asked.id, agree, "").await }
        };
        assert_eq!(error(decide(&chief, true).await), "Rule second-person-needed");
        assert_eq!(error(decide(&bench.doctor(), true).await), "Denied");
        assert_eq!(error(record.collect_account_change(&chief, asked.id).await), "Rule nothing-to-collect");
        let agreed = decide(&officer, true).await.unwrap();
        let id = agreed.client.clone().unwrap();
        assert_eq!((agreed.state, agreed.collect, agreed.target), (State::Agreed, true, None));
        assert_eq!(now(&bench, &id).await.scopes, ["system/Observation.rs", "system/Patient.rs"]);
        assert!(told(&bench, &chief).await.contains(&"client-change.agreed".to_owned()));

        // The secret is made when it is fetched: once, by who asked.
        assert_eq!(error(record.collect_account_change(&officer, asked.id).await), "Denied");
        let Collected::Secret { client, secret } =
            record.collect_account_change(&chief, asked.id).await.unwrap()
        else {
            panic!("no secret")
        };
        assert_eq!(client, id);
        assert_eq!(error(record.collect_account_change(&chief, asked.id).await), "Rule nothing-to-collect");
        assert_eq!(token(&bench, &id, &secret).await.unwrap(), "system/Observation.rs system/Patient.rs");
        let audit = bench.audit_since(start).await;
        let of_it = format!("client/{id}");
        for (action, what) in [
            ("account-change.ask", format!("account-change/{}", asked.id)),
            ("account-change.agree", format!("account-change/{}", asked.id)),
            ("client.create", of_it.clone()),
            ("account-change.collect", format!("account-change/{}", asked.id)),
            ("client.secret", of_it),
        ] {
            let line = format!("{action} success {what}");
            assert!(audit.iter().any(|one| one.contains(&line)), "{line} {audit:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_goes_on_as_it_is_until_two_agree() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let (chief, officer) = two(&bench).await;
        let (client, secret) = registered(&bench, "system/Observation.rs").await;
        let id = client.client_id.as_str();
        let agree = |change: AccountChangeRow| {
            let officer = officer.clone();
            async move { record.decide_account_change(&officer, change.id, true, "").await }
        };

        // Wider, sealed facts, keys, a name: each waits, and nothing of it is there before.
        let keys = ClientChange {
            jwks_url: Some("https://elsewhere.example/keys".into()),
            ..ClientChange::default()
        };
        let name = ClientChange { name: Some("Registry".into()), ..ClientChange::default() };
        for change in [to("system/*.rs"), to("system/Observation.rs sens/HIV"), keys.clone(), name] {
            let asked = asks(&bench, &chief, id, change.clone()).await;
            assert_eq!(asked.client.as_deref(), Some(id));
            let twice = record.ask_client_change(&chief, id, change, "").await;
            assert_eq!(error(twice), "Duplicate already-waiting");
            assert_eq!(now(&bench, id).await, client);
            assert_eq!(token(&bench, id, &secret).await.unwrap(), "system/Observation.rs");
            let no = record.decide_account_change(&officer, asked.id, false, "whose is it?").await.unwrap();
            assert_eq!((no.state, no.payload), (State::Refused, None));
            assert_eq!(now(&bench, id).await, client);
        }
        let wider = asks(&bench, &chief, id, to("system/*.rs")).await;
        agree(wider).await.unwrap();
        assert_eq!(token(&bench, id, &secret).await.unwrap(), "system/*.rs");
        let other = asks(&bench, &chief, id, keys).await;
        assert_eq!(other.summary["other_keys"], true);
        agree(other).await.unwrap();
        assert_eq!(now(&bench, id).await.facts.jwks_url.as_deref(), Some("https://elsewhere.example/keys"));

        // Taking away is one person's act, at once; and what was looked at is not what is there any more.
        let asked = asks(&bench, &chief, id, to("system/*.cruds")).await;
        record.change_client(&chief, id, to("system/Observation.rs")).await.unwrap();
        assert_eq!(token(&bench, id, &secret).await.unwrap(), "system/Observation.rs");
        assert_eq!(error(agree(asked.clone()).await), "Rule changed-meanwhile");
        let back = record.decide_account_change(&chief, asked.id, false, "").await.unwrap();
        assert_eq!(back.state, State::Refused, "taken back");
        record.change_client(&chief, id, off(true)).await.unwrap();
        assert_eq!(error(token(&bench, id, &secret).await), "Unauthenticated");
        // Not back on, by either way, nor wider while it is off.
        assert_eq!(error(record.disable_client(&chief, id, false).await), "Rule second-person-needed");
        let on = asks(&bench, &chief, id, off(false)).await;
        assert_eq!(on.summary["enables"], true);
        agree(on).await.unwrap();
        assert_eq!(token(&bench, id, &secret).await.unwrap(), "system/Observation.rs");

        // One for people becomes one that reads facts for itself: the first such scope is asked about.
        let people =
            ClientSpec { redirects: vec!["https://app.example/cb".into()], ..service("patient/*.rs") };
        let (people, _) = record.register_client(&chief, people).await.unwrap();
        let moved =
            ClientChange { redirects: Some(vec!["https://app.example/back".into()]), ..to("user/*.rs") };
        record.change_client(&chief, &people.client_id, moved).await.unwrap();
        record.renew_client_secret(&chief, &people.client_id).await.unwrap();
        asks(&bench, &chief, &people.client_id, to("user/*.rs system/Condition.rs")).await;

        // Who asked lost the right to; or nobody decided for a week.
        let asked = asks(&bench, &chief, id, to("system/*.rs")).await;
        let boss = chief.user().unwrap().account;
        let close = |disabled| AccountChange { disabled: Some(disabled), ..AccountChange::default() };
        record.update_account(&bench.system(), boss, close(true)).await.unwrap();
        assert_eq!(error(agree(asked.clone()).await), "Rule asker-gone");
        record.update_account(&bench.system(), boss, close(false)).await.unwrap();
        bench.turn(SignedDuration::from_hours(7 * 24));
        let (chief, officer) = (signed_in(&bench, "chief").await, signed_in(&bench, "officer").await);
        let late = record.decide_account_change(&officer, asked.id, true, "").await;
        assert_eq!(error(late), "Duplicate already-settled");
        assert_eq!(record.expire_account_changes().await.unwrap(), 2);
        assert!(told(&bench, &chief).await.contains(&"client-change.expired".to_owned()));
        assert_eq!(now(&bench, id).await.scopes, ["system/Observation.rs"]);
    })
    .await;
}

#[tokio::test]
async fn the_old_secret_works_until_the_new_one_is_fetched() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let (chief, officer) = two(&bench).await;
        let (client, old) = registered(&bench, "system/*.rs").await;
        let id = client.client_id.as_str();
        assert_eq!(error(record.renew_client_secret(&chief, id).await), "Rule second-person-needed");
        let unknown = record.ask_client_secret(&chief, "nobody", "").await;
        assert_eq!(error(unknown), "NotFound");
        let ask = async || {
            let asked = record.ask_client_secret(&chief, id, "it got about").await.unwrap().unwrap();
            record.decide_account_change(&officer, asked.id, true, "").await.unwrap()
        };
        let agreed = ask().await;
        assert!(agreed.collect && token(&bench, id, &old).await.is_ok());
        let Collected::Secret { secret, .. } =
            record.collect_account_change(&chief, agreed.id).await.unwrap()
        else {
            panic!("no secret")
        };
        assert_eq!(error(token(&bench, id, &old).await), "Unauthenticated");
        assert!(token(&bench, id, &secret).await.is_ok());
        // Another one than it was when somebody agreed.
        let agreed = ask().await;
        record.change_client(&chief, id, to("system/Observation.rs")).await.unwrap();
        assert_eq!(error(record.collect_account_change(&chief, agreed.id).await), "Rule changed-meanwhile");
        // Within a day.
        let agreed = ask().await;
        bench.turn(SignedDuration::from_hours(24));
        let chief = signed_in(&bench, "chief").await;
        assert_eq!(error(record.collect_account_change(&chief, agreed.id).await), "Rule nothing-to-collect");
        assert!(token(&bench, id, &secret).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn the_only_administrator_connects_systems_and_it_is_told() {
    each_engine(|bench| async move {
        let record = &bench.record;
        person(&bench, "chief", Role::Administrator).await;
        let chief = signed_in(&bench, "chief").await;
        assert_eq!(record.ask_new_client(&chief, service("system/*.rs"), "").await.unwrap(), None);
        let (client, secret) = record.register_client(&chief, service("system/*.rs")).await.unwrap();
        let id = client.client_id.as_str();
        assert!(token(&bench, id, &secret.unwrap()).await.is_ok());
        record.change_client(&chief, id, to("system/*.cruds")).await.unwrap();
        record.renew_client_secret(&chief, id).await.unwrap();
        let rows = record.account_changes(&chief, false).await.unwrap();
        let found: Vec<_> =
            rows.iter().map(|row| (row.act.as_str(), row.state, row.client.as_deref())).collect();
        for act in ["register-application", "change-application", "application-secret"] {
            assert!(found.contains(&(act, State::Alone, Some(id))), "{act} {found:?}");
        }
        // Told to who comes later.
        let officer_id = person(&bench, "officer", Role::PrivacyOfficer).await;
        let officer = signed_in(&bench, "officer").await;
        let alone =
            told(&bench, &officer).await.iter().filter(|topic| *topic == "client-change.alone").count();
        assert_eq!(alone, 3);
        assert_eq!(error(record.renew_client_secret(&chief, id).await), "Rule second-person-needed");

        // Who closes the other's account is not alone for three days.
        let closed = AccountChange { disabled: Some(true), ..AccountChange::default() };
        record.update_account(&chief, officer_id, closed).await.unwrap();
        let asked = record.ask_client_secret(&chief, id, "").await.unwrap().unwrap();
        let early = record.decide_account_change(&chief, asked.id, true, "").await;
        assert_eq!(error(early), "Rule second-person-needed");
        bench.turn(SignedDuration::from_hours(72));
        let chief = signed_in(&bench, "chief").await;
        let done = record.decide_account_change(&chief, asked.id, true, "").await.unwrap();
        assert_eq!((done.state, done.collect), (State::Alone, true));

        // Where the rules do without a second person.
        person(&bench, "deputy", Role::Administrator).await;
        assert_eq!(error(record.renew_client_secret(&chief, id).await), "Rule second-person-needed");
        let never =
            SecurityPolicy { second_person: SecondPerson::Never, ..record.security_policy().await.unwrap() };
        record.set_security_policy(&bench.system(), never).await.unwrap();
        record.renew_client_secret(&chief, id).await.unwrap();
    })
    .await;
}
