//! What is spoken on the wire: versions of TLS, renewed certificates, the port without TLS.

use crate::harness::{World, header};
use std::path::{Path, PathBuf};
use std::time::Duration;

const RENEWAL_WAIT: Duration = Duration::from_secs(60);

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data")).join(name)
}

pub async fn with_tls(change: impl FnOnce(&mut server::Config)) -> World {
    World::start_with(|config| {
        config.tls.certificate = Some(fixture("localhost.pem"));
        config.tls.private_key = Some(fixture("localhost.key"));
        change(config);
    })
    .await
}

#[tokio::test]
async fn old_versions_of_tls_are_spoken_only_where_it_is_allowed() {
    for allowed in [false, true] {
        let world = with_tls(|config| config.tls.allow_tls12 = allowed).await;
        let client = |version| {
            reqwest::Client::builder()
                .danger_accept_invalid_certs(true)
                .tls_version_min(version)
                .tls_version_max(version)
                .build()
                .unwrap()
        };
        let probe = format!("{}/healthz", world.url());
        let new = client(reqwest::tls::Version::TLS_1_3).get(&probe).send().await.unwrap();
        assert_eq!(new.status(), 200);
        let old = client(reqwest::tls::Version::TLS_1_2).get(&probe).send().await;
        assert_eq!(old.is_ok(), allowed, "{old:?}");
        world.stop().await;
    }
}

/// The certificate that a new connection is shown.
async fn shown(url: &str) -> Vec<u8> {
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).tls_info(true).build().unwrap();
    let answer = client.get(format!("{url}/healthz")).send().await.unwrap();
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
    info.peer_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn a_renewed_certificate_is_found_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    let put = |from: &str, to: &Path| {
        // As renewals do it: a new file in the place of the old one.
        let new = to.with_extension("new");
        std::fs::copy(fixture(from), &new).unwrap();
        std::fs::rename(&new, to).unwrap();
    };
    put("localhost.pem", &certificate);
    put("localhost.key", &key);
    let paths = (certificate.clone(), key.clone());
    let world = with_tls(|config| {
        config.tls.certificate = Some(paths.0);
        config.tls.private_key = Some(paths.1);
    })
    .await;
    let first = shown(world.url()).await;
    put("renewed.pem", &certificate);
    assert_eq!(shown(world.url()).await, first, "certificate and key do not fit together yet");
    put("renewed.key", &key);
    let renewed = tokio::time::timeout(RENEWAL_WAIT, async {
        while shown(world.url()).await == first {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    renewed.await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn the_port_without_tls_only_sends_elsewhere() {
    let world = with_tls(|config| config.tls.redirect_listen = Some("127.0.0.1:0".parse().unwrap())).await;
    let plain = format!("http://{}", world.running().redirect.unwrap());
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let port = world.running().address.port();
    for (path, host, expected) in [
        ("/", "clinic.example", format!("https://clinic.example:{port}/")),
        ("/patients?name=a", "clinic.example:80", format!("https://clinic.example:{port}/patients?name=a")),
        ("//evil.example/a", "127.0.0.1", format!("https://127.0.0.1:{port}/evil.example/a")),
        ("/healthz", "[::1]:80", format!("https://[::1]:{port}/healthz")),
        ("/fhir/R4/Patient", "clinic.example", format!("https://clinic.example:{port}/fhir/R4/Patient")),
    ] {
        let answer = client.get(format!("{plain}{path}")).header("host", host).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "location")),
            (308, expected.as_str()),
            "{path}"
        );
        assert!(header(&answer, "set-cookie").is_empty());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer =
            client.request(method, format!("{plain}/api/v1/auth/login")).body("{}").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "location")), (403, ""));
    }
    let odd = client.get(&plain).header("host", "a@evil.example").send().await.unwrap();
    assert_eq!(odd.status(), 400);
    world.stop().await;
}
