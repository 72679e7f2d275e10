//! What time it is, how long a nap of `?sleep_ms=` took, and what the seed of Rust's hash maps
//! made of it: everything that differs from one run to the next, unless the host decides it.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};
use serde_json::{Value, json};

invoke!(clock);
fn clock(_: Data) -> WebResult<Value> {
    let woken_at = SystemTime::now();
    let start = Instant::now();
    if let Some(milliseconds) = WebEnvironment::load().query_parameters().get("sleep_ms") {
        thread::sleep(Duration::from_millis(milliseconds.parse()?));
    }
    let slept = start.elapsed();
    Ok(json!({
        "unix_ms": woken_at.duration_since(UNIX_EPOCH)?.as_millis() as u64,
        "slept_ns": slept.as_nanos() as u64,
        "order": HashSet::from(["spring", "summer", "autumn", "winter"]),
    }))
}
