//! Bulk work on real databases, both engines, with a clock that can be turned.

mod dump;
mod export;
mod import;
mod portable;
mod run;
mod stored;

use crate::{Config, FileKey, Insight};
use access::{Ctx, Principal};
use fhir::{Resource, ResourceKey};
use jiff::{SignedDuration, Timestamp};
use record::{Change, ChangeSet, Record};
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::bulk::job::{File, Kind, State};
use store::test_support::TempStore;
use uuid::Uuid;

pub(super) struct World {
    pub insight: Insight,
    pub record: Record,
    clock: Arc<AtomicI64>,
    pub folder: tempfile::TempDir,
    // Last: the database goes after what uses it.
    pub temp: TempStore,
}

pub(super) fn worlds() -> Vec<World> {
    store::test_support::both().into_iter().map(|temp| World::over(temp, 1_000)).collect()
}

impl World {
    fn over(temp: TempStore, part_resources: u64) -> World {
        let clock =
            Arc::new(AtomicI64::new("2026-03-04T05:06:07Z".parse::<Timestamp>().unwrap().as_microsecond()));
        let folder = tempfile::tempdir().unwrap();
        let (record, insight) = open(&temp, &clock, folder.path(), part_resources);
        World { insight, record, clock, folder, temp }
    }

    /// As a new process on the same database and folder.
    pub fn restart(&mut self) {
        self.temp.reopen();
        (self.record, self.insight) = open(&self.temp, &self.clock, self.folder.path(), 1_000);
    }

    /// As a process with this allowance for background work.
    pub fn limit(&mut self, background: crate::Limits) {
        let config = Config { background, ..self.insight.config().clone() };
        self.insight = Insight::new(self.record.clone(), config).unwrap();
    }

    pub fn pass(&self, time: SignedDuration) {
        self.clock.fetch_add(time.as_micros() as i64, Ordering::SeqCst);
    }

    pub fn system(&self) -> Ctx {
        Ctx::system("test", self.record.now())
    }

    /// A registered client with these scopes.
    pub async fn client(&self, scopes: &str) -> Ctx {
        let list: Vec<String> = scopes.split(' ').map(str::to_owned).collect();
        let (client_id, _) = self.record.create_client(&self.system(), "test", &list).await.unwrap();
        Ctx { principal: Principal::Client { client_id, name: "test".into(), scopes: list }, ..self.system() }
    }

    pub async fn put(&self, value: Value) -> ResourceKey {
        let resource = Resource::from_value(value).unwrap();
        let changes = vec![Change::Update { resource, if_match: None }];
        let set = ChangeSet { changes, ..ChangeSet::default() };
        self.record.write(&self.system(), set).await.unwrap().written[0].key.clone()
    }

    pub async fn delete(&self, key: &str) {
        let changes = vec![Change::Delete { key: ResourceKey::parse(key).unwrap(), if_match: None }];
        self.record.write(&self.system(), ChangeSet { changes, ..ChangeSet::default() }).await.unwrap();
    }

    /// Works until nothing is left to do.
    pub async fn finish(&self, kind: Kind) {
        while self.insight.work(kind, &|| false).await.unwrap() > 0 {}
    }

    /// The finished job's files with their lines.
    pub async fn files(&self, ctx: &Ctx, id: Uuid) -> Vec<(File, Vec<String>)> {
        let shown = self.insight.job(ctx, id).await.unwrap();
        assert_eq!(shown.job.state, State::Done, "{:?}", shown.job.error);
        let mut files = Vec::new();
        for file in shown.files {
            let mut text = String::new();
            let mut download = self.insight.open(ctx, id, &file.name).await.unwrap();
            download.reader.read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, download.bytes);
            files.push((file, text.lines().map(str::to_owned).collect()));
        }
        files
    }
}

fn open(
    temp: &TempStore,
    clock: &Arc<AtomicI64>,
    folder: &std::path::Path,
    part_resources: u64,
) -> (Record, Insight) {
    let clock = clock.clone();
    let now = move || Timestamp::from_microsecond(clock.load(Ordering::SeqCst)).unwrap();
    let record = Record::new(temp.store.clone(), Arc::new(now));
    let config = Config {
        part_resources,
        ..Config::new(folder.join("bulk"), FileKey::of_installation(&[7; 32]).unwrap())
    };
    // Only fails if there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let insight = Insight::new(record.clone(), config).unwrap();
    (record, insight)
}
