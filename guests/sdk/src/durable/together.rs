//! Waiting for several: `gather`, `any`, `race`.

use std::time::Duration;

use super::bindings::guesthouse::durable::promises::{self, First, OnFailure};
use super::calls::give_up;
use super::codec::{Bytes, Decode, decode};
use super::promise::{Pending, Promise, milliseconds};
use super::{Failure, FailureKind};

/// Waits for all of several, of which there may be thousands.
///
/// ```no_run
/// # use guesthouse_guest::durable::{self, call, call_all, gather};
/// # fn charge_all(customers: Vec<String>) -> durable::Result<Vec<u64>> {
/// let charges = call_all(customers.iter().map(|customer| call::<u64>("charge", customer)))?;
/// let receipts = gather(charges).wait()?; // in the order of the customers
/// # Ok(receipts)
/// # }
/// ```
pub fn gather<T>(promises: impl IntoIterator<Item = Promise<T>>) -> Gather<T> {
    Gather {
        promises: promises.into_iter().collect(),
        on_failure: OnFailure::CancelRest,
        timeout: None,
    }
}

/// Several that are to be waited for.
#[must_use = "nothing waits before `wait` or `each`"]
pub struct Gather<T = Bytes> {
    promises: Vec<Promise<T>>,
    on_failure: OnFailure,
    timeout: Option<Duration>,
}

impl<T: Decode> Gather<T> {
    /// When one fails, or it takes too long, the others are cancelled. So it is if nothing is said.
    pub fn cancel_rest(self) -> Self {
        self.on(OnFailure::CancelRest)
    }

    /// When one fails, or it takes too long, the others go on, and nobody waits for them.
    pub fn leave_rest(self) -> Self {
        self.on(OnFailure::LeaveRest)
    }

    /// When one fails the others are waited for all the same; when it takes too long, they go on.
    pub fn wait_for_all(self) -> Self {
        self.on(OnFailure::WaitForAll)
    }

    /// Waits for so long at most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What they came to, in their order; or the first failure in that order, or that it took too long.
    pub fn wait(self) -> Result<Vec<T>, Failure> {
        all_of(self.each())
    }

    /// What each came to, in their order; `None` for those that had not ended.
    pub fn each(self) -> Vec<Option<Result<T, Failure>>> {
        if self.promises.is_empty() {
            return Vec::new();
        }
        let late = self.late();
        let handles = self.promises.into_iter().map(Promise::into_handle);
        let timeout = self.timeout.map(milliseconds);
        let ends = promises::gather(handles.collect(), self.on_failure, timeout);
        // Where one has failed the host has cancelled them.
        if ends.iter().flatten().all(Result::is_ok) {
            for (id, _) in late.iter().zip(&ends).filter(|(_, end)| end.is_none()) {
                give_up(id);
            }
        }
        let read =
            |end: Result<Vec<u8>, promises::Failure>| end.map_err(Failure::from).and_then(decode);
        ends.into_iter().map(|end| end.map(read)).collect()
    }

    /// The ids of what is cancelled if it takes too long.
    fn late(&self) -> Vec<String> {
        match (self.timeout, self.on_failure) {
            (Some(_), OnFailure::CancelRest) => self.promises.iter().map(Promise::id).collect(),
            _ => Vec::new(),
        }
    }

    fn on(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }
}

/// Every value, or the first failure; where something is missing and nothing has failed, it took too long.
fn all_of<T>(ends: Vec<Option<Result<T, Failure>>>) -> Result<Vec<T>, Failure> {
    let count = ends.len();
    let values = ends
        .into_iter()
        .flatten()
        .collect::<Result<Vec<T>, Failure>>()?;
    match count - values.len() {
        0 => Ok(values),
        missing => Err(Failure {
            kind: FailureKind::TimedOut,
            ..Failure::new(format!("{missing} of {count} did not end in time"))
        }),
    }
}

/// The first of several to end, however: if it failed, that is the failure of the race.
///
/// ```no_run
/// # use std::time::Duration;
/// # use guesthouse_guest::durable::{self, awakeable, race, sleep};
/// # fn confirmed() -> durable::Result<bool> {
/// let confirmation = awakeable::<()>();
/// // … tell somebody confirmation.id
/// let first = race([confirmation.promise, sleep(Duration::from_secs(86_400))]).wait()?;
/// # Ok(
/// first.index == 0
/// # )
/// # }
/// ```
pub fn race<T>(promises: impl IntoIterator<Item = Promise<T>>) -> Race<T> {
    Race::new(promises, First::ToEnd)
}

