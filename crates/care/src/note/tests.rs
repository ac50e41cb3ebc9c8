use super::*;
use crate::element::key;
use fhir::Resource;
use jiff::Timestamp;
use proptest::prelude::*;
use record::{Change, ChangeSet};
use serde_json::json;

fn now() -> Timestamp {
    "2026-11-23T07:00:00Z".parse().unwrap()
}

fn encounter() -> Resource {
    Resource::from_value(json!({"resourceType": "Encounter", "id": "v", "status": "in-progress",
        "class": {"code": "VR"}, "subject": {"reference": "Patient/p", "display": "Amina"}}))
    .unwrap()
}

fn code(code: &str) -> SystemCode {
    SystemCode {
        code: code.into(),
        display: format!("words of {code}"),
        system: crate::vocabulary::ICD10.into(),
    }
}

/// A tiny store: what is there after each plan.
#[derive(Default)]
struct Chart {
    note: Option<Resource>,
    conditions: Vec<Resource>,
}

impl Chart {
    fn apply(&mut self, set: &ChangeSet) {
        for change in &set.changes {
            let (resource, version) = match change {
                Change::Create { resource } => (resource, 0),
                Change::Update { resource, if_match } => (resource, if_match.unwrap()),
                Change::Delete { key, .. } => {
                    self.conditions.retain(|c| c.id() != Some(key.id.as_str()));
                    continue;
                }
                other => unreachable!("{other:?} is never planned"),
            };
            assert_eq!(fhir::validate::validate(resource), Vec::new(), "what is planned is valid R4");
            let mut resource = resource.clone();
            resource.set_version(version + 1, now());
            if resource.kind().name() == "Composition" {
                self.note = Some(resource);
            } else {
                self.conditions.retain(|c| c.id() != resource.id());
                self.conditions.push(resource);
            }
        }
    }
    fn plan(
        &self,
        input: &NoteInput,
        plan: fn(&NoteInput, &SaveSnapshot<'_>) -> Result<ChangeSet, record::Rule>,
        ids: &[&str],
    ) -> Result<ChangeSet, record::Rule> {
        let (encounter, doctor) = (encounter(), key("Practitioner", "d"));
        let author = Signer { key: &doctor, name: "Dr Otieno", now: now() };
        let new_ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        plan(
            input,
            &SaveSnapshot {
                encounter: &encounter,
                note: self.note.as_ref(),
                conditions: &self.conditions,
                author: &author,
                new_ids: &new_ids,
            },
        )
    }
    fn sign(&self) -> Result<ChangeSet, record::Rule> {
        let doctor = key("Practitioner", "d");
        let signer = Signer { key: &doctor, name: "Dr Otieno", now: now() };
        plan_sign(self.note.as_ref().unwrap(), &self.conditions, &signer)
    }
    fn view(&self) -> Note {
        read(self.note.as_ref().unwrap(), &self.conditions)
    }
}

fn input(reason: &str, diagnoses: &[&str]) -> NoteInput {
    NoteInput {
        reason: reason.into(),
        diagnoses: diagnoses.iter().map(|c| code(c)).collect(),
        ..NoteInput::default()
    }
}

#[test]
fn a_note_from_the_first_word_to_the_amendment() {
    let mut chart = Chart::default();
    chart.apply(&chart.plan(&NoteInput::default(), plan_save, &[]).unwrap());
    assert_eq!(chart.sign().unwrap_err().code, "note-incomplete");
    chart.apply(&chart.plan(&input("Cough", &["J06.9", "R05"]), plan_save, &["c1", "c2"]).unwrap());
    assert_eq!(chart.view().diagnoses, [code("J06.9"), code("R05")]);
    chart.apply(&chart.plan(&input("Cough", &["R05", "J18.9"]), plan_save, &["c3", "c4"]).unwrap());
    assert_eq!(chart.view().diagnoses, [code("R05"), code("J18.9")], "in the order given");
    assert_eq!(chart.conditions.len(), 2, "a diagnosis of a draft is taken back without trace");
    let unchanged = chart.plan(&input("Cough", &["R05", "J18.9"]), plan_save, &["c5", "c6"]).unwrap();
    assert_eq!(unchanged, ChangeSet::default());
    assert_eq!(chart.plan(&input("x", &[]), plan_amend, &[]).unwrap_err().code, "note-not-signed");
    chart.apply(&chart.sign().unwrap());
    assert_eq!(chart.sign().unwrap(), ChangeSet::default());
    let status = |chart: &Chart, id: &str| {
        let found = chart.conditions.iter().find(|c| c.id() == Some(id)).unwrap();
        crate::element::text(found.value(), "/verificationStatus/coding/0/code").unwrap().to_owned()
    };
    assert_eq!(status(&chart, "c3"), "confirmed");
    assert_eq!(chart.plan(&input("x", &[]), plan_save, &[]).unwrap_err().code, "note-signed");
    let signed_at = chart.view().signed_at;
    assert!(signed_at.is_some());
    chart.apply(
        &chart.plan(&input("Cough and fever", &["J18.9", "R50.9"]), plan_amend, &["c7", "c8"]).unwrap(),
    );
    let view = chart.view();
    assert_eq!((view.status, view.diagnoses), (Status::Amended, vec![code("J18.9"), code("R50.9")]));
    assert_eq!(status(&chart, "c2"), "entered-in-error", "what was signed stays, marked");
    assert_eq!(status(&chart, "c7"), "confirmed");
    assert_eq!(chart.plan(&input("", &[]), plan_amend, &[]).unwrap_err().code, "note-incomplete");
}

#[test]
fn every_problem_of_a_note_is_named() {
    let chart = Chart::default();
    let long = "x".repeat(SECTION_CHARS_MAX + 1);
    for (input, expected, field) in [
        (input(&long, &[]), "too-long", "/reason"),
        (NoteInput { plan: "a\u{1}".into(), ..NoteInput::default() }, "text-invalid", "/plan"),
        (input("x", &["A", "A"]), "diagnosis-twice", "/diagnoses/1/code"),
        (input("x", &[""]), "required", "/diagnoses/0/code"),
        (input("x", &["A B"]), "code-invalid", "/diagnoses/0/code"),
        (NoteInput { follow_up: Some("y".repeat(501)), ..NoteInput::default() }, "too-long", "/follow_up"),
    ] {
        let rule = chart.plan(&input, plan_save, &["1", "2"]).unwrap_err();
        assert_eq!((rule.code, rule.field.as_str()), (expected, field));
    }
    let many: Vec<String> = (0..=DIAGNOSES_MAX).map(|n| format!("A{n}")).collect();
    let many = input("x", &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(chart.plan(&many, plan_save, &[]).unwrap_err().code, "too-many");
}

#[test]
fn narratives_of_any_origin_become_text() {
    for (div, expected) in [
        ("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>One</p><p>Two &lt; 3</p></div>", "One\nTwo < 3"),
        ("<div><ul><li>a</li><li>b&#233;&#x41;</li></ul></div>", "a\nbéA"),
        ("<div>AT&T <b>bold</b> &unknown; &</div>", "AT&T bold &unknown; &"),
        ("<div>broken <", "broken "),
        ("", ""),
    ] {
        assert_eq!(from_xhtml(div), expected, "{div}");
    }
}

proptest! {
    #[test]
    fn written_text_reads_back(text in "[^\\p{C}]{0,60}(\n[^\\p{C}]{1,20}){0,3}") {
        prop_assert_eq!(from_xhtml(&to_xhtml(&text)), text);
    }

    #[test]
    fn any_narrative_is_read_without_panic(text in ".{0,200}") {
        let _ = from_xhtml(&text);
    }
}
