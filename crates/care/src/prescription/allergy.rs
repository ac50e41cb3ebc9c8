//! Does an item touch a recorded allergy? By name and by the classes that cross-react; a help, not a substitute for
//! asking.

use super::RxItem;
use crate::element::{self, array, text};
use fhir::Resource;
use fhir::search::fold;

/// Families of which an allergy to one member or to the family speaks against all.
const FAMILIES: [(&str, &[&str], &[&str]); 9] = [
    (
        "penicillins",
        &["penicillin"],
        &[
            "amoxicillin",
            "ampicillin",
            "benzylpenicillin",
            "phenoxymethylpenicillin",
            "flucloxacillin",
            "cloxacillin",
            "piperacillin",
            "co-amoxiclav",
            "benzathine",
        ],
    ),
    (
        "cephalosporins",
        &["cephalosporin", "cefalosporin"],
        &[
            "cefalexin",
            "cephalexin",
            "cefazolin",
            "ceftriaxone",
            "cefixime",
            "cefuroxime",
            "ceftazidime",
            "cefotaxime",
        ],
    ),
    (
        "sulfonamides",
        &["sulfa", "sulpha", "sulfonamide", "sulphonamide"],
        &[
            "sulfamethoxazole",
            "cotrimoxazole",
            "co-trimoxazole",
            "sulfadoxine",
            "sulfadiazine",
            "sulfasalazine",
        ],
    ),
    (
        "non-steroidal anti-inflammatory medicines",
        &["nsaid", "anti-inflammatory"],
        &[
            "ibuprofen",
            "diclofenac",
            "aspirin",
            "acetylsalicylic",
            "naproxen",
            "indometacin",
            "indomethacin",
            "meloxicam",
            "ketorolac",
            "celecoxib",
            "mefenamic",
            "piroxicam",
        ],
    ),
    ("macrolides", &["macrolide"], &["erythromycin", "azithromycin", "clarithromycin"]),
    (
        "quinolones",
        &["quinolone"],
        &["ciprofloxacin", "levofloxacin", "norfloxacin", "ofloxacin", "moxifloxacin"],
    ),
    ("tetracyclines", &["tetracycline"], &["doxycycline", "tetracycline", "minocycline"]),
    ("opioids", &["opioid", "opiate"], &["morphine", "codeine", "tramadol", "pethidine", "fentanyl"]),
    (
        "ACE inhibitors",
        &["ace inhibitor"],
        &["enalapril", "captopril", "lisinopril", "ramipril", "perindopril"],
    ),
];

/// Words too general to say anything about a substance.
const GENERAL: [&str; 14] = [
    "allergy",
    "acid",
    "sodium",
    "potassium",
    "calcium",
    "vitamin",
    "oral",
    "tablet",
    "capsule",
    "injection",
    "with",
    "plus",
    "drug",
    "medicine",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// Index of the item.
    pub item: usize,
    pub allergy_id: String,
    pub allergy: String,
    /// The substance or family that matches.
    pub matched: String,
    /// Criticality `high`, or a severe reaction on record.
    pub serious: bool,
}

/// Whether the allergy is to be reckoned with.
pub(crate) fn is_live(allergy: &Resource) -> bool {
    let value = allergy.value();
    let status = |element: &str| text(value, &format!("/{element}/coding/0/code")).unwrap_or_default();
    !matches!(status("verificationStatus"), "entered-in-error" | "refuted")
        && !matches!(status("clinicalStatus"), "resolved" | "inactive")
}

/// Every item that touches an allergy of the list.
pub fn clashes(items: &[RxItem], allergies: &[Resource]) -> Vec<Clash> {
    let mut found = Vec::new();
    for allergy in allergies.iter().filter(|allergy| is_live(allergy)) {
        let value = allergy.value();
        let words = value.get("code").map(element::words).unwrap_or_default();
        let folded = fold(&words);
        let severe = array(value, "reaction").iter().any(|r| text(r, "/severity") == Some("severe"));
        let serious = severe || allergy.text("criticality") == Some("high");
        for (index, item) in items.iter().enumerate() {
            if let Some(matched) = touches(&folded, &fold(&item.name)) {
                found.push(Clash {
                    item: index,
                    allergy_id: allergy.id().unwrap_or_default().to_owned(),
                    allergy: words.clone(),
                    matched,
                    serious,
                });
            }
        }
    }
    found
}

/// Both folded.
fn touches(allergy: &str, medicine: &str) -> Option<String> {
    for (family, names, members) in FAMILIES {
        let belongs = |text: &str| names.iter().chain(members).any(|name| text.contains(name));
        if belongs(allergy) && belongs(medicine) {
            return Some(family.to_owned());
        }
    }
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '-')
            .filter(|word| word.chars().count() >= 4 && !GENERAL.contains(word))
            .map(str::to_owned)
            .collect()
    };
    let of_medicine = words(medicine);
    words(allergy).into_iter().find(|word| of_medicine.contains(word))
}
