//! N1: whatever a search sends in whatever place, no text of a statement holds it, and the database never stumbles over it.

use crate::{create, each_engine, observation, set};
use fhir::TypeId;
use fhir::definitions::{ParamType, params};
use record::Error;
use store::test_support::statements;

/// In no statement of the program.
const WORD: &str = "zqx7k";

/// What closes a text, a list, a comment or a statement in one dialect or the other, each with the word.
const NASTY: &[&str] = &[
    "zqx7k'; DROP TABLE resource; --",
    "zqx7k' OR '1'='1",
    "zqx7k\"; SELECT 1; --",
    "zqx7k) OR (1=1",
    "zqx7k$1$$2",
    "zqx7k?1?",
    "$zqx7k$ OR true $zqx7k$",
    "zqx7k`;--",
    "zqx7k/**/UNION/**/SELECT/**/content/**/FROM/**/resource",
    "zqx7k\\'; --",
    "zqx7k\0'",
    "zqx7k%' ESCAPE '\\",
    "zqx7k\n; ATTACH 'x' AS y",
    "[zqx7k]",
    "{zqx7k}",
    "zqx7k\u{2019}\u{ff07}",
];

/// What a parameter of this kind must begin with so that the rest is looked at.
fn beginnings(kind: ParamType) -> &'static [&'static str] {
    match kind {
        ParamType::Token => &["", "urn:x|", "|"],
        ParamType::Reference => &["", "Patient/", "https://x.example/Patient/"],
        ParamType::Quantity => &["", "5|http://unitsofmeasure.org|", "5||"],
        ParamType::Date => &["", "2024-01-01", "ge"],
        ParamType::Uri => &["", "urn:", "http://x.example/"],
        ParamType::Composite => &["", "x$", "http://loinc.org|1$"],
        ParamType::Number => &["", "5"],
        ParamType::String | ParamType::Special => &[""],
    }
}

#[tokio::test]
async fn no_statement_holds_what_was_sent() {
    statements::watch(WORD);
    each_engine(|bench| async move {
        bench.seed(set(vec![create(observation("o", "p1", "70"))])).await;
        let ctx = bench.client(&["system/*.cruds"]);
        let (mut asked, mut answered, mut broken) = (0, 0, Vec::new());
        let mut turn = 0_usize;
        for kind in TypeId::all() {
            let mut queries: Vec<(String, String)> = Vec::new();
            for param in params(kind) {
                for begin in beginnings(param.param_type) {
                    turn += 1;
                    let nasty = NASTY[turn % NASTY.len()];
                    queries.push((param.code.to_owned(), format!("{begin}{nasty}")));
                    let modifier = [
                        "",
                        ":exact",
                        ":contains",
                        ":not",
                        ":text",
                        ":in",
                        ":above",
                        ":of-type",
                        ":identifier",
                    ][turn % 9];
                    queries.push((format!("{}{modifier}", param.code), format!("{begin}{nasty},{begin}x")));
                }
                // As the name of a parameter, of a modifier, of a type in a chain.
                let nasty = NASTY[turn % NASTY.len()];
                queries.push((format!("{}:{nasty}", param.code), "x".to_owned()));
                queries.push((format!("{}.{nasty}", param.code), "x".to_owned()));
                queries.push((format!("{}:{nasty}.name", param.code), "x".to_owned()));
                queries.push((format!("_has:{}:{}:{nasty}", kind.name(), param.code), "x".to_owned()));
            }
            for name in [
                "_id",
                "_sort",
                "_filter",
                "_text",
                "_content",
                "_list",
                "_include",
                "_revinclude",
                "_elements",
                "_summary",
                "_total",
                "_count",
                "_cursor",
                "_lastUpdated",
                "_tag",
                "_profile",
                "_security",
                "_source",
                "_type",
                "_has",
            ] {
                turn += 1;
                let nasty = NASTY[turn % NASTY.len()];
                queries.push((name.to_owned(), nasty.to_owned()));
                queries.push((name.to_owned(), format!("{}:{nasty}", kind.name())));
                queries.push((name.to_owned(), format!("-{nasty},{nasty}")));
            }
            queries.push((
                "_filter".to_owned(),
                format!("_id eq \"{}\"", NASTY[turn % NASTY.len()].replace('"', "")),
            ));
            for (name, value) in queries {
                asked += 1;
                match bench.record.find(&ctx, kind.name(), &[(&name, &value)], 5).await {
                    Ok(_) => answered += 1,
                    Err(
                        Error::Malformed(_)
                        | Error::Invalid(_)
                        | Error::Denied
                        | Error::NotFound
                        | Error::TooCostly
                        | Error::Rule(_),
                    ) => {}
                    Err(other) => broken.push(format!("{}?{name}={value}: {other}", kind.name())),
                }
            }
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        assert!(answered * 20 > asked && asked > 10_000, "{answered} of {asked} reached the database");
    })
    .await;
    assert_eq!(statements::found(), Vec::<String>::new());
    // A control: what a statement holds is seen.
    each_engine(|bench| async move {
        let told = bench.record.store().read(|tx| tx.one("SELECT 'zqx7k'", &[], |row| row.string(0))).await;
        assert_eq!(told.unwrap().as_deref(), Some(WORD));
    })
    .await;
    assert!(!statements::found().is_empty());
}
