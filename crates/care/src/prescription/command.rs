//! Reading, saving, signing, printing and checking prescriptions.

use super::plan::{SaveSnapshot, Tokens, plan_put, plan_sign, read, shown_line, status, total_version};
use super::{Clash, Prescription, PrescriptionInput, Status, Verification, Warning, clashes, paper};
use crate::clinic::Clinic;
use crate::consultation::{self, Facts, is_clinician};
use crate::element::{self, array, key, text};
use crate::note::{Signer, author_of};
use crate::texts::Language;
use crate::view::{PatientRef, PersonName, ProviderRef};
use crate::vocabulary::VERIFICATION;
use crate::{hidden, load, rule};
use access::redact::is_subsetted;
use access::{Ctx, Role, Seals};
use fhir::Resource;
use record::{ChangeSet, Error, Record};

const REQUESTS_MAX: u32 = 200;
/// On one paper: of its open items and of its sealed ones.
const TOKENS_MAX: usize = 2;

fn ordered(mut requests: Vec<Resource>) -> Vec<Resource> {
    requests.sort_by(|a, b| a.id().cmp(&b.id()));
    requests
}

/// Every MedicationRequest of a visit, by id.
pub async fn requests(record: &Record, ctx: &Ctx, visit: &str) -> Result<Vec<Resource>, Error> {
    let encounter = format!("Encounter/{visit}");
    Ok(ordered(
        load::rows(record, ctx, "MedicationRequest", &[("encounter", &encounter)], REQUESTS_MAX).await?,
    ))
}

async fn allergies(record: &Record, ctx: &Ctx, facts: &Facts) -> Result<Vec<Resource>, Error> {
    let patient = facts.patient.to_string();
    load::rows(record, ctx, "AllergyIntolerance", &[("patient", &patient)], REQUESTS_MAX).await
}

struct Loaded {
    facts: Facts,
    requests: Vec<Resource>,
    allergies: Vec<Resource>,
    patient: PatientRef,
}

async fn load_visit(record: &Record, ctx: &Ctx, visit: &str) -> Result<Loaded, Error> {
    let encounter = load::needed(record, ctx, &key("Encounter", visit)).await?;
    let facts = consultation::read(&encounter).ok_or(Error::NotFound)?;
    let requests = requests(record, ctx, visit).await?;
    let allergies = allergies(record, ctx, &facts).await?;
    let patient = record.load(ctx, &facts.patient).await?;
    let patient = match &patient {
        Some((patient, _)) => PatientRef::read(patient),
        None => PatientRef::named(&facts.patient.id, &facts.patient_name),
    };
    Ok(Loaded { facts, requests, allergies, patient })
}

/// The tokens of these items, joined: of sealed items too, where the reader sees them.
fn token_of(requests: &[Resource]) -> Option<String> {
    let mut all: Vec<&str> = Vec::new();
    for token in requests.iter().filter_map(|r| element::identifier(r.value(), VERIFICATION)) {
        if !all.contains(&token) {
            all.push(token);
        }
    }
    all.truncate(TOKENS_MAX);
    (!all.is_empty()).then(|| all.join("-"))
}

fn view(loaded: &Loaded, clinic: &Clinic, language: Language) -> Prescription {
    let items = read(&loaded.requests);
    let status = status(&loaded.requests);
    let warnings = clashes(&items, &loaded.allergies).into_iter().map(|c: Clash| Warning {
        item: c.item,
        allergy_id: c.allergy_id,
        allergy: c.allergy,
        matched: c.matched,
        serious: c.serious,
    });
    let kept: Vec<&Resource> = loaded
        .requests
        .iter()
        .filter(|r| !matches!(r.text("status"), Some("cancelled" | "entered-in-error")))
        .collect();
    let requester = kept.first().and_then(|r| r.get("requester"));
    let prescriber = requester.and_then(element::target).or_else(|| loaded.facts.provider.clone());
    let name = requester.map(|r| element::owned(r, "/display")).filter(|name| !name.is_empty());
    let signed = status == Status::Signed;
    let cut = kept.iter().any(|r| is_subsetted(r));
    Prescription {
        hidden: hidden::of(&[("instructions", cut)]),
        id: loaded.facts.key.id.clone(),
        consultation_id: loaded.facts.key.id.clone(),
        version: total_version(&loaded.requests),
        status,
        lines: kept.iter().map(|r| shown_line(r, language)).collect(),
        items,
        warnings: warnings.collect(),
        prescriber: ProviderRef {
            id: prescriber.map(|key| key.id).unwrap_or_default(),
            name: name.unwrap_or_else(|| loaded.facts.provider_name.clone()),
        },
        patient: loaded.patient.clone(),
        signed_at: kept.iter().filter(|_| signed).find_map(|r| r.text("authoredOn")).map(str::to_owned),
        verify_url: token_of(&loaded.requests)
            .filter(|_| signed)
            .map(|token| format!("{}/verify/{token}", clinic.public_url)),
    }
}

