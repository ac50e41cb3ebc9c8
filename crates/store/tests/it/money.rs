//! Ledger and payments.

use crate::support::*;
use store::ledger::{self, Account, Kind, NewEntry, NewTransaction, Posted};
use store::payment::{self, Filter, Move, NewPayment, State};
use store::test_support::{TempStore, both};
use store::{Error, savepoint};
use uuid::Uuid;

fn accounts(temp: &TempStore) {
    temp.store
        .write_blocking(|tx| {
            for (code, kind, currency) in [
                ("receivable", Kind::Asset, "KES"),
                ("mpesa", Kind::Asset, "KES"),
                ("fees", Kind::Income, "KES"),
                ("dollars", Kind::Asset, "USD"),
            ] {
                let account =
                    Account { code: code.into(), name: code.into(), kind, currency: currency.into() };
                ledger::ensure_account(tx, &account)?;
                ledger::ensure_account(tx, &account)?;
                let other = Account { currency: "TZS".into(), ..account };
                assert!(matches!(ledger::ensure_account(tx, &other), Err(Error::Constraint(_))));
            }
            Ok::<_, Error>(())
        })
        .unwrap();
}

fn transaction(key: &str, second: i64, entries: &[(&str, i64, &str)]) -> NewTransaction {
    NewTransaction {
        id: Uuid::new_v4(),
        at: at(second),
        memo: "invoice.issued".into(),
        cause: Some(crate::support::key("Invoice/i1")),
        external_key: key.into(),
        entries: entries
            .iter()
            .map(|(account, amount, currency)| NewEntry {
                account: (*account).into(),
                amount_minor: *amount,
                currency: (*currency).into(),
            })
            .collect(),
    }
}

fn post(temp: &TempStore, new: NewTransaction) -> Result<Posted, ledger::Error> {
    temp.store.write_blocking(move |tx| ledger::post(tx, &new))
}

