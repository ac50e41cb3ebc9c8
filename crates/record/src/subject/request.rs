//! What people ask for: that an entry be corrected, that their record be erased.

use super::retention::Obstacle;
use super::{Asker, FRESH_MINUTES, MAX_WORDS, SubjectEffect, Words, event, law, refuse};
use crate::{Change, ChangeSet, Effect, Error, Record};
use access::{Ctx, Role};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::audit::Outcome;
use store::subject::request::{self, Answer, Answered, Kind, Request, State};
use uuid::Uuid;

/// Reminders go out so long before a deadline.
const REMIND_BEFORE: SignedDuration = SignedDuration::from_hours(3 * 24);
const CORRECTION: &str = "correction-request";
const ERASURE: &str = "erasure-request";
const ANSWER: &str = "answer";
const DISAGREEMENT: &str = "disagreement";
/// Statements shown beside the entries of one chart.
const MAX_STATEMENTS: usize = 200;

/// An entry that is wrong.
#[derive(Debug, Clone)]
pub struct NewCorrection {
    /// Logical id.
    pub patient: String,
    /// The entry.
    pub entry: ResourceKey,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// A request with what was written.
#[derive(Debug, Clone)]
pub struct RequestView {
    pub request: Request,
    /// `None`: nothing was written, or it is erased.
    pub text: Option<String>,
    pub answer_text: Option<String>,
    pub disagreement_text: Option<String>,
    /// What the entry is about, in its own words, for who may read it.
    pub entry_title: Option<String>,
    /// What stands against it now; of erasures that wait.
    pub obstacles: Vec<Obstacle>,
}

/// What a patient holds against an entry.
#[derive(Debug, Clone)]
pub struct Statement {
    pub entry: ResourceKey,
    pub text: String,
    pub at: Timestamp,
}

impl Record {
    /// Asks that an entry be corrected: the patient, who acts for her, or a privacy officer for somebody who asked on paper.
    /// Errors: `NotFound` for entries the caller may not read or that are not of this patient; `Denied`; `Rule`
    /// `words-needed`; `Duplicate` `request-open`.
    pub async fn ask_correction(&self, ctx: &Ctx, new: NewCorrection) -> Result<Request, Error> {
        let asker = self.asker(ctx, &new.patient, "correction.ask").await?;
        let text = words(&new.text)?;
        if asker != Asker::Officer {
            self.read(ctx, &new.entry).await?;
        }
        let security = self.labels_of(&new.patient, &new.entry).await?;
        let sender = self.sender(ctx, asker, &new.patient);
        let (key, resource) = self.words(&Words {
            category: CORRECTION,
            patient: &new.patient,
            text: &text,
            about: Some(&new.entry),
            sender: sender.as_ref(),
            answers: None,
            security,
        })?;
        let days = law::days(self.region(), Kind::Correction);
        let request = self.new_request(ctx, &new.patient, Kind::Correction, days, Some(new.entry), Some(key));
        self.ask(ctx, "correction.ask", request, vec![resource]).await
    }

    /// Asks that the record be erased. The patient and who acts for her show again that it is they.
    /// Errors: as [Record::ask_correction]; `StepUpNeeded`.
    pub async fn ask_erasure(&self, ctx: &Ctx, patient: &str, text: &str) -> Result<Request, Error> {
        let asker = self.asker(ctx, patient, "erasure.ask").await?;
        self.require_fresh(ctx, FRESH_MINUTES, true)?;
        self.require_settled(ctx).await?;
        self.patient_resource(patient).await?;
        let text = text.trim();
        if text.chars().count() > MAX_WORDS {
            return Err(refuse("words-needed", "At most 4,000 letters.", "/text"));
        }
        let mut written = Vec::new();
        let mut key = None;
        if !text.is_empty() {
            let sender = self.sender(ctx, asker, patient);
            let (words, resource) = self.words(&Words {
                category: ERASURE,
                patient,
                text,
                about: None,
                sender: sender.as_ref(),
                answers: None,
                // Why somebody wants to be forgotten is not for the ward to read.
                security: vec![restricted()],
            })?;
            (key, written) = (Some(words), vec![resource]);
        }
        let days = law::days(self.region(), Kind::Erasure);
        let request = self.new_request(ctx, patient, Kind::Erasure, days, None, key);
        self.ask(ctx, "erasure.ask", request, written).await
    }

