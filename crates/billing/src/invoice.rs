//! Invoices: FHIR Invoice and ChargeItem, posted to the ledger when they are issued.

use crate::money::Money;
use crate::payment::{self, PaymentView};
use crate::price::{self, Price};
use crate::{Billing, SYSTEM, chart};
use access::Ctx;
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use record::{Change, ChangeSet, Error, Event, Rule};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Issued,
    /// Paid in full.
    Balanced,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = InvoicePatient)]
pub struct PatientRef {
    pub id: String,
    pub display: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Line {
    pub code: String,
    pub display: String,
    pub quantity: u32,
    pub unit_price: Money,
    pub amount: Money,
    /// What it is for and costs is hidden from the reader; both amounts are 0 then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// An invoice with what was paid of it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct InvoiceView {
    pub id: String,
    pub version: u32,
    /// The account number of a paybill payment, e.g. `7KQ4M2PXWA`.
    pub number: String,
    pub status: Status,
    pub patient: PatientRef,
    pub consultation_id: Option<String>,
    pub lines: Vec<Line>,
    pub total: Money,
    pub paid: Money,
    pub due: Money,
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Timestamp,
    pub payments: Vec<PaymentView>,
}

/// An Invoice resource as this crate understands it.
#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub resource: Resource,
    pub version: u32,
    pub key: ResourceKey,
    pub number: String,
    pub status: Status,
    pub patient: ResourceKey,
    pub patient_display: String,
    pub consultation: Option<String>,
    pub lines: Vec<Line>,
    pub total: Money,
    pub issued_at: Timestamp,
}

/// The same inputs give the same id, so that making something twice makes it once.
pub(crate) fn derived_id(kind: &str, from: &str) -> Uuid {
    let hash = Sha256::digest(format!("uzima/{kind}/{from}").as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Ten characters without look-alikes (Crockford's base 32), short enough for M-PESA's account field.
pub(crate) fn number_of(id: &Uuid) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut rest = id.as_u128() >> 70;
    (0..10)
        .map(|_| {
            let c = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
            char::from(c)
        })
        .collect()
}

fn extension() -> String {
    format!("{SYSTEM}/StructureDefinition/invoice-encounter")
}

pub(crate) fn read(resource: Resource, version: u32) -> Result<Invoice, Error> {
    let broken = |what: &str| Error::Internal(format!("an Invoice without {what}"));
    let value = resource.value();
    let key = resource.key().ok_or_else(|| broken("id"))?;
    let total = value.get("totalGross").and_then(Money::from_fhir).ok_or_else(|| broken("total"))?;
    let patient = value
        .pointer("/subject/reference")
        .and_then(Value::as_str)
        .and_then(ResourceKey::parse)
        .ok_or_else(|| broken("subject"))?;
    let consultation = value
        .get("extension")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|e| e["url"] == extension().as_str())
        .and_then(|e| e.pointer("/valueReference/reference")?.as_str()?.strip_prefix("Encounter/"))
        .map(str::to_owned);
    let lines = value
        .get("lineItem")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|item| line(item, &total.currency))
        .collect::<Option<_>>();
    Ok(Invoice {
        number: value.pointer("/identifier/0/value").and_then(Value::as_str).unwrap_or_default().to_owned(),
        status: match resource.text("status") {
            Some("balanced") => Status::Balanced,
            Some("issued") => Status::Issued,
            _ => Status::Cancelled,
        },
        patient_display: value
            .pointer("/subject/display")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        issued_at: resource.text("date").and_then(|d| d.parse().ok()).ok_or_else(|| broken("date"))?,
        lines: lines.ok_or_else(|| broken("priced lines"))?,
        patient,
        consultation,
        total,
        key,
        version,
        resource,
    })
}

fn line(value: &Value, currency: &str) -> Option<Line> {
    let nothing = || Money::new(0, currency.to_owned());
    if fhir::is_masked(value) || value.get("chargeItemCodeableConcept").is_some_and(fhir::is_masked) {
        let (unit_price, amount) = (nothing(), nothing());
        return Some(Line {
            code: String::new(),
            display: String::new(),
            quantity: 1,
            unit_price,
            amount,
            hidden: true,
        });
    }
    let coding = value.pointer("/chargeItemCodeableConcept/coding/0")?;
    let component = value.pointer("/priceComponent/0")?;
    let quantity = component.get("factor").and_then(|f| f.to_string().parse().ok()).unwrap_or(1);
    let unit_price = Money::from_fhir(component.get("amount")?)?;
    Some(Line {
        code: coding.get("code")?.as_str()?.to_owned(),
        display: coding.get("display").and_then(Value::as_str).unwrap_or_default().to_owned(),
        quantity,
        amount: Money::new(
            unit_price.amount_minor.checked_mul(i64::from(quantity))?,
            unit_price.currency.clone(),
        ),
        unit_price,
        hidden: false,
    })
}

