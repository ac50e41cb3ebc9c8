//! What must be found by its value and must not stand in the tables: phones, e-mail addresses, identifiers of people.
//!
//! In the index such a value is replaced by its *blind index*, HMAC-SHA-256 under a key of this installation; a search asks
//! for that of the value it looks for. In tables from which the value must be read again it is encrypted
//! deterministically: the nonce is such an HMAC (a synthetic nonce, as RFC 5297 has it), so equal values are equal texts
//! and can be found, and be unique. Texts that nobody looks for by value are sealed with a random nonce.
//!
//! A database on PostgreSQL does so; an embedded one lies inside SQLCipher as a whole and need not. What is known to who has the
//! tables and no key: which rows have the same value, how often each occurs, how long an encrypted one is.

use super::Vault;
use crate::{Error, Result, Secret32, Tx};
use fhir::{ParamId, TypeId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use std::borrow::Cow;
use std::sync::OnceLock;

/// Before an encrypted text: nothing that a person writes begins so.
const SEALED: &str = "enc1:";
/// Before a blind index.
const BLIND: char = '~';
/// Bytes of a blind index: enough that no two values meet.
const BLIND_BYTES: usize = 16;
/// Numbers of a server's own search parameters are above this.
const LAST_STANDARD: u16 = 19_999;

/// Keys for values, made from the shared data key; they never change.
pub(crate) struct Blind {
    mac: hmac::Key,
    cipher: LessSafeKey,
}

impl Blind {
    pub(super) fn new(mac: &[u8; 32], cipher: &Secret32) -> Result<Blind> {
        let key =
            UnboundKey::new(&AES_256_GCM, cipher.as_bytes()).map_err(|_| Error::Corrupt("key".into()))?;
        Ok(Blind { mac: hmac::Key::new(hmac::HMAC_SHA256, mac), cipher: LessSafeKey::new(key) })
    }

    fn hash(&self, label: &str, text: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(label.as_bytes());
        context.update(b"\n");
        context.update(text.as_bytes());
        context.sign()
    }

    fn index(&self, text: &str) -> String {
        format!("{BLIND}{}", super::hex(&self.hash("index", text).as_ref()[..BLIND_BYTES]))
    }

    fn seal(&self, column: &str, nonce: [u8; NONCE_LEN], text: &str) -> Result<String> {
        let mut bytes = text.as_bytes().to_vec();
        self.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(column.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| Error::Database("AES-GCM refused".into()))?;
        Ok(format!("{SEALED}{}{}", super::hex(&nonce), super::hex(&bytes)))
    }

    fn open(&self, column: &str, stored: &str) -> Result<String> {
        let corrupt = || Error::Corrupt(format!("{column}: its seal is broken"));
        let bytes = super::from_hex(stored).ok_or_else(corrupt)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(corrupt)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| corrupt())?;
        let mut sealed = sealed.to_vec();
        let text = self.cipher.open_in_place(nonce, Aad::from(column.as_bytes()), &mut sealed);
        String::from_utf8(text.map_err(|_| corrupt())?.to_vec()).map_err(|_| corrupt())
    }
}

/// Whether this database keeps such values out of its tables.
pub(crate) fn is_on(tx: &mut dyn Tx) -> bool {
    tx.sealing().vault.is_blind()
}

/// A value as it is stored in `column` (`table.column`) and looked for there.
pub(crate) fn value<'t>(tx: &mut dyn Tx, column: &str, text: &'t str) -> Result<Cow<'t, str>> {
    let Some(blind) = tx.sealing().vault.blind()? else { return Ok(Cow::Borrowed(text)) };
    if text.is_empty() || text.starts_with(SEALED) {
        return Ok(Cow::Borrowed(text));
    }
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&blind.hash(column, text).as_ref()[..NONCE_LEN]);
    blind.seal(column, nonce, text).map(Cow::Owned)
}

