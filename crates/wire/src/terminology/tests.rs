//! Small files in the layouts that are published; every concept is made up.

use super::*;

/// One line of text per item.
fn shown(item: &Item<'_>) -> String {
    match item {
        Item::Concept { code, display, inactive, is_abstract, .. } => format!(
            "concept {code} {display}{}{}",
            if *inactive { " inactive" } else { "" },
            if *is_abstract { " abstract" } else { "" }
        ),
        Item::Parent { code, parent } => format!("{code} < {parent}"),
        Item::Definition { code, text } => format!("{code} means {text}"),
        Item::Designation { code, name } => format!(
            "{code} [{}] {} {}{}",
            name.language,
            name.use_code,
            name.value,
            if name.preferred { " preferred" } else { "" }
        ),
        Item::Property { code, name, value } => format!("{code} {name}={value:?}"),
        Item::Member { set, code } => format!("{code} in {set}"),
        Item::Mapping(m) => format!("{} {} -> {} {} {}", m.map, m.source, m.target, m.equivalence, m.place),
    }
}

fn collect(read: impl FnOnce(&mut dyn Sink) -> Result<(), Fault>) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    read(&mut |item: Item<'_>| {
        found.push(shown(&item));
        Ok(())
    })?;
    Ok(found)
}

/// A made-up SNOMED CT id with the right check digit: `kind` is the partition, 00 concept, 01 description, 02 relationship.
fn sctid(number: u64, kind: &str) -> String {
    let stem = format!("{number}{kind}");
    let digit = rf2::check_digit(&stem).unwrap();
    format!("{stem}{digit}")
}

#[test]
fn sctids_have_check_digits() {
    // Ids that the specification itself prints.
    for id in ["138875005", "116680003", "900000000000207008", "900000000000003001", "447562003"] {
        assert!(rf2::is_sctid(id), "{id}");
    }
    for id in ["138875006", "12345", "038875005", "13887500x", "1388750051388750051", ""] {
        assert!(!rf2::is_sctid(id), "{id}");
    }
    assert!(rf2::is_sctid(&sctid(4711, "00")));
}

#[test]
fn loinc_numbers_have_check_digits() {
    for id in ["8867-4", "8480-6", "2160-0", "718-7"] {
        assert!(loinc::is_number(id), "{id}");
    }
    for id in ["8867-5", "8867", "LP1-2", "-1", "8867-4x"] {
        assert!(!loinc::is_number(id), "{id}");
    }
}

#[test]
fn rf2_files_are_known_by_name() {
    use rf2::{Part, Release};
    for (name, expected) in [
        (
            "Snapshot/Terminology/sct2_Concept_Snapshot_INT_20990131.txt",
            Some((Part::Concept, Release::Snapshot)),
        ),
        ("sct2_Description_Snapshot-en_INT_20990131.txt", Some((Part::Description, Release::Snapshot))),
        ("sct2_TextDefinition_Full-en_INT_20990131.txt", Some((Part::TextDefinition, Release::Full))),
        ("sct2_Relationship_Full_INT_20990131.txt", Some((Part::Relationship, Release::Full))),
        ("xsct2_Relationship_Snapshot_KE1000999_20990131.txt", Some((Part::Relationship, Release::Snapshot))),
        ("der2_cRefset_LanguageSnapshot-en_INT_20990131.txt", Some((Part::Language, Release::Snapshot))),
        ("der2_Refset_SimpleSnapshot_INT_20990131.txt", Some((Part::Members, Release::Snapshot))),
        ("der2_sRefset_SimpleMapSnapshot_INT_20990131.txt", Some((Part::Map, Release::Snapshot))),
        ("der2_iisssccRefset_ExtendedMapSnapshot_INT_20990131.txt", Some((Part::Map, Release::Snapshot))),
        ("sct2_StatedRelationship_Snapshot_INT_20990131.txt", None),
        ("sct2_sRefset_OWLExpressionSnapshot_INT_20990131.txt", None),
        ("der2_cRefset_AssociationSnapshot_INT_20990131.txt", None),
        ("sct2_Concept_Delta_INT_20990131.txt", None),
        ("Readme_en_20990131.txt", None),
    ] {
        assert_eq!(rf2::part_of(name), expected, "{name}");
    }
    assert_eq!(rf2::date_of("a/sct2_Concept_Snapshot_INT_20990131.txt"), Some("20990131"));
}

