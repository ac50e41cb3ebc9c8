//! What may be asked for, and how it is kept until somebody agrees.

use super::super::{Delivery, SecurityPolicy};
use super::about::{About, Seen};
use super::application::Application;
use crate::Error;
use access::policy::Capability;
use access::{Role, trust};
use fhir::ResourceKey;
use serde_json::{Value, json};
use store::account::{Account, NewAccount};
use store::oauth::Authentication;

/// Something about an account or an application that one person alone does not do, if the account's roles or the
/// application's scopes are worth it.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A new account.
    Create(Box<NewPerson>),
    /// Other roles.
    Roles(Vec<Role>),
    /// A one-time password that who asked is shown.
    Password,
    /// An invitation that who asked is shown.
    Invitation,
    /// All second factors are taken away.
    Factors,
    /// Somebody at an outside provider may sign in.
    Identity { issuer: String, subject: String },
    /// Rules for signing in without the second person.
    Policy(Box<SecurityPolicy>),
    /// A new application; its secret, if it has one, is shown to who asked.
    Register(Box<Application>),
    /// An application as it is to be.
    Application(Box<Application>),
    /// A new secret of an application that who asked is shown.
    Secret,
}

/// Codes of what is about applications.
const ABOUT_APPLICATIONS: [&str; 3] = ["register-application", "change-application", "application-secret"];

/// What a notice about something of this code is called, e.g. `account-change.asked`, `client-change.asked`.
pub(super) fn topic(act: &str, what: &str) -> String {
    let about = if ABOUT_APPLICATIONS.contains(&act) { "client-change" } else { "account-change" };
    format!("{about}.{what}")
}

/// Whom to make an account for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPerson {
    pub display: String,
    pub login: Option<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub roles: Vec<Role>,
    pub language: String,
    /// Who she is in the record, if that is there already.
    pub entry: Option<ResourceKey>,
    /// Resources to be made for her; the first is her Practitioner.
    pub practitioner: Vec<Value>,
    /// How her invitation gets to her; `None`: who asked is shown a one-time password.
    pub by: Option<Delivery>,
}

impl NewPerson {
    pub(in crate::authn) fn of(new: &NewAccount) -> NewPerson {
        NewPerson {
            display: new.display.clone(),
            login: new.login.clone(),
            phone: new.phone.clone(),
            email: new.email.clone(),
            roles: new.roles.clone(),
            language: new.language.clone(),
            entry: new.practitioner.clone(),
            practitioner: Vec::new(),
            by: None,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "display": self.display, "login": self.login, "phone": self.phone, "email": self.email,
            "roles": codes(&self.roles), "language": self.language,
            "entry": self.entry.as_ref().map(ToString::to_string), "practitioner": self.practitioner,
            "by": self.by.map(Delivery::code),
        })
    }

    fn read(value: &Value) -> Option<NewPerson> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(NewPerson {
            display: text("display")?,
            login: text("login"),
            phone: text("phone"),
            email: text("email"),
            roles: roles(&value["roles"])?,
            language: text("language")?,
            entry: match text("entry") {
                Some(key) => Some(ResourceKey::parse(&key)?),
                None => None,
            },
            practitioner: value["practitioner"].as_array()?.clone(),
            by: match text("by") {
                Some(code) => Some(Delivery::from_code(&code)?),
                None => None,
            },
        })
    }
}

pub(super) fn codes(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.code()).collect()
}

/// `None` for a role that this program does not know: then less than was agreed would be given.
pub(super) fn roles(value: &Value) -> Option<Vec<Role>> {
    value.as_array()?.iter().map(|code| Role::from_code(code.as_str()?)).collect()
}

