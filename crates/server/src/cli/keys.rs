//! `uzima keys`: what the keyring holds, and changing keys.

use crate::admin::{self, Command};
use crate::config::{Config, Secret};
use crate::keys::{self, Held, Source};
use crate::{control, start, storage};
use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;
use std::path::{Path, PathBuf};
use store::Secret32;
use store::keys::{
    KeyError, KeyProvider, Keyring, LocalKey, Program, RekeyProgress, rekey, replace_key_file,
};

#[derive(Subcommand)]
pub enum Order {
    /// Tells where the key-encryption key comes from, which slots the keyring has, and how old the database's key is.
    Status,
    /// Changes the key-encryption key: seals the keys anew, touches no data, and may run beside a running server. Without
    /// `--to-…` a new key takes the place of that in the key file, or the key program is asked again.
    Rotate(Rotate),
    /// Makes a new tenant key and wraps the patients' keys under it, through the running server if there is one. Touches no
    /// data; reads and writes go on.
    RotateTenant,
    /// Changes the database's own key by rewriting all of it (embedded database only). The server must be stopped; there
    /// must be as much free room as the database takes. Goes on where it was stopped.
    Rekey,
}

#[derive(Args)]
#[group(multiple = false)]
pub struct Rotate {
    /// From now on the key of this file (made if it is not there).
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// From now on the 64 hexadecimal digits in this variable of the environment, set later as UZIMA_KEY.
    #[arg(long, value_name = "NAME")]
    to_variable: Option<String>,
    /// From now on this file among systemd's credentials; `$CREDENTIALS_DIRECTORY` must be set for this command.
    #[arg(long, value_name = "NAME")]
    to_credential: Option<String>,
    /// From now on a program with its arguments, comma separated, that asks a key service.
    #[arg(long, value_name = "PROGRAM,ARGUMENT…", value_delimiter = ',')]
    to_program: Vec<String>,
    /// Removes the slots of all other keys, once the server runs with the new one.
    #[arg(long)]
    finish: bool,
}

pub async fn run(config: Config, order: Order) -> anyhow::Result<()> {
    let (told, event) = match order {
        Order::Status => (status(&config)?, None),
        Order::Rotate(arguments) => {
            let (told, what) = rotate(&config, &arguments)?;
            (told, Some(what))
        }
        Order::RotateTenant => (rotate_tenant(&config).await?, None),
        Order::Rekey => {
            let owned = config.clone();
            (tokio::task::spawn_blocking(move || rekey_database(&owned)).await??, Some("database"))
        }
    };
    if let Some(what) = event {
        note(&config, what).await.context("the keys are changed, but the audit trail does not tell of it")?;
    }
    println!("{}", serde_json::to_string_pretty(&told)?);
    Ok(())
}

/// The audit trail is told by whoever does it.
async fn rotate_tenant(config: &Config) -> anyhow::Result<serde_json::Value> {
    if let Some(answer) = control::send(&config.data, &Command::RotateTenantKey).await? {
        return Ok(answer);
    }
    let opening = config.clone();
    let record = tokio::task::spawn_blocking(move || storage::open(&opening, start::clock())).await??;
    let done = admin::run(&record, Command::RotateTenantKey).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    Ok(done?)
}

/// In the audit trail, by the running server if there is one.
async fn note(config: &Config, what: &str) -> anyhow::Result<()> {
    let command = Command::NoteKeyChange { what: what.to_owned() };
    if control::send(&config.data, &command).await?.is_some() {
        return Ok(());
    }
    let opening = config.clone();
    let record = tokio::task::spawn_blocking(move || storage::open(&opening, start::clock())).await??;
    let noted = admin::run(&record, command).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    noted?;
    Ok(())
}

/// The keyring as it lies there. Errors: also where there is none yet.
fn held(config: &Config) -> anyhow::Result<Held> {
    let source = keys::source(config)?;
    let path = keys::keyring_path(config);
    let Some(keyring) = Keyring::open(&path, source.provider())? else {
        bail!(
            "there is no keyring {} yet: `uzima migrate` or the server's next start makes it",
            path.display()
        );
    };
    Ok(Held::of(keyring, source))
}

fn status(config: &Config) -> anyhow::Result<serde_json::Value> {
    let held = held(config)?;
    let slots: Vec<_> = (held.keyring.iter().flat_map(Keyring::slots))
        .map(|s| json!({"id": s.id, "kind": s.kind, "made": s.made.to_string(), "in_use": s.is_current}))
        .collect();
    let provider = held.source.provider();
    let mut advice = Vec::new();
    if slots.len() > 1 {
        advice.push("a rotation is not finished: run `uzima keys rotate --finish` once the server runs with the new key");
    }
    if held.keys.was_bare && held.source.bare() != Some(&held.keys.database) {
        advice.push(
            "the first key file held the database's own key: if a copy of it is out, run `uzima keys rekey`",
        );
    }
    if held.keys.next.is_some() {
        advice.push("the database's key is being changed: run `uzima keys rekey` again");
    }
    Ok(json!({
        "keyring": keys::keyring_path(config),
        "key": {"kind": provider.kind(), "name": provider.name()},
        "slots": slots,
        "database_key_since": held.keys.since.to_string(),
        "former_database_keys": held.keys.retired.len(),
        "advice": advice,
    }))
}

