//! Contents under the keys of patients: the one place where they are sealed and opened.
//!
//! A stored content is what [Content] makes of the JSON, sealed: the format's byte, the number of the data key (LEB128),
//! a random nonce, the ciphertext, the tag. What is bound in: the key store's name, the key's number, type, id and version.
//! So a content opens in its own row and version and nowhere else. Contents from before there were such keys are not
//! sealed; they are read as they are, and sealed when they are written again or by [crate::shred::seal_step].

use super::vault::{SHARED, Vault};
use crate::content::SEALED;
use crate::ids::encode_target;
use crate::{Content, Error, Result, Secret32, Tx, params};
use fhir::TypeId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a content lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub kind: TypeId,
    /// As stored.
    pub id: &'a [u8],
    pub version: u32,
}

/// What a transaction knows of keys and has done with them.
pub struct Sealing {
    pub(crate) vault: Arc<Vault>,
    /// Patients' keys this transaction made or looked up.
    pending: HashMap<Vec<u8>, u64>,
    /// It wrote down which key store is the database's own.
    binds: bool,
    /// It erased a patient, whose key is to be destroyed once it has committed.
    pub(crate) erases: bool,
}

impl Sealing {
    pub(crate) fn new(vault: Arc<Vault>) -> Sealing {
        Sealing { vault, pending: HashMap::new(), binds: false, erases: false }
    }

    /// A part of the transaction was undone: what it looked up may be gone.
    pub(crate) fn undo(&mut self) {
        self.pending.clear();
        self.binds = false;
    }

    /// The patient's number must be looked up again.
    pub(crate) fn forget(&mut self, patient: &[u8]) {
        self.pending.remove(patient);
    }

    /// The transaction has committed. True if [crate::shred::destroy_erased] is to be called now.
    pub(crate) fn committed(&mut self) -> bool {
        if self.binds {
            self.vault.set_bound();
            self.binds = false;
        }
        if !self.pending.is_empty() {
            self.vault.add_patients(self.pending.drain());
        }
        std::mem::take(&mut self.erases)
    }
}

/// Why nothing is written for an erased patient: the text of [Error::Constraint].
pub const ERASED: &str = "this patient was erased";
/// The setting that says which key store is the database's own.
pub(crate) const KEY_STORE: &str = "key_store";

/// The number of the key for what lies in these patients' compartments: the patient's own, or the shared one where there is
/// not exactly one. It is made if need be. Errors: [Error::Constraint] if the patient was erased.
pub(crate) fn key_of(tx: &mut dyn Tx, patients: &[String]) -> Result<u64> {
    let vault = tx.sealing().vault.clone();
    if !vault.is_bound() && !tx.sealing().binds {
        crate::setting::put(tx, KEY_STORE, &serde_json::Value::String(vault.name()))?;
        tx.sealing().binds = true;
    }
    let [patient] = patients else { return Ok(SHARED) };
    let patient = encode_target(TypeId::PATIENT, patient);
    if let Some(number) = tx.sealing().pending.get(&patient) {
        return Ok(*number);
    }
    if let Some(number) = vault.of_patient(&patient) {
        return Ok(number);
    }
    let mut found = stored_key(tx, &patient)?;
    if found.is_none() {
        let number = vault.take()?;
        let made = tx.execute(
            "INSERT INTO patient_key (patient, key) VALUES ($1, $2) ON CONFLICT (patient) DO NOTHING",
            params![&patient, number as i64],
        )?;
        // Another server was first, and has committed.
        found = if made == 1 { Some((number, false)) } else { stored_key(tx, &patient)? };
    }
    match found {
        Some((number, false)) => {
            tx.sealing().pending.insert(patient, number);
            Ok(number)
        }
        Some((_, true)) => Err(Error::Constraint(ERASED.into())),
        None => Err(tx.conflict()),
    }
}

/// The key's number, and whether the patient was erased.
fn stored_key(tx: &mut dyn Tx, patient: &[u8]) -> Result<Option<(u64, bool)>> {
    tx.one("SELECT key, erased_us FROM patient_key WHERE patient = $1", params![patient], |row| {
        Ok((row.int(0)? as u64, row.opt_int(1)?.is_some()))
    })
}

