//! What a browser keeps while it is at a provider: sealed, so that it can neither be read nor made by anybody else, and
//! nothing is stored for those who never come back.

use crate::{Error, Record};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A person has so long at the provider.
pub const WAY: SignedDuration = SignedDuration::from_mins(10);
const PLACE: &str = "outside-way";
/// Longest text that is looked at: browsers keep no longer cookies.
const MAX_CHARS: usize = 4096;

/// Why the browser was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    SignIn,
    /// To link the identity to the account of this session.
    Link([u8; 8]),
    /// To show again who it is, for this session.
    StepUp([u8; 8]),
}

/// A browser on its way to a provider and back.
#[derive(Clone, PartialEq, Eq)]
pub struct Way {
    /// Which provider.
    pub provider: String,
    pub errand: Errand,
    /// Of the request; the answer must bring it back.
    pub state: String,
    pub nonce: String,
    /// Of PKCE.
    pub verifier: String,
    /// Path of ours to go to in the end.
    pub return_to: String,
    pub begun: Timestamp,
}

fn number(bytes: [u8; 8]) -> String {
    i64::from_be_bytes(bytes).to_string()
}

impl Way {
    fn to_json(&self) -> Value {
        let (errand, session) = match self.errand {
            Errand::SignIn => ("sign-in", None),
            Errand::Link(session) => ("link", Some(number(session))),
            Errand::StepUp(session) => ("step-up", Some(number(session))),
        };
        json!({
            "provider": self.provider, "errand": errand, "session": session, "state": self.state,
            "nonce": self.nonce, "verifier": self.verifier, "return": self.return_to,
            "begun": self.begun.as_second(),
        })
    }

    fn from_json(value: &Value) -> Option<Way> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let session = || Some(value["session"].as_str()?.parse::<i64>().ok()?.to_be_bytes());
        let errand = match value["errand"].as_str()? {
            "sign-in" => Errand::SignIn,
            "link" => Errand::Link(session()?),
            "step-up" => Errand::StepUp(session()?),
            _ => return None,
        };
        Some(Way {
            provider: text("provider")?,
            errand,
            state: text("state")?,
            nonce: text("nonce")?,
            verifier: text("verifier")?,
            return_to: text("return")?,
            begun: Timestamp::from_second(value["begun"].as_i64()?).ok()?,
        })
    }
}

impl Record {
    /// For the browser to keep. Errors: `Internal` without a key.
    pub fn seal_way(&self, way: &Way) -> Result<String, Error> {
        Ok(URL_SAFE_NO_PAD.encode(self.seal(way.to_json().to_string().as_bytes(), PLACE)?))
    }

    /// What a browser kept; `None` if it is not ours or took too long.
    pub fn open_way(&self, text: &str) -> Option<Way> {
        if text.len() > MAX_CHARS {
            return None;
        }
        let plain = self.unseal(&URL_SAFE_NO_PAD.decode(text).ok()?, PLACE).ok()?;
        let way = Way::from_json(&serde_json::from_slice(&plain).ok()?)?;
        let age = self.now().duration_since(way.begun);
        (age <= WAY && age >= SignedDuration::from_mins(-1)).then_some(way)
    }
}
