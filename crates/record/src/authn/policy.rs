//! What the clinic asks of people who sign in, kept as a setting.

use super::four_eyes::{self, About, Act};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx, Due, Factor, Role};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::account::Account;
use store::audit::Outcome;

const KEY: &str = "security-policy";
/// How long a server goes by the policy it read last. With what sessions are held in memory: less than a second until
/// a change made on another server counts (facts/security-controls.md I5).
const FRESH_MS: i64 = 300;

/// Whether people must have a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondFactor {
    Off,
    /// The client proposes it.
    Asked,
    /// Nothing works before it is set up.
    Required,
}

impl SecondFactor {
    pub const ALL: [SecondFactor; 3] = [SecondFactor::Off, SecondFactor::Asked, SecondFactor::Required];
    /// Stable; stored and shown to API users.
    pub fn code(self) -> &'static str {
        match self {
            SecondFactor::Off => "off",
            SecondFactor::Asked => "asked",
            SecondFactor::Required => "required",
        }
    }
    pub fn from_code(code: &str) -> Option<SecondFactor> {
        SecondFactor::ALL.into_iter().find(|m| m.code() == code)
    }
}

/// When somebody else must agree to what is done to an account, see [super::four_eyes].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondPerson {
    /// Where the account's roles read patients' facts or administer.
    Facts,
    /// For tiny clinics.
    Never,
}

impl SecondPerson {
    /// Stable; stored and shown to API users.
    pub fn code(self) -> &'static str {
        match self {
            SecondPerson::Facts => "facts",
            SecondPerson::Never => "never",
        }
    }
    pub fn from_code(code: &str) -> Option<SecondPerson> {
        [SecondPerson::Facts, SecondPerson::Never].into_iter().find(|m| m.code() == code)
    }
}

/// Rules for signing in. Times are whole minutes.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityPolicy {
    /// For all staff who are in no role of `required_roles`.
    pub second_factor: SecondFactor,
    /// Must have a second factor whatever `second_factor` says.
    pub required_roles: Vec<Role>,
    /// Must have signed in by a passkey, or the like at a provider that is believed; nothing else is enough.
    pub passkey_roles: Vec<Role>,
    pub second_person: SecondPerson,
    /// A session of staff ends after this long without a request.
    pub staff_idle_minutes: u32,
    /// A session of staff ends then at the latest.
    pub staff_absolute_minutes: u32,
    /// On a shared device.
    pub kiosk_idle_minutes: u32,
    pub patient_idle_minutes: u32,
    pub patient_absolute_minutes: u32,
    /// Codes by SMS that the whole clinic sends within 24 hours, at most.
    pub sms_codes_per_day: u32,
}

impl Default for SecurityPolicy {
    /// facts/security-controls.md I2, I5: whoever reads patients' facts, may break the glass or administers sets up a
    /// second factor before anything else.
    fn default() -> SecurityPolicy {
        SecurityPolicy {
            second_factor: SecondFactor::Asked,
            required_roles: access::trust::trusted(),
            passkey_roles: Vec::new(),
            second_person: SecondPerson::Facts,
            staff_idle_minutes: 15,
            staff_absolute_minutes: 12 * 60,
            kiosk_idle_minutes: 5,
            patient_idle_minutes: 7 * 24 * 60,
            patient_absolute_minutes: 30 * 24 * 60,
            sms_codes_per_day: 2000,
        }
    }
}

/// Least and greatest minutes that each limit may have.
const MINUTES: [(&str, u32, u32); 5] = [
    ("staff_idle_minutes", 1, 120),
    ("staff_absolute_minutes", 15, 24 * 60),
    ("kiosk_idle_minutes", 1, 30),
    ("patient_idle_minutes", 5, 30 * 24 * 60),
    ("patient_absolute_minutes", 15, 90 * 24 * 60),
];

fn is_staff(roles: &[Role]) -> bool {
    roles.iter().any(|r| r.is_staff())
}

