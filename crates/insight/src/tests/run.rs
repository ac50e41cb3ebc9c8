//! Views run at once.

use super::worlds;
use crate::run::RunRequest;
use crate::table::Format;
use serde_json::{Value, json};

/// What waits for the reader is bounded, however many rows the resources that were given come to.
#[tokio::test]
async fn rows_wait_for_their_reader() {
    const PIECE: usize = 4 << 20;
    let world = worlds().swap_remove(0);
    let name = |n: usize| json!({"use": "official", "family": format!("{n}-{}", "x".repeat(500))});
    let patient = |n: usize| json!({"resourceType": "Patient", "id": format!("p{n}"), "name": (0..40).map(name).collect::<Vec<Value>>()});
    let column = |name: &str| json!({"name": name, "path": "family"});
    let definition = json!({"resourceType": "ViewDefinition", "status": "active", "resource": "Patient", "select": [
        {"forEach": "name", "column": [column("a")]}, {"forEach": "name", "column": [column("b")]}]});
    let ask = RunRequest {
        definition,
        format: Format::Csv,
        header: false,
        limit: None,
        since: None,
        patients: None,
        resources: Some((0..8).map(patient).collect()),
        limits: None,
    };
    let mut run = world.insight.run_view(&world.system(), ask).await.unwrap();
    let (mut bytes, mut pieces) = (0, 0);
    while let Some(piece) = run.next().await.unwrap() {
        assert!(piece.len() < PIECE, "{} bytes at once", piece.len());
        (bytes, pieces) = (bytes + piece.len(), pieces + 1);
    }
    assert_eq!(run.progress(), (8, 8 * 40 * 40));
    assert!(bytes > 8 * 40 * 40 * 1_000 && pieces > 2, "{bytes} bytes in {pieces}");
}
