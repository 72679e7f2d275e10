//! A spawn function that topics start: it publishes what it was given, as bytes, to the topic
//! that the variable TO names, or else to `heard`.

use std::env;

use momento_functions_bytes::Data;
use momento_functions_guest_spawn::spawn;
use momento_functions_topic::{TopicError, publish_bytes};

spawn!(pass_on);
fn pass_on(message: Data) -> Result<(), TopicError> {
    let topic = env::var("TO").unwrap_or_else(|_| "heard".into());
    publish_bytes(topic, message)
}
