//! A loaded SNOMED CT release: expressions, hierarchy, reference sets, names, maps.

use super::release::{self, CAUSE, MOONS, SITE, VERSION, concept};
use super::{check, codes, expand, issue, load};
use crate::each_engine;
use fhir::IssueCode;
use record::terminology::{Lookup, Source, Subsumption, Translate};

const SCT: &str = "http://snomed.info/sct";

fn vs(query: &str) -> String {
    format!("{SCT}?fhir_vs{query}")
}

#[tokio::test]
async fn a_release_is_loaded_and_asked() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let zip = release::write(&folder.path().join("release"));
        let (code, text) = issue(expand(&bench, &vs(""), |_| {}).await);
        assert_eq!(code, IssueCode::NotFound);
        assert!(text.contains("not loaded"), "{text}");
        let loaded = load(&bench, &zip, |_| {}).await.unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!((loaded[0].url.as_str(), loaded[0].version.as_str()), (SCT, VERSION));
        assert_eq!((loaded[0].concepts, loaded[0].members), (12, 2));
        assert_eq!(loaded[0].maps, [(format!("{SCT}?fhir_cm=447562003"), 3)]);
        assert!(loaded[0].warnings.is_empty(), "{:?}", loaded[0].warnings);

        let c = |numbers: &[u64]| {
            let mut all: Vec<String> = numbers.iter().map(|n| concept(*n)).collect();
            all.sort();
            all
        };
        let (moon, fever, dust) = (concept(3), concept(4), concept(6));
        for (expression, expected) in [
            (format!("<< {moon}"), c(&[3, 5, 6, 7])),
            (format!("< {moon} |Disease of the moon|"), c(&[5, 6, 7])),
            (format!("<! {moon}"), c(&[5, 6])),
            (format!("<<! {moon}"), c(&[3, 5, 6])),
            (format!("> {}", concept(7)), c(&[0, 3, 4, 5, 6])),
            (format!(">> {}", concept(5)), c(&[0, 3, 4, 5])),
            (format!(">! {}", concept(7)), c(&[5, 6])),
            (format!("<< {moon} AND << {fever}"), c(&[5, 7])),
            (format!("< {moon} , < {fever}"), c(&[5, 7])),
            (format!("{moon} OR {fever}"), c(&[3, 4])),
            (format!("<< {fever} MINUS << {moon}"), c(&[4, 8])),
            (format!("(<< {fever} MINUS << {moon}) OR {moon}"), c(&[3, 4, 8])),
            (format!("^ {MOONS}"), c(&[5, 6])),
            (format!("< {moon} MINUS ^ {MOONS} /* not these */"), c(&[7])),
            (format!("<< (^ {MOONS})"), c(&[5, 6, 7])),
            (format!("< {moon} : {SITE} = << {}", concept(9)), c(&[6, 7])),
            (format!("< {moon} : {SITE} = {}", concept(9)), c(&[6])),
            (format!("< {moon} : {SITE} |Finding site| = *"), c(&[6, 7])),
            (format!("* : {SITE} != {}", concept(9)), c(&[4, 7, 8])),
            ("*".to_owned(), c(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])),
        ] {
            let found = expand(&bench, &vs(&format!("=ecl/{expression}")), |_| {}).await.unwrap();
            let mut all: Vec<String> = found.contains.iter().map(|c| c.code.clone()).collect();
            all.sort();
            assert_eq!(all, expected, "{expression}");
        }
        for (expression, part) in [
            (format!("<< {moon} AND << {fever} OR << {dust}"), "brackets"),
            (format!("<< ({moon}"), "a bracket is not closed"),
            ("<<".to_owned(), "should stand here"),
            ("<< 138875006".to_owned(), "no concept"),
            (format!("< {moon} : {{ {{ {SITE} = * }} }}"), "no groups in it"),
            (format!("< {moon} : {{ {SITE} = *"), "a group is not closed"),
            (format!("< {moon} : [2..1] {SITE} = *"), "a cardinality is written"),
            (format!("< {moon} {{{{ effectiveTime = \"20990131\" }}}}"), "only `term`, `language`"),
            (format!("< {moon} {{{{ M active = true }}}}"), "members are not supported"),
            (format!("< {moon} {{{{ C moduleId = {fever} }}}}"), "only `active`"),
            (format!("< {moon} {{{{ term = \"a }}}}"), "a text does not end"),
            (format!("{moon} |never ends"), "term does not end"),
            (format!("{moon} {fever}"), "at character"),
        ] {
            let (_, text) = issue(expand(&bench, &vs(&format!("=ecl/{expression}")), |_| {}).await);
            assert!(text.contains(part), "{expression}: {text}");
        }
        for (query, expected) in [
            (format!("=isa/{moon}"), c(&[3, 5, 6, 7])),
            (format!("=refset/{MOONS}"), c(&[5, 6])),
            ("=refset".to_owned(), c(&[2])),
        ] {
            let found = expand(&bench, &vs(&query), |_| {}).await.unwrap();
            let mut all: Vec<String> = found.contains.iter().map(|c| c.code.clone()).collect();
            all.sort();
            assert_eq!(all, expected, "{query}");
        }
        let named = expand(&bench, &format!("{VERSION}?fhir_vs=isa/{moon}"), |_| {}).await.unwrap();
        assert_eq!(named.total, 4);
        assert!(check(&bench, Some(&vs(&format!("=isa/{moon}"))), SCT, &concept(7), None).await.result);
        assert!(!check(&bench, Some(&vs(&format!("=isa/{moon}"))), SCT, &concept(4), None).await.result);
    })
    .await;
}

