//! One-time codes by SMS: six digits, single use, five minutes, five guesses (facts/security-controls.md I3).

use super::{CodeSent, secret};
use crate::{Error, Record, Rule};
use access::Ctx;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::Tx;
use store::audit::Outcome;
use store::message::NewMessage;
use store::one_time_code::OneTimeCode;
use subtle::ConstantTimeEq;

const VALID: SignedDuration = SignedDuration::from_mins(5);
const MAX_GUESSES: u32 = 5;
const RESEND_AFTER_S: u32 = 60;
const MAX_SENDS_PER_QUARTER_HOUR: i64 = 3;
const MAX_SENDS_PER_DAY: i64 = 10;
/// How long a form waits for its code, resends included.
const FORM_WAITS: SignedDuration = SignedDuration::from_mins(30);
/// Expired codes stay this long: the daily limit counts them.
pub(crate) const KEEP_EXPIRED: SignedDuration = SignedDuration::from_hours(25);
/// A code for another phone number of an account.
pub(super) const PHONE: &str = "phone";
/// For so long nothing that could make the account somebody else's is done with a password that was set by a code to the
/// phone alone: whoever has the phone's card has the code.
const SETTLES: SignedDuration = SignedDuration::from_hours(24);
/// Decoys remembered, for logins that do not exist.
const MAX_DECOYS: usize = 10_000;

pub(crate) enum Text {
    Code,
    /// For the patient to say who that is may act for her.
    Acting(String),
    /// The phone has an account already; a code would only confuse.
    AlreadyRegistered,
}

/// Letters of a name in an SMS.
const MAX_NAME: usize = 30;

fn body(text: &Text, language: &str, code: &str) -> String {
    let language = language.split('-').next().unwrap_or_default();
    let short = |name: &str| name.chars().take(MAX_NAME).collect::<String>();
    match (text, language) {
        (Text::Acting(name), "sw") => format!(
            "Uzima: namba {code} itamruhusu {} kukuwakilisha kwenye rekodi yako ya afya. Iambie kliniki yako tu kama unataka hivyo. Dakika 5.",
            short(name)
        ),
        (Text::Acting(name), "fr") => format!(
            "Uzima : le code {code} permet à {} d'agir pour vous dans votre dossier. Dites-le à votre centre seulement si vous le voulez. 5 minutes.",
            short(name)
        ),
        (Text::Acting(name), _) => format!(
            "Uzima: code {code} lets {} act for you in your health record. Tell it to your clinic only if you want that. 5 minutes.",
            short(name)
        ),
        (Text::Code, "sw") => {
            format!(
                "Uzima: namba yako ya uthibitisho ni {code}. Inatumika kwa dakika 5. Usimpe mtu mwingine."
            )
        }
        (Text::Code, "fr") => {
            format!("Uzima : votre code est {code}. Il est valable 5 minutes. Ne le donnez à personne.")
        }
        (Text::Code, _) => {
            format!("Uzima: your code is {code}. It is valid for 5 minutes. Give it to nobody.")
        }
        (Text::AlreadyRegistered, "sw") => {
            "Uzima: namba hii tayari ina akaunti. Ingia, au weka nenosiri jipya ikiwa umelisahau.".to_owned()
        }
        (Text::AlreadyRegistered, "fr") => {
            "Uzima : ce numéro a déjà un compte. Connectez-vous ou réinitialisez votre mot de passe."
                .to_owned()
        }
        (Text::AlreadyRegistered, _) => {
            "Uzima: this number already has an account. Sign in, or reset your password if you forgot it."
                .to_owned()
        }
    }
}