#[test]
fn rf2_rows_become_facts() {
    let (top, low, term, other) =
        (sctid(1001, "00"), sctid(1002, "00"), sctid(2001, "01"), sctid(2002, "01"));
    let core = "900000000000207008";
    let mut reader = rf2::Reader::new();
    let mut all = Vec::new();
    let files = [
        (
            rf2::Part::Concept,
            "sct2_Concept_Snapshot_INT_20990131.txt",
            format!(
                "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\r\n\
             {top}\t20990131\t1\t{core}\t900000000000074008\r\n{low}\t20990131\t0\t{core}\t900000000000073002\r\n"
            ),
        ),
        (
            rf2::Part::Relationship,
            "sct2_Relationship_Snapshot_INT_20990131.txt",
            format!(
                "id\teffectiveTime\tactive\tmoduleId\tsourceId\tdestinationId\trelationshipGroup\ttypeId\tcharacteristicTypeId\tmodifierId\n\
             1\t20990131\t1\t{core}\t{low}\t{top}\t0\t116680003\t900000000000011006\t900000000000451002\n\
             2\t20990131\t0\t{core}\t{top}\t{low}\t0\t116680003\t900000000000011006\t900000000000451002\n\
             3\t20990131\t1\t{core}\t{low}\t{top}\t1\t363698007\t900000000000011006\t900000000000451002\n"
            ),
        ),
        (
            rf2::Part::Language,
            "der2_cRefset_LanguageSnapshot-en_INT_20990131.txt",
            format!(
                "id\teffectiveTime\tactive\tmoduleId\trefsetId\treferencedComponentId\tacceptabilityId\n\
             80000517-8513-5ca0-a44c-dc66f3c3a1c6\t20990131\t1\t{core}\t900000000000509007\t{term}\t900000000000548007\n\
             80000517-8513-5ca0-a44c-dc66f3c3a1c7\t20990131\t1\t{core}\t900000000000508004\t{other}\t900000000000549004\n"
            ),
        ),
        (
            rf2::Part::Description,
            "sct2_Description_Snapshot-en_INT_20990131.txt",
            format!(
                "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\n\
             {term}\t20990131\t1\t{core}\t{top}\ten\t900000000000013009\tMoon \"dust\"\t900000000000448009\n\
             {other}\t20990131\t1\t{core}\t{top}\ten\t900000000000003001\tMoon dust (substance)\t900000000000448009\n"
            ),
        ),
        (
            rf2::Part::TextDefinition,
            "sct2_TextDefinition_Snapshot-en_INT_20990131.txt",
            format!(
                "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\n\
             9\t20990131\t1\t{core}\t{top}\ten\t900000000000550004\tWhat lies on the moon\t900000000000448009\n"
            ),
        ),
        (
            rf2::Part::Members,
            "der2_Refset_SimpleSnapshot_INT_20990131.txt",
            format!(
                "id\teffectiveTime\tactive\tmoduleId\trefsetId\treferencedComponentId\n\
             u\t20990131\t1\t{core}\t723264001\t{low}\n"
            ),
        ),
        (
            rf2::Part::Map,
            "der2_iisssccRefset_ExtendedMapSnapshot_INT_20990131.txt",
            format!(
                "id\teffectiveTime\tactive\tmoduleId\trefsetId\treferencedComponentId\tmapGroup\tmapPriority\tmapRule\tmapAdvice\tmapTarget\tcorrelationId\tmapCategoryId\n\
             u\t20990131\t1\t{core}\t447562003\t{low}\t1\t2\tTRUE\tALWAYS Q99\tQ99.8\t447561005\t447637006\n"
            ),
        ),
    ];
    for (part, name, text) in &files {
        let mut input = text.as_bytes();
        all.extend(
            collect(|sink| reader.read(*part, rf2::Release::Snapshot, name, &mut input, sink)).unwrap(),
        );
    }
    let expected = [
        format!("concept {top} "),
        format!("{top} sufficientlyDefined=Boolean(false)"),
        format!("{top} moduleId=Code(\"{core}\")"),
        format!("{top} effectiveTime=Text(\"20990131\")"),
        format!("concept {low}  inactive"),
        format!("{low} sufficientlyDefined=Boolean(true)"),
        format!("{low} moduleId=Code(\"{core}\")"),
        format!("{low} effectiveTime=Text(\"20990131\")"),
        format!("{low} < {top}"),
        format!(
            "{low} 363698007=Coding {{ system: \"http://snomed.info/sct\", code: \"{top}\", display: \"\" }}"
        ),
        format!("{low} 609096000=Text(\"1 363698007={top}\")"),
        format!("{top} [en-US] 900000000000013009 Moon \"dust\" preferred"),
        format!("{top} [en] 900000000000003001 Moon dust (substance)"),
        format!("{top} means What lies on the moon"),
        format!("{low} in 723264001"),
        format!("447562003 {low} -> Q99.8 relatedto 1002"),
    ];
    assert_eq!(all, expected);
    assert_eq!(reader.version("20990131"), "http://snomed.info/sct/900000000000207008/version/20990131");
}

