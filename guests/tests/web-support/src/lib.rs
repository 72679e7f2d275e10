//! Asks for everything that there is to know of a request, twice, and answers both times.

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;
use momento_functions_guest_web::wit::momento::web_function::web_function_support as support;
use serde_json::{Value, json};

fn asked() -> Value {
    json!({
        "headers": support::headers().into_iter().map(|it| (it.name, it.value)).collect::<Vec<_>>(),
        "query": support::query_parameters().into_iter().map(|it| (it.name, it.value)).collect::<Vec<_>>(),
        "token": support::token_metadata(),
        "id": support::invocation_id(),
        "method": support::http_method(),
        "path": support::invocation_path(),
    })
}

invoke!(web_support);
fn web_support(_: Data) -> Value {
    json!([asked(), asked()])
}
