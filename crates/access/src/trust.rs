//! What one person alone does not decide: who gets a role that reads patients' facts or administers, and who gets into
//! an account that has one.

use crate::matrix::{Reach, Table};
use crate::policy::{Capability, role_may};
use crate::{Class, Role};

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

    #[test]
    fn a_right_that_the_clinic_took_away_does_not_count() {
        let cell = |class| Cell { role: Role::Lab, class, verb: Verb::Read, reach: Reach::Nobody };
        let table = Table::new(CLINICAL.map(cell));
        assert!(!is_trusted(&table, Role::Lab));
        assert!(is_trusted(&table, Role::Doctor));
    }
}
