//! The second word for a grant to act that one person of the clinic wrote down: the patient's, by a code to the phone that
//! the clinic knows her by, or another person's of the clinic.

use super::RightsEffect;
use super::proxy::{Basis, FRESH_MINUTES};
use crate::authn::{CodeSent, Sending, Text, language_of};
use crate::write::Request;
use crate::{Effect, Error, Record, Rule};
use access::policy::{self, Capability};
use access::{Ctx, Role};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::account::Account;
use store::audit::Outcome;
use store::proxy::{Confirmed, Proxy, Way};
use uuid::Uuid;

/// A grant that nobody confirmed within this time is over.
pub const WAITS_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A number that was written into the record later than this is not the one the clinic knows the patient by, unless the
/// record began with it: who changes it and asks for the code would read it herself.
const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// What the code is for.
const PURPOSE: &str = "proxy";

/// Whether it is in question still; `false` for one that waited too long.
pub fn is_waiting(proxy: &Proxy, now: Timestamp) -> bool {
    proxy.waits && proxy.ended.is_none() && proxy.until > now && now.duration_since(proxy.made) < WAITS_FOR
}

impl Record {
    /// Grants to act that wait, oldest first. Errors: `Denied` for others than front desk and privacy officer.
    pub async fn waiting_proxies(&self, ctx: &Ctx) -> Result<Vec<Proxy>, Error> {
        if !policy::may(ctx, Capability::ManageConsents) {
            return Err(self.denied(ctx, "proxy.list", "").await);
        }
        let now = self.now();
        let since = now.checked_sub(WAITS_FOR).unwrap_or(Timestamp::MIN);
        let found = self.reading(move |tx| Ok(store::proxy::waiting(tx, since)?)).await?;
        let mut patients: Vec<String> = found.iter().map(|one| one.patient.clone()).collect();
        patients.sort();
        patients.dedup();
        self.audit_one(ctx, "proxy.list", Outcome::Success, "", &patients).await?;
        Ok(found)
    }

