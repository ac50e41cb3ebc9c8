//! What one administrator alone does not do: accounts and roles that read facts, and ways into such accounts.

use crate::authn::staff;
use crate::bench::name;
use crate::credential::{PASSWORD, ctx, error, from, letters, open};
use crate::{Bench, each_engine, resource};
use access::{Ctx, Role};
use jiff::SignedDuration;
use record::authn::four_eyes::{AccountChangeRow, AccountChangeState as State, Act, Collected};
use record::authn::{AccountChange, AccountSpec, Delivery, SecondPerson, SecurityPolicy};
use serde_json::json;

/// An account of this role that somebody signs in to.
pub async fn person(bench: &Bench, login: &str, role: Role) -> i64 {
    bench.record.set_secret_key(&[7; 32]);
    let spec = AccountSpec { email: Some(format!("{login}@clinic.example")), ..staff(login, &[role]) };
    bench.record.create_account(&bench.system(), spec).await.unwrap().0
}

/// Just signed in.
pub async fn signed_in(bench: &Bench, login: &str) -> Ctx {
    ctx(bench, &open(&bench.record, login, &from(1)).await.token).await
}

/// A doctor whom nobody knows yet.
fn doctor(login: &str) -> AccountSpec {
    AccountSpec {
        password: None,
        email: Some(format!("{login}@clinic.example")),
        ..staff(login, &[Role::Doctor])
    }
}

/// What the privacy officers were told.
pub async fn told(bench: &Bench, officer: &Ctx) -> Vec<String> {
    let notices = bench.record.notices(officer, true, 100).await.unwrap();
    notices.rows.into_iter().map(|one| one.topic).collect()
}

async fn asked(bench: &Bench, who: &Ctx, target: Option<i64>, act: Act) -> AccountChangeRow {
    bench.record.ask_second_person(who, target, act, "for a test").await.unwrap().unwrap()
}

