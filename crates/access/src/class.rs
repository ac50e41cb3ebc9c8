//! Resource types grouped by who has business with them. The policy speaks of classes, never of single types.

use fhir::TypeId;
use std::sync::OnceLock;

/// A group of R4 types that share their rights. Every R4 type is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Who works here, where and when; nothing about patients.
    Directory,
    /// Opening hours and slots.
    Calendar,
    PriceList,
    /// Definitions, terminology, drugs, questionnaires.
    Knowledge,
    Patient,
    /// Relatives and persons behind patients.
    Kin,
    Appointment,
    Coverage,
    Billing,
    /// Encounters: that and when somebody was here.
    Visit,
    Allergy,
    Prescription,
    /// Dispensing, administration, history of medicines.
    Medicine,
    /// Orders, specimens, results.
    Result,
    /// Notes and documents.
    Document,
    /// Everything else in a patient's chart.
    Clinical,
    Message,
    Task,
    Consent,
    Audit,
    /// Research, conformance of the machine, message envelopes: no person has rights on them.
    Machine,
}

impl Class {
    pub const ALL: [Class; 21] = [
        Class::Directory,
        Class::Calendar,
        Class::PriceList,
        Class::Knowledge,
        Class::Patient,
        Class::Kin,
        Class::Appointment,
        Class::Coverage,
        Class::Billing,
        Class::Visit,
        Class::Allergy,
        Class::Prescription,
        Class::Medicine,
        Class::Result,
        Class::Document,
        Class::Clinical,
        Class::Message,
        Class::Task,
        Class::Consent,
        Class::Audit,
        Class::Machine,
    ];

    /// The class of a type; unknown types are [Class::Machine], which nobody may touch.
    pub fn of(kind: TypeId) -> Class {
        static BY_TYPE: OnceLock<Vec<Class>> = OnceLock::new();
        let table = BY_TYPE.get_or_init(|| {
            TypeId::all().map(|t| Class::by_name(t.name()).unwrap_or(Class::Machine)).collect()
        });
        table.get(usize::from(kind.0)).copied().unwrap_or(Class::Machine)
    }

    /// The types of the class, in the order of the R4 list.
    pub fn types(self) -> impl Iterator<Item = TypeId> {
        TypeId::all().filter(move |t| Class::of(*t) == self)
    }

