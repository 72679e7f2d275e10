//! `topic-calls` on the older generation of the crates, where JSON is published as text:
//! `[{"topic":"news","text":"hi"},{"topic":"news","bytes":[255]},{"topic":"news","json":{"a":1}}]`.

use momento_functions::post;
use momento_functions_host::encoding::Json;
use momento_functions_host::topics::publish;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Message {
    topic: String,
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    json: Option<Value>,
}

fn send(message: Message) -> Value {
    let topic = message.topic;
    let result = match (message.text, message.json) {
        (Some(text), _) => publish(topic, text).map_err(|error| error.to_string()),
        (None, Some(value)) => publish(topic, Json(value)).map_err(|error| error.to_string()),
        (None, None) => {
            publish(topic, message.bytes.unwrap_or_default()).map_err(|error| error.to_string())
        }
    };
    result.map_or_else(|error| json!(error), |()| json!("ok"))
}

post!(old_topic_calls);
fn old_topic_calls(Json(messages): Json<Vec<Message>>) -> Value {
    messages.into_iter().map(send).collect()
}
