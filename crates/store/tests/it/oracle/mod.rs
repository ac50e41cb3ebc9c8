//! Random searches, written as URLs, over random resources: SQL against an evaluator that knows neither the index nor
//! the plan. It takes the values of a parameter by FHIRPath from the resources and compares them as the specification says.

mod evaluate;
mod query;
mod resources;

use crate::differential::Random;
use crate::support::*;
use evaluate::World;
use fhir::Resource;
use fhir::search::{Handling, Params, Query, Total, compartment, extract, words};
use serde_json::Value;
use std::collections::BTreeSet;
use store::resource::{self, New};
use store::search::{self, Rights};
use store::test_support::{TempStore, both};
use store::{Content, Tx, word};

fn put(tx: &mut dyn Tx, value: &Value, second: i64) -> store::Result<()> {
    let resource = Resource::parse(value.to_string().as_bytes()).unwrap();
    let content = Content::new(&value.to_string());
    let new = New {
        key: &resource.key().unwrap(),
        last_updated: at(second),
        content: &content,
        entries: &extract(&Params::standard(), &resource),
        patients: &compartment(&resource),
    };
    resource::insert(tx, &new).map(|written| assert!(written.is_some()))
}

fn index_words(tx: &mut dyn Tx) -> store::Result<()> {
    loop {
        let batch = word::next(tx, 50)?;
        if batch.resources.is_empty() {
            assert_eq!(word::behind(tx)?, 0);
            return Ok(());
        }
        let indexed: Vec<word::Indexed> = batch
            .resources
            .iter()
            .map(|row| {
                let resource = Resource::parse(&row.content).unwrap();
                word::Indexed {
                    rid: row.rid,
                    kind: row.key.kind,
                    content: words(&resource, true),
                    narrative: words(&resource, false),
                }
            })
            .collect();
        assert!(word::put(tx, &batch, &indexed)?);
    }
}

fn all_pages(tx: &mut dyn Tx, query: &Query) -> store::Result<(Vec<String>, u64)> {
    let (mut found, mut query) = (Vec::new(), query.clone());
    let mut total = None;
    loop {
        let page = search::run(tx, &query, &Rights::everything(), at(0))?;
        total = total.or(page.total);
        found.extend(page.rows.into_iter().map(|row| row.key.id));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok((found, total.unwrap())),
        }
    }
}

fn oracle(temp: &TempStore) {
    const QUERIES: usize = 1_500;
    let mut random = Random(11);
    let resources = resources::all(&mut random);
    let copy = resources.clone();
    temp.store
        .write_blocking(move |tx| {
            copy.iter().enumerate().try_for_each(|(n, value)| put(tx, value, n as i64 % 50))
        })
        .unwrap();
    temp.store.write_blocking(index_words).unwrap();
    let world = World::new(&resources);
    let (mut failures, mut hits, mut refused) = (Vec::new(), 0, BTreeSet::new());
    for n in 0..QUERIES {
        let (of, pairs) = query::random(&mut random);
        let parsed = fhir::search::parse(&Params::standard(), kind(of), &pairs, Handling::Strict);
        let mut query = match parsed {
            Ok((query, _)) => query,
            Err(outcome) => {
                refused.insert(format!("{of}?{pairs:?}: {outcome}"));
                continue;
            }
        };
        query.count = 1 + random.below(90) as u32;
        query.total = Total::Accurate;
        let wanted: BTreeSet<String> = world.search(of, &pairs);
        hits += usize::from(!wanted.is_empty());
        let own = query.clone();
        let (got, total) = temp
            .store
            .read_blocking(move |tx| all_pages(tx, &own))
            .unwrap_or_else(|e| panic!("{}: {of}?{pairs:?}: {e}", temp.engine));
        let set: BTreeSet<String> = got.iter().cloned().collect();
        let mut problem = Vec::new();
        if set != wanted {
            problem.push(format!(
                "too many {:?}, too few {:?}",
                set.difference(&wanted).collect::<Vec<_>>(),
                wanted.difference(&set).collect::<Vec<_>>()
            ));
        }
        if set.len() != got.len() || total != got.len() as u64 {
            problem.push(format!("{} rows, {} different, total {total}", got.len(), set.len()));
        }
        if let Some(disorder) = world.disorder(of, &pairs, &got) {
            problem.push(disorder);
        }
        if !problem.is_empty() {
            failures.push(format!("{n} {of}?{pairs:?}: {problem:?}"));
        }
    }
    assert!(
        refused.is_empty(),
        "{} refused\n{}",
        refused.len(),
        refused.into_iter().take(8).collect::<Vec<_>>().join("\n")
    );
    assert!(hits > QUERIES / 4, "{hits} of {QUERIES} found anything");
    assert!(
        failures.is_empty(),
        "{}: {} failures\n{}",
        temp.engine,
        failures.len(),
        failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn searches_agree_with_fhirpath() {
    both().iter().for_each(oracle);
}
