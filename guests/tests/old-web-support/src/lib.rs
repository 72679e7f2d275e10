//! `web-support` on the older generation of the crates.

use momento_functions::post;
use momento_functions_wit::function_web::momento::functions::web_function_support as support;
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

post!(web_support);
fn web_support(_: Vec<u8>) -> Value {
    json!([asked(), asked()])
}
