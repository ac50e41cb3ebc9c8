//! Published terminologies.

use super::{chosen, chosen_texts, seen};
use crate::Reader;
use wire::terminology::{self, Item, claml, icd10, icd11, loinc, rf2};

pub const TERMINOLOGY: Reader = Reader {
    name: "terminology",
    about: "ICD-10, ICD-11, LOINC, SNOMED CT and tables of codes",
    read,
    seeds: || {
        chosen_texts(&[
            &[CLAML],
            &[ICD11],
            &["Code,Title,Parent,display:sw,Class\nX1,Moon,,Mwezi,a\nX2,\"Dust, fine\",X1,,b\n"],
            &["01;Moon\n"],
            &["A00;B99;01;Moon\n"],
            &["3;N;X;01;A00;A00.-;A00;A00;Moon fever;;\n4;T;X;01;A00;A00.0;A00.0;A000;Moon fever, full;;\n"],
            &["00001 A00     0 Moon fever                                                   Moon fever\n"],
            &["A000   Moon fever\n"],
            &[LOINC],
            &["PartNumber,PartTypeName,PartName,PartDisplayName,Status\nLP1-1,COMPONENT,Moon,Moon,ACTIVE\n"],
            &["PATH_TO_ROOT,SEQUENCE,IMMEDIATE_PARENT,CODE,CODE_TEXT\n,1,,LP1-1,Moon\n"],
            &[
                "LoincNumber,PartNumber,LinkTypeName,Property\n99999-5,LP1-1,Primary,http://loinc.org/property/COMPONENT\n",
            ],
            &["AnswerListId,AnswerListName,AnswerStringId,DisplayText\nLL1-1,Phases,LA1-1,Full moon\n"],
            &["LoincNumber,AnswerListId\n99999-5,LL1-1\n"],
            &["LOINC_NUM,COMPONENT,PROPERTY\n99999-5,Poussière,Masse\n"],
            &[CONCEPT],
            &[
                "id\teffectiveTime\tactive\tmoduleId\tsourceId\tdestinationId\trelationshipGroup\ttypeId\tcharacteristicTypeId\tmodifierId\n1\t20990131\t1\t900000000000207008\t138875005\t116680003\t0\t116680003\t900000000000011006\t900000000000451002\n",
            ],
            &[
                "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\n9\t20990131\t1\t900000000000207008\t138875005\ten\t900000000000013009\tMoon\t900000000000448009\n",
            ],
            &[
                "id\teffectiveTime\tactive\tmoduleId\trefsetId\treferencedComponentId\tacceptabilityId\nu\t20990131\t1\tm\t900000000000509007\t116680003\t900000000000548007\n",
            ],
            &[
                "id\teffectiveTime\tactive\tmoduleId\trefsetId\treferencedComponentId\tmapGroup\tmapPriority\tmapRule\tmapAdvice\tmapTarget\nu\t20990131\t1\tm\t447562003\t138875005\t1\t2\tTRUE\tALWAYS Q99\tQ99.8\n",
            ],
            &[
                r#"{"resourceType":"CodeSystem","url":"u","concept":[{"code":"a","concept":[{"code":"b","property":[{"code":"p","valueDecimal":1.5}],"designation":[{"language":"sw","value":"x"}]}]}]}"#,
            ],
            &[
                r#"{"source":"a","target":"b","element":[{"code":"x","target":[{"code":"y","equivalence":"equal"}]}]}"#,
            ],
        ])
    },
};

