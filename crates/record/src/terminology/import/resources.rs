//! FHIR files: CodeSystem, ValueSet and ConceptMap as JSON, XML, NDJSON, bundles and packages.
//!
//! They become resources of the record, as if a client had written them; only a code system too large to be held in
//! memory goes into the tables of loaded terminologies.

use super::archive::Archive;
use super::detect::loaded;
use super::load::{Loader, Round, Target};
use super::{ImportError, Loaded, Progress, Request};
use access::Ctx;
use fhir::{Resource, TypeId};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::io::{BufRead, Read};
use wire::terminology::{Item, Sink};

/// Largest document; it is held in memory whole.
const MAX_DOCUMENT: u64 = 1 << 30;
/// Concepts from which a code system is loaded instead of kept as a resource.
pub(super) const LARGE: usize = 3_000;
/// Resources written at once.
const LINES: usize = 200;
/// Refusals told.
const MAX_REFUSED: usize = 1_000;

fn is_wanted(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let file = lower.rsplit('/').next().unwrap_or_default();
    // Examples and indexes of packages are no content.
    !lower.contains("/example")
        && !file.starts_with('.')
        && file != "package.json"
        && [".json", ".xml", ".ndjson"].iter().any(|end| file.ends_with(end))
}

/// Errors: a file that cannot be read; of the database. What is wrong with single resources is in the result.
pub(super) fn import(
    loader: &Loader<'_>,
    ctx: &Ctx,
    archive: &Archive,
    request: &Request,
    runtime: &tokio::runtime::Handle,
) -> Result<Vec<Loaded>, ImportError> {
    let mut run = Run {
        loader,
        ctx,
        request,
        runtime,
        lines: Vec::new(),
        done: Loaded {
            format: "FHIR",
            url: archive.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            ..Loaded::default()
        },
        large: Vec::new(),
    };
    archive.each(&is_wanted, &mut |name, input| run.file(name, input))?;
    run.flush()?;
    let Run { done, mut large, .. } = run;
    if done.resources + done.unchanged > 0 || !done.refused.is_empty() || large.is_empty() {
        large.push(done);
    }
    Ok(large)
}

struct Run<'r> {
    loader: &'r Loader<'r>,
    ctx: &'r Ctx,
    request: &'r Request,
    runtime: &'r tokio::runtime::Handle,
    lines: Vec<Vec<u8>>,
    done: Loaded,
    large: Vec<Loaded>,
}