/// What a finished visit says about what it costs.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The finished Encounter.
    pub encounter: ResourceKey,
    pub patient: ResourceKey,
    pub patient_display: String,
    pub practitioner: Option<ResourceKey>,
    /// `video` or `in-person`
    pub kind: String,
    /// The price that was shown when the visit was booked; it holds even if the list has changed since.
    pub agreed: Option<Money>,
}

fn agreed_fee(appointment: &Value) -> Option<Money> {
    let url = format!("{SYSTEM}/StructureDefinition/fee");
    let extensions = appointment.get("extension")?.as_array()?;
    Money::from_fhir(extensions.iter().find(|e| e["url"] == url.as_str())?.get("valueMoney")?)
}

/// The invoice of one visit: ChargeItem, Invoice and the posting. The id comes from the encounter.
pub fn plan_for_visit(visit: &Visit, price: &Price, now: Timestamp) -> ChangeSet {
    let id = derived_id("invoice", &visit.encounter.id);
    let key = ResourceKey::new(TypeId::INVOICE, id.to_string());
    let subject = json!({"reference": visit.patient.to_string(), "display": visit.patient_display});
    let encounter = json!({"reference": visit.encounter.to_string()});
    let performer = visit.practitioner.as_ref().map(|p| json!({"actor": {"reference": p.to_string()}}));
    let mut charge = Resource::new(TypeId::CHARGE_ITEM);
    charge.set_id(&derived_id("charge", &visit.encounter.id).to_string());
    charge.set("definitionCanonical", json!([format!("{SYSTEM}/ChargeItemDefinition/{}", price.code)]));
    charge.set("status", json!("billed"));
    charge.set("code", price::coding(price));
    charge.set("subject", subject.clone());
    charge.set("context", encounter.clone());
    charge.set("occurrenceDateTime", json!(now.to_string()));
    if let Some(performer) = &performer {
        charge.set("performer", json!([performer]));
    }
    charge.set("quantity", json!({"value": 1}));
    let mut invoice = Resource::new(TypeId::INVOICE);
    invoice.set_id(&key.id);
    invoice.set("extension", json!([{"url": extension(), "valueReference": encounter}]));
    invoice.set(
        "identifier",
        json!([{"system": format!("{SYSTEM}/identifier/invoice"), "value": number_of(&id)}]),
    );
    invoice.set("status", json!("issued"));
    invoice.set("subject", subject);
    invoice.set("date", json!(now.to_string()));
    if let Some(performer) = performer {
        invoice.set("participant", json!([performer]));
    }
    let amount = price.price.to_fhir();
    invoice.set(
        "lineItem",
        json!([{"sequence": 1, "chargeItemCodeableConcept": price::coding(price),
            "priceComponent": [{"type": "base", "code": {"text": price.display}, "factor": 1, "amount": amount}]}]),
    );
    invoice.set("totalNet", amount.clone());
    invoice.set("totalGross", amount);
    let post = chart::transfer(
        "invoice.issued",
        format!("invoice:{}", key.id),
        Some(&key),
        chart::RECEIVABLE,
        chart::CONSULTATIONS,
        price.price.amount_minor,
        &price.price.currency,
        now,
    );
    ChangeSet {
        changes: vec![Change::Create { resource: charge }, Change::Create { resource: invoice }],
        effects: vec![post],
        events: vec![Event { topic: "invoice.issued", subject: key.clone(), data: json!({"id": key.id}) }],
        ..ChangeSet::default()
    }
}

impl Billing {
    /// As [Billing::invoice_for_visit], reading who, whom and how from the Encounter. Errors: `NotFound`.
    pub async fn invoice_for_encounter(&self, ctx: &Ctx, id: &str) -> Result<Option<InvoiceView>, Error> {
        let key = ResourceKey::new(TypeId::ENCOUNTER, id);
        let (encounter, _) = self.record.load(ctx, &key).await?.ok_or(Error::NotFound)?;
        let value = encounter.value();
        let reference = |pointer: &str| value.pointer(pointer)?.as_str().and_then(ResourceKey::parse);
        let patient = reference("/subject/reference").ok_or(Error::NotFound)?;
        let practitioner = value
            .get("participant")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find_map(|p| ResourceKey::parse(p.pointer("/individual/reference")?.as_str()?));
        let booked = value.get("appointment").and_then(Value::as_array).into_iter().flatten();
        let appointment = booked.filter_map(|a| ResourceKey::parse(a["reference"].as_str()?)).next();
        let agreed = match appointment {
            Some(appointment) => {
                self.record.load(ctx, &appointment).await?.and_then(|(a, _)| agreed_fee(a.value()))
            }
            None => None,
        };
        let visit = Visit {
            agreed,
            patient_display: value
                .pointer("/subject/display")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            kind: if value.pointer("/class/code") == Some(&json!("VR")) { "video" } else { "in-person" }
                .into(),
            encounter: key,
            patient,
            practitioner,
        };
        self.invoice_for_visit(ctx, &visit).await
    }

