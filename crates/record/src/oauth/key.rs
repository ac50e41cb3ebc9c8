//! Keys that sign id tokens. They are made when they are first needed and change by themselves.
//!
//! A new key stands in the published set for an hour before it signs, so that nobody meets a signature by a key that
//! her copy of the set does not have; an old one stays in the set for two days after it signed last.

use super::jose::encode;
use super::{plus, refuse};
use crate::authn::secret;
use crate::{Error, Record};
use access::{Capability, Ctx};
use jiff::{SignedDuration, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};
use store::audit::Outcome;
use store::oauth::Key;

/// A key signs for so long.
const SIGNS: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A new key is published for so long before it signs.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);
/// And is removed so long after the next one took over.
const AFTER: SignedDuration = SignedDuration::from_hours(48);
const RSA_BITS: u32 = 2048;

/// A key in the administrator's list.
#[derive(Debug, Clone, PartialEq)]
pub struct SigningKey {
    /// `kid`
    pub id: String,
    /// `RS256` or `ES384`
    pub algorithm: String,
    pub created_at: Timestamp,
    /// New id tokens are signed by it.
    pub is_signing: bool,
    /// When the next one is made at the latest.
    pub replaced_at: Timestamp,
}

/// How id tokens may be signed; the first is what OpenID Connect has everybody understand.
pub(super) const ALGORITHMS: [&str; 2] = ["RS256", "ES384"];

fn place(kid: &str) -> String {
    format!("oauth-key/{kid}")
}

fn broken(what: &str) -> Error {
    Error::Internal(format!("signing key: {what}"))
}

/// Private half (DER) and public JWK.
fn generate(algorithm: &str, kid: &str) -> Result<(Vec<u8>, Value), Error> {
    match algorithm {
        "ES384" => {
            let random = SystemRandom::new();
            let kind = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
            let private =
                EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(|_| broken("cannot be made"))?;
            let pair = EcdsaKeyPair::from_pkcs8(kind, private.as_ref(), &random)
                .map_err(|_| broken("cannot be read"))?;
            let point = pair.public_key().as_ref();
            let (x, y) = point.get(1..).ok_or_else(|| broken("no point"))?.split_at(48);
            let public = json!({"kty": "EC", "crv": "P-384", "x": encode(x), "y": encode(y), "use": "sig",
                "alg": algorithm, "kid": kid});
            Ok((private.as_ref().to_vec(), public))
        }
        _ => {
            let pair = openssl::rsa::Rsa::generate(RSA_BITS).map_err(|_| broken("cannot be made"))?;
            let private = pair.private_key_to_der().map_err(|_| broken("cannot be written"))?;
            let public = json!({"kty": "RSA", "n": encode(&pair.n().to_vec()), "e": encode(&pair.e().to_vec()),
                "use": "sig", "alg": algorithm, "kid": kid});
            Ok((private, public))
        }
    }
}

fn sign(algorithm: &str, private: &[u8], message: &[u8]) -> Result<Vec<u8>, Error> {
    let random = SystemRandom::new();
    match algorithm {
        "ES384" => {
            let kind = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
            let pair =
                EcdsaKeyPair::from_pkcs8(kind, private, &random).map_err(|_| broken("cannot be read"))?;
            let made = pair.sign(&random, message).map_err(|_| broken("cannot sign"))?;
            Ok(made.as_ref().to_vec())
        }
        _ => {
            let pair = RsaKeyPair::from_der(private).map_err(|_| broken("cannot be read"))?;
            let mut made = vec![0; pair.public().modulus_len()];
            pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut made)
                .map_err(|_| broken("cannot sign"))?;
            Ok(made)
        }
    }
}

/// The one that signs now: the newest that was published long enough, else the newest.
fn signing<'a>(keys: &'a [Key], algorithm: &str, now: Timestamp) -> Option<&'a Key> {
    let mut own = keys.iter().filter(|key| key.algorithm == algorithm);
    let newest = own.clone().next();
    own.find(|key| plus(key.created, AHEAD) <= now).or(newest)
}

