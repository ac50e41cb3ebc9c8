use crate::definitions::ParamType;
use crate::search::{Handling, Match, Operand, Params, Prefix, Query, Sort, Total, parse};
use crate::{Outcome, TypeId, definitions};

fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap())
        .map(|(n, v)| (n.into(), v.into()))
        .collect()
}

fn parsed(kind: TypeId, query: &str) -> Query {
    match parse(&Params::standard(), kind, &pairs(query), Handling::Strict) {
        Ok((q, warnings)) => {
            assert!(warnings.is_empty(), "{query}: {warnings:?}");
            q
        }
        Err(e) => panic!("{query}: {e}"),
    }
}

fn refused(kind: TypeId, query: &str) -> Outcome {
    parse(&Params::standard(), kind, &pairs(query), Handling::Strict).expect_err(query)
}

/// The operands of a query with one filter.
fn operands(kind: TypeId, query: &str) -> Vec<Operand> {
    let mut q = parsed(kind, query);
    assert_eq!(q.filters.len(), 1, "{query}");
    q.filters.remove(0).any
}

fn token(system: Option<&str>, code: Option<&str>) -> Operand {
    Operand::Token { system: system.map(str::to_owned), code: code.map(str::to_owned) }
}

fn date(prefix: Prefix, low: &str, high: &str) -> Operand {
    let us = |t: &str| t.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    Operand::Date { prefix, low_us: us(low), high_us: us(high) }
}

