//! Every route is in the list of doors, and the page that people read says what the program does.

use crate::openapi::operations;
use server::authorization::{ROUTES, Who, page};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// What stands behind `.route(` in the source, as the router reads it; `Err` is the name of a constant.
fn written(source: &str) -> Vec<Result<String, String>> {
    let mut all = Vec::new();
    for piece in source.split(".route(").skip(1) {
        let piece = piece.trim_start().trim_start_matches("&format!(").trim_start_matches("super::");
        match piece.strip_prefix('"') {
            Some(rest) => {
                let path = rest.split('"').next().unwrap();
                all.push(Ok(path.replace("{mark}", "$").replace("{{", "{").replace("}}", "}")));
            }
            None => all.push(Err(piece.split([',', ')']).next().unwrap().to_owned())),
        }
    }
    all
}

#[test]
fn every_route_is_in_the_list() {
    let listed: BTreeSet<&str> = ROUTES.iter().map(|(_, path, _)| *path).collect();
    let (mut wrong, mut real) = (Vec::new(), BTreeSet::new());
    for (method, path, _) in operations() {
        if !ROUTES.iter().any(|(m, p, _)| *m == method && *p == path) {
            wrong.push(format!("{method} {path} is not in the list"));
        }
        real.insert(path);
    }
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in files {
        for route in written(&std::fs::read_to_string(&file).unwrap()) {
            let path = match route {
                Ok(path) => path,
                Err(name) => match name.as_str() {
                    "report::PATH" => server::http::report::PATH.to_owned(),
                    "subscription::PATH" => "/ws/subscriptions".to_owned(),
                    other => {
                        wrong.push(format!("{}: `{other}` is no path that this test knows", file.display()));
                        continue;
                    }
                },
            };
            if !listed.contains(path.as_str()) {
                wrong.push(format!("{path} is not in the list"));
            }
            real.insert(path);
        }
    }
    for path in listed {
        if !real.contains(path) {
            wrong.push(format!("{path} is in the list and nowhere else"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What needs no sign-in is said in one place only.
#[test]
fn the_list_agrees_with_what_is_public() {
    for (method, path, who) in ROUTES.iter().filter(|(_, path, _)| path.starts_with("/api/v1/")) {
        let public = server::api::PUBLIC.contains(&(*method, *path)) || *path == "/api/v1/openapi.json";
        assert_eq!(*who == Who::Anybody, public, "{method} {path}");
    }
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/authorization.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page(),
        "docs/authorization.md is behind: UPDATE_DOCS=1 cargo test -p uzima-server authorization"
    );
}
