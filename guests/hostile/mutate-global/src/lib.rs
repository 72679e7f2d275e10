//! Counts its calls in a static variable and answers the count. It hopes to hear of the caller
//! before; in a sandbox of its own every call is the first.

use std::sync::atomic::{AtomicU32, Ordering};

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

static CALLS: AtomicU32 = AtomicU32::new(0);

invoke!(mutate_global);
fn mutate_global(_: Data) -> String {
    let before = CALLS.fetch_add(1, Ordering::Relaxed);
    (before + 1).to_string()
}
