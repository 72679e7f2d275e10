//! Answers everything a function learns about its request besides the body. The caller's
//! credential comes as the header `authorization`; it is not for other eyes.

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, invoke};
use serde_json::{Value, json};

invoke!(headers);
fn headers(_: Data) -> Value {
    let request = WebEnvironment::load();
    let mut headers = request.headers().clone();
    if let Some(credential) = headers.get_mut("authorization") {
        *credential = "(hidden)".into();
    }
    json!({
        "method": request.http_method(),
        "path": request.http_path(),
        "query": request.query_parameters(),
        "headers": headers,
        "token": request.token_metadata(),
        "environment": {
            "cache": request.cache_name(),
            "function": request.function_name(),
            "invocation": request.invocation_id(),
        },
    })
}
