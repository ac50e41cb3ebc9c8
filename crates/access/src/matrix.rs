//! The table of rights: role × class × action → reach. Everything else in this crate reads it.

use crate::{Class, Role};
use std::fmt::Write;

/// How far a right goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    Nobody,
    /// The caller's own Practitioner resource.
    Self_,
    /// The compartment of the Patient the caller is.
    Own,
    /// Compartments of patients in care of the caller.
    InCare,
    Everyone,
}

use Reach::{Everyone, InCare, Nobody, Own, Self_};

impl Reach {
    fn words(self) -> &'static str {
        match self {
            Nobody => "–",
            Self_ => "own entry",
            Own => "own",
            InCare => "in care",
            Everyone => "all",
        }
    }
}

/// Rights on one class. `read` covers read, search and history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    pub read: Reach,
    pub create: Reach,
    pub change: Reach,
    pub delete: Reach,
}

impl Rights {
    pub const NONE: Rights = Rights::new(Nobody, Nobody, Nobody, Nobody);

    pub const fn new(read: Reach, create: Reach, change: Reach, delete: Reach) -> Rights {
        Rights { read, create, change, delete }
    }
    const fn read(read: Reach) -> Rights {
        Rights::new(read, Nobody, Nobody, Nobody)
    }
    /// Read, create and change, but not delete.
    const fn write(reach: Reach) -> Rights {
        Rights::new(reach, reach, reach, Nobody)
    }
    const fn full(reach: Reach) -> Rights {
        Rights::new(reach, reach, reach, reach)
    }
    /// Create and change, without reading.
    const fn put(reach: Reach) -> Rights {
        Rights::new(Nobody, reach, reach, Nobody)
    }
    const fn put_and_delete(reach: Reach) -> Rights {
        Rights::new(Nobody, reach, reach, reach)
    }
}

/// What a role may do with a class directly, also over raw FHIR.
/// Nobody deletes clinical facts by hand: they are marked entered-in-error.
pub fn rights(role: Role, class: Class) -> Rights {
    use Class::*;
    // Directory data is about staff and places; whoever is signed in may look it up.
    if matches!(class, Directory | Calendar | PriceList | Knowledge) {
        return match role {
            Role::Administrator => Rights::full(Everyone),
            Role::FrontDesk if class == Calendar => Rights::write(Everyone),
            Role::Integration => Rights::NONE,
            _ => Rights::read(Everyone),
        };
    }
    match role {
        // An account with the role alone, without a patient, owns nothing.
        Role::Patient | Role::Proxy => match class {
            Patient | Kin | Appointment | Coverage | Billing | Visit | Allergy | Prescription | Medicine
            | Result | Document | Clinical | Message | Consent | Audit => Rights::read(Own),
            _ => Rights::NONE,
        },
        Role::Doctor => match class {
            // Whoever registers a patient takes her into care: the new resource names the doctor.
            Patient => Rights::new(InCare, Everyone, InCare, Nobody),
            Appointment | Coverage | Billing | Consent => Rights::read(InCare),
            Kin | Visit | Allergy | Prescription | Medicine | Result | Document | Clinical | Message
            | Task => Rights::write(InCare),
            _ => Rights::NONE,
        },
        Role::Nurse => match class {
            Patient => Rights::new(InCare, Everyone, InCare, Nobody),
            Appointment | Coverage | Billing | Consent | Prescription => Rights::read(InCare),
            Kin | Visit | Allergy | Medicine | Result | Document | Clinical | Message | Task => {
                Rights::write(InCare)
            }
            _ => Rights::NONE,
        },
        Role::FrontDesk => match class {
            Patient | Kin | Coverage | Task => Rights::write(Everyone),
            // Visits are read for the queue: who is here since when. What was found is in other classes.
            Appointment | Visit | Billing => Rights::read(Everyone),
            _ => Rights::NONE,
        },
        Role::Lab => match class {
            Result => Rights::write(Everyone),
            Patient => Rights::read(Everyone),
            Task => Rights::write(InCare),
            _ => Rights::NONE,
        },
        Role::Pharmacist => match class {
            Medicine => Rights::write(Everyone),
            Patient | Allergy | Prescription => Rights::read(Everyone),
            _ => Rights::NONE,
        },
        Role::Cashier => match class {
            // Invoices follow the ledger; they change by payments, never by free editing.
            Billing | Patient | Coverage => Rights::read(Everyone),
            _ => Rights::NONE,
        },
        Role::Administrator => match class {
            // Names and times for the day's overview; never what was said or found.
            Patient | Appointment | Task | Audit => Rights::read(Everyone),
            _ => Rights::NONE,
        },
        Role::PrivacyOfficer => match class {
            Consent => Rights::write(Everyone),
            Patient | Audit => Rights::read(Everyone),
            _ => Rights::NONE,
        },
        // Integration is the role of OAuth clients; their rights are their scopes.
        Role::It | Role::Integration => Rights::NONE,
    }
}