/// `GET consultations/{id}/prescription`. Without any item it is an empty draft.
///
/// Errors: `NotFound`, also for anybody but clinicians while it is a draft.
pub async fn get_by_visit(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    visit: &str,
    language: Language,
) -> Result<Prescription, Error> {
    let found = view(&load_visit(record, ctx, visit).await?, clinic, language);
    if found.status == Status::Draft && !is_clinician(ctx) {
        return Err(Error::NotFound);
    }
    Ok(found)
}

/// `GET prescriptions/{id}`. Errors: as [get_by_visit].
pub async fn get(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    language: Language,
) -> Result<Prescription, Error> {
    let found = get_by_visit(record, ctx, clinic, id, language).await?;
    if found.items.is_empty() { Err(Error::NotFound) } else { Ok(found) }
}

/// Only doctors prescribe. Errors: `Denied`.
fn require_prescriber(ctx: &Ctx) -> Result<(), Error> {
    if ctx.has_role(Role::Doctor) { Ok(()) } else { Err(Error::Denied) }
}

/// `PUT consultations/{id}/prescription`: saves the draft. Allergy clashes are in `warnings` of the answer.
///
/// Errors: `Denied`; `NotFound`; `VersionConflict`; those of [plan_put].
pub async fn put(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    visit: &str,
    input: &PrescriptionInput,
) -> Result<Prescription, Error> {
    require_prescriber(ctx)?;
    let (author, name) = author_of(ctx)?;
    if load::replayed(record, ctx, "prescription.save", "MedicationRequest").await?.is_some() {
        return get_by_visit(record, ctx, clinic, visit, Language::English).await;
    }
    let loaded = load_visit(record, ctx, visit).await?;
    let author = Signer { key: &author, name: &name, now: ctx.now };
    let snapshot = SaveSnapshot { visit: &loaded.facts, requests: &loaded.requests, author: &author };
    let set = plan_put(input, &snapshot).map_err(rule::refuse)?;
    let current = total_version(&loaded.requests);
    if input.version.unwrap_or(0) != current {
        return Err(Error::VersionConflict { current: Some(current) });
    }
    if set != ChangeSet::default() {
        record.command(ctx, "prescription.save", set).await?;
    }
    get_by_visit(record, ctx, clinic, visit, Language::English).await
}

/// `POST consultations/{id}/prescription/sign`. Errors: `Denied`; `NotFound`; those of [plan_sign].
pub async fn sign(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    visit: &str,
    acknowledged: bool,
) -> Result<Prescription, Error> {
    require_prescriber(ctx)?;
    let (author, name) = author_of(ctx)?;
    let loaded = load_visit(record, ctx, visit).await?;
    let signer = Signer { key: &author, name: &name, now: ctx.now };
    let found = clashes(&read(&loaded.requests), &loaded.allergies);
    // 122 random bits: who does not hold the paper cannot find it.
    let token = || uuid::Uuid::new_v4().simple().to_string();
    let tokens = Tokens { open: token(), sealed: token() };
    let set = plan_sign(&loaded.requests, &found, acknowledged, &tokens, &signer).map_err(rule::refuse)?;
    if set != ChangeSet::default() {
        record.command(ctx, "prescription.sign", set).await?;
    }
    get_by_visit(record, ctx, clinic, visit, Language::English).await
}