    /// Sends the patient a code that puts the grant in force once she says it; asked again, another one instead.
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`, `Throttled`; `Rule` `phone-unknown` where the clinic knows no number
    /// of hers for long enough, `second-person-needed` by court; `Duplicate` `already-settled`.
    pub async fn send_proxy_code(&self, ctx: &Ctx, id: Uuid) -> Result<CodeSent, Error> {
        let proxy = self.proxy_in_question(ctx, "proxy.code", id).await?;
        if Basis::from_code(&proxy.basis) == Some(Basis::Court) {
            let text = "What a court decided is for a second person to look at, not for the patient's phone.";
            return Err(super::second::needed(text, ""));
        }
        self.throttle_begin(ctx)?;
        let sent = match &proxy.code {
            Some(code) => self.resend_code(ctx, code, PURPOSE).await,
            None => Err(Error::NotFound),
        };
        let sent = match sent {
            // None yet, or the one before is too old to be sent again.
            Err(Error::NotFound) => self.first_code(ctx, &proxy).await?,
            other => other?,
        };
        let code = sent.id.clone();
        if !self.writing(move |tx| Ok(store::proxy::set_code(tx, &id, &code)?)).await? {
            return Err(settled());
        }
        let what = format!("Patient/{}", proxy.patient);
        self.audit_one(ctx, "proxy.code", Outcome::Success, &what, std::slice::from_ref(&proxy.patient))
            .await?;
        Ok(sent)
    }

    /// The patient told the code. Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `code-wrong` (details
    /// `{"attempts_left":n}`), `code-expired`; `Duplicate` `already-settled`, `proxy-running`.
    pub async fn confirm_proxy_by_code(&self, ctx: &Ctx, id: Uuid, code: &str) -> Result<Proxy, Error> {
        let proxy = self.proxy_in_question(ctx, "proxy.confirm", id).await?;
        let sent = proxy.code.clone().unwrap_or_default();
        match self.check_code(&sent, PURPOSE, code).await {
            Ok(row) if row.payload["form"]["proxy"] == json!(id.to_string()) => {}
            Ok(_) => return Err(Error::NotFound),
            Err(error) => {
                let what = format!("Patient/{}", proxy.patient);
                self.audit_refusal(ctx, "proxy.confirm", Outcome::Failed, &what, &[proxy.patient]).await;
                return Err(error);
            }
        }
        self.put_in_force(ctx, proxy, Way::PatientCode, vec![sent]).await
    }

    /// A second person of the clinic agrees. Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `second-person-needed`
    /// for the one who asked; `Duplicate` `already-settled`, `proxy-running`.
    pub async fn confirm_proxy(&self, ctx: &Ctx, id: Uuid) -> Result<Proxy, Error> {
        let proxy = self.proxy_in_question(ctx, "proxy.confirm", id).await?;
        super::second::another(ctx, proxy.made_by)?;
        self.put_in_force(ctx, proxy, Way::SecondPerson, Vec::new()).await
    }

    async fn proxy_in_question(&self, ctx: &Ctx, name: &'static str, id: Uuid) -> Result<Proxy, Error> {
        if ctx.user().is_none() || !policy::may(ctx, Capability::ManageConsents) {
            return Err(self.denied(ctx, name, "").await);
        }
        self.require_fresh(ctx, FRESH_MINUTES, false)?;
        let found = self.reading(move |tx| Ok(store::proxy::load(tx, &id)?)).await?;
        let proxy = found.ok_or(Error::NotFound)?;
        match is_waiting(&proxy, self.now()) {
            true => Ok(proxy),
            false => Err(settled()),
        }
    }

    async fn first_code(&self, ctx: &Ctx, proxy: &Proxy) -> Result<CodeSent, Error> {
        let patient = ResourceKey::new(TypeId::PATIENT, proxy.patient.clone());
        let (key, acts) = (patient.clone(), proxy.account);
        let (owners, acts) = self
            .reading(move |tx| Ok((store::account::by_patient(tx, &key)?, store::account::load(tx, acts)?)))
            .await?;
        let acts = acts.filter(|account| !account.disabled).ok_or(Error::NotFound)?;
        let owner = owners.into_iter().find(|account| !account.disabled && account.phone.is_some());
        let own = |account: &Account| Some((account.phone.clone()?, account.language.clone()));
        let (phone, language) = match owner.as_ref().and_then(own) {
            Some(own) => own,
            None => {
                let versions = self.versions_of(&patient).await?;
                let phone = known_phone(&versions, self.now()).ok_or_else(|| {
                    let text = "The clinic has no number of this patient that it has known for a week.";
                    Error::Rule(Rule::new("phone-unknown", text))
                })?;
                let current = versions.first().and_then(|(_, patient)| language_of(patient.value()));
                (phone, current.unwrap_or("en").to_owned())
            }
        };
        let sending = Sending {
            purpose: PURPOSE,
            phone,
            language,
            payload: json!({"proxy": proxy.id.to_string(), "acting": acts.display}),
            account: owner.map(|account| account.id),
            text: Text::Acting(acts.display),
        };
        self.send_code(ctx, sending).await
    }

    async fn put_in_force(
        &self,
        ctx: &Ctx,
        proxy: Proxy,
        way: Way,
        codes: Vec<String>,
    ) -> Result<Proxy, Error> {
        let now = self.now();
        let system = Ctx::system("proxy", now);
        let patient = ResourceKey::new(TypeId::PATIENT, proxy.patient.clone());
        let Some((resource, _)) = self.load(&system, &patient).await? else { return Err(Error::NotFound) };
        let acts = proxy.account;
        let account = self.reading(move |tx| Ok(store::account::load(tx, acts)?)).await?;
        let fits = |a: &Account| !a.disabled && !a.roles.iter().any(|role: &Role| role.is_staff());
        let account = account.filter(fits).ok_or(Error::NotFound)?;
        let by = ctx.user().ok_or(Error::Denied)?.account;
        let proxy = Proxy {
            waits: false,
            code: None,
            from: now,
            confirmed: Some(Confirmed { way, at: now, by }),
            ..proxy
        };
        let mut set = self.coming_into_force(&proxy, &account, now)?;
        set.effects.insert(0, Effect::Rights(RightsEffect::ProxyConfirm(proxy.clone())));
        set.effects.extend(self.tell_patient("proxy.granted", &resource, &patient).await?);
        let mut request = Request::raw(set);
        request.command = Some("proxy.confirm");
        // Used up in the same transaction.
        request.codes = codes;
        self.commit(ctx, request).await?;
        self.forget_standing(Some(account.id));
        Ok(proxy)
    }
}

/// A number of the patient as she is now that stood in the record at its beginning or a week ago.
fn known_phone(versions: &[(Timestamp, Resource)], now: Timestamp) -> Option<String> {
    let (_, current) = versions.first()?;
    let (_, first) = versions.last()?;
    let then = versions.iter().find(|(at, _)| now.duration_since(*at) >= KNOWN_FOR);
    let mut known = phones(first);
    known.extend(then.map(|(_, then)| phones(then)).unwrap_or_default());
    phones(current).into_iter().find(|phone| known.contains(phone))
}

fn phones(patient: &Resource) -> Vec<String> {
    let telecom = patient.get("telecom").and_then(Value::as_array).into_iter().flatten();
    telecom
        .filter(|contact| contact["system"] == "phone")
        .filter_map(|contact| crate::authn::phone_e164(contact.get("value")?.as_str()?))
        .collect()
}

fn settled() -> Error {
    let text = "It is settled already, or waited too long.";
    Error::Duplicate(Rule::new("already-settled", text))
}
