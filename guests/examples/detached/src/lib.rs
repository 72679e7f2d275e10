//! Takes an order and answers at once; the customer's telephone is told after that.
//!
//! ```json
//! {"customer": "Ada", "item": "engine", "push": "https://push.example.com/send"}
//! ```

use guesthouse_guest::detached;
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebResponse, WebResult, invoke};
use momento_functions_http::{self as http, Request};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Order {
    customer: String,
    item: String,
    push: String,
}

invoke!(order);
fn order(Json(order): Json<Order>) -> WebResult<WebResponse> {
    let accepted = json!({ "accepted": order.item });
    detached("send-push", move || send_push(order));
    Ok(WebResponse::new()
        .with_status(202)
        .header("content-type", "application/json")
        .with_body(accepted)?)
}

fn send_push(order: Order) -> Result<(), String> {
    let text = format!("{}: your {} is on its way", order.customer, order.item);
    let response = http::invoke(Request::new(order.push, "POST").with_body(text))
        .map_err(|error| error.to_string())?;
    match response.status {
        200..300 => Ok(()),
        status => Err(format!("the push service answered {status}")),
    }
}