impl Act {
    /// Stable; stored and shown to API users.
    pub fn code(&self) -> &'static str {
        match self {
            Act::Create(_) => "create",
            Act::Roles(_) => "roles",
            Act::Password => "password",
            Act::Invitation => "invitation",
            Act::Factors => "second-factor",
            Act::Identity { .. } => "identity",
            Act::Policy(_) => "policy",
            Act::Register(_) => "register-application",
            Act::Application(_) => "change-application",
            Act::Secret => "application-secret",
        }
    }

    /// What who asks must have the right to, still when it is carried out.
    pub(super) fn needs(&self) -> Capability {
        match self {
            Act::Register(_) | Act::Application(_) | Act::Secret => Capability::ManageClients,
            _ => Capability::ManageAccounts,
        }
    }

    /// Whether who has this account may ask for it.
    pub(super) fn may_be_asked_by(&self, account: &Account) -> bool {
        !account.disabled && account.roles.iter().any(|role| trust::may(*role, self.needs()))
    }

    /// Whether it opens a way into an account that is there.
    pub(super) fn opens(&self) -> bool {
        matches!(self, Act::Password | Act::Invitation | Act::Factors | Act::Identity { .. })
    }

    /// Whether who asked fetches a secret when it is agreed to.
    pub(super) fn is_collected(&self) -> bool {
        match self {
            Act::Password | Act::Invitation | Act::Secret => true,
            Act::Create(person) => matches!(person.by, None | Some(Delivery::Shown)),
            Act::Register(application) => application.facts.authentication == Authentication::Secret,
            Act::Roles(_) | Act::Factors | Act::Identity { .. } | Act::Policy(_) | Act::Application(_) => {
                false
            }
        }
    }

    /// What is written in the audit trail when it is carried out, beside that it was agreed to.
    pub(super) fn audited(&self) -> Option<&'static str> {
        match self {
            Act::Create(_) => Some("account.create"),
            Act::Roles(_) => Some("account.update"),
            Act::Factors => Some("factor.reset"),
            Act::Identity { .. } => Some("identity.add"),
            Act::Policy(_) => Some("security-policy.update"),
            Act::Register(_) => Some("client.create"),
            Act::Application(_) => Some("client.update"),
            // When they are fetched.
            Act::Password | Act::Invitation | Act::Secret => None,
        }
    }

    /// For who decides and for the history: no ways to reach anybody.
    pub(super) fn summary(&self, about: &About) -> Value {
        let before = about.client().map(Application::of);
        let mut summary = match self {
            Act::Create(person) => json!({
                "display": person.display, "login": person.login, "roles": codes(&person.roles),
                "by": person.by.map_or("password", Delivery::code),
            }),
            Act::Roles(roles) => json!({"roles": codes(roles)}),
            Act::Identity { issuer, subject } => json!({"issuer": issuer, "subject": subject}),
            Act::Policy(policy) => json!({"second_person": policy.second_person.code()}),
            Act::Register(application) | Act::Application(application) => {
                application.summary(before.as_ref())
            }
            Act::Secret => before.map(|application| application.summary(None)).unwrap_or_default(),
            Act::Password | Act::Invitation | Act::Factors => json!({}),
        };
        if let Some(target) = about.account() {
            summary["display"] = json!(target.display);
            summary["login"] = json!(target.login);
            summary["before"] = json!(codes(&target.roles));
        }
        summary
    }

    fn to_json(&self) -> Value {
        match self {
            Act::Create(person) => person.to_json(),
            Act::Roles(roles) => json!(codes(roles)),
            Act::Identity { issuer, subject } => json!({"issuer": issuer, "subject": subject}),
            Act::Policy(policy) => policy.to_json(),
            Act::Register(application) | Act::Application(application) => application.to_json(),
            Act::Password | Act::Invitation | Act::Factors | Act::Secret => Value::Null,
        }
    }

    fn read(code: &str, value: &Value) -> Option<Act> {
        Some(match code {
            "create" => Act::Create(Box::new(NewPerson::read(value)?)),
            "roles" => Act::Roles(roles(value)?),
            "password" => Act::Password,
            "invitation" => Act::Invitation,
            "second-factor" => Act::Factors,
            "identity" => Act::Identity {
                issuer: value["issuer"].as_str()?.to_owned(),
                subject: value["subject"].as_str()?.to_owned(),
            },
            "policy" => Act::Policy(Box::new(SecurityPolicy::from_json(value))),
            "register-application" => Act::Register(Box::new(Application::read(value)?)),
            "change-application" => Act::Application(Box::new(Application::read(value)?)),
            "application-secret" => Act::Secret,
            _ => return None,
        })
    }
}

