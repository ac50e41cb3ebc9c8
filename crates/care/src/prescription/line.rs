//! A medicine on one line, written so that it cannot be misread: **name** form – DOSE – route – frequency – duration.
//!
//! Sources: NHS Common User Interface "Displaying and entering medication" (2010); ISMP List of Error-Prone
//! Abbreviations (2021); ISMP/FDA Look-Alike Drug Names with recommended Tall Man letters (2016).

use super::{FrequencyCode, RxItem};
use crate::texts::Language;

impl FrequencyCode {
    pub fn code(self) -> &'static str {
        match self {
            FrequencyCode::Od => "OD",
            FrequencyCode::Bd => "BD",
            FrequencyCode::Tds => "TDS",
            FrequencyCode::Qds => "QDS",
            FrequencyCode::Prn => "PRN",
            FrequencyCode::Stat => "STAT",
            FrequencyCode::Nocte => "NOCTE",
        }
    }
    pub fn from_code(code: &str) -> Option<FrequencyCode> {
        FREQUENCIES.into_iter().find(|frequency| frequency.code() == code)
    }
    /// In words; codes are never printed.
    pub fn words(self, language: Language) -> &'static str {
        let words = match self {
            FrequencyCode::Od => ("once daily", "mara moja kwa siku", "une fois par jour"),
            FrequencyCode::Bd => ("twice daily", "mara mbili kwa siku", "deux fois par jour"),
            FrequencyCode::Tds => ("three times daily", "mara tatu kwa siku", "trois fois par jour"),
            FrequencyCode::Qds => ("four times daily", "mara nne kwa siku", "quatre fois par jour"),
            FrequencyCode::Prn => ("when needed", "inapohitajika", "si besoin"),
            FrequencyCode::Stat => ("once, immediately", "mara moja, sasa hivi", "une fois, immédiatement"),
            FrequencyCode::Nocte => ("at night", "usiku", "le soir au coucher"),
        };
        match language {
            Language::English => words.0,
            Language::Swahili => words.1,
            Language::French => words.2,
        }
    }
    /// Doses in 24 hours for FHIR's `timing.repeat`; `None` where it is not regular.
    pub fn daily(self) -> Option<u8> {
        match self {
            FrequencyCode::Od | FrequencyCode::Nocte => Some(1),
            FrequencyCode::Bd => Some(2),
            FrequencyCode::Tds => Some(3),
            FrequencyCode::Qds => Some(4),
            FrequencyCode::Prn | FrequencyCode::Stat => None,
        }
    }
}

pub const FREQUENCIES: [FrequencyCode; 7] = [
    FrequencyCode::Od,
    FrequencyCode::Bd,
    FrequencyCode::Tds,
    FrequencyCode::Qds,
    FrequencyCode::Prn,
    FrequencyCode::Stat,
    FrequencyCode::Nocte,
];

/// Words of a dose or instruction made safe: dangerous abbreviations spelt out, no trailing zeros, a zero before the
/// decimal point, a space between number and unit.
pub fn dose_text(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let (number, unit) = split_number(word);
        if number.is_empty() {
            let after_number =
                words.last().is_some_and(|before| before.ends_with(|c: char| c.is_ascii_digit()));
            words.push(safe_unit(unit, after_number));
        } else if unit.is_empty() {
            words.push(safe_number(number));
        } else if unit.starts_with(|c: char| c.is_alphabetic() || c == '%') {
            words.push(safe_number(number));
            words.push(safe_unit(unit, true));
        } else {
            // "5-10", "1/2", "10,000": a range or fraction stays as written.
            words.push(word.to_owned());
        }
    }
    words.join(" ")
}

/// The leading decimal of a word, and the rest.
fn split_number(word: &str) -> (&str, &str) {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(end);
    if number.bytes().any(|b| b.is_ascii_digit()) { (number, unit) } else { ("", word) }
}

fn safe_number(number: &str) -> String {
    let number = number.trim_end_matches('.');
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') {
        return number.to_owned();
    }
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

