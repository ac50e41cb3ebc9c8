//! What people may ask about their data, on both engines.

use crate::audit_tree::{signer, verify};
use crate::bench::{each_engine_from, name};
use crate::{Bench, create, each_engine, key, observation, set, update};
use access::{Class, Ctx, Principal, Role};
use jiff::SignedDuration;
use record::Error;
use record::rights::proxy::{Basis, NewProxy};
use record::subject::{Destination, NewCorrection, NewHold, NewRecipient, Obstacle, Residency, RuleChange};
use serde_json::json;
use store::subject::recipient;
use store::subject::request::{Kind, State};

/// The privacy officers, two of them, and an administrator.
fn officer(bench: &Bench) -> Ctx {
    let mut ctx = bench.staff(Role::PrivacyOfficer);
    person(&mut ctx, 41);
    ctx
}

fn second_officer(bench: &Bench) -> Ctx {
    let mut ctx = bench.staff(Role::PrivacyOfficer);
    person(&mut ctx, 42);
    ctx
}

fn administrator(bench: &Bench) -> Ctx {
    let mut ctx = bench.staff(Role::Administrator);
    person(&mut ctx, 43);
    ctx
}

fn person(ctx: &mut Ctx, account: i64) {
    let Principal::User(user) = &mut ctx.principal else { panic!() };
    user.account = account;
    user.practitioner = None;
}

fn wrong(entry: &str) -> NewCorrection {
    NewCorrection { patient: "p1".into(), entry: key(entry), text: "My pulse was 70, not 170.".into() }
}

