//! The session log of a visit, an extension of its Encounter.

use super::{LogParticipant, MediaPath, Quality, QualityLevel, SessionLog};
use crate::element::{self, array, decimal, extension, instant, set_extension, text};
use crate::vocabulary::CONSULTATION_SESSION;
use fhir::Resource;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Entries kept of one visit; a call that drops more often keeps its first and last ones.
pub const PARTICIPANTS_MAX: usize = 60;
/// Quality samples kept; when there are more, every second one goes.
pub const QUALITY_MAX: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// `patient`, `clinician` or `guest`
    pub role: String,
    /// Who exactly, e.g. an account id; never shown.
    pub who: String,
    pub joined_at: Timestamp,
    pub left_at: Option<Timestamp>,
    pub audio_only: bool,
    /// Left because the right to be there had ended.
    pub put_out: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    pub waiting_since: Option<Timestamp>,
    pub admitted_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub device_checked: bool,
    pub participants: Vec<Participant>,
    pub quality: Vec<Quality>,
}

impl Session {
    /// Empty if the Encounter has none.
    pub fn of(encounter: &Resource) -> Session {
        let Some(outer) = extension(encounter.value(), CONSULTATION_SESSION) else {
            return Session::default();
        };
        let at = |url| extension(outer, url).and_then(|e| instant(e, "/valueInstant"));
        let all = |url: &'static str| {
            array(outer, "extension").iter().filter(move |e| text(e, "/url") == Some(url))
        };
        Session {
            waiting_since: at("waitingSince"),
            admitted_at: at("admittedAt"),
            started_at: at("startedAt"),
            ended_at: at("endedAt"),
            device_checked: flag(outer, "deviceChecked"),
            participants: all("participant").filter_map(participant).collect(),
            quality: all("quality").filter_map(quality).collect(),
        }
    }

    /// Puts the session into the Encounter.
    pub fn put(&self, encounter: &mut Resource) {
        let mut parts = Vec::new();
        let moments = [
            ("waitingSince", self.waiting_since),
            ("admittedAt", self.admitted_at),
            ("startedAt", self.started_at),
            ("endedAt", self.ended_at),
        ];
        for (url, at) in moments {
            parts.extend(at.map(|at| json!({"url": url, "valueInstant": element::written(at)})));
        }
        if self.device_checked {
            parts.push(json!({"url": "deviceChecked", "valueBoolean": true}));
        }
        parts.extend(self.participants.iter().map(|p| {
            let mut inner = vec![
                json!({"url": "role", "valueCode": p.role}),
                json!({"url": "who", "valueString": p.who}),
                json!({"url": "joinedAt", "valueInstant": element::written(p.joined_at)}),
                json!({"url": "audioOnly", "valueBoolean": p.audio_only}),
            ];
            inner.extend(p.left_at.map(|at| json!({"url": "leftAt", "valueInstant": element::written(at)})));
            inner.extend(p.put_out.then(|| json!({"url": "putOut", "valueBoolean": true})));
            json!({"url": "participant", "extension": inner})
        }));
        parts.extend(self.quality.iter().map(quality_extension));
        let whole = (!parts.is_empty()).then(|| json!({"url": CONSULTATION_SESSION, "extension": parts}));
        set_extension(encounter.value_mut(), CONSULTATION_SESSION, whole);
    }

    pub fn joined(&mut self, role: &str, who: &str, at: Timestamp, audio_only: bool) {
        let open = self.participants.iter_mut().rev().find(|p| p.who == who && p.role == role);
        if let Some(open) = open.filter(|p| p.left_at.is_none()) {
            open.audio_only = audio_only;
            return;
        }
        if self.participants.len() >= PARTICIPANTS_MAX {
            // The middle of a long story of drops says least.
            self.participants.remove(PARTICIPANTS_MAX / 2);
        }
        self.participants.push(Participant {
            role: role.to_owned(),
            who: who.to_owned(),
            joined_at: at,
            left_at: None,
            audio_only,
            put_out: false,
        });
    }

    pub fn left(&mut self, role: &str, who: &str, at: Timestamp, put_out: bool) {
        let open = self
            .participants
            .iter_mut()
            .rev()
            .find(|p| p.who == who && p.role == role && p.left_at.is_none());
        if let Some(open) = open {
            open.left_at = Some(at);
            open.put_out = put_out;
        }
    }

    pub fn measured(&mut self, sample: Quality) {
        self.quality.push(sample);
        if self.quality.len() > QUALITY_MAX {
            let mut index = 0;
            self.quality.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// Closes what is open.
    pub fn end(&mut self, at: Timestamp) {
        self.ended_at = Some(at);
        for participant in &mut self.participants {
            participant.left_at.get_or_insert(at);
        }
    }

    pub fn log(&self) -> Option<SessionLog> {
        if self.participants.is_empty() && self.quality.is_empty() {
            return None;
        }
        let participants = self.participants.iter().map(|p| LogParticipant {
            role: p.role.clone(),
            joined_at: element::written(p.joined_at),
            left_at: p.left_at.map(element::written),
            audio_only: p.audio_only,
            put_out: p.put_out,
        });
        Some(SessionLog { participants: participants.collect(), quality: self.quality.clone() })
    }
}

fn flag(complex: &Value, url: &str) -> bool {
    extension(complex, url).and_then(|e| e.get("valueBoolean")?.as_bool()).unwrap_or(false)
}

fn participant(complex: &Value) -> Option<Participant> {
    let at = |url| extension(complex, url).and_then(|e| instant(e, "/valueInstant"));
    let part = |url, pointer: &str| extension(complex, url).map(|e| element::owned(e, pointer));
    Some(Participant {
        role: part("role", "/valueCode")?,
        who: part("who", "/valueString").unwrap_or_default(),
        joined_at: at("joinedAt")?,
        left_at: at("leftAt"),
        audio_only: flag(complex, "audioOnly"),
        put_out: flag(complex, "putOut"),
    })
}

fn quality_extension(sample: &Quality) -> Value {
    let path = match sample.path {
        MediaPath::Direct => "direct",
        MediaPath::Relay => "relay",
        MediaPath::Unknown => "unknown",
    };
    let level = match sample.level {
        QualityLevel::Good => "good",
        QualityLevel::Fair => "fair",
        QualityLevel::Poor => "poor",
    };
    let number = |value: u32| value.min(i32::MAX.unsigned_abs());
    // NaN and infinities come from a divided zero in some browsers: no loss was measured.
    let loss = if sample.loss_percent.is_finite() { sample.loss_percent.clamp(0.0, 100.0) } else { 0.0 };
    let mut parts = vec![
        json!({"url": "rttMs", "valueUnsignedInt": number(sample.rtt_ms)}),
        json!({"url": "lossPercent", "valueDecimal": decimal(&format!("{loss:.1}"))}),
        json!({"url": "upKbps", "valueUnsignedInt": number(sample.bitrate_up_kbps)}),
        json!({"url": "downKbps", "valueUnsignedInt": number(sample.bitrate_down_kbps)}),
        json!({"url": "path", "valueCode": path}),
        json!({"url": "level", "valueCode": level}),
    ];
    parts.extend(sample.frozen_ms.map(|ms| json!({"url": "frozenMs", "valueUnsignedInt": number(ms)})));
    json!({"url": "quality", "extension": parts})
}

fn quality(complex: &Value) -> Option<Quality> {
    let number = |url| {
        let value = extension(complex, url)?.get("valueUnsignedInt")?.as_u64()?;
        u32::try_from(value).ok()
    };
    let code = |url| extension(complex, url).and_then(|e| text(e, "/valueCode"));
    Some(Quality {
        rtt_ms: number("rttMs")?,
        loss_percent: extension(complex, "lossPercent")?.get("valueDecimal")?.as_f64()?,
        bitrate_up_kbps: number("upKbps")?,
        bitrate_down_kbps: number("downKbps")?,
        path: match code("path") {
            Some("direct") => MediaPath::Direct,
            Some("relay") => MediaPath::Relay,
            _ => MediaPath::Unknown,
        },
        frozen_ms: number("frozenMs"),
        level: match code("level") {
            Some("good") => QualityLevel::Good,
            Some("poor") => QualityLevel::Poor,
            _ => QualityLevel::Fair,
        },
    })
}