#[test]
fn tokens() {
    let o = TypeId::OBSERVATION;
    assert_eq!(operands(o, "code=8480-6"), [token(None, Some("8480-6"))]);
    assert_eq!(
        operands(o, "code=http://loinc.org|8480-6"),
        [token(Some("http://loinc.org"), Some("8480-6"))]
    );
    assert_eq!(operands(o, "code=|x"), [token(Some(""), Some("x"))]);
    assert_eq!(operands(o, "code=http://loinc.org|"), [token(Some("http://loinc.org"), None)]);
    assert_eq!(operands(o, "code=a,b,a"), [token(None, Some("a")), token(None, Some("b"))]);
    assert_eq!(operands(o, r"code=a\,b\|c"), [token(None, Some("a,b|c"))]);
    assert_eq!(operands(o, r"code=a\\,b"), [token(None, Some(r"a\")), token(None, Some("b"))]);
    // The implied system of a plain code.
    let p = TypeId::PATIENT;
    assert_eq!(
        operands(p, "gender=http://hl7.org/fhir/administrative-gender|male"),
        [token(None, Some("male"))]
    );
    assert_eq!(operands(p, "gender=http://other|male"), [token(Some("http://other"), Some("male"))]);
    assert_eq!(operands(p, "active=http://hl7.org/fhir/special-values|true"), [token(None, Some("true"))]);
    assert_eq!(parsed(p, "gender:not=male,female").filters[0].matching, Match::Not);
    for (query, text) in [
        ("code=|", "needs a code"),
        ("code=a|b|c", "takes"),
        ("code:exact=x", "takes `:missing`, `:not`"),
        ("code:txt=x", "Did you mean `:text`?"),
        ("code:in=x", "URL of a value set"),
        ("code:below=x", "`system|code`"),
        ("code:of-type=a|b|c", "does not fit"),
        ("identifier:of-type=a|b", "all three"),
    ] {
        assert!(refused(o, query).to_string().contains(text), "{query}");
    }
    let identifier = TypeId::PATIENT;
    assert_eq!(
        operands(identifier, "identifier:of-type=http://t|MR|12,|MR|1"),
        [
            Operand::OfType { system: "http://t".into(), code: "MR".into(), value: "12".into() },
            Operand::OfType { system: "".into(), code: "MR".into(), value: "1".into() }
        ]
    );
    assert_eq!(operands(o, "code:text=Blood  Pressure"), [Operand::Text { folded: "blood pressure".into() }]);
    let q = parsed(o, "code:not-in=http://x/vs");
    assert_eq!(
        (q.filters[0].matching, &q.filters[0].any[..]),
        (Match::Not, &[Operand::ValueSet("http://x/vs".into())][..])
    );
    assert_eq!(
        operands(o, "code:below=http://snomed.info/sct|73211009"),
        [Operand::Hierarchy { system: "http://snomed.info/sct".into(), code: "73211009".into(), up: false }]
    );
    assert!(refused(p, "active=yes").to_string().contains("`true` or `false`"));
}

#[test]
fn strings() {
    let p = TypeId::PATIENT;
    let string = |f: &str, e: &str| Operand::String { folded: f.into(), exact: e.into() };
    assert_eq!(operands(p, "name=Wanjirũ"), [string("wanjiru", "Wanjirũ")]);
    assert_eq!(operands(p, r"name=a\,b,c"), [string("a,b", "a,b"), string("c", "c")]);
    for (modifier, matching) in [("exact", Match::Exact), ("contains", Match::Contains)] {
        let q = parsed(p, &format!("family:{modifier}=Otieno"));
        assert_eq!(
            (q.filters[0].matching, q.filters[0].any[0].clone()),
            (matching, string("otieno", "Otieno"))
        );
    }
    assert!(refused(p, "name:not=x").to_string().contains("`:exact`"));
    assert!(refused(p, "name= ").to_string().contains("needs text"));
    assert!(refused(p, "name=,,").to_string().contains("no value between"));
    let q = parsed(p, "name=a&name=b");
    assert_eq!(q.filters.len(), 2);
}

#[test]
fn dates() {
    let o = TypeId::OBSERVATION;
    let (d, n) = ("2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z");
    for (text, prefix) in [
        ("2024-05-01", Prefix::Eq),
        ("eq2024-05-01", Prefix::Eq),
        ("ne2024-05-01", Prefix::Ne),
        ("gt2024-05-01", Prefix::Gt),
        ("lt2024-05-01", Prefix::Lt),
        ("ge2024-05-01", Prefix::Ge),
        ("le2024-05-01", Prefix::Le),
        ("sa2024-05-01", Prefix::Sa),
        ("eb2024-05-01", Prefix::Eb),
        ("ap2024-05-01", Prefix::Ap),
    ] {
        assert_eq!(operands(o, &format!("date={text}")), [date(prefix, d, n)], "{text}");
    }
    assert_eq!(operands(o, "date=2024"), [date(Prefix::Eq, "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z")]);
    assert_eq!(
        operands(o, "date=2024-05-01T10:00"),
        [date(Prefix::Eq, "2024-05-01T10:00:00Z", "2024-05-01T10:01:00Z")]
    );
    assert_eq!(
        operands(o, "date=2024-05-01T10:00:00+03:00"),
        [date(Prefix::Eq, "2024-05-01T07:00:00Z", "2024-05-01T07:00:01Z")]
    );
    assert_eq!(operands(o, "date=2024-05-01T10:00:00 03:00"), operands(o, "date=2024-05-01T10:00:00+03:00"));
    for wrong in ["yesterday", "2024-02-30", "05/01/2024", "xx2024", "ge", "2024-5-1"] {
        assert!(refused(o, &format!("date={wrong}")).to_string().contains("A date is written"), "{wrong}");
    }
    let q = parsed(o, "_lastUpdated=ge2024-05-01&_lastUpdated=lt2024-05-02");
    assert_eq!(q.last_updated.iter().map(|l| l.0).collect::<Vec<_>>(), [Prefix::Ge, Prefix::Lt]);
}

#[test]
fn numbers_and_quantities() {
    let o = TypeId::OBSERVATION;
    let quantity = |prefix, value, low, high, system: Option<&str>, code: Option<&str>| Operand::Quantity {
        prefix,
        value,
        low,
        high,
        system: system.map(str::to_owned),
        code: code.map(str::to_owned),
    };
    assert_eq!(operands(o, "value-quantity=5.4"), [quantity(Prefix::Eq, 5.4, 5.35, 5.45, None, None)]);
    // As written first, then in the other units it is the same in.
    let ucum = Some("http://unitsofmeasure.org");
    let found = operands(o, "value-quantity=ge5.40|http://unitsofmeasure.org|mmol/L");
    assert_eq!(found[0], quantity(Prefix::Ge, 5.4, 5.395, 5.405, ucum, Some("mmol/L")));
    assert!(found.contains(&quantity(Prefix::Ge, 5400.0, 5395.0, 5405.0, ucum, Some("umol/L"))));
    assert!(found.contains(&quantity(Prefix::Ge, 0.0054, 0.005395, 0.005405, ucum, Some("mol/L"))));
    let found = operands(o, "value-quantity=100||mg");
    assert_eq!(found[0], quantity(Prefix::Eq, 100.0, 99.5, 100.5, None, Some("mg")));
    assert!(found.contains(&quantity(Prefix::Eq, 0.1, 0.0995, 0.1005, ucum, Some("g"))));
    let found = operands(o, "value-quantity=37|http://unitsofmeasure.org|Cel");
    assert!(found.iter().any(|f| matches!(f, Operand::Quantity { value, code: Some(code), .. }
        if code == "[degF]" && (value - 98.6).abs() < 1e-9)));
    assert_eq!(operands(o, "value-quantity=5|http://other|mg").len(), 1);
    assert_eq!(operands(o, "value-quantity=5||tabs").len(), 1);
    assert_eq!(operands(o, "value-quantity=ap100"), [quantity(Prefix::Ap, 100.0, 90.0, 110.0, None, None)]);
    assert_eq!(operands(o, "value-quantity=-3"), [quantity(Prefix::Eq, -3.0, -3.5, -2.5, None, None)]);
    assert_eq!(
        operands(TypeId::RISK_ASSESSMENT, "probability=gt0.8"),
        [quantity(Prefix::Gt, 0.8, 0.75, 0.85, None, None)]
    );
    for wrong in ["x", "5;4", "|mg", "5|a|b|c", "1e", "NaN", "inf"] {
        let text = refused(o, &format!("value-quantity={wrong}")).to_string();
        assert!(text.contains("number"), "{wrong}: {text}");
    }
}

#[test]
fn references() {
    let o = TypeId::OBSERVATION;
    let reference = |kinds: &[TypeId], id: &str| Operand::Reference { kinds: kinds.to_vec(), id: id.into() };
    assert_eq!(operands(o, "patient=1"), [reference(&[TypeId::PATIENT], "1")]);
    assert_eq!(operands(o, "subject=Patient/1"), [reference(&[TypeId::PATIENT], "1")]);
    assert_eq!(operands(o, "subject:Group=1"), [reference(&[TypeId::GROUP], "1")]);
    assert_eq!(operands(o, "subject:Patient=Patient/1"), [reference(&[TypeId::PATIENT], "1")]);
    assert_eq!(
        operands(o, "subject=1"),
        [reference(&[TypeId::GROUP, TypeId::DEVICE, TypeId::PATIENT, TypeId::LOCATION], "1")]
    );
    assert_eq!(operands(o, "subject=http://x/Patient/1"), [Operand::Uri("http://x/Patient/1".into())]);
    assert_eq!(
        operands(TypeId::QUESTIONNAIRE_RESPONSE, "questionnaire=http://x/q|2"),
        [Operand::Uri("http://x/q|2".into())]
    );
    match &operands(o, "focus=1")[..] {
        [Operand::Reference { kinds, .. }] => assert_eq!(kinds.len(), TypeId::all().count()),
        other => panic!("{other:?}"),
    }
    assert!(refused(o, "patient:Slot=1").to_string().contains("never points at Slot"));
    assert!(refused(o, "subject:Patient=Group/1").to_string().contains("another type"));
    assert!(refused(o, "patient=a b").to_string().contains("takes an id"));
    assert!(refused(o, "patient=Device/1").to_string().contains("never points at Device"));
    assert!(refused(o, "subject:Patiant=1").to_string().contains("Did you mean `:Patient`?"));
    assert_eq!(
        operands(o, "patient:identifier=http://nid|1,2"),
        [
            Operand::Identifier { system: Some("http://nid".into()), value: Some("1".into()) },
            Operand::Identifier { system: None, value: Some("2".into()) }
        ]
    );
    let parent = definitions::param(TypeId::LOCATION, "partof").unwrap().id;
    assert_eq!(
        operands(TypeId::LOCATION, "partof:below=1"),
        [Operand::ReferenceTree { kind: TypeId::LOCATION, id: "1".into(), parent, up: false }]
    );
    assert_eq!(
        operands(TypeId::ENCOUNTER, "location:above=Location/1"),
        [Operand::ReferenceTree { kind: TypeId::LOCATION, id: "1".into(), parent, up: true }]
    );
    assert!(refused(o, "patient:below=1").to_string().contains("hierarchy"));
    assert!(
        refused(TypeId::QUESTIONNAIRE_RESPONSE, "questionnaire:identifier=1")
            .to_string()
            .contains("does not fit")
    );
}

#[test]
fn uris_and_missing() {
    let v = TypeId::VALUE_SET;
    assert_eq!(operands(v, "url=http://x/vs"), [Operand::Uri("http://x/vs".into())]);
    assert_eq!(parsed(v, "url:below=http://x").filters[0].matching, Match::Below);
    assert_eq!(operands(TypeId::PATIENT, "_profile=http://x|1"), [Operand::Uri("http://x|1".into())]);
    let q = parsed(TypeId::PATIENT, "gender:missing=true&birthdate:missing=false");
    assert_eq!(
        q.filters.iter().map(|f| f.any[0].clone()).collect::<Vec<_>>(),
        [Operand::Missing(true), Operand::Missing(false)]
    );
    assert!(refused(TypeId::PATIENT, "gender:missing=maybe").to_string().contains("`true` or `false`"));
}

#[test]
fn result_parameters() {
    let o = TypeId::OBSERVATION;
    let q = parsed(
        o,
        "_sort=-date,_id,_lastUpdated,-code&_count=20&_total=accurate&_cursor=abc&_format=json&_pretty=true",
    );
    let id = |code| definitions::param(o, code).unwrap().id;
    assert_eq!(
        q.sort,
        [
            Sort::Param { param: id("date"), param_type: ParamType::Date, descending: true },
            Sort::Id { descending: false },
            Sort::LastUpdated { descending: false },
            Sort::Param { param: id("code"), param_type: ParamType::Token, descending: true },
        ]
    );
    assert_eq!((q.count, q.total, q.cursor.as_deref()), (20, Total::Accurate, Some("abc")));
    assert_eq!(parsed(o, "").count, crate::search::DEFAULT_PAGE);
    assert_eq!(parsed(o, "_count=99999999999").count, crate::search::MAX_PAGE);
    let zero = parsed(o, "_count=0&_total=none");
    assert_eq!((zero.count, zero.total), (0, Total::Accurate));
    assert_eq!(parsed(o, "_summary=count").count, 0);
    for (query, text) in [
        ("_count=-1", "whole number"),
        ("_count=x", "whole number"),
        ("_count=1&_count=2", "more than once"),
        ("_sort=nonsense", "cannot be sorted"),
        ("_sort=a,b,c,d,e", "at most"),
        ("_total=maybe", "`none`"),
        ("_summary=maybe", "`_summary` is"),
        ("_sort:up=date", "takes no modifier"),
        ("_sort=code-value-quantity", "no order"),
        ("_sort=dat", "Did you mean `date`?"),
        ("_type=Patient", "finds no other types"),
        ("_contained=yes", "`_contained` is"),
    ] {
        assert!(refused(o, query).to_string().contains(text), "{query}");
    }
}

#[test]
fn ids() {
    let o = TypeId::OBSERVATION;
    assert_eq!(parsed(o, "_id=b,a,b").ids, ["a", "b"]);
    assert_eq!(parsed(o, "_id=a,b&_id=b,c").ids, ["b"]);
    // Contradictions and impossible ids match nothing, instead of everything.
    assert_eq!(parsed(o, "_id=a&_id=b").ids, [""]);
    assert_eq!(parsed(o, "_id=a_b").ids, [""]);
}

#[test]
fn unknown_and_unsupported_parameters() {
    let o = TypeId::OBSERVATION;
    for (query, text) in [
        ("dat=2024", "Did you mean `date`?"),
        ("nonsense=1", "has no search parameter `nonsense`"),
        ("_lastupdated=2024", "Did you mean `_lastUpdated`?"),
        ("_inclde=a", "Did you mean `_include`?"),
        ("_include=Observation:subjct", "Did you mean `subject`?"),
        ("_include=Observation:code", "no reference"),
        ("_include=Patient:general-practitioner", "`_include:iterate="),
        ("_include=Obs:subject", "no FHIR R4 resource type"),
        ("_include=Observation:patient:Device", "never points at Device"),
        ("_include:itrate=Observation:subject", "Did you mean `:iterate`?"),
        ("_revinclude=*", "say which type"),
        ("_revinclude=Patient:general-practitioner", "never points at Observation"),
        ("_contained=true", "not supported"),
        ("_query=x", "not supported"),
    ] {
        let outcome = refused(o, query);
        assert!(outcome.to_string().contains(text), "{query}: {outcome}");
        assert_eq!(outcome.issues[0].code, crate::IssueCode::NotSupported);
        assert!(outcome.issues[0].expression.starts_with("http._") || !query.starts_with('_'), "{query}");
        let (q, warnings) = parse(&Params::standard(), o, &pairs(query), Handling::Lenient).unwrap();
        assert!(q.filters.is_empty() && q.includes.is_empty() && warnings.len() == 1, "{query}");
    }
    // A wrong value or modifier would widen the result, so leniency does not help it.
    assert!(parse(&Params::standard(), o, &pairs("date=x"), Handling::Lenient).is_err());
    assert!(parse(&Params::standard(), o, &pairs("code:exact=x"), Handling::Lenient).is_err());
    let all = refused(o, "date=x&nonsense=1&value-quantity=y");
    assert_eq!(all.issues.len(), 3);
    let (_, warnings) = parse(&Params::standard(), o, &pairs("code="), Handling::Strict).unwrap();
    assert_eq!(warnings.len(), 1);
}

#[test]
fn sizes_are_bounded() {
    let o = TypeId::OBSERVATION;
    let many = vec!["a"; crate::search::MAX_ALTERNATIVES + 1].join(",");
    assert_eq!(refused(o, &format!("code={many}")).issues[0].code, crate::IssueCode::TooCostly);
    let many = vec!["code=a"; crate::search::MAX_PARAMETERS + 1].join("&");
    assert_eq!(refused(o, &many).issues[0].code, crate::IssueCode::TooCostly);
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn nothing_panics(kind in 0..147u16, code in 0..400usize, modifier in "(:[a-zA-Z.]{0,8})?", value in "\\PC{0,24}|[a-z0-9|,$\\\\.:/-]{0,24}") {
            let kind = TypeId(kind);
            let all: Vec<_> = definitions::params(kind).collect();
            let name = format!("{}{modifier}", all[code % all.len()].code);
            for handling in [Handling::Strict, Handling::Lenient] {
                let _ = parse(&Params::standard(), kind, &[(name.clone(), value.clone()), ("_sort".into(), value.clone()), ("_id".into(), value.clone())], handling);
            }
        }
    }
}
