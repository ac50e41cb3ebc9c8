//! Closures without their types, as the queues hold them.

use super::journal::Chunk;
use crate::{Error, Result, Tx, audit};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) enum Task {
    Write(Box<dyn Write>),
    Read(Box<dyn Read>),
    /// Events to append; needs no savepoint, as it either works or the database does not.
    Audit(Vec<audit::Event>, Reply),
    /// Events that are durable in the journal, on their way into the table.
    Journal(Box<Chunk>),
    /// Replies once all events answered for before are in the table.
    Settle(Reply),
}

pub(super) type Reply = Box<dyn FnOnce(Result<()>) + Send>;

/// Refuses a task.
pub(super) fn fail(task: Task, error: &Error) {
    match task {
        Task::Write(task) => task.finish(Err(error.clone())),
        Task::Audit(_, reply) | Task::Settle(reply) => reply(Err(error.clone())),
        Task::Read(task) => task.fail(error.clone()),
        Task::Journal(chunk) => chunk.finish(Err(error.clone())),
    }
}

pub(super) trait Write: Send {
    /// Runs the closure and keeps its result; true if it wants to be committed.
    fn run(&mut self, tx: &mut dyn Tx) -> bool;
    /// Replies: with the kept result, or with the error that came between.
    fn finish(self: Box<Self>, outcome: Result<()>);
}

pub(super) trait Read: Send {
    /// Runs the closure; `reply` must be called once the transaction is over.
    fn run(self: Box<Self>, tx: &mut dyn Tx);
    fn fail(self: Box<Self>, error: Error);
}

pub(super) struct Writer<F, R, E, S> {
    work: F,
    result: Option<Result<R, E>>,
    reply: S,
}

impl<F, R, E, S> Writer<F, R, E, S>
where
    F: FnMut(&mut dyn Tx) -> Result<R, E> + Send + 'static,
    R: Send + 'static,
    E: From<Error> + Send + 'static,
    S: FnOnce(Result<R, E>, F) + Send + 'static,
{
    /// `reply` gets the closure back: to let go of what it holds may take long, and the thread that writes is waited for.
    pub fn boxed(work: F, reply: S) -> Box<dyn Write> {
        Box::new(Writer { work, result: None, reply })
    }
}

impl<F, R, E, S> Write for Writer<F, R, E, S>
where
    F: FnMut(&mut dyn Tx) -> Result<R, E> + Send,
    R: Send,
    E: From<Error> + Send,
    S: FnOnce(Result<R, E>, F) + Send,
{
    fn run(&mut self, tx: &mut dyn Tx) -> bool {
        let work = &mut self.work;
        let result = catch_unwind(AssertUnwindSafe(|| work(tx)));
        let result = result.unwrap_or_else(|_| Err(Error::Panicked.into()));
        let good = result.is_ok();
        self.result = Some(result);
        good
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        let result = match (outcome, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        (self.reply)(result, self.work);
    }
}

pub(super) struct Reader<F, S> {
    work: F,
    reply: S,
}

impl<F, S> Reader<F, S> {
    pub fn boxed<R, E>(work: F, reply: S) -> Box<dyn Read>
    where
        F: FnOnce(&mut dyn Tx) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
        S: FnOnce(Result<R, E>) + Send + 'static,
    {
        Box::new(TypedReader { inner: Reader { work, reply }, result: std::marker::PhantomData })
    }
}

struct TypedReader<F, S, R, E> {
    inner: Reader<F, S>,
    result: std::marker::PhantomData<fn() -> Result<R, E>>,
}

impl<F, S, R, E> Read for TypedReader<F, S, R, E>
where
    F: FnOnce(&mut dyn Tx) -> Result<R, E> + Send,
    E: From<Error>,
    S: FnOnce(Result<R, E>) + Send,
{
    fn run(self: Box<Self>, tx: &mut dyn Tx) {
        let Reader { work, reply } = self.inner;
        let result = catch_unwind(AssertUnwindSafe(|| work(tx)));
        reply(result.unwrap_or_else(|_| Err(Error::Panicked.into())));
    }

    fn fail(self: Box<Self>, error: Error) {
        (self.inner.reply)(Err(error.into()));
    }
}
