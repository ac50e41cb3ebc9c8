//! Grants to act that one person of the clinic writes down: nothing opens before the patient or a second person says so.

use crate::bench::name;
use crate::registration::{code, sms};
use crate::rights::{furnish, open_condition};
use crate::standing::account;
use crate::{Bench, create, each_engine, key, set, update};
use access::{Ctx, Principal, Role};
use jiff::SignedDuration;
use record::Error;
use record::rights::proxy::{Basis, NewProxy};
use serde_json::{Value, json};
use store::proxy::{Proxy, Way};

/// The same role by another account.
pub(crate) fn somebody_else(ctx: &Ctx) -> Ctx {
    let mut other = ctx.clone();
    if let Principal::User(user) = &mut other.principal {
        user.account += 1_000;
        user.display = "Somebody else".into();
    }
    other
}

/// A context of later, freshly signed in.
fn fresh(bench: &Bench, ctx: &Ctx) -> Ctx {
    let mut ctx = Ctx { now: bench.record.now(), ..ctx.clone() };
    if let Some(session) = &mut ctx.session {
        session.authenticated_at = ctx.now;
    }
    ctx
}

fn person(id: &str, born: &str, phone: Option<&str>) -> Value {
    let mut person =
        json!({"resourceType": "Patient", "id": id, "name": [{"family": "Mwangi"}], "birthDate": born});
    if let Some(phone) = phone {
        person["telecom"] = json!([{"system": "phone", "value": phone}]);
    }
    person
}

fn grant(patient: &str, account: i64, basis: Basis) -> NewProxy {
    NewProxy {
        patient: patient.into(),
        account,
        basis,
        relationship: "SIB".into(),
        classes: Vec::new(),
        sealed: false,
        until: None,
    }
}

/// The person who acts, with what she may now.
async fn acting(bench: &Bench, ctx: &Ctx) -> Ctx {
    let mut ctx = ctx.clone();
    if let Principal::User(user) = &mut ctx.principal {
        user.roles.push(Role::Proxy);
    }
    bench.record.current(&ctx).await.unwrap()
}

async fn opens(bench: &Bench, ctx: &Ctx, what: &str) -> bool {
    let ctx = acting(bench, ctx).await;
    bench.record.read(&ctx, &key(what)).await.is_ok()
}

async fn error<T>(result: impl Future<Output = Result<T, Error>>) -> String {
    match result.await {
        Ok(_) => "done".to_owned(),
        Err(error) => name(&error),
    }
}

