//! Chains, `_has`, composites, includes, `_filter` and searches across types, as text.

use crate::search::{
    Condition, Filter, Handling, Match, Operand, Params, Prefix, Query, in_compartment, parse, words,
};
use crate::{IssueCode, Outcome, Resource, ResourceKey, TypeId, definitions};

fn pairs(query: &str) -> Vec<(String, String)> {
    let one = |p: &str| p.split_once('=').map(|(n, v)| (n.into(), v.into())).unwrap();
    query.split('&').filter(|p| !p.is_empty()).map(one).collect()
}

fn try_parse(kind: TypeId, query: &str) -> Result<Query, Outcome> {
    parse(&Params::standard(), kind, &pairs(query), Handling::Strict).map(|(q, _)| q)
}

fn code(id: crate::ParamId) -> String {
    let p = definitions::param_by_id(id).unwrap();
    format!("{}.{}", p.kind.name(), p.code)
}

fn operand(o: &Operand) -> String {
    match o {
        Operand::Token { system, code } => {
            let system = system.as_deref().map(|s| format!("{s}|")).unwrap_or_default();
            format!("{system}{}", code.as_deref().unwrap_or_default())
        }
        Operand::String { exact, .. } => exact.clone(),
        Operand::Date { prefix, low_us, .. } => {
            format!("{prefix:?} {}", jiff::Timestamp::from_microsecond(*low_us).unwrap())
        }
        Operand::Quantity { prefix: Prefix::Eq, value, code, .. } => {
            format!("{value}{}", code.as_deref().unwrap_or_default())
        }
        Operand::Quantity { prefix, value, .. } => format!("{prefix:?} {value}"),
        Operand::Reference { kinds, id } => match kinds[..] {
            [kind] => format!("{}/{id}", kind.name()),
            _ => id.clone(),
        },
        Operand::Uri(uri) => uri.clone(),
        Operand::Missing(missing) => missing.to_string(),
        Operand::Composite(parts) => parts.iter().map(operand).collect::<Vec<_>>().join("$"),
        other => format!("{other:?}"),
    }
}

fn filter(f: &Filter) -> String {
    let mark = match f.matching {
        Match::Default => "=".to_owned(),
        other => format!(":{other:?}="),
    };
    format!("{}{mark}{}", code(f.param), f.any.iter().map(operand).collect::<Vec<_>>().join(","))
}

fn show(c: &Condition) -> String {
    let list =
        |all: &[Condition], word: &str| format!("({})", all.iter().map(show).collect::<Vec<_>>().join(word));
    match c {
        Condition::Filter(f) => filter(f),
        Condition::Ids(ids) => format!("id {}", ids.join(",")),
        Condition::LastUpdated { prefix, low_us, .. } => {
            format!("updated {prefix:?} {}", jiff::Timestamp::from_microsecond(*low_us).unwrap())
        }
        Condition::Chain { param, kind, condition } => {
            format!("{} -> {}[{}]", code(*param), kind.name(), show(condition))
        }
        Condition::CanonicalChain { param, kind, url, condition } => {
            format!("{} -> {} by {}[{}]", code(*param), kind.name(), code(*url), show(condition))
        }
        Condition::Has { param, condition, .. } => format!("<- {}[{}]", code(*param), show(condition)),
        Condition::Compartment(key) => format!("of {key}"),
        Condition::Words { content, any } => format!("words {content} {any:?}"),
        Condition::All(all) => list(all, " and "),
        Condition::Any(all) => list(all, " or "),
        Condition::Not(c) => format!("not {}", show(c)),
    }
}

fn tree(kind: TypeId, query: &str) -> String {
    let q = try_parse(kind, query).unwrap_or_else(|e| panic!("{query}: {e}"));
    let ids = if q.ids.is_empty() { Vec::new() } else { vec![format!("id {}", q.ids.join(","))] };
    let parts = ids.into_iter().chain(q.filters.iter().map(filter)).chain(q.conditions.iter().map(show));
    parts.collect::<Vec<_>>().join(" & ")
}

