//! Words for messages and papers in English, Swahili and French. Messages carry no clinical content: a phone may be
//! shared, so they say when and with whom, never why.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    Swahili,
    French,
}

impl Language {
    /// The language of a BCP-47 tag; English for any other.
    pub fn of(tag: &str) -> Language {
        match tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "sw" => Language::Swahili,
            "fr" => Language::French,
            _ => Language::English,
        }
    }
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Swahili => "sw",
            Language::French => "fr",
        }
    }
    fn pick<'a>(self, english: &'a str, swahili: &'a str, french: &'a str) -> &'a str {
        match self {
            Language::English => english,
            Language::Swahili => swahili,
            Language::French => french,
        }
    }
}

const MONTHS: [[&str; 12]; 3] = [
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    ["Jan", "Feb", "Mac", "Apr", "Mei", "Jun", "Jul", "Ago", "Sep", "Okt", "Nov", "Des"],
    ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
];
const DAYS: [[&str; 7]; 3] = [
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    ["Jtatu", "Jnne", "Jtano", "Alh", "Ijumaa", "Jmosi", "Jpili"],
    ["lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."],
];

fn index(language: Language) -> usize {
    match language {
        Language::English => 0,
        Language::Swahili => 1,
        Language::French => 2,
    }
}

/// `12 Mar 2026`
pub fn date(language: Language, date: Date) -> String {
    let month = usize::try_from(date.month() - 1).unwrap_or(0).min(11);
    format!("{} {} {}", date.day(), MONTHS[index(language)][month], date.year())
}

/// `Thu 12 Mar 2026 10:30`, in the zone of the clinic.
pub fn moment(language: Language, at: Timestamp, zone: &TimeZone) -> String {
    let local = at.to_zoned(zone.clone());
    let day = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0).min(6);
    let time = local.strftime("%H:%M");
    format!("{} {} {time}", DAYS[index(language)][day], date(language, local.date()))
}

/// Which message about a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    Booked,
    Rescheduled,
    /// By the patient herself.
    Cancelled,
    /// By the clinic.
    CancelledByClinic,
    TomorrowReminder,
    SoonReminder,
    /// The doctor has opened the visit and waits.
    DoctorWaits,
}

impl Notice {
    /// Code of the template.
    pub fn template(self) -> &'static str {
        match self {
            Notice::Booked => "appointment.booked",
            Notice::Rescheduled => "appointment.rescheduled",
            Notice::Cancelled | Notice::CancelledByClinic => "appointment.cancelled",
            Notice::TomorrowReminder => "appointment.reminder-day",
            Notice::SoonReminder => "appointment.reminder-hour",
            Notice::DoctorWaits => "consultation.doctor-waits",
        }
    }
}

/// What a message about a visit may say.
#[derive(Debug, Clone)]
pub struct VisitFacts<'a> {
    pub clinic: &'a str,
    pub clinic_phone: &'a str,
    pub provider: &'a str,
    pub video: bool,
    pub start: Timestamp,
    pub zone: &'a TimeZone,
    /// Where to sign in.
    pub address: &'a str,
}

/// The text of an SMS: one or two segments.
pub fn visit(language: Language, notice: Notice, facts: &VisitFacts<'_>) -> String {
    let when = moment(language, facts.start, facts.zone);
    let time = facts.start.to_zoned(facts.zone.clone()).strftime("%H:%M").to_string();
    let VisitFacts { clinic, clinic_phone, provider, address, .. } = facts;
    let kind = if facts.video {
        language.pick("video visit", "ziara ya video", "consultation vidéo")
    } else {
        language.pick("visit", "ziara", "consultation")
    };
    let call = |text: String| match clinic_phone.is_empty() {
        true => text,
        false => format!("{text} {} {clinic_phone}", language.pick("Questions:", "Maswali:", "Questions :")),
    };
    match (notice, language) {
        (Notice::Booked, Language::English) => {
            call(format!("{clinic}: your {kind} with {provider} is booked for {when}."))
        }
        (Notice::Booked, Language::Swahili) => {
            call(format!("{clinic}: {kind} yako na {provider} imewekwa {when}."))
        }
        (Notice::Booked, Language::French) => {
            call(format!("{clinic} : votre {kind} avec {provider} est réservée pour {when}."))
        }
        (Notice::Rescheduled, Language::English) => {
            call(format!("{clinic}: your {kind} with {provider} has moved to {when}."))
        }
        (Notice::Rescheduled, Language::Swahili) => {
            call(format!("{clinic}: {kind} yako na {provider} imehamishwa hadi {when}."))
        }
        (Notice::Rescheduled, Language::French) => {
            call(format!("{clinic} : votre {kind} avec {provider} est déplacée au {when}."))
        }
        (Notice::Cancelled, Language::English) => {
            format!("{clinic}: your {kind} with {provider} on {when} is cancelled.")
        }
        (Notice::Cancelled, Language::Swahili) => {
            format!("{clinic}: {kind} yako na {provider} ya {when} imeghairiwa.")
        }
        (Notice::Cancelled, Language::French) => {
            format!("{clinic} : votre {kind} avec {provider} du {when} est annulée.")
        }
        (Notice::CancelledByClinic, Language::English) => call(format!(
            "{clinic}: we are sorry, we had to cancel your {kind} with {provider} on {when}. Please book another time."
        )),
        (Notice::CancelledByClinic, Language::Swahili) => call(format!(
            "{clinic}: samahani, tumelazimika kughairi {kind} yako na {provider} ya {when}. Tafadhali weka muda mwingine."
        )),
        (Notice::CancelledByClinic, Language::French) => call(format!(
            "{clinic} : désolés, nous avons dû annuler votre {kind} avec {provider} du {when}. Veuillez choisir une autre heure."
        )),
        (Notice::TomorrowReminder, Language::English) => {
            call(format!("{clinic}: reminder, your {kind} with {provider} is on {when}."))
        }
        (Notice::TomorrowReminder, Language::Swahili) => {
            call(format!("{clinic}: kumbusho, {kind} yako na {provider} ni {when}."))
        }
        (Notice::TomorrowReminder, Language::French) => {
            call(format!("{clinic} : rappel, votre {kind} avec {provider} a lieu le {when}."))
        }
        (Notice::SoonReminder, Language::English) => {
            format!("{clinic}: your {kind} with {provider} starts at {time}. {address}")
        }
        (Notice::SoonReminder, Language::Swahili) => {
            format!("{clinic}: {kind} yako na {provider} inaanza saa {time}. {address}")
        }
        (Notice::SoonReminder, Language::French) => {
            format!("{clinic} : votre {kind} avec {provider} commence à {time}. {address}")
        }
        (Notice::DoctorWaits, Language::English) => {
            format!("{clinic}: {provider} is ready for you now. {address}")
        }
        (Notice::DoctorWaits, Language::Swahili) => {
            format!("{clinic}: {provider} yuko tayari kukuhudumia sasa. {address}")
        }
        (Notice::DoctorWaits, Language::French) => {
            format!("{clinic} : {provider} vous attend maintenant. {address}")
        }
    }
}

