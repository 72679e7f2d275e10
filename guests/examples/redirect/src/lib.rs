//! Sends whoever calls it elsewhere: to what the variable `destination` of its deployment says. A command could not do
//! this, for it chooses neither the status of its answer nor the headers.

use std::env;

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebResponse, WebResult, invoke};

invoke!(redirect);
fn redirect(_: Data) -> WebResult<WebResponse> {
    Ok(WebResponse::new()
        .with_status(302)
        .header("location", env::var("destination")?))
}