fn ledger_rules(temp: &TempStore) {
    accounts(temp);
    let issued = transaction("inv:1", 10, &[("receivable", 150_000, "KES"), ("fees", -150_000, "KES")]);
    assert_eq!(post(temp, issued.clone()).unwrap(), Posted::New);
    let copy = NewTransaction { id: Uuid::new_v4(), ..issued.clone() };
    assert_eq!(post(temp, copy.clone()).unwrap(), Posted::Already);
    let mut other = copy;
    other.entries[0].amount_minor = 1;
    other.entries[1].amount_minor = -1;
    assert!(matches!(post(temp, other), Err(ledger::Error::KeyReused(_))));
    let paid = transaction("mpesa:X", 20, &[("mpesa", 100_000, "KES"), ("receivable", -100_000, "KES")]);
    assert_eq!(post(temp, paid).unwrap(), Posted::New);
    /// Account, amount, currency.
    type Entries<'a> = &'a [(&'a str, i64, &'a str)];
    let cases: [(Entries<'_>, &str); 5] = [
        (&[("mpesa", 5, "KES"), ("fees", -4, "KES")], "sum to 1"),
        (&[("mpesa", 5, "KES"), ("nowhere", -5, "KES")], "no account"),
        (&[("mpesa", 5, "KES"), ("dollars", -5, "KES")], "kept in USD"),
        (&[("mpesa", 0, "KES"), ("fees", 0, "KES")], "none of them zero"),
        (&[("mpesa", 5, "KES")], "2 to 500"),
    ];
    for (entries, text) in cases {
        let error = post(temp, transaction("bad", 30, entries)).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    temp.store
        .read_blocking(|tx| {
            assert_eq!(ledger::balance(tx, "receivable", None, None)?, 50_000);
            assert_eq!(ledger::balance(tx, "receivable", Some(at(0)), Some(at(20)))?, 150_000);
            assert_eq!(ledger::turnover(tx, "receivable", at(0), at(99))?, (150_000, 100_000));
            assert_eq!(ledger::sum_all(tx)?, []);
            let filter = ledger::Filter { account: Some("receivable".into()), ..Default::default() };
            let first = ledger::entries(tx, &filter, None, 1)?;
            assert_eq!(first.rows[0].amount_minor, -100_000);
            let second = ledger::entries(tx, &filter, first.next.as_deref(), 1)?;
            assert_eq!((second.rows[0].amount_minor, second.next), (150_000, None));
            let cause = ledger::Filter { cause: Some(key("Invoice/i1")), ..Default::default() };
            assert_eq!(ledger::entries(tx, &cause, None, 10)?.rows.len(), 4);
            Ok::<_, Error>(())
        })
        .unwrap();
    for sql in [
        "UPDATE ledger_entry SET amount_minor = 1",
        "DELETE FROM ledger_entry",
        "UPDATE ledger_transaction SET memo = ''",
        "DELETE FROM ledger_transaction",
    ] {
        let refused = temp.store.write_blocking(move |tx| tx.execute(sql, &[]));
        assert!(matches!(refused, Err(Error::Constraint(_))), "{} {sql}: {refused:?}", temp.engine);
    }
}

#[test]
fn the_ledger_balances_and_never_changes() {
    both().iter().for_each(ledger_rules);
}

fn new_payment(created: i64) -> NewPayment {
    NewPayment {
        id: Uuid::new_v4(),
        invoice: key("Invoice/i1"),
        patient: Some(key("Patient/p1")),
        method: "mpesa".into(),
        amount_minor: 150_000,
        currency: "KES".into(),
        phone: Some("+254712345678".into()),
        callback_token_hash: Some(*blake(created)),
        account: None,
        created: at(created),
    }
}

/// Some 32 bytes that differ by number.
fn blake(n: i64) -> Box<[u8; 32]> {
    let mut bytes = Box::new([0; 32]);
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn step(id: Uuid, from: &[State], to: State) -> Move {
    Move {
        id,
        from: from.to_vec(),
        to,
        at: at(60),
        reason: None,
        detail: None,
        merchant_request: None,
        checkout_request: None,
        receipt: None,
    }
}

fn payment_states(temp: &TempStore) {
    let (one, two) = (new_payment(1), new_payment(2));
    let (a, b) = (one.clone(), two.clone());
    temp.store
        .write_blocking(move |tx| {
            payment::create(tx, &a)?;
            payment::create(tx, &b)
        })
        .unwrap();
    let free = NewPayment { id: Uuid::new_v4(), amount_minor: 0, callback_token_hash: None, ..one.clone() };
    let refused = temp.store.write_blocking(move |tx| payment::create(tx, &free));
    assert!(matches!(refused, Err(payment::Error::BadAmount)));
    let advance = |step: Move| temp.store.write_blocking(move |tx| payment::advance(tx, &step));
    advance(step(one.id, &[State::Created], State::Submitting)).unwrap();
    let wrong = advance(step(one.id, &[State::Created], State::Submitting));
    assert!(matches!(wrong, Err(payment::Error::WrongState(State::Submitting))));
    let awaiting = Move {
        checkout_request: Some("ws_CO_1".into()),
        merchant_request: Some("m1".into()),
        ..step(one.id, &[State::Submitting], State::Awaiting)
    };
    advance(awaiting).unwrap();
    let failed = Move { reason: Some("wrong-pin".into()), ..step(one.id, &[State::Awaiting], State::Failed) };
    advance(failed).unwrap();
    // A late success counts.
    let open = [State::Awaiting, State::Failed, State::Expired, State::Unknown];
    let paid = Move { receipt: Some("NLJ7RT61SV".into()), ..step(one.id, &open, State::Paid) };
    advance(paid.clone()).unwrap();
    assert!(matches!(advance(paid), Err(payment::Error::WrongState(State::Paid))));
    let theft = Move { receipt: Some("NLJ7RT61SV".into()), ..step(two.id, &[State::Created], State::Paid) };
    assert!(matches!(advance(theft), Err(payment::Error::ReceiptUsed(_))));
    assert!(matches!(advance(step(Uuid::new_v4(), &open, State::Paid)), Err(payment::Error::NotFound)));
    temp.store
        .read_blocking(move |tx| {
            let found = payment::by_checkout_request(tx, "ws_CO_1")?.unwrap();
            assert_eq!((found.id, found.state, found.reason.clone()), (one.id, State::Paid, None));
            assert_eq!(payment::by_token_hash(tx, &blake(1))?.as_ref(), Some(&found));
            assert_eq!(payment::by_receipt(tx, "NLJ7RT61SV")?.as_ref(), Some(&found));
            assert_eq!(payment::load(tx, &one.id)?.as_ref(), Some(&found));
            let states: Vec<State> = payment::steps(tx, &one.id)?.iter().map(|s| s.to).collect();
            assert_eq!(states, [State::Submitting, State::Awaiting, State::Failed, State::Paid]);
            let first = payment::list(tx, &Filter::default(), None, 1)?;
            let second = payment::list(tx, &Filter::default(), first.next.as_deref(), 1)?;
            assert_eq!((first.rows[0].id, second.rows[0].id, second.next), (two.id, one.id, None));
            let stuck = Filter {
                states: vec![State::Created, State::Awaiting],
                updated_before: Some(at(30)),
                invoice: Some(key("Invoice/i1")),
                ..Default::default()
            };
            assert_eq!(payment::list(tx, &stuck, None, 10)?.rows.len(), 1);
            let takings = payment::takings(tx, at(0), at(100))?;
            assert_eq!((takings.len(), takings[0].payments, takings[0].amount_minor), (1, 1, 150_000));
            Ok::<_, Error>(())
        })
        .unwrap();
}

#[test]
fn payments_move_by_compare_and_set() {
    both().iter().for_each(payment_states);
}

/// Two callbacks at once: one moves the payment and posts, the other changes nothing.
fn callbacks(temp: &TempStore) {
    accounts(temp);
    let new = new_payment(3);
    let id = new.id;
    temp.store.write_blocking(move |tx| payment::create(tx, &new)).unwrap();
    let moved: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..6)
            .map(|_| {
                let store = temp.store.clone();
                scope.spawn(move || {
                    store
                        .write_blocking(move |tx| {
                            let paid = Move {
                                receipt: Some("R1".into()),
                                ..step(id, &[State::Created], State::Paid)
                            };
                            let moved = savepoint(tx, |tx| payment::advance(tx, &paid));
                            match moved {
                                Ok(()) => {}
                                Err(payment::Error::WrongState(State::Paid)) => return Ok(0),
                                Err(other) => return Err(other),
                            }
                            let entries = [("mpesa", 150_000, "KES"), ("receivable", -150_000, "KES")];
                            let posted = ledger::post(tx, &transaction("mpesa:R1", 60, &entries)).unwrap();
                            assert_eq!(posted, Posted::New);
                            Ok(1)
                        })
                        .unwrap()
                })
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(moved, 1, "{}", temp.engine);
    let balance = temp.store.read_blocking(|tx| ledger::balance(tx, "mpesa", None, None)).unwrap();
    assert_eq!(balance, 150_000);
}

#[test]
fn concurrent_callbacks_post_once() {
    both().iter().for_each(callbacks);
}
