//! State of a key: values that all invocations of a durable function with one key share.
//!
//! Only one of them runs at a time, so that what was read is still so when it is written. A change is kept together
//! with the memory of having made it: it is made once, whatever crashes, and stays if the function fails later.
//!
//! ```no_run
//! use guesthouse_guest::durable::{self, state};
//!
//! fn count() -> durable::Result<u64> {
//!     let visits = state::get::<u64>("visits")?.unwrap_or(0) + 1;
//!     state::set("visits", &visits)?;
//!     Ok(visits)
//! }
//! ```
//!
//! Each of these fails where the invocation has no key. In a function that is not durable the state is in memory, and lost with the process.

use super::Failure;
use super::bindings::guesthouse::durable::state as wit;
use super::codec::{Decode, Encode, decode, encode};

/// The value of a name, if there is one.
pub fn get<T: Decode>(name: &str) -> Result<Option<T>, Failure> {
    wit::get(name)?.map(decode).transpose()
}

/// Sets the value of a name.
pub fn set(name: &str, value: &(impl Encode + ?Sized)) -> Result<(), Failure> {
    Ok(wit::set(name, &encode(value)?)?)
}

/// Forgets a name.
pub fn clear(name: &str) -> Result<(), Failure> {
    Ok(wit::clear(name)?)
}

/// Forgets all names of the key.
pub fn clear_all() -> Result<(), Failure> {
    Ok(wit::clear_all()?)
}

/// The names that have a value, in their order.
pub fn names() -> Result<Vec<String>, Failure> {
    Ok(wit::names()?)
}