impl SecurityPolicy {
    fn minutes(&self) -> [u32; 5] {
        [
            self.staff_idle_minutes,
            self.staff_absolute_minutes,
            self.kiosk_idle_minutes,
            self.patient_idle_minutes,
            self.patient_absolute_minutes,
        ]
    }

    /// Longest time without a request, and in all.
    pub fn limits(&self, roles: &[Role], kiosk: bool) -> (SignedDuration, SignedDuration) {
        let (idle, whole) = match (is_staff(roles), kiosk) {
            (_, true) => (self.kiosk_idle_minutes, self.staff_absolute_minutes),
            (true, false) => (self.staff_idle_minutes, self.staff_absolute_minutes),
            (false, false) => (self.patient_idle_minutes, self.patient_absolute_minutes),
        };
        (SignedDuration::from_mins(i64::from(idle)), SignedDuration::from_mins(i64::from(whole)))
    }

    /// Whether only a passkey is enough for people with these roles.
    pub fn needs_passkey(&self, roles: &[Role]) -> bool {
        roles.iter().any(|r| self.passkey_roles.contains(r))
    }

    /// What is asked of people with these roles.
    pub fn second_factor_for(&self, roles: &[Role]) -> SecondFactor {
        if self.needs_passkey(roles) || roles.iter().any(|r| self.required_roles.contains(r)) {
            SecondFactor::Required
        } else if is_staff(roles) {
            self.second_factor
        } else {
            SecondFactor::Off
        }
    }

    /// What a session with these factors must do first.
    pub(super) fn due(&self, account: &Account, factors: &[Factor]) -> Option<Due> {
        // Who signed in by a passkey does not use the password that somebody else made.
        if account.temporary && factors.contains(&Factor::Password) {
            return Some(Due::Password);
        }
        // A PIN stands for the sign-in with which it was set, which nobody knows to have been by a passkey.
        if self.needs_passkey(&account.roles) {
            return (!factors.iter().any(|f| f.is_phishing_resistant())).then_some(Due::Passkey);
        }
        let strong = factors.iter().any(|f| f.is_strong() || *f == Factor::Pin);
        (self.second_factor_for(&account.roles) == SecondFactor::Required && !strong)
            .then_some(Due::SecondFactor)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "second_factor": self.second_factor.code(),
            "required_roles": self.required_roles.iter().map(|r| r.code()).collect::<Vec<_>>(),
            "passkey_roles": self.passkey_roles.iter().map(|r| r.code()).collect::<Vec<_>>(),
            "second_person": self.second_person.code(),
            "staff_idle_minutes": self.staff_idle_minutes,
            "staff_absolute_minutes": self.staff_absolute_minutes,
            "kiosk_idle_minutes": self.kiosk_idle_minutes,
            "patient_idle_minutes": self.patient_idle_minutes,
            "patient_absolute_minutes": self.patient_absolute_minutes,
            "sms_codes_per_day": self.sms_codes_per_day,
        })
    }

    /// What is not there or not understood stays as by default.
    pub(super) fn from_json(value: &Value) -> SecurityPolicy {
        let known = SecurityPolicy::default();
        let number = |name: &str, default: u32| {
            value[name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
        };
        let roles = |name: &str| -> Option<Vec<Role>> {
            Some(value[name].as_array()?.iter().filter_map(|r| Role::from_code(r.as_str()?)).collect())
        };
        SecurityPolicy {
            second_factor: value["second_factor"]
                .as_str()
                .and_then(SecondFactor::from_code)
                .unwrap_or(known.second_factor),
            required_roles: roles("required_roles").unwrap_or(known.required_roles),
            passkey_roles: roles("passkey_roles").unwrap_or_default(),
            second_person: value["second_person"]
                .as_str()
                .and_then(SecondPerson::from_code)
                .unwrap_or(known.second_person),
            staff_idle_minutes: number("staff_idle_minutes", known.staff_idle_minutes),
            staff_absolute_minutes: number("staff_absolute_minutes", known.staff_absolute_minutes),
            kiosk_idle_minutes: number("kiosk_idle_minutes", known.kiosk_idle_minutes),
            patient_idle_minutes: number("patient_idle_minutes", known.patient_idle_minutes),
            patient_absolute_minutes: number("patient_absolute_minutes", known.patient_absolute_minutes),
            sms_codes_per_day: number("sms_codes_per_day", known.sms_codes_per_day),
        }
    }
}

