//! `/sse-proxy?url=URL` listens to the server-sent events at URL and passes each one on as soon as
//! it is there; `&raw` passes the bytes on as they come, without looking at them.
//!
//! When the client leaves, this function is stopped and the connection to URL closed.

use momento_functions_bytes::Data;
use momento_functions_guest_web::{
    SseEvent, WebEnvironment, WebError, WebResponse, WebResult, invoke, raw_streaming_response,
    sse_streaming_response,
};
use momento_functions_http::sse::SseStream;
use momento_functions_http::{self as http, Request};

invoke!(sse_proxy);
fn sse_proxy(_: Data) -> WebResult<WebResponse> {
    let query = WebEnvironment::load().query_parameters();
    let url = query
        .get("url")
        .ok_or_else(|| WebError::message("say ?url="))?;
    let upstream =
        http::invoke(Request::new(url, "GET").with_header("accept", "text/event-stream"))?;
    if upstream.status != 200 {
        return Ok(WebResponse::new()
            .with_status(upstream.status)
            .with_body(upstream.body)?);
    }
    if query.contains_key("raw") {
        let mut client =
            raw_streaming_response(200, upstream.headers).map_err(WebError::message)?;
        client.send(upstream.body).map_err(WebError::message)?;
        return Ok(WebResponse::new());
    }
    let mut client = sse_streaming_response();
    for event in SseStream::from_data(upstream.body) {
        let event = event?;
        let mut copy = match (event.event(), event.data()) {
            (Some(name), Some(data)) => SseEvent::from_data(data).with_event(name),
            (Some(name), None) => SseEvent::from_event(name),
            (None, Some(data)) => SseEvent::from_data(data),
            (None, None) => continue,
        };
        if let Some(id) = event.event_id() {
            copy = copy.with_event_id(id);
        }
        client.send(copy).map_err(WebError::message)?;
    }
    Ok(WebResponse::new())
}