fn plus(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

pub(super) fn expired() -> Error {
    Error::Rule(Rule::new("code-expired", "This code is used up or too old; ask for a new one.").at("/code"))
}

pub(super) fn wrong(attempts_left: u32) -> Error {
    Error::Rule(
        Rule::new("code-wrong", "The code is wrong.")
            .at("/code")
            .with(json!({"attempts_left": attempts_left})),
    )
}

/// What a code is for and where it goes.
pub(crate) struct Sending {
    pub purpose: &'static str,
    pub phone: String,
    pub language: String,
    pub payload: Value,
    pub account: Option<i64>,
    pub text: Text,
}

impl Record {
    /// Stores a new code and queues its SMS in one transaction. Errors: `Throttled`.
    pub(crate) async fn send_code(&self, ctx: &Ctx, sending: Sending) -> Result<CodeSent, Error> {
        let now = self.now();
        let row = OneTimeCode {
            id: secret::token()?,
            purpose: sending.purpose.to_owned(),
            phone: sending.phone,
            code_hash: [0; 32],
            expires: plus(now, VALID),
            attempts: 0,
            sends: 1,
            last_sent: now,
            payload: json!({"form": sending.payload, "language": sending.language, "since": now.to_string(),
                "silent": matches!(sending.text, Text::AlreadyRegistered)}),
            account: sending.account,
        };
        self.put_code(ctx, row, sending.text, &sending.language, now).await
    }

    /// Sends another code for the same form; earlier codes stop working. Errors: `NotFound`, `Throttled`.
    pub(crate) async fn resend_code(&self, ctx: &Ctx, id: &str, purpose: &str) -> Result<CodeSent, Error> {
        let now = self.now();
        let key = id.to_owned();
        let row = self.reading(move |tx| Ok(store::one_time_code::load(tx, &key)?)).await?;
        let mut row = row.filter(|r| r.purpose == purpose && !r.is_used()).ok_or(Error::NotFound)?;
        let since: Timestamp =
            row.payload["since"].as_str().and_then(|s| s.parse().ok()).unwrap_or(Timestamp::MIN);
        if now > plus(since, FORM_WAITS) {
            return Err(Error::NotFound);
        }
        let ready = plus(row.last_sent, SignedDuration::from_secs(i64::from(RESEND_AFTER_S)));
        if now < ready {
            return Err(Error::Throttled { retry_after_s: super::throttle::seconds(now, ready) });
        }
        let language = row.payload["language"].as_str().unwrap_or("en").to_owned();
        let text = match row.payload["form"]["acting"].as_str() {
            _ if row.payload["silent"] == true => Text::AlreadyRegistered,
            Some(name) => Text::Acting(name.to_owned()),
            None => Text::Code,
        };
        row.sends += 1;
        row.attempts = 0;
        row.last_sent = now;
        row.expires = plus(now, VALID);
        self.put_code(ctx, row, text, &language, now).await
    }

    async fn put_code(
        &self,
        ctx: &Ctx,
        mut row: OneTimeCode,
        text: Text,
        language: &str,
        now: Timestamp,
    ) -> Result<CodeSent, Error> {
        let code = secret::code()?;
        // Nobody is told this code when the phone has an account: its form can never be confirmed.
        let secret_code =
            if matches!(text, Text::AlreadyRegistered) { secret::token()? } else { code.clone() };
        row.code_hash = secret::hash_code(&row.id, &secret_code);
        let mut message = NewMessage::sms(
            row.phone.clone(),
            language,
            format!("code.{}", row.purpose),
            body(&text, language, &code),
            now,
            uuid::Uuid::now_v7(),
        );
        message.expires = Some(row.expires);
        message.account = row.account;
        let sent = CodeSent {
            id: row.id.clone(),
            phone_masked: wire::phone::masked(&row.phone),
            expires_at: row.expires,
            resend_after_s: RESEND_AFTER_S,
        };
        let event = self.audit_event(ctx, "code.send", Outcome::Success, "", &[]);
        let most = i64::from(self.security_policy().await?.sms_codes_per_day);
        self.writing(move |tx| {
            limit(tx, &row, now)?;
            limit_all(tx, now, most)?;
            if !store::one_time_code::put(tx, &row)? {
                return Err(Error::NotFound);
            }
            store::message::insert(tx, &message)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(sent)
    }

    /// The row of a right code, still to be used up by the caller's transaction. Wrong guesses are counted.
    /// Errors: `code-wrong`, `code-expired`.
    pub(crate) async fn check_code(&self, id: &str, purpose: &str, code: &str) -> Result<OneTimeCode, Error> {
        let now = self.now();
        let (key, given) = (id.to_owned(), secret::hash_code(id, code.trim()));
        let found = self
            .writing(move |tx| {
                let taken = store::one_time_code::take_guess(tx, &key, MAX_GUESSES, now)?;
                let Some(row) = store::one_time_code::load(tx, &key)? else { return Ok(None) };
                let right = bool::from(row.code_hash.ct_eq(&given));
                if right && taken.is_some() {
                    store::one_time_code::give_guess_back(tx, &key)?;
                }
                Ok(Some((row, right, taken)))
            })
            .await?;
        let Some((row, right, taken)) = found.filter(|(row, ..)| row.purpose == purpose) else {
            return Err(self.guess_decoy(id));
        };
        match taken {
            None => Err(expired()),
            Some(taken) if !right => Err(wrong(MAX_GUESSES.saturating_sub(taken))),
            Some(_) => Ok(row),
        }
    }

    /// Whether the caller may have another phone, another factor or a copy of the record: not within a day after her
    /// password was set by a code to her phone, unless she showed a second factor.
    /// Errors: `Rule` `reset-lately`.
    pub async fn require_settled(&self, ctx: &Ctx) -> Result<(), Error> {
        let Some(account) = ctx.user().map(|user| user.account) else { return Ok(()) };
        if ctx.session.as_ref().is_some_and(|session| session.factors.iter().any(|factor| factor.is_strong()))
        {
            return Ok(());
        }
        let since = self.now().checked_sub(SETTLES).unwrap_or(Timestamp::MIN);
        let used = move |tx: &mut dyn Tx| {
            Ok(store::one_time_code::was_used(tx, account, super::registration::RESET, since)?)
        };
        if !self.reading(used).await? {
            return Ok(());
        }
        let text = "Your password was set by a code to your phone within the last day. Try again tomorrow, or ask your clinic.";
        Err(Error::Rule(Rule::new("reset-lately", text)))
    }

    /// An id that answers like a real one, for a login that does not exist. Nothing is written to the database.
    pub(super) fn decoy_code(&self, phone: Option<&str>) -> Result<CodeSent, Error> {
        let id = secret::token()?;
        let expires_at = plus(self.now(), VALID);
        let mut decoys = self.inner.decoys.lock();
        if decoys.len() >= MAX_DECOYS {
            decoys.clear();
        }
        decoys.insert(id.clone(), (expires_at, 0));
        Ok(CodeSent {
            id,
            phone_masked: phone.map_or_else(|| "•••".to_owned(), wire::phone::masked),
            expires_at,
            resend_after_s: RESEND_AFTER_S,
        })
    }

    fn guess_decoy(&self, id: &str) -> Error {
        let now = self.now();
        let mut decoys = self.inner.decoys.lock();
        match decoys.get_mut(id) {
            Some((expires, guesses)) if *expires > now && *guesses < MAX_GUESSES => {
                *guesses += 1;
                wrong(MAX_GUESSES - *guesses)
            }
            _ => expired(),
        }
    }
}

/// What the whole clinic spends on codes in a day: an attacker who registers thousands of numbers pays nothing, we do.
fn limit_all(tx: &mut dyn Tx, now: Timestamp, most: i64) -> Result<(), Error> {
    let window = SignedDuration::from_hours(24);
    let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    if store::one_time_code::sent_by_all_since(tx, since)? >= most {
        return Err(Error::Throttled { retry_after_s: 3600 });
    }
    Ok(())
}

/// Limits on what can be sent to one number, whoever asks for it.
fn limit(tx: &mut dyn Tx, row: &OneTimeCode, now: Timestamp) -> Result<(), Error> {
    for (window, most) in [
        (SignedDuration::from_mins(15), MAX_SENDS_PER_QUARTER_HOUR),
        (SignedDuration::from_hours(24), MAX_SENDS_PER_DAY),
    ] {
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        if store::one_time_code::sent_since(tx, &row.phone, since)? >= most {
            return Err(Error::Throttled { retry_after_s: u32::try_from(window.as_secs()).unwrap_or(900) });
        }
    }
    Ok(())
}