/// `GET prescriptions/{id}/pdf`: A5, with the QR code once it is signed. Errors: as [get]; `Internal` if the paper
/// cannot be made.
pub async fn pdf(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    language: Language,
) -> Result<Vec<u8>, Error> {
    let loaded = load_visit(record, ctx, id).await?;
    let found = view(&loaded, clinic, language);
    if found.items.is_empty() || (found.status == Status::Draft && !is_clinician(ctx)) {
        return Err(Error::NotFound);
    }
    paper::render(&found, &loaded.allergies, clinic, language, ctx.now)
        .map_err(|error| Error::Internal(format!("prescription paper: {error}")))
}

/// `GET verify/{token}`, for anybody: the token on the paper is the right to ask. An unknown token is an answer
/// (`valid: false`), not an error.
///
/// Errors: of `record`.
pub async fn verify(record: &Record, clinic: &Clinic, token: &str) -> Result<Verification, Error> {
    let unknown = Verification {
        valid: false,
        status: "unknown".into(),
        issued_at: None,
        prescriber: None,
        clinic: clinic.name.clone(),
        patient_initials: None,
        items: Vec::new(),
    };
    let tokens: Vec<&str> = token.splitn(TOKENS_MAX + 1, '-').collect();
    let is_token = |token: &&str| token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit());
    if tokens.len() > TOKENS_MAX || !tokens.iter().all(is_token) {
        return Ok(unknown);
    }
    let ctx = Ctx::system("prescription-verify", record.now());
    let mut requests = Vec::new();
    for token in tokens {
        let identifier = format!("{VERIFICATION}|{}", token.to_ascii_lowercase());
        let rows =
            record.find(&ctx, "MedicationRequest", &[("identifier", &identifier)], REQUESTS_MAX).await?;
        requests.extend(shown_by(rows.into_iter().map(|(request, _)| request).collect()));
    }
    let requests = ordered(requests);
    let live: Vec<&Resource> =
        requests.iter().filter(|r| r.text("status") != Some("entered-in-error")).collect();
    let Some(first) = live.first() else { return Ok(unknown) };
    let states: Vec<&str> = live.iter().filter_map(|r| r.text("status")).collect();
    let state = states.iter().find(|s| **s == "active").or(states.first()).copied().unwrap_or("unknown");
    let patient = first.get("subject").and_then(element::target);
    let patient = match patient {
        Some(key) => record.load(&ctx, &key).await?.map(|(patient, _)| patient),
        None => None,
    };
    Ok(Verification {
        valid: state == "active",
        status: state.to_owned(),
        issued_at: first.text("authoredOn").map(str::to_owned),
        prescriber: text(first.value(), "/requester/display").map(str::to_owned),
        clinic: clinic.name.clone(),
        patient_initials: patient.map(|patient| PersonName::read(patient.value()).initials()),
        items: live
            .iter()
            .filter(|r| r.text("status") == Some("active"))
            .map(|r| shown_line(r, Language::English))
            .collect(),
    })
}

/// What one token shows: an item that was sealed after it was signed with others shows no more.
fn shown_by(mut requests: Vec<Resource>) -> Vec<Resource> {
    if requests.iter().any(|r| Seals::of(r).is_none()) {
        requests.retain(|r| Seals::of(r).is_none());
    }
    requests
}

/// Words for the allergy line of the paper.
pub(super) fn allergy_words(allergies: &[Resource], language: Language) -> String {
    let live: Vec<&Resource> = allergies.iter().filter(|a| super::allergy::is_live(a)).collect();
    let none = live.iter().any(|a| {
        let codes = a.get("code").map(|c| array(c, "coding").to_vec()).unwrap_or_default();
        codes.iter().any(|c| text(c, "/code") == Some(crate::vocabulary::NO_KNOWN_ALLERGY))
    });
    let names: Vec<String> = live
        .iter()
        .map(|a| a.get("code").map(element::words).unwrap_or_default())
        .filter(|name| !name.is_empty())
        .collect();
    if none && names.len() <= 1 {
        crate::texts::paper(language, "none-known").to_owned()
    } else if names.is_empty() {
        crate::texts::paper(language, "not-recorded").to_owned()
    } else {
        names.join(", ")
    }
}
