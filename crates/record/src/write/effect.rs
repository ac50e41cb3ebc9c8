//! Rows outside the FHIR record that change in the same transaction.

use crate::{Effect, Error, Rule};
use serde_json::json;
use store::Tx;

/// Errors: `Duplicate` or `Rule` with the store's reason; the caller rolls everything back.
pub(super) fn run(tx: &mut dyn Tx, effect: &Effect) -> Result<(), Error> {
    match effect {
        Effect::Claim { actor, start, end, by } => {
            store::claim::take(tx, actor, *start, *end, by).map_err(|error| match error {
                store::claim::Error::Taken { actor, .. } => Error::Duplicate(
                    Rule::new("slot-taken", "This time has just been taken; choose another.")
                        .with(json!({"actor": actor.to_string()})),
                ),
                store::claim::Error::BadSpan => Error::Rule(Rule::new("slot-invalid", error.to_string())),
                store::claim::Error::Store(error) => error.into(),
            })
        }
        Effect::Release { by } => {
            store::claim::release(tx, by)?;
            Ok(())
        }
        Effect::Post(transaction) => match store::ledger::post(tx, transaction) {
            Ok(_) => Ok(()),
            Err(store::ledger::Error::Store(error)) => Err(error.into()),
            Err(error @ store::ledger::Error::KeyReused(_)) => {
                Err(Error::Duplicate(Rule::new("posting-differs", error.to_string())))
            }
            // The program planned a wrong posting: nothing the caller can repair.
            Err(error) => Err(Error::Internal(format!("ledger: {error}"))),
        },
        // Two starters of the same try make the same id: the second one finds the first one's payment under way.
        Effect::PaymentCreate(payment) => match store::payment::load(tx, &payment.id)? {
            Some(_) => Err(Error::Duplicate(Rule::new("payment-open", "A payment is under way."))),
            None => store::payment::create(tx, payment).map_err(payment_error),
        },
        Effect::PaymentMove(step) => store::payment::advance(tx, step).map_err(payment_error),
        Effect::LedgerAccount(account) => Ok(store::ledger::ensure_account(tx, account)?),
        Effect::Inbox { source, key, body } => {
            let now = tx.now()?;
            store::inbox::receive(tx, source, key, body, now)?;
            Ok(())
        }
        Effect::Message(message) => Ok(store::message::insert(tx, message)?),
        Effect::Job(job) => {
            store::job::insert(tx, job)?;
            Ok(())
        }
        Effect::CancelJobs { key } => {
            store::job::cancel(tx, key)?;
            Ok(())
        }
        Effect::AccountCreate(account) => {
            // Two registrations may wait for their codes at once; the second to be confirmed finds the first.
            if let (Some(phone), [access::Role::Patient]) = (&account.phone, &*account.roles)
                && store::account::by_phone(tx, phone)?.iter().any(|a| a.patient.is_some())
            {
                let text = "This number already has an account. Sign in, or reset your password.";
                return Err(Error::Duplicate(Rule::new("phone-taken", text).at("/phone")));
            }
            store::account::create(tx, account).map_err(account_error)?;
            Ok(())
        }
        Effect::Merge { merge, stays } => {
            let left = store::merge::left_behind(tx, &merge.source)?;
            let is_late = |(kind, rid): &(fhir::TypeId, i64)| {
                !crate::operation::merge::STAYS.contains(kind) && !stays.contains(rid)
            };
            if left.iter().any(is_late) {
                return Err(Error::VersionConflict { current: None });
            }
            Ok(store::merge::apply(tx, merge)?)
        }
        Effect::Rights(effect) => crate::rights::run(tx, effect),
        Effect::AccountChange(settling) => crate::authn::four_eyes::run(tx, settling),
        Effect::Subject(effect) => crate::subject::run(tx, effect),
        Effect::Unmerge { id } => {
            let now = tx.now()?;
            match store::merge::undo(tx, id, now)? {
                true => Ok(()),
                false => Err(Error::VersionConflict { current: None }),
            }
        }
        Effect::AccountUpdate(change) => {
            store::account::update(tx, change).map_err(account_error)?;
            // Other rights or none: what was signed in before must sign in again.
            if change.disabled == Some(true) || change.roles.is_some() || change.password_hash.is_some() {
                store::session::end_all(tx, change.account, None)?;
            }
            Ok(())
        }
    }
}

fn payment_error(error: store::payment::Error) -> Error {
    match error {
        store::payment::Error::NotFound => Error::NotFound,
        store::payment::Error::WrongState(state) => Error::Duplicate(
            Rule::new("payment-state", format!("The payment is {}.", state.code()))
                .with(json!({"state": state.code()})),
        ),
        store::payment::Error::ReceiptUsed(_) => {
            Error::Duplicate(Rule::new("receipt-used", "This receipt belongs to another payment."))
        }
        store::payment::Error::BadAmount => {
            Error::Rule(Rule::new("amount-invalid", "The amount must be positive."))
        }
        store::payment::Error::Store(error) => error.into(),
    }
}

pub(crate) fn account_error(error: store::account::Error) -> Error {
    match error {
        store::account::Error::LoginTaken => {
            Error::Duplicate(Rule::new("login-taken", "This login is taken.").at("/login"))
        }
        store::account::Error::NotFound => Error::NotFound,
        store::account::Error::Store(error) => error.into(),
    }
}
