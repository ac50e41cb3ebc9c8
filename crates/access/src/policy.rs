//! The table of rights, compiled to a check on a row and to a predicate for queries.
//!
//! role ∩ care ∩ consent ∩ seals ∩ token scope: what a role's reach gives is cut by the guard (seals and consents), and
//! the whole by the scopes of the token. A patient's own record, and one whose glass is broken, have no guard.

use crate::consent::{Asker, Judge, Rule};
use crate::matrix::{self, Reach, Rights};
use crate::scope::{Level, Restriction};
use crate::{Class, Ctx, Principal, Role, ScopeSet, Seals, User};
use fhir::search::IndexEntry;
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;

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
    All(Vec<Predicate>),
    /// Rows all of whose seals are open to the caller (see `store::seal`).
    Open(Opener),
    /// Rows that no consent in force keeps from the caller (see `store::consent`).
    Consented(Asker),
    /// Rows with these values: search-restricted scopes.
    Matching(Vec<Restriction>),
}

/// What opens seals to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opener {
    /// Open by role or token, whoever the patient.
    pub clear: Seals,
    /// Whose keys count: a practitioner has one for each patient and category in whose care she is named.
    pub practitioner: Option<String>,
    /// To whom consents may open.
    pub asker: Asker,
}

/// What must be looked up before [Predicate::holds] can tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs<'a> {
    /// Which of the row's patients are in care of this practitioner.
    pub care: Option<&'a str>,
    /// The row's seals.
    pub seals: bool,
    /// What keys this practitioner has.
    pub keys: Option<&'a str>,
    /// The consents of the row's patients.
    pub consents: bool,
    /// The row's index entries.
    pub entries: bool,
}

/// What [decide] must know about the row. For a create: of the new content.
#[derive(Debug, Clone)]
pub struct RowFacts<'a> {
    pub key: &'a ResourceKey,
    /// Ids of the patients whose compartment holds the row; empty for non-clinical rows.
    pub patients: &'a [String],
    /// Those of `patients` that are in care of the caller's practitioner.
    pub in_care: &'a [String],
    /// What it is sealed as.
    pub seals: Seals,
    /// Categories for which the caller's practitioner has a key for one of `patients`.
    pub keys: Seals,
    /// The rules of the consents of `patients`, a list for each consent.
    pub consents: &'a [Vec<Rule>],
    /// The version's values, if [Needs::entries].
    pub entries: &'a [IndexEntry],
    pub now: Timestamp,
}

