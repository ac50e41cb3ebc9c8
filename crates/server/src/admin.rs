//! What an operator does at the command line, on a running server or on a database at rest.

use access::{Ctx, Role};
use record::authn::AccountSpec;
use record::oauth::{Authentication, ClientSpec};
use record::subject::NewRecipient;
use record::{Error, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::subject::recipient;

/// One command; also the message of the control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    CreateClient(NewClient),
    ListClients,
    DisableClient {
        id: String,
    },
    CreateUser(NewUser),
    ResetPassword {
        login: String,
    },
    DisableUser {
        login: String,
    },
    EnableUser {
        login: String,
    },
    /// Of these roles and no others.
    RequireSecondFactor {
        roles: Vec<Role>,
    },
    /// In the audit trail: `uzima keys` has changed keys.
    NoteKeyChange {
        what: String,
    },
    RotateTenantKey,
}

/// An account without a person in the record, e.g. the first administrator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewUser {
    pub login: String,
    pub display: String,
    pub roles: Vec<Role>,
    pub phone: Option<String>,
    pub email: Option<String>,
    /// `Practitioner/<id>`
    pub practitioner: Option<String>,
    pub language: String,
    /// `None`: a one-time password is made and printed.
    pub password: Option<String>,
}

/// An application to register.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewClient {
    pub name: String,
    pub scopes: Vec<String>,
    /// Cannot keep a secret, e.g. in a browser or a phone.
    pub is_public: bool,
    pub redirects: Vec<String>,
    pub launch_url: Option<String>,
    /// A JWK Set; with this or `jwks_url` the client signs instead of sending a secret.
    pub jwks: Option<String>,
    pub jwks_url: Option<String>,
    /// Enters it in the register of recipients in this country; without it a privacy officer does that.
    #[serde(default)]
    pub country: Option<String>,
    /// Of a transfer to another country.
    #[serde(default)]
    pub basis: String,
}

/// Accounts looked through for a login.
const MATCHES: u32 = 50;

/// Runs one command as the operator. Returns what to print. Errors: of `record`.
pub async fn run(record: &Record, command: Command) -> Result<Value, Error> {
    let ctx = Ctx::system("operator", record.now());
    Ok(match command {
        Command::CreateClient(new) => {
            let has_keys = new.jwks.is_some() || new.jwks_url.is_some();
            let spec = ClientSpec {
                name: new.name,
                scopes: new.scopes,
                authentication: match (new.is_public, has_keys) {
                    (true, _) => Authentication::None,
                    (false, true) => Authentication::Key,
                    (false, false) => Authentication::Secret,
                },
                redirects: new.redirects,
                launch_url: new.launch_url,
                jwks: new.jwks,
                jwks_url: new.jwks_url,
                id_token_algorithm: None,
            };
            let (row, secret) = record.register_client(&ctx, spec).await?;
            if let Some(country) = new.country {
                let recipient = NewRecipient {
                    kind: recipient::Kind::Client,
                    name: row.client_id.clone(),
                    title: row.name.clone(),
                    country,
                    basis: new.basis,
                    note: String::new(),
                };
                record.register_recipient(&ctx, recipient).await?;
            }
            let mut answer = json!({"client_id": row.client_id, "scope": row.scopes.join(" ")});
            if let Some(secret) = secret {
                answer["client_secret"] = json!(secret);
            }
            answer
        }
        Command::ListClients => {
            let rows = record.clients(&ctx).await?;
            let row = |c: record::authn::ClientRow| json!({"client_id": c.client_id, "name": c.name, "scope": c.scopes.join(" "), "disabled": c.disabled});
            Value::Array(rows.into_iter().map(row).collect())
        }
        Command::DisableClient { id } => {
            record.disable_client(&ctx, &id, true).await?;
            json!({"client_id": id, "disabled": true})
        }
        Command::CreateUser(new) => {
            let spec = AccountSpec {
                display: new.display,
                login: Some(new.login.clone()),
                phone: new.phone,
                email: new.email,
                password: new.password,
                roles: new.roles,
                patient: None,
                practitioner: new.practitioner.as_deref().and_then(fhir::ResourceKey::parse),
                language: new.language,
            };
            let (account, password) = record.create_account(&ctx, spec).await?;
            json!({"account_id": account.to_string(), "login": new.login, "one_time_password": password})
        }
        Command::ResetPassword { login } => {
            let account = find(record, &ctx, &login).await?;
            let password = record.reset_by_administrator(&ctx, account).await?;
            json!({"login": login, "one_time_password": password, "ended_sessions_of": account})
        }
        Command::DisableUser { login } => set_disabled(record, &ctx, &login, true).await?,
        Command::EnableUser { login } => set_disabled(record, &ctx, &login, false).await?,
        Command::RequireSecondFactor { roles } => {
            let policy = record.security_policy().await?;
            let policy = record::authn::SecurityPolicy { required_roles: roles.clone(), ..policy };
            record.set_security_policy(&ctx, policy).await?;
            json!({"required_roles": roles})
        }
        Command::NoteKeyChange { what } => {
            record.note_key_change(&ctx, &what).await?;
            json!({})
        }
        Command::RotateTenantKey => json!({"keys": record.rotate_tenant_key(&ctx).await?}),
    })
}

async fn set_disabled(record: &Record, ctx: &Ctx, login: &str, disabled: bool) -> Result<Value, Error> {
    let account = find(record, ctx, login).await?;
    let change = record::authn::AccountChange { disabled: Some(disabled), ..Default::default() };
    record.update_account(ctx, account, change).await?;
    let mut answer = json!({"login": login, "disabled": disabled});
    if disabled {
        answer["ended_sessions_of"] = json!(account);
    }
    Ok(answer)
}

/// Errors: `NotFound` unless exactly this user name, phone or e-mail is there.
async fn find(record: &Record, ctx: &Ctx, login: &str) -> Result<i64, Error> {
    let phone = record::authn::phone_e164(login);
    let wanted = phone.as_deref().unwrap_or(login);
    let (rows, _) = record.accounts(ctx, Some(wanted), MATCHES, None).await?;
    let same = |text: &Option<String>| text.as_deref().is_some_and(|t| t.eq_ignore_ascii_case(wanted));
    let row = rows.iter().find(|row| same(&row.login) || same(&row.phone) || same(&row.email));
    row.map(|row| row.account).ok_or(Error::NotFound)
}
