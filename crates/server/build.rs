//! A release build must carry the web client; a debug build reads it at start and shows a placeholder without it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let bundle = std::path::Path::new("../../web/build");
    let has_shell = ["200.html", "fallback.html", "index.html"].iter().any(|name| bundle.join(name).exists());
    if !has_shell {
        println!("cargo::error=the web client is missing: run cargo xtask build");
    }
    println!("cargo::rerun-if-changed=../../web/build");
}
