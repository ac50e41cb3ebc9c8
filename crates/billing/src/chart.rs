//! The chart of accounts and the postings of each event. Debits are positive.

use record::{ChangeSet, Effect};
use store::ledger::{Account, Kind, NewEntry, NewTransaction};

/// What patients owe.
pub const RECEIVABLE: &str = "1200-patients";
pub const CASH: &str = "1010-cash";
pub const MPESA: &str = "1020-mpesa";
/// Money that arrived and belongs to no invoice yet.
pub const UNALLOCATED: &str = "2100-unallocated";
pub const CONSULTATIONS: &str = "4000-consultations";

const ACCOUNTS: &[(&str, &str, Kind)] = &[
    (CASH, "Cash", Kind::Asset),
    (MPESA, "M-PESA", Kind::Asset),
    (RECEIVABLE, "Owed by patients", Kind::Asset),
    (UNALLOCATED, "Unallocated payments", Kind::Liability),
    (CONSULTATIONS, "Consultations", Kind::Income),
];

/// The accounts of a new installation.
pub fn plan(currency: &str) -> ChangeSet {
    let effects = ACCOUNTS
        .iter()
        .map(|(code, name, kind)| {
            Effect::LedgerAccount(Account {
                code: (*code).into(),
                name: (*name).into(),
                kind: *kind,
                currency: currency.into(),
            })
        })
        .collect();
    ChangeSet { effects, ..ChangeSet::default() }
}

/// Which account a method of payment fills.
pub fn account_of(method: &str) -> &'static str {
    if method == "cash" { CASH } else { MPESA }
}

/// Moves `amount_minor` from `credit` to `debit`.
#[expect(clippy::too_many_arguments, reason = "the parts of one ledger transaction")]
pub fn transfer(
    memo: &str,
    external_key: String,
    cause: Option<&fhir::ResourceKey>,
    debit: &str,
    credit: &str,
    amount_minor: i64,
    currency: &str,
    at: jiff::Timestamp,
) -> Effect {
    let entry = |account: &str, amount_minor| NewEntry {
        account: account.into(),
        amount_minor,
        currency: currency.into(),
    };
    Effect::Post(NewTransaction {
        id: crate::invoice::derived_id("ledger", &external_key),
        at,
        memo: memo.into(),
        cause: cause.cloned(),
        external_key,
        entries: vec![entry(debit, amount_minor), entry(credit, -amount_minor)],
    })
}