#[tokio::test]
async fn a_correction_goes_its_way() {
    each_engine(|bench| async move {
        bench
            .seed(set(vec![create(observation("o1", "p1", "170")), create(observation("o2", "p2", "80"))]))
            .await;
        let (record, patient, officer) = (&bench.record, bench.patient(), officer(&bench));
        // Not about others' entries, not by others.
        let other = NewCorrection { entry: key("Observation/o2"), ..wrong("Observation/o1") };
        assert_eq!(name(&record.ask_correction(&patient, other).await.unwrap_err()), "NotFound");
        let others = NewCorrection { patient: "p2".into(), ..wrong("Observation/o2") };
        assert_eq!(name(&record.ask_correction(&patient, others).await.unwrap_err()), "NotFound");
        for stranger in [bench.doctor(), bench.staff(Role::FrontDesk), administrator(&bench)] {
            let error = record.ask_correction(&stranger, wrong("Observation/o1")).await.unwrap_err();
            assert_eq!(name(&error), "Denied");
        }
        let short = NewCorrection { text: " no ".into(), ..wrong("Observation/o1") };
        assert_eq!(name(&record.ask_correction(&patient, short).await.unwrap_err()), "Rule words-needed");

        let from = bench.mark();
        let asked = record.ask_correction(&patient, wrong("Observation/o1")).await.unwrap();
        assert_eq!((asked.kind, asked.state), (Kind::Correction, State::Open));
        assert_eq!(asked.due.duration_since(asked.asked), SignedDuration::from_hours(30 * 24));
        let again = record.ask_correction(&patient, wrong("Observation/o1")).await.unwrap_err();
        assert_eq!(name(&again), "Duplicate request-open");
        assert!(
            bench
                .audit_since(from)
                .await
                .iter()
                .any(|line| line.starts_with("account/3 correction.ask success")),
            "{:?}",
            bench.audit_since(from).await
        );

        // The desk has it with the words; who treats the patient too, others not.
        let queue = record.requests(&officer, true).await.unwrap();
        assert_eq!(queue.len(), 1);
        assert_eq!(queue[0].text.as_deref(), Some("My pulse was 70, not 170."));
        assert_eq!(queue[0].entry_title, None, "officers read no charts");
        let seen = record.corrections_for(&bench.doctor(), "p1").await.unwrap();
        assert_eq!(seen[0].entry_title.as_deref(), Some("8867-4"));
        assert!(record.corrections_for(&bench.other_doctor(), "p1").await.is_err());
        assert_eq!(name(&record.requests(&administrator(&bench), true).await.unwrap_err()), "Denied");

        // Amended means amended.
        bench.turn(SignedDuration::from_mins(1));
        let error = record.answer_amended(&bench.doctor(), asked.id, "").await.unwrap_err();
        assert_eq!(name(&error), "Rule entry-unchanged");
        assert_eq!(
            name(&record.answer_amended(&bench.other_doctor(), asked.id, "").await.unwrap_err()),
            "Denied"
        );
        bench.seed(set(vec![update(observation("o1", "p1", "70"), None)])).await;
        record.answer_amended(&bench.doctor(), asked.id, "You are right.").await.unwrap();
        let error =
            record.refuse_request(&officer, asked.id, "entry-correct", "It is right.").await.unwrap_err();
        assert_eq!(name(&error), "Duplicate already-settled");
        let mine = record.requests_of(&patient, "p1").await.unwrap();
        assert_eq!(mine[0].answer_text.as_deref(), Some("You are right."));
        assert!(record.requests(&officer, true).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_refused_correction_takes_a_statement_that_stands_beside_the_entry() {
    each_engine(|bench| async move {
        let mut sealed = observation("o1", "p1", "170");
        sealed["meta"] = json!({"security": [{"system": access::seal::ACT_CODE, "code": "MH"}]});
        bench.seed(set(vec![create(sealed)])).await;
        let (record, patient, officer) = (&bench.record, bench.patient(), officer(&bench));
        let asked = record.ask_correction(&patient, wrong("Observation/o1")).await.unwrap();
        let early = record.disagree(&patient, asked.id, "I do not agree.").await.unwrap_err();
        assert_eq!(name(&early), "Duplicate already-settled");
        let error =
            record.refuse_request(&officer, asked.id, "retention", "It stays as it is.").await.unwrap_err();
        assert_eq!(name(&error), "Rule ground-unknown");
        record.refuse_request(&officer, asked.id, "entry-correct", "The device was checked.").await.unwrap();
        record.disagree(&patient, asked.id, "I was calm that day.").await.unwrap();
        let twice = record.disagree(&patient, asked.id, "Once more, I disagree.").await.unwrap_err();
        assert_eq!(name(&twice), "Duplicate already-settled");
        let own = record.statements(&patient, "p1").await.unwrap();
        assert_eq!(
            (own[0].entry.to_string().as_str(), own[0].text.as_str()),
            ("Observation/o1", "I was calm that day.")
        );
        // As closed as what it is about.
        assert!(record.statements(&bench.doctor(), "p1").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn deadlines_are_told_once_and_requests_can_be_taken_back() {
    each_engine(|bench| async move {
        let (record, patient) = (&bench.record, bench.patient());
        let asked = record.ask_erasure(&patient, "p1", "").await.unwrap();
        assert_eq!(record.remind_of_requests().await.unwrap(), 0);
        bench.turn(SignedDuration::from_hours(27 * 24 + 1));
        assert_eq!(record.remind_of_requests().await.unwrap(), 1);
        assert_eq!(record.remind_of_requests().await.unwrap(), 0);
        let officer = officer(&bench);
        assert_eq!(name(&record.withdraw_request(&officer, asked.id).await.unwrap_err()), "Denied");
        record.withdraw_request(&patient, asked.id).await.unwrap();
        assert_eq!(
            name(&record.withdraw_request(&patient, asked.id).await.unwrap_err()),
            "Duplicate already-settled"
        );
        assert!(record.requests(&officer, true).await.unwrap().is_empty());
        assert_eq!(record.requests(&officer, false).await.unwrap()[0].request.state, State::Withdrawn);
    })
    .await;
}

#[tokio::test]
async fn a_parent_asks_for_her_child() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let account = store::account::NewAccount {
            login: None,
            phone: Some("+254711000009".into()),
            email: None,
            display: "Mother".into(),
            password_hash: None,
            roles: vec![Role::Patient],
            patient: Some(key("Patient/p2")),
            practitioner: None,
            language: "en".into(),
            created: record.now(),
        };
        let made = set(Vec::new());
        let made = record::ChangeSet { effects: vec![record::Effect::AccountCreate(account)], ..made };
        bench.seed(made).await;
        let mother = record.accounts_of(&bench.system(), &key("Patient/p2")).await.unwrap()[0].account;
        let mut child = crate::patient("p1", "Achieng");
        child["birthDate"] = json!("2016-02-03");
        bench.seed(set(vec![update(child, None), create(observation("o1", "p1", "170"))])).await;
        let new = NewProxy {
            patient: "p1".into(),
            account: mother,
            basis: Basis::Parent,
            relationship: "MTH".into(),
            classes: Vec::new(),
            sealed: false,
            until: None,
        };
        let given = record.grant_proxy(&officer(&bench), new).await.unwrap();
        // The date of birth was another one before.
        assert!(given.waits);
        record.confirm_proxy(&crate::grants::somebody_else(&officer(&bench)), given.id).await.unwrap();
        let user = record.user_of(&bench.system(), mother).await.unwrap();
        let ctx = Ctx { principal: Principal::User(user), ..bench.patient() };
        let asked = record.ask_correction(&ctx, wrong("Observation/o1")).await.unwrap();
        assert_eq!(asked.patient, "p1");
        assert_eq!(record.requests_of(&ctx, "p1").await.unwrap().len(), 1);
        // What is sealed from her is no number in her report, and is one in the patient's own.
        let sealed = json!({"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "B20"}]}});
        bench.seed(set(vec![create(sealed)])).await;
        let kinds = async |ctx: &Ctx| -> Vec<String> {
            let report = record.access_report(ctx, "p1").await.unwrap();
            report.held.iter().map(|one| format!("{} {}", one.kind.name(), one.count)).collect()
        };
        let hers = kinds(&ctx).await;
        assert!(hers.contains(&"Observation 1".into()) && hers.contains(&"Patient 1".into()), "{hers:?}");
        assert!(!hers.iter().any(|one| one.starts_with("Condition")), "{hers:?}");
        assert!(kinds(&bench.patient()).await.contains(&"Condition 1".into()));
    })
    .await;
}

#[tokio::test]
async fn the_report_says_what_is_held_and_lists_the_audit_log() {
    each_engine(|bench| async move {
        bench
            .seed(set(vec![create(observation("o1", "p1", "70")), create(observation("o2", "p1", "71"))]))
            .await;
        let record = &bench.record;
        record.read(&bench.doctor(), &key("Observation/o1")).await.unwrap();
        record.read(&bench.client(&["system/Observation.r"]), &key("Observation/o2")).await.unwrap();
        bench.turn(SignedDuration::from_secs(2));
        let report = record.access_report(&bench.patient(), "p1").await.unwrap();
        let count = |name: &str| report.held.iter().find(|h| h.kind.name() == name).map(|h| h.count);
        assert_eq!(
            (count("Observation"), count("Patient"), count("Appointment")),
            (Some(2), Some(1), Some(1))
        );
        let clinical = report.held.iter().find(|h| h.class == Class::Result).unwrap();
        assert_eq!(clinical.retention, "clinical");
        assert_eq!(report.given.len(), 1);
        assert_eq!((report.given[0].agent.as_str(), report.given[0].times), ("client/c1", 1));
        // C8: the list is the audit log's, row by row.
        let filter = record::audit::AuditFilter {
            patient: Some("p1".into()),
            to: Some(report.made),
            ..Default::default()
        };
        let log = record.audit_list(&officer(&bench), filter, None, 500).await.unwrap();
        let pairs = |rows: &[record::audit::AuditRow]| {
            rows.iter()
                .map(|r| (r.seq, r.agent.clone(), r.action.clone(), r.outcome.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(pairs(&report.seen), pairs(&log.rows));
        assert!(report.seen.len() >= 4);
        assert!(report.seen.iter().all(|row| row.address.is_none() && row.session.is_none()));
        assert_eq!(name(&record.access_report(&bench.doctor(), "p1").await.unwrap_err()), "Denied");
        assert_eq!(name(&record.access_report(&bench.patient(), "p2").await.unwrap_err()), "NotFound");
        assert!(record.access_report(&officer(&bench), "p1").await.is_ok());
    })
    .await;
}

fn years(class: &str, years: u32, duty: bool) -> RuleChange {
    RuleChange {
        class: class.into(),
        years,
        minor_age: None,
        duty,
        law: "Test Act, s. 1".into(),
        checked: true,
    }
}

#[tokio::test]
async fn retention_and_holds_stand_against_erasure() {
    each_engine(|bench| async move {
        bench.seed(set(vec![create(observation("o1", "p1", "70"))])).await;
        let (record, officer) = (&bench.record, officer(&bench));
        let asked = record.ask_erasure(&bench.patient(), "p1", "Please forget me.").await.unwrap();
        let view = &record.requests(&officer, true).await.unwrap()[0];
        assert!(
            matches!(&view.obstacles[..], [Obstacle::Retention { class: "clinical", .. }]),
            "{:?}",
            view.obstacles
        );
        // The request's own words keep nothing: with the observation's time over nothing stands against it.
        for (who, change) in [
            (bench.staff(Role::FrontDesk), years("clinical", 0, true)),
            (administrator(&bench), years("clinical", 0, true)),
        ] {
            assert_eq!(name(&record.set_retention_rule(&who, change).await.unwrap_err()), "Denied");
        }
        for (change, code) in [
            (years("audit", 0, true), "Rule class-unknown"),
            (years("clinical", 101, true), "Rule years-wrong"),
            (RuleChange { law: " ".into(), ..years("clinical", 1, true) }, "Rule law-needed"),
        ] {
            assert_eq!(name(&record.set_retention_rule(&officer, change).await.unwrap_err()), code);
        }
        record.set_retention_rule(&officer, years("clinical", 0, true)).await.unwrap();
        bench.turn(SignedDuration::from_secs(1));
        assert!(record.requests(&officer, true).await.unwrap()[0].obstacles.is_empty());
        let hold = NewHold { patient: "p1".into(), reason: "Case 12 of 2026".into() };
        let placed = record.place_hold(&officer, hold.clone()).await.unwrap();
        assert_eq!(name(&record.place_hold(&officer, hold).await.unwrap_err()), "Duplicate hold-running");
        assert_eq!(record.requests(&officer, true).await.unwrap()[0].obstacles, [Obstacle::LegalHold]);
        assert_eq!(
            name(&record.lift_hold(&officer, placed.id, "x").await.unwrap_err()),
            "Rule reason-needed"
        );
        record.refuse_request(&officer, asked.id, "legal-hold", "A case is running.").await.unwrap();
        record.lift_hold(&officer, placed.id, "The case is over.").await.unwrap();
        assert_eq!(
            name(&record.lift_hold(&officer, placed.id, "The case is over.").await.unwrap_err()),
            "Duplicate already-settled"
        );
        assert_eq!(
            record.holds(&officer).await.unwrap()[0].lift_reason.as_deref(),
            Some("The case is over.")
        );
        let rules = record.retention_rules(&officer).await.unwrap();
        assert!(rules.iter().any(|rule| rule.class == "audit" && rule.fixed && rule.years == 6));
    })
    .await;
}

#[tokio::test]
async fn what_is_over_is_listed_and_what_was_a_childs_stays_longer() {
    each_engine_from("2026-01-01T00:00:00Z", |bench| async move {
        let mut child = crate::patient("p2", "Barasa");
        child["birthDate"] = json!("2020-01-01");
        bench.seed(set(vec![update(child, None), create(observation("o2", "p2", "70"))])).await;
        let (record, officer) = (&bench.record, officer(&bench));
        let mut rule = years("clinical", 10, true);
        rule.minor_age = Some(25);
        record.set_retention_rule(&officer, rule).await.unwrap();
        let listed = async |bench: &Bench| {
            while bench.record.find_retention_due().await.unwrap() > 0 {}
            let found = bench.record.retention_due(&officer_now(bench)).await.unwrap();
            found.into_iter().map(|due| due.patient).collect::<Vec<_>>()
        };
        assert!(listed(&bench).await.is_empty());
        // p1 has an appointment only: two years.
        bench.turn(SignedDuration::from_hours(24 * 366 * 2));
        assert_eq!(listed(&bench).await, ["p1"]);
        // p2's observation: ten years, but not before her 25th birthday.
        bench.turn(SignedDuration::from_hours(24 * 366 * 9));
        assert_eq!(listed(&bench).await, ["p1"]);
        bench.turn(SignedDuration::from_hours(24 * 366 * 9));
        assert_eq!(listed(&bench).await, ["p1", "p2"]);
        // Kept for a reason, or held: not listed.
        let officer = officer_now(&bench);
        let until = record.now().checked_add(SignedDuration::from_hours(24 * 30)).unwrap();
        record.keep_retention(&officer, "p1", until, "She came back yesterday.").await.unwrap();
        record
            .place_hold(&officer, NewHold { patient: "p2".into(), reason: "Case 12".into() })
            .await
            .unwrap();
        assert_eq!(listed(&bench).await, ["p2"]);
        assert_eq!(name(&record.approve_retention(&officer, "p2").await.unwrap_err()), "Rule legal-hold");
        bench.turn(SignedDuration::from_hours(24 * 31));
        assert_eq!(listed(&bench).await, ["p1"]);
    })
    .await;
}

#[tokio::test]
async fn two_people_erase_and_what_was_there_is_gone() {
    each_engine(|bench| async move {
        let (record, officer, other) = (&bench.record, officer(&bench), second_officer(&bench));
        let mut note = crate::patient("p1", "Canarysson");
        note["telecom"] = json!([{"system": "phone", "value": "+254711777333"}]);
        bench
            .seed(set(vec![
                update(note, None),
                create(observation("o1", "p1", "171")),
                create(observation("o2", "p2", "70")),
            ]))
            .await;
        let account = store::account::NewAccount {
            login: Some("canary".into()),
            phone: Some("+254711777333".into()),
            email: None,
            display: "Canary Canarysson".into(),
            password_hash: None,
            roles: vec![Role::Patient],
            patient: Some(key("Patient/p1")),
            practitioner: None,
            language: "en".into(),
            created: record.now(),
        };
        let made = record::ChangeSet {
            effects: vec![
                record::Effect::AccountCreate(account),
                record::Effect::Message(store::message::NewMessage {
                    patient: Some(key("Patient/p1")),
                    ..store::message::NewMessage::sms(
                        "+254711777333",
                        "en",
                        "appointment.booked",
                        "Dear Canarysson",
                        record.now(),
                        uuid::Uuid::now_v7(),
                    )
                }),
            ],
            ..Default::default()
        };
        bench.seed(made).await;
        let size_before =
            record.audit_list(&officer, Default::default(), None, 500).await.unwrap().rows.len();
        let asked = record.ask_erasure(&bench.patient(), "p1", "Forget Canarysson.").await.unwrap();
        assert_eq!(name(&record.carry_out_erasure(&other, asked.id).await.unwrap_err()), "Rule not-approved");
        // The law asks to keep it.
        assert_eq!(
            name(&record.approve_erasure(&officer, asked.id).await.unwrap_err()),
            "Rule retention-not-over"
        );
        record.set_retention_rule(&officer, years("clinical", 0, true)).await.unwrap();
        bench.turn(SignedDuration::from_secs(1));
        for stranger in [bench.doctor(), bench.patient(), administrator(&bench)] {
            assert_eq!(name(&record.approve_erasure(&stranger, asked.id).await.unwrap_err()), "Denied");
        }
        record.approve_erasure(&officer, asked.id).await.unwrap();
        assert_eq!(
            name(&record.carry_out_erasure(&officer, asked.id).await.unwrap_err()),
            "Rule second-person-needed"
        );
        let waiting = record.erasures_waiting(&administrator(&bench)).await.unwrap();
        assert_eq!(waiting.iter().map(|one| one.patient.as_str()).collect::<Vec<_>>(), ["p1"]);
        // A hold that comes between is found by the last step.
        let hold = record
            .place_hold(&officer, NewHold { patient: "p1".into(), reason: "Case 12".into() })
            .await
            .unwrap();
        assert_eq!(name(&record.carry_out_erasure(&other, asked.id).await.unwrap_err()), "Rule legal-hold");
        record.lift_hold(&officer, hold.id, "It is over.").await.unwrap();
        assert_eq!(name(&record.carry_out_erasure(&bench.doctor(), asked.id).await.unwrap_err()), "Denied");
        let before = record.audit_seal(&signer(1), true).await.unwrap().unwrap();
        let done = record.carry_out_erasure(&other, asked.id).await.unwrap();
        assert_eq!((done.approved_by, done.carried_out_by), (41, 42));
        assert!(done.done.is_some() && done.resources >= 3, "{done:?}");
        assert!(record.carry_out_erasure(&other, asked.id).await.is_err());

        // Nothing of it can be read, and what others have stays.
        for gone in ["Patient/p1", "Observation/o1"] {
            assert_eq!(name(&record.read(&bench.system(), &key(gone)).await.unwrap_err()), "Gone");
        }
        record.read(&bench.system(), &key("Observation/o2")).await.unwrap();
        let requests = record.requests(&officer, false).await.unwrap();
        assert_eq!((requests[0].request.state, &requests[0].text), (State::Answered, &None));
        let left = record.store().read(|tx| {
            let messages = store::message::list(tx, &Default::default(), None, 100)?;
            let accounts = store::account::list(tx, None, None, 100)?;
            Ok::<_, store::Error>((messages.rows, accounts.rows))
        });
        let (messages, accounts) = left.await.unwrap();
        assert!(
            messages.iter().all(|m| !m.body.contains("Canary") && m.to != "+254711777333"),
            "{messages:?}"
        );
        assert!(
            accounts.iter().all(|a| a.disabled && a.phone.is_none() && !a.display.contains("Canary")),
            "{accounts:?}"
        );
        let tombs = record.erasures(&officer).await.unwrap();
        assert_eq!((tombs.len(), tombs[0].patient.as_str(), tombs[0].request), (1, "p1", Some(asked.id)));
        // Who saw it stays, and the tree over it holds.
        let rows = record.audit_list(&officer, Default::default(), None, 500).await.unwrap().rows;
        assert!(rows.len() > size_before);
        assert!(
            rows.iter().any(|row| row.action == "patient.shred" && row.patients.contains(&"p1".to_owned()))
        );
        let after = record.audit_seal(&signer(1), true).await.unwrap().unwrap();
        let report = verify(record, &[before.clone(), after.clone()]).await;
        assert_eq!((report.finding, report.anchors, report.entries), (None, 2, after.size));
        assert!(record.audit_consistency(&officer, (before.size, after.size)).await.unwrap().holds);
        let told = rows.iter().map(|row| format!("{row:?}")).filter(|row| row.contains("Canary"));
        assert_eq!(told.collect::<Vec<_>>(), Vec::<String>::new(), "the trail refers, it does not tell");
        assert_eq!(record.resume_erasures().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_over_goes_by_two_people_too() {
    each_engine_from("2026-01-01T00:00:00Z", |bench| async move {
        let record = &bench.record;
        bench.turn(SignedDuration::from_hours(24 * 366 * 2));
        while record.find_retention_due().await.unwrap() > 0 {}
        let (officer, other) = (officer(&bench), second_officer(&bench));
        assert_eq!(name(&record.erase_due(&other, "p2").await.unwrap_err()), "Rule not-approved");
        record.approve_retention(&officer, "p2").await.unwrap();
        assert_eq!(name(&record.erase_due(&officer, "p2").await.unwrap_err()), "Rule second-person-needed");
        let done = record.erase_due(&administrator(&bench), "p2").await.unwrap();
        assert_eq!((done.request, done.law.as_str()), (None, "National law to be named"));
        assert_eq!(name(&record.read(&bench.system(), &key("Patient/p2")).await.unwrap_err()), "Gone");
        // Used again in between: not any more.
        record.approve_retention(&officer, "p1").await.unwrap();
        bench.seed(set(vec![create(observation("o1", "p1", "70"))])).await;
        let late = record.erase_due(&other, "p1").await.unwrap_err();
        assert_eq!(name(&late), "Rule retention-not-over");
        record.read(&bench.system(), &key("Patient/p1")).await.unwrap();
    })
    .await;
}

fn officer_now(bench: &Bench) -> Ctx {
    officer(bench)
}

fn entry(kind: recipient::Kind, name: &str, country: &str, basis: &str) -> NewRecipient {
    NewRecipient {
        kind,
        name: name.into(),
        title: "Ministry of Health".into(),
        country: country.into(),
        basis: basis.into(),
        note: String::new(),
    }
}

#[tokio::test]
async fn data_goes_only_to_registered_recipients() {
    each_engine(|bench| async move {
        let (record, officer) = (&bench.record, officer(&bench));
        record.set_region("KE");
        let to = Destination::Endpoint("https://board.example.org/x");
        let from = bench.mark();
        let refused =
            record.check_destination(&bench.client(&[]), "subscription.create", to).await.unwrap_err();
        assert_eq!(name(&refused), "Rule recipient-unregistered");
        assert_eq!(
            bench.audit_since(from).await,
            ["client/c1 subscription.create denied endpoint/board.example.org"]
        );
        for here in ["http://127.0.0.1:9/x", "https://localhost/x", "http://[::1]/"] {
            record.check_destination(&bench.system(), "x", Destination::Endpoint(here)).await.unwrap();
        }
        let kind = recipient::Kind::Endpoint;
        for (new, code) in [
            (entry(kind, "board.example.org", "Kenya", ""), "Rule country-wrong"),
            (entry(kind, "board.example.org", "DE", ""), "Rule basis-needed"),
            (entry(kind, "board.example.org", "DE", "because"), "Rule basis-unknown"),
            (entry(kind, " ", "KE", ""), "Rule name-required"),
        ] {
            assert_eq!(name(&record.register_recipient(&officer, new).await.unwrap_err()), code);
        }
        let denied =
            record.register_recipient(&administrator(&bench), entry(kind, "a.example", "KE", "")).await;
        assert_eq!(name(&denied.unwrap_err()), "Denied");
        let made =
            record.register_recipient(&officer, entry(kind, "Board.example.org", "de", "safeguards")).await;
        let made = made.unwrap();
        assert_eq!((made.name.as_str(), made.country.as_str()), ("board.example.org", "DE"));
        record.check_destination(&bench.system(), "x", to).await.unwrap();
        record.end_recipient(&officer, made.id).await.unwrap();
        assert!(record.check_destination(&bench.system(), "x", to).await.is_err());
        // Clients without an entry are shown to be entered.
        let scopes = ["system/Patient.r".to_owned()];
        let spec =
            record::oauth::ClientSpec { name: "Lab".into(), scopes: scopes.to_vec(), ..Default::default() };
        let (row, _) = record.register_client(&bench.system(), spec).await.unwrap();
        let (_, missing) = record.recipients(&officer).await.unwrap();
        assert_eq!(missing.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), [row.client_id.as_str()]);
        record
            .register_recipient(&officer, entry(recipient::Kind::Client, &row.client_id, "KE", ""))
            .await
            .unwrap();
        assert!(record.recipients(&officer).await.unwrap().1.is_empty());
    })
    .await;
}

fn residency(
    region: Option<&str>,
    database: Option<&str>,
    backup: Option<(&str, Option<&str>)>,
) -> Residency {
    Residency {
        region: region.map(str::to_owned),
        database: database.map(str::to_owned),
        backup: backup.map(|(name, place)| (name.to_owned(), place.map(str::to_owned))),
    }
}

#[tokio::test]
async fn a_pinned_record_leaves_its_country_only_when_two_agree() {
    each_engine(|bench| async move {
        let here = residency(Some("KE"), Some("KE"), None);
        // Pinned, and no live copy there: no start.
        for database in [None, Some("ZA")] {
            assert!(bench.second_server().hold_region(residency(Some("KE"), database, None)).await.is_err());
        }
        assert!(bench.second_server().hold_region(here.clone()).await.unwrap().alarms.is_empty());
        let abroad = residency(Some("KE"), Some("KE"), Some(("s3.example", Some("IE"))));
        assert_eq!(bench.second_server().hold_region(abroad).await.unwrap().alarms, ["backup-abroad"]);
        let somewhere = residency(Some("KE"), Some("KE"), Some(("s3.example", None)));
        assert_eq!(
            bench.second_server().hold_region(somewhere.clone()).await.unwrap().alarms,
            ["backup-somewhere"]
        );
        let entry = entry(recipient::Kind::Backup, "s3.example", "IE", "safeguards");
        bench.record.register_recipient(&officer(&bench), entry).await.unwrap();
        assert!(bench.second_server().hold_region(somewhere).await.unwrap().alarms.is_empty());

        // The same database in another country: as restored there.
        let there = residency(Some("ZA"), Some("ZA"), None);
        for lost in [there.clone(), residency(None, None, None)] {
            let refused = bench.second_server().hold_region(lost).await.unwrap_err();
            assert!(refused.contains("pinned to KE") && refused.contains("0 of 2"), "{refused}");
        }
        let (one, other) = (officer(&bench), second_officer(&bench));
        let record = bench.second_server();
        let denied = record.agree_region(&bench.doctor(), "ZA", "A better data centre").await.unwrap_err();
        assert_eq!(name(&denied), "Denied");
        record.agree_region(&one, "ZA", "A better data centre").await.unwrap();
        record.agree_region(&one, "ZA", "Once more the same").await.unwrap();
        assert!(bench.second_server().hold_region(there.clone()).await.unwrap_err().contains("1 of 2"));
        record.agree_region(&other, "ZA", "I agree with that").await.unwrap();
        bench.second_server().hold_region(there.clone()).await.unwrap();
        bench.second_server().hold_region(there).await.unwrap();
        let nobody = record.agree_region_as("officer", "a guess", "KE", "Back home").await.unwrap_err();
        assert_eq!(name(&nobody), "Denied");
        // It is used up, and the way back needs two again.
        assert!(bench.second_server().hold_region(here).await.is_err());
    })
    .await;
}

/// Errors of the whole in one place, so that none is forgotten by the screens.
#[tokio::test]
async fn nobody_comes_in_by_an_application() {
    each_engine(|bench| async move {
        let mut app = bench.patient();
        app.scopes = Some(access::ScopeSet::parse_known(["patient/*.rs"]));
        let record = &bench.record;
        assert!(matches!(record.access_report(&app, "p1").await, Err(Error::NotFound | Error::Denied)));
        assert!(record.ask_erasure(&app, "p1", "").await.is_err());
        let mut stale = bench.patient();
        bench.turn(SignedDuration::from_hours(1));
        stale.now = record.now();
        assert_eq!(name(&record.ask_erasure(&stale, "p1", "").await.unwrap_err()), "StepUpNeeded");
    })
    .await;
}
