//! The clinic's rules for signing in.

use crate::api::account_changes::Asked;
use crate::api::types::RoleName;
use crate::api::{Answer, ApiRouter, Caller, Json};
use crate::state::AppState;
use access::Role;
use axum::extract::State;
use axum::http::StatusCode;
use record::authn::four_eyes::Act;
use record::authn::{SecondFactor, SecondPerson, SecurityPolicy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(get_security_policy, put_security_policy))
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SecondFactorRule {
    Off,
    Asked,
    Required,
}

/// When a second person must agree to what an administrator does to an account.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SecondPersonRule {
    /// Where its roles read patients' facts or administer.
    #[default]
    Facts,
    /// For tiny clinics.
    Never,
}

/// Rules for signing in.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecurityRules {
    /// For all staff.
    second_factor: SecondFactorRule,
    /// These need one whatever `second_factor` says.
    required_roles: Vec<RoleName>,
    /// These must sign in by a passkey; nothing else is enough.
    passkey_roles: Vec<RoleName>,
    #[serde(default)]
    second_person: SecondPersonRule,
    staff_idle_minutes: u32,
    staff_absolute_minutes: u32,
    kiosk_idle_minutes: u32,
    patient_idle_minutes: u32,
    patient_absolute_minutes: u32,
    /// Codes by SMS that the whole clinic sends within 24 hours, at most.
    sms_codes_per_day: u32,
}

impl From<SecurityPolicy> for SecurityRules {
    fn from(policy: SecurityPolicy) -> SecurityRules {
        SecurityRules {
            second_factor: match policy.second_factor {
                SecondFactor::Off => SecondFactorRule::Off,
                SecondFactor::Asked => SecondFactorRule::Asked,
                SecondFactor::Required => SecondFactorRule::Required,
            },
            required_roles: policy.required_roles.into_iter().map(RoleName::from).collect(),
            passkey_roles: policy.passkey_roles.into_iter().map(RoleName::from).collect(),
            second_person: match policy.second_person {
                SecondPerson::Facts => SecondPersonRule::Facts,
                SecondPerson::Never => SecondPersonRule::Never,
            },
            staff_idle_minutes: policy.staff_idle_minutes,
            staff_absolute_minutes: policy.staff_absolute_minutes,
            kiosk_idle_minutes: policy.kiosk_idle_minutes,
            patient_idle_minutes: policy.patient_idle_minutes,
            patient_absolute_minutes: policy.patient_absolute_minutes,
            sms_codes_per_day: policy.sms_codes_per_day,
        }
    }
}

impl From<SecurityRules> for SecurityPolicy {
    fn from(rules: SecurityRules) -> SecurityPolicy {
        SecurityPolicy {
            second_factor: match rules.second_factor {
                SecondFactorRule::Off => SecondFactor::Off,
                SecondFactorRule::Asked => SecondFactor::Asked,
                SecondFactorRule::Required => SecondFactor::Required,
            },
            required_roles: rules.required_roles.into_iter().map(Role::from).collect(),
            passkey_roles: rules.passkey_roles.into_iter().map(Role::from).collect(),
            second_person: match rules.second_person {
                SecondPersonRule::Facts => SecondPerson::Facts,
                SecondPersonRule::Never => SecondPerson::Never,
            },
            staff_idle_minutes: rules.staff_idle_minutes,
            staff_absolute_minutes: rules.staff_absolute_minutes,
            kiosk_idle_minutes: rules.kiosk_idle_minutes,
            patient_idle_minutes: rules.patient_idle_minutes,
            patient_absolute_minutes: rules.patient_absolute_minutes,
            sms_codes_per_day: rules.sms_codes_per_day,
        }
    }
}

/// The clinic's rules for signing in.
#[utoipa::path(get, path = "/api/v1/admin/security-policy", tag = "administration",
    responses((status = 200, body = SecurityRules)))]
async fn get_security_policy(State(app): State<AppState>, caller: Caller) -> Answer<Json<SecurityRules>> {
    crate::api::admin::require(&caller.0, access::Capability::ManageAccounts)?;
    Ok(Json(app.record.security_policy().await?.into()))
}

/// Changes the clinic's rules for signing in. Doing away with the second person waits for one (202).
#[utoipa::path(put, path = "/api/v1/admin/security-policy", tag = "administration", request_body = SecurityRules,
    responses((status = 200, body = SecurityRules),
        (status = 202, body = crate::api::account_changes::AccountChange)))]
async fn put_security_policy(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<SecurityRules>,
) -> Answer<Asked<SecurityRules>> {
    let policy = SecurityPolicy::from(body);
    let act = Act::Policy(Box::new(policy.clone()));
    if let Some(row) = app.record.ask_second_person(&caller.0, None, act, "").await? {
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    app.record.set_security_policy(&caller.0, policy).await?;
    Ok(Asked::Done(StatusCode::OK, app.record.security_policy().await?.into()))
}
