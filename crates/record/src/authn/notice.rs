//! What owners of accounts are told, by e-mail where there is an address, else by SMS.

use super::Delivery;
use crate::{Error, Record, Rule};
use jiff::Timestamp;
use store::account::Account;
use store::message::{Channel, NewMessage};

/// Why somebody is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Invitation,
    ResetLink,
    PasswordReset,
    FactorAdded,
    FactorRemoved,
    RecoveryCodeUsed,
    PhoneChanged,
    /// Somebody asked for a way into the account, and somebody else is to agree.
    AccessAsked,
}

impl Notice {
    /// Name of the template in lists of messages.
    fn template(self) -> &'static str {
        match self {
            Notice::Invitation => "account.invitation",
            Notice::ResetLink => "account.reset-link",
            Notice::PasswordReset => "account.password-reset",
            Notice::FactorAdded => "account.factor-added",
            Notice::FactorRemoved => "account.factor-removed",
            Notice::RecoveryCodeUsed => "account.recovery-code-used",
            Notice::PhoneChanged => "account.phone-changed",
            Notice::AccessAsked => "account.access-asked",
        }
    }

    /// Subject and text; `link` for those that carry one.
    fn words(self, language: &str, link: &str) -> (&'static str, String) {
        match language.split('-').next().unwrap_or_default() {
            "sw" => self.swahili(link),
            "fr" => self.french(link),
            _ => self.english(link),
        }
    }

    fn english(self, link: &str) -> (&'static str, String) {
        const ALARM: &str = "If this was not you, tell the clinic at once.";
        match self {
            Notice::Invitation => (
                "Your account at the clinic",
                format!("You have been invited to Uzima. Choose your password within 3 days: {link}"),
            ),
            Notice::ResetLink => (
                "A new password",
                format!(
                    "Choose a new password within 30 minutes: {link} If you did not ask for it, do nothing."
                ),
            ),
            Notice::PasswordReset => {
                ("Your password was changed", format!("Uzima: your password was changed. {ALARM}"))
            }
            Notice::FactorAdded => (
                "A second factor was added",
                format!("Uzima: a second factor was added to your account. {ALARM}"),
            ),
            Notice::FactorRemoved => (
                "A second factor was removed",
                format!("Uzima: a second factor was removed from your account. {ALARM}"),
            ),
            Notice::RecoveryCodeUsed => (
                "A recovery code was used",
                format!("Uzima: a recovery code of your account was used. {ALARM}"),
            ),
            Notice::PhoneChanged => (
                "Your phone number was changed",
                format!("Uzima: your account has another phone number now. {ALARM}"),
            ),
            Notice::AccessAsked => (
                "Somebody asked for a way into your account",
                format!(
                    "Uzima: an administrator asked for a new way into your account; a second person decides. {ALARM}"
                ),
            ),
        }
    }

    fn swahili(self, link: &str) -> (&'static str, String) {
        const ALARM: &str = "Kama si wewe, iarifu kliniki mara moja.";
        match self {
            Notice::Invitation => (
                "Akaunti yako ya kliniki",
                format!("Umealikwa kutumia Uzima. Chagua nenosiri lako ndani ya siku 3: {link}"),
            ),
            Notice::ResetLink => (
                "Nenosiri jipya",
                format!("Chagua nenosiri jipya ndani ya dakika 30: {link} Kama hukuomba, usifanye lolote."),
            ),
            Notice::PasswordReset => {
                ("Nenosiri lako limebadilishwa", format!("Uzima: nenosiri lako limebadilishwa. {ALARM}"))
            }
            Notice::FactorAdded => (
                "Uthibitisho wa pili umeongezwa",
                format!("Uzima: uthibitisho wa pili umeongezwa kwenye akaunti yako. {ALARM}"),
            ),
            Notice::FactorRemoved => (
                "Uthibitisho wa pili umeondolewa",
                format!("Uzima: uthibitisho wa pili umeondolewa kwenye akaunti yako. {ALARM}"),
            ),
            Notice::RecoveryCodeUsed => (
                "Namba ya dharura imetumika",
                format!("Uzima: namba ya dharura ya akaunti yako imetumika. {ALARM}"),
            ),
            Notice::PhoneChanged => (
                "Namba yako ya simu imebadilishwa",
                format!("Uzima: akaunti yako sasa ina namba nyingine ya simu. {ALARM}"),
            ),
            Notice::AccessAsked => (
                "Kuna ombi la kufungua akaunti yako",
                format!(
                    "Uzima: msimamizi ameomba njia mpya ya kuingia kwenye akaunti yako; mtu wa pili ataamua. {ALARM}"
                ),
            ),
        }
    }

    fn french(self, link: &str) -> (&'static str, String) {
        const ALARM: &str = "Si ce n'était pas vous, prévenez tout de suite la clinique.";
        match self {
            Notice::Invitation => (
                "Votre compte à la clinique",
                format!("Vous êtes invité sur Uzima. Choisissez votre mot de passe sous 3 jours : {link}"),
            ),
            Notice::ResetLink => (
                "Un nouveau mot de passe",
                format!("Choisissez un nouveau mot de passe sous 30 minutes : {link} Sinon, ne faites rien."),
            ),
            Notice::PasswordReset => {
                ("Votre mot de passe a changé", format!("Uzima : votre mot de passe a changé. {ALARM}"))
            }
            Notice::FactorAdded => (
                "Un second facteur a été ajouté",
                format!("Uzima : un second facteur a été ajouté à votre compte. {ALARM}"),
            ),
            Notice::FactorRemoved => (
                "Un second facteur a été retiré",
                format!("Uzima : un second facteur a été retiré de votre compte. {ALARM}"),
            ),
            Notice::RecoveryCodeUsed => (
                "Un code de secours a été utilisé",
                format!("Uzima : un code de secours de votre compte a été utilisé. {ALARM}"),
            ),
            Notice::PhoneChanged => (
                "Votre numéro a changé",
                format!("Uzima : votre compte a maintenant un autre numéro de téléphone. {ALARM}"),
            ),
            Notice::AccessAsked => (
                "On demande un accès à votre compte",
                format!(
                    "Uzima : un administrateur demande un nouvel accès à votre compte ; une autre personne décide. {ALARM}"
                ),
            ),
        }
    }
}