/// Words printed on a prescription, by key.
pub fn paper(language: Language, key: &str) -> &'static str {
    let words: (&str, &str, &str) = match key {
        "prescription" => ("Prescription", "Maagizo ya dawa", "Ordonnance"),
        "draft" => ("DRAFT – NOT VALID", "RASIMU – SI HALALI", "BROUILLON – NON VALABLE"),
        "patient" => ("Patient", "Mgonjwa", "Patient"),
        "born" => ("Born", "Alizaliwa", "Né(e) le"),
        "sex" => ("Sex", "Jinsia", "Sexe"),
        "record" => ("Record number", "Nambari ya rekodi", "Numéro de dossier"),
        "date" => ("Date", "Tarehe", "Date"),
        "allergies" => ("Allergies", "Mzio", "Allergies"),
        "none-known" => ("No known allergies", "Hakuna mzio unaojulikana", "Aucune allergie connue"),
        "not-recorded" => ("Allergies not recorded", "Mzio haujarekodiwa", "Allergies non renseignées"),
        "quantity" => ("Quantity", "Kiasi", "Quantité"),
        "refills" => ("Refills", "Marudio", "Renouvellements"),
        "scan" => (
            "Scan to check that this prescription is genuine and has not been changed.",
            "Changanua kuthibitisha kwamba maagizo haya ni halali na hayajabadilishwa.",
            "Scannez pour vérifier que cette ordonnance est authentique et inchangée.",
        ),
        "prescriber" => ("Prescriber", "Aliyeagiza", "Prescripteur"),
        "signed" => ("Signed electronically", "Imesainiwa kielektroniki", "Signé électroniquement"),
        "years" => ("years", "miaka", "ans"),
        "female" => ("female", "mwanamke", "femme"),
        "male" => ("male", "mwanamume", "homme"),
        "other" => ("other", "nyingine", "autre"),
        _ => ("", "", ""),
    };
    match language {
        Language::English => words.0,
        Language::Swahili => words.1,
        Language::French => words.2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_for_people_in_the_clinics_zone() {
        let zone = TimeZone::get("Africa/Nairobi").unwrap();
        let at: Timestamp = "2026-03-12T21:30:00Z".parse().unwrap();
        assert_eq!(moment(Language::English, at, &zone), "Fri 13 Mar 2026 00:30");
        assert_eq!(moment(Language::Swahili, at, &zone), "Ijumaa 13 Mac 2026 00:30");
        assert_eq!(moment(Language::French, at, &zone), "ven. 13 mars 2026 00:30");
        for (tag, expected) in [("sw-KE", "sw"), ("FR", "fr"), ("de", "en"), ("", "en")] {
            assert_eq!(Language::of(tag).code(), expected);
        }
    }

    #[test]
    fn every_message_fits_three_segments_in_every_language() {
        let zone = TimeZone::get("Africa/Nairobi").unwrap();
        let facts = VisitFacts {
            clinic: "Uzima Demonstration Hospital",
            clinic_phone: "+254 709 000 000",
            provider: "Dr Esther Lekishon Sironka",
            video: true,
            start: "2026-03-12T21:30:00Z".parse().unwrap(),
            zone: &zone,
            address: "https://uzima.example.org",
        };
        for notice in [
            Notice::Booked,
            Notice::Rescheduled,
            Notice::Cancelled,
            Notice::CancelledByClinic,
            Notice::TomorrowReminder,
            Notice::SoonReminder,
            Notice::DoctorWaits,
        ] {
            for language in [Language::English, Language::Swahili, Language::French] {
                let text = visit(language, notice, &facts);
                assert!(text.contains("Sironka") && text.chars().count() <= 300, "{text}");
                assert!(text.starts_with("Uzima"), "{text}");
            }
        }
    }
}