#[test]
fn chains() {
    let o = TypeId::OBSERVATION;
    for (query, expected) in [
        ("patient.name=Ann", "Observation.patient -> Patient[Patient.name=Ann]"),
        ("subject:Patient.name:exact=Ann,Bob", "Observation.subject -> Patient[Patient.name:Exact=Ann,Bob]"),
        (
            "patient.organization.partof.name=x",
            "Observation.patient -> Patient[Patient.organization -> Organization[Organization.partof -> Organization[Organization.name=x]]]",
        ),
        ("patient._id=1,2", "Observation.patient -> Patient[id 1,2]"),
        ("patient._lastUpdated=ge2024", "Observation.patient -> Patient[updated Ge 2024-01-01T00:00:00Z]"),
        (
            "subject.birthdate=2000",
            "Observation.subject -> Patient[Patient.birthdate=Eq 2000-01-01T00:00:00Z]",
        ),
        (
            "subject.identifier=1",
            "(Observation.subject -> Group[Group.identifier=1] or Observation.subject -> Device[Device.identifier=1] \
             or Observation.subject -> Patient[Patient.identifier=1] or Observation.subject -> Location[Location.identifier=1])",
        ),
        ("patient._has:Group:member:_id=7", "Observation.patient -> Patient[<- Group.member[id 7]]"),
    ] {
        assert_eq!(tree(o, query), expected, "{query}");
    }
    assert_eq!(
        tree(TypeId::QUESTIONNAIRE_RESPONSE, "questionnaire.title=Intake"),
        "QuestionnaireResponse.questionnaire -> Questionnaire by Questionnaire.url[Questionnaire.title=Intake]"
    );
    for (query, text) in [
        ("code.name=x", "only references"),
        ("patient.nam=x", "Did you mean `name`?"),
        ("patient:Device.name=x", "points at no `Device`"),
        ("subject:Pateint.name=x", "Did you mean `subject:Patient`?"),
        ("patien.name=x", "Did you mean `patient`?"),
        ("patient.birthdate=soon", "A date is written"),
        ("patient.name:below=x", "does not fit"),
        ("subject.birthdate=soon", "A date is written"),
        ("patient.organization.partof.partof.partof.partof.partof.name=x", "follows at most 5 links"),
        ("focus._id=x", "say which"),
    ] {
        let outcome = try_parse(o, query).expect_err(query);
        assert!(outcome.to_string().contains(text), "{query}: {outcome}");
    }
}

#[test]
fn reverse_chains() {
    let p = TypeId::PATIENT;
    for (query, expected) in [
        ("_has:Observation:patient:code=1234-5", "<- Observation.patient[Observation.code=1234-5]"),
        (
            "_has:Observation:patient:_has:AuditEvent:entity:agent-name=ann",
            "<- Observation.patient[<- AuditEvent.entity[AuditEvent.agent-name=ann]]",
        ),
        (
            "_has:Observation:patient:performer.name=x",
            "<- Observation.patient[(Observation.performer -> Practitioner[Practitioner.name=x] or \
             Observation.performer -> Organization[Organization.name=x] or Observation.performer -> Patient[Patient.name=x] or \
             Observation.performer -> RelatedPerson[RelatedPerson.name=x])]",
        ),
        ("_list=42", "<- List.item[id 42]"),
        ("_list=List/42,a_b", "<- List.item[id 42,]"),
        ("_id:not=1", "not id 1"),
    ] {
        assert_eq!(tree(p, query), expected, "{query}");
    }
    for (query, text) in [
        ("_has:Observation=1", "`_has` is written"),
        ("_has:Obs:patient:code=1", "no FHIR R4 resource type"),
        ("_has:Observation:subjekt:code=1", "Did you mean `subject`?"),
        ("_has:Observation:code:code=1", "no reference"),
        ("_has:Observation:encounter:code=1", "never points at Patient"),
        ("_list=$current-allergies", "is a list of AllergyIntolerance, not of Patient"),
        ("_list=$current-documents", "or one of `$current-problems`, `$current-medications`"),
        ("_id:exact=1", "takes no modifier"),
    ] {
        let outcome = try_parse(p, query).expect_err(query);
        assert!(outcome.to_string().contains(text), "{query}: {outcome}");
    }
}

#[test]
fn functional_lists() {
    let kind = |name: &str| TypeId::from_name(name).unwrap();
    for (of, query, expected) in [
        (
            "Condition",
            "patient=1&_list=$current-problems",
            "Condition.patient=Patient/1 & Condition.clinical-status=active,recurrence,relapse & \
             Condition.verification-status:Not=refuted,entered-in-error",
        ),
        ("MedicationStatement", "_list=$current-medications", "MedicationStatement.status=active"),
        (
            "MedicationRequest",
            "_list=$current-medications,7",
            "((MedicationRequest.status=active and MedicationRequest.intent:Not=proposal,plan) or <- List.item[id 7])",
        ),
        (
            "AllergyIntolerance",
            "_list=$current-drug-allergies",
            "AllergyIntolerance.clinical-status=active & \
             AllergyIntolerance.verification-status:Not=refuted,entered-in-error & AllergyIntolerance.category=medication",
        ),
    ] {
        assert_eq!(tree(kind(of), query), expected, "{of}?{query}");
    }
}

