//! The table of rights, compiled to a check on a row and to a predicate for queries.

use crate::matrix::{self, Reach, Rights};
use crate::{Class, Ctx, Principal, Role, ScopeSet, User};
use fhir::{ResourceKey, TypeId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Read,
    Search,
    History,
    Create,
    Update,
    Delete,
}

impl Action {
    pub const ALL: [Action; 6] =
        [Action::Read, Action::Search, Action::History, Action::Create, Action::Update, Action::Delete];
    pub fn is_read(self) -> bool {
        matches!(self, Action::Read | Action::Search | Action::History)
    }
}

/// Which rows of one resource type a caller may touch. `store` compiles it to SQL,
/// [decide] evaluates it on one row: the same value serves both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicate {
    Nothing,
    Everything,
    /// Rows in the compartment of this patient (and the Patient itself).
    Patient(String),
    /// Rows in the compartment of any patient in care of this practitioner (see `store::care_link`).
    InCareOf(String),
    /// Just these rows, e.g. a practitioner's own Practitioner resource.
    Rows(Vec<ResourceKey>),
    Any(Vec<Predicate>),
}

/// What [decide] must know about the row. For a create: of the new content.
#[derive(Debug, Clone)]
pub struct RowFacts<'a> {
    pub key: &'a ResourceKey,
    /// Ids of the patients whose compartment holds the row; empty for non-clinical rows.
    pub patients: &'a [String],
    /// Those of `patients` that are in care of the caller's practitioner.
    pub in_care: &'a [String],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
}

/// Rights on what is no resource: accounts, money, jobs, the audit list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    ManageAccounts,
    ManageClients,
    ReadAudit,
    ManageJobs,
    ManagePrices,
    /// Takings of the day, ledger balances, unallocated payments.
    ReadTakings,
    /// Takes cash, starts or checks a payment for any invoice.
    TakePayment,
    /// Finds patients by name or phone: a minimal row each.
    SearchPatients,
    ResolveDuplicates,
    /// Numbers of the day, state of the machine.
    ReadOverview,
    Import,
}

/// The rows of `kind` on which `ctx` may do `action`, also over raw FHIR.
pub fn predicate(ctx: &Ctx, action: Action, kind: TypeId) -> Predicate {
    rows(ctx, action, kind, false)
}

/// As [predicate], with what the product's own commands may do beyond it.
pub fn command_predicate(ctx: &Ctx, action: Action, kind: TypeId) -> Predicate {
    rows(ctx, action, kind, true)
}

/// Whether `ctx` may do `action` on this row.
pub fn decide(ctx: &Ctx, action: Action, row: &RowFacts<'_>) -> Decision {
    if predicate(ctx, action, row.key.kind).holds(row) { Decision::Allow } else { Decision::Deny }
}

/// As [decide] for the product's own commands.
pub fn decide_command(ctx: &Ctx, action: Action, row: &RowFacts<'_>) -> Decision {
    if command_predicate(ctx, action, row.key.kind).holds(row) { Decision::Allow } else { Decision::Deny }
}

/// The right of a caller that holds a token with `scopes`: never more than the caller's own and never more than the
/// scopes name. `patient/` scopes count only where the caller is that patient.
pub fn effective(ctx: &Ctx, scopes: &ScopeSet, action: Action, kind: TypeId) -> Predicate {
    let own = predicate(ctx, action, kind);
    match &ctx.principal {
        Principal::User(user) if scopes.user_allows(action, kind) => {
            let _ = user;
            own
        }
        Principal::User(User { patient: Some(patient), .. }) if scopes.patient_allows(action, kind) => {
            match own {
                Predicate::Nothing => Predicate::Nothing,
                Predicate::Patient(id) if id == patient.id => Predicate::Patient(id),
                // Directory data has no compartment; a patient launch may read it as far as its scopes name it.
                Predicate::Everything if is_impersonal(kind) => Predicate::Everything,
                Predicate::Everything => Predicate::Patient(patient.id.clone()),
                Predicate::Any(all) if all.contains(&Predicate::Patient(patient.id.clone())) => {
                    Predicate::Patient(patient.id.clone())
                }
                _ => Predicate::Nothing,
            }
        }
        Principal::Client { .. } | Principal::System(_) if scopes.system_allows(action, kind) => own,
        _ => Predicate::Nothing,
    }
}

/// Whether a refusal must look like absence: the caller sees only some patients' rows, by being one of them.
pub fn existence_is_private(ctx: &Ctx, kind: TypeId) -> bool {
    ctx.user().is_some_and(|u| !u.roles.iter().any(|r| r.is_staff())) && !is_impersonal(kind)
}

/// Statuses that make a row unreadable for this caller: a patient sees notes, prescriptions and reports once they are
/// signed, not while somebody is still writing them. Empty for everybody else.
pub fn unreadable_statuses(ctx: &Ctx, kind: TypeId) -> &'static [&'static str] {
    if ctx.user().is_none_or(|u| u.roles.iter().any(|r| r.is_staff())) {
        return &[];
    }
    match kind.name() {
        "Composition" => &["preliminary"],
        "DiagnosticReport" => &["registered", "partial", "preliminary"],
        "MedicationRequest" => &["draft"],
        _ => &[],
    }
}