#[test]
fn a_full_release_counts_by_its_newest_rows() {
    let id = sctid(1001, "00");
    let text = format!(
        "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\n{id}\t20980131\t1\tm\t900000000000074008\n\
         {id}\t20990131\t0\tm\t900000000000074008\n"
    );
    let mut reader = rf2::Reader::new();
    reader.survey("f", &mut text.as_bytes()).unwrap();
    let found =
        collect(|sink| reader.read(rf2::Part::Concept, rf2::Release::Full, "f", &mut text.as_bytes(), sink));
    assert_eq!(found.unwrap()[0], format!("concept {id}  inactive"));
}

#[test]
fn broken_files_are_told_by_line() {
    let read = |text: &str| {
        let result = collect(|sink| {
            rf2::Reader::new().read(
                rf2::Part::Concept,
                rf2::Release::Snapshot,
                "c.txt",
                &mut text.as_bytes(),
                sink,
            )
        });
        result.unwrap_err().to_string()
    };
    let header = "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\n";
    assert_eq!(read(""), "c.txt: the file is empty");
    assert_eq!(read("id\tactive\n"), "c.txt, line 1: the column `effectiveTime` is missing");
    assert_eq!(
        read(&format!("{header}138875005\t20990131\t1\tm\n")),
        "c.txt, line 2: 4 fields where the header has 5"
    );
    assert_eq!(
        read(&format!("{header}138875006\t20990131\t1\tm\tx\n")),
        "c.txt, line 2: `138875006` is no SNOMED CT id"
    );
    assert_eq!(
        read(&format!("{header}138875005\t20990131\tyes\tm\tx\n")),
        "c.txt, line 2: active is 0 or 1, not `yes`"
    );
    let csv = collect(|sink| {
        loinc::read(
            loinc::Part::Terms,
            "Loinc.csv",
            &mut "LOINC_NUM,COMPONENT,LONG_COMMON_NAME,STATUS\n1-1,a,b,ACTIVE\n".as_bytes(),
            sink,
        )
    });
    assert_eq!(csv.unwrap_err().to_string(), "Loinc.csv, line 2: `1-1` is no LOINC number");
    let open = collect(|sink| icd10::read_csv("t.csv", &mut "code,display\nA,\"open\n".as_bytes(), sink));
    assert_eq!(open.unwrap_err().to_string(), "t.csv, line 2: a quoted field does not end");
    let xml = |text: &str| {
        collect(|sink| claml::read("c.xml", &mut text.as_bytes(), sink).map(drop)).unwrap_err().to_string()
    };
    assert_eq!(xml("<x/>"), "c.xml, line 1: the document is no ClaML");
    assert_eq!(xml("<ClaML>\n<Class kind=\"block\"/></ClaML>"), "c.xml, line 2: a Class has no code");
    assert!(xml("<ClaML>\n\n<Class code=\"A\"></ClaML>").starts_with("c.xml, line 3: no XML"));
    let title = collect(|sink| {
        icd11::read(
            "LinearizationMiniOutput-MMS-en.txt",
            &mut "Code\tTitle\tClassKind\nX\t- - deep\tcategory\n".as_bytes(),
            sink,
        )
        .map(drop)
    });
    assert!(title.unwrap_err().to_string().contains("line 2: `- - deep` is deeper"));
}

