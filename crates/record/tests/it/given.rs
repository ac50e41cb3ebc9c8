//! Care that is written while the glass is broken ends with the emergency, for whom it was given too, until a reviewer or
//! somebody in care otherwise says more.

use crate::bench::name;
use crate::grants::somebody_else;
use crate::rights::open_condition;
use crate::standing::emergency;
use crate::{Bench, create, each_engine, key, set, update};
use access::{Ctx, Principal, Role};
use jiff::SignedDuration;
use serde_json::{Value, json};
use store::emergency::Emergency;
use store::emergency_care::State;

fn team(id: &str, patient: &str, members: &[&str]) -> Value {
    let member = |id: &&str| json!({"member": {"reference": format!("Practitioner/{id}")}});
    let members: Vec<Value> = members.iter().map(member).collect();
    let mut team = json!({"resourceType": "CareTeam", "id": id, "status": "active",
        "subject": {"reference": format!("Patient/{patient}")}});
    if !members.is_empty() {
        team["participant"] = json!(members);
    }
    team
}

/// Written by `ctx`; its id.
async fn wrote(bench: &Bench, ctx: &Ctx, value: Value) -> String {
    let done = bench.record.write(ctx, set(vec![create(value)])).await.unwrap();
    done.written[0].key.id.clone()
}

/// A doctor by another practitioner and account.
fn colleague(bench: &Bench) -> Ctx {
    let mut ctx = somebody_else(&bench.doctor());
    if let Principal::User(user) = &mut ctx.principal {
        user.practitioner = Some(key("Practitioner/d3"));
    }
    ctx
}

async fn sees(bench: &Bench, ctx: &Ctx, what: &str) -> bool {
    let ctx = bench.record.current(ctx).await.unwrap();
    bench.record.read(&ctx, &key(what)).await.is_ok()
}

/// p2 is in nobody's care, p1 in that of d1; d2 has broken the glass of both.
async fn begun(bench: &Bench) -> (Ctx, Emergency) {
    bench
        .seed(set(vec![
            create(json!({"resourceType": "Practitioner", "id": "d3", "name": [{"family": "Kamau"}]})),
            create(open_condition("cough", "p2")),
        ]))
        .await;
    let begun = bench.record.begin_emergency(&bench.other_doctor(), emergency("p2")).await.unwrap();
    (bench.record.current(&bench.other_doctor()).await.unwrap(), begun)
}

#[tokio::test]
async fn care_for_others_ends_with_the_emergency() {
    each_engine(|bench| async move {
        let (record, (holder, _)) = (&bench.record, begun(&bench).await);
        let (doctor, colleague) = (bench.doctor(), colleague(&bench));
        assert!(!sees(&bench, &doctor, "Condition/cough").await);
        let t = wrote(&bench, &holder, team("t", "p2", &["d1"])).await;
        assert!(sees(&bench, &doctor, "Condition/cough").await, "she helps while it is urgent");
        // She lets in the one who let her in, and a third.
        let doctor = record.current(&doctor).await.unwrap();
        let u = wrote(&bench, &doctor, team("u", "p2", &["d2", "d3"])).await;
        assert!(sees(&bench, &colleague, "Condition/cough").await);
        // Somebody else writes both: the names stay what they are.
        let mut renamed = team(&t, "p2", &["d1"]);
        renamed["name"] = json!("Ward 3");
        bench.seed(set(vec![update(renamed, None), update(team(&u, "p2", &["d3", "d2"]), None)])).await;
        bench.turn(SignedDuration::from_mins(61));
        for ctx in [&doctor, &holder, &colleague] {
            assert!(!sees(&bench, ctx, "Condition/cough").await, "{:?}", ctx.principal);
        }
        let mut again = team(&t, "p2", &["d1"]);
        again["name"] = json!("Ward 4");
        bench.seed(set(vec![update(again, None)])).await;
        assert!(!sees(&bench, &doctor, "Condition/cough").await, "not by a later change either");

        // Taken out and named anew by somebody else, or named elsewhere: that is care of its own.
        bench.seed(set(vec![update(team(&t, "p2", &[]), None)])).await;
        bench.seed(set(vec![update(team(&t, "p2", &["d1"]), None)])).await;
        assert!(sees(&bench, &doctor, "Condition/cough").await);
        let doctor = record.current(&doctor).await.unwrap();
        wrote(&bench, &doctor, team("v", "p2", &["d3"])).await;
        bench.turn(SignedDuration::from_hours(24));
        assert!(sees(&bench, &colleague, "Condition/cough").await);
        assert!(!sees(&bench, &holder, "Condition/cough").await);
    })
    .await;
}

