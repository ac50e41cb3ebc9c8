//! Histories against a model, and transactions that meet: all of one or nothing of it.

use crate::{Bench, each_engine, key, observation, resource, set};
use fhir::ResourceKey;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use record::{Change, HistoryEntry, HistoryQuery, Method, Scope};
use serde_json::{Value, json};
use std::collections::HashMap;

fn runner(seed: u8) -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
}

fn draw<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// One version as the model knows it.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    key: ResourceKey,
    version: u32,
    at: Timestamp,
    content: Option<String>,
}

/// JSON that a naive server would change: odd numbers, unknown extensions, Unicode, order of keys.
fn odd(runner: &mut TestRunner, id: &str, patient: &str) -> Value {
    let number = draw(runner, "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?");
    let mut value = observation(id, patient, &number);
    let text = draw(runner, "[a-zA-Z0-9äß水😀\"\\\\ ]{1,12}x");
    value["note"] = json!([{"text": text}]);
    value["extension"] = json!([{"url": "http://example.org/odd", "valueDecimal": serde_json::from_str::<Value>(&number).unwrap()}]);
    value
}

async fn whole(bench: &Bench, scope: &Scope, query: &HistoryQuery) -> Vec<HistoryEntry> {
    let ctx = bench.system();
    let mut query = query.clone();
    let mut all = Vec::new();
    loop {
        let page = bench.record.history_of(&ctx, scope, query.clone()).await.unwrap();
        assert!(page.entries.len() <= query.count as usize);
        all.extend(page.entries);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return all,
        }
    }
}

fn shown(entries: &[HistoryEntry]) -> Vec<Known> {
    entries
        .iter()
        .map(|e| {
            assert_eq!(e.method == Method::Deleted, e.content.is_none());
            assert_eq!(e.method == Method::Created, e.version == 1);
            Known {
                key: e.key.clone(),
                version: e.version,
                at: e.last_updated,
                content: e.content.as_ref().map(|c| String::from_utf8(c.to_vec()).unwrap()),
            }
        })
        .collect()
}

#[tokio::test]
async fn any_version_reads_back_bit_for_bit() {
    each_engine(|bench| async move {
        let mut runner = runner(7);
        let ctx = bench.system();
        let mut model: Vec<Known> = Vec::new();
        let start = bench.mark();
        for _ in 0..120 {
            bench.turn(SignedDuration::from_millis(draw(&mut runner, 1_i64..5_000)));
            let id = format!("o{}", draw(&mut runner, 0..6));
            let o = key(&format!("Observation/{id}"));
            let last = model.iter().rev().find(|known| known.key == o).cloned();
            let lives = last.as_ref().is_some_and(|known| known.content.is_some());
            let change = if lives && draw(&mut runner, 0..5) == 0 {
                Change::Delete { key: o.clone(), if_match: None }
            } else {
                let patient = if draw(&mut runner, any::<bool>()) { "p1" } else { "p2" };
                Change::Update { resource: resource(odd(&mut runner, &id, patient)), if_match: None }
            };
            let sent = match &change {
                Change::Update { resource, .. } => Some(resource.clone()),
                _ => None,
            };
            let done = bench.record.write(&ctx, set(vec![change])).await.unwrap().written.remove(0);
            assert_eq!(done.version, last.map_or(1, |known| known.version + 1));
            let content = sent.map(|mut resource| {
                resource.set_version(done.version, done.last_updated);
                resource.to_json()
            });
            model.push(Known { key: o, version: done.version, at: done.last_updated, content });
        }
        for known in &model {
            let found = bench.record.vread(&ctx, &known.key, known.version).await;
            match &known.content {
                Some(content) => {
                    let found = String::from_utf8(found.unwrap().content.to_vec()).unwrap();
                    assert_eq!(found, *content, "{}/_history/{}", known.key, known.version);
                }
                None => assert!(matches!(found, Err(record::Error::Gone))),
            }
        }
        let newest_first = |scope: &Scope| -> Vec<Known> {
            let wanted = model.iter().rev().filter(|known| match scope {
                Scope::Instance(key) => known.key == *key,
                Scope::Kind(_) | Scope::System => true,
            });
            wanted.cloned().collect()
        };
        let mut replaced: HashMap<(ResourceKey, u32), Timestamp> = HashMap::new();
        for known in &model {
            if known.version > 1 {
                replaced.insert((known.key.clone(), known.version - 1), known.at);
            }
        }
        let scopes = [
            Scope::Instance(key("Observation/o0")),
            Scope::Instance(key("Observation/o3")),
            Scope::Kind(crate::kind("Observation")),
            Scope::System,
        ];
        for scope in &scopes {
            for _ in 0..6 {
                let count = draw(&mut runner, 1_u32..40);
                let moment = start + SignedDuration::from_millis(draw(&mut runner, 0_i64..300_000));
                let since = draw(&mut runner, any::<bool>()).then_some(moment);
                let until = moment + SignedDuration::from_millis(draw(&mut runner, 1_i64..60_000));
                let at = draw(&mut runner, any::<bool>()).then_some((moment, until));
                // The people of the bench were there before; they are not the model's.
                let since = since.or(Some(start));
                let query = HistoryQuery { since, at, cursor: None, count };
                let expected: Vec<Known> = newest_first(scope)
                    .into_iter()
                    .filter(|known| since.is_none_or(|since| known.at >= since))
                    .filter(|known| {
                        let end = replaced.get(&(known.key.clone(), known.version));
                        at.is_none_or(|(from, until)| known.at < until && end.is_none_or(|end| *end > from))
                    })
                    .collect();
                assert_eq!(shown(&whole(&bench, scope, &query).await), expected, "{scope:?} {query:?}");
            }
        }
    })
    .await;
}

