//! Passkeys: WebAuthn Level 2, discoverable credentials with user verification, signatures by ES256, EdDSA or RS256.
//!
//! Written here over `ring` instead of taking `webauthn-rs`: that brings 83 packages, among them unreleased RSA code
//! with an open advisory, for what is one signature over two hashes. No attestation is asked for and none is believed.

use super::cbor::{self, Value as Cbor};
use super::{Origin, PasskeyRow, Session, Site, secret, session};
use crate::{Error, Record, Rule};
use access::{Ctx, Factor};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::account::Account;
use store::audit::Outcome;
use store::ceremony::Ceremony;
use store::factor::Passkey;
use subtle::ConstantTimeEq;

const KIND: &str = "passkey-registration";
const USED: &str = "passkey-sign-in";
/// How long a challenge waits.
const WAITS: SignedDuration = SignedDuration::from_mins(5);
const TIMEOUT_MS: u32 = 300_000;
const MAX_NAME_CHARS: usize = 60;
/// Largest credential id, WebAuthn §5.8.3.
const MAX_ID_BYTES: usize = 1023;
/// Largest field of a browser's answer, base64.
const MAX_FIELD_CHARS: usize = 64 * 1024;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;
const HAS_EXTENSIONS: u8 = 0x80;

/// COSE numbers of algorithms, RFC 9053.
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// What a browser answered to a challenge, and what was kept about it.
pub(super) struct Assertion {
    pub credential: Value,
    pub state: Value,
}

fn refused(text: &'static str) -> Error {
    Error::Rule(Rule::new("passkey-refused", text).at("/credential"))
}

fn unavailable() -> Error {
    let text = "Passkeys need this server to be reached by a name and over HTTPS.";
    Error::Rule(Rule::new("passkeys-unavailable", text))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &Value) -> Option<Vec<u8>> {
    let text = text.as_str().filter(|t| t.len() <= MAX_FIELD_CHARS)?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// For the owner's list.
pub(super) fn row(passkey: Passkey) -> PasskeyRow {
    let data: Value = serde_json::from_str(&passkey.data).unwrap_or_default();
    PasskeyRow {
        id: encode(&passkey.credential),
        name: passkey.name,
        is_synced: data["backed_up"].as_bool().unwrap_or_default(),
        created_at: passkey.created,
        last_used_at: passkey.last_used,
    }
}

/// What an authenticator calls the person; says nothing about her.
fn handle(account: i64) -> [u8; 16] {
    let mut handle = [0; 16];
    handle.copy_from_slice(&secret::hash(&format!("passkey user\n{account}"))[..16]);
    handle
}

/// The parts of authenticator data, WebAuthn §6.1.
struct AuthenticatorData<'a> {
    flags: u8,
    count: u32,
    /// Id and key, at registration.
    credential: Option<(&'a [u8], Cbor)>,
}

fn authenticator_data<'a>(bytes: &'a [u8], site: &Site) -> Result<AuthenticatorData<'a>, Error> {
    let short = || refused("The authenticator's data is not complete.");
    let (hash, rest) = bytes.split_at_checked(32).ok_or_else(short)?;
    if !bool::from(hash.ct_eq(Sha256::digest(site.id.as_bytes()).as_slice())) {
        return Err(refused("This passkey belongs to another site."));
    }
    let (flags, rest) = rest.split_first().ok_or_else(short)?;
    let (count, mut rest) = rest.split_at_checked(4).ok_or_else(short)?;
    if flags & USER_PRESENT == 0 || flags & USER_VERIFIED == 0 {
        return Err(refused("The device did not check that it is you."));
    }
    if flags & BACKED_UP != 0 && flags & BACKUP_ELIGIBLE == 0 {
        return Err(refused("The authenticator contradicts itself."));
    }
    let mut credential = None;
    if flags & HAS_CREDENTIAL != 0 {
        let (_aaguid, after) = rest.split_at_checked(16).ok_or_else(short)?;
        let (length, after) = after.split_at_checked(2).ok_or_else(short)?;
        let length = usize::from(length[0]) << 8 | usize::from(length[1]);
        if length == 0 || length > MAX_ID_BYTES {
            return Err(refused("The passkey's id has an impossible length."));
        }
        let (id, after) = after.split_at_checked(length).ok_or_else(short)?;
        let (key, after) = cbor::read(after).ok_or_else(short)?;
        credential = Some((id, key));
        rest = after;
    }
    if flags & HAS_EXTENSIONS != 0 {
        let (_, after) = cbor::read(rest).ok_or_else(short)?;
        rest = after;
    }
    if !rest.is_empty() {
        return Err(refused("The authenticator's data has something behind it."));
    }
    let count = u32::from_be_bytes([count[0], count[1], count[2], count[3]]);
    Ok(AuthenticatorData { flags: *flags, count, credential })
}

