//! Calls the host without end, and with nothing in between.

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebResult, invoke};

invoke!(call_flood);
fn call_flood(_: Data) -> WebResult<()> {
    loop {
        momento_functions_cache::get::<Data>("water")?;
    }
}