/// A doctor sees in the history of a type what she may see of each resource, now and then.
#[tokio::test]
async fn histories_keep_to_the_rights() {
    each_engine(|bench| async move {
        let put = |value: Value| Change::Update { resource: resource(value), if_match: None };
        for change in [
            put(observation("own", "p1", "1")),
            put(observation("other", "p2", "2")),
            // It was p2's, and is p1's now: only what is p1's is seen.
            put(observation("moved", "p2", "3")),
            put(observation("moved", "p1", "4")),
            // It is p2's now.
            put(observation("left", "p1", "5")),
            put(observation("left", "p2", "6")),
        ] {
            bench.record.write(&bench.system(), set(vec![change])).await.unwrap();
        }
        let query = || HistoryQuery { count: 50, ..HistoryQuery::default() };
        let seen = |entries: Vec<HistoryEntry>| -> Vec<String> {
            let mut all: Vec<String> = entries
                .iter()
                .filter(|e| e.key.kind.name() == "Observation")
                .map(|e| format!("{}/{}", e.key.id, e.version))
                .collect();
            all.sort();
            all
        };
        let kind = Scope::Kind(crate::kind("Observation"));
        for scope in [&kind, &Scope::System] {
            for ctx in [bench.doctor(), bench.patient()] {
                let page = bench.record.history_of(&ctx, scope, query()).await.unwrap();
                assert_eq!(seen(page.entries), ["moved/2", "own/1"]);
            }
        }
        let it = bench.staff(access::Role::It);
        let denied = bench.record.history_of(&it, &kind, query()).await.unwrap_err();
        assert_eq!(crate::bench::name(&denied), "Denied");
        let bad = HistoryQuery { cursor: Some("x".into()), ..query() };
        let bad = bench.record.history_of(&bench.doctor(), &kind, bad).await.unwrap_err();
        assert_eq!(crate::bench::name(&bad), "Malformed _cursor");
    })
    .await;
}

