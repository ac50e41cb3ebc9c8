//! What FHIR R4 defines, and CodeSystem, ValueSet and ConceptMap resources.

use super::{check, codes, expand, expand_value, issue};
use crate::{create, each_engine, set, update};
use fhir::IssueCode;
use record::terminology::closure::{Closure, MAX_CONCEPTS, Request};
use record::terminology::{Lookup, Source, Subsumption, Translate, Value};
use serde_json::{Value as Json, json};
use std::sync::Arc;

const GENDER: &str = "http://hl7.org/fhir/ValueSet/administrative-gender";
const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const PLANETS: &str = "http://example.org/CodeSystem/planets";

fn planets() -> Json {
    json!({"resourceType": "CodeSystem", "id": "planets", "url": PLANETS, "version": "1", "name": "Planets",
        "status": "active", "content": "complete", "language": "en", "hierarchyMeaning": "is-a",
        "valueSet": "http://example.org/ValueSet/all-planets",
        "property": [{"code": "moons", "type": "integer"}, {"code": "kind", "type": "code"}],
        "concept": [
            {"code": "rocky", "display": "Rocky planet", "property": [{"code": "notSelectable", "valueBoolean": true}], "concept": [
                {"code": "earth", "display": "Earth", "definition": "Ours",
                    "designation": [{"language": "sw", "value": "Dunia"}, {"language": "fr", "value": "Terre"}],
                    "property": [{"code": "moons", "valueInteger": 1}]},
                {"code": "mars", "display": "Mars", "property": [{"code": "moons", "valueInteger": 2}]}]},
            {"code": "gas", "display": "Gas giant", "concept": [
                {"code": "saturn", "display": "Saturn", "property": [{"code": "moons", "valueInteger": 146}]}]},
            {"code": "pluto", "display": "Pluto", "property": [{"code": "inactive", "valueBoolean": true}]}]})
}

fn including(include: Json) -> Json {
    json!({"resourceType": "ValueSet", "status": "active", "compose": {"include": [include]}})
}

#[tokio::test]
async fn what_fhir_defines_is_there() {
    each_engine(|bench| async move {
        let found = expand(&bench, GENDER, |_| {}).await.unwrap();
        assert_eq!(codes(&found.contains), ["male", "female", "other", "unknown"]);
        assert_eq!(found.contains[0].display.as_deref(), Some("Male"));
        assert_eq!(found.used_systems, ["http://hl7.org/fhir/administrative-gender|4.0.1"]);
        assert!(check(&bench, Some(GENDER), "", "male", None).await.result);
        let wrong =
            check(&bench, Some(GENDER), "http://hl7.org/fhir/administrative-gender", "man", None).await;
        assert!(!wrong.result);
        assert!(wrong.message.unwrap().contains("is no code of"), "says that the code is unknown at all");
        let concept = Lookup { system: ACT.into(), code: "AMB".into(), ..Lookup::default() };
        let concept = bench.record.lookup(&bench.doctor(), concept).await.unwrap();
        assert_eq!(concept.display, "ambulatory");
        assert!(concept.properties.iter().any(|p| p.code == "parent"));
        let above =
            bench.record.subsumes(&bench.doctor(), ACT, None, "_ActEncounterCode", "AMB").await.unwrap();
        assert_eq!(above, Subsumption::Subsumes);
        // A v2 table and a concept map of the specification.
        let table =
            check(&bench, None, "http://terminology.hl7.org/CodeSystem/v2-0001", "F", Some("Female")).await;
        assert!(table.result);
        let request = Translate {
            map: Some(Source::Url("http://hl7.org/fhir/ConceptMap/cm-administrative-gender-v3".into())),
            system: "http://hl7.org/fhir/administrative-gender".into(),
            code: "female".into(),
            source: None,
            target: None,
            target_system: None,
            reverse: false,
        };
        let found = bench.record.translate(&bench.doctor(), request.clone()).await.unwrap();
        assert_eq!((found.result, found.matches[0].code.as_str()), (true, "F"));
        let back = Translate {
            map: None,
            system: found.matches[0].system.clone(),
            code: "F".into(),
            target_system: Some("http://hl7.org/fhir/administrative-gender".into()),
            reverse: true,
            ..request
        };
        let found = bench.record.translate(&bench.doctor(), back).await.unwrap();
        assert_eq!(found.matches[0].code, "female");
    })
    .await;
}