impl<'a> RowFacts<'a> {
    /// A row that is not sealed and that no consent speaks of.
    pub fn plain(key: &'a ResourceKey, patients: &'a [String], in_care: &'a [String]) -> RowFacts<'a> {
        RowFacts {
            key,
            patients,
            in_care,
            seals: Seals::NONE,
            keys: Seals::NONE,
            consents: &[],
            entries: &[],
            now: Timestamp::MIN,
        }
    }
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
    /// Opens one patient's record in an emergency without being in her care.
    BreakGlass,
    /// Looks through broken glasses afterwards.
    ReviewEmergencies,
    /// Proposes changes of the table of rights and agrees to those of others; asks why.
    ManageRights,
    /// Records what patients allow and forbid, and who acts for them.
    ManageConsents,
    /// Answers what people ask about their data; holds, retention, erasure, recipients.
    ManagePrivacy,
    /// Is the second person where one of them is not enough.
    AgreePrivacy,
}

impl Capability {
    pub const ALL: [Capability; 17] = [
        Capability::ManageAccounts,
        Capability::ManageClients,
        Capability::ReadAudit,
        Capability::ManageJobs,
        Capability::ManagePrices,
        Capability::ReadTakings,
        Capability::TakePayment,
        Capability::SearchPatients,
        Capability::ResolveDuplicates,
        Capability::ReadOverview,
        Capability::Import,
        Capability::BreakGlass,
        Capability::ReviewEmergencies,
        Capability::ManageRights,
        Capability::ManageConsents,
        Capability::ManagePrivacy,
        Capability::AgreePrivacy,
    ];
}

/// The rows of `kind` on which `ctx` may do `action`, also over raw FHIR.
pub fn predicate(ctx: &Ctx, action: Action, kind: TypeId) -> Predicate {
    scoped(ctx, rows(ctx, action, kind, Way::RAW), action, kind)
}

/// As [predicate], with what the product's own commands may do beyond it.
pub fn command_predicate(ctx: &Ctx, action: Action, kind: TypeId) -> Predicate {
    scoped(ctx, rows(ctx, action, kind, Way::COMMAND), action, kind)
}

/// What the new content of a write must meet: as [predicate] or [command_predicate] without the guard. Whoever may
/// write about a patient may write what is sealed, and what a consent then hides.
pub fn content_predicate(ctx: &Ctx, action: Action, kind: TypeId, command: bool) -> Predicate {
    scoped(ctx, rows(ctx, action, kind, Way { command, guarded: false }), action, kind)
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
/// scopes name. `patient/` scopes are about the launch's patient or else the one whom the caller is.
pub fn effective(ctx: &Ctx, scopes: &ScopeSet, action: Action, kind: TypeId) -> Predicate {
    rows(ctx, action, kind, Way::RAW).and(named(ctx, scopes, action, kind))
}

fn scoped(ctx: &Ctx, own: Predicate, action: Action, kind: TypeId) -> Predicate {
    match &ctx.scopes {
        Some(scopes) => own.and(named(ctx, scopes, action, kind)),
        None => own,
    }
}

/// The rows that scopes name, whoever holds them.
fn named(ctx: &Ctx, scopes: &ScopeSet, action: Action, kind: TypeId) -> Predicate {
    let mut any = Vec::new();
    let mut add = |level: Level, base: Predicate| {
        for scope in scopes.naming(level, action, kind) {
            let restricted = match scope.restrictions.is_empty() {
                true => Predicate::Everything,
                false => Predicate::Matching(scope.restrictions.clone()),
            };
            any.push(base.clone().and(restricted));
        }
    };
    match &ctx.principal {
        Principal::Anonymous => {}
        Principal::Client { .. } | Principal::System(_) => add(Level::System, Predicate::Everything),
        Principal::User(User { patient, .. }) => {
            add(Level::User, Predicate::Everything);
            let patient = scopes.patient().or(patient.as_ref().map(|p| p.id.as_str()));
            // Directory data has no compartment; a patient launch may read it as far as its scopes name it.
            if is_impersonal(kind) {
                add(Level::Patient, Predicate::Everything);
            } else if let Some(patient) = patient {
                add(Level::Patient, Predicate::Patient(patient.to_owned()));
            }
        }
    }
    Predicate::any(any)
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
    // A token's scopes are about FHIR; what is no resource is for the person herself.
    if ctx.scopes.is_some() {
        return false;
    }
    match &ctx.principal {
        Principal::Anonymous => false,
        Principal::System(_) => true,
        Principal::Client { .. } => match capability {
            Capability::Import => true,
            // As far as the clinic gave the client the scope for it.
            Capability::ReadAudit => TypeId::from_name("AuditEvent")
                .is_some_and(|kind| predicate(ctx, Action::Search, kind) == Predicate::Everything),
            _ => false,
        },
        Principal::User(user) => user.roles.iter().any(|role| role_may(*role, capability)),
    }
}

pub(crate) fn role_may(role: Role, capability: Capability) -> bool {
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
                | ManageRights
                | AgreePrivacy
        ),
        Role::PrivacyOfficer => matches!(
            capability,
            ReadAudit
                | SearchPatients
                | ReviewEmergencies
                | ManageRights
                | ManageConsents
                | ManagePrivacy
                | AgreePrivacy
        ),
        Role::FrontDesk => matches!(
            capability,
            SearchPatients | ResolveDuplicates | TakePayment | ReadOverview | ManageConsents
        ),
        Role::Doctor | Role::Nurse => matches!(capability, SearchPatients | BreakGlass),
        Role::Lab | Role::Pharmacist => capability == SearchPatients,
        Role::Cashier => matches!(capability, ReadTakings | TakePayment | SearchPatients),
        Role::It => matches!(capability, ManageJobs),
        Role::Patient | Role::Proxy | Role::Integration => false,
    }
}