/// Errors: `Rule` `passkey-refused`.
fn check_client_data(bytes: &[u8], kind: &str, challenge: &str, site: &Site) -> Result<(), Error> {
    let data: Value =
        serde_json::from_slice(bytes).map_err(|_| refused("The browser's answer is not understood."))?;
    if data["type"] != kind {
        return Err(refused("The answer is to another question."));
    }
    let given = data["challenge"].as_str().unwrap_or_default().trim_end_matches('=');
    if challenge.is_empty() || !bool::from(given.as_bytes().ct_eq(challenge.as_bytes())) {
        return Err(refused("This took too long, or was used before; begin again."));
    }
    if data["origin"].as_str() != Some(&site.origin) || data["crossOrigin"] == true {
        return Err(refused("The answer came from a page of another site."));
    }
    Ok(())
}

/// A COSE key (RFC 9053) as it is kept: `{"alg": …, "key": …}`. `None` for what we do not offer.
fn public_key(key: &Cbor) -> Option<Value> {
    let bytes = |name: i64, length: usize| key.get(name)?.bytes().filter(|b| b.len() == length);
    match (key.get(1)?.int()?, key.get(3)?.int()?) {
        (2, ES256) if key.get(-1)?.int()? == 1 => {
            let point = [&[4], bytes(-2, 32)?, bytes(-3, 32)?].concat();
            Some(json!({"alg": ES256, "key": encode(&point)}))
        }
        (1, EDDSA) if key.get(-1)?.int()? == 6 => Some(json!({"alg": EDDSA, "key": encode(bytes(-2, 32)?)})),
        (3, RS256) => {
            let (n, e) = (key.get(-1)?.bytes()?, key.get(-2)?.bytes()?);
            ((256..=1024).contains(&n.len()) && e.len() <= 4)
                .then(|| json!({"alg": RS256, "n": encode(n), "e": encode(e)}))
        }
        _ => None,
    }
}

fn verifies(key: &Value, message: &[u8], signature: &[u8]) -> bool {
    use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
    let raw = || decode(&key["key"]).unwrap_or_default();
    match key["alg"].as_i64() {
        Some(ES256) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, raw())
            .verify(message, signature)
            .is_ok(),
        Some(EDDSA) => UnparsedPublicKey::new(&signature::ED25519, raw()).verify(message, signature).is_ok(),
        Some(RS256) => {
            let (Some(n), Some(e)) = (decode(&key["n"]), decode(&key["e"])) else { return false };
            let key = RsaPublicKeyComponents { n, e };
            key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
        }
        _ => false,
    }
}

/// For the fuzzer: reads any bytes wherever the answer of a browser is read.
pub(super) fn read_foreign(bytes: &[u8], site: &Site) {
    let mut data = bytes.to_vec();
    if let Some(hash) = data.get_mut(..32) {
        // Nothing would be read of another site's.
        hash.copy_from_slice(&Sha256::digest(site.id.as_bytes()));
    }
    let found = authenticator_data(&data, site).ok().and_then(|data| data.credential);
    let bare = cbor::read(bytes).map(|(key, _)| key);
    for key in found.map(|(_, key)| key).into_iter().chain(bare).filter_map(|key| public_key(&key)) {
        verifies(&key, b"message", bytes);
    }
    drop(check_client_data(bytes, "webauthn.get", "challenge", site));
}

fn clean_name(text: &str) -> Result<String, Error> {
    let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        let text = "Give the passkey a name of at most 60 characters.";
        return Err(Error::Rule(Rule::new("name-required", text).at("/name")));
    }
    Ok(name)
}

impl Record {
    /// How browsers reach this server, e.g. `https://clinic.example`: passkeys belong to that name. The first call
    /// counts. A loopback address stands for `localhost`.
    pub fn set_site(&self, public_url: &str) {
        let _ = self.inner.public_url.set(public_url.to_owned());
        if let Some(site) = Site::of(public_url) {
            let _ = self.inner.site.set(site);
        }
    }

    fn site(&self) -> Result<&Site, Error> {
        self.inner.site.get().ok_or_else(unavailable)
    }

