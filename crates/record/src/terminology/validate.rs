//! `$validate-code`: whether a code is in a code system or value set, and whether its display is right.

use super::compose::{Listed, Part};
use super::lookup::in_version;
use super::system::System;
use super::{Source, Terminology, language};
use crate::Error;
use fhir::{Issue, IssueCode, Severity};
use store::Tx;
use store::terminology::Concept;

/// Display names told where the given one is wrong.
const MAX_NAMES: usize = 5;

/// One coding to check.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// "" if it was not said; then the value set must make it clear.
    pub system: String,
    pub version: Option<String>,
    pub code: String,
    pub display: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ValidateCode {
    /// `None`: only against the code system.
    pub value_set: Option<Source>,
    /// One, or the codings of a CodeableConcept, of which one must be right.
    pub codings: Vec<Given>,
    pub display_language: String,
    /// Abstract codes will do; unless it is false.
    pub is_abstract_allowed: bool,
    pub system_versions: Vec<String>,
    /// FHIRPath of what is checked, for the issues: `Coding`, `CodeableConcept` or "".
    pub path: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    pub result: bool,
    /// What is wrong, or worth knowing.
    pub message: Option<String>,
    /// The system's display, if the code is known.
    pub display: Option<String>,
    /// The coding that the answer is about.
    pub coding: Option<Given>,
    pub issues: Vec<Issue>,
}

/// What became of one coding.
struct Checked {
    is_member: bool,
    is_right: bool,
    display: Option<String>,
    system: Option<String>,
    version: Option<String>,
    issues: Vec<Issue>,
}

impl Terminology {
    /// Errors: `Invalid` with `not-found` for a value set that is not known, or (without value set) a code system; what
    /// is wrong with the value set itself.
    pub fn validate_code(&self, tx: &mut dyn Tx, request: &ValidateCode) -> Result<Validation, Error> {
        let versions = super::expand::system_versions(&request.system_versions);
        let set = match &request.value_set {
            Some(source) => Some((self.set(tx, source, &versions)?, source.label())),
            None => None,
        };
        let wishes = language::wishes(&request.display_language);
        let mut best: Option<(Given, Checked)> = None;
        let mut issues = Vec::new();
        for (n, given) in request.codings.iter().enumerate() {
            let path = match request.path.as_str() {
                "CodeableConcept" => format!("CodeableConcept.coding[{n}]"),
                path => path.to_owned(),
            };
            let mut checked = match &set {
                Some((set, label)) => self.in_set(tx, given, &set.parts, label, request, &wishes, &path)?,
                None => self.in_system(tx, given, request, &wishes, &path)?,
            };
            issues.append(&mut checked.issues);
            let is_better = best
                .as_ref()
                .is_none_or(|(_, b)| (checked.is_right, checked.is_member) > (b.is_right, b.is_member));
            if is_better {
                best = Some((given.clone(), checked));
            }
        }
        let Some((mut given, checked)) = best else {
            return Err(super::refuse(IssueCode::Required, "There is no code to check."));
        };
        if checked.is_member && request.codings.len() > 1 {
            // One coding of a concept must be in the set; that the others are not is worth knowing only.
            for issue in &mut issues {
                if issue.code == IssueCode::CodeInvalid {
                    issue.severity = Severity::Information;
                }
            }
        }
        if given.system.is_empty() {
            given.system = checked.system.unwrap_or_default();
        }
        given.version = checked.version.or(given.version);
        let message: Vec<&str> =
            issues.iter().filter(|i| i.severity != Severity::Information).map(|i| i.text.as_str()).collect();
        Ok(Validation {
            result: checked.is_right,
            message: (!message.is_empty()).then(|| message.join(" ")),
            display: checked.display,
            coding: Some(given),
            issues,
        })
    }

    fn in_system(
        &self,
        tx: &mut dyn Tx,
        given: &Given,
        request: &ValidateCode,
        wishes: &[String],
        path: &str,
    ) -> Result<Checked, Error> {
        let system = self.known_system(tx, &given.system, given.version.as_deref())?;
        let mut checked = Checked::new(given);
        checked.version = Some(system.version().to_owned()).filter(|v| !v.is_empty());
        match system.concept(tx, &given.code)? {
            Some(mut concept) => {
                self.supplements(tx, &system)?.add_to(&mut concept);
                checked.found(&system, Some(concept), None, given, request, wishes, path)
            }
            None => checked.wrong(
                IssueCode::CodeInvalid,
                path,
                "code",
                format!(
                    "`{}` is no code of `{}`{}.{}",
                    given.code,
                    system.url(),
                    in_version(system.version()),
                    if system.is_complete() { "" } else { " Only a part of this code system is known here." }
                ),
            ),
        }
        Ok(checked)
    }