/// By which door, and whether the guard stands at it.
#[derive(Clone, Copy)]
struct Way {
    command: bool,
    guarded: bool,
}

impl Way {
    const RAW: Way = Way { command: false, guarded: true };
    const COMMAND: Way = Way { command: true, guarded: true };
}

/// Whether seals close rows of this class.
pub fn is_sealable(class: Class) -> bool {
    is_personal(class) && !matches!(class, Class::Audit | Class::Patient)
}

/// Whether consents keep rows of this class from people. Who the patient is, what was agreed, and who looked must stay
/// known to who needs it for exactly that.
pub fn is_consentable(class: Class) -> bool {
    is_personal(class) && !matches!(class, Class::Audit | Class::Patient | Class::Consent)
}

fn is_personal(class: Class) -> bool {
    !matches!(
        class,
        Class::Directory | Class::Calendar | Class::PriceList | Class::Knowledge | Class::Machine
    )
}

fn rows(ctx: &Ctx, action: Action, kind: TypeId, way: Way) -> Predicate {
    let class = Class::of(kind);
    // The audit trail is written by the record itself and by nobody else.
    if class == Class::Audit && !action.is_read() {
        return Predicate::Nothing;
    }
    let guarded = way.guarded && action != Action::Create;
    match &ctx.principal {
        Principal::Anonymous => Predicate::Nothing,
        Principal::System(_) => Predicate::Everything,
        Principal::Client { scopes, .. } => {
            let granted = ScopeSet::parse_known(scopes.iter().map(String::as_str));
            let own = named(ctx, &granted, action, kind);
            // A stored Bundle is a document, and then it is somebody's.
            let class = if kind.name() == "Bundle" { Class::Document } else { class };
            if guarded { guard(own, class, granted.seals(), None, Asker::of(ctx)) } else { own }
        }
        Principal::User(user) => {
            let mut reached = Reached::default();
            for role in &user.roles {
                let staff = if role.is_staff() { matrix::clearance(*role, class) } else { Seals::NONE };
                reached.clear = reached.clear.with(staff);
                reached.add(ctx, user, reach_of(&user.standing.rights(*role, class), action));
                if *role == Role::Proxy {
                    reached.add_proxied(ctx, user, class, action, way.command);
                }
                if way.command {
                    reached.add(ctx, user, reach_of(&matrix::command_rights(*role, class), action));
                }
            }
            reached.into_predicate(ctx, user, class, guarded)
        }
    }
}

/// What a caller's roles reach of one type.
#[derive(Default)]
struct Reached {
    /// Cut by seals and consents.
    guarded: Vec<Predicate>,
    /// Her own, and what an emergency opened.
    free: Vec<Predicate>,
    clear: Seals,
}

impl Reached {
    fn add(&mut self, ctx: &Ctx, user: &User, reach: Reach) {
        match reach {
            Reach::Nobody => {}
            Reach::Everyone => push(&mut self.guarded, Predicate::Everything),
            Reach::Own => {
                if let Some(key) = &user.patient {
                    push(&mut self.free, Predicate::Patient(key.id.clone()));
                }
            }
            Reach::InCare => {
                if let Some(key) = &user.practitioner {
                    push(&mut self.guarded, Predicate::InCareOf(key.id.clone()));
                }
                for emergency in user.standing.emergencies_at(ctx.now) {
                    push(&mut self.free, Predicate::Patient(emergency.patient.clone()));
                }
            }
            Reach::Self_ => {
                if let Some(key) = &user.practitioner {
                    push(&mut self.free, Predicate::Rows(vec![key.clone()]));
                }
            }
        }
    }

