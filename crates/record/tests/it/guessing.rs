//! facts/security-controls.md I3: a day of guessing codes by SMS.

use crate::credential::error;
use crate::oauth::lent;
use crate::registration::{code, register};
use crate::{Bench, each_engine};
use access::{Ctx, Factor, Principal, Role};
use jiff::SignedDuration;
use record::Error;
use record::authn::{NewPatient, Origin, SecurityPolicy};

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

/// From another address each time.
fn somebody(bench: &Bench, n: u32) -> Ctx {
    let mut ctx = bench.system();
    ctx.principal = Principal::Anonymous;
    ctx.address = Some(std::net::Ipv4Addr::from(0x0a00_0000 + n).into());
    ctx
}

/// The sheet asks for 1,000,000 guesses in 24 hours. Guesses count only against a code that was sent, five against each,
/// and a number gets ten codes a day: 50 guesses of 1,000,000 codes for one number, whoever guesses from wherever, which
/// this runs through. For all numbers together `sms_codes_per_day` (2,000) makes it 10,000 guesses a day: one code in a
/// hundred days of nothing but attack. Of the other 990,000 none is compared with anything.
#[tokio::test]
async fn a_day_of_guesses_counts_fifty_times() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let (mut compared, mut sent, mut asked) = (0, 0, 0);
        for n in 0..95 {
            let ctx = somebody(&bench, n);
            match record.begin_registration(&ctx, form()).await {
                Ok(begun) => {
                    sent += 1;
                    for guess in 0..8 {
                        asked += 1;
                        // Hardly the right one; if it is, one of three million runs is red.
                        let guess = format!("{:06}", (u64::from(n) * 8 + guess) % 1_000_000);
                        match record.confirm_registration(&ctx, &begun.id, &guess, &Origin::default()).await {
                            Err(Error::Rule(rule)) if rule.code == "code-wrong" => compared += 1,
                            Err(Error::Rule(rule)) if rule.code == "code-expired" => {}
                            Err(Error::Throttled { .. }) => {}
                            Err(other) => panic!("{other:?}"),
                            Ok(_) => panic!("a guess was right"),
                        }
                    }
                }
                Err(Error::Throttled { .. }) => asked += 8,
                Err(other) => panic!("{other:?}"),
            }
            // 95 quarters of an hour: a little less than a day.
            bench.turn(SignedDuration::from_mins(15));
        }
        assert!(asked >= 700, "{asked}");
        assert!((1..=10).contains(&sent), "{sent} codes for one number in a day");
        assert_eq!(compared, sent * 5);
    })
    .await;
}

/// Guesses that come at once are counted one after the other.
#[tokio::test]
async fn guesses_at_once_are_five_as_well() {
    each_engine(|bench| async move {
        let begun = bench.record.begin_registration(&somebody(&bench, 1), form()).await.unwrap();
        let right = code(&bench).await;
        let mut guesses = tokio::task::JoinSet::new();
        for n in 0..40_u32 {
            let (record, ctx, id) = (bench.record.clone(), somebody(&bench, n), begun.id.clone());
            let guess = format!("{:06}", (right.parse::<u32>().unwrap() + 1 + n) % 1_000_000);
            guesses.spawn(async move {
                let from = Origin::default();
                matches!(record.confirm_registration(&ctx, &id, &guess, &from).await,
                    Err(Error::Rule(rule)) if rule.code == "code-wrong")
            });
        }
        let compared = guesses.join_all().await.into_iter().filter(|compared| *compared).count();
        assert_eq!(compared, 5);
    })
    .await;
}

fn of_number(n: u32) -> NewPatient {
    NewPatient { phone: format!("07{n:08}"), ..form() }
}

