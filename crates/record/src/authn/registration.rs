//! Self-registration of patients by phone, and resetting a password.

use super::code::{Sending, Text};
use super::session::Opening;
use super::throttle::{Allowance, network};
use super::{CodeSent, NewPatient, Session, SignIn};
use crate::write::Request;
use crate::{Change, ChangeSet, Effect, Error, Record, Rule};
use access::{Ctx, Factor, Role};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::civil::Date;
use serde_json::{Value, json};
use uuid::Uuid;

const MAX_NAME_CHARS: usize = 80;
const OLDEST_YEARS: i16 = 130;
/// Registrations and resets that one address may begin before delays set in; a waiting room shares one.
const PER_ADDRESS_BEGINS: Allowance = Allowance(60);
/// Codes to other phones that one account may ask for before delays set in.
const PER_ACCOUNT_BEGINS: Allowance = Allowance(10);
const REGISTRATION: &str = "registration";
pub(super) const RESET: &str = "reset";
const SYSTEM: &str = "https://uzima.health/fhir";

/// The form as it waits for its code; the password only as its hash.
struct Form {
    given: String,
    family: String,
    birth_date: String,
    sex: String,
    phone: String,
    password_hash: String,
    language: String,
}

impl Form {
    fn to_json(&self) -> Value {
        json!({"given": self.given, "family": self.family, "birth_date": self.birth_date, "sex": self.sex,
            "phone": self.phone, "password_hash": self.password_hash, "language": self.language})
    }
    fn from_json(value: &Value) -> Form {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Form {
            given: text("given"),
            family: text("family"),
            birth_date: text("birth_date"),
            sex: text("sex"),
            phone: text("phone"),
            password_hash: text("password_hash"),
            language: text("language"),
        }
    }
    fn display(&self) -> String {
        format!("{} {}", self.given, self.family).trim().to_owned()
    }
    fn patient(&self, id: &str, record_number: &str, duplicate: bool) -> Value {
        let mut patient = json!({
            "resourceType": "Patient", "id": id, "active": true,
            "identifier": [{"use": "usual", "system": format!("{SYSTEM}/identifier/record-number"), "value": record_number}],
            "name": [{"use": "official", "family": self.family, "given": self.given.split_whitespace().collect::<Vec<_>>()}],
            "telecom": [{"system": "phone", "value": self.phone, "use": "mobile"}],
            "gender": self.sex,
            "birthDate": self.birth_date,
            "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": self.language}]}, "preferred": true}],
        });
        if self.family.is_empty() {
            patient["name"][0].as_object_mut().map(|n| n.shift_remove("family"));
        }
        if self.given.is_empty() {
            patient["name"][0].as_object_mut().map(|n| n.shift_remove("given"));
        }
        if duplicate {
            patient["meta"] = json!({"tag": [{"system": format!("{SYSTEM}/CodeSystem/tag"), "code": "possible-duplicate"}]});
        }
        patient
    }
}

fn refuse<T>(code: &'static str, field: &str, text: &str) -> Result<T, Error> {
    Err(Error::Rule(Rule::new(code, text).at(field)))
}

fn check_name(text: &str, field: &str) -> Result<String, Error> {
    let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return refuse("name-invalid", field, "Write the name with at most 80 characters.");
    }
    if !name.is_empty() && !name.chars().any(char::is_alphabetic) {
        return refuse("name-invalid", field, "Write the name in letters.");
    }
    Ok(name)
}

impl Record {
    /// Checks the form, stores it for half an hour and sends a code by SMS. A phone that has an account gets a text
    /// that says so; the answer is the same. Errors: `Rule` `name-required`, `name-invalid`, `date-invalid`,
    /// `date-future`, `sex-invalid`, `phone-invalid`, `password-short`, `password-common`, `terms-required`, with their
    /// field; `Throttled`, `Busy`.
    pub async fn begin_registration(&self, ctx: &Ctx, new: NewPatient) -> Result<CodeSent, Error> {
        let now = self.now();
        let given = check_name(&new.given, "/given")?;
        let family = check_name(&new.family, "/family")?;
        // Many people have one name only.
        if given.is_empty() && family.is_empty() {
            return refuse("name-required", "/given", "Write your name.");
        }
        let Ok(date) = new.birth_date.trim().parse::<Date>() else {
            return refuse("date-invalid", "/birth_date", "Write the birth date as year-month-day.");
        };
        // The day has begun somewhere else before it has begun in UTC.
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date().tomorrow().unwrap_or(Date::MAX);
        if date > today {
            return refuse("date-future", "/birth_date", "The birth date lies in the future.");
        }
        if date.year() < today.year() - OLDEST_YEARS {
            return refuse("date-invalid", "/birth_date", "The birth date is too long ago.");
        }
        let sex = new.sex.unwrap_or_else(|| "unknown".to_owned());
        if !matches!(sex.as_str(), "female" | "male" | "other" | "unknown") {
            return refuse("sex-invalid", "/sex", "Choose female, male, other or unknown.");
        }
        let Some(phone) = super::phone_e164(&new.phone) else {
            return refuse(
                "phone-invalid",
                "/phone",
                "Write the phone number like 0712 345 678 or +254 712 345 678.",
            );
        };
        super::password::check(&new.password, &[&phone, &given, &family, &format!("{given}{family}")])?;
        if !new.accept_terms {
            return refuse("terms-required", "/accept_terms", "Accept the terms to go on.");
        }
        self.throttle_begin(ctx)?;

        let password_hash = self.hash_password(&new.password).await?;
        let form = Form {
            given,
            family,
            birth_date: date.to_string(),
            sex,
            phone: phone.clone(),
            password_hash,
            language: language(&new.language),
        };
        let lookup = phone.clone();
        let known = self.reading(move |tx| Ok(!store::account::by_phone(tx, &lookup)?.is_empty())).await?;
        self.send_code(
            ctx,
            Sending {
                purpose: REGISTRATION,
                phone,
                language: form.language.clone(),
                payload: form.to_json(),
                account: None,
                text: if known { Text::AlreadyRegistered } else { Text::Code },
            },
        )
        .await
    }