    #[expect(clippy::too_many_arguments, reason = "one call, from the loop over the codings")]
    fn in_set(
        &self,
        tx: &mut dyn Tx,
        given: &Given,
        parts: &[Part],
        label: &str,
        request: &ValidateCode,
        wishes: &[String],
        path: &str,
    ) -> Result<Checked, Error> {
        let mut checked = Checked::new(given);
        let mut holding: Vec<&Part> = Vec::new();
        for part in parts.iter().filter(|p| given.system.is_empty() || p.system == given.system) {
            if let (Some(wanted), Some(system)) = (&given.version, &part.known)
                && part.version.is_some()
                && wanted != system.version()
            {
                continue;
            }
            if part.contains(tx, &given.code)? {
                holding.push(part);
            }
        }
        match holding[..] {
            [part, ..] if holding.len() == 1 || !given.system.is_empty() => {
                checked.system = Some(part.system.clone());
                match &part.known {
                    Some(system) => {
                        checked.version = Some(system.version().to_owned()).filter(|v| !v.is_empty());
                        let mut concept = system.concept(tx, &given.code)?;
                        if let Some(concept) = &mut concept {
                            self.supplements(tx, system)?.add_to(concept);
                        }
                        let number = concept.as_ref().map(|c| c.number);
                        let listed = part.listed.iter().find(|l| l.number.is_some() && l.number == number);
                        checked.found(system, concept, listed, given, request, wishes, path);
                    }
                    None => {
                        let listed = part.listed.iter().find(|l| l.code == given.code);
                        checked.listed(listed, given, path);
                    }
                }
            }
            [_, _, ..] => checked.wrong(
                IssueCode::NotFound,
                path,
                "system",
                format!(
                    "`{}` is a code of several code systems of the value set `{label}`; say which is meant.",
                    given.code
                ),
            ),
            _ => {
                let text = self.absent(tx, given, label)?;
                checked.wrong(IssueCode::CodeInvalid, path, "code", text);
            }
        }
        Ok(checked)
    }

    /// Why a code is not in a value set.
    fn absent(&self, tx: &mut dyn Tx, given: &Given, label: &str) -> Result<String, Error> {
        let code = &given.code;
        let base = format!("`{code}` is not in the value set `{label}`");
        if given.system.is_empty() {
            return Ok(format!("{base}."));
        }
        let of = format!("`{}|{code}` is not in the value set `{label}`", given.system);
        Ok(match self.system(tx, &given.system, None)? {
            None => format!("{of}, and the code system is not known here."),
            Some(system) => match system.concept(tx, code)? {
                None if system.is_complete() => {
                    format!(
                        "{of}; it is no code of `{}`{} at all.",
                        system.url(),
                        in_version(system.version())
                    )
                }
                _ => format!("{of}."),
            },
        })
    }
}

impl Checked {
    fn new(given: &Given) -> Checked {
        Checked {
            is_member: false,
            is_right: false,
            display: None,
            system: Some(given.system.clone()).filter(|s| !s.is_empty()),
            version: None,
            issues: Vec::new(),
        }
    }

    fn wrong(&mut self, code: IssueCode, path: &str, element: &str, text: String) {
        self.is_right = false;
        self.issues.push(Issue::error(code, at(path, element), text));
    }

    #[expect(clippy::too_many_arguments, reason = "the facts of one code")]
    fn found(
        &mut self,
        system: &System,
        concept: Option<Concept>,
        listed: Option<&Listed>,
        given: &Given,
        request: &ValidateCode,
        wishes: &[String],
        path: &str,
    ) {
        let Some(concept) = concept else { return };
        (self.is_member, self.is_right) = (true, true);
        let extra = listed.map_or(&[][..], |l| l.designations.as_slice());
        let own = listed.and_then(|l| l.display.as_deref());
        self.display = language::display(Some(&concept), own, extra, wishes, system.text("language"));
        if concept.is_abstract && !request.is_abstract_allowed {
            self.wrong(
                IssueCode::BusinessRule,
                path,
                "code",
                format!("`{}` only groups other codes and is not to be used itself.", given.code),
            );
        }
        if concept.inactive {
            self.issues.push(Issue::warning(
                IssueCode::BusinessRule,
                at(path, "code"),
                format!("`{}` is no longer active in `{}`.", given.code, system.url()),
            ));
        }
        let names: Vec<&str> = own.into_iter().chain(extra.iter().map(|d| d.value.as_str())).collect();
        if let Some(display) = given.display.as_deref().filter(|d| !d.is_empty())
            && !language::is_name(&concept, &names, display)
        {
            let mut known = vec![self.display.clone().unwrap_or_default()];
            for d in &concept.detail.designations {
                if known.len() < MAX_NAMES && !d.value.is_empty() && !known.contains(&d.value) {
                    known.push(d.value.clone());
                }
            }
            let known: Vec<String> =
                known.iter().filter(|k| !k.is_empty()).map(|k| format!("`{k}`")).collect();
            self.wrong(
                IssueCode::Value,
                path,
                "display",
                format!("`{display}` is no name of `{}`; it is {}.", given.code, known.join(" or ")),
            );
        }
    }

    /// A code of a system that is not known here, which the value set lists.
    fn listed(&mut self, listed: Option<&Listed>, given: &Given, path: &str) {
        let Some(listed) = listed else { return };
        (self.is_member, self.is_right) = (true, true);
        self.display.clone_from(&listed.display);
        if let (Some(display), Some(own)) =
            (given.display.as_deref().filter(|d| !d.is_empty()), &listed.display)
        {
            let folded = fhir::search::fold(display);
            let is_known = std::iter::once(own.as_str())
                .chain(listed.designations.iter().map(|d| d.value.as_str()))
                .any(|n| fhir::search::fold(n) == folded);
            if !is_known {
                // Other names may be right; the system that would know them is not here.
                self.issues.push(Issue::warning(
                    IssueCode::Value,
                    at(path, "display"),
                    format!("The value set calls `{}` `{own}`, not `{display}`.", given.code),
                ));
            }
        }
    }
}

fn at(path: &str, element: &str) -> String {
    if path.is_empty() { element.to_owned() } else { format!("{path}.{element}") }
}
