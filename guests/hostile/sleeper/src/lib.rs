//! Sleeps for an hour.

use std::thread;
use std::time::Duration;

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

invoke!(sleeper);
fn sleeper(_: Data) -> &'static str {
    thread::sleep(Duration::from_secs(3600));
    "good morning"
}
