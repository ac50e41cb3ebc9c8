//! Launches of an application from within this program (SMART EHR launch).
//!
//! A launch is sealed, not stored: it says for whom, by which application and about what, and is over in minutes.

use super::{LAUNCH, jose, plus, refuse};
use crate::{Error, Record};
use access::Ctx;
use fhir::ResourceKey;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use store::audit::Outcome;

const PLACE: &str = "oauth-launch";
/// Resources that a launch may name.
const MAX_CONTEXT: usize = 20;
const MAX_INTENT_CHARS: usize = 200;

/// What to launch, and about what.
#[derive(Debug, Clone, Default)]
pub struct LaunchSpec {
    pub client: String,
    /// Id of the Patient.
    pub patient: Option<String>,
    /// Id of the Encounter.
    pub encounter: Option<String>,
    /// References such as `DiagnosticReport/7`.
    pub others: Vec<String>,
    pub intent: Option<String>,
}

/// A launch to go to.
#[derive(Debug, Clone, PartialEq)]
pub struct Launched {
    /// The parameter by itself.
    pub launch: String,
    /// The application's launch URL with `iss` and `launch`; `None` if it has none.
    pub url: Option<String>,
    pub expires_at: Timestamp,
}

impl Record {
    /// Applications that can be launched from a chart, by name: id and name. Nothing for who is not of the staff.
    /// Errors: `Denied` for who is not signed in herself.
    pub async fn launchable(&self, ctx: &Ctx) -> Result<Vec<(String, String)>, Error> {
        let (Some(user), Some(_), None) = (ctx.user(), &ctx.session, &ctx.scopes) else {
            return Err(Error::Denied);
        };
        if !user.roles.iter().any(|role| role.is_staff()) {
            return Ok(Vec::new());
        }
        let clients = self.reading(|tx| Ok(store::oauth::clients(tx)?)).await?;
        let fits = |c: &store::oauth::Client| {
            let launches = c.scopes.iter().any(|scope| scope == "launch");
            !c.disabled && launches && c.facts.launch_url.is_some() && !c.facts.redirects.is_empty()
        };
        let mut found: Vec<(String, String)> =
            clients.into_iter().filter(fits).map(|c| (c.id, c.name)).collect();
        found.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(found)
    }

    /// Makes a launch for the signed-in person. She must be able to read whatever it names. Errors: `Denied`,
    /// `NotFound` for an unknown client; `Rule` `patient-unknown`, `context-invalid`.
    pub async fn launch(&self, ctx: &Ctx, spec: LaunchSpec) -> Result<Launched, Error> {
        let (Some(user), Some(_), None) = (ctx.user(), &ctx.session, &ctx.scopes) else {
            return Err(Error::Denied);
        };
        let wanted = spec.client.clone();
        let client = self.reading(move |tx| Ok(store::oauth::client(tx, &wanted)?)).await?;
        let client =
            client.filter(|c| !c.disabled && !c.facts.redirects.is_empty()).ok_or(Error::NotFound)?;
        let wrong = |text: &str| refuse("context-invalid", text);
        let mut context = Map::new();
        if let Some(patient) = &spec.patient {
            self.check_patient(ctx, patient).await?;
            context.insert("patient".into(), json!(patient));
        }
        if let Some(encounter) = &spec.encounter {
            self.check_context(ctx, &format!("Encounter/{encounter}")).await?;
            context.insert("encounter".into(), json!(encounter));
        }
        if spec.others.len() > MAX_CONTEXT {
            return Err(wrong("A launch names at most 20 resources."));
        }
        for reference in &spec.others {
            self.check_context(ctx, reference).await?;
        }
        if !spec.others.is_empty() {
            let all: Vec<Value> = spec.others.iter().map(|r| json!({"reference": r})).collect();
            context.insert("fhirContext".into(), json!(all));
        }
        if let Some(intent) = spec.intent {
            if intent.chars().count() > MAX_INTENT_CHARS {
                return Err(wrong("The intent is too long."));
            }
            context.insert("intent".into(), json!(intent));
        }
        let expires_at = plus(self.now(), LAUNCH);
        let sealed = json!({"client": client.id, "account": user.account, "context": context,
            "expires": expires_at.as_second()});
        let launch = jose::encode(&self.seal(sealed.to_string().as_bytes(), PLACE)?);
        let what = format!("client/{}", client.id);
        let patients: Vec<String> = spec.patient.into_iter().collect();
        self.audit_one(ctx, "oauth.launch", Outcome::Success, &what, &patients).await?;
        let base = self.base().unwrap_or_default();
        let url = client.facts.launch_url.map(|url| {
            let mark = if url.contains('?') { '&' } else { '?' };
            let base = base.replace(':', "%3A").replace('/', "%2F");
            format!("{url}{mark}iss={base}&launch={launch}")
        });
        Ok(Launched { launch, url, expires_at })
    }

    async fn check_context(&self, ctx: &Ctx, reference: &str) -> Result<(), Error> {
        let unknown = || refuse("context-invalid", "You can open no such resource.");
        let key = ResourceKey::parse(reference).ok_or_else(unknown)?;
        match self.read(ctx, &key).await {
            Ok(_) => Ok(()),
            Err(Error::NotFound | Error::Gone | Error::Denied) => Err(unknown()),
            Err(other) => Err(other),
        }
    }

    /// For which account, and about what; `None` for what is no launch of this client, or is over.
    pub(super) fn opened_launch(&self, launch: &str, client: &str) -> Option<(i64, Map<String, Value>)> {
        let text = self.unseal(&jose::decode(launch)?, PLACE).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        let is_live = value["expires"].as_i64()? > self.now().as_second();
        let fits = is_live && value["client"].as_str()? == client;
        fits.then(|| Some((value["account"].as_i64()?, value["context"].as_object()?.clone())))?
    }
}
