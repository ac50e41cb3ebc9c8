//! Tables of other systems, and the mappings that people write for them.

use super::halves;
use crate::Reader;

pub const TABLE: Reader = Reader {
    name: "table",
    about: "mappings (TOML with templates) and CSV files of other systems",
    read: table,
    seeds: || vec![[MAPPING.as_bytes(), b"\0", ROWS.as_bytes()].concat(), [b"\0", ROWS.as_bytes()].concat()],
};

const MAPPING: &str = r#"source = "clinic"
zone = "Africa/Nairobi"
[maps.sex]
M = "male"
F = "female"
[[table]]
name = "patients"
file = "patients*.csv"
key = "${id}"
delimiter = ","
skip_if_empty = ["id"]
resources = ['{"resourceType": "Patient", "name": [{"family": "${family}"}], "gender": "${sex|map:sex}", "birthDate": "${born|date:%d/%m/%Y}", "multipleBirthInteger": "${n|number}", "link": [{"other": {"$ref": "patients", "key": "${id}"}, "type": "seealso"}]}']
"#;
const ROWS: &str = "\u{feff}id,family,sex,born,n\n1,\"Mwangi, A\",F,03/02/1990,2\n2,NULL,\\N,,x\n";

fn table(bytes: &[u8]) {
    let (mapping, rows) = halves(bytes);
    let mapping = std::str::from_utf8(mapping).ok().filter(|text| !text.is_empty()).unwrap_or(MAPPING);
    record::import::foreign::table(mapping, rows);
}
