//! Sends the HTTP request its JSON body describes and answers the response as JSON. A request
//! that failed is answered too, with the error; an answer of 500 is no error but a response.
//!
//! ```json
//! {"verb": "GET", "url": "https://example.com/", "headers": [["accept", "text/html"]], "timeout_ms": 500}
//! ```

use std::time::Duration;

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
use momento_functions_http::{self as http, Request};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Order {
    verb: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    timeout_ms: Option<u64>,
}

invoke!(fetch);
fn fetch(Json(order): Json<Order>) -> Value {
    let mut request = Request::new(order.url, order.verb)
        .with_headers(order.headers)
        .with_body(order.body);
    if let Some(milliseconds) = order.timeout_ms {
        request = request.with_request_timeout(Duration::from_millis(milliseconds));
    }
    match http::invoke(request) {
        Ok(response) => json!({
            "status": response.status,
            "headers": response.headers,
            "body": String::from_utf8_lossy(&response.body.into_bytes()),
        }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    }
}
