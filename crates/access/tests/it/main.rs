//! The policy as people read it, and the laws it must keep.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod care;
mod consent;
mod guard;
mod policy;
mod redact;
mod scope;
mod seal;

use access::{Ctx, Principal, Purpose, Role, User};
use fhir::{ResourceKey, TypeId};

pub fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap()
}

pub fn key(text: &str) -> ResourceKey {
    ResourceKey::parse(text).unwrap()
}

pub fn now() -> jiff::Timestamp {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

/// A person with these roles; patients are `Patient/own`, staff `Practitioner/me`.
pub fn person(roles: &[Role]) -> Ctx {
    let mut ctx = Ctx::system("test", now());
    ctx.purpose = Purpose::Treatment;
    ctx.principal = Principal::User(User {
        account: 1,
        display: "Test".into(),
        roles: roles.to_vec(),
        patient: roles.iter().any(|r| !r.is_staff()).then(|| key("Patient/own")),
        practitioner: roles.iter().any(|r| r.is_staff()).then(|| key("Practitioner/me")),
        language: "en".into(),
        standing: std::sync::Arc::default(),
    });
    ctx
}

pub fn client(scopes: &[&str]) -> Ctx {
    let mut ctx = person(&[]);
    ctx.principal = Principal::Client {
        client_id: "c".into(),
        name: "Client".into(),
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
    };
    ctx
}
