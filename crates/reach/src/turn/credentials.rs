//! Time-limited relay credentials: the "TURN REST" scheme that coturn and every browser understand.
//! Nothing is stored; the user name carries its own expiry and the password is a MAC over it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;
use sha2::Sha256;

/// The longest life of a credential (OWASP ASVS 17.1 and our control N9).
pub const CREDENTIAL_SECONDS_MAX: u32 = 600;
/// A nonce is bound to this many seconds; then the client is told 438 and takes a new one.
const NONCE_SECONDS: i64 = 600;
const NONCE_TAG_BYTES: usize = 12;
const ACCOUNT_LENGTH_MAX: usize = 128;

/// Makes and checks credentials and nonces.
pub struct Authority {
    secret: Vec<u8>,
}

/// A user name that this server issued and that has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub account: String,
    pub password: String,
}

impl Authority {
    pub fn new(secret: Vec<u8>) -> Self {
        Self { secret }
    }

    /// User name `"<unix second of expiry>:<account>"` and its password, base64(HMAC-SHA1(secret, name)).
    pub fn issue(&self, account: &str, now: Timestamp, seconds: u32) -> (String, String, Timestamp) {
        let expires = now.as_second() + i64::from(seconds.min(CREDENTIAL_SECONDS_MAX));
        let username = format!("{expires}:{account}");
        let password = self.password(&username);
        (username, password, Timestamp::from_second(expires).unwrap_or(now))
    }

    /// What the holder of `username` must know; None when the name is malformed or expired.
    pub fn check(&self, username: &str, now: Timestamp) -> Option<Known> {
        let (expires, account) = username.split_once(':')?;
        let expires: i64 = expires.parse().ok()?;
        let left = expires.saturating_sub(now.as_second());
        // A name that outlives the longest lease was not made by this server in good order.
        if left <= 0 || left > i64::from(CREDENTIAL_SECONDS_MAX) || account.len() > ACCOUNT_LENGTH_MAX {
            return None;
        }
        Some(Known { account: account.to_owned(), password: self.password(username) })
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
        let (username, password, expires) = authority.issue("account-1", at(1_000), 86_400);
        assert_eq!(username, "1600:account-1", "never longer than ten minutes");
        assert_eq!(expires, at(1_600));
        // echo -n 1600:account-1 | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(password, "RLv39bKCpedRWBk+4Y46AMuIWo8=");
        assert_eq!(password, authority.check(&username, at(1_001)).unwrap().password);
        assert_eq!(authority.check(&username, at(1_599)).unwrap().account, "account-1");
        assert_eq!(authority.check(&username, at(1_600)), None);
        assert_eq!(authority.check("99999999:account-1", at(1_000)), None, "a forged long life");
        assert_eq!(authority.check("nonsense", at(1_000)), None);
        assert_ne!(Authority::new(b"south".to_vec()).issue("account-1", at(1_000), 600).1, password);
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
