//! Codes a clinician searches while typing: diagnoses and medicines, built in.
//!
//! The lists are our own compilations; their sources stand at the head of `data/icd10.txt` and `data/medicines.txt`.

use crate::prescription::FrequencyCode;
use crate::view::SystemCode;
use crate::vocabulary::ICD10;
use fhir::search::fold;
use serde::Serialize;
use std::sync::LazyLock;
use utoipa::ToSchema;

const DIAGNOSES: &str = include_str!("../data/icd10.txt");
const MEDICINES: &str = include_str!("../data/medicines.txt");
/// Hits per search.
pub const HITS_MAX: usize = 30;
const QUERY_CHARS_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsualDose {
    pub dose: String,
    pub frequency: FrequencyCode,
    /// 0 for single doses and those taken when needed.
    pub duration_days: u32,
}

/// An entry of the formulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Medicine {
    pub id: String,
    pub name: String,
    pub form: String,
    pub strengths: Vec<String>,
    /// The first is the usual one.
    pub routes: Vec<String>,
    /// For adults with the common indication; to be checked by the prescriber.
    pub usual: UsualDose,
}

struct Entry<T> {
    item: T,
    /// What can be typed, folded, best first: code or id, name, synonyms.
    keys: Vec<String>,
}

fn lines(data: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    data.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split('|').collect())
}

fn list(text: &str, separator: char) -> impl Iterator<Item = String> + '_ {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
}

static DIAGNOSIS_LIST: LazyLock<Vec<Entry<SystemCode>>> = LazyLock::new(|| {
    lines(DIAGNOSES)
        .filter_map(|fields| {
            let [code, display, english, swahili] = fields[..] else { return None };
            let mut keys = vec![fold(display), fold(code)];
            keys.extend(list(english, ',').chain(list(swahili, ',')).map(|word| fold(&word)));
            let item = SystemCode { code: code.into(), display: display.into(), system: ICD10.into() };
            Some(Entry { item, keys })
        })
        .collect()
});

static MEDICINE_LIST: LazyLock<Vec<Entry<Medicine>>> = LazyLock::new(|| {
    lines(MEDICINES)
        .filter_map(|fields| {
            let [id, name, form, strengths, routes, dose, frequency, days, others] = fields[..] else {
                return None;
            };
            let mut keys = vec![fold(&format!("{name} {form}")), fold(id)];
            keys.extend(list(others, ',').map(|word| fold(&word)));
            let item = Medicine {
                id: id.into(),
                name: name.into(),
                form: form.into(),
                strengths: list(strengths, ';').collect(),
                routes: list(routes, ';').collect(),
                usual: UsualDose {
                    dose: dose.into(),
                    frequency: FrequencyCode::from_code(frequency)?,
                    duration_days: days.parse().ok()?,
                },
            };
            Some(Entry { item, keys })
        })
        .collect()
});

/// How well an entry answers: smaller is better, `None` not at all. A key that is what was typed comes before one that
/// begins with it, of which the shortest is the nearest: `hypert` is Hypertension before Hypertensive heart disease. Else
/// every word typed must begin a word of one key or of several.
fn rank(keys: &[String], typed: &str, words: &[&str]) -> Option<usize> {
    if let Some(position) = keys.iter().position(|key| key == typed) {
        return Some(position);
    }
    if let Some(length) =
        keys.iter().filter(|key| key.starts_with(typed)).map(|key| key.chars().count()).min()
    {
        return Some(100 + length);
    }
    let begins = |word: &&str| {
        keys.iter().position(|key| {
            key.split(|c: char| !c.is_alphanumeric()).any(|part| part.starts_with(*word))
                || key.starts_with(*word)
        })
    };
    let positions: Option<Vec<usize>> = words.iter().map(begins).collect();
    positions.map(|all| 10_000 + all.into_iter().sum::<usize>())
}

fn search<T: Clone>(entries: &[Entry<T>], query: &str) -> Vec<T> {
    let typed: String = fold(query.trim()).chars().take(QUERY_CHARS_MAX).collect();
    if typed.is_empty() {
        return entries.iter().take(HITS_MAX).map(|entry| entry.item.clone()).collect();
    }
    let words: Vec<&str> = typed.split_whitespace().collect();
    let mut hits: Vec<(usize, usize)> = entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some((rank(&entry.keys, &typed, &words)?, index)))
        .collect();
    hits.sort_unstable();
    hits.into_iter().take(HITS_MAX).map(|(_, index)| entries[index].item.clone()).collect()
}

/// `GET codes/diagnoses?q=`: by code, title or synonym in English or Swahili; nothing typed gives the first of the list.
pub fn diagnoses(query: &str) -> Vec<SystemCode> {
    search(&DIAGNOSIS_LIST, query)
}