/// An act, and what it is about as that was when it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub act: Act,
    pub seen: Option<Seen>,
}

impl Kept {
    pub(super) fn to_json(&self) -> Value {
        let seen = self.seen.as_ref().map(Seen::to_json);
        json!({"act": self.act.code(), "of": self.act.to_json(), "seen": seen})
    }

    /// Errors: `Internal` for what this program did not write.
    pub(super) fn read(bytes: &[u8]) -> Result<Kept, Error> {
        let wrong = || Error::Internal("a change of an account cannot be read".into());
        let value: Value = serde_json::from_slice(bytes).map_err(|_| wrong())?;
        let act = value["act"].as_str().and_then(|code| Act::read(code, &value["of"])).ok_or_else(wrong)?;
        let seen = match &value["seen"] {
            Value::Null => None,
            seen => Some(Seen::read(seen).ok_or_else(wrong)?),
        };
        Ok(Kept { act, seen })
    }

    /// Whether a secret of it may be fetched, as things are now. What was made by it must be as it was made.
    pub(super) fn holds(&self, about: &About) -> bool {
        let seen = match &self.act {
            Act::Create(person) => Some(Seen::Roles(person.roles.clone())),
            Act::Register(application) => Some(Seen::Application(application.clone())),
            _ => self.seen.clone(),
        };
        seen.is_some() && about.seen() == seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::oauth::Facts;

    #[test]
    fn what_is_kept_is_read_again() {
        let person = NewPerson {
            display: "Grace".into(),
            login: Some("grace".into()),
            phone: Some("+254712345678".into()),
            email: None,
            roles: vec![Role::Doctor, Role::Administrator],
            language: "sw".into(),
            entry: ResourceKey::parse("Practitioner/7"),
            practitioner: vec![json!({"resourceType": "Practitioner", "id": "7"})],
            by: Some(Delivery::Sms),
        };
        let identity = Act::Identity { issuer: "https://a".into(), subject: "7".into() };
        let policy = SecurityPolicy { sms_codes_per_day: 7, ..SecurityPolicy::default() };
        let application = Application {
            name: "Laboratory".into(),
            scopes: vec!["system/Observation.rs".into(), "sens/HIV".into()],
            disabled: true,
            facts: Facts {
                authentication: Authentication::Key,
                redirects: vec!["https://lab.example/cb".into()],
                launch_url: Some("https://lab.example/launch".into()),
                jwks: Some(r#"{"keys": []}"#.into()),
                jwks_url: None,
                algorithm: "ES384".into(),
            },
        };
        for act in [
            Act::Create(Box::new(person)),
            Act::Roles(vec![Role::Nurse]),
            Act::Password,
            Act::Invitation,
            Act::Factors,
            identity,
            Act::Policy(Box::new(policy)),
            Act::Register(Box::new(application.clone())),
            Act::Application(Box::new(application.clone())),
            Act::Secret,
        ] {
            let roles = Seen::Roles(vec![Role::Cashier]);
            for seen in [None, Some(roles), Some(Seen::Application(Box::new(application.clone())))] {
                let kept = Kept { act: act.clone(), seen };
                assert_eq!(Kept::read(kept.to_json().to_string().as_bytes()).unwrap(), kept);
            }
        }
        assert!(Kept::read(br#"{"act": "roles", "of": ["emperor"], "seen": null}"#).is_err());
    }
}
