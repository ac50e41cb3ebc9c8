//! Every feature of a view, on data of our own.

use super::outside::run;
use super::{View, ViewError};
use serde_json::{Value, json};

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
        let error = people().iter().find_map(|resource| view.rows(resource).err());
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
    assert!(matches!(view.rows(&resource), Err(ViewError::Evaluation { .. })));
}