#[tokio::test]
async fn groups_cardinalities_and_filters() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("release");
        release::write(&path);
        load(&bench, &path, |_| {}).await.unwrap();
        let (moon, fever, dust, lung, left) = (concept(3), concept(4), concept(6), concept(9), concept(10));
        for (expression, expected) in [
            // Fever has both, but not in one group.
            (format!("* : {SITE} = {lung}, {CAUSE} = {moon}"), &[4, 8][..]),
            (format!("* : {{ {SITE} = {lung}, {CAUSE} = {moon} }}"), &[8]),
            (format!("* : {{ {SITE} = {left}, {CAUSE} = {moon} }}"), &[]),
            (format!("* : {{ {SITE} = << {lung}, {CAUSE} = << {moon} }}"), &[8]),
            (format!("* : {{ {SITE} = {lung} OR {CAUSE} = {dust} }}, {SITE} = {left}"), &[4, 8]),
            (format!("* : [2..*] {{ {SITE} = << {lung} }}"), &[4, 8]),
            (format!("* : [1..1] {{ {SITE} = << {lung} }}"), &[6, 7]),
            (format!("* : {{ {SITE} = *, [0..0] {CAUSE} = * }}"), &[4, 6, 7]),
            (format!("<< {moon} : [0..0] {{ {SITE} = {left} }}"), &[3, 5, 6]),
            (format!("<< {moon} : [0..0] {SITE} = *"), &[3, 5]),
            (format!("<< {moon} : [0..1] {SITE} = *"), &[3, 5, 6, 7]),
            (format!("* : [2..2] {SITE} = << {lung}"), &[4, 8]),
            (format!("* : [1..1] {SITE} != {lung}"), &[4, 7, 8]),
            (format!("<< {fever} {{{{ term = \"lunar pyr\" }}}}"), &[5]),
            ("* {{ term = \"moon DUST\" }}".to_owned(), &[7]),
            ("* {{ D term = (\"pyrexia\" match:\"pneumoc\") }}".to_owned(), &[4, 5, 6]),
            ("* {{ term = wild:\"dust*\" }}".to_owned(), &[6, 7]),
            ("* {{ term = wild:\"*moon fever\" }}".to_owned(), &[5, 7]),
            ("* {{ term = \"fiebre\", language = es }}".to_owned(), &[4]),
            ("* {{ term = \"fiebre\", language = en }}".to_owned(), &[]),
            ("* {{ language != en }}".to_owned(), &[4]),
            ("* {{ term = \"thing\", type = syn }}".to_owned(), &[]),
            (format!("< {fever} {{{{ term = \"thing\", type = (fsn syn) }}}}"), &[5, 7, 8]),
            (format!("<< {fever} {{{{ C active = false }}}}"), &[8]),
            (format!("<< {fever} {{{{ C active = 1 }}}} {{{{ term = \"moon\" }}}}"), &[5, 7]),
            (
                format!(
                    "< {moon} {{{{ term = \"dust\" }}}} : {SITE} = << ({lung} {{{{ term = \"lung\" }}}})"
                ),
                &[6, 7],
            ),
        ] {
            let found = expand(&bench, &vs(&format!("=ecl/{expression}")), |_| {}).await.unwrap();
            let mut all: Vec<String> = found.contains.iter().map(|c| c.code.clone()).collect();
            let mut expected: Vec<String> = expected.iter().map(|n| concept(*n)).collect();
            all.sort();
            expected.sort();
            assert_eq!(all, expected, "{expression}");
        }
        // Groups are no property that a client sees.
        let request = Lookup { system: SCT.into(), code: concept(8), ..Lookup::default() };
        let found = bench.record.lookup(&bench.doctor(), request).await.unwrap();
        assert!(found.properties.iter().all(|p| p.code != wire::terminology::rf2::ROLE_GROUP));
    })
    .await;
}

