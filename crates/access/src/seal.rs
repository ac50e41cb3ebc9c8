//! Sealed categories: facts that are hidden even from most of those who treat the patient, until the seal is opened.
//!
//! A row says by `meta.security` what it is sealed as (v3-ActCode and v3-Confidentiality). Who may look through a
//! seal: the patient, whoever the role's work needs it for ([crate::matrix::clearance]), whoever wrote it or is named in
//! a row under the same seal, whom a consent lets, and whoever breaks the glass.

use fhir::Resource;
use serde_json::{Value, json};

/// <http://terminology.hl7.org/CodeSystem/v3-ActCode>, InformationSensitivityPolicy.
pub const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
/// <http://terminology.hl7.org/CodeSystem/v3-Confidentiality>
pub const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

/// A set of categories; the bits are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seals(pub u32);

/// One category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Category {
    pub seals: Seals,
    /// The code that stands for it in scopes, settings and `/api/v1`.
    pub code: &'static str,
    pub title: &'static str,
    /// Codes of [ACT_CODE] that mean it; the first is the one we write.
    codes: &'static [&'static str],
    /// Code of [CONFIDENTIALITY] that means it.
    confidentiality: Option<&'static str>,
}

impl Seals {
    pub const NONE: Seals = Seals(0);
    pub const HIV: Seals = Seals(1);
    /// Sexual and reproductive health.
    pub const SRH: Seals = Seals(2);
    /// Violence at home, sexual violence.
    pub const GBV: Seals = Seals(4);
    pub const MENTAL: Seals = Seals(8);
    pub const SUBSTANCES: Seals = Seals(16);
    /// Restricted without saying why.
    pub const RESTRICTED: Seals = Seals(32);
    pub const ALL: Seals = Seals(63);

    pub const CATEGORIES: [Category; 6] = [
        Category { seals: Seals::HIV, code: "HIV", title: "HIV", codes: &["HIV"], confidentiality: None },
        Category {
            seals: Seals::SRH,
            code: "SEX",
            title: "Sexual and reproductive health",
            codes: &["SEX", "STD", "PREGNANT"],
            confidentiality: None,
        },
        Category {
            seals: Seals::GBV,
            code: "SDV",
            title: "Violence and abuse",
            codes: &["SDV", "MST", "VIO"],
            confidentiality: None,
        },
        Category {
            seals: Seals::MENTAL,
            code: "MH",
            title: "Mental health",
            codes: &["MH", "PSY", "PSYTHPN", "BH", "EMOTDIS"],
            confidentiality: None,
        },
        Category {
            seals: Seals::SUBSTANCES,
            code: "SUD",
            title: "Alcohol and drugs",
            codes: &["SUD", "ETH", "ETHUD", "OPIOIDUD"],
            confidentiality: None,
        },
        Category {
            seals: Seals::RESTRICTED,
            code: "R",
            title: "Restricted",
            codes: &["TABOO", "TBOO"],
            confidentiality: Some("R"),
        },
    ];

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
    pub fn with(self, other: Seals) -> Seals {
        Seals(self.0 | other.0)
    }
    /// What is in `self` and not in `other`.
    pub fn without(self, other: Seals) -> Seals {
        Seals(self.0 & !other.0)
    }
    pub fn meets(self, other: Seals) -> bool {
        self.0 & other.0 != 0
    }
    pub fn has_all(self, other: Seals) -> bool {
        self.0 & other.0 == other.0
    }
    /// The categories in it.
    pub fn categories(self) -> impl Iterator<Item = &'static Category> {
        const ALL: &[Category] = &Seals::CATEGORIES;
        ALL.iter().filter(move |c| self.meets(c.seals))
    }
    /// Codes as in `sens/…` scopes and `/api/v1`.
    pub fn codes(self) -> Vec<&'static str> {
        self.categories().map(|c| c.code).collect()
    }
    /// The inverse of [Category::code]; any code of [ACT_CODE] that means a category, and `R`, `V`.
    pub fn from_code(code: &str) -> Option<Seals> {
        Seals::CATEGORIES
            .iter()
            .find(|c| c.code == code || c.codes.contains(&code) || (code == "V" && c.code == "R"))
            .map(|c| c.seals)
    }
    /// Of one Coding.
    pub fn of_coding(coding: &Value) -> Seals {
        let text = |name: &str| coding.get(name).and_then(Value::as_str).unwrap_or_default();
        let code = text("code");
        match text("system") {
            CONFIDENTIALITY if matches!(code, "R" | "V") => Seals::RESTRICTED,
            ACT_CODE => {
                Seals::CATEGORIES.iter().find(|c| c.codes.contains(&code)).map_or(Seals::NONE, |c| c.seals)
            }
            _ => Seals::NONE,
        }
    }
    /// What a resource says of itself by `meta.security`.
    pub fn of(resource: &Resource) -> Seals {
        let labels = resource.get("meta").and_then(|m| m.get("security")).and_then(Value::as_array);
        labels.into_iter().flatten().fold(Seals::NONE, |all, coding| all.with(Seals::of_coding(coding)))
    }
    /// The Codings that say it.
    pub fn codings(self) -> Vec<Value> {
        self.categories()
            .map(|c| match c.confidentiality {
                Some(code) => json!({"system": CONFIDENTIALITY, "code": code}),
                None => json!({"system": ACT_CODE, "code": c.code}),
            })
            .collect()
    }
}

/// Adds the labels that a resource does not have yet. Whether it changed.
pub fn label(resource: &mut Resource, seals: Seals) -> bool {
    let missing = seals.without(Seals::of(resource));
    if missing.is_none() {
        return false;
    }
    let Some(object) = resource.value_mut().as_object_mut() else { return false };
    if !object.get("meta").is_some_and(Value::is_object) {
        object.insert("meta".to_owned(), json!({}));
    }
    let Some(meta) = object.get_mut("meta").and_then(Value::as_object_mut) else { return false };
    if !meta.get("security").is_some_and(Value::is_array) {
        meta.insert("security".to_owned(), json!([]));
    }
    if let Some(security) = meta.get_mut("security").and_then(Value::as_array_mut) {
        security.extend(missing.codings());
    }
    true
}