    async fn ask(
        &self,
        ctx: &Ctx,
        name: &'static str,
        request: Request,
        written: Vec<Resource>,
    ) -> Result<Request, Error> {
        let told = "A patient has asked for something about her data. Please look at the privacy desk.";
        let mut effects = vec![Effect::Subject(SubjectEffect::Ask(request.clone()))];
        effects.extend(self.tell_privacy_officers("privacy.request", told).await?);
        let set = ChangeSet {
            changes: written.into_iter().map(|resource| Change::Create { resource }).collect(),
            effects,
            events: vec![event(
                "privacy.requested",
                &request.patient,
                json!({"request": request.id.to_string(), "kind": request.kind.code()}),
            )],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, name, set).await?;
        Ok(request)
    }

    fn new_request(
        &self,
        ctx: &Ctx,
        patient: &str,
        kind: Kind,
        days: i64,
        entry: Option<ResourceKey>,
        words: Option<ResourceKey>,
    ) -> Request {
        let now = self.now();
        Request {
            id: Uuid::now_v7(),
            patient: patient.to_owned(),
            kind,
            state: State::Open,
            asked: now,
            asked_by: ctx.user().map(|user| user.account),
            entry,
            words,
            due: now.checked_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX),
            reminded: None,
            approved: None,
            approved_by: None,
            answer: None,
            ground: None,
            answered: None,
            answered_by: None,
            answer_words: None,
            disagreement: None,
            disagreed: None,
        }
    }

    /// What was asked about this patient, newest first. Errors: `Denied`, `NotFound`.
    pub async fn requests_of(&self, ctx: &Ctx, patient: &str) -> Result<Vec<RequestView>, Error> {
        self.asker(ctx, patient, "request.list").await?;
        let wanted = patient.to_owned();
        let found = self.reading(move |tx| Ok(request::of_patient(tx, &wanted)?)).await?;
        let patients = [patient.to_owned()];
        self.audit_one(ctx, "request.list", Outcome::Success, &format!("Patient/{patient}"), &patients)
            .await?;
        self.views(ctx, found).await
    }

    /// All requests for the desk: what waits, the nearest deadline first; or everything, newest first.
    /// Errors: `Denied`.
    pub async fn requests(&self, ctx: &Ctx, open: bool) -> Result<Vec<RequestView>, Error> {
        self.require_officer(ctx, "request.list", "").await?;
        let found =
            self.reading(move |tx| Ok(if open { request::open(tx)? } else { request::list(tx)? })).await?;
        let mut patients: Vec<String> = found.iter().map(|one| one.patient.clone()).collect();
        patients.sort();
        patients.dedup();
        self.audit_one(ctx, "request.list", Outcome::Success, "", &patients).await?;
        self.views(ctx, found).await
    }

    /// Corrections of one patient that wait, for who treats her. Errors: as [Record::read] of the Patient.
    pub async fn corrections_for(&self, ctx: &Ctx, patient: &str) -> Result<Vec<RequestView>, Error> {
        if !treats(ctx) {
            return Err(self.denied(ctx, "request.list", &format!("Patient/{patient}")).await);
        }
        self.read(ctx, &ResourceKey::new(TypeId::PATIENT, patient)).await?;
        let wanted = patient.to_owned();
        let mut found = self.reading(move |tx| Ok(request::of_patient(tx, &wanted)?)).await?;
        found.retain(|one| one.kind == Kind::Correction && one.state == State::Open);
        let mut seen = Vec::new();
        for one in found {
            let Some(entry) = &one.entry else { continue };
            if self.load(ctx, entry).await?.is_some() {
                seen.push(one);
            }
        }
        self.views(ctx, seen).await
    }

