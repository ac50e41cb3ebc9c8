//! The date by which people list resources of a type.

use super::{Param, ParamId, ParamType, TypeId};

/// Where several dates exist or the only one is not called `date`. Everything else uses `date` if it has one.
const PRIMARY: &[(TypeId, &str)] = &[
    (TypeId::ACCOUNT, "period"),
    (TypeId::BASIC, "created"),
    (TypeId::BUNDLE, "timestamp"),
    (TypeId::CHARGE_ITEM, "occurrence"),
    (TypeId::CLAIM, "created"),
    (TypeId::CLAIM_RESPONSE, "created"),
    (TypeId::COMMUNICATION, "sent"),
    (TypeId::COMMUNICATION_REQUEST, "authored"),
    (TypeId::CONDITION, "recorded-date"),
    (TypeId::CONTRACT, "issued"),
    (TypeId::COVERAGE_ELIGIBILITY_REQUEST, "created"),
    (TypeId::COVERAGE_ELIGIBILITY_RESPONSE, "created"),
    (TypeId::DETECTED_ISSUE, "identified"),
    (TypeId::DEVICE_REQUEST, "authored-on"),
    (TypeId::DOCUMENT_MANIFEST, "created"),
    (TypeId::EXPLANATION_OF_BENEFIT, "created"),
    (TypeId::GOAL, "start-date"),
    (TypeId::IMAGING_STUDY, "started"),
    (TypeId::MEDIA, "created"),
    (TypeId::MEDICATION_ADMINISTRATION, "effective-time"),
    (TypeId::MEDICATION_DISPENSE, "whenhandedover"),
    (TypeId::MEDICATION_REQUEST, "authoredon"),
    (TypeId::MEDICATION_STATEMENT, "effective"),
    (TypeId::NUTRITION_ORDER, "datetime"),
    (TypeId::PAYMENT_NOTICE, "created"),
    (TypeId::PAYMENT_RECONCILIATION, "created"),
    (TypeId::PROVENANCE, "recorded"),
    (TypeId::QUESTIONNAIRE_RESPONSE, "authored"),
    (TypeId::REQUEST_GROUP, "authored"),
    (TypeId::SERVICE_REQUEST, "authored"),
    (TypeId::SLOT, "start"),
    (TypeId::SPECIMEN, "collected"),
    (TypeId::TASK, "authored-on"),
    (TypeId::TEST_REPORT, "issued"),
    (TypeId::VISION_PRESCRIPTION, "datewritten"),
];

/// The date parameter by which clinicians list resources of `kind`, newest first;
/// `None` for types that have none, such as Patient.
pub fn primary_date(kind: TypeId) -> Option<ParamId> {
    let code = PRIMARY.iter().find(|(k, _)| *k == kind).map_or("date", |(_, c)| *c);
    super::param(kind, code).filter(|p: &&Param| p.param_type == ParamType::Date).map(|p| p.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_parameter_is_a_date() {
        for (kind, code) in PRIMARY {
            let param = super::super::param(*kind, code);
            assert_eq!(param.map(|p| p.param_type), Some(ParamType::Date), "{} {code}", kind.name());
        }
        assert_eq!(primary_date(TypeId::PATIENT), None);
        assert_eq!(
            primary_date(TypeId::ENCOUNTER),
            super::super::param(TypeId::ENCOUNTER, "date").map(|p| p.id)
        );
    }
}
