//! What a change is about: an account, an application, or nothing that is there yet.

use super::application::Application;
use crate::Error;
use access::Role;
use serde_json::{Value, json};
use store::Tx;
use store::account::Account;
use store::account_change::Change;
use store::oauth::Client;

/// By its id.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// Something new, or rules.
    Nothing,
    Account(i64),
    Application(String),
}

impl Key {
    pub(super) fn of(change: &Change) -> Key {
        match (change.target, &change.client) {
            (Some(account), _) => Key::Account(account),
            (None, Some(client)) => Key::Application(client.clone()),
            (None, None) => Key::Nothing,
        }
    }
    pub(super) fn account(&self) -> Option<i64> {
        match self {
            Key::Account(id) => Some(*id),
            Key::Nothing | Key::Application(_) => None,
        }
    }
    pub(super) fn client(&self) -> Option<String> {
        match self {
            Key::Application(id) => Some(id.clone()),
            Key::Nothing | Key::Account(_) => None,
        }
    }
    /// As the audit trail names it; empty for nothing.
    pub(super) fn what(&self) -> String {
        match self {
            Key::Nothing => String::new(),
            Key::Account(id) => format!("account/{id}"),
            Key::Application(id) => format!("client/{id}"),
        }
    }
    /// What is there now; [About::Nothing] also for what is gone.
    pub(super) fn load(&self, tx: &mut dyn Tx) -> Result<About, Error> {
        Ok(match self {
            Key::Nothing => About::Nothing,
            Key::Account(id) => store::account::load(tx, *id)?.as_ref().into(),
            Key::Application(id) => store::oauth::client(tx, id)?.as_ref().into(),
        })
    }
    /// Facts of a notice about it.
    pub(super) fn data(&self, account: i64, act: &str) -> Value {
        let mut data = json!({"account": account, "about": self.account(), "act": act});
        if let Some(client) = self.client() {
            data["client"] = json!(client);
        }
        data
    }
}

/// As it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum About {
    /// Something new, or rules.
    Nothing,
    Account(Box<Account>),
    Application(Box<Client>),
}

impl From<&Account> for About {
    fn from(account: &Account) -> About {
        About::Account(Box::new(account.clone()))
    }
}

impl From<&Client> for About {
    fn from(client: &Client) -> About {
        About::Application(Box::new(client.clone()))
    }
}

impl<'a, T> From<Option<&'a T>> for About
where
    About: From<&'a T>,
{
    fn from(found: Option<&'a T>) -> About {
        found.map_or(About::Nothing, About::from)
    }
}

impl About {
    pub(super) fn account(&self) -> Option<&Account> {
        match self {
            About::Account(account) => Some(account),
            About::Nothing | About::Application(_) => None,
        }
    }
    pub(super) fn client(&self) -> Option<&Client> {
        match self {
            About::Application(client) => Some(client),
            About::Nothing | About::Account(_) => None,
        }
    }
    pub(super) fn key(&self) -> Key {
        match self {
            About::Nothing => Key::Nothing,
            About::Account(account) => Key::Account(account.id),
            About::Application(client) => Key::Application(client.id.clone()),
        }
    }
    pub(super) fn seen(&self) -> Option<Seen> {
        match self {
            About::Nothing => None,
            About::Account(account) => Some(Seen::Roles(account.roles.clone())),
            About::Application(client) => Some(Seen::Application(Box::new(Application::of(client)))),
        }
    }
}

/// What of it who asked had before her: is it another one now, nobody agrees to what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Roles(Vec<Role>),
    Application(Box<Application>),
}

impl Seen {
    pub(super) fn to_json(&self) -> Value {
        match self {
            Seen::Roles(roles) => json!(super::act::codes(roles)),
            Seen::Application(application) => application.to_json(),
        }
    }
    pub(super) fn read(value: &Value) -> Option<Seen> {
        Some(match value {
            Value::Array(_) => Seen::Roles(super::act::roles(value)?),
            value => Seen::Application(Box::new(Application::read(value)?)),
        })
    }
}
