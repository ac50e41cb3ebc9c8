//! What a distribution is, by the names its publisher gives the files, and how its files are read.

use super::archive::{Archive, Entry};
use super::load::{Loader, Outcome, Round, Target};
use super::{ImportError, Loaded, Progress, Request};
use serde_json::{Value as Json, json};
use std::cell::RefCell;
use std::io::{BufRead, Read};
use wire::terminology::{Fault, Item, Sink, claml, icd10, icd11, loinc, rf2};

pub(super) enum Distribution {
    Snomed {
        files: Vec<(rf2::Part, rf2::Release, Entry)>,
    },
    Loinc {
        files: Vec<(loinc::Part, Entry)>,
    },
    Icd11 {
        file: Entry,
    },
    Icd10 {
        files: Vec<(icd10::Part, Entry)>,
    },
    Claml {
        file: Entry,
    },
    /// Any list of codes.
    Table {
        file: Entry,
    },
    /// FHIR resources: JSON, XML, NDJSON, packages.
    Resources,
}

/// Bytes looked at to tell one XML from another.
const SNIFF: u64 = 4096;

/// What is in an archive. Errors: nothing that is known.
pub(super) fn distributions(archive: &Archive, request: &Request) -> Result<Vec<Distribution>, ImportError> {
    let mut snomed: Vec<(rf2::Part, rf2::Release, Entry)> = Vec::new();
    let mut loinc_files = Vec::new();
    let (mut icd11_files, mut icd10_files, mut tables, mut xml) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut has_resources = false;
    for file in &archive.files {
        if let Some((part, release)) = rf2::part_of(&file.name) {
            snomed.push((part, release, file.clone()));
        } else if let Some(part) = loinc::part_of(&file.name) {
            loinc_files.push((part, file.clone()));
        } else if icd11::is_part(&file.name) {
            icd11_files.push(file.clone());
        } else if let Some(part) = icd10::part_of(&file.name) {
            icd10_files.push((part, file.clone()));
        } else {
            match file.name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "json" | "ndjson" => has_resources = true,
                "xml" => xml.push(file.clone()),
                "csv" => tables.push(file.clone()),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    if !snomed.is_empty() {
        // A Snapshot says what a Full says of today, at a fraction of the size.
        if snomed.iter().any(|(_, release, _)| *release == rf2::Release::Snapshot) {
            snomed.retain(|(_, release, _)| *release == rf2::Release::Snapshot);
        }
        snomed.sort_by(|a, b| (a.0, &a.2.name).cmp(&(b.0, &b.2.name)));
        found.push(Distribution::Snomed { files: snomed });
    }
    if loinc_files.iter().any(|(part, _)| *part == loinc::Part::Terms) {
        loinc_files.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        // Archives repeat the parts in other folders.
        loinc_files.dedup_by(|a, b| a.0 == b.0 && a.0 != loinc::Part::Language);
        found.push(Distribution::Loinc { files: loinc_files });
    }
    found.extend(icd11_files.into_iter().map(|file| Distribution::Icd11 { file }));
    if icd10_files.iter().any(|(part, _)| *part == icd10::Part::CmOrder) {
        // The order file has all that the codes file has.
        icd10_files.retain(|(part, _)| *part != icd10::Part::CmCodes);
    }
    if !icd10_files.is_empty() {
        icd10_files.sort_by_key(|(part, _)| *part);
        found.push(Distribution::Icd10 { files: icd10_files });
    }
    for file in xml {
        if is_claml(archive, &file)? {
            found.push(Distribution::Claml { file });
        } else {
            has_resources = true;
        }
    }
    if has_resources {
        found.push(Distribution::Resources);
    }
    // In an archive with something known, other tables belong to it.
    if found.is_empty() {
        if !tables.is_empty() && request.system.is_none() {
            return Err(ImportError::Refused(format!(
                "{}: name the code system of this table by --system",
                archive.path.display()
            )));
        }
        found.extend(tables.into_iter().map(|file| Distribution::Table { file }));
    }
    if found.is_empty() {
        return Err(ImportError::Refused(format!(
            "{}: no terminology that is known. Known are SNOMED CT RF2, LOINC, ICD-11 (LinearizationMiniOutput), ICD-10 \
             (ClaML, WHO meta files, ICD-10-CM), tables as CSV with --system, and FHIR CodeSystem, ValueSet and \
             ConceptMap as JSON, XML or package.",
            archive.path.display()
        )));
    }
    Ok(found)
}

fn is_claml(archive: &Archive, file: &Entry) -> Result<bool, ImportError> {
    archive.with(file, &mut |input| {
        let mut start = Vec::new();
        input
            .take(SNIFF)
            .read_to_end(&mut start)
            .map_err(|e| ImportError::File { file: file.name.clone(), text: e.to_string() })?;
        let text = String::from_utf8_lossy(&start);
        Ok(text.contains("<ClaML") || text.contains("ClaML.dtd"))
    })
}

/// What a code system says of itself.
struct About<'a> {
    format: &'static str,
    system: &'a str,
    version: String,
    name: &'a str,
    language: &'a str,
    copyright: &'a str,
    value_set: Option<String>,
}

fn target(about: About<'_>, request: &Request, map: fn(&str) -> (String, String)) -> (&'static str, Target) {
    let url = request.system.clone().unwrap_or_else(|| about.system.to_owned());
    let version = request.version.clone().unwrap_or(about.version);
    let mut header = json!({
        "resourceType": "CodeSystem", "url": url, "version": version, "name": about.name, "title": about.name,
        "status": "active", "content": "complete", "hierarchyMeaning": "is-a", "caseSensitive": true,
        "language": about.language, "copyright": about.copyright,
    });
    if let (Some(value_set), Some(object)) = (about.value_set, header.as_object_mut()) {
        object.insert("valueSet".into(), Json::String(value_set));
    }
    if let Some(object) = header.as_object_mut() {
        object.retain(|_, v| v.as_str() != Some(""));
    }
    let target = Target { url, version, header, as_default: request.use_it, dry_run: request.dry_run, map };
    (about.format, target)
}

fn no_map(_: &str) -> (String, String) {
    (String::new(), String::new())
}

fn snomed_map(refset: &str) -> (String, String) {
    (format!("{}?fhir_cm={refset}", rf2::SYSTEM), rf2::map_target(refset))
}

/// Only the hierarchy of a first round.
struct Skeleton<'s>(&'s mut dyn Sink);