const CLAML: &str = "<?xml version=\"1.0\"?>\n<!DOCTYPE ClaML SYSTEM \"ClaML.dtd\">\n<ClaML version=\"2.0.0\">\n<Title date=\"2099-01-01\" name=\"ICD-10\" version=\"2099\">Moon</Title>\n<Class code=\"I\" kind=\"chapter\"><SubClass code=\"A00\"/><Rubric id=\"1\" kind=\"preferred\"><Label xml:lang=\"en\">Moon &amp; dust</Label></Rubric></Class>\n<Class code=\"A00\" kind=\"category\" usage=\"dagger\"><SuperClass code=\"I\"/><Rubric id=\"3\" kind=\"inclusion\"><Label>Lung<Reference>B01</Reference></Label></Rubric></Class>\n</ClaML>";
const ICD11: &str = "Foundation URI\tLinearization URI\tCode\tBlockId\tTitle\tClassKind\tDepthInKind\tIsResidual\tChapterNo\tVersion:2099 Jan 21 - 22:30 UTC\nu1\tl1\t\t\tMoon\tchapter\t1\tFalse\t01\t\nu2\tl2\t\tBlockL1-1A0\t\"- Dust of the \"\"moon\"\"\"\tblock\t1\tFalse\t01\t\n";
const LOINC: &str = "\"LOINC_NUM\",\"COMPONENT\",\"PROPERTY\",\"STATUS\",\"SHORTNAME\",\"LONG_COMMON_NAME\",\"RELATEDNAMES2\"\n\"99999-5\",\"Moon dust\",\"Mass\",\"ACTIVE\",\"Moon dst\",\"Moon dust, \"\"fine\"\" [Mass]\",\"Lunar; Powder\"\n";
const CONCEPT: &str = "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\n138875005\t20990131\t1\t900000000000207008\t900000000000074008\n";

fn read(bytes: &[u8]) {
    let Some((number, rest)) = chosen(bytes) else { return };
    let mut input = rest;
    let mut told = 0_usize;
    let mut sink = |item: Item<'_>| {
        seen(format!("{item:?}"));
        told += 1;
        Ok(())
    };
    let mut snomed = rf2::Reader::new();
    let mut rows = |part: rf2::Part, input: &[u8]| {
        seen(snomed.survey("f", &mut &*input));
        seen(snomed.read(part, rf2::Release::Full, "f", &mut &*input, &mut |_: Item<'_>| Ok(())));
        seen(snomed.version("20990131"));
    };
    match number % 23 {
        0 => seen(claml::read("f", &mut input, &mut sink)),
        1 => seen(icd11::read("LinearizationMiniOutput-MMS-fr.txt", &mut input, &mut sink)),
        2 => seen(icd10::read_csv("f", &mut input, &mut sink)),
        3 => seen(icd10::read(icd10::Part::Chapters, "f", &mut input, &mut sink)),
        4 => seen(icd10::read(icd10::Part::Groups, "f", &mut input, &mut sink)),
        5 => seen(icd10::read(icd10::Part::Codes, "f", &mut input, &mut sink)),
        6 => seen(icd10::read(icd10::Part::CmOrder, "f", &mut input, &mut sink)),
        7 => seen(icd10::read(icd10::Part::CmCodes, "f", &mut input, &mut sink)),
        8 => seen(loinc::read(loinc::Part::Terms, "f", &mut input, &mut sink)),
        9 => seen(loinc::read(loinc::Part::Parts, "f", &mut input, &mut sink)),
        10 => seen(loinc::read(loinc::Part::Hierarchy, "f", &mut input, &mut sink)),
        11 => seen(loinc::read(loinc::Part::PartLinks, "f", &mut input, &mut sink)),
        12 => seen(loinc::read(loinc::Part::Answers, "f", &mut input, &mut sink)),
        13 => seen(loinc::read(loinc::Part::AnswerLinks, "f", &mut input, &mut sink)),
        14 => seen(loinc::read(loinc::Part::Language, "frFR18LinguisticVariant.csv", &mut input, &mut sink)),
        15 => rows(rf2::Part::Concept, rest),
        16 => rows(rf2::Part::Relationship, rest),
        17 => rows(rf2::Part::Description, rest),
        18 => rows(rf2::Part::Language, rest),
        19 => rows(rf2::Part::Map, rest),
        20 => {
            if let Ok(resource) = fhir::parse_json(rest) {
                seen(terminology::fhir::code_system(&resource, &mut sink));
            }
        }
        21 => {
            if let Ok(group) = fhir::parse_json(rest) {
                seen(terminology::fhir::concept_map_group(&group, &mut sink));
            }
        }
        _ => names(&String::from_utf8_lossy(rest)),
    }
    assert!(told <= rest.len().saturating_mul(4) + 64, "{told} facts out of {} bytes", rest.len());
}

/// Names of files inside archives.
fn names(name: &str) {
    seen((icd10::part_of(name), icd10::year_of(name), icd11::language_of(name), icd11::is_part(name)));
    seen((loinc::part_of(name), rf2::part_of(name), rf2::date_of(name)));
}