/// Staff, places, opening hours, prices, definitions: nothing about a patient.
pub fn is_impersonal(kind: TypeId) -> bool {
    matches!(Class::of(kind), Class::Directory | Class::Calendar | Class::PriceList | Class::Knowledge)
}

/// Whether `ctx` has this right.
pub fn may(ctx: &Ctx, capability: Capability) -> bool {
    match &ctx.principal {
        Principal::Anonymous => false,
        Principal::System(_) => true,
        Principal::Client { .. } => match capability {
            Capability::Import => true,
            // As far as the clinic gave the client the scope for it.
            Capability::ReadAudit => TypeId::from_name("AuditEvent")
                .is_some_and(|kind| rows(ctx, Action::Search, kind, false) == Predicate::Everything),
            _ => false,
        },
        Principal::User(user) => user.roles.iter().any(|role| role_may(*role, capability)),
    }
}

fn role_may(role: Role, capability: Capability) -> bool {
    use Capability::*;
    match role {
        Role::Administrator => matches!(
            capability,
            ManageAccounts
                | ManageClients
                | ReadAudit
                | ManageJobs
                | ManagePrices
                | ResolveDuplicates
                | ReadOverview
                | SearchPatients
        ),
        Role::PrivacyOfficer => matches!(capability, ReadAudit | SearchPatients),
        Role::FrontDesk => {
            matches!(capability, SearchPatients | ResolveDuplicates | TakePayment | ReadOverview)
        }
        Role::Doctor | Role::Nurse | Role::Lab | Role::Pharmacist => capability == SearchPatients,
        Role::Cashier => matches!(capability, ReadTakings | TakePayment | SearchPatients),
        Role::It => matches!(capability, ManageJobs),
        Role::Patient | Role::Proxy | Role::Integration => false,
    }
}

fn rows(ctx: &Ctx, action: Action, kind: TypeId, command: bool) -> Predicate {
    // The audit trail is written by the record itself and by nobody else.
    if Class::of(kind) == Class::Audit && !action.is_read() {
        return Predicate::Nothing;
    }
    match &ctx.principal {
        Principal::Anonymous => Predicate::Nothing,
        Principal::System(_) => Predicate::Everything,
        Principal::Client { scopes, .. } => {
            let granted = ScopeSet::parse_known(scopes.iter().map(String::as_str));
            if granted.system_allows(action, kind) { Predicate::Everything } else { Predicate::Nothing }
        }
        Principal::User(user) => {
            let class = Class::of(kind);
            let mut all: Vec<Predicate> = Vec::new();
            for role in &user.roles {
                add(&mut all, reach_of(&matrix::rights(*role, class), action), user);
                if command {
                    add(&mut all, reach_of(&matrix::command_rights(*role, class), action), user);
                }
            }
            match all.len() {
                0 => Predicate::Nothing,
                1 => all.swap_remove(0),
                _ if all.contains(&Predicate::Everything) => Predicate::Everything,
                _ => Predicate::Any(all),
            }
        }
    }
}

fn reach_of(rights: &Rights, action: Action) -> Reach {
    match action {
        Action::Read | Action::Search | Action::History => rights.read,
        Action::Create => rights.create,
        Action::Update => rights.change,
        Action::Delete => rights.delete,
    }
}

fn add(all: &mut Vec<Predicate>, reach: Reach, user: &User) {
    let predicate = match reach {
        Reach::Nobody => return,
        Reach::Everyone => Predicate::Everything,
        Reach::Own => match &user.patient {
            Some(key) => Predicate::Patient(key.id.clone()),
            None => return,
        },
        Reach::InCare => match &user.practitioner {
            Some(key) => Predicate::InCareOf(key.id.clone()),
            None => return,
        },
        Reach::Self_ => match &user.practitioner {
            Some(key) => Predicate::Rows(vec![key.clone()]),
            None => return,
        },
    };
    if !all.contains(&predicate) {
        all.push(predicate);
    }
}

impl Predicate {
    pub fn holds(&self, row: &RowFacts<'_>) -> bool {
        match self {
            Predicate::Nothing => false,
            Predicate::Everything => true,
            Predicate::Patient(id) => row.patients.contains(id),
            Predicate::InCareOf(_) => row.patients.iter().any(|p| row.in_care.contains(p)),
            Predicate::Rows(keys) => keys.contains(row.key),
            Predicate::Any(all) => all.iter().any(|p| p.holds(row)),
        }
    }
    /// The practitioner whose care decides, if one does: whoever calls [Predicate::holds] must then look up `in_care`.
    pub fn practitioner(&self) -> Option<&str> {
        match self {
            Predicate::InCareOf(id) => Some(id),
            Predicate::Any(all) => all.iter().find_map(Predicate::practitioner),
            _ => None,
        }
    }
}
