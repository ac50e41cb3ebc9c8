//! A batch: entries that have nothing to do with each other.

use super::entry::{Action, Entry, Phase};
use super::{Options, absent_answer, error_answer, reply_answer, response};
use crate::{Error, Record};
use access::Ctx;
use fhir::Resource;
use serde_json::Value;

/// Entries at work at once: enough for group commit, few enough to leave room for others.
const WIDTH: usize = 16;

impl Record {
    pub(super) async fn batch(
        &self,
        ctx: &Ctx,
        entries: Vec<Value>,
        options: &Options,
    ) -> Result<Resource, Error> {
        let mut answers: Vec<Value> = vec![Value::Null; entries.len()];
        let mut parsed = Vec::with_capacity(entries.len());
        for (n, value) in entries.into_iter().enumerate() {
            match Entry::parse(value.clone(), n, &options.base, options.conditional_delete_most) {
                Ok(entry) => parsed.push((entry.phase, n, value)),
                Err(outcome) => answers[n] = error_answer(&Error::Malformed(outcome), n),
            }
        }
        parsed.sort_by_key(|(phase, n, _)| (*phase, *n));
        for phase in [Phase::Delete, Phase::Post, Phase::Put, Phase::Call] {
            let mut waiting =
                parsed.iter().filter(|(own, ..)| *own == phase).map(|(_, n, value)| (*n, value));
            let mut running = tokio::task::JoinSet::new();
            loop {
                while running.len() < WIDTH
                    && let Some((n, value)) = waiting.next()
                {
                    let (record, ctx, options) = (self.clone(), ctx.clone(), options.clone());
                    let value = value.clone();
                    running.spawn(async move { (n, record.batch_entry(&ctx, value, n, &options).await) });
                }
                match running.join_next().await {
                    Some(Ok((n, answer))) => answers[n] = answer,
                    Some(Err(error)) => return Err(Error::Internal(format!("batch entry: {error}"))),
                    None => break,
                }
            }
        }
        response("batch-response", answers)
    }

    async fn batch_entry(&self, ctx: &Ctx, value: Value, n: usize, options: &Options) -> Value {
        // One key for the whole bundle must not make its second entry a replay of the first.
        let mut ctx = ctx.clone();
        ctx.idempotency_key = ctx.idempotency_key.map(|text| match text.split_once('\n') {
            Some((key, fingerprint)) => format!("{key}#{n}\n{fingerprint}"),
            None => format!("{text}#{n}"),
        });
        let entry = match Entry::parse(value, n, &options.base, options.conditional_delete_most) {
            Ok(entry) => entry,
            Err(outcome) => return error_answer(&Error::Malformed(outcome), n),
        };
        if let Action::Call(call) = entry.action {
            let url = call.url.clone();
            return reply_answer(options.dispatch.call(ctx, call).await, &url, n, &options.base);
        }
        // A transaction of its own: only its own fullUrl can be meant by a urn.
        let is_delete = entry.phase == Phase::Delete;
        match self.write_transaction(&ctx, std::slice::from_ref(&entry)).await {
            Ok((committed, _)) => match committed.written.first() {
                Some(written) => super::written_answer(is_delete, written, options),
                None => absent_answer(),
            },
            Err(error) => error_answer(&error, n),
        }
    }
}
