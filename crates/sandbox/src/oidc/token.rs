//! ID tokens, right ones and wrong ones.

use super::{CLIENT_ID, CLIENT_SECRET, Grant, Issuer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// One wrong answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum OidcFault {
    /// The person does not agree.
    RefuseSignIn,
    /// The token endpoint says `invalid_grant`.
    RefuseToken,
    /// The token endpoint takes its time.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The token endpoint's answer is no JSON.
    Broken,
    /// A code may be redeemed again.
    CodeTwice,
    /// No ID token in the answer.
    NoIdToken,
    /// For another request.
    WrongNonce,
    /// For no request.
    NoNonce,
    /// For another client.
    WrongAudience,
    /// For this client and another.
    TwoAudiences,
    /// For another party.
    WrongParty,
    /// By another issuer.
    WrongIssuer,
    /// An hour ago.
    Expired,
    /// In an hour.
    Future,
    /// `alg` is `none`.
    AlgorithmNone,
    /// Signed by the client's secret.
    AlgorithmSecret,
    /// One bit is another.
    WrongSignature,
    /// By a key of nobody's under the right name.
    ForeignKey,
    /// Of another access token.
    WrongAccessToken,
    /// The person showed herself an hour ago.
    OldSignIn,
    /// Userinfo about another person.
    UserinfoOfAnother,
}

impl OidcFault {
    /// Whether it is one of the ID token.
    pub(super) fn is_of_token(&self) -> bool {
        !matches!(
            self,
            OidcFault::RefuseSignIn
                | OidcFault::RefuseToken
                | OidcFault::Delay { .. }
                | OidcFault::Broken
                | OidcFault::UserinfoOfAnother
        )
    }
}

/// What signs; ES256.
pub(super) struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[expect(clippy::expect_used, reason = "a sandbox without randomness cannot go on")]
impl Key {
    pub fn new() -> Key {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let private = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key can be made");
        let pair = EcdsaKeyPair::from_pkcs8(kind, private.as_ref(), &random).expect("a key can be read");
        Key { id: uuid::Uuid::new_v4().simple().to_string(), pair }
    }

    pub fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (&point[1..33], &point[33..65]);
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id, "x": encode(x), "y": encode(y)})
    }

    fn signed(&self, message: &str) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a key signs").as_ref().to_vec()
    }

    /// `header` goes before `alg` and `kid`.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut header = header.clone();
        if header.get("alg").is_none() {
            header["alg"] = json!("ES256");
        }
        header["kid"] = json!(self.id);
        let message =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.signed(&message);
        format!("{message}.{}", encode(&signature))
    }

    pub fn has_signed(&self, token: &str) -> bool {
        let Some((message, signature)) = token.rsplit_once('.') else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let key = ring::signature::UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_FIXED,
            self.pair.public_key().as_ref(),
        );
        key.verify(message.as_bytes(), &signature).is_ok()
    }
}

impl Issuer {
    pub(super) fn id_token(&self, grant: &Grant, access_token: &str, fault: Option<&OidcFault>) -> String {
        let now = Timestamp::now().as_second();
        let hash = Sha256::digest(access_token.as_bytes());
        let person = &grant.person;
        let mut claims = json!({
            "iss": self.issuer(), "sub": person.subject, "aud": CLIENT_ID, "azp": CLIENT_ID,
            "iat": now, "exp": now + 300, "auth_time": grant.at.as_second(), "sid": grant.sid,
            "at_hash": encode(&hash[..16]), "name": person.name, "groups": person.groups, "amr": person.amr,
            "email": person.email, "email_verified": person.email_verified,
        });
        if let Some(acr) = &person.acr {
            claims["acr"] = json!(acr);
        }
        if let Some(nonce) = &grant.nonce {
            claims["nonce"] = json!(nonce);
        }
        match fault {
            Some(OidcFault::WrongNonce) => claims["nonce"] = json!("another"),
            Some(OidcFault::NoNonce) => {
                claims.as_object_mut().and_then(|claims| claims.remove("nonce"));
            }
            Some(OidcFault::WrongAudience) => claims["aud"] = json!("another"),
            Some(OidcFault::TwoAudiences) => claims["aud"] = json!([CLIENT_ID, "another"]),
            Some(OidcFault::WrongParty) => claims["azp"] = json!("another"),
            Some(OidcFault::WrongIssuer) => claims["iss"] = json!("https://another.example"),
            Some(OidcFault::Expired) => {
                claims["iat"] = json!(now - 3900);
                claims["exp"] = json!(now - 3600);
            }
            Some(OidcFault::Future) => {
                claims["iat"] = json!(now + 3600);
                claims["exp"] = json!(now + 3900);
            }
            Some(OidcFault::WrongAccessToken) => claims["at_hash"] = json!(encode(&[0; 16])),
            Some(OidcFault::OldSignIn) => claims["auth_time"] = json!(now - 3600),
            _ => {}
        }
        let key = self.0.key.lock();
        let plain = |header: Value| {
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
        };
        match fault {
            Some(OidcFault::AlgorithmNone) => format!("{}.", plain(json!({"alg": "none"}))),
            Some(OidcFault::AlgorithmSecret) => {
                let message = plain(json!({"alg": "HS256"}));
                let signature = Hmac::<Sha256>::new_from_slice(CLIENT_SECRET.as_bytes())
                    .map(|mac| mac.chain_update(message.as_bytes()).finalize().into_bytes().to_vec());
                format!("{message}.{}", encode(&signature.unwrap_or_default()))
            }
            Some(OidcFault::WrongSignature) => {
                let mut token = key.sign(&json!({"typ": "JWT"}), &claims);
                let last = if token.ends_with('A') { "B" } else { "A" };
                token.replace_range(token.len() - 10..token.len() - 9, last);
                token
            }
            Some(OidcFault::ForeignKey) => {
                let foreign = Key { id: key.id.clone(), ..Key::new() };
                foreign.sign(&json!({"typ": "JWT"}), &claims)
            }
            _ => key.sign(&json!({"typ": "JWT"}), &claims),
        }
    }
}
