//! Reading, saving and signing notes.

use super::plan::{SaveSnapshot, Signer, plan_amend, plan_save, plan_sign, read};
use super::{Note, NoteInput, Status};
use crate::consultation::{self, is_clinician, require_clinician};
use crate::element::{key, version};
use crate::{hidden, load, new_id, rule};
use access::Ctx;
use fhir::{Resource, ResourceKey};
use record::{ChangeSet, Error, Record, Rule};

const CONDITIONS_MAX: u32 = 200;

/// Practitioner and name of the caller. Errors: `Denied` for an account without a Practitioner.
pub fn author_of(ctx: &Ctx) -> Result<(ResourceKey, String), Error> {
    let user = ctx.user().ok_or(Error::Denied)?;
    let practitioner = user.practitioner.clone().ok_or(Error::Denied)?;
    Ok((practitioner, user.display.clone()))
}

/// The note of a visit, as far as the caller may read it. Of several the newest.
pub async fn find(record: &Record, ctx: &Ctx, visit: &str) -> Result<Option<Resource>, Error> {
    let encounter = format!("Encounter/{visit}");
    let parameters = [("encounter", encounter.as_str()), ("_sort", "-_lastUpdated")];
    let rows = load::rows(record, ctx, "Composition", &parameters, 10).await?;
    Ok(rows.into_iter().find(|note| note.text("status") != Some("entered-in-error")))
}

/// The Conditions of a visit.
pub async fn conditions(record: &Record, ctx: &Ctx, visit: &str) -> Result<Vec<Resource>, Error> {
    let encounter = format!("Encounter/{visit}");
    load::rows(record, ctx, "Condition", &[("encounter", &encounter)], CONDITIONS_MAX).await
}

/// `GET consultations/{id}/note`. Before the first save: an empty draft with the reason of the visit.
///
/// Errors: `NotFound`, also for a patient while the note is a draft.
pub async fn get(record: &Record, ctx: &Ctx, visit: &str) -> Result<Note, Error> {
    let encounter = load::needed(record, ctx, &key("Encounter", visit)).await?;
    let facts = consultation::read(&encounter).ok_or(Error::NotFound)?;
    let note = find(record, ctx, visit).await?;
    let conditions = conditions(record, ctx, visit).await?;
    let found = match &note {
        Some(note) => read(note, &conditions),
        None => Note {
            id: None,
            version: 0,
            status: Status::Draft,
            reason: facts.reason,
            findings: String::new(),
            assessment: String::new(),
            diagnoses: Vec::new(),
            plan: String::new(),
            follow_up: None,
            author: facts.provider_name,
            updated_at: String::new(),
            signed_at: None,
            hidden: hidden::of(&[("reason", facts.reason_hidden)]),
        },
    };
    if found.status == Status::Draft && !is_clinician(ctx) {
        return Err(Error::NotFound);
    }
    Ok(found)
}

/// `PUT consultations/{id}/note`: autosave of the draft.
///
/// Errors: `Denied`; `NotFound`; `VersionConflict` if `input.version` is not the current one; those of [plan_save].
pub async fn save(record: &Record, ctx: &Ctx, visit: &str, input: &NoteInput) -> Result<Note, Error> {
    write(record, ctx, visit, input, "note.save", plan_save).await
}

/// `POST consultations/{id}/note/amend`: changes a signed note.
///
/// Errors: as [save], with those of [plan_amend].
pub async fn amend(record: &Record, ctx: &Ctx, visit: &str, input: &NoteInput) -> Result<Note, Error> {
    write(record, ctx, visit, input, "note.amend", plan_amend).await
}

async fn write(
    record: &Record,
    ctx: &Ctx,
    visit: &str,
    input: &NoteInput,
    name: &'static str,
    plan: fn(&NoteInput, &SaveSnapshot<'_>) -> Result<ChangeSet, Rule>,
) -> Result<Note, Error> {
    require_clinician(ctx)?;
    let (author, author_name) = author_of(ctx)?;
    if load::replayed(record, ctx, name, "Composition").await?.is_some() {
        return get(record, ctx, visit).await;
    }
    let encounter = load::needed(record, ctx, &key("Encounter", visit)).await?;
    let note = find(record, ctx, visit).await?;
    let conditions = conditions(record, ctx, visit).await?;
    let new_ids: Vec<String> = input.diagnoses.iter().map(|_| new_id()).collect();
    let author = Signer { key: &author, name: &author_name, now: ctx.now };
    let snapshot = SaveSnapshot {
        encounter: &encounter,
        note: note.as_ref(),
        conditions: &conditions,
        author: &author,
        new_ids: &new_ids,
    };
    let set = plan(input, &snapshot).map_err(rule::refuse)?;
    let current = note.as_ref().map_or(0, version);
    if input.version.unwrap_or(0) != current {
        return Err(Error::VersionConflict { current: Some(current) });
    }
    if set != ChangeSet::default() {
        record.command(ctx, name, set).await?;
    }
    get(record, ctx, visit).await
}

/// `POST consultations/{id}/note/sign`. Errors: `Denied`; `NotFound`; those of [plan_sign].
pub async fn sign(record: &Record, ctx: &Ctx, visit: &str) -> Result<Note, Error> {
    require_clinician(ctx)?;
    let (author, author_name) = author_of(ctx)?;
    load::needed(record, ctx, &key("Encounter", visit)).await?;
    let Some(note) = find(record, ctx, visit).await? else {
        return Err(rule::refuse(super::incomplete(&["/reason", "/assessment"])));
    };
    let conditions = conditions(record, ctx, visit).await?;
    let signer = Signer { key: &author, name: &author_name, now: ctx.now };
    let set = plan_sign(&note, &conditions, &signer).map_err(rule::refuse)?;
    if set != ChangeSet::default() {
        record.command(ctx, "note.sign", set).await?;
    }
    get(record, ctx, visit).await
}
