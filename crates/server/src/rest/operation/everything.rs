//! `Patient/id/$everything`, `Encounter/id/$everything`.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use crate::http::error::FhirError;
use crate::rest::search::CURSOR;
use ::fhir::TypeId;
use record::operation::{Everything, EverythingPage};
use std::fmt::Write as _;

const SINCE: Parameter = Parameter::new("_since", "instant", "Only what changed at or after this time.");
const KINDS: Parameter =
    Parameter::new("_type", "code", "Only these types, separated by commas or repeated.").many();
const COUNT: Parameter = Parameter::new("_count", "integer", "Resources per page; all at once without it.");
const CURSOR_PARAMETER: Parameter =
    Parameter::new(CURSOR, "string", "Where the next page begins, from the `next` link.");
const RETURN: Parameter =
    Parameter::new("return", "Bundle", "A searchset; what is only referred to has the mode `include`.")
        .out()
        .required();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "everything",
        id: "Patient-everything",
        url: "http://hl7.org/fhir/OperationDefinition/Patient-everything",
        title: "The whole chart of a patient",
        text: "Everything in the patient's compartment that the caller may read, and the practitioners, organizations, \
               places and medicines it refers to. Pages are in the order of first recording: nothing is missed or \
               repeated while others write.",
        levels: Levels::INSTANCE,
        kinds: Kinds::These(&["Patient"]),
        affects_state: false,
        parameters: &[
            Parameter::new("start", "date", "Care from this day on; what has no date is always in."),
            Parameter::new("end", "date", "Care up to this day."),
            SINCE,
            KINDS,
            COUNT,
            CURSOR_PARAMETER,
            RETURN,
        ],
        handler: |call| Box::pin(everything(call)),
    },
    Operation {
        code: "everything",
        id: "Encounter-everything",
        url: "http://hl7.org/fhir/OperationDefinition/Encounter-everything",
        title: "All of one visit",
        text: "The encounter, what refers to it, what it names, and the practitioners, organizations, places and \
               medicines behind these; as far as the caller may read it.",
        levels: Levels::INSTANCE,
        kinds: Kinds::These(&["Encounter"]),
        affects_state: false,
        parameters: &[SINCE, KINDS, COUNT, CURSOR_PARAMETER, RETURN],
        handler: |call| Box::pin(everything(call)),
    },
];

async fn everything(call: Call) -> Answer {
    let input = &call.input;
    let mut kinds = Vec::new();
    for name in input.texts("_type").flat_map(|text| text.split(',')).map(str::trim).filter(|n| !n.is_empty())
    {
        let kind = TypeId::from_name(name).ok_or_else(|| {
            wrong("_type", format!("`{}` is no FHIR R4 resource type.", super::printable(name)))
        })?;
        kinds.push(kind);
    }
    let low = |name: &str| input.text(name).and_then(::fhir::range_us);
    let since = match low("_since") {
        Some((low_us, _)) => Some(
            jiff::Timestamp::from_microsecond(low_us)
                .map_err(|_| wrong("_since", "This time is out of range."))?,
        ),
        None => None,
    };
    let wanted = Everything {
        kinds,
        since,
        start_us: low("start").map(|(low_us, _)| low_us),
        end_us: low("end").map(|(_, high_us)| high_us),
        count: count(&call)?,
        cursor: input.text(CURSOR).map(str::to_owned),
    };
    let page = call.app.record.everything(&call.ctx, call.key()?, &wanted).await?;
    Ok(Output::Text(bundle(&call, &page)?))
}

/// Errors: 400 for `_count` below 1.
fn count(call: &Call) -> Result<Option<u32>, FhirError> {
    match call.input.number("_count") {
        None => Ok(None),
        Some(count) => u32::try_from(count)
            .ok()
            .filter(|count| *count > 0)
            .map(Some)
            .ok_or_else(|| wrong("_count", "_count must be 1 or more.")),
    }
}

/// Writes the searchset around the stored bytes.
fn bundle(call: &Call, page: &EverythingPage) -> Result<String, FhirError> {
    let base = call.base();
    let url = format!("{base}/{}/${}", call.key()?, call.operation.code);
    let size: usize = page.items.iter().map(|(item, _)| item.content.len() + 160).sum();
    let mut text = String::with_capacity(size + 1024);
    text.push_str("{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
    if page.next.is_none() && call.input.text(CURSOR).is_none() {
        let total = page.items.iter().filter(|(_, is_match)| *is_match).count();
        let _ = write!(text, ",\"total\":{total}");
    }
    let _ = write!(text, ",\"link\":[{}", link("self", &url, call, None));
    if let Some(next) = &page.next {
        let _ = write!(text, ",{}", link("next", &url, call, Some(next)));
    }
    text.push(']');
    for (n, (item, is_match)) in page.items.iter().enumerate() {
        text.push_str(if n == 0 { ",\"entry\":[" } else { "," });
        let content = std::str::from_utf8(&item.content)
            .map_err(|_| record::Error::Internal(format!("stored {} is not UTF-8", item.key)))?;
        let mode = if *is_match { "match" } else { "include" };
        let _ = write!(
            text,
            "{{\"fullUrl\":\"{base}/{}\",\"resource\":{content},\"search\":{{\"mode\":\"{mode}\"}}}}",
            item.key
        );
    }
    text.push_str(if page.items.is_empty() { "}" } else { "]}" });
    Ok(text)
}

/// The parameters as they were given, whether by URL or by body; a further page is a GET.
fn link(relation: &str, url: &str, call: &Call, cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, given) in call.input.pairs() {
        let text = match given.value() {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => continue,
        };
        if cursor.is_none() || name != CURSOR {
            query.append_pair(name, &text);
        }
    }
    if let Some(cursor) = cursor {
        query.append_pair(CURSOR, cursor);
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    // Percent-encoding leaves nothing that JSON would have to escape.
    format!("{{\"relation\":\"{relation}\",\"url\":\"{url}{mark}{query}\"}}")
}
