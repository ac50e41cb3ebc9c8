//! The printed prescription.

use super::command::allergy_words;
use super::line::line_parts;
use super::{Prescription, Status};
use crate::clinic::Clinic;
use crate::texts::{self, Language, paper};
use fhir::Resource;
use jiff::Timestamp;
use jiff::civil::Date;
use wire::pdf::{Document, PageSize, PdfError};

/// Age in whole years on a day; `None` if the birth date is not whole.
fn age(birth_date: &str, day: Date) -> Option<i16> {
    let born: Date = birth_date.parse().ok()?;
    let before = (day.month(), day.day()) < (born.month(), born.day());
    Some(day.year() - born.year() - i16::from(before))
}

/// Breaks only between the parts of a line, never between a number and its unit.
fn unbroken(rest: &str) -> String {
    let parts = rest.split(" – ").map(|part| match part.chars().count() {
        0..=40 => part.replace(' ', "\u{a0}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(" –\u{a0}")
}

/// A5 with a QR code once signed, marked as a draft before.
///
/// Errors: [PdfError].
pub fn render(
    prescription: &Prescription,
    allergies: &[Resource],
    clinic: &Clinic,
    language: Language,
    now: Timestamp,
) -> Result<Vec<u8>, PdfError> {
    let word = |key| paper(language, key);
    let patient = &prescription.patient;
    let issued: Timestamp = prescription.signed_at.as_deref().and_then(|at| at.parse().ok()).unwrap_or(now);
    let day = issued.to_zoned(clinic.zone.clone()).date();
    let born = match patient.birth_date.parse::<Date>() {
        Ok(date) => {
            let years = age(&patient.birth_date, day).map(|years| format!(" ({years} {})", word("years")));
            format!("{}{}", texts::date(language, date), years.unwrap_or_default())
        }
        Err(_) => patient.birth_date.clone(),
    };
    let sex = match word(&patient.sex) {
        "" => String::new(),
        found => found.to_owned(),
    };
    let name = format!("{} {}", patient.name.given, patient.name.family.to_uppercase()).trim().to_owned();
    let fact = |key, value: String| (word(key).to_owned(), value);
    let mut letterhead = Vec::new();
    if !clinic.phone.is_empty() {
        letterhead.push(clinic.phone.clone());
    }
    let mut document = Document::new(PageSize::A5, word("prescription"))
        .language(language.code())
        .letterhead(clinic.name.clone(), letterhead)
        .facts(vec![
            fact("patient", name),
            fact("date", texts::moment(language, issued, &clinic.zone)),
            fact("born", born),
            fact("sex", sex),
            fact("record", patient.record_number.clone()),
            fact("allergies", allergy_words(allergies, language)),
        ]);
    for (item, line) in prescription.items.iter().zip(&prescription.lines) {
        let (lead, rest) = line_parts(item, language);
        let mut details = Vec::new();
        details.extend(item.instructions.clone());
        details.extend(item.quantity.map(|count| format!("{}: {count}", word("quantity"))));
        if item.refills > 0 {
            details.push(format!("{}: {}", word("refills"), item.refills));
        }
        // Imported items have nothing but their text.
        let imported = item.route.is_empty() || !line.starts_with(&lead);
        document = match imported {
            true => document.item(line.clone(), "", details),
            false => document.item(lead, format!("–\u{a0}{}", unbroken(&rest)), details),
        };
    }
    document = document.space();
    document = match (&prescription.verify_url, prescription.status) {
        (Some(url), Status::Signed) => document.code(
            url.clone(),
            vec![
                word("scan").to_owned(),
                url.clone(),
                format!("{}: {}", word("signed"), texts::moment(language, issued, &clinic.zone)),
            ],
        ),
        (None, Status::Signed) => document,
        (_, Status::Draft) => document.mark(word("draft")),
    };
    document
        .signature(word("prescriber"), prescription.prescriber.name.clone())
        .footer(format!("{} – {}", clinic.name, clinic.public_url))
        .render()
}
