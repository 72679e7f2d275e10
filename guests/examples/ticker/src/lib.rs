//! Server-sent events: `/ticker?events=5&every_ms=1000` ticks five times, a second apart, and
//! `new EventSource(…)` in a browser hears each tick as it happens.
//!
//! `data=TEXT` is sent with each tick, `event=NAME` names the ticks, `ids` numbers them,
//! `heartbeat` follows each with an event that has no data, and `status=503` ends the stream
//! with an error instead of silence.

use std::thread;
use std::time::Duration;

use momento_functions_bytes::Data;
use momento_functions_guest_web::{
    SseEvent, WebEnvironment, WebError, WebResponse, WebResult, invoke, sse_streaming_response,
};

fn query(name: &str) -> Option<&'static str> {
    let parameters = WebEnvironment::load().query_parameters();
    parameters.get(name).map(String::as_str)
}

fn number(name: &str) -> Option<u32> {
    query(name)?.parse().ok()
}

fn tick(number: u32) -> SseEvent {
    let mut event = SseEvent::from_data(query("data").unwrap_or("tick"));
    if let Some(name) = query("event") {
        event = event.with_event(name);
    }
    if query("ids").is_some() {
        event = event.with_event_id(number.to_string());
    }
    event
}

invoke!(ticker);
fn ticker(_: Data) -> WebResult<WebResponse> {
    let pause = Duration::from_millis(number("every_ms").unwrap_or(0).into());
    let mut stream = sse_streaming_response();
    for count in 1..=number("events").unwrap_or(3) {
        if count > 1 && !pause.is_zero() {
            thread::sleep(pause);
        }
        stream.send(tick(count)).map_err(WebError::message)?;
        if query("heartbeat").is_some() {
            let heartbeat = SseEvent::from_event("heartbeat");
            stream.send(heartbeat).map_err(WebError::message)?;
        }
    }
    let status = number("status").and_then(|status| status.try_into().ok());
    let end = WebResponse::new().with_status(status.unwrap_or(200));
    Ok(end.with_body("the ticker stopped")?)
}
