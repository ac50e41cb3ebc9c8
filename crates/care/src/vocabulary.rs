//! Code systems, identifiers and extensions that `care` writes and reads.

/// Base of everything Uzima defines itself.
pub const BASE: &str = "https://uzima.health/fhir";

macro_rules! own {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = concat!("https://uzima.health/fhir", $path);)*
    };
}

own! {
    /// `Identifier.system` of the record number, e.g. `UZ-000123`.
    RECORD_NUMBER = "/identifier/record-number";
    /// `Identifier.system` of the token that a prescription's QR code carries.
    VERIFICATION = "/identifier/prescription-verification";
    /// `MedicationRequest.groupIdentifier.system`: the items that were signed together.
    PRESCRIPTION = "/identifier/prescription";
    /// `video` or `in-person`.
    VISIT_KIND = "/CodeSystem/visit-kind";
    SPECIALTY = "/CodeSystem/specialty";
    /// Ids of the built-in formulary.
    MEDICINE = "/CodeSystem/medicine";
    /// Codes of price-list entries, e.g. `visit-video`.
    PRICE = "/CodeSystem/price";
    /// `OD`, `BD`, … of a dose line.
    FREQUENCY = "/CodeSystem/dose-frequency";
    /// Codes of the product's own Tasks.
    TASK = "/CodeSystem/task";
    WEEKLY_HOURS = "/StructureDefinition/weekly-hours";
    SLOT_MINUTES = "/StructureDefinition/slot-minutes";
    LEAD_MINUTES = "/StructureDefinition/lead-minutes";
    AVAILABILITY_EXCEPTION = "/StructureDefinition/availability-exception";
    /// On Appointment: what the visit costs, fixed when it was booked.
    FEE = "/StructureDefinition/fee";
    /// On Appointment: BCP-47 language of its messages.
    LANGUAGE = "/StructureDefinition/language";
    /// On Encounter: who was in the call, when, and how good it was.
    CONSULTATION_SESSION = "/StructureDefinition/consultation-session";
    /// On Composition: date or words of the follow-up.
    FOLLOW_UP = "/StructureDefinition/follow-up";
    /// On MedicationRequest: the words of the form, e.g. `capsule`.
    DOSE_FORM = "/StructureDefinition/dose-form";
}

pub const LOINC: &str = "http://loinc.org";
pub const UCUM: &str = "http://unitsofmeasure.org";
pub const ICD10: &str = "http://hl7.org/fhir/sid/icd-10";
pub const SNOMED: &str = "http://snomed.info/sct";
pub const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
pub const OBSERVATION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
pub const INTERPRETATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
pub const CONDITION_CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";
pub const CONDITION_STATUS: &str = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
pub const CONDITION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
pub const ALLERGY_CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
pub const ALLERGY_STATUS: &str = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification";
/// SNOMED CT code of "no known allergy".
pub const NO_KNOWN_ALLERGY: &str = "716186003";

/// LOINC of a progress note and its sections.
pub const NOTE: &str = "11488-4";
pub const REASON: &str = "29299-5";
pub const FINDINGS: &str = "29545-1";
pub const ASSESSMENT: &str = "51848-0";
pub const PLAN: &str = "18776-5";
