//! Small languages in which others ask.

use super::{chosen, halves, seen, texts};
use crate::Reader;
use fhir::path::{self, Env};
use fhir::search::{self, Handling, Params};
use fhir::{TypeId, ucum};

pub const PATH: Reader = Reader {
    name: "fhirpath",
    about: "FHIRPath, parsed and evaluated",
    read: fhirpath,
    seeds: || texts(PATHS),
};
pub const SEARCH: Reader = Reader {
    name: "search",
    about: "search parameters with modifiers, prefixes, chains, _has and _filter",
    read: searched,
    seeds: search_seeds,
};
pub const SCOPE: Reader = Reader {
    name: "scope",
    about: "SMART scopes with their restrictions",
    read: scopes,
    seeds: || {
        texts(&[
            "system/*.cruds openid launch/patient offline_access",
            "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
            "user/Patient.read user/*.write sens/HIV",
            "patient/Observation.sr",
        ])
    },
};
pub const UNIT: Reader = Reader {
    name: "unit",
    about: "UCUM units and FHIR's dates and times",
    read: units,
    seeds: || {
        texts(&[
            "mm[Hg]\0kPa",
            "10*9/L\0/nL",
            "kg/m2{body}\0g.m-2",
            "Cel\0[degF]",
            "2024-02-29T23:59:60.123+14:00",
            "2024-02",
            "0001\09999-12-31",
            "[in_i'H2O]",
            "((((m))))",
        ])
    },
};

const PATHS: &[&str] = &[
    "Patient.name.where(use = 'official' or given.exists()).given.first()",
    "name.given | telecom.value.substring(0, 3).upper()",
    "iif(birthDate > @1980-01-01T10:00:00.000+03:00, 'a' & 'b', {})",
    "descendants().ofType(Quantity).where(value > 3.5 'mg')",
    "name.select(given.join(' ') + family).repeat($this).aggregate($total + 1, 0)",
    "extension('http://example.org/t').value as time",
    "'a\\u00e9\\'b'.matches('^[a-z]+$') xor 1 div 0 = 2 mod 0",
    "-(1.0e0).power(300).sqrt().round(30)",
    "today() + 3 months - 2 'd' <= now() and %resource.id.trace('x') is string",
    "name.combine(name).distinct().count() in (1 | 2).tail()",
    "`given`.replaceMatches('(a+)+$', '$1')",
    "1 'cm' = 0.01 'm' implies @T10:30 ~ @T10:30:00",
];

const SEARCHES: &[&str] = &[
    "name:contains=mwangi&birthdate=ge1980-01&_sort=-birthdate,name&_count=10&_total=accurate",
    "_has:Observation:patient:code=http://loinc.org|8867-4&organization.name=x",
    "_filter=name co \"a\" and (birthdate ge 1990 or not (gender eq female)) and identifier pr true",
    "_include=Patient:organization&_revinclude:iterate=Observation:subject:Patient&_elements=id,name",
    "code-value-quantity=8867-4$gt70||/min,8480-6$lt5.4e-2|http://unitsofmeasure.org|mg",
    "identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|12&_id=a,b\\,c",
    "_text=a b&_content=\"x y\"&_list=42&_tag:not=x|y&_lastUpdated=sa2024-01-01T00:00:00Z",
    "patient:Patient.name:exact=x&subject:identifier=a|b&date=ap2024&value-quantity=1e3",
    "code:in=http://vs.example&code:below=http://loinc.org|LP1&code:text=pulse&name:missing=true",
];

fn fhirpath(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(expression) = path::parse(text) else { return };
    seen(expression.variables());
    let env = Env { now: Some(jiff::Timestamp::UNIX_EPOCH), work: Some(20_000), ..Env::default() };
    if let Ok(items) = path::evaluate(&expression, super::fhir::example().value(), &env) {
        seen(path::truth(&items));
        seen(format!("{items:?}"));
    }
}

fn searched(bytes: &[u8]) {
    let Some((number, rest)) = chosen(bytes) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let kinds = [TypeId::PATIENT, TypeId::OBSERVATION, TypeId::ENCOUNTER, TypeId::VALUE_SET];
    let pairs: Vec<(String, String)> = text
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let kind = kinds[number % kinds.len()];
    for handling in [Handling::Strict, Handling::Lenient] {
        seen(search::parse(&Params::standard(), kind, &pairs, handling));
    }
}

fn search_seeds() -> Vec<Vec<u8>> {
    let kinds = [0_u8, 1, 2, 3];
    let seeds = kinds.iter().flat_map(|n| SEARCHES.iter().map(|text| [&[*n], text.as_bytes()].concat()));
    seeds.collect()
}

fn scopes(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let known = access::ScopeSet::parse_known(text.split(' '));
    if let Ok(set) = access::ScopeSet::parse(text.split(' ')) {
        seen(set.grant(&known));
    }
}

fn units(bytes: &[u8]) {
    let (one, other) = halves(bytes);
    let (Ok(one), Ok(other)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else { return };
    for text in [one, other] {
        if let Some((low, high)) = fhir::range_us(text) {
            assert!(low <= high, "a range that ends before it begins");
        }
    }
    let (Some(a), Some(b)) = (ucum::Unit::parse(one), ucum::Unit::parse(other)) else { return };
    assert_eq!(a.is_comparable(&b), b.is_comparable(&a), "comparable one way only");
    seen((a.ratio_to(&b), b.ratio_to(&a), a.convert(1.5, &b), a.convert(f64::MAX, &b)));
}
