//! The message catalogue of a call, as JSON text frames on one WebSocket per participant.
//!
//! Every frame is `{"type": …, "seq": n, "data": {…}}`. Each direction counts its lasting messages from 1
//! without gaps; passing messages (`hello`, `ack`, `ping`, `pong`, `error`) have `seq` 0. A receiver ignores
//! a `seq` it has seen, so that sending twice after a reconnect is harmless.
//!
//! # Connecting
//! `GET /ws/consultation/{id}?session=TOKEN&seq=LAST&instance=UUID`. `session` comes from the join request;
//! `seq` is the last server message the client has handled (0 at first); `instance` names this page load, so
//! that peers keep their connection to a page that merely reconnects and build a new one for a page that was
//! reloaded. The server answers with `hello`, then repeats every lasting message after `seq`. The client then
//! drops what `hello.received` covers from its own queue and sends the rest again.
//!
//! # Client to server
//! | type | data | lasting |
//! |---|---|---|
//! | `offer` | `{sdp, id?, fresh?}`; `fresh`: forget the old connection, this one is new | yes |
//! | `answer` | `{sdp, id?}`; `id` is that of the offer it answers | yes |
//! | `candidate` | `{candidate, sdp_mid?, sdp_m_line_index?, username_fragment?}`; empty text ends them | yes |
//! | `ice_restart` | `{reason?}`: asks the peer to offer with an ICE restart | yes |
//! | | the four above take `to`: the participant they are for; all others when left out | |
//! | `media_state` | `{audio, video, screen}` | yes |
//! | `chat` | `{id, text}`; `id` is the client's, a repeated one is ignored | yes |
//! | `quality` | [Quality] | yes |
//! | `leave` | `{}`: gone for now, without the grace period | yes |
//! | `ack` | `{seq}`: everything up to here has been handled | no |
//! | `ping` | `{}` | no |
//!
//! # Server to client
//! | type | data | lasting |
//! |---|---|---|
//! | `hello` | [Hello] | no |
//! | `peer_joined` | [Peer]; a known participant with another `instance` has reloaded its page | yes |
//! | `peer_state` | `{participant, connected}`: its socket dropped or came back | yes |
//! | `peer_left` | `{participant, reason: "left"\|"lost"\|"put_out"}`: close the connection with it | yes |
//! | `waiting` | `{position}` | yes |
//! | `admitted` | `{at}` | yes |
//! | `offer`, `answer`, `candidate`, `ice_restart`, `media_state`, `quality` | as sent, with `from` | yes |
//! | `chat` | [ChatLine]; the sender gets it too, as proof that it was taken | yes |
//! | `ended` | `{at, by?}`; then close code 4000 | yes |
//! | `ack` | `{seq}` | no |
//! | `pong` | `{}` | no |
//! | `error` | `{code, seq}`: message `seq` was refused; see [Refused] | no |
//!
//! # Close codes
//! 4000 ended, 4001 replaced by a newer socket or page, 4003 session expired, 4004 session unknown (join again),
//! 4008 no heartbeat, 4009 frame malformed or too large, 4029 too many messages (wait, then resume), 4403 put out: the
//! right to take part has ended meanwhile (close the connection; do not join again by yourself). The session ends with it,
//! and so does what its relay credentials opened. 4401, as on every socket: the sign-in has ended; what it opened here has
//! ended like that too, and who signs in again joins again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest text frame accepted.
pub const FRAME_BYTES_MAX: usize = 48 * 1024;
/// Longest session description; Chromium's largest with every codec is about 8 KiB.
pub const SDP_BYTES_MAX: usize = 32 * 1024;
pub const CANDIDATE_BYTES_MAX: usize = 2 * 1024;
pub const CHAT_CHARS_MAX: usize = 2_000;
/// Identifiers that clients choose (chat ids, instances).
pub const IDENTIFIER_BYTES_MAX: usize = 64;

/// Close codes of the catalogue.
pub mod close {
    pub const ENDED: u16 = 4000;
    pub const REPLACED: u16 = 4001;
    pub const EXPIRED: u16 = 4003;
    pub const UNKNOWN: u16 = 4004;
    pub const SILENT: u16 = 4008;
    pub const MALFORMED: u16 = 4009;
    pub const TOO_MANY: u16 = 4029;
    /// The right to take part has ended while the visit goes on.
    pub const PUT_OUT: u16 = 4403;
}

/// In what capacity somebody takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Patient,
    /// Leads the visit; never yields when two offers cross.
    Clinician,
    /// Interpreter, relative or colleague.
    Guest,
}

/// Where the visit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoomState {
    Waiting,
    Active,
    Ended,
}

/// What a participant sends at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaState {
    pub audio: bool,
    pub video: bool,
    pub screen: bool,
}

/// How the media travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaPath {
    Direct,
    Relay,
    Unknown,
}