    /// A proxy does for the patient what she could do herself, as far as the grant goes.
    fn add_proxied(&mut self, ctx: &Ctx, user: &User, class: Class, action: Action, command: bool) {
        let mut reach = reach_of(&user.standing.rights(Role::Proxy, class), action);
        if command {
            reach = reach.max(reach_of(&matrix::command_rights(Role::Proxy, class), action));
        }
        if reach < Reach::Own {
            return;
        }
        for proxied in user.standing.proxied_at(ctx.now).filter(|p| p.classes.contains(&class)) {
            let patient = Predicate::Patient(proxied.patient.clone());
            let mut asker = Asker::of(ctx);
            asker.actors.push(format!("RelatedPerson/{}", proxied.related_person));
            push(&mut self.free, guard(patient, class, proxied.seals, None, asker));
        }
    }

    fn into_predicate(self, ctx: &Ctx, user: &User, class: Class, guarded: bool) -> Predicate {
        let mut base = Predicate::any(self.guarded);
        if guarded && base != Predicate::Nothing {
            let practitioner = user.practitioner.as_ref().map(|key| key.id.clone());
            base = guard(base, class, self.clear, practitioner, Asker::of(ctx));
        }
        let mut all = vec![base];
        all.extend(self.free);
        Predicate::any(all)
    }
}

fn guard(
    base: Predicate,
    class: Class,
    clear: Seals,
    practitioner: Option<String>,
    asker: Asker,
) -> Predicate {
    let mut guarded = base;
    if is_sealable(class) && !clear.has_all(Seals::ALL) {
        let opener = Opener { clear, practitioner, asker: asker.clone() };
        guarded = guarded.and(Predicate::Open(opener));
    }
    if is_consentable(class) {
        guarded = guarded.and(Predicate::Consented(asker));
    }
    guarded
}

fn reach_of(rights: &Rights, action: Action) -> Reach {
    match action {
        Action::Read | Action::Search | Action::History => rights.read,
        Action::Create => rights.create,
        Action::Update => rights.change,
        Action::Delete => rights.delete,
    }
}

fn push(all: &mut Vec<Predicate>, predicate: Predicate) {
    if !all.contains(&predicate) {
        all.push(predicate);
    }
}

impl Predicate {
    /// Any of them, in the simplest form.
    pub fn any(all: Vec<Predicate>) -> Predicate {
        let mut parts = Vec::new();
        for one in all {
            match one {
                Predicate::Nothing => {}
                Predicate::Everything => return Predicate::Everything,
                Predicate::Any(inner) => inner.into_iter().for_each(|one| push(&mut parts, one)),
                one => push(&mut parts, one),
            }
        }
        match parts.len() {
            0 => Predicate::Nothing,
            1 => parts.swap_remove(0),
            _ => Predicate::Any(parts),
        }
    }

    /// Both.
    pub fn and(self, other: Predicate) -> Predicate {
        match (self, other) {
            (Predicate::Nothing, _) | (_, Predicate::Nothing) => Predicate::Nothing,
            (Predicate::Everything, one) | (one, Predicate::Everything) => one,
            (a, b) if a == b => a,
            (Predicate::Any(any), one) | (one, Predicate::Any(any)) if any.contains(&one) => one,
            (a, b) => {
                let mut parts = Vec::new();
                for one in [a, b] {
                    match one {
                        Predicate::All(inner) => inner.into_iter().for_each(|one| push(&mut parts, one)),
                        one => push(&mut parts, one),
                    }
                }
                Predicate::All(parts)
            }
        }
    }

    /// Whether only seals and consents keep rows of the type from the caller: no patient is out of reach as such.
    pub fn reaches_all(&self) -> bool {
        match self {
            Predicate::Everything | Predicate::Open(_) | Predicate::Consented(_) => true,
            Predicate::All(all) => all.iter().all(Predicate::reaches_all),
            Predicate::Any(any) => any.iter().any(Predicate::reaches_all),
            Predicate::Nothing
            | Predicate::Patient(_)
            | Predicate::InCareOf(_)
            | Predicate::Rows(_)
            | Predicate::Matching(_) => false,
        }
    }

