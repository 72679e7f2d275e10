//! `POST /publisher/TOPIC` publishes the body to that topic: as text if its content type says
//! that it is text, and otherwise as bytes, which then never enter this function's memory.

use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::Extract;
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};
use momento_functions_topic::{publish, publish_bytes};

invoke!(publisher);
fn publisher(message: Data) -> WebResult<()> {
    let request = WebEnvironment::load();
    let topic = request.http_path();
    let content_type = request.headers().get("content-type");
    if content_type.is_some_and(|content_type| content_type.starts_with("text/")) {
        publish(topic, String::extract(message)?)?;
    } else {
        publish_bytes(topic, message)?;
    }
    Ok(())
}
