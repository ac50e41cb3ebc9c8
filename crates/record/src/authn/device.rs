//! Devices that several people of the clinic share: each signs in on it once and then changes over by a PIN.
//!
//! A PIN is worth nothing away from the device: the device keeps a token that only it has. Every change-over is a
//! session of its own, with its own person in the audit.

use super::{DevicePeople, DeviceRow, Origin, Session, secret, session};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx, Factor};
use jiff::Timestamp;
use serde_json::json;
use store::audit::Outcome;
use store::device::Device;

const PIN_DIGITS: usize = 6;
/// Wrong PINs after which only a full sign-in helps.
const MAX_PINS: u32 = 3;
const MAX_NAME_CHARS: usize = 60;

fn unknown_device() -> Error {
    let text = "This device is not set up for changing over; sign in with your password.";
    Error::Rule(Rule::new("device-unknown", text))
}

/// Errors: `Rule` `name-required`.
pub(super) fn check_name(name: &str) -> Result<String, Error> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        let text = "Give the device a name of at most 60 characters.";
        return Err(Error::Rule(Rule::new("name-required", text).at("/name")));
    }
    Ok(name)
}

/// Errors: `Rule` `pin-invalid`, `pin-common`.
fn check_pin(pin: &str) -> Result<(), Error> {
    let refuse = |code, text| Err(Error::Rule(Rule::new(code, text).at("/pin")));
    if pin.len() != PIN_DIGITS || !pin.bytes().all(|b| b.is_ascii_digit()) {
        return refuse("pin-invalid", "A PIN has six digits.");
    }
    let digits = pin.as_bytes();
    let steps: Vec<i16> = digits.windows(2).map(|w| i16::from(w[1]) - i16::from(w[0])).collect();
    let in_row = steps.iter().all(|s| *s == steps[0]) && steps[0].abs() <= 1;
    let halves = digits[..3] == digits[3..] || (digits[..2] == digits[2..4] && digits[..2] == digits[4..]);
    if in_row || halves || super::breached::is_common_pin(pin) {
        return refuse("pin-common", "This PIN is among the first that are tried; choose another.");
    }
    Ok(())
}

