//! The commands of `uzima`.

mod audit;
mod backup;
mod export;
mod import;
mod keys;
mod logs;
mod migrate;
mod output;
mod region;
mod terminology;
mod view;

use crate::admin::{self, Command, NewClient, NewUser};
use crate::config::{self, Config};
use crate::{control, start, storage};
use access::Role;
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Electronic health record and telemedicine for clinics and hospitals.
#[derive(Parser)]
#[command(name = "uzima", version, about, propagate_version = true)]
struct Uzima {
    /// Configuration file; `uzima.toml` is read if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Serves the web client, the APIs and (unless worker.enabled is false) runs the worker. SIGHUP reads the certificate
    /// again; SIGTERM finishes what was begun and stops.
    Serve,
    /// Runs the worker alone, beside servers on the same PostgreSQL database.
    Worker,
    /// Brings the database's schema up to date and says where it stands; or puts it back; or moves everything to the other
    /// engine.
    Migrate(migrate::Arguments),
    /// Makes a whole, encrypted copy elsewhere of the database and the files beside it; works on a running server as well.
    Backup(backup::BackupArguments),
    /// Makes a data folder from a backup, as of any instant; it gets its place only when it was found sound.
    Restore(backup::RestoreArguments),
    /// Imports FHIR bundles, NDJSON, gzip files and folders of them; can be run again after a stop.
    Import(import::Arguments),
    /// Writes resources to files of NDJSON, one per type, as the record stands now; a server on an embedded database must
    /// be stopped.
    Export(export::Arguments),
    /// Tables from the record, by SQL-on-FHIR views.
    #[command(subcommand)]
    View(view::Order),
    /// Code systems such as ICD-10, LOINC and SNOMED CT: import, list, remove.
    #[command(subcommand)]
    Terminology(terminology::Order),
    /// Recomputes the audit trail and names the first entry that was changed, removed, put in or moved; works on a running
    /// server as well. The exit code is 1 if there is one.
    Verify(VerifyArguments),
    /// The audit trail's heads, proofs and signing key.
    #[command(subcommand)]
    Audit(audit::Order),
    /// Accounts and API clients; works on a running server as well.
    #[command(subcommand)]
    Admin(AdminOrder),
    /// The keys that encrypt what lies on the disk: where they come from, and changing them.
    #[command(subcommand)]
    Keys(keys::Order),
    /// The country the record is pinned to.
    #[command(subcommand)]
    Region(region::Order),
    /// Prints the effective configuration without secrets.
    Config {
        /// Prints every variable with its meaning and default instead.
        #[arg(long)]
        variables: bool,
    },
    /// Prints the OpenAPI document of /api/v1, or writes it to a file.
    Openapi {
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Prints the version.
    Version,
}

#[derive(Args)]
struct VerifyArguments {
    #[command(flatten)]
    audit: audit::Verify,
    /// Reads and authenticates everything in a backup instead: this one, or where the server's backups go (backup.to).
    #[arg(long, value_name = "PLACE", num_args = 0..=1, conflicts_with_all = ["head", "key"])]
    #[expect(clippy::option_option, reason = "clap's form of an option whose value may be left out")]
    backup: Option<Option<String>>,
    /// Only looks whether every piece of the backup is there, without reading it.
    #[arg(long, requires = "backup")]
    quick: bool,
}

#[derive(Subcommand)]
enum AdminOrder {
    /// Registers an application and prints its id and secret, which is shown once.
    CreateClient(ClientArguments),
    /// Lists OAuth clients.
    ListClients,
    /// Disables an OAuth client and its tokens.
    DisableClient { id: String },
    /// Makes an account, e.g. the first administrator, and prints its one-time password.
    CreateUser(UserArguments),
    /// Gives an account a new one-time password and ends its sessions.
    ResetPassword { login: String },
    /// Disables an account and ends its sessions.
    DisableUser { login: String },
    /// Enables an account again.
    EnableUser { login: String },
    /// Says which roles must have a second factor, e.g. `doctor,nurse`, or `none`: for trying out, and where nobody who
    /// could change the rules in the program gets in any more.
    RequireSecondFactor {
        #[arg(value_delimiter = ',', value_parser = parse_role_or_none)]
        roles: Vec<RoleOrNone>,
    },
}

/// A role, or the word that stands for no role.
#[derive(Debug, Clone, Copy)]
struct RoleOrNone(Option<Role>);

fn parse_role_or_none(text: &str) -> Result<RoleOrNone, String> {
    match text {
        "none" => Ok(RoleOrNone(None)),
        role => Ok(RoleOrNone(Some(parse_role(role)?))),
    }
}

#[derive(Args)]
struct ClientArguments {
    #[arg(long)]
    name: String,
    /// SMART scopes, e.g. `system/*.cruds`, or `openid fhirUser launch/patient patient/*.rs` for an application that people
    /// use; may be given more than once or with blanks between.
    #[arg(long, required = true)]
    scope: Vec<String>,
    /// Where people are sent back to, whole; may be given more than once.
    #[arg(long, value_name = "URL")]
    redirect_uri: Vec<String>,
    /// Where a launch from Uzima begins.
    #[arg(long, value_name = "URL")]
    launch_url: Option<String>,
    /// The application cannot keep a secret: it runs in browsers or on phones.
    #[arg(long, conflicts_with_all = ["jwks", "jwks_url"])]
    public: bool,
    /// Its public keys (a JWK Set): it signs assertions instead of sending a secret.
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_url")]
    jwks: Option<PathBuf>,
    /// Where its public keys are.
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// Enters it in the register of recipients in this country, two letters; without it a privacy officer does that before
    /// it can export anything.
    #[arg(long, value_name = "COUNTRY")]
    country: Option<String>,
    /// On what a transfer to another country rests, e.g. `safeguards`.
    #[arg(long, requires = "country")]
    basis: Option<String>,
}

#[derive(Args)]
struct UserArguments {
    /// User name, unique.
    #[arg(long)]
    login: String,
    /// Name as others see it.
    #[arg(long)]
    display: String,
    /// e.g. `administrator`; may be given more than once.
    #[arg(long, required = true, value_parser = parse_role)]
    role: Vec<Role>,
    #[arg(long)]
    phone: Option<String>,
    #[arg(long)]
    email: Option<String>,
    /// The Practitioner that this person is, e.g. `Practitioner/123`.
    #[arg(long, value_parser = parse_practitioner)]
    practitioner: Option<String>,
    #[arg(long, default_value = "en")]
    language: String,
    /// Reads the password from the first line of the standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
}

fn parse_practitioner(text: &str) -> Result<String, String> {
    match fhir::ResourceKey::parse(text) {
        Some(key) if key.kind == fhir::TypeId::PRACTITIONER => Ok(text.to_owned()),
        _ => Err("write it like Practitioner/123".to_owned()),
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::from_code(text)
        .ok_or_else(|| "no such role, e.g. administrator, front-desk, cashier, it".to_owned())
}

/// Runs the program; the exit code is 0 if everything went well.
pub fn main() -> ExitCode {
    let arguments = Uzima::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            // The whole chain in one line; the configuration may not have been read, so not by the log.
            eprintln!("uzima: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Uzima) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Order::Version => {
            println!("uzima {}", env!("CARGO_PKG_VERSION"));
            return Ok(ExitCode::SUCCESS);
        }
        Order::Openapi { output } => {
            openapi(output.as_ref())?;
            return Ok(ExitCode::SUCCESS);
        }
        Order::Config { variables: true } => {
            print!("{}", config::print_variables());
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = config::load(arguments.config.as_deref(), environment)?;
    logs::start(&config.log)?;
    if matches!(arguments.command, Order::Serve | Order::Worker | Order::Keys(_)) {
        crate::keys::protect_memory();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(act(arguments.command, config));
    // Handlers that hang must not keep the process; everything durable is committed by now.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

async fn act(order: Order, config: Config) -> anyhow::Result<ExitCode> {
    match order {
        Order::Serve => serve(config).await?,
        Order::Worker => work(config).await?,
        Order::Migrate(arguments) => migrate::run(config, arguments).await?,
        Order::Backup(arguments) => return backup::backup(config, arguments).await,
        Order::Restore(arguments) => return backup::restore(config, arguments).await,
        Order::Import(arguments) => return import::run(config, arguments).await,
        Order::Export(arguments) => return export::run(config, arguments).await,
        Order::View(order) => return view::run(config, order).await,
        Order::Terminology(order) => return terminology::run(config, order).await,
        Order::Verify(VerifyArguments { audit, backup: None, .. }) => {
            return audit::verify(config, audit).await;
        }
        Order::Verify(VerifyArguments { backup: Some(from), quick, .. }) => {
            return backup::verify(config, from, quick).await;
        }
        Order::Audit(order) => return audit::run(config, order).await,
        Order::Admin(order) => {
            let result = administrate(config, order).await?;
            println!("{}", serde_json::to_string_pretty(&result)?);
        }
        Order::Keys(order) => keys::run(config, order).await?,
        Order::Region(order) => region::run(config, order).await?,
        Order::Config { .. } => print!("{}", toml::to_string(&config)?),
        Order::Openapi { .. } | Order::Version => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut running = start::start(config).await?;
    // For people and for programs that wait for it; the log may be JSON or elsewhere.
    println!("uzima listens on {} ({})", running.address, running.url);
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup())?;
    let stop = stop_signal();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            ended = running.ended() => return ended,
            () = &mut stop => {
                tracing::info!("stopping");
                return running.shutdown().await;
            }
            _ = hang_up.recv() => {
                if let Err(error) = running.reload_tls() {
                    tracing::error!(error = format!("{error:#}"), "the old certificate stays in use");
                }
            }
        }
    }
}

async fn work(config: Config) -> anyhow::Result<()> {
    let (app, task) = start::start_worker(config).await?;
    println!("uzima worker runs");
    stop_signal().await;
    app.stopping.cancel();
    task.await?;
    app.parts.stop().await;
    let store = app.record.store().clone();
    tokio::task::spawn_blocking(move || store.close()).await?;
    Ok(())
}

/// SIGINT or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

async fn administrate(config: Config, order: AdminOrder) -> anyhow::Result<serde_json::Value> {
    let command = command(order)?;
    if let Some(answer) = control::send(&config.data, &command).await? {
        return Ok(answer);
    }
    let record = tokio::task::spawn_blocking(move || storage::open(&config, start::clock())).await??;
    let result = admin::run(&record, command).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    Ok(result?)
}

fn command(order: AdminOrder) -> anyhow::Result<Command> {
    Ok(match order {
        AdminOrder::CreateClient(client) => {
            let words = client.scope.iter().flat_map(|text| text.split_whitespace());
            let read = |file: &PathBuf| {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
            };
            Command::CreateClient(NewClient {
                name: client.name,
                scopes: words.map(str::to_owned).collect(),
                is_public: client.public,
                redirects: client.redirect_uri,
                launch_url: client.launch_url,
                jwks: client.jwks.as_ref().map(read).transpose()?,
                jwks_url: client.jwks_url,
                country: client.country,
                basis: client.basis.unwrap_or_default(),
            })
        }
        AdminOrder::ListClients => Command::ListClients,
        AdminOrder::DisableClient { id } => Command::DisableClient { id },
        AdminOrder::CreateUser(user) => {
            let password = match user.password_stdin {
                true => {
                    let mut line = String::new();
                    std::io::stdin().read_line(&mut line).context("no password on the standard input")?;
                    Some(line.trim_end_matches(['\r', '\n']).to_owned())
                }
                false => None,
            };
            Command::CreateUser(NewUser {
                login: user.login,
                display: user.display,
                roles: user.role,
                phone: user.phone,
                email: user.email,
                practitioner: user.practitioner,
                language: user.language,
                password,
            })
        }
        AdminOrder::ResetPassword { login } => Command::ResetPassword { login },
        AdminOrder::DisableUser { login } => Command::DisableUser { login },
        AdminOrder::EnableUser { login } => Command::EnableUser { login },
        AdminOrder::RequireSecondFactor { roles } => {
            let roles: Vec<Role> = roles.into_iter().filter_map(|role| role.0).collect();
            Command::RequireSecondFactor { roles }
        }
    })
}

fn openapi(output: Option<&PathBuf>) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(&crate::api::document())?;
    text.push('\n');
    match output {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => {
            use std::io::Write as _;
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
    }
}
