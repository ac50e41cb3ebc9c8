//! CompartmentDefinition resources: which parameters put a resource into whose compartment.

use ::fhir::TypeId;
use ::fhir::definitions::{self, COMPARTMENTS};
use serde_json::{Value, json};

pub(super) fn all() -> Vec<Value> {
    COMPARTMENTS.iter().map(|of| one(*of)).collect()
}

fn one(of: TypeId) -> Value {
    let resource: Vec<Value> = TypeId::all()
        .filter(|kind| !crate::rest::capability::NOT_STORED.contains(&kind.name()))
        .map(|kind| {
            let param: Vec<&str> = definitions::in_compartment(of, kind)
                .iter()
                .filter_map(|id| definitions::param_by_id(*id))
                .map(|param| param.code)
                .collect();
            match param.is_empty() {
                true => json!({"code": kind.name()}),
                false => json!({"code": kind.name(), "param": param}),
            }
        })
        .collect();
    let id = of.name().to_ascii_lowercase();
    json!({
        "resourceType": "CompartmentDefinition", "id": id,
        "url": format!("http://hl7.org/fhir/CompartmentDefinition/{id}"), "version": "4.0.1",
        "name": format!("Base FHIR compartment definition for {}", of.name()), "status": "active",
        "code": of.name(), "search": true, "resource": resource,
    })
}