/// A word for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Good,
    Fair,
    Poor,
}

/// Figures of one side over the last seconds; the same shape as `Quality` of the REST interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    pub rtt_ms: u32,
    /// Packets lost on the way to this side, 0–100.
    pub loss_percent: f64,
    pub bitrate_up_kbps: u32,
    pub bitrate_down_kbps: u32,
    pub path: MediaPath,
    /// Time the picture stood still since the previous report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u32>,
    pub level: Level,
}

/// Another participant as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub participant: String,
    pub role: Role,
    pub display: String,
    pub instance: String,
    pub connected: bool,
    pub media: MediaState,
}

/// One line of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatLine {
    pub id: String,
    pub from: String,
    pub role: Role,
    pub display: String,
    pub text: String,
    pub at: Timestamp,
}

/// First frame on every socket: all a client must know to draw the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The client's own participant id.
    pub participant: String,
    pub role: Role,
    /// False for the side that offers first and never yields when offers cross.
    pub polite: bool,
    pub state: RoomState,
    /// True when the session continues; false when this is its first socket.
    pub resumed: bool,
    /// True when messages after the client's `seq` are gone: offer anew with an ICE restart.
    pub reset: bool,
    /// Last lasting message of the client that was handled.
    pub received: u64,
    /// The server's counter when `reset`, else the client's own; what follows has higher numbers.
    pub seq: u64,
    pub peers: Vec<Peer>,
    pub chat: Vec<ChatLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// A message of a client, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// `offer`, `answer`, `candidate`, `ice_restart`: passed on as they are.
    Forward {
        data: Value,
        /// The participant it is for; everybody else when None.
        to: Option<String>,
    },
    MediaState(MediaState),
    Chat {
        id: String,
        text: String,
    },
    Quality(Quality),
    Leave,
    Ack {
        seq: u64,
    },
    Ping,
}

/// A frame of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientFrame {
    pub kind: String,
    pub seq: u64,
    pub message: Result<ClientMessage, Refused>,
}

/// Why one message was not taken; the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("unknown-type")]
    UnknownType,
    #[error("data-invalid")]
    DataInvalid,
    #[error("sdp-too-long")]
    SdpTooLong,
    #[error("chat-too-long")]
    ChatTooLong,
    #[error("chat-empty")]
    ChatEmpty,
    /// The visit has ended.
    #[error("ended")]
    Ended,
}

/// A frame that is no envelope at all; the connection is closed with 4009.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is no message of this protocol")]
pub struct Malformed;