#[test]
fn loinc_files_become_facts() {
    let terms = "\u{feff}\"LOINC_NUM\",\"COMPONENT\",\"PROPERTY\",\"STATUS\",\"SHORTNAME\",\"LONG_COMMON_NAME\",\"RELATEDNAMES2\"\n\
                 \"99999-5\",\"Moon dust\",\"Mass\",\"ACTIVE\",\"Moon dst\",\"Moon dust, \"\"fine\"\" [Mass]\",\"Lunar; Powder\"\n";
    assert!(loinc::is_number("99999-5"), "the made-up number");
    let found =
        collect(|sink| loinc::read(loinc::Part::Terms, "Loinc.csv", &mut terms.as_bytes(), sink)).unwrap();
    assert_eq!(
        found,
        [
            "concept 99999-5 Moon dust, \"fine\" [Mass]",
            "99999-5 [en-US] LONG_COMMON_NAME Moon dust, \"fine\" [Mass] preferred",
            "99999-5 [en-US] SHORTNAME Moon dst",
            "99999-5 [en-US] RELATEDNAMES2 Lunar; Powder",
            "99999-5 COMPONENT=Text(\"Moon dust\")",
            "99999-5 PROPERTY=Text(\"Mass\")",
            "99999-5 STATUS=Text(\"ACTIVE\")",
            "99999-5 copyright=Text(\"LOINC\")",
        ]
    );
    let hierarchy = "PATH_TO_ROOT,SEQUENCE,IMMEDIATE_PARENT,CODE,CODE_TEXT\n,1,,LP1-1,Moon\nLP1-1,1,LP1-1,99999-5,Moon dust\n";
    let found = collect(|sink| loinc::read(loinc::Part::Hierarchy, "h.csv", &mut hierarchy.as_bytes(), sink))
        .unwrap();
    assert_eq!(found, ["concept LP1-1 Moon abstract", "99999-5 < LP1-1"]);
    let answers = "AnswerListId,AnswerListName,AnswerStringId,DisplayText\nLL1-1,Phases,LA1-1,Full moon\n";
    let found =
        collect(|sink| loinc::read(loinc::Part::Answers, "a.csv", &mut answers.as_bytes(), sink)).unwrap();
    assert_eq!(found, ["concept LL1-1 Phases abstract", "concept LA1-1 Full moon", "LA1-1 in LL1-1"]);
    let french = "LOINC_NUM,COMPONENT,PROPERTY\n99999-5,Poussière,Masse\n";
    let name = "frFR18LinguisticVariant.csv";
    assert_eq!(loinc::part_of(name), Some(loinc::Part::Language));
    let found =
        collect(|sink| loinc::read(loinc::Part::Language, name, &mut french.as_bytes(), sink)).unwrap();
    assert_eq!(found, ["99999-5 [fr-FR] LONG_COMMON_NAME Poussière:Masse preferred"]);
}

