//! From what an operation returns to the HTTP answer.

use crate::http::error::FhirError;
use crate::rest::negotiate::{self, Wishes};
use ::fhir::Resource;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// What an operation returns.
pub enum Output {
    /// `200` with this resource.
    Resource(Box<Resource>),
    /// `200` with this JSON of a resource.
    Json(Value),
    /// `200` with a Parameters resource of these entries.
    Parameters(Vec<Value>),
    /// `200` with the bytes of a stored resource.
    Stored(Arc<[u8]>),
    /// `200` with a Bundle or another resource that was written as JSON text.
    Text(String),
    /// Another status, with a resource.
    With(StatusCode, Value),
    Empty(StatusCode),
    /// Something that is no resource: a file, a redirect, headers of its own.
    Raw(Response),
}

impl Output {
    /// One entry for [Output::Parameters], e.g. `entry("result", "Boolean", json!(true))`.
    pub fn entry(name: &str, kind: &str, value: impl Into<Value>) -> Value {
        let mut entry = json!({ "name": name });
        entry[format!("value{kind}")] = value.into();
        entry
    }
    pub fn resource_entry(name: &str, resource: Value) -> Value {
        json!({"name": name, "resource": resource})
    }
    pub fn part_entry(name: &str, parts: Vec<Value>) -> Value {
        json!({"name": name, "part": parts})
    }
}

pub(super) fn response(output: Output, wishes: Wishes) -> Result<Response, FhirError> {
    Ok(match output {
        Output::Resource(resource) => of(StatusCode::OK, resource.value(), wishes),
        Output::Json(value) => of(StatusCode::OK, &value, wishes),
        Output::Parameters(entries) => {
            let mut value = json!({"resourceType": "Parameters"});
            // FHIR allows no empty arrays.
            if !entries.is_empty() {
                value["parameter"] = Value::Array(entries);
            }
            of(StatusCode::OK, &value, wishes)
        }
        Output::Stored(bytes) => negotiate::json(StatusCode::OK, negotiate::stored(bytes, wishes.pretty)),
        Output::Text(text) => {
            negotiate::json(StatusCode::OK, negotiate::stored(text.into_bytes().into(), wishes.pretty))
        }
        Output::With(status, value) => of(status, &value, wishes),
        Output::Empty(status) => status.into_response(),
        Output::Raw(response) => response,
    })
}

fn of(status: StatusCode, value: &Value, wishes: Wishes) -> Response {
    negotiate::json(status, negotiate::text(value, wishes.pretty))
}
