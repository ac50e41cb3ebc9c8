//! What can go wrong.

/// Named by what the operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is not in the backup")]
    NotFound(String),
    /// The target did not answer, or broke off. Worth another try.
    #[error("the backup's place cannot be reached: {0}")]
    Unreachable(String),
    #[error("the backup's place refuses: {0}")]
    Refused(String),
    #[error("the backup's place is full: {0}")]
    Full(String),
    /// Does not open with this key, or is not what its name says.
    #[error("{0} is damaged, cut off, or made with another key")]
    Damaged(String),
    #[error("{0}")]
    Wrong(String),
    #[error("the restored database is not sound: {}", words(.0))]
    Unsound(Vec<store::backup::Problem>),
    #[error("stopped")]
    Stopped,
    #[error("{0}: {1}")]
    Disk(String, #[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

fn words(problems: &[store::backup::Problem]) -> String {
    problems.iter().map(|problem| problem.text.as_str()).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// With what it was about.
    pub(crate) fn disk(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |error| Error::Disk(what, error)
    }
    /// Another try may go better.
    pub fn may_pass(&self) -> bool {
        matches!(self, Error::Unreachable(_) | Error::Full(_) | Error::Store(store::Error::Busy))
    }
}