#[test]
fn icd11_titles_say_the_level() {
    let text = "Foundation URI\tLinearization URI\tCode\tBlockId\tTitle\tClassKind\tDepthInKind\tIsResidual\tChapterNo\tVersion:2099 Jan 21 - 22:30 UTC\n\
                u1\tl1\t\t\tMoon diseases\tchapter\t1\tFalse\t01\t\n\
                u2\tl2\t\tBlockL1-1A0\t\"- Dust of the \"\"moon\"\"\"\tblock\t1\tFalse\t01\t\n\
                u3\tl3\t1A00\t\t- - Dust lung\tcategory\t1\tTrue\t01\t\n\
                \tl4\t1A0Z\t\t- Other\tcategory\t1\tTrue\t01\t\n";
    let mut version = None;
    let found = collect(|sink| {
        version = icd11::read("LinearizationMiniOutput-MMS-fr.txt", &mut text.as_bytes(), sink)?;
        Ok(())
    })
    .unwrap();
    assert_eq!(version.as_deref(), Some("2099-01"));
    let facts: Vec<&String> =
        found.iter().filter(|f| f.starts_with("concept") || f.contains(" < ")).collect();
    assert_eq!(
        facts,
        [
            "concept 01 Moon diseases abstract",
            "concept BlockL1-1A0 Dust of the \"moon\" abstract",
            "BlockL1-1A0 < 01",
            "concept 1A00 Dust lung",
            "1A00 < BlockL1-1A0",
            "concept 1A0Z Other",
            "1A0Z < 01",
        ]
    );
    assert!(found.contains(&"1A00 [fr]  Dust lung preferred".to_owned()));
}

#[test]
fn icd10_meta_files_and_clinical_modification() {
    for (name, expected) in [
        ("icd102099syst_codes.txt", Some(icd10::Part::Codes)),
        ("icd102099syst_groups.txt", Some(icd10::Part::Groups)),
        ("icd102099syst_chapters.txt", Some(icd10::Part::Chapters)),
        ("icd10gm2099syst_kodes.txt", Some(icd10::Part::Codes)),
        ("icd10cm_order_2099.txt", Some(icd10::Part::CmOrder)),
        ("icd10cm_codes_2099.txt", Some(icd10::Part::CmCodes)),
        ("icd10cm_order_addenda_2099.txt", None),
        ("readme.txt", None),
    ] {
        assert_eq!(icd10::part_of(name), expected, "{name}");
    }
    let codes = "3;N;X;01;A00;A00.-;A00;A00;Moon fever;;\n4;T;X;01;A00;A00.0;A00.0;A000;Moon fever, full;;\n";
    let found = collect(|sink| icd10::read(icd10::Part::Codes, "c", &mut codes.as_bytes(), sink)).unwrap();
    let facts: Vec<&String> =
        found.iter().filter(|f| f.starts_with("concept") || f.contains(" < ")).collect();
    assert_eq!(
        facts,
        ["concept A00 Moon fever", "A00 < group:A00", "concept A00.0 Moon fever, full", "A00.0 < A00"]
    );
    let order = format!(
        "{:05} {:<7} {} {:<60} {}\n{:05} {:<7} {} {:<60} {}\n",
        1, "A00", 0, "Moon fever", "Moon fever", 2, "A000", 1, "Moon fvr full", "Moon fever, full"
    );
    let found = collect(|sink| icd10::read(icd10::Part::CmOrder, "o", &mut order.as_bytes(), sink)).unwrap();
    assert_eq!(
        found,
        [
            "concept A00 Moon fever abstract",
            "concept A00.0 Moon fever, full",
            "A00.0 [en]  Moon fvr full",
            "A00.0 < A00"
        ]
    );
}