/// Parses and checks one text frame.
///
/// # Errors
/// [Malformed] when the frame is too long, no JSON, or lacks `type` or `seq`.
pub fn parse(text: &str) -> Result<ClientFrame, Malformed> {
    if text.len() > FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    let Ok(Value::Object(mut envelope)) = serde_json::from_str(text) else { return Err(Malformed) };
    let Some(Value::String(kind)) = envelope.remove("type") else { return Err(Malformed) };
    let seq = envelope.get("seq").and_then(Value::as_u64).ok_or(Malformed)?;
    let data = envelope.remove("data").unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let message = check(&kind, data);
    Ok(ClientFrame { kind, seq, message })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chat {
    id: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    seq: u64,
}

fn check(kind: &str, data: Value) -> Result<ClientMessage, Refused> {
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    let forward =
        |keys: &[&str]| ClientMessage::Forward { data: pick(&data, keys), to: text("to").map(str::to_owned) };
    match kind {
        "offer" | "answer" => {
            let sdp = text("sdp").ok_or(Refused::DataInvalid)?;
            if sdp.len() > SDP_BYTES_MAX {
                return Err(Refused::SdpTooLong);
            }
            // RFC 8866 §5: every description begins with its version.
            if !sdp.starts_with("v=0") {
                return Err(Refused::DataInvalid);
            }
            Ok(forward(&["sdp", "id", "fresh"]))
        }
        "candidate" => {
            let candidate = text("candidate").ok_or(Refused::DataInvalid)?;
            if candidate.len() > CANDIDATE_BYTES_MAX {
                return Err(Refused::DataInvalid);
            }
            Ok(forward(&["candidate", "sdp_mid", "sdp_m_line_index", "username_fragment"]))
        }
        "ice_restart" => Ok(forward(&["reason"])),
        "media_state" => read(data).map(ClientMessage::MediaState),
        "chat" => {
            let Chat { id, text } = read(data)?;
            if id.is_empty() || id.len() > IDENTIFIER_BYTES_MAX {
                return Err(Refused::DataInvalid);
            }
            if text.trim().is_empty() {
                return Err(Refused::ChatEmpty);
            }
            if text.chars().count() > CHAT_CHARS_MAX {
                return Err(Refused::ChatTooLong);
            }
            Ok(ClientMessage::Chat { id, text })
        }
        "quality" => {
            let quality: Quality = read(data)?;
            if !(0.0..=100.0).contains(&quality.loss_percent) {
                return Err(Refused::DataInvalid);
            }
            Ok(ClientMessage::Quality(quality))
        }
        "leave" => Ok(ClientMessage::Leave),
        "ack" => read(data).map(|Ack { seq }| ClientMessage::Ack { seq }),
        "ping" => Ok(ClientMessage::Ping),
        _ => Err(Refused::UnknownType),
    }
}

fn read<T: serde::de::DeserializeOwned>(data: Value) -> Result<T, Refused> {
    serde_json::from_value(data).map_err(|_| Refused::DataInvalid)
}

/// Only the fields of the catalogue are passed on, so that no client can smuggle others to its peer.
fn pick(data: &Value, keys: &[&str]) -> Value {
    let mut object = serde_json::Map::new();
    for key in keys {
        if let Some(value) = data.get(key).filter(|value| !value.is_object() && !value.is_array()) {
            object.insert((*key).to_owned(), value.clone());
        }
    }
    Value::Object(object)
}

/// Writes one frame.
pub fn frame(kind: &str, seq: u64, data: Value) -> String {
    serde_json::json!({"type": kind, "seq": seq, "data": data}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_checked() {
        let long_chat =
            format!(r#"{{"type":"chat","seq":1,"data":{{"id":"a","text":"{}"}}}}"#, "ŋ".repeat(2_001));
        let full_chat =
            format!(r#"{{"type":"chat","seq":1,"data":{{"id":"a","text":"{}"}}}}"#, "ŋ".repeat(2_000));
        let long_sdp =
            format!(r#"{{"type":"offer","seq":1,"data":{{"sdp":"v=0{}"}}}}"#, "a".repeat(SDP_BYTES_MAX));
        let cases: &[(&str, Result<Option<Refused>, Malformed>)] = &[
            (r#"{"type":"ping","seq":0}"#, Ok(None)),
            (r#"{"type":"offer","seq":1,"data":{"sdp":"v=0\r\n"}}"#, Ok(None)),
            (r#"{"type":"offer","seq":1,"data":{"sdp":"hello"}}"#, Ok(Some(Refused::DataInvalid))),
            (r#"{"type":"offer","seq":1,"data":{}}"#, Ok(Some(Refused::DataInvalid))),
            (&long_sdp, Ok(Some(Refused::SdpTooLong))),
            (r#"{"type":"candidate","seq":1,"data":{"candidate":""}}"#, Ok(None)),
            (
                r#"{"type":"media_state","seq":1,"data":{"audio":true,"video":false,"screen":false}}"#,
                Ok(None),
            ),
            (r#"{"type":"media_state","seq":1,"data":{"audio":1}}"#, Ok(Some(Refused::DataInvalid))),
            (r#"{"type":"chat","seq":1,"data":{"id":"a","text":"habari"}}"#, Ok(None)),
            (r#"{"type":"chat","seq":1,"data":{"id":"a","text":" "}}"#, Ok(Some(Refused::ChatEmpty))),
            (&long_chat, Ok(Some(Refused::ChatTooLong))),
            (&full_chat, Ok(None)),
            (
                r#"{"type":"quality","seq":1,"data":{"rtt_ms":80,"loss_percent":0.5,"bitrate_up_kbps":300,"bitrate_down_kbps":310,"path":"relay","level":"good"}}"#,
                Ok(None),
            ),
            (
                r#"{"type":"quality","seq":1,"data":{"rtt_ms":80,"loss_percent":101,"bitrate_up_kbps":300,"bitrate_down_kbps":310,"path":"relay","level":"good"}}"#,
                Ok(Some(Refused::DataInvalid)),
            ),
            (r#"{"type":"dance","seq":1,"data":{}}"#, Ok(Some(Refused::UnknownType))),
            (r#"{"type":"ping"}"#, Err(Malformed)),
            (r#"{"type":"ping","seq":-1}"#, Err(Malformed)),
            (r#"{"seq":1}"#, Err(Malformed)),
            (r"[]", Err(Malformed)),
            ("", Err(Malformed)),
        ];
        for (text, expected) in cases {
            let got = parse(text).map(|frame| frame.message.err());
            assert_eq!(got, *expected, "{}", &text[..text.len().min(120)]);
        }
    }

    #[test]
    fn only_known_fields_are_passed_on() {
        let frame = parse(
            r#"{"type":"offer","seq":1,"data":{"sdp":"v=0","fresh":true,"from":"p9","to":"p2","x":{"y":1}}}"#,
        )
        .unwrap();
        let data = serde_json::json!({"sdp": "v=0", "fresh": true});
        assert_eq!(frame.message, Ok(ClientMessage::Forward { data, to: Some("p2".into()) }));
    }
}
