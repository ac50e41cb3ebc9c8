//! Telephone numbers as mobile-money providers want them.

use std::fmt;

/// A Kenyan mobile number in the only form Daraja takes for an STK push: twelve digits that match
/// `^254[17]\d{8}$`, without plus sign.
///
/// Reading numbers of any form to E.164 is the caller's part; this type only says whether such a
/// number can receive a payment prompt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Msisdn(u64);

/// Why a number cannot receive a payment prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MsisdnError {
    /// Not a number of Kenya (+254).
    #[error("only Kenyan mobile numbers (+254) can pay by M-PESA")]
    NotKenyan,
    /// Kenyan, but neither `+254 7…` nor `+254 1…` with nine digits: a landline or a wrong length.
    #[error("this is not a Kenyan mobile number: +254 and nine digits that start with 7 or 1")]
    NotMobile,
}

impl Msisdn {
    /// Reads an E.164 number, with or without its leading plus sign.
    ///
    /// Errors: [MsisdnError::NotKenyan], [MsisdnError::NotMobile].
    pub fn parse(e164: &str) -> Result<Msisdn, MsisdnError> {
        let digits = e164.strip_prefix('+').unwrap_or(e164);
        let rest = digits.strip_prefix("254").ok_or(MsisdnError::NotKenyan)?;
        let mobile =
            rest.len() == 9 && rest.starts_with(['7', '1']) && rest.bytes().all(|byte| byte.is_ascii_digit());
        if !mobile {
            return Err(MsisdnError::NotMobile);
        }
        digits.parse().map(Msisdn).map_err(|_| MsisdnError::NotMobile)
    }

    /// The twelve digits as a number, the form Daraja takes in `PartyA` and `PhoneNumber`.
    pub fn number(self) -> u64 {
        self.0
    }

    /// With its plus sign: `+254712345678`.
    pub fn e164(self) -> String {
        format!("+{}", self.0)
    }
}

impl fmt::Display for Msisdn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Shows only the last three digits, so that a number never reaches a log whole.
impl fmt::Debug for Msisdn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Msisdn(…{:03})", self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_kenyan_mobiles_can_be_prompted() {
        for (text, expected) in [
            ("+254712345678", Ok(254_712_345_678)),
            ("254712345678", Ok(254_712_345_678)),
            ("+254110123456", Ok(254_110_123_456)),
            ("+254202345678", Err(MsisdnError::NotMobile)),
            ("+25471234567", Err(MsisdnError::NotMobile)),
            ("+2547123456789", Err(MsisdnError::NotMobile)),
            ("+254 712345678", Err(MsisdnError::NotMobile)),
            ("+25471234567x", Err(MsisdnError::NotMobile)),
            ("0712345678", Err(MsisdnError::NotKenyan)),
            ("+256712345678", Err(MsisdnError::NotKenyan)),
            ("", Err(MsisdnError::NotKenyan)),
            ("++254712345678", Err(MsisdnError::NotKenyan)),
        ] {
            assert_eq!(Msisdn::parse(text).map(Msisdn::number), expected, "{text:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_number() {
        let number = Msisdn::parse("+254712345678").unwrap();
        assert_eq!(format!("{number:?}"), "Msisdn(…678)");
        assert_eq!(number.to_string(), "254712345678");
        assert_eq!(number.e164(), "+254712345678");
    }

    proptest! {
        #[test]
        fn accepted_numbers_round_trip(text in ".{0,16}") {
            if let Ok(number) = Msisdn::parse(&text) {
                prop_assert_eq!(Msisdn::parse(&number.e164()), Ok(number));
            }
        }
    }
}
