//! Streams an answer piece by piece: each line of the request goes out as a chunk of its own.
//! With `accept: text/event-stream` each line becomes an event instead, and the response still
//! carries the function's own status and headers.

use momento_functions_guest_web::{
    SseEvent, WebEnvironment, WebError, WebResult, invoke, raw_streaming_response,
    sse_streaming_response_with_headers,
};

fn stream(text: &str) -> Result<(), String> {
    let accept = WebEnvironment::load().headers().get("accept");
    let events = accept.is_some_and(|types| types == "text/event-stream");
    let content_type = if events {
        "text/event-stream"
    } else {
        "text/plain"
    };
    let headers = vec![
        ("content-type".to_string(), content_type.to_string()),
        ("x-lines".to_string(), text.lines().count().to_string()),
    ];
    if events {
        let mut stream = sse_streaming_response_with_headers(201, headers)?;
        text.lines()
            .try_for_each(|line| stream.send(SseEvent::from_data(line)))
    } else {
        let mut stream = raw_streaming_response(201, headers)?;
        text.split_inclusive('\n')
            .try_for_each(|line| stream.send(line))
    }
}

invoke!(chunks);
fn chunks(text: String) -> WebResult<()> {
    stream(&text).map_err(WebError::message)
}
