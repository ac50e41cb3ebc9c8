//! `Composition/$document`.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use ::fhir::ResourceKey;
use record::{Change, ChangeSet, Error};

const PERSIST: Parameter = Parameter::new(
    "persist",
    "boolean",
    "Keep the document at `/Bundle`, by POST only; needs the right to create Bundles.",
);
const RETURN: Parameter = Parameter::new("return", "Bundle", "The document.").out().required();
const TEXT: &str = "A Bundle of type `document`: the Composition, then whom it is about, the encounter, authors, attesters, \
                    custodian, the entries of the sections in their order, and what these refer to as far as the caller may \
                    read it. What the Composition names itself must be here and readable.";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "document",
        id: "Composition-document",
        url: "http://hl7.org/fhir/OperationDefinition/Composition-document",
        title: "The document of a composition",
        text: TEXT,
        levels: Levels::INSTANCE,
        kinds: Kinds::These(&["Composition"]),
        affects_state: false,
        parameters: &[PERSIST, RETURN],
        handler: |call| Box::pin(document(call)),
    },
    Operation {
        code: "document",
        id: "Composition-document-by-id",
        url: "",
        title: "The document of a composition that is named by a parameter",
        text: TEXT,
        levels: Levels::KIND,
        kinds: Kinds::These(&["Composition"]),
        affects_state: false,
        parameters: &[
            Parameter::new("id", "uri", "Logical id or URL of a Composition of this server.").required(),
            PERSIST,
            RETURN,
        ],
        handler: |call| Box::pin(document(call)),
    },
];

async fn document(call: Call) -> Answer {
    let base = call.base();
    let key = match &call.key {
        Some(key) => key.clone(),
        None => {
            let given = call.input.text("id").unwrap_or_default();
            let local = given.strip_prefix(&format!("{base}/")).unwrap_or(given);
            let local = local.strip_prefix("Composition/").unwrap_or(local);
            ResourceKey::parse(&format!("Composition/{local}"))
                .ok_or_else(|| wrong("id", "Name a Composition of this server by id or URL."))?
        }
    };
    let persist = call.input.flag("persist") == Some(true);
    if persist && call.is_get {
        return Err(wrong("persist", "A GET keeps nothing: send this as a POST."));
    }
    let bundle = call.app.record.document(&call.ctx, &key, &base).await?;
    if !persist {
        return Ok(Output::Resource(Box::new(bundle)));
    }
    let set = ChangeSet { changes: vec![Change::Create { resource: bundle }], ..ChangeSet::default() };
    let committed = call.app.record.write(&call.ctx, set).await?;
    let written = committed.written.into_iter().next().and_then(|w| w.resource);
    written
        .map(|resource| Output::Resource(Box::new((*resource).clone())))
        .ok_or_else(|| Error::Denied.into())
}
