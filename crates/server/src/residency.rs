//! Where the database and the backups are, as far as the configuration says it.

use crate::config::{Config, Secret};
use record::Record;
use record::subject::{Residency, ResidencyState};

/// Holds the installation to its country. Errors: why it must not start, for the operator.
pub async fn hold(config: &Config, record: &Record) -> anyhow::Result<ResidencyState> {
    let region = config.residency.region.as_deref().map(country).transpose()?;
    let said = config.residency.database.as_deref().map(country).transpose()?;
    // What lies on this machine is where this machine is.
    let database = said.or_else(|| region.clone().filter(|_| is_here(config.database_url.as_ref())));
    let residency = Residency { region, database, backup: backup_place(config) };
    let state = record.hold_region(residency).await.map_err(anyhow::Error::msg)?;
    for alarm in &state.alarms {
        tracing::error!(
            alarm,
            "backups lie outside of the pinned country, or nobody has said where: set UZIMA_RESIDENCY_BACKUP, or enter \
             the place with its basis at the privacy desk"
        );
    }
    Ok(state)
}

/// Where backups go: the host or folder, and its country.
pub fn backup_place(config: &Config) -> Option<(String, Option<String>)> {
    let to = config.backup.to.as_deref()?;
    let said = config.residency.backup.as_deref().and_then(|text| country(text).ok());
    let home = || config.residency.region.as_deref().and_then(|text| country(text).ok());
    Some(match to.split_once("://") {
        Some(("sftp", rest)) => {
            let host = rest.split('/').next().unwrap_or(rest);
            (host.rsplit('@').next().unwrap_or(host).to_owned(), said)
        }
        Some(("s3", rest)) => {
            let place = config.backup.s3_endpoint.split("://").last().unwrap_or_default();
            let place = if place.is_empty() { "amazonaws.com" } else { place };
            (format!("{}/{}", place.trim_end_matches('/'), rest.split('/').next().unwrap_or(rest)), said)
        }
        // A folder of this machine, or a share in it.
        _ => (to.to_owned(), said.or_else(home)),
    })
}

fn country(text: &str) -> anyhow::Result<String> {
    let country = text.trim().to_ascii_uppercase();
    anyhow::ensure!(
        country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()),
        "`{text}` is no country: two letters, such as KE"
    );
    Ok(country)
}

fn is_here(url: Option<&Secret>) -> bool {
    let Some(url) = url else { return true };
    let Some((scheme, rest)) = url.expose().split_once("://") else { return true };
    if !scheme.starts_with("postgres") {
        return true;
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let in_authority = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    // libpq's other way to name the host, which goes before.
    let parameters = rest.split_once('?').map_or("", |(_, query)| query).split('&');
    let named = parameters
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| matches!(*name, "host" | "hostaddr"));
    let mut hosts: Vec<&str> = named.map(|(_, host)| host).collect();
    if hosts.is_empty() {
        hosts.push(in_authority);
    }
    hosts.iter().all(|host| {
        host.is_empty()
            || host.starts_with('/')
            || host.to_ascii_uppercase().starts_with("%2F")
            || *host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::{backup_place, is_here};
    use crate::config::{Config, Secret};

    #[test]
    fn places_are_told_apart() {
        for (url, here) in [
            ("postgres://uzima@localhost/x", true),
            ("postgres://uzima:p@127.0.0.1:5432/x", true),
            ("postgresql:///x?host=/run/postgresql", true),
            ("postgres://uzima@[::1]:5432/x", true),
            ("postgres://uzima@db.example.org/x", false),
            ("postgres://localhost@db.example.org/x", false),
            ("postgres://localhost/x?host=db.example.org", false),
            ("postgres:///x?sslmode=disable&hostaddr=10.0.0.9", false),
            ("postgres://uzima@%2Frun%2Fpostgresql/x", true),
            ("sqlite:/var/lib/uzima/uzima.db", true),
        ] {
            assert_eq!(is_here(Some(&Secret::new(url))), here, "{url}");
        }
        let mut config = Config::local("data");
        config.residency.region = Some("ke".into());
        for (to, name, place) in [
            ("/mnt/backup", "/mnt/backup", Some("KE")),
            ("sftp://uzima@vault.example.org/uzima", "vault.example.org", None),
            ("s3://bucket/prefix", "amazonaws.com/bucket", None),
        ] {
            config.backup.to = Some(to.into());
            assert_eq!(backup_place(&config), Some((name.to_owned(), place.map(str::to_owned))), "{to}");
        }
    }
}