    /// Errors: `NotFound`, `Throttled`.
    pub async fn resend_registration(&self, ctx: &Ctx, id: &str) -> Result<CodeSent, Error> {
        self.throttle_begin(ctx)?;
        self.resend_code(ctx, id, REGISTRATION).await
    }

    /// Makes Patient and account in one transaction and signs her in. A likely duplicate is tagged and a Task for the
    /// front desk is made. Errors: `Rule` `code-wrong` (details `{"attempts_left":n}`), `code-expired`; `Busy`.
    pub async fn confirm_registration(
        &self,
        ctx: &Ctx,
        id: &str,
        code: &str,
        from: &super::Origin,
    ) -> Result<Session, Error> {
        let row = self.check_code(id, REGISTRATION, code).await?;
        let form = Form::from_json(&row.payload["form"]);
        let now = self.now();
        let system = {
            let mut system = Ctx::system("registration", now);
            system.address = ctx.address;
            system.request_id = ctx.request_id.clone();
            system
        };
        let candidates = self
            .duplicate_candidates(&system, &form.given, &form.family, &form.birth_date, Some(&form.phone))
            .await?;
        let key = ResourceKey::new(kind("Patient"), Uuid::now_v7().to_string());
        let number = self.next_record_number().await?;
        let mut set = ChangeSet::default();
        set.changes.push(Change::Create {
            resource: resource(form.patient(&key.id, &number, !candidates.is_empty()))?,
        });
        if !candidates.is_empty() {
            let found: Vec<(ResourceKey, u8)> =
                candidates.iter().filter_map(|(r, _, score)| Some((r.key()?, *score))).collect();
            set.changes.push(Change::Create { resource: super::duplicate::review_task(&key, &found, now)? });
        }
        set.effects.push(Effect::AccountCreate(store::account::NewAccount {
            login: None,
            phone: Some(form.phone.clone()),
            email: None,
            display: form.display(),
            password_hash: Some(form.password_hash.clone()),
            roles: vec![Role::Patient],
            patient: Some(key.clone()),
            practitioner: None,
            language: form.language.clone(),
            created: now,
        }));
        set.events.push(crate::Event {
            topic: "patient.registered",
            subject: key.clone(),
            data: json!({"possible_duplicate": !candidates.is_empty()}),
        });
        let mut request = Request::raw(set);
        request.command = Some("patient.register");
        // Used up in the same transaction: of two confirmations at once one makes the account.
        request.codes = vec![id.to_owned()];
        self.commit(&system, request).await?;
        let accounts = self.reading(move |tx| Ok(store::account::by_patient(tx, &key)?)).await?;
        let account =
            accounts.first().ok_or_else(|| Error::Internal("account not found after creation".into()))?;
        let opening = Opening::sign_in(vec![Factor::SmsCode], from, self.now());
        self.open_session(account, opening).await
    }

