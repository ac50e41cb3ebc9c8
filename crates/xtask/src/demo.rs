//! A whole hospital on one machine: server, sandbox, people, records. For trying out and for the browser tests.

use crate::shell::{self, Service, cargo, root, target};
use crate::{prerequisites, web};
use anyhow::Context;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub struct Options {
    /// People in the demonstration hospital, up to 1,000,000.
    #[arg(long, default_value_t = 500)]
    patients: u64,
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    #[arg(long, default_value = "127.0.0.1:7100")]
    sandbox_listen: String,
    /// UDP and TCP address of the relay for calls.
    #[arg(long, default_value = "127.0.0.1:3478")]
    turn_listen: String,
    /// Where the demonstration lives; removed and made anew unless --keep.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Goes on with the data of the last run.
    #[arg(long)]
    keep: bool,
    /// `postgres://…` instead of the embedded database.
    #[arg(long)]
    database_url: Option<String>,
}

/// Sign-in names of the demonstration staff beside the doctors, with their roles.
const STAFF: &[(&str, &str, &str)] = &[
    ("reception", "Front desk", "front-desk"),
    ("cashier", "Cashier", "cashier"),
    ("admin", "Administrator", "administrator"),
    ("privacy", "Privacy officer", "privacy-officer"),
    ("it", "IT support", "it"),
];

/// Everybody's password in the demonstration, printed with the accounts. Never used outside of it.
pub const PASSWORD: &str = "karibu-uzima-2026";

/// The test application that Daraja's own documentation uses for its sandbox.
const SHORTCODE: &str = "174379";
/// The sandbox's provider of identities: its people get roles by their groups.
const IDENTITY_PROVIDER: &str = r#"
name = "Staff login (sandbox)"
client_id = "uzima"
client_secret = "uzima-sandbox-oidc-secret"
create_accounts = true
allow_http = true
allow_private = true
roles = [
    { claim = "groups", value = "doctors", role = "doctor" },
    { claim = "groups", value = "cashiers", role = "cashier" },
    { claim = "groups", value = "front-desk", role = "front-desk" },
]
"#;
/// The secret part of the address of delivery reports; guards nothing but the sandbox.
const SMS_TOKEN: &str = "demo-delivery-reports";

