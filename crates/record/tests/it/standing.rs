//! Broken glasses, proxies, the table of rights, why somebody may, and who is told.

use crate::bench::name;
use crate::rights::*;
use crate::{Bench, create, each_engine, key, kind, set};
use access::matrix::{Cell, Reach, Verb};
use access::{Action, Class, Ctx, Principal, Role, User};
use jiff::SignedDuration;
use record::authn::AccountChange;
use record::rights::emergency::NewEmergency;
use record::rights::proxy::{Basis, NewProxy};
use record::rights::{Actor, Question};
use serde_json::json;

pub(crate) fn emergency(patient: &str) -> NewEmergency {
    NewEmergency {
        patient: patient.into(),
        reason: "unconscious".into(),
        explanation: "Found without consciousness at the gate.".into(),
        minutes: Some(60),
    }
}

#[tokio::test]
async fn breaking_the_glass() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        bench
            .record
            .give_consent(&bench.patient(), decision(true, vec![Actor::Practitioner("d2".into())]))
            .await
            .unwrap();
        let (mut doctor, cold) = (bench.other_doctor(), key("Condition/cold"));
        assert!(bench.record.read(&doctor, &cold).await.is_err());
        let since = bench.mark();
        doctor.now = bench.record.now();
        if let Some(session) = &mut doctor.session {
            session.authenticated_at = doctor.now;
        }
        // Refusals first.
        for (change, expected) in [
            (
                (|n: &mut NewEmergency| n.reason = "curiosity".into()) as fn(&mut NewEmergency),
                "Rule reason-unknown",
            ),
            (|n| n.explanation = "short".into(), "Rule explanation-needed"),
            (|n| n.minutes = Some(241), "Rule too-long"),
            (|n| n.patient = "nobody".into(), "NotFound"),
        ] {
            let mut new = emergency("p1");
            change(&mut new);
            assert_eq!(name(&bench.record.begin_emergency(&doctor, new).await.unwrap_err()), expected);
        }
        let mut stale = doctor.clone();
        if let Some(session) = &mut stale.session {
            session.authenticated_at = since.checked_sub(SignedDuration::from_mins(6)).unwrap();
        }
        let error = bench.record.begin_emergency(&stale, emergency("p1")).await.unwrap_err();
        assert_eq!(name(&error), "StepUpNeeded");
        let desk = bench.staff(Role::FrontDesk);
        assert_eq!(name(&bench.record.begin_emergency(&desk, emergency("p1")).await.unwrap_err()), "Denied");

        let since = bench.mark();
        let begun = bench.record.begin_emergency(&doctor, emergency("p1")).await.unwrap();
        let audit = bench.audit_since(since).await;
        assert!(audit.iter().any(|line| line.contains("emergency.begin success Patient/p1")), "{audit:?}");
        let doctor = bench.record.current(&doctor).await.unwrap();
        assert_eq!(ways(&bench, &doctor).await, ALL_WAYS, "sealed facts and what a consent keeps from her");
        assert!(bench.record.read(&doctor, &cold).await.is_ok());
        assert!(bench.record.read(&doctor, &key("Patient/p2")).await.is_err(), "one patient");
        let again = bench.record.begin_emergency(&doctor, emergency("p1")).await.unwrap_err();
        assert_eq!(name(&again), "Duplicate emergency-running");

        // What is read under it says so.
        let filter = record::audit::AuditFilter { from: Some(since), ..Default::default() };
        let page = bench.record.audit_list(&bench.system(), filter, None, 200).await.unwrap();
        let reads: Vec<&str> = page
            .rows
            .iter()
            .filter(|r| {
                r.agent == "account/2" && r.outcome == "success" && r.patient.as_deref() == Some("p1")
            })
            .map(|r| r.purpose.as_str())
            .collect();
        assert!(reads.len() > 5 && reads.iter().all(|purpose| *purpose == "BTG"), "{reads:?}");

        // It ends by itself.
        bench.turn(SignedDuration::from_mins(61));
        let doctor = bench.record.current(&doctor).await.unwrap();
        assert!(bench.record.read(&doctor, &cold).await.is_err());

        // The queue, and somebody else's review.
        let officer = bench.staff(Role::PrivacyOfficer);
        assert_eq!(name(&bench.record.emergencies(&desk, true).await.unwrap_err()), "Denied");
        assert_eq!(bench.record.emergencies(&officer, true).await.unwrap().len(), 1);
        assert_eq!(bench.record.remind_of_reviews().await.unwrap(), 0);
        bench.turn(SignedDuration::from_hours(72));
        assert_eq!(bench.record.remind_of_reviews().await.unwrap(), 1);
        assert_eq!(bench.record.remind_of_reviews().await.unwrap(), 0, "once");
        let review = |verdict: &'static str, note: &'static str| {
            let (record, officer) = (bench.record.clone(), officer.clone());
            async move { record.review_emergency(&officer, begun.id, verdict, note).await }
        };
        assert_eq!(name(&review("fine", "").await.unwrap_err()), "Rule verdict-unknown");
        assert_eq!(name(&review("unjustified", " ").await.unwrap_err()), "Rule note-needed");
        review("unjustified", "Talked to her.").await.unwrap();
        assert_eq!(name(&review("justified", "").await.unwrap_err()), "Duplicate already-settled");
        assert!(bench.record.emergencies(&officer, true).await.unwrap().is_empty());
        assert_eq!(
            bench.record.emergencies(&officer, false).await.unwrap()[0].review.as_ref().unwrap().by,
            4
        );
    })
    .await;
}

