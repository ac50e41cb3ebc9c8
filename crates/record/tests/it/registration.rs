//! A patient registers herself; codes; duplicates; a lost password.

use crate::bench::name;
use crate::{Bench, appointment, create, each_engine, key, set};
use access::{Ctx, Principal, Role};
use jiff::SignedDuration;
use record::Error;
use record::authn::{NewPatient, Origin, Resolution, Session};
use serde_json::json;

fn form() -> NewPatient {
    NewPatient {
        given: "Amina Wairimu".into(),
        family: "Njoroge".into(),
        birth_date: "1994-05-17".into(),
        sex: Some("female".into()),
        phone: "0712 345 678".into(),
        password: "mango tree by the river".into(),
        language: "sw".into(),
        accept_terms: true,
    }
}

fn anonymous(bench: &Bench) -> Ctx {
    let mut ctx = bench.system();
    ctx.principal = Principal::Anonymous;
    ctx.address = Some("10.9.8.7".parse().unwrap());
    ctx
}

/// The newest SMS: text and template.
pub(crate) async fn sms(bench: &Bench) -> (String, String) {
    let found = bench
        .record
        .store_read(|tx| store::message::list(tx, &store::message::Filter::default(), None, 1))
        .await
        .unwrap();
    let message = &found.rows[0];
    (message.body.clone(), message.template.clone())
}

pub(crate) async fn code(bench: &Bench) -> String {
    let (body, _) = sms(bench).await;
    body.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 6).unwrap().to_owned()
}