#[tokio::test]
async fn the_patients_code_puts_a_grant_in_force() {
    each_engine(|bench| async move {
        let record = &bench.record;
        bench
            .seed(set(vec![
                create(person("ruth", "1980-01-01", Some("+254712345678"))),
                create(open_condition("cough", "ruth")),
            ]))
            .await;
        let (sister, ctx) = account(&bench, "sister", vec![Role::Patient]).await;
        let desk = bench.staff(Role::FrontDesk);
        let since = bench.mark();
        let desk = fresh(&bench, &desk);
        let asked = record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice)).await.unwrap();
        assert!(asked.waits && asked.confirmed.is_none());
        // Nothing is open, nothing is written, and the role is not there.
        assert!(!opens(&bench, &ctx, "Condition/cough").await);
        assert!(record.acting_for(&ctx).await.unwrap().is_empty());
        let related = key(&format!("RelatedPerson/{}", asked.related_person));
        assert_eq!(error(record.read(&bench.system(), &related)).await, "NotFound");
        let (read, _) =
            record.store_read(move |tx| Ok((store::account::load(tx, sister)?, ()))).await.unwrap();
        assert_eq!(read.unwrap().roles, [Role::Patient]);
        let again = record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice));
        assert_eq!(error(again).await, "Duplicate proxy-waiting");
        let waiting: Vec<Proxy> = record.waiting_proxies(&desk).await.unwrap();
        assert_eq!(waiting.iter().map(|one| one.id).collect::<Vec<_>>(), [asked.id]);
        assert_eq!(error(record.waiting_proxies(&bench.doctor())).await, "Denied");

        // Whoever may not ask may not confirm either, and there is no code before one is sent.
        for ctx in [&ctx, &bench.doctor(), &bench.staff(Role::Administrator)] {
            assert_eq!(error(record.send_proxy_code(ctx, asked.id)).await, "Denied");
            assert_eq!(error(record.confirm_proxy_by_code(ctx, asked.id, "123456")).await, "Denied");
            assert_eq!(error(record.confirm_proxy(ctx, asked.id)).await, "Denied");
        }
        assert_eq!(error(record.confirm_proxy_by_code(&desk, asked.id, "123456")).await, "Rule code-expired");
        let sent = record.send_proxy_code(&desk, asked.id).await.unwrap();
        assert!(!sent.phone_masked.contains("712345"), "{}", sent.phone_masked);
        let (body, template) = sms(&bench).await;
        assert!(template == "code.proxy" && body.contains("sister act for you"), "{body}");
        let first = code(&bench).await;
        assert_eq!(error(record.send_proxy_code(&desk, asked.id)).await, "Throttled");

        // Guesses are counted; another code makes the one before worthless.
        let wrong = format!("{:06}", (first.parse::<u32>().unwrap() + 1) % 1_000_000);
        assert_eq!(error(record.confirm_proxy_by_code(&desk, asked.id, &wrong)).await, "Rule code-wrong");
        bench.turn(SignedDuration::from_secs(61));
        let desk = fresh(&bench, &desk);
        record.send_proxy_code(&desk, asked.id).await.unwrap();
        let second = code(&bench).await;
        for _ in 0..5 {
            let guess = format!("{:06}", (second.parse::<u32>().unwrap() + 1) % 1_000_000);
            assert_eq!(error(record.confirm_proxy_by_code(&desk, asked.id, &guess)).await, "Rule code-wrong");
        }
        let late = record.confirm_proxy_by_code(&desk, asked.id, &second);
        assert_eq!(error(late).await, "Rule code-expired", "five guesses are all there are");
        bench.turn(SignedDuration::from_secs(61));
        let desk = fresh(&bench, &desk);
        record.send_proxy_code(&desk, asked.id).await.unwrap();
        let third = code(&bench).await;
        bench.turn(SignedDuration::from_secs(301));
        let desk = fresh(&bench, &desk);
        assert_eq!(error(record.confirm_proxy_by_code(&desk, asked.id, &third)).await, "Rule code-expired");
        assert!(!opens(&bench, &ctx, "Condition/cough").await);
        // Three in a quarter of an hour are enough for one phone.
        bench.turn(SignedDuration::from_mins(16));
        let desk = fresh(&bench, &desk);
        record.send_proxy_code(&desk, asked.id).await.unwrap();
        let right = code(&bench).await;
        let given = record.confirm_proxy_by_code(&desk, asked.id, &right).await.unwrap();

        // In force, with who, which way and when; the patient is told as ever.
        assert!(opens(&bench, &ctx, "Condition/cough").await);
        assert!(record.read(&bench.system(), &related).await.is_ok());
        let confirmed = given.confirmed.unwrap();
        assert_eq!((confirmed.way, confirmed.by, confirmed.at), (Way::PatientCode, 4, given.from));
        assert_eq!(record.proxies(&desk, "ruth").await.unwrap(), std::slice::from_ref(&given));
        assert_eq!(sms(&bench).await.1, "proxy.granted");
        let used = record.confirm_proxy_by_code(&desk, asked.id, &right);
        assert_eq!(error(used).await, "Duplicate already-settled");
        let audit = bench.audit_since(since).await;
        for line in [
            "account/4 proxy.ask success",
            "account/4 proxy.code success Patient/ruth",
            "account/4 proxy.confirm failed Patient/ruth",
            "account/4 proxy.confirm success",
        ] {
            assert!(audit.iter().any(|one| one.starts_with(line)), "{line}: {audit:#?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_person_puts_a_grant_in_force() {
    each_engine(|bench| async move {
        let record = &bench.record;
        bench
            .seed(set(vec![
                create(person("ruth", "1980-01-01", None)),
                create(open_condition("cough", "ruth")),
            ]))
            .await;
        let (sister, ctx) = account(&bench, "sister", vec![Role::Patient]).await;
        let desk = bench.staff(Role::FrontDesk);
        let asked = record.grant_proxy(&desk, grant("ruth", sister, Basis::Court)).await.unwrap();
        // What a court decided is not the patient's to say.
        assert_eq!(error(record.send_proxy_code(&desk, asked.id)).await, "Rule second-person-needed");
        assert_eq!(error(record.confirm_proxy(&desk, asked.id)).await, "Rule second-person-needed");
        let mut other = somebody_else(&bench.staff(Role::FrontDesk));
        let told = record.notices(&other, true, 10).await.unwrap().rows;
        assert_eq!(told.iter().map(|one| one.topic.as_str()).collect::<Vec<_>>(), ["proxy.asked"]);
        assert!(record.notices(&desk, true, 10).await.unwrap().rows.is_empty(), "she knows");
        if let Some(session) = &mut other.session {
            session.authenticated_at = bench.record.now() - SignedDuration::from_mins(6);
        }
        assert_eq!(error(record.confirm_proxy(&other, asked.id)).await, "StepUpNeeded");
        let other = fresh(&bench, &other);
        let given = record.confirm_proxy(&other, asked.id).await.unwrap();
        assert!(opens(&bench, &ctx, "Condition/cough").await);
        let confirmed = given.confirmed.unwrap();
        assert_eq!((confirmed.way, confirmed.by), (Way::SecondPerson, 1_004));
        assert_eq!(error(record.confirm_proxy(&other, asked.id)).await, "Duplicate already-settled");
        let told = record.notices(&desk, true, 10).await.unwrap().rows;
        assert_eq!(told.iter().map(|one| one.topic.as_str()).collect::<Vec<_>>(), ["proxy.confirmed"]);
        record.end_proxy(&desk, asked.id).await.unwrap();
        assert!(!opens(&bench, &ctx, "Condition/cough").await);

        // Refused, or left alone for a week: over.
        let officer = somebody_else(&bench.staff(Role::PrivacyOfficer));
        let refused = record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice)).await.unwrap();
        record.end_proxy(&officer, refused.id).await.unwrap();
        assert_eq!(error(record.confirm_proxy(&officer, refused.id)).await, "Duplicate already-settled");
        let told = record.notices(&desk, true, 1).await.unwrap().rows;
        assert_eq!(told[0].topic, "proxy.refused");
        let late = record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice)).await.unwrap();
        bench.turn(SignedDuration::from_hours(7 * 24));
        let officer = fresh(&bench, &officer);
        assert_eq!(error(record.confirm_proxy(&officer, late.id)).await, "Duplicate already-settled");
        assert!(record.waiting_proxies(&officer).await.unwrap().is_empty());
        assert!(!opens(&bench, &ctx, "Condition/cough").await);
        // And may be asked for again.
        let desk = fresh(&bench, &desk);
        assert!(record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice)).await.unwrap().waits);
    })
    .await;
}