/// Whether a code was sent.
async fn asked(bench: &Bench, ctx: &Ctx, form: NewPatient) -> bool {
    match bench.record.begin_registration(ctx, form).await {
        Ok(_) => true,
        Err(Error::Throttled { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// What SMS cost is bounded for an address, for the whole clinic, for an account and for a number, whatever is done with
/// the codes.
#[tokio::test]
async fn what_codes_cost_is_bounded() {
    each_engine(|bench| async move {
        let record = &bench.record;
        // One address, another number each time: sixty, then one in each quarter of an hour.
        let (mut sent, mut number) = (0, 12_000_000);
        for quarter in 0..24 {
            for _ in 0..if quarter == 0 { 80 } else { 10 } {
                number += 1;
                sent += usize::from(asked(&bench, &somebody(&bench, 1), of_number(number)).await);
            }
            bench.turn(SignedDuration::from_mins(15));
        }
        assert!((60..=60 + 24 + 10).contains(&sent), "{sent} codes to one address in six hours");
        // The addresses of one network of IPv6 are one.
        let mut sent = 0;
        for n in 0..70_u16 {
            let mut ctx = somebody(&bench, 1);
            ctx.address = Some(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, n, n, n, n).into());
            sent += usize::from(asked(&bench, &ctx, of_number(13_000_000 + u32::from(n))).await);
        }
        assert_eq!(sent, 60);

        // An account that sends codes to numbers of her choice.
        let person = lent(&bench).await.person;
        let mut sent = 0;
        for n in 0..30 {
            let begun = record.begin_phone_change(&person, &format!("07{:08}", 14_000_000 + n)).await;
            sent += usize::from(begun.is_ok());
        }
        assert_eq!(sent, 10);
        // A number, though each code is used: three in a quarter of an hour, ten a day.
        bench.turn(SignedDuration::from_hours(2));
        let (mut sent, phone) = (0, "+254712345678");
        for _ in 0..96 {
            for _ in 0..4 {
                bench.turn(SignedDuration::from_secs(200));
                if let Ok(begun) = record.begin_phone_change(&person, phone).await {
                    sent += 1;
                    record.confirm_phone_change(&person, &begun.id, &code(&bench).await).await.unwrap();
                }
            }
        }
        assert!((6..=10).contains(&sent), "{sent} codes for one number in a day");

        // The whole clinic, from everywhere.
        bench.turn(SignedDuration::from_hours(25));
        let policy = SecurityPolicy { sms_codes_per_day: 20, ..SecurityPolicy::default() };
        record.set_security_policy(&bench.staff(Role::Administrator), policy).await.unwrap();
        let mut sent = 0;
        for n in 0..40 {
            sent += usize::from(asked(&bench, &somebody(&bench, 1_000 + n), of_number(15_000_000 + n)).await);
        }
        assert_eq!(sent, 20);
        bench.turn(SignedDuration::from_hours(25));
        assert!(asked(&bench, &somebody(&bench, 1), of_number(16_000_000)).await, "and the next day");
    })
    .await;
}

/// Codes are six digits, and the session that one opens is not enough for what is worth more.
#[tokio::test]
async fn a_code_alone_is_not_enough_for_more() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let session = register(&bench, form()).await;
        assert_eq!(code(&bench).await.len(), 6);
        let person = crate::credential::ctx(&bench, &session.token).await;
        assert_eq!(person.session.as_ref().unwrap().factors, [Factor::SmsCode]);
        assert_eq!(error(record.begin_phone_change(&person, "0733 000 111").await), "StepUpNeeded");
        let patient = person.user().and_then(|u| u.patient.clone()).unwrap();
        assert_eq!(error(record.ask_erasure(&person, &patient.id, "").await), "StepUpNeeded");
        assert_eq!(error(record.begin_totp(&person, "Clinic").await), "StepUpNeeded");
        let proof = record::authn::Proof::Password("mango tree by the river".into());
        record.step_up(&person, proof, &Origin::default()).await.unwrap();
        let person = crate::credential::ctx(&bench, &session.token).await;
        assert!(record.begin_phone_change(&person, "0733 000 111").await.is_ok());

        // Nor with the password that such a code set, for a day.
        bench.turn(SignedDuration::from_mins(20));
        let begun = record.begin_reset(&somebody(&bench, 1), "0712345678").await.unwrap();
        let (right, stranger) = (code(&bench).await, somebody(&bench, 1));
        let from = Origin::default();
        record.confirm_reset(&stranger, &begun.id, &right, "another mango tree", &from).await.unwrap();
        let sees = async || {
            let session = record.login("0712345678", "another mango tree", None).await.unwrap();
            crate::credential::ctx(&bench, &session.token).await
        };
        let person = sees().await;
        assert!(record.read(&person, &patient).await.is_ok(), "her record she reads");
        assert_eq!(error(record.begin_phone_change(&person, "0733 000 111").await), "Rule reset-lately");
        assert_eq!(error(record.begin_totp(&person, "Clinic").await), "Rule reset-lately");
        assert_eq!(error(record.ask_erasure(&person, &patient.id, "").await), "Rule reset-lately");
        bench.turn(SignedDuration::from_hours(25));
        let person = sees().await;
        assert!(record.begin_phone_change(&person, "0733 000 111").await.is_ok());
    })
    .await;
}
