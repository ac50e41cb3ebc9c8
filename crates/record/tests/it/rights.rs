//! Seals, consents, broken glasses, proxies and changed rights, by every way to the data.

use crate::bench::name;
use crate::{Bench, create, each_engine, key, kind, observation, set, update};
use access::matrix::{Cell, Reach, Verb};
use access::{Action, Class, Ctx, Principal, Role, ScopeSet, Seals, User};
use fhir::search::{Handling, Params};
use jiff::SignedDuration;
use record::authn::AccountChange;
use record::rights::emergency::NewEmergency;
use record::rights::proxy::{Basis, NewProxy};
use record::rights::{Actor, NewConsent, Question};
use record::{HistoryQuery, Scope};
use serde_json::{Value, json};

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";

fn hiv_condition(id: &str, patient: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": ICD, "code": "B20"}], "text": "HIV disease"},
        "encounter": {"reference": "Encounter/e1"}})
}

fn open_condition(id: &str, patient: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": ICD, "code": "J06.9"}]}})
}

/// p1 in care of d1: an open and a sealed condition, an observation that refers to neither.
async fn furnish(bench: &Bench) {
    bench
        .seed(set(vec![
            create(json!({"resourceType": "Encounter", "id": "e1", "status": "in-progress", "class": {"code": "VR"},
                "subject": {"reference": "Patient/p1"}})),
            create(hiv_condition("hiv", "p1")),
            create(open_condition("cold", "p1")),
            create(json!({"resourceType": "Encounter", "id": "e2", "status": "in-progress", "class": {"code": "VR"},
                "subject": {"reference": "Patient/p1"}, "diagnosis": [{"condition": {"reference": "Condition/hiv"}}]})),
            create(observation("o1", "p1", "70")),
        ]))
        .await;
}

async fn ids(
    bench: &Bench,
    ctx: &Ctx,
    kind_name: &str,
    pairs: &[(&str, &str)],
) -> (Vec<String>, Option<u64>) {
    let mut pairs: Vec<(String, String)> =
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    pairs.push(("_total".into(), "accurate".into()));
    let (query, _) =
        fhir::search::parse(&Params::standard(), kind(kind_name), &pairs, Handling::Strict).unwrap();
    let page = bench.record.search(ctx, query).await.unwrap();
    let mut found: Vec<String> =
        page.items.iter().chain(&page.included).map(|item| item.key.to_string()).collect();
    found.sort();
    (found, page.total)
}

/// What a caller finds of the sealed condition, by every way.
async fn ways(bench: &Bench, ctx: &Ctx) -> Vec<&'static str> {
    let record = &bench.record;
    let sealed = key("Condition/hiv");
    let mut open = Vec::new();
    let mut note = |way: &'static str, found: bool| {
        if found {
            open.push(way);
        }
    };
    note("read", record.read(ctx, &sealed).await.is_ok());
    note("vread", record.vread(ctx, &sealed, 1).await.is_ok());
    note("history", record.history(ctx, &sealed, None, 10).await.is_ok());
    let all = |scope| HistoryQuery { count: 100, ..HistoryQuery::default() }.into_pair(scope);
    let (scope, query) = all(Scope::Kind(kind("Condition")));
    let page = record.history_of(ctx, &scope, query).await.unwrap();
    note("type history", page.entries.iter().any(|e| e.key == sealed));
    let (found, total) = ids(bench, ctx, "Condition", &[("patient", "Patient/p1")]).await;
    note("search", found.contains(&"Condition/hiv".to_owned()));
    note("total", total >= Some(2));
    let (found, total) = ids(bench, ctx, "Condition", &[("code", &format!("{ICD}|B20"))]).await;
    note("code", !found.is_empty() || total != Some(0));
    let (found, _) = ids(bench, ctx, "Condition", &[("_security", "HIV")]).await;
    note("_security", !found.is_empty());
    let (found, total) = ids(bench, ctx, "Patient", &[("_has:Condition:patient:code", "B20")]).await;
    note("_has", !found.is_empty() || total != Some(0));
    let (found, _) = ids(bench, ctx, "Encounter", &[("_include", "Encounter:diagnosis")]).await;
    note("_include", found.contains(&"Condition/hiv".to_owned()));
    let (found, _) = ids(bench, ctx, "Patient", &[("_id", "p1"), ("_revinclude", "Condition:patient")]).await;
    note("_revinclude", found.contains(&"Condition/hiv".to_owned()));
    let (found, _) = ids(bench, ctx, "Condition", &[("_sort", "code"), ("_count", "50")]).await;
    note("_sort", found.contains(&"Condition/hiv".to_owned()));
    let scan = record::scan::Scan {
        kind: kind("Condition"),
        horizon: record.horizon().await.unwrap(),
        since: None,
        until: None,
        whose: record::scan::Whose::All,
        deleted: false,
    };
    let page = record.scan(ctx, &scan, None).await.unwrap();
    note("scan", page.rows.iter().any(|row| row.stored.key == sealed));
    let event = record::events::LiveEvent {
        seq: 1,
        topic: "resource.created".into(),
        subject: sealed.clone(),
        patients: vec!["p1".into()],
        data: Value::Null,
        created: record.now(),
    };
    note("live", record.visible(ctx, &event).await.unwrap());
    open
}

