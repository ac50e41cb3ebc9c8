//! A credential that may add and nothing else is enough for making backups, and of no use to who wants them gone.

use crate::support::*;
use backup::target::{Entry, Put, Target};
use backup::{Error, Policy, Repository, Result, Watch};

/// Refuses to remove, as such a credential does.
struct AddOnly(Box<dyn Target>);

impl Target for AddOnly {
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn put(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        self.0.put(name, bytes)
    }
    fn get(&self, name: &str) -> Result<Vec<u8>> {
        self.0.get(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.0.list(prefix)
    }
    fn remove(&self, name: &str) -> Result<()> {
        Err(Error::Refused(format!("{name}: this credential may not remove")))
    }
}

/// Everything that a server does in its life but pruning.
fn life(clinic: &mut Clinic, repository: &Repository) {
    clinic.put("a", "1");
    clinic.file("bulk/report", "first");
    clinic.base(repository);
    for round in 0..3 {
        clinic.put("round", &round.to_string());
        clinic.file("bulk/report", &format!("round {round}"));
        assert!(clinic.ship(repository).unwrap().segments > 0);
    }
    std::fs::remove_file(clinic.data().join("bulk/report")).unwrap();
    clinic.outline.note_point(repository, &clinic.capture()).unwrap();
    clinic.ship(repository).unwrap();
    clinic.base(repository);
}

#[test]
fn making_backups_never_removes() {
    for place in places() {
        let mut clinic = Clinic::new();
        let repository = Repository::new(Box::new(AddOnly(place.target())), key());
        life(&mut clinic, &repository);
        let (to, _) = clinic.restored(&repository, None);
        assert!(read(&to) == settings(&clinic.store), "{}", place.name);
        // Pruning is another's work.
        let policy = Policy { instant_days: 0, daily_days: 0, weekly_weeks: 0 };
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 400);
        let pruned = repository.prune(&policy, later, &Watch::none());
        assert!(matches!(pruned, Err(Error::Refused(_))), "{}: {pruned:?}", place.name);
        clinic.store.close();
    }
}

/// What docs/guides/backup.md says about sshd, tried with a real one.
#[test]
fn a_stolen_credential_cannot_harm_what_is_there() {
    let Some(place) = append_only() else { return };
    let mut clinic = Clinic::new();
    let repository = place.repository();
    life(&mut clinic, &repository);
    let sshd = place.sshd.as_ref().unwrap();
    let root = sshd.data().join("backups");
    let base = std::fs::read_dir(root.join("base")).unwrap().next().unwrap().unwrap().path();
    let base = base.display().to_string();
    let junk = clinic.folder.path().join("junk");
    std::fs::write(&junk, "nothing").unwrap();
    let junk = junk.display().to_string();
    assert!(sshd.batch(&format!("put {junk} {}\n", root.join("base/new").display())), "it may add");
    for wrong in [
        format!("rm {base}\n"),
        format!("put {junk} {base}\n"),
        format!("reput {junk} {base}\n"),
        format!("chmod 666 {base}\n"),
        format!("rename {base} {base}.away\n"),
        format!("rename {junk} {base}\n"),
        format!("rmdir {}\n", root.join("base").display()),
        format!("rename {} {}\n", root.display(), root.with_file_name("gone").display()),
        format!("symlink {junk} {base}\n"),
    ] {
        assert!(!sshd.batch(&wrong), "it could: {wrong}");
    }
    let (to, _) = clinic.restored(&repository, None);
    assert!(read(&to) == settings(&clinic.store));
    clinic.store.close();
}