#[tokio::test]
async fn a_glass_can_be_closed_early() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let doctor = bench.other_doctor();
        let begun = bench.record.begin_emergency(&doctor, emergency("p1")).await.unwrap();
        let open = bench.record.current(&doctor).await.unwrap();
        assert!(bench.record.read(&open, &key("Condition/cold")).await.is_ok());
        assert_eq!(
            name(&bench.record.end_emergency(&bench.doctor(), begun.id).await.unwrap_err()),
            "NotFound"
        );
        bench.record.end_emergency(&doctor, begun.id).await.unwrap();
        let closed = bench.record.current(&open).await.unwrap();
        assert!(bench.record.read(&closed, &key("Condition/cold")).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_broken_glass_is_no_way_into_care() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let (doctor, cold) = (bench.other_doctor(), key("Condition/cold"));
        bench.record.begin_emergency(&doctor, emergency("p1")).await.unwrap();
        let doctor = bench.record.current(&doctor).await.unwrap();
        // The second finds her in care by the first.
        for _ in 0..2 {
            let team = json!({"resourceType": "CareTeam", "status": "active",
                "subject": {"reference": "Patient/p1"},
                "participant": [{"member": {"reference": "Practitioner/d2"}}]});
            bench.record.write(&doctor, set(vec![create(team)])).await.unwrap();
        }
        assert!(bench.record.read(&doctor, &cold).await.is_ok());
        bench.turn(SignedDuration::from_mins(61));
        let doctor = bench.record.current(&doctor).await.unwrap();
        assert!(bench.record.read(&doctor, &cold).await.is_err());
    })
    .await;
}

/// An account in the database and the context of its person.
pub(crate) async fn account(bench: &Bench, login: &str, roles: Vec<Role>) -> (i64, Ctx) {
    let new = store::account::NewAccount {
        login: Some(login.into()),
        phone: None,
        email: None,
        display: login.into(),
        password_hash: None,
        roles: roles.clone(),
        patient: None,
        practitioner: None,
        language: "en".into(),
        created: bench.record.now(),
    };
    let work = move |tx: &mut dyn store::Tx| store::account::create(tx, &new);
    let account = bench.record.store().write(work).await.unwrap();
    let mut ctx = bench.patient();
    ctx.principal = Principal::User(User {
        account,
        display: login.into(),
        roles,
        patient: None,
        practitioner: None,
        language: "en".into(),
        standing: std::sync::Arc::default(),
    });
    (account, ctx)
}