/// What a role may write beyond [rights] when one of the product's own commands planned the change
/// (`record.command`). The command has checked its rules (a free slot, a signed note); this bounds whom it can touch.
pub fn command_rights(role: Role, class: Class) -> Rights {
    use Class::*;
    match (role, class) {
        (Role::Patient | Role::Proxy, Patient) => Rights::new(Nobody, Nobody, Own, Nobody),
        (Role::Patient | Role::Proxy, Appointment | Visit | Message | Consent) => Rights::put(Own),
        (Role::Patient | Role::Proxy, Document | Task) => Rights::new(Nobody, Own, Nobody, Nobody),

        (Role::Doctor | Role::Nurse, Appointment | Visit | Billing) => Rights::put(InCare),
        // Drafts taken back before they are signed.
        (Role::Doctor, Prescription) => Rights::put_and_delete(InCare),
        (Role::Doctor | Role::Nurse, Allergy | Medicine | Result | Document | Clinical) => {
            Rights::put_and_delete(InCare)
        }
        // A clinician's own hours; care checks that they are her own.
        (Role::Doctor | Role::Nurse, Calendar) => Rights::put(Everyone),
        (Role::Doctor | Role::Nurse, Directory) => Rights::new(Nobody, Nobody, Self_, Nobody),

        (Role::FrontDesk, Appointment | Visit) => Rights::put(Everyone),
        // Cash at either counter balances the invoice.
        (Role::FrontDesk | Role::Cashier, Billing) => Rights::put(Everyone),
        (Role::FrontDesk | Role::Administrator, Calendar) => Rights::put_and_delete(Everyone),
        (Role::FrontDesk, Message) => Rights::new(Nobody, Everyone, Nobody, Nobody),
        // Linking duplicates moves the superseded record out of use.
        (Role::Administrator, Patient | Task | Appointment) => Rights::put(Everyone),
        (Role::Pharmacist, Prescription) => Rights::new(Nobody, Nobody, Everyone, Nobody),
        _ => Rights::NONE,
    }
}

/// The whole table as text for people, one block per role. `+` marks what only the product's own commands may do.
pub fn print() -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Who may do what. own: the patient's own record; in care: patients this person is treating;"
    );
    let _ =
        writeln!(out, "all: every patient. A + marks rights that exist only inside the product's own steps");
    let _ = writeln!(out, "(booking, check-in, finishing a visit …), not for free editing.");
    let _ =
        writeln!(out, "Patients see notes, prescriptions and reports once they are signed, not before.\n");
    for role in Role::ALL {
        let _ = writeln!(out, "{}", role.title());
        let mut any = false;
        for class in Class::ALL {
            let (raw, command) = (rights(role, class), command_rights(role, class));
            if raw == Rights::NONE && command == Rights::NONE {
                continue;
            }
            any = true;
            let _ = writeln!(
                out,
                "  {:<28} see {:<9} add {:<10} change {:<10} delete {}",
                class.title(),
                cell(raw.read, command.read),
                cell(raw.create, command.create),
                cell(raw.change, command.change),
                cell(raw.delete, command.delete),
            );
        }
        if !any {
            let _ = writeln!(out, "  nothing (OAuth clients: exactly what their scopes name)");
        }
        out.push('\n');
    }
    out
}

fn cell(raw: Reach, command: Reach) -> String {
    if command > raw { format!("{}+", command.words()) } else { raw.words().to_owned() }
}