/// What to print, and what of it the audit trail tells.
fn rotate(config: &Config, arguments: &Rotate) -> anyhow::Result<(serde_json::Value, &'static str)> {
    let held = held(config)?;
    let Some(mut keyring) = held.keyring else { bail!("there is no keyring") };
    let now = Timestamp::now();
    if arguments.finish {
        let removed = keyring.keep_current()?;
        return Ok((json!({"removed_slots": removed}), "finish"));
    }
    let (new, hint): (Box<dyn KeyProvider>, String) = if let Some(file) = &arguments.to_file {
        if !file.exists() {
            replace_key_file(file, &random()?)?;
        }
        (Box::new(LocalKey::of_file(file)?), format!("set key.file (UZIMA_KEY_FILE) to {}", file.display()))
    } else if let Some(name) = &arguments.to_variable {
        let text = Secret::new(std::env::var(name).with_context(|| format!("{name} is not set"))?);
        (Box::new(LocalKey::of_text(name, text.expose())?), "set UZIMA_KEY to the same digits".to_owned())
    } else if let Some(name) = &arguments.to_credential {
        let mut with = config.clone();
        with.key = crate::config::Key { credential: Some(name.clone()), ..Default::default() };
        let Source::Local(key) = keys::source(&with)? else { bail!("no credential") };
        (Box::new(key), format!("set key.credential (UZIMA_KEY_CREDENTIAL) to {name}"))
    } else if let Some(program) = Program::new(&arguments.to_program) {
        (Box::new(program), "set key.program (UZIMA_KEY_PROGRAM) to the same words".to_owned())
    } else {
        return Ok((in_place(config, &held.source, keyring, now)?, "rotate"));
    };
    let id = keyring.add(new.as_ref(), now)?;
    let next = format!("{hint}, restart the server, then run `uzima keys rotate --finish`");
    Ok((json!({"new_slot": id, "next": next}), "rotate"))
}

/// Another KEK from the same source. Whenever it stops, the key that is at hand opens the keyring.
fn in_place(
    config: &Config,
    source: &Source,
    mut keyring: Keyring,
    now: Timestamp,
) -> anyhow::Result<serde_json::Value> {
    let path = keyring.path().to_owned();
    match source {
        Source::Program(program) => {
            let id = keyring.add(program, now)?;
            // A keyring opens by the first slot that its program still knows.
            let removed = keyring.keep(&id)?;
            Ok(json!({"new_slot": id, "removed_slots": removed}))
        }
        Source::Local(key) if key.kind() == "file" => {
            let file = keys::key_file(config);
            let secret = random()?;
            let id = keyring.add(&LocalKey::for_file(&file, secret.clone()), now)?;
            replace_key_file(&file, &secret)?;
            // As the next start will do it.
            let Some(mut keyring) = Keyring::open(&path, &LocalKey::of_file(&file)?)? else {
                bail!(KeyError::Missing(path));
            };
            let removed = keyring.keep_current()?;
            let next = format!(
                "keep copies of {} and, elsewhere, of {}: either opens nothing without the other",
                file.display(),
                path.display()
            );
            Ok(json!({"new_slot": id, "removed_slots": removed, "next": next}))
        }
        Source::Local(key) => bail!(
            "the key comes from {} {}, which this command cannot change: name the new one by --to-file, --to-variable, \
             --to-credential or --to-program",
            key.kind(),
            key.name()
        ),
    }
}

fn random() -> anyhow::Result<Secret32> {
    Secret32::random().context("no randomness for a key")
}

fn rekey_database(config: &Config) -> anyhow::Result<serde_json::Value> {
    let path = storage::database_file(config).context("only the embedded database has a key of its own")?;
    ensure!(path.exists(), "there is no database {}", path.display());
    let mut held = held(config)?;
    ensure!(
        held.keyring.as_ref().is_some_and(|ring| ring.slots().len() == 1),
        "a rotation is not finished: run `uzima keys rotate --finish` first"
    );
    // First into the keyring, then into the database: whichever of the two keys it has, the keyring knows it.
    if held.keys.next.is_none() {
        let keys = store::keys::Keys { next: Some(random()?), ..held.keys.clone() };
        held.set(keys)?;
    }
    let Some(next) = held.keys.next.clone() else { bail!("no new key") };
    rewrite(&path, &held.keys.database, &next)?;
    let mut keys = held.keys.clone();
    keys.settle(Timestamp::now());
    held.set(keys)?;
    Ok(json!({
        "database": path,
        "next": "make a new backup now: older ones need the former key, which stays in the keyring",
    }))
}

fn rewrite(path: &Path, old: &Secret32, new: &Secret32) -> anyhow::Result<()> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent}% {eta}") {
        bar.set_style(style);
    }
    let done = rekey(path, old, new, &mut |progress| match progress {
        RekeyProgress::Writing { done, of } => {
            bar.set_message("writing");
            bar.set_length(of);
            bar.set_position(done);
        }
        RekeyProgress::Checking => bar.set_message("checking"),
    });
    bar.finish_and_clear();
    match done {
        // An earlier run came that far.
        Err(store::Error::WrongKey) => {
            store::backup::check(path, Some(new)).map_err(|_| store::Error::WrongKey)?;
            Ok(())
        }
        Err(store::Error::InUse(_)) => bail!("the server runs on this database: stop it first"),
        other => Ok(other?),
    }
}