    /// `None` for a type that nobody has put into a class: a test holds that there is none.
    pub(crate) fn by_name(name: &str) -> Option<Class> {
        Some(match name {
            "Practitioner"
            | "PractitionerRole"
            | "Organization"
            | "OrganizationAffiliation"
            | "Location"
            | "HealthcareService"
            | "Endpoint"
            | "InsurancePlan" => Class::Directory,
            "Schedule" | "Slot" => Class::Calendar,
            "ChargeItemDefinition" => Class::PriceList,
            "ActivityDefinition"
            | "CatalogEntry"
            | "CodeSystem"
            | "ConceptMap"
            | "DeviceDefinition"
            | "EventDefinition"
            | "Evidence"
            | "EvidenceVariable"
            | "EffectEvidenceSynthesis"
            | "ExampleScenario"
            | "GraphDefinition"
            | "ImplementationGuide"
            | "Library"
            | "Measure"
            | "Medication"
            | "MedicationKnowledge"
            | "MedicinalProduct"
            | "MedicinalProductAuthorization"
            | "MedicinalProductContraindication"
            | "MedicinalProductIndication"
            | "MedicinalProductIngredient"
            | "MedicinalProductInteraction"
            | "MedicinalProductManufactured"
            | "MedicinalProductPackaged"
            | "MedicinalProductPharmaceutical"
            | "MedicinalProductUndesirableEffect"
            | "MessageDefinition"
            | "NamingSystem"
            | "ObservationDefinition"
            | "OperationDefinition"
            | "PlanDefinition"
            | "Questionnaire"
            | "ResearchDefinition"
            | "ResearchElementDefinition"
            | "RiskEvidenceSynthesis"
            | "SearchParameter"
            | "SpecimenDefinition"
            | "StructureDefinition"
            | "StructureMap"
            | "Substance"
            | "SubstanceNucleicAcid"
            | "SubstancePolymer"
            | "SubstanceProtein"
            | "SubstanceReferenceInformation"
            | "SubstanceSourceMaterial"
            | "SubstanceSpecification"
            | "ValueSet" => Class::Knowledge,
            "Patient" => Class::Patient,
            "RelatedPerson" | "Person" => Class::Kin,
            "Appointment" | "AppointmentResponse" => Class::Appointment,
            "Coverage"
            | "CoverageEligibilityRequest"
            | "CoverageEligibilityResponse"
            | "EnrollmentRequest"
            | "EnrollmentResponse" => Class::Coverage,
            "Account"
            | "ChargeItem"
            | "Claim"
            | "ClaimResponse"
            | "Contract"
            | "ExplanationOfBenefit"
            | "Invoice"
            | "PaymentNotice"
            | "PaymentReconciliation" => Class::Billing,
            "Encounter" => Class::Visit,
            "AllergyIntolerance" => Class::Allergy,
            "MedicationRequest" => Class::Prescription,
            "MedicationAdministration" | "MedicationDispense" | "MedicationStatement" => Class::Medicine,
            "DiagnosticReport" | "ImagingStudy" | "Media" | "Observation" | "ServiceRequest" | "Specimen" => {
                Class::Result
            }
            "Composition" | "DocumentManifest" | "DocumentReference" | "Binary" => Class::Document,
            "AdverseEvent"
            | "Basic"
            | "BodyStructure"
            | "CarePlan"
            | "CareTeam"
            | "ClinicalImpression"
            | "Condition"
            | "DetectedIssue"
            | "Device"
            | "DeviceMetric"
            | "DeviceRequest"
            | "DeviceUseStatement"
            | "EpisodeOfCare"
            | "FamilyMemberHistory"
            | "Flag"
            | "Goal"
            | "Group"
            | "GuidanceResponse"
            | "Immunization"
            | "ImmunizationEvaluation"
            | "ImmunizationRecommendation"
            | "List"
            | "MolecularSequence"
            | "NutritionOrder"
            | "Procedure"
            | "Provenance"
            | "QuestionnaireResponse"
            | "RequestGroup"
            | "RiskAssessment"
            | "SupplyDelivery"
            | "SupplyRequest"
            | "BiologicallyDerivedProduct"
            | "VisionPrescription" => Class::Clinical,
            "Communication" | "CommunicationRequest" => Class::Message,
            "Task" => Class::Task,
            "Consent" => Class::Consent,
            "AuditEvent" => Class::Audit,
            "Bundle"
            | "CapabilityStatement"
            | "CompartmentDefinition"
            | "Linkage"
            | "MeasureReport"
            | "MessageHeader"
            | "OperationOutcome"
            | "Parameters"
            | "ResearchStudy"
            | "ResearchSubject"
            | "Subscription"
            | "SubscriptionStatus"
            | "TerminologyCapabilities"
            | "TestReport"
            | "TestScript"
            | "VerificationResult" => Class::Machine,
            _ => return None,
        })
    }

    /// As stored and in `/api/v1`.
    pub fn code(self) -> &'static str {
        match self {
            Class::Directory => "directory",
            Class::Calendar => "calendar",
            Class::PriceList => "price-list",
            Class::Knowledge => "knowledge",
            Class::Patient => "patient",
            Class::Kin => "kin",
            Class::Appointment => "appointment",
            Class::Coverage => "coverage",
            Class::Billing => "billing",
            Class::Visit => "visit",
            Class::Allergy => "allergy",
            Class::Prescription => "prescription",
            Class::Medicine => "medicine",
            Class::Result => "result",
            Class::Document => "document",
            Class::Clinical => "clinical",
            Class::Message => "message",
            Class::Task => "task",
            Class::Consent => "consent",
            Class::Audit => "audit",
            Class::Machine => "machine",
        }
    }
    /// The inverse of [Class::code].
    pub fn from_code(code: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|c| c.code() == code)
    }
    /// For people, e.g. in the printed matrix.
    pub fn title(self) -> &'static str {
        match self {
            Class::Directory => "Staff, places and services",
            Class::Calendar => "Opening hours and slots",
            Class::PriceList => "Price list",
            Class::Knowledge => "Definitions, codes, drugs",
            Class::Patient => "Patient details",
            Class::Kin => "Relatives",
            Class::Appointment => "Appointments",
            Class::Coverage => "Insurance cover",
            Class::Billing => "Charges and invoices",
            Class::Visit => "Visits",
            Class::Allergy => "Allergies",
            Class::Prescription => "Prescriptions",
            Class::Medicine => "Medicines given and taken",
            Class::Result => "Orders, vitals, results",
            Class::Document => "Notes and documents",
            Class::Clinical => "Rest of the chart",
            Class::Message => "Messages",
            Class::Task => "Tasks",
            Class::Consent => "Consents",
            Class::Audit => "Who saw what",
            Class::Machine => "Machine's own",
        }
    }
}
