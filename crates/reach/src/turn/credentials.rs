//! Time-limited relay credentials: the "TURN REST" scheme that coturn and every browser understand.
//! Nothing is stored; the user name carries its own expiry and the password is a MAC over it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use parking_lot::Mutex;
use sha1::Sha1;
use sha2::Sha256;
use std::collections::HashMap;

/// The longest life of a credential (OWASP ASVS 17.1 and our control N9).
pub const CREDENTIAL_SECONDS_MAX: u32 = 600;
/// A nonce is bound to this many seconds; then the client is told 438 and takes a new one.
const NONCE_SECONDS: i64 = 600;
const NONCE_TAG_BYTES: usize = 12;
const HOLDER_LENGTH_MAX: usize = 128;
/// Holders whose older credentials are refused at once; each is forgotten after [CREDENTIAL_SECONDS_MAX].
const TAKEN_BACK_MAX: usize = 10_000;

/// Makes and checks credentials and nonces.
pub struct Authority {
    secret: Vec<u8>,
    /// By holder: no credential that ends at this second or before is honoured.
    taken_back: Mutex<HashMap<String, i64>>,
}

/// Who holds a credential: an account, and for one call if it was issued for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub account: String,
    pub call: Option<String>,
}

impl Holder {
    pub fn new(account: &str, call: Option<&str>) -> Self {
        Self { account: account.to_owned(), call: call.map(str::to_owned) }
    }

    /// Whether it is of this account, and for this call or for none.
    pub fn is_of(&self, account: &str, call: &str) -> bool {
        self.account == account && self.call.as_deref().is_none_or(|own| own == call)
    }

    fn read(text: &str) -> Self {
        match text.split_once(CALL_AFTER) {
            Some((account, call)) => Self::new(account, Some(call)),
            None => Self::new(text, None),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.account)?;
        self.call.iter().try_for_each(|call| write!(f, "{CALL_AFTER}{call}"))
    }
}

/// Between account and call; ids of FHIR and account numbers have none.
const CALL_AFTER: char = '/';

/// A user name that this server issued and that has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub holder: Holder,
    pub password: String,
}

impl Authority {
    pub fn new(secret: Vec<u8>) -> Self {
        Self { secret, taken_back: Mutex::default() }
    }

    /// User name `"<unix second of expiry>:<account>[/<call>]"` and its password, base64(HMAC-SHA1(secret, name)).
    pub fn issue(&self, holder: &Holder, now: Timestamp, seconds: u32) -> (String, String, Timestamp) {
        let expires = now.as_second() + i64::from(seconds.min(CREDENTIAL_SECONDS_MAX));
        let username = format!("{expires}:{holder}");
        let password = self.password(&username);
        (username, password, Timestamp::from_second(expires).unwrap_or(now))
    }

    /// Honours nothing more that was issued to this holder until now, with this life. Of another process that has the same
    /// secret it is honoured still: calls belong to one process.
    pub fn take_back(&self, holder: &Holder, now: Timestamp, seconds: u32) {
        let until = now.as_second() + i64::from(seconds.min(CREDENTIAL_SECONDS_MAX));
        let mut taken = self.taken_back.lock();
        if taken.len() >= TAKEN_BACK_MAX {
            taken.retain(|_, until| *until > now.as_second());
        }
        if taken.len() >= TAKEN_BACK_MAX {
            // Whose credentials end first loses least by being forgotten.
            let first = taken.iter().min_by_key(|(_, until)| **until).map(|(holder, _)| holder.clone());
            first.map(|first| taken.remove(&first));
        }
        taken.insert(holder.to_string(), until);
    }

    /// Whether the name was issued before its holder's credentials were taken back.
    pub fn is_taken_back(&self, username: &str) -> bool {
        let Some((expires, holder)) = username.split_once(':') else { return false };
        let taken = self.taken_back.lock();
        taken.get(holder).is_some_and(|until| expires.parse().is_ok_and(|expires: i64| expires <= *until))
    }

    /// What the holder of `username` must know; None when the name is malformed, expired or taken back.
    pub fn check(&self, username: &str, now: Timestamp) -> Option<Known> {
        let (expires, holder) = username.split_once(':')?;
        let expires: i64 = expires.parse().ok()?;
        let left = expires.saturating_sub(now.as_second());
        // A name that outlives the longest lease was not made by this server in good order.
        if left <= 0 || left > i64::from(CREDENTIAL_SECONDS_MAX) || holder.len() > HOLDER_LENGTH_MAX {
            return None;
        }
        if self.is_taken_back(username) {
            return None;
        }
        Some(Known { holder: Holder::read(holder), password: self.password(username) })
    }

