//! What functions on [guesthouse] can do beyond the published interfaces: go on working after the answer, and [wait] for other
//! functions, for people and for time, across crashes.
//!
//! # After the answer
//!
//! ```no_run
//! use guesthouse_guest::detached;
//! use momento_functions_bytes::Data;
//! use momento_functions_guest_web::invoke;
//!
//! invoke!(order);
//! fn order(order: Data) -> &'static str {
//!     detached("send-push", move || -> Result<(), String> {
//!         let order = order.into_bytes();
//!         send_push(&order)
//!     });
//!     "accepted"
//! }
//!
//! fn send_push(order: &[u8]) -> Result<(), String> {
//!     // … an HTTP request that takes a while
//!     # let _ = order;
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! The caller has its answer as soon as `order` returns; `send-push` runs after that. See [`detached`](fn@detached).
//!
//! # Waiting
//!
//! See [`durable`](mod@durable).
//!
//! # With what it goes
//!
//! The crate works beside the published `invoke!`, `post!` and `spawn!` macros of Momento Functions and beside interfaces
//! of your own, and for the targets `wasm32-wasip2`, `wasm32-wasip1` and `wasm32-unknown-unknown`. A function that has it
//! among its dependencies runs on guesthouse only.
//!
//! [wait]: mod@durable
//! [guesthouse]: https://docs.rs/guesthouse-guest
#![warn(missing_docs)]

mod detached;
pub mod durable;

pub use detached::{Outcome, detached};
