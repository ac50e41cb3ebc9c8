//! Import of single lines of NDJSON, for jobs that keep their own place in a file.

use super::{BATCH, Taken};
use crate::write::{Put, prepare_put};
use crate::{Error, Record};
use access::Ctx;
use fhir::{Reference, Resource, TypeId};
use std::sync::Arc;

/// What became of some lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinesReport {
    pub taken: u64,
    /// Already there with the same content.
    pub unchanged: u64,
    /// Number of the line, what it is as far as known, reason.
    pub refused: Vec<(u64, String, String)>,
    /// Subscriptions that were taken, and are off until a client writes them: number of the line, what it is.
    pub resting: Vec<(u64, String)>,
}

impl Record {
    /// Takes lines of NDJSON, the first being number `first`, in the order they stand: through the same steps as
    /// [Record::import]. Every resource must have an id, and be of type `kind` if that is given; taking a line again
    /// changes nothing. `name` goes into the audit events. Errors: `Denied`, `Busy`, `Internal`; what is wrong with single lines is in the
    /// report.
    pub async fn import_lines(
        &self,
        ctx: &Ctx,
        name: &str,
        kind: Option<TypeId>,
        first: u64,
        lines: Vec<Vec<u8>>,
    ) -> Result<LinesReport, Error> {
        if !self.may_import(ctx) {
            return Err(self.denied(ctx, "import", name).await);
        }
        self.sensitivity().await?;
        let record = self.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let mut report = LinesReport::default();
            let mut puts = Vec::with_capacity(lines.len());
            for (number, line) in (first..).zip(&lines) {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                match record.prepare_line(kind, line) {
                    Ok(put) => puts.push((number, put)),
                    Err((what, reason)) => report.refused.push((number, what, reason)),
                }
            }
            (report, puts)
        });
        let (mut report, puts) = prepared.await.map_err(|e| Error::Internal(format!("import: {e}")))?;
        let mut rest = puts.into_iter().peekable();
        while rest.peek().is_some() {
            let (numbers, batch): (Vec<u64>, Vec<(usize, Put)>) =
                rest.by_ref().take(BATCH).enumerate().map(|(n, (number, put))| (number, (n, put))).unzip();
            let batch = Arc::new(batch);
            let results = self.import_batch(ctx, batch.clone(), name).await?;
            for ((number, (_, put)), result) in numbers.iter().zip(batch.iter()).zip(results) {
                match result {
                    Taken::New => {
                        report.taken += 1;
                        if crate::subscription::is_subscription(put.key.kind) {
                            report.resting.push((*number, put.key.to_string()));
                        }
                    }
                    Taken::Unchanged => report.unchanged += 1,
                    Taken::Refused(reason) => report.refused.push((*number, put.key.to_string(), reason)),
                }
            }
        }
        report.refused.sort();
        Ok(report)
    }

    fn prepare_line(&self, kind: Option<TypeId>, line: &[u8]) -> Result<Put, (String, String)> {
        let mut resource = Resource::parse(line).map_err(|o| (String::new(), o.to_string()))?;
        crate::subscription::at_rest(&mut resource);
        let what = resource.key().map(|key| key.to_string());
        let Some(what) = what else {
            return Err((resource.kind().name().to_owned(), "the resource has no id".to_owned()));
        };
        if let Some(kind) = kind.filter(|kind| *kind != resource.kind()) {
            let text = format!("the file was announced as {}, this is another type", kind.name());
            return Err((what, text));
        }
        // There is no bundle to find these in.
        for (place, reference) in fhir::search::references(&resource) {
            if matches!(reference, Reference::Urn(_) | Reference::Conditional { .. }) {
                return Err((what, format!("{place}: the reference must be Type/id")));
            }
        }
        let rules = self.known_sensitivity();
        prepare_put((&self.params(), self.base(), &rules), resource, true, None, "", self.now(), false)
            .map_err(|o| (what, o.to_string()))
    }
}
