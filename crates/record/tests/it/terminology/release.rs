//! A small SNOMED CT release of made-up concepts, in the published layout.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use wire::terminology::rf2::check_digit;

pub const CORE: &str = "900000000000207008";
pub const VERSION: &str = "http://snomed.info/sct/900000000000207008/version/20990131";
/// The reference sets that the release has.
pub const MOONS: &str = "723264001";
pub const SITE: &str = "363698007";
pub const CAUSE: &str = "246075003";

/// A made-up id with the right check digit; kind 0 concept, 1 description, 2 relationship.
pub fn id(number: u64, kind: u64) -> String {
    let stem = format!("{}0{kind}", 5_000 + number);
    format!("{stem}{}", check_digit(&stem).unwrap())
}

/// A concept of the release by its number.
pub fn concept(number: u64) -> String {
    match number {
        0 => "138875005".to_owned(),
        1 => SITE.to_owned(),
        2 => MOONS.to_owned(),
        11 => CAUSE.to_owned(),
        n => id(n, 0),
    }
}

/// Number, parents, preferred name, other names, inactive.
type Row = (u64, &'static [u64], &'static str, &'static [&'static str], bool);

/// Two hierarchies that meet: moon fever (5) is a fever and a disease of the moon; dust lung (6) is below both of its kinds.
pub const CONCEPTS: &[Row] = &[
    (0, &[], "SNOMED CT Concept", &[], false),
    (1, &[0], "Finding site", &[], false),
    (2, &[0], "Moon set", &[], false),
    (3, &[0], "Disease of the moon", &["Lunar disease"], false),
    (4, &[0], "Fever", &["Pyrexia"], false),
    (5, &[3, 4], "Moon fever", &["Lunar pyrexia"], false),
    (6, &[3], "Dust lung", &["Pneumoconiosis lunaris"], false),
    (7, &[6, 5], "Dust lung with moon fever", &[], false),
    (8, &[4], "Old fever", &[], true),
    (9, &[0], "Lung structure", &[], false),
    (10, &[9], "Left lung structure", &[], false),
    (11, &[0], "Cause", &[], false),
];

fn row(table: &mut String, fields: &[&str]) {
    writeln!(table, "{}\r", fields.join("\t")).unwrap();
}

/// Writes the release into `folder`, and as a zip beside it; returns the zip.
pub fn write(folder: &Path) -> PathBuf {
    let mut files: Vec<(String, String)> = Vec::new();
    let head = "id\teffectiveTime\tactive\tmoduleId\t";
    let date = "20990131";
    let mut concepts = format!("{head}definitionStatusId\r\n");
    let mut relations = format!(
        "{head}sourceId\tdestinationId\trelationshipGroup\ttypeId\tcharacteristicTypeId\tmodifierId\r\n"
    );
    let mut texts = format!("{head}conceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\r\n");
    let mut spanish = texts.clone();
    let mut languages = format!("{head}refsetId\treferencedComponentId\tacceptabilityId\r\n");
    let mut number = 0;
    let mut relation = |relations: &mut String, from: &str, to: &str, kind: &str, group: &str| {
        number += 1;
        row(
            relations,
            &[
                &id(number, 2),
                date,
                "1",
                CORE,
                from,
                to,
                group,
                kind,
                "900000000000011006",
                "900000000000451002",
            ],
        );
    };
    for (n, parents, name, others, inactive) in CONCEPTS {
        let code = concept(*n);
        row(&mut concepts, &[&code, date, if *inactive { "0" } else { "1" }, CORE, "900000000000074008"]);
        for parent in *parents {
            relation(&mut relations, &code, &concept(*parent), "116680003", "0");
        }
        let case = "900000000000448009";
        let fsn = format!("{name} (thing)");
        let names = std::iter::once((fsn.as_str(), "900000000000003001"))
            .chain([(*name, "900000000000013009")])
            .chain(others.iter().map(|o| (*o, "900000000000013009")));
        for (m, (text, kind)) in names.enumerate() {
            let description = id(n * 10 + m as u64, 1);
            row(&mut texts, &[&description, date, "1", CORE, &code, "en", kind, text, case]);
            let acceptability = if m < 2 { "900000000000548007" } else { "900000000000549004" };
            let uuid = format!("80000517-8513-5ca0-a44c-{:012}", n * 10 + m as u64);
            row(&mut languages, &[&uuid, date, "1", CORE, "900000000000509007", &description, acceptability]);
        }
        if *n == 4 {
            row(
                &mut spanish,
                &[&id(900, 1), date, "1", CORE, &code, "es", "900000000000013009", "Fiebre", case],
            );
        }
    }
    relation(&mut relations, &concept(6), &concept(9), SITE, "0");
    // Old fever is due to dust in the left lung and to the moon in the lung; fever sits twice, in no group with a cause.
    relation(&mut relations, &concept(7), &concept(10), SITE, "1");
    relation(&mut relations, &concept(8), &concept(10), SITE, "1");
    relation(&mut relations, &concept(8), &concept(6), CAUSE, "1");
    relation(&mut relations, &concept(8), &concept(9), SITE, "2");
    relation(&mut relations, &concept(8), &concept(3), CAUSE, "2");
    relation(&mut relations, &concept(4), &concept(9), SITE, "1");
    relation(&mut relations, &concept(4), &concept(10), SITE, "2");
    relation(&mut relations, &concept(4), &concept(3), CAUSE, "0");
    let mut members = format!("{head}refsetId\treferencedComponentId\r\n");
    for n in [5, 6] {
        row(&mut members, &["u", date, "1", CORE, MOONS, &concept(n)]);
    }
    let mut map = format!(
        "{head}refsetId\treferencedComponentId\tmapGroup\tmapPriority\tmapRule\tmapAdvice\tmapTarget\tcorrelationId\tmapCategoryId\r\n"
    );
    for (n, priority, target) in [(5, "1", "A99.1"), (5, "2", "A99.9"), (6, "1", "")] {
        row(
            &mut map,
            &[
                "u",
                date,
                "1",
                CORE,
                "447562003",
                &concept(n),
                "1",
                priority,
                "TRUE",
                "ALWAYS",
                target,
                "447561005",
                "447637006",
            ],
        );
    }
    for (name, text) in [
        ("Snapshot/Terminology/sct2_Concept_Snapshot_INT_20990131.txt", concepts),
        ("Snapshot/Terminology/sct2_Description_Snapshot-en_INT_20990131.txt", texts),
        ("Snapshot/Terminology/sct2_Description_Snapshot-es_INT_20990131.txt", spanish),
        ("Snapshot/Terminology/sct2_Relationship_Snapshot_INT_20990131.txt", relations),
        ("Snapshot/Refset/Language/der2_cRefset_LanguageSnapshot-en_INT_20990131.txt", languages),
        ("Snapshot/Refset/Content/der2_Refset_SimpleSnapshot_INT_20990131.txt", members),
        ("Snapshot/Refset/Map/der2_iisssccRefset_ExtendedMapSnapshot_INT_20990131.txt", map),
        ("Readme_en_20990131.txt", "Nothing to see.".to_owned()),
    ] {
        files.push((name.to_owned(), text));
    }
    let zip_path = folder.with_extension("zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&zip_path).unwrap());
    for (name, text) in files {
        let path = folder.join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &text).unwrap();
        zip.start_file(format!("SnomedCT_Moon/{name}"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    zip_path
}