/// Every value set of the specification can be expanded, or the refusal names a code system from elsewhere.
#[tokio::test]
async fn every_value_set_of_the_specification() {
    each_engine(|bench| async move {
        let sets = bench.record.store().read(|tx| Ok::<_, store::Error>(tx.dialect())).await;
        if sets.unwrap() != store::Dialect::Sqlite {
            return;
        }
        let mut good = 0;
        let mut refused = Vec::new();
        for url in record::terminology::built_in_value_sets() {
            match expand(&bench, url, |e| e.count = Some(10)).await {
                Ok(_) => good += 1,
                Err(_) => refused.push(issue(expand(&bench, url, |e| e.count = Some(10)).await)),
            }
        }
        let other: Vec<_> = refused
            .iter()
            .filter(|(code, text)| *code != IssueCode::NotFound || !text.contains("not known"))
            .collect();
        // Two that the specification gives as examples of filters over a system that nobody has.
        assert!(other.len() <= 2, "{other:?}");
        assert!(good > 1_100, "{good} expanded, {} refused", refused.len());
    })
    .await;
}

#[tokio::test]
async fn resources_are_terminology_as_soon_as_they_are_written() {
    each_engine(|bench| async move {
        let missing = expand(&bench, "http://example.org/ValueSet/all-planets", |_| {}).await;
        assert_eq!(issue(missing).0, IssueCode::NotFound);
        bench.record.write(&bench.system(), set(vec![update(planets(), None)])).await.unwrap();
        let mut all = including(json!({"system": PLANETS}));
        all["url"] = json!("http://example.org/ValueSet/all-planets");
        bench.record.write(&bench.system(), set(vec![create(all)])).await.unwrap();
        let found = expand(&bench, "http://example.org/ValueSet/all-planets", |_| {}).await.unwrap();
        assert_eq!(codes(&found.contains), ["rocky", "earth", "mars", "gas", "saturn", "pluto"]);
        assert!(found.contains[0].is_abstract && found.contains[5].inactive);
        let ui = expand(&bench, "http://example.org/ValueSet/all-planets", |e| {
            e.active_only = true;
            e.exclude_not_for_ui = true;
            e.display_language = "sw".into();
        });
        let ui = ui.await.unwrap();
        assert_eq!(codes(&ui.contains), ["earth", "mars", "gas", "saturn"]);
        assert_eq!(ui.contains[0].display.as_deref(), Some("Dunia"));
        assert_eq!(ui.contains[1].display.as_deref(), Some("Mars"), "no Swahili name");
        // A new version counts at once.
        let mut more = planets();
        more["concept"].as_array_mut().unwrap().push(json!({"code": "vulcan", "display": "Vulcan"}));
        bench.record.write(&bench.system(), set(vec![update(more, None)])).await.unwrap();
        let found = expand(&bench, "http://example.org/ValueSet/all-planets", |_| {}).await.unwrap();
        assert_eq!(found.total, 7);
        // Only those who are signed in may ask.
        let mut nobody = bench.system();
        nobody.principal = access::Principal::Anonymous;
        let refused = bench.record.lookup(&nobody, Lookup::default()).await;
        assert!(matches!(refused, Err(record::Error::Unauthenticated)));
    })
    .await;
}

#[tokio::test]
async fn closure_tables_hold_concepts() {
    each_engine(|bench| async move {
        let client = bench.doctor();
        let run = |request| bench.record.closure(&client, "mine", request);
        let add = |codes: &[&str]| {
            Request::Add(codes.iter().map(|code| (ACT.to_owned(), (*code).to_owned())).collect())
        };
        assert!(matches!(run(add(&["AMB"])).await, Err(record::Error::NotFound)));
        assert_eq!(run(Request::Start).await.unwrap().version, 0);
        assert_eq!(run(add(&["ACUTE", "AMB"])).await.unwrap().entries, []);
        let more = run(add(&["IMP", "AMB"])).await.unwrap();
        let shown: Vec<_> = more.entries.iter().map(|e| (e.source.as_str(), e.target.as_deref())).collect();
        assert_eq!((more.version, shown), (2, vec![("ACUTE", Some("IMP"))]));
        assert_eq!(run(add(&["AMB"])).await.unwrap(), Closure { version: 2, entries: Vec::new() });
        assert_eq!(run(Request::Since(0)).await.unwrap().entries.len(), 1);
        let many: Vec<String> = (0..=MAX_CONCEPTS).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(issue(run(add(&many)).await).0, IssueCode::TooCostly);
        assert_eq!(run(Request::Since(2)).await.unwrap().version, 2, "nothing of it was kept");
    })
    .await;
}