pub fn run(options: &Options) -> anyhow::Result<()> {
    prerequisites::node()?;
    web::build()?;
    let setup = Setup {
        bin: release_binaries()?,
        data: options.data.clone().unwrap_or_else(|| target().join("demo")),
        listen: options.listen.clone(),
        sandbox_listen: options.sandbox_listen.clone(),
        turn_listen: options.turn_listen.clone(),
        patients: options.patients,
        database_url: options.database_url.clone(),
        keep: options.keep,
    };
    let mut demo = start(&setup)?;
    demo.print();
    loop {
        demo.server.still_runs()?;
        demo.sandbox.still_runs()?;
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

/// Builds the programs as they ship. Returns the folder they are in.
pub fn release_binaries() -> anyhow::Result<PathBuf> {
    shell::run(cargo().args([
        "build",
        "--release",
        "-p",
        "uzima-server",
        "-p",
        "uzima-sandbox",
        "-p",
        "uzima-testkit",
    ]))?;
    Ok(target().join("release"))
}

pub struct Setup {
    pub bin: PathBuf,
    pub data: PathBuf,
    pub listen: String,
    pub sandbox_listen: String,
    pub turn_listen: String,
    pub patients: u64,
    pub database_url: Option<String>,
    pub keep: bool,
}

pub struct Demo {
    pub url: String,
    pub sandbox_url: String,
    pub doctors: Vec<(String, String)>,
    patients: u64,
    // Fields drop in order: the server first, so that it can still reach its providers.
    server: Service,
    sandbox: Service,
}

/// Fills the hospital and starts both programs. Errors: a program is missing or fails; its own words are on stderr.
pub fn start(setup: &Setup) -> anyhow::Result<Demo> {
    let fresh = !(setup.keep && setup.data.join("ready").exists());
    if fresh {
        if setup.data.exists() {
            std::fs::remove_dir_all(&setup.data)
                .with_context(|| format!("cannot empty {}", setup.data.display()))?;
        }
        std::fs::create_dir_all(&setup.data)?;
    }
    // The file anew each time: the sandbox may listen elsewhere than in the run before.
    let providers = format!(
        "[identity_providers.staff]\nissuer = \"http://{}/oidc\"{IDENTITY_PROVIDER}",
        setup.sandbox_listen
    );
    std::fs::write(setup.data.join("uzima.toml"), providers)?;
    let hospital = setup.data.join("hospital");
    if fresh {
        shell::run(
            Command::new(setup.bin.join("uzima-hospital"))
                .args(["--patients", &setup.patients.to_string(), "--out"])
                .arg(&hospital),
        )?;
        shell::run(uzima(setup).arg("import").arg(&hospital))?;
    }
    let staff: Value = serde_json::from_slice(&std::fs::read(hospital.join("staff.accounts"))?)?;
    let doctors: Vec<(String, String)> = staff["doctors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|d| (text(d, "login"), text(d, "display")))
        .collect();
    if fresh {
        for doctor in staff["doctors"].as_array().into_iter().flatten() {
            account(
                setup,
                &text(doctor, "login"),
                &text(doctor, "display"),
                "doctor",
                Some(&text(doctor, "practitioner")),
            )?;
        }
        for (login, display, role) in STAFF {
            account(setup, login, display, role, None)?;
        }
        // Everybody is to get in with the password that is printed.
        let status =
            uzima(setup).args(["admin", "require-second-factor", "none"]).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "uzima admin require-second-factor ended with {status}");
        std::fs::write(setup.data.join("ready"), "")?;
    }

    let mut sandbox = Service::start(
        "uzima-sandbox",
        Command::new(setup.bin.join("uzima-sandbox"))
            .args(["--listen", &setup.sandbox_listen, "--sms-report-url"])
            .arg(format!("http://{}/hooks/africastalking/{SMS_TOKEN}/delivery", setup.listen))
            .stdout(log(setup, "sandbox")?)
            .stderr(log(setup, "sandbox")?),
    )?;
    shell::wait_for(&setup.sandbox_listen, 30, || sandbox.still_runs())?;
    let mut command = uzima(setup);
    command.arg("serve").stdout(log(setup, "server")?).stderr(log(setup, "server")?);
    let mut server = Service::start("uzima serve", &mut command)?;
    shell::wait_for(&setup.listen, 60, || server.still_runs())
        .with_context(|| format!("see {}", setup.data.join("server.log").display()))?;
    Ok(Demo {
        url: public(setup),
        sandbox_url: format!("http://{}", setup.sandbox_listen),
        doctors,
        patients: setup.patients,
        server,
        sandbox,
    })
}

impl Demo {
    fn print(&self) {
        let Demo { url, sandbox_url, doctors, patients, .. } = self;
        println!("\nUzima is ready with {patients} patients. Ctrl-C stops everything.\n");
        println!("  Clinic            {url}");
        println!(
            "  Phones (sandbox)  {sandbox_url}   every number has a handset here: SMS, M-PESA prompts, PIN 1234"
        );
        println!(
            "  Staff login       on the sign-in page: an outside identity provider, also the sandbox's; pick anybody"
        );
        println!("  FHIR R4           {url}/fhir/R4/metadata");
        println!("  API               {url}/api/v1/openapi.json\n");
        println!("  Everybody's password: {PASSWORD}");
        for (login, display) in doctors.iter().take(3) {
            println!("  {login:<12} {display}");
        }
        for (login, display, _) in STAFF {
            println!("  {login:<12} {display}");
        }
        println!(
            "\nTry this: open {url} on a phone-sized window, register as a patient with any Kenyan mobile number,"
        );
        println!(
            "read the code on that number's handset at {sandbox_url}, book a video visit with {},",
            doctors.first().map_or("a doctor", |d| &d.1)
        );
        println!(
            "then sign in as `{}` in another browser, admit the patient, write the note, finish,",
            doctors.first().map_or("…", |d| &d.0)
        );
        println!("and pay as the patient: the M-PESA prompt appears on the handset.\n");
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Passkeys belong to a name: browsers make none for an address.
fn public(setup: &Setup) -> String {
    format!("http://{}", setup.listen.replace("127.0.0.1:", "localhost:"))
}

fn uzima(setup: &Setup) -> Command {
    let mut command = Command::new(setup.bin.join("uzima"));
    command
        .current_dir(root())
        .arg("--config")
        .arg(setup.data.join("uzima.toml"))
        .env("UZIMA_DATA", setup.data.join("data"))
        .env("UZIMA_LISTEN", &setup.listen)
        .env("UZIMA_PUBLIC_URL", public(setup))
        .env("UZIMA_CLINIC_NAME", "Uzima Demonstration Hospital")
        .env("UZIMA_CLINIC_PHONE", "+254709000000")
        .env("UZIMA_DARAJA_BASE_URL", format!("http://{}", setup.sandbox_listen))
        .env("UZIMA_DARAJA_CONSUMER_KEY", "uzima-sandbox-key")
        .env("UZIMA_DARAJA_CONSUMER_SECRET", "uzima-sandbox-secret")
        .env("UZIMA_DARAJA_SHORTCODE", SHORTCODE)
        .env("UZIMA_DARAJA_PASSKEY", "uzima-sandbox-passkey")
        .env("UZIMA_DARAJA_REGISTER_PAYBILL", "true")
        .env("UZIMA_AFRICASTALKING_BASE_URL", format!("http://{}", setup.sandbox_listen))
        .env("UZIMA_AFRICASTALKING_USERNAME", "sandbox")
        .env("UZIMA_AFRICASTALKING_API_KEY", "uzima-sandbox-api-key")
        .env("UZIMA_AFRICASTALKING_CALLBACK_TOKEN", SMS_TOKEN)
        .env("UZIMA_TURN_LISTEN", &setup.turn_listen)
        .env("UZIMA_TURN_ALLOW_PRIVATE_RELAYS", "true")
        // Beside the data, so that the screens of backups and of the audit trail have something to show.
        .env("UZIMA_BACKUP_TO", setup.data.join("backup"))
        .env("UZIMA_AUDIT_ANCHOR_FILE", setup.data.join("audit-heads.log"))
        .env("UZIMA_LOG_FORMAT", "text");
    if let Some(url) = &setup.database_url {
        command.env("UZIMA_DATABASE_URL", url);
    }
    command
}

fn account(
    setup: &Setup,
    login: &str,
    display: &str,
    role: &str,
    practitioner: Option<&str>,
) -> anyhow::Result<()> {
    let mut command = uzima(setup);
    command.args([
        "admin",
        "create-user",
        "--login",
        login,
        "--display",
        display,
        "--role",
        role,
        "--password-stdin",
    ]);
    if let Some(practitioner) = practitioner {
        command.args(["--practitioner", practitioner]);
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot start uzima")?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{PASSWORD}")?;
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "uzima admin create-user {login} ended with {status}");
    Ok(())
}

/// Id and secret of a new OAuth client that may do everything.
pub fn client(setup: &Setup, name: &str) -> anyhow::Result<(String, String)> {
    let printed = shell::output(uzima(setup).args([
        "admin",
        "create-client",
        "--name",
        name,
        "--scope",
        "system/*.cruds",
    ]))?;
    let client: Value = serde_json::from_str(&printed).context("create-client printed no JSON")?;
    Ok((text(&client, "client_id"), text(&client, "client_secret")))
}

fn log(setup: &Setup, name: &str) -> anyhow::Result<std::fs::File> {
    let path: &Path = &setup.data.join(format!("{name}.log"));
    Ok(std::fs::OpenOptions::new().create(true).append(true).open(path)?)
}
