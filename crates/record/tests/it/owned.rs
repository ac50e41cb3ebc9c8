//! What the server and the product's own steps own is never taken from a client (facts/security-controls.md Z7).

use crate::{Bench, create, each_engine, key, observation, resource, set, update};
use access::{Ctx, Role};
use record::{Change, Conditional, ConditionalAction, Patch};
use serde_json::{Value, json};

/// A stored resource, a place in it, and what somebody would like to stand there.
struct Owned {
    what: &'static str,
    stored: Value,
    pointer: &'static str,
    forged: Value,
}

fn owned() -> Vec<Owned> {
    let p1 = json!({"reference": "Patient/p1"});
    let text = |text: &str| json!({"text": text});
    let money = |value: u32| json!({"value": value, "currency": "KES"});
    let invoice = json!({"resourceType": "Invoice", "id": "bill", "status": "issued", "subject": p1, "totalGross": money(3000)});
    let visit = json!({"resourceType": "Encounter", "id": "visit", "status": "finished", "class": {"code": "AMB"}, "subject": p1,
        "period": {"start": "2026-11-20T08:00:00Z", "end": "2026-11-20T09:00:00Z"}});
    let note = json!({"resourceType": "Composition", "id": "note", "status": "final", "type": text("Note"), "subject": p1,
        "date": "2026-11-20", "author": [{"reference": "Practitioner/d2"}], "title": "Note"});
    let consent = json!({"resourceType": "Consent", "id": "consent", "status": "active", "scope": text("privacy"),
        "category": [text("privacy")], "patient": p1, "policyRule": text("x"), "dateTime": "2026-11-20T08:00:00Z"});
    let price = json!({"resourceType": "ChargeItemDefinition", "id": "price", "url": "https://clinic.example/price/visit",
        "status": "active", "propertyGroup": [{"priceComponent": [{"type": "base", "amount": money(3000)}]}]});
    let visit_price = json!({"resourceType": "ChargeItem", "id": "charge", "status": "billable", "code": text("Visit"),
        "subject": p1, "priceOverride": money(3000)});
    let appointment = crate::appointment("a9", "p1", "d1");
    let practitioner = json!({"resourceType": "Practitioner", "id": "d2", "name": [{"family": "Wanjiku"}]});
    let event = json!({"resourceType": "AuditEvent", "id": "none", "type": {"code": "rest"}, "recorded": "2026-11-21T09:00:00Z",
        "agent": [{"requestor": true}], "source": {"observer": {"display": "x"}}});
    let mut row = observation("plain", "p1", "70");
    row["code"]["text"] = json!("Pulse");
    let of = |what, stored: &Value, pointer, forged| Owned { what, stored: stored.clone(), pointer, forged };
    vec![
        of("number of the version", &row, "/meta/versionId", json!("99")),
        of("time of the version", &row, "/meta/lastUpdated", json!("1999-01-01T00:00:00Z")),
        of("amount of a bill", &invoice, "/totalGross/value", json!(1)),
        of("state of a bill", &invoice, "/status", json!("balanced")),
        of("price of what was done", &visit_price, "/priceOverride/value", json!(1)),
        of("price", &price, "/propertyGroup/0/priceComponent/0/amount/value", json!(1)),
        of("state of a visit", &visit, "/status", json!("in-progress")),
        of("whose a visit was", &visit, "/subject/reference", json!("Patient/p2")),
        of("state of a note", &note, "/status", json!("preliminary")),
        of("state of a consent", &consent, "/status", json!("inactive")),
        of("time of a consent", &consent, "/dateTime", json!("2020-01-01T08:00:00Z")),
        of("time of an appointment", &appointment, "/start", json!("2026-12-05T09:00:00Z")),
        of("state of an appointment", &appointment, "/status", json!("fulfilled")),
        of("name of a colleague", &practitioner, "/name/0/family", json!("Otieno-Forged")),
        of("the trail", &event, "/recorded", json!("1999-01-01T00:00:00Z")),
    ]
}

/// `value` with `forged` at `pointer`, which may not be there yet.
fn with(value: &Value, pointer: &str, forged: &Value) -> Value {
    let mut value = value.clone();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    if value.pointer(parent).is_none() {
        value[&parent[1..]] = json!({});
    }
    value.pointer_mut(parent).unwrap()[last] = forged.clone();
    value
}

/// The same as RFC 7386 has it: only the changed part.
fn merge_patch(value: &Value, pointer: &str, forged: &Value) -> Value {
    let first = pointer.split('/').nth(1).unwrap();
    json!({first: with(value, pointer, forged)[first]})
}