#[tokio::test]
async fn supplements_add_names() {
    each_engine(|bench| async move {
        bench.record.write(&bench.system(), set(vec![update(planets(), None)])).await.unwrap();
        let url = planets()["url"].as_str().unwrap().to_owned();
        let code = planets()["concept"][0]["code"].as_str().unwrap().to_owned();
        let mut supplement = json!({"resourceType": "CodeSystem", "url": "http://example.org/planets-sw",
            "status": "active", "content": "supplement", "supplements": url, "language": "sw",
            "property": [{"code": "moons", "type": "integer"}],
            "concept": [{"code": code, "display": "Sayari", "property": [{"code": "moons", "valueInteger": 2}],
                "designation": [{"language": "fr", "value": "Planète"}]}]});
        bench.record.write(&bench.system(), set(vec![create(supplement.clone())])).await.unwrap();
        // Neither a draft nor what is for another version counts.
        supplement["url"] = json!("http://example.org/other");
        supplement["concept"][0]["designation"] = json!([{"language": "de", "value": "Planet!"}]);
        supplement["status"] = json!("draft");
        bench.record.write(&bench.system(), set(vec![create(supplement.clone())])).await.unwrap();
        supplement["status"] = json!("active");
        supplement["supplements"] = json!(format!("{url}|99"));
        bench.record.write(&bench.system(), set(vec![create(supplement)])).await.unwrap();
        let doctor = bench.doctor();
        let lookup = |language: &str| {
            let request = Lookup {
                system: url.clone(),
                code: code.clone(),
                display_language: language.into(),
                ..Lookup::default()
            };
            bench.record.lookup(&doctor, request)
        };
        assert_eq!(lookup("sw").await.unwrap().display, "Sayari");
        assert_eq!(lookup("fr").await.unwrap().display, "Planète");
        let plain = lookup("").await.unwrap();
        assert_eq!(plain.display, planets()["concept"][0]["display"]);
        assert!(plain.properties.iter().any(|p| p.code == "moons"), "{plain:?}");
        assert!(!plain.designations.iter().any(|d| d.value == "Planet!"), "{plain:?}");
        let set = json!({"resourceType": "ValueSet", "status": "active",
            "compose": {"include": [{"system": url}]}});
        let found = expand_value(&bench, set, |e| e.display_language = "sw".into()).await.unwrap();
        let one = found.contains.iter().find(|c| c.code == code).unwrap();
        assert_eq!(one.display.as_deref(), Some("Sayari"));
        let checked = check(&bench, None, &url, &code, Some("Sayari")).await;
        assert!(checked.result, "{checked:?}");
        // It is no code system of its own.
        let (issue, _) = issue(
            bench
                .record
                .lookup(&doctor, Lookup { system: "http://example.org/planets-sw".into(), code, ..Lookup::default() })
                .await,
        );
        assert_eq!(issue, fhir::IssueCode::NotFound);
    })
    .await;
}

