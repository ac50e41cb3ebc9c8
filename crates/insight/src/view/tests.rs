//! Every feature of a view, on data of our own.

use super::outside::run;
use super::{Budget, Limits, View, ViewError};
use serde_json::{Value, json};
use std::time::Duration;

fn people() -> Vec<Value> {
    vec![
        json!({"resourceType": "Patient", "id": "amina", "active": true, "gender": "female", "birthDate": "1990-02-03",
            "name": [{"use": "official", "family": "Wanjiru", "given": ["Amina", "Njeri"]},
                     {"use": "nickname", "given": ["Mina"]}],
            "telecom": [{"system": "phone", "value": "+254712000001"}, {"system": "email", "value": "a@example.org"}],
            "contact": [{"name": {"family": "Otieno"}, "telecom": [{"system": "phone", "value": "1"}]},
                        {"name": {"family": "Kamau"}}],
            "link": [{"other": {"reference": "Patient/baraka"}, "type": "seealso"}],
            "extension": [{"url": "https://example.org/ward", "valueCode": "north"}]}),
        json!({"resourceType": "Patient", "id": "baraka", "active": false, "gender": "male", "birthDate": "2001-07"}),
        json!({"resourceType": "Patient", "id": "chiku", "name": [{"family": "Mutua"}]}),
        json!({"resourceType": "Observation", "id": "weight", "status": "final", "code": {"text": "weight"},
            "subject": {"reference": "Patient/amina"}, "effectiveDateTime": "2026-03-04",
            "valueQuantity": serde_json::from_str::<Value>(r#"{"value": 61.50, "unit": "kg"}"#).unwrap()}),
        json!({"resourceType": "QuestionnaireResponse", "id": "form", "status": "completed",
            "item": [{"linkId": "1", "item": [{"linkId": "1.1", "answer": [{"valueBoolean": true,
                        "item": [{"linkId": "1.1.1"}]}]}, {"linkId": "1.2"}]},
                     {"linkId": "2"}]}),
    ]
}

/// The rows, each as an array of cells.
fn rows(definition: &Value) -> Vec<Value> {
    let (names, rows) = run(definition, &people()).unwrap_or_else(|e| panic!("{definition}: {e}"));
    rows.iter().map(|row| names.iter().map(|n| row[n].clone()).collect()).collect()
}

fn check(definition: Value, expected: Value) {
    assert_eq!(Value::Array(rows(&definition)), expected, "{definition}");
}

fn view(kind: &str, select: Value) -> Value {
    json!({"resourceType": "ViewDefinition", "name": "test", "status": "active", "resource": kind, "select": select})
}

fn column(name: &str, path: &str) -> Value {
    json!({"name": name, "path": path})
}

#[test]
fn columns_select_and_order() {
    check(
        view("Patient", json!([{"column": [column("id", "id"), column("sex", "gender")]}])),
        json!([["amina", "female"], ["baraka", "male"], ["chiku", null]]),
    );
    // Own columns, then inner selects, then the union, then the next select.
    let select = json!([
        {"column": [column("a", "'A'")], "select": [{"column": [column("b", "'B'")]}],
         "unionAll": [{"column": [column("c", "'C1'")]}, {"column": [column("c", "'C2'")]}]},
        {"column": [column("d", "id")]}]);
    check(
        json!({"resource": "Patient", "where": [{"path": "id = 'chiku'"}], "select": select}),
        json!([["A", "B", "C1", "chiku"], ["A", "B", "C2", "chiku"]]),
    );
}

#[test]
fn for_each_unfolds_and_or_null_keeps() {
    let names = |each: &str| json!([{"column": [column("id", "id")]}, {each: "name", "column": [column("use", "use")]}]);
    check(
        view("Patient", names("forEach")),
        json!([["amina", "official"], ["amina", "nickname"], ["chiku", null]]),
    );
    check(
        view("Patient", names("forEachOrNull")),
        json!([["amina", "official"], ["amina", "nickname"], ["baraka", null], ["chiku", null]]),
    );
    // Nested, and two on one level multiply.
    check(
        view(
            "Patient",
            json!([{"forEach": "contact", "column": [column("contact", "name.family")],
            "select": [{"forEachOrNull": "telecom", "column": [column("phone", "value")]}]},
            {"forEach": "telecom", "column": [column("system", "system")]}]),
        ),
        json!([
            ["Otieno", "1", "phone"],
            ["Otieno", "1", "email"],
            ["Kamau", null, "phone"],
            ["Kamau", null, "email"]
        ]),
    );
}

#[test]
fn unions_append_their_branches() {
    check(
        view(
            "Patient",
            json!([{"column": [column("id", "id")], "unionAll": [
            {"forEach": "telecom", "column": [column("value", "value")]},
            {"forEach": "contact.name", "column": [column("value", "family")]}]}]),
        ),
        json!([
            ["amina", "+254712000001"],
            ["amina", "a@example.org"],
            ["amina", "Otieno"],
            ["amina", "Kamau"]
        ]),
    );
    // A union of unions under forEachOrNull.
    check(
        view(
            "Patient",
            json!([{"column": [column("id", "id")]}, {"forEachOrNull": "contact", "unionAll": [
            {"unionAll": [{"column": [column("v", "name.family")]}, {"column": [column("v", "'x'")]}]}]}]),
        ),
        json!([
            ["amina", "Otieno"],
            ["amina", "x"],
            ["amina", "Kamau"],
            ["amina", "x"],
            ["baraka", null],
            ["chiku", null]
        ]),
    );
}

#[test]
fn repeat_walks_to_any_depth() {
    check(
        view(
            "QuestionnaireResponse",
            json!([{"column": [column("id", "id")]},
            {"repeat": ["item", "answer.item"], "column": [column("link", "linkId")]}]),
        ),
        json!([["form", "1"], ["form", "1.1"], ["form", "1.1.1"], ["form", "1.2"], ["form", "2"]]),
    );
}

#[test]
fn constants_of_every_type_and_where() {
    let with = |constant: Value, path: &str| {
        json!({"resource": "Patient", "constant": [constant], "where": [{"path": path}],
            "select": [{"column": [column("id", "id")]}]})
    };
    check(with(json!({"name": "sex", "valueCode": "female"}), "gender = %sex"), json!([["amina"]]));
    check(with(json!({"name": "yes", "valueBoolean": true}), "active = %yes"), json!([["amina"]]));
    check(with(json!({"name": "day", "valueDate": "1990-02-03"}), "birthDate = %day"), json!([["amina"]]));
    check(with(json!({"name": "n", "valueInteger": 1}), "name[%n].exists()"), json!([["amina"]]));
    check(with(json!({"name": "n", "valuePositiveInt": 2}), "name.count() = %n"), json!([["amina"]]));
    check(with(json!({"name": "id", "valueId": "chiku"}), "id = %id"), json!([["chiku"]]));
    check(
        with(json!({"name": "x", "valueString": "%y // no 'variable'"}), "id = 'chiku' and %x.exists()"),
        json!([["chiku"]]),
    );
    // What is nothing does not hold.
    check(
        json!({"resource": "Patient", "where": [{"path": "active"}, {"path": "name.exists()"}],
            "select": [{"column": [column("id", "id")]}]}),
        json!([["amina"]]),
    );
    let decimal = json!({"resource": "Observation", "constant": [{"name": "limit", "valueDecimal": 61.4}],
        "where": [{"path": "value.ofType(Quantity).value > %limit"}], "select": [{"column": [column("id", "id")]}]});
    check(decimal, json!([["weight"]]));
}

#[test]
fn collections_and_values() {
    check(
        json!({"resource": "Patient", "where": [{"path": "id = 'amina'"}], "select": [{"column": [
            {"name": "given", "path": "name.given", "collection": true},
            {"name": "none", "path": "photo", "collection": true},
            {"name": "ward", "path": "extension('https://example.org/ward').value.ofType(code)"},
            {"name": "joined", "path": "name.given.join('|')"}]}]}),
        json!([[["Amina", "Njeri", "Mina"], [], "north", "Amina|Njeri|Mina"]]),
    );
    // Decimals stay as they are written.
    let weight =
        rows(&view("Observation", json!([{"column": [column("kg", "value.ofType(Quantity).value")]}])));
    assert_eq!(weight[0][0].to_string(), "61.50");
    let boundary = view(
        "Patient",
        json!([{"column": [column("id", "id"), column("low", "birthDate.lowBoundary()"),
        column("high", "birthDate.highBoundary()")]}]),
    );
    check(
        boundary,
        json!([
            ["amina", "1990-02-03", "1990-02-03"],
            ["baraka", "2001-07-01", "2001-07-31"],
            ["chiku", null, null]
        ]),
    );
}

#[test]
fn keys_join_tables() {
    check(
        view(
            "Patient",
            json!([{"column": [column("key", "getResourceKey()"),
            column("other", "link.other.getReferenceKey(Patient)"),
            column("wrong", "link.other.getReferenceKey(Observation)")]}]),
        ),
        json!([["amina", "baraka", null], ["baraka", null, null], ["chiku", null, null]]),
    );
    check(
        view("Observation", json!([{"column": [column("patient", "subject.getReferenceKey()")]}])),
        json!([["amina"]]),
    );
}

#[test]
fn what_a_column_is_is_known() {
    let view = View::compile(&json!({"name": "weights", "resource": "Observation", "select": [{"column": [
        {"name": "kg", "path": "value.ofType(Quantity).value", "type": "decimal", "description": "Weight",
         "tag": [{"name": "ansi/type", "value": "DECIMAL(10,2)"}]},
        {"name": "at", "path": "effective.ofType(dateTime)", "type": "http://hl7.org/fhir/StructureDefinition/dateTime"},
        {"name": "codes", "path": "code.coding.code", "collection": true}]}]}))
    .unwrap();
    assert_eq!(view.name, "weights");
    let columns: Vec<_> = view
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.kind.as_str(), c.ansi.as_str(), c.collection))
        .collect();
    assert_eq!(
        columns,
        [("kg", "decimal", "DECIMAL(10,2)", false), ("at", "dateTime", "", false), ("codes", "", "", true)]
    );
}

#[test]
fn mistakes_are_named_with_their_place() {
    let one = json!([{"column": [column("id", "id")]}]);
    let cases = [
        (json!([]), "ViewDefinition"),
        (json!({}), "ViewDefinition.resource"),
        (json!({"resource": "Patients", "select": one}), "ViewDefinition.resource"),
        (
            json!({"resourceType": "Patient", "resource": "Patient", "select": one}),
            "ViewDefinition.resourceType",
        ),
        (json!({"resource": "Patient"}), "ViewDefinition.select"),
        (json!({"resource": "Patient", "select": {}}), "ViewDefinition.select"),
        (json!({"resource": "Patient", "select": [{"forEach": "name"}]}), "ViewDefinition.select[0]"),
        (
            json!({"resource": "Patient", "select": [{"forEach": "@@", "column": [column("a", "id")]}]}),
            "ViewDefinition.select[0].forEach",
        ),
        (
            json!({"resource": "Patient", "select": [{"forEach": 1, "column": [column("a", "id")]}]}),
            "ViewDefinition.select[0].forEach",
        ),
        (
            json!({"resource": "Patient", "select": [{"forEach": "name", "repeat": ["name"], "column": [column("a", "id")]}]}),
            "ViewDefinition.select[0]",
        ),
        (
            json!({"resource": "Patient", "select": [{"column": [{"path": "id"}]}]}),
            "ViewDefinition.select[0].column[0]",
        ),
        (
            json!({"resource": "Patient", "select": [{"column": [{"name": "a"}]}]}),
            "ViewDefinition.select[0].column[0]",
        ),
        (
            json!({"resource": "Patient", "select": [{"column": [column("1a", "id")]}]}),
            "ViewDefinition.select[0].column[0].name",
        ),
        (
            json!({"resource": "Patient", "select": [{"column": [column("a; drop", "id")]}]}),
            "ViewDefinition.select[0].column[0].name",
        ),
        (
            json!({"resource": "Patient", "select": [{"column": [column("a", "id"), column("a", "gender")]}]}),
            "ViewDefinition.select",
        ),
        (
            json!({"resource": "Patient", "select": [{"column": [column("a", "%nothing")]}]}),
            "ViewDefinition.select[0].column[0].path",
        ),
        (
            json!({"resource": "Patient", "select": [{"unionAll": [{"column": [column("a", "id")]}, {"column": [column("b", "id")]}]}]}),
            "ViewDefinition.select[0].unionAll[1]",
        ),
        (
            json!({"resource": "Patient", "constant": [{"name": "a"}], "select": one}),
            "ViewDefinition.constant[0]",
        ),
        (
            json!({"resource": "Patient", "constant": [{"name": "a", "valueString": "x", "valueCode": "y"}], "select": one}),
            "ViewDefinition.constant[0]",
        ),
        (
            json!({"resource": "Patient", "constant": [{"name": "a", "valueInteger": "x"}], "select": one}),
            "ViewDefinition.constant[0]",
        ),
        (
            json!({"resource": "Patient", "constant": [{"name": "a", "valueQuantity": {}}], "select": one}),
            "ViewDefinition.constant[0]",
        ),
        (
            json!({"resource": "Patient", "where": [{"path": "("}], "select": one}),
            "ViewDefinition.where[0].path",
        ),
    ];
    for (definition, place) in cases {
        match View::compile(&definition) {
            Err(ViewError::Definition { at, .. }) => assert_eq!(at, place, "{definition}"),
            other => panic!("{definition}: {other:?}"),
        }
    }
}

#[test]
fn what_does_not_fit_a_resource_is_an_error() {
    let cases = [
        view("Patient", json!([{"column": [column("given", "name.given")]}])),
        json!({"resource": "Patient", "where": [{"path": "name.family"}], "select": [{"column": [column("id", "id")]}]}),
        json!({"resource": "Patient", "where": [{"path": "telecom"}], "select": [{"column": [column("id", "id")]}]}),
        view("Patient", json!([{"column": [column("a", "name.given + 1")]}])),
    ];
    for definition in cases {
        let view = View::compile(&definition).unwrap();
        let error =
            people().iter().find_map(|resource| view.rows(resource, &Budget::new(Limits::RUN), None).err());
        assert!(matches!(error, Some(ViewError::Evaluation { .. })), "{definition}");
    }
}

#[test]
fn rows_of_one_resource_are_bounded() {
    // 300 names three times over: far more than one resource may give.
    let names: Vec<Value> = (0..300).map(|n| json!({"family": format!("n{n}")})).collect();
    let resource = json!({"resourceType": "Patient", "id": "many", "name": names});
    let each = |name: &str| json!({"forEach": "name", "column": [column(name, "family")]});
    let view = View::compile(&view("Patient", json!([each("a"), each("b"), each("c")]))).unwrap();
    let budget = Budget::new(Limits::RUN);
    assert!(matches!(view.rows(&resource, &budget, None), Err(ViewError::TooMuch { .. })));
}

/// A patient with so many names, and a view of each by each by each.
fn crowd(names: usize) -> (View, Value) {
    let list: Vec<Value> = (0..names).map(|n| json!({"family": format!("n{n}")})).collect();
    let each = |name: &str| json!({"forEach": "name", "column": [column(name, "family")]});
    let cubed = View::compile(&view("Patient", json!([each("a"), each("b"), each("c")]))).unwrap();
    (cubed, json!({"resourceType": "Patient", "id": "many", "name": list}))
}

#[test]
fn a_limit_spares_the_work_behind_it() {
    let (cubed, many) = crowd(300);
    let budget = Budget::new(Limits::RUN);
    // All of it would be refused; the first rows are the first of all.
    let rows = cubed.rows(&many, &budget, Some(3)).unwrap();
    assert_eq!(
        rows,
        [
            [json!("n0"), json!("n0"), json!("n0")],
            ["n0", "n0", "n1"].map(Value::from),
            ["n0", "n0", "n2"].map(Value::from)
        ]
    );
    assert!(budget.spent().steps < 1_500, "{:?}", budget.spent());
    assert!(cubed.rows(&many, &budget, Some(0)).unwrap().is_empty());

    // The branches behind the limit are not even looked at: the second would be an error.
    let union = View::compile(&view(
        "Patient",
        json!([{"unionAll": [
        {"forEach": "name", "column": [column("v", "family")]},
        {"column": [column("v", "name.family")]}]}]),
    ))
    .unwrap();
    let budget = Budget::new(Limits::RUN);
    assert_eq!(union.rows(&many, &budget, Some(2)).unwrap().len(), 2);
    assert!(matches!(union.rows(&many, &budget, None), Err(ViewError::Evaluation { .. })));

    // A repeat stops where enough was found.
    let deep = (0..300).fold(json!({"linkId": "x"}), |inner, _| json!({"linkId": "x", "item": [inner]}));
    let form = json!({"resourceType": "QuestionnaireResponse", "id": "deep", "item": [deep]});
    let repeat = View::compile(&view(
        "QuestionnaireResponse",
        json!([{"repeat": ["item"], "column": [column("link", "linkId")]}]),
    ))
    .unwrap();
    let (few, all) = (Budget::new(Limits::RUN), Budget::new(Limits::RUN));
    assert_eq!(repeat.rows(&form, &few, Some(5)).unwrap().len(), 5);
    assert_eq!(repeat.rows(&form, &all, None).unwrap().len(), 301);
    assert!(few.spent().steps * 20 < all.spent().steps);
    // An empty factor makes the product empty, limit or not.
    let none = View::compile(&view(
        "Patient",
        json!([{"forEach": "name", "column": [column("a", "family")]}, {"forEach": "photo", "column": [column("b", "url")]}]),
    ))
    .unwrap();
    assert!(none.rows(&many, &budget, Some(1)).unwrap().is_empty());
}

#[test]
fn one_allowance_is_shared_by_all_expressions_and_resources() {
    let (cubed, many) = crowd(20);
    let all = Budget::new(Limits::RUN);
    assert_eq!(cubed.rows(&many, &all, None).unwrap().len(), 8_000);
    let spent = all.spent();
    assert!(spent.rows == 8_000 && spent.bytes > 8_000 * 3 * 4 && spent.steps > 60, "{spent:?}");

    // Each of these is enough for two resources, and no single expression comes near it.
    let limits = [
        Limits { steps: spent.steps * 5 / 2, ..Limits::RUN },
        Limits { rows: 20_000, ..Limits::RUN },
        Limits { bytes: spent.bytes * 5 / 2, ..Limits::RUN },
    ];
    for limits in limits {
        let budget = Budget::new(limits);
        for _ in 0..2 {
            cubed.rows(&many, &budget, None).unwrap_or_else(|e| panic!("{limits:?}: {e}"));
        }
        let error = cubed.rows(&many, &budget, None).unwrap_err();
        assert!(matches!(error, ViewError::UsedUp { .. }), "{limits:?}: {error}");
        let outcome = error.to_outcome("viewResource", Some("Patient/many")).to_json();
        assert_eq!(outcome["issue"][0]["code"], "too-costly");
        // What comes after goes on from there.
        let later = Budget::after(limits, budget.spent());
        assert!(matches!(cubed.rows(&many, &later, None), Err(ViewError::UsedUp { .. })), "{limits:?}");
    }
    let no_time = Budget::new(Limits { time: Duration::ZERO, ..Limits::RUN });
    assert!(matches!(cubed.rows(&many, &no_time, None), Err(ViewError::UsedUp { .. })));
}

#[test]
fn the_steps_of_one_resource_are_bounded_together() {
    // 400 columns of some hundred thousand steps each: none is too much by itself.
    let names: Vec<Value> = (0..400).map(|n| json!({"family": format!("n{n}")})).collect();
    let many = json!({"resourceType": "Patient", "id": "many", "name": names});
    let columns: Vec<Value> = (0..400)
        .map(|n| column(&format!("c{n}"), "name.where(%resource.name.family.exists()).count()"))
        .collect();
    let wide = View::compile(&view("Patient", json!([{"column": columns}]))).unwrap();
    let budget = Budget::new(Limits::RUN);
    let error = wide.rows(&many, &budget, None).unwrap_err();
    assert!(matches!(&error, ViewError::TooMuch { text, .. } if text.contains("steps")), "{error}");
    // The next one has its own.
    let few = json!({"resourceType": "Patient", "id": "few", "name": [{"family": "a"}]});
    assert_eq!(wide.rows(&few, &budget, None).unwrap().len(), 1);
}
