//! The simplest spawn function: it keeps its payload in the cache under the key `spawn-unit`.
//! It returns nothing, which counts as success.

use std::time::Duration;

use momento_functions_bytes::Data;
use momento_functions_cache as cache;
use momento_functions_guest_spawn::spawn;

spawn!(keep);
fn keep(payload: Data) {
    cache::set("spawn-unit", payload, Duration::from_secs(60)).expect("the cache takes a payload");
}
