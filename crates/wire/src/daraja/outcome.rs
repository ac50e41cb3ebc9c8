//! How a payment prompt ended.

/// The meaning of a `ResultCode` of an STK push. Safaricom publishes no complete list, so an unknown
/// code is never taken for a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StkOutcome {
    /// 0: the money moved.
    Paid,
    /// 1031, 1032: cancelled on the handset (some handsets also send it when the prompt times out).
    Cancelled,
    /// 2001: the PIN was wrong.
    WrongPin,
    /// 1: not enough money.
    InsufficientFunds,
    /// 4, 8: over a limit of the payer's account.
    LimitExceeded,
    /// 1019: the transaction expired before it was answered.
    Expired,
    /// 1025, 1036, 1037, 9999: the prompt was not delivered or not answered.
    Unreachable,
    /// 17, 26, 1001: the subscriber or the system is busy with another transaction.
    Busy,
    /// 4999: not ended yet, ask again. Comes with HTTP 200 from the query.
    StillProcessing,
    /// Any other code, kept as sent: a person or a later query must decide.
    NeedsReview(String),
}

impl StkOutcome {
    /// Reads a `ResultCode`, which Daraja sends as a number in callbacks and as a string in queries.
    pub fn of(result_code: &str) -> StkOutcome {
        match result_code.trim() {
            "0" => StkOutcome::Paid,
            "1" => StkOutcome::InsufficientFunds,
            "4" | "8" => StkOutcome::LimitExceeded,
            "17" | "26" | "1001" => StkOutcome::Busy,
            "1019" => StkOutcome::Expired,
            "1025" | "1036" | "1037" | "9999" => StkOutcome::Unreachable,
            "1031" | "1032" => StkOutcome::Cancelled,
            "2001" => StkOutcome::WrongPin,
            "4999" => StkOutcome::StillProcessing,
            other => StkOutcome::NeedsReview(other.to_owned()),
        }
    }

    /// Whether the provider has decided. `false` for [StkOutcome::StillProcessing] and
    /// [StkOutcome::NeedsReview].
    pub fn is_decided(&self) -> bool {
        !matches!(self, StkOutcome::StillProcessing | StkOutcome::NeedsReview(_))
    }

    /// Whether money may still arrive for this prompt although this outcome says it did not: seen after
    /// 26, 1037 and 9999. Such a payment is not offered again without a query.
    pub fn late_success_possible(&self) -> bool {
        matches!(
            self,
            StkOutcome::Unreachable
                | StkOutcome::Busy
                | StkOutcome::StillProcessing
                | StkOutcome::NeedsReview(_)
        )
    }
}