#[tokio::test]
async fn parents_act_for_children() {
    each_engine(|bench| async move {
        let born = |id: &str, day: &str| {
            json!({"resourceType": "Patient", "id": id, "name": [{"family": "Mtoto"}], "birthDate": day})
        };
        let mut sealed = hiv_condition_plain("childhiv");
        sealed["subject"] = json!({"reference": "Patient/child"});
        bench
            .seed(set(vec![
                create(born("child", "2018-03-01")),
                create(born("grown", "2000-03-01")),
                create(born("unborn", "")).without_birth(),
                create(open_condition("childcold", "child")),
                create(sealed),
            ]))
            .await;
        let (mother, mut ctx) = account(&bench, "mother", vec![Role::Patient]).await;
        let desk = bench.staff(Role::FrontDesk);
        let grant = |patient: &str, sealed: bool| NewProxy {
            patient: patient.into(),
            account: mother,
            basis: Basis::Parent,
            relationship: "MTH".into(),
            classes: Vec::new(),
            sealed,
            until: None,
        };
        let refused = |ctx: Ctx, new: NewProxy| {
            let record = bench.record.clone();
            async move { name(&record.grant_proxy(&ctx, new).await.unwrap_err()) }
        };
        assert_eq!(refused(bench.doctor(), grant("child", false)).await, "Denied");
        assert_eq!(refused(ctx.clone(), grant("child", false)).await, "Denied", "not by herself");
        assert_eq!(refused(desk.clone(), grant("grown", false)).await, "Rule of-age");
        assert_eq!(refused(desk.clone(), grant("unborn", false)).await, "Rule birth-date-needed");
        let (staff, _) = account(&bench, "clerk", vec![Role::Cashier]).await;
        let unfit = NewProxy { account: staff, ..grant("child", false) };
        assert_eq!(refused(desk.clone(), unfit).await, "Rule account-unfit");

        let given = bench.record.grant_proxy(&desk, grant("child", false)).await.unwrap();
        assert_eq!(given.until.to_string(), "2036-03-01T00:00:00Z", "the 18th birthday");
        if let Principal::User(user) = &mut ctx.principal {
            user.roles.push(Role::Proxy);
        }
        let ctx = bench.record.current(&ctx).await.unwrap();
        assert!(bench.record.read(&ctx, &key("Condition/childcold")).await.is_ok());
        assert!(bench.record.read(&ctx, &key("Condition/childhiv")).await.is_err(), "not granted");
        assert!(bench.record.read(&ctx, &key("Patient/p1")).await.is_err());
        // Nor does she open them by a consent: to herself, to her like, or to everybody.
        let herself = Actor::RelatedPerson(given.related_person.clone());
        for actors in [vec![herself], vec![Actor::Role(Role::Proxy)], vec![]] {
            let mut permit = decision(false, actors);
            permit.patient = "child".into();
            permit.seals = access::Seals::HIV;
            assert_eq!(name(&bench.record.give_consent(&ctx, permit).await.unwrap_err()), "Denied");
        }
        let told = bench.record.notices(&bench.staff(Role::PrivacyOfficer), false, 10).await.unwrap().rows;
        assert_eq!(told.iter().filter(|one| one.topic == "proxy.granted").count(), 1, "the clinic's own grants");
        // Whose number is whose is not to be found out by trying.
        for _ in 0..5 {
            let tried = bench.record.account_to_act(&desk, "child", "+254711000000", "Otieno").await;
            assert_eq!(name(&tried.unwrap_err()), "Rule account-unknown");
        }
        let tried = bench.record.account_to_act(&desk, "child", "+254711000000", "Otieno").await;
        assert_eq!(name(&tried.unwrap_err()), "Throttled");
        let person = key(&format!("RelatedPerson/{}", given.related_person));
        assert!(bench.record.read(&ctx, &person).await.is_ok());
        assert_eq!(refused(desk.clone(), grant("child", true)).await, "Duplicate proxy-running");
        assert_eq!(bench.record.acting_for(&ctx).await.unwrap().len(), 1);

        // A consent may name the proxy.
        let mut deny = decision(true, vec![Actor::RelatedPerson(given.related_person.clone())]);
        deny.patient = "child".into();
        let deny = bench.record.give_consent(&desk, deny).await.unwrap();
        assert!(bench.record.read(&ctx, &key("Condition/childcold")).await.is_err());
        let taken = bench.record.withdraw_consent(&ctx, deny.resource.id().unwrap()).await.unwrap_err();
        assert_eq!(name(&taken), "Denied", "not what was decided about her");
        bench.record.withdraw_consent(&desk, deny.resource.id().unwrap()).await.unwrap();

        bench.record.end_proxy(&desk, given.id).await.unwrap();
        let ctx = bench.record.current(&ctx).await.unwrap();
        assert!(bench.record.read(&ctx, &key("Condition/childcold")).await.is_err(), "taken back");
        // With sealed facts: until the child's own discretion.
        let given = bench.record.grant_proxy(&desk, grant("child", true)).await.unwrap();
        assert_eq!(given.until.to_string(), "2030-03-01T00:00:00Z");
        let ctx = bench.record.current(&ctx).await.unwrap();
        assert!(bench.record.read(&ctx, &key("Condition/childhiv")).await.is_ok());
        bench.turn(SignedDuration::from_hours(24 * 365 * 4));
        let ctx = bench.record.current(&ctx).await.unwrap();
        assert!(bench.record.read(&ctx, &key("Condition/childcold")).await.is_err(), "over");
    })
    .await;
}