#[tokio::test]
async fn filters_and_combinations() {
    each_engine(|bench| async move {
        bench.record.write(&bench.system(), set(vec![create(planets())])).await.unwrap();
        let filter = |property: &str, op: &str, value: &str| {
            json!({"system": PLANETS, "filter": [{"property": property, "op": op, "value": value}]})
        };
        for (include, expected) in [
            (filter("concept", "is-a", "rocky"), &["rocky", "earth", "mars"][..]),
            (filter("concept", "descendent-of", "rocky"), &["earth", "mars"]),
            (filter("concept", "is-not-a", "rocky"), &["gas", "saturn", "pluto"]),
            (filter("concept", "generalizes", "mars"), &["rocky", "mars"]),
            (filter("concept", "in", "mars, pluto"), &["mars", "pluto"]),
            (filter("concept", "not-in", "mars,pluto,rocky,gas"), &["earth", "saturn"]),
            (filter("moons", "=", "1"), &["earth"]),
            (filter("moons", "in", "1,2"), &["earth", "mars"]),
            (filter("moons", "exists", "true"), &["earth", "mars", "saturn"]),
            (filter("moons", "exists", "false"), &["rocky", "gas", "pluto"]),
            (filter("moons", "regex", "1.*"), &["earth", "saturn"]),
            (filter("code", "regex", ".a[rt].*"), &["earth", "mars", "saturn"]),
            (filter("parent", "=", "gas"), &["saturn"]),
            (filter("child", "=", "mars"), &["rocky"]),
            (filter("inactive", "=", "true"), &["pluto"]),
            (filter("display", "=", "Gas giant"), &["gas"]),
            (json!({"system": PLANETS, "concept": [{"code": "saturn"}, {"code": "earth", "display": "Home"}, {"code": "nowhere"}]}),
                &["saturn", "earth"]),
            // A system that nobody knows: its listed codes are taken as they are.
            (json!({"system": "urn:x-unknown", "concept": [{"code": "b"}, {"code": "a"}]}), &["b", "a"]),
        ] {
            let label = include.to_string();
            let found = expand_value(&bench, including(include), |_| {}).await.unwrap();
            assert_eq!(codes(&found.contains), expected, "{label}");
        }
        let set_of = |compose: Json| json!({"resourceType": "ValueSet", "status": "active", "compose": compose});
        let mut nested = set_of(json!({"include": [filter("concept", "is-a", "rocky")]}));
        nested["url"] = json!("http://example.org/ValueSet/rocky");
        bench.record.write(&bench.system(), set(vec![create(nested)])).await.unwrap();
        for (compose, expected) in [
            (json!({"include": [{"system": PLANETS}], "exclude": [filter("concept", "is-a", "gas")]}),
                &["rocky", "earth", "mars", "pluto"][..]),
            (json!({"include": [{"system": PLANETS}], "inactive": false}), &["rocky", "earth", "mars", "gas", "saturn"]),
            (json!({"include": [{"valueSet": ["http://example.org/ValueSet/rocky"]}]}), &["rocky", "earth", "mars"]),
            (json!({"include": [{"system": PLANETS, "filter": [{"property": "moons", "op": "exists", "value": "true"}],
                "valueSet": ["http://example.org/ValueSet/rocky"]}]}), &["earth", "mars"]),
            (json!({"include": [filter("concept", "=", "mars"), filter("concept", "=", "earth")]}), &["earth", "mars"]),
        ] {
            let found = expand_value(&bench, set_of(compose.clone()), |_| {}).await.unwrap();
            assert_eq!(codes(&found.contains), expected, "{compose}");
        }
        // Pages lie end to end.
        let mut paged = Vec::new();
        for offset in 0..6 {
            let page = expand_value(&bench, including(json!({"system": PLANETS})), |e| {
                e.offset = offset;
                e.count = Some(1);
            });
            let page = page.await.unwrap();
            assert_eq!((page.total, page.contains.len()), (6, 1));
            paged.push(page.contains[0].code.clone());
        }
        assert_eq!(paged, ["rocky", "earth", "mars", "gas", "saturn", "pluto"]);
    })
    .await;
}