impl Record {
    /// All keys, newest first; makes those that are missing or due.
    async fn signing_keys(&self) -> Result<Vec<Key>, Error> {
        let now = self.now();
        let keys = self.reading(|tx| Ok(store::oauth::keys(tx)?)).await?;
        let is_due = |algorithm: &&str| {
            let newest = keys.iter().find(|key| key.algorithm == *algorithm);
            newest.is_none_or(|key| plus(key.created, SIGNS) <= now)
        };
        let due: Vec<&str> = ALGORITHMS.iter().copied().filter(|a| is_due(a)).collect();
        if due.is_empty() {
            return Ok(keys);
        }
        self.make_keys(&due, now).await
    }

    async fn make_keys(&self, algorithms: &[&'static str], now: Timestamp) -> Result<Vec<Key>, Error> {
        let mut new = Vec::new();
        for algorithm in algorithms.iter().copied() {
            let kid = secret::token()?.chars().take(16).collect::<String>();
            let name = kid.clone();
            // RSA takes a while to find primes.
            let made = tokio::task::spawn_blocking(move || generate(algorithm, &name)).await;
            let (private, public) = made.map_err(|_| broken("cannot be made"))??;
            let private = self.seal(&private, &place(&kid))?;
            let algorithm = algorithm.to_owned();
            new.push(Key { id: kid, algorithm, private, public: public.to_string(), created: now });
        }
        let before = now.checked_sub(SIGNS + AHEAD + AFTER).unwrap_or(Timestamp::MIN);
        self.writing(move |tx| {
            for key in &new {
                store::oauth::insert_key(tx, key)?;
            }
            store::oauth::prune_keys(tx, before)?;
            Ok(store::oauth::keys(tx)?)
        })
        .await
    }

    /// The public halves, as a JWK Set. Errors: `Busy`, `Internal`.
    pub async fn jwks(&self) -> Result<Value, Error> {
        let keys = self.signing_keys().await?;
        let public = keys.iter().filter_map(|key| serde_json::from_str::<Value>(&key.public).ok());
        Ok(json!({"keys": public.collect::<Vec<Value>>()}))
    }

    /// The keys as administrators see them, newest first. Errors: `Denied`.
    pub async fn list_signing_keys(&self, ctx: &Ctx) -> Result<Vec<SigningKey>, Error> {
        if !access::policy::may(ctx, Capability::ManageClients) {
            return Err(self.denied(ctx, "oauth.keys", "").await);
        }
        let keys = self.signing_keys().await?;
        let now = self.now();
        let signs = |key: &Key| signing(&keys, &key.algorithm, now).is_some_and(|one| one.id == key.id);
        let row = |key: &Key| SigningKey {
            id: key.id.clone(),
            algorithm: key.algorithm.clone(),
            created_at: key.created,
            is_signing: signs(key),
            replaced_at: plus(key.created, SIGNS),
        };
        Ok(keys.iter().map(row).collect())
    }

    /// New keys at once. `drop_old`: nothing that the old ones signed counts any more, for when one got about.
    /// Errors: `Denied`, `StepUpNeeded`.
    pub async fn rotate_signing_keys(&self, ctx: &Ctx, drop_old: bool) -> Result<(), Error> {
        if !access::policy::may(ctx, Capability::ManageClients) {
            return Err(self.denied(ctx, "oauth.rotate", "").await);
        }
        self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        let now = self.now();
        let event = self.audit_event(ctx, "oauth.rotate", Outcome::Success, "", &[]);
        self.writing(move |tx| {
            if drop_old {
                store::oauth::prune_keys(tx, Timestamp::MAX)?;
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.make_keys(&ALGORITHMS, now).await?;
        Ok(())
    }

    /// A compact JWT of these claims.
    pub(super) async fn sign_jwt(&self, algorithm: &str, claims: &Value) -> Result<String, Error> {
        let keys = self.signing_keys().await?;
        let key = signing(&keys, algorithm, self.now()).ok_or_else(|| broken("there is none"))?;
        let private = self.unseal(&key.private, &place(&key.id))?;
        let header = json!({"alg": key.algorithm, "kid": key.id, "typ": "JWT"});
        let signed =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let made = sign(&key.algorithm, &private, signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&made)))
    }
}

/// Errors: `algorithm-invalid`.
pub(super) fn check_algorithm(text: &str) -> Result<(), Error> {
    match ALGORITHMS.contains(&text) {
        true => Ok(()),
        false => Err(refuse("algorithm-invalid", "Id tokens are signed by RS256 or ES384.")),
    }
}
