//! Every variable, with its place in the file, its default and its unit.

/// How the text of a variable becomes a TOML value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Integer,
    Boolean,
    /// Comma separated.
    List,
}

/// One `UZIMA_*` variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    pub name: &'static str,
    /// Dotted path in the TOML file.
    pub path: &'static str,
    pub form: Form,
    pub default: &'static str,
    pub help: &'static str,
}

const fn text(name: &'static str, path: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, path, form: Form::Text, default, help }
}
const fn integer(
    name: &'static str,
    path: &'static str,
    default: &'static str,
    help: &'static str,
) -> Variable {
    Variable { name, path, form: Form::Integer, default, help }
}
const fn boolean(
    name: &'static str,
    path: &'static str,
    default: &'static str,
    help: &'static str,
) -> Variable {
    Variable { name, path, form: Form::Boolean, default, help }
}
const fn list(name: &'static str, path: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, path, form: Form::List, default, help }
}

/// All of them; the file's keys are the `path`s.
pub const VARIABLES: &[Variable] = &[
    text("UZIMA_DATA", "data", "uzima-data", "folder of the database, files and import reports"),
    text("UZIMA_LISTEN", "listen", "127.0.0.1:8080", "address and port of HTTP; port 0 picks a free one"),
    text(
        "UZIMA_DATABASE_URL",
        "database_url",
        "sqlite: uzima.db in the data folder",
        "`sqlite:PATH` or `postgres://user:password@host/database`",
    ),
    text(
        "UZIMA_PUBLIC_URL",
        "public_url",
        "http(s)://<listen>",
        "how browsers reach the server, without a trailing slash",
    ),
    text(
        "UZIMA_KEY_FILE",
        "key.file",
        "<data>.key, made with mode 0600",
        "file with the key that seals the keyring, 64 hexadecimal digits; its owner alone may read it",
    ),
    text("UZIMA_KEY", "key.value", "", "that key itself, instead of a file"),
    text("UZIMA_KEY_CREDENTIAL", "key.credential", "", "name of a systemd credential with that key"),
    list(
        "UZIMA_KEY_PROGRAM",
        "key.program",
        "",
        "program and arguments, comma separated, that ask a key service (KMS, PKCS#11) for that key",
    ),
    text("UZIMA_TLS_CERTIFICATE", "tls.certificate", "", "PEM file with the certificate chain; serves HTTPS"),
    text("UZIMA_TLS_PRIVATE_KEY", "tls.private_key", "", "PEM file with the private key"),
    boolean(
        "UZIMA_TLS_ALLOW_TLS12",
        "tls.allow_tls12",
        "false",
        "also speaks TLS 1.2, for old phones and devices",
    ),
    text(
        "UZIMA_TLS_REDIRECT_LISTEN",
        "tls.redirect_listen",
        "",
        "second address without TLS that only sends clients to HTTPS, e.g. 0.0.0.0:80",
    ),
    list(
        "UZIMA_TLS_ACME_NAMES",
        "tls.acme_names",
        "",
        "names to get a certificate for by ACME, comma separated; port 80 of each must lead to UZIMA_TLS_REDIRECT_LISTEN",
    ),
    text("UZIMA_TLS_ACME_CONTACT", "tls.acme_contact", "", "e-mail address for the authority's warnings"),
    text(
        "UZIMA_TLS_ACME_DIRECTORY",
        "tls.acme_directory",
        "https://acme-v02.api.letsencrypt.org/directory",
        "directory of the authority",
    ),
    text(
        "UZIMA_TLS_ACME_ROOT",
        "tls.acme_root",
        "the system's",
        "PEM file that the directory's certificate is checked by",
    ),
    text(
        "UZIMA_TLS_CLIENT_AUTHORITY",
        "tls.client_authority",
        "",
        "PEM file of authorities: a machine that shows a certificate must show one of theirs",
    ),
    boolean(
        "UZIMA_TLS_CLIENT_REQUIRED",
        "tls.client_required",
        "false",
        "let nobody in without such a certificate; for networks of machines only",
    ),
    text(
        "UZIMA_PROXY_ADDRESS_HEADER",
        "proxy.address_header",
        "",
        "header with the client's address set by a trusted proxy",
    ),
    list("UZIMA_PROXY_TRUSTED", "proxy.trusted", "", "addresses of trusted proxies, comma separated"),
    integer("UZIMA_LIMITS_JSON_BYTES", "limits.json_bytes", "2097152", "largest JSON body, bytes"),
    integer(
        "UZIMA_LIMITS_UPLOAD_BYTES",
        "limits.upload_bytes",
        "10485760",
        "largest file that is sent as it is, to Binary, bytes",
    ),
    integer(
        "UZIMA_LIMITS_BUNDLE_BYTES",
        "limits.bundle_bytes",
        "33554432",
        "largest FHIR batch or transaction, bytes",
    ),
    integer(
        "UZIMA_LIMITS_REQUEST_SECONDS",
        "limits.request_seconds",
        "30",
        "longest time for one request, seconds",
    ),
    integer(
        "UZIMA_LIMITS_BUNDLE_SECONDS",
        "limits.bundle_seconds",
        "120",
        "longest time for a FHIR bundle, seconds",
    ),
    integer(
        "UZIMA_LIMITS_CONCURRENT_REQUESTS",
        "limits.concurrent_requests",
        "1024",
        "requests worked on at once; more are answered 503",
    ),
    integer("UZIMA_LIMITS_SOCKETS", "limits.sockets", "20000", "open WebSockets"),
    integer(
        "UZIMA_LIMITS_SOCKETS_PER_ACCOUNT",
        "limits.sockets_per_account",
        "20",
        "open WebSockets of one account",
    ),
    integer(
        "UZIMA_LIMITS_DRAIN_SECONDS",
        "limits.drain_seconds",
        "20",
        "time to finish open requests at shutdown, seconds",
    ),
    integer(
        "UZIMA_LIMITS_USER_PER_SECOND",
        "limits.user_per_second",
        "50",
        "requests of one person, a second in the long run; 0: no limit",
    ),
    integer(
        "UZIMA_LIMITS_USER_BURST",
        "limits.user_burst",
        "500",
        "requests that one person may send at once",
    ),
    integer(
        "UZIMA_LIMITS_CLIENT_PER_SECOND",
        "limits.client_per_second",
        "5000",
        "requests of one OAuth client, a second in the long run; 0: no limit",
    ),
    integer(
        "UZIMA_LIMITS_CLIENT_BURST",
        "limits.client_burst",
        "20000",
        "requests that one OAuth client may send at once",
    ),
    integer(
        "UZIMA_LIMITS_ADDRESS_PER_SECOND",
        "limits.address_per_second",
        "20",
        "requests of one address without a working session or token, a second in the long run; 0: no limit",
    ),
    integer(
        "UZIMA_LIMITS_ADDRESS_BURST",
        "limits.address_burst",
        "600",
        "such requests that one address may send at once",
    ),
    text(
        "UZIMA_HTTP_CLAMD",
        "http.clamd",
        "",
        "where ClamAV listens, HOST:PORT or unix:PATH: files are scanned before they are stored",
    ),
    text(
        "UZIMA_HTTP_METRICS_TOKEN",
        "http.metrics_token",
        "",
        "bearer token with which /metrics may be read from other machines",
    ),
    list(
        "UZIMA_HTTP_SECURITY_CONTACTS",
        "http.security_contacts",
        "",
        "whom to tell of a hole that was found, mailto:, https: or tel:, comma separated; for /.well-known/security.txt",
    ),
    list(
        "UZIMA_HTTP_CORS_ORIGINS",
        "http.cors_origins",
        "",
        "origins whose pages may call the FHIR API from a browser, comma separated; * for any",
    ),
    text(
        "UZIMA_FHIR_CONDITIONAL_DELETE",
        "fhir.conditional_delete",
        "single",
        "`single`, or `multiple`: one conditional delete may remove several resources",
    ),
    integer(
        "UZIMA_FHIR_CONDITIONAL_DELETE_MOST",
        "fhir.conditional_delete_most",
        "100",
        "most resources that one conditional delete may remove",
    ),
    list(
        "UZIMA_BULK_IMPORT_FROM",
        "bulk.import_from",
        "",
        "beginnings of addresses that $import may fetch files from, comma separated; none without it",
    ),
    integer("UZIMA_BULK_KEEP_HOURS", "bulk.keep_hours", "1", "hours that files of a finished bulk job stay"),
    integer("UZIMA_BULK_JOBS_PER_OWNER", "bulk.jobs_per_owner", "3", "unfinished bulk jobs of one client"),
    integer("UZIMA_BULK_JOBS", "bulk.jobs", "10", "unfinished bulk jobs of all"),
    integer(
        "UZIMA_BULK_PART_RESOURCES",
        "bulk.part_resources",
        "100000",
        "resources of one file of an export, which is what a kill costs at most",
    ),
    text("UZIMA_CLINIC_NAME", "clinic.name", "Uzima Clinic", "name on screens, receipts and in messages"),
    text("UZIMA_CLINIC_PHONE", "clinic.phone", "", "phone that patients may call"),
    text("UZIMA_CLINIC_TIMEZONE", "clinic.timezone", "Africa/Nairobi", "IANA time zone of the clinic"),
    text("UZIMA_CLINIC_CURRENCY", "clinic.currency", "KES", "ISO 4217 code of prices"),
    text("UZIMA_DARAJA_BASE_URL", "daraja.base_url", "", "Daraja, e.g. https://api.safaricom.co.ke"),
    text(
        "UZIMA_DARAJA_CONSUMER_KEY",
        "daraja.consumer_key",
        "",
        "Daraja application key; M-PESA is off without it",
    ),
    text("UZIMA_DARAJA_CONSUMER_SECRET", "daraja.consumer_secret", "", "Daraja application secret"),
    text("UZIMA_DARAJA_SHORTCODE", "daraja.shortcode", "", "paybill or till number"),
    text("UZIMA_DARAJA_PASSKEY", "daraja.passkey", "", "M-PESA Express passkey"),
    text(
        "UZIMA_DARAJA_CALLBACK_BASE_URL",
        "daraja.callback_base_url",
        "UZIMA_PUBLIC_URL",
        "public address under which Daraja reaches /hooks",
    ),
    list(
        "UZIMA_DARAJA_IP_ALLOW_LIST",
        "daraja.ip_allow_list",
        "any",
        "addresses callbacks may come from, comma separated",
    ),
    boolean(
        "UZIMA_DARAJA_REGISTER_PAYBILL",
        "daraja.register_paybill",
        "false",
        "tells Daraja at start to report paybill payments to this server",
    ),
    text(
        "UZIMA_AFRICASTALKING_BASE_URL",
        "africastalking.base_url",
        "",
        "Africa's Talking, e.g. https://api.africastalking.com",
    ),
    text(
        "UZIMA_AFRICASTALKING_USERNAME",
        "africastalking.username",
        "",
        "Africa's Talking application user name",
    ),
    text(
        "UZIMA_AFRICASTALKING_API_KEY",
        "africastalking.api_key",
        "",
        "Africa's Talking key; SMS is off without it",
    ),
    text(
        "UZIMA_AFRICASTALKING_SENDER",
        "africastalking.sender",
        "the provider's own",
        "sender id or short code",
    ),
    text(
        "UZIMA_AFRICASTALKING_CALLBACK_TOKEN",
        "africastalking.callback_token",
        "",
        "secret part of the delivery report address",
    ),
    text(
        "UZIMA_TURN_LISTEN",
        "turn.listen",
        "",
        "UDP address of the relay for calls, e.g. 0.0.0.0:3478; no relay without it",
    ),
    text(
        "UZIMA_TURN_PUBLIC_IP",
        "turn.public_ip",
        "that of turn.listen",
        "address at which clients reach the relay",
    ),
    text("UZIMA_TURN_REALM", "turn.realm", "uzima", "realm of the relay's passwords"),
    text("UZIMA_TURN_SECRET", "turn.secret", "random at each start", "secret of the relay's passwords"),
    integer("UZIMA_TURN_PORT_MIN", "turn.port_min", "49160", "first UDP port of relayed streams"),
    integer("UZIMA_TURN_PORT_MAX", "turn.port_max", "49999", "last UDP port of relayed streams"),
    boolean(
        "UZIMA_TURN_ALLOW_PRIVATE_RELAYS",
        "turn.allow_private_relays",
        "false",
        "lets clients relay to private addresses; tests and closed networks only",
    ),
    boolean(
        "UZIMA_SUBSCRIPTIONS_ALLOW_HTTP",
        "subscriptions.allow_http",
        "false",
        "lets notifications go to plain http endpoints",
    ),
    boolean(
        "UZIMA_SUBSCRIPTIONS_ALLOW_PRIVATE",
        "subscriptions.allow_private",
        "false",
        "lets notifications go to private addresses",
    ),
    list(
        "UZIMA_SUBSCRIPTIONS_HOSTS",
        "subscriptions.hosts",
        "any",
        "the only hosts notifications go to, comma separated; .example.org stands for all below it",
    ),
    integer(
        "UZIMA_SUBSCRIPTIONS_RETRY_SECONDS",
        "subscriptions.retry_seconds",
        "5",
        "wait after the first failed notification, seconds; doubles each time",
    ),
    integer(
        "UZIMA_SUBSCRIPTIONS_MAX_FAILURES",
        "subscriptions.max_failures",
        "12",
        "failures in a row after which a subscription is in error",
    ),
    text(
        "UZIMA_MAIL_URL",
        "mail.url",
        "",
        "mail server, smtps://user:password@host or smtp://host:587?tls=required; no e-mail without it",
    ),
    text("UZIMA_MAIL_FROM", "mail.from", "", "sender of e-mail, e.g. Uzima Clinic <clinic@example.org>"),
    text(
        "UZIMA_AUDIT_KEY_FILE",
        "audit.key_file",
        "<data>.audit.key, made with mode 0600",
        "file with the key that signs the audit trail, 64 hexadecimal digits",
    ),
    text(
        "UZIMA_AUDIT_ANCHOR_FILE",
        "audit.anchor_file",
        "",
        "file on another disk or host that heads of the audit trail are appended to",
    ),
    text("UZIMA_AUDIT_ANCHOR_URL", "audit.anchor_url", "", "HTTPS address that heads are posted to"),
    text("UZIMA_AUDIT_ANCHOR_TOKEN", "audit.anchor_token", "", "bearer token for that address"),
    text("UZIMA_AUDIT_ANCHOR_MAIL", "audit.anchor_mail", "", "e-mail address that heads are sent to"),
    integer(
        "UZIMA_AUDIT_ANCHOR_MINUTES",
        "audit.anchor_minutes",
        "15",
        "minutes between two heads taken to the file or the address",
    ),
    integer(
        "UZIMA_AUDIT_ANCHOR_MAIL_HOURS",
        "audit.anchor_mail_hours",
        "24",
        "hours between two heads sent by e-mail",
    ),
    text(
        "UZIMA_AUDIT_FEED_URL",
        "audit.feed_url",
        "",
        "FHIR address that every audit event is posted to, in bundles",
    ),
    text("UZIMA_AUDIT_FEED_TOKEN", "audit.feed_token", "", "bearer token for that address"),
    boolean(
        "UZIMA_AUDIT_FEED_FROM_START",
        "audit.feed_from_start",
        "false",
        "begins with the oldest event instead of with the next one",
    ),
    integer(
        "UZIMA_AUDIT_KEEP_YEARS",
        "audit.keep_years",
        "0",
        "years after which entries of the audit trail are removed, at least 6; 0: never",
    ),
    boolean("UZIMA_WORKER_ENABLED", "worker.enabled", "true", "runs the worker inside `uzima serve`"),
    integer("UZIMA_WORKER_CONCURRENCY", "worker.concurrency", "16", "jobs worked on at once"),
    text(
        "UZIMA_REGION",
        "residency.region",
        "",
        "country the record stays in, two letters; not pinned without it",
    ),
    text(
        "UZIMA_RESIDENCY_DATABASE",
        "residency.database",
        "",
        "country of the database, where it is on another machine",
    ),
    text(
        "UZIMA_RESIDENCY_BACKUP",
        "residency.backup",
        "",
        "country of the backups, where they are not in a folder of this machine",
    ),
    text(
        "UZIMA_BACKUP_TO",
        "backup.to",
        "",
        "where backups go: a folder, sftp://user@host/path or s3://bucket/prefix; off without it",
    ),
    text("UZIMA_BACKUP_S3_ENDPOINT", "backup.s3_endpoint", "Amazon's", "address of the S3 service"),
    text("UZIMA_BACKUP_S3_REGION", "backup.s3_region", "us-east-1", "region of the S3 service"),
    text("UZIMA_BACKUP_S3_ACCESS_KEY", "backup.s3_access_key", "", "access key of the S3 service"),
    text("UZIMA_BACKUP_S3_SECRET_KEY", "backup.s3_secret_key", "", "secret key of the S3 service"),
    text("UZIMA_BACKUP_SSH_IDENTITY", "backup.ssh_identity", "what ssh finds", "private key for sftp"),
    text(
        "UZIMA_BACKUP_SSH_KNOWN_HOSTS",
        "backup.ssh_known_hosts",
        "the user's and the system's",
        "file with the host's key for sftp",
    ),
    integer("UZIMA_BACKUP_BASE_HOURS", "backup.base_hours", "24", "hours between two whole copies"),
    integer(
        "UZIMA_BACKUP_KEEP_INSTANT_DAYS",
        "backup.keep_instant_days",
        "7",
        "days for which every moment can be restored",
    ),
    integer(
        "UZIMA_BACKUP_KEEP_DAILY_DAYS",
        "backup.keep_daily_days",
        "30",
        "days for which one whole copy a day stays",
    ),
    integer(
        "UZIMA_BACKUP_KEEP_WEEKLY_WEEKS",
        "backup.keep_weekly_weeks",
        "26",
        "weeks for which one whole copy a week stays",
    ),
    boolean("UZIMA_BACKUP_PRUNE", "backup.prune", "true", "removes backups that are too old"),
    integer(
        "UZIMA_BACKUP_DRILL_HOURS",
        "backup.drill_hours",
        "24",
        "hours between two restore drills; 0: none",
    ),
    integer(
        "UZIMA_BACKUP_DRILL_ALARM_DAYS",
        "backup.drill_alarm_days",
        "3",
        "days without a good drill after which there is an alarm",
    ),
    text(
        "UZIMA_BACKUP_DRILL_FOLDER",
        "backup.drill_folder",
        "the data folder",
        "folder with room for drills",
    ),
    integer(
        "UZIMA_BACKUP_KEEP_BEFORE_MIGRATION",
        "backup.keep_before_migration",
        "2",
        "databases kept on this disk from before changes of their schema",
    ),
    integer(
        "UZIMA_BACKUP_RESERVE_MB",
        "backup.reserve_mb",
        "64",
        "disk space kept back for reads and shutdown when the disk is full, MiB",
    ),
    text("UZIMA_LOG_FILTER", "log.filter", "info", "tracing filter, e.g. info,server=debug"),
    text("UZIMA_LOG_FORMAT", "log.format", "json", "`json` or `text`"),
];

/// The table as text, for `uzima config --variables` and the operator's guide.
pub fn print_variables() -> String {
    let mut text = String::new();
    for v in VARIABLES {
        let default = if v.default.is_empty() { "unset" } else { v.default };
        text.push_str(&format!("{}\n    {}\n    file: {}   default: {}\n", v.name, v.help, v.path, default));
    }
    text
}