    /// Sends a code to a patient's phone, or a link to the e-mail address of the account. Unknown logins and accounts
    /// without either get the same answer and no message. Errors: `Throttled`.
    pub async fn begin_reset(&self, ctx: &Ctx, login: &str) -> Result<CodeSent, Error> {
        self.throttle_begin(ctx)?;
        let account = self.accounts_by_login(login).await?.into_iter().next().filter(|a| !a.disabled);
        let asked_by_phone = super::phone_e164(login);
        // Codes by SMS are for patients; staff get a link by e-mail, or a new password from their administrator.
        let is_staff = account.as_ref().is_some_and(|a| a.roles.iter().any(|r| r.is_staff()));
        let by_phone = account.as_ref().and_then(|a| a.phone.clone()).filter(|_| !is_staff);
        let (account, phone) = match (account, by_phone) {
            (Some(account), Some(phone)) => (account, phone),
            (account, _) => {
                if let Some(account) = account.filter(|a| a.email.is_some()) {
                    // After the answer: a commit would make known names slower than unknown ones.
                    let (record, ctx) = (self.clone(), ctx.clone());
                    tokio::spawn(async move {
                        if let Err(error) = record.send_reset_link(&ctx, &account).await {
                            tracing::warn!(%error, "a link for a new password was not sent");
                        }
                    });
                }
                return self.decoy_code(asked_by_phone.as_deref());
            }
        };
        let sent = self
            .send_code(
                ctx,
                Sending {
                    purpose: RESET,
                    phone,
                    language: account.language.clone(),
                    payload: Value::Null,
                    account: Some(account.id),
                    text: Text::Code,
                },
            )
            .await;
        match sent {
            // The number behind a user name is nobody's business.
            Ok(sent) if asked_by_phone.is_none() => {
                Ok(CodeSent { phone_masked: "•••".to_owned(), ..sent })
            }
            // "Too many" would tell that the login exists.
            Err(Error::Throttled { .. }) => self.decoy_code(asked_by_phone.as_deref()),
            other => other,
        }
    }

    /// Sets the password, ends all sessions, tells the owner, and signs in; who has a second factor shows it next. Errors: `Rule` `code-wrong`, `code-expired`, `password-short`,
    /// `password-common`; `Busy`.
    pub async fn confirm_reset(
        &self,
        ctx: &Ctx,
        id: &str,
        code: &str,
        password: &str,
        from: &super::Origin,
    ) -> Result<SignIn, Error> {
        // Before the code is used: a password that is refused must not cost the code.
        super::password::check(password, &[])?;
        let row = self.check_code(id, RESET, code).await?;
        let account_id = row.account.ok_or_else(super::code::expired)?;
        let used = {
            let id = id.to_owned();
            self.writing(move |tx| Ok(store::one_time_code::use_up(tx, &id)?)).await?
        };
        let account = self.reading(move |tx| Ok(store::account::load(tx, account_id)?)).await?;
        let Some(account) = account.filter(|a| used && !a.disabled) else {
            return Err(super::code::expired());
        };
        let mut own = self.context_of(super::session::user(&account), ctx.address);
        own.request_id = ctx.request_id.clone();
        self.set_password(&own, &account, password, "password.reset", false).await?;
        self.notify(&account, super::Notice::PasswordReset).await?;
        self.signed_in_by(&account, Factor::SmsCode, from).await
    }

    /// Before anything that may send a code: each costs the clinic, whoever asks for it. Errors: `Throttled`.
    pub(crate) fn throttle_begin(&self, ctx: &Ctx) -> Result<(), Error> {
        let now = self.now();
        if let Some(user) = ctx.user() {
            let key = format!("begin/account/{}", user.account);
            self.inner.throttle.attempt(&key, PER_ACCOUNT_BEGINS, now)?;
        }
        if let Some(address) = ctx.address {
            let key = format!("begin/{}", network(address));
            self.inner.throttle.attempt(&key, PER_ADDRESS_BEGINS, now)?;
        }
        Ok(())
    }

    /// The next free record number, e.g. `UZ-000501`. Numbers are never given twice; gaps are normal.
    pub async fn next_record_number(&self) -> Result<String, Error> {
        loop {
            let number = self.writing(|tx| Ok(store::sequence::next(tx, "record-number")?)).await?;
            let text = format!("UZ-{number:06}");
            if self.record_number_is_free(&text).await? {
                return Ok(text);
            }
            // Imported records brought numbers of their own: find the end of their run by doubling, then start there.
            let mut step = 1i64;
            while !self.record_number_is_free(&format!("UZ-{:06}", number + step)).await?
                && step < i64::MAX / 4
            {
                step *= 2;
            }
            let (mut taken, mut free) = (number + step / 2, number + step);
            while free - taken > 1 {
                let middle = taken + (free - taken) / 2;
                if self.record_number_is_free(&format!("UZ-{middle:06}")).await? {
                    free = middle;
                } else {
                    taken = middle;
                }
            }
            self.writing(move |tx| Ok(store::sequence::at_least(tx, "record-number", taken)?)).await?;
        }
    }

    async fn record_number_is_free(&self, number: &str) -> Result<bool, Error> {
        let ctx = Ctx::system("record-number", self.now());
        let identifier = format!("{SYSTEM}/identifier/record-number|{number}");
        Ok(self.find(&ctx, "Patient", &[("identifier", &identifier)], 1).await?.is_empty())
    }
}

fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap_or(TypeId(u16::MAX))
}

fn resource(value: Value) -> Result<Resource, Error> {
    Resource::from_value(value).map_err(|o| Error::Internal(o.to_string()))
}

/// A language tag that texts exist for, or as sent if it looks like a tag.
fn language(text: &str) -> String {
    let tag = text.trim();
    if is_language(tag) { tag.to_owned() } else { "en".to_owned() }
}

/// Whether this looks like a BCP-47 tag.
pub(super) fn is_language(tag: &str) -> bool {
    (2..=12).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
