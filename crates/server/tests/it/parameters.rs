//! N1: every parameter of every operation of the product's API, by path and by query, with what breaks statements, paths,
//! patterns, numbers and dates; by people of every role. Whatever it is, the answer is no 5xx.

use crate::harness::World;
use crate::openapi::operations;
use access::Role;
use serde_json::Value;

const NASTY: &[&str] = &[
    "'; DROP TABLE resource; --",
    "' OR '1'='1",
    "\" OR \"\"=\"",
    "1) OR (1=1",
    "$1",
    "?1",
    "%",
    "_%",
    "\\",
    "`",
    "*",
    "\0",
    "\u{202e}",
    "\u{1f48a}",
    "../../etc/passwd",
    "..",
    "-1",
    "0",
    "99999999999999999999",
    "1e999",
    "NaN",
    "true",
    "null",
    "[]",
    "{}",
    "2026-13-99",
    "9999-12-31T23:59:60Z",
    "-9999-01-01",
    "<script>",
    "(((((((",
    "^(a+)+$",
    "~x",
    "\r\nset-cookie: a=b",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_breaks_the_server() {
    let world = World::start_with(|config| config.limits.user_per_second = 0).await;
    let people = [
        world.staff("administrator", Role::Administrator).await,
        world.staff("officer", Role::PrivacyOfficer).await,
        world.staff("doctor", Role::Doctor).await,
        world.staff("desk", Role::FrontDesk).await,
        world.staff("cashier", Role::Cashier).await,
        world.patient("Amina").await,
    ];
    let encoded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let (mut asked, mut broken) = (0_u32, Vec::new());
    for (method, path, operation) in operations() {
        let named = |place: &str| -> Vec<String> {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let own = all.filter(|parameter| parameter["in"] == place);
            own.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
        };
        let plain = |but: &str, with: &str| -> String {
            let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) if name == but => encoded(with),
                Some(_) => "0".to_owned(),
                None => part.to_owned(),
            };
            path.split('/').map(part).collect::<Vec<_>>().join("/")
        };
        let required: Vec<String> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query" && parameter["required"] == Value::Bool(true))
            .filter_map(|parameter| Some(format!("{}=1", parameter["name"].as_str()?)))
            .collect();
        let mut paths = Vec::new();
        for nasty in NASTY {
            paths.extend(named("path").iter().map(|name| plain(name, nasty)));
            for name in named("query") {
                let others: Vec<&String> =
                    required.iter().filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
                let query: Vec<String> =
                    others.into_iter().cloned().chain([format!("{name}={}", encoded(nasty))]).collect();
                paths.push(format!("{}?{}", plain("", ""), query.join("&")));
            }
        }
        for (number, path) in paths.iter().enumerate() {
            // Everybody in turn, and who may the most always.
            for who in [&people[0], &people[1 + number % (people.len() - 1)]] {
                let request =
                    who.request(&method.to_uppercase(), path).header("content-type", "application/json");
                let request =
                    if method == "get" || method == "delete" { request } else { request.body("{}") };
                let status = request.send().await.unwrap().status().as_u16();
                asked += 1;
                if status >= 500 {
                    broken.push(format!("{method} {path}: {status}"));
                }
            }
        }
    }
    println!("{asked} requests");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(asked > 10_000, "{asked}");
    world.stop().await;
}