    /// Begins to make a passkey: its id for the next step, and what `navigator.credentials.create` takes.
    /// Errors: `Unauthenticated`, `StepUpNeeded`, `Rule` `passkeys-unavailable`.
    pub async fn begin_passkey(&self, ctx: &Ctx, site_name: &str) -> Result<(String, Value), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        self.require_settled(ctx).await?;
        let site = self.site()?;
        let account = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        let known = self.reading(move |tx| Ok(store::factor::passkeys(tx, id)?)).await?;
        let (ceremony, challenge) = (secret::token()?, secret::token()?);
        let name = account.login.or(account.email).or(account.phone);
        let options = json!({"publicKey": {
            "rp": {"id": site.id, "name": site_name},
            "user": {"id": encode(&handle(id)), "name": name.unwrap_or_else(|| account.display.clone()),
                "displayName": account.display},
            "challenge": challenge,
            "pubKeyCredParams": [{"type": "public-key", "alg": ES256}, {"type": "public-key", "alg": EDDSA},
                {"type": "public-key", "alg": RS256}],
            "timeout": TIMEOUT_MS,
            "excludeCredentials": known.iter().map(|p| descriptor(&p.credential)).collect::<Vec<_>>(),
            "authenticatorSelection": {"residentKey": "required", "requireResidentKey": true,
                "userVerification": "required"},
            "attestation": "none",
        }});
        let new = Ceremony {
            id_hash: secret::hash(&ceremony),
            kind: KIND.to_owned(),
            account: Some(id),
            attempts: 0,
            expires: self.now().checked_add(WAITS).unwrap_or(Timestamp::MAX),
            payload: json!({"challenge": challenge}),
        };
        self.writing(move |tx| Ok(store::ceremony::begin(tx, &new)?)).await?;
        Ok((ceremony, options))
    }

    /// Keeps the passkey that the browser made; answers with new recovery codes when there are none.
    /// Errors: `Unauthenticated`, `StepUpNeeded`, `Rule` `passkey-refused`, `name-required`; `Duplicate` `passkey-known`.
    pub async fn finish_passkey(
        &self,
        ctx: &Ctx,
        ceremony: &str,
        name: &str,
        credential: &Value,
    ) -> Result<Vec<String>, Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let site = self.site()?;
        let name = clean_name(name)?;
        let (hash, now) = (secret::hash(ceremony), self.now());
        let found = self
            .writing(move |tx| {
                let found = store::ceremony::load(tx, &hash, KIND, now)?.filter(|c| c.account == Some(id));
                if found.is_some() {
                    store::ceremony::finish(tx, &hash)?;
                }
                Ok(found)
            })
            .await?;
        let challenge = found.map(|c| c.payload["challenge"].as_str().unwrap_or_default().to_owned());
        let response = &credential["response"];
        let incomplete = || refused("The browser's answer is not complete.");
        let client_data = decode(&response["clientDataJSON"]).ok_or_else(incomplete)?;
        check_client_data(&client_data, "webauthn.create", &challenge.unwrap_or_default(), site)?;
        let attestation = decode(&response["attestationObject"]).ok_or_else(incomplete)?;
        let (attestation, _) = cbor::read(&attestation).ok_or_else(incomplete)?;
        let data = attestation.named("authData").and_then(Cbor::bytes).ok_or_else(incomplete)?;
        let data = authenticator_data(data, site)?;
        let (credential_id, key) = data.credential.ok_or_else(incomplete)?;
        let mut kept = public_key(&key).ok_or_else(|| refused("This kind of passkey is not supported."))?;
        kept["count"] = data.count.into();
        kept["backed_up"] = (data.flags & BACKED_UP != 0).into();
        kept["transports"] = match response["transports"].as_array() {
            Some(list) if list.len() <= 8 => list.iter().filter(|t| t.is_string()).cloned().collect(),
            _ => Value::Array(Vec::new()),
        };
        let new = Passkey {
            credential: credential_id.to_vec(),
            account: id,
            name,
            data: kept.to_string(),
            created: now,
            last_used: None,
        };
        self.enrolled(ctx, id, Factor::Passkey, move |tx| {
            if !store::factor::add_passkey(tx, &new)? {
                let text = "This passkey is known already, or there are too many.";
                return Err(Error::Duplicate(Rule::new("passkey-known", text)));
            }
            Ok(())
        })
        .await
    }

    /// Another name. Errors: `Unauthenticated`, `NotFound`, `Rule` `name-required`.
    pub async fn rename_passkey(&self, ctx: &Ctx, passkey: &str, name: &str) -> Result<(), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        let name = clean_name(name)?;
        let credential = URL_SAFE_NO_PAD.decode(passkey).map_err(|_| Error::NotFound)?;
        let known =
            self.writing(move |tx| Ok(store::factor::rename_passkey(tx, id, &credential, &name)?)).await?;
        if known { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Takes a passkey away. Errors: `Unauthenticated`, `StepUpNeeded`, `NotFound`, `Rule` `last-factor`.
    pub async fn remove_passkey(&self, ctx: &Ctx, passkey: &str) -> Result<(), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        let credential = URL_SAFE_NO_PAD.decode(passkey).map_err(|_| Error::NotFound)?;
        self.removed(ctx, id, move |tx| Ok(store::factor::remove_passkey(tx, id, &credential)?)).await
    }

    /// A challenge for the passkeys of an account, and what to keep of it. Errors: `Rule` `no-passkey`,
    /// `passkeys-unavailable`.
    pub(super) async fn challenge_for(&self, account: i64) -> Result<(Value, Value), Error> {
        let site = self.site()?;
        let known = self.reading(move |tx| Ok(store::factor::passkeys(tx, account)?)).await?;
        if known.is_empty() {
            return Err(Error::Rule(Rule::new("no-passkey", "This account has no passkey.")));
        }
        let challenge = secret::token()?;
        let allowed: Vec<Value> = known.iter().map(|p| descriptor(&p.credential)).collect();
        Ok((request(site, &challenge, allowed), json!({"challenge": challenge})))
    }

    /// Whether the answer is by a passkey of this account; its counter is moved.
    pub(super) async fn use_passkey(&self, account: &Account, assertion: Assertion) -> Result<bool, Error> {
        let challenge = assertion.state["challenge"].as_str().unwrap_or_default().to_owned();
        match self.verify_assertion(&assertion.credential, &challenge).await {
            Ok((found, _)) => Ok(found == account.id),
            Err(Error::Rule(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// A challenge for whoever has a passkey of this site, as `navigator.credentials.get` takes it. Nothing is
    /// written: the challenge proves by itself that it is ours and how old it is. Errors: `Rule` `passkeys-unavailable`.
    pub fn begin_passkey_sign_in(&self) -> Result<Value, Error> {
        let site = self.site()?;
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("randomness: {e}")))?;
        let expires = self.now().checked_add(WAITS).unwrap_or(Timestamp::MAX).as_second();
        let plain = [bytes.as_slice(), &expires.to_be_bytes()].concat();
        let challenge = [plain.as_slice(), &self.challenge_mac(&plain)?].concat();
        Ok(request(site, &encode(&challenge), Vec::new()))
    }

    fn challenge_mac(&self, plain: &[u8]) -> Result<[u8; 32], Error> {
        let key = self.inner.secret_key.get().ok_or_else(|| Error::Internal("no key for secrets".into()))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::Internal("key".into()))?;
        mac.update(b"passkey challenge\n");
        mac.update(plain);
        Ok(mac.finalize().into_bytes().into())
    }

    /// Whether a challenge is ours and young enough.
    fn is_own_challenge(&self, text: &str) -> Result<bool, Error> {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return Ok(false) };
        let Some((plain, mac)) = bytes.split_at_checked(24).filter(|(_, mac)| mac.len() == 32) else {
            return Ok(false);
        };
        let is_ours = bool::from(mac.ct_eq(&self.challenge_mac(plain)?));
        let expires = plain[16..].try_into().map(i64::from_be_bytes).unwrap_or_default();
        Ok(is_ours && expires > self.now().as_second())
    }

    /// Signs in by a passkey alone: it is two factors. Errors: `Rule` `passkey-refused` (401), `Throttled`.
    pub async fn passkey_sign_in(&self, credential: &Value, from: &Origin) -> Result<Session, Error> {
        let now = self.now();
        let address = from.address.map(|a| format!("address/{}", super::throttle::network(a)));
        if let Some(key) = &address {
            self.inner.throttle.attempt(key, super::throttle::PER_ADDRESS, now)?;
        }
        let client_data = decode(&credential["response"]["clientDataJSON"]).unwrap_or_default();
        let data: Value = serde_json::from_slice(&client_data).unwrap_or_default();
        let challenge = data["challenge"].as_str().unwrap_or_default().trim_end_matches('=').to_owned();
        if !self.is_own_challenge(&challenge)? {
            return Err(refused("This took too long; begin again."));
        }
        let (id, user_handle) = self.verify_assertion(credential, &challenge).await?;
        if user_handle.as_deref() != Some(handle(id).as_slice()) {
            return Err(refused("This passkey is not known here."));
        }
        let account =
            self.account_row(id).await?.ok_or_else(|| refused("This passkey is not known here."))?;
        // Only a right answer writes; the same one a second time does not sign in.
        let used = Ceremony {
            id_hash: secret::hash(&challenge),
            kind: USED.to_owned(),
            account: Some(id),
            attempts: 0,
            expires: now.checked_add(WAITS).unwrap_or(Timestamp::MAX),
            payload: Value::Null,
        };
        let first = self
            .writing(move |tx| {
                let before = store::ceremony::load(tx, &used.id_hash, USED, now)?;
                if before.is_none() {
                    store::ceremony::begin(tx, &used)?;
                }
                Ok(before.is_none())
            })
            .await?;
        if !first {
            return Err(refused("This answer was used before; begin again."));
        }
        if let Some(key) = &address {
            self.inner.throttle.forgive(key, now);
        }
        let opening = session::Opening::sign_in(vec![Factor::Passkey], from, now);
        self.open_session(&account, opening).await
    }

    /// The account whose passkey answered this challenge, and the user handle the authenticator gave; its counter is
    /// moved. Errors: `Rule` `passkey-refused`.
    async fn verify_assertion(
        &self,
        credential: &Value,
        challenge: &str,
    ) -> Result<(i64, Option<Vec<u8>>), Error> {
        let site = self.site()?;
        let response = &credential["response"];
        let incomplete = || refused("The browser's answer is not complete.");
        let raw_id = decode(&credential["rawId"]).or_else(|| decode(&credential["id"]));
        let raw_id = raw_id.filter(|id| id.len() <= MAX_ID_BYTES).ok_or_else(incomplete)?;
        let client_data = decode(&response["clientDataJSON"]).ok_or_else(incomplete)?;
        let data = decode(&response["authenticatorData"]).ok_or_else(incomplete)?;
        let signature = decode(&response["signature"]).ok_or_else(incomplete)?;
        check_client_data(&client_data, "webauthn.get", challenge, site)?;
        let told = authenticator_data(&data, site)?;
        let lookup = raw_id.clone();
        let unknown = || refused("This passkey is not known here.");
        let passkey =
            self.reading(move |tx| Ok(store::factor::passkey(tx, &lookup)?)).await?.ok_or_else(unknown)?;
        let mut kept: Value = serde_json::from_str(&passkey.data)
            .map_err(|_| Error::Internal("a passkey cannot be read".into()))?;
        let message = [data.as_slice(), Sha256::digest(&client_data).as_slice()].concat();
        if !verifies(&kept, &message, &signature) {
            return Err(unknown());
        }
        let user_handle = decode(&response["userHandle"]).filter(|h| !h.is_empty());
        if user_handle.as_ref().is_some_and(|h| h.as_slice() != handle(passkey.account).as_slice()) {
            return Err(unknown());
        }
        // WebAuthn §7.2 step 21: a counter that does not grow is a copy's.
        let before = kept["count"].as_u64().unwrap_or_default();
        let count = u64::from(told.count);
        if (count != 0 || before != 0) && count <= before {
            let ctx = Ctx::system("passkey", self.now());
            let what = format!("account/{}", passkey.account);
            self.audit_one(&ctx, "passkey.copied", Outcome::Denied, &what, &[]).await?;
            return Err(refused("This passkey may have been copied; remove it."));
        }
        kept["count"] = count.into();
        kept["backed_up"] = (told.flags & BACKED_UP != 0).into();
        let (text, now) = (kept.to_string(), self.now());
        self.writing(move |tx| {
            let current = store::factor::passkey(tx, &raw_id)?.ok_or_else(unknown)?;
            let current: Value = serde_json::from_str(&current.data).unwrap_or_default();
            let current = current["count"].as_u64().unwrap_or_default();
            // Of two answers at once with one counter one is right.
            if (count != 0 || current != 0) && count <= current {
                return Err(unknown());
            }
            Ok(store::factor::passkey_used(tx, &raw_id, &text, now)?)
        })
        .await?;
        Ok((passkey.account, user_handle))
    }
}

fn descriptor(credential: &[u8]) -> Value {
    json!({"type": "public-key", "id": encode(credential)})
}

fn request(site: &Site, challenge: &str, allowed: Vec<Value>) -> Value {
    json!({"publicKey": {"challenge": challenge, "timeout": TIMEOUT_MS, "rpId": site.id,
        "allowCredentials": allowed, "userVerification": "required"}})
}

impl Site {
    /// `None` for addresses: passkeys belong to names.
    fn of(public_url: &str) -> Option<Site> {
        let (scheme, rest) = public_url.split_once("://")?;
        let authority = rest.split('/').next()?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, format!(":{port}")),
            _ => (authority, String::new()),
        };
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok();
        let id = match address {
            None => host.to_lowercase(),
            Some(address) if address.is_loopback() => "localhost".to_owned(),
            Some(_) => return None,
        };
        (scheme == "https" || id == "localhost")
            .then(|| Site { origin: format!("{scheme}://{id}{port}"), id })
    }
}
