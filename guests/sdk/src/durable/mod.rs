//! Waiting for other functions, for people and for time, and going on after a crash.
//!
//! In a function that was deployed as durable, what is waited for here survives crashes, restarts and power cuts, and costs nothing
//! meanwhile: the function may wait for a month. The host starts it anew and tells it again what it was told before, until it is where it was.
//! There is nothing to be done for that: ordinary Rust, ordinary loops and branches.
//!
//! In any other function all of this works, too, but is held in memory, and lost with the process. [`state`] needs a durable one.
//!
//! ```no_run
//! # #[cfg(feature = "web")]
//! # mod guest {
//! use std::time::Duration;
//!
//! use guesthouse_guest::durable::{self, Answer, awakeable, call, call_all, gather, sleep};
//! use momento_functions_bytes::encoding::Json;
//! use momento_functions_guest_web::invoke;
//!
//! invoke!(party);
//! fn party(Json(guests): Json<Vec<String>>) -> Answer<Json<usize>> {
//!     invite(&guests).map(Json).into()
//! }
//!
//! fn invite(guests: &[String]) -> durable::Result<usize> {
//!     let approval = awakeable::<bool>();
//!     call::<()>("ask-the-landlord", &approval.id).wait()?;
//!     if !approval.promise.wait()? {
//!         return Ok(0);
//!     }
//!     let answers = call_all(guests.iter().map(|guest| call::<bool>("invite", guest)))?;
//!     let coming = gather(answers).wait_for_all().timeout(Duration::from_secs(7 * 86_400)).each();
//!     sleep(Duration::from_secs(86_400)).wait()?;
//!     Ok(coming.into_iter().filter(|answer| matches!(answer, Some(Ok(true)))).count())
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! | to | there is |
//! |---|---|
//! | call other functions | [`call`], [`call_all`], [`send`], [`cancel`], [`kill`] |
//! | wait for one thing | [`Promise::wait`], [`Promise::wait_timeout`], [`timeout`] |
//! | wait for several | [`gather`], [`any`], [`race`]; of different types [`first_to_end`], [`first_to_succeed`] |
//! | wait for somebody | [`awakeable`], [`resolve`], [`reject`] |
//! | wait for a time | [`sleep`], [`sleep_until`] |
//! | do something once, with its own retries | [`run`], [`run_with`], [`RetryPolicy`] |
//! | keep something for a key | [`state`] |
//! | fail as it is meant | [`Error`], [`Failure`], [`Answer`] |
//!
//! **Failures.** What is waited for ends with a value or a [`Failure`], which is final: everything that can be tried again was, by
//! the retry policy of whoever failed. `?` passes it on. When the invocation is cancelled, its next wait fails so ([`Failure::is_cancelled`]):
//! once, so that what it has done can be put right after that, with waits and calls as before.
//!
//! **Order.** What ends first is seen where it is waited for, and only there: each run sees the same order.

#[cfg(any(feature = "web", feature = "old-web", feature = "spawn"))]
mod answer;
mod awakeable;
mod calls;
mod codec;
mod failure;
mod promise;
mod refusal;
pub mod state;
mod steps;
mod together;

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({ path: "wit/durable.wit", world: "durable" });
}

#[cfg(any(feature = "web", feature = "old-web", feature = "spawn"))]
pub use answer::Answer;
pub use awakeable::{Awakeable, awakeable, reject, resolve};
pub use calls::{Call, Invocation, call, call_all, cancel, current, kill, send};
pub use codec::{Bytes, Decode, Encode, Text};
pub use failure::{Error, Failure, FailureKind, Result};
pub use promise::{Pending, Promise, sleep, sleep_until, timeout};
pub use refusal::Refusal;
pub use steps::{RetryPolicy, run, run_with};
pub use together::{Gather, Race, Winner, any, first_to_end, first_to_succeed, gather, race};