    pub fn holds(&self, row: &RowFacts<'_>) -> bool {
        match self {
            Predicate::Nothing => false,
            Predicate::Everything => true,
            Predicate::Patient(id) => row.patients.contains(id),
            Predicate::InCareOf(_) => row.patients.iter().any(|p| row.in_care.contains(p)),
            Predicate::Rows(keys) => keys.contains(row.key),
            Predicate::Any(all) => all.iter().any(|p| p.holds(row)),
            Predicate::All(all) => all.iter().all(|p| p.holds(row)),
            Predicate::Open(opener) => opener.opens(row),
            Predicate::Consented(asker) => {
                let judge = Judge { consents: row.consents, now: row.now };
                !judge.denies(asker, row.key.kind, row.seals)
            }
            Predicate::Matching(all) => all.iter().all(|one| one.holds(row.entries)),
        }
    }

    /// Of these categories, in which parts of a row are sealed that the caller may see, those whose parts stay hidden.
    pub fn closed(&self, row: &RowFacts<'_>, parts: Seals) -> Seals {
        match self {
            Predicate::Nothing => parts,
            Predicate::All(all) => {
                all.iter().fold(Seals::NONE, |closed, one| closed.with(one.closed(row, parts)))
            }
            // Whatever way leads to the row, the widest counts.
            Predicate::Any(all) => {
                let ways = all.iter().filter(|one| one.holds(row)).map(|one| one.closed(row, parts));
                ways.reduce(|a, b| Seals(a.0 & b.0)).unwrap_or(parts)
            }
            Predicate::Open(opener) => opener.closed(row, parts),
            Predicate::Consented(asker) => {
                let judge = Judge { consents: row.consents, now: row.now };
                let kind = row.key.kind;
                let denied =
                    |one: &&crate::seal::Category| judge.denies(asker, kind, row.seals.with(one.seals));
                let all = parts.categories().filter(denied);
                all.fold(Seals::NONE, |closed, one| closed.with(one.seals))
            }
            Predicate::Everything
            | Predicate::Patient(_)
            | Predicate::InCareOf(_)
            | Predicate::Rows(_)
            | Predicate::Matching(_) => Seals::NONE,
        }
    }

    /// The practitioner whose care decides, if one does.
    pub fn practitioner(&self) -> Option<&str> {
        self.needs().care
    }

    /// What [Predicate::holds] rests on.
    pub fn needs(&self) -> Needs<'_> {
        let mut needs = Needs::default();
        self.collect(&mut needs);
        needs
    }

    fn collect<'a>(&'a self, needs: &mut Needs<'a>) {
        match self {
            Predicate::InCareOf(id) => needs.care = Some(id),
            Predicate::Any(all) | Predicate::All(all) => all.iter().for_each(|one| one.collect(needs)),
            Predicate::Open(opener) => {
                (needs.seals, needs.consents) = (true, true);
                needs.keys = opener.practitioner.as_deref().or(needs.keys);
            }
            Predicate::Consented(_) => (needs.seals, needs.consents) = (true, true),
            Predicate::Matching(_) => needs.entries = true,
            Predicate::Nothing | Predicate::Everything | Predicate::Patient(_) | Predicate::Rows(_) => {}
        }
    }
}

impl Opener {
    fn opens(&self, row: &RowFacts<'_>) -> bool {
        self.closed(row, row.seals).is_none()
    }

    /// Those of `seals` that are not open to the caller.
    fn closed(&self, row: &RowFacts<'_>, seals: Seals) -> Seals {
        let mut closed = seals.without(self.clear);
        if self.practitioner.is_some() {
            closed = closed.without(row.keys);
        }
        if closed.is_none() {
            return closed;
        }
        let judge = Judge { consents: row.consents, now: row.now };
        closed.without(judge.opens(&self.asker, row.key.kind, seals))
    }
}