/// A FHIRPath patch of an element at the top, or of the one below.
fn path_patch(kind: &str, pointer: &str, forged: &Value) -> Patch {
    let mut path = kind.to_owned();
    for part in pointer.split('/').skip(1) {
        match part.parse::<u8>() {
            Ok(n) => path.push_str(&format!("[{n}]")),
            Err(_) => path.push_str(&format!(".{part}")),
        }
    }
    let value = match forged {
        Value::String(text) => json!({"name": "value", "valueString": text}),
        other => json!({"name": "value", "valueDecimal": other}),
    };
    Patch::Path(resource(json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": path}, value]}]})))
}

const WAYS: [&str; 12] = [
    "create",
    "put",
    "json patch",
    "merge patch",
    "path patch",
    "conditional create",
    "conditional put",
    "conditional patch",
    "transaction put",
    "transaction post",
    "transaction patch",
    "batch put",
];

/// Sends the forgery by this way; whether it was taken.
async fn send(bench: &Bench, ctx: &Ctx, way: &str, owned: &Owned) -> bool {
    let target = resource(owned.stored.clone()).key().unwrap();
    let forged = with(&owned.stored, owned.pointer, &owned.forged);
    let kind = target.kind;
    let json_patch = json!([{"op": "add", "path": owned.pointer, "value": owned.forged}]);
    let merge = merge_patch(&owned.stored, owned.pointer, &owned.forged);
    let patch = |patch| Change::Patch { key: target.clone(), patch, if_match: None };
    let conditional = |criteria: (&str, &str), action| {
        let criteria = vec![(criteria.0.to_owned(), criteria.1.to_owned())];
        Change::Conditional(Box::new(Conditional { kind, criteria, action }))
    };
    let own = ("_id", target.id.as_str());
    let put = |resource| ConditionalAction::Update { resource, if_match: None };
    let change = match way {
        "create" => create(forged),
        "put" => update(forged, None),
        "json patch" => patch(Patch::Json(json_patch)),
        "merge patch" => patch(Patch::Merge(merge)),
        "path patch" => patch(path_patch(kind.name(), owned.pointer, &owned.forged)),
        "conditional create" => {
            conditional(("_id", "nothing"), ConditionalAction::Create { resource: resource(forged) })
        }
        "conditional put" => conditional(own, put(resource(forged))),
        "conditional patch" => {
            conditional(own, ConditionalAction::Patch { patch: Patch::Merge(merge), if_match: None })
        }
        _ => {
            let (form, verb) = way.split_once(' ').unwrap();
            let url = if verb == "post" { kind.name().to_owned() } else { target.to_string() };
            let body = match verb {
                "patch" => match path_patch(kind.name(), owned.pointer, &owned.forged) {
                    Patch::Path(parameters) => parameters.into_value(),
                    _ => Value::Null,
                },
                _ => forged,
            };
            let entry = json!({"resource": body, "request": {"method": verb.to_uppercase(), "url": url}});
            let bundle = json!({"resourceType": "Bundle", "type": form, "entry": [entry]});
            return match bench.bundle(ctx, resource(bundle)).await {
                Ok(answer) => answer.value()["entry"][0]["response"]["status"]
                    .as_str()
                    .is_some_and(|status| status.starts_with('2')),
                Err(_) => false,
            };
        }
    };
    bench.record.write(ctx, set(vec![change])).await.is_ok()
}

/// Whoever sends it, by whatever way: what is stored afterwards nowhere says what was forged.
#[tokio::test]
async fn nothing_of_the_servers_is_assigned_by_any_way() {
    each_engine(|bench| async move {
        for one in owned().into_iter().filter(|one| one.what != "the trail") {
            let target = resource(one.stored.clone()).key().unwrap();
            if bench.record.load(&bench.system(), &target).await.unwrap().is_none() {
                bench.seed(set(vec![create(one.stored.clone())])).await;
            }
        }
        let callers = [
            ("patient", bench.patient()),
            ("doctor", bench.doctor()),
            ("front desk", bench.staff(Role::FrontDesk)),
            ("cashier", bench.staff(Role::Cashier)),
            ("other doctor", bench.other_doctor()),
        ];
        let (mut wrong, mut taken, mut known) = (Vec::new(), 0, std::collections::BTreeSet::new());
        for one in owned() {
            let target = resource(one.stored.clone()).key().unwrap();
            for (who, ctx) in &callers {
                for way in WAYS {
                    taken += usize::from(send(&bench, ctx, way, &one).await);
                    let found =
                        bench.record.find(&bench.system(), target.kind.name(), &[], 1000).await.unwrap();
                    // A visit or note of her own a doctor may begin.
                    let begins = |r: &fhir::Resource| {
                        matches!(one.what, "state of a visit" | "state of a note")
                            && r.key().as_ref() != Some(&target)
                    };
                    let has = |r: &fhir::Resource| {
                        r.value().pointer(one.pointer) == Some(&one.forged) && !begins(r)
                    };
                    for (stored, _) in found.iter().filter(|(stored, _)| has(stored)) {
                        // Each forgery is told of once.
                        if known.insert((one.what, stored.key().unwrap().to_string())) {
                            wrong.push(format!("{who}, {way}: {}", one.what));
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(taken > 10, "what a doctor may write is taken, without what she may not: {taken}");
        // The ways do change what may be changed.
        for (n, way) in WAYS.iter().enumerate() {
            let stored = bench.record.read(&bench.system(), &key("Observation/plain")).await.unwrap();
            let stored = stored.parse().unwrap().into_value();
            let forged = json!(format!("a comment by way {n}"));
            let free = Owned { what: "a comment", stored, pointer: "/code/text", forged: forged.clone() };
            assert!(send(&bench, &bench.doctor(), way, &free).await, "{way}");
            let found = bench.record.find(&bench.system(), "Observation", &[], 1000).await.unwrap();
            let has = |r: &fhir::Resource| r.value().pointer(free.pointer) == Some(&forged);
            assert_eq!(found.iter().filter(|(r, _)| has(r)).count(), 1, "{way}");
        }
    })
    .await;
}
