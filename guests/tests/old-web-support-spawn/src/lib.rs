//! `web-support-spawn` on the older generation of the crates, which cannot stream.

use momento_functions::spawn;
use momento_functions_host::topics::publish;
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

spawn!(web_support);
fn web_support(_: Vec<u8>) {
    publish("web-support", json!([asked(), asked()]).to_string()).expect("the topic takes it");
}
