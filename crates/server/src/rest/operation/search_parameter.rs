//! `SearchParameter/$index-status`: how far the index has come with the server's own search parameters.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter};
use ::fhir::search::State;
use serde_json::{Value, json};

const PARTS: &[Parameter] = &[
    Parameter::new("definition", "Reference", "The SearchParameter.").out().required(),
    Parameter::new("base", "code", "The resource type.").out().required(),
    Parameter::new("code", "code", "As in a query.").out().required(),
    Parameter::new("state", "code", "`building`, `ready` or `removing`.").out().required(),
    Parameter::new("done", "integer", "Resources looked at.").out().required(),
    Parameter::new("total", "integer", "Resources there were when it began.").out().required(),
];

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    code: "index-status",
    id: "SearchParameter-index-status",
    url: "",
    title: "How far the index is with own search parameters",
    text: "One entry for each type of each SearchParameter of this server's own: queries use it as soon as it is ready. \
           What is being removed is used no longer.",
    levels: Levels::KIND_AND_INSTANCE,
    kinds: Kinds::These(&["SearchParameter"]),
    affects_state: false,
    parameters: &[Parameter::new("parameter", "", "One parameter of one type.").out().many().parts(PARTS)],
    handler: |call| Box::pin(status(call)),
}];

async fn status(call: Call) -> Answer {
    let wanted = call.key().ok().map(|key| key.id.clone());
    if let Ok(key) = call.key() {
        // Whether it is there, and may be seen.
        call.app.record.read(&call.ctx, key).await?;
    }
    let all = call.app.record.search_parameters(&call.ctx).await?;
    let mine = all.into_iter().filter(|p| wanted.as_ref().is_none_or(|id| *id == p.resource));
    let entries: Vec<Value> = mine
        .map(|p| {
            let state = match p.state {
                State::Building => "building",
                State::Ready => "ready",
                State::Dropping => "removing",
            };
            json!({"name": "parameter", "part": [
                {"name": "definition", "valueReference": {"reference": format!("SearchParameter/{}", p.resource)}},
                {"name": "base", "valueCode": p.kind.name()},
                {"name": "code", "valueCode": p.code},
                {"name": "state", "valueCode": state},
                {"name": "done", "valueInteger": p.done},
                {"name": "total", "valueInteger": p.total},
            ]})
        })
        .collect();
    Ok(Output::Parameters(entries))
}