/// e.g. `g••••@clinic.example`
pub(super) fn masked_email(address: &str) -> String {
    match address.split_once('@') {
        Some((name, host)) => format!("{}••••@{host}", name.chars().take(1).collect::<String>()),
        None => "••••".to_owned(),
    }
}

/// Where a link goes, as it may be shown.
pub(super) fn masked(email: Option<&str>, phone: Option<&str>, by: Delivery) -> Option<String> {
    match by {
        Delivery::Email => email.map(masked_email),
        Delivery::Sms => phone.map(wire::phone::masked),
        Delivery::Shown => None,
    }
}

/// Errors: `Rule` `email-required`, `phone-required`.
pub(super) fn check_way(by: Delivery, email: Option<&str>, phone: Option<&str>) -> Result<(), Error> {
    let missing = |text: Option<&str>| text.is_none_or(|t| t.trim().is_empty());
    let (code, field, text) = match by {
        Delivery::Email if missing(email) => {
            ("email-required", "/email", "Write the person's e-mail address.")
        }
        Delivery::Sms if missing(phone) => ("phone-required", "/phone", "Write the person's phone number."),
        _ => return Ok(()),
    };
    Err(Error::Rule(Rule::new(code, text).at(field)))
}

pub(super) fn message(
    account: &Account,
    by: Channel,
    notice: Notice,
    link: &str,
    now: Timestamp,
) -> Option<NewMessage> {
    let (subject, text) = notice.words(&account.language, link);
    let to = match by {
        Channel::Sms => account.phone.clone()?,
        Channel::Email => account.email.clone()?,
    };
    // Of an e-mail the first line is the subject.
    let body = match by {
        Channel::Sms => text,
        Channel::Email => format!("{subject}\n\n{text}\n"),
    };
    let language = account.language.clone();
    let mut message = NewMessage::sms(to, language, notice.template(), body, now, uuid::Uuid::now_v7());
    message.channel = by;
    message.account = Some(account.id);
    message.patient.clone_from(&account.patient);
    Some(message)
}

/// The message that tells the owner; `None` for somebody who cannot be told.
pub(super) fn told(account: &Account, notice: Notice, now: Timestamp) -> Option<NewMessage> {
    let by = if account.email.is_some() { Channel::Email } else { Channel::Sms };
    message(account, by, notice, "", now)
}

impl Record {
    /// Tells the owner of an account; somebody without e-mail and phone cannot be told.
    pub(super) async fn notify(&self, account: &Account, notice: Notice) -> Result<(), Error> {
        let Some(message) = told(account, notice, self.now()) else { return Ok(()) };
        self.writing(move |tx| Ok(store::message::insert(tx, &message)?)).await
    }

    /// The message that carries a link; `None` if it is to be shown.
    pub(super) fn link_message(
        &self,
        account: &Account,
        by: Delivery,
        notice: Notice,
        token: &str,
        expires: Timestamp,
    ) -> Result<Option<NewMessage>, Error> {
        let channel = match by {
            Delivery::Shown => return Ok(None),
            Delivery::Email => Channel::Email,
            Delivery::Sms => Channel::Sms,
        };
        let link = self.link_address(token);
        let mut message = message(account, channel, notice, &link, self.now())
            .ok_or_else(|| Error::Internal("nowhere to send a link".into()))?;
        message.expires = Some(expires);
        Ok(Some(message))
    }

    /// Where the holder of a link goes. Behind `#`, so that no server's log has it.
    pub fn link_address(&self, token: &str) -> String {
        let base = self.inner.public_url.get().map(String::as_str).unwrap_or_default();
        format!("{base}/welcome#{token}")
    }
}
