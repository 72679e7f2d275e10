//! `Promise`: something that ends once, and waiting for it.

use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::bindings::guesthouse::durable::promises;
use super::codec::{Bytes, Decode, decode};
use super::{Failure, calls};

/// Something that ends once: a call, an [awakeable](super::awakeable), a [time](sleep).
///
/// It is under way already; waiting for it is all that is left to do. What it comes to is read as a `T` then: a payload
/// that is none is a [`Failure`]. Dropping it changes nothing about what it stands for.
#[must_use = "it is under way, and nobody waits for it"]
pub struct Promise<T = Bytes> {
    handle: promises::Promise,
    value: PhantomData<fn() -> T>,
}

impl<T> Promise<T> {
    pub(super) fn new(handle: promises::Promise) -> Self {
        Self {
            handle,
            value: PhantomData,
        }
    }

    pub(super) fn into_handle(self) -> promises::Promise {
        self.handle
    }

    /// Of a call: the id of its invocation. Of an awakeable: the id to complete it by. Empty for a timer.
    pub fn id(&self) -> String {
        self.handle.id()
    }

    /// The same thing, whose payload is read as something else: so that promises of different functions go together.
    pub fn of<U>(self) -> Promise<U> {
        Promise::new(self.handle)
    }

    /// Waits until it has ended: what it came to.
    pub fn wait(self) -> Result<T, Failure>
    where
        T: Decode,
    {
        decode(promises::wait(self.handle, None)?)
    }

    /// Waits for so long at most: after that, the failure is [timed out](Failure::is_timed_out).
    ///
    /// A call that took too long goes on: [`cancel`](Self::cancel) it before, or use [`ended_within`](Self::ended_within)
    /// and do so after. A promise that is to be waited for again is waited for with that, too.
    pub fn wait_timeout(self, timeout: Duration) -> Result<T, Failure>
    where
        T: Decode,
    {
        decode(promises::wait(self.handle, Some(milliseconds(timeout)))?)
    }

    /// Waits for so long at most: whether it has ended. `wait` is done at once then.
    pub fn ended_within(&self, timeout: Duration) -> Result<bool, Failure> {
        let limit = Some(milliseconds(timeout));
        match promises::select(&[&self.handle], promises::First::ToEnd, limit)
            .map_err(Failure::from)
        {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_timed_out() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Cancels the call that it stands for, and all that was called there: see [`cancel`](super::cancel).
    pub fn cancel(&self) -> Result<(), Failure> {
        calls::cancel(&self.id())
    }

    /// Ends the call that it stands for, and all that was called there, without asking: see [`kill`](super::kill).
    pub fn kill(&self) -> Result<(), Failure> {
        calls::kill(&self.id())
    }
}

/// What can be waited for together with others, of whichever type: a [`Promise`].
pub trait Pending: sealed::Sealed {}

impl<T> Pending for Promise<T> {}

pub(super) mod sealed {
    use super::{Promise, promises};

    pub trait Sealed {
        fn handle(&self) -> &promises::Promise;
    }

    impl<T> Sealed for Promise<T> {
        fn handle(&self) -> &promises::Promise {
            &self.handle
        }
    }
}

/// Ends after so long, be it a month: `sleep(duration).wait()?` sleeps.
pub fn sleep(duration: Duration) -> Promise<()> {
    Promise::new(promises::sleep(milliseconds(duration)))
}

/// Ends at a time, at once if that has passed.
pub fn sleep_until(time: SystemTime) -> Promise<()> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Promise::new(promises::sleep_until(milliseconds(since)))
}

/// Waits for so long at most: `timeout(promise, duration)` is `promise.wait_timeout(duration)`.
pub fn timeout<T: Decode>(promise: Promise<T>, duration: Duration) -> Result<T, Failure> {
    promise.wait_timeout(duration)
}

/// Whole milliseconds, rounded up, for whoever asks for less than one does not ask for none.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_never_cut_short() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(30)), 30);
        assert_eq!(milliseconds(Duration::MAX), u64::MAX);
    }
}