/// `GET codes/medicines?q=`: by name or other names.
pub fn medicines(query: &str) -> Vec<Medicine> {
    search(&MEDICINE_LIST, query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prescription::dose_text;
    use std::collections::BTreeSet;

    #[test]
    fn the_lists_are_whole() {
        let entries = |data| lines(data).count();
        assert_eq!(DIAGNOSIS_LIST.len(), entries(DIAGNOSES), "a line of icd10.txt cannot be read");
        assert_eq!(MEDICINE_LIST.len(), entries(MEDICINES), "a line of medicines.txt cannot be read");
        assert!(DIAGNOSIS_LIST.len() >= 300 && MEDICINE_LIST.len() >= 120);
        let codes: BTreeSet<&str> = DIAGNOSIS_LIST.iter().map(|e| e.item.code.as_str()).collect();
        assert_eq!(codes.len(), DIAGNOSIS_LIST.len(), "a code stands twice");
        assert_eq!(codes.iter().find(|code| !is_icd10(code)), None, "no code of ICD-10");
        let ids: BTreeSet<&str> = MEDICINE_LIST.iter().map(|e| e.item.id.as_str()).collect();
        assert_eq!(ids.len(), MEDICINE_LIST.len(), "an id stands twice");
        for entry in MEDICINE_LIST.iter() {
            let Medicine { id, strengths, routes, usual, .. } = &entry.item;
            assert!(!strengths.is_empty() && !routes.is_empty() && !usual.dose.is_empty(), "{id}");
            assert_eq!(dose_text(&usual.dose), usual.dose, "{id}: a dose that is not written safely");
            let single = matches!(usual.frequency, FrequencyCode::Stat | FrequencyCode::Prn);
            assert!(usual.duration_days > 0 || single, "{id}: a course without days");
        }
    }

    /// Prescribed from our own list, an antiretroviral is as telling as by its ATC code.
    #[test]
    fn antiretrovirals_of_the_formulary_are_sealed() {
        let stems = [
            "abacavir",
            "dolutegravir",
            "efavirenz",
            "emtricitabine",
            "lamivudine",
            "nevirapine",
            "tenofovir",
            "vudine",
        ];
        for entry in MEDICINE_LIST.iter() {
            let request = fhir::Resource::from_value(serde_json::json!({"resourceType": "MedicationRequest",
                "medicationCodeableConcept": {"coding": [{"system": crate::vocabulary::MEDICINE, "code": entry.item.id}]}}))
            .unwrap();
            let sealed = access::sensitivity::Rules::built_in().of(&request);
            let telling = stems.iter().any(|stem| entry.item.name.contains(stem));
            assert_eq!(sealed == access::Seals::HIV, telling, "{}", entry.item.id);
        }
    }

    /// A letter, two digits, and one decimal if any.
    fn is_icd10(code: &str) -> bool {
        let b = code.as_bytes();
        let whole =
            b.len() >= 3 && b[0].is_ascii_uppercase() && b[1].is_ascii_digit() && b[2].is_ascii_digit();
        whole && (b.len() == 3 || (b.len() == 5 && b[3] == b'.' && b[4].is_ascii_digit()))
    }

    #[test]
    fn diagnoses_are_found_by_what_people_type() {
        for (typed, expected) in [
            ("I10", "I10"),
            ("i10", "I10"),
            ("high blood pressure", "I10"),
            ("shinikizo la damu", "I10"),
            ("presha", "I10"),
            ("kisukari", "E14.9"),
            ("pumu", "J45.9"),
            ("asthma", "J45.9"),
            ("homa ya manjano", "A95.9"),
            ("UTI", "N39.0"),
            ("malaria", "B54"),
            ("typh fev", "A01.0"),
            ("DIARRHOEA", "A09.0"),
        ] {
            let found = diagnoses(typed);
            assert!(
                found.iter().any(|c| c.code == expected),
                "{typed}: {:?}",
                found.iter().map(|c| &c.code).collect::<Vec<_>>()
            );
        }
        assert!(diagnoses("xyzzy").is_empty());
        assert_eq!(diagnoses("I10")[0].code, "I10");
        for (typed, expected) in [("hypert", "I10"), ("hypertension", "I10"), ("typh", "A01.0")] {
            assert_eq!(diagnoses(typed)[0].code, expected, "{typed}: {:?}", diagnoses(typed));
        }
        // `malale`, sleeping sickness, is shorter.
        assert!(diagnoses("mala").iter().take(4).any(|c| c.code == "B54"), "{:?}", diagnoses("mala"));
        assert!(diagnoses("").len() == HITS_MAX && diagnoses(&"a".repeat(10_000)).is_empty());
    }

    #[test]
    fn medicines_are_found_by_any_of_their_names() {
        for (typed, expected) in [
            ("amox", "amoxicillin-cap"),
            ("augmentin", "co-amoxiclav-tab"),
            ("panadol", "paracetamol-tab"),
            ("acetaminophen", "paracetamol-tab"),
            ("coartem", "artemether-lumefantrine-tab"),
            ("ventolin", "salbutamol-inh"),
            ("clavulanic", "co-amoxiclav-tab"),
            ("paracetamol susp", "paracetamol-syrup"),
        ] {
            let found = medicines(typed);
            assert!(
                found.iter().any(|m| m.id == expected),
                "{typed}: {:?}",
                found.iter().map(|m| &m.id).collect::<Vec<_>>()
            );
        }
    }
}
