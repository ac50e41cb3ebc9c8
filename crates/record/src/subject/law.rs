//! What laws ask, as far as we know them. Everything here is where a clinic starts; counsel is to check it, and the
//! table of retention says which of it was checked.

use access::Class;
use store::subject::request::Kind;

/// A class of record that is kept for a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionClass {
    /// As stored and in `/api/v1`.
    pub code: &'static str,
    /// Which classes of the table of rights it holds.
    pub classes: &'static [Class],
}

/// All resources about patients are in one of them; whatever is not named in another is `clinical`.
pub const RETENTION_CLASSES: &[RetentionClass] = &[
    RetentionClass {
        code: "clinical",
        classes: &[
            Class::Visit,
            Class::Allergy,
            Class::Prescription,
            Class::Medicine,
            Class::Result,
            Class::Document,
            Class::Clinical,
        ],
    },
    RetentionClass { code: "billing", classes: &[Class::Billing, Class::Coverage] },
    RetentionClass { code: "consent", classes: &[Class::Consent] },
    RetentionClass { code: "appointment", classes: &[Class::Appointment, Class::Task] },
    RetentionClass { code: "message", classes: &[Class::Message] },
    RetentionClass { code: "identity", classes: &[Class::Patient, Class::Kin] },
];

/// The class of retention of a class of the table of rights.
pub fn retention_class(class: Class) -> &'static str {
    let found = RETENTION_CLASSES.iter().find(|one| one.classes.contains(&class));
    found.map_or("clinical", |one| one.code)
}

/// How long, as it comes for a country.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartingRule {
    pub class: &'static str,
    pub years: u32,
    pub minor_age: Option<u32>,
    /// The law asks for it: nothing goes earlier, even on request.
    pub duty: bool,
    pub law: &'static str,
}

/// What a law asks to be kept.
const fn duty(class: &'static str, years: u32, minor_age: Option<u32>, law: &'static str) -> StartingRule {
    StartingRule { class, years, minor_age, duty: true, law }
}

/// What may be kept for so long and no longer; on request it goes earlier.
const fn most(class: &'static str, years: u32, law: &'static str) -> StartingRule {
    StartingRule { class, years, minor_age: None, duty: false, law }
}

const KENYA: &[StartingRule] = &[
    duty(
        "clinical",
        10,
        Some(25),
        "Health Act 2017; Digital Health Act 2023; Ministry of Health records guidelines",
    ),
    duty("billing", 7, None, "Tax Procedures Act 2015, s. 23; Companies Act 2015"),
    most("consent", 10, "Data Protection Act 2019, s. 32"),
    most("appointment", 2, "Data Protection Act 2019, s. 39"),
    most("message", 2, "Data Protection Act 2019, s. 39"),
    most("identity", 2, "Data Protection Act 2019, s. 39"),
];
const NIGERIA: &[StartingRule] = &[
    duty("clinical", 10, Some(21), "National Health Act 2014, s. 25; MDCN code of ethics"),
    duty("billing", 6, None, "Companies and Allied Matters Act 2020; tax laws"),
    most("consent", 10, "Nigeria Data Protection Act 2023, s. 26"),
    most("appointment", 2, "Nigeria Data Protection Act 2023, s. 24"),
    most("message", 2, "Nigeria Data Protection Act 2023, s. 24"),
    most("identity", 2, "Nigeria Data Protection Act 2023, s. 24"),
];
const SOUTH_AFRICA: &[StartingRule] = &[
    duty("clinical", 6, Some(21), "HPCSA booklet 9; National Health Act 61 of 2003, s. 13"),
    duty("billing", 7, None, "Companies Act 71 of 2008, s. 24; Tax Administration Act 28 of 2011, s. 29"),
    most("consent", 6, "POPIA, s. 11 and 14"),
    most("appointment", 2, "POPIA, s. 14"),
    most("message", 2, "POPIA, s. 14"),
    most("identity", 2, "POPIA, s. 14"),
];
/// Where nothing is said: the longest of the others.
const ELSEWHERE: &[StartingRule] = &[
    duty("clinical", 10, Some(25), "National law to be named"),
    duty("billing", 7, None, "National law to be named"),
    most("consent", 10, "National law to be named"),
    most("appointment", 2, "National law to be named"),
    most("message", 2, "National law to be named"),
    most("identity", 2, "National law to be named"),
];

/// What comes for the country of the installation.
pub fn defaults(region: Option<&str>) -> &'static [StartingRule] {
    match region {
        Some("KE") => KENYA,
        Some("NG") => NIGERIA,
        Some("ZA") => SOUTH_AFRICA,
        _ => ELSEWHERE,
    }
}

/// Days in which a request must be answered.
pub fn days(region: Option<&str>, kind: Kind) -> i64 {
    match (region, kind) {
        // Data Protection (General) Regulations 2021.
        (Some("KE"), Kind::Correction | Kind::Erasure) => 14,
        _ => 30,
    }
}

/// The law under which an erasure is done.
pub fn erasure_law(region: Option<&str>) -> &'static str {
    match region {
        Some("KE") => "Data Protection Act 2019, s. 40",
        Some("NG") => "Nigeria Data Protection Act 2023, s. 34",
        Some("ZA") => "POPIA, s. 24",
        _ => "GDPR, art. 17, or the national law",
    }
}

/// Why a request may be refused.
pub const GROUNDS: &[(&str, Kind)] = &[
    ("retention", Kind::Erasure),
    ("legal-hold", Kind::Erasure),
    ("legal-duty", Kind::Erasure),
    ("public-health", Kind::Erasure),
    ("legal-claim", Kind::Erasure),
    ("not-the-person", Kind::Erasure),
    ("entry-correct", Kind::Correction),
    ("professional-opinion", Kind::Correction),
    ("record-of-others", Kind::Correction),
    ("not-the-person", Kind::Correction),
];

/// What a transfer to another country can rest on; KDPA 48–50, NDPA 41–43, POPIA 72, GDPR 45–49.
pub const BASES: &[&str] =
    &["adequacy", "safeguards", "binding-rules", "consent", "contract", "vital-interest", "public-interest"];