impl Sink for Skeleton<'_> {
    fn take(&mut self, item: Item<'_>) -> Result<(), Fault> {
        match item {
            Item::Concept { .. } | Item::Parent { .. } | Item::Property { name: "first", .. } => {
                self.0.take(item)
            }
            _ => Ok(()),
        }
    }
}

/// Loads a distribution that is one code system. Errors: of its files, by line; of the database.
pub(super) fn load(
    loader: &Loader<'_>,
    archive: &Archive,
    distribution: &Distribution,
    request: &Request,
) -> Result<Loaded, ImportError> {
    let read = |entry: &Entry, round: Round, go: &mut dyn FnMut(&mut dyn BufRead) -> Result<(), Fault>| {
        (loader.progress)(Progress::Reading {
            file: entry.name.clone(),
            round: if round == Round::Hierarchy { 1 } else { 2 },
            bytes: entry.bytes,
        });
        archive.with(entry, &mut |input| Ok(go(input)?))
    };
    let (format, target, outcome) = match distribution {
        Distribution::Snomed { files } => return snomed(loader, archive, files, request),
        Distribution::Loinc { files } => {
            let about = About {
                format: "LOINC",
                system: loinc::SYSTEM,
                version: loinc_version(archive).unwrap_or_default(),
                name: "LOINC",
                language: "en-US",
                copyright: "This material contains content from LOINC (http://loinc.org). LOINC is copyright Regenstrief \
                            Institute, Inc. and is available at no cost under the license at http://loinc.org/license.",
                value_set: Some("http://loinc.org/vs".to_owned()),
            };
            let (format, mut target) = target(about, request, no_map);
            if let Some(header) = target.header.as_object_mut() {
                header.insert("caseSensitive".into(), Json::Bool(false));
            }
            let outcome = loader.load(&target, &mut |round, sink| {
                for (part, file) in files {
                    let is_outline = matches!(
                        part,
                        loinc::Part::Terms
                            | loinc::Part::Parts
                            | loinc::Part::Hierarchy
                            | loinc::Part::Answers
                    );
                    if round == Round::Everything || is_outline {
                        read(file, round, &mut |input| loinc::read(*part, &file.name, input, sink))?;
                    }
                }
                Ok(())
            })?;
            (format, target, outcome)
        }
        Distribution::Icd11 { file } => {
            let version = archive
                .with(file, &mut |input| Ok(icd11::read(&file.name, input, &mut |_: Item<'_>| Ok(()))?))?;
            let about = About {
                format: "ICD-11",
                system: icd11::SYSTEM,
                version: version.unwrap_or_default(),
                name: "ICD-11 MMS",
                language: icd11::language_of(&file.name),
                copyright: "World Health Organization, CC BY-ND 3.0 IGO",
                value_set: None,
            };
            let (format, target) = target(about, request, no_map);
            let outcome = loader.load(&target, &mut |round, sink| {
                read(file, round, &mut |input| icd11::read(&file.name, input, sink).map(drop))
            })?;
            (format, target, outcome)
        }
        Distribution::Icd10 { files } => {
            let is_cm = files.iter().any(|(p, _)| matches!(p, icd10::Part::CmOrder | icd10::Part::CmCodes));
            let year = files.iter().find_map(|(_, f)| icd10::year_of(&f.name)).unwrap_or_default();
            let about = About {
                format: if is_cm { "ICD-10-CM" } else { "ICD-10" },
                system: if is_cm { icd10::CM_SYSTEM } else { icd10::SYSTEM },
                version: year.to_owned(),
                name: if is_cm { "ICD-10-CM" } else { "ICD-10" },
                language: "en",
                copyright: if is_cm { "" } else { "World Health Organization" },
                value_set: None,
            };
            let (format, target) = target(about, request, no_map);
            let outcome = loader.load(&target, &mut |round, sink| {
                for (part, file) in files {
                    read(file, round, &mut |input| icd10::read(*part, &file.name, input, sink))?;
                }
                Ok(())
            })?;
            (format, target, outcome)
        }
        Distribution::Claml { file } => {
            let title = archive
                .with(file, &mut |input| Ok(claml::read(&file.name, input, &mut |_: Item<'_>| Ok(()))?))?;
            let name = if title.text.is_empty() { title.name.clone() } else { title.text.clone() };
            if !title.name.to_ascii_uppercase().contains("ICD-10") && request.system.is_none() {
                return Err(ImportError::Refused(format!(
                    "{}: this is `{name}`; name its code system by --system",
                    file.name
                )));
            }
            let about = About {
                format: "ClaML",
                system: icd10::SYSTEM,
                version: if title.version.is_empty() { title.date.clone() } else { title.version.clone() },
                name: &name,
                language: "en",
                copyright: "",
                value_set: None,
            };
            let (format, target) = target(about, request, no_map);
            let outcome = loader.load(&target, &mut |round, sink| {
                read(file, round, &mut |input| claml::read(&file.name, input, sink).map(drop))
            })?;
            (format, target, outcome)
        }
        Distribution::Table { file } => {
            let about = About {
                format: "table",
                system: "",
                version: String::new(),
                name: file.name.rsplit('/').next().unwrap_or_default().trim_end_matches(".csv"),
                language: "",
                copyright: "",
                value_set: None,
            };
            let (format, target) = target(about, request, no_map);
            let outcome = loader.load(&target, &mut |round, sink| {
                read(file, round, &mut |input| icd10::read_csv(&file.name, input, sink))
            })?;
            (format, target, outcome)
        }
        Distribution::Resources => {
            return Err(ImportError::Refused("resources are imported one by one".to_owned()));
        }
    };
    Ok(loaded(format, &target, outcome))
}

pub(super) fn loaded(format: &'static str, target: &Target, outcome: Outcome) -> Loaded {
    Loaded {
        format,
        url: target.url.clone(),
        version: target.version.clone(),
        concepts: outcome.concepts,
        names: outcome.names,
        properties: outcome.properties,
        members: outcome.members,
        maps: outcome.maps,
        warnings: outcome.warnings,
        ..Loaded::default()
    }
}

fn snomed(
    loader: &Loader<'_>,
    archive: &Archive,
    files: &[(rf2::Part, rf2::Release, Entry)],
    request: &Request,
) -> Result<Loaded, ImportError> {
    for (needed, name) in [
        (rf2::Part::Concept, "sct2_Concept_…"),
        (rf2::Part::Description, "sct2_Description_…"),
        (rf2::Part::Relationship, "sct2_Relationship_…"),
    ] {
        if !files.iter().any(|(part, ..)| *part == needed) {
            return Err(ImportError::Refused(format!(
                "{}: the file {name} of a Snapshot or Full release is missing",
                archive.path.display()
            )));
        }
    }
    let reader = RefCell::new(rf2::Reader::new());
    let read_one = |part: rf2::Part, release: rf2::Release, entry: &Entry, round: u8, sink: &mut dyn Sink| {
        (loader.progress)(Progress::Reading { file: entry.name.clone(), round, bytes: entry.bytes });
        let mut reader = reader.borrow_mut();
        if release == rf2::Release::Full {
            archive.with(entry, &mut |input| Ok(reader.survey(&entry.name, input)?))?;
        }
        archive.with(entry, &mut |input| Ok(reader.read(part, release, &entry.name, input, sink)?))
    };
    // The version is in the concepts, and must be known before the first row is written.
    for (part, release, entry) in files.iter().filter(|(part, ..)| *part == rf2::Part::Concept) {
        read_one(*part, *release, entry, 1, &mut |_: Item<'_>| Ok(()))?;
    }
    let date = files.iter().filter_map(|(.., f)| rf2::date_of(&f.name)).max().unwrap_or("19700101");
    let about = About {
        format: "SNOMED CT",
        system: rf2::SYSTEM,
        version: reader.borrow().version(date),
        name: "SNOMED CT",
        language: "en",
        copyright: "This material includes SNOMED Clinical Terms® (SNOMED CT®), used by permission of SNOMED International. \
                    SNOMED CT was originally created by the College of American Pathologists.",
        value_set: Some("http://snomed.info/sct?fhir_vs".to_owned()),
    };
    let (format, target) = target(about, request, snomed_map);
    let outcome = loader.load(&target, &mut |round, sink| {
        for (part, release, entry) in files {
            match round {
                Round::Hierarchy if matches!(part, rf2::Part::Concept | rf2::Part::Relationship) => {
                    read_one(*part, *release, entry, 1, &mut Skeleton(sink))?;
                }
                Round::Hierarchy => {}
                Round::Everything => read_one(*part, *release, entry, 2, sink)?,
            }
        }
        Ok(())
    })?;
    Ok(loaded(format, &target, outcome))
}

/// `Loinc_2.77.zip` or a folder of this name, or the version a file within says.
fn loinc_version(archive: &Archive) -> Option<String> {
    let names = archive.path.file_name().map(|n| n.to_string_lossy().into_owned());
    names.into_iter().chain(archive.files.iter().map(|f| f.name.clone())).find_map(|name| {
        let at = name.to_ascii_lowercase().find("loinc_")?;
        let rest = name.get(at + 6..)?;
        let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let version = version.trim_end_matches('.');
        (version.contains('.') && version.len() >= 3).then(|| version.to_owned())
    })
}
