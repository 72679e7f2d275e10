//! Publishes what the request's body lists, `[{"topic":"news","text":"hi"},{"topic":"news","bytes":[255]}]`,
//! and answers how each went. `POST /topic-calls/TOPIC` publishes the body itself, unread.

use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::{Extract, Json};
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};
use momento_functions_topic::{TopicError, publish, publish_bytes};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Message {
    topic: String,
    text: Option<String>,
    bytes: Option<Vec<u8>>,
}

fn send(message: Message) -> Value {
    let topic = message.topic;
    told(match (message.text, message.bytes) {
        (Some(text), _) => publish(topic, text),
        (None, bytes) => publish_bytes(topic, bytes.unwrap_or_default()),
    })
}

fn told(result: Result<(), TopicError>) -> Value {
    result.map_or_else(|error| json!(error.to_string()), |()| json!("ok"))
}

invoke!(topic_calls);
fn topic_calls(body: Data) -> WebResult<Value> {
    let topic = WebEnvironment::load().http_path();
    if !topic.is_empty() {
        return Ok(told(publish_bytes(topic, body)));
    }
    let Json(messages) = Json::<Vec<Message>>::extract(body)?;
    Ok(messages.into_iter().map(send).collect())
}
