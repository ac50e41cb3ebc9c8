//! The price list: one ChargeItemDefinition per service, its id is the code.

use crate::money::Money;
use crate::{Billing, SYSTEM};
use access::Ctx;
use access::policy::{Capability, may};
use fhir::{Resource, ResourceKey, TypeId};
use record::{Change, ChangeSet, Error, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A service and what it costs.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Price {
    /// e.g. `visit-video-394814009`: `visit-<kind>-<specialty>` for consultations.
    pub code: String,
    pub display: String,
    pub price: Money,
    pub active: bool,
    pub version: u32,
}

/// A new price or name of a service.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceInput {
    pub display: String,
    pub price: Money,
    pub active: bool,
}

/// No price above this: a slip of the keyboard, not a fee.
const PRICE_MINOR_MAX: i64 = 1_000_000_000;
const PRICES_MAX: u32 = 500;

/// The code under which a consultation is priced.
pub fn visit_code(kind: &str, specialty: &str) -> String {
    format!("visit-{kind}-{specialty}")
}

pub(crate) fn key(code: &str) -> ResourceKey {
    ResourceKey::new(TypeId::CHARGE_ITEM_DEFINITION, code)
}

pub(crate) fn read(resource: &Resource, version: u32) -> Option<Price> {
    let value = resource.value();
    let component = value.pointer("/propertyGroup/0/priceComponent/0/amount")?;
    Some(Price {
        code: resource.id()?.to_owned(),
        display: resource.text("title").unwrap_or_default().to_owned(),
        price: Money::from_fhir(component)?,
        active: resource.text("status") == Some("active"),
        version,
    })
}

/// The definition of a service. Errors: an empty name, a price that is negative, huge or in another currency.
pub fn plan_put(
    code: &str,
    input: &PriceInput,
    currency: &str,
    before: Option<(Resource, u32)>,
) -> Result<ChangeSet, Rule> {
    if !fhir::resource::valid_id(code) {
        return Err(Rule::new("code-invalid", "A code has 1 to 64 letters, digits, dots and hyphens."));
    }
    let display = input.display.trim();
    if display.is_empty() || display.chars().count() > 200 {
        return Err(Rule::new("required", "A service has a name of at most 200 characters.").at("/display"));
    }
    if input.price.currency != currency {
        return Err(Rule::new("currency-other", format!("Prices are in {currency}.")).at("/price/currency"));
    }
    if !(0..=PRICE_MINOR_MAX).contains(&input.price.amount_minor) {
        return Err(
            Rule::new("amount-invalid", "The price is negative or too large.").at("/price/amount_minor")
        );
    }
    let version = before.as_ref().map(|b| b.1);
    let mut resource = before.map_or_else(|| Resource::new(TypeId::CHARGE_ITEM_DEFINITION), |b| b.0);
    resource.set_id(code);
    resource.set("url", json!(format!("{SYSTEM}/ChargeItemDefinition/{code}")));
    resource.set("status", json!(if input.active { "active" } else { "retired" }));
    resource.set("title", json!(display));
    let coding = json!({"system": format!("{SYSTEM}/CodeSystem/price"), "code": code, "display": display});
    resource.set("code", json!({"coding": [coding]}));
    let amount = input.price.to_fhir();
    resource.set("propertyGroup", json!([{"priceComponent": [{"type": "base", "amount": amount}]}]));
    let change = match version {
        Some(version) => Change::Update { resource, if_match: Some(version) },
        None => Change::Create { resource },
    };
    Ok(ChangeSet { changes: vec![change], ..ChangeSet::default() })
}

impl Billing {
    /// All services, by code.
    pub async fn prices(&self, ctx: &Ctx) -> Result<Vec<Price>, Error> {
        let found = self.record.find(ctx, "ChargeItemDefinition", &[("_sort", "_id")], PRICES_MAX).await?;
        Ok(found.iter().filter_map(|(resource, version)| read(resource, *version)).collect())
    }

    /// One service, `None` if it has no price.
    pub async fn price(&self, ctx: &Ctx, code: &str) -> Result<Option<Price>, Error> {
        Ok(self.record.load(ctx, &key(code)).await?.and_then(|(resource, version)| read(&resource, version)))
    }

    /// Errors: `Denied`, [plan_put]'s rules, `VersionConflict`.
    pub async fn put_price(&self, ctx: &Ctx, code: &str, input: &PriceInput) -> Result<Price, Error> {
        if !may(ctx, Capability::ManagePrices) {
            return Err(Error::Denied);
        }
        let before = match fhir::resource::valid_id(code) {
            true => self.record.load(ctx, &key(code)).await?,
            false => None,
        };
        let set = plan_put(code, input, &self.clinic.currency, before).map_err(Error::Rule)?;
        let committed = self.record.command(ctx, "price.put", set).await?;
        committed
            .written
            .first()
            .and_then(|w| read(w.resource.as_deref()?, w.version))
            .ok_or_else(|| Error::Internal("a price was written, but does not read back".into()))
    }
}

/// A coding of this service for a line of an invoice.
pub(crate) fn coding(price: &Price) -> Value {
    json!({"coding": [{"system": format!("{SYSTEM}/CodeSystem/price"), "code": price.code, "display": price.display}],
        "text": price.display})
}