#[tokio::test]
async fn a_new_doctor_waits_for_a_second_person() {
    each_engine(|bench| async move {
        let record = &bench.record;
        person(&bench, "chief", Role::Administrator).await;
        person(&bench, "officer", Role::PrivacyOfficer).await;
        let (chief, officer) = (signed_in(&bench, "chief").await, signed_in(&bench, "officer").await);
        let start = bench.mark();
        // Not in one go, whichever way.
        assert_eq!(error(record.create_account(&chief, doctor("peter")).await), "Rule second-person-needed");
        let alone = record.invite(&chief, doctor("peter"), Delivery::Email).await;
        assert_eq!(error(alone), "Rule second-person-needed");
        // Who reads no facts is made as ever.
        let clerk = AccountSpec { practitioner: None, ..staff("clerk", &[Role::Cashier]) };
        let free = record.ask_new_account(&chief, &clerk, &[], None, "").await.unwrap();
        assert!(free.is_none());
        record.create_account(&chief, clerk).await.unwrap();

        let practitioner = resource(json!({"resourceType": "Practitioner", "id": "peter", "active": true}));
        let spec = AccountSpec { practitioner: practitioner.key(), ..doctor("peter") };
        let ask = || {
            record.ask_new_account(
                &chief,
                &spec,
                std::slice::from_ref(&practitioner),
                Some(Delivery::Email),
                "new",
            )
        };
        let change = ask().await.unwrap().expect("nobody was asked");
        assert_eq!((change.state, change.alone), (State::Waiting, None));
        assert_eq!(error(ask().await), "Duplicate already-waiting");
        let wrong = AccountSpec { login: Some("clerk".into()), ..doctor("clerk") };
        let taken = record.ask_new_account(&chief, &wrong, &[], None, "").await;
        assert_eq!(error(taken), "Duplicate login-taken");
        // Nothing is there before: no account, no entry in the directory, no letter; and no address in the clear.
        let found = record.store_read(|tx| Ok(store::account::by_login(tx, "peter").unwrap())).await.unwrap();
        assert!(found.is_none());
        let key = practitioner.key().unwrap();
        assert_eq!(name(&record.read(&bench.system(), &key).await.unwrap_err()), "NotFound");
        assert_eq!(letters(&bench, "account.invitation").await.len(), 0);
        let row = record.account_change(&officer, change.id).await.unwrap();
        let text = format!("{} {:?}", row.summary, row.payload);
        assert!(!text.contains("clinic.example") && row.summary["login"] == "peter", "{text}");
        assert!(told(&bench, &officer).await.contains(&"account-change.asked".to_owned()));

        // Who asked cannot agree, others may not decide, and whoever refuses says why.
        let decide = |who: &Ctx, agree, note: &'static str| {
            let who = who.clone();
            async move { record.decide_account_change(&who, change.id, agree, note).await }
        };
        assert_eq!(error(decide(&chief, true, "").await), "Rule second-person-needed");
        assert_eq!(error(decide(&bench.doctor(), true, "").await), "Denied");
        assert_eq!(error(decide(&officer, false, " ").await), "Rule note-needed");
        let mut stale = officer.clone();
        stale.now = record.now().checked_add(SignedDuration::from_mins(11)).unwrap();
        assert_eq!(error(decide(&stale, true, "").await), "StepUpNeeded");
        let done = decide(&officer, true, "seen her licence").await.unwrap();
        assert_eq!((done.state, done.payload, done.collect), (State::Agreed, None, false));
        let made = record.account(&chief, done.target.unwrap()).await.unwrap();
        assert_eq!((made.roles.as_slice(), made.practitioner), (&[Role::Doctor][..], practitioner.key()));
        record.read(&bench.system(), &key).await.unwrap();
        assert_eq!(letters(&bench, "account.invitation").await.len(), 1);
        assert_eq!(error(decide(&officer, true, "").await), "Duplicate already-settled");
        assert!(told(&bench, &chief).await.contains(&"account-change.agreed".to_owned()));
        let audit = bench.audit_since(start).await;
        for action in ["account-change.ask", "account-change.agree", "account.create", "account.invite"] {
            assert!(audit.iter().any(|line| line.contains(action)), "{action} {audit:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_role_is_given_as_it_was_asked_for_or_not_at_all() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let boss = person(&bench, "chief", Role::Administrator).await;
        person(&bench, "deputy", Role::Administrator).await;
        let clerk = person(&bench, "clerk", Role::Cashier).await;
        let (chief, deputy) = (signed_in(&bench, "chief").await, signed_in(&bench, "deputy").await);
        let roles =
            |roles: &[Role]| AccountChange { roles: Some(roles.to_vec()), ..AccountChange::default() };
        // Reads no facts: at once. Reads facts, administers: not.
        record.update_account(&chief, clerk, roles(&[Role::Cashier, Role::FrontDesk])).await.unwrap();
        for role in [Role::Lab, Role::PrivacyOfficer, Role::Administrator, Role::It] {
            let given = record.update_account(&chief, clerk, roles(&[role])).await;
            assert_eq!(error(given), "Rule second-person-needed", "{role:?}");
        }
        // Of one's own never, whoever would agree.
        let own = record.ask_second_person(&chief, Some(boss), Act::Roles(vec![Role::Lab]), "").await;
        assert_eq!(error(own), "Rule second-person-needed");
        // Other roles meanwhile: what was looked at is not what is there.
        let change = asked(&bench, &chief, Some(clerk), Act::Roles(vec![Role::Lab])).await;
        record.update_account(&bench.system(), clerk, roles(&[Role::FrontDesk])).await.unwrap();
        let agreed = record.decide_account_change(&deputy, change.id, true, "").await;
        assert_eq!(error(agreed), "Rule changed-meanwhile");
        let back = record.decide_account_change(&chief, change.id, false, "").await.unwrap();
        assert_eq!((back.state, back.payload), (State::Refused, None), "taken back");
        // Who asked lost the right to.
        let change = asked(&bench, &chief, Some(clerk), Act::Roles(vec![Role::Lab])).await;
        let closed = AccountChange { disabled: Some(true), ..AccountChange::default() };
        record.update_account(&bench.system(), boss, closed).await.unwrap();
        let agreed = record.decide_account_change(&deputy, change.id, true, "").await;
        assert_eq!(error(agreed), "Rule asker-gone");
        let opened = AccountChange { disabled: Some(false), ..AccountChange::default() };
        record.update_account(&bench.system(), boss, opened).await.unwrap();
        let token = open(record, "clerk", &from(2)).await.token;
        record.decide_account_change(&deputy, change.id, true, "").await.unwrap();
        assert_eq!(record.account(&deputy, clerk).await.unwrap().roles, [Role::Lab]);
        assert_eq!(error(record.session(&token).await), "Unauthenticated", "other roles end sessions");
        // What nobody decides is over after a week, and what it held is gone.
        let chief = signed_in(&bench, "chief").await;
        let change = asked(&bench, &chief, Some(clerk), Act::Roles(vec![Role::It])).await;
        bench.turn(SignedDuration::from_hours(7 * 24));
        let (chief, deputy) = (signed_in(&bench, "chief").await, signed_in(&bench, "deputy").await);
        let late = record.decide_account_change(&deputy, change.id, true, "").await;
        assert_eq!(error(late), "Duplicate already-settled");
        assert_eq!(record.expire_account_changes().await.unwrap(), 1);
        assert_eq!(record.expire_account_changes().await.unwrap(), 0);
        let row = record.account_change(&chief, change.id).await.unwrap();
        assert_eq!((row.state, row.payload), (State::Expired, None));
        assert!(told(&bench, &chief).await.contains(&"account-change.expired".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn ways_into_an_account_that_reads_facts_take_two() {
    each_engine(|bench| async move {
        let record = &bench.record;
        person(&bench, "chief", Role::Administrator).await;
        person(&bench, "officer", Role::PrivacyOfficer).await;
        let grace = person(&bench, "grace", Role::Doctor).await;
        let clerk = person(&bench, "clerk", Role::Cashier).await;
        let (chief, officer) = (signed_in(&bench, "chief").await, signed_in(&bench, "officer").await);
        // Of who reads nothing: alone.
        record.reset_by_administrator(&chief, clerk).await.unwrap();
        record.reset_factors(&chief, clerk).await.unwrap();
        record.link_identity(&chief, clerk, "https://idp.example", "clerk").await.unwrap();
        // Of who does: not.
        assert_eq!(error(record.reset_by_administrator(&chief, grace).await), "Rule second-person-needed");
        assert_eq!(error(record.reset_factors(&chief, grace).await), "Rule second-person-needed");
        let linked = record.link_identity(&chief, grace, "https://idp.example", "grace").await;
        assert_eq!(error(linked), "Rule second-person-needed");
        // A link to the owner's own address shows nobody anything: alone.
        let sent = record.send_reset(&chief, grace, Delivery::Email).await.unwrap();
        assert_eq!((sent.token, sent.sent_to.as_deref()), (None, Some("g••••@clinic.example")));
        assert_eq!(letters(&bench, "account.reset-link").await.len(), 1);

        // The password is made when it is fetched: once, by who asked, within a day. The owner knows from the beginning.
        let change = asked(&bench, &chief, Some(grace), Act::Password).await;
        assert_eq!(letters(&bench, "account.access-asked").await.len(), 1);
        let collect = |who: &Ctx| {
            let who = who.clone();
            async move { record.collect_account_change(&who, change.id).await }
        };
        assert_eq!(error(collect(&chief).await), "Rule nothing-to-collect", "not agreed to yet");
        record.login("grace", PASSWORD, None).await.unwrap();
        let agreed = record.decide_account_change(&officer, change.id, true, "").await.unwrap();
        assert!(agreed.collect);
        record.login("grace", PASSWORD, None).await.unwrap();
        assert_eq!(error(collect(&officer).await), "Denied");
        let Collected::Password { account, password } = collect(&chief).await.unwrap() else {
            panic!("a link, not a password")
        };
        assert_eq!(account, grace);
        assert_eq!(error(collect(&chief).await), "Rule nothing-to-collect", "once");
        let session = record.login("grace", &password, None).await.unwrap();
        assert_eq!(session.due, Some(access::Due::Password));
        let change = asked(&bench, &chief, Some(grace), Act::Password).await;
        record.decide_account_change(&officer, change.id, true, "").await.unwrap();
        bench.turn(SignedDuration::from_hours(24));
        let (chief, officer) = (signed_in(&bench, "chief").await, signed_in(&bench, "officer").await);
        let late = record.collect_account_change(&chief, change.id).await;
        assert_eq!(error(late), "Rule nothing-to-collect", "late");

        // The other two are done when they are agreed to.
        let identity = Act::Identity { issuer: "https://idp.example".into(), subject: "grace".into() };
        let change = asked(&bench, &chief, Some(grace), identity).await;
        record.decide_account_change(&officer, change.id, true, "").await.unwrap();
        assert_eq!(record.identities(&chief, grace).await.unwrap()[0].subject, "grace");
        let change = asked(&bench, &chief, Some(grace), Act::Factors).await;
        let refused = record.decide_account_change(&officer, change.id, false, "not her").await.unwrap();
        assert_eq!((refused.state, refused.note.as_str()), (State::Refused, "not her"));
    })
    .await;
}

#[tokio::test]
async fn who_is_alone_is_not_locked_out_and_makes_nobody_leave() {
    each_engine(|bench| async move {
        let record = &bench.record;
        person(&bench, "chief", Role::Administrator).await;
        let chief = signed_in(&bench, "chief").await;
        // Nobody else: at once, and written down for whoever comes.
        assert!(record.ask_new_account(&chief, &doctor("grace"), &[], None, "").await.unwrap().is_none());
        let (grace, _) = record.create_account(&chief, doctor("grace")).await.unwrap();
        let rows = record.account_changes(&chief, false).await.unwrap();
        assert_eq!((rows.len(), rows[0].state, rows[0].target), (1, State::Alone, Some(grace)));
        let officer_id = person(&bench, "officer", Role::PrivacyOfficer).await;
        let officer = signed_in(&bench, "officer").await;
        assert!(told(&bench, &officer).await.contains(&"account-change.alone".to_owned()));

        // The only other one who could agree is the owner: she has a day to object.
        let change = asked(&bench, &chief, Some(officer_id), Act::Password).await;
        assert!(change.alone.is_some());
        let own = record.decide_account_change(&officer, change.id, true, "").await;
        assert_eq!(error(own), "Rule second-person-needed");
        let early = record.decide_account_change(&chief, change.id, true, "").await;
        assert_eq!(error(early), "Rule second-person-needed");
        record.decide_account_change(&officer, change.id, false, "I know my password").await.unwrap();
        let change = asked(&bench, &chief, Some(officer_id), Act::Password).await;
        bench.turn(SignedDuration::from_hours(24));
        let chief = signed_in(&bench, "chief").await;
        let done = record.decide_account_change(&chief, change.id, true, "").await.unwrap();
        assert_eq!((done.state, done.collect), (State::Alone, true));

        // Who closes the other's account is not alone for three days.
        let closed = AccountChange { disabled: Some(true), ..AccountChange::default() };
        record.update_account(&chief, officer_id, closed).await.unwrap();
        assert_eq!(error(record.reset_by_administrator(&chief, grace).await), "Rule second-person-needed");
        let change = asked(&bench, &chief, Some(grace), Act::Password).await;
        let early = record.decide_account_change(&chief, change.id, true, "").await;
        assert_eq!(error(early), "Rule second-person-needed");
        bench.turn(SignedDuration::from_hours(72));
        let chief = signed_in(&bench, "chief").await;
        record.decide_account_change(&chief, change.id, true, "").await.unwrap();
        // From then on somebody else is there again.
        record
            .create_account(
                &bench.system(),
                AccountSpec { practitioner: None, ..staff("second", &[Role::Administrator]) },
            )
            .await
            .unwrap();
        assert_eq!(error(record.reset_by_administrator(&chief, grace).await), "Rule second-person-needed");
    })
    .await;
}

#[tokio::test]
async fn the_second_person_is_done_away_with_by_two() {
    each_engine(|bench| async move {
        let record = &bench.record;
        person(&bench, "chief", Role::Administrator).await;
        person(&bench, "officer", Role::PrivacyOfficer).await;
        let (chief, officer) = (signed_in(&bench, "chief").await, signed_in(&bench, "officer").await);
        let rules = record.security_policy().await.unwrap();
        let never = SecurityPolicy { second_person: SecondPerson::Never, ..rules.clone() };
        let put = record.set_security_policy(&chief, never.clone()).await;
        assert_eq!(error(put), "Rule second-person-needed");
        let change = asked(&bench, &chief, None, Act::Policy(Box::new(never.clone()))).await;
        record.decide_account_change(&officer, change.id, true, "two of us only").await.unwrap();
        assert_eq!(record.security_policy().await.unwrap(), never);
        record.create_account(&chief, doctor("grace")).await.unwrap();
        // Back is one person's word; and whoever is told not to have it asks nobody.
        record.set_security_policy(&chief, rules).await.unwrap();
        assert_eq!(error(record.create_account(&chief, doctor("paul")).await), "Rule second-person-needed");
    })
    .await;
}