#[tokio::test]
async fn only_a_small_child_needs_no_second_word() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let aged = |id: &str, born: &str| person(id, born, None);
        bench
            .seed(set(vec![
                create(aged("small", "2018-03-01")),
                create(aged("young", "2012-03-01")),
                create(aged("made-small", "1980-03-01")),
            ]))
            .await;
        // The desk makes a child of her.
        bench.seed(set(vec![update(aged("made-small", "2018-03-01"), None)])).await;
        let (mother, _) = account(&bench, "mother", vec![Role::Patient]).await;
        let desk = bench.staff(Role::FrontDesk);
        for (patient, waits) in [("small", false), ("young", true), ("made-small", true)] {
            let given = record.grant_proxy(&desk, grant(patient, mother, Basis::Parent)).await.unwrap();
            assert_eq!(given.waits, waits, "{patient}");
        }
    })
    .await;
}

#[tokio::test]
async fn patients_need_nobody_for_their_own_grants() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let (sister, ctx) = account(&bench, "sister", vec![Role::Patient]).await;
        let own = grant("p1", sister, Basis::PatientChoice);
        assert!(!bench.record.grant_proxy(&bench.patient(), own).await.unwrap().waits);
        assert!(opens(&bench, &ctx, "Condition/cold").await);
    })
    .await;
}

/// Who writes another number into the record and asks for the code would read it herself.
#[tokio::test]
async fn the_code_goes_to_a_number_that_is_known() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let ruth = |phone: Option<&str>| person("ruth", "1980-01-01", phone);
        bench.seed(set(vec![create(ruth(None))])).await;
        let (sister, _) = account(&bench, "sister", vec![Role::Patient]).await;
        let mut known = ruth(Some("+254700000001"));
        known["communication"] =
            json!([{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "sw"}]}}]);
        bench.seed(set(vec![update(known, None)])).await;
        let desk = bench.staff(Role::FrontDesk);
        let asked = record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice)).await.unwrap();
        assert_eq!(error(record.send_proxy_code(&desk, asked.id)).await, "Rule phone-unknown");
        bench.turn(SignedDuration::from_hours(6 * 24 + 23));
        let desk = fresh(&bench, &desk);
        assert_eq!(error(record.send_proxy_code(&desk, asked.id)).await, "Rule phone-unknown");
        record.end_proxy(&desk, asked.id).await.unwrap();
        bench.turn(SignedDuration::from_hours(2));
        let desk = fresh(&bench, &desk);
        let asked = record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice)).await.unwrap();
        record.send_proxy_code(&desk, asked.id).await.unwrap();
        let (body, _) = sms(&bench).await;
        assert!(!body.contains("act for you"), "in the language of the record, not in English: {body}");
        // Where the patient has an account, the number that she confirmed herself.
        let new = store::account::NewAccount {
            login: None,
            phone: Some("+254711111111".into()),
            email: None,
            display: "Ruth Mwangi".into(),
            password_hash: None,
            roles: vec![Role::Patient],
            patient: Some(key("Patient/ruth")),
            practitioner: None,
            language: "sw".into(),
            created: record.now(),
        };
        record.store().write(move |tx| store::account::create(tx, &new)).await.unwrap();
        record.end_proxy(&desk, asked.id).await.unwrap();
        let asked = record.grant_proxy(&desk, grant("ruth", sister, Basis::PatientChoice)).await.unwrap();
        let sent = record.send_proxy_code(&desk, asked.id).await.unwrap();
        assert!(sent.phone_masked.ends_with("111"), "{}", sent.phone_masked);
        assert!(sms(&bench).await.0.contains("itamruhusu sister"));
    })
    .await;
}
