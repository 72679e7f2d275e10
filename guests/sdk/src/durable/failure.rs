//! What can go wrong: `Failure`, which is final, and `Error`, which may be.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::bindings::guesthouse::durable::promises;

/// How something did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// It failed for good: whatever could be tried again was.
    Failed,
    /// It was cancelled, or this invocation was.
    Cancelled,
    /// It did not end in the time that was given for it.
    TimedOut,
}

/// Something failed for good.
///
/// It is no [`std::error::Error`]: by `?`, the published `WebResult` would make an answer of it that is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How.
    pub kind: FailureKind,
    /// Why, as the one that failed has said.
    pub message: String,
    /// HTTP status with which a called function failed, or with which this one is to fail; 0: none.
    pub code: u16,
    /// What else there is to know, as the one that failed has said: names and values.
    pub metadata: Vec<(String, String)>,
}

impl Failure {
    /// A failure for this reason.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Failed,
            message: message.into(),
            code: 0,
            metadata: Vec::new(),
        }
    }

    /// With the HTTP status that a function which fails so answers: 422, if none is given.
    #[must_use]
    pub fn with_code(mut self, code: u16) -> Self {
        self.code = code;
        self
    }

    /// With something more to know, which reaches whoever waits for this function.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// The value of a name of the metadata.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.metadata.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether this invocation was cancelled, or what it waited for.
    pub fn is_cancelled(&self) -> bool {
        self.kind == FailureKind::Cancelled
    }

    /// Whether it took too long.
    pub fn is_timed_out(&self) -> bool {
        self.kind == FailureKind::TimedOut
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<promises::Failure> for Failure {
    fn from(failure: promises::Failure) -> Self {
        let kind = match failure.kind {
            promises::FailureKind::Failed => FailureKind::Failed,
            promises::FailureKind::Cancelled => FailureKind::Cancelled,
            promises::FailureKind::TimedOut => FailureKind::TimedOut,
        };
        Self {
            kind,
            message: failure.message,
            code: failure.code,
            metadata: failure.metadata,
        }
    }
}

impl From<Failure> for promises::Failure {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Failed => promises::FailureKind::Failed,
            FailureKind::Cancelled => promises::FailureKind::Cancelled,
            FailureKind::TimedOut => promises::FailureKind::TimedOut,
        };
        Self {
            kind,
            message: failure.message,
            code: failure.code,
            metadata: failure.metadata,
        }
    }
}

/// Why a function, or a step of it, did not succeed: it decides what happens next.
///
/// `?` makes one of a [`Failure`], which stays final, and of every [`std::error::Error`], which may pass: then it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It may succeed later: it is tried again, by the retry policy.
    Temporary {
        /// Why.
        message: String,
        /// Not before so much time has passed.
        retry_after: Option<Duration>,
    },
    /// It was too much: it is tried again, and less runs at once of this function, or of its key.
    Throttled {
        /// Why.
        message: String,
        /// Not before so much time has passed.
        retry_after: Option<Duration>,
    },
    /// It never will: it is not tried again.
    Terminal(Failure),
}

/// What functions and steps return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// It may succeed later.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self::Temporary {
            message: message.into(),
            retry_after: None,
        }
    }

    /// It was too much.
    pub fn throttled(message: impl Into<String>) -> Self {
        Self::Throttled {
            message: message.into(),
            retry_after: None,
        }
    }

    /// It never will.
    pub fn terminal(message: impl Into<String>) -> Self {
        Self::Terminal(Failure::new(message))
    }

    /// Not to be tried again before so much time has passed; changes nothing about one that is terminal.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        match &mut self {
            Self::Temporary { retry_after, .. } | Self::Throttled { retry_after, .. } => {
                *retry_after = Some(wait)
            }
            Self::Terminal(_) => {}
        }
        self
    }

    /// Whether it is never tried again.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

impl Display for Error {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Temporary { message, .. } | Self::Throttled { message, .. } => {
                formatter.write_str(message)
            }
            Self::Terminal(failure) => failure.fmt(formatter),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Terminal(failure)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::temporary(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u32> {
        Ok(text.parse()?)
    }

    fn positive(number: i32) -> Result<i32> {
        match number {
            ..=0 => Err(Failure::new("too small").with("number", number.to_string()))?,
            _ => Ok(number),
        }
    }

    #[test]
    fn errors_of_others_may_pass_and_failures_do_not() {
        assert!(!number("x").unwrap_err().is_terminal());
        let error = positive(0).unwrap_err();
        assert!(error.is_terminal());
        assert_eq!(error.to_string(), "too small");
        let Error::Terminal(failure) = error else {
            unreachable!()
        };
        assert_eq!(failure.get("number"), Some("0"));
        assert_eq!(failure.get("letter"), None);
    }

    #[test]
    fn a_failure_passes_the_border_unchanged() {
        for kind in [
            FailureKind::Failed,
            FailureKind::Cancelled,
            FailureKind::TimedOut,
        ] {
            let mut failure = Failure::new("no").with_code(402).with("a", "b");
            failure.kind = kind;
            let passed = Failure::from(promises::Failure::from(failure.clone()));
            assert_eq!(passed, failure);
        }
    }

    #[test]
    fn a_terminal_error_has_no_time_to_wait() {
        let wait = Duration::from_secs(3);
        let error = Error::throttled("slow down").retry_after(wait);
        assert!(matches!(error, Error::Throttled { retry_after, .. } if retry_after == Some(wait)));
        let terminal = Error::terminal("no");
        assert_eq!(terminal.clone().retry_after(wait), terminal);
    }
}