    /// The invoice of this visit, made now if there is none yet. `None` if the service has no price or is free.
    /// Safe to call again: by the doctor's request and by the subscriber of `visit.finished`.
    /// Errors: as [record::Record::command].
    pub async fn invoice_for_visit(&self, ctx: &Ctx, visit: &Visit) -> Result<Option<InvoiceView>, Error> {
        let key = ResourceKey::new(TypeId::INVOICE, derived_id("invoice", &visit.encounter.id).to_string());
        if self.record.load(ctx, &key).await?.is_none() {
            let Some(mut price) = self.price_of_visit(ctx, visit).await? else { return Ok(None) };
            if let Some(agreed) = visit.agreed.clone().filter(|a| a.currency == price.price.currency) {
                price.price = agreed;
            }
            if price.price.amount_minor <= 0 {
                return Ok(None);
            }
            let set = plan_for_visit(visit, &price, ctx.now);
            match self.record.command(ctx, "invoice.make", set).await {
                // The subscriber and the request may meet here; both wanted the same invoice.
                Ok(_) | Err(Error::Duplicate(_)) | Err(Error::VersionConflict { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        self.invoice(ctx, &key.id).await.map(Some)
    }

    async fn price_of_visit(&self, ctx: &Ctx, visit: &Visit) -> Result<Option<Price>, Error> {
        let Some(practitioner) = &visit.practitioner else { return Ok(None) };
        let practitioner = practitioner.to_string();
        let roles = self.record.find(ctx, "PractitionerRole", &[("practitioner", &practitioner)], 20).await?;
        for (role, _) in &roles {
            let codings = role.value().pointer("/specialty").and_then(Value::as_array).into_iter().flatten();
            for specialty in codings.filter_map(|s| s.pointer("/coding/0/code")?.as_str()) {
                let price = self.price(ctx, &price::visit_code(&visit.kind, specialty)).await?;
                if let Some(price) = price.filter(|p| p.active) {
                    return Ok(Some(price));
                }
            }
        }
        // What every specialty costs that has no price of its own.
        Ok(self.price(ctx, &format!("visit-{}", visit.kind)).await?.filter(|p| p.active))
    }

    pub(crate) async fn load_invoice(&self, ctx: &Ctx, id: &str) -> Result<Invoice, Error> {
        if !fhir::resource::valid_id(id) {
            return Err(Error::NotFound);
        }
        let key = ResourceKey::new(TypeId::INVOICE, id);
        let (resource, version) = self.record.load(ctx, &key).await?.ok_or(Error::NotFound)?;
        read(resource, version)
    }

    /// Errors: `NotFound` also where the caller may not see it.
    pub async fn invoice(&self, ctx: &Ctx, id: &str) -> Result<InvoiceView, Error> {
        let invoice = self.load_invoice(ctx, id).await?;
        self.view(invoice).await
    }

    /// Invoices the caller may see, newest first, with the cursor of the next page. `status` is a FHIR code,
    /// `day` a day in the clinic's zone.
    pub async fn invoices(
        &self,
        ctx: &Ctx,
        status: Option<&str>,
        patient: Option<&str>,
        day: Option<jiff::civil::Date>,
        page: (u32, Option<&str>),
    ) -> Result<(Vec<InvoiceView>, Option<String>), Error> {
        let mut pairs =
            vec![("_sort".to_owned(), "-date".to_owned()), ("_count".to_owned(), page.0.to_string())];
        if let Some(status) = status {
            pairs.push(("status".into(), status.into()));
        }
        if let Some(patient) = patient {
            pairs.push(("subject".into(), format!("Patient/{patient}")));
        }
        if let Some(day) = day {
            let (from, until) = self.day(day)?;
            pairs.push(("date".into(), format!("ge{from}")));
            pairs.push(("date".into(), format!("lt{until}")));
        }
        if let Some(cursor) = page.1 {
            pairs.push(("_cursor".into(), cursor.into()));
        }
        let (query, _) = fhir::search::parse(
            &fhir::search::Params::standard(),
            TypeId::INVOICE,
            &pairs,
            fhir::search::Handling::Strict,
        )
        .map_err(Error::Malformed)?;
        let found = self.record.search(ctx, query).await?;
        let mut views = Vec::with_capacity(found.items.len());
        for stored in &found.items {
            views.push(self.view(read(stored.parse()?, stored.version)?).await?);
        }
        Ok((views, found.next))
    }

    /// First instant of the day and of the next in the clinic's zone.
    pub(crate) fn day(&self, day: jiff::civil::Date) -> Result<(Timestamp, Timestamp), Error> {
        let zone = &self.clinic.timezone;
        let start = |d: jiff::civil::Date| d.to_zoned(zone.clone()).map(|z| z.timestamp());
        let tomorrow = day.tomorrow();
        match (start(day), tomorrow.and_then(start)) {
            (Ok(from), Ok(until)) => Ok((from, until)),
            _ => Err(Error::Rule(
                Rule::new("date-invalid", "This day does not exist in the clinic's zone.").at("/date"),
            )),
        }
    }

    pub(crate) async fn view(&self, invoice: Invoice) -> Result<InvoiceView, Error> {
        let payments = self.payments_of(&invoice.key).await?;
        let paid = payment::paid_minor(&payments);
        let currency = invoice.total.currency.clone();
        let due = match invoice.status {
            Status::Cancelled => 0,
            _ => (invoice.total.amount_minor - paid).max(0),
        };
        let fallback = self.fallback(&invoice.number);
        Ok(InvoiceView {
            id: invoice.key.id.clone(),
            version: invoice.version,
            number: invoice.number,
            status: invoice.status,
            patient: PatientRef { id: invoice.patient.id, display: invoice.patient_display },
            consultation_id: invoice.consultation,
            lines: invoice.lines,
            paid: Money::new(paid, currency.clone()),
            due: Money::new(due, currency),
            total: invoice.total,
            issued_at: invoice.issued_at,
            payments: payments.into_iter().map(|p| PaymentView::of(p, due > 0, fallback.clone())).collect(),
        })
    }
}

/// The invoice after a payment: what is paid of it, and `balanced` when nothing is left. It always changes, so that two
/// payments that settle at the same time meet in its version and the second one sees the first.
pub(crate) fn settled(invoice: &Invoice, paid_minor: i64) -> Change {
    let mut resource = invoice.resource.clone();
    let url = format!("{SYSTEM}/StructureDefinition/invoice-paid");
    let paid =
        json!({"url": url, "valueMoney": Money::new(paid_minor, invoice.total.currency.clone()).to_fhir()});
    let others = resource.get("extension").and_then(Value::as_array).into_iter().flatten();
    let mut extensions: Vec<Value> = others.filter(|e| e["url"] != url.as_str()).cloned().collect();
    extensions.push(paid);
    resource.set("extension", Value::Array(extensions));
    if paid_minor >= invoice.total.amount_minor && invoice.status == Status::Issued {
        resource.set("status", json!("balanced"));
    }
    Change::Update { resource, if_match: Some(invoice.version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit() -> Visit {
        Visit {
            encounter: ResourceKey::new(TypeId::ENCOUNTER, "e1"),
            patient: ResourceKey::new(TypeId::PATIENT, "p1"),
            patient_display: "Amina Hassan".into(),
            practitioner: Some(ResourceKey::new(TypeId::PRACTITIONER, "d1")),
            kind: "video".into(),
            agreed: None,
        }
    }

    fn price() -> Price {
        Price {
            code: "visit-video-394814009".into(),
            display: "General practice video consultation".into(),
            price: Money::new(100_000, "KES"),
            active: true,
            version: 1,
        }
    }

    #[test]
    fn a_visit_makes_one_balanced_posting_and_a_valid_invoice() {
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        let set = plan_for_visit(&visit(), &price(), now);
        assert_eq!(set, plan_for_visit(&visit(), &price(), now), "made twice, it is the same");
        for change in &set.changes {
            let Change::Create { resource } = change else { panic!("only creates") };
            assert_eq!(fhir::validate::validate(resource), vec![], "{}", resource.to_json());
        }
        let record::Effect::Post(post) = &set.effects[0] else { panic!("a posting") };
        assert_eq!(post.entries.iter().map(|e| e.amount_minor).sum::<i64>(), 0);
        let Change::Create { resource } = &set.changes[1] else { panic!("the invoice") };
        let invoice = read(resource.clone(), 1).unwrap();
        assert_eq!(invoice.total, Money::new(100_000, "KES"));
        assert_eq!(invoice.consultation.as_deref(), Some("e1"));
        assert_eq!(invoice.lines.len(), 1);
        assert_eq!(invoice.number.len(), 10);
    }
}