impl Run<'_> {
    fn refuse(&mut self, text: String) {
        if self.done.refused.len() < MAX_REFUSED {
            self.done.refused.push(text);
        }
    }

    fn file(&mut self, name: &str, input: &mut dyn BufRead) -> Result<(), ImportError> {
        let wrong = |text: String| ImportError::File { file: name.to_owned(), text };
        if name.to_ascii_lowercase().ends_with(".ndjson") {
            let mut lines = wire::terminology::line::Lines::new(name, input);
            while let Some(line) = lines.next_line()? {
                if !line.trim().is_empty() {
                    let at = format!("{name}, line {}", lines.number());
                    self.document(&at, line.as_bytes(), false)?;
                }
            }
            return Ok(());
        }
        let mut bytes = Vec::new();
        input.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(wrong("the document is larger than 1 GiB".to_owned()));
        }
        self.document(name, &bytes, name.to_ascii_lowercase().ends_with(".xml"))
    }

    fn document(&mut self, at: &str, bytes: &[u8], is_xml: bool) -> Result<(), ImportError> {
        let parsed = if is_xml { fhir::xml::parse(bytes) } else { Resource::parse(bytes) };
        match parsed {
            Ok(resource) => self.take(at, resource),
            Err(outcome) => {
                self.refuse(format!("{at}: {outcome}"));
                Ok(())
            }
        }
    }

    fn take(&mut self, at: &str, resource: Resource) -> Result<(), ImportError> {
        match resource.kind().name() {
            "Bundle" => {
                let Json::Object(mut bundle) = resource.into_value() else { return Ok(()) };
                let Some(Json::Array(entries)) = bundle.remove("entry") else { return Ok(()) };
                for (n, mut entry) in entries.into_iter().enumerate() {
                    let Some(inner) = entry.get_mut("resource").map(Json::take) else { continue };
                    if let Ok(inner) = Resource::from_value(inner)
                        && inner.kind().name() != "Bundle"
                    {
                        self.take(&format!("{at}, entry {n}"), inner)?;
                    }
                }
                Ok(())
            }
            "CodeSystem" if concepts(resource.get("concept")) >= LARGE => self.large(&resource),
            "CodeSystem" | "ValueSet" | "ConceptMap" => self.resource(at, resource),
            _ => Ok(()),
        }
    }

    fn large(&mut self, resource: &Resource) -> Result<(), ImportError> {
        let text = |name: &str| resource.text(name).unwrap_or_default().to_owned();
        let mut header = resource.value().clone();
        if let Some(object) = header.as_object_mut() {
            object.shift_remove("concept");
            object.shift_remove("text");
        }
        let target = Target {
            url: self.request.system.clone().unwrap_or_else(|| text("url")),
            version: self.request.version.clone().unwrap_or_else(|| text("version")),
            header,
            as_default: self.request.use_it,
            dry_run: self.request.dry_run,
            map: |_| (String::new(), String::new()),
        };
        if target.url.is_empty() {
            self.refuse("A CodeSystem has no url; name it by --system.".to_owned());
            return Ok(());
        }
        let outcome = self.loader.load(&target, &mut |round, sink: &mut dyn Sink| {
            Ok(wire::terminology::fhir::code_system(resource.value(), &mut |item: Item<'_>| match (
                round, &item,
            ) {
                (Round::Hierarchy, Item::Concept { .. } | Item::Parent { .. }) | (Round::Everything, _) => {
                    sink.take(item)
                }
                _ => Ok(()),
            })?)
        })?;
        self.large.push(loaded("FHIR CodeSystem", &target, outcome));
        Ok(())
    }

    fn resource(&mut self, at: &str, mut resource: Resource) -> Result<(), ImportError> {
        let Some(url) = resource.text("url").map(str::to_owned) else {
            self.refuse(format!("{at}: a {} without url cannot be used", resource.kind().name()));
            return Ok(());
        };
        let version = resource.text("version").unwrap_or_default().to_owned();
        let id = self.id(&resource, &url, &version)?;
        resource.set_id(&id);
        self.lines.push(resource.to_json().into_bytes());
        if self.lines.len() >= LINES { self.flush() } else { Ok(()) }
    }

    /// The id of the resource with this URL and version that is there already; else one made of both: ids of packages
    /// are often those of other packages too.
    fn id(&self, resource: &Resource, url: &str, version: &str) -> Result<String, ImportError> {
        let kind: TypeId = resource.kind();
        let Some(param) = fhir::definitions::param(kind, "url").map(|p| p.id) else {
            return Err(ImportError::Refused(format!("{} has no url to be found by", kind.name())));
        };
        let (wanted, wanted_version) = (url.to_owned(), version.to_owned());
        let found = self.loader.record.inner.store.read_blocking(move |tx| {
            for found in store::terminology::resources(tx, kind, param, &wanted)? {
                let content = store::terminology::content(tx, found.rid)?;
                let value: Option<Json> = content.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                let is = value.is_some_and(|v| {
                    v.get("version").and_then(Json::as_str).unwrap_or_default() == wanted_version
                });
                if is {
                    return Ok(Some(found.id));
                }
            }
            Ok::<_, store::Error>(None)
        })?;
        Ok(found.unwrap_or_else(|| {
            let digest = Sha256::digest(format!("{url}|{version}").as_bytes());
            let mut half = [0u8; 16];
            half.copy_from_slice(&digest[..16]);
            uuid::Builder::from_custom_bytes(half).into_uuid().to_string()
        }))
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return Ok(());
        }
        let count = lines.len() as u64;
        if self.request.dry_run {
            for line in &lines {
                match Resource::parse(line) {
                    Ok(resource) => {
                        let issues = fhir::validate::validate(&resource);
                        let errors = fhir::Outcome { issues };
                        if errors.has_errors() {
                            self.refuse(format!("{}: {errors}", resource.text("url").unwrap_or_default()));
                        } else {
                            self.done.resources += 1;
                        }
                    }
                    Err(outcome) => self.refuse(outcome.to_string()),
                }
            }
        } else {
            let urls: Vec<String> = lines
                .iter()
                .map(|l| {
                    Resource::parse(l).ok().and_then(|r| r.text("url").map(str::to_owned)).unwrap_or_default()
                })
                .collect();
            let name = self.done.url.clone();
            let report =
                self.runtime.block_on(self.loader.record.import_lines(self.ctx, &name, None, 0, lines))?;
            self.done.resources += report.taken;
            self.done.unchanged += report.unchanged;
            for (line, _, reason) in report.refused {
                let url = usize::try_from(line).ok().and_then(|n| urls.get(n)).cloned().unwrap_or_default();
                self.refuse(format!("{url}: {reason}"));
            }
        }
        (self.loader.progress)(Progress::Resources { count });
        Ok(())
    }
}

/// Concepts, with those within.
fn concepts(list: Option<&Json>) -> usize {
    let mut count = 0;
    let mut open: Vec<&Json> = list.into_iter().collect();
    while let Some(next) = open.pop() {
        for concept in next.as_array().into_iter().flatten() {
            count += 1;
            open.extend(concept.get("concept"));
        }
    }
    count
}