    /// Takes a request back: who asked, or the patient. Errors: `NotFound`, `Denied`; `Duplicate` `already-settled`.
    pub async fn withdraw_request(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let request = self.request(id).await?;
        if self.asker(ctx, &request.patient, "request.withdraw").await? == Asker::Officer
            && ctx.user().map(|user| user.account) != request.asked_by
        {
            return Err(self.denied(ctx, "request.withdraw", &format!("Patient/{}", request.patient)).await);
        }
        let set = ChangeSet {
            effects: vec![Effect::Subject(SubjectEffect::Withdraw { id })],
            events: vec![event("privacy.withdrawn", &request.patient, json!({"request": id.to_string()}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "request.withdraw", set).await.map(|_| ())
    }

    /// The entry was amended, by the way such entries are: by who treats the patient, or noted by a privacy officer.
    /// Errors: `Denied`, `NotFound`; `Rule` `entry-unchanged` if it stands as it did, `kind-wrong`; `Duplicate`.
    pub async fn answer_amended(&self, ctx: &Ctx, id: Uuid, text: &str) -> Result<(), Error> {
        let request = self.answerable(ctx, id, Kind::Correction).await?;
        let entry = request.entry.clone().ok_or(Error::NotFound)?;
        let system = Ctx::system("privacy", self.now());
        // Deleted or changed since; the content is not ours to judge.
        let stands = match self.read(&system, &entry).await {
            Ok(stored) => stored.last_updated <= request.asked,
            Err(Error::Gone) => false,
            Err(error) => return Err(error),
        };
        if stands {
            let text = "The entry has not changed since; amend it in the chart first.";
            return Err(refuse("entry-unchanged", text, ""));
        }
        self.settle_request(ctx, "request.amended", &request, Answer::Amended, None, text).await
    }

    /// Refuses, with a ground of [law::GROUNDS] and reasons in words. Errors: `Denied`, `NotFound`; `Rule`
    /// `ground-unknown`, `words-needed`; `Duplicate` `already-settled`.
    pub async fn refuse_request(&self, ctx: &Ctx, id: Uuid, ground: &str, text: &str) -> Result<(), Error> {
        let request = self.request(id).await?;
        let request = self.answerable(ctx, id, request.kind).await?;
        if !law::GROUNDS.iter().any(|(code, kind)| *code == ground && *kind == request.kind) {
            return Err(refuse("ground-unknown", "Choose one of the grounds.", "/ground"));
        }
        words(text)?;
        self.settle_request(ctx, "request.refused", &request, Answer::Refused, Some(ground), text).await
    }

    async fn settle_request(
        &self,
        ctx: &Ctx,
        name: &'static str,
        request: &Request,
        answer: Answer,
        ground: Option<&str>,
        text: &str,
    ) -> Result<(), Error> {
        let by = ctx.user().ok_or(Error::Denied)?.account;
        let text = text.trim();
        let (mut written, mut key) = (Vec::new(), None);
        if !text.is_empty() {
            let security = match (&request.entry, request.kind) {
                (Some(entry), _) => self.labels_of(&request.patient, entry).await.unwrap_or_default(),
                (None, _) => vec![restricted()],
            };
            let sender = ctx.user().and_then(|user| user.practitioner.clone());
            let (words, resource) = self.words(&Words {
                category: ANSWER,
                patient: &request.patient,
                text,
                about: request.entry.as_ref(),
                sender: sender.as_ref(),
                answers: request.words.as_ref(),
                security,
            })?;
            (key, written) = (Some(words), vec![Change::Create { resource }]);
        }
        let answered = Answered { answer, ground: ground.map(str::to_owned), at: self.now(), by, words: key };
        let mut effects = vec![Effect::Subject(SubjectEffect::Answer { id: request.id, answered })];
        effects.extend(self.tell_answered(&request.patient).await?);
        let set = ChangeSet {
            changes: written,
            effects,
            events: vec![event(
                "privacy.answered",
                &request.patient,
                json!({"request": request.id.to_string(), "answer": answer.code()}),
            )],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, name, set).await.map(|_| ())
    }

    /// Attaches the patient's own words to the entry that stays as it is. Errors: `NotFound`, `Denied`; `Rule`
    /// `words-needed`; `Duplicate` `already-settled` where nothing was refused, or there is a statement.
    pub async fn disagree(&self, ctx: &Ctx, id: Uuid, text: &str) -> Result<(), Error> {
        let request = self.request(id).await?;
        let asker = self.asker(ctx, &request.patient, "request.disagree").await?;
        let text = words(text)?;
        let entry = request
            .entry
            .clone()
            .ok_or_else(|| refuse("kind-wrong", "Only a refused correction takes a statement.", ""))?;
        let security = self.labels_of(&request.patient, &entry).await?;
        let sender = self.sender(ctx, asker, &request.patient);
        let (statement, resource) = self.words(&Words {
            category: DISAGREEMENT,
            patient: &request.patient,
            text: &text,
            about: Some(&entry),
            sender: sender.as_ref(),
            answers: request.answer_words.as_ref(),
            security,
        })?;
        let set = ChangeSet {
            changes: vec![Change::Create { resource }],
            effects: vec![Effect::Subject(SubjectEffect::Disagree { id, statement, at: self.now() })],
            events: vec![event("privacy.disagreed", &request.patient, json!({"request": id.to_string()}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "request.disagree", set).await.map(|_| ())
    }

    /// The statements that stand beside entries of this patient, for whoever may read them. Errors: as [Record::read] of
    /// the Patient.
    pub async fn statements(&self, ctx: &Ctx, patient: &str) -> Result<Vec<Statement>, Error> {
        self.read(ctx, &ResourceKey::new(TypeId::PATIENT, patient)).await?;
        let wanted = patient.to_owned();
        let found = self.reading(move |tx| Ok(request::of_patient(tx, &wanted)?)).await?;
        let mut statements = Vec::new();
        let stated =
            found.into_iter().filter_map(|one| Some((one.entry?, one.disagreement?, one.disagreed?)));
        for (entry, key, at) in stated.take(MAX_STATEMENTS) {
            // By the caller's own right to the entry and to the statement, which has the entry's labels.
            let Some((resource, _)) = self.load(ctx, &key).await? else { continue };
            let text = resource.value().pointer("/payload/0/contentString").and_then(Value::as_str);
            statements.push(Statement { entry, text: text.unwrap_or_default().to_owned(), at });
        }
        Ok(statements)
    }

    /// What was asked, as FHIR Tasks: for copies that leave the house. Errors: as [Record::requests_of].
    pub async fn request_tasks(&self, ctx: &Ctx, patient: &str) -> Result<Vec<Value>, Error> {
        let found = self.requests_of(ctx, patient).await?;
        Ok(found.iter().map(|view| task(&view.request)).collect())
    }

    /// Reminds the privacy officers of deadlines that are near or past; once each. Returns how many.
    pub async fn remind_of_requests(&self) -> Result<usize, Error> {
        let now = self.now();
        let before = now.checked_add(REMIND_BEFORE).unwrap_or(Timestamp::MAX);
        let near = self.writing(move |tx| Ok(request::remind(tx, before, now)?)).await?;
        if near.is_empty() {
            return Ok(0);
        }
        let told =
            "A request about a patient's data must be answered within three days. See the privacy desk.";
        let events = near
            .iter()
            .map(|one| event("privacy.near", &one.patient, json!({"request": one.id.to_string()})));
        let set = ChangeSet {
            effects: self.tell_privacy_officers("privacy.near", told).await?,
            events: events.collect(),
            ..ChangeSet::default()
        };
        self.command(&Ctx::system("privacy", now), "request.remind", set).await?;
        Ok(near.len())
    }

    pub(crate) async fn request(&self, id: Uuid) -> Result<Request, Error> {
        self.reading(move |tx| Ok(request::load(tx, &id)?)).await?.ok_or(Error::NotFound)
    }

    /// A request that the caller may answer: privacy officers any, who treats the patient those about entries she may read.
    async fn answerable(&self, ctx: &Ctx, id: Uuid, kind: Kind) -> Result<Request, Error> {
        let request = self.request(id).await?;
        let what = format!("Patient/{}", request.patient);
        let officer = access::policy::may(ctx, access::Capability::ManagePrivacy);
        let treating = treats(ctx)
            && match &request.entry {
                Some(entry) => self.load(ctx, entry).await?.is_some(),
                None => false,
            };
        if !officer && !treating {
            return Err(self.denied(ctx, "request.answer", &what).await);
        }
        // Nobody answers what she asked for herself.
        if ctx.user().is_some_and(|user| user.patient.as_ref().is_some_and(|p| p.id == request.patient)) {
            return Err(refuse("own-request", "Somebody else must answer this.", ""));
        }
        if request.kind != kind {
            return Err(refuse("kind-wrong", "This is another kind of request.", ""));
        }
        Ok(request)
    }

    /// Who wrote it, as the record knows her.
    fn sender(&self, ctx: &Ctx, asker: Asker, patient: &str) -> Option<ResourceKey> {
        match asker {
            Asker::Own => Some(ResourceKey::new(TypeId::PATIENT, patient)),
            Asker::Proxy => {
                let proxied = ctx.user()?.standing.proxied.iter().find(|one| one.patient == patient)?;
                Some(ResourceKey::new(crate::read::kind("RelatedPerson"), proxied.related_person.clone()))
            }
            // On paper: the patient's words.
            Asker::Officer => Some(ResourceKey::new(TypeId::PATIENT, patient)),
        }
    }

    /// The labels of an entry of this patient: what is written about it is as closed as it is. Errors: `NotFound` where
    /// there is no such entry, or it is of another patient.
    async fn labels_of(&self, patient: &str, entry: &ResourceKey) -> Result<Vec<Value>, Error> {
        let wanted = entry.clone();
        let found = self.reading(move |tx| Ok(store::resource::load(tx, &wanted)?)).await?;
        let found = found.filter(|row| row.patients.iter().any(|p| p == patient)).ok_or(Error::NotFound)?;
        if found.deleted {
            return Ok(Vec::new());
        }
        let resource =
            Resource::parse(&found.content).map_err(|o| Error::Internal(format!("stored {entry}: {o}")))?;
        let labels = resource.value().pointer("/meta/security").and_then(Value::as_array);
        Ok(labels.cloned().unwrap_or_default())
    }

    async fn views(&self, ctx: &Ctx, found: Vec<Request>) -> Result<Vec<RequestView>, Error> {
        let mut views = Vec::with_capacity(found.len());
        for request in found {
            let entry_title = match &request.entry {
                Some(entry) => self.title_of(ctx, entry).await?,
                None => None,
            };
            let waits = matches!(request.state, State::Open | State::Approved);
            let obstacles = match waits && request.kind == Kind::Erasure {
                true => self.obstacles(&request.patient).await?,
                false => Vec::new(),
            };
            views.push(RequestView {
                text: self.text_of(request.words.as_ref()).await?,
                answer_text: self.text_of(request.answer_words.as_ref()).await?,
                disagreement_text: self.text_of(request.disagreement.as_ref()).await?,
                entry_title,
                obstacles,
                request,
            });
        }
        Ok(views)
    }

    /// A few words of what the entry is, if the caller may read it.
    async fn title_of(&self, ctx: &Ctx, entry: &ResourceKey) -> Result<Option<String>, Error> {
        let predicate = access::policy::predicate(ctx, access::Action::Read, entry.kind);
        let (wanted, now) = (entry.clone(), self.now());
        let found = self
            .reading(move |tx| {
                let Some(row) = store::resource::load(tx, &wanted)? else { return Ok(None) };
                let seen = crate::rights::holds(tx, &predicate, &wanted, &row.patients, now)?;
                Ok((seen && !row.deleted).then_some(row.content))
            })
            .await?;
        let Some(resource) = found.and_then(|content| Resource::parse(&content).ok()) else {
            return Ok(None);
        };
        Ok(title(&resource))
    }
}

/// The shape FHIR has for it.
fn task(of: &Request) -> Value {
    let status = match (of.state, of.answer) {
        (State::Open, _) => "requested",
        (State::Approved, _) => "accepted",
        (State::Withdrawn, _) => "cancelled",
        (State::Answered, Some(Answer::Refused)) => "rejected",
        (State::Answered, _) => "completed",
    };
    let mut value = json!({
        "resourceType": "Task", "id": of.id.to_string(), "status": status, "intent": "order",
        "code": {"coding": [{"system": super::CATEGORY, "code": of.kind.code()}]},
        "for": {"reference": format!("Patient/{}", of.patient)},
        "authoredOn": of.asked.to_string(),
        "restriction": {"period": {"end": of.due.to_string()}},
    });
    if let Some(entry) = &of.entry {
        value["focus"] = json!({"reference": entry.to_string()});
    }
    if let Some(ground) = &of.ground {
        value["statusReason"] = json!({"coding": [{"system": super::CATEGORY, "code": ground}]});
    }
    if let Some(at) = of.answered {
        value["lastModified"] = json!(at.to_string());
    }
    value
}

/// What an entry is about, in its own words.
pub(crate) fn title(resource: &Resource) -> Option<String> {
    let value = resource.value();
    let concept = |name: &str| {
        let concept = value.get(name)?;
        let text = concept.get("text").or_else(|| concept.pointer("/coding/0/display"));
        text.or_else(|| concept.pointer("/coding/0/code")).and_then(Value::as_str)
    };
    let found = concept("code")
        .or_else(|| concept("medicationCodeableConcept"))
        .or_else(|| concept("vaccineCode"))
        .or_else(|| value.get("title").and_then(Value::as_str))
        .or_else(|| concept("type"))
        .or_else(|| value.get("description").and_then(Value::as_str))?;
    Some(found.chars().take(200).collect())
}

fn treats(ctx: &Ctx) -> bool {
    ctx.scopes.is_none() && (ctx.has_role(Role::Doctor) || ctx.has_role(Role::Nurse))
}

fn restricted() -> Value {
    json!({"system": access::seal::CONFIDENTIALITY, "code": "R"})
}

/// Trimmed. Errors: `Rule` `words-needed`.
fn words(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.chars().count() < super::MIN_REASON || text.chars().count() > MAX_WORDS {
        return Err(refuse("words-needed", "Say it in a sentence, in at most 4,000 letters.", "/text"));
    }
    Ok(text.to_owned())
}
