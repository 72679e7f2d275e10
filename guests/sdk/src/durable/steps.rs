//! `run`: named steps, which are not run again once they have succeeded.

use std::hash::RandomState;
use std::hint::black_box;
use std::sync::Once;
use std::time::Duration;

use super::bindings::guesthouse::durable::steps as wit;
use super::codec::{Decode, Encode, decode, encode};
use super::promise::milliseconds;
use super::{Error, Failure};

/// When a step that failed for now is run again: at first after about a second, then after about twice as long each time, up to
/// ten minutes, as often as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct RetryPolicy {
    attempts: u32,
    min_wait: Duration,
    max_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 0,
            min_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(600),
        }
    }
}

impl RetryPolicy {
    /// The one that is used if none is given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs in all, the first included; 0: as often as it takes. After the last one the step has failed for good.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The longest that the first wait may be; the next ones may be twice as long each time. How long they are is drawn by chance.
    pub fn min_wait(mut self, wait: Duration) -> Self {
        self.min_wait = wait;
        self
    }

    /// The longest that any wait may be.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    fn wit(self) -> wit::Policy {
        let min_wait = milliseconds(self.min_wait);
        wit::Policy {
            attempts: self.attempts,
            min_wait,
            max_wait: milliseconds(self.max_wait).max(min_wait),
        }
    }
}

/// Runs a step: once it has succeeded it is not run again, and its value is the one that it had.
///
/// Without steps, too, nothing is done twice: the host remembers each single call that the function makes. A step
/// is for more than one call which belong together, or for a retry of its own. What happens in it is not remembered
/// call by call: a crash in the middle runs it again from its beginning, with the same idempotency keys.
///
/// An [`Error`] that is not terminal runs it again, by the retry policy; a terminal one is the [`Failure`] of the step, and is
/// remembered like a value. Steps are not nested, and nothing is waited for in them: both trap.
///
/// ```no_run
/// # use std::time::Duration;
/// # use guesthouse_guest::durable::{self, Error, RetryPolicy, run, run_with};
/// # fn reserve(seat: &str) -> durable::Result<String> { Ok("A 1".into()) }
/// # fn pay() -> Result<u32, std::num::ParseIntError> { "12".parse() }
/// # fn book() -> durable::Result<()> {
/// let seat = run("reserve", || reserve("window"))?;
/// let patient = RetryPolicy::new().attempts(5).max_wait(Duration::from_secs(30));
/// let receipt = run_with("pay", patient, |_| pay().map_err(|error| Error::terminal(error.to_string())))?;
/// # Ok(())
/// # }
/// ```
pub fn run<T, E>(name: &str, mut work: impl FnMut() -> Result<T, E>) -> Result<T, Failure>
where
    T: Encode + Decode,
    E: Into<Error>,
{
    run_with(name, RetryPolicy::default(), |_| work())
}

/// Runs a step with a retry policy of its own; `work` is told which run it is, from 1. Otherwise as [`run`].
pub fn run_with<T, E>(
    name: &str,
    policy: RetryPolicy,
    mut work: impl FnMut(u32) -> Result<T, E>,
) -> Result<T, Failure>
where
    T: Encode + Decode,
    E: Into<Error>,
{
    read_ahead();
    loop {
        match wit::begin(name, policy.wit())? {
            // What was written is read also by the run that wrote it, so that each run sees the same.
            wit::Begun::Done(value) => return decode(value),
            wit::Begun::Run(attempt) => {
                let done = outcome(work(attempt));
                if wit::end(&done)?
                    && let wit::Outcome::Ok(value) = done
                {
                    return decode(value);
                }
            }
        }
    }
}

/// Reads what std reads once and keeps: the environment, and the seed of its hash maps.  If a step was the first to need them, a
/// replay, which does not run it, would read them at another place.
fn read_ahead() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        black_box(RandomState::new());
        black_box(std::env::var_os("GUESTHOUSE"));
    });
}

fn outcome<T: Encode, E: Into<Error>>(end: Result<T, E>) -> wit::Outcome {
    match end
        .map_err(Into::into)
        .and_then(|value| Ok(encode(&value)?))
    {
        Ok(value) => wit::Outcome::Ok(value),
        Err(Error::Terminal(failure)) => wit::Outcome::Terminal(failure.into()),
        Err(
            Error::Temporary {
                message,
                retry_after,
            }
            | Error::Throttled {
                message,
                retry_after,
            },
        ) => wit::Outcome::Temporary((message, retry_after.map(milliseconds))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::Text;

    #[test]
    fn a_policy_has_no_longest_wait_under_its_first() {
        let policy = RetryPolicy::new()
            .attempts(3)
            .min_wait(Duration::from_secs(5))
            .max_wait(Duration::from_secs(2))
            .wit();
        assert_eq!(
            (policy.attempts, policy.min_wait, policy.max_wait),
            (3, 5_000, 5_000)
        );
    }

    #[test]
    fn an_outcome_says_whether_it_is_final() {
        let ok = outcome(Ok::<_, Error>(Text("a".into())));
        assert!(matches!(ok, wit::Outcome::Ok(value) if value == b"a"));
        let terminal = outcome(Err::<Text, _>(Failure::new("no")));
        assert!(matches!(terminal, wit::Outcome::Terminal(failure) if failure.message == "no"));
        let wait = Duration::from_secs(2);
        let slow = outcome(Err::<Text, _>(Error::throttled("slow").retry_after(wait)));
        assert!(matches!(slow, wit::Outcome::Temporary((text, Some(2_000))) if text == "slow"));
        let other = outcome(Err::<Text, _>("x".parse::<u8>().unwrap_err()));
        assert!(matches!(other, wit::Outcome::Temporary((_, None))));
    }
}