trait IntoPair: Sized {
    fn into_pair(self, scope: Scope) -> (Scope, HistoryQuery);
}

impl IntoPair for HistoryQuery {
    fn into_pair(self, scope: Scope) -> (Scope, HistoryQuery) {
        (scope, self)
    }
}

const ALL_WAYS: [&str; 14] = [
    "read",
    "vread",
    "history",
    "type history",
    "search",
    "total",
    "code",
    "_security",
    "_has",
    "_include",
    "_revinclude",
    "_sort",
    "scan",
    "live",
];

#[tokio::test]
async fn sealed_facts_are_not_there() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let stored =
            bench.record.read(&bench.system(), &key("Condition/hiv")).await.unwrap().parse().unwrap();
        assert_eq!(Seals::of(&stored), Seals::HIV, "sealed by its code as it was written");
        for (who, ctx) in [("doctor in care", bench.doctor()), ("client", bench.client(&["system/*.rs"]))] {
            assert_eq!(ways(&bench, &ctx).await, [""; 0], "{who}");
            assert!(bench.record.read(&ctx, &key("Condition/cold")).await.is_ok(), "{who}");
        }
        for (who, ctx) in [
            ("patient", bench.patient()),
            ("client for HIV", bench.client(&["system/*.rs", "sens/HIV"])),
            ("the program", bench.system()),
        ] {
            assert_eq!(ways(&bench, &ctx).await, ALL_WAYS, "{who}");
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_writes_it_sees_it() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let doctor = bench.doctor();
        let own = json!({"resourceType": "Condition", "id": "0192a0de-7000-7000-8000-000000000001",
            "subject": {"reference": "Patient/p1"}, "code": {"coding": [{"system": ICD, "code": "B24"}]}});
        let own = bench.record.write(&doctor, set(vec![create(own)])).await.unwrap().written[0].key.clone();
        assert!(bench.record.read(&doctor, &own).await.is_ok());
        assert!(
            bench.record.read(&doctor, &key("Condition/hiv")).await.is_err(),
            "writing one does not open the others"
        );
        // Naming oneself in a sealed care team opens nothing either.
        let team = json!({"resourceType": "CareTeam", "id": "0192a0de-7000-7000-8000-000000000002", "status": "active",
            "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]},
            "subject": {"reference": "Patient/p1"}, "participant": [{"member": {"reference": "Practitioner/d1"}}]});
        bench.record.write(&doctor, set(vec![create(team.clone())])).await.unwrap();
        assert!(bench.record.read(&doctor, &key("Condition/hiv")).await.is_err());
        // Being named by somebody who may does.
        let mut team = team;
        team["id"] = json!("0192a0de-7000-7000-8000-000000000003");
        bench.seed(set(vec![create(team)])).await;
        assert_eq!(ways(&bench, &doctor).await, ALL_WAYS);
    })
    .await;
}

