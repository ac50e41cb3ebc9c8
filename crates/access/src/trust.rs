//! What one person alone does not decide: who gets a role that reads patients' facts or administers, who gets into an
//! account that has one, and which application reads such facts for itself.

use crate::matrix::{Reach, Table};
use crate::policy::{Capability, is_impersonal, role_may};
use crate::scope::Level;
use crate::{Class, Role, ScopeSet};

/// Classes of what is written about somebody's health.
const CLINICAL: [Class; 7] = [
    Class::Allergy,
    Class::Prescription,
    Class::Medicine,
    Class::Result,
    Class::Document,
    Class::Clinical,
    Class::Message,
];

/// Rights with which somebody could come to read such facts, or to hide that she did.
const ADMINISTERS: [Capability; 8] = [
    Capability::ManageAccounts,
    Capability::ManageClients,
    Capability::ManageRights,
    Capability::ManagePrivacy,
    Capability::ManageJobs,
    Capability::ReadAudit,
    Capability::BreakGlass,
    Capability::ReviewEmergencies,
];

fn reads(table: &Table, role: Role, least: Reach) -> bool {
    CLINICAL.iter().any(|class| table.rights(role, *class).read >= least)
}

/// Whether the role administers, or reads what is written about other people's health. Nobody gives it alone.
pub fn is_trusted(table: &Table, role: Role) -> bool {
    reads(table, role, Reach::InCare) || ADMINISTERS.iter().any(|capability| role_may(role, *capability))
}

/// Whether who gets into an account with this role reads what is written about anybody's health, also the owner's own.
pub fn opens_facts(table: &Table, role: Role) -> bool {
    is_trusted(table, role) || reads(table, role, Reach::Own)
}

/// Whether a role has this right, whoever has the role.
pub fn may(role: Role, capability: Capability) -> bool {
    role_may(role, capability)
}

/// What an application with these scopes may do for itself, without anybody who signs in.
fn own(scopes: &[String]) -> ScopeSet {
    ScopeSet::parse_known(scopes.iter().map(String::as_str)).at(Level::System)
}

/// Whether an application with these scopes reads or writes for itself what is about patients. Writing counts: who may
/// write an appointment or a team writes somebody into care.
pub fn opens_for_itself(scopes: &[String]) -> bool {
    own(scopes).iter().any(|scope| scope.kind.is_none_or(|kind| !is_impersonal(kind)))
}

/// Whether `after` lets an application do more for itself than `before`, sealed categories included.
pub fn widens_for_itself(before: &[String], after: &[String]) -> bool {
    let after = own(after);
    own(before).grant(&after) != after
}

/// Roles that [is_trusted] as the table comes.
pub fn trusted() -> Vec<Role> {
    let table = Table::default();
    Role::ALL.into_iter().filter(|role| is_trusted(&table, *role)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Cell, Verb};

    #[test]
    fn who_treats_or_administers_is_trusted() {
        use Role::*;
        assert_eq!(trusted(), [Doctor, Nurse, Lab, Pharmacist, Administrator, PrivacyOfficer, It]);
        let table = Table::default();
        for (role, opens) in [(Patient, true), (Proxy, true), (FrontDesk, false), (Cashier, false)] {
            assert_eq!((opens_facts(&table, role), is_trusted(&table, role)), (opens, false), "{role:?}");
        }
    }

    fn scopes(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn an_application_opens_facts_by_system_scopes() {
        let cases = [
            ("system/*.rs", true),
            ("system/Observation.rs?category=laboratory", true),
            ("system/Patient.r", true),
            ("system/Appointment.c", true),
            ("system/AuditEvent.rs", true),
            ("openid system/Slot.rs system/Observation.s", true),
            ("system/Slot.cruds system/Practitioner.rs system/ValueSet.rs", false),
            ("openid launch patient/*.cruds user/*.cruds offline_access", false),
            ("sens/HIV", false),
            ("system/Nothing.rs", false),
        ];
        for (text, opens) in cases {
            assert_eq!(opens_for_itself(&scopes(text)), opens, "{text}");
        }
    }

    #[test]
    fn what_an_application_may_do_for_itself_is_widened_by_any_scope_more() {
        let cases = [
            ("system/*.rs", "system/Observation.rs system/Patient.r", false),
            ("system/Observation.rs", "system/Observation.rs?category=laboratory", false),
            ("system/Observation.rs?category=laboratory", "system/Observation.rs", true),
            ("system/Observation.rs", "system/Observation.cruds", true),
            ("system/Observation.rs", "system/*.rs", true),
            ("system/Observation.rs sens/*", "system/Observation.rs sens/HIV", false),
            ("system/Observation.rs", "system/Observation.rs sens/HIV", true),
            ("system/Observation.rs", "system/Observation.rs user/*.cruds openid", false),
            ("patient/*.rs", "patient/*.rs system/Patient.r", true),
        ];
        for (before, after, wider) in cases {
            assert_eq!(widens_for_itself(&scopes(before), &scopes(after)), wider, "{before} -> {after}");
        }
    }

    #[test]
    fn a_right_that_the_clinic_took_away_does_not_count() {
        let cell = |class| Cell { role: Role::Lab, class, verb: Verb::Read, reach: Reach::Nobody };
        let table = Table::new(CLINICAL.map(cell));
        assert!(!is_trusted(&table, Role::Lab));
        assert!(is_trusted(&table, Role::Doctor));
    }
}
