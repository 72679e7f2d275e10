//! Fetches `url` and keeps its body in the cache under `key`; the other half of `read-through`.
//! The body goes from one host buffer to the other and never enters this function's memory.

use std::error::Error;
use std::time::Duration;

use momento_functions_bytes::encoding::Json;
use momento_functions_cache as cache;
use momento_functions_guest_spawn::spawn;
use momento_functions_http::{self as http, Request};
use serde::Deserialize;

const TTL: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Order {
    key: String,
    url: String,
}

spawn!(fill);
fn fill(Json(Order { key, url }): Json<Order>) -> Result<(), Box<dyn Error>> {
    let response = http::invoke(Request::new(&url, "GET"))?;
    match response.status {
        200 => Ok(cache::set(key, response.body, TTL)?),
        status => Err(format!("{url} answered {status}").into()),
    }
}