#[test]
fn composites() {
    let o = TypeId::OBSERVATION;
    assert_eq!(
        tree(o, "code-value-concept=http://loinc.org|1$http://s|2"),
        "Observation.code=http://loinc.org|1 & Observation.value-concept=http://s|2"
    );
    assert_eq!(
        tree(o, "component-code-value-quantity=8480-6$gt140,8462-4$90"),
        "Observation.component-code-value-quantity=8480-6$Gt 140,8462-4$90"
    );
    assert_eq!(
        tree(o, "combo-code-value-quantity=8480-6$140"),
        "((Observation.code=8480-6 and Observation.value-quantity=140) or Observation.component-code-value-quantity=8480-6$140)"
    );
    assert_eq!(
        tree(o, "code-value-quantity=a$1,b$2"),
        "((Observation.code=a and Observation.value-quantity=1) or (Observation.code=b and Observation.value-quantity=2))"
    );
    assert_eq!(
        tree(o, "code-value-quantity:missing=true"),
        "not (Observation.code:Missing=false and Observation.value-quantity:Missing=false)"
    );
    assert_eq!(
        tree(TypeId::DOCUMENT_REFERENCE, "relationship=replaces$DocumentReference/1"),
        "DocumentReference.relationship=replaces$DocumentReference/1"
    );
    for (query, text) in [
        ("code-value-quantity=a", "2 values joined by `$`"),
        ("code-value-quantity=a$", "no value for its part `value-quantity`"),
        ("code-value-quantity=a$b", "takes a number"),
        ("code-value-quantity:not=a$1", "does not fit"),
    ] {
        let outcome = try_parse(o, query).expect_err(query);
        assert!(outcome.to_string().contains(text), "{query}: {outcome}");
    }
}