#[test]
fn claml_classes_become_concepts() {
    let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE ClaML SYSTEM \"ClaML.dtd\">\n<ClaML version=\"2.0.0\">\n\
        <Title date=\"2099-01-01\" name=\"ICD-10\" version=\"2099\">Moon diseases</Title>\n\
        <Class code=\"I\" kind=\"chapter\"><SubClass code=\"A00\"/><Rubric id=\"1\" kind=\"preferred\"><Label xml:lang=\"en\">Moon &amp; dust</Label></Rubric></Class>\n\
        <Class code=\"A00\" kind=\"category\" usage=\"dagger\"><SuperClass code=\"I\"/>\n\
        <Rubric id=\"2\" kind=\"preferred\"><Label xml:lang=\"en\" xml:space=\"default\">Dust lung</Label></Rubric>\n\
        <Rubric id=\"3\" kind=\"inclusion\"><Label xml:lang=\"en\">Lung full of dust<Reference>B01</Reference></Label></Rubric>\n\
        <Rubric id=\"4\" kind=\"exclusion\"><Label xml:lang=\"en\">sand</Label></Rubric></Class>\n</ClaML>";
    let mut title = claml::Title::default();
    let found = collect(|sink| {
        title = claml::read("c.xml", &mut text.as_bytes(), sink)?;
        Ok(())
    })
    .unwrap();
    assert_eq!((title.name.as_str(), title.version.as_str()), ("ICD-10", "2099"));
    assert_eq!(
        found,
        [
            "I [en] preferred Moon & dust preferred",
            "concept I Moon & dust abstract",
            "I kind=Code(\"chapter\")",
            "A00 < I",
            "A00 [en] preferred Dust lung preferred",
            "A00 [en] inclusion Lung full of dust B01",
            "A00 exclusion=Text(\"sand\")",
            "concept A00 Dust lung",
            "A00 kind=Code(\"category\")",
            "A00 usage=Code(\"dagger\")",
        ]
    );
}

#[test]
fn tables_of_any_codes() {
    let text = "Code,Title,Parent,display:sw,Class\nX1,Moon,,Mwezi,a\nX2,\"Dust, fine\",X1,,b\n";
    let found = collect(|sink| icd10::read_csv("t.csv", &mut text.as_bytes(), sink)).unwrap();
    assert_eq!(
        found,
        [
            "concept X1 Moon",
            "X1 [sw]  Mwezi preferred",
            "X1 Class=Text(\"a\")",
            "concept X2 Dust, fine",
            "X2 < X1",
            "X2 Class=Text(\"b\")",
        ]
    );
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No text makes a reader panic or loop; what stops it is told.
        #[test]
        fn readers_survive_anything(bytes in prop::collection::vec(any::<u8>(), 0..400), lines in "[ -~\t\r\n\"]{0,300}") {
            for text in [bytes.as_slice(), lines.as_bytes()] {
                let mut sink = |_: Item<'_>| Ok(());
                drop(claml::read("f", &mut &*text, &mut sink));
                drop(icd11::read("f-en.txt", &mut &*text, &mut sink));
                drop(icd10::read_csv("f", &mut &*text, &mut sink));
                for part in [icd10::Part::Chapters, icd10::Part::Groups, icd10::Part::Codes, icd10::Part::CmOrder, icd10::Part::CmCodes] {
                    drop(icd10::read(part, "f", &mut &*text, &mut sink));
                }
                for part in [loinc::Part::Terms, loinc::Part::Parts, loinc::Part::Answers, loinc::Part::Language] {
                    drop(loinc::read(part, "f", &mut &*text, &mut sink));
                }
                for part in [rf2::Part::Concept, rf2::Part::Description, rf2::Part::Map] {
                    drop(rf2::Reader::new().read(part, rf2::Release::Snapshot, "f", &mut &*text, &mut sink));
                }
            }
        }
    }
}
