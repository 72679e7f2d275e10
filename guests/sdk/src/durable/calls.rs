//! Calls of other functions of the namespace.

use std::marker::PhantomData;
use std::time::Duration;

use super::bindings::guesthouse::durable::calls as wit;
use super::codec::{Bytes, Decode, Encode, encode};
use super::promise::{Promise, milliseconds};
use super::{Failure, FailureKind};

/// A call of a function that has not begun: it does with [`start`](Self::start), [`wait`](Self::wait) or [`send`](Self::send).
#[must_use = "it has not begun"]
pub struct Call<T = Bytes> {
    function: String,
    payload: Result<Vec<u8>, Failure>,
    key: Option<String>,
    delay: u64,
    idempotency_key: Option<String>,
    headers: Vec<(String, String)>,
    answer: PhantomData<fn() -> T>,
}

/// Calls a function of the same namespace; the body of its answer is read as a `T`.
///
/// The call is a queued one: it is on disk before this function goes on, is tried again by its own retry policy, and is done
/// once, also if this function is replayed or tried again. A failure of the called function is a [`Failure`] here: its
/// message is the text of its answer.
///
/// ```no_run
/// # use guesthouse_guest::durable::{self, call};
/// # fn order() -> durable::Result<String> {
/// let price = call::<u64>("price", "engine").wait()?;
/// let charge = call::<String>("charge", &price).key("ada").start()?; // goes on beside this function
/// call::<()>("write-mail", "Your engine is on its way").send()?; // nobody waits for it
/// let receipt = charge.wait()?;
/// # Ok(receipt)
/// # }
/// ```
pub fn call<T>(function: impl Into<String>, payload: &(impl Encode + ?Sized)) -> Call<T> {
    Call {
        function: function.into(),
        payload: encode(payload),
        key: None,
        delay: 0,
        idempotency_key: None,
        headers: Vec::new(),
        answer: PhantomData,
    }
}

impl<T> Call<T> {
    /// Calls of a durable function with the same key run one at a time, in order, and share its [state](super::state).
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// It begins after so long.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = milliseconds(delay);
        self
    }

    /// Calls of the function with the same one are one call, the first, whoever makes them.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// A header of the request that the function sees.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Begins it: it goes on beside this function, until that waits for it.
    pub fn start(self) -> Result<Promise<T>, Failure> {
        let mut promises = call_all([self])?;
        promises
            .pop()
            .ok_or_else(|| Failure::new("the host made no promise of a call"))
    }

    /// Begins it, and waits for its end.
    pub fn wait(self) -> Result<T, Failure>
    where
        T: Decode,
    {
        self.start()?.wait()
    }

    /// Begins it, and waits for its end for so long at most. If it takes longer it is cancelled, and the failure is
    /// [timed out](Failure::is_timed_out).
    pub fn timeout(self, timeout: Duration) -> Result<T, Failure>
    where
        T: Decode,
    {
        let promise = self.start()?;
        if promise.ended_within(timeout)? {
            return promise.wait();
        }
        give_up(&promise.id());
        Err(Failure {
            kind: FailureKind::TimedOut,
            ..Failure::new("the call did not end in time")
        })
    }

    /// Begins it, and nobody waits for it: the id of its invocation.
    pub fn send(self) -> Result<String, Failure> {
        Ok(wit::send(&self.request()?)?)
    }

    fn request(self) -> Result<wit::Request, Failure> {
        Ok(wit::Request {
            function: self.function,
            payload: self.payload?,
            key: self.key,
            delay: self.delay,
            idempotency_key: self.idempotency_key,
            headers: self.headers,
        })
    }
}

/// Begins many calls at once, in their order, of one function or of several: faster than one by one. A failure: none of them has begun.
pub fn call_all<T>(calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<Promise<T>>, Failure> {
    let requests: Vec<wit::Request> = calls
        .into_iter()
        .map(Call::request)
        .collect::<Result<_, _>>()?;
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    Ok(wit::call(&requests)?
        .into_iter()
        .map(Promise::new)
        .collect())
}

/// Calls a function that nobody waits for, after a while: the id of its invocation.
pub fn send(
    function: impl Into<String>,
    payload: &(impl Encode + ?Sized),
    delay: Duration,
) -> Result<String, Failure> {
    call::<Bytes>(function, payload).delay(delay).send()
}

/// Cancels an invocation that this one has called, or one that was called there: all that it called first, the leaves before
/// the others. At its next wait it is told so, and can still put right what it has done. A failure: there is none of this id.
pub fn cancel(id: &str) -> Result<(), Failure> {
    Ok(wit::cancel(id, wit::Ending::Cancel)?)
}

/// Cancels a call that nobody waits for any more.
pub(super) fn give_up(id: &str) {
    if !id.is_empty() {
        // One that has ended meanwhile, or is no call, cannot be cancelled, and need not be.
        let _ = cancel(id);
    }
}

/// Ends an invocation that this one has called, or one that was called there, and all that it called, without asking it.
pub fn kill(id: &str) -> Result<(), Failure> {
    Ok(wit::cancel(id, wit::Ending::Kill)?)
}

/// What an invocation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Its id, as in the host's records of invocations.
    pub id: String,
    /// The key with which it was called.
    pub key: Option<String>,
    /// Which try this is, from 1: it rises when a run failed, not when it was interrupted.
    pub attempt: u32,
    /// Whether it survives crashes: whether the function was deployed as durable.
    pub durable: bool,
}

/// What this invocation is.
pub fn current() -> Invocation {
    let wit::Invocation {
        id,
        key,
        attempt,
        durable,
    } = wit::current();
    Invocation {
        id,
        key,
        attempt,
        durable,
    }
}