impl Record {
    /// Makes the browser of this session a shared device; staff who showed themselves in the last minutes. Returns the
    /// token that it keeps; this session goes on there. Errors: `Denied`, `StepUpNeeded`, `Rule` `name-required`.
    pub async fn add_device(&self, ctx: &Ctx, name: &str) -> Result<String, Error> {
        let Some(user) = ctx.user().filter(|u| u.roles.iter().any(|r| r.is_staff())) else {
            return Err(self.denied(ctx, "device.add", "").await);
        };
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let name = check_name(name)?;
        let (token, now) = (secret::token()?, self.now());
        let device = Device {
            id_hash: secret::hash(&token),
            name,
            made_by: user.account,
            created: now,
            last_used: now,
        };
        let event = self.audit_event(ctx, "device.add", Outcome::Success, "", &[]);
        self.writing(move |tx| {
            store::device::insert(tx, &device)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(token)
    }

    /// All shared devices, oldest first; administrators. Errors: `Denied`.
    pub async fn devices(&self, ctx: &Ctx) -> Result<Vec<DeviceRow>, Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "device.list", "").await);
        }
        let devices = self.reading(|tx| Ok(store::device::list(tx)?)).await?;
        let row = |d: Device| DeviceRow {
            id: d.id_hash,
            name: d.name,
            made_by: d.made_by,
            created_at: d.created,
            last_used_at: d.last_used,
        };
        Ok(devices.into_iter().map(row).collect())
    }

    /// The device is lost or none of the clinic's any more: its PINs and the sessions on it end. Administrators.
    /// Errors: `Denied`, `NotFound`.
    pub async fn remove_device(&self, ctx: &Ctx, id: [u8; 32]) -> Result<(), Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "device.remove", "").await);
        }
        let event = self.audit_event(ctx, "device.remove", Outcome::Success, "", &[]);
        let known = self
            .writing(move |tx| {
                let known = store::device::remove(tx, &id)?;
                if known {
                    store::session::end_on_device(tx, &id)?;
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                Ok(known)
            })
            .await?;
        self.inner.tokens.lock().clear();
        if known { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Sets the caller's PIN on this device; she showed herself in the last minutes. Errors: `Denied` for patients;
    /// `StepUpNeeded`; `Rule` `device-unknown`, `pin-invalid`, `pin-common`, `device-full`.
    pub async fn set_pin(&self, ctx: &Ctx, device: Option<&str>, pin: &str) -> Result<(), Error> {
        let Some(user) = ctx.user().filter(|u| u.roles.iter().any(|r| r.is_staff())) else {
            return Err(self.denied(ctx, "pin.set", "").await);
        };
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let device = self.known_device(device).await?;
        check_pin(pin)?;
        let hash = self.hash_password(pin).await?;
        let (account, now) = (user.account, self.now());
        let event = self.audit_event(ctx, "pin.set", Outcome::Success, &format!("account/{account}"), &[]);
        self.writing(move |tx| {
            if !store::device::set_pin(tx, &device.id_hash, account, &hash, now)? {
                let text = "There are too many people on this device.";
                return Err(Error::Rule(Rule::new("device-full", text)));
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await
    }

    async fn known_device(&self, token: Option<&str>) -> Result<Device, Error> {
        let hash = secret::hash(token.ok_or_else(unknown_device)?);
        let found = self.reading(move |tx| Ok(store::device::load(tx, &hash)?)).await?;
        found.ok_or_else(unknown_device)
    }

    /// Who can change over on this device. Errors: `Rule` `device-unknown`.
    pub async fn device_people(&self, device: Option<&str>) -> Result<DevicePeople, Error> {
        let device = self.known_device(device).await?;
        let people = self.reading(move |tx| Ok(store::device::people(tx, &device.id_hash)?)).await?;
        Ok(DevicePeople { name: device.name, people })
    }

    /// Signs in by a PIN on a shared device; whoever was signed in there is signed out by the caller. After three wrong
    /// PINs only a full sign-in and a new PIN help. Errors: `Rule` `device-unknown`, `pin-wrong` (details
    /// `{"attempts_left":n}`), `pin-locked`; `Busy`.
    pub async fn switch_user(&self, account: i64, pin: &str, from: &Origin) -> Result<Session, Error> {
        let device = self.known_device(from.shared_device.as_deref()).await?;
        let hash = device.id_hash;
        // Counted before it is looked at, so that many at once have no more tries than three.
        let (stored, tries) = self
            .writing(move |tx| {
                let tries = store::device::count_try(tx, &hash, account)?;
                Ok((store::device::pin(tx, &hash, account)?, tries))
            })
            .await?;
        let locked = || {
            let text = "The PIN was wrong three times; sign in with your password and set a new one.";
            Error::Rule(Rule::new("pin-locked", text).at("/pin"))
        };
        let row = self.account_row(account).await?;
        let usable = stored.filter(|_| tries <= MAX_PINS);
        let right =
            self.verify_password(pin, usable.as_ref().map(|p| p.pin_hash.as_str())).await? && row.is_some();
        let Some(row) = row.filter(|_| right) else {
            let ctx = Ctx::system("device", self.now());
            let what = format!("account/{account}");
            self.audit_one(&ctx, "pin", Outcome::Denied, &what, &[]).await?;
            if tries >= MAX_PINS {
                return Err(locked());
            }
            let left = MAX_PINS - tries;
            let wrong = Rule::new("pin-wrong", "The PIN is wrong.").at("/pin");
            return Err(Error::Rule(wrong.with(json!({"attempts_left": left}))));
        };
        let now: Timestamp = self.now();
        self.writing(move |tx| Ok(store::device::clear_tries(tx, &hash, account, now)?)).await?;
        let opening = session::Opening::sign_in(vec![Factor::Pin], from, now);
        self.open_session(&row, opening).await
    }
}