fn wrong(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

pub(crate) async fn register(bench: &Bench, form: NewPatient) -> Session {
    let started = bench.record.begin_registration(&anonymous(bench), form).await.unwrap();
    bench
        .record
        .confirm_registration(&anonymous(bench), &started.id, &code(bench).await, &Origin::default())
        .await
        .unwrap()
}

async fn error<T>(result: impl Future<Output = Result<T, Error>>) -> String {
    match result.await {
        Ok(_) => "done".to_owned(),
        Err(error) => name(&error),
    }
}

#[tokio::test]
async fn a_patient_registers() {
    each_engine(|bench| async move {
        let started = bench.record.begin_registration(&anonymous(&bench), form()).await.unwrap();
        assert!(!started.phone_masked.contains("712345"), "{}", started.phone_masked);
        let (body, template) = sms(&bench).await;
        assert!(body.contains("namba yako") && template == "code.registration", "{body}");
        let session = bench
            .record
            .confirm_registration(&anonymous(&bench), &started.id, &code(&bench).await, &Origin::default())
            .await
            .unwrap();
        assert_eq!(session.user.roles, [Role::Patient]);
        assert_eq!(session.user.display, "Amina Wairimu Njoroge");
        let patient = session.user.patient.clone().unwrap();
        let mut ctx = bench.system();
        ctx.principal = Principal::User(session.user.clone());
        let stored = bench.record.read(&ctx, &patient).await.unwrap().parse().unwrap();
        assert_eq!(stored.get("name").unwrap()[0]["given"], json!(["Amina", "Wairimu"]));
        assert_eq!(stored.get("telecom").unwrap()[0]["value"], "+254712345678");
        assert_eq!(stored.get("identifier").unwrap()[0]["value"], "UZ-000001");
        assert!(stored.get("meta").unwrap().get("tag").is_none());
        let info = bench.record.session(&session.token).await.unwrap();
        assert_eq!(info.phone.as_deref(), Some("+254712345678"));
        assert!(bench.record.login("+254712345678", "mango tree by the river", None).await.is_ok());
        // The code was for once.
        let ctx = anonymous(&bench);
        assert_eq!(
            error(bench.record.confirm_registration(&ctx, &started.id, "000000", &Origin::default())).await,
            "Rule code-expired"
        );
        let tasks = bench.record.find(&bench.system(), "Task", &[], 10).await.unwrap();
        assert!(tasks.is_empty());
    })
    .await;
}

/// Both codes went out before either was used.
#[tokio::test]
async fn one_phone_gets_one_account() {
    each_engine(|bench| async move {
        let ctx = anonymous(&bench);
        let first = bench.record.begin_registration(&ctx, form()).await.unwrap();
        let first_code = code(&bench).await;
        bench.turn(SignedDuration::from_mins(1));
        let second = bench.record.begin_registration(&ctx, form()).await.unwrap();
        let second_code = code(&bench).await;
        assert_eq!(
            error(bench.record.confirm_registration(&ctx, &first.id, &first_code, &Origin::default())).await,
            "done"
        );
        assert_eq!(
            error(bench.record.confirm_registration(&ctx, &second.id, &second_code, &Origin::default()))
                .await,
            "Duplicate phone-taken"
        );
        assert_eq!(
            bench.record.find(&bench.system(), "Patient", &[("name", "Njoroge")], 10).await.unwrap().len(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn forms_are_checked() {
    each_engine(|bench| async move {
        let with = |change: fn(&mut NewPatient)| {
            let mut form = form();
            change(&mut form);
            form
        };
        for (form, code, field) in [
            (
                with(|f| {
                    f.given = " ".into();
                    f.family = String::new()
                }),
                "name-required",
                "/given",
            ),
            (with(|f| f.given = "123".into()), "name-invalid", "/given"),
            (with(|f| f.family = "x".repeat(81)), "name-invalid", "/family"),
            (with(|f| f.birth_date = "17.05.1994".into()), "date-invalid", "/birth_date"),
            (with(|f| f.birth_date = "1994-02-30".into()), "date-invalid", "/birth_date"),
            (with(|f| f.birth_date = "2027-01-01".into()), "date-future", "/birth_date"),
            (with(|f| f.birth_date = "1794-01-01".into()), "date-invalid", "/birth_date"),
            (with(|f| f.sex = Some("f".into())), "sex-invalid", "/sex"),
            (with(|f| f.phone = "12345".into()), "phone-invalid", "/phone"),
            (with(|f| f.password = "mango".into()), "password-short", "/password"),
            (with(|f| f.password = "0712345678".into()), "password-common", "/password"),
            (with(|f| f.password = "aminawairimunjoroge".into()), "password-common", "/password"),
            (with(|f| f.accept_terms = false), "terms-required", "/accept_terms"),
        ] {
            match bench.record.begin_registration(&anonymous(&bench), form).await {
                Err(Error::Rule(rule)) => assert_eq!((rule.code, rule.field.as_str()), (code, field)),
                other => panic!("{code}: {other:?}"),
            }
        }
        // Names in any script, and one name only.
        for (given, family, phone) in
            [("አበበ", "ቢቂላ", "0712000001"), ("محمد", "", "0712000002"), ("", "Chidi-Ọ́bí", "0712000003")]
        {
            let mut form = form();
            form.given = given.into();
            form.family = family.into();
            form.phone = phone.into();
            register(&bench, form).await;
        }
    })
    .await;
}

#[tokio::test]
async fn codes_are_guarded() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let ctx = anonymous(&bench);
        let started = record.begin_registration(&ctx, form()).await.unwrap();
        let right = code(&bench).await;
        for left in (0..5).rev() {
            match record
                .confirm_registration(&ctx, &started.id, &wrong(&right), &Origin::default())
                .await
                .map(|_| ())
            {
                Err(Error::Rule(rule)) => {
                    assert_eq!((rule.code, &rule.details), ("code-wrong", &json!({"attempts_left": left})))
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            error(record.confirm_registration(&ctx, &started.id, &right, &Origin::default())).await,
            "Rule code-expired"
        );

        // Resending: not at once, then a new code; the old one is dead.
        assert_eq!(error(record.resend_registration(&ctx, &started.id)).await, "Throttled");
        bench.turn(SignedDuration::from_secs(61));
        record.resend_registration(&ctx, &started.id).await.unwrap();
        let next = code(&bench).await;
        if next != right {
            assert_eq!(
                error(record.confirm_registration(&ctx, &started.id, &right, &Origin::default())).await,
                "Rule code-wrong"
            );
        }
        // Three in a quarter of an hour, whoever asks.
        bench.turn(SignedDuration::from_secs(61));
        record.resend_registration(&ctx, &started.id).await.unwrap();
        bench.turn(SignedDuration::from_secs(61));
        assert_eq!(error(record.resend_registration(&ctx, &started.id)).await, "Throttled");
        assert_eq!(error(record.begin_registration(&ctx, form())).await, "Throttled");
        // Five minutes.
        let last = code(&bench).await;
        bench.turn(SignedDuration::from_mins(5));
        assert_eq!(
            error(record.confirm_registration(&ctx, &started.id, &last, &Origin::default())).await,
            "Rule code-expired"
        );
        assert_eq!(error(record.resend_registration(&ctx, "unknown")).await, "NotFound");
        // Another flow's code is none here.
        assert_eq!(
            error(record.confirm_reset(
                &ctx,
                &started.id,
                &last,
                "a good new phrase",
                &record::authn::Origin::default()
            ))
            .await,
            "Rule code-expired"
        );
    })
    .await;
}

#[tokio::test]
async fn of_two_confirmations_one_makes_the_account() {
    each_engine(|bench| async move {
        let started = bench.record.begin_registration(&anonymous(&bench), form()).await.unwrap();
        let right = code(&bench).await;
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (record, ctx, id, right) =
                    (bench.record.clone(), anonymous(&bench), started.id.clone(), right.clone());
                tokio::spawn(async move {
                    record.confirm_registration(&ctx, &id, &right, &Origin::default()).await.is_ok()
                })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += usize::from(task.await.unwrap());
        }
        assert_eq!(won, 1);
        let found =
            bench.record.find(&bench.system(), "Patient", &[("family", "Njoroge")], 10).await.unwrap();
        assert_eq!(found.len(), 1);
    })
    .await;
}

/// The answer does not tell whether a phone has an account; the phone's owner is told.
#[tokio::test]
async fn known_phones() {
    each_engine(|bench| async move {
        register(&bench, form()).await;
        let again = bench.record.begin_registration(&anonymous(&bench), form()).await.unwrap();
        let (body, _) = sms(&bench).await;
        assert!(body.contains("tayari ina akaunti"), "{body}");
        assert_eq!(
            error(bench.record.confirm_registration(
                &anonymous(&bench),
                &again.id,
                "123456",
                &Origin::default()
            ))
            .await,
            "Rule code-wrong"
        );
    })
    .await;
}

#[tokio::test]
async fn duplicates_are_shown_not_merged() {
    each_engine(|bench| async move {
        let record = &bench.record;
        bench
            .seed(set(vec![create(json!({"resourceType": "Patient", "id": "kept", "active": true,
                "name": [{"family": "Njoroge", "given": ["Aminah", "W."]}], "birthDate": "1994-05-17",
                "telecom": [{"system": "phone", "value": "+254700111222"}]}))]))
            .await;
        let session = register(&bench, form()).await;
        let new = session.user.patient.clone().unwrap();
        let stored = record.read(&bench.system(), &new).await.unwrap().parse().unwrap();
        assert_eq!(stored.get("meta").unwrap()["tag"][0]["code"], "possible-duplicate");
        let desk = bench.staff(Role::FrontDesk);
        let tasks = record.find(&desk, "Task", &[("status", "requested")], 10).await.unwrap();
        assert_eq!(tasks.len(), 1);
        let task = tasks[0].0.key().unwrap();
        assert_eq!(tasks[0].0.get("focus").unwrap()["reference"], new.to_string());
        assert_eq!(tasks[0].0.get("input").unwrap()[0]["valueReference"]["reference"], "Patient/kept");

        // She has already booked under the new record.
        record
            .command(
                &bench.system(),
                "appointment.book",
                set(vec![create(appointment("booked", &new.id, "d1"))]),
            )
            .await
            .unwrap();
        let link = |candidate: &str| Resolution::Link { candidate: candidate.to_owned() };
        for ctx in [bench.doctor(), bench.patient(), bench.staff(Role::It)] {
            assert_eq!(
                error(record.resolve_duplicate(&ctx, &task, Resolution::NotDuplicate)).await,
                "Denied"
            );
        }
        assert_eq!(error(record.resolve_duplicate(&desk, &task, link("p2"))).await, "Rule candidate-unknown");
        record.resolve_duplicate(&desk, &task, link("kept")).await.unwrap();

        let old = record.read(&bench.system(), &new).await.unwrap().parse().unwrap();
        assert_eq!(old.get("active"), Some(&json!(false)));
        assert_eq!(
            old.get("link").unwrap()[0],
            json!({"other": {"reference": "Patient/kept"}, "type": "replaced-by"})
        );
        let kept = record.read(&bench.system(), &key("Patient/kept")).await.unwrap().parse().unwrap();
        assert_eq!(kept.get("link").unwrap()[0]["type"], "replaces");
        assert_eq!(kept.get("telecom").unwrap().as_array().unwrap().len(), 2);
        // Her session now speaks for the kept record, and her booking came along.
        let info = record.session(&session.token).await.unwrap();
        assert_eq!(info.user.patient, Some(key("Patient/kept")));
        let mut ctx = bench.system();
        ctx.principal = Principal::User(info.user);
        assert!(record.read(&ctx, &key("Appointment/booked")).await.is_ok());
        assert_eq!(error(record.resolve_duplicate(&desk, &task, link("kept"))).await, "Rule review-closed");
        let (rows, _) = record.directory(&desk, "Njoroge", 10, None).await.unwrap();
        assert_eq!(rows.len(), 1, "the superseded record is not offered any more");
    })
    .await;
}

#[tokio::test]
async fn distinct_people_stay_apart() {
    each_engine(|bench| async move {
        let record = &bench.record;
        bench
            .seed(set(vec![create(json!({"resourceType": "Patient", "id": "other", "active": true,
                "name": [{"family": "Njoroge", "given": ["Amina"]}], "birthDate": "1994-05-17"}))]))
            .await;
        let session = register(&bench, form()).await;
        let new = session.user.patient.clone().unwrap();
        let desk = bench.staff(Role::FrontDesk);
        let tasks = record.find(&desk, "Task", &[("status", "requested")], 10).await.unwrap();
        let task = tasks[0].0.key().unwrap();
        record.resolve_duplicate(&desk, &task, Resolution::NotDuplicate).await.unwrap();
        let stored = record.read(&bench.system(), &new).await.unwrap().parse().unwrap();
        assert_eq!(stored.get("active"), Some(&json!(true)));
        assert!(stored.get("meta").unwrap().get("tag").is_none() && stored.get("link").is_none());
        assert_eq!(record.session(&session.token).await.unwrap().user.patient, Some(new));
        let done = record.read(&bench.system(), &task).await.unwrap().parse().unwrap();
        assert_eq!(done.text("status"), Some("completed"));
        assert!(record.find(&desk, "Task", &[("status", "requested")], 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn likely_and_unlikely_pairs() {
    each_engine(|bench| async move {
        let person = |id: &str, given: &str, family: &str, birth: &str, phone: &str| {
            create(
                json!({"resourceType": "Patient", "id": id, "name": [{"family": family, "given": [given]}],
                "birthDate": birth, "telecom": [{"system": "phone", "value": phone}]}),
            )
        };
        bench
            .seed(set(vec![
                person("same", "Amina", "Njoroge", "1994-05-17", "+254712345678"),
                person("typo", "Aminah", "Njorogge", "1994-05-17", "+254700000001"),
                person("swapped", "Njoroge", "Amina", "1994-05-17", "+254700000002"),
                person("mother", "Beatrice", "Njoroge", "1966-01-01", "+254712345678"),
                person("birthday", "Peter", "Kamau", "1994-05-17", "+254700000004"),
                person("twin", "Faith", "Njoroge", "1994-05-17", "+254712345678"),
            ]))
            .await;
        let found = bench
            .record
            .duplicate_candidates(
                &bench.staff(Role::FrontDesk),
                "Amina",
                "Njoroge",
                "1994-05-17",
                Some("+254712345678"),
            )
            .await
            .unwrap();
        let pairs: Vec<(&str, u8)> =
            found.iter().filter_map(|(r, _, score)| Some((r.id()?, *score))).collect();
        assert_eq!(pairs[0], ("same", 100));
        let ids: Vec<&str> = pairs.iter().map(|p| p.0).collect();
        assert!(ids.contains(&"typo") && ids.contains(&"swapped") && ids.contains(&"twin"), "{pairs:?}");
        assert!(!ids.contains(&"mother") && !ids.contains(&"birthday"), "{pairs:?}");
        let ctx = bench.patient();
        let denied = bench.record.duplicate_candidates(&ctx, "Amina", "Njoroge", "1994-05-17", None);
        assert_eq!(error(denied).await, "Denied");
    })
    .await;
}

#[tokio::test]
async fn lost_passwords() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let ctx = anonymous(&bench);
        let session = register(&bench, form()).await;
        let reset = record.begin_reset(&ctx, "0712345678").await.unwrap();
        let right = code(&bench).await;
        let other = record.begin_reset(&ctx, "0799999999").await.unwrap();
        assert_eq!(reset.phone_masked.len(), other.phone_masked.len());
        // Guessing at a login that does not exist looks the same.
        for left in (0..5).rev() {
            for (id, guess) in [(&reset.id, wrong(&right)), (&other.id, "123456".to_owned())] {
                match record
                    .confirm_reset(&ctx, id, &guess, "a good new phrase", &record::authn::Origin::default())
                    .await
                    .map(|_| ())
                {
                    Err(Error::Rule(rule)) => assert_eq!(
                        (rule.code, &rule.details),
                        ("code-wrong", &json!({"attempts_left": left}))
                    ),
                    other => panic!("{other:?}"),
                }
            }
        }
        for (id, guess) in [(&reset.id, &*right), (&other.id, "123456")] {
            assert_eq!(
                error(record.confirm_reset(
                    &ctx,
                    id,
                    guess,
                    "a good new phrase",
                    &record::authn::Origin::default()
                ))
                .await,
                "Rule code-expired"
            );
        }
        bench.turn(SignedDuration::from_mins(20));
        let reset = record.begin_reset(&ctx, "0712345678").await.unwrap();
        let right = code(&bench).await;
        // A bad password does not cost the code.
        assert_eq!(
            error(record.confirm_reset(&ctx, &reset.id, &right, "short", &record::authn::Origin::default()))
                .await,
            "Rule password-short"
        );
        let next = record
            .confirm_reset(&ctx, &reset.id, &right, "a good new phrase", &record::authn::Origin::default())
            .await
            .unwrap();
        let record::authn::SignIn::Open(next) = next else { panic!("a second factor was asked") };
        assert!(record.session(&next.token).await.is_ok());
        assert!(record.session(&session.token).await.is_err());
        assert!(record.login("0712345678", "a good new phrase", None).await.is_ok());
        assert_eq!(
            error(record.confirm_reset(
                &ctx,
                &reset.id,
                &right,
                "another phrase",
                &record::authn::Origin::default()
            ))
            .await,
            "Rule code-expired"
        );
    })
    .await;
}

/// Numbers that came with imported records are stepped over.
#[tokio::test]
async fn record_numbers() {
    each_engine(|bench| async move {
        let taken = (1..=37)
            .map(|n| {
                create(json!({"resourceType": "Patient", "id": format!("n{n}"), "identifier": [{
                    "system": "https://uzima.health/fhir/identifier/record-number", "value": format!("UZ-{n:06}")}]}))
            })
            .collect();
        bench.seed(set(taken)).await;
        assert_eq!(bench.record.next_record_number().await.unwrap(), "UZ-000038");
        assert_eq!(bench.record.next_record_number().await.unwrap(), "UZ-000039");
    })
    .await;
}