/// What goes into the database for this content, of a resource in these patients' compartments.
pub(crate) fn seal_content(
    tx: &mut dyn Tx,
    place: &Place<'_>,
    patients: &[String],
    content: &Content,
) -> Result<Vec<u8>> {
    if !tx.sealing().vault.is_on() {
        return Ok(content.stored().to_vec());
    }
    let number = key_of(tx, patients)?;
    let vault = &tx.sealing().vault;
    let key = vault.key(number)?.ok_or_else(|| Error::Constraint(ERASED.into()))?;
    seal(&key, number, &bound(&vault.id(), number, place), content.stored())
}

/// The JSON of stored bytes; `None` if its key was destroyed. Errors: [Error::Corrupt], [Error::KeysMissing].
pub(crate) fn open_content(vault: &Vault, place: &Place<'_>, stored: &[u8]) -> Result<Option<Arc<[u8]>>> {
    let [SEALED, rest @ ..] = stored else { return Content::read(stored).map(Some) };
    let corrupt = || Error::Corrupt("content".into());
    let (number, rest) = read_number(rest).ok_or_else(corrupt)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(corrupt)?;
    let Some(key) = vault.key(number)? else { return Ok(None) };
    let aad = bound(&vault.id(), number, place);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| corrupt())?;
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.extend_from_slice(sealed);
        let opened = cipher(&key)?.open_in_place(nonce, Aad::from(&aad), buffer);
        let opened = opened.map_err(|_| Error::Corrupt("content: its seal is broken".into()))?;
        let read = Content::read(opened).map(Some);
        // A large one would keep its room for good.
        if buffer.capacity() > MAX_BUFFER {
            *buffer = Vec::new();
        }
        read
    })
}

/// Whether stored bytes are sealed, and under which key.
pub(crate) fn sealed_under(stored: &[u8]) -> Option<u64> {
    match stored {
        [SEALED, rest @ ..] => read_number(rest).map(|(number, _)| number),
        _ => None,
    }
}

const MAX_BUFFER: usize = 256 * 1024;
/// Random bytes fetched from the system at once.
const RANDOM_BYTES: usize = NONCE_LEN * 64;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static RANDOM: RefCell<(usize, [u8; RANDOM_BYTES])> = const { RefCell::new((RANDOM_BYTES, [0; RANDOM_BYTES])) };
}

/// Random, each given out once. They bear 2³² contents under one key; a patient has thousands.
pub(super) fn nonce() -> Result<[u8; NONCE_LEN]> {
    RANDOM.with_borrow_mut(|(at, bytes)| {
        if *at >= RANDOM_BYTES {
            getrandom::fill(bytes).map_err(|e| Error::Database(e.to_string()))?;
            *at = 0;
        }
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&bytes[*at..*at + NONCE_LEN]);
        *at += NONCE_LEN;
        Ok(nonce)
    })
}

fn cipher(key: &Secret32) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_bytes());
    Ok(LessSafeKey::new(key.map_err(|_| Error::Corrupt("data key".into()))?))
}

fn seal(key: &Secret32, number: u64, aad: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let nonce = nonce()?;
    let mut out = Vec::with_capacity(text.len() + 40);
    out.push(SEALED);
    write_number(&mut out, number);
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(text);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut out[start..])
        .map_err(|_| Error::Database("AES-GCM refused".into()))?;
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

/// What a content is bound to.
fn bound(store: &[u8; 16], number: u64, place: &Place<'_>) -> Vec<u8> {
    let mut aad = Vec::with_capacity(64);
    aad.extend_from_slice(b"resource");
    aad.extend_from_slice(store);
    aad.extend_from_slice(&number.to_be_bytes());
    aad.extend_from_slice(&place.kind.0.to_be_bytes());
    aad.extend_from_slice(&place.version.to_be_bytes());
    aad.extend_from_slice(place.id);
    aad
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (n, byte) in bytes.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[n + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for number in [0, 1, 127, 128, 300, 1 << 20, (1 << 62) + 7] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            out.push(9);
            assert_eq!(read_number(&out), Some((number, &[9u8][..])));
        }
        assert_eq!(read_number(&[0xff; 12]), None);
    }
}