#[tokio::test]
async fn it_ends_when_the_emergency_is_closed_early() {
    each_engine(|bench| async move {
        let (record, (holder, begun)) = (&bench.record, begun(&bench).await);
        wrote(&bench, &holder, team("t", "p2", &["d1", "d2"])).await;
        assert!(sees(&bench, &bench.doctor(), "Condition/cough").await);
        bench.turn(SignedDuration::from_mins(5));
        record.end_emergency(&holder, begun.id).await.unwrap();
        for ctx in [&bench.doctor(), &holder] {
            assert!(!sees(&bench, ctx, "Condition/cough").await);
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_in_care_otherwise_gives_care_that_lasts() {
    each_engine(|bench| async move {
        let record = &bench.record;
        bench.seed(set(vec![create(open_condition("cold", "p1"))])).await;
        let doctor = bench.doctor();
        record.begin_emergency(&doctor, emergency("p1")).await.unwrap();
        let doctor = record.current(&doctor).await.unwrap();
        wrote(&bench, &doctor, team("t", "p1", &["d2"])).await;
        bench.turn(SignedDuration::from_hours(24));
        assert!(sees(&bench, &bench.other_doctor(), "Condition/cold").await);
    })
    .await;
}

/// A team that was there before keeps whom it named; who is added in the emergency leaves with it.
#[tokio::test]
async fn what_stood_there_before_is_left_as_it_is() {
    each_engine(|bench| async move {
        let (record, (holder, _)) = (&bench.record, begun(&bench).await);
        bench.seed(set(vec![create(team("t", "p2", &["d1"]))])).await;
        record.write(&holder, set(vec![update(team("t", "p2", &["d1", "d3"]), None)])).await.unwrap();
        let colleague = colleague(&bench);
        assert!(sees(&bench, &colleague, "Condition/cough").await);
        bench.turn(SignedDuration::from_mins(61));
        assert!(!sees(&bench, &colleague, "Condition/cough").await);
        assert!(sees(&bench, &bench.doctor(), "Condition/cough").await);
    })
    .await;
}

#[tokio::test]
async fn a_reviewer_sees_ends_and_keeps_what_was_given() {
    each_engine(|bench| async move {
        let (record, (holder, begun)) = (&bench.record, begun(&bench).await);
        let t = format!("CareTeam/{}", wrote(&bench, &holder, team("t", "p2", &["d1", "d3"])).await);
        let visit = json!({"resourceType": "Encounter", "id": "e", "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "EMER"},
            "subject": {"reference": "Patient/p2"},
            "participant": [{"individual": {"reference": "Practitioner/d2"}}]});
        let e = format!("Encounter/{}", wrote(&bench, &holder, visit).await);
        bench.turn(SignedDuration::from_secs(1));
        let officer = somebody_else(&bench.staff(Role::PrivacyOfficer));
        for ctx in [&bench.staff(Role::FrontDesk), &bench.staff(Role::Administrator), &holder] {
            assert_eq!(name(&record.given_in_emergency(ctx, begun.id).await.unwrap_err()), "Denied");
        }
        let listed = async || {
            let given = record.given_in_emergency(&officer, begun.id).await.unwrap();
            let mut rows: Vec<(String, String, Option<State>)> = given
                .care
                .iter()
                .map(|one| (one.source.to_string(), one.practitioner.clone(), one.state))
                .collect();
            rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
            rows
        };
        let row = |source: &str, who: &str, state| (source.to_owned(), who.to_owned(), Some(state));
        let at_first =
            [row(&t, "d1", State::Bound), row(&t, "d3", State::Bound), row(&e, "d2", State::Bound)];
        assert_eq!(listed().await, at_first);
        let decide = async |ctx: &Ctx, source: &str, who: &str, keep: bool| {
            let done = record.decide_given_care(ctx, begun.id, &key(source), who, keep).await;
            done.map_or_else(|error| name(&error), |()| "done".to_owned())
        };
        // Nobody lets last what she wrote or what is given to herself.
        let mut herself = bench.other_doctor();
        if let Principal::User(user) = &mut herself.principal {
            user.roles.push(Role::PrivacyOfficer);
        }
        assert_eq!(decide(&herself, &t, "d1", true).await, "Rule second-person-needed");
        let mut beneficiary = officer.clone();
        if let Principal::User(user) = &mut beneficiary.principal {
            user.practitioner = Some(key("Practitioner/d3"));
        }
        assert_eq!(decide(&beneficiary, &t, "d3", true).await, "Rule second-person-needed");
        assert_eq!(decide(&officer, "CareTeam/none", "d3", true).await, "NotFound");
        assert_eq!(decide(&officer, &t, "d1", true).await, "done");
        assert_eq!(decide(&officer, &t, "d3", false).await, "done");
        assert!(!sees(&bench, &colleague(&bench), "Condition/cough").await, "at once");
        bench.turn(SignedDuration::from_hours(3));
        assert!(sees(&bench, &bench.doctor(), "Condition/cough").await, "kept");
        assert!(!sees(&bench, &holder, "Condition/cough").await);
        // Another version of the team changes neither.
        bench
            .seed(set(vec![update(team(t.trim_start_matches("CareTeam/"), "p2", &["d3", "d1"]), None)]))
            .await;
        assert!(sees(&bench, &bench.doctor(), "Condition/cough").await);
        assert!(!sees(&bench, &colleague(&bench), "Condition/cough").await);
        let at_last = [row(&t, "d1", State::Kept), row(&t, "d3", State::Ended), row(&e, "d2", State::Bound)];
        assert_eq!(listed().await, at_last);
    })
    .await;
}
