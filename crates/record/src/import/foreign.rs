//! Readers of other systems' tables, for the fuzzer alone.

use super::table::{self, Mapping, Row, Rule};
use std::sync::Arc;

/// Reads any text as a mapping, and any bytes as rows of its first table.
pub fn table(mapping: &str, rows: &[u8]) {
    let Ok(mapping) = Mapping::parse(mapping) else { return };
    let rule = Rule::Mapped(Arc::new(mapping), 0);
    let mut reader = table::reader(rows, rule.delimiter());
    let Ok(columns) = reader.byte_headers().map(|header| table::columns(header, rule.is_latin_1())) else {
        return;
    };
    let Ok(columns) = columns else { return };
    drop(rule.missing_columns(&columns));
    let mut record = csv::ByteRecord::new();
    while let Ok(true) = reader.read_byte_record(&mut record) {
        if let Ok(values) = table::text(&record, rule.is_latin_1()) {
            drop(rule.resources(&Row::new(&columns, &values)));
        }
    }
}