/// Whoever ordered the test sees its sealed result.
#[tokio::test]
async fn results_come_back_to_who_ordered_them() {
    each_engine(|bench| async move {
        let mut result = observation("hivtest", "p1", "1");
        result["code"] = json!({"coding": [{"system": "http://loinc.org", "code": "75622-1"}]});
        result["basedOn"] = json!([{"reference": "ServiceRequest/order"}]);
        bench
            .seed(set(vec![
                create(json!({"resourceType": "ServiceRequest", "id": "order", "status": "active", "intent": "order",
                    "subject": {"reference": "Patient/p1"}, "requester": {"reference": "Practitioner/d1"}})),
                create(result),
            ]))
            .await;
        assert!(bench.record.read(&bench.doctor(), &key("Observation/hivtest")).await.is_ok());
        assert!(bench.record.read(&bench.other_doctor(), &key("Observation/hivtest")).await.is_err());
    })
    .await;
}

/// Z5 with seals: a version that was sealed stays so when the label is taken off, and the reverse.
#[tokio::test]
async fn versions_keep_their_seals() {
    each_engine(|bench| async move {
        let target = key("Condition/c");
        bench.seed(set(vec![create(hiv_condition_plain("c"))])).await;
        bench.seed(set(vec![update(open_condition("c", "p1"), None)])).await;
        let doctor = bench.doctor();
        assert!(bench.record.read(&doctor, &target).await.is_ok());
        assert!(bench.record.vread(&doctor, &target, 2).await.is_ok());
        assert_eq!(name(&bench.record.vread(&doctor, &target, 1).await.unwrap_err()), "Denied");
        let page = bench.record.history(&doctor, &target, None, 10).await.unwrap();
        assert_eq!(page.entries.iter().map(|e| e.version).collect::<Vec<_>>(), [2]);
        bench.seed(set(vec![update(hiv_condition_plain("c"), None)])).await;
        assert!(bench.record.vread(&doctor, &target, 2).await.is_err(), "it is sealed now");
        assert!(bench.record.history(&doctor, &target, None, 10).await.is_err());
    })
    .await;
}

fn hiv_condition_plain(id: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": ICD, "code": "B20"}]}})
}

fn decision(deny: bool, actors: Vec<Actor>) -> NewConsent {
    NewConsent {
        patient: "p1".into(),
        deny,
        actors,
        kinds: Vec::new(),
        seals: Seals::NONE,
        purposes: Vec::new(),
        from: None,
        until: None,
        text_version: "privacy-2026-11".into(),
        text: "I decide who sees my record.".into(),
        language: "en".into(),
    }
}

#[tokio::test]
async fn consents_hold_at_once_and_so_does_their_end() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let (doctor, patient) = (bench.doctor(), bench.patient());
        let cold = key("Condition/cold");
        assert!(bench.record.read(&doctor, &cold).await.is_ok());
        let given = bench
            .record
            .give_consent(&patient, decision(true, vec![Actor::Practitioner("d1".into())]))
            .await
            .unwrap();
        let error = bench.record.read(&doctor, &cold).await.unwrap_err();
        assert_eq!(name(&error), "Denied", "{error}");
        let (found, total) = ids(&bench, &doctor, "Condition", &[("patient", "Patient/p1")]).await;
        assert_eq!((found.len(), total), (0, Some(0)));
        let (found, _) = ids(&bench, &doctor, "Patient", &[("_has:Condition:patient:code", "J06.9")]).await;
        assert!(found.is_empty());
        assert!(bench.record.read(&patient, &cold).await.is_ok(), "her own");
        assert!(bench.record.read(&bench.client(&["system/*.rs"]), &cold).await.is_ok(), "another actor");
        // The evidence.
        let consent = &given.resource;
        assert_eq!(consent.get("performer").unwrap()[0]["reference"], "Patient/p1");
        let text = consent.get("sourceAttachment").unwrap();
        assert_eq!((&text["title"], &text["language"]), (&json!("privacy-2026-11"), &json!("en")));
        assert_eq!(consent.text("dateTime"), Some("2026-11-21T09:00:00Z"));

        let id = consent.id().unwrap().to_owned();
        let after = bench.record.withdraw_consent(&patient, &id).await.unwrap();
        assert_eq!((after.version, after.resource.text("status")), (2, Some("inactive")));
        assert!(bench.record.read(&doctor, &cold).await.is_ok());
        assert_eq!(name(&bench.record.withdraw_consent(&patient, &id).await.unwrap_err()), "Rule not-active");

        // A permit for a sealed category opens it, to whom it names.
        let mut permit = decision(false, vec![Actor::Role(Role::Doctor)]);
        permit.seals = Seals::HIV;
        bench.record.give_consent(&patient, permit).await.unwrap();
        assert_eq!(ways(&bench, &doctor).await, ALL_WAYS);
        assert!(
            bench.record.read(&bench.other_doctor(), &key("Condition/hiv")).await.is_err(),
            "not in her care"
        );
    })
    .await;
}

