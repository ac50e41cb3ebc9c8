//! The table of rights: role × class × action → reach. Everything else in this crate reads it.

use crate::seal::Seals;
use crate::{Class, Role};
use std::collections::BTreeMap;
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
    pub const ALL: [Reach; 5] = [Nobody, Self_, Own, InCare, Everyone];

    /// As stored and in `/api/v1`.
    pub fn code(self) -> &'static str {
        match self {
            Nobody => "nobody",
            Self_ => "self",
            Own => "own",
            InCare => "in-care",
            Everyone => "everyone",
        }
    }
    /// The inverse of [Reach::code].
    pub fn from_code(code: &str) -> Option<Reach> {
        Reach::ALL.into_iter().find(|r| r.code() == code)
    }
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

/// The verbs of [Rights], for the editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Read,
    Create,
    Change,
    Delete,
}

impl Verb {
    pub const ALL: [Verb; 4] = [Verb::Read, Verb::Create, Verb::Change, Verb::Delete];
    pub fn code(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Create => "create",
            Verb::Change => "change",
            Verb::Delete => "delete",
        }
    }
    pub fn from_code(code: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|v| v.code() == code)
    }
}

impl Rights {
    pub fn of(&self, verb: Verb) -> Reach {
        match verb {
            Verb::Read => self.read,
            Verb::Create => self.create,
            Verb::Change => self.change,
            Verb::Delete => self.delete,
        }
    }
    fn set(&mut self, verb: Verb, reach: Reach) {
        match verb {
            Verb::Read => self.read = reach,
            Verb::Create => self.create = reach,
            Verb::Change => self.change = reach,
            Verb::Delete => self.delete = reach,
        }
    }
}

/// One cell that administrators made other than it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    pub role: Role,
    pub class: Class,
    pub verb: Verb,
    pub reach: Reach,
}

/// Why a cell cannot be made so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// No clinic may give so much: see [most].
    #[error("this role may at most have less than that")]
    BeyondBounds,
    /// The right is one that the product rests on.
    #[error("this right cannot be taken away")]
    Needed,
}

/// The table with the administrators' changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    changed: BTreeMap<(Role, Class, Verb), Reach>,
}

impl Table {
    /// Cells beyond the bounds, e.g. of a later release's tighter ones, count as they come. Cells that say what the
    /// built-in table says change nothing.
    pub fn new(cells: impl IntoIterator<Item = Cell>) -> Table {
        let mut table = Table::default();
        for cell in cells {
            if check(&cell).is_ok() {
                table.changed.insert((cell.role, cell.class, cell.verb), cell.reach);
            }
        }
        table
    }
    pub fn rights(&self, role: Role, class: Class) -> Rights {
        let mut rights = rights(role, class);
        if self.changed.is_empty() {
            return rights;
        }
        for verb in Verb::ALL {
            if let Some(reach) = self.changed.get(&(role, class, verb)) {
                rights.set(verb, *reach);
            }
        }
        rights
    }
    pub fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        self.changed.iter().map(|((role, class, verb), reach)| Cell {
            role: *role,
            class: *class,
            verb: *verb,
            reach: *reach,
        })
    }
    /// Whether the cell gives more than this table does: then a second person must agree.
    pub fn widens(&self, cell: &Cell) -> bool {
        cell.reach > self.rights(cell.role, cell.class).of(cell.verb)
    }
}

/// The most that any clinic may give a role: the built-in table where nothing else is said.
///
/// Clinical facts stay with those who treat (in care) and the departments that work on them; who runs the machine, the
/// desk or the money never reads them, whatever an administrator sets. Nobody gets patients beyond her own self.
pub fn most(role: Role, class: Class, verb: Verb) -> Reach {
    use Class::*;
    let built_in = rights(role, class).of(verb);
    let chart = matches!(
        class,
        Allergy
            | Prescription
            | Medicine
            | Result
            | Document
            | Clinical
            | Visit
            | Message
            | Kin
            | Task
            | Consent
    );
    let more = match (role, verb) {
        (_, Verb::Delete) => Nobody,
        (Role::Doctor | Role::Nurse, Verb::Read)
            if chart || matches!(class, Appointment | Coverage | Billing | Patient) =>
        {
            InCare
        }
        (Role::Doctor, Verb::Create | Verb::Change) if chart && class != Consent => InCare,
        (Role::Nurse, Verb::Create | Verb::Change) if chart && !matches!(class, Consent | Prescription) => {
            InCare
        }
        (Role::Lab, Verb::Read) if matches!(class, Allergy | Prescription | Medicine | Visit) => InCare,
        (Role::Pharmacist, Verb::Read) if matches!(class, Result | Visit | Coverage) => Everyone,
        (Role::FrontDesk, Verb::Read) if class == Consent => Everyone,
        (Role::Cashier, Verb::Read) if class == Appointment => Everyone,
        _ => Nobody,
    };
    built_in.max(more)
}

/// Errors: [CellError].
pub fn check(cell: &Cell) -> Result<(), CellError> {
    if cell.reach > most(cell.role, cell.class, cell.verb) {
        return Err(CellError::BeyondBounds);
    }
    let own = matches!(cell.role, Role::Patient) && cell.verb == Verb::Read;
    let supervision =
        matches!((cell.role, cell.class), (Role::PrivacyOfficer, Class::Audit)) && cell.verb == Verb::Read;
    // A patient's right to her own record and the officer's to the trail are the law's, not the clinic's.
    if (own || supervision) && cell.reach < rights(cell.role, cell.class).of(cell.verb) {
        return Err(CellError::Needed);
    }
    Ok(())
}

/// The sealed categories that the work of the role needs in this class. All others are closed to it until a consent,
/// an own part in that care, or a broken glass opens them.
pub fn clearance(role: Role, class: Class) -> Seals {
    match (role, class) {
        (Role::Patient, _)
        | (Role::Lab, Class::Result)
        | (Role::Pharmacist, Class::Prescription | Class::Medicine)
        | (Role::PrivacyOfficer, Class::Consent) => Seals::ALL,
        _ => Seals::NONE,
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
        // The relative whom the patient lets act for her.
        (Role::Patient, Kin) => Rights::new(Nobody, Own, Nobody, Nobody),
        (Role::PrivacyOfficer, Kin) => Rights::new(Nobody, Everyone, Nobody, Nobody),
        // What the patient decides at the desk.
        (Role::FrontDesk, Consent) => Rights::put(Everyone),
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
    let _ = writeln!(
        out,
        "Sealed facts (HIV, sexual health, violence, mental health, alcohol and drugs, restricted) are hidden from all"
    );
    let _ = writeln!(
        out,
        "staff but those who wrote them or are named in that care, whom the patient's consent lets, and the roles"
    );
    let _ = writeln!(
        out,
        "marked \"also sealed\"; in an emergency the glass can be broken. A patient's consent takes rights away at once.\n"
    );
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
                "  {:<28} see {:<9} add {:<10} change {:<10} delete {}{}",
                class.title(),
                cell(raw.read, command.read),
                cell(raw.create, command.create),
                cell(raw.change, command.change),
                cell(raw.delete, command.delete),
                if role.is_staff() && !clearance(role, class).is_none() { "  also sealed" } else { "" },
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