#[tokio::test]
async fn names_places_and_maps() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("release");
        release::write(&path);
        load(&bench, &path, |_| {}).await.unwrap();
        let doctor = bench.doctor();
        let lookup = |code: String, language: &str| Lookup {
            system: SCT.into(),
            code,
            display_language: language.into(),
            ..Lookup::default()
        };
        let fever = bench.record.lookup(&doctor, lookup(concept(4), "")).await.unwrap();
        assert_eq!(fever.display, "Fever", "the preferred synonym, not the fully specified name");
        assert_eq!(fever.version, VERSION);
        assert!(fever.designations.iter().any(|d| d.value == "Fever (thing)"));
        assert_eq!(
            bench.record.lookup(&doctor, lookup(concept(4), "es-KE, en;q=0.5")).await.unwrap().display,
            "Fiebre"
        );
        assert_eq!(
            bench.record.lookup(&doctor, lookup(concept(6), "es")).await.unwrap().display,
            "Dust lung"
        );
        let dust = bench.record.lookup(&doctor, lookup(concept(6), "")).await.unwrap();
        let site = dust.properties.iter().find(|p| p.code == SITE).unwrap();
        assert_eq!(
            site.value,
            record::terminology::Value::Coding {
                system: SCT.into(),
                code: concept(9),
                display: "Lung structure".into()
            }
        );
        // Best first: a name that begins with what was typed, the shorter the better.
        for (typed, expected) in [
            ("moon f", &[5, 7][..]),
            ("fev", &[4, 5, 7, 8]),
            ("lung dust", &[6, 7]),
            ("pyrexia", &[4, 5]),
            ("xyz", &[]),
        ] {
            let found = expand(&bench, &vs(""), |e| e.filter = Some(typed.into())).await.unwrap();
            let expected: Vec<String> = expected.iter().map(|n| concept(*n)).collect();
            let mut all = codes(&found.contains);
            assert_eq!(all.first().copied(), expected.first().map(String::as_str), "{typed}: {all:?}");
            let mut sorted: Vec<&str> = expected.iter().map(String::as_str).collect();
            all.sort_unstable();
            sorted.sort_unstable();
            assert_eq!(all, sorted, "{typed}");
        }
        for (a, b, expected) in [
            (3, 7, Subsumption::Subsumes),
            (7, 3, Subsumption::SubsumedBy),
            (5, 5, Subsumption::Equivalent),
            (4, 6, Subsumption::NotSubsumed),
        ] {
            let found = bench.record.subsumes(&doctor, SCT, None, &concept(a), &concept(b)).await.unwrap();
            assert_eq!(found, expected, "{a} {b}");
        }
        let below = bench.record.hierarchy(&doctor, SCT, &concept(4), false, 100).await.unwrap();
        assert_eq!(below.len(), 4);
        assert_eq!(below[0].code, concept(4));
        let above = bench.record.hierarchy(&doctor, SCT, &concept(7), true, 100).await.unwrap();
        assert_eq!(above.len(), 6);
        let many = bench.record.hierarchy(&doctor, SCT, &concept(0), false, 5).await;
        assert_eq!(issue(many).0, IssueCode::TooCostly);
        let request = |code: String, reverse| Translate {
            map: Some(Source::Url(format!("{SCT}?fhir_cm=447562003"))),
            system: if reverse { "http://hl7.org/fhir/sid/icd-10".into() } else { SCT.into() },
            code,
            source: None,
            target: None,
            target_system: None,
            reverse,
        };
        let found = bench.record.translate(&doctor, request(concept(5), false)).await.unwrap();
        let targets: Vec<&str> = found.matches.iter().map(|m| m.code.as_str()).collect();
        assert_eq!((found.result, targets), (true, vec!["A99.1", "A99.9"]));
        let none = bench.record.translate(&doctor, request(concept(6), false)).await.unwrap();
        assert!(!none.result && none.message.is_some());
        let back = bench.record.translate(&doctor, request("A99.9".into(), true)).await.unwrap();
        assert_eq!(
            (back.matches[0].code.clone(), back.matches[0].display.as_deref()),
            (concept(5), Some("Moon fever"))
        );
        let anywhere = Translate { map: None, ..request(concept(5), false) };
        assert_eq!(bench.record.translate(&doctor, anywhere).await.unwrap().matches.len(), 2);
    })
    .await;
}
