//! A web function: `{"name":"Ada"}` is answered with `{"message":"Hello, Ada!"}`.
//! A body that does not parse never reaches it: the crate answers that with status 400.

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
fn greet(Json(request): Json<Request>) -> Json<Response> {
    Json(Response {
        message: greeting(&request.name),
    })
}

fn greeting(name: &str) -> String {
    format!("Hello, {name}!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_has_the_name() {
        assert_eq!(greeting("Ada"), "Hello, Ada!");
    }
}
