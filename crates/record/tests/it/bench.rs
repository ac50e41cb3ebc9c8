//! A record on a fresh database with a clock that can be turned, and people to act as.

use crate::{appointment, create, key, patient, set};
use access::{Ctx, Principal, Purpose, Role, User};
use fhir::Resource;
use jiff::{SignedDuration, Timestamp};
use record::bundle::{Call, Dispatch, Echo, Options, Reply};
use record::{ChangeSet, Committed, Error, Record};
use serde_json::json;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub struct Bench {
    pub record: Record,
    now_us: Arc<AtomicI64>,
    _database: Database,
}

/// PostgreSQL's client brings a runtime of its own and cannot be opened or closed inside another.
struct Database(Option<store::test_support::TempStore>);

impl Drop for Database {
    fn drop(&mut self) {
        let database = self.0.take();
        std::thread::spawn(move || drop(database)).join().ok();
    }
}

/// Runs the test on every engine there is, each on a database of its own.
pub async fn each_engine<F, Work>(test: F)
where
    F: Fn(Arc<Bench>) -> Work,
    Work: Future<Output = ()>,
{
    each_engine_from("2026-11-21T09:00:00Z", test).await;
}

/// As [each_engine], with another time at the start.
pub async fn each_engine_from<F, Work>(start: &str, test: F)
where
    F: Fn(Arc<Bench>) -> Work,
    Work: Future<Output = ()>,
{
    let databases = tokio::task::spawn_blocking(store::test_support::both).await.unwrap();
    let databases: Vec<Database> = databases.into_iter().map(|d| Database(Some(d))).collect();
    for database in databases {
        let now_us = Arc::new(AtomicI64::new(start.parse::<Timestamp>().unwrap().as_microsecond()));
        let clock = now_us.clone();
        let store = database.0.as_ref().unwrap().store.clone();
        let record = Record::new(
            store,
            Arc::new(move || Timestamp::from_microsecond(clock.load(Ordering::SeqCst)).unwrap()),
        );
        record.set_base(BASE.to_owned());
        let bench = Arc::new(Bench { record, now_us, _database: database });
        bench.record.load_search_parameters().await.unwrap();
        bench.furnish().await;
        bench.by_password_alone().await;
        test(bench).await;
    }
}

impl Bench {
    /// Nothing in it, on SQLite.
    pub async fn empty() -> Bench {
        let first = tokio::task::spawn_blocking(store::test_support::sqlite).await.unwrap();
        let now_us =
            Arc::new(AtomicI64::new("2026-11-21T09:00:00Z".parse::<Timestamp>().unwrap().as_microsecond()));
        let clock = now_us.clone();
        let database = Database(Some(first));
        let store = database.0.as_ref().unwrap().store.clone();
        let record = Record::new(
            store,
            Arc::new(move || Timestamp::from_microsecond(clock.load(Ordering::SeqCst)).unwrap()),
        );
        record.load_search_parameters().await.unwrap();
        Bench { record, now_us, _database: database }
    }