trait WithoutBirth {
    fn without_birth(self) -> Self;
}

impl WithoutBirth for record::Change {
    fn without_birth(mut self) -> Self {
        if let record::Change::Create { resource } = &mut self {
            resource.value_mut().as_object_mut().unwrap().shift_remove("birthDate");
        }
        self
    }
}

#[tokio::test]
async fn rights_change_by_one_downwards_and_by_two_upwards() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let administrator = bench.staff(Role::Administrator);
        let mut officer = bench.staff(Role::PrivacyOfficer);
        if let Principal::User(user) = &mut officer.principal {
            user.account = 77;
        }
        let cell = |reach| Cell { role: Role::Doctor, class: Class::Clinical, verb: Verb::Read, reach };
        let change = |ctx: &Ctx, cell: Cell| {
            let (record, ctx) = (bench.record.clone(), ctx.clone());
            async move { record.change_right(&ctx, cell, "A reason.").await }
        };
        assert_eq!(name(&change(&bench.doctor(), cell(Reach::Nobody)).await.unwrap_err()), "Denied");
        assert_eq!(
            name(&change(&administrator, cell(Reach::Everyone)).await.unwrap_err()),
            "Rule beyond-bounds"
        );
        assert_eq!(name(&change(&administrator, cell(Reach::InCare)).await.unwrap_err()), "Rule unchanged");
        let wanted = Cell {
            role: Role::Administrator,
            class: Class::Clinical,
            verb: Verb::Read,
            reach: Reach::Everyone,
        };
        assert_eq!(name(&change(&administrator, wanted).await.unwrap_err()), "Rule beyond-bounds");

        // Down: at once.
        let doctor = bench.record.current(&bench.doctor()).await.unwrap();
        assert!(bench.record.read(&doctor, &key("Condition/cold")).await.is_ok());
        change(&administrator, cell(Reach::Nobody)).await.unwrap();
        let doctor = bench.record.current(&doctor).await.unwrap();
        assert_eq!(name(&bench.record.read(&doctor, &key("Condition/cold")).await.unwrap_err()), "Denied");

        // Up: by a second person.
        let asked = change(&administrator, cell(Reach::InCare)).await.unwrap();
        let doctor = bench.record.current(&doctor).await.unwrap();
        assert!(bench.record.read(&doctor, &key("Condition/cold")).await.is_err(), "it waits");
        let error = bench.record.decide_right(&administrator, asked.id, true).await.unwrap_err();
        assert_eq!(name(&error), "Rule second-person-needed");
        bench.record.decide_right(&officer, asked.id, true).await.unwrap();
        let doctor = bench.record.current(&doctor).await.unwrap();
        assert!(bench.record.read(&doctor, &key("Condition/cold")).await.is_ok());
        let error = bench.record.decide_right(&officer, asked.id, false).await.unwrap_err();
        assert_eq!(name(&error), "Duplicate already-settled");
        let table = bench.record.rights_table(&administrator).await.unwrap();
        let states: Vec<&str> = table.changes.iter().map(|c| c.state.code()).collect();
        assert_eq!(states.len(), 2);
        assert!(states.contains(&"agreed") && states.contains(&"done"));
        // Nobody makes herself a clinician, as an administrator either.
        let roles =
            |roles: &[Role]| AccountChange { roles: Some(roles.to_vec()), ..AccountChange::default() };
        let own = roles(&[Role::Administrator, Role::Doctor]);
        let error = bench.record.update_account(&administrator, 4, own).await.unwrap_err();
        assert_eq!(name(&error), "Rule second-person-needed");
        // Others' roles, and her own that read no facts, come further.
        for (account, roles) in
            [(5, roles(&[Role::Doctor])), (4, roles(&[Role::Administrator, Role::Cashier]))]
        {
            let done = bench.record.update_account(&administrator, account, roles).await;
            assert!(done.is_err_and(|error| name(&error) != "Rule second-person-needed"));
        }
    })
    .await;
}

