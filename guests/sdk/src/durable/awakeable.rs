//! `awakeable`: something that somebody outside completes.

use super::Failure;
use super::bindings::guesthouse::durable::promises;
use super::codec::{Bytes, Encode, encode};
use super::promise::Promise;

/// A promise with an id by which anybody who has that completes it.
pub struct Awakeable<T = Bytes> {
    /// What it takes to complete it, and all that it takes: nobody can guess it. It can be part of a URL.
    pub id: String,
    /// What it is completed with.
    pub promise: Promise<T>,
}

/// Something that somebody else completes: a person, another system, another function.
///
/// Give its `id` away, then wait for its `promise`. It is completed with [`resolve`] or [`reject`] in any function, or over
/// HTTP, with no token but the id:
///
/// ```text
/// curl http://127.0.0.1:8080/restate/awakeables/$ID/resolve -H 'content-type: application/json' -d '{"by": "Ada"}'
/// curl http://127.0.0.1:8080/restate/awakeables/$ID/reject -H 'content-type: text/plain' -d 'too expensive'
/// ```
///
/// The first completion counts, also if it comes before anybody waits. A rejection is a [`Failure`] with its text, and so is
/// a payload that is no `T`.
///
/// ```no_run
/// # use guesthouse_guest::durable::{self, awakeable, run};
/// # fn mail(to: &str, text: String) -> durable::Result<()> { Ok(()) }
/// # fn approved() -> durable::Result<String> {
/// let approval = awakeable::<String>();
/// run("ask", || mail("ada@example.com", format!("…/restate/awakeables/{}/resolve", approval.id)))?;
/// let by = approval.promise.wait()?; // for a week, if need be
/// # Ok(by)
/// # }
/// ```
pub fn awakeable<T>() -> Awakeable<T> {
    let promise = Promise::new(promises::awakeable());
    Awakeable {
        id: promise.id(),
        promise,
    }
}

/// Completes an awakeable, of whichever function. A failure: there is none of this id. Another completion before this one
/// is none.
pub fn resolve(id: &str, payload: &(impl Encode + ?Sized)) -> Result<(), Failure> {
    Ok(promises::resolve(id, &encode(payload)?)?)
}

/// Completes an awakeable as failed, for a reason, which whoever waits for it is told; otherwise as [`resolve`].
pub fn reject(id: &str, reason: &str) -> Result<(), Failure> {
    Ok(promises::reject(id, reason)?)
}
