//! File, then variables, then checks.

use super::{Config, VARIABLES, Variable, variables::Form};
use std::path::Path;
use toml::{Table, Value};

/// The file read when `--config` is not given and it exists.
pub const DEFAULT_FILE: &str = "uzima.toml";

/// Variables with these beginnings belong to other programs of the project: the sandbox, the tests, the browsers' scripts.
const FOREIGN_PREFIXES: &[&str] = &[
    "UZIMA_SANDBOX_",
    "UZIMA_TEST_",
    "UZIMA_DEMO_",
    "UZIMA_BENCH_",
    "UZIMA_E2E_",
    "UZIMA_CALL_",
    "UZIMA_CHROMIUM",
];

/// Why the configuration was not accepted; the text names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("the configuration file {path} is wrong: {text}")]
    File { path: String, text: String },
    #[error("{name} is no variable of this program; `uzima config --variables` lists them")]
    UnknownVariable { name: String },
    #[error("{name} is wrong: {text}")]
    Variable { name: &'static str, text: String },
    #[error("configuration: {0}")]
    Wrong(String),
}

/// Reads `file` (or `uzima.toml` if there is one) and the given environment.
/// Errors: [ConfigError] naming the first wrong key.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut table = read_file(file)?;
    for (name, text) in environment {
        if !name.starts_with("UZIMA_") || FOREIGN_PREFIXES.iter().any(|p| name.starts_with(p)) {
            continue;
        }
        if let Some(id) = provider_of(&name) {
            set_secret(&mut table, &id, &text);
            continue;
        }
        let Some(variable) = VARIABLES.iter().find(|v| v.name == name) else {
            return Err(ConfigError::UnknownVariable { name });
        };
        if text.is_empty() {
            continue;
        }
        let value = parse(variable, &text)?;
        set(&mut table, variable.path, value);
    }
    let config: Config = Value::Table(table)
        .try_into()
        .map_err(|e: toml::de::Error| ConfigError::Wrong(e.message().to_owned()))?;
    check(&config)?;
    Ok(config)
}

/// The provider whose client's secret a variable has: `UZIMA_IDENTITY_PROVIDERS_STAFF_LOGIN_CLIENT_SECRET` is that of
/// `staff-login`.
fn provider_of(name: &str) -> Option<String> {
    let id = name.strip_prefix("UZIMA_IDENTITY_PROVIDERS_")?.strip_suffix("_CLIENT_SECRET")?;
    Some(id.to_ascii_lowercase().replace('_', "-"))
}

fn set_secret(table: &mut Table, id: &str, text: &str) {
    let all = table.entry("identity_providers").or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(all) = all else { return };
    let one = all.entry(id).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(one) = one
        && !text.is_empty()
    {
        one.insert("client_secret".to_owned(), Value::String(text.to_owned()));
    }
}

fn read_file(file: Option<&Path>) -> Result<Table, ConfigError> {
    let path = match file {
        Some(path) => path,
        None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
        None => return Ok(Table::new()),
    };
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
    // The typed parse gives line and column of an unknown key; the table is what variables are laid over.
    toml::from_str::<Config>(&text)
        .map_err(|e| ConfigError::File { path: shown.clone(), text: without_value(&e) })?;
    text.parse::<Table>().map_err(|e| ConfigError::File { path: shown, text: without_value(&e) })
}

/// The message and the line, without the excerpt of the file, which may show a secret.
fn without_value(error: &toml::de::Error) -> String {
    error.message().to_owned()
}

fn parse(variable: &Variable, text: &str) -> Result<Value, ConfigError> {
    let wrong = |what: &str| ConfigError::Variable { name: variable.name, text: format!("expected {what}") };
    Ok(match variable.form {
        Form::Text => Value::String(text.to_owned()),
        Form::Integer => Value::Integer(text.parse().map_err(|_| wrong("a whole number"))?),
        Form::Boolean => match text {
            "true" | "1" | "yes" => Value::Boolean(true),
            "false" | "0" | "no" => Value::Boolean(false),
            _ => return Err(wrong("true or false")),
        },
        Form::List => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .map(|t| Value::String(t.to_owned()))
                .collect(),
        ),
    })
}

fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, key)) => {
            let entry = table.entry(section.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = entry {
                inner.insert(key.to_owned(), value);
            }
        }
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let wrong = |text: &str| Err(ConfigError::Wrong(text.to_owned()));
    if config.tls.certificate.is_some() != config.tls.private_key.is_some() {
        return wrong("tls.certificate and tls.private_key go together");
    }
    if config.tls.redirect_listen.is_some() && !config.has_tls() {
        return wrong("tls.redirect_listen needs tls.certificate or tls.acme_names");
    }
    if !config.tls.acme_names.is_empty() {
        if config.tls.certificate.is_some() {
            return wrong("tls.acme_names and tls.certificate exclude each other");
        }
        if config.tls.redirect_listen.is_none() {
            return wrong(
                "tls.acme_names needs tls.redirect_listen, e.g. 0.0.0.0:80, where the authority looks",
            );
        }
    }
    if config.tls.client_authority.is_some() && !config.has_tls() {
        return wrong("tls.client_authority needs tls.certificate or tls.acme_names");
    }
    if config.tls.client_required && config.tls.client_authority.is_none() {
        return wrong("tls.client_required needs tls.client_authority");
    }
    if let Some(contact) = config.http.security_contacts.iter().find(|contact| !is_contact(contact)) {
        return wrong(&format!("http.security_contacts: `{contact}` is no mailto:, https: or tel: address"));
    }
    if let Some(url) = &config.public_url {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if host.is_none_or(|h| h.is_empty() || h.contains('/')) {
            return wrong("public_url must be http(s)://host[:port] without a path or trailing slash");
        }
    }
    if jiff::tz::TimeZone::get(&config.clinic.timezone).is_err() {
        return wrong("clinic.timezone is no IANA time zone, e.g. Africa/Nairobi");
    }
    if config.clinic.currency.len() != 3 || !config.clinic.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return wrong("clinic.currency must be an ISO 4217 code, e.g. KES");
    }
    if config.limits.json_bytes < 1024 || config.limits.json_bytes > 256 * 1024 * 1024 {
        return wrong("limits.json_bytes must be 1024 to 268435456");
    }
    if config.limits.concurrent_requests == 0
        || config.limits.request_seconds == 0
        || config.limits.bundle_seconds == 0
    {
        return wrong("limits must be at least 1");
    }
    if (1..record::audit::FLOOR_YEARS).contains(&config.audit.keep_years) {
        return wrong("audit.keep_years must be 0 (for ever) or at least 6");
    }
    if config.audit.anchor_mail.is_some() && config.mail.url.is_none() {
        return wrong("audit.anchor_mail needs mail.url");
    }
    if config.turn.port_min > config.turn.port_max {
        return wrong("turn.port_min must not be above turn.port_max");
    }
    if config.daraja.consumer_key.is_some()
        && (config.daraja.base_url.is_empty()
            || config.daraja.shortcode.is_empty()
            || config.daraja.consumer_secret.is_none()
            || config.daraja.passkey.is_none())
    {
        return wrong("daraja needs base_url, consumer_key, consumer_secret, shortcode and passkey");
    }
    if config.africastalking.api_key.is_some()
        && (config.africastalking.base_url.is_empty() || config.africastalking.username.is_empty())
    {
        return wrong("africastalking needs base_url, username and api_key");
    }
    super::identity::check(&config.identity_providers).map_err(ConfigError::Wrong)?;
    if config.proxy.address_header.is_some() && config.proxy.trusted.is_empty() {
        return wrong("proxy.address_header needs proxy.trusted");
    }
    let key = &config.key;
    let sources =
        [key.file.is_some(), key.value.is_some(), key.credential.is_some(), !key.program.is_empty()];
    if sources.into_iter().filter(|given| *given).count() > 1 {
        return wrong("only one of key.file, key.value, key.credential and key.program may be given");
    }
    if key.credential.as_ref().is_some_and(|name| name.is_empty() || name.contains('/')) {
        return wrong("key.credential must be the name of a credential");
    }
    if let Some(key) = &config.key.value
        && (key.expose().len() != 64 || !key.expose().bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return wrong("key.value must be 64 hexadecimal digits");
    }
    Ok(())
}