/// The first of several to succeed; where all fail, the failure of the last one to do so.
///
/// ```no_run
/// # use std::time::Duration;
/// # use guesthouse_guest::durable::{self, any, call, call_all};
/// # fn answer() -> durable::Result<String> {
/// let answers = call_all(["mirror-1", "mirror-2"].map(|name| call::<String>(name, "a question")))?;
/// let first = any(answers).timeout(Duration::from_secs(5)).cancel_rest().wait()?;
/// # Ok(first.value)
/// # }
/// ```
pub fn any<T>(promises: impl IntoIterator<Item = Promise<T>>) -> Race<T> {
    Race::new(promises, First::ToSucceed)
}

/// Several of which the first is waited for.
#[must_use = "nothing waits before `wait`"]
pub struct Race<T = Bytes> {
    promises: Vec<Promise<T>>,
    first: First,
    timeout: Option<Duration>,
    cancel_rest: bool,
}

/// The one of several that was the first.
pub struct Winner<T> {
    /// Its place among the promises, from 0.
    pub index: usize,
    /// What it came to.
    pub value: T,
    /// The others, in their order: under way still, unless they have ended too, or were cancelled.
    pub rest: Vec<Promise<T>>,
}

impl<T> Race<T> {
    fn new(promises: impl IntoIterator<Item = Promise<T>>, first: First) -> Self {
        Self {
            promises: promises.into_iter().collect(),
            first,
            timeout: None,
            cancel_rest: false,
        }
    }
}

impl<T: Decode> Race<T> {
    /// Waits for so long at most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// When it is over, whether with a winner or without, calls among the others are cancelled; otherwise they go on.
    pub fn cancel_rest(mut self) -> Self {
        self.cancel_rest = true;
        self
    }

    /// Waits for the first: which one it was, and what it came to.
    pub fn wait(mut self) -> Result<Winner<T>, Failure> {
        match self.place() {
            Ok(index) => {
                let first = self.promises.remove(index);
                self.over();
                Ok(Winner {
                    index,
                    value: first.wait()?,
                    rest: self.promises,
                })
            }
            Err(failure) => {
                // Where this invocation was cancelled, all that it called was already.
                if !failure.is_cancelled() {
                    self.over();
                }
                Err(failure)
            }
        }
    }

    fn over(&self) {
        for promise in self.promises.iter().filter(|_| self.cancel_rest) {
            give_up(&promise.id());
        }
    }

    fn place(&self) -> Result<usize, Failure> {
        let promises = self.promises.iter().map(|promise| promise as &dyn Pending);
        select(&promises.collect::<Vec<_>>(), self.first, self.timeout)
    }
}

/// The place of the first to end, of promises of any types, which stay: `wait` is done at once for that one.
///
/// ```no_run
/// # use std::time::Duration;
/// # use guesthouse_guest::durable::{self, awakeable, call, first_to_end};
/// # fn answer() -> durable::Result<String> {
/// let machine = call::<String>("suggest", "a name");
/// let (person, machine) = (awakeable::<Vec<String>>(), machine.start()?);
/// match first_to_end(&[&person.promise, &machine], Some(Duration::from_secs(60)))? {
///     0 => Ok(person.promise.wait()?.join(" ")),
///     _ => Ok(machine.wait()?),
/// }
/// # }
/// ```
pub fn first_to_end(
    promises: &[&dyn Pending],
    timeout: Option<Duration>,
) -> Result<usize, Failure> {
    select(promises, First::ToEnd, timeout)
}

/// The place of the first to succeed, or, where all fail, of the last to do so; otherwise as [`first_to_end`].
pub fn first_to_succeed(
    promises: &[&dyn Pending],
    timeout: Option<Duration>,
) -> Result<usize, Failure> {
    select(promises, First::ToSucceed, timeout)
}

fn select(
    promises: &[&dyn Pending],
    first: First,
    timeout: Option<Duration>,
) -> Result<usize, Failure> {
    let handles: Vec<&promises::Promise> =
        promises.iter().map(|promise| promise.handle()).collect();
    let index = promises::select(&handles, first, timeout.map(milliseconds))?;
    Ok(index as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_several_are_there_or_the_first_failure_is() {
        assert_eq!(all_of(vec![Some(Ok(1)), Some(Ok(2))]).unwrap(), [1, 2]);
        assert!(all_of::<u8>(Vec::new()).unwrap().is_empty());
        let ends = vec![
            None,
            Some(Ok(1)),
            Some(Err(Failure::new("a"))),
            Some(Err(Failure::new("b"))),
        ];
        assert_eq!(all_of(ends).unwrap_err().message, "a");
    }

    #[test]
    fn where_something_is_missing_it_took_too_long() {
        let failure = all_of(vec![Some(Ok(1)), None]).unwrap_err();
        assert!(failure.is_timed_out());
        assert_eq!(failure.message, "1 of 2 did not end in time");
    }
}
