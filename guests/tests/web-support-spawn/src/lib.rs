//! `web-support` as a spawn function, where nobody asked anything: it publishes what it is told to
//! the topic `web-support`, and tries to stream an answer to nobody.

use momento_functions_bytes::Data;
use momento_functions_guest_spawn::spawn;
use momento_functions_guest_web::wit::momento::web_function::web_function_stream as stream;
use momento_functions_guest_web::wit::momento::web_function::web_function_support as support;
use momento_functions_topic::{TopicError, publish};
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
fn web_support(_: Data) -> Result<(), TopicError> {
    let streamed = [
        stream::send_response_start(200, &[]),
        stream::send_sse(Some("event"), None, None),
        stream::send_data(Data::from("data").into()),
    ];
    publish(
        "web-support",
        json!([asked(), asked(), streamed.map(Result::err)]).to_string(),
    )
}