#[test]
fn special_parameters() {
    let near = |text: &str| -> Result<(f64, f64, f64), Outcome> {
        let q = try_parse(TypeId::LOCATION, &format!("near={text}"))?;
        match q.filters[0].any[..] {
            [Operand::Near { latitude, longitude, meters }] => Ok((latitude, longitude, meters)),
            _ => panic!("{q:?}"),
        }
    };
    assert_eq!(near("-1.29|36.82|10|km").unwrap(), (-1.29, 36.82, 10_000.0));
    assert_eq!(near("-1.29|36.82|5|[mi_i]").unwrap(), (-1.29, 36.82, 8_046.72));
    assert_eq!(near("-1.29|36.82").unwrap(), (-1.29, 36.82, 50_000.0));
    for wrong in ["", "1", "91|0", "0|181", "a|b", "1|2|-3", "1|2|3|parsec", "1|2|3|km|x", "NaN|0"] {
        assert!(wrong.is_empty() || near(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        tree(TypeId::PATIENT, "_text=Chest pain* OR Fièvre,cough"),
        r#"words false [["chest", "pain*"], ["fievre"], ["cough"]]"#
    );
    assert!(try_parse(TypeId::PATIENT, "_content=...").unwrap_err().to_string().contains("need words"));
}

#[test]
fn filters() {
    let p = TypeId::PATIENT;
    for (query, expected) in [
        ("name eq Ann", "Patient.name:Whole=Ann"),
        ("name ne \"\\u0041nn\"", "not Patient.name:Whole=Ann"),
        ("family ew son", "Patient.family:Ends=son"),
        ("name co \"an, n\"", "Patient.name:Contains=an, n"),
        ("gender ne male", "not Patient.gender=male"),
        ("birthdate ge 2000 and name sw A", "Patient.birthdate=Ge 2000-01-01T00:00:00Z & Patient.name=A"),
        (
            "name sw A or name sw B and gender eq male",
            "(Patient.name=A or (Patient.name=B and Patient.gender=male))",
        ),
        (
            "(name sw A or name sw B) and not (gender eq male)",
            "(Patient.name=A or Patient.name=B) & not Patient.gender=male",
        ),
        (
            "organization.name eq \"St. Mary\"",
            "Patient.organization -> Organization[Organization.name:Whole=St. Mary]",
        ),
        ("organization.name ne x", "Patient.organization -> Organization[not Organization.name:Whole=x]"),
        ("deceased pr false", "Patient.deceased:Missing=true"),
        ("_id eq 5", "id 5"),
        ("_has:Observation:patient:code eq 1", "<- Observation.patient[Observation.code=1]"),
        ("identifier eq http://nid|7", "Patient.identifier=http://nid|7"),
        (
            "organization[active eq true and not (name sw Old)].name co \"clinic\"",
            "Patient.organization -> Organization[((Organization.active=true and not Organization.name=Old) and Organization.name:Contains=clinic)]",
        ),
        (
            "organization.partof[name eq a].partof[name eq b].name ew c",
            "Patient.organization -> Organization[Organization.partof -> Organization[(Organization.name:Whole=a and \
             Organization.partof -> Organization[(Organization.name:Whole=b and Organization.name:Ends=c)])]]",
        ),
        (
            "_has:Observation:patient:encounter[status eq finished].type ne x",
            "<- Observation.patient[Observation.encounter -> Encounter[(Encounter.status=finished and not Encounter.type=x)]]",
        ),
        (
            "_has:Observation:patient:date ge 2020",
            "<- Observation.patient[Observation.date=Ge 2020-01-01T00:00:00Z]",
        ),
    ] {
        assert_eq!(tree(p, &format!("_filter={query}")), expected, "{query}");
    }
    for (query, text, issue) in [
        ("name", "needs an operator", IssueCode::Value),
        ("name eq", "needs a value", IssueCode::Value),
        ("name eqq x", "Did you mean `eq`?", IssueCode::Value),
        ("name eq \"x", "closing quote", IssueCode::Value),
        ("(name eq x", "lacks a `)`", IssueCode::Value),
        ("name eq x)", "too many", IssueCode::Value),
        ("name eq x gender eq y", "needs `and` or `or`", IssueCode::Value),
        ("nam eq x", "Did you mean `name`?", IssueCode::NotSupported),
        ("gender ew x", "does not fit the token", IssueCode::NotSupported),
        ("_text ew x", "does not fit the special", IssueCode::NotSupported),
        ("name[use eq official].given eq x", "only references can be followed", IssueCode::NotSupported),
        ("organization[name eq x", "lacks a `]`", IssueCode::Value),
        ("organization[name eq x] eq y", "comes a dot and a parameter", IssueCode::Value),
        ("organization[].name eq y", "is written", IssueCode::Value),
        ("organization[nam eq x].name eq y", "Did you mean `name`?", IssueCode::NotSupported),
        ("organization eq y]", "`]` too many", IssueCode::Value),
        ("name eq \"\\x\"", "no JSON string", IssueCode::Value),
        ("birthdate eq soon", "A date is written", IssueCode::Value),
        ("deceased pr maybe", "`true` or `false`", IssueCode::Value),
        ("", "is written", IssueCode::Value),
    ] {
        if query.is_empty() {
            continue;
        }
        let outcome = try_parse(p, &format!("_filter={query}")).expect_err(query);
        assert!(outcome.to_string().contains(text), "{query}: {outcome}");
        assert_eq!(
            (outcome.issues[0].code, outcome.issues[0].expression.as_str()),
            (issue, "http._filter"),
            "{query}"
        );
    }
    let deep = format!("_filter={}name eq x{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(try_parse(p, &deep).unwrap_err().issues[0].code, IssueCode::TooCostly);
    let long = format!("_filter={}", vec!["name eq x"; 100].join(" or "));
    assert_eq!(try_parse(p, &long).unwrap_err().issues[0].code, IssueCode::TooCostly);
}

#[test]
fn includes() {
    let o = TypeId::OBSERVATION;
    let one = |query: &str| try_parse(o, query).unwrap().includes.remove(0);
    let subject = definitions::param(o, "subject").unwrap().id;
    let i = one("_include=Observation:subject:Patient");
    assert_eq!(
        (i.reverse, i.iterate, i.source, i.param, i.target),
        (false, false, Some(o), Some(subject), Some(TypeId::PATIENT))
    );
    let i = one("_include=*");
    assert_eq!((i.source, i.param), (None, None));
    let i = one("_include=Observation:*");
    assert_eq!((i.source, i.param), (Some(o), None));
    let i = one("_include:iterate=Patient:general-practitioner");
    assert!(i.iterate && i.source == Some(TypeId::PATIENT));
    let i = one("_revinclude:recurse=Provenance:target");
    assert!(i.iterate && i.reverse);
    let q = try_parse(o, "_include=Observation:subject&_include=Observation:subject").unwrap();
    assert_eq!(q.includes.len(), 1);
    let many: Vec<String> = definitions::params(TypeId::TASK)
        .filter(|p| p.param_type == definitions::ParamType::Reference)
        .flat_map(|p| {
            ["Patient", "Group", "Practitioner", "Organization"]
                .map(|t| format!("_include:iterate=Task:{}:{t}", p.code))
        })
        .collect();
    let outcome = try_parse(TypeId::TASK, &many[..30].join("&")).unwrap_err();
    assert!(outcome.issues.iter().any(|i| i.code == IssueCode::TooCostly), "{outcome}");
}

#[test]
fn compartments_of_all_kinds() {
    let of = |owner: &str, kind: TypeId| {
        in_compartment(&ResourceKey::parse(owner).unwrap(), kind).map(|c| show(&c))
    };
    assert_eq!(of("Patient/1", TypeId::OBSERVATION).as_deref(), Some("of Patient/1"));
    assert_eq!(of("Patient/1", TypeId::LOCATION), None);
    assert_eq!(of("Encounter/1", TypeId::OBSERVATION).as_deref(), Some("Observation.encounter=Encounter/1"));
    assert_eq!(of("Encounter/1", TypeId::ENCOUNTER).as_deref(), Some("id 1"));
    assert_eq!(
        of("Device/1", TypeId::OBSERVATION).as_deref(),
        Some("(Observation.subject=Device/1 or Observation.device=Device/1)")
    );
    assert_eq!(of("Location/1", TypeId::ENCOUNTER), None);
}

#[test]
fn words_of_a_resource() {
    let r = Resource::parse(
        br#"{"resourceType":"Patient","id":"zebra","text":{"status":"generated","div":"<div xmlns='x'>Ma&amp;Pa <b>Wanjir\u0169</b>'s note, ward-3</div>"},
        "name":[{"family":"O'Neil","use":"official"}],"identifier":[{"system":"http://nid","value":"77-A"}]}"#,
    )
    .unwrap();
    assert_eq!(words(&r, false), ["3", "ma", "note", "pa", "s", "wanjiru", "ward"]);
    assert_eq!(words(&r, true), ["3", "77", "a", "ma", "note", "o'neil", "pa", "s", "wanjiru", "ward"]);
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("_has:Observation:patient:".to_owned()),
            Just("patient.".to_owned()),
            Just("subject:Patient.".to_owned()),
            Just("_filter".to_owned()),
            Just("_include:iterate".to_owned()),
            Just("_revinclude".to_owned()),
            Just("code-value-quantity".to_owned()),
            Just("near".to_owned()),
            Just("_text".to_owned()),
            Just("_list".to_owned()),
            Just("identifier:of-type".to_owned()),
            "[a-z_:.]{0,12}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn nothing_panics(kind in 0..147u16, name in proptest::collection::vec(part(), 1..4), value in "\\PC{0,40}|[a-zA-Z0-9 \"()|,$\\\\.:/*-]{0,40}|(name|birthdate|code) (eq|co|ge|pr|in) [a-z0-9\"]{0,9}( (and|or) (not )?\\(?name eq x\\)?)?") {
            let name = name.concat();
            for handling in [Handling::Strict, Handling::Lenient] {
                let pairs = vec![(name.clone(), value.clone())];
                if let Err(outcome) = parse(&Params::standard(), TypeId(kind % 146), &pairs, handling) {
                    for issue in outcome.issues {
                        prop_assert!(issue.text.len() > 10 && issue.expression.starts_with("http.") || issue.expression.is_empty());
                    }
                }
            }
        }
    }
}

/// A few words that lead to all types, and on from each, are refused before they are worked out.
#[test]
fn chains_to_all_types_are_cut_early() {
    let basic = TypeId::from_name("Basic").unwrap();
    let chain = "subject.subject.subject.subject.subject.code";
    let filter = vec![format!("{chain} eq x"); 60].join(" and ");
    let params = Params::standard();
    let chains = vec![(chain.to_owned(), "x".to_owned()); 64];
    for pairs in [vec![("_filter".to_owned(), filter)], chains] {
        let outcome = parse(&params, basic, &pairs, Handling::Strict).unwrap_err();
        assert_eq!(outcome.issues[0].code, IssueCode::TooCostly, "{outcome:?}");
        // Worked out, it would be 500 conditions too many instead, minutes later.
        assert!(outcome.issues[0].text.contains("too many types"), "{outcome:?}");
    }
}