fn safe_unit(unit: &str, after_number: bool) -> String {
    let bare = unit.trim_end_matches([',', '.', ';']);
    let spelt = match bare {
        "mcg" | "ug" | "µg" | "μg" | "MCG" | "UG" => "micrograms",
        "ng" => "nanograms",
        "IU" | "iu" | "I.U" => "international units",
        "U" | "u" if after_number => "units",
        "cc" | "CC" => "mL",
        "gm" | "gms" | "G" if after_number => "g",
        "ml" | "ML" => "mL",
        "MG" | "Mg" => "mg",
        "KG" | "Kg" => "kg",
        "QD" | "qd" | "q.d" => "once daily",
        "QOD" | "qod" => "every other day",
        "OD" | "od" if !after_number => "once daily",
        "BD" | "bd" | "BID" | "bid" => "twice daily",
        "TDS" | "tds" | "TID" | "tid" => "three times daily",
        "QDS" | "qds" | "QID" | "qid" => "four times daily",
        "HS" | "hs" => "at night",
        "SC" | "SQ" | "sc" | "sq" => "under the skin",
        "MSO4" | "MS" => "morphine sulfate",
        "MgSO4" => "magnesium sulfate",
        _ => return unit.to_owned(),
    };
    format!("{spelt}{}", &unit[bare.len()..])
}

/// Names that look alike, with the letters that differ in capitals.
const TALL_MAN: [&str; 62] = [
    "acetaZOLAMIDE",
    "ALPRAZolam",
    "amLODIPine",
    "ARIPiprazole",
    "azaCITIDine",
    "azaTHIOprine",
    "buPROPion",
    "busPIRone",
    "carBAMazepine",
    "CARBOplatin",
    "ceFAZolin",
    "cefOTEtan",
    "cefOXitin",
    "cefTAZidime",
    "cefTRIAXone",
    "chlordiazePOXIDE",
    "chlorproMAZINE",
    "chlorproPAMIDE",
    "CISplatin",
    "clomiPHENE",
    "clomiPRAMINE",
    "clonazePAM",
    "cloNIDine",
    "cloZAPine",
    "cycloSERINE",
    "cycloSPORINE",
    "DAUNOrubicin",
    "diazePAM",
    "diphenhydrAMINE",
    "DOBUTamine",
    "DOPamine",
    "DOXOrubicin",
    "DULoxetine",
    "ePHEDrine",
    "EPINEPHrine",
    "fentaNYL",
    "FLUoxetine",
    "fluPHENAZine",
    "glipiZIDE",
    "glyBURIDE",
    "guaiFENesin",
    "hydrALAZINE",
    "hydroCHLOROthiazide",
    "HYDROmorphone",
    "hydrOXYzine",
    "lamiVUDine",
    "lamoTRIgine",
    "LORazepam",
    "medroxyPROGESTERone",
    "metFORMIN",
    "metroNIDAZOLE",
    "niCARdipine",
    "NIFEdipine",
    "prednisoLONE",
    "predniSONE",
    "quiNIDine",
    "quiNINE",
    "risperiDONE",
    "SUMAtriptan",
    "traMADol",
    "vinBLAStine",
    "vinCRIStine",
];

/// The name with Tall Man letters where it looks like another.
pub fn tall_man(name: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in name.split(' ') {
        let found = TALL_MAN.iter().find(|tall| tall.eq_ignore_ascii_case(word));
        words.push(found.map_or_else(|| word.to_owned(), |tall| (*tall).to_owned()));
    }
    words.join(" ")
}

/// The item in parts: the bold name with form, and the rest of the line.
pub fn line_parts(item: &RxItem, language: Language) -> (String, String) {
    let pick = |english, swahili, french| match language {
        Language::English => english,
        Language::Swahili => swahili,
        Language::French => french,
    };
    let lead = format!("{} {}", tall_man(item.name.trim()), item.form.trim()).trim().to_owned();
    let dose_word = pick("DOSE", "DOZI", "DOSE");
    let mut parts = vec![format!("{dose_word} {}", dose_text(&item.dose)), item.route.trim().to_owned()];
    let regular = item.frequency_code.words(language);
    let exact = dose_text(&item.frequency_text);
    let same = exact.is_empty() || exact.eq_ignore_ascii_case(regular) || exact == item.frequency_code.code();
    parts.push(if same { regular.to_owned() } else { format!("{regular} ({exact})") });
    parts.extend(match item.duration_days {
        0 => None,
        1 => Some(pick("for 1 day", "kwa siku 1", "pendant 1 jour").to_owned()),
        days => Some(match language {
            Language::English => format!("for {days} days"),
            Language::Swahili => format!("kwa siku {days}"),
            Language::French => format!("pendant {days} jours"),
        }),
    });
    parts.retain(|part| !part.is_empty());
    (lead, parts.join(" – "))
}

/// The whole line as plain text.
pub fn line(item: &RxItem, language: Language) -> String {
    let (lead, rest) = line_parts(item, language);
    format!("{lead} – {rest}")
}