/// The policy as it was read last, and when.
pub(crate) type Cached = parking_lot::Mutex<Option<(Timestamp, SecurityPolicy)>>;

impl Record {
    /// The rules as they are now; a change made on another server shows within a second.
    pub async fn security_policy(&self) -> Result<SecurityPolicy, Error> {
        let now = self.now();
        if let Some((at, policy)) = self.inner.policy.lock().as_ref() {
            let age_ms = now.duration_since(*at).as_millis();
            if (0..i128::from(FRESH_MS)).contains(&age_ms) {
                return Ok(policy.clone());
            }
        }
        let value = self.reading(|tx| Ok(store::setting::get(tx, KEY)?)).await?;
        let policy = value.as_ref().map(SecurityPolicy::from_json).unwrap_or_default();
        *self.inner.policy.lock() = Some((now, policy.clone()));
        Ok(policy)
    }

    /// Changes the rules; administrators who showed themselves in the last ten minutes. Sessions that are open go by
    /// them from their next request on. Errors: `Denied`, `StepUpNeeded`, `Rule` `minutes-invalid`, `roles-invalid`,
    /// `passkey-first`, `second-person-needed` for one that does away with the second person.
    pub async fn set_security_policy(&self, ctx: &Ctx, policy: SecurityPolicy) -> Result<(), Error> {
        self.check_security_policy(ctx, &policy).await?;
        let value = policy.to_json();
        let alone = self.guard(ctx, &Act::Policy(Box::new(policy)), About::Nothing).await?;
        let event = self.audit_event(ctx, "security-policy.update", Outcome::Success, "", &[]);
        self.writing(move |tx| {
            store::setting::put(tx, KEY, &value)?;
            four_eyes::note(tx, alone.as_ref())?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_policy();
        Ok(())
    }

    /// Goes by rules that are agreed to, in the caller's transaction; [Record::forget_policy] afterwards.
    pub(super) fn put_policy(tx: &mut dyn store::Tx, policy: &SecurityPolicy) -> Result<(), Error> {
        Ok(store::setting::put(tx, KEY, &policy.to_json())?)
    }

    pub(super) fn forget_policy(&self) {
        *self.inner.policy.lock() = None;
        self.inner.tokens.lock().clear();
    }

    /// Errors: as [Record::set_security_policy].
    pub(super) async fn check_security_policy(
        &self,
        ctx: &Ctx,
        policy: &SecurityPolicy,
    ) -> Result<(), Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "security-policy.update", "").await);
        }
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        for ((name, least, most), minutes) in MINUTES.iter().zip(policy.minutes()) {
            if !(*least..=*most).contains(&minutes) {
                let text = format!("Choose {least} to {most} minutes.");
                return Err(Error::Rule(Rule::new("minutes-invalid", text).at(format!("/{name}"))));
            }
        }
        for (name, roles) in
            [("required_roles", &policy.required_roles), ("passkey_roles", &policy.passkey_roles)]
        {
            if let Some(role) = roles.iter().find(|r| !r.is_staff()) {
                let text = format!("A second factor can be required of staff, not of {}.", role.title());
                return Err(Error::Rule(Rule::new("roles-invalid", text).at(format!("/{name}"))));
            }
        }
        // Nobody locks herself out: who asks it of her own role shows that she can.
        let shown = ctx.session.as_ref().is_some_and(|s| s.factors.iter().any(|f| f.is_phishing_resistant()));
        if ctx.user().is_some_and(|user| policy.needs_passkey(&user.roles)) && !shown {
            let text = "Sign in by a passkey of your own first.";
            return Err(Error::Rule(Rule::new("passkey-first", text).at("/passkey_roles")));
        }
        Ok(())
    }
}
