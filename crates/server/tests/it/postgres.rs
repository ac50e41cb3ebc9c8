//! Two servers on one PostgreSQL database, where `UZIMA_TEST_POSTGRES_URL` names a server whose user may create databases.

use crate::harness::{World, read};
use crate::live::{frame, open, until};
use access::Role;
use serde_json::json;
use server::config::Secret;

/// A database of its own; dropped at the end.
pub struct Database {
    admin: String,
    name: String,
}

/// The client brings a runtime of its own, which cannot run inside a test's.
fn execute(url: &str, sql: String) {
    let url = url.to_owned();
    let work = std::thread::spawn(move || {
        postgres::Client::connect(&url, postgres::NoTls).unwrap().batch_execute(&sql).unwrap();
    });
    work.join().unwrap();
}

impl Database {
    pub fn make() -> Option<Database> {
        let admin = std::env::var("UZIMA_TEST_POSTGRES_URL").ok()?;
        let name = format!("uzima_server_{}", uuid::Uuid::now_v7().simple());
        execute(&admin, format!("CREATE DATABASE {name}"));
        Some(Database { admin, name })
    }
    fn url(&self) -> String {
        let (server, _) = self.admin.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }
    pub async fn serve(&self) -> World {
        self.serve_with(|_| {}).await
    }
    pub async fn serve_with(&self, change: impl FnOnce(&mut server::Config)) -> World {
        let url = self.url();
        World::start_with(|config| {
            config.database_url = Some(Secret::new(url));
            change(config);
        })
        .await
    }

    /// A second server with the keys of the first, as docs/guides/postgresql.md has it.
    pub async fn serve_beside(&self, first: &World) -> World {
        self.serve_beside_with(first, |_| {}).await
    }
    pub async fn serve_beside_with(&self, first: &World, change: impl FnOnce(&mut server::Config)) -> World {
        let data = first.app().config.data.clone();
        self.serve_with(|config| {
            change(config);
            std::fs::create_dir_all(&config.data).unwrap();
            for name in std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()) {
                if name.to_string_lossy().starts_with("keyring") {
                    std::fs::copy(data.join(&name), config.data.join(&name)).unwrap();
                }
            }
            config.key.file = Some(data.with_extension("key"));
        })
        .await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        execute(&self.admin, format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_one() {
    let Some(database) = Database::make() else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    let first = database.serve().await;
    let second = database.serve_beside(&first).await;
    let amina = first.patient("Amina").await;
    let doctor = first.staff("doctor", Role::Doctor).await;
    // A session of one server is one of the other.
    let (status, me) = read(amina.at(second.url()).request("GET", "/api/v1/me").send().await.unwrap()).await;
    assert_eq!((status, &me["patient_id"]), (200, &json!(amina.id())), "{me}");

    // What is written on the first is heard of on the second.
    let mut socket = open(&second, &amina, None).await.unwrap();
    assert_eq!(frame(&mut socket).await["type"], "ready");
    let key = first.put(crate::live::appointment(&amina, &doctor, "2026-12-01T07")).await;
    let (heard, _) = until(&mut socket, "appointment_changed").await;
    assert_eq!(heard["data"]["id"], key.id);

    // An idempotent write is done once, whichever server gets it.
    let client = first.client("system/*.cruds").await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Once"}]});
    let write = |world: &World| {
        let request = client.at(world.url()).request("POST", "/fhir/R4/Patient");
        request.header("idempotency-key", "once").json(&patient).send()
    };
    let (here, there) = tokio::join!(write(&first), write(&second));
    let locations: Vec<String> = [here, there]
        .into_iter()
        .map(|answer| {
            crate::harness::header(&answer.unwrap(), "location")
                .replace(first.url(), "")
                .replace(second.url(), "")
        })
        .collect();
    assert!(!locations[0].is_empty());
    assert_eq!(locations[0], locations[1]);
    first.stop().await;
    second.stop().await;
}

/// A tenant as docs/guides/postgresql.md makes it: a role, and a database that is its own.
struct Tenant {
    admin: String,
    name: String,
}

impl Tenant {
    fn make(admin: &str) -> Tenant {
        let name = format!("uzima_tenant_{}", uuid::Uuid::now_v7().simple());
        execute(
            admin,
            format!("CREATE ROLE {name} LOGIN PASSWORD 'of-its-own' NOSUPERUSER NOCREATEDB NOCREATEROLE"),
        );
        execute(admin, format!("CREATE DATABASE {name} OWNER {name}"));
        execute(admin, format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"));
        Tenant { admin: admin.to_owned(), name }
    }
    /// This role at a database.
    fn at(&self, database: &Tenant) -> String {
        let (_, place) = self.admin.split_once('@').unwrap();
        let (server, _) = place.rsplit_once('/').unwrap();
        format!("postgres://{}:of-its-own@{server}/{}", self.name, database.name)
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        execute(&self.admin, format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        execute(&self.admin, format!("DROP ROLE IF EXISTS {}", self.name));
    }
}

/// What a statement is answered with: rows, or the error.
fn ask(url: &str, sql: &'static str) -> Result<usize, String> {
    let url = url.to_owned();
    let work = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).map_err(|e| format!("{e:?}"))?;
        client.query(sql, &[]).map(|rows| rows.len()).map_err(|e| format!("{e:?}"))
    });
    work.join().unwrap()
}

/// facts/security-controls.md Z9: a tenant's role opens no other tenant's database, and names nothing in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_role_opens_no_other_database() {
    let Ok(admin) = std::env::var("UZIMA_TEST_POSTGRES_URL") else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    let (one, other) = (Tenant::make(&admin), Tenant::make(&admin));
    for tenant in [&one, &other] {
        // The whole server runs with these rights and no more.
        let url = tenant.at(tenant);
        let world = World::start_with(|config| config.database_url = Some(Secret::new(url))).await;
        let amina = world.patient("Amina").await;
        assert_eq!(amina.get(&format!("/fhir/R4/Patient/{}", amina.id())).await.0, 200);
        world.stop().await;
    }
    assert!(ask(&one.at(&one), "SELECT 1 FROM resource").is_ok_and(|rows| rows > 0));
    let refused = ask(&one.at(&other), "SELECT 1 FROM resource").unwrap_err();
    assert!(refused.contains("permission denied for database"), "{refused}");
}