/// Nobody opens a seal to herself by recording a consent in the patient's name.
#[tokio::test]
async fn clinicians_do_not_consent_for_patients() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let mut permit = decision(false, vec![Actor::Practitioner("d1".into())]);
        permit.seals = Seals::HIV;
        for ctx in [
            bench.doctor(),
            bench.staff(Role::Nurse),
            bench.staff(Role::Administrator),
            bench.staff(Role::It),
        ] {
            assert_eq!(name(&bench.record.give_consent(&ctx, permit.clone()).await.unwrap_err()), "Denied");
        }
        bench.record.give_consent(&bench.staff(Role::FrontDesk), permit).await.unwrap();
        assert!(bench.record.read(&bench.doctor(), &key("Condition/hiv")).await.is_ok());
        // What cannot be enforced is refused, not kept as a promise.
        let mut wrong = decision(true, Vec::new());
        wrong.purposes = vec!["NO-SUCH".into()];
        assert_eq!(
            name(&bench.record.give_consent(&bench.patient(), wrong).await.unwrap_err()),
            "Invalid Consent.provision.purpose[0]"
        );
    })
    .await;
}

fn emergency(patient: &str) -> NewEmergency {
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

/// An account in the database and the context of its person.
async fn account(bench: &Bench, login: &str, roles: Vec<Role>) -> (i64, Ctx) {
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
        let person = key(&format!("RelatedPerson/{}", given.related_person));
        assert!(bench.record.read(&ctx, &person).await.is_ok());
        assert_eq!(refused(desk.clone(), grant("child", true)).await, "Duplicate proxy-running");
        assert_eq!(bench.record.acting_for(&ctx).await.unwrap().len(), 1);

        // A consent may name the proxy.
        let mut deny = decision(true, vec![Actor::RelatedPerson(given.related_person.clone())]);
        deny.patient = "child".into();
        let deny = bench.record.give_consent(&desk, deny).await.unwrap();
        assert!(bench.record.read(&ctx, &key("Condition/childcold")).await.is_err());
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

/// A person's app with `?category=`: by every way only those rows, and nothing of others.
#[tokio::test]
async fn restricted_scopes_are_filters() {
    each_engine(|bench| async move {
        let mut lab = observation("lab", "p1", "1");
        lab["category"] = json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory"}]}]);
        bench.seed(set(vec![create(lab), create(observation("vital", "p1", "2"))])).await;
        let mut app = bench.patient();
        app.scopes = Some(ScopeSet::parse(["patient/Observation.rs?category=laboratory"]).unwrap());
        assert!(bench.record.read(&app, &key("Observation/lab")).await.is_ok());
        assert!(bench.record.read(&app, &key("Observation/vital")).await.is_err());
        assert!(bench.record.vread(&app, &key("Observation/vital"), 1).await.is_err());
        let (found, total) = ids(&bench, &app, "Observation", &[]).await;
        assert_eq!((found, total), (vec!["Observation/lab".to_owned()], Some(1)));
        assert!(bench.record.read(&app, &key("Patient/p1")).await.is_err(), "not named");
        let client = bench.client(&["system/Observation.rs?category=laboratory"]);
        let (found, total) = ids(&bench, &client, "Observation", &[]).await;
        assert_eq!((found, total), (vec!["Observation/lab".to_owned()], Some(1)));
    })
    .await;
}

/// A part of a resource must not replace the whole.
#[tokio::test]
async fn subsets_are_not_written_back() {
    each_engine(|bench| async move {
        let mut part = observation("o", "p1", "1");
        bench.seed(set(vec![create(part.clone())])).await;
        part["meta"] = json!({"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
            "code": "SUBSETTED"}]});
        let error = bench.record.write(&bench.doctor(), set(vec![update(part, None)])).await.unwrap_err();
        assert_eq!(name(&error), "Duplicate subsetted");
    })
    .await;
}
