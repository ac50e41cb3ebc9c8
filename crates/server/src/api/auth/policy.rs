//! The clinic's rules for signing in.

use crate::api::types::RoleName;
use crate::api::{Answer, ApiRouter, Caller, Json};
use crate::state::AppState;
use access::Role;
use axum::extract::State;
use record::authn::{SecondFactor, SecurityPolicy};
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

/// Changes the clinic's rules for signing in.
#[utoipa::path(put, path = "/api/v1/admin/security-policy", tag = "administration", request_body = SecurityRules,
    responses((status = 200, body = SecurityRules)))]
async fn put_security_policy(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<SecurityRules>,
) -> Answer<Json<SecurityRules>> {
    app.record.set_security_policy(&caller.0, body.into()).await?;
    Ok(Json(app.record.security_policy().await?.into()))
}
