//! What an operator asks of the audit trail at the command line, on a running server or on a database at rest.

use crate::terminologies::{Ended, Step};
use anyhow::Context as _;
use record::Record;
use record::audit::{Against, AuditHead, Report, hex, unhex};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Largest file of kept heads, bytes: those of a century, one every quarter of an hour.
const HEADS_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// One piece of work; also the message of the control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    /// Recomputes the tree and holds it against the heads in `files` and the public key `key` (hexadecimal).
    Verify { files: Vec<PathBuf>, key: Option<String> },
    /// The newest head.
    Head,
    /// Proof that a row is in the tree of a head, the newest or that of `size` entries.
    ProveRow { row: i64, size: Option<u64> },
    /// Proof that the tree of `to` entries begins with that of `from`.
    ProveGrowth { from: u64, to: u64 },
    /// Keys, oldest first: id and public key.
    Keys,
    /// Another key signs from now on; both in hexadecimal, the endorsement of the key before it if that is there.
    /// `restored`: because the database was put back to what it held then.
    Rotate { public: String, endorsement: Option<Vec<u8>>, restored: Option<jiff::Timestamp> },
}

/// Does the work. Errors: in words for the operator.
pub async fn run(
    record: &Record,
    work: Work,
    tell: Arc<dyn Fn(Step) + Send + Sync>,
) -> anyhow::Result<Ended> {
    match work {
        Work::Verify { files, key } => {
            let heads = tokio::task::spawn_blocking(move || read_heads(&files)).await??;
            let key = match key {
                Some(text) => Some(unhex(&text).context("a public key is 64 hexadecimal digits")?),
                None => None,
            };
            let (mut begun, mut last) = (false, 0);
            let mut progress = |done: u64, all: u64| {
                if !begun {
                    tell(Step::Begin(all));
                    begun = true;
                }
                tell(Step::Done(done.saturating_sub(last)));
                last = done;
            };
            let report = record.audit_verify(Against { heads, key }, &mut progress).await?;
            Ok(verdict(&report))
        }
        Work::Head => Ok(match record.audit_head().await? {
            Some(head) => head.text().lines().map(str::to_owned).collect::<Vec<_>>().into(),
            None => vec!["nothing is sealed yet".to_owned()].into(),
        }),
        Work::ProveRow { row, size } => {
            let proof = record.audit_prove_row(row, size).await.context("no such entry, or no such head")?;
            let mut lines = vec![
                format!("row {} is entry {}", proof.row, proof.entry),
                format!("leaf {}", hex(&proof.leaf)),
            ];
            lines.extend(proof.path.iter().map(|hash| format!("path {}", hex(hash))));
            lines.extend(proof.head.text().lines().map(str::to_owned));
            lines.push(if proof.holds { "the proof holds" } else { "THE PROOF DOES NOT HOLD" }.to_owned());
            Ok(Ended { lines, is_clean: proof.holds })
        }
        Work::ProveGrowth { from, to } => {
            let proof =
                record.audit_prove_growth((from, to)).await.context("the tree never had these sizes")?;
            let mut lines = vec![
                format!("size {from} root {}", hex(&proof.roots.0)),
                format!("size {to} root {}", hex(&proof.roots.1)),
            ];
            lines.extend(proof.path.iter().map(|hash| format!("path {}", hex(hash))));
            lines.push(if proof.holds { "the proof holds" } else { "THE PROOF DOES NOT HOLD" }.to_owned());
            Ok(Ended { lines, is_clean: proof.holds })
        }
        Work::Keys => {
            let standing = record.audit_standing().await?;
            let line = |key: &store::audit::tree::Key| {
                let word = if key.endorsement.is_some() { "endorsed" } else { "first or unendorsed" };
                format!("{} {} since entry {} ({word})", hex(&key.id), hex(&key.public), key.since)
            };
            Ok(standing.keys.iter().map(line).collect::<Vec<_>>().into())
        }
        Work::Rotate { public, endorsement, restored } => {
            let public = unhex(&public).context("a public key is 64 hexadecimal digits")?;
            let id = match restored {
                Some(until) => record.audit_restored(public, endorsement, until).await?,
                None => record.audit_rotate(public, endorsement).await?,
            };
            Ok(vec![format!("key {} signs from now on", hex(&id))].into())
        }
    }
}

fn read_heads(files: &[PathBuf]) -> anyhow::Result<Vec<AuditHead>> {
    use std::io::Read as _;
    let mut heads = Vec::new();
    for file in files {
        let mut text = String::new();
        std::fs::File::open(file)
            .and_then(|opened| opened.take(HEADS_BYTES).read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", file.display()))?;
        let found = AuditHead::find(&text);
        anyhow::ensure!(!found.is_empty(), "{} holds no head of an audit trail", file.display());
        heads.extend(found);
    }
    Ok(heads)
}

fn verdict(report: &Report) -> Ended {
    let mut lines = vec![format!(
        "{} entries, {} signed heads, {} heads kept elsewhere, {} rows not sealed yet, {} removed after their time",
        report.entries, report.heads, report.anchors, report.waiting, report.pruned
    )];
    if let Some(head) = &report.head {
        lines.push(format!("newest head: {} entries at {:.0}, root {}", head.size, head.at, hex(&head.root)));
    }
    for key in &report.unendorsed {
        lines.push(format!("note: key {key} came without the signature of the key before it"));
    }
    for one in &report.restorations {
        lines.push(format!(
            "note: restored at {:.0} to the state of {:.0} with {} entries; key {} signs since, before it {}",
            one.at,
            one.until,
            one.size,
            hex(&one.key),
            hex(&one.before)
        ));
    }
    if report.given_up > 0 {
        lines.push(format!(
            "note: {} heads kept elsewhere are of a state that was given up by a restore",
            report.given_up
        ));
    }
    if report.anchors == 0 && report.finding.is_none() {
        lines
            .push("note: no head kept elsewhere was given; a rolled back database cannot be told".to_owned());
    }
    lines.push(match &report.finding {
        None => "the audit trail is whole".to_owned(),
        Some(finding) => format!("THE AUDIT TRAIL IS NOT WHOLE: {finding}"),
    });
    Ended { lines, is_clean: report.finding.is_none() }
}