/// Pages of a type's history neither repeat nor miss a version while others write.
#[tokio::test(flavor = "multi_thread")]
async fn histories_page_while_others_write() {
    each_engine(|bench| async move {
        let put = |n: usize| Change::Update {
            resource: resource(observation(&format!("o{}", n % 10), "p1", &n.to_string())),
            if_match: None,
        };
        for n in 0..60 {
            bench.record.write(&bench.system(), set(vec![put(n)])).await.unwrap();
        }
        let kind = Scope::Kind(crate::kind("Observation"));
        let query = HistoryQuery { count: 7, ..HistoryQuery::default() };
        let before = shown(&whole(&bench, &kind, &query).await);
        assert_eq!(before.len(), 60);
        let writer = {
            let bench = bench.clone();
            tokio::spawn(async move {
                for n in 60..160 {
                    bench.record.write(&bench.system(), set(vec![put(n)])).await.unwrap();
                }
            })
        };
        let during = shown(&whole(&bench, &kind, &query).await);
        writer.await.unwrap();
        // What is new is on top; below it everything is as it was.
        let old = &during[during.len() - before.len()..];
        assert_eq!(old, before);
        let mut keys: Vec<(ResourceKey, u32)> = during.iter().map(|k| (k.key.clone(), k.version)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), during.len());
    })
    .await;
}

/// Transactions on the same three resources, some of them by condition or on a version: each is seen in all three
/// or in none.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_all_or_nothing_under_conflict() {
    each_engine(|bench| async move {
        let names = ["a", "b", "c"];
        let put = |id: &str, tag: &str, version: Option<u32>| {
            let mut value = observation(id, "p1", "1");
            value["note"] = json!([{ "text": tag }]);
            value["identifier"] = json!([{"system": "urn:t", "value": id}]);
            let by_condition = tag.ends_with('7');
            let url = if by_condition {
                value.as_object_mut().unwrap().shift_remove("id");
                format!("Observation?identifier=urn:t|{id}")
            } else {
                format!("Observation/{id}")
            };
            let mut entry = json!({"request": {"method": "PUT", "url": url}, "resource": value});
            if let Some(version) = version {
                entry["request"]["ifMatch"] = json!(format!("W/\"{version}\""));
            }
            entry
        };
        let bundle = |tag: &str, version: Option<u32>| {
            let entries: Vec<Value> = names.iter().map(|id| put(id, tag, version)).collect();
            resource(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
        };
        let ctx = bench.client(&["system/*.cruds"]);
        bench.bundle(&ctx, bundle("t0", None)).await.unwrap();
        let mut running = tokio::task::JoinSet::new();
        for n in 1..40_u32 {
            let version = (n % 3 == 0).then_some(n / 3);
            let sent = bundle(&format!("t{n}"), version);
            let (bench, ctx) = (bench.clone(), ctx.clone());
            running.spawn(async move { (n, bench.bundle(&ctx, sent).await.is_ok()) });
        }
        let mut accepted = vec!["t0".to_owned()];
        while let Some(done) = running.join_next().await {
            let (n, is_done) = done.unwrap();
            if is_done {
                accepted.push(format!("t{n}"));
            }
        }
        let mut histories = Vec::new();
        for id in names {
            let scope = Scope::Instance(key(&format!("Observation/{id}")));
            let query = HistoryQuery { count: 100, ..HistoryQuery::default() };
            let tags: Vec<String> = whole(&bench, &scope, &query)
                .await
                .iter()
                .map(|e| serde_json::from_slice::<Value>(e.content.as_ref().unwrap()).unwrap())
                .map(|value| value["note"][0]["text"].as_str().unwrap().to_owned())
                .collect();
            histories.push(tags);
        }
        assert_eq!(histories[0], histories[1], "the same transactions in the same order");
        assert_eq!(histories[0], histories[2]);
        let mut seen = histories[0].clone();
        seen.sort();
        accepted.sort();
        assert_eq!(seen, accepted);
        assert!(accepted.len() > 10, "{accepted:?}");
    })
    .await;
}