#[tokio::test]
async fn wrong_value_sets_are_told_apart() {
    each_engine(|bench| async move {
        bench.record.write(&bench.system(), set(vec![create(planets())])).await.unwrap();
        for (n, (include, code, part)) in [
            (json!({"system": "http://nobody.example"}), IssueCode::NotFound, "`http://nobody.example`"),
            (json!({"system": PLANETS, "version": "9"}), IssueCode::NotFound, "in version `9`"),
            (json!({"valueSet": ["http://example.org/none"]}), IssueCode::NotFound, "`http://example.org/none`"),
            (json!({"system": PLANETS, "filter": [{"property": "concept", "op": "is-a", "value": "sun"}]}),
                IssueCode::CodeInvalid, "`sun` is no code of"),
            (json!({"system": PLANETS, "filter": [{"property": "moons", "op": "more-than", "value": "1"}]}),
                IssueCode::NotSupported, "moons more-than 1"),
            (json!({"system": PLANETS, "filter": [{"property": "code", "op": "regex", "value": "("}]}),
                IssueCode::Value, "no regular expression"),
            (json!({"system": PLANETS, "filter": [{"property": "moons", "op": "exists", "value": "perhaps"}]}),
                IssueCode::Value, "`true` or `false`"),
            (json!({"system": PLANETS, "concept": [{"display": "no code"}]}), IssueCode::Required, "no `code`"),
            (json!({}), IssueCode::Required, "`system` or `valueSet`"),
        ]
        .into_iter()
        .enumerate()
        {
            let (found, text) = issue(expand_value(&bench, including(include), |_| {}).await);
            assert_eq!(found, code, "{n}: {text}");
            assert!(text.contains(part), "{n}: {text}");
        }
        for (name, other) in [("a", "b"), ("b", "a")] {
            let mut circle = including(json!({"valueSet": [format!("http://example.org/{other}")]}));
            circle["url"] = json!(format!("http://example.org/{name}"));
            bench.record.write(&bench.system(), set(vec![create(circle)])).await.unwrap();
        }
        let (found, text) = issue(expand(&bench, "http://example.org/a", |_| {}).await);
        assert_eq!(found, IssueCode::Invariant);
        assert!(text.contains("includes itself"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn names_are_checked() {
    each_engine(|bench| async move {
        bench.record.write(&bench.system(), set(vec![create(planets())])).await.unwrap();
        for (code, display, expected) in [
            ("earth", None, true),
            ("earth", Some("earth"), true),
            ("earth", Some("Dunia"), true),
            ("earth", Some("Mars"), false),
            ("venus", None, false),
        ] {
            let found = check(&bench, None, PLANETS, code, display).await;
            assert_eq!(found.result, expected, "{code} {display:?}: {found:?}");
        }
        let found = check(&bench, None, PLANETS, "earth", Some("Mars")).await;
        assert_eq!(found.display.as_deref(), Some("Earth"));
        assert!(found.message.unwrap().contains("`Mars` is no name of `earth`; it is `Earth` or"));
        let found = check(&bench, None, PLANETS, "pluto", None).await;
        assert!(found.result && found.message.unwrap().contains("no longer active"));
        let lookup = Lookup { system: PLANETS.into(), code: "rocky".into(), ..Lookup::default() };
        let found = bench.record.lookup(&bench.doctor(), lookup).await.unwrap();
        let children: Vec<&str> =
            found.properties.iter().filter(|p| p.code == "child").map(|p| p.value.plain()).collect();
        assert_eq!(children, ["earth", "mars"]);
        assert!(found.properties.iter().any(|p| p.value == Value::Boolean(true) && p.code == "notSelectable"));
        let (code, text) = issue(
            bench
                .record
                .lookup(&bench.doctor(), Lookup { system: PLANETS.into(), code: "sun".into(), ..Lookup::default() })
                .await,
        );
        assert_eq!((code, text.as_str()), (IssueCode::NotFound, "`sun` is no code of `http://example.org/CodeSystem/planets` in version `1`."));
        let filtered = expand_value(&bench, including(json!({"system": PLANETS})), |e| e.filter = Some("pla ro".into()));
        assert_eq!(codes(&filtered.await.unwrap().contains), ["rocky"]);
        let inline = Arc::new(json!({"resourceType": "ConceptMap", "status": "draft", "group": [{
            "source": PLANETS, "target": "urn:x", "element": [{"code": "mars", "target": [{"code": "4", "equivalence": "wider"}]}],
            "unmapped": {"mode": "fixed", "code": "0"}}]}));
        for (code, expected, equivalence) in [("mars", "4", "wider"), ("earth", "0", "inexact")] {
            let request = Translate {
                map: Some(Source::Resource(inline.clone())),
                system: PLANETS.into(),
                code: code.into(),
                source: None,
                target: None,
                target_system: None,
                reverse: false,
            };
            let found = bench.record.translate(&bench.doctor(), request).await.unwrap();
            assert_eq!((found.matches[0].code.as_str(), found.matches[0].equivalence.as_str()), (expected, equivalence));
        }
    })
    .await;
}
