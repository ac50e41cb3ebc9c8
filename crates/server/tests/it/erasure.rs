//! Who was erased stays erased, whatever backup is put back, and the audit trail of the restored state holds.

use crate::backup::until;
use crate::command::{text, uzima};
use crate::harness::{PASSWORD, Signed, World};
use access::Role;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::Path;

/// An outside provider of identities.
const ISSUER: &str = "https://identity.example";

/// Two people erase this patient, as docs/guides/privacy.md has it.
pub async fn erase(officer: &Signed, second: &Signed, patient: &str) {
    // Nothing that is written here must be kept by law.
    let rule =
        json!({"class": "clinical", "years": 0, "duty": false, "law": "Test Act, s. 1", "checked": true});
    let (status, rules) = officer.put("/api/v1/privacy/retention", rule).await;
    assert_eq!(status, 200, "{rules}");
    let requests = format!("/api/v1/privacy/patients/{patient}/requests");
    let (status, asked) = officer.post(&requests, json!({"kind": "erasure"})).await;
    assert_eq!(status, 201, "{asked}");
    let request = format!("/api/v1/privacy/requests/{}", asked["id"].as_str().unwrap());
    let (status, agreed) = officer.post(&format!("{request}/approve"), Value::Null).await;
    assert_eq!(status, 204, "{agreed}");
    let (status, done) = second.post(&format!("{request}/carry-out"), Value::Null).await;
    assert_eq!(status, 200, "{done}");
}

/// What somebody's record leaves when it is erased, asked by everybody who could have seen it.
pub struct Gone<'a> {
    pub patient: &'a str,
    pub observation: &'a str,
    /// Of the name.
    pub given: &'a str,
    pub login: &'a str,
}

impl Gone<'_> {
    /// Nothing of it is there at the server of this address, for an application that may see everything.
    pub async fn check(&self, all: &Signed, about: &str) {
        for path in [
            format!("Patient/{}", self.patient),
            format!("Patient/{}/_history/1", self.patient),
            format!("Observation/{}", self.observation),
            format!("Observation/{}/_history/1", self.observation),
        ] {
            let (status, found) = all.get(&format!("/fhir/R4/{path}")).await;
            assert!(matches!(status, 404 | 410), "{about}: {path}: {status} {found}");
        }
        for query in [
            format!("Patient?given={}", self.given),
            format!("Patient?_id={}", self.patient),
            format!("Observation?subject=Patient/{}", self.patient),
        ] {
            let (status, found) = all.get(&format!("/fhir/R4/{query}&_summary=count")).await;
            assert_eq!((status, &found["total"]), (200, &json!(0)), "{about}: {query}");
        }
        let body = json!({"login": self.login, "password": PASSWORD});
        let mut nobody = all.clone();
        nobody.token.clear();
        let (status, _) = nobody.post("/api/v1/auth/login?token=true", body).await;
        assert_eq!(status, 401, "{about}: the account is still somebody's");
    }
}

/// An observation of this patient.
pub async fn observation(world: &World, patient: &Signed) -> String {
    let key = world
        .put(json!({"resourceType": "Observation", "status": "final", "code": {"text": "Pulse"},
            "subject": {"reference": format!("Patient/{}", patient.id())}, "valueString": "seventy"}))
        .await;
    key.id
}

