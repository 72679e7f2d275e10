//! `greet` on the older generation of the crates, as guests were written before 2026: the entry
//! is `post!`, and payloads are plain bytes.

use momento_functions::post;
use momento_functions_host::encoding::Json;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    name: String,
}

#[derive(Serialize)]
struct Response {
    message: String,
}

post!(greet);
fn greet(Json(Request { name }): Json<Request>) -> Json<Response> {
    Json(Response {
        message: format!("Hello, {name}!"),
    })
}
