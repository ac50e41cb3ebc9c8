use super::{Format, TableWriter};
use crate::view::View;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use std::io::Write;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn view() -> View {
    let column = |name: &str, kind: &str, ansi: &str| json!({"name": name, "path": name, "type": kind, "tag": [{"name": "ansi/type", "value": ansi}]});
    View::compile(&json!({"resource": "Patient", "select": [{"column": [
        column("a", "string", ""), column("b", "boolean", ""), column("n", "integer", ""), column("d", "decimal", ""),
        column("m", "decimal", "DECIMAL(10,2)"), column("t", "instant", ""), column("day", "date", "DATE"),
        {"name": "list", "path": "list", "type": "string", "collection": true}]}]}))
    .unwrap()
}

fn rows() -> Vec<Vec<Value>> {
    let row = |text: &str| parsed(text).as_array().unwrap().clone();
    vec![
        row(r#"["x, \"y\"\n", true, 7, 1.50, 12.3, "2026-03-04T05:06:07.123Z", "2026-03-04", ["p", "q,r"]]"#),
        row(r#"[null, null, null, null, null, null, null, []]"#),
        row(r#"["", false, -1, 2e3, -0.07, "1969-12-31T23:59:59Z", "1969-12-31", ["s"]]"#),
    ]
}

fn write(format: Format, rows: &[Vec<Value>]) -> std::io::Result<Vec<u8>> {
    let mut writer = TableWriter::new(Vec::new(), format, &view().columns, true)?;
    for row in rows {
        writer.row(row)?;
    }
    writer.finish()
}

fn open(bytes: &[u8]) -> SerializedFileReader<std::fs::File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    SerializedFileReader::new(file).unwrap()
}

#[test]
fn csv_quotes_and_tells_nothing_from_empty() {
    let text = String::from_utf8(write(Format::Csv, &rows()).unwrap()).unwrap();
    assert_eq!(
        text,
        "a,b,n,d,m,t,day,list\r\n\
         \"x, \"\"y\"\"\n\",true,7,1.50,12.3,2026-03-04T05:06:07.123Z,2026-03-04,\"[\"\"p\"\",\"\"q,r\"\"]\"\r\n\
         ,,,,,,,[]\r\n\
         \"\",false,-1,2e+3,-0.07,1969-12-31T23:59:59Z,1969-12-31,\"[\"\"s\"\"]\"\r\n"
    );
}

#[test]
fn no_text_is_a_formula_in_csv() {
    let cells = |text: &str| {
        let row = vec![Value::from(text)];
        let written = write(Format::Csv, &[row]).unwrap();
        String::from_utf8(written).unwrap().lines().nth(1).unwrap().to_owned()
    };
    for (text, cell) in [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1-cmd|x", "'+1-cmd|x"),
        ("-a", "'-a"),
        ("\t=1", "'\t=1"),
        ("=\"a\",b", "\"'=\"\"a\"\",b\""),
        ("+254712345678", "+254712345678"),
        ("-1.5", "-1.5"),
        ("a=b", "a=b"),
    ] {
        assert_eq!(cells(text), cell, "{text}");
    }
    // Data for programs stays as it is.
    let row = vec![Value::from("=1")];
    assert!(String::from_utf8(write(Format::Ndjson, &[row]).unwrap()).unwrap().contains("\"=1\""));
}

#[test]
fn json_forms_say_the_same() {
    let lines = String::from_utf8(write(Format::Ndjson, &rows()).unwrap()).unwrap();
    let from_lines: Vec<Value> = lines.lines().map(parsed).collect();
    assert_eq!(from_lines.len(), 3);
    assert_eq!(from_lines[0]["list"], json!(["p", "q,r"]));
    // Decimals keep their written form.
    assert!(lines.contains("\"d\":1.50"));
    let whole: Value = serde_json::from_slice(&write(Format::Json, &rows()).unwrap()).unwrap();
    assert_eq!(whole, Value::Array(from_lines));
    let empty: Value = serde_json::from_slice(&write(Format::Json, &[]).unwrap()).unwrap();
    assert_eq!(empty, json!([]));
}

#[test]
fn parquet_is_read_by_its_own_reader() {
    let reader = open(&write(Format::Parquet, &rows()).unwrap());
    let mut read = Vec::new();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let cells: Vec<String> =
            row.get_column_iter().map(|(name, field)| format!("{name}={field}")).collect();
        read.push(cells.join("; "));
    }
    assert_eq!(
        read,
        [
            "a=\"x, \"y\"\n\"; b=true; n=7; d=1.5; m=12.30; t=2026-03-04 05:06:07.123000 +00:00; day=2026-03-04; list=[\"p\", \"q,r\"]",
            "a=null; b=null; n=null; d=null; m=null; t=null; day=null; list=[]",
            "a=\"\"; b=false; n=-1; d=2000.0; m=-0.07; t=1969-12-31 23:59:59.000000 +00:00; day=1969-12-31; list=[\"s\"]",
        ]
    );
    let empty = open(&write(Format::Parquet, &[]).unwrap());
    assert_eq!(empty.metadata().file_metadata().num_rows(), 0);
}

#[test]
fn what_does_not_fit_a_parquet_type_is_an_error() {
    let mut base = rows()[1].clone();
    for (n, value) in [
        (1, json!("yes")),
        (2, json!(3_000_000_000_u64)),
        (4, parsed("1.234")),
        (4, parsed("123456789.5")),
        (5, json!("2026")),
        (6, json!("2026-03")),
    ] {
        base[n] = value;
        assert!(write(Format::Parquet, &[base.clone()]).is_err(), "{base:?}");
        base[n] = Value::Null;
    }
}

#[test]
fn many_rows_make_several_groups() {
    let many: Vec<Vec<Value>> = (0..120_000).map(|_| rows()[0].clone()).collect();
    let reader = open(&write(Format::Parquet, &many).unwrap());
    assert_eq!(reader.metadata().num_row_groups(), 3);
    assert_eq!(reader.metadata().file_metadata().num_rows(), 120_000);
}