#[tokio::test]
async fn decisions_can_be_explained() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let practitioner = record::authn::AccountSpec {
            display: "Dr Otieno".into(),
            login: Some("otieno".into()),
            phone: None,
            email: None,
            password: Some("correct horse battery".into()),
            roles: vec![Role::Doctor],
            patient: None,
            practitioner: Some(key("Practitioner/d1")),
            language: "en".into(),
        };
        let (account, _) = bench.record.create_account(&bench.system(), practitioner).await.unwrap();
        let officer = bench.staff(Role::PrivacyOfficer);
        let ask = |patient: &str, id: Option<&str>| Question {
            account,
            patient: patient.into(),
            kind: kind("Condition"),
            id: id.map(str::to_owned),
            action: Action::Read,
        };
        let explain = |question: Question| {
            let (record, officer) = (bench.record.clone(), officer.clone());
            async move { record.explain_access(&officer, question).await.unwrap() }
        };
        let found = explain(ask("p1", Some("cold"))).await;
        let words: Vec<&str> = found.steps.iter().map(|s| s.text.as_str()).collect();
        assert!(found.allowed);
        assert_eq!(
            words,
            [
                "Doctor: may see rest of the chart: those of patients in her care.",
                "The patient is in this person's care by Appointment/a1 (until 2026-12-31).",
                "Access is given."
            ]
        );
        let found = explain(ask("p1", Some("hiv"))).await;
        assert!(!found.allowed);
        assert_eq!(found.steps[2].text, "Sealed (HIV) and closed to this person.");
        let administrator = bench.staff(Role::Administrator);
        let found = bench.record.explain_access(&administrator, ask("p1", Some("hiv"))).await.unwrap();
        assert_eq!(found.steps[2].text, "Sealed and closed to this person.");
        assert_eq!(found.steps[2].facts, [("seals", "R".to_owned())], "not as what");
        let found = explain(ask("p2", None)).await;
        assert!(!found.allowed);
        assert!(found.steps[1].text.starts_with("The patient is not in this person's care"), "{found:?}");
        bench
            .record
            .give_consent(&bench.patient(), decision(true, vec![Actor::Role(Role::Doctor)]))
            .await
            .unwrap();
        let found = explain(ask("p1", Some("cold"))).await;
        assert!(!found.allowed);
        assert!(found.steps.iter().any(|s| s.text == "A consent of the patient keeps this from the person."));
        let wrong = bench.record.explain_access(&officer, ask("p2", Some("cold"))).await.unwrap_err();
        assert_eq!(name(&wrong), "NotFound");
        let denied = bench.record.explain_access(&bench.doctor(), ask("p1", None)).await.unwrap_err();
        assert_eq!(name(&denied), "Denied");
    })
    .await;
}

