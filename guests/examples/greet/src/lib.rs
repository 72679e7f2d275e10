//! JSON in, JSON out: `{"name":"Ada"}` is answered with `{"message":"Hello, Ada!"}`.
//! A body that does not parse never reaches `greet`: the crate answers it with status 400.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    name: String,
}

#[derive(Serialize)]
struct Response {
    message: String,
}

invoke!(greet);
fn greet(Json(Request { name }): Json<Request>) -> Json<Response> {
    Json(Response {
        message: format!("Hello, {name}!"),
    })
}
