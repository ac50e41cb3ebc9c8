//! facts/security-controls.md I3: a day of guessing codes by SMS.

use crate::{Bench, each_engine};
use access::{Ctx, Principal};
use jiff::SignedDuration;
use record::Error;
use record::authn::{NewPatient, Origin};

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