/// A life does not wait for a telephone: the password typed right then opens the record, and the officers know.
#[tokio::test]
async fn breaking_the_glass_by_password_is_told() {
    each_engine(|bench| async move {
        let officer = bench.staff(Role::PrivacyOfficer);
        let phone = record::authn::AccountSpec {
            phone: Some("0711 222 333".into()),
            ..crate::authn::staff("officer", &[Role::PrivacyOfficer])
        };
        bench.record.create_account(&bench.system(), phone).await.unwrap();
        let shown = |minutes_ago: i64, factors: &[access::Factor], enrolled: &[access::Factor]| {
            let mut doctor = bench.other_doctor();
            if let Some(session) = &mut doctor.session {
                session.authenticated_at =
                    bench.record.now().checked_sub(SignedDuration::from_mins(minutes_ago)).unwrap();
                (session.factors, session.enrolled) = (factors.to_vec(), enrolled.to_vec());
            }
            doctor
        };
        use access::Factor::{Password, Pin, Totp};
        for (doctor, factors) in [
            (shown(2, &[Password], &[]), vec![Password]),
            (shown(0, &[Pin], &[]), vec![Password]),
            (shown(6, &[Password, Totp], &[Totp]), vec![Totp]),
            (shown(0, &[Password], &[Totp]), vec![Totp]),
        ] {
            match bench.record.begin_emergency(&doctor, emergency("p1")).await {
                Err(record::Error::StepUpNeeded { factors: asked, .. }) => assert_eq!(asked, factors),
                other => panic!("{other:?}"),
            }
        }
        let begun = bench.record.begin_emergency(&shown(0, &[Password], &[]), emergency("p1")).await.unwrap();
        assert!(begun.by_password);
        let strong = shown(4, &[Password, Totp], &[Totp]);
        let begun = bench.record.begin_emergency(&strong, emergency("p2")).await.unwrap();
        assert!(!begun.by_password);
        let told = bench.record.notices(&officer, true, 10).await.unwrap();
        let mut marked: Vec<_> = told.rows.iter().map(|one| one.data["by_password"] == true).collect();
        marked.sort_unstable();
        assert_eq!(marked, [false, true]);
        for template in ["emergency.begun-by-password", "emergency.begun"] {
            let sent = crate::credential::letters(&bench, template).await;
            assert!(!sent.is_empty(), "{template}");
        }
    })
    .await;
}

/// Privacy officers are told inside the program, each marks for herself what she has seen, and nobody else reads it.
#[tokio::test]
async fn who_watches_over_rights_is_told() {
    each_engine(|bench| async move {
        let (officer, doctor) = (bench.staff(Role::PrivacyOfficer), bench.other_doctor());
        let topics = async |ctx: &Ctx, unseen: bool| {
            let found = bench.record.notices(ctx, unseen, 50).await.unwrap();
            let topics: Vec<String> = found.rows.iter().map(|row| row.topic.clone()).collect();
            (topics, found.unseen)
        };
        assert_eq!(topics(&officer, false).await, (Vec::new(), 0));
        let new = NewEmergency {
            patient: "p2".into(),
            reason: "unconscious".into(),
            explanation: "Brought in after an accident".into(),
            minutes: None,
        };
        bench.record.begin_emergency(&doctor, new).await.unwrap();
        let found = bench.record.notices(&officer, true, 50).await.unwrap();
        assert_eq!(found.unseen, 1);
        let first = &found.rows[0];
        assert_eq!((first.topic.as_str(), first.patient.as_deref()), ("emergency.begun", Some("p2")));
        assert_eq!(first.data["reason"], "unconscious");
        assert_eq!(topics(&doctor, false).await.0, [""; 0], "nobody else is told");
        assert_eq!(name(&bench.record.see_notice(&doctor, first.id).await.unwrap_err()), "NotFound");
        bench.record.see_notice(&officer, first.id).await.unwrap();
        bench.record.see_notice(&officer, first.id).await.unwrap();
        assert_eq!(topics(&officer, true).await, (Vec::new(), 0));
        bench.turn(SignedDuration::from_hours(73));
        let officer = bench.staff(Role::PrivacyOfficer);
        assert_eq!(bench.record.remind_of_reviews().await.unwrap(), 1);
        assert_eq!(bench.record.remind_of_reviews().await.unwrap(), 0);
        assert_eq!(topics(&officer, true).await, (vec!["emergency.overdue".to_owned()], 1));
        let cell = Cell { role: Role::Nurse, class: Class::Billing, verb: Verb::Read, reach: Reach::Nobody };
        bench.record.change_right(&officer, cell, "The desk does it").await.unwrap();
        bench.record.set_sensitivity_rules(&officer, json!([])).await.unwrap();
        let (mut told, unseen) = topics(&officer, true).await;
        told.sort();
        assert_eq!(told, ["emergency.overdue", "rights.changed", "sensitivity.changed"]);
        assert_eq!(unseen, 3);
        assert!(bench.record.notices(&bench.client(&["system/*.rs"]), false, 5).await.is_err());
    })
    .await;
}