    /// Patients p1 and p2, practitioners d1 and d2; d1 has an appointment with p1.
    async fn furnish(&self) {
        let people = set(vec![
            create(patient("p1", "Achieng")),
            create(patient("p2", "Barasa")),
            create(json!({"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Otieno"}]})),
            create(json!({"resourceType": "Practitioner", "id": "d2", "name": [{"family": "Wanjiku"}]})),
            create(appointment("a1", "p1", "d1")),
        ]);
        self.seed(people).await;
    }

    /// Most tests are not about second factors: nobody must have one.
    async fn by_password_alone(&self) {
        let rules = json!({"required_roles": []});
        let put = move |tx: &mut dyn store::Tx| store::setting::put(tx, "security-policy", &rules);
        self.record.store().write(put).await.unwrap();
    }

    pub async fn seed(&self, set: ChangeSet) -> Committed {
        self.record.command(&self.system(), "test.seed", set).await.unwrap()
    }

    /// Enters a host in the register of recipients.
    pub async fn receives(&self, host: &str) {
        let recipient = record::subject::NewRecipient {
            kind: store::subject::recipient::Kind::Endpoint,
            name: host.to_owned(),
            title: host.to_owned(),
            country: "KE".to_owned(),
            basis: String::new(),
            note: String::new(),
        };
        self.record.register_recipient(&self.system(), recipient).await.unwrap();
    }

    /// Another server of the same database, or the same after a restart.
    pub fn second_server(&self) -> Record {
        let clock = self.now_us.clone();
        let clock = move || Timestamp::from_microsecond(clock.load(Ordering::SeqCst)).unwrap();
        let record = Record::new(self.record.store().clone(), Arc::new(clock));
        record.set_secret_key(&[7; 32]);
        record
    }

    pub fn turn(&self, duration: SignedDuration) {
        self.now_us.fetch_add(i64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub fn system(&self) -> Ctx {
        Ctx::system("test", self.record.now())
    }

    fn person(&self, account: i64, role: Role, patient: Option<&str>, practitioner: Option<&str>) -> Ctx {
        let mut ctx = self.system();
        ctx.purpose = Purpose::Treatment;
        ctx.request_id = format!("request-{account}");
        ctx.principal = Principal::User(User {
            account,
            display: format!("{} {account}", role.title()),
            roles: vec![role],
            patient: patient.map(|id| key(&format!("Patient/{id}"))),
            practitioner: practitioner.map(|id| key(&format!("Practitioner/{id}"))),
            language: "en".into(),
            standing: std::sync::Arc::default(),
        });
        ctx.session = Some(access::SessionFacts {
            id: [0; 8],
            authenticated_at: ctx.now,
            factors: vec![access::Factor::Password],
            absolute: ctx.now,
            enrolled: Vec::new(),
            kiosk: false,
            due: None,
        });
        ctx
    }
    /// Sees p1, by the appointment.
    pub fn doctor(&self) -> Ctx {
        self.person(1, Role::Doctor, None, Some("d1"))
    }
    /// Sees nobody.
    pub fn other_doctor(&self) -> Ctx {
        self.person(2, Role::Doctor, None, Some("d2"))
    }
    /// Is p1.
    pub fn patient(&self) -> Ctx {
        self.person(3, Role::Patient, Some("p1"), None)
    }
    /// Is p2.
    pub fn other_patient(&self) -> Ctx {
        self.person(5, Role::Patient, Some("p2"), None)
    }
    pub fn staff(&self, role: Role) -> Ctx {
        self.person(4, role, None, Some("d2"))
    }
    pub fn client(&self, scopes: &[&str]) -> Ctx {
        let mut ctx = self.system();
        ctx.principal = Principal::Client {
            client_id: "c1".into(),
            name: "Lab system".into(),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        };
        ctx
    }
    /// Everything before this call is older than everything after it.
    pub fn mark(&self) -> Timestamp {
        self.turn(SignedDuration::from_secs(1));
        self.record.now()
    }
    /// `agent action outcome what` of all audit events from then on, sorted: PostgreSQL numbers them per connection.
    pub async fn audit_since(&self, from: Timestamp) -> Vec<String> {
        let filter = record::audit::AuditFilter { from: Some(from), ..Default::default() };
        let page = self.record.audit_list(&self.system(), filter, None, 100).await.unwrap();
        let mut lines: Vec<String> =
            page.rows.iter().map(|r| format!("{} {} {} {}", r.agent, r.action, r.outcome, r.what)).collect();
        lines.sort();
        lines
    }
}

/// Answers reads and searches in bundles, as far as these tests need.
struct Plain(Record);

impl Dispatch for Plain {
    fn call(&self, ctx: Ctx, call: Call) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        Box::pin(async move {
            let found = match call.url.split_once('?') {
                Some((kind, query)) => {
                    let pairs: Vec<(&str, &str)> =
                        query.split('&').filter_map(|p| p.split_once('=')).collect();
                    self.0.find(&ctx, kind, &pairs, 100).await.map(
                        |rows| json!({"resourceType": "Bundle", "type": "searchset", "total": rows.len()}),
                    )
                }
                None => match call.url.split_once("/_history/") {
                    Some((instance, version)) => {
                        self.0.vread(&ctx, &key(instance), version.parse().unwrap()).await
                    }
                    None => self.0.read(&ctx, &key(&call.url)).await,
                }
                .and_then(|stored| stored.parse().map(Resource::into_value)),
            };
            match found {
                Ok(resource) => Reply { status: 200, resource: Some(resource), ..Reply::default() },
                Err(error) => {
                    let status = error.http_status_line()[..3].parse().unwrap();
                    let outcome = error.to_outcome().to_json();
                    Reply { status, resource: Some(outcome), ..Reply::default() }
                }
            }
        })
    }
}

impl Bench {
    pub async fn bundle(&self, ctx: &Ctx, bundle: Resource) -> Result<Resource, Error> {
        let options = Options {
            base: BASE.into(),
            echo: Echo::Nothing,
            conditional_delete_most: 1,
            dispatch: Arc::new(Plain(self.record.clone())),
        };
        self.record.bundle(ctx, bundle, &options).await
    }
}

pub const BASE: &str = "https://clinic.example/fhir/R4";

/// The kind of an error, with its code where it has one.
pub fn name(error: &Error) -> String {
    match error {
        Error::Duplicate(rule) => format!("Duplicate {}", rule.code),
        Error::Rule(rule) => format!("Rule {}", rule.code),
        Error::Invalid(outcome) | Error::Malformed(outcome) => {
            let kind = if matches!(error, Error::Invalid(_)) { "Invalid" } else { "Malformed" };
            let places: Vec<&str> = outcome.issues.iter().map(|i| i.expression.as_str()).collect();
            format!("{kind} {}", places.join(" "))
        }
        Error::At { place, error } => format!("{} at {place}", name(error)),
        Error::Precondition(outcome) => {
            let codes: Vec<&str> = outcome.issues.iter().map(|i| i.code.code()).collect();
            format!("Precondition {}", codes.join(" "))
        }
        Error::VersionConflict { current } => format!("VersionConflict {current:?}"),
        Error::Throttled { .. } => "Throttled".to_owned(),
        other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}