    fn password(&self, username: &str) -> String {
        match Hmac::<Sha1>::new_from_slice(&self.secret) {
            Ok(mut mac) => {
                mac.update(username.as_bytes());
                STANDARD.encode(mac.finalize().into_bytes())
            }
            // HMAC takes keys of any length.
            Err(_) => unreachable!(),
        }
    }

    /// A nonce that needs no memory: second of issue and a MAC that binds it to the client's address.
    /// (A table of nonces would grow with every unauthenticated datagram.)
    pub fn nonce(&self, client: std::net::IpAddr, now: Timestamp) -> String {
        let at = now.as_second();
        format!("{at:x}-{}", self.nonce_tag(client, at))
    }

    /// True while the nonce is fresh and was made for this address.
    pub fn nonce_is_fresh(&self, nonce: &str, client: std::net::IpAddr, now: Timestamp) -> bool {
        let Some((at, tag)) = nonce.split_once('-') else { return false };
        let Ok(at) = i64::from_str_radix(at, 16) else { return false };
        let age = now.as_second().saturating_sub(at);
        (0..=NONCE_SECONDS).contains(&age) && self.nonce_tag(client, at) == tag
    }

    fn nonce_tag(&self, client: std::net::IpAddr, at: i64) -> String {
        match Hmac::<Sha256>::new_from_slice(&self.secret) {
            Ok(mut mac) => {
                mac.update(b"turn nonce");
                mac.update(&at.to_be_bytes());
                mac.update(client.to_string().as_bytes());
                let tag = mac.finalize().into_bytes();
                tag[..NONCE_TAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
            }
            Err(_) => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn credentials_follow_the_rest_scheme_and_expire() {
        let authority = Authority::new(b"north".to_vec());
        let holder = Holder::new("account-1", None);
        let (username, password, expires) = authority.issue(&holder, at(1_000), 86_400);
        assert_eq!(username, "1600:account-1", "never longer than ten minutes");
        assert_eq!(expires, at(1_600));
        // echo -n 1600:account-1 | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(password, "RLv39bKCpedRWBk+4Y46AMuIWo8=");
        assert_eq!(password, authority.check(&username, at(1_001)).unwrap().password);
        assert_eq!(authority.check(&username, at(1_599)).unwrap().holder, holder);
        assert_eq!(authority.check(&username, at(1_600)), None);
        assert_eq!(authority.check("99999999:account-1", at(1_000)), None, "a forged long life");
        assert_eq!(authority.check("nonsense", at(1_000)), None);
        assert_ne!(Authority::new(b"south".to_vec()).issue(&holder, at(1_000), 600).1, password);
    }

    #[test]
    fn what_is_taken_back_opens_nothing() {
        let authority = Authority::new(b"north".to_vec());
        let (call, other) = (Holder::new("1", Some("visit")), Holder::new("1", Some("another")));
        let names = [&call, &other].map(|holder| authority.issue(holder, at(1_000), 600).0);
        assert_eq!(names[0], "1600:1/visit");
        assert_eq!(authority.check(&names[0], at(1_001)).unwrap().holder, call);
        authority.take_back(&call, at(1_100), 600);
        assert_eq!(authority.check(&names[0], at(1_101)), None);
        assert_eq!(authority.check(&names[1], at(1_101)).unwrap().holder, other, "another call goes on");
        let later = authority.issue(&call, at(1_102), 600).0;
        assert_eq!(authority.check(&later, at(1_102)).unwrap().holder, call, "issued again after that");
        for number in 0..=TAKEN_BACK_MAX {
            authority.take_back(&Holder::new(&number.to_string(), None), at(1_103), 600);
        }
        assert!(authority.taken_back.lock().len() <= TAKEN_BACK_MAX);
    }

    #[test]
    fn nonces_are_bound_to_address_and_time() {
        let authority = Authority::new(b"north".to_vec());
        let (home, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let nonce = authority.nonce(home, at(5_000));
        assert!(authority.nonce_is_fresh(&nonce, home, at(5_600)));
        assert!(!authority.nonce_is_fresh(&nonce, home, at(5_601)));
        assert!(!authority.nonce_is_fresh(&nonce, home, at(4_999)));
        assert!(!authority.nonce_is_fresh(&nonce, other, at(5_000)));
        assert!(!authority.nonce_is_fresh("1388-", home, at(5_000)));
        assert!(!authority.nonce_is_fresh("", home, at(5_000)));
    }
}