#[tokio::test(flavor = "multi_thread")]
async fn no_restored_state_knows_an_erased_patient() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("copies").display().to_string();
    let address = to.clone();
    let mut world = World::start_with(move |config| {
        config.backup.to = Some(address);
        config.backup.drill_hours = 0;
    })
    .await;
    let (officer, second) =
        (world.staff("officer", Role::PrivacyOfficer).await, world.staff("boss", Role::Administrator).await);
    let all = world.client("system/*.cruds").await;
    let (gone, stays) = (world.patient("Canarysson").await, world.patient("Amina").await);
    let (of_gone, of_stays) = (observation(&world, &gone).await, observation(&world, &stays).await);
    let account = gone.account;
    let linked = world.app().record.store().write(move |tx| {
        let now = Timestamp::now();
        store::outside::link(tx, ISSUER, "canary-subject", account, None, now)
    });
    linked.await.unwrap();
    let written = Timestamp::now();
    until(&world, "the state before", |standing| {
        standing["until"].as_str().is_some_and(|until| until.parse::<Timestamp>().unwrap() > written)
    })
    .await;
    // A moment is restored from what was sent until then.
    let before = Timestamp::now();
    erase(&officer, &second, gone.id()).await;
    // Stopping sends the rest.
    world.take_running().shutdown().await.unwrap();

    let at = world.folder.path();
    let login = "canarysson-0";
    let known = Gone { patient: gone.id(), observation: &of_gone, given: "Canarysson", login };
    for (name, instant) in [("earlier", Some(before.to_string())), ("newest", None)] {
        let restored = at.join(name);
        std::fs::create_dir(&restored).unwrap();
        std::fs::copy(at.join("data.key"), restored.join("data.key")).unwrap();
        let data = format!("{name}/data");
        let mut order = vec!["restore", "--from", &to, "--data", &data];
        order.extend(instant.iter().flat_map(|instant| ["--at", instant]));
        let told = uzima(at, &order);
        assert!(told.status.success() && !text(&told).contains("NOTE"), "{name}: {}", text(&told));
        // Before a server has opened it, and after.
        trail_is_whole(&restored, name);
        let running = server::start(server::Config::local(restored.join("data"))).await.unwrap();
        let all = all.at(&running.url);
        known.check(&all, name).await;
        // Nor can she come in from an outside provider.
        let found = running.app.record.store().read(|tx| store::outside::find(tx, ISSUER, "canary-subject"));
        assert_eq!(found.await.unwrap(), None, "{name}");
        let (status, found) = all.get(&format!("/fhir/R4/Observation/{of_stays}")).await;
        assert_eq!((status, &found["valueString"]), (200, &json!("seventy")), "{name}: {found}");
        running.shutdown().await.unwrap();
        trail_is_whole(&restored, name);
    }
}

/// `uzima verify` of the installation in this folder.
pub fn trail_is_whole(folder: &Path, about: &str) {
    let verified = uzima(folder, &["verify"]);
    let told = text(&verified);
    assert!(verified.status.success() && told.contains("the audit trail is whole"), "{about}: {told}");
}

/// `uzima backup --prune`: what the policy keeps stays, the rest goes, and what is left can be restored.
#[test]
fn pruning_keeps_what_can_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(uzima(at, &["migrate"]).status.success());
    for n in 1..=3 {
        let name = format!("{n}.json");
        std::fs::write(at.join(&name), crate::command::bundle(n, "female").to_string()).unwrap();
        assert!(uzima(at, &["import", &name]).status.success());
        let made = uzima(at, &["backup", "--to", "copies"]);
        assert!(made.status.success(), "{}", text(&made));
    }
    let bases = || std::fs::read_dir(at.join("copies/base")).unwrap().count();
    assert_eq!(bases(), 3);
    // Every instant of a week is kept, so all of them.
    let pruned = uzima(at, &["backup", "--prune", "--to", "copies"]);
    assert!(pruned.status.success() && bases() == 3, "{}", text(&pruned));
    std::fs::write(
        at.join("uzima.toml"),
        "[backup]\nkeep_instant_days = 0\nkeep_daily_days = 0\nkeep_weekly_weeks = 0\n",
    )
    .unwrap();
    let pruned = uzima(at, &["backup", "--prune", "--to", "copies"]);
    assert!(pruned.status.success() && bases() < 3, "{}", text(&pruned));
    let good = uzima(at, &["verify", "--backup", "copies"]);
    assert!(good.status.success() && !text(&good).contains("WRONG"), "{}", text(&good));
    let restored = uzima(at, &["restore", "--from", "copies", "--data", "restored"]);
    assert!(restored.status.success() && !text(&restored).contains("NOTE"), "{}", text(&restored));
}
