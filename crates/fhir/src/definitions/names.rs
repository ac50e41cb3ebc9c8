//! All R4 resource types, sorted: the position is the stored number.

pub const TYPES: &[&str] = &[
    "Account",
    "ActivityDefinition",
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Condition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceDefinition",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "Encounter",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "InsurancePlan",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationKnowledge",
    "MedicationRequest",
    "MedicationStatement",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionOrder",
    "Observation",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "Parameters",
    "Patient",
    "PaymentNotice",
    "PaymentReconciliation",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "SubscriptionStatus",
    "Substance",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
];

impl super::TypeId {
    pub const ACCOUNT: super::TypeId = super::TypeId(0);
    pub const ACTIVITY_DEFINITION: super::TypeId = super::TypeId(1);
    pub const ADVERSE_EVENT: super::TypeId = super::TypeId(2);
    pub const ALLERGY_INTOLERANCE: super::TypeId = super::TypeId(3);
    pub const APPOINTMENT: super::TypeId = super::TypeId(4);
    pub const APPOINTMENT_RESPONSE: super::TypeId = super::TypeId(5);
    pub const AUDIT_EVENT: super::TypeId = super::TypeId(6);
    pub const BASIC: super::TypeId = super::TypeId(7);
    pub const BINARY: super::TypeId = super::TypeId(8);
    pub const BIOLOGICALLY_DERIVED_PRODUCT: super::TypeId = super::TypeId(9);
    pub const BODY_STRUCTURE: super::TypeId = super::TypeId(10);
    pub const BUNDLE: super::TypeId = super::TypeId(11);
    pub const CAPABILITY_STATEMENT: super::TypeId = super::TypeId(12);
    pub const CARE_PLAN: super::TypeId = super::TypeId(13);
    pub const CARE_TEAM: super::TypeId = super::TypeId(14);
    pub const CATALOG_ENTRY: super::TypeId = super::TypeId(15);
    pub const CHARGE_ITEM: super::TypeId = super::TypeId(16);
    pub const CHARGE_ITEM_DEFINITION: super::TypeId = super::TypeId(17);
    pub const CLAIM: super::TypeId = super::TypeId(18);
    pub const CLAIM_RESPONSE: super::TypeId = super::TypeId(19);
    pub const CLINICAL_IMPRESSION: super::TypeId = super::TypeId(20);
    pub const CODE_SYSTEM: super::TypeId = super::TypeId(21);
    pub const COMMUNICATION: super::TypeId = super::TypeId(22);
    pub const COMMUNICATION_REQUEST: super::TypeId = super::TypeId(23);
    pub const COMPARTMENT_DEFINITION: super::TypeId = super::TypeId(24);
    pub const COMPOSITION: super::TypeId = super::TypeId(25);
    pub const CONCEPT_MAP: super::TypeId = super::TypeId(26);
    pub const CONDITION: super::TypeId = super::TypeId(27);
    pub const CONSENT: super::TypeId = super::TypeId(28);
    pub const CONTRACT: super::TypeId = super::TypeId(29);
    pub const COVERAGE: super::TypeId = super::TypeId(30);
    pub const COVERAGE_ELIGIBILITY_REQUEST: super::TypeId = super::TypeId(31);
    pub const COVERAGE_ELIGIBILITY_RESPONSE: super::TypeId = super::TypeId(32);
    pub const DETECTED_ISSUE: super::TypeId = super::TypeId(33);
    pub const DEVICE: super::TypeId = super::TypeId(34);
    pub const DEVICE_DEFINITION: super::TypeId = super::TypeId(35);
    pub const DEVICE_METRIC: super::TypeId = super::TypeId(36);
    pub const DEVICE_REQUEST: super::TypeId = super::TypeId(37);
    pub const DEVICE_USE_STATEMENT: super::TypeId = super::TypeId(38);
    pub const DIAGNOSTIC_REPORT: super::TypeId = super::TypeId(39);
    pub const DOCUMENT_MANIFEST: super::TypeId = super::TypeId(40);
    pub const DOCUMENT_REFERENCE: super::TypeId = super::TypeId(41);
    pub const EFFECT_EVIDENCE_SYNTHESIS: super::TypeId = super::TypeId(42);
    pub const ENCOUNTER: super::TypeId = super::TypeId(43);
    pub const ENDPOINT: super::TypeId = super::TypeId(44);
    pub const ENROLLMENT_REQUEST: super::TypeId = super::TypeId(45);
    pub const ENROLLMENT_RESPONSE: super::TypeId = super::TypeId(46);
    pub const EPISODE_OF_CARE: super::TypeId = super::TypeId(47);
    pub const EVENT_DEFINITION: super::TypeId = super::TypeId(48);
    pub const EVIDENCE: super::TypeId = super::TypeId(49);
    pub const EVIDENCE_VARIABLE: super::TypeId = super::TypeId(50);
    pub const EXAMPLE_SCENARIO: super::TypeId = super::TypeId(51);
    pub const EXPLANATION_OF_BENEFIT: super::TypeId = super::TypeId(52);
    pub const FAMILY_MEMBER_HISTORY: super::TypeId = super::TypeId(53);
    pub const FLAG: super::TypeId = super::TypeId(54);
    pub const GOAL: super::TypeId = super::TypeId(55);
    pub const GRAPH_DEFINITION: super::TypeId = super::TypeId(56);
    pub const GROUP: super::TypeId = super::TypeId(57);
    pub const GUIDANCE_RESPONSE: super::TypeId = super::TypeId(58);
    pub const HEALTHCARE_SERVICE: super::TypeId = super::TypeId(59);
    pub const IMAGING_STUDY: super::TypeId = super::TypeId(60);
    pub const IMMUNIZATION: super::TypeId = super::TypeId(61);
    pub const IMMUNIZATION_EVALUATION: super::TypeId = super::TypeId(62);
    pub const IMMUNIZATION_RECOMMENDATION: super::TypeId = super::TypeId(63);
    pub const IMPLEMENTATION_GUIDE: super::TypeId = super::TypeId(64);
    pub const INSURANCE_PLAN: super::TypeId = super::TypeId(65);
    pub const INVOICE: super::TypeId = super::TypeId(66);
    pub const LIBRARY: super::TypeId = super::TypeId(67);
    pub const LINKAGE: super::TypeId = super::TypeId(68);
    pub const LIST: super::TypeId = super::TypeId(69);
    pub const LOCATION: super::TypeId = super::TypeId(70);
    pub const MEASURE: super::TypeId = super::TypeId(71);
    pub const MEASURE_REPORT: super::TypeId = super::TypeId(72);
    pub const MEDIA: super::TypeId = super::TypeId(73);
    pub const MEDICATION: super::TypeId = super::TypeId(74);
    pub const MEDICATION_ADMINISTRATION: super::TypeId = super::TypeId(75);
    pub const MEDICATION_DISPENSE: super::TypeId = super::TypeId(76);
    pub const MEDICATION_KNOWLEDGE: super::TypeId = super::TypeId(77);
    pub const MEDICATION_REQUEST: super::TypeId = super::TypeId(78);
    pub const MEDICATION_STATEMENT: super::TypeId = super::TypeId(79);
    pub const MEDICINAL_PRODUCT: super::TypeId = super::TypeId(80);
    pub const MEDICINAL_PRODUCT_AUTHORIZATION: super::TypeId = super::TypeId(81);
    pub const MEDICINAL_PRODUCT_CONTRAINDICATION: super::TypeId = super::TypeId(82);
    pub const MEDICINAL_PRODUCT_INDICATION: super::TypeId = super::TypeId(83);
    pub const MEDICINAL_PRODUCT_INGREDIENT: super::TypeId = super::TypeId(84);
    pub const MEDICINAL_PRODUCT_INTERACTION: super::TypeId = super::TypeId(85);
    pub const MEDICINAL_PRODUCT_MANUFACTURED: super::TypeId = super::TypeId(86);
    pub const MEDICINAL_PRODUCT_PACKAGED: super::TypeId = super::TypeId(87);
    pub const MEDICINAL_PRODUCT_PHARMACEUTICAL: super::TypeId = super::TypeId(88);
    pub const MEDICINAL_PRODUCT_UNDESIRABLE_EFFECT: super::TypeId = super::TypeId(89);
    pub const MESSAGE_DEFINITION: super::TypeId = super::TypeId(90);
    pub const MESSAGE_HEADER: super::TypeId = super::TypeId(91);
    pub const MOLECULAR_SEQUENCE: super::TypeId = super::TypeId(92);
    pub const NAMING_SYSTEM: super::TypeId = super::TypeId(93);
    pub const NUTRITION_ORDER: super::TypeId = super::TypeId(94);
    pub const OBSERVATION: super::TypeId = super::TypeId(95);
    pub const OBSERVATION_DEFINITION: super::TypeId = super::TypeId(96);
    pub const OPERATION_DEFINITION: super::TypeId = super::TypeId(97);
    pub const OPERATION_OUTCOME: super::TypeId = super::TypeId(98);
    pub const ORGANIZATION: super::TypeId = super::TypeId(99);
    pub const ORGANIZATION_AFFILIATION: super::TypeId = super::TypeId(100);
    pub const PARAMETERS: super::TypeId = super::TypeId(101);
    pub const PATIENT: super::TypeId = super::TypeId(102);
    pub const PAYMENT_NOTICE: super::TypeId = super::TypeId(103);
    pub const PAYMENT_RECONCILIATION: super::TypeId = super::TypeId(104);
    pub const PERSON: super::TypeId = super::TypeId(105);
    pub const PLAN_DEFINITION: super::TypeId = super::TypeId(106);
    pub const PRACTITIONER: super::TypeId = super::TypeId(107);
    pub const PRACTITIONER_ROLE: super::TypeId = super::TypeId(108);
    pub const PROCEDURE: super::TypeId = super::TypeId(109);
    pub const PROVENANCE: super::TypeId = super::TypeId(110);
    pub const QUESTIONNAIRE: super::TypeId = super::TypeId(111);
    pub const QUESTIONNAIRE_RESPONSE: super::TypeId = super::TypeId(112);
    pub const RELATED_PERSON: super::TypeId = super::TypeId(113);
    pub const REQUEST_GROUP: super::TypeId = super::TypeId(114);
    pub const RESEARCH_DEFINITION: super::TypeId = super::TypeId(115);
    pub const RESEARCH_ELEMENT_DEFINITION: super::TypeId = super::TypeId(116);
    pub const RESEARCH_STUDY: super::TypeId = super::TypeId(117);
    pub const RESEARCH_SUBJECT: super::TypeId = super::TypeId(118);
    pub const RISK_ASSESSMENT: super::TypeId = super::TypeId(119);
    pub const RISK_EVIDENCE_SYNTHESIS: super::TypeId = super::TypeId(120);
    pub const SCHEDULE: super::TypeId = super::TypeId(121);
    pub const SEARCH_PARAMETER: super::TypeId = super::TypeId(122);
    pub const SERVICE_REQUEST: super::TypeId = super::TypeId(123);
    pub const SLOT: super::TypeId = super::TypeId(124);
    pub const SPECIMEN: super::TypeId = super::TypeId(125);
    pub const SPECIMEN_DEFINITION: super::TypeId = super::TypeId(126);
    pub const STRUCTURE_DEFINITION: super::TypeId = super::TypeId(127);
    pub const STRUCTURE_MAP: super::TypeId = super::TypeId(128);
    pub const SUBSCRIPTION: super::TypeId = super::TypeId(129);
    pub const SUBSCRIPTION_STATUS: super::TypeId = super::TypeId(130);
    pub const SUBSTANCE: super::TypeId = super::TypeId(131);
    pub const SUBSTANCE_NUCLEIC_ACID: super::TypeId = super::TypeId(132);
    pub const SUBSTANCE_POLYMER: super::TypeId = super::TypeId(133);
    pub const SUBSTANCE_PROTEIN: super::TypeId = super::TypeId(134);
    pub const SUBSTANCE_REFERENCE_INFORMATION: super::TypeId = super::TypeId(135);
    pub const SUBSTANCE_SOURCE_MATERIAL: super::TypeId = super::TypeId(136);
    pub const SUBSTANCE_SPECIFICATION: super::TypeId = super::TypeId(137);
    pub const SUPPLY_DELIVERY: super::TypeId = super::TypeId(138);
    pub const SUPPLY_REQUEST: super::TypeId = super::TypeId(139);
    pub const TASK: super::TypeId = super::TypeId(140);
    pub const TERMINOLOGY_CAPABILITIES: super::TypeId = super::TypeId(141);
    pub const TEST_REPORT: super::TypeId = super::TypeId(142);
    pub const TEST_SCRIPT: super::TypeId = super::TypeId(143);
    pub const VALUE_SET: super::TypeId = super::TypeId(144);
    pub const VERIFICATION_RESULT: super::TypeId = super::TypeId(145);
    pub const VISION_PRESCRIPTION: super::TypeId = super::TypeId(146);
}