/// As [value], of what may be missing.
pub(crate) fn opt_value(tx: &mut dyn Tx, column: &str, text: Option<&String>) -> Result<Option<String>> {
    text.map(|text| value(tx, column, text).map(Cow::into_owned)).transpose()
}

/// A text that nobody looks for by its value.
pub(crate) fn words<'t>(tx: &mut dyn Tx, column: &str, text: &'t str) -> Result<Cow<'t, str>> {
    let Some(blind) = tx.sealing().vault.blind()? else { return Ok(Cow::Borrowed(text)) };
    if text.is_empty() || text.starts_with(SEALED) {
        return Ok(Cow::Borrowed(text));
    }
    blind.seal(column, super::sealing::nonce()?, text).map(Cow::Owned)
}

/// What [value] or [words] stored; others are given back as they are.
pub(crate) fn read(vault: &Vault, column: &str, stored: &str) -> Result<String> {
    let Some(sealed) = stored.strip_prefix(SEALED) else { return Ok(stored.to_owned()) };
    let keys = vault.value_keys()?;
    keys.ok_or_else(|| Error::KeysMissing("of encrypted values".into()))?.open(column, sealed)
}

/// The code that stands in the index for this one.
pub(crate) fn code<'t>(tx: &mut dyn Tx, text: &'t str) -> Result<Cow<'t, str>> {
    let Some(blind) = tx.sealing().vault.blind()? else { return Ok(Cow::Borrowed(text)) };
    if text.is_empty() || text.starts_with(BLIND) {
        return Ok(Cow::Borrowed(text));
    }
    Ok(Cow::Owned(blind.index(text)))
}

/// Whether values of this parameter tell who somebody is: identifiers and ways to reach people, and whatever a server's own
/// parameters take from them.
pub(crate) fn is_identifying(kind: TypeId, param: ParamId) -> bool {
    static STANDARD: OnceLock<Vec<(TypeId, ParamId)>> = OnceLock::new();
    static PEOPLE: OnceLock<Vec<TypeId>> = OnceLock::new();
    let people = PEOPLE.get_or_init(|| {
        let names = ["Patient", "Person", "RelatedPerson", "Practitioner", "Coverage"];
        names.into_iter().filter_map(TypeId::from_name).collect()
    });
    if !people.contains(&kind) {
        return false;
    }
    let standard = STANDARD.get_or_init(|| {
        let codes = ["identifier", "telecom", "phone", "email", "subscriber"];
        let one = |kind: &TypeId, code| Some((*kind, fhir::definitions::param(*kind, code)?.id));
        people.iter().flat_map(|kind| codes.into_iter().filter_map(move |code| one(kind, code))).collect()
    });
    param.0 > LAST_STANDARD || standard.contains(&(kind, param))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_not_seen() {
        let blind = Blind::new(&[1; 32], &Secret32::new([2; 32])).unwrap();
        let other = Blind::new(&[3; 32], &Secret32::new([2; 32])).unwrap();
        let phone = "+254712345678";
        assert_eq!(blind.index(phone), blind.index(phone));
        assert_ne!(blind.index(phone), blind.index("+254712345679"));
        assert_ne!(blind.index(phone), other.index(phone));
        assert_eq!(blind.index(phone).len(), 33);
        let sealed = blind.seal("a.b", [7; 12], phone).unwrap();
        assert!(!sealed.contains("712345678"));
        let stored = sealed.strip_prefix(SEALED).unwrap();
        assert_eq!(blind.open("a.b", stored).unwrap(), phone);
        assert!(blind.open("a.c", stored).is_err());
        assert!(blind.open("a.b", &stored[..stored.len() - 2]).is_err());
        let patient = TypeId::PATIENT;
        let param = |code| fhir::definitions::param(patient, code).unwrap().id;
        for (code, is_one) in
            [("identifier", true), ("phone", true), ("email", true), ("gender", false), ("active", false)]
        {
            assert_eq!(is_identifying(patient, param(code)), is_one, "{code}");
        }
    }
}