/// RFC 9116 §2.5.3: an address, in one line.
fn is_contact(text: &str) -> bool {
    let known = ["mailto:", "https://", "tel:"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    known.is_some_and(|rest| !rest.is_empty()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(file: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uzima.toml");
        std::fs::write(&path, file).unwrap();
        let environment = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        load(Some(&path), environment).map_err(|e| e.to_string())
    }

    #[test]
    fn variables_go_before_the_file_and_unknown_keys_stop() {
        let file = "listen = \"127.0.0.1:9000\"\n[limits]\njson_bytes = 4096\n";
        let config =
            from(file, &[("UZIMA_LISTEN", "127.0.0.1:9001"), ("UZIMA_PROXY_TRUSTED", "10.0.0.1, 10.0.0.2")])
                .unwrap();
        assert_eq!(config.listen.port(), 9001);
        assert_eq!(config.limits.json_bytes, 4096);
        assert_eq!(config.proxy.trusted.len(), 2);
        assert_eq!(config.limits.request_seconds, 30);

        let cases = [
            ("lisen = \"x\"", vec![], "unknown field `lisen`"),
            ("[limits]\njson = 1", vec![], "unknown field `json`"),
            ("", vec![("UZIMA_LISTNE", "x")], "UZIMA_LISTNE is no variable"),
            ("", vec![("UZIMA_LIMITS_JSON_BYTES", "2 MB")], "expected a whole number"),
            ("", vec![("UZIMA_CLINIC_TIMEZONE", "Nairobi")], "no IANA time zone"),
            ("", vec![("UZIMA_TLS_CERTIFICATE", "a.pem")], "go together"),
            ("", vec![("UZIMA_PUBLIC_URL", "https://clinic.example/")], "without a path"),
            ("", vec![("UZIMA_KEY", "abc")], "64 hexadecimal"),
            ("", vec![("UZIMA_KEY_CREDENTIAL", "../key")], "name of a credential"),
            ("", vec![("UZIMA_KEY_FILE", "a"), ("UZIMA_KEY_PROGRAM", "kms")], "only one of"),
            ("", vec![("UZIMA_AUDIT_KEEP_YEARS", "5")], "at least 6"),
            ("", vec![("UZIMA_TLS_CLIENT_AUTHORITY", "a.pem")], "needs tls.certificate"),
            ("", vec![("UZIMA_TLS_CLIENT_REQUIRED", "true")], "needs tls.client_authority"),
            ("", vec![("UZIMA_HTTP_SECURITY_CONTACTS", "security@clinic.example")], "no mailto:"),
            ("", vec![("UZIMA_HTTP_SECURITY_CONTACTS", "mailto:a@b.example\nExpires: x")], "no mailto:"),
        ];
        for (file, variables, expected) in cases {
            let error = from(file, &variables).unwrap_err();
            assert!(error.contains(expected), "{file:?} {variables:?}: {error}");
        }
    }

    #[test]
    fn providers_of_identities_are_checked() {
        let provider = "[identity_providers.staff-login]\nname = \"Staff\"\nissuer = \"https://login.example\"\nclient_id = \"uzima\"\n";
        let secret = ("UZIMA_IDENTITY_PROVIDERS_STAFF_LOGIN_CLIENT_SECRET", "very-secret");
        let config = from(provider, &[secret]).unwrap();
        let set = &config.identity_providers["staff-login"];
        assert_eq!(set.client_secret.as_ref().unwrap().expose(), "very-secret");
        assert!(!set.create_accounts && set.roles.is_empty(), "nothing by default");
        assert!(!toml::to_string(&config).unwrap().contains("very-secret"));

        let role = |role: &str| {
            format!(
                "{provider}[[identity_providers.staff-login.roles]]\nclaim = \"groups\"\nvalue = \"x\"\nrole = \"{role}\"\n"
            )
        };
        assert!(from(&role("doctor"), &[]).is_ok());
        let cases = [
            (role("surgeon"), "is no role"),
            (role("administrator"), "give_administrator"),
            (role("patient"), "cannot be given"),
            (role("proxy"), "cannot be given"),
            (role("integration"), "cannot be given"),
            (provider.replace("staff-login", "Staff"), "small letters"),
            (provider.replace("client_id", "client"), "unknown field"),
        ];
        for (file, expected) in cases {
            let error = from(&file, &[]).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
        }
        // A secret of a provider that is not in the file.
        let other = ("UZIMA_IDENTITY_PROVIDERS_OTHER_CLIENT_SECRET", "x");
        assert!(from(provider, &[other]).unwrap_err().contains("missing field"));
    }

    #[test]
    fn every_variable_sets_a_key_of_the_file() {
        for variable in VARIABLES {
            let sample = match variable.name {
                "UZIMA_LISTEN" | "UZIMA_TURN_LISTEN" | "UZIMA_TLS_REDIRECT_LISTEN" => "127.0.0.1:1",
                "UZIMA_TURN_PUBLIC_IP" | "UZIMA_PROXY_TRUSTED" | "UZIMA_DARAJA_IP_ALLOW_LIST" => "127.0.0.1",
                "UZIMA_LOG_FORMAT" => "text",
                "UZIMA_FHIR_CONDITIONAL_DELETE" => "multiple",
                _ => match variable.form {
                    Form::Integer => "2000",
                    Form::Boolean => "true",
                    Form::Text | Form::List => "x",
                },
            };
            let mut table = Table::new();
            set(&mut table, variable.path, parse(variable, sample).unwrap());
            let parsed: Result<Config, _> = Value::Table(table).try_into();
            assert!(parsed.is_ok(), "{}: {:?}", variable.name, parsed.err());
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let config =
            from("", &[("UZIMA_TURN_SECRET", "very-secret"), ("UZIMA_DATABASE_URL", "postgres://u:pw@h/d")])
                .unwrap();
        let shown = format!("{config:?}{}", toml::to_string(&config).unwrap());
        assert!(!shown.contains("very-secret") && !shown.contains("pw@h"), "{shown}");
        assert_eq!(config.turn.secret.unwrap().expose(), "very-secret");
    }
}
